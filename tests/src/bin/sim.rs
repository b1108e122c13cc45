//! Replays and sweeps random schedules: `sim --seed N`, `sim --seeds A..B`.

use std::io::Write;
use std::process::ExitCode;

use weft_tests::nodes::schedule::{Knobs, Report, run};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let seeds = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--seed", seed] => seed.parse().ok().map(|seed: u64| seed..seed + 1),
        ["--seeds", seeds] => range(seeds),
        _ => None,
    };
    let mut out = std::io::stdout();
    let Some(seeds) = seeds else {
        let usage = writeln!(std::io::stderr(), "usage: sim --seed N | --seeds A..B");
        drop(usage);
        return ExitCode::from(2);
    };
    for seed in seeds {
        let Report { tally, trace, hosts, quiet_after, elapsed } = run(seed, &Knobs::default());
        let told = writeln!(
            out,
            "seed {seed}: {hosts} hosts, trace {trace:016x}, quiet after {quiet_after:?} of {elapsed:?}, {tally:?}"
        );
        if told.is_err() {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn range(text: &str) -> Option<std::ops::Range<u64>> {
    let (from, to) = text.split_once("..")?;
    Some(from.parse().ok()?..to.parse().ok()?)
}
