//! GC.

use cni::invoke::blocking::{Exec, delegate_gc};
use cni::skel::CmdArgs;
use cni::types::PluginError;
use cni::validate;
use weft_api::control::{AttachmentGc, AttachmentKey};

use super::configuration::Configuration;
use super::{delegated, refusal, say};

/// Ends the attachments of this node by this configuration that are not in use.
pub(super) fn exec(exec: &dyn Exec, args: &CmdArgs) -> Result<(), PluginError> {
    let configuration = Configuration::decode(&args.stdin)?;
    let Some(valid) = &configuration.standard.valid_attachments else {
        // That nobody said what is in use does not mean that nothing is.
        say("GC without `cni.dev/valid-attachments` does nothing");
        return Ok(());
    };
    let valid = valid
        .iter()
        // What no attachment can be named protects none.
        .filter(|one| validate::container_id(&one.container_id).is_ok())
        .filter(|one| validate::interface_name(&one.if_name).is_ok())
        .map(|one| AttachmentKey {
            container_id: one.container_id.clone(),
            ifname: one.if_name.clone(),
        })
        .collect();
    let request = AttachmentGc {
        network: configuration.network()?,
        configuration: configuration.standard.name.clone(),
        valid,
    };
    let own = configuration.agent()?.gc(&request).map_err(refusal::of).and_then(|gone| {
        for key in &gone.removed {
            say(&format!("`{}` of `{}` is gone", key.ifname, key.container_id));
        }
        if gone.failed.is_empty() {
            return Ok(());
        }
        let msg = format!("{} attachments could not be ended", gone.failed.len());
        Err(PluginError::new(refusal::NOT_COLLECTED, msg).with_details(gone.failed.join("; ")))
    });
    let Some(plugin) = configuration.ipam() else { return own };
    let theirs = delegate_gc(plugin, &args.stdin, exec).map_err(|error| delegated(plugin, &error));
    match (own, theirs) {
        (Err(own), Err(theirs)) => {
            let details = format!("{}; {theirs}", own.details);
            Err(own.with_details(details))
        }
        (own, theirs) => own.and(theirs),
    }
}
