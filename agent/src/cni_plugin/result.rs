//! What ADD answers with, in the version asked for, joined to what plugins before it made.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use cni::skel::{CmdArgs, Reply};
use cni::types::{CniResult, Code, Dns, NetConf, PluginError, Route, v100};
use cni::version::{CURRENT, parse_prev_result};
use ipnetwork::IpNetwork;
use serde_json::{Map, Value};
use weft_api::control::AttachmentResource;

/// The first version whose interfaces have an MTU.
const WITH_MTU: &str = "1.1.0";

/// What was made.
#[derive(Debug)]
pub(super) struct Made {
    /// The attachment.
    pub(super) attached: AttachmentResource,
    /// Name resolution, to be passed on.
    pub(super) dns: Dns,
}

/// The result of the plugin before, as it came: what it says that we do not know stays.
#[derive(Debug, Default)]
pub(super) struct Previous(Option<Map<String, Value>>);

/// Takes the result of the plugin before, and sees that it is one.
pub(super) fn previous(conf: &NetConf) -> Result<Previous, PluginError> {
    let raw = conf.raw_prev_result.clone();
    parse_prev_result(&mut conf.clone())
        .map_err(|error| PluginError::new(Code::DECODING_FAILURE, error.to_string()))?;
    Ok(Previous(raw))
}

/// Makes the answer.
pub(super) fn reply(args: &CmdArgs, made: &Made, previous: Previous) -> Result<Reply, PluginError> {
    let untold = |error: &dyn std::fmt::Display| {
        PluginError::new(Code::INTERNAL, format!("the result cannot be told: {error}"))
    };
    let own = CniResult::V100(own(args, made)?);
    let own = own.to_version(&args.version).map_err(|error| untold(&error))?;
    let Some(before) = previous.0 else { return Ok(Reply::Result(own)) };
    let own = serde_json::to_value(own).map_err(|error| untold(&error))?;
    let joined = join(before, own.as_object().cloned().unwrap_or_default(), &args.version);
    let text = serde_json::to_string_pretty(&joined).map_err(|error| untold(&error))?;
    Ok(Reply::Raw(text.into_bytes()))
}

/// The container's interface with all addresses.
///
/// No interface of the host is named: none is this container's alone, and the reference's
/// `bandwidth` would limit one for all whose number is that of the veth's other end elsewhere.
fn own(args: &CmdArgs, Made { attached, dns }: &Made) -> Result<v100::Result, PluginError> {
    let endpoint = &attached.endpoint;
    let sandbox = endpoint.sandbox.as_ref().ok_or_else(|| {
        PluginError::new(Code::INTERNAL, "the agent attached the container to no namespace")
    })?;
    let mtu = sandbox.mtu.filter(|_| args.version == WITH_MTU).unwrap_or_default();
    let interface = v100::Interface {
        name: args.if_name.clone(),
        mac: endpoint.mac.map(|mac| mac.to_string()).unwrap_or_default(),
        mtu: mtu.into(),
        sandbox: args.netns.clone(),
        ..v100::Interface::default()
    };
    let families =
        [(endpoint.address, sandbox.gateway), (endpoint.address_ipv6, sandbox.gateway_ipv6)];
    let ips = families.iter().filter_map(|(address, gateway)| {
        address.map(|address| v100::IpConfig { interface: Some(0), address, gateway: *gateway })
    });
    let gateways = families.iter().filter_map(|(_, gateway)| *gateway);
    let defaults = gateways.map(|gateway| Route::new(everywhere(gateway), Some(gateway)));
    let others = sandbox.routes.iter().map(|route| Route::new(route.destination, route.next_hop));
    Ok(v100::Result {
        cni_version: CURRENT.to_owned(),
        dns: dns.clone(),
        interfaces: vec![interface],
        ips: ips.collect(),
        routes: defaults.chain(others).collect(),
    })
}

/// The destination of a default route through this gateway: `0.0.0.0/0` or `::/0`.
fn everywhere(gateway: IpAddr) -> IpNetwork {
    let length = "a prefix of no bits is one of every family";
    let network = match gateway {
        IpAddr::V4(_) => IpNetwork::new(Ipv4Addr::UNSPECIFIED.into(), 0),
        IpAddr::V6(_) => IpNetwork::new(Ipv6Addr::UNSPECIFIED.into(), 0),
    };
    network.expect(length)
}

/// Appends `own` to what was there before: indices of interfaces are shifted, name resolution of
/// ours counts where we have any.
fn join(
    mut before: Map<String, Value>,
    own: Map<String, Value>,
    version: &str,
) -> Map<String, Value> {
    let shift = before.get("interfaces").and_then(Value::as_array).map_or(0, Vec::len);
    before.insert("cniVersion".to_owned(), version.into());
    for (key, value) in own {
        match (key.as_str(), value) {
            ("cniVersion", _) => {}
            ("dns", dns) => {
                if dns.as_object().is_some_and(|dns| !dns.is_empty()) {
                    before.insert(key, dns);
                }
            }
            (_, Value::Array(mut items)) => {
                items.iter_mut().for_each(|item| shift_interface(item, shift));
                let there = before.entry(key).or_insert(Value::Null);
                if let Value::Array(there) = there {
                    there.extend(items);
                } else {
                    *there = Value::Array(items);
                }
            }
            (_, value) => {
                before.insert(key, value);
            }
        }
    }
    before
}

fn shift_interface(item: &mut Value, shift: usize) {
    if let Some(index) = item.get_mut("interface")
        && let Some(place) = index.as_u64()
    {
        *index = (place + shift as u64).into();
    }
}

#[cfg(test)]
mod tests;
