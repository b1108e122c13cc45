//! What stands after `weft lab up`: written down for programs, told to people.

use std::fmt;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::build::Lab;
use crate::failure::Failure;

const FILE: &str = "lab.json";

/// A lab that stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Its name.
    pub name: String,
    /// Where all of it is.
    pub directory: PathBuf,
    /// Its hosts.
    pub hosts: Vec<StandingHost>,
    /// Its networks, by name.
    pub networks: Vec<String>,
    /// Its endpoints.
    pub endpoints: Vec<StandingEndpoint>,
}

/// A host of a lab that stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandingHost {
    /// Its name.
    pub name: String,
    /// Its address on the underlay.
    pub address: IpAddr,
    /// Its namespace.
    pub netns: PathBuf,
    /// Its agent's control socket.
    pub socket: PathBuf,
    /// Its agent's log.
    pub log: PathBuf,
}

/// An endpoint of a lab that stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandingEndpoint {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// The name of its network.
    pub network: String,
    /// The name of its host.
    pub host: String,
    /// Its namespace.
    pub netns: PathBuf,
    /// Its addresses, IPv4 first.
    pub addresses: Vec<IpAddr>,
}

impl Standing {
    pub(super) fn of(name: &str, lab: &Lab) -> Self {
        let hosts = lab.hosts.iter().map(|host| StandingHost {
            name: host.plan.name.clone(),
            address: host.plan.address.ip(),
            netns: host.plan.namespace.clone(),
            socket: host.plan.socket.clone(),
            log: host.plan.log.clone(),
        });
        let endpoints = lab.endpoints.iter().map(|endpoint| StandingEndpoint {
            name: endpoint.plan.name.clone(),
            id: endpoint.id.clone(),
            network: lab.plan.networks[endpoint.plan.network].clone(),
            host: lab.host(endpoint.plan.host).plan.name.clone(),
            netns: endpoint.plan.namespace.clone(),
            addresses: endpoint.addresses.clone(),
        });
        Self {
            name: name.to_owned(),
            directory: lab.plan.directory.clone(),
            hosts: hosts.collect(),
            networks: lab.plan.networks.clone(),
            endpoints: endpoints.collect(),
        }
    }

    pub(super) fn save(&self, directory: &Path) -> Result<(), Failure> {
        let path = directory.join(FILE);
        serde_json::to_vec_pretty(self)
            .map_err(std::io::Error::from)
            .and_then(|json| fs::write(&path, json))
            .map_err(|error| {
                Failure::failed(format!("`{}` cannot be written: {error}", path.display()))
            })
    }
}

impl fmt::Display for Standing {
    /// Says what stands and how to look around.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, directory, .. } = self;
        writeln!(f, "Lab `{name}` stands in {}.\n", directory.display())?;
        for host in &self.hosts {
            writeln!(f, "  {:<6} {:<16} {}", host.name, host.address, host.socket.display())?;
        }
        writeln!(f)?;
        for endpoint in &self.endpoints {
            let addresses: Vec<_> = endpoint.addresses.iter().map(ToString::to_string).collect();
            writeln!(f, "  {:<16} {}", endpoint.name, addresses.join("  "))?;
        }
        writeln!(f, "\nLook around:")?;
        if let Some(host) = self.hosts.first() {
            let socket = host.socket.display();
            writeln!(f, "  weft members --socket {socket}")?;
            writeln!(f, "  weft network ls --socket {socket}")?;
            if let Some(network) = self.networks.first() {
                writeln!(f, "  weft table ls {network} overlay_peer_table --socket {socket}")?;
            }
        }
        if let (Some(from), Some(to)) = (self.endpoints.first(), self.far_from_first()) {
            let netns = from.netns.display();
            writeln!(f, "  nsenter --net={netns} ping -c 3 {to}")?;
        }
        writeln!(f, "Remove it:\n  weft lab down --name {name}")
    }
}

impl Standing {
    /// Returns an address in the first endpoint's network, on another host.
    fn far_from_first(&self) -> Option<IpAddr> {
        let first = self.endpoints.first()?;
        let far = self
            .endpoints
            .iter()
            .find(|other| other.network == first.network && other.host != first.host)?;
        far.addresses.first().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing() -> Standing {
        let endpoint = |host: &str, last: u8| StandingEndpoint {
            name: format!("blue-{host}-1"),
            id: "0f".to_owned(),
            network: "blue".to_owned(),
            host: host.to_owned(),
            netns: PathBuf::from(format!("/lab/ns/blue-{host}-1")),
            addresses: vec![IpAddr::from([10, 128, 0, last])],
        };
        Standing {
            name: "weft-lab".to_owned(),
            directory: PathBuf::from("/lab"),
            hosts: vec![StandingHost {
                name: "h1".to_owned(),
                address: IpAddr::from([10, 99, 0, 1]),
                netns: PathBuf::from("/lab/ns/h1"),
                socket: PathBuf::from("/lab/h1/run/weft.sock"),
                log: PathBuf::from("/lab/h1/log"),
            }],
            networks: vec!["blue".to_owned()],
            endpoints: vec![endpoint("h1", 2), endpoint("h2", 3)],
        }
    }

    #[test]
    fn people_are_told_how_to_look_around_and_how_to_remove_it() {
        let text = standing().to_string();
        for line in [
            "weft members --socket /lab/h1/run/weft.sock",
            "nsenter --net=/lab/ns/blue-h1-1 ping -c 3 10.128.0.3",
            "weft lab down --name weft-lab",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn what_is_written_down_can_be_read_back() {
        let directory = tempfile::tempdir().unwrap();
        standing().save(directory.path()).unwrap();
        let json = fs::read(directory.path().join(FILE)).unwrap();
        assert_eq!(serde_json::from_slice::<Standing>(&json).unwrap(), standing());
    }
}
