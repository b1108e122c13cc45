//! Disks that are lost, rolled back or cloned.

use super::Nodes;
use super::host::{Endpoint, Identity};
use crate::cluster::Disk;

/// What was on a disk at some time.
pub struct Snapshot {
    disk: Disk,
    identity: Option<Identity>,
}

impl Nodes {
    /// Returns what is on a host's disk now.
    pub fn snapshot(&self, host: usize) -> Snapshot {
        let there = &self.hosts[host];
        Snapshot { disk: there.disk.clone(), identity: there.identity }
    }

    /// The host's agent ends and its disk is empty: it is in no cluster, and may join as a new
    /// node. What its endpoints were connected to is gone, too.
    pub fn lose_disk(&mut self, host: usize) {
        self.note_on(host, "loses its disk");
        self.ledger.tally.disks_lost += 1;
        self.distrust(host);
        self.hosts[host].disk = Disk::default();
        self.hosts[host].identity = None;
        self.hosts[host].is_stale = false;
    }

    /// The host's agent ends, and starts again from what was on its disk before. The boot counter
    /// is that of the older disk, too.
    pub fn roll_back(&mut self, host: usize, before: &Snapshot) {
        self.note_on(host, "starts from an older disk");
        self.ledger.tally.disks_rolled_back += 1;
        self.distrust(host);
        self.start_from(host, before);
    }

    /// A host that is in no cluster starts from a copy of another one's disk.
    pub fn clone_disk(&mut self, from: usize, to: usize) {
        self.note_on(to, format!("starts from a copy of the disk of host {from}"));
        self.ledger.tally.disks_cloned += 1;
        let copy = self.snapshot(from);
        self.mistrust(from);
        self.distrust(to);
        self.start_from(to, &copy);
    }

    fn start_from(&mut self, host: usize, snapshot: &Snapshot) {
        let there = &mut self.hosts[host];
        there.disk = snapshot.disk.clone();
        there.identity = snapshot.identity;
        there.is_stale = true;
        self.restart(host);
    }

    /// Nothing that a host's disk says counts any more; its agent ends.
    fn distrust(&mut self, host: usize) {
        if self.hosts[host].process.is_some() {
            self.drop_process(host);
        }
        self.mistrust(host);
        self.sweep(host);
    }

    fn mistrust(&mut self, host: usize) {
        self.ledger.allowance.disks_lost = true;
        self.ledger.allowance.ranges_left = true;
        // What only this disk knew is forgotten with it.
        self.parted();
        let endpoints: Vec<Endpoint> = self.hosts[host].inventory().collect();
        self.ledger.discount(host, endpoints.into_iter());
        self.hosts[host].is_stale = true;
    }
}
