//! Puts a lab to the test and writes the report.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};
use weft_api::control::{DetachRequest, EndpointResource, EndpointState, ListFilter};
use weft_overlay::netlink::namespace::unpin;

use super::Options;
use super::build::Lab;
use super::endpoint::{self, Endpoint, STREAM};
use super::ground::explain;
use super::measure::{self, Pair};
use super::ping::{Pace, Probe, Source, Stream};
use super::plan::{EndpointPlan, Plan};
use super::progress::Verdict;
use super::report::{FAILURES_MAX, Quantiles, Report, milliseconds};
use crate::failure::Failure;

/// Endpoints attached only to measure how soon they answer.
const FIRST_PINGS: usize = 20;
/// For a first ping: often, so that the pause is no part of the result.
const EAGER: Pace = Pace { every: Duration::from_millis(2), give_up: Duration::from_secs(10) };
/// The stream of pings to an endpoint whose agent is killed.
const STREAM_EVERY: Duration = Duration::from_millis(10);
const STREAM_GRACE: Duration = Duration::from_millis(500);
/// Time a restarted agent may take until it attaches again.
const RECOVERY_MAX: Duration = Duration::from_secs(60);
const RETRY_EVERY: Duration = Duration::from_millis(5);

/// Makes a lab out of `plan` and measures it; whoever called removes it.
pub(super) async fn run(plan: Plan, options: Options) -> Result<Report, Failure> {
    let begin = Instant::now();
    let lab = Lab::build(plan, &options).await?;
    let mut trial = Trial { lab, found: Found::default() };
    trial.ask_all("Ping every pair").await;
    trial.first_pings().await?;
    trial.round_trips().await;
    trial.kill_one().await?;
    trial.ask_all("Ping every pair again").await;
    Ok(trial.report(begin.elapsed()))
}

struct Trial {
    lab: Lab,
    found: Found,
}

#[derive(Default)]
struct Found {
    silent: BTreeSet<Pair>,
    leaked: BTreeSet<Pair>,
    first_pings: Vec<Duration>,
    first_pings_missed: usize,
    round_trips: Vec<Duration>,
    recovery: Option<Duration>,
    stream: Option<Stream>,
    failures: Vec<String>,
}

impl Found {
    fn fail(&mut self, text: String) {
        self.failures.push(text);
    }
}

impl Trial {
    /// Pings all pairs, those that should answer and those that should not.
    async fn ask_all(&mut self, what: &str) {
        let step = self.lab.progress.step(what);
        let inside = measure::pairs_inside(&self.lab.endpoints);
        let silent = measure::unreachable(&self.lab.endpoints, &inside).await;
        let answering = inside.len() - silent.len();
        step.judged(Verdict::of(silent.len()), format!("{answering} of {} answer", inside.len()));
        self.note_silent(&silent);

        let step = self.lab.progress.step("Ping across networks");
        let across = measure::pairs_across(&self.lab.endpoints);
        let leaked = measure::leaked(&self.lab.endpoints, &across).await;
        let found = format!("{} of {} answer", leaked.len(), across.len());
        step.judged(Verdict::of(leaked.len()), found);
        for &(from, to) in &leaked {
            let (from, to) = (self.name(from), self.name(to));
            self.found.fail(format!("{from} reaches {to} in another network"));
        }
        self.found.leaked.extend(leaked);
    }

    fn note_silent(&mut self, silent: &BTreeMap<Pair, Vec<Probe>>) {
        for (&(from, to), probes) in silent {
            let (from_name, to_name) = (self.name(from), self.name(to));
            let tried: Vec<_> = probes.iter().map(describe).collect();
            let text = format!("{from_name} does not reach {to_name}: {}", tried.join(", "));
            self.found.fail(text);
            self.found.silent.insert((from, to));
        }
    }

    fn name(&self, endpoint: usize) -> String {
        self.lab.endpoints[endpoint].plan.name.clone()
    }

    /// Attaches endpoints one after the other and pings each from another host at once.
    async fn first_pings(&mut self) -> Result<(), Failure> {
        let step = self.lab.progress.step("Attach to first ping").of(FIRST_PINGS);
        for number in 0..FIRST_PINGS {
            let host = number % self.lab.hosts.len();
            let network = number % self.lab.plan.networks.len();
            let plan = self.lab.plan.extra(number, host, network);
            endpoint::make_namespace(&plan)?;
            let begin = Instant::now();
            let resource = self.request(&plan).await?;
            match self.first_answer(&plan, &resource).await {
                Some(at) => self.found.first_pings.push(at - begin),
                None => {
                    self.found.first_pings_missed += 1;
                    self.found.fail(format!("nobody reaches {} once it is attached", plan.name));
                }
            }
            self.detach(&plan, &resource).await?;
            step.tick();
        }
        let times = Quantiles::of(self.found.first_pings.clone());
        let verdict = Verdict::of(self.found.first_pings_missed);
        step.judged(verdict, format!("p50 {:.1} ms", times.p50));
        Ok(())
    }

    async fn request(&self, plan: &EndpointPlan) -> Result<EndpointResource, Failure> {
        let network = &self.lab.plan.networks[plan.network];
        endpoint::request(&self.lab.host(plan.host).client, plan, network).await
    }

    async fn detach(&self, plan: &EndpointPlan, made: &EndpointResource) -> Result<(), Failure> {
        let request = DetachRequest { endpoint: made.id.to_string() };
        self.lab.host(plan.host).client.detach(&request).await?;
        unpin(&plan.namespace).map_err(explain)
    }

    /// Pings a new endpoint from one of its network on another host; returns when it answered.
    async fn first_answer(&self, plan: &EndpointPlan, made: &EndpointResource) -> Option<Instant> {
        let address = endpoint::addresses(made).into_iter().next()?;
        let from = self.peer_of(plan)?;
        from.source.round(&[Probe::small(address)], EAGER).await[0].map(|answer| answer.at)
    }

    /// Returns an endpoint of the same network on another host.
    fn peer_of(&self, plan: &EndpointPlan) -> Option<&Endpoint> {
        let mut peers = self.lab.endpoints.iter();
        peers.find(|peer| peer.plan.network == plan.network && peer.plan.host != plan.host)
    }

    async fn round_trips(&mut self) {
        let step = self.lab.progress.step("Round trips between hosts");
        self.found.round_trips = measure::round_trips(&self.lab.endpoints).await;
        let times = Quantiles::of(self.found.round_trips.clone());
        step.done(format!("p50 {:.2} ms", times.p50));
    }

    /// Kills the last host's agent under a running ping, starts it again, and waits until an
    /// endpoint attached there answers.
    async fn kill_one(&mut self) -> Result<(), Failure> {
        let victim = self.lab.hosts.len() - 1;
        let step = self.lab.progress.step("Kill one agent, start it again");
        let (stream, to) = self.open_stream(victim)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async {
            let _ = stopped.await;
        };
        let stream = async { stream.stream(to, STREAM_EVERY, STREAM_GRACE, stopped).await };
        let recovery = async {
            let recovered = self.recover(victim).await;
            let _ = stop.send(());
            recovered
        };
        let (seen, recovered) = tokio::join!(stream, recovery);
        let recovered = recovered?;
        if seen.answered < seen.sent {
            let lost = seen.sent - seen.answered;
            let gap = milliseconds(seen.longest_gap);
            self.found.fail(format!(
                "{lost} of {} pings to an endpoint of the killed agent were lost (gap {gap} ms)",
                seen.sent
            ));
        }
        self.found.stream = Some(seen);
        self.found.recovery = recovered;
        match recovered {
            Some(time) => step.done(format!("{:.0} ms to a first ping", milliseconds(time))),
            None => self.found.fail("no endpoint answers after the restart".to_owned()),
        }
        self.expect_adopted(victim).await
    }

    fn open_stream(&self, victim: usize) -> Result<(Source, IpAddr), Failure> {
        let of_victim = |endpoint: &&Endpoint| endpoint.plan.host == victim;
        let to = self.lab.endpoints.iter().find(of_victim);
        let pair = to.and_then(|to| Some((self.peer_of(&to.plan)?, *to.addresses.first()?)));
        let (from, address) =
            pair.ok_or_else(|| Failure::failed("no two hosts share a network"))?;
        let families = endpoint::families(self.lab.plan.size.inside);
        let source = Source::open(&from.namespace, families, STREAM).map_err(endpoint::refused)?;
        Ok((source, address))
    }

    async fn recover(&mut self, victim: usize) -> Result<Option<Duration>, Failure> {
        let plan = self.lab.plan.extra(FIRST_PINGS, victim, 0);
        endpoint::make_namespace(&plan)?;
        let begin = Instant::now();
        let weft = self.lab.weft.clone();
        self.lab.hosts[victim].kill_and_restart(&weft).await?;
        let resource = loop {
            match self.request(&plan).await {
                Ok(resource) => break resource,
                // It answers before it has heard from all others, and allocates only after.
                Err(_) if begin.elapsed() < RECOVERY_MAX => sleep(RETRY_EVERY).await,
                Err(failure) => return Err(failure),
            }
        };
        let answered = self.first_answer(&plan, &resource).await;
        self.detach(&plan, &resource).await?;
        self.lab.settled(self.lab.host(victim)).await?;
        Ok(answered.map(|at| at - begin))
    }

    /// Checks that a restarted agent still has its endpoints, joined.
    async fn expect_adopted(&mut self, victim: usize) -> Result<(), Failure> {
        let client = &self.lab.host(victim).client;
        let found = client.endpoints(None, &ListFilter::default()).await?;
        let joined: BTreeSet<_> = found
            .iter()
            .filter(|endpoint| endpoint.state == EndpointState::Joined)
            .map(|endpoint| endpoint.name.as_str())
            .collect();
        let forgotten: Vec<_> = self
            .lab
            .endpoints
            .iter()
            .filter(|endpoint| {
                endpoint.plan.host == victim && !joined.contains(endpoint.plan.name.as_str())
            })
            .map(|endpoint| format!("{} is not joined after the restart", endpoint.plan.name))
            .collect();
        forgotten.into_iter().for_each(|text| self.found.fail(text));
        Ok(())
    }

    fn report(mut self, took: Duration) -> Report {
        let endpoints = &self.lab.endpoints;
        let expected = measure::pairs_inside(endpoints).len();
        let duplicates = measure::duplicates(endpoints);
        for address in &duplicates {
            self.found.failures.push(format!("{address} was given twice"));
        }
        let found = self.found;
        let recovered = found.recovery.is_some() && found.first_pings_missed == 0;
        let mut failures = found.failures;
        let ok = failures.is_empty() && recovered;
        failures.truncate(FAILURES_MAX);
        Report {
            ok,
            nodes: self.lab.hosts.len(),
            networks: self.lab.plan.networks.len(),
            endpoints: endpoints.len(),
            expected_pairs: expected,
            reachable_pairs: expected - found.silent.len(),
            leaked_pairs: found.leaked.len(),
            duplicate_addresses: duplicates.len(),
            first_ping_ms: Quantiles::of(found.first_pings),
            recovery_ms: found.recovery.map(milliseconds),
            round_trip_ms: Quantiles::of(found.round_trips),
            kill_gap_ms: found.stream.map(|stream| milliseconds(stream.longest_gap)),
            kill_lost: found.stream.map_or(0, |stream| stream.sent - stream.answered),
            ipv6: self.lab.plan.size.inside == super::Inside::Dual,
            failures,
            seconds: (took.as_secs_f64() * 10.0).round() / 10.0,
        }
    }
}

fn describe(probe: &Probe) -> String {
    match probe.size {
        Some(octets) => format!("{} with {octets} octets", probe.to),
        None => probe.to.to_string(),
    }
}
