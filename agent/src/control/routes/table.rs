//! `/networks/{id}/tables` and `/networks/{id}/watch`.

use axum::body::{Body as HttpBody, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use weft_api::control::{ControlError, EntryCreate, EntryUpdate, WatchLine, WatchQuery};

use crate::control::NetworkRef;
use crate::control::extract::{Asked, Body, Names, Nothing};
use crate::control::respond::{Reply, bounded, created, done, found};
use crate::control::server::Context;

pub(crate) async fn tables(
    State(context): State<Context>,
    Names(network): Names<String>,
    _: Asked<Nothing>,
) -> Reply {
    found(&context, context.api.tables(NetworkRef::new(network))).await
}

pub(crate) async fn entries(
    State(context): State<Context>,
    Names((network, table)): Names<(String, String)>,
    _: Asked<Nothing>,
) -> Reply {
    found(&context, context.api.entries(NetworkRef::new(network), table)).await
}

pub(crate) async fn create(
    State(context): State<Context>,
    Names((network, table)): Names<(String, String)>,
    Body(request): Body<EntryCreate>,
) -> Reply {
    created(&context, context.api.create_entry(NetworkRef::new(network), table, request)).await
}

pub(crate) async fn entry(
    State(context): State<Context>,
    Names((network, table, key)): Names<(String, String, String)>,
    _: Asked<Nothing>,
) -> Reply {
    found(&context, context.api.entry(NetworkRef::new(network), table, key)).await
}

pub(crate) async fn update(
    State(context): State<Context>,
    Names((network, table, key)): Names<(String, String, String)>,
    Body(request): Body<EntryUpdate>,
) -> Reply {
    let network = NetworkRef::new(network);
    found(&context, context.api.update_entry(network, table, key, request)).await
}

pub(crate) async fn remove(
    State(context): State<Context>,
    Names((network, table, key)): Names<(String, String, String)>,
    _: Asked<Nothing>,
) -> Reply {
    done(&context, context.api.delete_entry(NetworkRef::new(network), table, key)).await
}

pub(crate) async fn watch(
    State(context): State<Context>,
    Names(network): Names<String>,
    Asked(query): Asked<WatchQuery>,
) -> Reply {
    let lines = bounded(&context, context.api.watch(NetworkRef::new(network), query)).await?;
    Ok(stream_lines(lines, context.stop.clone()))
}

/// Sends each line as it comes, until there are no more or the agent stops.
fn stream_lines(lines: mpsc::Receiver<WatchLine>, stop: CancellationToken) -> Response {
    let body = stream::unfold(Some((lines, stop)), |state| async move {
        let (mut lines, stop) = state?;
        let line = tokio::select! {
            biased;
            () = stop.cancelled() => Some(WatchLine::Error(
                ControlError::unavailable("the agent stops")
                    .with_hint("watch again once it is back"),
            )),
            line = lines.recv() => line,
        }?;
        let is_last = matches!(line, WatchLine::Error(_));
        let mut json = serde_json::to_vec(&line).ok()?;
        json.push(b'\n');
        let chunk = Ok::<_, std::convert::Infallible>(Bytes::from(json));
        Some((chunk, (!is_last).then_some((lines, stop))))
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], HttpBody::from_stream(body)).into_response()
}
