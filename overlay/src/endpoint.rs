//! An endpoint of this node: its addresses, and the sandbox it is joined to.

use std::path::PathBuf;

use ipnetwork::IpNetwork;
use weft_api::{Mac, Stamp};

use crate::op::Route;

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
