//! One call of a plugin: a POST on a connection of its own, tried again while the plugin cannot be
//! reached.

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, sleep, timeout};
use weft_api::Kind;
use weft_api::error::Error;
use weft_api::plugin::MEDIA_TYPE;

use super::Places;
use super::location::Location;

/// Bytes of an answer, at most.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Characters of an answer that is quoted to people, at most.
const QUOTED_MAX: usize = 500;
/// What engines send by a unix socket, where no host is meant.
const UNIX_HOST: &str = "plugin.moby.localhost";

/// A call to make.
pub(super) struct Call<'c> {
    /// The plugin's name.
    pub(super) plugin: &'c str,
    /// With a slash in front.
    pub(super) path: &'c str,
    /// `null` sends an empty body.
    pub(super) arguments: &'c Value,
    /// Where it is looked for, and how long it is waited for.
    pub(super) places: &'c Places,
}

/// How one try failed.
enum Failed {
    /// It may be reached later.
    Reach(Error),
    /// To try again is of no use.
    Settled(Error),
}

impl Call<'_> {
    /// Makes the call. The protocol is at least once: a try whose connection broke off half-way
    /// is repeated as well.
    pub(super) async fn make(&self) -> Result<Value, Error> {
        let Places { directories, own, patience } = self.places;
        let deadline = Instant::now() + patience.reach;
        let mut pause = patience.pause;
        loop {
            let tried = match directories.locate(self.plugin, own).await {
                Ok(location) => timeout(patience.answer, self.attempt(&location))
                    .await
                    .unwrap_or_else(|_| Err(Failed::Settled(self.late()))),
                // A plugin that is started anew has no socket for a moment.
                Err(error) if error.kind == Kind::NotFound => Err(Failed::Reach(error)),
                Err(error) => Err(Failed::Settled(error)),
            };
            match tried {
                Ok(answer) => return Ok(answer),
                Err(Failed::Settled(error)) => return Err(error),
                Err(Failed::Reach(error)) if Instant::now() + pause > deadline => {
                    return Err(error);
                }
                Err(Failed::Reach(error)) => {
                    tracing::debug!(plugin = self.plugin, path = self.path, %error, "tried again");
                    sleep(pause).await;
                    pause *= 2;
                }
            }
        }
    }

    async fn attempt(&self, location: &Location) -> Result<Value, Failed> {
        match location {
            Location::Unix(path) => {
                let at = path.display().to_string();
                let stream = UnixStream::connect(path).await.map_err(|e| self.unreached(&at, e))?;
                self.exchange(stream, &at, UNIX_HOST).await
            }
            Location::Tcp(authority) => {
                let stream = TcpStream::connect(authority)
                    .await
                    .map_err(|e| self.unreached(authority, e))?;
                self.exchange(stream, authority, authority).await
            }
        }
    }

    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        at: &str,
        host: &str,
    ) -> Result<Value, Failed> {
        let broken = |error: hyper::Error| {
            // What is no HTTP will be none the next time.
            if error.is_parse() || error.is_user() {
                Failed::Settled(self.unavailable(format!("answered no HTTP at `{at}`: {error}")))
            } else {
                self.unreached(at, error)
            }
        };
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let request = self.request(host)?;
        let answered = async {
            let response = sender.send_request(request).await.map_err(broken)?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            match body {
                Ok(body) => self.read(status, &body.to_bytes()).map_err(Failed::Settled),
                Err(error) if error.is::<LengthLimitError>() => Err(Failed::Settled(
                    self.unavailable(format!("answered more than {ANSWER_BYTES_MAX} bytes")),
                )),
                Err(error) => Err(self.unreached(at, error)),
            }
        };
        // The connection is driven here and ends here; its error is the answer's, too.
        tokio::pin!(answered);
        tokio::select! {
            answer = &mut answered => answer,
            _ = connection => answered.await,
        }
    }

    fn request(&self, host: &str) -> Result<Request<Full<Bytes>>, Failed> {
        let unsendable =
            |error: String| Failed::Settled(Error::internal(format!("call of a plugin: {error}")));
        let body = if self.arguments.is_null() {
            Bytes::new()
        } else {
            serde_json::to_vec(self.arguments).map_err(|e| unsendable(e.to_string()))?.into()
        };
        Request::post(self.path)
            .header(header::HOST, host)
            .header(header::ACCEPT, MEDIA_TYPE)
            .header(header::CONTENT_TYPE, MEDIA_TYPE)
            .body(Full::new(body))
            .map_err(|error| unsendable(error.to_string()))
    }

    /// Reads an answer: the plugin's own error is in a member, or is all of it.
    fn read(&self, status: StatusCode, body: &[u8]) -> Result<Value, Error> {
        let answer = serde_json::from_slice::<Value>(body);
        let refusal = answer.as_ref().ok().and_then(refusal).map(quoted);
        match (status, refusal, answer) {
            (StatusCode::NOT_FOUND, _, _) => Err(Error::not_implemented(format!(
                "plugin `{}` does not implement {}",
                self.plugin,
                self.path.trim_start_matches('/')
            ))),
            (_, Some(reason), _) => {
                Err(Error::forbidden(format!("plugin `{}`: {reason}", self.plugin)))
            }
            (StatusCode::OK, None, Ok(answer)) => Ok(answer),
            (StatusCode::OK, None, Err(error)) => {
                Err(self.unavailable(format!("answered no JSON to {}: {error}", self.path)))
            }
            (status, None, _) => {
                let text = String::from_utf8_lossy(body);
                // It has answered, so to repeat the call is of no use.
                Err(Error::forbidden(format!(
                    "plugin `{}` answered {status}: {}",
                    self.plugin,
                    quoted(text.trim())
                )))
            }
        }
    }

    fn unavailable(&self, what: impl std::fmt::Display) -> Error {
        Error::unavailable(format!("plugin `{}` {what}", self.plugin))
    }

    fn unreached(&self, at: &str, error: impl std::fmt::Display) -> Failed {
        Failed::Reach(self.unavailable(format!("cannot be reached at `{at}`: {error}")))
    }

    fn late(&self) -> Error {
        let seconds = self.places.patience.answer.as_secs_f32();
        self.unavailable(format!("did not answer {} within {seconds} s", self.path))
    }
}

/// Finds the reason of a refusal: `Err` of network drivers and of failed answers, `Error` of IPAM
/// drivers.
fn refusal(answer: &Value) -> Option<&str> {
    ["Err", "Error"]
        .iter()
        .filter_map(|member| answer.get(member)?.as_str())
        .find(|reason| !reason.is_empty())
}

/// Shortens what a plugin said, and keeps it on one line.
fn quoted(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(QUOTED_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: u16, body: &str) -> Result<Value, Error> {
        let (arguments, places) = (&Value::Null, &Places::default());
        let call = Call { plugin: "blue", path: "/IpamDriver.RequestPool", arguments, places };
        call.read(StatusCode::from_u16(status).unwrap(), body.as_bytes())
    }

    #[test]
    fn both_error_members_are_refusals_whatever_the_status() {
        let table = [
            (200, r#"{"Err":"no"}"#),
            (200, r#"{"Error":"no","PoolID":"x"}"#),
            (500, r#"{"Err":"no"}"#),
        ];
        for (status, body) in table {
            let error = read(status, body).unwrap_err();
            assert_eq!((error.kind, error.text.as_str()), (Kind::Forbidden, "plugin `blue`: no"));
        }
        assert!(read(200, r#"{"Err":"","Error":null}"#).is_ok());
    }

    #[test]
    fn an_answer_without_a_reason_is_told_as_it_is() {
        let error = read(500, "it\nbroke\n").unwrap_err();
        assert_eq!(error.kind, Kind::Forbidden);
        assert!(error.text.contains("500") && error.text.ends_with("it broke"), "{error}");
        assert_eq!(read(200, "<html>").unwrap_err().kind, Kind::Unavailable);
        let error = read(404, "page not found").unwrap_err();
        assert_eq!(error.kind, Kind::NotImplemented);
        assert!(error.text.contains("IpamDriver.RequestPool"), "{error}");
        assert!(read(500, &"x".repeat(5000)).unwrap_err().text.len() < 600);
    }
}
