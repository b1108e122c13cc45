//! The plugin's HTTP: as much as the protocol needs, and all the ways to get it wrong.

use std::sync::Mutex;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{State, answer};

/// How a plugin answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// As it should.
    Well,
    /// With bytes that are no HTTP.
    Garbage,
    /// With HTTP whose body is no JSON.
    NoJson,
    /// With a body of two MiB.
    TooMuch,
    /// Not within a second.
    Slowly,
    /// With status 500 and a text.
    Status500,
    /// With half a body, then it hangs up. The call was carried out.
    HalfAnAnswer,
}

/// Answers one call on a connection.
pub(super) async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    state: std::sync::Arc<Mutex<State>>,
) {
    let Some((path, body)) = read(&mut stream).await else { return };
    let manner = state.lock().expect("nobody panics with it").manner;
    let answered = match manner {
        Manner::Well | Manner::HalfAnAnswer => answer(&state, &path, &body).await,
        Manner::Garbage | Manner::NoJson | Manner::TooMuch | Manner::Slowly | Manner::Status500 => {
            None
        }
    };
    let whole = match (manner, answered) {
        (Manner::Garbage, _) => b"\x16\x03\x01 what is this\r\n\r\n".to_vec(),
        (Manner::NoJson, _) => response("200 OK", b"<html>welcome</html>"),
        (Manner::TooMuch, _) => response("200 OK", &vec![b' '; 2 << 20]),
        (Manner::Status500, _) => response("500 Internal Server Error", b"it broke\n"),
        (Manner::Slowly, _) => {
            tokio::time::sleep(Duration::from_secs(60)).await;
            return;
        }
        (Manner::Well | Manner::HalfAnAnswer, None) => response("404 Not Found", b"no such page"),
        (Manner::Well, Some(answer)) => response("200 OK", answer.to_string().as_bytes()),
        (Manner::HalfAnAnswer, Some(_)) => {
            b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"half\":".to_vec()
        }
    };
    // Who asked may have hung up.
    let _ = stream.write_all(&whole).await;
    let _ = stream.shutdown().await;
}

fn response(status: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// Reads a request: its path and its body, `null` where that is empty.
async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<(String, Value)> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok())
        .unwrap_or_default();
    let accepts = "accept: application/vnd.docker.plugins.v1";
    if !head.contains(accepts) || !head.contains("host: ") {
        return None;
    }
    while bytes.len() < end + 4 + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    let first = String::from_utf8_lossy(&bytes[..end]);
    let path = first.strip_prefix("POST ")?.split(' ').next()?.to_owned();
    let body = &bytes[end + 4..];
    let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(body).ok()? };
    Some((path, body))
}
