//! The built-in IPAM driver: the `Ipam` contract in front of the cluster-wide allocator.
//!
//! A pool's id names its network, since a release carries nothing else:
//! `weft-global/NETWORK/POOL`. A pool taken before it has a network is `weft-global//POOL`.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use async_trait::async_trait;
use ipnetwork::IpNetwork;
use weft_api::ipam::{
    ALLOC_SERIAL_PREFIX, AllocatedPool, GATEWAY, Ipam, IpamError, PoolRequest, REQUEST_ADDRESS_TYPE,
};
use weft_api::{EndpointId, NetworkId};
use weft_ipam::{Block, BlockWant, Fate, Granted, Purpose, Request, Space, Want};

use crate::core::{CoreHandle, Stopped};

/// The cluster-wide address space.
pub const GLOBAL_SPACE: &str = "weft-global";
/// What an engine asks of its own node.
pub const LOCAL_SPACE: &str = "weft-local";
/// Its name in a network's definition.
pub const NAME: &str = "weft";
/// The endpoint an address is for.
pub const ENDPOINT: &str = "weft.endpoint.id";
/// The name an auxiliary address is set aside under.
pub const AUXILIARY: &str = "weft.auxiliary";
/// Sub-pool that dynamic addresses keep to.
pub const RANGE: &str = "weft.range";
/// The MAC of the endpoint that an engine asks for (libnetwork's `netlabel.MacAddress`).
pub const MAC_ADDRESS: &str = "com.docker.network.endpoint.macaddress";

/// A pool of a network, as the contract's opaque id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolId {
    /// Whose pool; `None` before its network is defined.
    pub network: Option<NetworkId>,
    /// The pool.
    pub pool: IpNetwork,
}

impl fmt::Display for PoolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{GLOBAL_SPACE}/")?;
        if let Some(network) = self.network {
            network.fmt(f)?;
        }
        write!(f, "/{}", self.pool)
    }
}

impl FromStr for PoolId {
    type Err = IpamError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.splitn(3, '/');
        let (Some(GLOBAL_SPACE), Some(network), Some(pool)) =
            (parts.next(), parts.next(), parts.next())
        else {
            return Err(IpamError::BadPool);
        };
        let network = match network {
            "" => None,
            id => Some(id.parse().map_err(|_| IpamError::BadPool)?),
        };
        Ok(Self { network, pool: pool.parse().map_err(|_| IpamError::BadPool)? })
    }
}

impl PoolId {
    fn space(self) -> Result<Space, IpamError> {
        let network = self.network.ok_or(IpamError::BadPool)?;
        Ok(Space::Subnet { network, pool: self.pool })
    }

    fn space_of(self, address: IpAddr) -> Result<Space, IpamError> {
        let space = self.space()?;
        self.pool.contains(address).then_some(space).ok_or(IpamError::IpOutOfRange)
    }
}

/// The allocator behind the contract.
#[derive(Debug, Clone)]
pub struct WeftIpam {
    core: CoreHandle,
}

impl WeftIpam {
    /// Makes the driver.
    pub const fn new(core: CoreHandle) -> Self {
        Self { core }
    }

    async fn granted(&self, request: Request) -> Result<IpNetwork, IpamError> {
        let answer = self
            .core
            .call_later(move |core, answer, now| core.request(request, answer, now))
            .await
            .map_err(no_cluster)?;
        match answer.map_err(ipam_error)? {
            Granted::Address(address) => Ok(address),
            Granted::Block(_) => Err(IpamError::NoIpReturned),
        }
    }
}

#[async_trait]
impl Ipam for WeftIpam {
    async fn get_default_address_spaces(&self) -> Result<(String, String), IpamError> {
        Ok((LOCAL_SPACE.to_owned(), GLOBAL_SPACE.to_owned()))
    }

    async fn request_pool(&self, request: PoolRequest) -> Result<AllocatedPool, IpamError> {
        if request.address_space != GLOBAL_SPACE {
            return Err(IpamError::InvalidAddressSpace);
        }
        let pool = match request.pool {
            Some(pool) if overlaps_a_network(&self.core, pool).await? => {
                return Err(IpamError::PoolOverlap);
            }
            Some(pool) => pool,
            None => {
                let want = if request.v6 { BlockWant::Default6 } else { BlockWant::Default4 };
                let block = self
                    .core
                    .call_later(move |core, answer, now| core.take_block(want, &[], answer, now))
                    .await
                    .map_err(no_cluster)?;
                match block.map_err(ipam_error)? {
                    Granted::Block(Block::Pool(pool)) => pool,
                    Granted::Block(Block::Vni(_)) | Granted::Address(_) => {
                        return Err(IpamError::InvalidPool);
                    }
                }
            }
        };
        let pool_id = PoolId { network: None, pool }.to_string();
        Ok(AllocatedPool { pool_id, pool, meta: BTreeMap::new() })
    }

    async fn release_pool(&self, pool_id: &str) -> Result<(), IpamError> {
        let id: PoolId = pool_id.parse()?;
        if id.network.is_some() {
            // It goes with its network.
            return Ok(());
        }
        self.core
            .call(move |core, now| {
                if let Some(node) = core.node_mut() {
                    node.with_ipam(now, |ipam| {
                        ipam.return_block(Block::Pool(id.pool), Fate::Unused, now);
                    });
                }
            })
            .await
            .map_err(no_cluster)
    }

    async fn request_address(
        &self,
        pool_id: &str,
        address: Option<IpAddr>,
        options: &BTreeMap<String, String>,
    ) -> Result<(IpNetwork, BTreeMap<String, String>), IpamError> {
        let id: PoolId = pool_id.parse()?;
        let request = request_of(id.space()?, address, options)?;
        Ok((self.granted(request).await?, BTreeMap::new()))
    }

    /// Ends the binding to an endpoint of this node and nothing else: the contract names no
    /// purpose, and what a leader or another node allocated must not end with an endpoint.
    async fn release_address(&self, pool_id: &str, address: IpAddr) -> Result<(), IpamError> {
        let space = pool_id.parse::<PoolId>()?.space_of(address)?;
        self.core
            .call(move |core, now| {
                let Some(node) = core.node_mut() else { return };
                let Some(purpose @ Purpose::Endpoint(_)) = node.ipam().purpose(space, address)
                else {
                    return;
                };
                node.with_ipam(now, |ipam| ipam.release(space, address, &purpose, now));
            })
            .await
            .map_err(no_cluster)
    }

    fn is_built_in(&self) -> bool {
        true
    }
}

fn request_of(
    space: Space,
    address: Option<IpAddr>,
    options: &BTreeMap<String, String>,
) -> Result<Request, IpamError> {
    let serial = options.get(ALLOC_SERIAL_PREFIX).is_some_and(|value| value == "true");
    let gateway = options.get(REQUEST_ADDRESS_TYPE).is_some_and(|kind| kind == GATEWAY);
    let endpoint = options.contains_key(ENDPOINT) || options.contains_key(MAC_ADDRESS);
    let want = match address {
        // Swarm asks with serial for whatever it allocates, and with an address only when a new
        // leader repeats what the last one had.
        Some(address) if serial && !gateway && !endpoint && !options.contains_key(AUXILIARY) => {
            Want::Replay(address)
        }
        Some(address) => Want::Exact(address),
        None if serial => Want::Serial,
        None => Want::First,
    };
    let within = options
        .get(RANGE)
        .map(|range| range.parse().map_err(|_| IpamError::InvalidSubPool))
        .transpose()?;
    let purpose = if gateway {
        Purpose::Gateway
    } else if let Some(endpoint) = options.get(ENDPOINT) {
        Purpose::Endpoint(endpoint.parse::<EndpointId>().map_err(|_| IpamError::BadPool)?)
    } else if let Some(name) = options.get(AUXILIARY) {
        Purpose::Auxiliary(name.clone())
    } else {
        Purpose::Swarm
    };
    Ok(Request { space, want, within, purpose })
}

async fn overlaps_a_network(core: &CoreHandle, pool: IpNetwork) -> Result<bool, IpamError> {
    core.call(move |core, _| {
        core.node().is_some_and(|node| {
            node.db()
                .definitions()
                .flat_map(|definition| &definition.subnets)
                .any(|subnet| subnet.pool.contains(pool.ip()) || pool.contains(subnet.pool.ip()))
        })
    })
    .await
    .map_err(no_cluster)
}

/// The core dropped the answer: there is no cluster, or no agent any more.
fn no_cluster(_: Stopped) -> IpamError {
    IpamError::Other(weft_api::error::Error::unavailable("this node is in no cluster"))
}

pub(crate) fn ipam_error(error: weft_ipam::Error) -> IpamError {
    use weft_api::error::Error;
    use weft_ipam::Error as Ip;
    match error {
        Ip::InvalidAddressSpace => IpamError::InvalidAddressSpace,
        Ip::InvalidPool => IpamError::InvalidPool,
        Ip::InvalidSubPool => IpamError::InvalidSubPool,
        Ip::NoIpReturned => IpamError::NoIpReturned,
        Ip::IpAlreadyAllocated => IpamError::IpAlreadyAllocated,
        Ip::IpOutOfRange => IpamError::IpOutOfRange,
        Ip::PoolOverlap => IpamError::PoolOverlap,
        Ip::BadPool => IpamError::BadPool,
        error @ (Ip::Resting(_) | Ip::NoAvailableIps(_)) => {
            IpamError::Other(Error::forbidden(error))
        }
        error @ (Ip::OwnerAway { .. }
        | Ip::OwnerUnknown(_)
        | Ip::NotReady
        | Ip::Leaving
        | Ip::RolledBack
        | Ip::Busy
        | Ip::NoMoreBlocks(_)) => IpamError::Other(Error::unavailable(error)),
        error @ Ip::LongName(_) => IpamError::Other(Error::invalid_parameter(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_id_names_network_and_pool() {
        for network in [None, Some(NetworkId::from_bytes([7; 16]))] {
            for pool in ["10.1.0.0/16", "fd00:1::/64"] {
                let id = PoolId { network, pool: pool.parse().unwrap() };
                assert_eq!(id.to_string().parse(), Ok(id));
            }
        }
        for text in ["", "weft-global", "weft-local//10.0.0.0/8", "weft-global/x/10.0.0.0/8"] {
            assert_eq!(text.parse::<PoolId>(), Err(IpamError::BadPool), "{text}");
        }
    }

    #[test]
    fn the_purpose_follows_the_options() {
        let space =
            Space::Subnet { network: NetworkId::default(), pool: "10.0.0.0/24".parse().unwrap() };
        let purpose = |key: &str, value: &str| {
            let options = BTreeMap::from([(key.to_owned(), value.to_owned())]);
            request_of(space, None, &options).map(|request| request.purpose)
        };
        assert_eq!(purpose(REQUEST_ADDRESS_TYPE, GATEWAY), Ok(Purpose::Gateway));
        let endpoint = EndpointId::from_bytes([1; 16]);
        assert_eq!(purpose(ENDPOINT, &endpoint.to_string()), Ok(Purpose::Endpoint(endpoint)));
        assert_eq!(purpose(AUXILIARY, "dns"), Ok(Purpose::Auxiliary("dns".to_owned())));
        assert_eq!(purpose("other", "x"), Ok(Purpose::Swarm));
        assert!(purpose(ENDPOINT, "nobody").is_err());
    }

    #[test]
    fn an_explicit_serial_request_of_nothing_else_is_a_replay() {
        let space =
            Space::Subnet { network: NetworkId::default(), pool: "10.0.0.0/24".parse().unwrap() };
        let address: IpAddr = "10.0.0.9".parse().unwrap();
        let endpoint = EndpointId::from_bytes([1; 16]).to_string();
        let want = |address: Option<IpAddr>, serial: &str, more: &[(&str, &str)]| {
            let serial = [(ALLOC_SERIAL_PREFIX, serial)];
            let options = serial.iter().chain(more);
            let options = options.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
            request_of(space, address, &options.collect()).map(|request| request.want)
        };
        assert_eq!(want(Some(address), "true", &[]), Ok(Want::Replay(address)));
        assert_eq!(want(None, "true", &[]), Ok(Want::Serial));
        assert_eq!(want(Some(address), "false", &[]), Ok(Want::Exact(address)));
        for other in [
            (REQUEST_ADDRESS_TYPE, GATEWAY),
            (MAC_ADDRESS, "02:42:0a:00:00:09"),
            (ENDPOINT, &endpoint),
            (AUXILIARY, "dns"),
        ] {
            assert_eq!(want(Some(address), "true", &[other]), Ok(Want::Exact(address)));
        }
    }
}
