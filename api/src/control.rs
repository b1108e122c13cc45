//! The control API: what travels over the agent's unix socket, as HTTP and JSON.
//!
//! The resources are libnetwork's (`/networks`, `/networks/{id}/endpoints`,
//! `/networks/{id}/endpoints/{eid}/sandboxes`) and carry more than its fields; the rest
//! (`/cluster`, `/members`, `/status`, `/doctor`, `/ipam`, tables) is Weft's own. Requests refuse
//! fields they do not know; answers may grow new ones.
//!
//! Where a path or a field names a network or an endpoint, it takes a full id, a prefix of one id,
//! or a name; an endpoint's name is unique in its network only, so `NETWORK/NAME` works too.

mod attachment;
mod cluster;
mod doctor;
mod endpoint;
mod error;
mod network;
mod secret;
mod table;

pub use attachment::{
    AttachmentAdd, AttachmentAddresses, AttachmentGc, AttachmentKey, AttachmentRef,
    AttachmentResource, AttachmentStatus, AttachmentsGone, Bandwidth,
};
pub use cluster::{
    ClusterResource, ClusterState, ForgetRequest, InitRequest, IpamPool, IpamShare, JoinRequest,
    KeyQuery, KeyResource, KeyRole, LeaveRequest, MemberCounts, MemberResource, MemberState,
    RotateRequest, StatusResource, TokenResponse,
};
pub use doctor::{Check, CheckStatus, DoctorReport};
pub use endpoint::{
    AttachRequest, DetachRequest, EndpointCreate, EndpointJoin, EndpointResource, EndpointState,
    SandboxId, SandboxResource, StaticRoute,
};
pub use error::{ControlError, ErrorKind};
pub use network::{
    AttachedNode, ListFilter, NetworkCreate, NetworkDetail, NetworkPeer, NetworkResource,
    SubnetRequest,
};
pub use secret::Secret;
pub use table::{
    EntryCreate, EntryResource, EntryUpdate, ParseValueError, TableEvent, TableEventKind,
    TableResource, TableValue, WatchLine, WatchQuery,
};

#[cfg(test)]
mod tests;
