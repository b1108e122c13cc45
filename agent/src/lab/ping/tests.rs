//! These need root: they make namespaces of their own, joined by a veth pair.

use std::path::Path;

use weft_overlay::netlink::{Connection, address, link, veth};

use super::*;

const QUICK: Pace = Pace { every: Duration::from_millis(10), give_up: Duration::from_secs(5) };
/// Ends without an answer, so it is waited for whole; long enough for a busy machine to answer.
const SHORT: Pace = Pace { every: Duration::from_millis(10), give_up: Duration::from_secs(1) };

/// Two namespaces, pinned nowhere, and a veth pair between them.
struct Pair {
    near: Namespace,
    far: Namespace,
}

fn unpinned() -> Namespace {
    std::thread::spawn(|| {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("root");
        Namespace::open(Path::new("/proc/thread-self/ns/net")).unwrap()
    })
    .join()
    .unwrap()
}

async fn set_up(namespace: &Namespace, addresses: &[&str]) {
    let mut connection = Connection::open(namespace).await.unwrap();
    link::set_up(&mut connection, "lo").await.unwrap();
    link::set_up(&mut connection, "eth0").await.unwrap();
    let index = link::get(&mut connection, "eth0").await.unwrap().index;
    for text in addresses {
        address::add(&mut connection, index, text.parse().unwrap()).await.unwrap();
    }
}

impl Pair {
    async fn make(mtu: u32) -> Self {
        let (near, far) = (unpinned(), unpinned());
        let mut connection = Connection::open(&near).await.unwrap();
        let end = veth::End::named("eth0");
        veth::create(&mut connection, &end, &end, &far, mtu).await.unwrap();
        set_up(&near, &["192.0.2.1/24", "2001:db8::1/64"]).await;
        set_up(&far, &["192.0.2.2/24", "2001:db8::2/64"]).await;
        let pair = Self { near, far };
        pair.is_warm().await;
        pair
    }
}

impl Pair {
    /// Waits until the two have met. A link that has just come up drops its first frames (the
    /// kernel's link watch), and a question for a neighbour is asked again only after a second.
    async fn is_warm(&self) {
        let source = Source::open(&self.near, Families::Both, 9).unwrap();
        let probes = [Probe::small(ip("192.0.2.2")), Probe::small(ip("2001:db8::2"))];
        let answers = source.round(&probes, QUICK).await;
        assert!(answers.iter().all(Option::is_some), "{answers:?}");
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[tokio::test]
async fn who_is_there_answers_in_both_families_and_at_full_size() {
    let pair = Pair::make(1450).await;
    let source = Source::open(&pair.near, Families::Both, 1).unwrap();
    let probes = [
        Probe::small(ip("192.0.2.2")),
        Probe::full(ip("192.0.2.2"), 1450),
        Probe::small(ip("2001:db8::2")),
        Probe::full(ip("2001:db8::2"), 1450),
    ];
    let answers = source.round(&probes, QUICK).await;
    assert!(answers.iter().all(Option::is_some), "{answers:?}");
}

#[tokio::test]
async fn who_is_not_there_does_not_answer_and_hides_nobody() {
    let pair = Pair::make(1450).await;
    let source = Source::open(&pair.near, Families::V4, 1).unwrap();
    let probes = [
        Probe::small(ip("192.0.2.9")),
        Probe::small(ip("192.0.2.2")),
        Probe::small(ip("2001:db8::2")),
        Probe::small(ip("198.51.100.1")),
    ];
    let answers = source.round(&probes, SHORT).await;
    let answered: Vec<_> = answers.iter().map(Option::is_some).collect();
    assert_eq!(answered, [false, true, false, false]);
}

#[tokio::test]
async fn a_packet_larger_than_the_path_is_not_answered() {
    let pair = Pair::make(1450).await;
    let source = Source::open(&pair.near, Families::V4, 1).unwrap();
    let fits = source.round(&[Probe::full(ip("192.0.2.2"), 1450)], QUICK).await;
    let larger = source.round(&[Probe::full(ip("192.0.2.2"), 1451)], SHORT).await;
    assert!(fits[0].is_some() && larger[0].is_none(), "{fits:?} {larger:?}");
}

#[tokio::test]
async fn two_sources_of_one_namespace_do_not_take_each_others_answers() {
    let pair = Pair::make(1450).await;
    let one = Source::open(&pair.near, Families::V4, 1).unwrap();
    let two = Source::open(&pair.near, Families::V4, 2).unwrap();
    let here = [Probe::small(ip("192.0.2.2"))];
    let nowhere = [Probe::small(ip("192.0.2.9"))];
    let (here, nowhere) = tokio::join!(one.round(&here, QUICK), two.round(&nowhere, SHORT));
    assert!(here[0].is_some() && nowhere[0].is_none());
}

#[tokio::test]
async fn a_late_address_answers_the_first_ping_after_it_came() {
    let pair = Pair::make(1450).await;
    let source = Source::open(&pair.near, Families::V4, 1).unwrap();
    let begin = Instant::now();
    let late = async {
        let mut connection = Connection::open(&pair.far).await.unwrap();
        let index = link::get(&mut connection, "eth0").await.unwrap().index;
        address::add(&mut connection, index, "192.0.2.3/24".parse().unwrap()).await.unwrap();
        Instant::now()
    };
    let probe = [Probe::small(ip("192.0.2.3"))];
    let (answers, _) = tokio::join!(source.round(&probe, QUICK), late);
    assert!(answers[0].unwrap().at > begin);
}

#[tokio::test]
async fn a_stream_counts_its_answers_until_it_is_stopped() {
    let pair = Pair::make(1450).await;
    let source = Source::open(&pair.near, Families::V4, 1).unwrap();
    let every = Duration::from_millis(5);
    let grace = Duration::from_secs(1);
    let stop = tokio::time::sleep(Duration::from_millis(100));
    let seen = source.stream(ip("192.0.2.2"), every, grace, stop).await;
    assert!(seen.sent >= 5, "{seen:?}");
    assert_eq!(seen.answered, seen.sent, "{seen:?}");
}

#[tokio::test]
async fn a_stream_to_nobody_is_one_gap() {
    let pair = Pair::make(1450).await;
    let source = Source::open(&pair.near, Families::V4, 1).unwrap();
    let tens = |count: u64| Duration::from_millis(10 * count);
    let stop = tokio::time::sleep(tens(10));
    let seen = source.stream(ip("192.0.2.9"), tens(1), tens(2), stop).await;
    assert_eq!(seen.answered, 0);
    assert!(seen.longest_gap >= tens(10), "{seen:?}");
}
