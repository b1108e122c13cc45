//! `/cluster`, `/members`, `/status`, `/doctor`, `/ipam`.

use axum::extract::State;
use weft_api::control::{
    ForgetRequest, InitRequest, JoinRequest, KeyQuery, LeaveRequest, RotateRequest,
};

use crate::control::extract::{Asked, Body, Names, Nothing};
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

pub(crate) async fn keys(State(context): State<Context>, _: Asked<Nothing>) -> Reply {
    found(&context, context.api.keys()).await
}

pub(crate) async fn rotate_key(
    State(context): State<Context>,
    Body(request): Body<RotateRequest>,
) -> Reply {
    found(&context, context.api.rotate_key(request)).await
}

pub(crate) async fn retire_key(
    State(context): State<Context>,
    Names(key): Names<String>,
    Asked(query): Asked<KeyQuery>,
) -> Reply {
    done(&context, context.api.retire_key(key, query)).await
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
