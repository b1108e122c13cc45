//! From a write on one node to its sight on the others, and what many entries weigh.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context;
use futures_util::{StreamExt, stream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use weft_agent::client::Client;
use weft_api::control::{EntryCreate, TableValue, WatchQuery};

use crate::bed::{Bed, Beds, settle};
use crate::process::Usage;
use crate::table::{Row, short, spread};

const NODES: u32 = 3;
const TABLE: &str = "bench";
/// Writes measured one at a time.
const SINGLE: usize = 400;
/// Pause between two of them, so that each is one of its own.
const PAUSE: Duration = Duration::from_millis(15);
/// Entries written at once.
const BURST: usize = 1_000;
/// Bursts.
const BURSTS: usize = 3;
/// Entries the agents hold in the end.
const MANY: usize = 10_000;
/// Calls under way at a time; the control socket takes 256.
const AT_ONCE: usize = 128;
/// Bytes of a value: about those of a peer record.
const VALUE_BYTES: usize = 64;
/// Longest wait for one entry, or for the next of many.
const SIGHT_MAX: Duration = Duration::from_secs(30);

/// An entry came into sight.
struct Seen {
    at: Instant,
    key: String,
}

pub(crate) async fn measure(beds: &Beds) -> anyhow::Result<Vec<Row>> {
    let bed = beds.make(NODES).await?;
    settle(Duration::from_secs(2)).await;
    let (mut seen, watchers) = watch(&bed).await?;
    let (single, calls) = one_by_one(&bed, &mut seen).await?;
    let mut rows = vec![
        Row::judged(
            "write to visible on the other 2 nodes",
            "p50 <= 20, p99 <= 100 ms",
            spread(&single),
            is_within(&single, 20.0, 100.0),
        )
        .against("Docker Swarm about 130 ms [1]".to_owned()),
        Row::told("  of it, until the writer's own call returns", spread(&calls)),
    ];
    rows.extend(bursts(&bed, &mut seen).await?);
    drop(watchers);
    rows.push(many(&bed).await?);
    Ok(rows)
}

fn is_within(times: &[Duration], p50: f64, p99: f64) -> bool {
    let spread = weft_agent::lab::Quantiles::of(times.to_vec());
    spread.p50 <= p50 && spread.p99 <= p99
}

/// Follows the table on all nodes but the first.
async fn watch(bed: &Bed) -> anyhow::Result<(mpsc::UnboundedReceiver<Seen>, JoinSet<()>)> {
    let (sender, seen) = mpsc::unbounded_channel();
    let mut watchers = JoinSet::new();
    for client in &bed.clients[1..] {
        let query = WatchQuery { table: Some(TABLE.to_owned()) };
        let mut events = client.watch(bed.network(), &query).await?;
        let sender = sender.clone();
        watchers.spawn(async move {
            while let Ok(Some(event)) = events.next().await {
                // The bench is done when nobody listens.
                let _ = sender.send(Seen { at: Instant::now(), key: event.key });
            }
        });
    }
    Ok((seen, watchers))
}

fn entry(key: String) -> EntryCreate {
    EntryCreate { key, value: TableValue::Text("v".repeat(VALUE_BYTES)) }
}

/// Returns the times until the last node saw each, and those until each call returned.
async fn one_by_one(
    bed: &Bed,
    seen: &mut mpsc::UnboundedReceiver<Seen>,
) -> anyhow::Result<(Vec<Duration>, Vec<Duration>)> {
    let others = bed.clients.len() - 1;
    let (mut visible, mut calls) = (Vec::new(), Vec::new());
    for number in 0..SINGLE {
        let key = format!("single-{number}");
        let begin = Instant::now();
        bed.clients[0].create_entry(bed.network(), TABLE, &entry(key.clone())).await?;
        calls.push(begin.elapsed());
        let mut last = begin;
        for _ in 0..others {
            let event = timeout(SIGHT_MAX, seen.recv()).await?.context("the watches ended")?;
            anyhow::ensure!(event.key == key, "`{}` in place of `{key}`", event.key);
            last = last.max(event.at);
        }
        visible.push(last - begin);
        tokio::time::sleep(PAUSE).await;
    }
    Ok((visible, calls))
}

async fn bursts(bed: &Bed, seen: &mut mpsc::UnboundedReceiver<Seen>) -> anyhow::Result<Vec<Row>> {
    let others = bed.clients.len() - 1;
    let (mut visible, mut calls) = (Vec::new(), Vec::new());
    for round in 0..BURSTS {
        let keys = (0..BURST).map(|number| format!("burst-{round}-{number}")).collect();
        let begin = Instant::now();
        let (client, network) = (bed.clients[0].clone(), bed.network().to_owned());
        let writing = tokio::spawn(write_all(client, network, keys));
        let mut sights: BTreeMap<String, usize> = BTreeMap::new();
        let mut last = begin;
        for _ in 0..BURST * others {
            let event = timeout(SIGHT_MAX, seen.recv()).await?.context("the watches ended")?;
            *sights.entry(event.key).or_default() += 1;
            last = last.max(event.at);
        }
        anyhow::ensure!(sights.len() == BURST, "{} of {BURST} keys came", sights.len());
        calls.push(writing.await?? - begin);
        visible.push(last - begin);
        settle(Duration::from_secs(1)).await;
    }
    let worst = visible.iter().max().copied().unwrap_or_default();
    Ok(vec![
        Row::judged(
            "1,000 entries written at once, visible everywhere",
            "<= 1,000 ms",
            spread(&visible),
            worst <= Duration::from_secs(1),
        )
        .against("Docker Swarm about 12,000 ms [1]".to_owned()),
        Row::told("  of it, until the writer's 1,000 calls have returned", spread(&calls)),
    ])
}

/// Writes all keys, many calls at a time; returns when the last was answered.
async fn write_all(client: Client, network: String, keys: Vec<String>) -> anyhow::Result<Instant> {
    let calls = keys.into_iter().map(|key| {
        let (client, network) = (&client, &network);
        async move { client.create_entry(network, TABLE, &entry(key)).await }
    });
    let mut calls = stream::iter(calls).buffer_unordered(AT_ONCE);
    while let Some(written) = calls.next().await {
        written?;
    }
    Ok(Instant::now())
}

/// Fills the table up to [`MANY`] entries and weighs the agents.
async fn many(bed: &Bed) -> anyhow::Result<Row> {
    let agents = bed.agents()?;
    let resident = || -> anyhow::Result<Vec<u64>> {
        agents.iter().map(|&pid| Ok(Usage::of(pid)?.resident_kib)).collect()
    };
    let before = resident()?;
    let there = bed.clients[0].entries(bed.network(), TABLE).await?.len();
    let missing = MANY - there;
    let writing = bed.clients.iter().enumerate().map(|(host, client)| {
        let share = missing / 3 + usize::from(host < missing % 3);
        let keys = (0..share).map(|number| format!("many-{host}-{number}")).collect();
        write_all(client.clone(), bed.network().to_owned(), keys)
    });
    for written in futures_util::future::join_all(writing).await {
        written?;
    }
    let deadline = Instant::now() + SIGHT_MAX;
    for client in &bed.clients {
        loop {
            let tables = client.tables(bed.network()).await?;
            if tables.iter().any(|table| table.name == TABLE && table.entries == MANY as u64) {
                break;
            }
            anyhow::ensure!(Instant::now() < deadline, "10,000 entries are not on all nodes");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    settle(Duration::from_secs(10)).await;
    let after = resident()?;
    let mebibytes = |kib: &[u64]| -> Vec<String> {
        kib.iter().map(|&kib| short(kib as f64 / 1024.0)).collect()
    };
    let most = after.iter().max().copied().unwrap_or(u64::MAX);
    Ok(Row::judged(
        "resident memory with 10,000 entries, each of 3 agents",
        "<= 50 MB",
        format!("{} MiB", mebibytes(&after).join(" / ")),
        most * 1024 <= 50_000_000,
    )
    .against(format!("before: {} MiB", mebibytes(&before).join(" / "))))
}
