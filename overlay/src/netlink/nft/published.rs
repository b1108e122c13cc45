//! Our rules for published ports, there as long as there is one:
//!
//! ```text
//! table inet weft {
//!   chain prerouting {                    # from elsewhere
//!     type nat hook prerouting priority dstnat; policy accept;
//!     fib daddr type local jump published
//!   }
//!   chain output {                        # from this host
//!     type nat hook output priority dstnat; policy accept;
//!     ip6 daddr ::1 accept                # the kernel lets no packet from ::1 leave
//!     fib daddr type local jump published
//!   }
//!   chain published {                     # one rule a port
//!     meta l4proto tcp th dport 8080 dnat ip to 10.1.0.2:80 comment "weft port ENDPOINT .."
//!   }
//!   chain turning {
//!     type nat hook postrouting priority srcnat - 1; policy accept;
//!     iifgroup OURS oifgroup OURS ct status dnat masquerade
//!     ip saddr 127.0.0.0/8 oifgroup OURS masquerade
//!   }
//! }
//! ```
//! Who asks from inside is masqueraded: an endpoint would answer a neighbour directly, under an
//! address that the neighbour did not ask. So is the host's loopback, which nobody can answer.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use weft_api::EndpointId;

use super::expression::{Expressions, Is, Meta, Side, Verdict};
use super::message::Family;
use super::rule::{self, ChainId, Change, Hook, Place, Rule};
use super::{Firewall, TABLE, ours};
use crate::netlink::error::NetlinkError;
use crate::netlink::way_out::GROUP;
use crate::publish::PublishedPort;

const PREROUTING_HOOK: u32 = 0;
const OUTPUT_HOOK: u32 = 3;
const POSTROUTING_HOOK: u32 = 4;
/// As iptables has it for changes of destinations.
const DSTNAT: i32 = -100;
/// Before the masquerade of what leaves.
const BEFORE_SRCNAT: i32 = 99;
/// Changes sent together: at less than 700 octets each they fit a socket's send buffer.
const CHANGES_MAX: usize = 128;
const PREFIX: &str = "weft port ";

fn published() -> ChainId {
    ours("published")
}

/// A chain that is called from a hook, and its rules with their comments, in order.
struct Base {
    chain: ChainId,
    hook: Hook,
    rules: Vec<(&'static str, Expressions)>,
}

impl Base {
    fn is_whole(&self, present: &[Rule]) -> bool {
        let comments = present.iter().map(|rule| rule.comment.as_deref());
        comments.eq(self.rules.iter().map(|(comment, _)| Some(*comment)))
    }
}

fn base() -> [Base; 3] {
    let nat = |chain, number, priority, rules| {
        let hook = Hook { kind: "nat", number, priority };
        Base { chain: ours(chain), hook, rules }
    };
    let new = Expressions::default;
    let to_group = |rule: Expressions| rule.group(Meta::OutGroup, Is::Equal, GROUP);
    let address = |rule: Expressions, side, network: &str| {
        rule.address(side, Is::Equal, network.parse().expect("a network"))
    };
    let to_host = || ("weft to this host", new().local_destination().jump("published"));
    let v6_loopback = address(new(), Side::Destination, "::1/128").verdict(Verdict::Accept);
    let from_group = new().group(Meta::InGroup, Is::Equal, GROUP);
    let from_loopback = address(new(), Side::Source, "127.0.0.0/8");
    let turning = vec![
        ("weft hairpin", to_group(from_group).redirected().masquerade()),
        ("weft loopback", to_group(from_loopback).masquerade()),
    ];
    [
        nat("prerouting", PREROUTING_HOOK, DSTNAT, vec![to_host()]),
        nat("output", OUTPUT_HOOK, DSTNAT, vec![("weft v6 loopback", v6_loopback), to_host()]),
        nat("turning", POSTROUTING_HOOK, BEFORE_SRCNAT, turning),
    ]
}

fn comment(endpoint: EndpointId, port: &PublishedPort) -> String {
    format!("{PREFIX}{endpoint} {port}")
}

/// Reads whose port a rule is for.
fn parse(rule: &Rule) -> Option<(EndpointId, PublishedPort)> {
    let (endpoint, port) = rule.comment.as_ref()?.strip_prefix(PREFIX)?.split_once(' ')?;
    Some((endpoint.parse().ok()?, port.parse().ok()?))
}

fn redirect(port: &PublishedPort) -> Expressions {
    let rule = match (port.host.is_unspecified(), port.host) {
        (true, IpAddr::V4(_)) => Expressions::default().version(Family::Ip),
        (true, IpAddr::V6(_)) => Expressions::default().version(Family::Ip6),
        (false, host) => Expressions::default().address(Side::Destination, Is::Equal, host.into()),
    };
    rule.destination_port(port.protocol as u8, port.host_port).dnat(port.to, port.port)
}

impl Firewall {
    /// Makes the rules of an endpoint's ports, and removes those of others it had.
    pub(crate) async fn publish(
        &mut self,
        endpoint: EndpointId,
        ports: &BTreeSet<PublishedPort>,
    ) -> Result<(), NetlinkError> {
        let mut changes = vec![rule::add_table(Family::Inet, TABLE)];
        changes.push(rule::add_called_chain(&published()));
        for base in base() {
            changes.push(rule::add_chain(&base.chain, base.hook));
            let present = self.rules(&base.chain).await?;
            if !base.is_whole(&present) {
                changes.extend(present.iter().map(rule::delete_rule));
                changes.extend(base.rules.into_iter().map(|(comment, expressions)| {
                    rule::add_rule(&base.chain, Place::Tail, comment, expressions)
                }));
            }
        }
        let mut missing = ports.clone();
        for rule in self.rules(&published()).await? {
            let own = parse(&rule).filter(|(id, _)| *id == endpoint);
            if own.is_some_and(|(_, port)| !missing.remove(&port)) {
                changes.push(rule::delete_rule(&rule));
            }
        }
        changes.extend(missing.iter().map(|port| {
            rule::add_rule(&published(), Place::Tail, &comment(endpoint, port), redirect(port))
        }));
        self.transact_all("publish ports", changes).await
    }

    /// Removes the rules of an endpoint's ports, and our chains for them with the last.
    pub(crate) async fn unpublish(&mut self, endpoint: EndpointId) -> Result<(), NetlinkError> {
        let chains = self.chains().await?;
        let there = |id: &ChainId| chains.iter().any(|chain| chain.id == *id);
        if !there(&published()) {
            return Ok(());
        }
        let rules = self.rules(&published()).await?;
        let of_endpoint = |rule: &Rule| parse(rule).is_some_and(|(id, _)| id == endpoint);
        let (gone, kept): (Vec<Rule>, Vec<Rule>) = rules.into_iter().partition(of_endpoint);
        if !kept.is_empty() {
            let changes = gone.iter().map(rule::delete_rule).collect();
            return self.transact_all("remove published ports", changes).await;
        }
        // What jumps to a chain goes before it.
        let mut changes = Vec::new();
        let base = base().map(|base| base.chain);
        for chain in base.iter().filter(|chain| there(chain)).chain([&published()]) {
            changes.push(rule::flush_chain(chain));
            changes.push(rule::delete_chain(chain));
        }
        self.transact(|| "remove published ports".to_owned(), changes).await
    }

    /// Reads which ports lead to which endpoint. An endpoint has none while our chains are not
    /// whole.
    pub(crate) async fn published(
        &mut self,
    ) -> Result<BTreeMap<EndpointId, BTreeSet<PublishedPort>>, NetlinkError> {
        let mut found: BTreeMap<EndpointId, BTreeSet<PublishedPort>> = BTreeMap::new();
        for (endpoint, port) in self.rules(&published()).await?.iter().filter_map(parse) {
            found.entry(endpoint).or_default().insert(port);
        }
        if found.is_empty() {
            return Ok(found);
        }
        for base in base() {
            if !base.is_whole(&self.rules(&base.chain).await?) {
                found.values_mut().for_each(BTreeSet::clear);
                break;
            }
        }
        Ok(found)
    }

    /// Carries changes out in order, so many at a time.
    async fn transact_all(
        &mut self,
        doing: &str,
        changes: Vec<Change>,
    ) -> Result<(), NetlinkError> {
        let mut changes = changes.into_iter().peekable();
        while changes.peek().is_some() {
            let some = changes.by_ref().take(CHANGES_MAX).collect();
            self.transact(|| doing.to_owned(), some).await?;
        }
        Ok(())
    }
}
