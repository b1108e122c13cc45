//! Garbage collection.

use std::collections::BTreeSet;

use serde_json::Value;

use super::chain::network_members;
use super::cni::{CniConfig, StaleConfig};
use super::conf_list::{NetworkConfigList, conf_list_from_bytes, conf_list_from_conf};
use super::runtime::{GcArgs, NetworkAttachment};
use crate::error::Error;
use crate::types::GcAttachment;
use crate::version::greater_than_or_equal_to;

impl CniConfig {
    pub(super) async fn gc_list(
        &self,
        list: &NetworkConfigList,
        args: Option<&GcArgs>,
    ) -> Result<(), Error> {
        if list.disable_gc {
            return Ok(());
        }
        let mut errors = Vec::new();
        self.cache(None).sweep();
        if let Some(args) = args {
            match self.cache(None).attachments(None) {
                Ok(cached) => errors.extend(self.delete_stale(list, args, &cached).await),
                // The plugins know what they hold: they are told all the same.
                Err(error) => errors.push(error),
            }
        }
        if greater_than_or_equal_to(&list.cni_version, "1.1.0").unwrap_or(false) {
            errors.extend(self.collect_in_plugins(list, args).await);
        }
        if errors.is_empty() { Ok(()) } else { Err(Error::Gc(errors)) }
    }

    /// Deletes the cached attachments to the network that are not in use.
    async fn delete_stale(
        &self,
        list: &NetworkConfigList,
        args: &GcArgs,
        cached: &[NetworkAttachment],
    ) -> Vec<Error> {
        let valid: BTreeSet<&GcAttachment> = args.valid_attachments.iter().collect();
        let mut errors = Vec::new();
        for attachment in cached.iter().filter(|attachment| attachment.network == list.name) {
            let key = GcAttachment {
                container_id: attachment.container_id.clone(),
                if_name: attachment.if_name.clone(),
            };
            if valid.contains(&key) {
                continue;
            }
            let remembered = match self.stale_config() {
                StaleConfig::Given => None,
                StaleConfig::Cached => remembered(attachment),
            };
            let rt = attachment.runtime_conf();
            if let Err(cause) = self.del_list(remembered.as_ref().unwrap_or(list), &rt).await {
                errors.push(Error::GcDelete {
                    container_id: key.container_id,
                    if_name: key.if_name,
                    cause: Box::new(cause),
                });
            }
        }
        errors
    }

    async fn collect_in_plugins(
        &self,
        list: &NetworkConfigList,
        args: Option<&GcArgs>,
    ) -> Vec<Error> {
        let mut members = network_members(list);
        if let Some(args) = args {
            let valid = args.valid_attachments.iter().map(|attachment| {
                serde_json::json!({
                    "containerID": attachment.container_id,
                    "ifname": attachment.if_name,
                })
            });
            let valid: Value = valid.collect();
            // The second name is what the specification once said, and some plugins read.
            members.push(("cni.dev/valid-attachments", valid.clone()));
            members.push(("cni.dev/attachments", valid));
        }
        let mut errors = Vec::new();
        for conf in &list.plugins {
            if let Err(cause) = self.run_for_network("GC", conf, members.clone()).await {
                let plugin = conf.network.plugin_type.clone();
                errors.push(Error::GcPlugin { plugin, cause: Box::new(cause) });
            }
        }
        errors
    }
}

/// The list an attachment was made with, if the cache has it.
fn remembered(attachment: &NetworkAttachment) -> Option<NetworkConfigList> {
    conf_list_from_bytes(&attachment.config)
        .or_else(|_| {
            super::conf::conf_from_bytes(&attachment.config)
                .and_then(|conf| conf_list_from_conf(&conf))
        })
        .ok()
}
