//! Answers as HTTP responses.

use std::future::Future;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use weft_api::control::{ControlError, ErrorKind};

use crate::control::Answer;
use crate::control::server::Context;

/// A refusal: mostly a [`ControlError`] with the status of its kind; where HTTP itself has a
/// finer word for it (415, 413, 405), with that.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    error: ControlError,
}

impl Refusal {
    pub(crate) const fn with_status(status: StatusCode, error: ControlError) -> Self {
        Self { status, error }
    }
}

impl From<ControlError> for Refusal {
    fn from(error: ControlError) -> Self {
        let status =
            StatusCode::from_u16(error.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, error }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(self.error)).into_response()
    }
}

/// What a handler gives back.
pub(crate) type Reply = Result<Response, Refusal>;

/// Waits for an operation no longer than it may take.
pub(crate) async fn bounded<T>(
    context: &Context,
    operation: impl Future<Output = Answer<T>>,
) -> Result<T, Refusal> {
    match tokio::time::timeout(context.limits.operation, operation).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(ControlError::new(
            ErrorKind::Timeout,
            format!("the operation took longer than {} s", context.limits.operation.as_secs()),
        )
        .with_hint("it may still complete; `weft status` and `weft members` show how the node is")
        .into()),
    }
}

/// Answers 200 with what the operation returns.
pub(crate) async fn found<T: Serialize>(
    context: &Context,
    operation: impl Future<Output = Answer<T>>,
) -> Reply {
    bounded(context, operation).await.map(|value| Json(value).into_response())
}

/// Answers 201 with what the operation made.
pub(crate) async fn created<T: Serialize>(
    context: &Context,
    operation: impl Future<Output = Answer<T>>,
) -> Reply {
    bounded(context, operation)
        .await
        .map(|value| (StatusCode::CREATED, Json(value)).into_response())
}

/// Answers 204.
pub(crate) async fn done(context: &Context, operation: impl Future<Output = Answer<()>>) -> Reply {
    bounded(context, operation).await.map(|()| StatusCode::NO_CONTENT.into_response())
}
