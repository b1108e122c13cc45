//! DEL: succeeds whenever nothing is left, or the agent is going to see to it.

use cni::invoke::blocking::{Exec, delegate_del};
use cni::skel::CmdArgs;
use cni::types::{Code, PluginError};
use weft_api::control::{AttachmentRef, ErrorKind};

use super::configuration::Configuration;
use super::socket::{Agent, CallError};
use super::spool::Spool;
use super::{delegated, refusal, say};

/// Ends an attachment, then gives its addresses back to the plugin they are from.
pub(super) fn exec(exec: &dyn Exec, args: &CmdArgs) -> Result<(), PluginError> {
    let configuration = Configuration::decode(&args.stdin)?;
    let asked = configuration.agent().and_then(|agent| {
        Ok((agent, configuration.attachment(&args.container_id, &args.if_name)?))
    });
    match asked {
        Ok((agent, attachment)) => detach(&agent, &attachment)?,
        // ADD refuses such a configuration, so nothing was made by it.
        Err(error) => say(&format!("nothing to detach by this configuration: {error}")),
    }
    let Some(plugin) = configuration.ipam() else { return Ok(()) };
    delegate_del(plugin, &args.stdin, exec).map_err(|error| delegated(plugin, &error))
}

fn detach(agent: &Agent, attachment: &AttachmentRef) -> Result<(), PluginError> {
    let error = match agent.delete(attachment) {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    let later = match &error {
        CallError::Absent(reason) | CallError::Lost(reason) => Some(reason.clone()),
        CallError::Refused(refused) => {
            let passes = matches!(refused.kind, ErrorKind::Unavailable | ErrorKind::Timeout);
            passes.then(|| refused.error.clone())
        }
        CallError::Unusable(_) => None,
    };
    let Some(reason) = later else { return Err(refusal::of(error)) };
    Spool::beside(agent.socket()).add(attachment).map_err(|error| {
        let msg = "the agent of this host does not answer, and cannot be told later";
        PluginError::new(Code::TRY_AGAIN_LATER, msg).with_details(format!("{reason}; {error}"))
    })?;
    say(&format!("the agent ends the attachment later: {reason}"));
    Ok(())
}
