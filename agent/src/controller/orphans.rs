//! What a crash left without an endpoint: allocations, own entries and attachments.
//!
//! Allocations are given back at once. Entries and attachments wait until the tables are in step:
//! on a disk that was rolled back they are not the latest that this node wrote, and what it wrote
//! now would pass for that. By then it has heard what it lacks, and is a member no more.

use std::collections::{BTreeMap, BTreeSet};

use weft_api::{EndpointId, NetworkId};
use weft_ipam::Purpose;
use weft_networkdb::Entry;

use super::Controller;
use super::endpoints::NAMES_TABLE;
use crate::control::Answer;

/// Own entries and attachments that an earlier start left.
#[derive(Debug, Default)]
pub(super) struct Orphans {
    found: BTreeMap<NetworkId, Vec<Entry>>,
    /// Tables are in step: what is found now goes at once.
    settled: bool,
}

impl Orphans {
    /// Whether a name is that of an endpoint which is no more.
    pub(super) fn has_name(&self, network: NetworkId, name: &str) -> bool {
        let is_it = |entry: &Entry| &*entry.table == NAMES_TABLE && &*entry.key == name;
        self.found.get(&network).is_some_and(|entries| entries.iter().any(is_it))
    }
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
                    // Entries written by hand keep an attachment.
                    let is_idle = !used.contains(&network) && !node.db().has_own_entries(network);
                    if !stray.is_empty() || is_idle {
                        found.push((network, stray));
                    }
                }
                (orphans, found)
            })
            .await?;
        orphans += found.iter().map(|(_, entries)| entries.len().max(1)).sum::<usize>();
        let settled = {
            let mut orphans = self.orphans();
            for (network, entries) in found {
                orphans.found.entry(network).or_default().extend(entries);
            }
            orphans.settled
        };
        if settled {
            self.release_orphans().await;
        }
        Ok(orphans)
    }

    /// Takes note of what an endpoint wrote whose sandbox vanished.
    pub(super) async fn orphan_entries(
        &self,
        network: NetworkId,
        entries: Vec<(String, String)>,
    ) -> Answer<()> {
        let found = self.node(move |node, _| {
            let own = node.id();
            // Absent when the crash came before it was written.
            let found = entries.iter().filter_map(|(table, key)| {
                node.db().entry(network, table, key).filter(|entry| entry.owner == own)
            });
            found.collect::<Vec<Entry>>()
        });
        let found = found.await?;
        self.orphans().found.entry(network).or_default().extend(found);
        Ok(())
    }

    /// Tables are in step.
    pub(super) async fn tables_settled(&self) {
        self.orphans().settled = true;
        self.release_orphans().await;
    }

    /// The membership ended, and all entries with it.
    pub(super) fn forget_orphans(&self) {
        *self.orphans() = Orphans::default();
    }

    async fn release_orphans(&self) {
        let networks: Vec<NetworkId> = self.orphans().found.keys().copied().collect();
        for network in networks {
            let found = self.orphans().found.get(&network).cloned().unwrap_or_default();
            let peers = found.into_iter().filter(|entry| &*entry.table == weft_overlay::PEER_TABLE);
            for peer in peers {
                // A join may be under way that finds its entry there.
                let _turn = self.locks.lock(format!("endpoint/{}", peer.key)).await;
                self.delete_strays(network, vec![peer]).await;
            }
            let _turn = self.lock_network(network).await;
            self.release_orphans_in(network).await;
        }
    }

    /// Deletes what was left in a network, and ends the attachment where nothing uses it. The
    /// caller holds the network's lock.
    pub(super) async fn release_orphans_in(&self, network: NetworkId) {
        let found = self.orphans().found.remove(&network);
        if let Some(entries) = found {
            self.delete_strays(network, entries).await;
            self.stop_using_with(network, None).await;
        }
    }

    /// Deletes entries that nobody has written anew since, and that no endpoint needs.
    async fn delete_strays(&self, network: NetworkId, entries: Vec<Entry>) {
        let joined = self.joined();
        let deleted = self.node(move |node, now| {
            for entry in entries.iter().filter(|entry| !joined.contains(&*entry.key)) {
                let Entry { table, key, .. } = entry;
                let standing = node.db().entry(network, table, key);
                if standing.is_some_and(|now| (now.owner, now.seq) == (entry.owner, entry.seq)) {
                    drop(node.with_db(now, |db| db.delete_entry(network, table, key, now)));
                }
            }
        });
        if let Err(error) = deleted.await {
            tracing::debug!(%network, %error, "strays were not deleted");
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
