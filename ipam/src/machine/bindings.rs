//! What is bound on this node, for callers that hold an address and not its purpose.

use std::net::IpAddr;

use super::Ipam;
use crate::allocation::Kind;
use crate::pool::Pool;
use crate::request::Purpose;
use crate::space::Space;

impl Ipam {
    /// What an address is bound to: an endpoint of this node, or an allocation of the cluster.
    pub fn purpose(&self, space: Space, address: IpAddr) -> Option<Purpose> {
        let pool = self.pools.get(&space)?;
        let at = space.offset(address)?;
        let endpoint = pool.endpoint(at).map(Purpose::Endpoint);
        endpoint.or_else(|| pool.held(at).map(purpose_of))
    }

    /// What the cluster knows an address to be allocated for without an endpoint, also where an
    /// endpoint of this node is bound to it: `Some(Purpose::Swarm)` where a Swarm leader has it.
    pub fn allocation(&self, space: Space, address: IpAddr) -> Option<Purpose> {
        let at = space.offset(address)?;
        self.pools.get(&space)?.held(at).map(purpose_of)
    }

    /// All allocations of a space without an endpoint, whoever owns the addresses; by address.
    pub fn allocations(&self, space: Space) -> Vec<(IpAddr, Purpose)> {
        let allocated = self.pools.get(&space).into_iter().flat_map(Pool::allocated);
        allocated
            .filter_map(|(at, a)| Some((space.address(at)?.ip(), purpose_of(a.held()?))))
            .collect()
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

fn purpose_of(kind: &Kind) -> Purpose {
    match kind {
        Kind::Gateway => Purpose::Gateway,
        Kind::Auxiliary(name) => Purpose::Auxiliary(name.clone()),
        Kind::Swarm => Purpose::Swarm,
    }
}
