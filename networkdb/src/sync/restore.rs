//! From disk: facts, this node's logs, everyone's attachments.

use std::collections::BTreeMap;
use std::time::Instant;

use weft_api::{NetworkId, NodeId, Space};

use super::fact_exchange::member_gone;
use super::output::{Output, RestoreError};
use super::{ATTACHMENTS, Sync};
use crate::table::Cause;
use crate::table::durable::{Coverage, Line, read};
use crate::table::log::Log;
use crate::table::record::Record;
use crate::table::shelf::{Effect, Shelf};

type Restored = BTreeMap<(NetworkId, NodeId), (Option<Coverage>, Vec<Record>)>;

impl Sync {
    pub(crate) fn restore(
        &mut self,
        lines: &[(Space, Vec<u8>, Vec<u8>)],
        now: Instant,
    ) -> Result<(), RestoreError> {
        let mut logs = Restored::new();
        for (space, key, value) in lines {
            match space {
                Space::Facts => {
                    self.facts.restore(key, value).ok_or_else(|| RestoreError::Fact(hex(key)))?
                }
                Space::Logs => match read(key, value) {
                    Some(Line::Record(network, owner, record)) => {
                        logs.entry((network, owner)).or_default().1.push(record);
                    }
                    Some(Line::Coverage(network, owner, coverage)) => {
                        logs.entry((network, owner)).or_default().0 = Some(coverage);
                    }
                    None => return Err(RestoreError::Log(hex(key))),
                },
                Space::Node
                | Space::Controller
                | Space::Members
                | Space::Claims
                | Space::Ipam
                | Space::Keys => {}
            }
        }
        let left_over = self.facts.drop_left_over();
        self.outputs.extend(left_over.into_iter().map(Output::Persist));
        let gone = [crate::facts::FactKind::LEFT, crate::facts::FactKind::FORGOTTEN];
        let gone: Vec<NodeId> = gone
            .into_iter()
            .flat_map(|kind| self.facts.of_kind(kind).map(move |(subject, _)| (kind, subject)))
            .filter_map(|(kind, subject)| member_gone(kind, subject))
            .filter(|node| *node != self.node)
            .collect();
        gone.into_iter().for_each(|node| {
            self.peers.remove(node);
        });
        for ((network, owner), (coverage, records)) in logs {
            if !self.peers.is_gone(owner) {
                self.restore_log(network, owner, coverage, records, now);
            }
        }
        Ok(())
    }

    fn restore_log(
        &mut self,
        network: NetworkId,
        owner: NodeId,
        coverage: Option<Coverage>,
        records: Vec<Record>,
        now: Instant,
    ) {
        let own = owner == self.node;
        let coverage =
            coverage.unwrap_or(Coverage { extent: Default::default(), floor: 0, lamport: 0 });
        let mut log = Log::restore(coverage.extent, coverage.floor);
        let stamps = records.iter().map(|record| record.stamp);
        self.lamport = stamps.fold(self.lamport.max(coverage.lamport), u64::max);
        // This node's own log has no gaps, so its records say how far it goes.
        let newest = records.iter().map(|record| record.seq).max().unwrap_or(0);
        if own && newest > log.extent().head {
            log.cover(1, newest);
        }
        let keys: Vec<_> = records.iter().map(|record| record.at.clone()).collect();
        records.into_iter().for_each(|record| log.hold(record, now));
        if !own {
            self.peers.add(owner);
        }
        self.shelves.entry(network).or_insert_with(|| Shelf::new(network)).restore(owner, log);
        let effects: Vec<Effect> = keys
            .into_iter()
            .map(|at| Effect { by: owner, at, before: None, after: None, cause: Cause::Written })
            .collect();
        if network == ATTACHMENTS {
            self.note_attachments(network, &effects);
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
