//! From the attach of an endpoint on one host to its first answer to a host far away.

use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use weft_agent::control::Detail;
use weft_agent::lab::Quantiles;
use weft_agent::lab::ping::{Pace, Probe};
use weft_api::control::{AttachRequest, DetachRequest};
use weft_overlay::names;
use weft_overlay::netlink::Namespace;
use weft_overlay::netlink::namespace::{make_pinned, unpin};

use crate::bed::{Bed, Beds, settle};
use crate::kernel_watch::KernelWatch;
use crate::table::{Row, spread};

const ATTACHES: usize = 60;
/// Often, so that the pause between two requests is no part of the result.
const EAGER: Pace = Pace { every: Duration::from_millis(1), give_up: Duration::from_secs(10) };
const QUICK: Pace = Pace { every: Duration::from_millis(250), give_up: Duration::from_secs(1) };
const PINGS: u16 = 77;

/// Longest wait for the entries of a peer whose endpoint answers already.
const ENTRY_MAX: Duration = Duration::from_secs(2);

/// Times since the attach was asked for.
struct Times {
    /// The call returned.
    call: Duration,
    /// The other host's kernel had the peer's entries.
    entries: Duration,
    /// The first ping was answered.
    ping: Duration,
}

pub(crate) async fn measure(beds: &Beds) -> anyhow::Result<Vec<Row>> {
    let bed = beds.make(3).await?;
    settle(Duration::from_secs(2)).await;
    let network = bed.clients[0].network(bed.network(), Detail::Plain).await?.id;
    let namespace = names::namespace(network);
    let mut watches = Vec::new();
    for host in &bed.standing.hosts {
        let run = host.socket.parent().unwrap_or(Path::new("/"));
        watches.push(KernelWatch::open(&Namespace::open(run.join("netns").join(&namespace))?)?);
    }
    let mut all = Vec::new();
    for number in 0..ATTACHES {
        let far = (number + 1) % bed.clients.len();
        all.push(one(&bed, number, far, &mut watches[far]).await?);
        settle(Duration::from_millis(20)).await;
    }
    let trips = round_trips(&bed).await?;
    let each = |time: fn(&Times) -> Duration| all.iter().map(time).collect::<Vec<_>>();
    let pings = each(|times| times.ping);
    Ok(vec![
        Row::judged(
            "attach on host A to first ping from host B",
            "p50 <= 60 ms",
            spread(&pings),
            Quantiles::of(pings.clone()).p50 <= 60.0,
        ),
        Row::told("  of it, until the attach call returns", spread(&each(|times| times.call))),
        Row::told(
            "  of it, until host B's kernel has the entries",
            spread(&each(|times| times.entries)),
        ),
        Row::told("round trip between endpoints on two hosts", spread(&trips)),
    ])
}

/// Attaches an endpoint and pings it from host `far`, whose kernel is watched.
async fn one(
    bed: &Bed,
    number: usize,
    far: usize,
    watch: &mut KernelWatch,
) -> anyhow::Result<Times> {
    let host = number % bed.clients.len();
    let from = bed.source(far, PINGS)?;
    let netns = bed.standing.directory.join("ns").join(format!("bench-{number}"));
    make_pinned(&netns)?;
    let request = AttachRequest {
        network: bed.network().to_owned(),
        name: None,
        addresses: Vec::new(),
        mac: None,
        netns: netns.display().to_string(),
        ifname: None,
        options: Default::default(),
    };
    watch.skip();
    let begin = Instant::now();
    let made = bed.clients[host].attach(&request).await?;
    let call = begin.elapsed();
    let address: IpAddr = made.address.context("an endpoint has an address")?.ip();
    let answers = from.round(&[Probe::small(address)], EAGER).await;
    let answer = answers[0].context("the new endpoint never answered")?;
    let entries = watch.both_of(made.mac.context("an endpoint has a MAC")?, ENTRY_MAX).await?;
    bed.clients[host].detach(&DetachRequest { endpoint: made.id.to_string() }).await?;
    unpin(&netns)?;
    Ok(Times { call, entries: entries - begin, ping: answer.at.into_std() - begin })
}

async fn round_trips(bed: &Bed) -> anyhow::Result<Vec<Duration>> {
    let (from, to) = (bed.source(0, PINGS)?, bed.address(1)?);
    let mut trips = Vec::new();
    for _ in 0..200 {
        let answers = from.round(&[Probe::small(to)], QUICK).await;
        trips.extend(answers.into_iter().flatten().map(|answer| answer.round_trip));
    }
    Ok(trips)
}
