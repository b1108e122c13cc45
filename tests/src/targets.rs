//! The targets that the replicated store is measured by, in virtual time.
//!
//! Each scenario runs the production database in a simulated cluster, from a seed, and notes what
//! it saw; judged are the notes of all seeds together. `cargo run --release -p weft-tests --bin
//! targets` runs the whole sweep, `tests/targets.rs` a short one with the targets as assertions.

mod burst;
mod churn;
mod cut;
mod halves;
mod heal;
mod join;
mod loss;
mod plain_foca;
mod quiet;
mod stalls;
mod tally;
mod wide_area;
mod world;

pub use tally::{Finding, Spread, Tally, Verdict};

/// One thing to measure.
#[derive(Debug)]
pub struct Scenario {
    /// What `--only` calls it.
    pub name: &'static str,
    /// How many seeds the whole sweep runs.
    pub seeds: u64,
    /// Runs one seed.
    pub run: fn(u64) -> Tally,
    /// Runs one seed at a smaller size or for a shorter time, for tests.
    pub brief: fn(u64) -> Tally,
    /// Compares what all seeds noted with the targets.
    pub judge: fn(&Tally) -> Vec<Finding>,
}

/// All scenarios, in the order of the table.
pub const SCENARIOS: [Scenario; 10] = [
    Scenario::new("quiet", 100, quiet::run, quiet::judge),
    Scenario::new("churn", 20, churn::run, churn::judge).or_brief(churn::brief),
    Scenario::new("join", 100, join::run, join::judge),
    Scenario::new("burst", 20, burst::run, burst::judge),
    Scenario::new("cut", 100, cut::run, cut::judge),
    Scenario::new("loss", 100, loss::run, loss::judge).or_brief(loss::brief),
    Scenario::new("stalls", 20, stalls::run, stalls::judge).or_brief(stalls::brief),
    Scenario::new("heal", 300, heal::run, heal::judge),
    Scenario::new("halves", 100, halves::run, halves::judge),
    Scenario::new("wide-area", 2, wide_area::run, wide_area::judge).or_brief(wide_area::brief),
];

impl Scenario {
    const fn new(
        name: &'static str,
        seeds: u64,
        run: fn(u64) -> Tally,
        judge: fn(&Tally) -> Vec<Finding>,
    ) -> Self {
        Self { name, seeds, run, brief: run, judge }
    }

    const fn or_brief(self, brief: fn(u64) -> Tally) -> Self {
        Self { brief, ..self }
    }
}
