//! Looks at everything once the cluster is quiet: each node against the model.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use weft_api::{Definition, NetworkId, NodeId};
use weft_ipam::Space;
use weft_networkdb::MemberState;

use super::Nodes;
use super::invariant::{Check, Invariant, Violation, ensure};
use super::model::{Model, View, clash};

impl Nodes {
    /// Returns what is out of step, if anything is.
    pub fn discord(&self) -> Option<Violation> {
        self.look().err()
    }

    fn look(&self) -> Check {
        self.nobody_waits()?;
        let model = Model::of(self);
        for host in 0..self.hosts.len() {
            if self.hosts[host].process.is_some() {
                compare(host, &View::of(self, host), &model.member(host))?;
            } else {
                let (is, must) = (View::kernel(self, host), model.kernel(host));
                same(Invariant::KernelAsPlanned, host, "kernel", &is, &must)?;
            }
        }
        let lost = model.forgets().filter(|_| !self.ledger.allowance.disks_lost);
        ensure(lost.is_none(), Invariant::NodesEqualModel, || {
            format!("what became of {lost:?} was acknowledged, and nobody knows it")
        })?;
        self.ranges_partition_their_spaces()?;
        self.names_and_pools_are_single()?;
        self.frames_arrive()
    }

    fn nobody_waits(&self) -> Check {
        for host in &self.hosts {
            let Some(process) = host.process.as_ref() else { continue };
            let index = host.index;
            let at_rest = |holds: bool, what: &str| {
                ensure(holds, Invariant::NodesEqualModel, || format!("host {index} {what}"))
            };
            at_rest(host.is_joined(), "is joining")?;
            at_rest(!process.is_busy(), "waits for an answer")?;
            at_rest(process.node.db().is_ready(), "is not ready")?;
        }
        Ok(())
    }

    /// Each integer of each space has exactly one owner, who is in the cluster.
    fn ranges_partition_their_spaces(&self) -> Check {
        let ensure = |holds: bool, what: &dyn Fn() -> String| {
            ensure(holds, Invariant::RangesPartition, what)
        };
        for host in self.members() {
            let node = self.node(host);
            let mut owned: BTreeMap<Space, u128> = BTreeMap::new();
            for holding in node.ipam().holdings() {
                *owned.entry(holding.space).or_default() += holding.owned;
                let state = node.db().member(holding.owner).map(|member| member.state);
                ensure(state != Some(MemberState::Forgotten), &|| {
                    format!("{:?} still belongs to {}, forgotten", holding.space, holding.owner)
                })?;
                let gone = matches!(state, None | Some(MemberState::Left));
                // A VNI that was ever taken stays behind: nobody may take it again.
                let may_stay = holding.space == Space::Vni || self.ledger.allowance.ranges_left;
                ensure(!gone || may_stay, &|| {
                    format!("{:?} still belongs to {}, who left", holding.space, holding.owner)
                })?;
                let own = self.hosts[host].id() == Some(holding.owner);
                ensure(own == holding.local.is_some(), &|| {
                    format!("host {host} and its own view of {:?} differ", holding.space)
                })?;
            }
            for space in self.spaces(host) {
                let (owned, all) = (owned.get(&space).copied().unwrap_or(0), size(&space));
                ensure(owned == all, &|| {
                    format!("{owned} of {all} in {space:?} have an owner on host {host}")
                })?;
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

    /// A name and a pool belong to one network; of two that met one is frozen.
    fn names_and_pools_are_single(&self) -> Check {
        for host in self.members() {
            let db = self.node(host).db();
            let all: Vec<&Definition> = db.definitions().collect();
            let free: Vec<&Definition> =
                all.iter().copied().filter(|network| !db.is_frozen(network.id)).collect();
            for (index, one) in free.iter().enumerate() {
                let other = free[..index].iter().find(|other| clash(one, other));
                ensure(other.is_none(), Invariant::OneNetworkAName, || {
                    format!("{} and another of its name or pool are both in use", one.id)
                })?;
            }
            let frozen: Vec<NetworkId> =
                all.iter().map(|network| network.id).filter(|id| db.is_frozen(*id)).collect();
            let allowed = frozen.is_empty() || self.ledger.allowance.parted;
            ensure(allowed, Invariant::OneNetworkAName, || {
                format!("{frozen:?} are frozen and nobody was held for dead")
            })?;
        }
        Ok(())
    }
}

/// Compares a member with what it must be.
fn compare(host: usize, is: &View, must: &View) -> Check {
    let equal = Invariant::NodesEqualModel;
    same_set(host, "members alive", &is.alive, &must.alive)?;
    same_set(host, "members failed", &is.failed, &must.failed)?;
    same(equal, host, "networks", &is.networks, &must.networks)?;
    same_set(host, "networks deleted", &is.deleted, &must.deleted)?;
    if is.facts != must.facts {
        let odd = is.facts.iter().find(|(key, state)| must.facts.get(*key) != Some(*state));
        let odd = odd.or_else(|| must.facts.iter().find(|(key, _)| !is.facts.contains_key(*key)));
        let key = odd.map(|((kind, subject), _)| (kind, Space::from_subject(subject)));
        return Err(Violation::new(equal, format!("host {host} differs about {key:?}")));
    }
    let (is_in, must_in): (BTreeSet<_>, BTreeSet<_>) =
        (is.tables.keys().collect(), must.tables.keys().collect());
    same(Invariant::EntriesWhole, host, "networks taken part in", &is_in, &must_in)?;
    for (network, must) in &must.tables {
        let is = is.tables.get(network).unwrap_or(must);
        ensure(is == must, Invariant::EntriesWhole, || {
            format!("table of {} on host {host}: {}", network.short(), difference(is, must))
        })?;
    }
    same(Invariant::KernelAsPlanned, host, "kernel", &is.kernel, &must.kernel)
}

fn same_set<T: Ord + Debug>(
    host: usize,
    what: &str,
    is: &BTreeSet<T>,
    must: &BTreeSet<T>,
) -> Check {
    ensure(is == must, Invariant::NodesEqualModel, || {
        let (more, less): (Vec<_>, Vec<_>) =
            (is.difference(must).collect(), must.difference(is).collect());
        format!("host {host}, {what}: {more:?} too many, {less:?} missing")
    })
}

fn same<T: Eq + Debug>(invariant: Invariant, host: usize, what: &str, is: &T, must: &T) -> Check {
    ensure(is == must, invariant, || format!("host {host}, {what}: {is:?}, not {must:?}"))
}

fn difference(is: &BTreeMap<String, NodeId>, must: &BTreeMap<String, NodeId>) -> String {
    let only = |a: &BTreeMap<String, NodeId>, b: &BTreeMap<String, NodeId>| -> Vec<String> {
        a.iter().filter(|(k, v)| b.get(*k) != Some(v)).map(|(k, _)| k[..8].to_owned()).collect()
    };
    format!("stray {:?}, missing {:?}", only(is, must), only(must, is))
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
