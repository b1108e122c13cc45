//! STATUS: runtimes ask every few seconds, so it costs one question that the agent answers from
//! memory.

use cni::invoke::blocking::{Exec, delegate_status};
use cni::skel::CmdArgs;
use cni::types::{Code, PluginError};

use super::configuration::Configuration;
use super::socket::CallError;
use super::{delegated, refusal};

/// Tells whether ADD can be served.
pub(super) fn exec(exec: &dyn Exec, args: &CmdArgs) -> Result<(), PluginError> {
    let configuration = Configuration::decode(&args.stdin)?;
    let network = configuration.network()?;
    let status = configuration.agent()?.status(&network).map_err(|error| match error {
        CallError::Absent(_) | CallError::Lost(_) | CallError::Unusable(_) => {
            PluginError { code: Code::PLUGIN_NOT_AVAILABLE, ..refusal::of(error) }
        }
        CallError::Refused(refused) => {
            PluginError { code: Code::PLUGIN_NOT_AVAILABLE, ..refusal::refused(refused) }
        }
    })?;
    if !status.ready {
        let code = if status.limited_connectivity {
            Code::LIMITED_CONNECTIVITY
        } else {
            Code::PLUGIN_NOT_AVAILABLE
        };
        return Err(
            PluginError::new(code, "no container can be attached now").with_details(status.reason)
        );
    }
    let Some(plugin) = configuration.ipam() else { return Ok(()) };
    delegate_status(plugin, &args.stdin, exec).map_err(|error| delegated(plugin, &error))
}
