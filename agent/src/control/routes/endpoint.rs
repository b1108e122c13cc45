//! `/networks/{id}/endpoints` and their sandboxes, `/endpoints`, `/attach`, `/detach`.

use axum::extract::State;
use serde::Deserialize;
use weft_api::control::{
    AttachRequest, DetachRequest, EndpointCreate, EndpointJoin, ListFilter, SandboxId,
};

use crate::control::extract::{Asked, Body, Names, Nothing};
use crate::control::respond::{Reply, created, done, found};
use crate::control::server::Context;
use crate::control::{EndpointRef, NetworkRef};

/// Query of `/endpoints`: libnetwork's filters and the network.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EndpointQuery {
    #[serde(default)]
    network: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default, rename = "partial-id")]
    partial_id: Option<String>,
}

pub(crate) async fn list(
    State(context): State<Context>,
    Asked(query): Asked<EndpointQuery>,
) -> Reply {
    let network = query.network.map(NetworkRef::new);
    let filter = ListFilter { name: query.name, partial_id: query.partial_id };
    found(&context, context.api.endpoints(network, filter)).await
}

pub(crate) async fn inspect(
    State(context): State<Context>,
    Names(endpoint): Names<String>,
    _: Asked<Nothing>,
) -> Reply {
    found(&context, context.api.endpoint(None, EndpointRef::new(endpoint))).await
}

pub(crate) async fn list_in(
    State(context): State<Context>,
    Names(network): Names<String>,
    Asked(filter): Asked<ListFilter>,
) -> Reply {
    found(&context, context.api.endpoints(Some(NetworkRef::new(network)), filter)).await
}

pub(crate) async fn create(
    State(context): State<Context>,
    Names(network): Names<String>,
    Body(request): Body<EndpointCreate>,
) -> Reply {
    created(&context, context.api.create_endpoint(NetworkRef::new(network), request)).await
}

pub(crate) async fn inspect_in(
    State(context): State<Context>,
    Names((network, endpoint)): Names<(String, String)>,
    _: Asked<Nothing>,
) -> Reply {
    let (network, endpoint) = (NetworkRef::new(network), EndpointRef::new(endpoint));
    found(&context, context.api.endpoint(Some(network), endpoint)).await
}

pub(crate) async fn remove(
    State(context): State<Context>,
    Names((network, endpoint)): Names<(String, String)>,
    _: Asked<Nothing>,
) -> Reply {
    let (network, endpoint) = (NetworkRef::new(network), EndpointRef::new(endpoint));
    done(&context, context.api.delete_endpoint(network, endpoint)).await
}

pub(crate) async fn join(
    State(context): State<Context>,
    Names((network, endpoint)): Names<(String, String)>,
    Body(request): Body<EndpointJoin>,
) -> Reply {
    let (network, endpoint) = (NetworkRef::new(network), EndpointRef::new(endpoint));
    created(&context, context.api.join_sandbox(network, endpoint, request)).await
}

pub(crate) async fn leave(
    State(context): State<Context>,
    Names((network, endpoint)): Names<(String, String)>,
    Body(_): Body<Nothing>,
) -> Reply {
    let (network, endpoint) = (NetworkRef::new(network), EndpointRef::new(endpoint));
    done(&context, context.api.leave_sandbox(network, endpoint, None)).await
}

pub(crate) async fn leave_one(
    State(context): State<Context>,
    Names((network, endpoint, sandbox)): Names<(String, String, String)>,
    Body(_): Body<Nothing>,
) -> Reply {
    let (network, endpoint) = (NetworkRef::new(network), EndpointRef::new(endpoint));
    let sandbox = Some(SandboxId::new(sandbox));
    done(&context, context.api.leave_sandbox(network, endpoint, sandbox)).await
}

pub(crate) async fn attach(
    State(context): State<Context>,
    Body(request): Body<AttachRequest>,
) -> Reply {
    created(&context, context.api.attach(request)).await
}

pub(crate) async fn detach(
    State(context): State<Context>,
    Body(request): Body<DetachRequest>,
) -> Reply {
    done(&context, context.api.detach(request)).await
}
