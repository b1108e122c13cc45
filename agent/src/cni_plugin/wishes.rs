//! What ADD is asked for, by the configuration, the runtime and CNI_ARGS.

use std::net::IpAddr;

use cni::types::{ArgFields, Code, Dns, PluginError, Recognised, load_args, parse_cidr};
use ipnetwork::IpNetwork;
use serde::Deserialize;
use serde_json::{Map, Value};
use weft_api::control::{Bandwidth, NetworkCreate, SubnetRequest};
use weft_api::id::Mac;

use super::configuration::Configuration;
use super::member::{self, invalid, unsupported};

/// What ADD is asked for.
#[derive(Debug)]
pub(super) struct Wishes {
    /// The name of the configuration.
    pub(super) configuration: String,
    /// The network.
    pub(super) network: NetworkCreate,
    /// Addresses to be had exactly; at most one of each family.
    pub(super) ips: Vec<IpAddr>,
    /// Where the others come from; at most one range of each family.
    pub(super) ranges: Vec<IpNetwork>,
    /// The MAC address.
    pub(super) mac: Option<Mac>,
    /// Limits of the traffic.
    pub(super) bandwidth: Option<Bandwidth>,
    /// Name resolution, to be passed on.
    pub(super) dns: Dns,
}

/// CNI_ARGS, as far as they are ours.
#[derive(Default)]
struct Arguments {
    ips: Vec<IpAddr>,
    mac: Option<Mac>,
}

impl ArgFields for Arguments {
    fn set(&mut self, key: &str, value: &str) -> Result<Recognised, String> {
        match key {
            "IP" => {
                let parsed = value.split(',').map(|text| address(text.trim()));
                self.ips = parsed.collect::<Result<_, _>>()?;
            }
            "MAC" => self.mac = Some(value.parse().map_err(|error| format!("{error}"))?),
            _ if key.starts_with("K8S_") => {}
            _ => return Ok(Recognised::No),
        }
        Ok(Recognised::Yes)
    }
}

/// Limits as runtimes spell them: as the conventions of CNI have it, or, as containerd does, with
/// a capital, which Go's plugins take for the same. A limit that nobody here knows is refused:
/// who asks for one must not go without.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct Limits {
    #[serde(alias = "IngressRate")]
    ingress_rate: Option<u64>,
    #[serde(alias = "IngressBurst")]
    ingress_burst: Option<u64>,
    #[serde(alias = "EgressRate")]
    egress_rate: Option<u64>,
    #[serde(alias = "EgressBurst")]
    egress_burst: Option<u64>,
}

/// Name resolution, spelled likewise. One that says nothing is none.
#[derive(Deserialize, Default)]
#[serde(default)]
struct RuntimeDns {
    #[serde(alias = "Servers")]
    servers: Option<Vec<String>>,
    #[serde(alias = "Searches")]
    searches: Option<Vec<String>>,
    #[serde(alias = "Options")]
    options: Option<Vec<String>>,
}

/// A range as `ipRanges` has it, spelled likewise. An empty text is none.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Range {
    #[serde(alias = "Subnet")]
    subnet: String,
    #[serde(alias = "RangeStart")]
    range_start: Option<String>,
    #[serde(alias = "RangeEnd")]
    range_end: Option<String>,
}

impl Wishes {
    /// Reads all of it. What the runtime says for one container counts over CNI_ARGS, and these
    /// over the configuration.
    pub(super) fn read(conf: &Configuration, cni_args: &str) -> Result<Self, PluginError> {
        let mut arguments = Arguments::default();
        load_args(cni_args, &mut arguments).map_err(|error| {
            PluginError::new(Code::INVALID_ENVIRONMENT, "CNI_ARGS").with_details(error.to_string())
        })?;
        let members = &conf.members;
        let runtime: Map<String, Value> =
            member::read(members, "runtimeConfig")?.unwrap_or_default();
        let own_ips = ips(members, "ips")?;
        let own_ranges = ranges(members, "ranges")?;
        if conf.ipam().is_some() && !(own_ips.is_empty() && own_ranges.is_empty()) {
            let reason = "the addresses come from the plugin of `ipam`, which is to be told";
            return Err(unsupported("ips` or `ranges", reason));
        }
        let ips = first_said([ips(&runtime, "ips")?, arguments.ips, own_ips]);
        let ranges = first_said([ranges(&runtime, "ipRanges")?, own_ranges]);
        one_of_each_family("ips", ips.iter().copied())?;
        one_of_each_family("ranges", ranges.iter().map(IpNetwork::ip))?;
        Ok(Self {
            configuration: conf.standard.name.clone(),
            network: network(conf)?,
            ips,
            ranges,
            mac: match mac(&runtime)?.or(arguments.mac) {
                None => mac(members)?,
                said => said,
            },
            bandwidth: bandwidth(&runtime)?,
            dns: dns(conf, &runtime)?,
        })
    }
}

fn first_said<T, const N: usize>(sources: [Vec<T>; N]) -> Vec<T> {
    sources.into_iter().find(|source| !source.is_empty()).unwrap_or_default()
}

fn one_of_each_family(
    key: &str,
    addresses: impl Iterator<Item = IpAddr>,
) -> Result<(), PluginError> {
    let (v4, v6): (Vec<_>, Vec<_>) = addresses.partition(IpAddr::is_ipv4);
    if v4.len() > 1 || v6.len() > 1 {
        return Err(unsupported(key, "a container has one address of each family"));
    }
    Ok(())
}

/// An address; a prefix length after it says nothing new.
fn address(text: &str) -> Result<IpAddr, String> {
    let bare = text.split_once('/').map_or(text, |(bare, _)| bare);
    bare.parse().map_err(|error| format!("`{text}`: {error}"))
}

fn ips(members: &Map<String, Value>, key: &str) -> Result<Vec<IpAddr>, PluginError> {
    let texts = member::texts(members, key)?;
    texts.iter().map(|text| address(text).map_err(|error| invalid(key, error))).collect()
}

fn mac(members: &Map<String, Value>) -> Result<Option<Mac>, PluginError> {
    let text: Option<String> = member::read(members, "mac")?;
    text.filter(|text| !text.is_empty()).map(|text| member::parse("mac", &text)).transpose()
}

fn cidr(key: &str, text: &str) -> Result<IpNetwork, PluginError> {
    parse_cidr(text).map_err(|error| invalid(key, format!("`{text}`: {error}")))
}

/// Ranges, as CIDRs or as the sets of `ipRanges`.
fn ranges(members: &Map<String, Value>, key: &str) -> Result<Vec<IpNetwork>, PluginError> {
    fn flat<'a>(value: &'a Value, found: &mut Vec<&'a Value>) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| flat(item, found)),
            Value::Null => {}
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
                found.push(value);
            }
        }
    }
    let mut found = Vec::new();
    members.get(key).into_iter().for_each(|value| flat(value, &mut found));
    let range = |value: &Value| {
        if let Some(text) = value.as_str() {
            return cidr(key, text);
        }
        let range = Range::deserialize(value).map_err(|error| invalid(key, error))?;
        whole(key, &range)
    };
    found.into_iter().map(range).collect()
}

/// A range that is all of its subnet, or of one with a longer prefix.
fn whole(key: &str, range: &Range) -> Result<IpNetwork, PluginError> {
    let subnet = cidr(key, &range.subnet)?;
    let end = |text: &Option<String>| -> Result<Option<IpAddr>, PluginError> {
        let said = text.as_deref().filter(|text| !text.is_empty());
        said.map(|text| member::parse(key, text)).transpose()
    };
    let (start, end) = (end(&range.range_start)?, end(&range.range_end)?);
    if start.is_none() && end.is_none() {
        return Ok(subnet);
    }
    let first = start.unwrap_or_else(|| subnet.network());
    let last = end.unwrap_or_else(|| subnet.broadcast());
    let block = (subnet.prefix()..=if first.is_ipv4() { 32 } else { 128 })
        .filter_map(|prefix| IpNetwork::new(first, prefix).ok())
        .find(|block| block.network() == first && block.broadcast() == last);
    block.filter(|block| subnet.contains(block.ip())).ok_or_else(|| {
        unsupported(key, "`rangeStart` and `rangeEnd` have to be the ends of a CIDR of `subnet`")
    })
}

fn network(conf: &Configuration) -> Result<NetworkCreate, PluginError> {
    let members = &conf.members;
    let subnets = member::texts(members, "subnet")?;
    let subnets: Vec<IpNetwork> =
        subnets.iter().map(|text| cidr("subnet", text)).collect::<Result<_, _>>()?;
    Ok(NetworkCreate {
        subnets: subnets.into_iter().map(SubnetRequest::of).collect(),
        ipv6: member::read(members, "ipv6")?.unwrap_or_default(),
        internal: is_internal(members)?,
        mtu: member::read(members, "mtu")?,
        ..NetworkCreate::named(conf.network()?)
    })
}

/// Whether the network has no way out. Weft's way out is gateway and masquerade in one.
fn is_internal(members: &Map<String, Value>) -> Result<bool, PluginError> {
    let is_gateway = member::read(members, "isGateway")?.unwrap_or(true);
    match (is_gateway, member::read(members, "ipMasq")?) {
        (true, None | Some(true)) => Ok(false),
        (false, None | Some(false)) => Ok(true),
        (true, Some(false)) => Err(unsupported(
            "ipMasq",
            "the gateway of a network on Weft masquerades: leave it out, or say `isGateway: false` \
             for a network without a way out",
        )),
        (false, Some(true)) => Err(unsupported(
            "ipMasq",
            "there is nothing to masquerade where `isGateway` is false: leave out one of them",
        )),
    }
}

fn bandwidth(runtime: &Map<String, Value>) -> Result<Option<Bandwidth>, PluginError> {
    let limits: Option<Limits> = member::read(runtime, "bandwidth")?;
    let limits = limits.map(|limits| Bandwidth {
        ingress_rate: limits.ingress_rate.unwrap_or_default(),
        ingress_burst: limits.ingress_burst.unwrap_or_default(),
        egress_rate: limits.egress_rate.unwrap_or_default(),
        egress_burst: limits.egress_burst.unwrap_or_default(),
    });
    Ok(limits.filter(|limits| *limits != Bandwidth::default()))
}

fn dns(conf: &Configuration, runtime: &Map<String, Value>) -> Result<Dns, PluginError> {
    let said: RuntimeDns = member::read(runtime, "dns")?.unwrap_or_default();
    let said = Dns {
        nameservers: said.servers.unwrap_or_default(),
        domain: String::new(),
        search: said.searches.unwrap_or_default(),
        options: said.options.unwrap_or_default(),
    };
    if said.is_empty() {
        return Ok(conf.standard.dns.clone());
    }
    Ok(Dns { domain: conf.standard.dns.domain.clone(), ..said })
}
