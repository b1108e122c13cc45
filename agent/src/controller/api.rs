//! The control API's calls, each on a task of its own.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::mpsc;
use weft_api::control::{
    AttachRequest, AttachmentAdd, AttachmentGc, AttachmentRef, AttachmentResource,
    AttachmentStatus, AttachmentsGone, ClusterResource, ControlError, DetachRequest, DoctorReport,
    EndpointCreate, EndpointJoin, EndpointResource, EntryCreate, EntryResource, EntryUpdate,
    ForgetRequest, InitRequest, IpamPool, JoinRequest, KeyQuery, KeyResource, LeaveRequest,
    ListFilter, MemberResource, NetworkCreate, NetworkResource, RotateRequest, SandboxId,
    StatusResource, TableResource, TokenResponse, WatchLine, WatchQuery,
};

use super::Controller;
use super::inventory::Endpoint;
use crate::control::{
    Answer, ControlApi, Detail, EndpointRef, ErrorKind, HeldByEngine, NetworkRef,
};

/// The controller as the control socket's server calls it.
#[derive(Debug, Clone)]
pub struct Api(pub Arc<Controller>);

impl Api {
    /// Runs to its end even when the client goes away.
    async fn run<T, F>(&self, work: impl FnOnce(Arc<Controller>) -> F) -> Answer<T>
    where
        T: Send + 'static,
        F: Future<Output = Answer<T>> + Send + 'static,
    {
        tokio::spawn(work(self.0.clone())).await.unwrap_or_else(|error| {
            Err(ControlError::internal(format!("the operation broke off: {error}"))
                .with_hint("the agent's log says more; please report it"))
        })
    }
}

#[async_trait]
impl ControlApi for Api {
    async fn init(&self, request: InitRequest) -> Answer<ClusterResource> {
        self.run(|c| async move { c.init_cluster(request).await }).await
    }

    async fn join(&self, request: JoinRequest) -> Answer<ClusterResource> {
        self.run(|c| async move { c.join_cluster(request).await }).await
    }

    async fn leave(&self, request: LeaveRequest) -> Answer<()> {
        self.run(|c| async move { c.leave_cluster(request).await }).await
    }

    async fn forget(&self, request: ForgetRequest) -> Answer<Vec<MemberResource>> {
        self.run(|c| async move { c.forget_members(request).await }).await
    }

    async fn keys(&self) -> Answer<Vec<KeyResource>> {
        self.0.list_keys().await
    }

    async fn rotate_key(&self, request: RotateRequest) -> Answer<Vec<KeyResource>> {
        self.run(|c| async move { c.rotate_key(request).await }).await
    }

    async fn retire_key(&self, key: String, query: KeyQuery) -> Answer<()> {
        self.run(|c| async move { c.retire_key(key, query).await }).await
    }

    async fn token(&self) -> Answer<TokenResponse> {
        self.0.join_token().await
    }

    async fn members(&self) -> Answer<Vec<MemberResource>> {
        self.0.list_members().await
    }

    async fn status(&self) -> Answer<StatusResource> {
        self.0.describe_status().await
    }

    async fn doctor(&self) -> Answer<DoctorReport> {
        self.0.diagnose().await
    }

    async fn ipam(&self) -> Answer<Vec<IpamPool>> {
        self.0.list_ipam().await
    }

    async fn networks(&self, filter: ListFilter) -> Answer<Vec<NetworkResource>> {
        self.0.list_networks(filter).await
    }

    async fn create_network(&self, request: NetworkCreate) -> Answer<NetworkResource> {
        self.run(|c| async move { c.define_network(request).await }).await
    }

    async fn network(&self, network: NetworkRef, detail: Detail) -> Answer<NetworkResource> {
        self.0.inspect_network(&network, detail).await
    }

    async fn delete_network(&self, network: NetworkRef, held: HeldByEngine) -> Answer<()> {
        self.run(|c| async move {
            if held == HeldByEngine::Refuse {
                return c.undefine_network(&network).await;
            }
            c.forget_holds(&network).await?;
            c.undefine_network(&network).await.map_err(|mut error| {
                if error.kind == ErrorKind::Forbidden {
                    error.error.push_str("; what this host's engine had of it is ended");
                }
                error
            })
        })
        .await
    }

    async fn endpoints(
        &self,
        network: Option<NetworkRef>,
        filter: ListFilter,
    ) -> Answer<Vec<EndpointResource>> {
        self.0.list_endpoints(network, filter).await
    }

    async fn create_endpoint(
        &self,
        network: NetworkRef,
        request: EndpointCreate,
    ) -> Answer<EndpointResource> {
        self.run(|c| async move {
            c.make_endpoint(&network, request).await.map(|endpoint| endpoint.resource())
        })
        .await
    }

    async fn endpoint(
        &self,
        network: Option<NetworkRef>,
        endpoint: EndpointRef,
    ) -> Answer<EndpointResource> {
        self.0.find_endpoint(network.as_ref(), &endpoint).await.map(|found| found.resource())
    }

    async fn delete_endpoint(&self, network: NetworkRef, endpoint: EndpointRef) -> Answer<()> {
        self.run(|c| async move {
            let found = c.find_endpoint(Some(&network), &endpoint).await?;
            c.remove_endpoint(found.id).await
        })
        .await
    }

    async fn join_sandbox(
        &self,
        network: NetworkRef,
        endpoint: EndpointRef,
        request: EndpointJoin,
    ) -> Answer<EndpointResource> {
        self.run(|c| async move {
            let found: Endpoint = c.find_endpoint(Some(&network), &endpoint).await?;
            c.enter_sandbox(found, request).await.map(|joined| joined.resource())
        })
        .await
    }

    async fn leave_sandbox(
        &self,
        network: NetworkRef,
        endpoint: EndpointRef,
        sandbox: Option<SandboxId>,
    ) -> Answer<()> {
        self.run(|c| async move {
            let found = c.find_endpoint(Some(&network), &endpoint).await?;
            c.leave_endpoint(found.id, sandbox).await
        })
        .await
    }

    async fn attach(&self, request: AttachRequest) -> Answer<EndpointResource> {
        self.run(|c| async move { c.attach_endpoint(request).await }).await
    }

    async fn detach(&self, request: DetachRequest) -> Answer<()> {
        self.run(|c| async move { c.detach_endpoint(request).await }).await
    }

    async fn add_attachment(&self, request: AttachmentAdd) -> Answer<AttachmentResource> {
        self.run(|c| async move { c.add_attachment(request).await }).await
    }

    async fn attachments(&self, network: Option<String>) -> Answer<Vec<AttachmentResource>> {
        Ok(self.0.list_attachments(network))
    }

    async fn attachment(&self, of: AttachmentRef) -> Answer<AttachmentResource> {
        self.0.inspect_attachment(&of).await
    }

    async fn delete_attachment(&self, of: AttachmentRef) -> Answer<()> {
        self.run(|c| async move { c.end_attachment(&of).await }).await
    }

    async fn collect_attachments(&self, request: AttachmentGc) -> Answer<AttachmentsGone> {
        self.run(|c| async move { c.collect_attachments(request).await }).await
    }

    async fn attachment_status(&self, network: Option<String>) -> Answer<AttachmentStatus> {
        self.0.attachment_status(network).await
    }

    async fn tables(&self, network: NetworkRef) -> Answer<Vec<TableResource>> {
        self.0.list_tables(&network).await
    }

    async fn entries(&self, network: NetworkRef, table: String) -> Answer<Vec<EntryResource>> {
        self.0.list_entries(&network, table).await
    }

    async fn create_entry(
        &self,
        network: NetworkRef,
        table: String,
        request: EntryCreate,
    ) -> Answer<EntryResource> {
        self.run(|c| async move { c.write_new_entry(&network, table, request).await }).await
    }

    async fn entry(
        &self,
        network: NetworkRef,
        table: String,
        key: String,
    ) -> Answer<EntryResource> {
        self.0.read_entry(&network, table, key).await
    }

    async fn update_entry(
        &self,
        network: NetworkRef,
        table: String,
        key: String,
        request: EntryUpdate,
    ) -> Answer<EntryResource> {
        self.run(|c| async move { c.rewrite_entry(&network, table, key, request).await }).await
    }

    async fn delete_entry(&self, network: NetworkRef, table: String, key: String) -> Answer<()> {
        self.run(|c| async move { c.remove_entry(&network, table, key).await }).await
    }

    async fn watch(
        &self,
        network: NetworkRef,
        query: WatchQuery,
    ) -> Answer<mpsc::Receiver<WatchLine>> {
        // A client that goes away meanwhile leaves no watch that nobody reads.
        self.run(|c| async move { c.watch_network(&network, query).await }).await
    }
}
