//! A cluster of several hosts on one machine, made of network namespaces.
//!
//! Each host is a namespace with a real agent process in it; they meet on a bridge in a namespace
//! of its own. `run` makes a lab, measures whether all that Weft promises holds, and removes it;
//! `up` leaves it standing for people to look around, `down` removes that.
//!
//! All of a lab is below one directory: pinned namespaces, sockets, data, logs. Whatever ends a
//! run (an error, a panic, Ctrl-C), the same function finds and removes it all from there.

mod build;
mod clear;
mod endpoint;
mod ground;
mod host;
mod measure;
pub mod ping;
mod plan;
mod progress;
mod report;
mod state;
mod trial;

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use tokio::signal::unix::{SignalKind, signal};

pub use plan::{
    DEFAULT_ENDPOINTS, DEFAULT_NAME, DEFAULT_NETWORKS, DEFAULT_NODES, Inside, Name, Size, Underlay,
};
pub use progress::Progress;
pub use report::{FAILURES_MAX, Quantiles, Report, milliseconds};
pub use state::{Standing, StandingEndpoint, StandingHost};

use crate::failure::Failure;
use build::Lab;
use plan::Plan;

/// What a lab is made with.
#[derive(Debug, Clone)]
pub struct Options {
    /// How large.
    pub size: Size,
    /// The program that is started as `weft agent`.
    pub weft: PathBuf,
    /// Where to tell how far it is.
    pub progress: Progress,
}

/// Makes a lab, measures it, removes it.
///
/// # Errors
/// When it could not be made or was interrupted. What did not hold is in the report, not here.
pub async fn run(name: &Name, options: Options) -> Result<Report, Failure> {
    let plan = begin(name, &options.size)?;
    let directory = plan.directory.clone();
    let progress = options.progress;
    let work = tokio::spawn(async move { trial::run(plan, options).await });
    let outcome = until_interrupted(work).await;
    let step = progress.step("Remove the lab");
    let cleared = remove(&directory).await;
    if cleared.is_ok() {
        step.done("nothing left");
    }
    // Why the work failed is the news; what could not be removed is told besides.
    match (outcome, cleared) {
        (Ok(report), cleared) => cleared.map(|()| report),
        (Err(failure), Ok(())) => Err(failure),
        (Err(failure), Err(more)) => {
            progress.note(&more.report());
            Err(failure)
        }
    }
}

/// Makes a lab and leaves it standing.
///
/// # Errors
/// When it could not be made or was interrupted; nothing is left then.
pub async fn up(name: &Name, options: Options) -> Result<Standing, Failure> {
    let plan = begin(name, &options.size)?;
    let directory = plan.directory.clone();
    let (progress, text) = (options.progress, name.as_str().to_owned());
    let work = tokio::spawn(async move {
        let lab = Lab::build(plan, &options).await?;
        let standing = Standing::of(&text, &lab);
        standing.save(&lab.plan.directory)?;
        Ok(standing)
    });
    let outcome = until_interrupted(work).await;
    if outcome.is_err()
        && let Err(more) = remove(&directory).await
    {
        progress.note(&more.report());
    }
    outcome
}

/// Removes a lab that stands, or what is left of one whose maker was killed.
///
/// # Errors
/// When there is none of this name, or something of it could not be removed.
pub async fn down(name: &Name) -> Result<(), Failure> {
    expect_root()?;
    let directory = name.directory();
    if !plan::is_lab(&directory) {
        return Err(Failure::failed(format!("no lab `{}` stands here", name.as_str())).with_hint(
            match plan::labs().as_slice() {
                [] => "no other lab stands either; `weft lab up` makes one".to_owned(),
                names => format!("these do: {}; choose with --name", names.join(", ")),
            },
        ));
    }
    remove(&directory).await
}

/// Checks what can be checked before anything is made, and makes the lab's directory.
fn begin(name: &Name, size: &Size) -> Result<Plan, Failure> {
    size.check()?;
    expect_root()?;
    let directory = name.directory();
    match DirBuilder::new().mode(0o700).create(&directory) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let name = name.as_str();
            if !plan::is_lab(&directory) {
                return Err(Failure::failed(format!(
                    "`{}` exists and is no lab",
                    directory.display()
                ))
                .with_hint("give another --name, or remove it when nobody needs it"));
            }
            return Err(Failure::failed(format!("a lab `{name}` stands already")).with_hint(
                format!("remove it with `weft lab down --name {name}`, or give another --name"),
            ));
        }
        Err(error) => {
            return Err(Failure::failed(format!(
                "`{}` cannot be made: {error}",
                directory.display()
            ))
            .with_hint("TMPDIR names the directory that labs are made in"));
        }
    }
    // The mount table knows no symbolic links.
    let directory = directory.canonicalize().unwrap_or(directory);
    plan::mark(&directory)?;
    Ok(Plan::new(&directory, size))
}

fn expect_root() -> Result<(), Failure> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    Err(Failure::failed("a lab needs root: it makes network namespaces")
        .with_hint("run it with sudo; it touches nothing outside of its own namespaces"))
}

/// Waits for the work, but no longer than until a signal asks to stop. The work has ended then.
async fn until_interrupted<T: Send + 'static>(
    mut work: tokio::task::JoinHandle<Result<T, Failure>>,
) -> Result<T, Failure> {
    let ended = tokio::select! {
        ended = &mut work => ended,
        name = interrupted() => {
            work.abort();
            let _ = work.await;
            return Err(Failure::failed(format!("stopped by {name}")));
        }
    };
    ended.unwrap_or_else(|error| {
        Err(Failure::failed(format!("the lab broke down: {error}"))
            .with_hint("this is a bug of Weft's; please report it with the lines above"))
    })
}

/// Waits for a signal that asks to stop, and names it.
pub(crate) async fn interrupted() -> &'static str {
    let next = |kind| async move {
        match signal(kind) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = next(SignalKind::interrupt()) => "Ctrl-C",
        () = next(SignalKind::terminate()) => "SIGTERM",
        () = next(SignalKind::hangup()) => "SIGHUP",
    }
}

async fn remove(directory: &Path) -> Result<(), Failure> {
    let directory = directory.to_owned();
    let cleared = tokio::task::spawn_blocking(move || clear::clear(&directory)).await;
    let errors = cleared.unwrap_or_else(|error| vec![error.to_string()]);
    if errors.is_empty() {
        return Ok(());
    }
    Err(Failure::failed(format!("not all of the lab could be removed: {}", errors.join("; ")))
        .with_hint("`weft lab down` with its --name tries again"))
}

#[cfg(test)]
mod tests;
