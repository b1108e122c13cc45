//! The other end of the control socket: what the command line and the lab call.
//!
//! One typed method an operation, one connection a call. Networks and endpoints go by full id,
//! unique prefix, or name.

mod error;
mod transport;
mod watch;

use std::path::{Path, PathBuf};

use hyper::Method;
use weft_api::control::{
    AttachRequest, AttachmentAdd, AttachmentGc, AttachmentRef, AttachmentResource,
    AttachmentStatus, AttachmentsGone, ClusterResource, DetachRequest, DoctorReport,
    EndpointCreate, EndpointJoin, EndpointResource, EntryCreate, EntryResource, EntryUpdate,
    ForgetRequest, InitRequest, IpamPool, JoinRequest, KeyQuery, KeyResource, LeaveRequest,
    ListFilter, MemberResource, NetworkCreate, NetworkResource, RotateRequest, SandboxId,
    StatusResource, TableResource, TokenResponse, WatchQuery,
};

use crate::control::{Detail, HeldByEngine};
use transport::Target;
pub(crate) use transport::segment;

pub use error::ClientError;
pub use watch::WatchStream;

/// A client of one agent.
///
/// ```no_run
/// # async fn example() -> Result<(), weft_agent::client::ClientError> {
/// let client = weft_agent::client::Client::new("/run/weft/weft.sock");
/// for member in client.members().await? {
///     println!("{} {}", member.name, member.address);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

/// What every call gives back.
///
/// # Errors
/// [`ClientError::Socket`] when no agent answers on the socket, [`ClientError::Refused`] when it
/// answers no, [`ClientError::Broken`] when the answer cannot be read.
pub type Called<T> = Result<T, ClientError>;

impl Client {
    /// Makes a client of the agent that listens on `socket`. Nothing is opened yet.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into() }
    }

    /// Returns the path of the socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Makes a cluster of the agent's node.
    pub async fn init(&self, request: &InitRequest) -> Called<ClusterResource> {
        self.send(Method::POST, Target::new("/cluster/init"), request).await
    }

    /// Lets the agent's node join a cluster; returns once it is a member.
    pub async fn join(&self, request: &JoinRequest) -> Called<ClusterResource> {
        self.send(Method::POST, Target::new("/cluster/join"), request).await
    }

    /// Lets the agent's node leave its cluster.
    pub async fn leave(&self, request: &LeaveRequest) -> Called<()> {
        self.send_done(Method::POST, Target::new("/cluster/leave"), request).await
    }

    /// Lets the cluster forget members that are stopped for good; returns them.
    pub async fn forget(&self, request: &ForgetRequest) -> Called<Vec<MemberResource>> {
        self.send(Method::POST, Target::new("/cluster/forget"), request).await
    }

    /// Lists the cluster's keys by their fingerprints.
    pub async fn keys(&self) -> Called<Vec<KeyResource>> {
        self.get(Target::new("/cluster/keys")).await
    }

    /// Lets every member seal with a new key; returns once all have it.
    pub async fn rotate_key(&self, request: &RotateRequest) -> Called<Vec<KeyResource>> {
        self.send(Method::POST, Target::new("/cluster/keys"), request).await
    }

    /// Retires a key that seals no more.
    pub async fn retire_key(&self, key: &str, query: &KeyQuery) -> Called<()> {
        let target = Target::new(format!("/cluster/keys/{}", segment(key)));
        self.delete(if query.force { target.query("force", "true") } else { target }).await
    }

    /// Returns the join token.
    pub async fn token(&self) -> Called<TokenResponse> {
        self.get(Target::new("/cluster/token")).await
    }

    /// Lists the members.
    pub async fn members(&self) -> Called<Vec<MemberResource>> {
        self.get(Target::new("/members")).await
    }

    /// Tells how the agent's node is.
    pub async fn status(&self) -> Called<StatusResource> {
        self.get(Target::new("/status")).await
    }

    /// Lets the agent look for what could be wrong.
    pub async fn doctor(&self) -> Called<DoctorReport> {
        self.get(Target::new("/doctor")).await
    }

    /// Lists the address pools.
    pub async fn ipam(&self) -> Called<Vec<IpamPool>> {
        self.get(Target::new("/ipam")).await
    }

    /// Lists networks.
    pub async fn networks(&self, filter: &ListFilter) -> Called<Vec<NetworkResource>> {
        self.get(Target::new("/networks").filter(filter)).await
    }

    /// Makes a network.
    pub async fn create_network(&self, request: &NetworkCreate) -> Called<NetworkResource> {
        self.send(Method::POST, Target::new("/networks"), request).await
    }

    /// Returns a network.
    pub async fn network(&self, network: &str, detail: Detail) -> Called<NetworkResource> {
        let target = Target::new(format!("/networks/{}", segment(network)));
        self.get(match detail {
            Detail::Plain => target,
            Detail::Verbose => target.query("verbose", "true"),
        })
        .await
    }

    /// Deletes a network.
    pub async fn delete_network(&self, network: &str, held: HeldByEngine) -> Called<()> {
        let target = Target::new(format!("/networks/{}", segment(network)));
        self.delete(match held {
            HeldByEngine::Refuse => target,
            HeldByEngine::Forget => target.query("force", "true"),
        })
        .await
    }

    /// Lists the endpoints of the agent's node, in one network or in all.
    pub async fn endpoints(
        &self,
        network: Option<&str>,
        filter: &ListFilter,
    ) -> Called<Vec<EndpointResource>> {
        let target = match network {
            Some(network) => Target::new(format!("/networks/{}/endpoints", segment(network))),
            None => Target::new("/endpoints"),
        };
        self.get(target.filter(filter)).await
    }

    /// Makes an endpoint.
    pub async fn create_endpoint(
        &self,
        network: &str,
        request: &EndpointCreate,
    ) -> Called<EndpointResource> {
        let target = Target::new(format!("/networks/{}/endpoints", segment(network)));
        self.send(Method::POST, target, request).await
    }

    /// Returns an endpoint, of one network or of any.
    pub async fn endpoint(
        &self,
        network: Option<&str>,
        endpoint: &str,
    ) -> Called<EndpointResource> {
        self.get(match network {
            Some(network) => endpoint_target(network, endpoint, ""),
            None => Target::new(format!("/endpoints/{}", segment(endpoint))),
        })
        .await
    }

    /// Deletes an endpoint.
    pub async fn delete_endpoint(&self, network: &str, endpoint: &str) -> Called<()> {
        self.delete(endpoint_target(network, endpoint, "")).await
    }

    /// Joins an endpoint to a sandbox.
    pub async fn join_sandbox(
        &self,
        network: &str,
        endpoint: &str,
        request: &EndpointJoin,
    ) -> Called<EndpointResource> {
        self.send(Method::POST, endpoint_target(network, endpoint, "/sandboxes"), request).await
    }

    /// Lets an endpoint leave its sandbox: `sandbox`, or (none) the one it is in.
    pub async fn leave_sandbox(
        &self,
        network: &str,
        endpoint: &str,
        sandbox: Option<&SandboxId>,
    ) -> Called<()> {
        let rest = match sandbox {
            Some(sandbox) => format!("/sandboxes/{}", segment(sandbox.as_str())),
            None => "/sandboxes".to_owned(),
        };
        self.delete(endpoint_target(network, endpoint, &rest)).await
    }

    /// Makes an endpoint and joins it to a sandbox.
    pub async fn attach(&self, request: &AttachRequest) -> Called<EndpointResource> {
        self.send(Method::POST, Target::new("/attach"), request).await
    }

    /// Lets an endpoint leave its sandbox and deletes it.
    pub async fn detach(&self, request: &DetachRequest) -> Called<()> {
        self.send_done(Method::POST, Target::new("/detach"), request).await
    }

    /// Attaches a CNI container to a network, which is made where there is none.
    pub async fn add_attachment(&self, request: &AttachmentAdd) -> Called<AttachmentResource> {
        self.send(Method::POST, Target::new("/attachments"), request).await
    }

    /// Lists the attachments of the agent's node, to the network of one name or to all.
    pub async fn attachments(&self, network: Option<&str>) -> Called<Vec<AttachmentResource>> {
        self.get(of_network(Target::new("/attachments"), network)).await
    }

    /// Returns an attachment, with what in the kernel is not as it was made.
    pub async fn attachment(&self, of: &AttachmentRef) -> Called<AttachmentResource> {
        self.get(attachment_target(of)).await
    }

    /// Ends an attachment; success as well when it is absent.
    pub async fn delete_attachment(&self, of: &AttachmentRef) -> Called<()> {
        self.delete(attachment_target(of)).await
    }

    /// Ends the attachments that a runtime does not name.
    pub async fn collect_attachments(&self, request: &AttachmentGc) -> Called<AttachmentsGone> {
        self.send(Method::POST, Target::new("/attachments/gc"), request).await
    }

    /// Tells whether a container could be attached now.
    pub async fn attachment_status(&self, network: Option<&str>) -> Called<AttachmentStatus> {
        self.get(of_network(Target::new("/attachments/status"), network)).await
    }

    /// Lists the tables of a network.
    pub async fn tables(&self, network: &str) -> Called<Vec<TableResource>> {
        self.get(Target::new(format!("/networks/{}/tables", segment(network)))).await
    }

    /// Lists the entries of a table.
    pub async fn entries(&self, network: &str, table: &str) -> Called<Vec<EntryResource>> {
        self.get(table_target(network, table)).await
    }

    /// Writes a new entry.
    pub async fn create_entry(
        &self,
        network: &str,
        table: &str,
        request: &EntryCreate,
    ) -> Called<EntryResource> {
        self.send(Method::POST, table_target(network, table), request).await
    }

    /// Returns an entry.
    pub async fn entry(&self, network: &str, table: &str, key: &str) -> Called<EntryResource> {
        self.get(entry_target(network, table, key)).await
    }

    /// Rewrites an entry.
    pub async fn update_entry(
        &self,
        network: &str,
        table: &str,
        key: &str,
        request: &EntryUpdate,
    ) -> Called<EntryResource> {
        self.send(Method::PUT, entry_target(network, table, key), request).await
    }

    /// Deletes an entry.
    pub async fn delete_entry(&self, network: &str, table: &str, key: &str) -> Called<()> {
        self.delete(entry_target(network, table, key)).await
    }

    /// Follows a network's tables: first what there is, then each change.
    pub async fn watch(&self, network: &str, query: &WatchQuery) -> Called<WatchStream> {
        let mut target = Target::new(format!("/networks/{}/watch", segment(network)));
        if let Some(table) = &query.table {
            target = target.query("table", table);
        }
        self.open_watch(target).await
    }
}

fn endpoint_target(network: &str, endpoint: &str, rest: &str) -> Target {
    Target::new(format!("/networks/{}/endpoints/{}{rest}", segment(network), segment(endpoint)))
}

/// Where an attachment is.
pub(crate) fn attachment_target(of: &AttachmentRef) -> Target {
    let AttachmentRef { network, configuration, key } = of;
    let (container, ifname) = (segment(&key.container_id), segment(&key.ifname));
    let target = Target::new(format!("/attachments/{}/{container}/{ifname}", segment(network)));
    match &configuration[..] {
        "" => target,
        configuration => target.query("configuration", configuration),
    }
}

fn of_network(target: Target, network: Option<&str>) -> Target {
    match network {
        Some(network) => target.query("network", network),
        None => target,
    }
}

fn table_target(network: &str, table: &str) -> Target {
    Target::new(format!("/networks/{}/tables/{}", segment(network), segment(table)))
}

fn entry_target(network: &str, table: &str, key: &str) -> Target {
    Target::new(format!(
        "/networks/{}/tables/{}/{}",
        segment(network),
        segment(table),
        segment(key)
    ))
}
