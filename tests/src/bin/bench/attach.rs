//! From the attach of an endpoint on one host to its first answer to a host far away.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::Context;
use weft_agent::lab::ping::{Pace, Probe};
use weft_agent::lab::Quantiles;
use weft_api::control::{AttachRequest, DetachRequest};
use weft_overlay::netlink::namespace::{make_pinned, unpin};

use crate::bed::{Bed, Beds, settle};
use crate::table::{Row, spread};

const ATTACHES: usize = 60;
/// Often, so that the pause between two requests is no part of the result.
const EAGER: Pace = Pace { every: Duration::from_millis(1), give_up: Duration::from_secs(10) };
const QUICK: Pace = Pace { every: Duration::from_millis(250), give_up: Duration::from_secs(1) };
const PINGS: u16 = 77;

pub(crate) async fn measure(beds: &Beds) -> anyhow::Result<Vec<Row>> {
    let bed = beds.make(3).await?;
    settle(Duration::from_secs(2)).await;
    let (mut pings, mut calls) = (Vec::new(), Vec::new());
    for number in 0..ATTACHES {
        let (ping, call) = one(&bed, number).await?;
        pings.push(ping);
        calls.push(call);
        settle(Duration::from_millis(20)).await;
    }
    let trips = round_trips(&bed).await?;
    Ok(vec![
        Row::judged(
            "attach on host A to first ping from host B",
            "p50 <= 60 ms",
            spread(&pings),
            Quantiles::of(pings.clone()).p50 <= 60.0,
        ),
        Row::told("  of it, until the attach call returns", spread(&calls)),
        Row::told("round trip between endpoints on two hosts", spread(&trips)),
    ])
}

/// Returns the time to the first answer, and that to the call's return.
async fn one(bed: &Bed, number: usize) -> anyhow::Result<(Duration, Duration)> {
    let host = number % bed.clients.len();
    let from = bed.source((host + 1) % bed.clients.len(), PINGS)?;
    let netns = bed.standing.directory.join("ns").join(format!("bench-{number}"));
    make_pinned(&netns)?;
    let request = AttachRequest {
        network: bed.network().to_owned(),
        name: None,
        addresses: Vec::new(),
        mac: None,
        netns: netns.display().to_string(),
        ifname: None,
        options: Default::default(),
    };
    let begin = Instant::now();
    let made = bed.clients[host].attach(&request).await?;
    let call = begin.elapsed();
    let address: IpAddr = made.address.context("an endpoint has an address")?.ip();
    let answers = from.round(&[Probe::small(address)], EAGER).await;
    let answer = answers[0].context("the new endpoint never answered")?;
    let ping = answer.at.into_std() - begin;
    bed.clients[host].detach(&DetachRequest { endpoint: made.id.to_string() }).await?;
    unpin(&netns)?;
    Ok((ping, call))
}

async fn round_trips(bed: &Bed) -> anyhow::Result<Vec<Duration>> {
    let (from, to) = (bed.source(0, PINGS)?, bed.address(1)?);
    let mut trips = Vec::new();
    for _ in 0..200 {
        let answers = from.round(&[Probe::small(to)], QUICK).await;
        trips.extend(answers.into_iter().flatten().map(|answer| answer.round_trip));
    }
    Ok(trips)
}
