//! `weft network`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use weft_api::control::{ListFilter, NetworkCreate, NetworkDetail, NetworkResource, SubnetRequest};

use crate::cli::{
    KeyValue, NetworkCommand, NetworkCreateArgs, NetworkInspectArgs, NetworkLsArgs, NetworkRmArgs,
};
use crate::client::Client;
use crate::commands::endpoint;
use crate::commands::output::{self, or_dash};
use crate::commands::progress::patiently;
use crate::control::{Detail, HeldByEngine};
use crate::failure::Failure;

/// Makes, lists, shows and removes networks.
pub(crate) async fn exec(command: NetworkCommand) -> Result<(), Failure> {
    match command {
        NetworkCommand::Create(args) => create(args).await,
        NetworkCommand::Ls(args) => list(args).await,
        NetworkCommand::Inspect(args) => inspect(args).await,
        NetworkCommand::Rm(args) => remove(args).await,
    }
}

async fn create(args: NetworkCreateArgs) -> Result<(), Failure> {
    let request = NetworkCreate {
        subnets: subnets(&args.subnet, &args.gateway, &args.ip_range)?,
        options: options(args.options)?,
        ipam_options: options(args.ipam_options)?,
        name: args.name,
        driver: args.driver,
        ipam: args.ipam_driver,
        ipv6: args.ipv6,
        internal: args.internal,
        mtu: args.mtu,
    };
    let client = Client::new(args.connection.socket);
    let waiting = "waiting for the other members to accept";
    let network = patiently(waiting, client.create_network(&request)).await?;
    if args.output.json {
        return output::json(&network);
    }
    output::line(&network.id.to_string())?;
    output::say(&format!("`{}` has {}", network.name, pools(&network)));
    Ok(())
}

async fn list(args: NetworkLsArgs) -> Result<(), Failure> {
    let filter = ListFilter { name: args.name, partial_id: None };
    let networks = Client::new(args.connection.socket).networks(&filter).await?;
    if args.output.json {
        return output::json(&networks);
    }
    let header = ["NAME", "ID", "DRIVER", "SUBNETS", "VNI", "ENDPOINTS HERE", "NOTES"];
    output::table(&header, networks.iter().map(row))
}

async fn inspect(args: NetworkInspectArgs) -> Result<(), Failure> {
    let detail = if args.verbose { Detail::Verbose } else { Detail::Plain };
    let client = Client::new(args.connection.socket);
    let network = client.network(&args.network, detail).await?;
    if args.output.json {
        return output::json(&network);
    }
    output::fields(&summary(&network))?;
    if !network.endpoints.is_empty() {
        output::line("")?;
        output::table(&endpoint::HEADER, network.endpoints.iter().map(endpoint::row))?;
    }
    match &network.detail {
        Some(detail) => show_detail(detail),
        None => Ok(()),
    }
}

async fn remove(args: NetworkRmArgs) -> Result<(), Failure> {
    let client = Client::new(args.connection.socket);
    let held = if args.force { HeldByEngine::Forget } else { HeldByEngine::Refuse };
    for network in &args.networks {
        let waiting = "waiting for the other members to accept";
        patiently(waiting, client.delete_network(network, held)).await?;
        output::say(&format!("`{network}` is removed"));
    }
    Ok(())
}

/// Gives each gateway and range to the subnet it lies in.
fn subnets(
    pools: &[IpNetwork],
    gateways: &[IpAddr],
    ranges: &[IpNetwork],
) -> Result<Vec<SubnetRequest>, Failure> {
    let mut subnets: Vec<SubnetRequest> = pools.iter().copied().map(SubnetRequest::of).collect();
    for gateway in gateways {
        let subnet = subnet_of(&mut subnets, *gateway, "gateway", gateway)?;
        if subnet.gateway.replace(*gateway).is_some() {
            return Err(twice("gateway", &subnet.pool));
        }
    }
    for range in ranges {
        let subnet = subnet_of(&mut subnets, range.ip(), "range", range)?;
        if range.prefix() < subnet.pool.prefix() {
            return Err(Failure::usage(format!(
                "the range `{range}` is larger than its subnet `{}`",
                subnet.pool
            )));
        }
        if subnet.range.replace(*range).is_some() {
            return Err(twice("range", &subnet.pool));
        }
    }
    Ok(subnets)
}

fn subnet_of<'a>(
    subnets: &'a mut [SubnetRequest],
    address: IpAddr,
    what: &str,
    shown: &impl ToString,
) -> Result<&'a mut SubnetRequest, Failure> {
    subnets.iter_mut().find(|subnet| subnet.pool.contains(address)).ok_or_else(|| {
        Failure::usage(format!("the {what} `{}` lies in no subnet given", shown.to_string()))
            .with_hint("give the subnet with --subnet, too")
    })
}

fn twice(what: &str, pool: &IpNetwork) -> Failure {
    Failure::usage(format!("the subnet `{pool}` is given more than one {what}"))
}

/// Gathers options; one key has one value.
pub(crate) fn options(given: Vec<KeyValue>) -> Result<BTreeMap<String, String>, Failure> {
    let mut options = BTreeMap::new();
    for option in given {
        if options.contains_key(&option.key) {
            return Err(Failure::usage(format!("the option `{}` is given twice", option.key)));
        }
        options.insert(option.key, option.value);
    }
    Ok(options)
}

fn joined<T: ToString>(values: impl IntoIterator<Item = T>) -> String {
    let texts: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
    if texts.is_empty() { "-".to_owned() } else { texts.join(", ") }
}

fn pools(network: &NetworkResource) -> String {
    joined(network.subnets.iter().map(|subnet| subnet.pool))
}

/// Returns the VNIs; the two subnets of a dual stack share one.
fn vnis(network: &NetworkResource) -> String {
    let mut vnis: Vec<_> = network.subnets.iter().map(|subnet| subnet.vni).collect();
    vnis.dedup();
    joined(vnis)
}

fn row(network: &NetworkResource) -> Vec<String> {
    let notes = [(network.internal, "internal"), (network.frozen, "frozen")];
    vec![
        network.name.clone(),
        network.id.short(),
        network.driver.clone(),
        pools(network),
        vnis(network),
        network.endpoints.len().to_string(),
        joined(notes.iter().filter(|(holds, _)| *holds).map(|(_, note)| note)),
    ]
}

fn summary(network: &NetworkResource) -> Vec<(&'static str, String)> {
    let mut rows = vec![
        ("name", network.name.clone()),
        ("id", network.id.to_string()),
        ("driver", network.driver.clone()),
        ("ipam", network.ipam.clone()),
        ("made by", network.creator.to_string()),
        ("mtu", network.mtu.map_or_else(|| "as the uplink".to_owned(), |mtu| mtu.to_string())),
        ("way out", if network.internal { "no (internal)" } else { "yes" }.to_owned()),
    ];
    if network.frozen {
        rows.push(("frozen", "yes: another network has its name or subnet".to_owned()));
    }
    for subnet in &network.subnets {
        let gateway = or_dash(subnet.gateway);
        rows.push(("subnet", format!("{} gateway {gateway} vni {}", subnet.pool, subnet.vni)));
        if let Some(range) = subnet.range {
            rows.push(("  range", range.to_string()));
        }
        for (name, address) in &subnet.auxiliary {
            rows.push(("  set aside", format!("{address} {name}")));
        }
    }
    rows.extend(network.options.iter().map(|(key, value)| ("option", format!("{key}={value}"))));
    rows
}

fn show_detail(detail: &NetworkDetail) -> Result<(), Failure> {
    output::line("")?;
    let nodes = detail
        .nodes
        .iter()
        .map(|node| vec![node.name.clone(), node.id.short(), or_dash(node.address)]);
    output::table(&["NODE", "ID", "ADDRESS"], nodes)?;
    output::line("")?;
    let peers = detail.peers.iter().map(|peer| {
        vec![
            peer.endpoint.short(),
            joined(&peer.addresses),
            or_dash(peer.mac),
            or_dash(peer.vtep),
            peer.node.short(),
        ]
    });
    output::table(&["ENDPOINT", "ADDRESSES", "MAC", "VTEP", "NODE"], peers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNetwork> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn gateways_and_ranges_find_their_subnets() {
        let found = subnets(
            &nets(&["10.1.0.0/16", "fd00::/64"]),
            &ips(&["fd00::1", "10.1.0.254"]),
            &nets(&["10.1.128.0/17"]),
        )
        .unwrap();
        assert_eq!(found[0].gateway, Some(ips(&["10.1.0.254"])[0]));
        assert_eq!(found[0].range, Some(nets(&["10.1.128.0/17"])[0]));
        assert_eq!(found[1].gateway, Some(ips(&["fd00::1"])[0]));
    }

    #[test]
    fn one_that_lies_nowhere_or_comes_twice_is_a_usage_error() {
        let pools = nets(&["10.1.0.0/16"]);
        let failures = [
            subnets(&pools, &ips(&["10.2.0.1"]), &[]),
            subnets(&[], &ips(&["10.2.0.1"]), &[]),
            subnets(&pools, &ips(&["10.1.0.1", "10.1.0.2"]), &[]),
            subnets(&pools, &[], &nets(&["10.0.0.0/8"])),
            subnets(&pools, &[], &nets(&["10.1.0.0/15"])),
            subnets(&pools, &[], &nets(&["10.1.0.0/24", "10.1.1.0/24"])),
        ];
        for failure in failures {
            assert_eq!(failure.unwrap_err().code(), 2);
        }
    }

    #[test]
    fn an_option_given_twice_is_a_usage_error() {
        let option = KeyValue { key: "a".to_owned(), value: "b".to_owned() };
        assert_eq!(options(vec![option.clone()]).unwrap().len(), 1);
        assert_eq!(options(vec![option.clone(), option]).unwrap_err().code(), 2);
    }
}
