//! What is bound on this node, for callers that hold an address and not its purpose.

use std::net::IpAddr;

use super::Ipam;
use crate::allocation::Kind;
use crate::request::Purpose;
use crate::space::Space;

impl Ipam {
    /// What an address is bound to: an endpoint of this node, or an allocation of the cluster.
    pub fn purpose(&self, space: Space, address: IpAddr) -> Option<Purpose> {
        let pool = self.pools.get(&space)?;
        let at = space.offset(address)?;
        if let Some(endpoint) = pool.endpoint(at) {
            return Some(Purpose::Endpoint(endpoint));
        }
        Some(match pool.allocation(at)?.held()? {
            Kind::Gateway => Purpose::Gateway,
            Kind::Auxiliary(name) => Purpose::Auxiliary(name.clone()),
            Kind::Swarm => Purpose::Swarm,
        })
    }

    /// All addresses bound to endpoints of this node.
    pub fn endpoint_allocations(&self) -> Vec<(Space, IpAddr, Purpose)> {
        self.pools
            .iter()
            .flat_map(|(space, pool)| {
                pool.endpoint_offsets().filter_map(|(at, endpoint)| {
                    let address = space.address(at)?.ip();
                    Some((*space, address, Purpose::Endpoint(endpoint)))
                })
            })
            .collect()
    }
}
