//! `weft endpoint`.

use std::path::{Component, Path};

use weft_api::control::{
    EndpointCreate, EndpointJoin, EndpointResource, EndpointState, ListFilter,
};

use crate::cli::{
    EndpointCommand, EndpointCreateArgs, EndpointInspectArgs, EndpointJoinArgs, EndpointLeaveArgs,
    EndpointLsArgs, EndpointRmArgs, Output, SandboxArgs,
};
use crate::client::Client;
use crate::commands::network;
use crate::commands::output::{self, or_dash};
use crate::commands::progress::patiently;
use crate::failure::Failure;

/// Header of the rows that [`row`] makes.
pub(crate) const HEADER: [&str; 7] =
    ["NAME", "ID", "NETWORK", "ADDRESS", "MAC", "STATE", "NAMESPACE"];

/// Takes an endpoint through its life.
pub(crate) async fn exec(command: EndpointCommand) -> Result<(), Failure> {
    match command {
        EndpointCommand::Ls(args) => list(args).await,
        EndpointCommand::Inspect(args) => inspect(args).await,
        EndpointCommand::Create(args) => create(args).await,
        EndpointCommand::Join(args) => join(args).await,
        EndpointCommand::Leave(args) => leave(args).await,
        EndpointCommand::Rm(args) => remove(args).await,
    }
}

async fn list(args: EndpointLsArgs) -> Result<(), Failure> {
    let client = Client::new(args.connection.socket);
    let endpoints = client.endpoints(args.network.as_deref(), &ListFilter::default()).await?;
    if args.output.json {
        return output::json(&endpoints);
    }
    output::table(&HEADER, endpoints.iter().map(row))
}

async fn inspect(args: EndpointInspectArgs) -> Result<(), Failure> {
    let client = Client::new(args.connection.socket);
    let endpoint = client.endpoint(None, &args.endpoint).await?;
    if args.output.json { output::json(&endpoint) } else { output::fields(&summary(&endpoint)) }
}

async fn create(args: EndpointCreateArgs) -> Result<(), Failure> {
    let request = EndpointCreate {
        name: args.address.name,
        addresses: args.address.addresses,
        mac: args.address.mac,
        options: network::options(args.address.options)?,
    };
    let client = Client::new(args.connection.socket);
    let made = patiently("allocating", client.create_endpoint(&args.network, &request)).await?;
    print_made(&made, &args.output)
}

async fn join(args: EndpointJoinArgs) -> Result<(), Failure> {
    let request = EndpointJoin { netns: namespace(&args.sandbox)?, ifname: args.sandbox.ifname };
    let client = Client::new(args.connection.socket);
    let (network, endpoint) = locate(&client, &args.endpoint).await?;
    let joined = patiently("joining", client.join_sandbox(&network, &endpoint, &request)).await?;
    print_made(&joined, &args.output)
}

async fn leave(args: EndpointLeaveArgs) -> Result<(), Failure> {
    let client = Client::new(args.connection.socket);
    let (network, endpoint) = locate(&client, &args.endpoint).await?;
    patiently("leaving", client.leave_sandbox(&network, &endpoint, None)).await?;
    output::say(&format!("`{}` has left its namespace and keeps its addresses", args.endpoint));
    Ok(())
}

async fn remove(args: EndpointRmArgs) -> Result<(), Failure> {
    let client = Client::new(args.connection.socket);
    let (network, endpoint) = locate(&client, &args.endpoint).await?;
    patiently("releasing", client.delete_endpoint(&network, &endpoint)).await?;
    output::say(&format!("`{}` is removed", args.endpoint));
    Ok(())
}

/// Finds the network of an endpoint; both by full id.
async fn locate(client: &Client, endpoint: &str) -> Result<(String, String), Failure> {
    let found = client.endpoint(None, endpoint).await?;
    Ok((found.network_id.to_string(), found.id.to_string()))
}

/// Where `ip netns` pins what it names.
const NAMED: &str = "/run/netns";

/// Returns the path of the namespace meant; relative ones start where the command was started, and
/// a bare name is one of `ip netns`.
pub(crate) fn namespace(args: &SandboxArgs) -> Result<String, Failure> {
    let path = match (&args.netns, args.pid) {
        (Some(name), _) if is_bare(name) => Path::new(NAMED).join(name),
        (Some(path), _) => std::path::absolute(path)
            .map_err(|error| Failure::usage(format!("`{}` is no path: {error}", path.display())))?,
        (None, Some(pid)) => Path::new("/proc").join(pid.to_string()).join("ns/net"),
        (None, None) => return Err(Failure::usage("no namespace is given: --netns or --pid")),
    };
    path.into_os_string().into_string().map_err(|path| {
        Failure::usage(format!("the path `{}` is not UTF-8", path.to_string_lossy()))
    })
}

fn is_bare(path: &Path) -> bool {
    let mut parts = path.components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None))
}

/// Prints an endpoint just made or joined: its id as data, what it got as talk.
pub(crate) fn print_made(endpoint: &EndpointResource, how: &Output) -> Result<(), Failure> {
    if how.json {
        return output::json(endpoint);
    }
    output::line(&endpoint.id.to_string())?;
    let place = endpoint
        .sandbox
        .as_ref()
        .map_or_else(String::new, |sandbox| format!(" as {} in {}", sandbox.ifname, sandbox.key));
    output::say(&format!(
        "`{}` has {} on `{}`{place}",
        endpoint.name,
        addresses(endpoint),
        endpoint.network
    ));
    Ok(())
}

fn addresses(endpoint: &EndpointResource) -> String {
    let each: Vec<String> = [endpoint.address, endpoint.address_ipv6]
        .iter()
        .flatten()
        .map(ToString::to_string)
        .collect();
    if each.is_empty() { "-".to_owned() } else { each.join(", ") }
}

const fn state(state: EndpointState) -> &'static str {
    match state {
        EndpointState::Created => "created",
        EndpointState::Joined => "joined",
        EndpointState::Stale => "stale",
    }
}

/// Makes a row of a table of endpoints.
pub(crate) fn row(endpoint: &EndpointResource) -> Vec<String> {
    vec![
        endpoint.name.clone(),
        endpoint.id.short(),
        endpoint.network.clone(),
        addresses(endpoint),
        or_dash(endpoint.mac),
        state(endpoint.state).to_owned(),
        or_dash(endpoint.sandbox.as_ref().map(|sandbox| &sandbox.key)),
    ]
}

fn summary(endpoint: &EndpointResource) -> Vec<(&'static str, String)> {
    let mut rows = vec![
        ("name", endpoint.name.clone()),
        ("id", endpoint.id.to_string()),
        ("network", format!("{} ({})", endpoint.network, endpoint.network_id)),
        ("state", state(endpoint.state).to_owned()),
        ("address", or_dash(endpoint.address)),
        ("ipv6 address", or_dash(endpoint.address_ipv6)),
        ("mac", or_dash(endpoint.mac)),
    ];
    if let Some(key) = &endpoint.container {
        rows.push(("container", key.container_id.clone()));
    }
    if let Some(sandbox) = &endpoint.sandbox {
        rows.push(("sandbox", sandbox.id.to_string()));
        rows.push(("namespace", sandbox.key.clone()));
        rows.push(("interface", sandbox.ifname.clone()));
        rows.push(("gateway", or_dash(sandbox.gateway)));
        rows.push(("ipv6 gateway", or_dash(sandbox.gateway_ipv6)));
        rows.push(("mtu", or_dash(sandbox.mtu)));
        rows.extend(sandbox.routes.iter().map(|route| {
            ("route", format!("{} via {}", route.destination, or_dash(route.next_hop)))
        }));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_goes_by_path_by_name_or_by_process() {
        let args = |netns: Option<&str>, pid| SandboxArgs {
            netns: netns.map(Into::into),
            pid,
            ifname: None,
        };
        assert_eq!(namespace(&args(Some("/run/netns/a"), None)).unwrap(), "/run/netns/a");
        assert_eq!(namespace(&args(None, Some(7))).unwrap(), "/proc/7/ns/net");
        // Also where a file of that name is: whoever put it there may be anybody.
        assert_eq!(namespace(&args(Some("Cargo.toml"), None)).unwrap(), "/run/netns/Cargo.toml");
        let relative = namespace(&args(Some("./a"), None)).unwrap();
        assert!(relative.ends_with("/a") && !relative.starts_with(NAMED), "{relative}");
        assert_eq!(namespace(&args(None, None)).unwrap_err().code(), 2);
    }
}
