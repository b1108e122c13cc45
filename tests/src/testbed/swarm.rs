//! Engines in a Swarm, with Weft as their managed plugin.

use super::Container;
use super::docker::{Docker, Mode};
use super::engine::{Engine, IMAGE};

impl Docker {
    /// Engines in one Swarm with the managed plugin on each, all of them managers; the first leads.
    ///
    /// # Panics
    /// Without root, Docker or the plugin that `make plugin` builds.
    pub async fn swarm(hosts: usize) -> Self {
        let mut docker = Self::with_plugin(hosts).await;
        docker.mode = Mode::Swarm;
        docker.enable_plugin(0, &["WEFT_INIT=true"]);
        let token = docker.first_token().await;
        let address = |host: usize| docker.testbed.hosts[host].address().to_string();
        docker.engines[0].docker(&["swarm", "init", "--advertise-addr", &address(0)]).done();
        let secret =
            docker.engines[0].docker(&["swarm", "join-token", "--quiet", "manager"]).line();
        for host in 1..hosts {
            docker.enable_plugin(host, &[&docker.token_source(host, &token)]);
            let join = ["swarm", "join", "--token", &secret, "--advertise-addr", &address(host)];
            docker.engines[host].docker(&[&join[..], &[&address(0)]].concat()).done();
        }
        docker.agents_know(hosts).await;
        docker
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
