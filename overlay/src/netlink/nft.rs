//! Our rules in nftables: masquerade of what leaves, no way between networks, and a way through
//! where another's chain drops what is forwarded.
//!
//! ```text
//! table inet weft {
//!   chain forward {                       # made once, the same for all networks
//!     type filter hook forward priority filter; policy accept;
//!     oifgroup OURS ct status dnat accept # to a published port, or by the operator's own rule
//!     iifgroup OURS oifgroup OURS drop    # from one network to another
//!     oifgroup OURS ct state established,related accept
//!     oifgroup OURS drop                  # nobody comes in who was not asked
//!   }
//!   chain postrouting {                   # one rule a pool
//!     type nat hook postrouting priority srcnat; policy accept;
//!     ip saddr POOL ip daddr != POOL oifgroup != OURS masquerade comment "weft HOSTLINK POOL"
//!   }
//! }
//! ```
//! An accept in one table does not overrule a drop in another, so where a FORWARD chain of the
//! tables `ip filter` and `ip6 filter` drops by policy (Docker's, ufw's), accept rules for each of
//! our links stand at its head, or in DOCKER-USER where Docker leaves rules alone. They are made
//! of what `iptables` can read.

mod expression;
mod message;
mod published;
mod rule;

use std::collections::BTreeSet;

use expression::{Expressions, Is, Meta, Side, Verdict};
use ipnetwork::IpNetwork;
use message::Family;
pub(crate) use rule::Firewall;
use rule::{ChainId, Hook, Place, Rule};

use super::error::NetlinkError;
use super::way_out::GROUP;
use crate::op::WayOut;

/// Our table.
const TABLE: &str = "weft";
/// The chain of other people's tables that matters.
const FORWARD: &str = "FORWARD";
/// Docker jumps there first and never changes what is in it.
const DOCKER_USER: &str = "DOCKER-USER";
/// The number of the hook `forward`, the same in each family.
const FORWARD_HOOK: u32 = 2;

fn ours(chain: &str) -> ChainId {
    ChainId { family: Family::Inet, table: TABLE.to_owned(), chain: chain.to_owned() }
}

fn masquerade_comment(link: &str, pool: IpNetwork) -> String {
    format!("weft {link} {pool}")
}

fn accept_comment(link: &str, meta: Meta) -> String {
    let direction = if meta == Meta::InName { "from" } else { "to" };
    format!("weft {direction} {link}")
}

fn masquerade(pool: IpNetwork) -> Expressions {
    Expressions::default()
        .address(Side::Source, Is::Equal, pool)
        .address(Side::Destination, Is::Other, pool)
        .group(Meta::OutGroup, Is::Other, GROUP)
        .masquerade()
}

/// The rules of the chain `forward`, with their comments, in order.
fn forward_rules() -> [(&'static str, Expressions); 4] {
    let from = |rule: Expressions| rule.group(Meta::InGroup, Is::Equal, GROUP);
    let to = |rule: Expressions| rule.group(Meta::OutGroup, Is::Equal, GROUP);
    let new = Expressions::default;
    [
        ("weft published", to(new()).redirected().verdict(Verdict::Accept)),
        ("weft between networks", to(from(new())).verdict(Verdict::Drop)),
        ("weft answers", to(new()).known_connection().verdict(Verdict::Accept)),
        ("weft unasked", to(new()).verdict(Verdict::Drop)),
    ]
}

/// A chain that drops what is forwarded, and the rules it has for one of our links.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Obstacle {
    /// Where it stands, as `nft` writes it: `ip filter FORWARD`.
    pub chain: String,
    /// Whether our accept rules go there. A chain of another table has to be opened by hand.
    pub handled: Handled,
}

/// Whether an obstacle is ours to pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Handled {
    /// Accept rules for our links stand there as long as there are ways out.
    ByUs,
    /// Not known well enough to put rules in.
    ByNobody,
}

impl Firewall {
    /// Makes what a way out needs; what is there is kept.
    pub(crate) async fn ensure(&mut self, way: &WayOut) -> Result<(), NetlinkError> {
        let (forward, postrouting) = (ours("forward"), ours("postrouting"));
        let mut changes = vec![
            rule::add_table(Family::Inet, TABLE),
            rule::add_chain(&forward, Hook { kind: "filter", number: FORWARD_HOOK, priority: 0 }),
            rule::add_chain(&postrouting, Hook { kind: "nat", number: 4, priority: 100 }),
        ];
        let present = self.rules(&forward).await?;
        let in_order = present.iter().map(|rule| rule.comment.as_deref());
        if !in_order.eq(forward_rules().iter().map(|(comment, _)| Some(*comment))) {
            changes.extend(present.iter().map(rule::delete_rule));
            changes.extend(forward_rules().into_iter().map(|(comment, expressions)| {
                rule::add_rule(&forward, Place::Tail, comment, expressions)
            }));
        }
        let present = self.comments(&postrouting).await?;
        for pool in &way.pools {
            let comment = masquerade_comment(&way.host_link, *pool);
            if !present.contains(&comment) {
                let expressions = masquerade(*pool);
                changes.push(rule::add_rule(&postrouting, Place::Tail, &comment, expressions));
            }
        }
        for chain in self.dropping().await?.into_iter().filter_map(|(_, passage)| passage) {
            let present = self.comments(&chain).await?;
            for meta in [Meta::InName, Meta::OutName] {
                let comment = accept_comment(&way.host_link, meta);
                if !present.contains(&comment) {
                    let accept = Expressions::default().link(meta, &way.host_link).counter();
                    let accept = accept.verdict(Verdict::Accept);
                    changes.push(rule::add_rule(&chain, Place::Head, &comment, accept));
                }
            }
        }
        self.transact(|| format!("set nftables rules for `{}`", way.host_link), changes).await
    }

    /// Removes what a way out had, and our table with the last.
    pub(crate) async fn remove(&mut self, link: &str) -> Result<(), NetlinkError> {
        let (forward, postrouting) = (ours("forward"), ours("postrouting"));
        let chains = self.chains().await?;
        let mut changes = Vec::new();
        if chains.iter().any(|chain| chain.id == forward || chain.id == postrouting) {
            let rules = self.rules(&postrouting).await?;
            let (gone, kept): (Vec<Rule>, Vec<Rule>) =
                rules.into_iter().partition(|rule| masquerades(rule, link));
            if kept.is_empty() {
                changes.push(rule::delete_table(Family::Inet, TABLE));
            } else {
                changes.extend(gone.iter().map(rule::delete_rule));
            }
        }
        // Not only where a chain drops now: its policy may have changed since.
        let passages = chains.into_iter().map(|chain| chain.id).filter(is_passage);
        let comments = [Meta::InName, Meta::OutName].map(|meta| accept_comment(link, meta));
        for passage in passages {
            let rules = self.rules(&passage).await?;
            let of_link =
                |rule: &&Rule| rule.comment.as_ref().is_some_and(|c| comments.contains(c));
            changes.extend(rules.iter().filter(of_link).map(rule::delete_rule));
        }
        self.transact(|| format!("remove nftables rules for `{link}`"), changes).await
    }

    /// The pools that are masqueraded for a link, or for any: also for one that is gone.
    pub(crate) async fn masqueraded(
        &mut self,
    ) -> Result<BTreeSet<(String, IpNetwork)>, NetlinkError> {
        let comments = self.comments(&ours("postrouting")).await?;
        let parsed = comments.iter().filter_map(|comment| {
            let (link, pool) = comment.strip_prefix("weft ")?.split_once(' ')?;
            Some((link.to_owned(), pool.parse().ok()?))
        });
        Ok(parsed.collect())
    }

    /// Reads what stands for our links.
    pub(crate) async fn standing(&mut self) -> Result<Standing, NetlinkError> {
        let mut standing = Standing::default();
        let forward = self.rules(&ours("forward")).await?;
        let in_order = forward.iter().map(|rule| rule.comment.as_deref());
        standing.forward = in_order.eq(forward_rules().iter().map(|(comment, _)| Some(*comment)));
        standing.masquerades = self.comments(&ours("postrouting")).await?;
        for passage in self.dropping().await?.into_iter().filter_map(|(_, passage)| passage) {
            standing.passages.push(self.comments(&passage).await?);
        }
        Ok(standing)
    }

    /// The chains that drop what is forwarded, other than our own.
    pub(crate) async fn obstacles(&mut self) -> Result<BTreeSet<Obstacle>, NetlinkError> {
        let dropping = self.dropping().await?;
        let obstacles = dropping.into_iter().map(|(chain, passage)| {
            let family = match chain.family {
                Family::Any | Family::Inet => "inet",
                Family::Ip => "ip",
                Family::Ip6 => "ip6",
            };
            Obstacle {
                chain: format!("{family} {} {}", chain.table, chain.chain),
                handled: if passage.is_some() { Handled::ByUs } else { Handled::ByNobody },
            }
        });
        Ok(obstacles.collect())
    }

    /// The chains that drop what is forwarded, each with the chain our accept rules go into.
    async fn dropping(&mut self) -> Result<Vec<(ChainId, Option<ChainId>)>, NetlinkError> {
        let chains = self.chains().await?;
        let dropping = chains.iter().filter(|chain| {
            chain.drops && chain.hook == Some(FORWARD_HOOK) && chain.id.table != TABLE
        });
        let with_passage = dropping.map(|chain| {
            let user = ChainId { chain: DOCKER_USER.to_owned(), ..chain.id.clone() };
            let passage = if !is_passage(&chain.id) {
                None
            } else if chains.iter().any(|chain| chain.id == user) {
                Some(user)
            } else {
                Some(chain.id.clone())
            };
            (chain.id.clone(), passage)
        });
        Ok(with_passage.collect())
    }

    async fn comments(&mut self, chain: &ChainId) -> Result<BTreeSet<String>, NetlinkError> {
        Ok(self.rules(chain).await?.into_iter().filter_map(|rule| rule.comment).collect())
    }
}

/// A chain of iptables' tables that our accept rules may stand in.
fn is_passage(id: &ChainId) -> bool {
    let table = id.table == "filter" && matches!(id.family, Family::Ip | Family::Ip6);
    table && (id.chain == FORWARD || id.chain == DOCKER_USER)
}

fn masquerades(rule: &Rule, link: &str) -> bool {
    let prefix = format!("weft {link} ");
    rule.comment.as_ref().is_some_and(|comment| comment.starts_with(&prefix))
}

/// Our rules as they stand.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    forward: bool,
    masquerades: BTreeSet<String>,
    /// Comments of each chain that our accept rules go into.
    passages: Vec<BTreeSet<String>>,
}

impl Standing {
    /// Everything that a way out with these pools needs is there.
    pub(crate) fn serves(&self, link: &str, pools: &BTreeSet<IpNetwork>) -> bool {
        let accepts = [Meta::InName, Meta::OutName].map(|meta| accept_comment(link, meta));
        let passes = |comments: &BTreeSet<String>| accepts.iter().all(|c| comments.contains(c));
        let masquerade =
            |pool: &IpNetwork| self.masquerades.contains(&masquerade_comment(link, *pool));
        self.forward && pools.iter().all(masquerade) && self.passages.iter().all(passes)
    }
}
