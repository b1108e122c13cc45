//! Bugs planted at the simulator's own boundary: each invariant must catch one.
//!
//! The production code has no hooks for them. Whoever carries out what an agent wants (disk,
//! kernel, controller, network) does it wrongly.

use std::collections::BTreeMap;

use ipnetwork::IpNetwork;
use weft_api::{NodeId, Space, Vni, Write};
use weft_ipam::{Block, Granted, read_ranges};
use weft_networkdb::FactKind;
use weft_overlay::op::KernelOp;

use super::Nodes;
use super::invariant::Invariant;

/// A planted bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// The controller answers with an address that another endpoint has.
    HandsOutTwice,
    /// Released addresses do not rest.
    SkipsRest,
    /// A node leaves without giving away what it owns.
    LeavesWithoutHandOver,
    /// The disk loses the write by which a donor gives something away.
    KeepsWhatItGave,
    /// The disk writes what a fact was first in place of what it is.
    WritesOldFact,
    /// The dispatcher tells a driver of a record once more after its delete.
    ReplaysRecord,
    /// The network is split behind the onlooker's back, as if claims waited for nobody.
    UnseenSplit,
    /// The controller gets a VNI that a network has.
    GrantsVniTwice,
    /// The disk loses the acceptance of a claim.
    LosesAcceptance,
    /// A tunnel device is made with another network's VNI.
    MixesNetworks,
    /// The controller does not publish an endpoint.
    ForgetsEntry,
    /// The executor does not remove FDB entries.
    ForgetsFdbDelete,
    /// The network repeats each datagram for ever.
    Floods,
    /// A create that was refused is acknowledged.
    AcknowledgesRefused,
    /// The disk cuts a record in half.
    DamagesRecord,
}

impl Mutation {
    /// All of them, one for each invariant.
    pub const ALL: [Self; 15] = [
        Self::HandsOutTwice,
        Self::SkipsRest,
        Self::LeavesWithoutHandOver,
        Self::KeepsWhatItGave,
        Self::WritesOldFact,
        Self::ReplaysRecord,
        Self::UnseenSplit,
        Self::GrantsVniTwice,
        Self::LosesAcceptance,
        Self::MixesNetworks,
        Self::ForgetsEntry,
        Self::ForgetsFdbDelete,
        Self::Floods,
        Self::AcknowledgesRefused,
        Self::DamagesRecord,
    ];

    /// Returns the invariant that must report it.
    pub const fn breaks(self) -> Invariant {
        match self {
            Self::HandsOutTwice => Invariant::OneEndpointAnAddress,
            Self::SkipsRest => Invariant::AddressesRest,
            Self::LeavesWithoutHandOver => Invariant::RangesPartition,
            Self::KeepsWhatItGave => Invariant::OneDurableOwner,
            Self::WritesOldFact => Invariant::VersionsGrow,
            Self::ReplaysRecord => Invariant::NothingResurrects,
            Self::UnseenSplit => Invariant::OneNetworkAName,
            Self::GrantsVniTwice => Invariant::VniForEver,
            Self::LosesAcceptance => Invariant::ClaimsKnown,
            Self::MixesNetworks => Invariant::NetworksApart,
            Self::ForgetsEntry => Invariant::EntriesWhole,
            Self::ForgetsFdbDelete => Invariant::KernelAsPlanned,
            Self::Floods => Invariant::QueuesBounded,
            Self::AcknowledgesRefused => Invariant::NodesEqualModel,
            Self::DamagesRecord => Invariant::NoFault,
        }
    }
}

/// What a mutation must remember.
#[derive(Debug, Default)]
pub(super) struct Planted {
    pub(super) mutation: Option<Mutation>,
    granted: BTreeMap<IpNetwork, IpNetwork>,
    vni: Option<Vni>,
    first: BTreeMap<(usize, Vec<u8>), Vec<u8>>,
    writes: u64,
}

impl Planted {
    pub(super) fn is(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    /// What the controller gets in place of what was granted.
    pub(super) fn grant(&mut self, pool: Option<IpNetwork>, granted: Granted) -> Granted {
        match (self.mutation, granted) {
            (Some(Mutation::HandsOutTwice), Granted::Address(address)) => {
                let Some(pool) = pool else { return Granted::Address(address) };
                Granted::Address(*self.granted.entry(pool).or_insert(address))
            }
            (Some(Mutation::GrantsVniTwice), Granted::Block(Block::Vni(vni))) => {
                Granted::Block(Block::Vni(*self.vni.get_or_insert(vni)))
            }
            (_, granted) => granted,
        }
    }

    /// What the disk writes in place of a write; nothing where it loses it.
    pub(super) fn write(
        &mut self,
        (host, node): (usize, Option<NodeId>),
        write: Write,
        old: Option<&[u8]>,
    ) -> Option<Write> {
        let is_ranges =
            write.space == Space::Facts && write.key.first() == Some(&FactKind::RANGES.0);
        match self.mutation {
            Some(Mutation::KeepsWhatItGave) if is_ranges => {
                let states = old.zip(write.value.as_deref()).zip(node);
                let gives =
                    states.is_some_and(|((old, new), node)| owns(new, node) < owns(old, node));
                (!gives).then_some(write)
            }
            Some(Mutation::WritesOldFact) if is_ranges && write.value.is_some() => {
                self.writes += 1;
                let key = (host, write.key.clone());
                let value = write.value.clone().unwrap_or_default();
                let first = self.first.entry(key).or_insert(value);
                let value =
                    if self.writes.is_multiple_of(5) { Some(first.clone()) } else { write.value };
                Some(Write { value, ..write })
            }
            Some(Mutation::LosesAcceptance)
                if write.space == Space::Claims && write.key.first() == Some(&b'h') =>
            {
                None
            }
            Some(Mutation::DamagesRecord) if write.space == Space::Members => {
                let cut = write.value.map(|value| value[..value.len() / 2].to_vec());
                Some(Write { value: cut, ..write })
            }
            _ => Some(write),
        }
    }
}

/// How many integers a node owns.
fn owns(ranges: &[u8], node: NodeId) -> u128 {
    let spans = read_ranges(ranges).ok().flatten().unwrap_or_default();
    let own = spans.iter().filter(|span| span.owner == node);
    own.map(|span| span.last - span.first + 1).sum()
}

impl Nodes {
    /// What the kernel is told in place of an operation; nothing where it is forgotten.
    pub(super) fn mutate_op(&self, host: usize, op: KernelOp) -> Option<KernelOp> {
        match (self.planted.mutation, op) {
            (Some(Mutation::ForgetsFdbDelete), KernelOp::RemoveFdb { .. }) => None,
            (Some(Mutation::MixesNetworks), KernelOp::EnsureVxlan { namespace, mut vxlan }) => {
                let here = &self.hosts[host].tunnels;
                let all = self.hosts.iter().flat_map(|host| &host.tunnels);
                let other =
                    all.into_iter().find(|(vni, of)| **of != namespace && !here.contains_key(vni));
                if let Some((vni, _)) = other {
                    vxlan.vni = *vni;
                }
                Some(KernelOp::EnsureVxlan { namespace, vxlan })
            }
            (_, op) => Some(op),
        }
    }
}
