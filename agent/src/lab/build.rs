//! Makes a lab: hosts, a cluster, networks, endpoints.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep};
use weft_api::control::{ClusterState, InitRequest, JoinRequest, NetworkCreate};

use super::endpoint::Endpoint;
use super::ground;
use super::host::Host;
use super::plan::{EndpointPlan, Inside, Plan};
use super::{Options, Progress};
use crate::failure::Failure;

const GOSSIP_PORT: u16 = 7950;
/// Time the hosts may take until each knows all.
const SETTLE_MAX: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A lab that stands.
#[derive(Debug)]
pub(super) struct Lab {
    pub(super) plan: Plan,
    pub(super) hosts: Vec<Host>,
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) weft: PathBuf,
    pub(super) progress: Progress,
}

impl Lab {
    /// Makes all of it.
    pub(super) async fn build(plan: Plan, options: &Options) -> Result<Self, Failure> {
        let progress = options.progress;
        let weft = options.weft.clone();
        let mut lab = Self { plan, hosts: Vec::new(), endpoints: Vec::new(), weft, progress };
        lab.start_hosts().await?;
        lab.make_cluster().await?;
        lab.make_networks().await?;
        lab.attach_endpoints().await?;
        Ok(lab)
    }

    async fn start_hosts(&mut self) -> Result<(), Failure> {
        let step = self.progress.step("Lay the underlay");
        let namespaces = ground::lay(&self.plan).await?;
        step.done(format!("{} hosts on one bridge", namespaces.len()));
        let step = self.progress.step("Start the agents").of(namespaces.len());
        let (step_ref, weft) = (&step, self.weft.as_path());
        let starts = self.plan.hosts.iter().zip(namespaces).map(|(plan, namespace)| async move {
            let host = Host::start(plan.clone(), namespace, weft).await;
            step_ref.tick();
            host
        });
        self.hosts = join_all(starts).await.into_iter().collect::<Result<_, _>>()?;
        step.done("");
        Ok(())
    }

    async fn make_cluster(&self) -> Result<(), Failure> {
        let Some((first, others)) = self.hosts.split_first() else { return Ok(()) };
        let step = self.progress.step("Join them to a cluster").of(self.hosts.len());
        first.client.init(&InitRequest::default()).await?;
        step.tick();
        let token = first.client.token().await?.token;
        let seeds = vec![SocketAddr::new(first.plan.address.ip(), GOSSIP_PORT)];
        let request = JoinRequest { token, seeds };
        let (step_ref, request) = (&step, &request);
        let joins = others.iter().map(|host| async move {
            let joined = host.client.join(request).await;
            step_ref.tick();
            joined
        });
        join_all(joins).await.into_iter().collect::<Result<Vec<_>, _>>()?;
        let settled = self.hosts.iter().map(|host| self.settled(host));
        join_all(settled).await.into_iter().collect::<Result<Vec<_>, _>>()?;
        step.done("");
        Ok(())
    }

    /// Waits until a host is ready and knows all others as alive.
    pub(super) async fn settled(&self, host: &Host) -> Result<(), Failure> {
        let deadline = Instant::now() + SETTLE_MAX;
        let all = self.hosts.len() as u64;
        loop {
            let status = host.client.status().await?;
            let alive = status.members.alive;
            if status.state == ClusterState::Ready && alive == all {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let state = serde_json::to_string(&status.state).unwrap_or_default();
                return Err(Failure::failed(format!(
                    "`{}` knows {alive} of {all} hosts as alive and is {state}",
                    host.plan.name
                ))
                .with_hint("is this machine very busy? The lab waits 30 s for its hosts to meet"));
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn make_networks(&self) -> Result<(), Failure> {
        let step = self.progress.step("Create networks").of(self.plan.networks.len());
        for (index, name) in self.plan.networks.iter().enumerate() {
            let ipv6 = self.plan.size.inside == Inside::Dual;
            let request = NetworkCreate { ipv6, ..NetworkCreate::named(name) };
            // Not all on one host: a network made anywhere is to be used everywhere.
            self.host(index % self.hosts.len()).client.create_network(&request).await?;
            step.tick();
        }
        step.done(self.plan.networks.join(", "));
        Ok(())
    }

    async fn attach_endpoints(&mut self) -> Result<(), Failure> {
        let step = self.progress.step("Attach endpoints").of(self.plan.endpoints.len());
        let (step_ref, this) = (&step, &*self);
        let each_host = (0..self.hosts.len()).map(|host| async move {
            let mut attached = Vec::new();
            for plan in this.plan.endpoints.iter().filter(|plan| plan.host == host) {
                attached.push(this.attach(plan.clone()).await?);
                step_ref.tick();
            }
            Ok::<_, Failure>(attached)
        });
        let attached = join_all(each_host).await.into_iter().collect::<Result<Vec<_>, _>>()?;
        self.endpoints = attached.into_iter().flatten().collect();
        step.done("");
        Ok(())
    }

    /// Attaches one endpoint.
    pub(super) async fn attach(&self, plan: EndpointPlan) -> Result<Endpoint, Failure> {
        let network = &self.plan.networks[plan.network];
        let client = &self.host(plan.host).client;
        Endpoint::attach(client, plan, network, self.plan.size.inside).await
    }

    /// Returns a host by its index.
    pub(super) fn host(&self, index: usize) -> &Host {
        &self.hosts[index]
    }
}
