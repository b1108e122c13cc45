//! What the contract's option maps say to the overlay driver, by libnetwork's labels where it has
//! one.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnetwork::IpNetwork;
use serde_json::Value;
use weft_api::driver::{IpamData, Options};
use weft_api::error::Error;
use weft_api::{Definition, NetworkId, Stamp, Subnet, Vni};
use weft_overlay::op::{Limit, Limits};
use weft_overlay::{DefaultRoute, FarEnd, HandOver, Sandbox};

/// VNI of each subnet, comma-separated: the IPv4 subnets first, then the IPv6 ones.
pub const VXLAN_IDS: &str = "com.docker.network.driver.overlay.vxlanid_list";
/// MTU of the endpoints, in bytes.
pub const MTU: &str = "com.docker.network.driver.mtu";
/// No way out.
pub const INTERNAL: &str = "com.docker.network.internal";
/// Name of the interface in the sandbox.
pub const IFNAME: &str = "com.docker.network.endpoint.ifname";
/// False when another endpoint carries the sandbox's default routes.
pub const DEFAULT_ROUTE: &str = "weft.endpoint.default_route";
/// True when the caller takes the interface from this host's namespace and moves it into the
/// sandbox itself, as container engines do: then [`IFNAME`] and [`DEFAULT_ROUTE`] say nothing.
pub const HANDOVER: &str = "weft.endpoint.handover";
/// True, beside [`HANDOVER`], when the caller took the interface before: a join that finds it gone
/// fails as not found and makes no other.
pub const ADOPT: &str = "weft.endpoint.adopt";
/// When and by whom an endpoint's addresses were allocated: `{"lamport": 7, "node": ".."}`.
pub const STAMP: &str = "weft.endpoint.stamp";

/// Rate towards an endpoint, in bits a second; 0 is no limit.
pub const INGRESS_RATE: &str = "weft.endpoint.ingress_rate";
/// What may pass at once towards an endpoint, in bits; 0 leaves the choice to the driver.
pub const INGRESS_BURST: &str = "weft.endpoint.ingress_burst";
/// Rate from an endpoint, in bits a second; 0 is no limit.
pub const EGRESS_RATE: &str = "weft.endpoint.egress_rate";
/// What may pass at once from an endpoint, in bits; 0 leaves the choice to the driver.
pub const EGRESS_BURST: &str = "weft.endpoint.egress_burst";

/// Says a definition in the contract's words.
pub fn options_of(definition: &Definition) -> (Options, Vec<IpamData>, Vec<IpamData>) {
    let mut options: Options = definition
        .options
        .iter()
        .map(|(key, value)| (key.clone(), Value::String(value.clone())))
        .collect();
    let (v4, v6): (Vec<_>, Vec<_>) =
        definition.subnets.iter().partition(|subnet| subnet.pool.is_ipv4());
    let vnis: Vec<_> = v4.iter().chain(&v6).map(|subnet| subnet.vni.to_string()).collect();
    options.insert(VXLAN_IDS.to_owned(), Value::String(vnis.join(",")));
    if let Some(mtu) = definition.mtu {
        options.insert(MTU.to_owned(), Value::String(mtu.to_string()));
    }
    options.insert(INTERNAL.to_owned(), Value::Bool(definition.internal));
    (options, v4.into_iter().map(ipam_data).collect(), v6.into_iter().map(ipam_data).collect())
}

fn ipam_data(subnet: &Subnet) -> IpamData {
    let with_prefix = |address: IpAddr| {
        IpNetwork::new(address, subnet.pool.prefix()).expect("the prefix is the pool's own")
    };
    IpamData {
        address_space: crate::ipam_driver::GLOBAL_SPACE.to_owned(),
        pool: Some(subnet.pool),
        gateway: subnet.gateway.map(with_prefix),
        aux_addresses: subnet
            .auxiliary
            .iter()
            .map(|(name, address)| (name.clone(), with_prefix(*address)))
            .collect(),
    }
}

/// Reads a definition back. What the driver does not need (name, creator) is left empty.
///
/// # Errors
/// Invalid parameter: a VNI list that does not fit the subnets, an MTU that is no number.
pub fn definition_from(
    id: NetworkId,
    options: &Options,
    ipv4_data: &[IpamData],
    ipv6_data: &[IpamData],
) -> Result<Definition, Error> {
    let vnis = text(options, VXLAN_IDS)
        .unwrap_or_default()
        .split(',')
        .filter(|part| !part.is_empty())
        .map(|part| {
            let number = part.trim().parse::<u32>().map_err(Error::invalid_parameter)?;
            Vni::new(number).map_err(Error::invalid_parameter)
        })
        .collect::<Result<Vec<_>, Error>>()?;
    let data: Vec<_> = ipv4_data.iter().chain(ipv6_data).collect();
    if vnis.len() != data.len() {
        return Err(Error::invalid_parameter(format!(
            "{VXLAN_IDS} names {} VNIs for {} subnets",
            vnis.len(),
            data.len()
        )));
    }
    let subnets = data
        .into_iter()
        .zip(vnis)
        .map(|(data, vni)| {
            let pool =
                data.pool.ok_or_else(|| Error::invalid_parameter("a subnet without a pool"))?;
            Ok(Subnet {
                pool,
                gateway: data.gateway.map(|gateway| gateway.ip()),
                range: None,
                auxiliary: data
                    .aux_addresses
                    .iter()
                    .map(|(name, address)| (name.clone(), address.ip()))
                    .collect(),
                vni,
            })
        })
        .collect::<Result<Vec<_>, Error>>()?;
    let mtu = text(options, MTU)
        .map(|text| {
            text.parse()
                .map_err(|_| Error::invalid_parameter(format!("{MTU} `{text}` is no number")))
        })
        .transpose()?;
    Ok(Definition {
        id,
        name: String::new(),
        driver: super::NETWORK_TYPE.to_owned(),
        ipam: String::new(),
        subnets,
        options: BTreeMap::new(),
        mtu,
        internal: flag(options, INTERNAL).unwrap_or(false),
        stamp: Stamp::default(),
    })
}

/// Reads where and how an endpoint joins.
///
/// # Errors
/// Invalid parameter when the interface is not handed over and has no name.
pub fn far_end_from(sandbox_key: &str, options: &Options) -> Result<FarEnd, Error> {
    if flag(options, HANDOVER) == Some(true) {
        let adopts = flag(options, ADOPT) == Some(true);
        return Ok(FarEnd::Handed(if adopts { HandOver::Adopted } else { HandOver::First }));
    }
    let ifname = text(options, IFNAME)
        .ok_or_else(|| Error::invalid_parameter(format!("{IFNAME} is missing")))?;
    let default_route = match flag(options, DEFAULT_ROUTE) {
        Some(false) => DefaultRoute::Elsewhere,
        Some(true) | None => DefaultRoute::Gateway,
    };
    let path = PathBuf::from(sandbox_key);
    Ok(FarEnd::Placed(Sandbox { path, ifname, default_route, routes: Vec::new() }))
}

/// Reads how much of an endpoint's traffic passes.
///
/// # Errors
/// Invalid parameter when a limit is no number.
pub fn limits_from(options: &Options) -> Result<Limits, Error> {
    let number = |label: &str| match text(options, label) {
        Some(text) => text.parse().map_err(|_| {
            Error::invalid_parameter(format!("{label} `{text}` is no number of bits"))
        }),
        None => Ok(0),
    };
    Ok(Limits {
        ingress: Limit::of_bits(number(INGRESS_RATE)?, number(INGRESS_BURST)?),
        egress: Limit::of_bits(number(EGRESS_RATE)?, number(EGRESS_BURST)?),
    })
}

/// Reads an allocation's stamp.
///
/// # Errors
/// Invalid parameter when it is there and malformed.
pub fn stamp_from(options: &Options) -> Result<Stamp, Error> {
    options.get(STAMP).map_or_else(
        || Ok(Stamp::default()),
        |value| serde_json::from_value(value.clone()).map_err(Error::invalid_parameter),
    )
}

fn text(options: &Options, label: &str) -> Option<String> {
    match options.get(label)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn flag(options: &Options, label: &str) -> Option<bool> {
    match options.get(label)? {
        Value::Bool(flag) => Some(*flag),
        Value::String(text) => text.parse().ok(),
        Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_survives_the_contracts_words() {
        let subnet = |pool: &str, gateway: &str, vni| Subnet {
            pool: pool.parse().unwrap(),
            gateway: Some(gateway.parse().unwrap()),
            range: None,
            auxiliary: BTreeMap::from([("printer".to_owned(), gateway.parse().unwrap())]),
            vni: Vni::new(vni).unwrap(),
        };
        let definition = Definition {
            id: NetworkId::from_bytes([3; 16]),
            name: String::new(),
            driver: "overlay".to_owned(),
            ipam: String::new(),
            subnets: vec![
                subnet("10.1.0.0/20", "10.1.0.1", 9),
                subnet("10.2.0.0/20", "10.2.0.1", 8),
                subnet("fd00::/64", "fd00::1", 9),
            ],
            options: BTreeMap::new(),
            mtu: Some(1400),
            internal: true,
            stamp: Stamp::default(),
        };
        let (options, v4, v6) = options_of(&definition);
        assert_eq!(definition_from(definition.id, &options, &v4, &v6), Ok(definition));
    }

    #[test]
    fn a_vni_list_must_fit_the_subnets() {
        let options = Options::from([(VXLAN_IDS.to_owned(), Value::from("7,8"))]);
        assert!(definition_from(NetworkId::default(), &options, &[], &[]).is_err());
    }

    #[test]
    fn limits_are_numbers_of_bits() {
        let of = |rate: &str| {
            let labels = [(INGRESS_RATE, rate), (INGRESS_BURST, "1600000"), (EGRESS_RATE, "0")];
            let labels = labels.map(|(label, value)| (label.to_owned(), Value::from(value)));
            limits_from(&labels.into_iter().collect())
        };
        let ingress = Limit { rate_bytes_s: 1_000_000, burst_bytes: 200_000 };
        assert_eq!(of("8000000"), Ok(Limits { ingress: Some(ingress), egress: None }));
        assert_eq!(of("0"), Ok(Limits::default()));
        for wrong in ["fast", "-1", "8M"] {
            assert!(of(wrong).is_err_and(|error| error.to_string().contains(wrong)));
        }
    }

    #[test]
    fn an_interface_without_a_name_is_refused() {
        assert!(far_end_from("/run/netns/a", &Options::new()).is_err());
    }

    #[test]
    fn an_interface_that_is_handed_over_needs_no_name() {
        let far = |labels: &[&str]| {
            let labels = labels.iter().map(|label| ((*label).to_owned(), Value::Bool(true)));
            far_end_from("/var/run/docker/netns/1a2b", &labels.collect()).unwrap()
        };
        assert_eq!(far(&[HANDOVER]), FarEnd::Handed(HandOver::First));
        assert_eq!(far(&[HANDOVER, ADOPT]), FarEnd::Handed(HandOver::Adopted));
    }
}
