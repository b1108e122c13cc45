//! What happens in a soak: networks and endpoints come and go, sandboxes vanish, agents end and
//! stand still, hosts are cut off.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use weft_agent::control::HeldByEngine;
use weft_agent::lab::ping::Stream;
use weft_api::control::{AttachRequest, DetachRequest, EndpointResource, NetworkCreate};
use weft_tests::testbed::{Cut, Sandbox, SteadyPing, Testbed, addresses, eventually, knows};

/// The network that is left alone, on the first two hosts.
const STEADY: &str = "steady";
/// Between two changes.
const PAUSE: Duration = Duration::from_millis(150);
/// How long a change may take; while a member stands still a claim waits for it.
const PATIENCE: Duration = Duration::from_secs(15);
const NETWORKS_MAX: usize = 4;
const SANDBOXES_MAX: usize = 16;

/// What is wrong at the moment.
#[derive(Debug, Clone, Copy)]
enum Trouble {
    Frozen(usize),
    Cut,
}

/// Makes changes, and faults one at a time.
#[derive(Debug)]
pub(crate) struct Churn {
    rng: ChaCha8Rng,
    /// Names are not used twice.
    made: u64,
    sandboxes: Vec<Sandbox>,
    trouble: Option<(Trouble, Instant)>,
    tally: BTreeMap<&'static str, u64>,
    _steady: [Sandbox; 2],
    pings: Vec<SteadyPing>,
}

impl Churn {
    /// Lets traffic run that nothing may disturb.
    pub(crate) async fn begin(testbed: &Testbed, seed: u64) -> Self {
        let network = NetworkCreate { ipv6: true, ..NetworkCreate::named(STEADY) };
        testbed.hosts[0].client.create_network(&network).await.expect("a network");
        knows(&testbed.hosts[1].client, STEADY).await;
        let (near, one) = testbed.attach(0, STEADY, "near").await;
        let (far, two) = testbed.attach(1, STEADY, "far").await;
        let (one, two) = (addresses(&one), addresses(&two));
        near.reaches(&two).await;
        far.reaches(&one).await;
        let pings = vec![near.stream_to(two[0]), far.stream_to(one[1])];
        let rng = ChaCha8Rng::seed_from_u64(seed);
        let (sandboxes, tally) = (Vec::new(), BTreeMap::new());
        Self { rng, made: 0, sandboxes, trouble: None, tally, _steady: [near, far], pings }
    }

    /// What was done, by kind.
    pub(crate) fn tally(&self) -> BTreeMap<&'static str, u64> {
        self.tally.clone()
    }

    /// Ends the steady traffic; what both directions met.
    pub(crate) async fn end(&mut self) -> Vec<Stream> {
        let mut seen = Vec::new();
        for ping in self.pings.drain(..) {
            seen.push(ping.end().await);
        }
        seen
    }

    fn count(&mut self, what: &'static str) {
        *self.tally.entry(what).or_default() += 1;
    }

    /// Changes things for so long.
    pub(crate) async fn round(&mut self, testbed: &mut Testbed, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            if self.trouble.is_some_and(|(_, until)| until <= Instant::now()) {
                self.mend(testbed);
            }
            match self.rng.random_range(0..100) {
                0..12 => self.create(testbed).await,
                12..20 => self.delete(testbed).await,
                20..60 => self.attach(testbed).await,
                60..85 => self.detach(testbed).await,
                85..92 => self.vanish(),
                92..95 if self.trouble.is_none() => self.restart(testbed).await,
                95..97 if self.trouble.is_none() => self.freeze(testbed),
                97..100 if self.trouble.is_none() => self.cut(testbed),
                _ => {}
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Takes everything back: no fault, no network but the steady one, all agents together.
    pub(crate) async fn calm(&mut self, testbed: &mut Testbed) {
        self.mend(testbed);
        testbed.settled().await;
        for host in 0..testbed.hosts.len() {
            for endpoint in self.endpoints(testbed, host).await {
                testbed.hosts[host].detach(&endpoint.id.to_string()).await;
            }
        }
        for sandbox in self.sandboxes.drain(..) {
            sandbox.vanish();
        }
        let client = &testbed.hosts[0].client;
        eventually("all networks but the steady one are deleted", async || {
            let all = client.networks(&Default::default()).await.ok()?;
            let others: Vec<_> = all.iter().filter(|network| network.name != STEADY).collect();
            for network in &others {
                let id = network.id.to_string();
                drop(client.delete_network(&id, HeldByEngine::Refuse).await);
            }
            others.is_empty().then_some(())
        })
        .await;
    }

    async fn endpoints(&self, testbed: &Testbed, host: usize) -> Vec<EndpointResource> {
        let all = testbed.hosts[host].client.endpoints(None, &Default::default()).await;
        let mut all = all.expect("endpoints");
        all.retain(|endpoint| endpoint.network != STEADY);
        all
    }

    /// A host whose agent goes about its work.
    fn host(&mut self, testbed: &Testbed) -> usize {
        loop {
            let host = self.rng.random_range(0..testbed.hosts.len());
            if !matches!(self.trouble, Some((Trouble::Frozen(frozen), _)) if frozen == host) {
                return host;
            }
        }
    }

    fn name(&mut self, kind: &str) -> String {
        self.made += 1;
        format!("{kind}{}", self.made)
    }

    async fn a_network(&mut self, testbed: &Testbed, host: usize) -> Result<String, usize> {
        let all = testbed.hosts[host].client.networks(&Default::default()).await;
        let mut all = all.expect("networks");
        all.retain(|network| network.name != STEADY);
        match all.len() {
            0 => Err(0),
            count => Ok(all.swap_remove(self.rng.random_range(0..count)).name),
        }
    }

    async fn create(&mut self, testbed: &Testbed) {
        let (host, name) = (self.host(testbed), self.name("n"));
        let client = &testbed.hosts[host].client;
        let all = client.networks(&Default::default()).await.expect("networks");
        if all.len() > NETWORKS_MAX {
            return;
        }
        let (ipv6, internal) = (self.rng.random_bool(0.5), self.rng.random_bool(0.3));
        let network = NetworkCreate { ipv6, internal, ..NetworkCreate::named(&name) };
        let done = tokio::time::timeout(PATIENCE, client.create_network(&network)).await;
        self.count(if matches!(done, Ok(Ok(_))) { "networks created" } else { "refused" });
    }

    async fn delete(&mut self, testbed: &Testbed) {
        let host = self.host(testbed);
        let Ok(network) = self.a_network(testbed, host).await else { return };
        let client = &testbed.hosts[host].client;
        let deleted = client.delete_network(&network, HeldByEngine::Refuse);
        let done = tokio::time::timeout(PATIENCE, deleted).await;
        self.count(if matches!(done, Ok(Ok(()))) { "networks deleted" } else { "refused" });
    }

    async fn attach(&mut self, testbed: &Testbed) {
        let host = self.host(testbed);
        let Ok(network) = self.a_network(testbed, host).await else { return };
        if self.sandboxes.len() >= SANDBOXES_MAX {
            return;
        }
        let name = self.name("e");
        let sandbox = testbed.sandbox(&name);
        let request = AttachRequest {
            network,
            name: Some(name),
            addresses: Vec::new(),
            mac: None,
            netns: sandbox.text().to_owned(),
            ifname: None,
            options: Default::default(),
        };
        self.sandboxes.push(sandbox);
        let done = testbed.hosts[host].client.attach(&request);
        let done = tokio::time::timeout(PATIENCE, done).await;
        self.count(if matches!(done, Ok(Ok(_))) { "endpoints attached" } else { "refused" });
    }

    async fn detach(&mut self, testbed: &Testbed) {
        let host = self.host(testbed);
        let mut all = self.endpoints(testbed, host).await;
        if all.is_empty() {
            return;
        }
        let endpoint = all.swap_remove(self.rng.random_range(0..all.len()));
        let request = DetachRequest { endpoint: endpoint.id.to_string() };
        let done = testbed.hosts[host].client.detach(&request);
        let done = tokio::time::timeout(PATIENCE, done).await;
        self.count(if matches!(done, Ok(Ok(()))) { "endpoints detached" } else { "refused" });
        let key = endpoint.sandbox.map(|sandbox| sandbox.key);
        let left = self.sandboxes.iter().position(|s| Some(s.text()) == key.as_deref());
        if let Some(left) = left {
            self.sandboxes.swap_remove(left).vanish();
        }
    }

    /// A container ends, and nobody says so.
    fn vanish(&mut self) {
        if !self.sandboxes.is_empty() {
            let any = self.rng.random_range(0..self.sandboxes.len());
            self.sandboxes.swap_remove(any).vanish();
            self.count("sandboxes vanished");
        }
    }

    /// Any agent but the first one's, which lives from the beginning to the end.
    fn other(&mut self, testbed: &Testbed) -> usize {
        self.rng.random_range(1..testbed.hosts.len())
    }

    async fn restart(&mut self, testbed: &mut Testbed) {
        let host = self.other(testbed);
        if self.rng.random_bool(0.5) {
            testbed.hosts[host].kill();
            self.count("agents killed");
        } else {
            testbed.hosts[host].stop();
            self.count("agents stopped");
        }
        testbed.hosts[host].start(&[]);
        testbed.hosts[host].answers().await;
    }

    fn freeze(&mut self, testbed: &mut Testbed) {
        let host = self.other(testbed);
        testbed.hosts[host].freeze();
        self.count("agents frozen");
        let until = Instant::now() + Duration::from_millis(self.rng.random_range(500..6000));
        self.trouble = Some((Trouble::Frozen(host), until));
    }

    fn cut(&mut self, testbed: &Testbed) {
        let host = self.rng.random_range(2..testbed.hosts.len());
        let cuts = [Cut::Both(host), Cut::From(host), Cut::Mute(host)];
        testbed.cut(&[cuts[self.rng.random_range(0..cuts.len())]]);
        self.count("hosts cut off");
        let until = Instant::now() + Duration::from_millis(self.rng.random_range(500..10_000));
        self.trouble = Some((Trouble::Cut, until));
    }

    fn mend(&mut self, testbed: &mut Testbed) {
        match self.trouble.take() {
            Some((Trouble::Frozen(host), _)) => testbed.hosts[host].thaw(),
            Some((Trouble::Cut, _)) => testbed.cut(&[]),
            None => {}
        }
    }
}
