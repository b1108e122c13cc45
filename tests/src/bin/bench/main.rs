//! Measures Weft with real agents and a real kernel, and prints one table. Needs root.
//!
//! Every host is a network namespace of a lab that this program makes and removes; nothing outside
//! of them is touched. Each part is bounded in time: what takes longer is reported as not measured.

mod addresses;
mod attach;
mod bed;
mod cni;
mod docker;
mod entries;
mod idle;
mod kernel_watch;
mod peers;
mod process;
mod strangers;
mod table;
mod throughput;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use bed::Beds;
use table::{Row, Table};

/// Time any one part may take, its lab included.
const PART_MAX: Duration = Duration::from_secs(150);

const USAGE: &str = "usage: bench --weft PROGRAM [--markdown FILE] [--only PART]...
parts: entries attach peers addresses throughput idle strangers docker cni";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Entries,
    Attach,
    Peers,
    Addresses,
    Throughput,
    Idle,
    Strangers,
    Docker,
    Cni,
}

/// In the order of the table.
const PARTS: [(&str, Part); 9] = [
    ("entries", Part::Entries),
    ("attach", Part::Attach),
    ("peers", Part::Peers),
    ("addresses", Part::Addresses),
    ("throughput", Part::Throughput),
    ("idle", Part::Idle),
    ("strangers", Part::Strangers),
    ("docker", Part::Docker),
    ("cni", Part::Cni),
];

struct Arguments {
    weft: PathBuf,
    markdown: Option<PathBuf>,
    parts: Vec<(&'static str, Part)>,
}

fn main() -> ExitCode {
    let arguments = match arguments(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("bench: {error:#}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn arguments(mut given: impl Iterator<Item = String>) -> anyhow::Result<Arguments> {
    let (mut weft, mut markdown, mut parts) = (None, None, Vec::new());
    while let Some(flag) = given.next() {
        let value = given.next().with_context(|| format!("`{flag}` needs a value"))?;
        match flag.as_str() {
            "--weft" => weft = Some(PathBuf::from(value)),
            "--markdown" => markdown = Some(PathBuf::from(value)),
            "--only" => {
                let known = PARTS.iter().find(|(name, _)| *name == value);
                parts.push(*known.with_context(|| format!("no part is named `{value}`"))?);
            }
            _ => anyhow::bail!("`{flag}` is unknown"),
        }
    }
    if parts.is_empty() {
        parts.extend(PARTS);
    }
    let weft = weft.context("`--weft` is missing")?;
    let weft = weft.canonicalize().with_context(|| format!("program `{}`", weft.display()))?;
    Ok(Arguments { weft, markdown, parts })
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    anyhow::ensure!(
        nix::unistd::geteuid().is_root(),
        "it makes network namespaces and needs root\nhint: run it with sudo"
    );
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let table = runtime.block_on(async {
        let beds = Beds::new(arguments.weft.clone());
        tokio::select! {
            table = measure(&beds, &arguments.parts) => {
                beds.sweep().await;
                Ok(table)
            }
            _ = tokio::signal::ctrl_c() => {
                beds.sweep().await;
                Err(anyhow::anyhow!("stopped by Ctrl-C"))
            }
        }
    })?;
    std::io::stdout().write_all(table.text().as_bytes()).context("the table was not printed")?;
    if let Some(path) = arguments.markdown {
        std::fs::write(&path, table.markdown())
            .with_context(|| format!("`{}` cannot be written", path.display()))?;
    }
    Ok(())
}

async fn measure(beds: &Beds, parts: &[(&'static str, Part)]) -> Table {
    let mut table = Table::default();
    for (name, part) in parts {
        eprintln!("bench: {name} ...");
        table.note_load();
        let begin = Instant::now();
        // A task of its own, so that a panic ends one part and not the clean-up of the others.
        let work = tokio::spawn(one(*part, beds.clone()));
        let abort = work.abort_handle();
        let rows = match tokio::time::timeout(PART_MAX, work).await {
            Ok(Ok(Ok(rows))) => rows,
            Ok(Ok(Err(error))) => vec![Row::broken(name, &format!("{error:#}"))],
            Ok(Err(error)) => vec![Row::broken(name, &error.to_string())],
            Err(_) => {
                abort.abort();
                vec![Row::broken(name, &format!("not done after {} s", PART_MAX.as_secs()))]
            }
        };
        beds.sweep().await;
        table.add(rows);
        eprintln!("bench: {name} took {:.1} s", begin.elapsed().as_secs_f64());
    }
    table
}

async fn one(part: Part, beds: Beds) -> anyhow::Result<Vec<Row>> {
    match part {
        Part::Entries => entries::measure(&beds).await,
        Part::Attach => attach::measure(&beds).await,
        Part::Peers => peers::measure().await,
        Part::Addresses => addresses::measure(&beds).await,
        Part::Throughput => throughput::measure(&beds).await,
        Part::Idle => idle::measure(&beds).await,
        Part::Strangers => strangers::measure(&beds).await,
        Part::Docker => docker::measure().await,
        Part::Cni => cni::measure().await,
    }
}
