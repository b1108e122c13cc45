//! `weft lab`.

use std::path::PathBuf;

use crate::cli::{LabCommand, LabRunArgs, LabShape, LabUpArgs};
use crate::commands::output;
use crate::failure::Failure;
use crate::lab::{self, Inside, Name, Options, Progress, Size, Underlay};

/// Makes, measures and removes testbeds.
pub(crate) async fn exec(command: LabCommand) -> Result<(), Failure> {
    match command {
        LabCommand::Run(args) => run(args).await,
        LabCommand::Up(args) => up(args).await,
        LabCommand::Down(args) => down(&args.name).await,
    }
}

async fn down(name: &str) -> Result<(), Failure> {
    lab::down(&Name::new(name)?).await?;
    output::say(&format!("lab `{name}` is removed"));
    Ok(())
}

async fn run(args: LabRunArgs) -> Result<(), Failure> {
    let report = lab::run(&Name::new(&args.name)?, options(args.shape)?).await?;
    if args.json {
        output::json(&report)?;
    } else {
        output::line(&report.to_string())?;
    }
    if report.ok {
        return Ok(());
    }
    Err(Failure::failed("not all held in the lab").with_hint(
        "`weft lab up` leaves a lab standing to look around in; its agents' logs are there",
    ))
}

async fn up(args: LabUpArgs) -> Result<(), Failure> {
    let standing = lab::up(&Name::new(&args.name)?, options(args.shape)?).await?;
    output::bytes(standing.to_string().as_bytes())
}

fn options(shape: LabShape) -> Result<Options, Failure> {
    let size = Size {
        nodes: shape.nodes,
        networks: shape.networks,
        endpoints: shape.endpoints,
        inside: if shape.ipv6 { Inside::Dual } else { Inside::V4 },
        underlay: if shape.underlay_ipv6 { Underlay::V6 } else { Underlay::V4 },
    };
    Ok(Options { size, weft: program(shape.weft_bin)?, progress: Progress::for_stderr() })
}

/// Returns the program to start as the agents: the one given, or the one that runs.
fn program(given: Option<PathBuf>) -> Result<PathBuf, Failure> {
    match given {
        Some(path) => path.canonicalize().map_err(|error| {
            Failure::usage(format!("`{}` cannot be run: {error}", path.display()))
                .with_hint("--weft-bin takes the path of a `weft` program")
        }),
        None => std::env::current_exe()
            .map_err(|error| Failure::failed(format!("this program is not to be found: {error}"))),
    }
}
