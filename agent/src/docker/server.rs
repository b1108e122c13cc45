//! The plugin's socket: HTTP and JSON in, calls of [`Plugin`], HTTP and JSON out.
//!
//! Whatever comes in gets an answer that the engine can show its user: a call that failed has
//! status 200 and the member that its protocol knows (`Err` for network drivers, `Error` for IPAM
//! drivers); a request that is none has another status and both members.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;
use weft_api::control::ControlError;
use weft_api::driver::NETWORK_PLUGIN_ENDPOINT_TYPE;
use weft_api::ipam::PLUGIN_ENDPOINT_TYPE;
use weft_api::plugin::{ACTIVATE, Empty, MEDIA_TYPE, Manifest, ipam, network};

use super::Plugin;
use crate::control::{Answer, BindError, Bounds, Listening, Owner, Peer, drive, may_speak};

/// Bytes of a request's body.
const BODY_BYTES_MAX: usize = 1 << 20;
/// How long a request's head, and then its body, may take to arrive.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
const BOUNDS: Bounds = Bounds { connections: 256, drain: Duration::from_secs(5) };

/// The socket, bound and not yet served.
#[derive(Debug)]
pub struct PluginServer(Listening);

impl PluginServer {
    /// Makes the socket (mode 0660), in place of one left by an agent that is gone.
    ///
    /// # Errors
    /// [`BindError`]; nothing is changed then.
    pub fn bind(path: &Path) -> Result<Self, BindError> {
        Listening::bind(path).map(Self)
    }

    /// Serves until `stop`, then lets the answers under way finish and removes the socket.
    pub async fn run(self, plugin: Arc<Plugin>, stop: CancellationToken) {
        tracing::info!(socket = %self.0.path().display(), "Docker plugin ready");
        let owner = self.0.owner();
        let each_stop = stop.clone();
        let each = move |stream: UnixStream| {
            speaks(&stream, owner).then(|| serve(stream, plugin.clone(), each_stop.clone()))
        };
        self.0.run(BOUNDS, stop, each).await;
    }
}

fn speaks(stream: &UnixStream, owner: Owner) -> bool {
    let allowed =
        stream.peer_cred().is_ok_and(|credentials| may_speak(&Peer::of(&credentials), owner));
    if !allowed {
        tracing::warn!("connection to the plugin's socket refused: not root, its owner or group");
    }
    allowed
}

async fn serve(stream: UnixStream, plugin: Arc<Plugin>, stop: CancellationToken) {
    let service = service_fn(move |request| {
        let plugin = plugin.clone();
        async move { Ok::<_, Infallible>(respond(plugin, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // Whoever ends its request early still hears why it is none.
        .half_close(true)
        .header_read_timeout(READ_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    drive(connection, stop).await;
}

async fn respond(plugin: Arc<Plugin>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    if parts.method != Method::POST {
        let text = format!("`{} {path}`: calls of the plugin protocol are POST", parts.method);
        return refuse(StatusCode::METHOD_NOT_ALLOWED, &text);
    }
    if let Some(kind) = parts.headers.get(CONTENT_TYPE)
        && !String::from_utf8_lossy(kind.as_bytes()).to_ascii_lowercase().contains("json")
    {
        let kind = String::from_utf8_lossy(kind.as_bytes());
        let text = format!("the body of `{path}` is said to be `{kind}`, and JSON is expected");
        return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, &text);
    }
    let read = Limited::new(body, BODY_BYTES_MAX).collect();
    let body = match tokio::time::timeout(READ_TIMEOUT, read).await {
        Ok(Ok(collected)) => collected.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let text = format!("the body of `{path}` is larger than {BODY_BYTES_MAX} bytes");
            return refuse(StatusCode::PAYLOAD_TOO_LARGE, &text);
        }
        Ok(Err(_)) => {
            let text = format!("the body of `{path}` broke off");
            return refuse(StatusCode::BAD_REQUEST, &text);
        }
        Err(_) => {
            let text = format!("the body of `{path}` did not arrive in time");
            return refuse(StatusCode::REQUEST_TIMEOUT, &text);
        }
    };
    // On a task of its own: an engine that goes away leaves nothing half-made.
    plugin.engine_heard();
    let started = std::time::Instant::now();
    let call = path.clone();
    let outcome = tokio::spawn(async move { dispatch(&plugin, &call, &body).await }).await;
    let outcome = outcome.unwrap_or_else(|error| {
        Outcome::Failed(ControlError::internal(format!("the call broke off: {error}")))
    });
    let took_us = started.elapsed().as_micros();
    let refusal = match &outcome {
        Outcome::Done(_) | Outcome::NotACall => None,
        Outcome::Failed(error) | Outcome::Malformed(error) => Some(error),
    };
    match refusal {
        None => tracing::debug!(call = path, took_us, "call of an engine"),
        Some(error) => {
            let hint = error.hint.as_deref();
            tracing::info!(call = path, took_us, %error, hint, "call of an engine refused");
        }
    }
    outcome.into_response(&path)
}

/// How a call ended.
enum Outcome {
    /// The answer's JSON.
    Done(Vec<u8>),
    /// The call was understood and refused.
    Failed(ControlError),
    /// The body is not what the call takes.
    Malformed(ControlError),
    /// There is no such call.
    NotACall,
}

impl Outcome {
    fn into_response(self, path: &str) -> Response<Full<Bytes>> {
        match self {
            Self::Done(json) => json_response(StatusCode::OK, json),
            Self::Malformed(error) => refuse(StatusCode::BAD_REQUEST, &in_one_line(&error)),
            Self::NotACall => {
                refuse(StatusCode::NOT_FOUND, &format!("`{path}` is no call of this plugin"))
            }
            Self::Failed(error) => {
                let text = in_one_line(&error);
                let json = if path.starts_with(ipam::PATH) {
                    encode(&ipam::Failure { error: text })
                } else {
                    encode(&network::Failure { err: text })
                };
                json_response(StatusCode::OK, json)
            }
        }
    }
}

/// Calls what a path names.
async fn dispatch(plugin: &Arc<Plugin>, path: &str, body: &[u8]) -> Outcome {
    if path == ACTIVATE {
        let implements = [NETWORK_PLUGIN_ENDPOINT_TYPE, PLUGIN_ENDPOINT_TYPE];
        let implements = implements.map(ToOwned::to_owned).to_vec();
        return done(Ok(Manifest { implements }));
    }
    if let Some(call) = path.strip_prefix(network::PATH) {
        return dispatch_network(plugin, call, path, body).await;
    }
    if let Some(call) = path.strip_prefix(ipam::PATH) {
        return dispatch_ipam(plugin, call, path, body).await;
    }
    Outcome::NotACall
}

/// Decodes the body, or ends the function that says so.
macro_rules! decoded {
    ($path:expr, $body:expr) => {
        match decode($path, $body) {
            Ok(request) => request,
            Err(error) => return Outcome::Malformed(error),
        }
    };
}

async fn dispatch_network(plugin: &Arc<Plugin>, call: &str, path: &str, body: &[u8]) -> Outcome {
    match call {
        "GetCapabilities" => done(Ok(plugin.network_capabilities())),
        "AllocateNetwork" => done(plugin.allocate_network(decoded!(path, body)).await),
        "FreeNetwork" => empty(plugin.free_network(decoded!(path, body)).await),
        "CreateNetwork" => empty(plugin.create_network(decoded!(path, body)).await),
        "DeleteNetwork" => empty(plugin.delete_network(decoded!(path, body)).await),
        "CreateEndpoint" => done(plugin.create_endpoint(decoded!(path, body)).await),
        "DeleteEndpoint" => empty(plugin.delete_endpoint(decoded!(path, body)).await),
        "EndpointOperInfo" => done(plugin.endpoint_oper_info(&decoded!(path, body))),
        "Join" => done(plugin.join(decoded!(path, body)).await),
        "Leave" => empty(plugin.leave(decoded!(path, body)).await),
        "ProgramExternalConnectivity" => {
            empty(plugin.program_external_connectivity(decoded!(path, body)).await)
        }
        "RevokeExternalConnectivity" => {
            empty(plugin.revoke_external_connectivity(decoded!(path, body)).await)
        }
        "DiscoverNew" => empty(plugin.discover_new(&decoded!(path, body))),
        "DiscoverDelete" => empty(plugin.discover_delete(&decoded!(path, body))),
        _ => Outcome::NotACall,
    }
}

async fn dispatch_ipam(plugin: &Arc<Plugin>, call: &str, path: &str, body: &[u8]) -> Outcome {
    match call {
        "GetCapabilities" => done(Ok(Plugin::ipam_capabilities())),
        "GetDefaultAddressSpaces" => done(Ok(Plugin::address_spaces())),
        "RequestPool" => done(plugin.request_pool(decoded!(path, body)).await),
        "ReleasePool" => empty(plugin.release_pool(decoded!(path, body)).await),
        "RequestAddress" => done(plugin.request_address(decoded!(path, body)).await),
        "ReleaseAddress" => empty(plugin.release_address(decoded!(path, body)).await),
        _ => Outcome::NotACall,
    }
}

/// A call that an engine repeats can come with an empty body: then what it names is missing.
fn decode<T: DeserializeOwned>(path: &str, body: &[u8]) -> Answer<T> {
    let body = if body.iter().all(u8::is_ascii_whitespace) { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| {
        ControlError::invalid(format!("the body is not what `{path}` takes: {error}"))
    })
}

fn done<T: Serialize>(answer: Answer<T>) -> Outcome {
    match answer {
        Ok(answer) => Outcome::Done(encode(&answer)),
        Err(error) => Outcome::Failed(error),
    }
}

fn empty(answer: Answer<()>) -> Outcome {
    done(answer.map(|()| Empty {}))
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("messages have text keys only")
}

/// An engine shows its user one line.
fn in_one_line(error: &ControlError) -> String {
    match &error.hint {
        Some(hint) => format!("{} (hint: {hint})", error.error),
        None => error.error.clone(),
    }
}

/// Both members, since it is not sure which protocol was meant.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Refusal<'t> {
    err: &'t str,
    error: &'t str,
}

fn refuse(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    json_response(status, encode(&Refusal { err: text, error: text }))
}

fn json_response(status: StatusCode, json: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(json)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    response
}
