//! What a runtime says about one attachment.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use crate::types::GcAttachment;

/// The arguments of one call, all but the configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuntimeConf {
    /// The container.
    pub container_id: String,
    /// The path of its network namespace; for DEL it may be empty.
    pub netns: String,
    /// The interface to make in it.
    pub if_name: String,
    /// CNI_ARGS, in order.
    pub args: Vec<(String, String)>,
    /// Values by capability; a plugin gets those it has the capability for, in
    /// `runtimeConfig`.
    pub capability_args: BTreeMap<String, Value>,
    /// Where the cache is, unless the [`CniConfig`](super::CniConfig) says so.
    #[deprecated = "set the cache directory of the `CniConfig`"]
    pub cache_dir: Option<PathBuf>,
}

impl RuntimeConf {
    /// An attachment without arguments.
    pub fn new(
        container_id: impl Into<String>,
        netns: impl Into<String>,
        if_name: impl Into<String>,
    ) -> Self {
        Self {
            container_id: container_id.into(),
            netns: netns.into(),
            if_name: if_name.into(),
            ..Self::default()
        }
    }

    pub(super) fn own_cache_dir(&self) -> Option<&PathBuf> {
        #[expect(deprecated, reason = "it is still honoured")]
        self.cache_dir.as_ref()
    }
}

/// An attachment as the cache remembers it.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkAttachment {
    /// The container.
    pub container_id: String,
    /// The network's name.
    pub network: String,
    /// The interface.
    pub if_name: String,
    /// The configuration list (or single configuration) ADD ran with.
    pub config: Vec<u8>,
    /// The path of the network namespace; empty in entries of libcni before 1.2.0.
    pub netns: String,
    /// CNI_ARGS.
    pub cni_args: Vec<(String, String)>,
    /// Values by capability.
    pub capability_args: BTreeMap<String, Value>,
}

impl NetworkAttachment {
    /// The arguments to call DEL with.
    #[must_use]
    pub fn runtime_conf(&self) -> RuntimeConf {
        RuntimeConf {
            args: self.cni_args.clone(),
            capability_args: self.capability_args.clone(),
            ..RuntimeConf::new(&self.container_id, &self.netns, &self.if_name)
        }
    }
}

/// What garbage collection must spare.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GcArgs {
    /// All attachments to the network that are in use. The empty list says that none is.
    pub valid_attachments: Vec<GcAttachment>,
}
