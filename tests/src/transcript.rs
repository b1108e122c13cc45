//! Recorded plugin traffic of a real engine, and an engine's end of the plugin's socket.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(40);

/// One recorded call.
#[derive(Debug, Clone, Deserialize)]
pub struct Call {
    /// `NetworkDriver.Join` and the like.
    pub path: String,
    /// What the engine sent.
    pub req: Value,
    /// What a stub answered, with a pool and options of its own.
    pub resp: Value,
}

/// Reads a transcript of `tests/fixtures/docker`.
///
/// # Panics
/// When it is not there or does not parse.
pub fn read(name: &str) -> Vec<Call> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/docker").join(name);
    let text = std::fs::read_to_string(&path).expect("a transcript");
    text.lines().map(|line| serde_json::from_str(line).expect("a recorded call")).collect()
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Reply {
    /// HTTP status; 0 when the connection broke off.
    pub status: u16,
    /// The body, or null where it is not JSON.
    pub body: Value,
}

impl Reply {
    /// The words for the engine's user, if the call failed.
    pub fn error(&self) -> Option<&str> {
        ["Err", "Error"]
            .iter()
            .find_map(|member| self.body[member].as_str())
            .filter(|t| !t.is_empty())
    }
}

/// An engine as the plugin meets it.
#[derive(Debug)]
pub struct Caller {
    socket: PathBuf,
    /// What the stub answered, and what the plugin answers in its place.
    learnt: BTreeMap<String, String>,
    /// What the plugin added to a network's options.
    options: Map<String, Value>,
}

impl Caller {
    /// An engine that looks for its plugin here.
    pub fn new(socket: PathBuf) -> Self {
        let spaces = [("weftlocal", "weft-local"), ("weftglobal", "weft-global")];
        let learnt = spaces.map(|(stub, ours)| (stub.to_owned(), ours.to_owned())).into();
        Self { socket, learnt, options: Map::new() }
    }

    /// Learns what another engine learnt of networks they share, as a Swarm tells its nodes.
    pub fn learn_from(&mut self, other: &Self) {
        let is_pool_id = |stub: &str| stub.contains('/') && stub.starts_with("weftglobal");
        let shared = other.learnt.iter().filter(|(stub, _)| !is_pool_id(stub));
        self.learnt.extend(shared.map(|(stub, ours)| (stub.clone(), ours.clone())));
        self.options = other.options.clone();
    }

    /// What the plugin answered where the stub answered this.
    pub fn learnt_as(&self, stub: &str) -> Option<String> {
        self.learnt.get(stub).cloned()
    }

    /// Sends a request as an engine does and returns what comes back.
    pub fn post(&self, path: &str, body: &Value) -> Reply {
        let body = serde_json::to_vec(body).expect("JSON");
        let head = format!(
            "POST /{path} HTTP/1.1\r\nHost: plugin.moby.localhost\r\nContent-Length: {}\r\n\
             Accept: application/vnd.docker.plugins.v1.2+json\r\nConnection: close\r\n\r\n",
            body.len()
        );
        self.send(&[head.as_bytes(), &body].concat())
    }

    /// Sends bytes and reads the answer to its end.
    ///
    /// # Panics
    /// When nobody listens on the socket.
    pub fn send(&self, bytes: &[u8]) -> Reply {
        let mut stream = UnixStream::connect(&self.socket).expect("the plugin's socket");
        stream.set_read_timeout(Some(ANSWER_TIMEOUT)).expect("a timeout");
        // A plugin that refuses a request early need not read it to its end.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        parse(&answer)
    }

    /// Replays a recorded call with what the plugin answered so far in place of what the stub did,
    /// and learns from the answer.
    ///
    /// # Panics
    /// When the plugin refuses, or leaves out a member that the stub answered.
    pub fn replay(&mut self, call: &Call) -> Value {
        let mut request = call.req.clone();
        self.translate(&mut request);
        let reply = self.post(&call.path, &request);
        let told = format!("{} {request} answered {reply:?}", call.path);
        assert_eq!((reply.status, reply.error()), (200, None), "{told}");
        for (member, stub) in call.resp.as_object().expect("an object") {
            let ours = &reply.body[member];
            // An empty set and a missing one are the same to an engine.
            let is_empty = stub.as_object().is_some_and(Map::is_empty);
            assert!(is_empty || !ours.is_null(), "`{member}` is missing: {told}");
            if let (Some(stub), Some(ours)) = (stub.as_str(), ours.as_str()) {
                self.learn(stub, ours);
            }
        }
        if call.path == "NetworkDriver.AllocateNetwork" {
            self.options = reply.body["Options"].as_object().expect("options").clone();
        }
        reply.body
    }

    fn learn(&mut self, stub: &str, ours: &str) {
        self.learnt.insert(stub.to_owned(), ours.to_owned());
        // Requests name addresses without the prefix length.
        if let (Some((stub, _)), Some((ours, _))) = (stub.split_once('/'), ours.split_once('/'))
            && stub.parse::<std::net::IpAddr>().is_ok()
        {
            self.learnt.entry(stub.to_owned()).or_insert_with(|| ours.to_owned());
        }
    }

    fn translate(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                if let Some(ours) = self.learnt.get(text) {
                    text.clone_from(ours);
                }
            }
            Value::Array(values) => values.iter_mut().for_each(|value| self.translate(value)),
            Value::Object(map) => {
                map.values_mut().for_each(|value| self.translate(value));
                // What the leader's plugin answered comes back to every node.
                if map.remove("weft.vni").is_some() {
                    map.extend(self.options.clone());
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

fn parse(answer: &[u8]) -> Reply {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    Reply { status, body: serde_json::from_str(body).unwrap_or(Value::Null) }
}
