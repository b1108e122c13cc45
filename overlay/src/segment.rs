//! A segment: one broadcast domain, one bridge and one VXLAN device, one VNI.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use weft_api::{Definition, Mac, Vni};

use crate::error::PlanError;
use crate::names;
use crate::op::{Bridge, Vxlan};
use crate::planner::Host;

/// One address pool, as a segment needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pool {
    pub(crate) net: IpNetwork,
    pub(crate) gateway: Option<IpAddr>,
}

/// Why an endpoint cannot have an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Misplaced {
    Outside,
    Gateway,
}

impl Pool {
    fn new(net: IpNetwork, gateway: Option<IpAddr>) -> Result<Self, PlanError> {
        let net = IpNetwork::new(net.network(), net.prefix())
            .expect("the prefix length of a network suits its own family");
        let pool = Self { net, gateway: None };
        if let Some(gateway) = gateway
            && (!net.contains(gateway) || pool.sets_aside(gateway))
        {
            return Err(PlanError::GatewayOutside { gateway, pool: net });
        }
        Ok(Self { gateway, ..pool })
    }

    /// The network's own address and, in IPv4, the broadcast address are no host's. A pool of one
    /// or two addresses has neither (RFC 3021, RFC 6164).
    fn sets_aside(&self, ip: IpAddr) -> bool {
        match self.net {
            IpNetwork::V4(net) => {
                net.prefix() < 31 && (ip == net.network() || ip == net.broadcast())
            }
            IpNetwork::V6(net) => net.prefix() < 127 && ip == net.network(),
        }
    }

    /// Says whether a host may have an address of this pool.
    pub(crate) fn place(&self, ip: IpAddr) -> Result<(), Misplaced> {
        if Some(ip) == self.gateway {
            return Err(Misplaced::Gateway);
        }
        if !self.net.contains(ip) || self.sets_aside(ip) {
            return Err(Misplaced::Outside);
        }
        Ok(())
    }

    /// The address with the pool's prefix length.
    pub(crate) fn address(&self, ip: IpAddr) -> IpNetwork {
        IpNetwork::new(ip, self.net.prefix())
            .expect("an address that was placed in the pool is of its family")
    }

    pub(crate) fn same_family(&self, other: &Self) -> bool {
        self.net.is_ipv4() == other.net.is_ipv4()
    }
}

/// One broadcast domain of a network, as this host builds it.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub(crate) vni: Vni,
    pub(crate) pools: Vec<Pool>,
    pub(crate) bridge: Bridge,
    pub(crate) vxlan: Vxlan,
}

/// Groups a definition's subnets by VNI, in the order in which the VNIs first stand there.
pub(crate) fn of_definition(
    definition: &Definition,
    host: &Host,
    mac: Mac,
    mtu: u32,
) -> Result<Vec<Segment>, PlanError> {
    let mut segments: Vec<Segment> = Vec::new();
    for subnet in &definition.subnets {
        let pool = Pool::new(subnet.pool, subnet.gateway)?;
        let clash = segments.iter().flat_map(|s| &s.pools).find(|p| overlap(p.net, pool.net));
        if let Some(other) = clash {
            return Err(PlanError::PoolsOverlap(other.net, pool.net));
        }
        let at = segments.iter().position(|s| s.vni == subnet.vni).unwrap_or_else(|| {
            segments.push(Segment::empty(subnet.vni, host, mac, mtu));
            segments.len() - 1
        });
        segments[at].add(pool);
    }
    Ok(segments)
}

impl Segment {
    fn empty(vni: Vni, host: &Host, mac: Mac, mtu: u32) -> Self {
        let name = names::bridge(vni);
        let vxlan = Vxlan {
            name: names::vxlan(vni),
            vni,
            port: host.vxlan_port,
            local: host.vtep,
            mtu,
            bridge: name.clone(),
        };
        let bridge = Bridge { name, mac, mtu, addresses: Vec::new() };
        Self { vni, pools: Vec::new(), bridge, vxlan }
    }

    fn add(&mut self, pool: Pool) {
        self.bridge.addresses.extend(pool.gateway.map(|gateway| pool.address(gateway)));
        self.bridge.addresses.sort_unstable();
        self.pools.push(pool);
    }
}

fn overlap(a: IpNetwork, b: IpNetwork) -> bool {
    a.contains(b.network()) || b.contains(a.network())
}
