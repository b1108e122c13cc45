//! Attachments: who takes part in which network. Rule 7: a log of each node, held by all.

use std::time::Instant;

use weft_api::{NetworkId, NodeId};

use super::output::Output;
use super::{ATTACHMENTS, Sync};
use crate::table::durable::{coverage_write, record_removal, record_write};
use crate::table::log::to_record;
use crate::table::record::EntryKey;
use crate::table::shelf::{Effect, Shelf};
use crate::table::{Cause, TableError};

/// The one table of the attachments log; its keys are network ids.
const TABLE: &str = "attachments";

impl Sync {
    /// Takes part in a network. Attaching twice is attaching once.
    ///
    /// # Errors
    /// [`TableError`]: the zero id, too many networks, or a rolled-back disk.
    pub fn attach(&mut self, network: NetworkId, now: Instant) -> Result<(), TableError> {
        self.may_write(network)?;
        if self.is_attached(network) {
            return Ok(());
        }
        let (size, bound) = (self.attachments(self.node).len() + 1, self.limits.networks);
        if size > bound {
            return Err(TableError::TooLarge { what: "number of networks", size, bound });
        }
        self.shelves.entry(network).or_insert_with(|| Shelf::new(network));
        self.forget_confirmed(|of, _| of == network);
        self.write(ATTACHMENTS, key_of(network), Some(Vec::new().into()), now)?;
        // The others are to know of it before they are asked, so that they push from then on.
        self.flush_queue(now);
        self.fetch(network, now);
        Ok(())
    }

    /// Ends the part in a network: this node's entries are deleted, those of others let go of.
    ///
    /// # Errors
    /// [`TableError`]: not attached, or a rolled-back disk.
    pub fn detach(&mut self, network: NetworkId, now: Instant) -> Result<(), TableError> {
        self.may_write(network)?;
        if !self.is_attached(network) {
            return Err(TableError::NotAttached(network));
        }
        let shelf = self.shelves.get(&network);
        let own: Vec<EntryKey> = shelf
            .and_then(|shelf| shelf.log(self.node))
            .into_iter()
            .flat_map(|log| log.iter())
            .filter(|(_, held)| held.value.is_some())
            .map(|(at, _)| at.clone())
            .collect();
        let others: Vec<NodeId> = shelf
            .into_iter()
            .flat_map(Shelf::logs)
            .map(|(owner, _)| owner)
            .filter(|owner| *owner != self.node)
            .collect();
        for at in own {
            self.write(network, at, None, now)?;
        }
        self.write(ATTACHMENTS, key_of(network), None, now)?;
        self.exchanges.remove(&network);
        self.pulls.retain(|(of, _), _| *of != network);
        self.waves.remove(&network);
        for owner in others {
            let shelf = self.shelves.get_mut(&network);
            let effects = shelf.map(|shelf| shelf.drop_log(owner, Cause::Detached));
            self.tell(network, &effects.unwrap_or_default());
        }
        self.flush_queue(now);
        Ok(())
    }

    /// Tells whether this node takes part.
    pub fn is_attached(&self, network: NetworkId) -> bool {
        self.takes_part(self.node, network)
    }

    /// The nodes that take part in a network, failed ones included, sorted.
    pub fn attached(&self, network: NetworkId) -> Vec<NodeId> {
        self.attached.get(&network).into_iter().flatten().copied().collect()
    }

    /// The networks a node takes part in, sorted.
    pub fn attachments(&self, node: NodeId) -> Vec<NetworkId> {
        self.attached
            .iter()
            .filter(|(_, nodes)| nodes.contains(&node))
            .map(|(network, _)| *network)
            .collect()
    }

    pub(crate) fn takes_part(&self, node: NodeId, network: NetworkId) -> bool {
        self.attached.get(&network).is_some_and(|nodes| nodes.contains(&node))
    }

    /// Keeps the list of who takes part where in step with the attachments logs.
    pub(crate) fn note_attachments(&mut self, network: NetworkId, effects: &[Effect]) {
        if network != ATTACHMENTS {
            return;
        }
        for Effect { by, at, .. } in effects {
            let Ok(subject) = at.key.parse::<NetworkId>() else { continue };
            let held = self.shelves[&ATTACHMENTS].log(*by).and_then(|log| log.held(at));
            if held.is_some_and(|held| held.value.is_some()) {
                let is_new = self.attached.entry(subject).or_default().insert(*by);
                if is_new && *by != self.node && self.written.contains_key(&subject) {
                    self.late.push((subject, *by));
                }
            } else if let Some(nodes) = self.attached.get_mut(&subject) {
                nodes.remove(by);
                if nodes.is_empty() {
                    self.attached.remove(&subject);
                }
            }
        }
    }

    /// Makes what was learnt of another's attachments durable.
    pub(crate) fn persist_attachments(&mut self, owner: NodeId, keys: &[EntryKey]) {
        let Some(log) = self.shelves.get(&ATTACHMENTS).and_then(|shelf| shelf.log(owner)) else {
            return;
        };
        for at in keys {
            self.outputs.push_back(Output::Persist(match log.held(at) {
                Some(held) => record_write(ATTACHMENTS, owner, &to_record(at, held)),
                None => record_removal(ATTACHMENTS, owner, at),
            }));
        }
        let lamport = if owner == self.node { self.lamport } else { 0 };
        self.outputs.push_back(Output::Persist(coverage_write(ATTACHMENTS, owner, log, lamport)));
    }

    fn may_write(&self, network: NetworkId) -> Result<(), TableError> {
        if network == ATTACHMENTS {
            return Err(TableError::Reserved(network));
        }
        if self.rolled_back {
            return Err(TableError::RolledBack(self.node));
        }
        Ok(())
    }
}

fn key_of(network: NetworkId) -> EntryKey {
    EntryKey::new(TABLE, &network.to_string())
}
