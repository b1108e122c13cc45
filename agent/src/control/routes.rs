//! The paths of the control API. One line a route, one handler of one call each.

mod attachment;
mod cluster;
mod endpoint;
mod network;
mod table;

use axum::Extension;
use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::routing::{delete, get, post};
use weft_api::control::ControlError;

use crate::control::extract::BodyBytes;
use crate::control::respond::Refusal;
use crate::control::server::Context;
use crate::control::starting::{Started, gate};

/// Bytes of a list of what is in use: as many as the plugin reads of a runtime's.
const GC_BYTES: BodyBytes = BodyBytes(8 << 20);

/// All routes for a peer that may use them.
pub(crate) fn open(context: Context, started: Started) -> Router {
    Router::new()
        .route("/cluster/init", post(cluster::init))
        .route("/cluster/join", post(cluster::join))
        .route("/cluster/leave", post(cluster::leave))
        .route("/cluster/forget", post(cluster::forget))
        .route("/cluster/keys", get(cluster::keys).post(cluster::rotate_key))
        .route("/cluster/keys/{key}", delete(cluster::retire_key))
        .route("/cluster/token", get(cluster::token))
        .route("/members", get(cluster::members))
        .route("/status", get(cluster::status))
        .route("/doctor", get(cluster::doctor))
        .route("/ipam", get(cluster::ipam))
        .route("/networks", get(network::list).post(network::create))
        .route("/networks/{network}", get(network::inspect).delete(network::remove))
        .route("/networks/{network}/endpoints", get(endpoint::list_in).post(endpoint::create))
        .route(
            "/networks/{network}/endpoints/{endpoint}",
            get(endpoint::inspect_in).delete(endpoint::remove),
        )
        .route(
            "/networks/{network}/endpoints/{endpoint}/sandboxes",
            post(endpoint::join).delete(endpoint::leave),
        )
        .route(
            "/networks/{network}/endpoints/{endpoint}/sandboxes/{sandbox}",
            delete(endpoint::leave_one),
        )
        .route("/endpoints", get(endpoint::list))
        .route("/endpoints/{endpoint}", get(endpoint::inspect))
        .route("/attach", post(endpoint::attach))
        .route("/detach", post(endpoint::detach))
        .route("/attachments", get(attachment::list).post(attachment::add))
        .route(
            "/attachments/{network}/{container}/{ifname}",
            get(attachment::inspect).delete(attachment::remove),
        )
        .route("/attachments/gc", post(attachment::collect).layer(Extension(GC_BYTES)))
        .route("/attachments/status", get(attachment::status))
        .route("/networks/{network}/tables", get(table::tables))
        .route("/networks/{network}/tables/{table}", get(table::entries).post(table::create))
        .route(
            "/networks/{network}/tables/{table}/{key}",
            get(table::entry).put(table::update).delete(table::remove),
        )
        .route("/networks/{network}/watch", get(table::watch))
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        .layer(from_fn_with_state(started, gate))
        .with_state(context)
}

/// What a peer without rights gets, whatever it asks.
pub(crate) fn closed() -> Router {
    Router::new().fallback(async || {
        Refusal::from(
            ControlError::forbidden("this user may not use the control socket")
                .with_hint("run as root, or as a member of the socket's group"),
        )
    })
}

async fn unknown_path(request: Request) -> Refusal {
    ControlError::not_found(format!("`{}` is no resource of the control API", request.uri().path()))
        .into()
}

async fn unknown_method(request: Request) -> Refusal {
    Refusal::with_status(
        StatusCode::METHOD_NOT_ALLOWED,
        ControlError::invalid(format!(
            "`{}` cannot be done to `{}`",
            request.method(),
            request.uri().path()
        )),
    )
}
