//! What an onlooker who sees all disks knows: the invariants that hold after each write.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use weft_agent::host_routes::HostRoutesJoin;
use weft_api::{Definition, EndpointId, NetworkId, NodeId, Space, Vni, Write};
use weft_ipam::{Space as Addresses, join_allocations, join_ranges, read_ranges};
use weft_networkdb::{FactKind, Join, Joined};

use super::host::Endpoint;
use super::invariant::{Check, Invariant, Violation, ensure};
use super::tally::Tally;

/// What happened in a run that some invariants make allowance for.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Allowance {
    /// Members held each other for dead: halves may both have made a network.
    pub(super) parted: bool,
    /// Somebody was forgotten by force, or runs on: two may have an address.
    pub(super) forced: bool,
    /// Somebody left whom not all had answered, or a disk was lost: ranges may stay behind.
    pub(super) ranges_left: bool,
    /// A disk was lost, rolled back or cloned: what was acknowledged may be gone with it.
    pub(super) disks_lost: bool,
}

/// The onlooker's book.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) tally: Tally,
    pub(super) allowance: Allowance,
    /// Nodes that were forgotten, by whomever: what their disks say counts no more.
    pub(super) forgotten: BTreeSet<NodeId>,
    /// What claims brought into force, by kind of fact and subject.
    pub(super) in_force: BTreeSet<(FactKind, [u8; 16])>,
    /// Networks that somebody wrote down as deleted.
    deleted: BTreeSet<NetworkId>,
    /// Networks that came into force anywhere, with the lowest stamp that was seen.
    pub(super) defined: BTreeMap<NetworkId, Definition>,
    /// Networks whose makers were told that they are in force.
    pub(super) acknowledged: BTreeMap<NetworkId, Definition>,
    /// Networks whose deleters were told that they are gone.
    pub(super) acknowledged_gone: BTreeSet<NetworkId>,
    bound: BTreeMap<(NetworkId, IpAddr), EndpointId>,
    freed: BTreeMap<(NetworkId, IpAddr), (EndpointId, Duration)>,
    vnis: BTreeMap<Vni, NetworkId>,
    owned: BTreeMap<Vec<u8>, BTreeMap<usize, Owned>>,
}

/// What one disk says that its own node owns of one space.
#[derive(Debug)]
struct Owned {
    node: NodeId,
    spans: Vec<(u128, u128)>,
}

/// One write, and where it went.
pub(super) struct Commit<'a> {
    pub(super) host: usize,
    pub(super) node: Option<NodeId>,
    pub(super) write: &'a Write,
    /// What was there before.
    pub(super) undo: &'a Write,
    pub(super) why: Why,
    pub(super) at: Duration,
    /// How long a released address rests at least.
    pub(super) rest: Duration,
}

/// Why a disk changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// An agent wrote.
    Written,
    /// A crash undid what nobody was told, or a disk was wiped.
    Undone,
}

impl Ledger {
    /// Takes note of a write.
    pub(super) fn commit(&mut self, commit: &Commit<'_>) -> Check {
        match commit.write.space {
            Space::Controller => self.commit_endpoint(commit),
            Space::Facts => self.commit_fact(commit),
            Space::Node
            | Space::Members
            | Space::Logs
            | Space::Claims
            | Space::Ipam
            | Space::Keys => Ok(()),
        }
    }

    fn commit_endpoint(&mut self, commit: &Commit<'_>) -> Check {
        let read = |value: &[u8]| -> Endpoint {
            serde_json::from_slice(value).expect("written by this simulator")
        };
        if let Some(gone) = commit.undo.value.as_deref().map(read) {
            self.unbind(&gone, Some(commit.at));
        }
        let Some(new) = commit.write.value.as_deref().map(read) else { return Ok(()) };
        self.tally.endpoints += 1;
        let key = (new.network, new.address.ip());
        if let Some(other) = self.bound.insert(key, new.id)
            && other != new.id
            && !self.allowance.forced
        {
            let what = format!(
                "{} of {} is bound to {} and {}",
                new.address,
                new.network.short(),
                other.short(),
                new.id.short()
            );
            return Err(Violation::new(Invariant::OneEndpointAnAddress, what));
        }
        let Some((before, freed)) = self.freed.remove(&key) else { return Ok(()) };
        let rested = commit.at.saturating_sub(freed);
        let must = before != new.id && commit.why == Why::Written && !self.allowance.forced;
        ensure(!must || rested >= commit.rest, Invariant::AddressesRest, || {
            format!(
                "{} of {} is bound on host {} {rested:?} after {} had it",
                new.address,
                new.network.short(),
                commit.host,
                before.short()
            )
        })
    }

    fn commit_fact(&mut self, commit: &Commit<'_>) -> Check {
        let Some((&kind, subject)) = commit.write.key.split_first() else { return Ok(()) };
        let kind = FactKind(kind);
        if kind == FactKind::FORGOTTEN
            && let Ok(id) = <[u8; 16]>::try_from(subject)
        {
            self.forgotten.insert(NodeId::from_bytes(id));
        }
        if kind == FactKind::DELETED
            && let Ok(id) = <[u8; 16]>::try_from(subject)
        {
            self.deleted.insert(NetworkId::from_bytes(id));
        }
        if commit.why == Why::Written {
            self.fact_grows(kind, commit)?;
        }
        if kind == FactKind::RANGES { self.owners(subject, commit) } else { Ok(()) }
    }

    /// What replaces a fact holds all that it held.
    fn fact_grows(&self, kind: FactKind, commit: &Commit<'_>) -> Check {
        let Some(old) = commit.undo.value.as_deref() else { return Ok(()) };
        let adds = match commit.write.value.as_deref() {
            // All that is part of a network ends with it.
            None => !part_of(kind, commit).is_some_and(|network| self.deleted.contains(&network)),
            Some(new) => match kind {
                FactKind::RANGES => join_ranges(Some(new), old).is_ok_and(|more| more.is_some()),
                FactKind::ALLOCATION => {
                    join_allocations(Some(new), old).is_ok_and(|more| more.is_some())
                }
                FactKind::HOST_ROUTES => {
                    HostRoutesJoin.join(Some(new), old) != Ok(Joined::Unchanged)
                }
                // A definition that somebody else completed may come under a lower stamp.
                FactKind::DEFINITION => new != old && self.forgotten.is_empty(),
                // Whoever knew the network adds its VNIs to the tombstone.
                FactKind::DELETED => {
                    let vnis = |tombstone: &[u8]| -> BTreeSet<[u8; 4]> {
                        tombstone[1..].as_chunks().0.iter().copied().collect()
                    };
                    !vnis(new).is_superset(&vnis(old))
                }
                _ => new != old,
            },
        };
        ensure(!adds, Invariant::VersionsGrow, || {
            format!("host {} replaces a fact of {kind:?} by what lacks part of it", commit.host)
        })
    }

    /// Of all disks at most one says that its node owns an integer.
    fn owners(&mut self, subject: &[u8], commit: &Commit<'_>) -> Check {
        let host = commit.host;
        let of_space = self.owned.entry(subject.to_vec()).or_default();
        of_space.remove(&host);
        let (Some(node), Some(bytes)) = (commit.node, commit.write.value.as_deref()) else {
            return Ok(());
        };
        let spans = read_ranges(bytes).ok().flatten().unwrap_or_default();
        let own = spans.into_iter().filter(|span| span.owner == node);
        let spans: Vec<(u128, u128)> = own.map(|span| (span.first, span.last)).collect();
        let counts = |of: &NodeId| *of != node && !self.forgotten.contains(of);
        let other = of_space
            .iter()
            .filter(|(_, owned)| counts(&owned.node))
            .find_map(|(other, owned)| Some((*other, overlap(&owned.spans, &spans)?)));
        of_space.insert(host, Owned { node, spans });
        let excused = self.forgotten.contains(&node) || self.allowance.forced;
        match other.filter(|_| !excused) {
            None => Ok(()),
            Some((other, at)) => {
                let space = weft_ipam::Space::from_subject(subject);
                let what = format!("hosts {other} and {host} both own {at} of {space:?}");
                Err(Violation::new(Invariant::OneDurableOwner, what))
            }
        }
    }

    /// What a host's disk says does not count any more: it was lost, rolled back or cloned.
    pub(super) fn discount(&mut self, host: usize, endpoints: impl Iterator<Item = Endpoint>) {
        for owners in self.owned.values_mut() {
            owners.remove(&host);
        }
        endpoints.for_each(|endpoint| self.unbind(&endpoint, None));
    }

    /// Takes note of a host that is forgotten: its endpoints run no more, and if they do others may
    /// have their addresses.
    pub(super) fn forget(&mut self, endpoints: impl Iterator<Item = Endpoint>) {
        endpoints.for_each(|endpoint| self.unbind(&endpoint, None));
    }

    fn unbind(&mut self, gone: &Endpoint, at: Option<Duration>) {
        let key = (gone.network, gone.address.ip());
        if self.bound.get(&key) == Some(&gone.id) {
            self.bound.remove(&key);
            if let Some(at) = at {
                self.freed.insert(key, (gone.id, at));
            }
        }
    }

    /// Takes note of a network in force: no VNI belongs to two, ever.
    pub(super) fn define(&mut self, definition: &Definition) -> Check {
        let known = self.defined.entry(definition.id).or_insert_with(|| definition.clone());
        if definition.stamp < known.stamp {
            *known = definition.clone();
        }
        for subnet in &definition.subnets {
            let of = *self.vnis.entry(subnet.vni).or_insert(definition.id);
            ensure(of == definition.id, Invariant::VniForEver, || {
                format!("VNI {} belongs to networks {of} and {}", subnet.vni, definition.id)
            })?;
        }
        Ok(())
    }
}

/// The network that a fact is part of, by its key on disk.
fn part_of(kind: FactKind, commit: &Commit<'_>) -> Option<NetworkId> {
    let subject = &commit.write.key[1..];
    match kind {
        FactKind::DEFINITION => subject.try_into().ok().map(NetworkId::from_bytes),
        FactKind::RANGES | FactKind::ALLOCATION => Addresses::network_of(subject),
        _ => None,
    }
}

/// The first integer in both.
fn overlap(one: &[(u128, u128)], other: &[(u128, u128)]) -> Option<u128> {
    one.iter().find_map(|(first, last)| {
        let hit = other.iter().find(|(low, high)| low <= last && first <= high)?;
        Some(hit.0.max(*first))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_that_touch_do_not_overlap() {
        assert_eq!(overlap(&[(0, 3), (8, 9)], &[(4, 7)]), None);
        assert_eq!(overlap(&[(0, 3), (8, 9)], &[(4, 8)]), Some(8));
        assert_eq!(overlap(&[(5, 5)], &[(0, 100)]), Some(5));
    }
}
