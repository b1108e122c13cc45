//! The little of HTTP/1.1 (RFC 9112) that one request and one answer of the agent need.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use socket2::Socket;

/// Bytes of an answer's head, at most.
const HEAD_MAX: usize = 16 << 10;
/// Bytes of an answer's body, at most.
const BODY_MAX: usize = 8 << 20;
/// Bytes that are read at once.
const CHUNK: usize = 8 << 10;

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// Its status code.
    pub(super) status: u16,
    /// What was said.
    pub(super) body: Vec<u8>,
}

/// The bytes of a request. The target has no character that means something in HTTP.
pub(super) fn request(method: &str, target: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{method} {target} HTTP/1.1\r\nhost: weft\r\nconnection: close\r\n");
    if !body.is_empty() {
        bytes += &format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len());
    }
    bytes += "\r\n";
    let mut bytes = bytes.into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// Reads an answer.
pub(super) fn receive(socket: &mut Socket, deadline: Instant) -> io::Result<Answer> {
    let mut bytes = Vec::new();
    let mut chunk = [0; CHUNK];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time"));
        }
        socket.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        let length = match socket.read(&mut chunk) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        };
        bytes.extend_from_slice(&chunk[..length]);
        let end = if length == 0 { End::Reached } else { End::MayFollow };
        if let Some(answer) = parse(&bytes, end).map_err(io::Error::other)? {
            return Ok(answer);
        }
    }
}

/// Whether there may be more bytes than those read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The other end has closed.
    Reached,
    /// It has not.
    MayFollow,
}

/// Takes an answer apart; none while it is not whole.
pub(super) fn parse(bytes: &[u8], end: End) -> Result<Option<Answer>, &'static str> {
    let Some(length) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return match end {
            End::Reached => Err("the answer broke off"),
            End::MayFollow if bytes.len() > HEAD_MAX => Err("the answer's head is too long"),
            End::MayFollow => Ok(None),
        };
    };
    let head = bytes.get(..length).unwrap_or_default();
    let body = bytes.get(length + 4..).unwrap_or_default();
    let head = std::str::from_utf8(head).map_err(|_| "the answer's head is no text")?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(status).ok_or("the answer is not HTTP")?;
    let expected = body_length(lines, status)?;
    match (expected, end) {
        (Some(expected), _) if expected > BODY_MAX => Err("the answer is too long"),
        (None, _) if body.len() > BODY_MAX => Err("the answer is too long"),
        (Some(expected), _) if body.len() >= expected => {
            Ok(Some(Answer { status, body: body.get(..expected).unwrap_or_default().to_vec() }))
        }
        (None, End::Reached) => Ok(Some(Answer { status, body: body.to_vec() })),
        (Some(_), End::Reached) => Err("the answer broke off"),
        (Some(_) | None, End::MayFollow) => Ok(None),
    }
}

fn status(line: &str) -> Option<u16> {
    let rest = line.strip_prefix("HTTP/1.1 ").or_else(|| line.strip_prefix("HTTP/1.0 "))?;
    let code = rest.split(' ').next()?;
    code.parse().ok().filter(|code| (200..600).contains(code))
}

/// How long the body is; none where it ends with the connection.
fn body_length<'a>(
    lines: impl Iterator<Item = &'a str>,
    status: u16,
) -> Result<Option<usize>, &'static str> {
    // These have no body (RFC 9110, sections 15.3.5 and 15.4.5).
    let mut length = (status == 204 || status == 304).then_some(0);
    for line in lines {
        let (name, value) =
            line.split_once(':').ok_or("a line of the answer's head has no name")?;
        if name.eq_ignore_ascii_case("content-length") {
            length = Some(value.trim().parse().map_err(|_| "the answer's length is no number")?);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err("the answer comes in pieces");
        }
    }
    Ok(length)
}
