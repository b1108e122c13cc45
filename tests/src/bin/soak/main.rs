//! Lets real agents live through hours of changes and faults, and looks whether what they hold
//! stays the same. Needs root. docs/TESTING.md says what is done and what came out.
//!
//! It goes in rounds: a time of changes and faults, then all of it is taken back and all is looked
//! at. So what is held at two looks can be compared, however wild it was in between.

mod churn;
mod sample;
mod verdict;

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use churn::Churn;
use sample::Sample;
use verdict::Report;
use weft_tests::testbed::Testbed;

const USAGE: &str = "usage: soak [--minutes N] [--hosts N] [--round SECONDS] [--seed N] [--json]
  an hour with four hosts and rounds of 20 s, unless told otherwise; `WEFT_BIN` is the agent";
/// The first two carry the traffic that nothing may disturb, the last two are cut off.
const HOSTS_MIN: usize = 4;

struct Arguments {
    minutes: f64,
    hosts: usize,
    round: Duration,
    seed: u64,
    json: bool,
}

fn main() -> ExitCode {
    let arguments = match arguments(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("soak: {error:#}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("soak: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn arguments(mut given: impl Iterator<Item = String>) -> anyhow::Result<Arguments> {
    let round = Duration::from_secs(20);
    let mut arguments = Arguments { minutes: 60.0, hosts: HOSTS_MIN, round, seed: 1, json: false };
    while let Some(flag) = given.next() {
        if flag == "--json" {
            arguments.json = true;
            continue;
        }
        let value = given.next().with_context(|| format!("`{flag}` needs a value"))?;
        let wrong = || format!("`{flag} {value}` is no number");
        match flag.as_str() {
            "--minutes" => arguments.minutes = value.parse().with_context(wrong)?,
            "--hosts" => arguments.hosts = value.parse().with_context(wrong)?,
            "--round" => arguments.round = Duration::from_secs(value.parse().with_context(wrong)?),
            "--seed" => arguments.seed = value.parse().with_context(wrong)?,
            _ => anyhow::bail!("`{flag}` is unknown"),
        }
    }
    anyhow::ensure!(arguments.hosts >= HOSTS_MIN, "`--hosts` is {HOSTS_MIN} at least");
    anyhow::ensure!((0.0..1e5).contains(&arguments.minutes), "`--minutes` is out of bounds");
    Ok(arguments)
}

/// Returns whether all stayed flat.
fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    anyhow::ensure!(
        nix::unistd::geteuid().is_root(),
        "it makes network namespaces and needs root\nhint: run it with sudo"
    );
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let report = runtime.block_on(async {
        tokio::select! {
            report = soak(arguments) => report,
            // What was made goes with the testbed, which is dropped here.
            _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("stopped by Ctrl-C")),
        }
    })?;
    let text = if arguments.json { report.json() } else { report.text() };
    writeln!(std::io::stdout(), "{text}").context("the report was not printed")?;
    Ok(report.is_flat())
}

async fn soak(arguments: &Arguments) -> anyhow::Result<Report> {
    let mut testbed = Testbed::cluster(arguments.hosts).await;
    let mut churn = Churn::begin(&testbed, arguments.seed).await;
    let time = Duration::from_secs_f64(arguments.minutes * 60.0);
    let begin = Instant::now();
    let mut samples: Vec<Sample> = Vec::new();
    while samples.is_empty() || begin.elapsed() < time {
        churn.round(&mut testbed, arguments.round).await;
        churn.calm(&mut testbed).await;
        let sample = Sample::settled(&testbed, samples.first()).await?;
        let minutes = begin.elapsed().as_secs_f64() / 60.0;
        eprintln!("soak: {minutes:6.1} of {} min  {sample}", arguments.minutes);
        samples.push(sample);
    }
    let pings = churn.end().await;
    testbed.ends_clean().await;
    Ok(Report::of(&samples, churn.tally(), pings, begin.elapsed()))
}
