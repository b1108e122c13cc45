//! CHECK.

use cni::invoke::blocking::{Exec, delegate_check};
use cni::skel::CmdArgs;
use cni::types::{CniResult, Code, PluginError, v100};
use cni::version::parse_prev_result;
use weft_api::control::{AttachmentResource, ErrorKind};

use super::configuration::Configuration;
use super::socket::CallError;
use super::{delegated, refusal};

/// Sees that an attachment is there, and as it was made and told.
pub(super) fn exec(exec: &dyn Exec, args: &CmdArgs) -> Result<(), PluginError> {
    let mut configuration = Configuration::decode(&args.stdin)?;
    let told = told(&mut configuration)?;
    let attachment = configuration.attachment(&args.container_id, &args.if_name)?;
    let attached = match configuration.agent()?.attachment(&attachment) {
        Ok(attached) => attached,
        Err(CallError::Refused(error)) if error.kind == ErrorKind::NotFound => {
            return Err(not_as_made("the container is not attached", error.error));
        }
        Err(error) => return Err(refusal::of(error)),
    };
    if !attached.faults.is_empty() {
        let details = attached.faults.join("; ");
        return Err(not_as_made("the attachment is not as it was made", details));
    }
    compare(args, &attached, &told)?;
    let Some(plugin) = configuration.ipam() else { return Ok(()) };
    delegate_check(plugin, &args.stdin, exec).map_err(|error| delegated(plugin, &error))
}

fn not_as_made(msg: &str, details: String) -> PluginError {
    PluginError::new(refusal::NOT_AS_MADE, msg).with_details(details)
}

/// The result of the whole chain, which runtimes have to give.
fn told(configuration: &mut Configuration) -> Result<v100::Result, PluginError> {
    let undecodable =
        |error: cni::Error| PluginError::new(Code::DECODING_FAILURE, error.to_string());
    parse_prev_result(&mut configuration.standard).map_err(undecodable)?;
    let told = configuration.standard.prev_result.as_ref().map(CniResult::to_current);
    told.transpose()
        .map_err(undecodable)?
        .ok_or_else(|| PluginError::new(Code::INVALID_NETWORK_CONFIG, "CHECK needs `prevResult`"))
}

/// Sees that what was told of the attachment still holds; plugins after us may have told more.
fn compare(
    args: &CmdArgs,
    attached: &AttachmentResource,
    told: &v100::Result,
) -> Result<(), PluginError> {
    let place = told
        .interfaces
        .iter()
        .position(|one| one.name == args.if_name && one.sandbox == args.netns)
        .ok_or_else(|| {
            let details = format!("`{}` in `{}`", args.if_name, args.netns);
            not_as_made("`prevResult` has no such interface", details)
        })?;
    let endpoint = &attached.endpoint;
    for address in [endpoint.address, endpoint.address_ipv6].into_iter().flatten() {
        let told = told
            .ips
            .iter()
            .any(|ip| ip.address == address && ip.interface.is_none_or(|index| index == place));
        if !told {
            let details = format!("`prevResult` does not have `{address}`");
            return Err(not_as_made("the attachment has another address", details));
        }
    }
    Ok(())
}
