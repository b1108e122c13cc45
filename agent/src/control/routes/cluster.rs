//! `/cluster`, `/members`, `/status`, `/doctor`, `/ipam`.

use axum::extract::State;
use weft_api::control::{ForgetRequest, InitRequest, JoinRequest, LeaveRequest};

use crate::control::extract::{Asked, Body, Nothing};
use crate::control::respond::{Reply, created, done, found};
use crate::control::server::Context;

pub(crate) async fn init(
    State(context): State<Context>,
    Body(request): Body<InitRequest>,
) -> Reply {
    created(&context, context.api.init(request)).await
}

pub(crate) async fn join(
    State(context): State<Context>,
    Body(request): Body<JoinRequest>,
) -> Reply {
    created(&context, context.api.join(request)).await
}

pub(crate) async fn leave(
    State(context): State<Context>,
    Body(request): Body<LeaveRequest>,
) -> Reply {
    done(&context, context.api.leave(request)).await
}

pub(crate) async fn forget(
    State(context): State<Context>,
    Body(request): Body<ForgetRequest>,
) -> Reply {
    found(&context, context.api.forget(request)).await
}

pub(crate) async fn token(State(context): State<Context>, _: Asked<Nothing>) -> Reply {
    found(&context, context.api.token()).await
}

pub(crate) async fn members(State(context): State<Context>, _: Asked<Nothing>) -> Reply {
    found(&context, context.api.members()).await
}

pub(crate) async fn status(State(context): State<Context>, _: Asked<Nothing>) -> Reply {
    found(&context, context.api.status()).await
}

pub(crate) async fn doctor(State(context): State<Context>, _: Asked<Nothing>) -> Reply {
    found(&context, context.api.doctor()).await
}

pub(crate) async fn ipam(State(context): State<Context>, _: Asked<Nothing>) -> Reply {
    found(&context, context.api.ipam()).await
}
