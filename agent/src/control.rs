//! The control API: HTTP and JSON over a unix socket, in front of one trait.
//!
//! [`ControlApi`] has a method an operation; [`Server`] turns requests into calls of it and its
//! answers into responses, and knows nothing else. Whoever implements it checks what a request
//! means (names, addresses, state); the server checks its form.

mod access;
mod extract;
mod listening;
mod lookup;
mod respond;
mod routes;
mod server;
mod starting;

use async_trait::async_trait;
use tokio::sync::mpsc;
use weft_api::control::{
    AttachRequest, AttachmentAdd, AttachmentGc, AttachmentRef, AttachmentResource,
    AttachmentStatus, AttachmentsGone, ClusterResource, DetachRequest, DoctorReport,
    EndpointCreate, EndpointJoin, EndpointResource, EntryCreate, EntryResource, EntryUpdate,
    ForgetRequest, InitRequest, IpamPool, JoinRequest, KeyQuery, KeyResource, LeaveRequest,
    ListFilter, MemberResource, NetworkCreate, NetworkResource, RotateRequest, SandboxId,
    StatusResource, TableResource, TokenResponse, WatchLine, WatchQuery,
};

pub use access::BindError;
pub(crate) use access::{Owner, Peer, may_speak};
pub(crate) use listening::{Bounds, Listening, drive};
pub use lookup::{EndpointRef, NetworkRef, resolve};
pub use server::{Server, ServerLimits};
pub use weft_api::control::{ControlError, ErrorKind};

/// What every operation answers.
pub type Answer<T> = Result<T, ControlError>;

/// How much a network's resource is to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// The network and the endpoints of this node.
    Plain,
    /// The nodes and peers of the whole cluster as well.
    Verbose,
}

/// What becomes of a network's deletion when the Docker Engine of this host has the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeldByEngine {
    /// It is refused: the engine deletes its network first.
    Refuse,
    /// The engine's part ends, as if it had: it forgot the network.
    Forget,
}

/// The operations behind the control socket.
///
/// A call that is dropped half-way (the client went away) must leave nothing half-made: an
/// implementation finishes or undoes on a task of its own.
#[async_trait]
pub trait ControlApi: Send + Sync + 'static {
    /// Makes a cluster of this one node. A node that is in a cluster answers a conflict.
    async fn init(&self, request: InitRequest) -> Answer<ClusterResource>;
    /// Joins a cluster; answers once this node is a member.
    async fn join(&self, request: JoinRequest) -> Answer<ClusterResource>;
    /// Leaves the cluster for good; answers once the addresses are handed over.
    async fn leave(&self, request: LeaveRequest) -> Answer<()>;
    /// Forgets members that are stopped for good, and lists them; this node gets their addresses.
    async fn forget(&self, request: ForgetRequest) -> Answer<Vec<MemberResource>>;
    /// Lists the cluster's keys by their fingerprints.
    async fn keys(&self) -> Answer<Vec<KeyResource>>;
    /// Lets every member seal with a new key; answers once all have it.
    async fn rotate_key(&self, request: RotateRequest) -> Answer<Vec<KeyResource>>;
    /// Retires a key that seals no more, named by its fingerprint or a prefix of it.
    async fn retire_key(&self, key: String, query: KeyQuery) -> Answer<()>;
    /// Returns the join token.
    async fn token(&self) -> Answer<TokenResponse>;
    /// Lists the members.
    async fn members(&self) -> Answer<Vec<MemberResource>>;
    /// Tells how this node is.
    async fn status(&self) -> Answer<StatusResource>;
    /// Looks for what could be wrong.
    async fn doctor(&self) -> Answer<DoctorReport>;
    /// Lists the pools and who holds how much of them.
    async fn ipam(&self) -> Answer<Vec<IpamPool>>;

    /// Lists the networks.
    async fn networks(&self, filter: ListFilter) -> Answer<Vec<NetworkResource>>;
    /// Makes a network, or joins the one of that name that agrees.
    async fn create_network(&self, request: NetworkCreate) -> Answer<NetworkResource>;
    /// Returns one network.
    async fn network(&self, network: NetworkRef, detail: Detail) -> Answer<NetworkResource>;
    /// Deletes a network in the whole cluster. One with endpoints answers forbidden.
    async fn delete_network(&self, network: NetworkRef, held: HeldByEngine) -> Answer<()>;

    /// Lists the endpoints of this node, in one network or in all.
    async fn endpoints(
        &self,
        network: Option<NetworkRef>,
        filter: ListFilter,
    ) -> Answer<Vec<EndpointResource>>;
    /// Makes an endpoint, in no sandbox yet.
    async fn create_endpoint(
        &self,
        network: NetworkRef,
        request: EndpointCreate,
    ) -> Answer<EndpointResource>;
    /// Returns one endpoint, of `network` or (none) of any.
    async fn endpoint(
        &self,
        network: Option<NetworkRef>,
        endpoint: EndpointRef,
    ) -> Answer<EndpointResource>;
    /// Deletes an endpoint and releases its addresses. A joined one answers forbidden.
    async fn delete_endpoint(&self, network: NetworkRef, endpoint: EndpointRef) -> Answer<()>;
    /// Joins a sandbox, which is made where there is none for the namespace.
    async fn join_sandbox(
        &self,
        network: NetworkRef,
        endpoint: EndpointRef,
        request: EndpointJoin,
    ) -> Answer<EndpointResource>;
    /// Leaves the sandbox; `sandbox`, where given, must be the one joined. Addresses stay.
    async fn leave_sandbox(
        &self,
        network: NetworkRef,
        endpoint: EndpointRef,
        sandbox: Option<SandboxId>,
    ) -> Answer<()>;
    /// Makes an endpoint and joins it to a sandbox; nothing stays when either fails.
    async fn attach(&self, request: AttachRequest) -> Answer<EndpointResource>;
    /// Leaves the sandbox, if there is one, and deletes the endpoint.
    async fn detach(&self, request: DetachRequest) -> Answer<()>;

    /// Attaches a CNI container to a network, which is made where there is none; nothing stays
    /// when it fails. One that is attached and whole answers a conflict.
    async fn add_attachment(&self, request: AttachmentAdd) -> Answer<AttachmentResource>;
    /// Lists the attachments of this node, to the network of one name or to all.
    async fn attachments(&self, network: Option<String>) -> Answer<Vec<AttachmentResource>>;
    /// Returns one attachment, with what in the kernel is not as it was made.
    async fn attachment(&self, of: AttachmentRef) -> Answer<AttachmentResource>;
    /// Ends an attachment. One that is absent, or its network, is success.
    async fn delete_attachment(&self, of: AttachmentRef) -> Answer<()>;
    /// Ends the attachments of this node that a runtime does not name.
    async fn collect_attachments(&self, request: AttachmentGc) -> Answer<AttachmentsGone>;
    /// Tells whether a container could be attached now.
    async fn attachment_status(&self, network: Option<String>) -> Answer<AttachmentStatus>;

    /// Lists the tables of a network.
    async fn tables(&self, network: NetworkRef) -> Answer<Vec<TableResource>>;
    /// Lists the entries of a table.
    async fn entries(&self, network: NetworkRef, table: String) -> Answer<Vec<EntryResource>>;
    /// Writes a new entry. A live key answers a conflict, a driver's table forbidden.
    async fn create_entry(
        &self,
        network: NetworkRef,
        table: String,
        request: EntryCreate,
    ) -> Answer<EntryResource>;
    /// Returns one entry.
    async fn entry(&self, network: NetworkRef, table: String, key: String)
    -> Answer<EntryResource>;
    /// Rewrites an entry.
    async fn update_entry(
        &self,
        network: NetworkRef,
        table: String,
        key: String,
        request: EntryUpdate,
    ) -> Answer<EntryResource>;
    /// Deletes an entry.
    async fn delete_entry(&self, network: NetworkRef, table: String, key: String) -> Answer<()>;
    /// Follows a network's tables: first a create for each entry there is, then each change.
    ///
    /// The channel is bounded by the implementation; one that finds it full ends the watch with an
    /// error line. Dropping the receiver ends the watch.
    async fn watch(
        &self,
        network: NetworkRef,
        query: WatchQuery,
    ) -> Answer<mpsc::Receiver<WatchLine>>;
}

#[cfg(test)]
mod tests;
