//! What is left of Weft's networks on hosts, in words.

use std::process::Command;

use tokio::time::{Instant, sleep};

use weft_agent::control::HeldByEngine;
use weft_api::control::{ListFilter, NetworkResource};
use weft_overlay::names;
use weft_overlay::netlink::namespace::run_in;

use super::docker::{Docker, Mode};
use super::{Host, LOOK_EVERY, PATIENCE, Testbed, eventually};

/// Links that a host has of its engine's without any container.
const ENGINES_LINKS: [&str; 2] = ["docker0", "docker_gwbridge"];
/// How further ones begin in a Swarm: its own network for what comes in has a leg on the bridge.
const SWARMS_LINKS: &str = "veth";

impl Testbed {
    /// Detaches every endpoint, deletes every network, and waits until nothing of Weft's is on any
    /// host; all agents run. For hosts without engines.
    ///
    /// # Panics
    /// When something stays.
    pub async fn ends_clean(&self) {
        for host in &self.hosts {
            let all = ListFilter::default();
            for endpoint in host.client.endpoints(None, &all).await.expect("endpoints") {
                host.detach(&endpoint.id.to_string()).await;
            }
        }
        let client = &self.hosts[0].client;
        for network in client.networks(&ListFilter::default()).await.expect("networks") {
            let id = network.id.to_string();
            eventually(&format!("network `{}` is deleted", network.name), async || {
                client.delete_network(&id, HeldByEngine::Refuse).await.ok()
            })
            .await;
        }
        gone("something of Weft's is left", async || {
            let mut left = Vec::new();
            for host in &self.hosts {
                left.extend(all_of(host, |_| false).await);
            }
            left
        })
        .await;
    }
}

impl Docker {
    /// Waits until no host has anything of Weft's: neither links, namespaces, routes and rules,
    /// nor networks, endpoints and addresses. For a testbed of one test, without containers.
    ///
    /// # Panics
    /// When something stays.
    pub async fn nothing_is_left(&self) {
        gone("something of Weft's is left", async || {
            let mut left = Vec::new();
            for host in &self.testbed.hosts {
                left.extend(all_of(host, self.engines_links()).await);
            }
            left
        })
        .await;
    }

    fn engines_links(&self) -> IsEngines {
        match self.mode {
            Mode::Standalone => |link| ENGINES_LINKS.contains(&link),
            Mode::Swarm => |link| ENGINES_LINKS.contains(&link) || link.starts_with(SWARMS_LINKS),
        }
    }

    /// Waits until no host has anything of this network.
    ///
    /// # Panics
    /// When something stays.
    pub async fn nothing_is_left_of(&self, network: &NetworkResource) {
        gone(&format!("something of network `{}` is left", network.name), async || {
            let mut left = Vec::new();
            for host in &self.testbed.hosts {
                left.extend(part_of(host, network).await);
            }
            left
        })
        .await;
    }
}

async fn gone(what: &str, mut look: impl AsyncFnMut() -> Vec<String>) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = look().await;
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "{what}:\n  {}", left.join("\n  "));
        sleep(LOOK_EVERY).await;
    }
}

/// Tells whether a link is an engine's, by its name.
type IsEngines = fn(&str) -> bool;

async fn all_of(host: &Host, is_engines: IsEngines) -> Vec<String> {
    let kernel = host.kernel().await;
    let mut left = Vec::new();
    for (_, link) in kernel.links {
        if !is_engines(&link) {
            left.push(format!("link {link}"));
        }
    }
    left.extend(kernel.pins.iter().map(|pin| format!("namespace {pin}")));
    left.extend(kernel.routes.iter().map(|route| format!("route to {route}")));
    left.extend(kernel.rules.iter().map(|rule| format!("rule for {rule}")));
    left.extend(rules_with(host, "weft"));
    let networks = host.client.networks(&ListFilter::default()).await.expect("networks");
    left.extend(networks.iter().map(|network| format!("network {}", network.name)));
    let endpoints = host.client.endpoints(None, &ListFilter::default()).await.expect("endpoints");
    left.extend(endpoints.iter().map(|endpoint| format!("endpoint {endpoint:?}")));
    let pools = host.client.ipam().await.expect("pools");
    let pools = pools.iter().filter(|pool| pool.network.is_some());
    left.extend(pools.map(|pool| format!("addresses of {pool:?}")));
    on(host, left)
}

async fn part_of(host: &Host, network: &NetworkResource) -> Vec<String> {
    let kernel = host.kernel().await;
    let name = names::namespace(network.id);
    let mut left = Vec::new();
    if kernel.pins.contains(&name) {
        left.push(format!("namespace {name}"));
    }
    let link = names::host_link(network.id);
    if kernel.links.iter().any(|(_, there)| *there == link) {
        left.push(format!("link {link}"));
    }
    left.extend(rules_with(host, &link));
    for pool in network.subnets.iter().map(|subnet| subnet.pool) {
        if kernel.routes.contains(&pool) || kernel.rules.contains(&pool) {
            left.push(format!("route or rule for {pool}"));
        }
    }
    let networks = host.client.networks(&ListFilter::default()).await.expect("networks");
    if networks.iter().any(|there| there.id == network.id) {
        left.push("the network".to_owned());
    }
    let endpoints = host.client.endpoints(None, &ListFilter::default()).await.expect("endpoints");
    let endpoints = endpoints.iter().filter(|endpoint| endpoint.network_id == network.id);
    left.extend(endpoints.map(|endpoint| format!("endpoint {endpoint:?}")));
    let pools = host.client.ipam().await.expect("pools");
    let pools = pools.iter().filter(|pool| pool.network == Some(network.id));
    left.extend(pools.map(|pool| format!("addresses of {pool:?}")));
    on(host, left)
}

/// The lines of all firewall rules that hold a word: in Weft's table, and in the engine's chains.
fn rules_with(host: &Host, word: &str) -> Vec<String> {
    let list = || Command::new("nft").args(["list", "ruleset"]).output().expect("nft starts");
    let listed = run_in(&host.namespace, list).expect("the namespace");
    assert!(listed.status.success(), "nft lists the rules: {listed:?}");
    let text = String::from_utf8_lossy(&listed.stdout);
    let lines = text.lines().filter(|line| line.contains(word));
    lines.map(|line| format!("firewall: {}", line.trim())).collect()
}

fn on(host: &Host, left: Vec<String>) -> Vec<String> {
    left.into_iter().map(|one| format!("{}: {one}", host.name)).collect()
}
