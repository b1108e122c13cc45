//! ADD.

use std::fs;

use cni::invoke::blocking::{Exec, delegate_add, delegate_del};
use cni::skel::{CmdArgs, Reply};
use cni::types::{Code, Dns, PluginError, v100};
use ipnetwork::IpNetwork;
use weft_api::control::{
    AttachmentAdd, AttachmentAddresses, AttachmentResource, NetworkCreate, SubnetRequest,
};

use super::configuration::Configuration;
use super::member::{invalid, unsupported};
use super::result::{self, Made};
use super::wishes::Wishes;
use super::{delegated, refusal, say};

/// Attaches a container, or leaves nothing.
pub(super) fn exec(exec: &dyn Exec, args: &CmdArgs) -> Result<Reply, PluginError> {
    let configuration = Configuration::decode(&args.stdin)?;
    for key in configuration.unknown() {
        say(&format!("`{key}` of the configuration means nothing to this plugin"));
    }
    if let Err(error) = fs::metadata(&args.netns) {
        return Err(PluginError::new(Code::INVALID_ENVIRONMENT, "CNI_NETNS is no namespace")
            .with_details(format!("`{}`: {error}", args.netns)));
    }
    let previous = result::previous(&configuration.standard)?;
    let wishes = Wishes::read(&configuration, &args.args)?;
    let Some(plugin) = configuration.ipam() else {
        let (request, dns) = request(args, wishes, Dns::default());
        let attached = attach(&configuration, args, &request)?;
        return reply(&configuration, args, &Made { attached, dns }, previous);
    };
    let given = delegate_add(plugin, &args.stdin, exec).map_err(|e| delegated(plugin, &e))?;
    let made = given
        .to_current()
        .map_err(|error| invalid("ipam", error))
        .and_then(|given| with_given(wishes, &given))
        .and_then(|(wishes, addresses, dns)| {
            let (mut request, dns) = request(args, wishes, dns);
            request.addresses = AttachmentAddresses::Given { addresses };
            let attached = attach(&configuration, args, &request)?;
            reply(&configuration, args, &Made { attached, dns }, previous)
        });
    if made.is_err()
        && let Err(error) = delegate_del(plugin, &args.stdin, exec)
    {
        say(&format!("undoing what `{plugin}` did: {error}"));
    }
    made
}

fn request(args: &CmdArgs, wishes: Wishes, given: Dns) -> (AttachmentAdd, Dns) {
    let Wishes { configuration, network, ips, ranges, mac, bandwidth, dns } = wishes;
    let key = weft_api::control::AttachmentKey {
        container_id: args.container_id.clone(),
        ifname: args.if_name.clone(),
    };
    let addresses = AttachmentAddresses::Network { wanted: ips, ranges };
    let netns = args.netns.clone();
    let request = AttachmentAdd { network, key, configuration, netns, addresses, mac, bandwidth };
    (request, if dns.is_empty() { given } else { dns })
}

fn attach(
    configuration: &Configuration,
    args: &CmdArgs,
    request: &AttachmentAdd,
) -> Result<AttachmentResource, PluginError> {
    let attached = configuration.agent()?.add(request).map_err(refusal::of)?;
    if attached.key.container_id == args.container_id && attached.key.ifname == args.if_name {
        return Ok(attached);
    }
    Err(PluginError::new(Code::INTERNAL, "the agent answered for another container"))
}

/// Tells what was made; what cannot be told is undone.
fn reply(
    configuration: &Configuration,
    args: &CmdArgs,
    made: &Made,
    previous: result::Previous,
) -> Result<Reply, PluginError> {
    result::reply(args, made, previous).inspect_err(|_| {
        let undone = configuration.agent().and_then(|agent| {
            let attachment = configuration.attachment(&args.container_id, &args.if_name)?;
            agent.delete(&attachment).map_err(refusal::of)
        });
        if let Err(error) = undone {
            say(&format!("undoing the attachment: {error}"));
        }
    })
}

/// Lays what the plugin of `ipam` gave over what was asked for.
fn with_given(
    wishes: Wishes,
    given: &v100::Result,
) -> Result<(Wishes, Vec<IpNetwork>, Dns), PluginError> {
    if given.ips.is_empty() {
        return Err(invalid("ipam", "its plugin gave no address"));
    }
    let mut network = wishes.network;
    for ip in &given.ips {
        place(&mut network, ip)?;
    }
    let gateways: Vec<_> = given.ips.iter().filter_map(|ip| ip.gateway).collect();
    for route in &given.routes {
        let through_gateway = route.gw.is_none_or(|gw| gateways.contains(&gw));
        if !through_gateway || (network.internal && route.dst.prefix() != 0) {
            let reason = format!("the route `{route}` of its plugin does not lead to the gateway");
            return Err(unsupported("ipam", &reason));
        }
    }
    let addresses = given.ips.iter().map(|ip| ip.address).collect();
    Ok((Wishes { network, ..wishes }, addresses, given.dns.clone()))
}

/// Makes sure that the network has the subnet of an address, and the gateway that came with it.
fn place(network: &mut NetworkCreate, ip: &v100::IpConfig) -> Result<(), PluginError> {
    let subnet = network.subnets.iter_mut().find(|subnet| subnet.pool.contains(ip.address.ip()));
    if let Some(subnet) = subnet {
        subnet.gateway = ip.gateway.or(subnet.gateway);
        return Ok(());
    }
    if network.subnets.iter().any(|s| s.pool.is_ipv4() == ip.address.is_ipv4()) {
        let reason = format!("`{}` of the plugin of `ipam` is in none of them", ip.address);
        return Err(invalid("subnet", reason));
    }
    let pool = IpNetwork::new(ip.address.network(), ip.address.prefix())
        .map_err(|error| invalid("ipam", error))?;
    network.subnets.push(SubnetRequest { gateway: ip.gateway, ..SubnetRequest::of(pool) });
    Ok(())
}
