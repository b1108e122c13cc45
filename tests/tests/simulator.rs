//! Claims about the simulator itself: what it does shows, and what it looks at it sees.

use std::process::Command;

use weft_tests::nodes::schedule::{Faults, Knobs, run};
use weft_tests::nodes::{Invariant, Mutation, Tally};

/// Seeds in which a mutation must show.
const SEEDS: u64 = 40;

/// What the counts come to over a few seeds.
fn sum(knobs: &Knobs) -> Tally {
    let mut sum = Tally::default();
    for seed in 0..8 {
        match run(seed, knobs) {
            Ok(report) => sum.add(&report.tally),
            Err(failure) => panic!("{failure}"),
        }
    }
    sum
}

/// A calm schedule but for some knobs.
fn with(knobs: &[(&str, &str)]) -> Knobs {
    let mut calm = Knobs { actions: 60, ..Knobs::CALM };
    for (name, value) in knobs {
        calm.set(name, value).unwrap_or_else(|error| panic!("{error}"));
    }
    calm
}

/// Knobs, the counter that they move, and how it is read.
type Row = (&'static [(&'static str, &'static str)], &'static str, fn(&Tally) -> u64);

const MORTAL: (&str, &str) = ("crashes", "always");

#[test]
fn each_knob_shows_effect_and_none_without_it() {
    let calm = sum(&with(&[]));
    assert!(calm.endpoints > 10 && calm.networks > 5 && calm.joined > 5 && calm.frames_arrived > 5);
    let rows: &[Row] = &[
        (&[("loss", "0.3")], "lost", |t| t.lost),
        (&[("duplicate", "0.2")], "duplicated", |t| t.duplicated),
        (&[("jitter_ms", "40")], "overtaken", |t| t.overtaken),
        (&[("delay_ms", "60")], "delayed", |t| t.delayed),
        (&[("drift_ppm", "20000")], "drift_ms_max", |t| t.drift_ms_max),
        (&[MORTAL], "crashes", |t| t.crashes),
        (&[MORTAL], "crashes_between", |t| t.crashes_between),
        (&[MORTAL], "commits_unwritten", |t| t.commits_unwritten),
        (&[MORTAL], "commits_torn", |t| t.commits_torn),
        (&[MORTAL], "commits_untold", |t| t.commits_untold),
        (&[MORTAL], "commits_half_told", |t| t.commits_half_told),
        (&[("splits", "always")], "splits", |t| t.splits),
        (&[("splits", "always")], "cut", |t| t.cut),
        (&[("one_way", "always")], "one_way_cuts", |t| t.one_way_cuts),
        (&[("flaps", "always")], "flaps", |t| t.flaps),
        (&[("stalls", "always")], "stalled", |t| t.stalled),
        (&[("leaves", "always")], "left", |t| t.left),
        (&[("forgets", "always"), MORTAL], "forgotten", |t| t.forgotten),
        (&[("forgets", "always"), ("force", "always"), MORTAL], "forced", |t| t.forced),
        (&[("lost_disks", "always")], "disks_lost", |t| t.disks_lost),
        (&[("old_disks", "always")], "disks_rolled_back", |t| t.disks_rolled_back),
        (&[("cloned_disks", "always"), ("leaves", "always")], "disks_cloned", |t| t.disks_cloned),
        (&[("power_cuts", "always")], "full_restarts", |t| t.full_restarts),
        (&[("joins_in_splits", "always"), ("splits", "always")], "joins_in_splits", |t| {
            t.joins_in_splits
        }),
        (&[("concurrent", "always")], "concurrent_creates", |t| t.concurrent_creates),
        (&[("concurrent", "always")], "concurrent_deletes", |t| t.concurrent_deletes),
    ];
    for (knobs, name, count) in rows {
        assert!(count(&sum(&with(knobs))) > 0, "{name} shows no effect of {knobs:?}");
        if *name != "overtaken" {
            assert_eq!(count(&calm), 0, "{name} happens by itself");
        }
    }
    // Every kind of fault is in the table.
    for (name, _) in Knobs::default().faults() {
        assert!(rows.iter().any(|(knobs, ..)| knobs.iter().any(|(of, _)| *of == name)), "{name}");
    }
}

/// What the first schedule that fails with a planted bug reports.
fn first_report(mutation: Mutation) -> Option<(u64, Invariant, String)> {
    let knobs = match mutation {
        // Nothing else goes wrong, so that nothing else can be to blame.
        Mutation::UnseenSplit => with(&[("splits", "always"), ("actions", "60")]),
        // Whoever knows of both refuses the second.
        Mutation::GrantsVniTwice => {
            with(&[("splits", "always"), ("concurrent", "always"), ("actions", "60")])
        }
        Mutation::LeavesWithoutHandOver => with(&[("leaves", "always")]),
        Mutation::DamagesRecord => with(&[("power_cuts", "always")]),
        Mutation::HandsOutTwice
        | Mutation::SkipsRest
        | Mutation::KeepsWhatItGave
        | Mutation::WritesOldFact
        | Mutation::ReplaysRecord
        | Mutation::LosesAcceptance
        | Mutation::MixesNetworks
        | Mutation::ForgetsEntry
        | Mutation::ForgetsFdbDelete
        | Mutation::Floods
        | Mutation::AcknowledgesRefused => with(&[("concurrent", "always")]),
    };
    let knobs = Knobs { mutation: Some(mutation), ..knobs };
    (0..SEEDS).find_map(|seed| {
        let failure = run(seed, &knobs).err()?;
        Some((seed, failure.violation.invariant, failure.violation.what))
    })
}

#[test]
fn each_invariant_catches_the_bug_planted_for_it() {
    let mut caught: Vec<Invariant> = Vec::new();
    for mutation in Mutation::ALL {
        let report = first_report(mutation);
        let (seed, invariant, what) =
            report.unwrap_or_else(|| panic!("{mutation:?} goes unseen in {SEEDS} seeds"));
        assert_eq!(invariant, mutation.breaks(), "{mutation:?}, seed {seed}: {what}");
        caught.push(invariant);
    }
    caught.sort();
    assert_eq!(caught, Invariant::ALL, "one mutation an invariant");
}

fn sim(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_sim")).args(arguments).output();
    let output = output.expect("the simulator starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_same_seed_gives_the_same_bytes_in_two_processes() {
    let replay = |seed: &str| {
        let (code, out, err) = sim(&["--seed", seed]);
        assert_eq!(code, Some(0), "{out}{err}");
        out
    };
    let (one, again, other) = (replay("3"), replay("3"), replay("4"));
    assert_eq!(one, again);
    let trace = |line: &str| line.split("trace ").nth(1).map(|rest| rest[..16].to_owned());
    assert!(trace(&one).is_some() && trace(&one) != trace(&other));
}

#[test]
fn a_wrong_call_of_the_simulator_says_how_it_is_called() {
    for wrong in [&["--sed"][..], &["--seeds", "4"], &["--seed", "1", "--knob", "lost=1"], &[]] {
        let (code, _, err) = sim(wrong);
        assert_eq!(code, Some(2), "{wrong:?}");
        assert!(err.contains("--seeds A..B"), "{err}");
    }
}

#[test]
fn a_failure_tells_its_seed_what_was_done_and_draws_the_last_events() {
    let (code, out, _) =
        sim(&["--seed", "1", "--calm", "--knob", "hosts=4", "--mutation", "ForgetsEntry"]);
    assert_eq!(code, Some(1));
    assert!(out.starts_with("seed 1: EntriesWhole: "), "{out}");
    assert!(out.contains("replay: cargo run -p weft-tests --bin sim -- --seed 1"), "{out}");
    assert!(out.contains("what was done before:"), "{out}");
    let diagram = out.split("the last events:\n").nth(1).expect("a diagram");
    assert!(diagram.lines().count() > 10, "{diagram}");
    assert!(diagram.contains("->|") && diagram.contains("datagram, "), "{diagram}");
}

#[test]
fn a_sweep_sums_up_as_a_table_and_as_json() {
    let (code, out, _) = sim(&["--seeds", "0..4"]);
    assert_eq!(code, Some(0), "{out}");
    assert!(out.lines().any(|line| line.starts_with("runs ") && line.ends_with(" 4")), "{out}");
    let (code, out, _) = sim(&["--seeds", "0..4", "--json", "--threads", "1"]);
    assert_eq!(code, Some(0), "{out}");
    let json: serde_json::Value = serde_json::from_str(&out).expect("one object");
    assert_eq!(json["runs"], 4);
    assert_eq!(json["failed"], 0);
    assert!(json["virtual_s"].as_f64().is_some_and(|seconds| seconds > 60.0), "{json}");
}

#[test]
fn knobs_are_listed_and_refused_by_name() {
    let (code, out, _) = sim(&["--knobs"]);
    assert_eq!(code, Some(0));
    let mut knobs = Knobs::default();
    for line in out.lines().filter(|line| !line.starts_with("--")) {
        let (name, value) = line.split_once('=').expect("NAME=VALUE");
        assert_eq!(knobs.set(name, value), Ok(()), "{line}");
    }
    assert!(out.contains("--mutation ForgetsFdbDelete breaks KernelAsPlanned"), "{out}");
    assert_eq!(knobs.flaps, Faults::Sometimes);
    for (name, value) in [("loss", "2"), ("hosts", "5..3"), ("flaps", "often"), ("flips", "never")]
    {
        assert!(knobs.set(name, value).is_err(), "{name}={value}");
    }
}
