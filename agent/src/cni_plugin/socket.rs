//! Calls of the agent: one HTTP exchange a connection, blocking, every wait bounded.

mod exchange;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;
use socket2::{Domain, SockAddr, Socket, Type};
use weft_api::control::{
    AttachmentAdd, AttachmentGc, AttachmentRef, AttachmentResource, AttachmentStatus,
    AttachmentsGone, ControlError,
};

use crate::client::{attachment_target, segment};
use exchange::Answer;

/// How long ADD waits for an agent that is not there: it may be starting again.
const PATIENCE: Duration = Duration::from_millis(900);
/// How often it looks meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(30);
/// How long ADD and GC take at most; the agent itself ends an operation sooner.
const WORK: Duration = Duration::from_secs(130);
/// How long DEL waits before the agent is told later.
const DETACH: Duration = Duration::from_secs(60);
/// How long a look takes at most.
const LOOK: Duration = Duration::from_secs(10);
/// How long STATUS takes at most; runtimes ask every few seconds.
const STATUS: Duration = Duration::from_secs(2);

/// Why a call came to nothing.
#[derive(Debug)]
pub(super) enum CallError {
    /// Nobody listens. Nothing was changed.
    Absent(String),
    /// The answer did not come, or broke off. The call may have been carried out, or may be yet.
    Lost(String),
    /// The socket is not ours to use, or no agent's.
    Unusable(String),
    /// The agent said no.
    Refused(ControlError),
}

type Called<T> = Result<T, CallError>;

/// The agent of this host.
#[derive(Debug)]
pub(super) struct Agent {
    socket: PathBuf,
}

impl Agent {
    /// The one that listens there.
    pub(super) fn at(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// Its control socket.
    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Makes an attachment. An agent that is not there is waited for a little.
    pub(super) fn add(&self, request: &AttachmentAdd) -> Called<AttachmentResource> {
        let give_up = Instant::now() + PATIENCE;
        loop {
            match self.send("/attachments", request) {
                Err(CallError::Absent(_)) if Instant::now() + LOOK_EVERY < give_up => {
                    thread::sleep(LOOK_EVERY);
                }
                ended => return ended,
            }
        }
    }

    /// Looks at an attachment.
    pub(super) fn attachment(&self, attachment: &AttachmentRef) -> Called<AttachmentResource> {
        decode(&self.call("GET", attachment_target(attachment).as_str(), &[], LOOK)?)
    }

    /// Ends an attachment, if it is there.
    pub(super) fn delete(&self, attachment: &AttachmentRef) -> Called<()> {
        self.call("DELETE", attachment_target(attachment).as_str(), &[], DETACH).map(drop)
    }

    /// Ends attachments that are not in use.
    pub(super) fn gc(&self, request: &AttachmentGc) -> Called<AttachmentsGone> {
        self.send("/attachments/gc", request)
    }

    /// Asks whether ADD can be served.
    pub(super) fn status(&self, network: &str) -> Called<AttachmentStatus> {
        let target = format!("/attachments/status?network={}", segment(network));
        decode(&self.call("GET", &target, &[], STATUS)?)
    }

    fn send<T: DeserializeOwned>(&self, target: &str, request: &impl Serialize) -> Called<T> {
        let body = serde_json::to_vec(request).map_err(|error| {
            CallError::Unusable(format!("the request has no JSON form: {error}"))
        })?;
        decode(&self.call("POST", target, &body, WORK)?)
    }

    /// One call, from connecting to the last byte of the answer, within a time.
    fn call(&self, method: &str, target: &str, body: &[u8], within: Duration) -> Called<Vec<u8>> {
        let deadline = Instant::now() + within;
        let mut stream = self.connect(deadline)?;
        let request = exchange::request(method, target, body);
        let lost = |error: io::Error| CallError::Lost(self.explain(&error));
        // An agent that refuses a call may do so before it has read all of it.
        let sent = stream.write_all(&request);
        let answer = exchange::receive(&mut stream, deadline);
        match (answer, sent) {
            (Ok(answer), _) => taken(&answer),
            (Err(_), Err(error)) | (Err(error), Ok(())) => Err(lost(error)),
        }
    }

    fn connect(&self, deadline: Instant) -> Called<Socket> {
        let left = deadline.saturating_duration_since(Instant::now());
        let connect = || -> io::Result<Socket> {
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
            // It bounds connecting, too: an agent may be too busy to accept.
            socket.set_write_timeout(Some(left.max(Duration::from_millis(1))))?;
            socket.connect(&SockAddr::unix(&self.socket)?)?;
            Ok(socket)
        };
        connect().map_err(|error| {
            let reason = self.explain(&error);
            let kind = error.kind();
            if kind == io::ErrorKind::NotFound || kind == io::ErrorKind::ConnectionRefused {
                CallError::Absent(reason)
            } else if kind == io::ErrorKind::WouldBlock {
                CallError::Lost(reason)
            } else {
                CallError::Unusable(reason)
            }
        })
    }

    fn explain(&self, error: &io::Error) -> String {
        format!("control socket `{}`: {error}", self.socket.display())
    }
}

fn taken(answer: &Answer) -> Called<Vec<u8>> {
    if (200..300).contains(&answer.status) {
        return Ok(answer.body.clone());
    }
    match serde_json::from_slice(&answer.body) {
        Ok(error) => Err(CallError::Refused(error)),
        Err(_) => Err(CallError::Unusable(format!("status {} without a reason", answer.status))),
    }
}

fn decode<T: DeserializeOwned>(body: &[u8]) -> Called<T> {
    serde_json::from_slice(body)
        .map_err(|error| CallError::Unusable(format!("the answer makes no sense: {error}")))
}

#[cfg(test)]
mod tests;
