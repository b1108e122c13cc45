//! What an agent costs that has nothing to do, in a cluster of 25.

use std::time::Duration;

use crate::bed::{Beds, settle};
use crate::process::Usage;
use crate::table::{Row, short};

const NODES: u32 = 25;
/// After the last attach, until what it set in motion is at rest.
const REST: Duration = Duration::from_secs(15);
const WATCH: Duration = Duration::from_secs(45);

pub(crate) async fn measure(beds: &Beds) -> anyhow::Result<Vec<Row>> {
    let bed = beds.make(NODES).await?;
    settle(REST).await;
    let agents = bed.agents()?;
    let read = || agents.iter().map(|&pid| Usage::of(pid)).collect::<anyhow::Result<Vec<_>>>();
    let before = read()?;
    let begin = std::time::Instant::now();
    settle(WATCH).await;
    let after = read()?;
    let seconds = begin.elapsed().as_secs_f64();
    let pairs: Vec<_> = before.iter().zip(&after).collect();
    let each = |rate: &dyn Fn(&Usage, &Usage) -> f64| -> Vec<f64> {
        pairs.iter().map(|(before, after)| rate(before, after)).collect()
    };
    let cpu = each(&|b, a| (a.cpu - b.cpu).as_secs_f64() / seconds * 100.0);
    let sent = each(&|b, a| (a.sent_bytes - b.sent_bytes) as f64 / seconds / 1000.0);
    let packets = each(&|b, a| (a.sent_packets - b.sent_packets) as f64 / seconds);
    let wakes = each(&|b, a| a.sleeps.saturating_sub(b.sleeps) as f64 / seconds);
    let resident = each(&|_, a| a.resident_kib as f64 * 1024.0 / 1e6);
    let anonymous = each(&|_, a| a.anonymous_kib as f64 * 1024.0 / 1e6);
    let spread = |values: &[f64], unit: &str| {
        let (mean, most) = mean_and_most(values);
        format!("mean {} / max {} {unit} ({} agents)", short(mean), short(most), values.len())
    };
    let most = |values: &[f64]| mean_and_most(values).1;
    Ok(vec![
        Row::judged(
            "idle agent of 25: processor",
            "<= 1 % of a core",
            spread(&cpu, "%"),
            most(&cpu) <= 1.0,
        )
        .against(format!("{} sleeps/s", short(mean_and_most(&wakes).0))),
        Row::judged(
            "idle agent of 25: resident memory",
            "<= 25 MB",
            spread(&resident, "MB"),
            most(&resident) <= 25.0,
        )
        .against(format!("{} MB of it anonymous", short(mean_and_most(&anonymous).0))),
        Row::judged(
            "idle agent of 25: sent, headers included",
            "<= 2 KB/s",
            spread(&sent, "KB/s"),
            most(&sent) <= 2.0,
        )
        .against(format!("{} packets/s", short(mean_and_most(&packets).0))),
    ])
}

fn mean_and_most(values: &[f64]) -> (f64, f64) {
    let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
    (mean, values.iter().copied().fold(0.0, f64::max))
}
