//! What the kernel holds, as the executor reads it back for the reconciler.

use std::collections::{BTreeMap, BTreeSet};

use weft_api::EndpointId;

use crate::op::{Bridge, FdbEntry, Neighbour, Rates, Vxlan};
use crate::publish::PublishedPort;

/// Everything of ours on this host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// Network namespaces pinned in the run directory, by name.
    pub namespaces: BTreeMap<String, ObservedNamespace>,
    /// Host ends of ways out found in the host namespace, by link name; those too of which only
    /// rules are left.
    pub host_links: BTreeSet<String>,
    /// Far ends of endpoints' pairs that wait in the host namespace for a container engine, by
    /// link name.
    pub handed: BTreeSet<String>,
    /// Published ports by endpoint. Where what all of them need is not whole, none of an
    /// endpoint's is there.
    pub published: BTreeMap<EndpointId, BTreeSet<PublishedPort>>,
}

/// One network namespace. A bridge or VXLAN device that is down, or not set as the executor sets
/// them, is left out: ensuring it again repairs it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObservedNamespace {
    /// Bridges by name, their addresses in ascending order.
    pub bridges: BTreeMap<String, Bridge>,
    /// VXLAN devices by name.
    pub vxlans: BTreeMap<String, ObservedVxlan>,
    /// Bridge ports of endpoints (veth) by name, with the bridge each is a port of and whether
    /// it has carrier: the other end is there and up.
    pub ports: BTreeMap<String, ObservedPort>,
    /// What limits those ports, both ways or one.
    pub rates: BTreeMap<String, Rates>,
    /// Links that shape what comes from endpoints.
    pub shapers: BTreeSet<String>,
    /// The network's end of its way out, when it is there and whole (address, route).
    pub way_out: Option<String>,
}

/// One VXLAN device with its static entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedVxlan {
    /// Shape.
    pub shape: Vxlan,
    /// Permanent FDB entries with a destination.
    pub fdb: BTreeSet<FdbEntry>,
    /// Permanent neighbours.
    pub neighbours: BTreeSet<Neighbour>,
}

/// One bridge port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedPort {
    /// The bridge; empty when it has none.
    pub bridge: String,
    /// It is set up.
    pub up: bool,
    /// Both ends are up.
    pub carrier: bool,
}
