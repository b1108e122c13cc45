//! The daemon and command line `weft`, and by its other name the CNI plugin `weft-cni`.

use std::process::ExitCode;

use weft_agent::app::App;
use weft_agent::{cni_plugin, commands};

fn main() -> ExitCode {
    if cni_plugin::is_called_by(std::env::args_os().next().as_deref()) {
        return cni_plugin::run();
    }
    commands::run(std::env::args_os(), async |config, stop| {
        Ok(App::bind(config).await?.run(stop).await?)
    })
}
