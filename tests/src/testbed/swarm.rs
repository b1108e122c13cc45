//! Engines in a Swarm, with Weft as their managed plugin.

use std::path::{Path, PathBuf};

use weft_api::control::ClusterState;

use super::docker::{Docker, Mode};
use super::engine::{Engine, IMAGE};
use super::{Container, eventually};

/// The plugin's name with the engines.
const PLUGIN: &str = "weft";

impl Docker {
    /// Engines in one Swarm with the managed plugin on each, all of them managers; the first leads.
    ///
    /// # Panics
    /// Without root, Docker or the plugin that `make plugin` builds.
    pub async fn swarm(hosts: usize) -> Self {
        let mut docker = Self::hosts(hosts).await;
        docker.mode = Mode::Swarm;
        docker.start(&[]).await;
        let plugin = plugin_directory();
        let plugin = plugin.to_str().expect("a path of ours");
        for engine in &docker.engines {
            engine.docker(&["plugin", "create", PLUGIN, plugin]).line();
        }
        docker.enable_plugin(0, &["WEFT_INIT=true"]);
        let first = &docker.testbed.hosts[0];
        let token =
            eventually("the first agent has a cluster", async || first.client.token().await.ok());
        let token = token.await.token;
        let address = |host: usize| docker.testbed.hosts[host].address().to_string();
        docker.engines[0].docker(&["swarm", "init", "--advertise-addr", &address(0)]).done();
        let secret =
            docker.engines[0].docker(&["swarm", "join-token", "--quiet", "manager"]).line();
        for host in 1..hosts {
            let file = docker.testbed.path(&format!("h{}/token", host + 1));
            std::fs::write(&file, token.reveal()).expect("a file");
            docker.enable_plugin(host, &[&format!("token.source={}", file.display())]);
            let join = ["swarm", "join", "--token", &secret, "--advertise-addr", &address(host)];
            docker.engines[host].docker(&[&join[..], &[&address(0)]].concat()).done();
        }
        docker.agents_know(hosts).await;
        docker
    }

    /// Sets and enables the plugin of an engine.
    fn enable_plugin(&self, host: usize, settings: &[&str]) {
        let engine = &self.engines[host];
        let address = format!("WEFT_ADVERTISE={}", self.testbed.hosts[host].address());
        let name = format!("WEFT_NAME={}", engine.name);
        let set = ["plugin", "set", PLUGIN, &address, &name];
        engine.docker(&[&set, settings].concat()).done();
        engine.docker(&["plugin", "enable", PLUGIN]).done();
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

    /// The running tasks of a service, with the number of their engine.
    pub fn tasks(&self, service: &str) -> Vec<(usize, Container)> {
        let running = self.engines.iter().enumerate().filter(|(_, engine)| engine.runs());
        running
            .flat_map(|(number, engine)| {
                engine.tasks(service).into_iter().map(move |task| (number, task))
            })
            .collect()
    }
}

impl Engine {
    /// Kills the plugin's agent with SIGKILL; the engine, if it runs, starts it again.
    pub fn kill_plugin(&self) {
        self.cli.entrance().kill_by_name("weft");
    }

    /// The running tasks of a service on this engine.
    pub fn tasks(&self, service: &str) -> Vec<Container> {
        let label = format!("label=com.docker.swarm.service.name={service}");
        let running = ["ps", "--quiet", "--no-trunc", "--filter", "status=running"];
        let listed = self.docker(&[&running[..], &["--filter", &label]].concat());
        listed.done();
        listed.stdout.lines().map(|id| self.container(id)).collect()
    }

    /// Makes a service of the test's image whose tasks sleep, and waits until they run; `more` are
    /// arguments of `docker service create`.
    ///
    /// # Panics
    /// When the engine refuses, or they do not run.
    pub fn create_service(&self, more: &[&str]) {
        let create = ["service", "create", "--quiet", "--no-resolve-image"];
        let mode = ["--endpoint-mode", "dnsrr", "--stop-grace-period", "1s"];
        self.docker(&[&create, &mode, more, &[IMAGE]].concat()).done();
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
