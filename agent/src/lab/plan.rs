//! What a lab consists of, decided before anything is made: names, addresses, paths.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// Name of a lab that was not given one.
pub const DEFAULT_NAME: &str = "weft-lab";
/// Nodes of a lab that was not told how many.
pub const DEFAULT_NODES: u32 = 3;
/// Networks of a lab that was not told how many.
pub const DEFAULT_NETWORKS: u32 = 2;
/// Endpoints a node has in each network of a lab that was not told how many.
pub const DEFAULT_ENDPOINTS: u32 = 2;

const NODES_MAX: u32 = 64;
const NETWORKS_MAX: u32 = 32;
const ENDPOINTS_MAX: u32 = 32;
/// Each endpoint is a namespace, and pairs grow with its square.
const ENDPOINTS_TOTAL_MAX: usize = 512;
const NAME_MAX: usize = 32;
/// Outside of the default pools, which a host's own routes would take from the cluster.
const UNDERLAY4: [u8; 2] = [10, 99];
const UNDERLAY6: [u16; 4] = [0xfd57, 0x6566, 0x7400, 0];
const NETWORK_NAMES: [&str; 8] =
    ["blue", "green", "amber", "violet", "coral", "teal", "olive", "rose"];

/// Which addresses the hosts reach each other at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Underlay {
    /// IPv4.
    #[default]
    V4,
    /// IPv6.
    V6,
}

/// Which addresses endpoints get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Inside {
    /// IPv4.
    #[default]
    V4,
    /// Both.
    Dual,
}

/// How large a lab is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Size {
    /// Hosts, each with an agent.
    pub nodes: u32,
    /// Overlay networks.
    pub networks: u32,
    /// Endpoints of each network on each host.
    pub endpoints: u32,
    /// Addresses inside the networks.
    pub inside: Inside,
    /// Addresses between the hosts.
    pub underlay: Underlay,
}

impl Default for Size {
    fn default() -> Self {
        Self {
            nodes: DEFAULT_NODES,
            networks: DEFAULT_NETWORKS,
            endpoints: DEFAULT_ENDPOINTS,
            inside: Inside::V4,
            underlay: Underlay::V4,
        }
    }
}

impl Size {
    /// Returns how many endpoints there will be in all.
    pub fn endpoints_total(&self) -> usize {
        let all = u64::from(self.nodes) * u64::from(self.networks) * u64::from(self.endpoints);
        usize::try_from(all).unwrap_or(usize::MAX)
    }

    /// Checks that such a lab can be made and says something.
    ///
    /// # Errors
    /// A usage failure that names the number at fault.
    pub fn check(&self) -> Result<(), Failure> {
        let rows = [
            ("--nodes", self.nodes, 2, NODES_MAX),
            ("--networks", self.networks, 1, NETWORKS_MAX),
            ("--endpoints", self.endpoints, 1, ENDPOINTS_MAX),
        ];
        for (flag, value, least, most) in rows {
            if !(least..=most).contains(&value) {
                return Err(Failure::usage(format!("`{flag} {value}` is out of range"))
                    .with_hint(format!("give a number from {least} to {most}")));
            }
        }
        let total = self.endpoints_total();
        if total > ENDPOINTS_TOTAL_MAX {
            return Err(Failure::usage(format!("a lab of {total} endpoints is too large"))
                .with_hint(format!(
                    "nodes x networks x endpoints may be {ENDPOINTS_TOTAL_MAX} at most"
                )));
        }
        Ok(())
    }
}

/// A lab's name: what `weft lab down --name` finds it by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    /// Checks a name.
    ///
    /// # Errors
    /// A usage failure when it could not be a directory's.
    pub fn new(text: &str) -> Result<Self, Failure> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if text.is_empty() || text.len() > NAME_MAX || !text.chars().all(fits) {
            return Err(Failure::usage(format!("`{text}` is not a name for a lab")).with_hint(
                format!("use at most {NAME_MAX} lower-case letters, digits and hyphens"),
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// Returns the name no other running lab has: the default one with the process's id.
    pub fn of_this_process() -> Self {
        Self(format!("{DEFAULT_NAME}-{}", std::process::id()))
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the lab's directory.
    pub fn directory(&self) -> PathBuf {
        std::env::temp_dir().join(&self.0)
    }
}

/// One host to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HostPlan {
    pub(super) name: String,
    pub(super) address: IpNetwork,
    pub(super) namespace: PathBuf,
    pub(super) data: PathBuf,
    pub(super) socket: PathBuf,
    pub(super) log: PathBuf,
}

/// One endpoint to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EndpointPlan {
    pub(super) name: String,
    pub(super) host: usize,
    pub(super) network: usize,
    pub(super) namespace: PathBuf,
}

/// Everything to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) directory: PathBuf,
    pub(super) bridge_namespace: PathBuf,
    pub(super) hosts: Vec<HostPlan>,
    pub(super) networks: Vec<String>,
    pub(super) endpoints: Vec<EndpointPlan>,
    pub(super) size: Size,
}

impl Plan {
    pub(super) fn new(directory: &Path, size: &Size) -> Self {
        let pins = directory.join("ns");
        let hosts = (1..=size.nodes).map(|number| host(directory, number, size.underlay));
        let networks: Vec<_> = (0..size.networks as usize).map(network_name).collect();
        let mut endpoints = Vec::with_capacity(size.endpoints_total());
        for (network, network_name) in networks.iter().enumerate() {
            for host in 0..size.nodes as usize {
                for number in 1..=size.endpoints {
                    let name = format!("{network_name}-h{}-{number}", host + 1);
                    let namespace = pins.join(&name);
                    endpoints.push(EndpointPlan { name, host, network, namespace });
                }
            }
        }
        Self {
            directory: directory.to_owned(),
            bridge_namespace: pins.join("underlay"),
            hosts: hosts.collect(),
            networks,
            endpoints,
            size: size.clone(),
        }
    }

    /// Where namespaces are pinned.
    pub(super) fn pins(&self) -> PathBuf {
        self.directory.join("ns")
    }

    /// An endpoint beyond the planned ones, for one measurement.
    pub(super) fn extra(&self, number: usize, host: usize, network: usize) -> EndpointPlan {
        let name = format!("extra-{number}");
        let namespace = self.pins().join(&name);
        EndpointPlan { name, host, network, namespace }
    }
}

/// A file in each lab's directory, so that no other directory is removed as one.
const MARK: &str = ".weft-lab";

/// Marks a directory as a lab's.
pub(super) fn mark(directory: &Path) -> Result<(), Failure> {
    std::fs::write(directory.join(MARK), "").map_err(|error| {
        Failure::failed(format!("`{}` cannot be written: {error}", directory.display()))
    })
}

/// Tells whether a directory is a lab's, and root's own.
pub(super) fn is_lab(directory: &Path) -> bool {
    let is_ours = std::fs::symlink_metadata(directory)
        .is_ok_and(|found| found.is_dir() && found.uid() == nix::unistd::geteuid().as_raw());
    is_ours && directory.join(MARK).is_file()
}

/// Returns the names of all labs there are, also of those whose maker was killed.
pub(super) fn labs() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(std::env::temp_dir()) else { return Vec::new() };
    let labs = entries.flatten().filter(|entry| is_lab(&entry.path()));
    let mut names: Vec<_> = labs.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

fn host(directory: &Path, number: u32, underlay: Underlay) -> HostPlan {
    let name = format!("h{number}");
    let own = directory.join(&name);
    HostPlan {
        address: underlay_address(number, underlay),
        namespace: directory.join("ns").join(&name),
        data: own.join("data"),
        socket: own.join("run").join("weft.sock"),
        log: own.join("log"),
        name,
    }
}

fn underlay_address(number: u32, underlay: Underlay) -> IpNetwork {
    let (address, length): (IpAddr, u8) = match underlay {
        Underlay::V4 => {
            let [a, b] = UNDERLAY4;
            (Ipv4Addr::new(a, b, (number >> 8) as u8, number as u8).into(), 16)
        }
        Underlay::V6 => {
            let [a, b, c, d] = UNDERLAY6;
            (Ipv6Addr::new(a, b, c, d, 0, 0, 0, number as u16).into(), 64)
        }
    };
    IpNetwork::new(address, length).expect("16 and 64 are lengths of prefixes")
}

fn network_name(index: usize) -> String {
    NETWORK_NAMES.get(index).map_or_else(|| format!("net{}", index + 1), |name| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_name_path_and_address_is_used_once() {
        let size = Size { nodes: 20, networks: 10, endpoints: 2, ..Size::default() };
        let plan = Plan::new(Path::new("/lab"), &size);
        assert_eq!(plan.endpoints.len(), size.endpoints_total());
        let hosts = plan.hosts.iter();
        let mut paths: Vec<_> = hosts.clone().map(|h| h.namespace.clone()).collect();
        paths.extend(hosts.clone().flat_map(|h| [h.data.clone(), h.socket.clone(), h.log.clone()]));
        paths.extend(plan.endpoints.iter().map(|e| e.namespace.clone()));
        paths.push(plan.bridge_namespace.clone());
        let unique: BTreeSet<_> = paths.iter().collect();
        assert_eq!(unique.len(), paths.len());
        let addresses: BTreeSet<_> = hosts.map(|h| h.address).collect();
        assert_eq!(addresses.len(), 20);
        assert_eq!(plan.networks[9], "net10");
    }

    #[test]
    fn a_socket_path_fits_its_kernel_structure() {
        let name = Name::new(&"x".repeat(NAME_MAX)).unwrap();
        let size = Size { nodes: NODES_MAX, ..Size::default() };
        let plan = Plan::new(&Path::new("/tmp").join(name.as_str()), &size);
        assert!(plan.hosts.iter().all(|h| h.socket.as_os_str().len() < 108));
    }

    #[test]
    fn sizes_out_of_range_are_refused_with_the_range() {
        let ok = Size::default();
        ok.check().unwrap();
        for size in [
            Size { nodes: 1, ..ok.clone() },
            Size { nodes: 65, ..ok.clone() },
            Size { networks: 0, ..ok.clone() },
            Size { endpoints: 0, ..ok.clone() },
            Size { nodes: 64, networks: 32, endpoints: 32, ..ok },
        ] {
            let failure = size.check().unwrap_err();
            assert_eq!(failure.code(), 2);
            assert!(failure.hint().is_some());
        }
    }

    #[test]
    fn a_name_is_never_a_path() {
        for text in ["", "..", "a/b", "A", "a b", &"x".repeat(33)] {
            assert_eq!(Name::new(text).unwrap_err().code(), 2, "{text}");
        }
        assert_eq!(Name::new("weft-lab").unwrap().as_str(), "weft-lab");
    }

    #[test]
    fn the_underlay_is_outside_of_the_default_pools() {
        let pool: IpNetwork = "10.128.0.0/9".parse().unwrap();
        let plan = Plan::new(Path::new("/lab"), &Size::default());
        assert!(plan.hosts.iter().all(|host| !pool.contains(host.address.ip())));
    }
}
