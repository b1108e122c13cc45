//! A container of an engine.

use std::net::IpAddr;

use serde_json::Value;

use super::engine::Cli;
use super::sandbox::Sandbox;

/// A container by its name or id, whether it runs or not.
#[derive(Debug, Clone)]
pub struct Container {
    /// Name or id.
    pub id: String,
    cli: Cli,
}

impl Container {
    pub(super) fn new(id: &str, cli: Cli) -> Self {
        Self { id: id.to_owned(), cli }
    }

    /// What the engine says about it.
    ///
    /// # Panics
    /// When there is no such container.
    pub fn inspect(&self) -> Value {
        let mut found: Vec<Value> = self.cli.run(&["container", "inspect", &self.id]).json();
        found.pop().expect("what was asked for")
    }

    /// Its network namespace of now, to ping from. It lives as long as it is held, and what is in
    /// it too: drop it before looking for leftovers.
    ///
    /// # Panics
    /// When the container does not run.
    pub fn sandbox(&self) -> Sandbox {
        let process = self.inspect()["State"]["Pid"].as_u64().unwrap_or_default();
        assert_ne!(process, 0, "container {} does not run", self.id);
        let process = u32::try_from(process).expect("a process id");
        Sandbox::open(self.cli.entrance().namespace_of(process))
    }

    /// Its addresses on a network of the engine, IPv4 first.
    ///
    /// # Panics
    /// When it is not on that network.
    pub fn addresses(&self, network: &str) -> Vec<IpAddr> {
        let all = &self.inspect()["NetworkSettings"]["Networks"];
        let found = all.get(network).unwrap_or_else(|| panic!("no `{network}` among {all}"));
        ["IPAddress", "GlobalIPv6Address"]
            .iter()
            .filter_map(|key| found[key].as_str().filter(|text| !text.is_empty()))
            .map(|text| text.parse().expect("an address"))
            .collect()
    }

    /// Runs a program in it and returns the standard output.
    ///
    /// # Panics
    /// When the program fails.
    pub fn exec(&self, program: &[&str]) -> String {
        let ran = self.cli.run(&[&["exec", &self.id], program].concat());
        assert_eq!(ran.code, 0, "{program:?} in {}: {ran:?}", self.id);
        ran.stdout
    }

    /// Stops and removes it.
    ///
    /// # Panics
    /// When the engine refuses.
    pub fn remove(&self) {
        self.cli.run(&["rm", "--force", "--volumes", &self.id]).line();
    }
}
