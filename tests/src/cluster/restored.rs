//! Starts from disks that may be damaged.

use weft_networkdb::NetworkDb;

use super::Cluster;
use rand::Rng;

impl Cluster {
    /// Starts a host that is down, if its disk allows it.
    pub fn starts(&mut self, host: usize) -> bool {
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        let nonce = self.rng.next_u64();
        let config = self.hosts[host].boot(self.cluster, nonce, seed, &self.limits, &self.timing);
        let records = self.hosts[host].disk.records();
        let Ok(db) = NetworkDb::new(config, records, self.now) else { return false };
        self.hosts[host].db = Some(db);
        self.drain(host);
        true
    }
}
