//! What an agent costs that somebody without the key floods.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use anyhow::Context;
use weft_overlay::netlink::Namespace;
use weft_overlay::netlink::namespace::run_in;
use weft_tests::junk::{Junk, Kind};

use crate::bed::{Beds, settle};
use crate::process::Usage;
use crate::table::Row;

const FLOOD: Duration = Duration::from_secs(5);

pub(crate) async fn measure(beds: &Beds) -> anyhow::Result<Vec<Row>> {
    let bed = beds.make(2).await?;
    let agent = bed.agents()?[0];
    let status = bed.clients[0].status().await?;
    let cluster = status.cluster.context("the agent is in a cluster")?;
    let mut rows = Vec::new();
    for (kind, name) in [
        (Kind::Noise, "an agent flooded with noise: processor"),
        (Kind::Forged(cluster), "an agent flooded with forged datagrams: processor"),
    ] {
        settle(Duration::from_secs(2)).await;
        let from = Namespace::open(&bed.standing.hosts[1].netns)?;
        let before = Usage::of(agent)?;
        let begin = Instant::now();
        let flood = tokio::task::spawn_blocking(move || {
            let socket = run_in(&from, || UdpSocket::bind("0.0.0.0:0"))??;
            Junk::new(kind).flood(&socket, status.advertise, FLOOD).context("the flood")
        });
        let sent = flood.await??;
        let seconds = begin.elapsed().as_secs_f64();
        let share = (Usage::of(agent)?.cpu - before.cpu).as_secs_f64() / seconds * 100.0;
        let rate = sent as f64 / seconds;
        rows.push(
            Row::judged(name, "<= 25 % of a core", format!("{share:.1} %"), share <= 25.0)
                .against(format!("{rate:.0} packets/s sent")),
        );
    }
    Ok(rows)
}
