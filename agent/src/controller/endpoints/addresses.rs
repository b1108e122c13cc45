//! Addresses of an endpoint about to be made: which are wanted, and their allocation.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use weft_api::control::ControlError;
use weft_api::ipam::{Ipam, IpamError};
use weft_api::{Definition, Mac, Subnet};

use super::{Begun, Making, Unasked};
use crate::control::Answer;
use crate::controller::{Controller, ipam_error};
use crate::ipam_driver::RANGE;

/// An address that was allocated for an endpoint under way.
pub(super) struct Allocated {
    pub(super) pool_id: String,
    pub(super) address: IpNetwork,
    pub(super) origin: Origin,
}

/// How an endpoint under way came by an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// Its IPAM driver allocated it.
    Ipam,
    /// It lingered on this node.
    Lingered,
}

/// Which segments an endpoint may be in, and which addresses were asked for.
pub(super) struct Wanted<'d> {
    /// Subnets of each segment, the IPv4 one first.
    segments: Vec<Vec<&'d Subnet>>,
    v4: Option<IpAddr>,
    v6: Option<IpAddr>,
    /// Where addresses not asked for come from, in place of the subnets' own ranges.
    ranges: Vec<IpNetwork>,
    unasked: Unasked,
}

impl Controller {
    /// Allocates one address of each family the network has, both in one segment.
    pub(super) async fn allocate(
        &self,
        ipam: &dyn Ipam,
        definition: &Definition,
        begun: &Begun<'_>,
        mac: Option<Mac>,
    ) -> Answer<Vec<Allocated>> {
        let wanted = &begun.wanted;
        let mut full = None;
        for segment in &wanted.segments {
            match self.allocate_in(ipam, definition, begun, segment, mac).await {
                Ok(allocated) => return Ok(allocated),
                // The next subnet may have room; an address asked for is in one only.
                Err(IpamError::NoAvailableIps) => full = Some(IpamError::NoAvailableIps),
                Err(error) if error.kind() == weft_api::Kind::Unavailable => full = Some(error),
                Err(error) => return Err(not_allocated(error, definition, wanted)),
            }
        }
        Err(not_allocated(full.unwrap_or(IpamError::NoAvailableIps), definition, wanted))
    }

    async fn allocate_in(
        &self,
        ipam: &dyn Ipam,
        definition: &Definition,
        begun: &Begun<'_>,
        segment: &[&Subnet],
        mac: Option<Mac>,
    ) -> Result<Vec<Allocated>, IpamError> {
        let mut allocated = Vec::new();
        for subnet in segment {
            let pool_id = self.pool_id(definition, subnet);
            let asked = begun.wanted.asked(subnet);
            if asked.is_none() && begun.wanted.unasked == Unasked::LeftOut {
                continue;
            }
            let mut lingering = begun.lingering.iter();
            if let Some(claim) = lingering.find(|claim| asked == Some(claim.address.ip())) {
                let (address, origin) = (claim.address, Origin::Lingered);
                allocated.push(Allocated { pool_id, address, origin });
                continue;
            }
            let mut options = self.address_options(definition, subnet, begun.id, mac);
            if let Some(range) = begun.wanted.range(subnet).filter(|_| asked.is_none()) {
                options.insert(RANGE.to_owned(), range.to_string());
            }
            match ipam.request_address(&pool_id, asked, &options).await {
                Ok((address, _)) => {
                    allocated.push(Allocated { pool_id, address, origin: Origin::Ipam });
                }
                Err(error) => {
                    self.give_back(ipam, &allocated).await;
                    return Err(error);
                }
            }
        }
        Ok(allocated)
    }

    pub(super) async fn give_back(&self, ipam: &dyn Ipam, allocated: &[Allocated]) {
        for one in allocated.iter().filter(|one| one.origin == Origin::Ipam) {
            if let Err(error) = ipam.release_address(&one.pool_id, one.address.ip()).await {
                tracing::warn!(address = %one.address, %error, "address was not released");
            }
        }
    }
}

/// Says which address of which network could not be had.
fn not_allocated(error: IpamError, definition: &Definition, wanted: &Wanted<'_>) -> ControlError {
    let asked: Vec<_> =
        wanted.v4.iter().chain(&wanted.v6).map(|address| format!("`{address}`")).collect();
    let of_network = format!("network `{}`", definition.name);
    let subject = match asked.as_slice() {
        [] => of_network,
        _ => format!("address {} of {of_network}", asked.join(", ")),
    };
    let is_full = error.kind() == weft_api::Kind::Unavailable;
    let refused = ipam_error(error);
    let message = format!("{subject}: {}", refused.error);
    let refused = ControlError { error: message, ..refused };
    if is_full && refused.hint.is_none() {
        return refused.with_hint(
            "detach endpoints, or use a network with a larger pool; a released address rests for \
             a minute",
        );
    }
    refused
}

pub(super) fn wanted_addresses<'d>(
    definition: &'d Definition,
    making: &Making,
) -> Answer<Wanted<'d>> {
    let mut wanted = Wanted {
        segments: segments(definition),
        v4: None,
        v6: None,
        ranges: Vec::new(),
        unasked: making.unasked,
    };
    for address in &making.request.addresses {
        let slot = if address.is_ipv4() { &mut wanted.v4 } else { &mut wanted.v6 };
        if slot.replace(*address).is_some() {
            return Err(ControlError::invalid("an endpoint has one address of each family")
                .with_hint("give at most one for IPv4 and one for IPv6"));
        }
        wanted.keep(definition, &format!("address `{address}`"), |subnet| {
            subnet.pool.contains(*address)
        })?;
    }
    let builtin = definition.ipam == crate::ipam_driver::NAME;
    if !builtin && (!making.ranges.is_empty() || making.unasked == Unasked::LeftOut) {
        return Err(ControlError::invalid(format!(
            "network `{}` takes its addresses from IPAM driver `{}` alone",
            definition.name, definition.ipam
        ))
        .with_hint("leave addresses and ranges to it"));
    }
    if making.request.addresses.is_empty() && making.unasked == Unasked::LeftOut {
        return Err(ControlError::invalid("no address is given"));
    }
    for range in &making.ranges {
        if wanted.ranges.iter().any(|other| other.is_ipv4() == range.is_ipv4()) {
            return Err(ControlError::invalid("an endpoint has one range of each family")
                .with_hint("give at most one for IPv4 and one for IPv6"));
        }
        wanted.ranges.push(*range);
        wanted.keep(definition, &format!("range `{range}`"), |subnet| is_within(*range, subnet))?;
    }
    Ok(wanted)
}

fn is_within(range: IpNetwork, subnet: &Subnet) -> bool {
    let pool = subnet.pool;
    pool.is_ipv4() == range.is_ipv4()
        && pool.prefix() <= range.prefix()
        && pool.contains(range.ip())
}

impl Wanted<'_> {
    /// Leaves only segments with a subnet that fits.
    fn keep(
        &mut self,
        definition: &Definition,
        what: &str,
        fits: impl Fn(&Subnet) -> bool,
    ) -> Answer<()> {
        self.segments.retain(|segment| segment.iter().any(|subnet| fits(subnet)));
        if !self.segments.is_empty() {
            return Ok(());
        }
        let pools: Vec<_> = definition.subnets.iter().map(|s| s.pool.to_string()).collect();
        Err(ControlError::invalid(format!(
            "{what} is in no subnet of network `{}` that fits",
            definition.name
        ))
        .with_hint(format!("its subnets are {}", pools.join(", "))))
    }

    fn asked(&self, subnet: &Subnet) -> Option<IpAddr> {
        if subnet.pool.is_ipv4() { self.v4 } else { self.v6 }
    }

    /// A subnet of a segment that has the range is the one it lies in.
    fn range(&self, subnet: &Subnet) -> Option<IpNetwork> {
        self.ranges.iter().copied().find(|range| is_within(*range, subnet))
    }
}

/// Groups the subnets by VNI, in the order of the definition.
fn segments(definition: &Definition) -> Vec<Vec<&Subnet>> {
    let mut segments: Vec<Vec<&Subnet>> = Vec::new();
    for subnet in &definition.subnets {
        match segments.iter_mut().find(|segment| segment[0].vni == subnet.vni) {
            Some(segment) => segment.push(subnet),
            None => segments.push(vec![subnet]),
        }
    }
    for segment in &mut segments {
        segment.sort_by_key(|subnet| subnet.pool.is_ipv6());
    }
    segments
}
