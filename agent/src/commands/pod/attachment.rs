//! Which attachment is meant, and what the cache knows of it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use cni::libcni::{Cni as _, CniConfig, NetworkAttachment, NetworkConfigList, RuntimeConf};
use serde::Serialize;
use sha2::{Digest, Sha512};
use weft_overlay::netlink::{Namespace, NetlinkError};

use crate::cli::{PodNetworkArgs, PodTargetArgs, PodValueArgs};
use crate::commands::pod::{configuration, refusal};
use crate::failure::Failure;

/// Where namespaces that have a name are, as `ip netns` keeps them.
const NAMED: &str = "/run/netns";
/// Bytes of the digest that a container id is made of.
const DIGEST_BYTES: usize = 10;

/// Whether a namespace exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Presence {
    /// It does.
    There,
    /// It does not, or something else is at its path.
    Gone,
    /// It cannot be told: nothing is known of it, or it may not be looked at.
    Unknown,
}

impl Presence {
    /// Looks for a namespace.
    pub(super) fn of(netns: &str) -> Self {
        if netns.is_empty() {
            return Self::Unknown;
        }
        match Namespace::open(netns) {
            Ok(_) => Self::There,
            Err(NetlinkError::NamespaceGone(_) | NetlinkError::NotNamespace(_)) => Self::Gone,
            Err(_) => Self::Unknown,
        }
    }
}

/// The attachment that is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    container_id: Option<String>,
    netns: Option<String>,
    if_name: String,
}

impl Target {
    /// Takes it from the arguments.
    pub(super) fn of(args: &PodTargetArgs) -> Result<Self, Failure> {
        let path = match (&args.netns, args.pid) {
            (Some(netns), _) => Some(path_of(netns)?),
            (None, Some(pid)) => Some(Path::new("/proc").join(pid.to_string()).join("ns/net")),
            (None, None) => None,
        };
        let netns = path.map(|path| {
            path.into_os_string().into_string().map_err(|path| {
                Failure::usage(format!("the path `{}` is not UTF-8", path.to_string_lossy()))
            })
        });
        Ok(Self {
            container_id: args.container_id.clone(),
            netns: netns.transpose()?,
            if_name: args.ifname.clone(),
        })
    }

    /// Makes the arguments of plugins for an attachment that nothing is known of.
    pub(super) fn runtime_conf(&self, values: &PodValueArgs) -> RuntimeConf {
        let netns = self.netns.clone().unwrap_or_default();
        let id = self.container_id.clone().unwrap_or_else(|| derived_id(&netns));
        let mut rt = RuntimeConf::new(id, netns, &self.if_name);
        tell(&mut rt, values);
        rt
    }

    /// Finds it among those that the cache remembers: by container, else by namespace.
    pub(super) fn find<'a>(
        &self,
        network: &str,
        cached: &'a [NetworkAttachment],
    ) -> Result<Option<&'a NetworkAttachment>, Failure> {
        let of_network = |attachment: &&NetworkAttachment| {
            attachment.network == network && attachment.if_name == self.if_name
        };
        let is_meant = |attachment: &&NetworkAttachment| match (&self.container_id, &self.netns) {
            (Some(id), _) => attachment.container_id == *id,
            (None, Some(netns)) => is_same_path(&attachment.netns, netns),
            (None, None) => false,
        };
        let found: Vec<_> = cached.iter().filter(of_network).filter(is_meant).collect();
        if let [first, second, ..] = found[..] {
            return Err(Failure::usage(format!(
                "`{}` and `{}` are both attached to `{network}` in that namespace",
                first.container_id, second.container_id
            ))
            .with_hint("--container-id says which one is meant"));
        }
        Ok(found.first().copied())
    }
}

/// An attachment with the configuration and the arguments to call its plugins with.
#[derive(Debug)]
pub(super) struct Known {
    /// The configuration.
    pub(super) list: NetworkConfigList,
    /// The arguments.
    pub(super) rt: RuntimeConf,
    /// Whether the cache remembers it.
    pub(super) is_cached: bool,
}

impl Known {
    /// Finds the attachment meant with what it was made with, or else with what is configured now.
    pub(super) fn find(
        cni: &CniConfig,
        network: &PodNetworkArgs,
        target: &Target,
        values: &PodValueArgs,
    ) -> Result<Self, Failure> {
        let given = configuration::given(network)?;
        let name = configuration::name(network, given.as_ref())?;
        let cached = all(cni)?;
        let Some(attachment) = target.find(&name, &cached)? else {
            let list = given.map_or_else(|| configuration::wanted(network), Ok)?;
            return Ok(Self { list, rt: target.runtime_conf(values), is_cached: false });
        };
        let mut rt = attachment.runtime_conf();
        if let Some(netns) = &target.netns {
            rt.netns.clone_from(netns);
        }
        tell(&mut rt, values);
        let list = match given {
            Some(list) => list,
            None => match configuration::remembered(attachment) {
                Ok(list) => list,
                Err(_) => configuration::wanted(network)?,
            },
        };
        Ok(Self { list, rt, is_cached: true })
    }
}

/// All attachments that the cache remembers.
pub(super) fn all(cni: &CniConfig) -> Result<Vec<NetworkAttachment>, Failure> {
    cni.get_cached_attachments(None).map_err(|error| refusal::of_cache(&error))
}

/// Adds what the arguments say to what is remembered; what they say counts.
fn tell(rt: &mut RuntimeConf, values: &PodValueArgs) {
    let args: Vec<_> = values.args.iter().flat_map(|pairs| pairs.0.iter().cloned()).collect();
    if !args.is_empty() {
        rt.args = args;
    }
    rt.capability_args.extend(values.cap.iter().flat_map(|all| all.0.clone()));
}

/// Makes a path of a path or a name; relative ones start where the command was started.
fn path_of(netns: &Path) -> Result<PathBuf, Failure> {
    if netns.components().count() == 1 && netns.file_name() == Some(netns.as_os_str()) {
        return Ok(Path::new(NAMED).join(netns));
    }
    std::path::absolute(netns)
        .map_err(|error| Failure::usage(format!("`{}` is no path: {error}", netns.display())))
}

/// Whether two paths are one; `/var/run` is another name of `/run`.
fn is_same_path(one: &str, other: &str) -> bool {
    let plain = |path: &str| match path.strip_prefix("/var/run/") {
        Some(rest) => format!("/run/{rest}"),
        None => path.to_owned(),
    };
    plain(one) == plain(other)
}

/// Makes a container id of a namespace's path, the one that cnitool makes.
fn derived_id(netns: &str) -> String {
    let digest = Sha512::digest(netns.as_bytes());
    digest.iter().take(DIGEST_BYTES).fold("cnitool-".to_owned(), |mut id, byte| {
        // Writing to a text cannot fail.
        let _ = write!(id, "{byte:02x}");
        id
    })
}

#[cfg(test)]
mod tests;
