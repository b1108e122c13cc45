//! A [`ControlApi`] that writes down what it is asked, and answers what it is told to.

use std::net::SocketAddr;
use std::sync::Mutex;

use async_trait::async_trait;
use tokio::sync::mpsc;
use weft_api::control::{
    AttachRequest, AttachmentAdd, AttachmentGc, AttachmentKey, AttachmentRef, AttachmentResource,
    AttachmentStatus, AttachmentsGone, ClusterResource, ClusterState, DetachRequest, DoctorReport,
    EndpointCreate, EndpointJoin, EndpointResource, EndpointState, EntryCreate, EntryResource,
    EntryUpdate, ForgetRequest, InitRequest, IpamPool, JoinRequest, KeyQuery, KeyResource,
    LeaveRequest, ListFilter, MemberCounts, MemberResource, NetworkCreate, NetworkResource,
    RotateRequest, SandboxId, Secret, StatusResource, TableEvent, TableEventKind, TableResource,
    TableValue, TokenResponse, WatchLine, WatchQuery,
};
use weft_api::{ClusterId, EndpointId, NetworkId, NodeId};

use crate::control::{
    Answer, ControlApi, ControlError, Detail, EndpointRef, HeldByEngine, NetworkRef,
};

/// How the recorder answers.
#[derive(Debug, Clone)]
pub(crate) enum Mood {
    /// Every operation succeeds.
    Willing,
    /// Every operation fails so.
    Failing(ControlError),
    /// No operation ever ends.
    Stuck,
}

pub(crate) struct Recorder {
    mood: Mood,
    calls: Mutex<Vec<String>>,
    /// The sending end of the last watch, so that a test can go on writing to it.
    pub(crate) watch: Mutex<Option<mpsc::Sender<WatchLine>>>,
}

impl Recorder {
    pub(crate) fn new(mood: Mood) -> Self {
        Self { mood, calls: Mutex::new(Vec::new()), watch: Mutex::new(None) }
    }

    pub(crate) fn take_calls(&self) -> Vec<String> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }

    async fn answer<T: Send>(&self, call: String, value: T) -> Answer<T> {
        self.calls.lock().unwrap().push(call);
        match &self.mood {
            Mood::Willing => Ok(value),
            Mood::Failing(error) => Err(error.clone()),
            Mood::Stuck => std::future::pending().await,
        }
    }
}

pub(crate) fn address() -> SocketAddr {
    "192.0.2.1:7950".parse().unwrap()
}

pub(crate) fn cluster() -> ClusterResource {
    ClusterResource {
        id: ClusterId::default(),
        node: NodeId::default(),
        name: "a".to_owned(),
        advertise: address(),
    }
}

pub(crate) fn network() -> NetworkResource {
    NetworkResource {
        name: "blue".to_owned(),
        id: NetworkId::default(),
        driver: "overlay".to_owned(),
        ipam: "weft".to_owned(),
        subnets: Vec::new(),
        options: std::collections::BTreeMap::new(),
        mtu: None,
        internal: false,
        creator: NodeId::default(),
        frozen: false,
        endpoints: Vec::new(),
        detail: None,
    }
}

pub(crate) fn endpoint() -> EndpointResource {
    EndpointResource {
        name: "web".to_owned(),
        id: EndpointId::default(),
        network: "blue".to_owned(),
        network_id: NetworkId::default(),
        state: EndpointState::Created,
        address: None,
        address_ipv6: None,
        mac: None,
        sandbox: None,
        container: None,
    }
}

pub(crate) fn key() -> AttachmentKey {
    AttachmentKey { container_id: "c1".to_owned(), ifname: "eth0".to_owned() }
}

/// The attachment of a configuration whose name needs to be encoded.
pub(crate) fn attachment_ref() -> AttachmentRef {
    let (network, configuration) = ("blue".to_owned(), "a&b c".to_owned());
    AttachmentRef { network, configuration, key: key() }
}

fn spelled(AttachmentRef { network, configuration, key }: &AttachmentRef) -> String {
    format!("{network} `{configuration}` {} {}", key.container_id, key.ifname)
}

pub(crate) fn attachment() -> AttachmentResource {
    AttachmentResource { key: key(), endpoint: endpoint(), faults: Vec::new() }
}

pub(crate) fn entry() -> EntryResource {
    EntryResource {
        table: "names".to_owned(),
        key: "k".to_owned(),
        value: TableValue::from_bytes(&[0xff]),
        owner: NodeId::default(),
        owner_name: None,
        decoded: std::collections::BTreeMap::new(),
    }
}

pub(crate) fn event() -> TableEvent {
    TableEvent {
        event: TableEventKind::Create,
        network: NetworkId::default(),
        table: "names".to_owned(),
        key: "k".to_owned(),
        value: Some(TableValue::Text("v".to_owned())),
        prev: None,
        owner: NodeId::default(),
        decoded: std::collections::BTreeMap::new(),
    }
}

fn status() -> StatusResource {
    StatusResource {
        version: "0".to_owned(),
        node: None,
        name: "a".to_owned(),
        cluster: None,
        state: ClusterState::None,
        advertise: address(),
        uptime_ms: 1,
        members: MemberCounts::default(),
        networks: 0,
        endpoints: 0,
        counters: std::collections::BTreeMap::new(),
    }
}

#[async_trait]
impl ControlApi for Recorder {
    async fn init(&self, request: InitRequest) -> Answer<ClusterResource> {
        self.answer(format!("init {:?}", request.default4_prefix), cluster()).await
    }
    async fn join(&self, request: JoinRequest) -> Answer<ClusterResource> {
        let call = format!("join {} {:?}", request.token.reveal(), request.seeds);
        self.answer(call, cluster()).await
    }
    async fn leave(&self, request: LeaveRequest) -> Answer<()> {
        self.answer(format!("leave {}", request.force), ()).await
    }
    async fn forget(&self, request: ForgetRequest) -> Answer<Vec<MemberResource>> {
        self.answer(format!("forget {:?} {}", request.nodes, request.force), Vec::new()).await
    }
    async fn keys(&self) -> Answer<Vec<KeyResource>> {
        self.answer("keys".to_owned(), Vec::new()).await
    }
    async fn rotate_key(&self, request: RotateRequest) -> Answer<Vec<KeyResource>> {
        self.answer(format!("rotate_key {}", request.force), Vec::new()).await
    }
    async fn retire_key(&self, key: String, query: KeyQuery) -> Answer<()> {
        self.answer(format!("retire_key {key} {}", query.force), ()).await
    }
    async fn token(&self) -> Answer<TokenResponse> {
        let token = Secret::new("weft1-x".to_owned());
        self.answer("token".to_owned(), TokenResponse { token, seeds: vec![address()] }).await
    }
    async fn members(&self) -> Answer<Vec<MemberResource>> {
        self.answer("members".to_owned(), Vec::new()).await
    }
    async fn status(&self) -> Answer<StatusResource> {
        self.answer("status".to_owned(), status()).await
    }
    async fn doctor(&self) -> Answer<DoctorReport> {
        self.answer("doctor".to_owned(), DoctorReport::default()).await
    }
    async fn ipam(&self) -> Answer<Vec<IpamPool>> {
        self.answer("ipam".to_owned(), Vec::new()).await
    }
    async fn networks(&self, filter: ListFilter) -> Answer<Vec<NetworkResource>> {
        let call = format!("networks {:?} {:?}", filter.name, filter.partial_id);
        self.answer(call, vec![network()]).await
    }
    async fn create_network(&self, request: NetworkCreate) -> Answer<NetworkResource> {
        self.answer(format!("create_network {}", request.name), network()).await
    }
    async fn network(&self, wanted: NetworkRef, detail: Detail) -> Answer<NetworkResource> {
        self.answer(format!("network {wanted} {detail:?}"), network()).await
    }
    async fn delete_network(&self, network: NetworkRef, held: HeldByEngine) -> Answer<()> {
        self.answer(format!("delete_network {network} {held:?}"), ()).await
    }
    async fn endpoints(
        &self,
        network: Option<NetworkRef>,
        filter: ListFilter,
    ) -> Answer<Vec<EndpointResource>> {
        let network = network.map(|network| network.to_string());
        let call = format!("endpoints {network:?} {:?} {:?}", filter.name, filter.partial_id);
        self.answer(call, vec![endpoint()]).await
    }
    async fn create_endpoint(
        &self,
        network: NetworkRef,
        request: EndpointCreate,
    ) -> Answer<EndpointResource> {
        self.answer(format!("create_endpoint {network} {:?}", request.name), endpoint()).await
    }
    async fn endpoint(
        &self,
        network: Option<NetworkRef>,
        wanted: EndpointRef,
    ) -> Answer<EndpointResource> {
        let network = network.map(|network| network.to_string());
        self.answer(format!("endpoint {network:?} {wanted}"), endpoint()).await
    }
    async fn delete_endpoint(&self, network: NetworkRef, endpoint: EndpointRef) -> Answer<()> {
        self.answer(format!("delete_endpoint {network} {endpoint}"), ()).await
    }
    async fn join_sandbox(
        &self,
        network: NetworkRef,
        wanted: EndpointRef,
        request: EndpointJoin,
    ) -> Answer<EndpointResource> {
        let call = format!("join_sandbox {network} {wanted} {}", request.netns);
        self.answer(call, endpoint()).await
    }
    async fn leave_sandbox(
        &self,
        network: NetworkRef,
        endpoint: EndpointRef,
        sandbox: Option<SandboxId>,
    ) -> Answer<()> {
        let sandbox = sandbox.map(|sandbox| sandbox.to_string());
        self.answer(format!("leave_sandbox {network} {endpoint} {sandbox:?}"), ()).await
    }
    async fn attach(&self, request: AttachRequest) -> Answer<EndpointResource> {
        self.answer(format!("attach {} {}", request.network, request.netns), endpoint()).await
    }
    async fn detach(&self, request: DetachRequest) -> Answer<()> {
        self.answer(format!("detach {}", request.endpoint), ()).await
    }
    async fn add_attachment(&self, request: AttachmentAdd) -> Answer<AttachmentResource> {
        let call = format!("add_attachment {} {}", request.network.name, request.netns);
        self.answer(call, attachment()).await
    }
    async fn attachments(&self, network: Option<String>) -> Answer<Vec<AttachmentResource>> {
        self.answer(format!("attachments {network:?}"), vec![attachment()]).await
    }
    async fn attachment(&self, of: AttachmentRef) -> Answer<AttachmentResource> {
        self.answer(format!("attachment {}", spelled(&of)), attachment()).await
    }
    async fn delete_attachment(&self, of: AttachmentRef) -> Answer<()> {
        self.answer(format!("delete_attachment {}", spelled(&of)), ()).await
    }
    async fn collect_attachments(&self, request: AttachmentGc) -> Answer<AttachmentsGone> {
        let call = format!("collect_attachments {} {}", request.network, request.valid.len());
        self.answer(call, AttachmentsGone::default()).await
    }
    async fn attachment_status(&self, network: Option<String>) -> Answer<AttachmentStatus> {
        let call = format!("attachment_status {network:?}");
        let reason = String::new();
        let status = AttachmentStatus { ready: true, limited_connectivity: false, reason };
        self.answer(call, status).await
    }
    async fn tables(&self, network: NetworkRef) -> Answer<Vec<TableResource>> {
        self.answer(format!("tables {network}"), Vec::new()).await
    }
    async fn entries(&self, network: NetworkRef, table: String) -> Answer<Vec<EntryResource>> {
        self.answer(format!("entries {network} {table}"), vec![entry()]).await
    }
    async fn create_entry(
        &self,
        network: NetworkRef,
        table: String,
        request: EntryCreate,
    ) -> Answer<EntryResource> {
        let call = format!("create_entry {network} {table} {} {:?}", request.key, request.value);
        self.answer(call, entry()).await
    }
    async fn entry(
        &self,
        network: NetworkRef,
        table: String,
        key: String,
    ) -> Answer<EntryResource> {
        self.answer(format!("entry {network} {table} {key}"), entry()).await
    }
    async fn update_entry(
        &self,
        network: NetworkRef,
        table: String,
        key: String,
        request: EntryUpdate,
    ) -> Answer<EntryResource> {
        let call = format!("update_entry {network} {table} {key} {:?}", request.value);
        self.answer(call, entry()).await
    }
    async fn delete_entry(&self, network: NetworkRef, table: String, key: String) -> Answer<()> {
        self.answer(format!("delete_entry {network} {table} {key}"), ()).await
    }
    async fn watch(
        &self,
        network: NetworkRef,
        query: WatchQuery,
    ) -> Answer<mpsc::Receiver<WatchLine>> {
        let (sender, receiver) = mpsc::channel(4);
        *self.watch.lock().unwrap() = Some(sender);
        self.answer(format!("watch {network} {:?}", query.table), receiver).await
    }
}
