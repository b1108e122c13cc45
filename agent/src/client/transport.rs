//! Calls as HTTP over the socket.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use weft_api::control::{ControlError, ListFilter};

use crate::client::{Called, Client, ClientError, WatchStream};

/// Bytes of an answer, at most: a table of 100,000 entries fits.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// How long a call waits for its answer. Longer than any operation of the agent may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(150);

/// A path and its query.
#[derive(Debug)]
pub(crate) struct Target(String);

impl Target {
    pub(crate) fn new(path: impl Into<String>) -> Self {
        Self(path.into())
    }

    pub(crate) fn query(mut self, key: &str, value: &str) -> Self {
        let joint = if self.0.contains('?') { '&' } else { '?' };
        self.0 += &format!("{joint}{key}={}", segment(value));
        self
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn filter(self, filter: &ListFilter) -> Self {
        let target = match &filter.name {
            Some(name) => self.query("name", name),
            None => self,
        };
        match &filter.partial_id {
            Some(prefix) => target.query("partial-id", prefix),
            None => target,
        }
    }
}

/// Writes `text` so that it stands for one segment of a path or one value of a query (RFC 3986,
/// section 2: all but the unreserved characters in percent form).
pub(crate) fn segment(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

impl Client {
    pub(crate) async fn get<T: DeserializeOwned>(&self, target: Target) -> Called<T> {
        let body = self.call(Method::GET, target, Bytes::new()).await?;
        self.decode(&body)
    }

    pub(crate) async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        target: Target,
        request: &impl Serialize,
    ) -> Called<T> {
        let body = self.encode(request)?;
        let body = self.call(method, target, body).await?;
        self.decode(&body)
    }

    pub(crate) async fn send_done(
        &self,
        method: Method,
        target: Target,
        request: &impl Serialize,
    ) -> Called<()> {
        let body = self.encode(request)?;
        self.call(method, target, body).await.map(drop)
    }

    pub(crate) async fn delete(&self, target: Target) -> Called<()> {
        self.call(Method::DELETE, target, Bytes::new()).await.map(drop)
    }

    pub(crate) async fn open_watch(&self, target: Target) -> Called<WatchStream> {
        let response = self.request(Method::GET, target, Bytes::new()).await?;
        if response.status().is_success() {
            return Ok(WatchStream::new(self.socket().to_owned(), response.into_body()));
        }
        let status = response.status();
        Err(self.refused(status, &self.collect(response.into_body()).await?))
    }

    async fn call(&self, method: Method, target: Target, body: Bytes) -> Called<Bytes> {
        let whole = async {
            let response = self.request(method, target, body).await?;
            let status = response.status();
            let body = self.collect(response.into_body()).await?;
            if status.is_success() { Ok(body) } else { Err(self.refused(status, &body)) }
        };
        match tokio::time::timeout(CALL_TIMEOUT, whole).await {
            Ok(called) => called,
            Err(_) => Err(self.broken(format!("none within {} s", CALL_TIMEOUT.as_secs()))),
        }
    }

    async fn request(
        &self,
        method: Method,
        target: Target,
        body: Bytes,
    ) -> Called<Response<Incoming>> {
        let stream = UnixStream::connect(self.socket())
            .await
            .map_err(|source| ClientError::Socket { path: self.socket().to_owned(), source })?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.broken(error.to_string()))?;
        // Ends when the answer's body has been read or dropped; its error is the answer's too.
        tokio::spawn(connection);
        let mut request =
            Request::builder().method(method).uri(&target.0).header(header::HOST, "weft");
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request =
            request.body(Full::new(body)).map_err(|error| self.broken(error.to_string()))?;
        sender.send_request(request).await.map_err(|error| self.broken(error.to_string()))
    }

    async fn collect(&self, body: Incoming) -> Called<Bytes> {
        Limited::new(body, ANSWER_BYTES_MAX)
            .collect()
            .await
            .map(http_body_util::Collected::to_bytes)
            .map_err(|error| self.broken(error.to_string()))
    }

    fn encode(&self, request: &impl Serialize) -> Called<Bytes> {
        serde_json::to_vec(request).map(Bytes::from).map_err(|error| self.broken(error.to_string()))
    }

    fn decode<T: DeserializeOwned>(&self, body: &[u8]) -> Called<T> {
        serde_json::from_slice(body).map_err(|error| self.broken(error.to_string()))
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> ClientError {
        match serde_json::from_slice::<ControlError>(body) {
            Ok(error) => ClientError::Refused(error),
            Err(_) => self.broken(format!("status {status} without a reason")),
        }
    }

    fn broken(&self, reason: String) -> ClientError {
        ClientError::Broken { path: self.socket().to_owned(), reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_keeps_no_character_that_means_something_in_a_path() {
        assert_eq!(segment("blue-1.x_~"), "blue-1.x_~");
        assert_eq!(segment("a/b?c=d&e f%é"), "a%2Fb%3Fc%3Dd%26e%20f%25%C3%A9");
    }

    #[test]
    fn filters_become_a_query() {
        let filter = ListFilter { name: Some("a b".to_owned()), partial_id: Some("0f".to_owned()) };
        assert_eq!(
            Target::new("/networks").filter(&filter).0,
            "/networks?name=a%20b&partial-id=0f"
        );
    }
}
