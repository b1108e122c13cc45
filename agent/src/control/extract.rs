//! Requests as typed values. Whatever is wrong with their form is answered with a clear sentence.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use weft_api::control::{ControlError, ErrorKind};

use crate::control::respond::Refusal;
use crate::control::server::Context;

/// How many bytes a route's body may have, where that is not what all may.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyBytes(pub(crate) usize);

/// A JSON body. No body at all, and no word about its type, counts as `{}`.
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Context> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, context: &Context) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        let is_typed = check_type(&parts.headers)?;
        let own = parts.extensions.get::<BodyBytes>().map(|bytes| bytes.0);
        let limit = own.unwrap_or(context.limits.body_bytes);
        let read = Limited::new(body, limit).collect();
        let bytes = match tokio::time::timeout(context.limits.read, read).await {
            Ok(Ok(collected)) => collected.to_bytes(),
            Ok(Err(error)) => return Err(unreadable(&*error, limit)),
            Err(_) => {
                return Err(Refusal::with_status(
                    StatusCode::REQUEST_TIMEOUT,
                    ControlError::new(
                        ErrorKind::Timeout,
                        format!(
                            "the request's body did not arrive within {} s",
                            context.limits.read.as_secs_f32()
                        ),
                    ),
                ));
            }
        };
        if bytes.is_empty() && !is_typed {
            return parse(&parts.method, &parts.uri, &Bytes::from_static(b"{}"));
        }
        if !is_typed {
            return Err(wrong_type("nothing"));
        }
        parse(&parts.method, &parts.uri, &bytes)
    }
}

fn check_type(headers: &HeaderMap) -> Result<bool, Refusal> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Ok(false);
    };
    let text = String::from_utf8_lossy(value.as_bytes());
    let essence = text.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(true);
    }
    Err(wrong_type(&format!("`{essence}`")))
}

fn wrong_type(found: &str) -> Refusal {
    Refusal::with_status(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ControlError::invalid(format!(
            "the request's body has to be `application/json`, and {found} is what its \
             Content-Type says"
        ))
        .with_hint("send the header `Content-Type: application/json`"),
    )
}

fn unreadable(error: &(dyn std::error::Error + 'static), limit: usize) -> Refusal {
    if error.is::<LengthLimitError>() {
        return Refusal::with_status(
            StatusCode::PAYLOAD_TOO_LARGE,
            ControlError::invalid(format!("the request's body is larger than {limit} bytes")),
        );
    }
    ControlError::invalid("the request's body broke off").into()
}

fn parse<T: DeserializeOwned>(
    method: &Method,
    uri: &Uri,
    bytes: &Bytes,
) -> Result<Body<T>, Refusal> {
    serde_json::from_slice(bytes).map(Body).map_err(|error| {
        ControlError::invalid(format!(
            "the request's body is not what `{method} {}` takes: {error}",
            uri.path()
        ))
        .into()
    })
}

/// The variables of a path.
pub(crate) struct Names<T>(pub(crate) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Context> for Names<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, context: &Context) -> Result<Self, Refusal> {
        if parts.uri.path().split('/').skip(1).any(str::is_empty) {
            return Err(ControlError::invalid(format!(
                "a name is missing in the path `{}`",
                parts.uri.path()
            ))
            .into());
        }
        match Path::<T>::from_request_parts(parts, context).await {
            Ok(Path(names)) => Ok(Self(names)),
            Err(_) => Err(ControlError::invalid(format!(
                "`{}` is not a path of UTF-8 text",
                parts.uri.path()
            ))
            .into()),
        }
    }
}

/// The query of a request.
pub(crate) struct Asked<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequestParts<Context> for Asked<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, context: &Context) -> Result<Self, Refusal> {
        match Query::<T>::from_request_parts(parts, context).await {
            Ok(Query(query)) => Ok(Self(query)),
            Err(error) => Err(ControlError::invalid(format!(
                "`?{}` is not what `{}` can be asked: {}",
                parts.uri.query().unwrap_or_default(),
                parts.uri.path(),
                error.body_text()
            ))
            .into()),
        }
    }
}

/// The query of a resource that takes none.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}
