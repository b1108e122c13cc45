//! How soon an address is allocated, on disk before it is told, and whether a pool can be filled.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Seek, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use futures_util::{StreamExt, stream};
use ipnetwork::IpNetwork;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use weft_agent::core::{Core, CoreHandle, Ends, Settings};
use weft_agent::gossip::streams::SharedSecrets;
use weft_agent::identity;
use weft_agent::lab::Quantiles;
use weft_agent::node::Node;
use weft_agent::store::Store;
use weft_api::control::EndpointCreate;
use weft_api::{Definition, EndpointId, NetworkId, Stamp, Subnet, Vni};
use weft_ipam::{BlockPool, ClusterPools, Granted, Purpose, Request, Space, Want};
use weft_networkdb::Outcome;

use crate::bed::{Beds, settle};
use crate::table::{Row, short, spread};

const SINGLE: usize = 1_000;
/// Requests under way at a time while the pool is filled.
const AT_ONCE: usize = 256;
const CREATES: usize = 200;
/// Bytes of the plain write that a commit is compared with.
const PAGE: usize = 4_096;
const POOL: Ipv4Addr = Ipv4Addr::new(10, 131, 0, 0);
/// All but the network's and the broadcast address, and the gateway's.
const USABLE: usize = 65_536 - 3;

pub(crate) async fn measure(beds: &Beds) -> anyhow::Result<Vec<Row>> {
    let directory = tempfile::tempdir()?;
    let core = OneCore::start(&directory.path().join("weft.redb")).await?;
    let network = core.define().await?;
    let (mut single, mut plain) = (Vec::new(), Vec::new());
    let mut given = BTreeSet::new();
    let mut file = File::create(directory.path().join("plain"))?;
    for _ in 0..SINGLE {
        let begin = Instant::now();
        let address = request(&core.handle, network).await?.context("the pool is not full")?;
        single.push(begin.elapsed());
        anyhow::ensure!(given.insert(address), "{address} was given twice");
        plain.push(tokio::task::block_in_place(|| write_page(&mut file))?);
    }
    let begin = Instant::now();
    let filled = fill(&core.handle, network, &mut given).await?;
    let took = begin.elapsed();
    core.stop().await?;
    let creates = creates(beds).await?;
    let judged = Quantiles::of(single.clone());
    let whole = given.len() == USABLE;
    Ok(vec![
        Row::judged(
            "local address allocation, on disk before it is told",
            "p50 <= 1 ms",
            spread(&single),
            judged.p50 <= 1.0,
        )
        .against(format!("4 KiB write and fdatasync: {}", spread(&plain))),
        Row::judged(
            "a /16 filled to its last usable address",
            "65,533 addresses",
            format!("{} addresses, none twice", given.len()),
            whole,
        )
        .against(format!("{} /s, 256 at a time", short(filled as f64 / took.as_secs_f64()))),
        Row::told("endpoint create through the control socket", spread(&creates)),
    ])
}

fn write_page(file: &mut File) -> std::io::Result<Duration> {
    let begin = Instant::now();
    file.rewind()?;
    file.write_all(&[0x5a; PAGE])?;
    file.sync_data()?;
    Ok(begin.elapsed())
}

/// The agent's core by itself: its store on disk, a cluster of one.
struct OneCore {
    handle: CoreHandle,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), weft_agent::store::StoreError>>,
}

impl OneCore {
    async fn start(state: &Path) -> anyhow::Result<Self> {
        let udp = UdpSocket::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        let settings = Settings {
            name: "bench".to_owned(),
            advertise: udp.local_addr()?,
            rest: Duration::from_secs(60),
        };
        let (_, incoming) = mpsc::channel(1);
        let store = Store::open(state)?;
        let secrets = SharedSecrets::default();
        let (core, inputs, Ends { handle, mut news }) =
            Core::new(settings, store, udp, secrets, incoming, Instant::now())?;
        let stop = CancellationToken::new();
        let task = tokio::spawn(core.run(inputs, stop.clone()));
        tokio::spawn(async move { while news.recv().await.is_some() {} });
        handle.call(|core, now| core.init(&pools(), now)).await??;
        Ok(Self { handle, stop, task })
    }

    async fn define(&self) -> anyhow::Result<NetworkId> {
        let definition = definition()?;
        let id = definition.id;
        let define = move |node: &mut Node, now| {
            node.with_db(now, |db| db.define(definition, Vec::new(), now))
        };
        let claim =
            self.handle.call_later(move |core, answer, now| core.claim(define, answer, now));
        match claim.await?.outcome {
            Outcome::Defined(_) => Ok(id),
            other @ (Outcome::Joined(_)
            | Outcome::Refused(_)
            | Outcome::Deleted(_)
            | Outcome::Rotated(_)
            | Outcome::Forgotten(_)) => {
                anyhow::bail!("the network was not defined: {other:?}")
            }
        }
    }

    async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        Ok(self.task.await??)
    }
}

fn pools() -> ClusterPools {
    let block = |text: &str, block_prefix| BlockPool {
        pool: text.parse().expect("the text is a network"),
        block_prefix,
    };
    ClusterPools {
        vnis: 1_000..=2_000,
        default4: block("10.200.0.0/16", 24),
        default6: block("fd00:77::/48", 64),
    }
}

fn pool() -> anyhow::Result<IpNetwork> {
    Ok(IpNetwork::new(POOL.into(), 16)?)
}

fn definition() -> anyhow::Result<Definition> {
    let subnet = Subnet {
        pool: pool()?,
        gateway: Some(IpAddr::from([10, 131, 0, 1])),
        range: None,
        auxiliary: Default::default(),
        vni: Vni::new(77)?,
    };
    Ok(Definition {
        id: NetworkId::from_bytes(identity::random()?),
        name: "bench".to_owned(),
        driver: "overlay".to_owned(),
        ipam: "weft".to_owned(),
        subnets: vec![subnet],
        options: Default::default(),
        mtu: None,
        internal: false,
        stamp: Stamp::default(),
    })
}

/// Asks for an address; none when there is none left.
async fn request(core: &CoreHandle, network: NetworkId) -> anyhow::Result<Option<IpAddr>> {
    let request = Request {
        space: Space::Subnet { network, pool: pool()? },
        want: Want::First,
        within: None,
        purpose: Purpose::Endpoint(EndpointId::from_bytes(identity::random()?)),
    };
    match core.call_later(move |core, answer, now| core.request(request, answer, now)).await? {
        Ok(Granted::Address(address)) => Ok(Some(address.ip())),
        Ok(Granted::Block(_)) => anyhow::bail!("asked for an address and got a block"),
        Err(weft_ipam::Error::NoAvailableIps { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Asks until there is none left; returns how many there were.
async fn fill(
    core: &CoreHandle,
    network: NetworkId,
    given: &mut BTreeSet<IpAddr>,
) -> anyhow::Result<usize> {
    let requests = stream::repeat_with(|| request(core, network)).take(1 << 17);
    let mut requests = requests.buffer_unordered(AT_ONCE);
    let mut count = 0;
    while let Some(answer) = requests.next().await {
        let Some(address) = answer? else { return Ok(count) };
        anyhow::ensure!(given.insert(address), "{address} was given twice");
        count += 1;
    }
    anyhow::bail!("the pool never filled up")
}

/// Makes endpoints through the control socket of a real agent.
async fn creates(beds: &Beds) -> anyhow::Result<Vec<Duration>> {
    let bed = beds.make(2).await?;
    settle(Duration::from_secs(1)).await;
    let request = EndpointCreate {
        name: None,
        addresses: Vec::new(),
        mac: None,
        options: Default::default(),
    };
    let mut times = Vec::new();
    for _ in 0..CREATES {
        let begin = Instant::now();
        bed.clients[0].create_endpoint(bed.network(), &request).await?;
        times.push(begin.elapsed());
    }
    Ok(times)
}
