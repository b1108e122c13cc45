//! An endpoint of this node: its addresses, and the sandbox it is joined to.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use ipnetwork::IpNetwork;
use weft_api::{EndpointId, Mac, Stamp};

use crate::error::PlanError;
use crate::names;
use crate::op::{HandOver, Limits, Route};
use crate::peer_db::{Peer, SegmentIndex};
use crate::publish::PublishedPort;
use crate::record::PeerRecord;
use crate::segment::Pool;

/// What an endpoint is given for its whole life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// IPv4; the prefix length is taken from the pool.
    pub v4: Option<IpNetwork>,
    /// IPv6; the prefix length is taken from the pool.
    pub v6: Option<IpNetwork>,
    /// Unicast, unique in its segment.
    pub mac: Mac,
    /// When and by whom they were allocated.
    pub stamp: Stamp,
    /// See [`crate::PeerRecord::replaces`].
    pub replaces: Option<Stamp>,
}

/// Who puts an endpoint's interface where it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FarEnd {
    /// We do: it is born in the sandbox under its name, addressed and routed.
    Placed(Sandbox),
    /// A container engine does: it takes the link [`crate::names::handed`] from the host's
    /// namespace, moves it into the sandbox and sets it up there.
    Handed(HandOver),
}

impl FarEnd {
    /// The sandbox and the name under which we make it; the host's path is empty.
    pub(crate) fn interface(&self, endpoint: EndpointId) -> (PathBuf, String) {
        match self {
            Self::Placed(sandbox) => (sandbox.path.clone(), sandbox.ifname.clone()),
            Self::Handed(_) => (PathBuf::new(), names::handed(endpoint)),
        }
    }
}

impl From<Sandbox> for FarEnd {
    fn from(sandbox: Sandbox) -> Self {
        Self::Placed(sandbox)
    }
}

impl From<HandOver> for FarEnd {
    fn from(hand_over: HandOver) -> Self {
        Self::Handed(hand_over)
    }
}

/// Where an endpoint's interface appears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox {
    /// Path of the namespace.
    pub path: PathBuf,
    /// Name of the interface there.
    pub ifname: String,
    /// Whether this endpoint carries the sandbox's default routes.
    pub default_route: DefaultRoute,
    /// Static routes, beside those the network needs.
    pub routes: Vec<Route>,
}

/// A sandbox joined to several networks has its default routes through one of them only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DefaultRoute {
    /// Through the gateway, where the network has a way out.
    #[default]
    Gateway,
    /// None through this endpoint.
    Elsewhere,
}

/// An endpoint of this node, checked against its network.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// What the others are told.
    pub(crate) peer: Peer,
    /// Where it is joined to, if it is.
    pub(crate) far: Option<FarEnd>,
    /// Ports of the host that lead to it; none while it is not joined.
    pub(crate) published: BTreeSet<PublishedPort>,
    /// How much of its traffic passes.
    pub(crate) limits: Limits,
    v4: Option<Pool>,
    v6: Option<Pool>,
}

impl Endpoint {
    /// Places the addresses, which must lie in one segment: an endpoint has one interface.
    pub(crate) fn new(
        id: EndpointId,
        addresses: Addresses,
        vtep: IpAddr,
        place: impl Fn(IpAddr) -> Result<(SegmentIndex, Pool), PlanError>,
    ) -> Result<Self, PlanError> {
        let Addresses { v4, v6, mac, stamp, replaces } = addresses;
        let v4 = v4.map(|a| family_v4(a).ok_or(PlanError::WrongFamily(a))).transpose()?;
        let v6 = v6.map(|a| family_v6(a).ok_or(PlanError::WrongFamily(a))).transpose()?;
        let place_v4 = v4.map(|ip| place(ip.into())).transpose()?;
        let place_v6 = v6.map(|ip| place(ip.into())).transpose()?;
        let segment = match (place_v4, place_v6) {
            (None, None) => return Err(PlanError::NoAddress(id)),
            (Some((segment, _)), None) | (None, Some((segment, _))) => segment,
            (Some((a, pool4)), Some((b, pool6))) => {
                if a != b {
                    return Err(PlanError::TwoSegments(pool4.net, pool6.net));
                }
                a
            }
        };
        Ok(Self {
            peer: Peer { segment, v4, v6, mac, vtep, stamp, replaces },
            far: None,
            published: BTreeSet::new(),
            limits: Limits::default(),
            v4: place_v4.map(|p| p.1),
            v6: place_v6.map(|p| p.1),
        })
    }

    /// The pools it has addresses of.
    pub(crate) fn pools(&self) -> impl Iterator<Item = &Pool> {
        self.v4.iter().chain(&self.v6)
    }

    /// Its addresses with their pools' prefix lengths.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpNetwork> {
        self.v4_address().into_iter().chain(self.v6_address())
    }

    /// An address that another endpoint has too.
    pub(crate) fn shares_address(&self, other: &Self) -> Option<IpAddr> {
        let v4 = self.peer.v4.filter(|ip| Some(*ip) == other.peer.v4).map(IpAddr::V4);
        v4.or_else(|| self.peer.v6.filter(|ip| Some(*ip) == other.peer.v6).map(IpAddr::V6))
    }

    /// What is published while it is joined.
    pub(crate) fn record(&self) -> PeerRecord {
        let Peer { mac, vtep, stamp, replaces, .. } = self.peer;
        PeerRecord { v4: self.v4_address(), v6: self.v6_address(), mac, vtep, stamp, replaces }
    }

    fn v4_address(&self) -> Option<IpNetwork> {
        Some(self.v4?.address(self.peer.v4?.into()))
    }

    fn v6_address(&self) -> Option<IpNetwork> {
        Some(self.v6?.address(self.peer.v6?.into()))
    }
}

pub(crate) fn family_v4(address: IpNetwork) -> Option<Ipv4Addr> {
    match address {
        IpNetwork::V4(net) => Some(net.ip()),
        IpNetwork::V6(_) => None,
    }
}

pub(crate) fn family_v6(address: IpNetwork) -> Option<Ipv6Addr> {
    match address {
        IpNetwork::V6(net) => Some(net.ip()),
        IpNetwork::V4(_) => None,
    }
}

/// Says whether Linux takes it as the name of an interface, and `lo` and the like are not meant.
pub(crate) fn is_interface_name(name: &str) -> bool {
    (1..=15).contains(&name.len())
        && !["lo", ".", "..", "all", "default"].contains(&name)
        && name.bytes().all(|b| b.is_ascii_graphic() && !b"/:%".contains(&b))
}
