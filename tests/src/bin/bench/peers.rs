//! How soon peers are in the kernel: the overlay driver as the agent composes it (its task, the
//! planner, the real executor), in a namespace of its own.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use anyhow::Context;
use ipnetwork::IpNetwork;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use weft_agent::lab::Quantiles;
use weft_agent::overlay_driver::{OverlayDriver, OverlayTask, options};
use weft_api::driver::{
    Driver, EventType, Interface, JoinResult, NetworkRegistration, Options, Scope,
};
use weft_api::{Definition, EndpointId, Mac, NetworkId, NodeId, Stamp, Subnet, Vni};
use weft_overlay::netlink::namespace::{make_anonymous, make_pinned, release_directory, unpin};
use weft_overlay::netlink::{Connection, Executor, Namespace, link};
use weft_overlay::{Host, PEER_TABLE, PeerRecord, Planner, names};

use crate::kernel_watch::KernelWatch;
use crate::table::{Row, spread};

const PEERS: u32 = 10_000;
const ROUNDS: usize = 7;
const SINGLE: u32 = 3_000;
/// The agent's own pace.
const RECONCILE_EVERY: Duration = Duration::from_secs(5);
/// Longest wait for an entry.
const ENTRY_MAX: Duration = Duration::from_secs(10);
const NETWORK: NetworkId = NetworkId::from_bytes([0xbe; 16]);
const OWN: EndpointId = EndpointId::from_bytes([0xff; 16]);

/// The driver of one network, and its end.
struct Bed {
    driver: OverlayDriver,
    run_dir: tempfile::TempDir,
    sandbox: std::path::PathBuf,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

pub(crate) async fn measure() -> anyhow::Result<Vec<Row>> {
    let bed = Bed::make().await?;
    let measured = bed.measure().await;
    bed.remove().await?;
    measured
}

impl Bed {
    async fn make() -> anyhow::Result<Self> {
        let run_dir = tempfile::tempdir()?;
        let host = make_anonymous()?;
        let mut connection = Connection::open(&host).await?;
        link::set_up(&mut connection, "lo").await?;
        let sandbox = run_dir.path().join("sandbox");
        make_pinned(&sandbox)?;
        let executor = Executor::new_in(host, run_dir.path())?;
        let planner = Planner::new(Host {
            node: NodeId::default(),
            vtep: Ipv4Addr::new(192, 0, 2, 200).into(),
            vxlan_port: 4789,
            uplink_mtu: 1500,
        });
        let (vanished, _) = mpsc::channel(1);
        let (driver, task): (_, OverlayTask) =
            OverlayDriver::new(planner, executor, RECONCILE_EVERY, vanished);
        let stop = CancellationToken::new();
        let task = tokio::spawn(task.run(stop.clone()));
        Ok(Self { driver, run_dir, sandbox, stop, task })
    }

    async fn remove(self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.task.await?;
        unpin(&self.sandbox)?;
        release_directory(self.run_dir.path().join("netns"))?;
        Ok(())
    }

    async fn measure(&self) -> anyhow::Result<Vec<Row>> {
        let (options, ipv4, ipv6) = options::options_of(&definition()?);
        let mut tables = NetworkRegistration::new(Scope::Global);
        self.driver.create_network(NETWORK, &options, &mut tables, &ipv4, &ipv6).await?;
        self.driver.set_restored().await;
        self.driver.set_synced(true).await;
        let mut interface =
            Interface { address: Some(pooled(u32::from(u16::MAX) - 1)?), ..Interface::default() };
        self.driver.create_endpoint(NETWORK, OWN, &mut interface, &Options::new()).await?;
        let empty = self.joins().await?;
        self.join().await?;
        let path = self.run_dir.path().join("netns").join(names::namespace(NETWORK));
        let mut watch = KernelWatch::open(&Namespace::open(&path)?)?;
        let mut storms = Vec::new();
        for _ in 0..ROUNDS {
            storms.push(self.storm(&mut watch).await?);
        }
        let single = self.singles(&mut watch).await?;
        drop(watch);
        self.leave().await?;
        let full = self.joins().await?;
        let judged = Quantiles::of(storms.clone());
        Ok(vec![
            Row::judged(
                "10,000 peer events to forwarding and neighbour entries",
                "<= 150 ms",
                spread(&storms),
                judged.p50 <= 150.0,
            )
            .against("rtnetlink one by one: see below".to_owned()),
            Row::told("  a network built with 10,000 known peers", spread(&full))
                .against(format!("with none: {}", spread(&empty))),
            Row::judged(
                "one peer event to its kernel entries, beside 10,000",
                "p99 <= 5 ms",
                spread(&single),
                Quantiles::of(single.clone()).p99 <= 5.0,
            ),
        ])
    }

    async fn join(&self) -> anyhow::Result<()> {
        let options = Options::from([(options::IFNAME.to_owned(), "eth0".into())]);
        let sandbox = self.sandbox.display().to_string();
        let mut result = JoinResult::default();
        Ok(self.driver.join(NETWORK, OWN, &sandbox, &mut result, &options).await?)
    }

    async fn leave(&self) -> anyhow::Result<()> {
        Ok(self.driver.leave(NETWORK, OWN).await?)
    }

    /// Builds the network of what is known and takes it away again, some times.
    async fn joins(&self) -> anyhow::Result<Vec<Duration>> {
        let mut times = Vec::new();
        for _ in 0..ROUNDS {
            let begin = Instant::now();
            self.join().await?;
            times.push(begin.elapsed());
            self.leave().await?;
        }
        Ok(times)
    }

    async fn tell(&self, event: EventType, number: u32) -> anyhow::Result<Mac> {
        let (key, record) = peer(number)?;
        let value = record.encode();
        self.driver.event_notify(event, NETWORK, PEER_TABLE, &key, &value).await;
        Ok(record.mac)
    }

    /// Takes all peers away and tells of them anew; returns the time of the latter.
    async fn storm(&self, watch: &mut KernelWatch) -> anyhow::Result<Duration> {
        for number in 0..PEERS {
            self.tell(EventType::Delete, number).await?;
        }
        // What this asks comes after what was told.
        self.driver.status().await.context("the driver's task ended")?;
        tokio::time::sleep(Duration::from_millis(300)).await;
        watch.skip();
        let begin = Instant::now();
        for number in 0..PEERS {
            self.tell(EventType::Create, number).await?;
        }
        let mut last = begin;
        for _ in 0..PEERS * 2 {
            last = last.max(watch.next(ENTRY_MAX).await?.at);
        }
        Ok(last - begin)
    }

    async fn singles(&self, watch: &mut KernelWatch) -> anyhow::Result<Vec<Duration>> {
        let mut times = Vec::new();
        for number in PEERS..PEERS + SINGLE {
            watch.skip();
            let begin = Instant::now();
            let mac = self.tell(EventType::Create, number).await?;
            times.push(watch.both_of(mac, ENTRY_MAX).await? - begin);
            // Over several of the reconciler's periods, and not in step with them.
            tokio::time::sleep(Duration::from_millis(4 + u64::from(number * 7 % 3))).await;
        }
        Ok(times)
    }
}

fn pooled(number: u32) -> anyhow::Result<IpNetwork> {
    let address = Ipv4Addr::from_bits(Ipv4Addr::new(10, 130, 0, 0).to_bits() + number);
    Ok(IpNetwork::new(IpAddr::V4(address), 16)?)
}

fn definition() -> anyhow::Result<Definition> {
    let subnet = Subnet {
        pool: pooled(0)?,
        gateway: None,
        range: None,
        auxiliary: Default::default(),
        vni: Vni::new(4_242)?,
    };
    Ok(Definition {
        id: NETWORK,
        name: "bench".to_owned(),
        driver: "overlay".to_owned(),
        ipam: "weft".to_owned(),
        subnets: vec![subnet],
        options: Default::default(),
        mtu: None,
        internal: true,
        stamp: Stamp::default(),
    })
}

/// A peer on one of 24 hosts.
fn peer(number: u32) -> anyhow::Result<(String, PeerRecord)> {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&number.to_be_bytes());
    let address = pooled(number + 2)?;
    let IpAddr::V4(v4) = address.ip() else { anyhow::bail!("the pool is IPv4") };
    let record = PeerRecord {
        v4: Some(address),
        v6: None,
        mac: Mac::from_ipv4(v4),
        vtep: Ipv4Addr::new(192, 0, 2, (number % 24 + 1) as u8).into(),
        stamp: Stamp { lamport: u64::from(number) + 1, node: NodeId::default() },
        replaces: None,
    };
    Ok((EndpointId::from_bytes(id).to_string(), record))
}
