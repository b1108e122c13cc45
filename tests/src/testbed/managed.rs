//! Engines with Weft as their managed plugin, in no Swarm.

use std::path::{Path, PathBuf};

use weft_api::control::{ClusterState, Secret};

use super::docker::Docker;
use super::engine::Engine;
use super::eventually;

/// The plugin's name with the engines.
const PLUGIN: &str = "weft";
/// What an engine that is in no Swarm needs.
const LOCAL: &str = "WEFT_DOCKER_SCOPE=local";

impl Docker {
    /// Engines in no Swarm with the managed plugin on each; the plugins' agents are one cluster.
    ///
    /// # Panics
    /// Without root, Docker or the plugin that `make plugin` builds.
    pub async fn managed(hosts: usize) -> Self {
        let docker = Self::with_plugin(hosts).await;
        docker.enable_plugin(0, &[LOCAL, "WEFT_INIT=true"]);
        let token = docker.first_token().await;
        let seed = format!("WEFT_JOIN={}", docker.testbed.hosts[0].address());
        for host in 1..hosts {
            docker.enable_plugin(host, &[LOCAL, &seed, &docker.token_source(host, &token)]);
        }
        docker.agents_know(hosts).await;
        docker
    }

    /// Engines with the managed plugin on each, disabled.
    pub(super) async fn with_plugin(hosts: usize) -> Self {
        let mut docker = Self::hosts(hosts).await;
        docker.start(&[]).await;
        let plugin = plugin_directory();
        let plugin = plugin.to_str().expect("a path of ours");
        for engine in &docker.engines {
            engine.docker(&["plugin", "create", PLUGIN, plugin]).line();
        }
        docker
    }

    /// Sets and enables the plugin of an engine.
    pub(super) fn enable_plugin(&self, host: usize, settings: &[&str]) {
        let engine = &self.engines[host];
        let address = format!("WEFT_ADVERTISE={}", self.testbed.hosts[host].address());
        let name = format!("WEFT_NAME={}", engine.name);
        let set = ["plugin", "set", PLUGIN, &address, &name];
        engine.docker(&[&set, settings].concat()).done();
        engine.docker(&["plugin", "enable", PLUGIN]).done();
    }

    /// Waits until the first agent has founded a cluster, and returns what lets others in.
    pub(super) async fn first_token(&self) -> Secret {
        let first = &self.testbed.hosts[0];
        let token =
            eventually("the first agent has a cluster", async || first.client.token().await.ok());
        token.await.token
    }

    /// Writes the token where a host's plugin reads it; the setting that says so.
    pub(super) fn token_source(&self, host: usize, token: &Secret) -> String {
        let file = self.testbed.path(&format!("h{}/token", host + 1));
        std::fs::write(&file, token.reveal()).expect("a file");
        format!("token.source={}", file.display())
    }

    /// Waits until all agents are ready and each knows so many members as alive.
    ///
    /// # Panics
    /// When that does not happen.
    pub async fn agents_know(&self, members: usize) {
        for host in &self.testbed.hosts {
            eventually(&format!("{} knows {members} members", host.name), async || {
                let status = host.client.status().await.ok()?;
                let alive = status.members.alive == members as u64;
                (status.state == ClusterState::Ready && alive).then_some(())
            })
            .await;
        }
    }
}

impl Engine {
    /// Kills the plugin's agent with SIGKILL; the engine, if it runs, starts it again.
    pub fn kill_plugin(&self) {
        self.cli.entrance().kill_by_name("weft");
    }
}

/// What `make plugin` built: in the target directory of the test's own executable.
fn plugin_directory() -> PathBuf {
    let test = std::env::current_exe().expect("a test has an executable");
    // target/debug/deps/test-0123 and target/plugin
    let target = test.ancestors().nth(3).map(Path::to_owned).expect("the target directory");
    let plugin = target.join("plugin");
    assert!(
        plugin.join("config.json").exists(),
        "`{}` is missing: build it with `make plugin` first",
        plugin.display()
    );
    plugin
}
