//! The peers of a network, and who has what two of them claim.
//!
//! For each address and each MAC of a segment exactly one endpoint counts, and it is the same one
//! on every node that heard the same records: see [`crate::contest`]. Everything here is indexed by
//! what the kernel is keyed by, so that an event touches its own entries only.
//!
//! An address whose MAC is another one than before is announced: endpoints of this host may
//! remember the one it had. That holds for one that nobody had for a while, too: see
//! [`crate::gone`].

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weft_api::{EndpointId, Mac, NetworkId, Stamp};

use crate::contest::{Claim, Contest, Origin};
use crate::gone::Gone;
use crate::op::{FdbEntry, Neighbour};

/// What several endpoints claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// One address.
    Address(IpAddr),
    /// One MAC in one segment.
    Mac(Mac),
}

/// One endpoint that claims it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claimant {
    /// The allocation's stamp: the lowest wins.
    pub stamp: Stamp,
    /// The endpoint.
    pub endpoint: EndpointId,
    /// Its host.
    pub vtep: IpAddr,
}

/// Two or more endpoints with one address or MAC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The network.
    pub network: NetworkId,
    /// What they share.
    pub subject: Subject,
    /// Who is programmed, on every node alike.
    pub winner: Claimant,
    /// Who is not, lowest stamp first.
    pub losers: Vec<Claimant>,
}

/// A segment of its network, by index.
pub(crate) type SegmentIndex = usize;

/// What is kept of a record that passed the network's checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) segment: SegmentIndex,
    pub(crate) v4: Option<Ipv4Addr>,
    pub(crate) v6: Option<Ipv6Addr>,
    pub(crate) mac: Mac,
    pub(crate) vtep: IpAddr,
    pub(crate) stamp: Stamp,
    pub(crate) replaces: Option<Stamp>,
}

impl Peer {
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.v4.map(IpAddr::V4).into_iter().chain(self.v6.map(IpAddr::V6))
    }

    fn claim<T>(&self, endpoint: EndpointId, origin: Origin, target: T) -> Claim<T> {
        let Self { stamp, vtep, replaces, .. } = *self;
        Claim { stamp, endpoint, origin, vtep, replaces, target }
    }
}

/// One kernel entry that must change, or a change that endpoints must be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    SetFdb(SegmentIndex, FdbEntry),
    SetNeighbour(SegmentIndex, Neighbour),
    RemoveNeighbour(SegmentIndex, Neighbour),
    RemoveFdb(SegmentIndex, FdbEntry),
    Announce(SegmentIndex, Neighbour),
}

/// All records of one network.
#[derive(Debug, Default)]
pub(crate) struct PeerDb {
    /// Endpoints of other nodes.
    peers: BTreeMap<EndpointId, Peer>,
    /// Joined endpoints of this node. One shadows a peer of the same id.
    here: BTreeMap<EndpointId, Peer>,
    macs: BTreeMap<(SegmentIndex, Mac), Contest<()>>,
    addresses: BTreeMap<(SegmentIndex, IpAddr), Contest<Mac>>,
    /// What addresses had that nobody has now. None of `addresses` is in it.
    gone: Gone,
}

impl PeerDb {
    pub(crate) fn len(&self) -> usize {
        self.peers.len()
    }

    pub(crate) fn contains(&self, endpoint: EndpointId) -> bool {
        self.peers.contains_key(&endpoint)
    }

    /// Sets or, with `None`, removes the record of another node's endpoint.
    pub(crate) fn set_peer(
        &mut self,
        endpoint: EndpointId,
        peer: Option<Peer>,
        emit: impl FnMut(Change),
    ) {
        let old = match peer {
            Some(peer) => self.peers.insert(endpoint, peer),
            None => self.peers.remove(&endpoint),
        };
        if !self.here.contains_key(&endpoint) {
            let of_peer = |p| (Origin::Peer, p);
            self.exchange(endpoint, old.map(of_peer), peer.map(of_peer), emit);
        }
    }

    /// Takes part on behalf of an endpoint of this node that joined.
    pub(crate) fn join(&mut self, endpoint: EndpointId, own: Peer, emit: impl FnMut(Change)) {
        let shadowed = self.peers.get(&endpoint).map(|p| (Origin::Peer, *p));
        self.here.insert(endpoint, own);
        self.exchange(endpoint, shadowed, Some((Origin::Here, own)), emit);
    }

    /// Stops taking part on behalf of an endpoint of this node.
    pub(crate) fn leave(&mut self, endpoint: EndpointId, emit: impl FnMut(Change)) {
        let own = self.here.remove(&endpoint).map(|p| (Origin::Here, p));
        let shadowed = self.peers.get(&endpoint).map(|p| (Origin::Peer, *p));
        self.exchange(endpoint, own, shadowed, emit);
    }

    /// Forgets what addresses had that nobody has now: no endpoint is here that could remember it.
    pub(crate) fn forget_gone(&mut self) {
        self.gone = Gone::default();
    }

    /// Takes up what a segment's neighbours had before this node knew of any. Whose MAC is another
    /// one by now is announced; whom nobody has named yet may still come back with another one.
    pub(crate) fn recall<'a>(
        &mut self,
        segment: SegmentIndex,
        before: impl Iterator<Item = &'a Neighbour>,
        mut emit: impl FnMut(Change),
    ) {
        for Neighbour { ip, mac } in before {
            match self.holder((segment, *ip)) {
                Some(now) if now != *mac => {
                    emit(Change::Announce(segment, Neighbour { ip: *ip, mac: now }));
                }
                Some(_) => {}
                None => self.gone.put((segment, *ip), *mac),
            }
        }
    }

    /// The FDB entries a segment must hold, by MAC.
    pub(crate) fn fdb(&self, segment: SegmentIndex) -> impl Iterator<Item = FdbEntry> {
        let least = (segment, Mac::from_bytes([0; 6]));
        let most = (segment, Mac::from_bytes([0xff; 6]));
        self.macs.range(least..=most).filter_map(|((_, mac), contest)| {
            contest.remote().map(|claim| FdbEntry { mac: *mac, vtep: claim.vtep })
        })
    }

    /// The neighbours a segment must hold, by address.
    pub(crate) fn neighbours(&self, segment: SegmentIndex) -> impl Iterator<Item = Neighbour> {
        let least = (segment, IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let most = (segment, IpAddr::V6(Ipv6Addr::from_bits(u128::MAX)));
        self.addresses.range(least..=most).filter_map(|((_, ip), contest)| {
            contest.remote().map(|claim| Neighbour { ip: *ip, mac: claim.target })
        })
    }

    /// What two or more endpoints claim.
    pub(crate) fn conflicts(&self, network: NetworkId) -> impl Iterator<Item = Conflict> {
        let addresses = self
            .addresses
            .iter()
            .filter_map(move |((_, ip), contest)| contest.conflict(network, Subject::Address(*ip)));
        let macs = self
            .macs
            .iter()
            .filter_map(move |((_, mac), contest)| contest.conflict(network, Subject::Mac(*mac)));
        addresses.chain(macs)
    }

    /// Replaces an endpoint's claims and emits what that changes in the kernel: new entries before
    /// old ones go, so that a peer that moved is never without one. Announcements come last.
    fn exchange(
        &mut self,
        endpoint: EndpointId,
        old: Option<(Origin, Peer)>,
        new: Option<(Origin, Peer)>,
        mut emit: impl FnMut(Change),
    ) {
        if old == new {
            return;
        }
        let touched = Touched::by(old.map(|o| o.1), new.map(|n| n.1));
        let macs = touched.macs.map(|key| key.map(|k| (k, self.fdb_entry(k))));
        let addresses = touched.addresses.map(|key| key.map(|k| (k, self.neighbour(k))));
        let holders = touched.addresses.map(|key| key.map(|k| (k, self.holder(k))));
        if let Some((origin, peer)) = old {
            self.withdraw(endpoint, origin, &peer);
        }
        if let Some((origin, peer)) = new {
            self.enter(endpoint, origin, &peer);
        }
        for ((segment, mac), before) in macs.iter().flatten() {
            if let Some(now) = self.fdb_entry((*segment, *mac)).filter(|n| Some(*n) != *before) {
                emit(Change::SetFdb(*segment, FdbEntry { mac: *mac, vtep: now }));
            }
        }
        for ((segment, ip), before) in addresses.iter().flatten() {
            match (before, self.neighbour((*segment, *ip))) {
                (before, Some(now)) if *before != Some(now) => {
                    emit(Change::SetNeighbour(*segment, Neighbour { ip: *ip, mac: now }));
                }
                (Some(gone), None) => {
                    emit(Change::RemoveNeighbour(*segment, Neighbour { ip: *ip, mac: *gone }));
                }
                (_, _) => {}
            }
        }
        for ((segment, mac), before) in macs.iter().flatten() {
            if let (Some(gone), None) = (before, self.fdb_entry((*segment, *mac))) {
                emit(Change::RemoveFdb(*segment, FdbEntry { mac: *mac, vtep: *gone }));
            }
        }
        for (key, before) in holders.into_iter().flatten() {
            if let Some(mac) = self.changed(key, before) {
                emit(Change::Announce(key.0, Neighbour { ip: key.1, mac }));
            }
        }
    }

    /// The MAC an address has now, if it had another one `before` or when it was last heard of.
    fn changed(&mut self, key: (SegmentIndex, IpAddr), before: Option<Mac>) -> Option<Mac> {
        match (before, self.holder(key)) {
            (Some(gone), None) => {
                self.gone.put(key, gone);
                None
            }
            (None, None) => None,
            (before, Some(now)) => {
                before.or_else(|| self.gone.take(key)).filter(|old| *old != now).map(|_| now)
            }
        }
    }

    fn fdb_entry(&self, key: (SegmentIndex, Mac)) -> Option<IpAddr> {
        self.macs.get(&key)?.remote().map(|claim| claim.vtep)
    }

    fn neighbour(&self, key: (SegmentIndex, IpAddr)) -> Option<Mac> {
        self.addresses.get(&key)?.remote().map(|claim| claim.target)
    }

    /// The MAC of whoever has an address, on whichever host.
    fn holder(&self, key: (SegmentIndex, IpAddr)) -> Option<Mac> {
        self.addresses.get(&key).map(|contest| contest.winner().target)
    }

    fn enter(&mut self, endpoint: EndpointId, origin: Origin, peer: &Peer) {
        Contest::enter(self.macs.entry((peer.segment, peer.mac)), peer.claim(endpoint, origin, ()));
        for ip in peer.addresses() {
            Contest::enter(
                self.addresses.entry((peer.segment, ip)),
                peer.claim(endpoint, origin, peer.mac),
            );
        }
    }

    fn withdraw(&mut self, endpoint: EndpointId, origin: Origin, peer: &Peer) {
        Contest::withdraw(self.macs.entry((peer.segment, peer.mac)), endpoint, origin);
        for ip in peer.addresses() {
            Contest::withdraw(self.addresses.entry((peer.segment, ip)), endpoint, origin);
        }
    }
}

/// The kernel keys that a change of one record can concern, each once.
struct Touched {
    macs: [Option<(SegmentIndex, Mac)>; 2],
    addresses: [Option<(SegmentIndex, IpAddr)>; 4],
}

impl Touched {
    fn by(old: Option<Peer>, new: Option<Peer>) -> Self {
        let mac = |p: Peer| (p.segment, p.mac);
        let v4 = |p: Peer| p.v4.map(|ip| (p.segment, IpAddr::V4(ip)));
        let v6 = |p: Peer| p.v6.map(|ip| (p.segment, IpAddr::V6(ip)));
        let macs = once_each(old.map(mac), new.map(mac));
        let [a, b] = once_each(old.and_then(v4), new.and_then(v4));
        let [c, d] = once_each(old.and_then(v6), new.and_then(v6));
        Self { macs, addresses: [a, b, c, d] }
    }
}

fn once_each<T: PartialEq>(old: Option<T>, new: Option<T>) -> [Option<T>; 2] {
    if old == new { [None, new] } else { [old, new] }
}
