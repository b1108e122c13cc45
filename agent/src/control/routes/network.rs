//! `/networks` and `/networks/{id}`.

use axum::extract::State;
use serde::Deserialize;
use weft_api::control::{ListFilter, NetworkCreate};

use crate::control::extract::{Asked, Body, Names};
use crate::control::respond::{Reply, created, done, found};
use crate::control::server::Context;
use crate::control::{Detail, HeldByEngine, NetworkRef};

/// Query of one network.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InspectQuery {
    #[serde(default)]
    verbose: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RemoveQuery {
    force: bool,
}

pub(crate) async fn list(
    State(context): State<Context>,
    Asked(filter): Asked<ListFilter>,
) -> Reply {
    found(&context, context.api.networks(filter)).await
}

pub(crate) async fn create(
    State(context): State<Context>,
    Body(request): Body<NetworkCreate>,
) -> Reply {
    created(&context, context.api.create_network(request)).await
}

pub(crate) async fn inspect(
    State(context): State<Context>,
    Names(network): Names<String>,
    Asked(query): Asked<InspectQuery>,
) -> Reply {
    let detail = if query.verbose { Detail::Verbose } else { Detail::Plain };
    found(&context, context.api.network(NetworkRef::new(network), detail)).await
}

pub(crate) async fn remove(
    State(context): State<Context>,
    Names(network): Names<String>,
    Asked(query): Asked<RemoveQuery>,
) -> Reply {
    let held = if query.force { HeldByEngine::Forget } else { HeldByEngine::Refuse };
    done(&context, context.api.delete_network(NetworkRef::new(network), held)).await
}
