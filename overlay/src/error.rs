//! Why the planner refuses.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use weft_api::{EndpointId, Mac, NetworkId, Vni};

use crate::record::RecordError;

/// A call refused. None of them changes any state, and none emits an operation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// libnetwork's `ErrNoNetwork`. The caller names a network that was not created here.
    #[error("network {0} does not exist")]
    NoNetwork(NetworkId),
    /// The network was created here already.
    #[error("network {0} already exists")]
    NetworkExists(NetworkId),
    /// The network still has endpoints here.
    #[error("network {network} still has {endpoints} endpoints")]
    NetworkBusy {
        /// The network.
        network: NetworkId,
        /// How many it has on this node.
        endpoints: usize,
    },
    /// The definition has no subnet.
    #[error("network {0} has no subnet")]
    NoSubnet(NetworkId),
    /// Two pools of one definition overlap.
    #[error("pools {0} and {1} of one network overlap")]
    PoolsOverlap(IpNetwork, IpNetwork),
    /// A gateway lies outside of its pool.
    #[error("gateway {gateway} is not an address of pool {pool}")]
    GatewayOutside {
        /// The gateway.
        gateway: IpAddr,
        /// Its pool.
        pool: IpNetwork,
    },
    /// Another network of this node carries the VNI.
    #[error("vni {vni} is used by network {by}")]
    VniTaken {
        /// The VNI.
        vni: Vni,
        /// Who uses it.
        by: NetworkId,
    },
    /// Another network's id begins with the same digits, so the two would share kernel names.
    #[error("network {0} has the kernel names of network {1}")]
    NameTaken(NetworkId, NetworkId),
    /// The MTU asked for does not fit this host's uplink.
    #[error("mtu {asked} is too large for this host: the uplink carries at most {maximum}")]
    MtuTooLarge {
        /// From the definition.
        asked: u32,
        /// The uplink's less the encapsulation.
        maximum: u32,
    },
    /// The MTU is below what the network's address families need.
    #[error("mtu {mtu} is too small: the network's addresses need at least {minimum}")]
    MtuTooSmall {
        /// From the definition, or what the uplink leaves.
        mtu: u32,
        /// 68 (RFC 791) or, with IPv6, 1280 (RFC 8200).
        minimum: u32,
    },
    /// libnetwork's `ErrNoEndpoint`. The caller names an endpoint that was not created here.
    #[error("endpoint {0} does not exist")]
    NoEndpoint(EndpointId),
    /// libnetwork's `ErrEndpointExists`.
    #[error("endpoint {0} already exists")]
    EndpointExists(EndpointId),
    /// The endpoint is joined to a sandbox: leave first.
    #[error("endpoint {0} is joined to a sandbox")]
    EndpointJoined(EndpointId),
    /// Leave of an endpoint that no sandbox joined.
    #[error("endpoint {0} is not joined to a sandbox")]
    NotJoined(EndpointId),
    /// An endpoint needs an address.
    #[error("endpoint {0} has no address")]
    NoAddress(EndpointId),
    /// The address is in no pool of the network, or not one a host may have there.
    #[error("address {address} is no host address of network {network}")]
    AddressOutside {
        /// The network.
        network: NetworkId,
        /// The address.
        address: IpAddr,
    },
    /// The IPv4 and the IPv6 address of an endpoint are in different segments.
    #[error("pools {0} and {1} are of different segments: one endpoint cannot be in both")]
    TwoSegments(IpNetwork, IpNetwork),
    /// An IPv6 address was given as IPv4, or the other way round.
    #[error("address {0} is not of the family it was given as")]
    WrongFamily(IpNetwork),
    /// The address is the network's gateway.
    #[error("address {0} is the gateway's")]
    AddressIsGateway(IpAddr),
    /// Another endpoint of this node has the address.
    #[error("address {address} belongs to endpoint {by}")]
    AddressTaken {
        /// The address.
        address: IpAddr,
        /// Who has it.
        by: EndpointId,
    },
    /// The MAC is a group address, zero, or the gateway's.
    #[error("mac {0} cannot be an endpoint's")]
    BadMac(Mac),
    /// Another endpoint of this node has the MAC in that segment.
    #[error("mac {mac} belongs to endpoint {by}")]
    MacTaken {
        /// The MAC.
        mac: Mac,
        /// Who has it.
        by: EndpointId,
    },
    /// A port is to be published of an endpoint that nothing leads to from outside: its network is
    /// internal, or has no gateway.
    #[error("network {0} has no way out, so no port of its endpoints can be published")]
    NoWayOut(NetworkId),
    /// The endpoint has no address to lead to, of the family of the host's address.
    #[error("endpoint {endpoint} has no address that can be published at {address}")]
    CannotPublish {
        /// The endpoint.
        endpoint: EndpointId,
        /// The host's address.
        address: IpAddr,
    },
    /// More than [`crate::publish::PUBLISHED_MAX`].
    #[error("endpoint {0} would publish {1} ports, which are too many")]
    TooManyPorts(EndpointId, usize),
    /// The name is not one Linux gives an interface.
    #[error("`{0}` cannot name an interface: 1 to 15 bytes without slash, colon or space")]
    BadInterfaceName(String),
    /// Another endpoint has that interface name in that sandbox.
    #[error("interface {ifname} of that sandbox belongs to endpoint {by}")]
    InterfaceTaken {
        /// The interface.
        ifname: String,
        /// Who has it.
        by: EndpointId,
    },
}

/// A table event that changed nothing. Every one is counted by [`crate::Counters`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The network was not created here.
    #[error("network {0} does not exist")]
    NoNetwork(NetworkId),
    /// The event is of another table.
    #[error("table {0} is not the overlay's")]
    OtherTable(String),
    /// The key is not an endpoint id.
    #[error("key {0:?} is not an endpoint id")]
    BadKey(String),
    /// The value is not a peer record.
    #[error("peer record of endpoint {0}: {1}")]
    Malformed(EndpointId, RecordError),
    /// An address of the peer is no host address of the network, or the gateway's.
    #[error("address {address} of peer {endpoint} is no host address of its network")]
    AddressOutside {
        /// The peer.
        endpoint: EndpointId,
        /// The address.
        address: IpAddr,
    },
    /// The peer's addresses lie in different segments, and it has one interface.
    #[error("addresses of peer {0} are of different segments")]
    TwoSegments(EndpointId),
    /// The peer's MAC is a group address, zero, or the gateway's.
    #[error("mac {mac} of peer {endpoint} cannot be an endpoint's")]
    BadMac {
        /// The peer.
        endpoint: EndpointId,
        /// The MAC.
        mac: Mac,
    },
    /// The peer's host has an address that no tunnel of this node reaches.
    #[error("host address {vtep} of peer {endpoint} is not one this node can send to")]
    BadVtep {
        /// The peer.
        endpoint: EndpointId,
        /// The address.
        vtep: IpAddr,
    },
    /// The network has [`crate::PEERS_MAX`] peers already.
    #[error("network {0} is full of peers")]
    Full(NetworkId),
}
