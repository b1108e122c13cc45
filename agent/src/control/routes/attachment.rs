//! `/attachments`: the endpoints of CNI containers. A network goes by its name alone: a runtime
//! has nothing else of it.

use axum::extract::State;
use serde::Deserialize;
use weft_api::control::{AttachmentAdd, AttachmentGc, AttachmentKey, AttachmentRef};

use crate::control::extract::{Asked, Body, Names};
use crate::control::respond::{Reply, created, done, found};
use crate::control::server::Context;

/// Query of `/attachments` and `/attachments/status`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AttachmentQuery {
    #[serde(default)]
    network: Option<String>,
}

/// Query of one attachment.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OfConfiguration {
    #[serde(default)]
    configuration: String,
}

/// The names in the path of one attachment.
type Path = Names<(String, String, String)>;

pub(crate) async fn add(
    State(context): State<Context>,
    Body(request): Body<AttachmentAdd>,
) -> Reply {
    created(&context, context.api.add_attachment(request)).await
}

pub(crate) async fn list(
    State(context): State<Context>,
    Asked(query): Asked<AttachmentQuery>,
) -> Reply {
    found(&context, context.api.attachments(query.network)).await
}

pub(crate) async fn inspect(
    State(context): State<Context>,
    Names(path): Path,
    Asked(query): Asked<OfConfiguration>,
) -> Reply {
    found(&context, context.api.attachment(named(path, query))).await
}

pub(crate) async fn remove(
    State(context): State<Context>,
    Names(path): Path,
    Asked(query): Asked<OfConfiguration>,
) -> Reply {
    done(&context, context.api.delete_attachment(named(path, query))).await
}

fn named(path: (String, String, String), query: OfConfiguration) -> AttachmentRef {
    let (network, container_id, ifname) = path;
    let OfConfiguration { configuration } = query;
    AttachmentRef { network, configuration, key: AttachmentKey { container_id, ifname } }
}

pub(crate) async fn collect(
    State(context): State<Context>,
    Body(request): Body<AttachmentGc>,
) -> Reply {
    found(&context, context.api.collect_attachments(request)).await
}

pub(crate) async fn status(
    State(context): State<Context>,
    Asked(query): Asked<AttachmentQuery>,
) -> Reply {
    found(&context, context.api.attachment_status(query.network)).await
}
