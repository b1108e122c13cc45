//! An agent that is played, and a call of the plugin.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use cni::invoke::Call as PluginCall;
use cni::invoke::blocking::Exec;
use cni::skel::{Process, dispatch};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::super::WeftCni;

/// A request as it came: its method and target, and its body.
pub(super) type Request = (String, Value);
type Seen = Arc<Mutex<Vec<Request>>>;

/// An agent's socket, and who sits behind it.
pub(super) struct Played {
    directory: TempDir,
    seen: Seen,
}

impl Played {
    /// One that answers each request so: a status and a body.
    pub(super) fn answering(answer: impl Fn(&Request) -> (u16, Value) + Send + 'static) -> Self {
        let mut played = Self::absent();
        played.seen = Self::listen(&played.socket(), answer);
        played
    }

    /// Nobody.
    pub(super) fn absent() -> Self {
        let directory = tempfile::tempdir().unwrap();
        // No namespace, but a path that is there.
        std::fs::write(directory.path().join("netns"), "").unwrap();
        Self { directory, seen: Seen::default() }
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.directory.path().join("weft.sock")
    }

    /// Answers on a socket from now on, until the process ends.
    pub(super) fn listen(
        socket: &Path,
        answer: impl Fn(&Request) -> (u16, Value) + Send + 'static,
    ) -> Seen {
        let listener = UnixListener::bind(socket).unwrap();
        let seen = Seen::default();
        let noted = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let Some(request) = read(&mut stream) else { continue };
                let (status, body) = answer(&request);
                noted.lock().unwrap().push(request);
                let body = if body.is_null() { String::new() } else { body.to_string() };
                let length = body.len();
                let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n");
                // A caller may have gone away.
                let _ = stream.write_all((head + &body).as_bytes());
            }
        });
        seen
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }

    pub(super) fn only_request(&self) -> Request {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests.remove(0)
    }

    /// A call with the usual variables and configuration.
    pub(super) fn call(&self, command: &str) -> Call {
        Call {
            command: command.to_owned(),
            netns: self.directory.path().join("netns").to_str().unwrap().to_owned(),
            args: String::new(),
            conf: json!({
                "cniVersion": "1.1.0", "name": "pods", "type": "weft-cni",
                "socket": self.socket(),
            }),
        }
    }
}

fn read(stream: &mut UnixStream) -> Option<Request> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let line = head.split(" HTTP/1.1").next().unwrap().to_owned();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).ok()?;
    let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
    Some((line, body))
}

/// What an agent answers for `eth0` of `web-1` with these addresses.
pub(super) fn attachment(addresses: &[&str]) -> Value {
    let of = |v4: bool| addresses.iter().find(|text| text.contains('.') == v4);
    json!({
        "key": {"container_id": "web-1", "ifname": "eth0"},
        "endpoint": {
            "name": "web-1-eth0", "id": "00".repeat(16), "network": "pods",
            "network_id": "00".repeat(16), "state": "joined",
            "address": of(true), "address_ipv6": of(false), "mac": "02:42:0a:09:00:02",
            "sandbox": {
                "id": "s", "key": "/run/netns/other-name", "ifname": "eth0", "mtu": 1450,
                "gateway": of(true).map(|_| "10.9.0.1"),
                "gateway_ipv6": of(false).map(|_| "fd00:9::1"),
            },
        },
    })
}

/// One call of the plugin.
pub(super) struct Call {
    pub(super) command: String,
    pub(super) netns: String,
    pub(super) args: String,
    pub(super) conf: Value,
}

/// Runs no plugin.
struct NoExec;

impl Exec for NoExec {
    fn exec_plugin(&self, call: PluginCall<'_>) -> Result<Vec<u8>, cni::Error> {
        panic!("no plugin was to be run: {call:?}")
    }
}

impl Call {
    /// The same for the namespace of another agent's call.
    pub(super) fn same_netns(mut self, of: &Played) -> Self {
        self.netns = of.call("ADD").netns;
        self
    }

    pub(super) fn succeeds_like(self, of: &Played) -> String {
        self.same_netns(of).succeeds()
    }

    /// What it prints; empty for commands that have nothing to say.
    pub(super) fn succeeds(&self) -> String {
        self.run(Box::new(NoExec)).unwrap_or_else(|error| panic!("{}: {error}", self.command))
    }

    /// The error object that it prints.
    pub(super) fn fails(&self, code: u32) -> Value {
        let error = self.run(Box::new(NoExec)).expect_err("it fails");
        assert_eq!(error["code"], code, "{}: {error}", self.command);
        error
    }

    /// Runs it, with what plugins it delegates to answer.
    pub(super) fn run(&self, exec: Box<dyn Exec>) -> Result<String, Value> {
        let variable = |name: &str| match name {
            "CNI_COMMAND" => self.command.clone(),
            "CNI_CONTAINERID" => "web-1".to_owned(),
            "CNI_NETNS" => self.netns.clone(),
            "CNI_IFNAME" => "eth0".to_owned(),
            "CNI_ARGS" => self.args.clone(),
            "CNI_PATH" => "/nowhere".to_owned(),
            _ => String::new(),
        };
        let conf = self.conf.to_string();
        let (mut printed, mut talk) = (Vec::new(), Vec::new());
        let process = Process {
            variable: &variable,
            stdin: &mut conf.as_bytes(),
            stdout: &mut printed,
            stderr: &mut talk,
        };
        match dispatch(&WeftCni::new(exec), process) {
            Ok(()) => Ok(String::from_utf8(printed).unwrap()),
            Err(failure) => {
                let mut printed = Vec::new();
                failure.error.print_to(failure.version.as_deref(), &mut printed).unwrap();
                Err(serde_json::from_slice(&printed).unwrap())
            }
        }
    }
}
