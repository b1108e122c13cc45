//! What a crash left without an endpoint: allocations, own entries and attachments.
//!
//! Allocations are given back at once. Entries and attachments wait until the tables are in step:
//! on a disk that was rolled back they are not the latest that this node wrote, and what it wrote
//! now would pass for that. By then it has heard what it lacks, and is a member no more.

use std::collections::BTreeSet;

use weft_api::{EndpointId, NetworkId};
use weft_ipam::Purpose;
use weft_networkdb::Entry;

use super::Controller;
use super::endpoints::NAMES_TABLE;
use crate::control::Answer;

/// Own entries and attachments that an earlier start left.
#[derive(Debug, Default)]
pub(super) struct Orphans {
    found: Vec<(NetworkId, Vec<Entry>)>,
    /// Tables are in step: what is found now goes at once.
    settled: bool,
}

impl Controller {
    /// Gives back allocations without an endpoint, and takes note of entries and attachments.
    /// Returns how many there are. Nothing else makes or ends endpoints meanwhile.
    pub(super) async fn find_orphans(&self) -> Answer<usize> {
        let endpoints: BTreeSet<EndpointId> = {
            let inventory = self.inventory();
            let made = inventory.endpoints().map(|endpoint| endpoint.id);
            made.chain(inventory.claims().map(|claim| claim.endpoint)).collect()
        };
        let joined = self.joined();
        let used: BTreeSet<NetworkId> = {
            let inventory = self.inventory();
            let networks = inventory.endpoints().map(|endpoint| endpoint.network);
            let held = inventory.holds().filter(|hold| inventory.is_held(hold.network));
            networks.chain(held.map(|hold| hold.network)).collect()
        };
        let (mut orphans, found) = self
            .node(move |node, now| {
                let mut orphans = 0;
                for (space, address, purpose) in node.ipam().endpoint_allocations() {
                    if let Purpose::Endpoint(endpoint) = &purpose
                        && !endpoints.contains(endpoint)
                    {
                        node.with_ipam(now, |ipam| ipam.release(space, address, &purpose, now));
                        orphans += 1;
                    }
                }
                for block in node.ipam().pending_blocks() {
                    orphans += 1;
                    node.with_ipam(now, |ipam| {
                        ipam.return_block(block, weft_ipam::Fate::Unused, now);
                    });
                }
                let own = node.id();
                let mut found = Vec::new();
                for network in node.db().own_attachments() {
                    let peers = node.db().walk_counting(network, weft_overlay::PEER_TABLE);
                    let names = node.db().walk_counting(network, NAMES_TABLE);
                    let stray: Vec<Entry> = peers
                        .into_iter()
                        .filter(|entry| !joined.contains(&*entry.key))
                        .chain(names.into_iter().filter(|entry| !named(&endpoints, &entry.value)))
                        .filter(|entry| entry.owner == own)
                        .collect();
                    if !stray.is_empty() || !used.contains(&network) {
                        found.push((network, stray));
                    }
                }
                (orphans, found)
            })
            .await?;
        orphans += found.iter().map(|(_, entries)| entries.len().max(1)).sum::<usize>();
        let settled = {
            let mut orphans = self.orphans();
            orphans.found = found;
            orphans.settled
        };
        if settled {
            self.release_orphans().await;
        }
        Ok(orphans)
    }

    /// Tables are in step.
    pub(super) async fn tables_settled(&self) {
        self.orphans().settled = true;
        self.release_orphans().await;
    }

    /// Deletes entries that nobody has written anew since, and ends attachments that nothing uses.
    async fn release_orphans(&self) {
        let found = std::mem::take(&mut self.orphans().found);
        for (network, entries) in found {
            let _turn = self.lock_network(network).await;
            let joined = self.joined();
            let deleted = self
                .node(move |node, now| {
                    for entry in entries.iter().filter(|entry| !joined.contains(&*entry.key)) {
                        let Entry { table, key, .. } = entry;
                        let mut counting = node.db().walk_counting(network, table).into_iter();
                        let is_same = |now: &Entry| now.key == *key && now.seq == entry.seq;
                        if counting.any(|now| now.owner == entry.owner && is_same(&now)) {
                            drop(node.with_db(now, |db| db.delete_entry(network, table, key, now)));
                        }
                    }
                })
                .await;
            if deleted.is_ok() {
                self.stop_using_with(network, None).await;
            }
        }
    }

    /// The endpoints that are in a sandbox.
    fn joined(&self) -> BTreeSet<String> {
        let inventory = self.inventory();
        let joined = inventory.endpoints().filter(|endpoint| endpoint.sandbox.is_some());
        joined.map(|endpoint| endpoint.id.to_string()).collect()
    }
}

/// Tells whether an entry of the names' table is one of these endpoints'.
fn named(endpoints: &BTreeSet<EndpointId>, value: &[u8]) -> bool {
    std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.parse().ok())
        .is_some_and(|id| endpoints.contains(&id))
}
