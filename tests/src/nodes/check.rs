//! What every host equals once the cluster is quiet.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use weft_api::{Definition, Mac, NetworkId, NodeId};
use weft_ipam::Space;
use weft_networkdb::{FactKind, MemberState};
use weft_overlay::op::{FdbEntry, Neighbour};
use weft_overlay::{PEER_TABLE, names};

use super::Nodes;
use super::host::Endpoint;

/// A check: what is out of step, if anything.
type Check = Result<(), String>;

/// Every kind of fact.
const KINDS: [FactKind; 7] = [
    FactKind::DEFINITION,
    FactKind::DELETED,
    FactKind::LEFT,
    FactKind::FORGOTTEN,
    FactKind::RANGES,
    FactKind::ALLOCATION,
    FactKind::HOST_ROUTES,
];

impl Nodes {
    /// Returns what is out of step, if anything is.
    pub fn discord(&self) -> Option<String> {
        let checks = [
            Self::everyone_is_there,
            Self::facts_agree,
            Self::ranges_partition_their_spaces,
            Self::names_and_pools_are_single,
            Self::tables_hold_what_is_joined,
            Self::kernels_hold_what_is_joined,
        ];
        checks.into_iter().find_map(|check| check(self).err())
    }

    fn everyone_is_there(&self) -> Check {
        let all: BTreeSet<NodeId> =
            self.members().filter_map(|host| self.hosts[host].id()).collect();
        for host in &self.hosts {
            let Some(process) = host.process.as_ref() else { continue };
            let index = host.index;
            ensure(host.is_joined(), || format!("host {index} is joining"))?;
            ensure(!process.is_busy(), || format!("host {index} waits for an answer"))?;
            ensure(process.node.db().is_ready(), || format!("host {index} is not ready"))?;
            let seen: BTreeSet<NodeId> = process
                .node
                .db()
                .members()
                .filter(|member| member.state == MemberState::Alive)
                .map(|member| member.id)
                .collect();
            ensure(seen == all, || {
                let roster: Vec<_> = process
                    .node
                    .db()
                    .members()
                    .map(|member| (member.id, member.name.as_str(), member.boot, member.state))
                    .collect();
                format!("host {index} sees {seen:?} alive of {all:?}: {roster:?}")
            })?;
        }
        Ok(())
    }

    fn facts_agree(&self) -> Check {
        let facts = |host: usize| -> Vec<(FactKind, &[u8], &[u8])> {
            let db = self.node(host).db();
            let of = |kind| db.facts(kind).map(move |(subject, value)| (kind, subject, value));
            KINDS.into_iter().flat_map(of).collect()
        };
        let mut hosts = self.members();
        let Some(first) = hosts.next() else { return Ok(()) };
        let model = facts(first);
        for host in hosts {
            let other = facts(host);
            let odd = model.iter().find(|fact| !other.contains(fact));
            let odd = odd.or_else(|| other.iter().find(|fact| !model.contains(fact)));
            if let Some((kind, subject, _)) = odd {
                return Err(format!(
                    "hosts {first} and {host} differ about {kind:?} {:?}",
                    Space::from_subject(subject)
                ));
            }
        }
        Ok(())
    }

    /// Each integer of each space has exactly one owner, who is in the cluster.
    fn ranges_partition_their_spaces(&self) -> Check {
        for host in self.members() {
            let node = self.node(host);
            let mut owned: BTreeMap<Space, u128> = BTreeMap::new();
            for holding in node.ipam().holdings() {
                *owned.entry(holding.space).or_default() += holding.owned;
                let state = node.db().member(holding.owner).map(|member| member.state);
                ensure(state != Some(MemberState::Forgotten), || {
                    format!("{:?} still belongs to {}, forgotten", holding.space, holding.owner)
                })?;
                let gone = matches!(state, None | Some(MemberState::Left));
                // A VNI that was ever taken stays behind: nobody may take it again.
                let may_stay = holding.space == Space::Vni || !self.left_orderly;
                ensure(!gone || may_stay, || {
                    format!("{:?} still belongs to {}, who left", holding.space, holding.owner)
                })?;
                let own = self.hosts[host].id() == Some(holding.owner);
                ensure(own == holding.local.is_some(), || {
                    format!("host {host} and its own view of {:?} differ", holding.space)
                })?;
            }
            for space in self.spaces(host) {
                let (owned, all) = (owned.get(&space).copied().unwrap_or(0), size(&space));
                ensure(owned == all, || format!("{owned} of {all} in {space:?} have an owner"))?;
            }
        }
        Ok(())
    }

    /// Every space that must have owners.
    fn spaces(&self, host: usize) -> Vec<Space> {
        let pools = Self::pools();
        let subnets = self.node(host).db().definitions().flat_map(|definition| {
            let network = definition.id;
            definition.subnets.iter().map(move |s| Space::Subnet { network, pool: s.pool })
        });
        let shared = [Space::Vni, Space::Blocks(pools.default4), Space::Blocks(pools.default6)];
        shared.into_iter().chain(subnets).collect()
    }

    /// A name and a pool belong to one network; of two that met one is frozen, everywhere alike.
    fn names_and_pools_are_single(&self) -> Check {
        let mut model: Option<Vec<NetworkId>> = None;
        for host in self.members() {
            let db = self.node(host).db();
            let all: Vec<&Definition> = db.definitions().collect();
            let free: Vec<&Definition> =
                all.iter().copied().filter(|network| !db.is_frozen(network.id)).collect();
            for (index, one) in free.iter().enumerate() {
                if let Some(other) = free[..index].iter().find(|other| clash(one, other)) {
                    return Err(format!("{} and {} are both in use", one.id, other.id));
                }
            }
            let frozen: Vec<NetworkId> =
                all.iter().map(|network| network.id).filter(|id| db.is_frozen(*id)).collect();
            ensure(frozen.is_empty() || self.was_split, || {
                format!("{frozen:?} are frozen and there was no split")
            })?;
            let agreed = model.get_or_insert_with(|| frozen.clone());
            ensure(*agreed == frozen, || format!("host {host} freezes {frozen:?}"))?;
        }
        Ok(())
    }

    /// Every joined endpoint, its host and its node. What runs on in a deleted network is nobody's.
    fn joined(&self) -> Vec<(usize, NodeId, &Endpoint)> {
        let members = self.members();
        members
            .flat_map(|host| {
                let node = self.node(host).id();
                self.process(host).endpoints.values().map(move |e| (host, node, e))
            })
            .collect()
    }

    fn tables_hold_what_is_joined(&self) -> Check {
        let joined = self.joined();
        for host in self.members() {
            let db = self.node(host).db();
            let of_host: BTreeSet<NetworkId> =
                joined.iter().filter(|(h, ..)| *h == host).map(|(.., e)| e.network).collect();
            let attached: BTreeSet<NetworkId> = db.own_attachments().into_iter().collect();
            ensure(of_host == attached, || {
                format!("host {host} takes part in {attached:?}, its endpoints in {of_host:?}")
            })?;
            for network in of_host {
                let must: BTreeMap<String, NodeId> = joined
                    .iter()
                    .filter(|(.., endpoint)| endpoint.network == network)
                    .map(|(_, node, endpoint)| (endpoint.id.to_string(), *node))
                    .collect();
                let is: BTreeMap<String, NodeId> = db
                    .walk(network, PEER_TABLE)
                    .map(|entry| (entry.key.to_string(), entry.owner))
                    .collect();
                ensure(is == must, || {
                    format!(
                        "table of {} on host {host}: {}",
                        network.short(),
                        difference(&is, &must)
                    )
                })?;
            }
        }
        Ok(())
    }

    /// The kernels hold what the peers' endpoints need, and nothing else.
    fn kernels_hold_what_is_joined(&self) -> Check {
        let joined = self.joined();
        for host in &self.hosts {
            let observed = host.kernel.observe();
            let here: BTreeSet<NetworkId> = joined
                .iter()
                .filter(|(index, ..)| *index == host.index)
                .map(|(.., endpoint)| endpoint.network)
                .collect();
            let must: BTreeSet<String> = here.iter().map(|id| names::namespace(*id)).collect();
            let is: BTreeSet<String> = observed.namespaces.keys().cloned().collect();
            let index = host.index;
            ensure(is == must, || format!("host {index} has namespaces {is:?}, not {must:?}"))?;
            for network in here {
                let there = &observed.namespaces[&names::namespace(network)];
                let local = |index: &usize| *index == host.index;
                let of = joined.iter().filter(|(.., e)| e.network == network);
                let ports: BTreeSet<String> = of
                    .clone()
                    .filter(|(h, ..)| local(h))
                    .map(|(.., e)| names::port(e.id))
                    .collect();
                let remote: Vec<_> = of.filter(|(h, ..)| !local(h)).collect();
                let fdb: BTreeSet<FdbEntry> = remote
                    .iter()
                    .map(|(h, _, e)| FdbEntry { mac: mac(e), vtep: self.hosts[*h].vtep() })
                    .collect();
                let neighbours: BTreeSet<Neighbour> = remote
                    .iter()
                    .map(|(.., e)| Neighbour { ip: e.address.ip(), mac: mac(e) })
                    .collect();
                let held: BTreeSet<String> = there.ports.keys().cloned().collect();
                ensure(held == ports, || {
                    format!("host {index} has ports {held:?}, not {ports:?}")
                })?;
                for vxlan in there.vxlans.values() {
                    ensure(vxlan.fdb == fdb, || {
                        format!("host {index} has FDB {:?}, not {fdb:?}", vxlan.fdb)
                    })?;
                    ensure(vxlan.neighbours == neighbours, || {
                        format!("host {index} has {:?}, not {neighbours:?}", vxlan.neighbours)
                    })?;
                }
            }
        }
        Ok(())
    }
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err(what()) }
}

fn difference(is: &BTreeMap<String, NodeId>, must: &BTreeMap<String, NodeId>) -> String {
    let only = |a: &BTreeMap<String, NodeId>, b: &BTreeMap<String, NodeId>| -> Vec<String> {
        a.iter().filter(|(k, v)| b.get(*k) != Some(v)).map(|(k, _)| k[..8].to_owned()).collect()
    };
    format!("stray {:?}, missing {:?}", only(is, must), only(must, is))
}

fn clash(one: &Definition, other: &Definition) -> bool {
    let overlap = |a: &weft_api::Subnet, b: &weft_api::Subnet| {
        a.pool.contains(b.pool.ip()) || b.pool.contains(a.pool.ip())
    };
    one.name == other.name
        || one.subnets.iter().any(|a| other.subnets.iter().any(|b| overlap(a, b)))
}

fn mac(endpoint: &Endpoint) -> Mac {
    match endpoint.address.ip() {
        IpAddr::V4(v4) => Mac::from_ipv4(v4),
        IpAddr::V6(v6) => Mac::from_ipv6(v6),
    }
}

fn size(space: &Space) -> u128 {
    match space {
        Space::Subnet { pool, .. } => {
            let bits = if pool.is_ipv4() { 32 } else { 128 };
            1 << (bits - pool.prefix())
        }
        Space::Vni => Nodes::pools().vnis.count() as u128,
        Space::Blocks(blocks) => 1 << (blocks.block_prefix - blocks.pool.prefix()),
    }
}
