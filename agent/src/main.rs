//! The daemon and command line `weft`.

use std::process::ExitCode;

use weft_agent::commands;
use weft_agent::failure::Failure;

fn main() -> ExitCode {
    commands::run(std::env::args_os(), async |_config, _stop| {
        Err(Failure::failed("this build has no agent"))
    })
}
