//! `weft completions`.

use clap::CommandFactory;

use crate::cli::{Cli, CompletionsArgs};
use crate::commands::output;
use crate::failure::Failure;

/// Prints a completion script.
pub(crate) fn exec(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "weft", &mut script);
    output::bytes(&script)
}
