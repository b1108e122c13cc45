//! Measures the targets in the simulator and prints one table: `targets [--only NAME]... [--seeds
//! A..B] [--json]`.

use std::io::Write;
use std::ops::Range;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::Context;
use weft_tests::targets::{Finding, SCENARIOS, Scenario, Tally, Verdict};

const USAGE: &str = "usage: targets [--only NAME]... [--seeds A..B] [--jobs N] [--json]
names: quiet churn join burst cut loss stalls heal halves wide-area";

struct Arguments {
    scenarios: Vec<&'static Scenario>,
    /// In place of each scenario's own.
    seeds: Option<Range<u64>>,
    jobs: usize,
    json: bool,
}

fn main() -> ExitCode {
    let arguments = match arguments(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("targets: {error:#}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let mut findings = Vec::new();
    for scenario in &arguments.scenarios {
        findings.extend(measure(scenario, &arguments));
    }
    match print(&findings, arguments.json) {
        Ok(()) if findings.iter().all(|finding| finding.verdict != Verdict::Missed) => {
            ExitCode::SUCCESS
        }
        Ok(()) | Err(_) => ExitCode::FAILURE,
    }
}

fn arguments(mut given: impl Iterator<Item = String>) -> anyhow::Result<Arguments> {
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let mut arguments = Arguments { scenarios: Vec::new(), seeds: None, jobs, json: false };
    while let Some(flag) = given.next() {
        if flag == "--json" {
            arguments.json = true;
            continue;
        }
        let value = given.next().with_context(|| format!("`{flag}` needs a value"))?;
        match flag.as_str() {
            "--only" => {
                let known = SCENARIOS.iter().find(|scenario| scenario.name == value);
                let known = known.with_context(|| format!("no scenario is named `{value}`"))?;
                arguments.scenarios.push(known);
            }
            "--seeds" => {
                let (from, to) = value.split_once("..").context("`--seeds` takes A..B")?;
                arguments.seeds = Some(from.parse()?..to.parse()?);
            }
            "--jobs" => arguments.jobs = value.parse::<usize>()?.max(1),
            _ => anyhow::bail!("`{flag}` is unknown"),
        }
    }
    if arguments.scenarios.is_empty() {
        arguments.scenarios.extend(&SCENARIOS);
    }
    Ok(arguments)
}

/// Runs one scenario's seeds, some at a time.
fn measure(scenario: &Scenario, arguments: &Arguments) -> Vec<Finding> {
    let seeds = arguments.seeds.clone().unwrap_or(0..scenario.seeds);
    let begin = Instant::now();
    let (next, done) = (AtomicU64::new(seeds.start), AtomicU64::new(0));
    let worker = || {
        let mut tally = Tally::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return tally;
            }
            tally.add((scenario.run)(seed));
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            let took = begin.elapsed().as_secs_f64();
            let all = seeds.end - seeds.start;
            eprintln!("targets: {} {done} of {all} seeds, {took:.1} s", scenario.name);
        }
    };
    let tally = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..arguments.jobs).map(|_| scope.spawn(worker)).collect();
        let mut all = Tally::default();
        for worker in workers {
            // A panic names its seed and has been printed; the scenario has no result then.
            match worker.join() {
                Ok(tally) => all.add(tally),
                Err(_) => return Tally::default(),
            }
        }
        all
    });
    (scenario.judge)(&tally)
}

fn print(findings: &[Finding], json: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(findings)?)?;
        return Ok(());
    }
    writeln!(out, "| what | target | anchor | measured | verdict |")?;
    writeln!(out, "| --- | --- | --- | --- | --- |")?;
    for Finding { what, target, anchor, measured, verdict } in findings {
        let verdict = match verdict {
            Verdict::Met => "met",
            Verdict::Missed => "MISSED",
            Verdict::Told => "",
        };
        writeln!(out, "| {what} | {target} | {anchor} | {measured} | {verdict} |")?;
    }
    Ok(())
}
