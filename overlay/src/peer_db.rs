//! The peers of a network, and who has what two of them claim.

use std::net::IpAddr;

use weft_api::{EndpointId, Mac, NetworkId, Stamp};

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
    /// Who is not.
    pub losers: Vec<Claimant>,
}
