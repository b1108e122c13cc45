//! TCP between endpoints on two hosts, and between the hosts themselves, turn by turn.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use weft_overlay::netlink::Namespace;
use weft_overlay::netlink::namespace::run_in;

use crate::bed::{Beds, settle};
use crate::table::{Row, short};

const ROUNDS: usize = 8;
const ROUND: Duration = Duration::from_millis(1500);
/// Not counted: slow start, and queues that fill.
const WARM_UP: Duration = Duration::from_millis(300);
const CHUNK: usize = 256 << 10;
/// Longest wait of either end for the other.
const STUCK: Duration = Duration::from_secs(5);
const TARGET: f64 = 0.75;

pub(crate) async fn measure(beds: &Beds) -> anyhow::Result<Vec<Row>> {
    let bed = beds.make(2).await?;
    settle(Duration::from_secs(3)).await;
    let hosts = &bed.standing.hosts;
    let (near, far) = (&hosts[0], &hosts[1]);
    let (mut over, mut under) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (from, to) = (&bed.endpoint(0)?.netns, &bed.endpoint(1)?.netns);
        over.push(between(from, to, bed.address(1)?).await?);
        under.push(between(&near.netns, &far.netns, far.address).await?);
    }
    let (over_median, under_median) = (median(&over), median(&under));
    let ratio = over_median / under_median;
    let figures = |rates: &[f64]| {
        let (least, most) = rates
            .iter()
            .fold((f64::MAX, f64::MIN), |(least, most), &rate| (least.min(rate), most.max(rate)));
        format!("{} .. {}", short(least), short(most))
    };
    Ok(vec![
        Row::judged(
            "TCP throughput, overlay / hosts themselves",
            ">= 0.75",
            format!("{ratio:.2} ({} / {} Gbit/s)", short(over_median), short(under_median)),
            ratio >= TARGET,
        )
        .against(format!("overlay {}, hosts {} Gbit/s", figures(&over), figures(&under))),
    ])
}

fn median(rates: &[f64]) -> f64 {
    let mut sorted = rates.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    (sorted[half] + sorted[sorted.len() - 1 - half]) / 2.0
}

/// Returns the rate one stream reaches, in Gbit/s.
async fn between(from: &Path, to: &Path, address: IpAddr) -> anyhow::Result<f64> {
    let (from, to) = (Namespace::open(from)?, Namespace::open(to)?);
    let rate = tokio::task::spawn_blocking(move || {
        // A socket belongs to the namespace it was opened in, whoever uses it later.
        let listener = run_in(&to, || TcpListener::bind(SocketAddr::new(address, 0)))??;
        let at = listener.local_addr()?;
        let sending = run_in(&from, || TcpStream::connect_timeout(&at, STUCK))??;
        let (receiving, _) = listener.accept()?;
        let sender = std::thread::spawn(move || send(sending));
        let rate = receive(receiving);
        sender.join().ok().context("the sender broke down")??;
        rate
    });
    rate.await?
}

fn send(mut stream: TcpStream) -> anyhow::Result<()> {
    stream.set_write_timeout(Some(STUCK))?;
    let chunk = vec![0x5a; CHUNK];
    let end = Instant::now() + WARM_UP + ROUND;
    while Instant::now() < end {
        stream.write_all(&chunk)?;
    }
    Ok(())
}

fn receive(mut stream: TcpStream) -> anyhow::Result<f64> {
    stream.set_read_timeout(Some(STUCK))?;
    let mut buffer = vec![0; CHUNK];
    let warm = Instant::now() + WARM_UP;
    while Instant::now() < warm {
        anyhow::ensure!(stream.read(&mut buffer)? > 0, "the sender ended early");
    }
    let begin = Instant::now();
    let mut bytes = 0;
    loop {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Ok(bytes as f64 * 8.0 / 1e9 / begin.elapsed().as_secs_f64());
        }
        bytes += read;
    }
}
