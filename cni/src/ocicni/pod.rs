//! A pod, in the words of the one that runs it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnetwork::IpNetwork;
use serde::Serialize;

use crate::types::CniResult;

/// A pod, and what is asked for its networks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodNetwork {
    /// The pod's name.
    pub name: String,
    /// The pod's namespace, in the sense of Kubernetes.
    pub namespace: String,
    /// The container whose network namespace the pod shares: the container id of plugins.
    pub id: String,
    /// The pod's unique id; may be empty.
    pub uid: String,
    /// The path of its network namespace. To tear it down it may be empty or gone.
    pub netns: PathBuf,
    /// The networks to attach it to, in order; the default network when empty.
    pub networks: Vec<NetAttachment>,
    /// What is asked for, by network.
    pub runtime_config: BTreeMap<String, RuntimeConfig>,
    /// Names the pod is to be found under, by network.
    pub aliases: BTreeMap<String, Vec<String>>,
}

impl PodNetwork {
    /// A pod on the default network.
    pub fn new(
        netns: impl Into<PathBuf>,
        namespace: impl Into<String>,
        name: impl Into<String>,
        id: impl Into<String>,
    ) -> Self {
        Self {
            netns: netns.into(),
            namespace: namespace.into(),
            name: name.into(),
            id: id.into(),
            ..Self::default()
        }
    }
}

/// A network of a pod and the interface that leads to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct NetAttachment {
    /// The network's name.
    pub name: String,
    /// The interface; when empty the first of `eth0`, `eth1`, ... that is free.
    pub if_name: String,
}

impl NetAttachment {
    /// An attachment by an interface of the next free name.
    pub fn to(name: impl Into<String>) -> Self {
        Self { name: name.into(), if_name: String::new() }
    }
}

/// What is asked for one network of a pod. Apart from the two addresses each reaches the plugins
/// that declare the capability of that name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuntimeConfig {
    /// The address, as `IP` in CNI_ARGS.
    pub ip: Option<IpAddr>,
    /// The hardware address, six octets with colons, as `MAC` in CNI_ARGS.
    pub mac: Option<String>,
    /// Ports of the host that lead to the pod (`portMappings`).
    pub port_mappings: Vec<PortMapping>,
    /// Limits (`bandwidth`).
    pub bandwidth: Option<Bandwidth>,
    /// Ranges to take addresses from: sets of alternatives (`ipRanges`).
    pub ip_ranges: Vec<Vec<IpRange>>,
    /// The pod's cgroup (`cgroupPath`).
    pub cgroup_path: Option<String>,
    /// The pod's annotations (`io.kubernetes.cri.pod-annotations`).
    pub pod_annotations: BTreeMap<String, String>,
}

/// A port of the host that leads to a port of the pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PortMapping {
    /// The port of the host, from 1.
    pub host_port: u16,
    /// The port of the pod, from 1.
    pub container_port: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// The host's address it is for; every one when empty.
    #[serde(rename = "hostIP")]
    pub host_ip: String,
}

/// Limits of a pod's traffic: rates in bits per second, bursts in bits. 0 is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Bandwidth {
    /// Towards the pod.
    pub ingress_rate: u64,
    /// Towards the pod, at once.
    pub ingress_burst: u64,
    /// From the pod.
    pub egress_rate: u64,
    /// From the pod, at once.
    pub egress_burst: u64,
}

/// Addresses an IPAM plugin may take from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IpRange {
    /// The subnet.
    pub subnet: IpNetwork,
    /// The first address; the subnet's when unsaid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range_start: Option<IpAddr>,
    /// The last address; the subnet's when unsaid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range_end: Option<IpAddr>,
    /// The gateway; the plugin's choice when unsaid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
}

/// One network of a pod as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetResult {
    /// The network and the interface.
    pub attachment: NetAttachment,
    /// What the plugins answered, in the version of their configuration.
    pub result: CniResult,
}

/// The addresses of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerNetworkStatus {
    /// The one to tell people: of IPv4 where there is one.
    pub ip: IpAddr,
    /// The others.
    pub additional_ips: Vec<IpAddr>,
}
