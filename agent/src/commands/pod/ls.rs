//! `weft pod ls`.

use cni::libcni::{Cni as _, CniConfig, NetworkAttachment, NetworkConfigList};
use serde::Serialize;

use crate::cli::PodLsArgs;
use crate::commands::output;
use crate::commands::pod::attachment::{self, Presence};
use crate::commands::pod::configuration::Directory;
use crate::failure::Failure;

/// Header of the rows of [`Listed::row`].
pub(super) const HEADER: [&str; 6] =
    ["NETWORK", "CONTAINER", "INTERFACE", "ADDRESSES", "NAMESPACE", "NOTES"];

/// An attachment as it is listed.
#[derive(Debug, Serialize)]
pub(super) struct Listed {
    network: String,
    container_id: String,
    ifname: String,
    netns: String,
    addresses: Vec<String>,
    namespace: Presence,
    /// Whether the directory of configurations has the network.
    #[serde(skip_serializing_if = "Option::is_none")]
    configured: Option<bool>,
}

impl Listed {
    /// Looks at what the cache remembers of an attachment.
    pub(super) fn of(attachment: &NetworkAttachment, cni: &CniConfig) -> Self {
        Self {
            network: attachment.network.clone(),
            container_id: attachment.container_id.clone(),
            ifname: attachment.if_name.clone(),
            netns: attachment.netns.clone(),
            addresses: addresses(attachment, cni),
            namespace: Presence::of(&attachment.netns),
            configured: None,
        }
    }

    /// Makes a row of a table.
    pub(super) fn row(&self) -> Vec<String> {
        let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
        let notes = [
            (self.namespace == Presence::Gone, "namespace gone"),
            (self.configured == Some(false), "not configured"),
        ];
        let notes: Vec<&str> =
            notes.iter().filter(|(holds, _)| *holds).map(|(_, note)| *note).collect();
        vec![
            self.network.clone(),
            self.container_id.clone(),
            self.ifname.clone(),
            or_dash(self.addresses.join(", ")),
            or_dash(self.netns.clone()),
            or_dash(notes.join(", ")),
        ]
    }
}

/// Lists what the cache remembers.
pub(super) fn exec(args: &PodLsArgs) -> Result<(), Failure> {
    let cni = CniConfig::with_cache_dir(Vec::new(), &args.cache.cache_dir, None);
    let directory = Directory::read(&args.conf_dir)?;
    let mut cached = attachment::all(&cni)?;
    cached.retain(|attachment| {
        args.network.as_ref().is_none_or(|network| attachment.network == *network)
            && args.container_id.as_ref().is_none_or(|id| attachment.container_id == *id)
    });
    let listed: Vec<Listed> = cached
        .iter()
        .map(|attachment| {
            let configured = Some(directory.has(&attachment.network));
            Listed { configured, ..Listed::of(attachment, &cni) }
        })
        .collect();
    if args.output.json {
        return output::json(&listed);
    }
    output::table(&HEADER, listed.iter().map(Listed::row))
}

/// The addresses of an attachment; none where the result cannot be read.
fn addresses(attachment: &NetworkAttachment, cni: &CniConfig) -> Vec<String> {
    let current = NetworkConfigList {
        name: attachment.network.clone(),
        cni_version: cni::version::CURRENT.to_owned(),
        ..NetworkConfigList::default()
    };
    let result = cni.get_network_list_cached_result(&current, &attachment.runtime_conf());
    let result = result.ok().flatten().and_then(|result| result.to_current().ok());
    result.iter().flat_map(|result| &result.ips).map(|ip| ip.address.to_string()).collect()
}
