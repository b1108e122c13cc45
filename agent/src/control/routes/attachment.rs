//! `/attachments`: the endpoints of CNI containers. A network goes by its name alone: a runtime
//! has nothing else of it.

use axum::extract::State;
use serde::Deserialize;
use weft_api::control::{AttachmentAdd, AttachmentGc, AttachmentKey};

use crate::control::extract::{Asked, Body, Names, Nothing};
use crate::control::respond::{Reply, created, done, found};
use crate::control::server::Context;

/// Query of `/attachments` and `/attachments/status`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AttachmentQuery {
    #[serde(default)]
    network: Option<String>,
}

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
    Names((network, container_id, ifname)): Names<(String, String, String)>,
    _: Asked<Nothing>,
) -> Reply {
    found(&context, context.api.attachment(network, AttachmentKey { container_id, ifname })).await
}

pub(crate) async fn remove(
    State(context): State<Context>,
    Names((network, container_id, ifname)): Names<(String, String, String)>,
) -> Reply {
    let key = AttachmentKey { container_id, ifname };
    done(&context, context.api.delete_attachment(network, key)).await
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
