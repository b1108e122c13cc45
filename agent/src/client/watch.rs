//! A watch as its reader sees it: lines of JSON, one event each.

use std::path::PathBuf;

use bytes::BytesMut;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use weft_api::control::{TableEvent, WatchLine};

use crate::client::ClientError;

/// Bytes of one line, at most; an entry is far smaller.
const LINE_BYTES_MAX: usize = 16 << 20;

/// The events of a watch. Dropping it ends the watch.
#[derive(Debug)]
pub struct WatchStream {
    socket: PathBuf,
    body: Incoming,
    read: BytesMut,
}

impl WatchStream {
    pub(crate) fn new(socket: PathBuf, body: Incoming) -> Self {
        Self { socket, body, read: BytesMut::new() }
    }

    /// Waits for the next event; none when the agent ended the watch in good order.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the reason when the agent ended the watch,
    /// [`ClientError::Broken`] when the connection broke off. Nothing comes after either.
    pub async fn next(&mut self) -> Result<Option<TableEvent>, ClientError> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line = self.read.split_to(end + 1);
                return match serde_json::from_slice(&line) {
                    Ok(WatchLine::Event(event)) => Ok(Some(event)),
                    Ok(WatchLine::Error(error)) => Err(ClientError::Refused(error)),
                    Err(error) => Err(self.broken(error.to_string())),
                };
            }
            if self.read.len() > LINE_BYTES_MAX {
                return Err(self.broken("a line without end".to_owned()));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.read.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => return Err(self.broken(error.to_string())),
                None if self.read.is_empty() => return Ok(None),
                None => return Err(self.broken("it ends in the middle of a line".to_owned())),
            }
        }
    }

    fn broken(&self, reason: String) -> ClientError {
        ClientError::Broken { path: self.socket.clone(), reason }
    }
}
