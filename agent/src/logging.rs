//! Log lines: to standard error, as text or as JSON.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use crate::config::{Config, LogFormat};
use crate::failure::Failure;

/// Starts logging as configured.
///
/// # Errors
/// When the filter cannot be understood.
pub fn start(config: &Config) -> Result<(), Failure> {
    let filter = EnvFilter::builder().parse(&config.log).map_err(|error| {
        Failure::usage(format!("the log filter `{}` cannot be understood: {error}", config.log))
            .with_hint("a filter is a level, or levels by module: info,weft_agent=debug")
    })?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let started = match config.log_format {
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| Failure::failed(format!("logging cannot be started: {error}")))
}
