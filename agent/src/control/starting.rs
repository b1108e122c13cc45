//! What the control socket answers while the agent takes up what an earlier start left.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::watch;
use weft_api::control::ControlError;

use super::respond::Refusal;

/// Whether the agent has started; a sender that is dropped ends the wait.
pub(crate) type Started = watch::Receiver<bool>;

/// Lets a request pass once the agent has started. A person's command waits for that. A CNI
/// runtime's does not: its plugin has an answer for an agent that is not there yet.
pub(crate) async fn gate(
    State(mut started): State<Started>,
    request: Request,
    next: Next,
) -> Response {
    if !*started.borrow() {
        if is_of_runtime(request.uri().path()) {
            return refusal().into_response();
        }
        if started.wait_for(|started| *started).await.is_err() {
            return refusal().into_response();
        }
    }
    next.run(request).await
}

fn is_of_runtime(path: &str) -> bool {
    path.strip_prefix("/attachments").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn refusal() -> Refusal {
    ControlError::unavailable("the agent is starting and does not know its endpoints yet")
        .with_hint("try again in a moment")
        .into()
}
