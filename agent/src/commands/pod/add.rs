//! `weft pod add`.

use cni::libcni::{Cni as _, CniConfig, NetworkConfigList, RuntimeConf};
use cni::types::CniResult;
use cni::types::v100::{Interface, IpConfig, Result as Added};
use weft_overlay::netlink::{Connection, Namespace, NetlinkError, link};

use crate::cli::PodAddArgs;
use crate::commands::output;
use crate::commands::pod::attachment::{self, Target};
use crate::commands::pod::{configuration, refusal, runtime, waiting};
use crate::commands::progress::patiently;
use crate::failure::Failure;
use crate::lab::interrupted;

/// The interface that every namespace has.
const LOOPBACK: &str = "lo";

/// Attaches a namespace to a network and prints the result.
pub(super) async fn exec(args: PodAddArgs) -> Result<(), Failure> {
    let list = configuration::wanted(&args.network)?;
    let target = Target::of(&args.target)?;
    let rt = target.runtime_conf(&args.values);
    let cni = runtime(&args.plugins, &args.cache);
    expect_new(&cni, &list, &target, &rt)?;
    expect_room(&rt).await?;
    warn_of_unused(&list, &rt);

    let result = add(&cni, &list, &rt).await?;
    if args.json {
        return output::json(&result);
    }
    let result = result.to_current().map_err(|error| refusal::of_plugins(&list.name, &error))?;
    output::fields(&summary(&list.name, &rt, &result))
}

/// Runs the plugins; a signal has undone what they did.
async fn add(
    cni: &CniConfig,
    list: &NetworkConfigList,
    rt: &RuntimeConf,
) -> Result<CniResult, Failure> {
    let work = waiting(&list.name);
    let signal = tokio::select! {
        added = patiently(&work, cni.add_or_rollback(list, rt)) => {
            return added.map_err(|error| refusal::of_plugins(&list.name, &error));
        }
        signal = interrupted() => signal,
    };
    match patiently("undoing", cni.del_network_list(list, rt)).await {
        Ok(()) => Err(Failure::failed(format!("stopped by {signal}, and what was done is undone"))),
        Err(error) => Err(Failure::failed(format!(
            "stopped by {signal}, and not all is undone: {}",
            refusal::words(&error)
        ))
        .with_hint("`weft pod del` with the same arguments tries again")),
    }
}

/// Refuses what the cache remembers already: ADD would fail, and undoing it take the first away.
fn expect_new(
    cni: &CniConfig,
    list: &NetworkConfigList,
    target: &Target,
    rt: &RuntimeConf,
) -> Result<(), Failure> {
    let cached = attachment::all(cni)?;
    let is_same = |other: &&cni::libcni::NetworkAttachment| {
        other.network == list.name
            && other.container_id == rt.container_id
            && other.if_name == rt.if_name
    };
    let known = cached.iter().find(is_same).or(target.find(&list.name, &cached)?);
    let Some(known) = known else { return Ok(()) };
    Err(Failure::failed(format!(
        "network `{}` has `{}` of `{}` attached already",
        list.name, known.if_name, known.container_id
    ))
    .with_hint("`weft pod check` tells whether it is as it was made, `weft pod del` takes it off"))
}

/// Refuses a namespace that is none, that is the host's own, or has the interface already.
async fn expect_room(rt: &RuntimeConf) -> Result<(), Failure> {
    if rt.netns.is_empty() {
        return Err(Failure::usage("no namespace is given")
            .with_hint("--netns or --pid says what to attach; --container-id names it only"));
    }
    let own = "it needs root, and a namespace: `ip netns add NAME` makes one";
    let refused = |error: NetlinkError| Failure::failed(error.to_string()).with_hint(own);
    let namespace = Namespace::open(&rt.netns).map_err(refused)?;
    if namespace.inode() == Namespace::current().map_err(refused)?.inode() {
        return Err(Failure::failed(format!("`{}` is the host's own network", rt.netns))
            .with_hint("plugins work in a namespace of its own; `ip netns add NAME` makes one"));
    }
    if rt.if_name == LOOPBACK {
        return Ok(());
    }
    let mut connection = Connection::open(&namespace).await.map_err(refused)?;
    match link::find(&mut connection, &rt.if_name).await.map_err(refused)? {
        None => Ok(()),
        Some(_) => Err(Failure::failed(format!(
            "an interface `{}` is in `{}` already",
            rt.if_name, rt.netns
        ))
        .with_hint(
            "--ifname gives another name; `weft pod ls` shows what made this one, if CNI did",
        )),
    }
}

/// Tells of values that no plugin is going to get.
fn warn_of_unused(list: &NetworkConfigList, rt: &RuntimeConf) {
    for name in rt.capability_args.keys() {
        let mut plugins = list.plugins.iter();
        if !plugins.any(|plugin| plugin.network.capabilities.get(name) == Some(&true)) {
            output::say(&format!("no plugin of `{}` has the capability `{name}`", list.name));
        }
    }
}

fn summary(network: &str, rt: &RuntimeConf, result: &Added) -> Vec<(&'static str, String)> {
    let mut rows = vec![
        ("network", network.to_owned()),
        ("container", rt.container_id.clone()),
        ("namespace", rt.netns.clone()),
    ];
    rows.extend(result.interfaces.iter().map(|interface| ("interface", describe(interface))));
    rows.extend(result.ips.iter().map(|ip| ("address", place(ip, result))));
    rows.extend(
        result
            .routes
            .iter()
            .map(|route| ("route", format!("{}{}", route.dst, prefixed(" via ", route.gw)))),
    );
    rows.extend(result.dns.nameservers.iter().map(|server| ("name server", server.clone())));
    if !result.dns.search.is_empty() {
        rows.push(("search", result.dns.search.join(" ")));
    }
    rows
}

fn describe(interface: &Interface) -> String {
    let place = if interface.sandbox.is_empty() { "on the host" } else { "in the namespace" };
    let mac = if interface.mac.is_empty() { String::new() } else { format!(" {}", interface.mac) };
    format!("{}{mac} {place}", interface.name)
}

fn place(ip: &IpConfig, result: &Added) -> String {
    let interface = ip.interface.and_then(|index| result.interfaces.get(index));
    let on = prefixed(" on ", interface.map(|interface| &interface.name));
    format!("{}{on}{}", ip.address, prefixed(" gateway ", ip.gateway))
}

/// Shows what may be absent with a word before it.
fn prefixed<T: ToString>(word: &str, value: Option<T>) -> String {
    value.map_or_else(String::new, |value| format!("{word}{}", value.to_string()))
}
