//! The daemon and command line `weft`.

use std::process::ExitCode;

use weft_agent::app::App;
use weft_agent::commands;

fn main() -> ExitCode {
    commands::run(std::env::args_os(), async |config, stop| {
        Ok(App::bind(config).await?.run(stop).await?)
    })
}
