//! The task that owns the data path: requests in, kernel operations out, drift repaired.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use weft_api::driver::{DriverError, EventType};
use weft_api::error::Error;
use weft_api::{EndpointId, NetworkId};
use weft_overlay::netlink::{Executor, NetlinkError};
use weft_overlay::observed::Observed;
use weft_overlay::op::KernelOp;
use weft_overlay::publish::PUBLISHED_MAX;
use weft_overlay::{Event, FarEnd, HandOver, Knowledge, PEER_TABLE, PlanError, Planner, names};

use super::announcements::Announcements;
use super::portmap::PortBinding;
use super::{Answer, Request, plan_error};

/// Requests planned before the kernel is touched.
const REQUESTS_PER_ROUND: usize = 512;
/// Reading the kernel back takes at most this share of the task's time.
const OBSERVE_SHARE: u32 = 100;

/// An endpoint whose sandbox is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vanished {
    /// Its network.
    pub network: NetworkId,
    /// The endpoint.
    pub endpoint: EndpointId,
    /// The sandbox that is gone, as the join named it; the endpoint may have joined another since.
    pub sandbox_key: String,
}

/// How the data path is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DataPathStatus {
    /// Repairs since the start, by kind: `fdb_missing` and the like.
    pub repairs: BTreeMap<String, u64>,
    /// When something was missing or wrong at last. Strays are what an earlier start left.
    pub repaired_at: Option<Instant>,
    /// Operations the kernel refused since the start.
    pub failed_operations: u64,
    /// The last refusal.
    pub last_failure: Option<String>,
    /// Announcements the kernel refused since the start.
    pub failed_announcements: u64,
    /// Announcements there was no room for since the start.
    pub dropped_announcements: u64,
    /// The last announcement's refusal.
    pub last_announcement_failure: Option<String>,
    /// Events the planner refused, by cause.
    pub refused: BTreeMap<String, u64>,
    /// Addresses and MACs that two endpoints claim, for people.
    pub conflicts: Vec<String>,
}

/// Where an endpoint was joined.
#[derive(Debug)]
struct Joined {
    network: NetworkId,
    sandbox_key: String,
    sandbox: Sandbox,
    since: Instant,
}

/// How long an interface that was handed over may wait for the engine to take it. An engine takes
/// some hundred milliseconds, and puts it back when its container ends while no agent runs.
const TAKEN_MAX: Duration = Duration::from_secs(60);
/// The same for one that waits already when the agent starts.
const TAKEN_AGAIN_MAX: Duration = Duration::from_secs(5);

/// What tells whether a sandbox is still there.
#[derive(Debug, Clone, Copy)]
enum Sandbox {
    /// Its namespace; the inode is 0 when it could not be read.
    Ours { inode: u64 },
    /// The endpoint's port alone: the engine keeps the namespace where it likes. It has to take
    /// the other end within this time.
    Engines { within: Duration },
}

impl Sandbox {
    fn of(far: &FarEnd) -> Self {
        match far {
            FarEnd::Placed(sandbox) => Self::Ours { inode: inode(&sandbox.path) },
            FarEnd::Handed(HandOver::First) => Self::Engines { within: TAKEN_MAX },
            FarEnd::Handed(HandOver::Adopted) => Self::Engines { within: TAKEN_AGAIN_MAX },
        }
    }
}

/// How far an earlier start's endpoints are taken up.
#[derive(Debug)]
enum Before {
    /// They are being joined again; this is what the kernel held.
    Restoring(Observed),
    /// They are, and the kernel may be compared with the plan.
    Restored,
}

/// The data path's owner.
#[derive(Debug)]
pub struct OverlayTask {
    planner: Planner,
    executor: Executor,
    requests: mpsc::Receiver<Request>,
    reconcile_every: Duration,
    vanished: mpsc::Sender<Vanished>,
    knowledge: Knowledge,
    /// What the kernel held at the start, until the endpoints of an earlier one are joined again.
    before: Before,
    joined: BTreeMap<EndpointId, Joined>,
    /// Vanished, and no room yet to tell; at most as many as were joined.
    untold: VecDeque<Vanished>,
    announcements: Announcements,
    status: DataPathStatus,
}

/// A request that was planned: its operations are `operations` of the round, and its answer waits
/// for them.
struct Planned {
    operations: std::ops::Range<usize>,
    then: Then,
}

enum Then {
    Answer(Answer<()>),
    /// Ports whose failure leaves none published.
    Publish {
        network: NetworkId,
        endpoint: EndpointId,
        answer: Answer<()>,
    },
    /// A join that is undone when one of its operations fails.
    Join {
        network: NetworkId,
        endpoint: EndpointId,
        record: Vec<u8>,
        undo: Undo,
        answer: Answer<Vec<u8>>,
    },
}

/// How a join that failed is undone in the kernel.
#[derive(Debug, Clone, Copy)]
enum Undo {
    AtOnce,
    /// By the next reconciliation. What an adoption found is not its own: to take its network down
    /// would cut off other containers, which are yet to be adopted.
    Later,
}

impl Undo {
    fn of(far: &FarEnd) -> Self {
        match far {
            FarEnd::Placed(_) | FarEnd::Handed(HandOver::First) => Self::AtOnce,
            FarEnd::Handed(HandOver::Adopted) => Self::Later,
        }
    }
}

impl OverlayTask {
    pub(super) fn new(
        planner: Planner,
        executor: Executor,
        requests: mpsc::Receiver<Request>,
        reconcile_every: Duration,
        vanished: mpsc::Sender<Vanished>,
    ) -> Self {
        Self {
            planner,
            executor,
            requests,
            reconcile_every,
            vanished,
            knowledge: Knowledge::Partial,
            before: Before::Restoring(Observed::default()),
            joined: BTreeMap::new(),
            untold: VecDeque::new(),
            announcements: Announcements::default(),
            status: DataPathStatus::default(),
        }
    }

    /// Runs until `stop` or until nobody can ask any more. The kernel keeps what it holds.
    pub async fn run(mut self, stop: CancellationToken) {
        match self.executor.observe().await {
            Ok(observed) => self.before = Before::Restoring(observed),
            Err(error) => tracing::warn!(%error, "what an earlier start left was not read"),
        }
        let mut reconcile_at = Instant::now() + self.reconcile_every;
        loop {
            let announce_at = self.announcements.due();
            let restored = matches!(self.before, Before::Restored);
            tokio::select! {
                () = stop.cancelled() => return,
                request = self.requests.recv() => {
                    let Some(first) = request else { return };
                    self.round(first).await;
                }
                () = tokio::time::sleep_until(reconcile_at.into()), if restored => {
                    let took = self.reconcile().await;
                    reconcile_at = Instant::now() + self.reconcile_every.max(took * OBSERVE_SHARE);
                }
                () = sleep_until(announce_at) => self.announce().await,
            }
        }
    }

    /// Plans all that waits, carries it out at once, then answers.
    async fn round(&mut self, first: Request) {
        let mut operations = Vec::new();
        let mut planned = Vec::new();
        let mut next = Some(first);
        let mut taken = 0;
        while let Some(request) = next.take() {
            taken += 1;
            let start = operations.len();
            let then = match self.check_adoption(request).await {
                Some(request) => self.plan(request),
                None => None,
            };
            operations.extend(self.take_operations());
            if let Some(then) = then {
                planned.push(Planned { operations: start..operations.len(), then });
            }
            if taken < REQUESTS_PER_ROUND {
                next = self.requests.try_recv().ok();
            }
        }
        let failures = self.apply(operations).await;
        for done in planned {
            let failure = failures.iter().find(|(index, _)| done.operations.contains(index));
            self.answer(done.then, failure.map(|(_, error)| error)).await;
        }
    }

    async fn answer(&mut self, then: Then, failure: Option<&NetlinkError>) {
        let refused = |error: &NetlinkError| DriverError::from(netlink_error(error));
        match (then, failure) {
            (Then::Answer(answer), None) => drop(answer.send(Ok(()))),
            (Then::Answer(answer), Some(error)) => drop(answer.send(Err(refused(error)))),
            (Then::Publish { answer, .. }, None) => drop(answer.send(Ok(()))),
            (Then::Publish { network, endpoint, answer }, Some(error)) => {
                let error = refused(error);
                self.unpublish(network, endpoint).await;
                drop(answer.send(Err(error)));
            }
            (Then::Join { record, answer, .. }, None) => drop(answer.send(Ok(record))),
            (Then::Join { network, endpoint, undo, answer, .. }, Some(error)) => {
                let error = refused(error);
                self.joined.remove(&endpoint);
                if self.planner.leave(network, endpoint).is_ok() {
                    let operations = self.take_operations();
                    match undo {
                        Undo::AtOnce => drop(self.apply(operations).await),
                        Undo::Later => {}
                    }
                }
                drop(answer.send(Err(error)));
            }
        }
    }

    /// Refuses an adoption that finds its port gone, before anything is planned: nothing is made
    /// that would have to be undone. Returns every other request.
    async fn check_adoption(&mut self, request: Request) -> Option<Request> {
        let Request::Join { network, endpoint, far: FarEnd::Handed(HandOver::Adopted), .. } =
            &request
        else {
            return Some(request);
        };
        let port = names::port(*endpoint);
        match self.executor.has_link(&names::namespace(*network), &port).await {
            Ok(false) => {}
            Ok(true) => return Some(request),
            Err(error) => {
                // The operation itself will say what is wrong.
                tracing::warn!(%error, "port was not looked for");
                return Some(request);
            }
        }
        if let Request::Join { answer, .. } = request {
            drop(answer.send(Err(netlink_error(&NetlinkError::HandedGone(port)).into())));
        }
        None
    }

    /// Plans one request; `None` when it is answered already or needs no answer.
    fn plan(&mut self, request: Request) -> Option<Then> {
        match request {
            Request::CreateNetwork { definition, answer } => {
                let result = self.planner.create_network(&definition);
                settle(result.map_err(plan_error), answer)
            }
            Request::DeleteNetwork { network, answer } => {
                settle(self.planner.delete_network(network).map_err(plan_error), answer)
            }
            Request::CreateEndpoint { network, endpoint, addresses, limits, answer } => {
                let made = self.planner.create_endpoint(network, endpoint, addresses);
                let result = made.and_then(|()| self.planner.limit(network, endpoint, limits));
                settle(result.map_err(plan_error), answer)
            }
            Request::DeleteEndpoint { network, endpoint, answer } => {
                let result = self.planner.delete_endpoint(network, endpoint);
                settle(result.map_err(plan_error), answer)
            }
            Request::Join { network, endpoint, sandbox_key, far, answer } => {
                self.join((network, endpoint), sandbox_key, far, answer)
            }
            Request::Leave { network, endpoint, answer } => {
                self.joined.remove(&endpoint);
                settle(self.planner.leave(network, endpoint).map_err(plan_error), answer)
            }
            Request::Keep { network } => {
                if let Err(error) = self.planner.keep(network) {
                    tracing::debug!(%error, "network is not kept");
                }
                None
            }
            Request::LetGo { network, answer } => {
                settle(self.planner.let_go(network).map_err(plan_error), answer)
            }
            Request::Publish { network, endpoint, bindings, answer } => {
                match self.publish(network, endpoint, &bindings) {
                    Ok(()) => Some(Then::Publish { network, endpoint, answer }),
                    Err(error) => refuse(error, answer),
                }
            }
            Request::Unpublish { network, endpoint, answer } => {
                settle(self.planner.unpublish(network, endpoint).map_err(plan_error), answer)
            }
            Request::Published { network, endpoint, answer } => {
                let published = self.planner.published(network, endpoint);
                let published = published.map(|ports| ports.iter().copied().collect());
                drop(answer.send(published.map_err(plan_error)));
                None
            }
            Request::Event { event, network, key, value } => {
                self.hear(event, network, &key, &value);
                None
            }
            Request::Synced { complete } => {
                self.knowledge = if complete { Knowledge::Complete } else { Knowledge::Partial };
                None
            }
            Request::Restored => {
                self.end_restoring();
                None
            }
            Request::Status { answer } => {
                drop(answer.send(self.describe()));
                None
            }
        }
    }

    fn end_restoring(&mut self) {
        match std::mem::replace(&mut self.before, Before::Restored) {
            Before::Restoring(before) => self.planner.recall(&before),
            Before::Restored => {}
        }
    }

    fn join(
        &mut self,
        (network, endpoint): (NetworkId, EndpointId),
        sandbox_key: String,
        far: FarEnd,
        answer: Answer<Vec<u8>>,
    ) -> Option<Then> {
        let (sandbox, undo) = (Sandbox::of(&far), Undo::of(&far));
        match self.planner.join(network, endpoint, far) {
            Ok(record) => {
                let since = Instant::now();
                self.joined.insert(endpoint, Joined { network, sandbox_key, sandbox, since });
                Some(Then::Join { network, endpoint, record, undo, answer })
            }
            Err(error) => refuse(plan_error(error), answer),
        }
    }

    fn hear(&mut self, event: EventType, network: NetworkId, key: &str, value: &[u8]) {
        let event = match event {
            EventType::Create => Event::Create,
            EventType::Update => Event::Update,
            EventType::Delete => Event::Delete,
        };
        if let Err(refusal) = self.planner.event_notify(event, network, PEER_TABLE, key, value) {
            tracing::debug!(%refusal, %network, key, "peer record refused");
        }
    }

    /// Chooses ports of the host and plans what leads them to an endpoint. A refusal changes
    /// nothing.
    fn publish(
        &mut self,
        network: NetworkId,
        endpoint: EndpointId,
        bindings: &[PortBinding],
    ) -> Result<(), DriverError> {
        if bindings.is_empty() {
            return self.planner.unpublish(network, endpoint).map_err(plan_error);
        }
        let own = self.planner.publishable(network, endpoint).map_err(plan_error)?;
        let requests = bindings.iter().map(|binding| binding.request(endpoint, &own));
        let requests = requests.collect::<Result<Vec<_>, Error>>()?;
        let wanted = requests.iter().map(|request| request.addresses.len()).sum();
        if wanted > PUBLISHED_MAX {
            return Err(plan_error(PlanError::TooManyPorts(endpoint, wanted)));
        }
        let ports = self.executor.choose_ports(endpoint, &requests);
        let ports = ports.map_err(|error| netlink_error(&error))?;
        self.planner.publish(network, endpoint, &ports).map_err(plan_error)
    }

    /// Leads nothing to an endpoint whose ports could not be published.
    async fn unpublish(&mut self, network: NetworkId, endpoint: EndpointId) {
        if self.planner.unpublish(network, endpoint).is_ok() {
            let operations = self.take_operations();
            self.apply(operations).await;
        }
    }

    /// Drains the planner. Announcements wait for their own time: no request fails with one, and
    /// what they rest on is carried out before.
    fn take_operations(&mut self) -> Vec<KernelOp> {
        let Self { planner, announcements, .. } = self;
        let now = Instant::now();
        let planned = std::iter::from_fn(|| planner.poll_output());
        planned.filter_map(|op| announcements.divert(op, now)).collect()
    }

    /// Sends the announcements whose time has come.
    async fn announce(&mut self) {
        let operations = self.announcements.take(Instant::now());
        let failures = self.executor.apply(operations).await;
        let Some((_, error)) = failures.last() else { return };
        tracing::warn!(%error, failed = failures.len(), "addresses were not announced");
        self.status.failed_announcements += failures.len() as u64;
        self.status.last_announcement_failure = Some(error.to_string());
    }

    async fn apply(&mut self, operations: Vec<KernelOp>) -> Vec<(usize, NetlinkError)> {
        if operations.is_empty() {
            return Vec::new();
        }
        let failures = self.executor.apply(operations).await;
        self.status.failed_operations += failures.len() as u64;
        if let Some((_, error)) = failures.last() {
            self.status.last_failure = Some(error.to_string());
        }
        for (_, error) in failures.iter().take(8) {
            tracing::warn!(%error, "kernel operation refused");
        }
        failures
    }

    /// Compares the kernel with the plan and repairs it; returns how long the reading took.
    async fn reconcile(&mut self) -> Duration {
        let start = Instant::now();
        let observed = match self.executor.observe().await {
            Ok(observed) => observed,
            Err(error) => {
                tracing::warn!(%error, "kernel state was not read");
                return start.elapsed();
            }
        };
        let took = start.elapsed();
        self.leave_vanished(&observed).await;
        let repair = self.planner.reconcile(&observed, self.knowledge);
        for (kind, drift) in &repair.drift {
            tracing::warn!(?kind, ?drift, "drift repaired");
            if drift.missing > 0 || drift.wrong > 0 {
                self.status.repaired_at = Some(Instant::now());
            }
            let parts =
                [("missing", drift.missing), ("wrong", drift.wrong), ("stray", drift.stray)];
            for (part, count) in parts.into_iter().filter(|(_, count)| *count > 0) {
                let name = format!("{kind:?}_{part}").to_lowercase();
                *self.status.repairs.entry(name).or_default() += count;
            }
        }
        self.apply(repair.ops).await;
        took
    }

    /// Takes endpoints out of sandboxes that are gone: their port is gone with them, and the path
    /// of a sandbox that we put it into leads nowhere or to another namespace; or the engine has
    /// not taken its interface, or has put it back while no agent ran. No request is served
    /// between the observation and this, so whoever is joined was when it was made.
    async fn leave_vanished(&mut self, observed: &Observed) {
        let ports: BTreeSet<_> = observed
            .namespaces
            .values()
            .flat_map(|namespace| namespace.ports.keys().map(String::as_str))
            .collect();
        let handed: BTreeSet<_> =
            self.planner.vanished(observed).into_iter().map(|(_, endpoint)| endpoint).collect();
        let gone: Vec<_> = self
            .joined
            .iter()
            .filter(|(endpoint, joined)| match joined.sandbox {
                Sandbox::Ours { inode: before } => {
                    !ports.contains(names::port(**endpoint).as_str())
                        && (before == 0 || inode(joined.sandbox_key.as_ref()) != before)
                }
                Sandbox::Engines { within } => {
                    let waits = observed.handed.contains(&names::handed(**endpoint));
                    handed.contains(*endpoint) || (waits && joined.since.elapsed() >= within)
                }
            })
            .map(|(endpoint, joined)| Vanished {
                network: joined.network,
                endpoint: *endpoint,
                sandbox_key: joined.sandbox_key.clone(),
            })
            .collect();
        for vanished in gone {
            tracing::info!(endpoint = %vanished.endpoint, "sandbox vanished");
            self.joined.remove(&vanished.endpoint);
            if self.planner.leave(vanished.network, vanished.endpoint).is_ok() {
                let operations = self.take_operations();
                self.apply(operations).await;
            }
            self.untold.push_back(vanished);
        }
        // Never waits for room: whoever makes it may be waiting for this task.
        while let Some(vanished) = self.untold.front() {
            if let Err(mpsc::error::TrySendError::Full(_)) =
                self.vanished.try_send(vanished.clone())
            {
                break;
            }
            self.untold.pop_front();
        }
    }

    fn describe(&self) -> DataPathStatus {
        let mut status = self.status.clone();
        status.dropped_announcements = self.announcements.dropped();
        let counters = self.planner.counters();
        status.refused = [
            ("misdirected", counters.misdirected),
            ("malformed", counters.malformed),
            ("out_of_place", counters.out_of_place),
            ("overflow", counters.overflow),
        ]
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| (name.to_owned(), count))
        .collect();
        status.conflicts =
            self.planner.conflicts().iter().map(|conflict| format!("{conflict:?}")).collect();
        status
    }
}

fn settle(result: Result<(), DriverError>, answer: Answer<()>) -> Option<Then> {
    match result {
        Ok(()) => Some(Then::Answer(answer)),
        Err(error) => refuse(error, answer),
    }
}

fn refuse<T>(error: DriverError, answer: Answer<T>) -> Option<Then> {
    drop(answer.send(Err(error)));
    None
}

/// Sleeps until then; for ever without a time.
async fn sleep_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}

fn inode(path: &std::path::Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.ino())
}

fn netlink_error(error: &NetlinkError) -> Error {
    if matches!(error, NetlinkError::HandedGone(_)) {
        Error::not_found(error)
    } else if matches!(error, NetlinkError::PortTaken { .. }) {
        Error::forbidden(error)
    } else {
        Error::internal(error)
    }
}
