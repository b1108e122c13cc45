//! Asks the endpoints of a lab who reaches whom, and how soon.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use futures_util::future::join_all;

use super::endpoint::Endpoint;
use super::ping::{Pace, Probe};

/// For pairs that should answer: convergence is part of what may be waited for, not of what is
/// judged here.
const PATIENT: Pace = Pace { every: Duration::from_millis(100), give_up: Duration::from_secs(10) };
/// For pairs that should not: enough for several requests and slow answers.
const FINAL: Pace =
    Pace { every: Duration::from_millis(300), give_up: Duration::from_millis(1000) };
/// For round trips.
const QUICK: Pace = Pace { every: Duration::from_millis(250), give_up: Duration::from_secs(1) };
const ROUND_TRIPS: usize = 50;

/// One ordered pair of endpoints, by index.
pub(super) type Pair = (usize, usize);

/// Returns the pairs within a network.
pub(super) fn pairs_inside(endpoints: &[Endpoint]) -> Vec<Pair> {
    pairs(endpoints, |one, other| one.plan.network == other.plan.network)
}

/// Returns the pairs across networks.
pub(super) fn pairs_across(endpoints: &[Endpoint]) -> Vec<Pair> {
    pairs(endpoints, |one, other| one.plan.network != other.plan.network)
}

fn pairs(endpoints: &[Endpoint], wanted: impl Fn(&Endpoint, &Endpoint) -> bool) -> Vec<Pair> {
    let each = |from| (0..endpoints.len()).map(move |to| (from, to));
    (0..endpoints.len())
        .flat_map(each)
        .filter(|&(from, to)| from != to && wanted(&endpoints[from], &endpoints[to]))
        .collect()
}

/// Pings all pairs at once, small and full-size, and returns who did not answer to what.
pub(super) async fn unreachable(
    endpoints: &[Endpoint],
    pairs: &[Pair],
) -> BTreeMap<Pair, Vec<Probe>> {
    let probes = |from: &Endpoint, to: &Endpoint| {
        let mtu = from.mtu.min(to.mtu);
        let both = |&address: &IpAddr| [Probe::small(address), Probe::full(address, mtu)];
        to.addresses.iter().flat_map(both).collect::<Vec<_>>()
    };
    let mut silent = BTreeMap::new();
    for (pair, probe, answered) in ask(endpoints, pairs, probes, PATIENT).await {
        if !answered {
            silent.entry(pair).or_insert_with(Vec::new).push(probe);
        }
    }
    silent
}

/// Pings all pairs at once and returns those that answered to anything.
pub(super) async fn leaked(endpoints: &[Endpoint], pairs: &[Pair]) -> BTreeSet<Pair> {
    let probes = |_: &Endpoint, to: &Endpoint| {
        to.addresses.iter().map(|&address| Probe::small(address)).collect::<Vec<_>>()
    };
    let asked = ask(endpoints, pairs, probes, FINAL).await;
    asked.into_iter().filter(|(_, _, answered)| *answered).map(|(pair, ..)| pair).collect()
}

async fn ask(
    endpoints: &[Endpoint],
    pairs: &[Pair],
    probes: impl Fn(&Endpoint, &Endpoint) -> Vec<Probe>,
    pace: Pace,
) -> Vec<(Pair, Probe, bool)> {
    let mut rounds: BTreeMap<usize, Vec<(Pair, Probe)>> = BTreeMap::new();
    for &(from, to) in pairs {
        let asked = probes(&endpoints[from], &endpoints[to]);
        rounds.entry(from).or_default().extend(asked.into_iter().map(|probe| ((from, to), probe)));
    }
    let rounds = rounds.into_iter().map(|(from, asked)| async move {
        let probes: Vec<_> = asked.iter().map(|(_, probe)| *probe).collect();
        let answers = endpoints[from].source.round(&probes, pace).await;
        let answered = answers.into_iter().map(|answer| answer.is_some());
        asked.into_iter().zip(answered).map(|((pair, probe), yes)| (pair, probe, yes)).collect()
    });
    let found: Vec<Vec<_>> = join_all(rounds).await;
    found.into_iter().flatten().collect()
}

/// Measures round trips between two hosts.
pub(super) async fn round_trips(endpoints: &[Endpoint]) -> Vec<Duration> {
    let between = pairs_inside(endpoints)
        .into_iter()
        .find(|&(from, to)| endpoints[from].plan.host != endpoints[to].plan.host);
    let Some((from, to)) = between else { return Vec::new() };
    let Some(&address) = endpoints[to].addresses.first() else { return Vec::new() };
    let mut samples = Vec::with_capacity(ROUND_TRIPS);
    for _ in 0..ROUND_TRIPS {
        let answers = endpoints[from].source.round(&[Probe::small(address)], QUICK).await;
        samples.extend(answers.into_iter().flatten().map(|answer| answer.round_trip));
    }
    samples
}

/// Counts addresses that more than one endpoint has.
pub(super) fn duplicates(endpoints: &[Endpoint]) -> Vec<String> {
    let texts = endpoints.iter().flat_map(|endpoint| {
        let addresses = endpoint.addresses.iter().map(ToString::to_string);
        addresses.chain(endpoint.mac.map(|mac| mac.to_string()))
    });
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for text in texts {
        *seen.entry(text).or_default() += 1;
    }
    seen.into_iter().filter(|(_, count)| *count > 1).map(|(text, _)| text).collect()
}
