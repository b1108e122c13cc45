//! The targets of the replicated store as assertions, in virtual time, over few seeds. The whole
//! sweep is `cargo run --release -p weft-tests --bin targets`.

use weft_tests::targets::{Finding, SCENARIOS, Tally, Verdict};

/// Runs some seeds of a scenario; all its targets must be met.
fn met(name: &str, seeds: std::ops::Range<u64>) {
    let scenario = SCENARIOS.iter().find(|scenario| scenario.name == name).expect("it is known");
    let mut tally = Tally::default();
    seeds.for_each(|seed| tally.add((scenario.brief)(seed)));
    let findings = (scenario.judge)(&tally);
    let judged = findings.iter().filter(|finding| finding.verdict != Verdict::Told).count();
    assert!(judged > 0, "{name} has a target");
    let missed: Vec<&Finding> =
        findings.iter().filter(|finding| finding.verdict == Verdict::Missed).collect();
    assert!(missed.is_empty(), "{missed:#?}");
}

#[test]
fn a_quiet_write_is_on_25_nodes_in_100_ms() {
    met("quiet", 0..3);
}

#[test]
fn a_write_among_many_and_a_flapping_node_is_as_quick() {
    met("churn", 0..1);
}

#[test]
fn a_write_right_after_a_join_is_no_slower() {
    met("join", 0..6);
}

#[test]
fn a_burst_of_thousands_is_on_25_nodes_in_seconds() {
    met("burst", 0..1);
}

#[test]
fn a_node_that_was_cut_off_is_whole_2_s_after_contact() {
    met("cut", 0..4);
}

#[test]
fn a_write_at_30_percent_loss_is_everywhere_in_5_s_and_nobody_is_falsely_dead() {
    met("loss", 0..4);
}

#[test]
fn a_node_that_stalls_kills_50_times_fewer_than_plain_foca() {
    met("stalls", 0..2);
}

#[test]
fn a_healed_partition_has_contact_in_10_s_and_agrees_5_s_later() {
    met("heal", 0..20);
}

#[test]
fn networks_that_two_halves_made_end_alike_on_all_nodes() {
    met("halves", 0..4);
}

#[test]
fn a_write_crosses_the_world_in_350_ms_with_few_copies() {
    met("wide-area", 0..1);
}

#[test]
fn scenarios_have_names_of_their_own() {
    let names: std::collections::BTreeSet<_> = SCENARIOS.iter().map(|one| one.name).collect();
    assert_eq!(names.len(), SCENARIOS.len());
}
