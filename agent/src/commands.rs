//! What each command does: one file and one `exec` a command.
//!
//! Data goes to standard output, everything else to standard error.

mod agent;
mod attach;
mod cni;
mod completions;
mod detach;
mod doctor;
mod endpoint;
mod forget;
mod init;
mod ipam;
mod join;
mod key;
mod lab;
mod leave;
mod members;
mod network;
mod output;
mod pod;
mod progress;
mod status;
mod table;
mod token;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

use crate::cli::{Cli, Command};
use crate::config::Config;
use crate::failure::Failure;

/// Threads of the agent: one for the task that owns the state, one for what waits on sockets.
const AGENT_THREADS: usize = 2;

/// Runs one command line and returns the exit code: 0 done, 1 it could not be done, 2 wrong usage
/// or configuration. `serve` is the agent: it runs until its token is cancelled.
pub fn run<S>(arguments: impl IntoIterator<Item = OsString>, serve: S) -> ExitCode
where
    S: AsyncFnOnce(Config, CancellationToken) -> Result<(), Failure>,
{
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing can be done about a terminal that does not take the text.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let done = runtime(&cli.command).and_then(|runtime| {
        let done = runtime.block_on(dispatch(cli.command, serve));
        // A read of standard input may still hang on a thread of its own.
        runtime.shutdown_background();
        done
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::complain(&failure);
            ExitCode::from(failure.code())
        }
    }
}

fn runtime(command: &Command) -> Result<Runtime, Failure> {
    let built = if matches!(command, Command::Agent(_)) {
        Builder::new_multi_thread().worker_threads(AGENT_THREADS).enable_all().build()
    } else {
        Builder::new_current_thread().enable_all().build()
    };
    built.map_err(|error| Failure::failed(format!("the runtime cannot be started: {error}")))
}

async fn dispatch<S>(command: Command, serve: S) -> Result<(), Failure>
where
    S: AsyncFnOnce(Config, CancellationToken) -> Result<(), Failure>,
{
    match command {
        Command::Agent(args) => agent::exec(&args, serve).await,
        Command::Init(args) => init::exec(args).await,
        Command::Token(args) => token::exec(args).await,
        Command::Join(args) => join::exec(args).await,
        Command::Leave(args) => leave::exec(args).await,
        Command::Forget(args) => forget::exec(args).await,
        Command::Key(args) => key::exec(args.command).await,
        Command::Members(args) => members::exec(args).await,
        Command::Status(args) => status::exec(args).await,
        Command::Doctor(args) => doctor::exec(args).await,
        Command::Network(args) => network::exec(args.command).await,
        Command::Attach(args) => attach::exec(args).await,
        Command::Detach(args) => detach::exec(args).await,
        Command::Endpoint(args) => endpoint::exec(args.command).await,
        Command::Ipam(args) => ipam::exec(args.command).await,
        Command::Table(args) => table::exec(args.command).await,
        Command::Lab(args) => lab::exec(args.command).await,
        Command::Pod(args) => pod::exec(args.command).await,
        Command::Cni(args) => cni::exec(args.command),
        Command::Completions(args) => completions::exec(&args),
    }
}
