//! Replays and sweeps random schedules of the whole cluster. docs/TESTING.md says what they are.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::ops::Range;
use std::process::ExitCode;

use weft_tests::nodes::Mutation;
use weft_tests::nodes::schedule::{Knobs, Report, run};
use weft_tests::nodes::sweep::{Sweep, sweep};

const USAGE: &str = "\
usage: sim --seed N [options]       run one seed, and tell how it failed if it did
       sim --seeds A..B [options]   run many, on all cores, and sum up

options:
  --knob NAME=VALUE   may be repeated. NAME is actions, hosts (N or A..B), loss, duplicate (0..1),
                      delay_ms, jitter_ms, drift_ppm, or a kind of fault: never, sometimes, always.
                      `sim --knobs` lists them
  --calm              begin with no fault at all; --knob adds some
  --mutation NAME     plant a bug; `sim --knobs` lists them
  --threads N         instead of one a core
  --json              numbers for programs";

struct Call {
    seeds: Range<u64>,
    one: bool,
    knobs: Knobs,
    threads: usize,
    json: bool,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut out = std::io::stdout();
    if arguments == ["--knobs"] {
        return told(writeln!(out, "{}", knob_list()));
    }
    let call = match parse(&arguments) {
        Ok(call) => call,
        Err(error) => {
            drop(writeln!(std::io::stderr(), "{error}\n\n{USAGE}"));
            return ExitCode::from(2);
        }
    };
    if call.one { replay(&call, &mut out) } else { many(&call, &mut out) }
}

fn told(outcome: std::io::Result<()>) -> ExitCode {
    if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn replay(call: &Call, out: &mut impl Write) -> ExitCode {
    let seed = call.seeds.start;
    match run(seed, &call.knobs) {
        Ok(report) if call.json => told(writeln!(out, "{}", json(&numbers(seed, &report)))),
        Ok(report) => {
            let Report { tally, trace, hosts, quiet_after, elapsed } = report;
            told(writeln!(
                out,
                "seed {seed}: {hosts} hosts, trace {trace:016x}, quiet after {quiet_after:?} \
                 of {elapsed:?}, {tally:?}"
            ))
        }
        Err(failure) => {
            drop(writeln!(out, "{failure}"));
            ExitCode::FAILURE
        }
    }
}

fn many(call: &Call, out: &mut impl Write) -> ExitCode {
    let all = call.seeds.end.saturating_sub(call.seeds.start);
    let shows = std::io::stderr().is_terminal();
    let step = (all / 20).max(1);
    let sum = sweep(call.seeds.clone(), &call.knobs, call.threads, |done, failure| {
        let mut err = std::io::stderr();
        if let Some(failure) = failure {
            drop(writeln!(err, "seed {}: {}", failure.seed, failure.violation));
        }
        if shows || done.is_multiple_of(step) {
            let end = if shows { '\r' } else { '\n' };
            drop(write!(err, "{done} of {all} seeds{end}"));
        }
    });
    let text = if call.json { json(&sum.rows()) } else { table(&sum) };
    if writeln!(out, "{text}").is_err() || sum.failed > 0 {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn numbers(seed: u64, report: &Report) -> Vec<(String, f64)> {
    let mut rows = vec![
        ("seed".to_owned(), seed as f64),
        ("hosts".to_owned(), report.hosts as f64),
        ("quiet_s".to_owned(), report.quiet_after.as_secs_f64()),
        ("virtual_s".to_owned(), report.elapsed.as_secs_f64()),
    ];
    let tally = report.tally.rows().into_iter();
    rows.extend(tally.map(|(name, n)| (name.to_owned(), n as f64)));
    rows
}

fn json(rows: &[(String, f64)]) -> String {
    let object: serde_json::Map<String, serde_json::Value> = rows
        .iter()
        .map(|(name, value)| {
            let whole = value.fract() == 0.0 && !name.ends_with("_s");
            let value = if whole { (*value as u64).into() } else { (*value).into() };
            (name.clone(), value)
        })
        .collect();
    serde_json::Value::Object(object).to_string()
}

fn table(sum: &Sweep) -> String {
    let mut text = String::new();
    for failure in &sum.failures {
        let _ = writeln!(text, "{failure}\n");
    }
    for (name, value) in sum.rows() {
        let whole = value.fract() == 0.0;
        let _ = writeln!(text, "{name:<22}{value:>16.*}", if whole { 0 } else { 2 });
    }
    for failure in &sum.failures {
        let _ = writeln!(text, "seed {}: {}", failure.seed, failure.violation);
    }
    text.trim_end().to_owned()
}

fn knob_list() -> String {
    let mut knobs = Knobs::default();
    let Knobs { actions, loss, duplicate, drift_ppm, .. } = knobs;
    let (delay, jitter) = (knobs.delay.as_millis(), knobs.jitter.as_millis());
    let mut text = format!(
        "actions={actions}\nhosts=3..25\nloss={loss}\nduplicate={duplicate}\ndelay_ms={delay}\n\
         jitter_ms={jitter}\ndrift_ppm={drift_ppm}\n"
    );
    for (name, _) in knobs.faults() {
        let _ = writeln!(text, "{name}=sometimes");
    }
    for mutation in Mutation::ALL {
        let _ = writeln!(text, "--mutation {mutation:?} breaks {:?}", mutation.breaks());
    }
    text.trim_end().to_owned()
}

fn parse(arguments: &[String]) -> Result<Call, String> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut call =
        Call { seeds: 0..0, one: false, knobs: Knobs::default(), threads: cores, json: false };
    let mut seeds = None;
    if arguments.iter().any(|argument| argument == "--calm") {
        call.knobs = Knobs::CALM;
    }
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().ok_or_else(|| format!("`{argument}` wants a value"));
        match argument.as_str() {
            "--seed" => {
                let seed: u64 = number(value()?)?;
                seeds = Some(seed..seed + 1);
                call.one = true;
            }
            "--seeds" => seeds = Some(range(value()?)?),
            "--threads" => call.threads = number(value()?)?,
            "--json" => call.json = true,
            "--calm" => {}
            "--knob" => {
                let knob = value()?;
                let (name, value) = knob.split_once('=').ok_or("a knob is NAME=VALUE")?;
                call.knobs.set(name, value)?;
            }
            "--mutation" => {
                let name = value()?;
                let found = Mutation::ALL.into_iter().find(|m| format!("{m:?}") == *name);
                call.knobs.mutation = Some(found.ok_or("there is no such mutation")?);
            }
            _ => return Err(format!("`{argument}` is no option")),
        }
    }
    call.seeds = seeds.ok_or("no seed was given")?;
    Ok(call)
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{text}` is no number"))
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or_else(|| format!("`{text}` is not A..B"))?;
    Ok(number(from)?..number(to)?)
}
