//! Whether a network of the cluster is the one an engine describes.

use std::collections::BTreeMap;

use weft_api::Definition;
use weft_api::control::{ControlError, NetworkCreate, SubnetRequest};
use weft_api::driver::IpamData;

use super::settings::Settings;
use crate::overlay_driver::options::VXLAN_IDS;

/// Marks a network made for an engine: it goes with the last engine that has it.
pub(super) const MADE_BY: &str = "weft.made_by";
/// The mark's value.
pub(super) const DOCKER: &str = "docker";
/// Marks a network of a Swarm, with the Swarm's id of it: only the Swarm ends it.
pub(super) const SWARM_NETWORK: &str = "weft.swarm.network";

/// A network as an engine describes it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Described {
    /// Its pools with gateway and auxiliary addresses, IPv4 first.
    pub(super) data: Vec<IpamData>,
    pub(super) settings: Settings,
}

impl Described {
    /// Says in what the network differs; nothing when it agrees. A family that the engine leaves
    /// out, and what it does not mention, does not count.
    pub(super) fn contradictions(&self, definition: &Definition) -> Vec<String> {
        let mut found = Vec::new();
        for data in &self.data {
            let Some(pool) = data.pool else { continue };
            let Some(subnet) = definition.subnets.iter().find(|subnet| subnet.pool == pool) else {
                let pools: Vec<_> = definition.subnets.iter().map(|s| s.pool.to_string()).collect();
                found.push(format!("subnet {pool} is not one of {}", pools.join(", ")));
                continue;
            };
            if let (Some(gateway), Some(theirs)) = (data.gateway, subnet.gateway)
                && gateway.ip() != theirs
            {
                found.push(format!("gateway {} is not {theirs}", gateway.ip()));
            }
        }
        let settings = &self.settings;
        if settings.internal != definition.internal {
            found.push(match settings.internal {
                true => "it is not internal".to_owned(),
                false => "it is internal".to_owned(),
            });
        }
        if let Some(mtu) = settings.mtu
            && definition.mtu != Some(mtu)
        {
            let theirs = definition.mtu.map_or_else(|| "each host's".to_owned(), |m| m.to_string());
            found.push(format!("MTU {mtu} is not {theirs}"));
        }
        if let Some(vnis) = &settings.vnis {
            let theirs = vnis_of(definition);
            if vnis.replace(' ', "") != theirs {
                found.push(format!("VNI {vnis} is not {theirs}"));
            }
        }
        found
    }

    /// The request that makes it. Auxiliary addresses become part of the network.
    pub(super) fn request(&self, name: &str, more: BTreeMap<String, String>) -> NetworkCreate {
        let subnets = self.data.iter().filter_map(|data| {
            let auxiliary =
                data.aux_addresses.iter().map(|(name, one)| (name.clone(), one.ip())).collect();
            Some(SubnetRequest {
                pool: data.pool?,
                gateway: data.gateway.map(|gateway| gateway.ip()),
                range: None,
                auxiliary,
            })
        });
        let mut options = self.settings.others.clone();
        options.insert(MADE_BY.to_owned(), DOCKER.to_owned());
        options.extend(more);
        if let Some(vnis) = &self.settings.vnis {
            options.insert(VXLAN_IDS.to_owned(), vnis.clone());
        }
        NetworkCreate {
            subnets: subnets.collect(),
            internal: self.settings.internal,
            mtu: self.settings.mtu,
            options,
            ..NetworkCreate::named(name)
        }
    }
}

/// The VNIs of a network, as the option lists them: one a broadcast domain.
pub(super) fn vnis_of(definition: &Definition) -> String {
    let mut vnis: Vec<String> = Vec::new();
    for subnet in &definition.subnets {
        let vni = subnet.vni.to_string();
        if !vnis.contains(&vni) {
            vnis.push(vni);
        }
    }
    vnis.join(",")
}

/// Tells whether a network was made for an engine.
pub(super) fn is_dockers(definition: &Definition) -> bool {
    definition.options.get(MADE_BY).is_some_and(|by| by == DOCKER)
}

/// Returns a Swarm's id of a network that was made for it.
pub(super) fn swarms_id(definition: &Definition) -> Option<&str> {
    definition.options.get(SWARM_NETWORK).map(String::as_str)
}

/// Says that a network is another one than described.
pub(super) fn contradicts(definition: &Definition, contradictions: &[String]) -> ControlError {
    let name = &definition.name;
    ControlError::conflict(format!(
        "network `{name}` exists with another shape: {}",
        contradictions.join("; ")
    ))
    .with_hint(format!(
        "`weft network inspect {name}` shows it; agree with it, or take another name"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_api::{NetworkId, Stamp, Subnet, Vni};

    fn definition() -> Definition {
        Definition {
            id: NetworkId::from_bytes([1; 16]),
            name: "blue".into(),
            driver: "overlay".into(),
            ipam: "weft".into(),
            subnets: vec![Subnet {
                pool: "10.1.0.0/24".parse().unwrap(),
                gateway: Some("10.1.0.1".parse().unwrap()),
                range: None,
                auxiliary: BTreeMap::new(),
                vni: Vni::new(5000).unwrap(),
            }],
            options: BTreeMap::new(),
            mtu: None,
            internal: false,
            stamp: Stamp::default(),
        }
    }

    fn described(pool: &str, gateway: Option<&str>, settings: Settings) -> Described {
        let data = IpamData {
            pool: Some(pool.parse().unwrap()),
            gateway: gateway.map(|gateway| gateway.parse().unwrap()),
            ..IpamData::default()
        };
        Described { data: vec![data], settings }
    }

    #[test]
    fn what_is_not_mentioned_does_not_contradict() {
        let plain = described("10.1.0.0/24", None, Settings::default());
        assert!(plain.contradictions(&definition()).is_empty());
        let full = Settings { vnis: Some("5000".into()), ..Settings::default() };
        let full = described("10.1.0.0/24", Some("10.1.0.1/24"), full);
        assert!(full.contradictions(&definition()).is_empty());
    }

    #[test]
    fn each_contradiction_is_named() {
        let settings = Settings {
            internal: true,
            mtu: Some(1400),
            vnis: Some("5001".into()),
            ..Settings::default()
        };
        let other = described("10.1.0.0/24", Some("10.1.0.9/24"), settings);
        let found = other.contradictions(&definition()).join("; ");
        for word in ["gateway 10.1.0.9", "not internal", "MTU 1400", "VNI 5001"] {
            assert!(found.contains(word), "{word} in {found}");
        }
        let elsewhere = described("10.2.0.0/24", None, Settings::default());
        assert!(elsewhere.contradictions(&definition())[0].contains("10.1.0.0/24"));
    }

    #[test]
    fn a_network_that_is_made_agrees_with_its_description() {
        let settings = Settings { mtu: Some(1400), ..Settings::default() };
        let request = described("10.1.0.0/24", Some("10.1.0.1/24"), settings)
            .request("blue", BTreeMap::new());
        assert_eq!(request.subnets[0].gateway, Some("10.1.0.1".parse().unwrap()));
        assert_eq!(request.mtu, Some(1400));
        assert_eq!(request.options.get(MADE_BY).map(String::as_str), Some(DOCKER));
    }
}
