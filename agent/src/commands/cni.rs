//! `weft cni`.

mod install;

use crate::cli::CniCommand;
use crate::failure::Failure;

/// Installs the plugin.
pub(crate) fn exec(command: CniCommand) -> Result<(), Failure> {
    match command {
        CniCommand::Install(args) => install::exec(&args),
    }
}
