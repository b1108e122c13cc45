//! What the control socket answers while the agent takes up what an earlier start left.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::watch;
use tokio::time::timeout;
use weft_api::control::ControlError;

use super::respond::Refusal;

/// Whether the agent has started; a sender that is dropped ends the wait.
pub(crate) type Started = watch::Receiver<bool>;

/// How long a CNI runtime's request waits, as its plugin waits for an agent that is not there.
const PATIENCE: Duration = Duration::from_millis(900);

/// Lets a request pass once the agent has started. A person's command waits for that, a CNI
/// runtime's only for a moment, and its question for the status not at all: the plugin has an
/// answer for an agent that is not there yet.
pub(crate) async fn gate(
    State(mut started): State<Started>,
    request: Request,
    next: Next,
) -> Response {
    let patience = match request.uri().path() {
        "/attachments/status" => Duration::ZERO,
        path if is_of_runtime(path) => PATIENCE,
        _ => Duration::MAX,
    };
    let has_started = *started.borrow()
        || matches!(timeout(patience, started.wait_for(|is| *is)).await, Ok(Ok(_)));
    if has_started { next.run(request).await } else { refusal().into_response() }
}

fn is_of_runtime(path: &str) -> bool {
    path.strip_prefix("/attachments").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn refusal() -> Refusal {
    ControlError::unavailable("the agent is starting and does not know its endpoints yet")
        .with_hint("try again in a moment")
        .into()
}
