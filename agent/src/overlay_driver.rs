//! The built-in overlay driver: the `Driver` contract in front of the planner and the executor.
//!
//! One task owns both. It takes every request that waits, plans them all, and carries the plan out
//! in one go: peers that appear together travel to the kernel together. A call returns when its
//! operations are carried out; a join that fails half-way is undone.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use ipnetwork::IpNetwork;
use tokio::sync::{mpsc, oneshot};
use weft_api::discovery::{Discover, Discovery};
use weft_api::driver::{
    Driver, DriverError, EventType, InterfaceInfo, IpamData, JoinInfo, NetworkInfo, ObjectType,
    Options,
};
use weft_api::error::Error;
use weft_api::{Definition, EndpointId, Mac, NetworkId};
use weft_overlay::op::Limits;
use weft_overlay::publish::PublishedPort;
use weft_overlay::{Addresses, FarEnd, PEER_TABLE, PlanError, names};

mod announcements;
pub mod options;
pub mod portmap;
pub mod task;

use options::{definition_from, far_end_from, limits_from, stamp_from};
use portmap::PortBinding;
pub use task::{DataPathStatus, OverlayTask, Vanished};

/// The type of networks it serves.
pub const NETWORK_TYPE: &str = "overlay";

/// How engines begin the names of interfaces that were handed over to them.
const HANDED_PREFIX: &str = "eth";

/// Requests that may wait for the task; peers beyond it wait in the core's news.
const REQUESTS_QUEUED_MAX: usize = 4096;

/// What the task is asked.
#[derive(Debug)]
pub(crate) enum Request {
    CreateNetwork {
        definition: Box<Definition>,
        answer: Answer<()>,
    },
    DeleteNetwork {
        network: NetworkId,
        answer: Answer<()>,
    },
    CreateEndpoint {
        network: NetworkId,
        endpoint: EndpointId,
        addresses: Addresses,
        limits: Limits,
        answer: Answer<()>,
    },
    DeleteEndpoint {
        network: NetworkId,
        endpoint: EndpointId,
        answer: Answer<()>,
    },
    Join {
        network: NetworkId,
        endpoint: EndpointId,
        sandbox_key: String,
        far: FarEnd,
        answer: Answer<Vec<u8>>,
    },
    Leave {
        network: NetworkId,
        endpoint: EndpointId,
        answer: Answer<()>,
    },
    Keep {
        network: NetworkId,
    },
    LetGo {
        network: NetworkId,
        answer: Answer<()>,
    },
    Publish {
        network: NetworkId,
        endpoint: EndpointId,
        bindings: Vec<PortBinding>,
        answer: Answer<()>,
    },
    Unpublish {
        network: NetworkId,
        endpoint: EndpointId,
        answer: Answer<()>,
    },
    Published {
        network: NetworkId,
        endpoint: EndpointId,
        answer: Answer<Vec<PublishedPort>>,
    },
    Event {
        event: EventType,
        network: NetworkId,
        key: String,
        value: Vec<u8>,
    },
    Synced {
        complete: bool,
    },
    Restored,
    Status {
        answer: oneshot::Sender<DataPathStatus>,
    },
}

pub(crate) type Answer<T> = oneshot::Sender<Result<T, DriverError>>;

/// The contract's side: cheap to clone.
#[derive(Debug, Clone)]
pub struct OverlayDriver {
    requests: mpsc::Sender<Request>,
}

impl OverlayDriver {
    /// Makes the driver's two sides.
    pub fn new(
        planner: weft_overlay::Planner,
        executor: weft_overlay::netlink::Executor,
        reconcile_every: Duration,
        vanished: mpsc::Sender<Vanished>,
    ) -> (Self, OverlayTask) {
        let (requests, receiver) = mpsc::channel(REQUESTS_QUEUED_MAX);
        (
            Self { requests },
            OverlayTask::new(planner, executor, receiver, reconcile_every, vanished),
        )
    }

    /// Says that the endpoints of an earlier start are joined again. Until then nothing is compared
    /// with the kernel: what is not joined yet would be taken for a stray.
    pub async fn set_restored(&self) {
        // The task is gone when the agent stops.
        let _ = self.requests.send(Request::Restored).await;
    }

    /// Tells whether all peers are known by now, so that entries nobody named may be removed.
    pub async fn set_synced(&self, complete: bool) {
        // The task is gone when the agent stops.
        let _ = self.requests.send(Request::Synced { complete }).await;
    }

    /// Keeps a network that is built, though its last endpoint leaves.
    pub async fn keep(&self, network: NetworkId) {
        // The task is gone when the agent stops.
        let _ = self.requests.send(Request::Keep { network }).await;
    }

    /// Ends [`OverlayDriver::keep`]; returns when a network that nothing is joined to is taken
    /// down. One of another driver is let alone.
    pub async fn let_go(&self, network: NetworkId) {
        if let Err(error) = self.ask(|answer| Request::LetGo { network, answer }).await {
            tracing::debug!(%network, %error, "network was not let go");
        }
    }

    /// Reads how the data path is; nothing when the agent is stopping.
    pub async fn status(&self) -> Option<DataPathStatus> {
        let (answer, result) = oneshot::channel();
        self.requests.send(Request::Status { answer }).await.ok()?;
        result.await.ok()
    }

    async fn ask<T>(&self, request: impl FnOnce(Answer<T>) -> Request) -> Result<T, DriverError> {
        let stopping = || DriverError::from(Error::unavailable("the agent is stopping"));
        let (answer, result) = oneshot::channel();
        self.requests.send(request(answer)).await.map_err(|_| stopping())?;
        result.await.map_err(|_| stopping())?
    }
}

#[async_trait]
impl Driver for OverlayDriver {
    async fn network_allocate(
        &self,
        _nid: NetworkId,
        _options: &BTreeMap<String, String>,
        _ipv4_data: &[IpamData],
        _ipv6_data: &[IpamData],
    ) -> Result<BTreeMap<String, String>, DriverError> {
        // VNIs are part of the definition, so there is nothing more to allocate.
        Ok(BTreeMap::new())
    }

    async fn network_free(&self, _nid: NetworkId) -> Result<(), DriverError> {
        Ok(())
    }

    async fn create_network(
        &self,
        nid: NetworkId,
        options: &Options,
        info: &mut dyn NetworkInfo,
        ipv4_data: &[IpamData],
        ipv6_data: &[IpamData],
    ) -> Result<(), DriverError> {
        let definition = Box::new(definition_from(nid, options, ipv4_data, ipv6_data)?);
        self.ask(|answer| Request::CreateNetwork { definition, answer }).await?;
        info.table_event_register(PEER_TABLE, ObjectType::Endpoint)?;
        Ok(())
    }

    async fn delete_network(&self, nid: NetworkId) -> Result<(), DriverError> {
        self.ask(|answer| Request::DeleteNetwork { network: nid, answer }).await
    }

    async fn create_endpoint(
        &self,
        nid: NetworkId,
        eid: EndpointId,
        interface: &mut dyn InterfaceInfo,
        options: &Options,
    ) -> Result<(), DriverError> {
        let (v4, v6) = (interface.address(), interface.address_ipv6());
        let mac = match (interface.mac_address(), v4, v6) {
            (Some(mac), ..) => mac,
            (None, Some(IpNetwork::V4(v4)), _) => Mac::from_ipv4(v4.ip()),
            (None, _, Some(IpNetwork::V6(v6))) => Mac::from_ipv6(v6.ip()),
            (None, ..) => {
                return Err(Error::invalid_parameter(
                    "endpoint has no address: the overlay driver allocates none itself",
                )
                .into());
            }
        };
        let limits = limits_from(options)?;
        let addresses = Addresses { v4, v6, mac, stamp: stamp_from(options)?, replaces: None };
        self.ask(|answer| Request::CreateEndpoint {
            network: nid,
            endpoint: eid,
            addresses,
            limits,
            answer,
        })
        .await?;
        if interface.mac_address().is_none() {
            interface.set_mac_address(mac)?;
        }
        Ok(())
    }

    async fn delete_endpoint(&self, nid: NetworkId, eid: EndpointId) -> Result<(), DriverError> {
        self.ask(|answer| Request::DeleteEndpoint { network: nid, endpoint: eid, answer }).await
    }

    async fn endpoint_oper_info(
        &self,
        nid: NetworkId,
        eid: EndpointId,
    ) -> Result<Options, DriverError> {
        let published =
            self.ask(|answer| Request::Published { network: nid, endpoint: eid, answer }).await?;
        if published.is_empty() {
            return Ok(Options::new());
        }
        Ok(Options::from([(portmap::PORT_MAP.to_owned(), portmap::to_value(&published))]))
    }

    async fn join(
        &self,
        nid: NetworkId,
        eid: EndpointId,
        sandbox_key: &str,
        info: &mut dyn JoinInfo,
        options: &Options,
    ) -> Result<(), DriverError> {
        let far = far_end_from(sandbox_key, options)?;
        let handed = matches!(far, FarEnd::Handed(_));
        let sandbox_key = sandbox_key.to_owned();
        let record = self
            .ask(|answer| Request::Join { network: nid, endpoint: eid, sandbox_key, far, answer })
            .await?;
        if handed {
            // Whether it needs a gateway, and which, is the caller's to say.
            info.interface_name().set_names(&names::handed(eid), HANDED_PREFIX)?;
        } else {
            // The interface is in the sandbox under its final name, with gateways and routes set.
            info.disable_gateway_service();
        }
        info.add_table_entry(PEER_TABLE, &eid.to_string(), &record)?;
        Ok(())
    }

    async fn leave(&self, nid: NetworkId, eid: EndpointId) -> Result<(), DriverError> {
        self.ask(|answer| Request::Leave { network: nid, endpoint: eid, answer }).await
    }

    async fn program_external_connectivity(
        &self,
        nid: NetworkId,
        eid: EndpointId,
        options: &Options,
    ) -> Result<(), DriverError> {
        // The way out is a part of the network, made with it; ports are an endpoint's.
        let bindings = portmap::bindings_from(options)?;
        self.ask(|answer| Request::Publish { network: nid, endpoint: eid, bindings, answer }).await
    }

    async fn revoke_external_connectivity(
        &self,
        nid: NetworkId,
        eid: EndpointId,
    ) -> Result<(), DriverError> {
        self.ask(|answer| Request::Unpublish { network: nid, endpoint: eid, answer }).await
    }

    async fn event_notify(
        &self,
        event: EventType,
        nid: NetworkId,
        table: &str,
        key: &str,
        value: &[u8],
    ) {
        if table != PEER_TABLE {
            return;
        }
        let request =
            Request::Event { event, network: nid, key: key.to_owned(), value: value.to_vec() };
        // The task is gone when the agent stops.
        let _ = self.requests.send(request).await;
    }

    fn decode_table_entry(
        &self,
        table: &str,
        key: &str,
        value: &[u8],
    ) -> (String, BTreeMap<String, String>) {
        weft_overlay::decode_table_entry(table, key, value)
    }

    fn network_type(&self) -> &str {
        NETWORK_TYPE
    }

    fn is_built_in(&self) -> bool {
        true
    }
}

#[async_trait]
impl Discover for OverlayDriver {
    async fn discover_new(&self, _news: &Discovery) -> Result<(), DriverError> {
        // Hosts are learnt from peer records.
        Ok(())
    }

    async fn discover_delete(&self, _news: &Discovery) -> Result<(), DriverError> {
        Ok(())
    }
}

/// Puts a planner's refusal into the contract's words.
pub(crate) fn plan_error(error: PlanError) -> DriverError {
    match error {
        PlanError::NoNetwork(id) => DriverError::NoNetwork(id.to_string()),
        PlanError::NoEndpoint(id) => DriverError::NoEndpoint(id.to_string()),
        PlanError::EndpointExists(id) => DriverError::EndpointExists(id.to_string()),
        PlanError::NetworkBusy { network, .. } => {
            DriverError::ActiveEndpoints { name: network.to_string(), id: network.to_string() }
        }
        error @ (PlanError::NetworkExists(_)
        | PlanError::VniTaken { .. }
        | PlanError::NameTaken(..)
        | PlanError::EndpointJoined(_)
        | PlanError::NotJoined(_)
        | PlanError::AddressIsGateway(_)
        | PlanError::AddressTaken { .. }
        | PlanError::MacTaken { .. }
        | PlanError::InterfaceTaken { .. }
        | PlanError::NoWayOut(_)) => Error::forbidden(error).into(),
        error @ (PlanError::NoSubnet(_)
        | PlanError::PoolsOverlap(..)
        | PlanError::GatewayOutside { .. }
        | PlanError::MtuTooLarge { .. }
        | PlanError::MtuTooSmall { .. }
        | PlanError::NoAddress(_)
        | PlanError::AddressOutside { .. }
        | PlanError::TwoSegments(..)
        | PlanError::WrongFamily(_)
        | PlanError::BadMac(_)
        | PlanError::BadInterfaceName(_)
        | PlanError::CannotPublish { .. }
        | PlanError::TooManyPorts(..)) => Error::invalid_parameter(error).into(),
    }
}
