//! Random schedules: what is done and what goes wrong, all from one seed.

mod knobs;
mod turn;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub use knobs::{Faults, Knobs};

use super::invariant::{Failure, Invariant, Violation};
use super::{Nodes, Tally};
use turn::Turn;

/// How long a cluster may take to be quiet after all is mended. A lost member is greeted every 8 s
/// at the latest, a range's owner asked for up to 10 s, and a release rests for 20 s.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a run came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Counts.
    pub tally: Tally,
    /// Digest of every byte put out, and when.
    pub trace: u64,
    /// Hosts there were.
    pub hosts: usize,
    /// How long it took to be quiet once all was mended.
    pub quiet_after: Duration,
    /// Virtual time in all.
    pub elapsed: Duration,
}

/// Runs one seed: hosts join, forty things are done or go wrong, then there is peace.
///
/// # Errors
/// [`Failure`] when an invariant does not hold; it says how to replay it.
pub fn run(seed: u64, knobs: &Knobs) -> Result<Report, Box<Failure>> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x5eed);
    let hosts = knobs.hosts(&mut rng);
    let drawn = knobs.draw(&mut rng);
    let mut nodes = Nodes::new(seed, hosts);
    nodes.is_watched = true;
    nodes.planted.mutation = drawn.mutation;
    let lived = catch_unwind(AssertUnwindSafe(|| live(&mut nodes, &mut rng, &drawn)));
    nodes.note_drift();
    match lived {
        Ok(quiet_after) => Ok(Report {
            tally: nodes.tally(),
            trace: nodes.trace(),
            hosts,
            quiet_after,
            elapsed: nodes.elapsed(),
        }),
        Err(payload) => Err(Box::new(nodes.failure(violation(payload)))),
    }
}

/// What ended a run: something that does not hold, or a panic of the production code.
fn violation(payload: Box<dyn Any + Send>) -> Violation {
    let payload = match payload.downcast::<Violation>() {
        Ok(violation) => return *violation,
        Err(payload) => payload,
    };
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
    Violation::new(Invariant::NoFault, format!("a panic: {}", text.unwrap_or("of no words")))
}

fn live(nodes: &mut Nodes, rng: &mut ChaCha8Rng, knobs: &Knobs) -> Duration {
    nodes.network.loss = knobs.loss;
    nodes.network.duplicate = knobs.duplicate;
    nodes.network.delay += knobs.delay;
    nodes.network.jitter = knobs.jitter;
    if knobs.drift_ppm > 0 {
        nodes.drift(knobs.drift_ppm);
    }
    nodes.init(0);
    nodes.run(millis(rng.random_range(0..200)));
    gather(nodes, rng);
    let mut turn = Turn { nodes, rng, knobs, snapshots: Vec::new() };
    for _ in 0..knobs.actions {
        turn.act();
        turn.remember_disk();
        let pause = if turn.rng.random_bool(0.2) { 4000 } else { 600 };
        let pause = millis(turn.rng.random_range(0..pause));
        turn.nodes.run(pause);
        turn.nodes.sample_frames();
    }
    let begin = nodes.now;
    nodes.mend();
    nodes.quiet(PATIENCE);
    nodes.now - begin
}

/// Most hosts of a large cluster join at the start, in any order and through anybody.
fn gather(nodes: &mut Nodes, rng: &mut ChaCha8Rng) {
    let mut hosts: Vec<usize> = (1..nodes.len()).collect();
    hosts.shuffle(rng);
    let early = hosts.len().saturating_sub(rng.random_range(2..=5));
    for host in hosts.into_iter().take(early) {
        let members: Vec<usize> = nodes.members().collect();
        let running: Vec<usize> = (0..nodes.len()).filter(|host| nodes.runs(*host)).collect();
        let through = if rng.random_bool(0.9) { members } else { running };
        if let Some(seed) = through.choose(rng) {
            nodes.join(host, &[*seed]);
        }
        nodes.run(millis(rng.random_range(0..300)));
    }
}

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}
