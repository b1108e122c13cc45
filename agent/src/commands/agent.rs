//! `weft agent`.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::cli::AgentArgs;
use crate::config::{Config, SystemHost};
use crate::failure::Failure;
use crate::last_end::LastEnd;
use crate::logging;

/// Reads the configuration, starts logging, and serves until SIGTERM or SIGINT. What it came to
/// when that was no good end is kept for `weft doctor`.
pub(crate) async fn exec<S>(args: &AgentArgs, serve: S) -> Result<(), Failure>
where
    S: AsyncFnOnce(Config, CancellationToken) -> Result<(), Failure>,
{
    let env = |key: &str| std::env::var_os(key);
    let config = Config::load(args.config.as_deref(), args.layer(), env, &SystemHost)?;
    logging::start(&config)?;
    let stop = CancellationToken::new();
    cancel_on_signal(&stop)?;
    let socket = config.socket.clone();
    let served = serve(config, stop).await;
    if let Err(failure) = &served {
        LastEnd::keep(&socket, failure);
    }
    served
}

/// Cancels `stop` at the first SIGTERM or SIGINT.
fn cancel_on_signal(stop: &CancellationToken) -> Result<(), Failure> {
    let failed =
        |error| Failure::failed(format!("signals of this process cannot be received: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let stop = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.cancel();
    });
    Ok(())
}
