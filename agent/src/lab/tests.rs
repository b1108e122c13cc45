//! These need root. What a lab does with real agents is shown by `weft lab run` itself, which the
//! end-to-end tests start.

use std::fs;
use std::path::PathBuf;

use super::*;

fn options(weft: &str) -> Options {
    Options { size: Size::default(), weft: PathBuf::from(weft), progress: Progress::Quiet }
}

fn name(what: &str) -> Name {
    Name::new(&format!("{what}-{}", std::process::id())).unwrap()
}

fn is_mounted(name: &Name) -> bool {
    fs::read_to_string("/proc/self/mountinfo").unwrap().contains(name.as_str())
}

#[tokio::test]
async fn an_agent_that_ends_at_once_is_told_and_nothing_is_left() {
    let name = name("test-lab-ends");
    let failure = run(&name, options("/bin/false")).await.unwrap_err();
    assert!(failure.to_string().contains("the agent of `h1` ended"), "{failure}");
    assert!(!name.directory().exists());
    assert!(!is_mounted(&name));
}

#[tokio::test]
async fn a_program_that_is_not_there_is_told_and_nothing_is_left() {
    let name = name("test-lab-none");
    let failure = up(&name, options("/nonexistent/weft")).await.unwrap_err();
    assert!(failure.to_string().contains("cannot be started"), "{failure}");
    assert!(!name.directory().exists());
}

#[tokio::test]
async fn a_second_lab_of_one_name_is_refused_and_the_first_stays() {
    let name = name("test-lab-twice");
    let plan = begin(&name, &Size::default()).unwrap();
    ground::lay(&plan).await.unwrap();
    let failure = run(&name, options("/bin/false")).await.unwrap_err();
    assert!(failure.to_string().contains("stands already"), "{failure}");
    assert!(plan.bridge_namespace.exists());
    down(&name).await.unwrap();
    assert!(!name.directory().exists());
    let failure = down(&name).await.unwrap_err();
    assert!(failure.to_string().contains("no lab"), "{failure}");
}

#[tokio::test]
async fn a_directory_that_is_no_lab_is_not_removed() {
    let name = name("test-lab-foreign");
    fs::create_dir(name.directory()).unwrap();
    let failure = down(&name).await.unwrap_err();
    assert!(failure.to_string().contains("no lab"), "{failure}");
    fs::remove_dir(name.directory()).unwrap();
}

#[tokio::test]
async fn hosts_of_either_underlay_reach_each_other() {
    for (what, underlay) in [("test-lab-v4", Underlay::V4), ("test-lab-v6", Underlay::V6)] {
        let plan = begin(&name(what), &Size { underlay, ..Size::default() }).unwrap();
        let hosts = ground::lay(&plan).await.unwrap();
        let source = ping::Source::open(&hosts[0], ping::Families::Both, 1).unwrap();
        let probes: Vec<_> =
            plan.hosts[1..].iter().map(|h| ping::Probe::full(h.address.ip(), 1500)).collect();
        let pace = ping::Pace {
            every: std::time::Duration::from_millis(50),
            give_up: std::time::Duration::from_secs(5),
        };
        let answers = source.round(&probes, pace).await;
        assert!(answers.iter().all(Option::is_some), "{answers:?}");
        drop((source, hosts));
        down(&name(what)).await.unwrap();
    }
}

#[tokio::test]
async fn a_panic_leaves_nothing() {
    let work = tokio::spawn(async { panic!("as a bug would") });
    let failure = until_interrupted::<()>(work).await.unwrap_err();
    assert!(failure.hint().unwrap().contains("bug"), "{failure}");
}
