//! The daemon: configuration in, everything bound, everything run, everything stopped in order.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weft_api::control::{ErrorKind, InitRequest, JoinRequest, Secret};
use weft_api::driver::{Capability, DriverCallback, Scope};
use weft_api::ipam::Registerer;
use weft_ipam::{BlockPool, ClusterPools};
use weft_overlay::netlink::connection::Connection;
use weft_overlay::netlink::{Executor, namespace::Namespace, uplink};
use weft_overlay::{Host, Planner};

use crate::config::{Config, Pools, StartUp};
use crate::control::{Server, ServerLimits};
use crate::controller::{Api, Controller, Dispatcher};
use crate::core::{Core, Ends, Inputs};
use crate::docker::{Plugin, PluginServer};
use crate::failure::Failure;
use crate::gossip::streams::{self, SharedSecrets};
use crate::ipam_driver::{self, WeftIpam};
use crate::last_end::LastEnd;
use crate::overlay_driver::{NETWORK_TYPE, OverlayDriver, OverlayTask};
use crate::plugins::{Patience, Plugins};
use crate::registry::Registry;
use crate::store::Store;

/// Streams that peers opened and the core has not taken yet.
const INCOMING_QUEUED_MAX: usize = 64;
/// Bytes of datagrams that may wait in the socket.
const RECEIVE_BUFFER: usize = 4 << 20;
/// Sandboxes that vanished and whose endpoints have not left yet.
const VANISHED_QUEUED_MAX: usize = 256;
/// How often the kernel is compared with the plan.
const RECONCILE_EVERY: Duration = Duration::from_secs(5);
/// First pause between two attempts to join at start; doubles up to a minute.
const JOIN_RETRY: Duration = Duration::from_secs(1);
/// How long each part may take to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Everything bound and nothing running yet.
#[derive(Debug)]
pub struct App {
    config: Config,
    core: Core,
    inputs: Inputs,
    listener: TcpListener,
    secrets: SharedSecrets,
    incoming: mpsc::Sender<streams::Incoming>,
    server: Server,
    controller: Arc<Controller>,
    dispatcher: Dispatcher,
    overlay: OverlayTask,
    docker: Option<(PluginServer, Arc<Plugin>)>,
}

impl App {
    /// Opens the state, binds the sockets and makes the parts.
    ///
    /// # Errors
    /// A sentence and a hint for each thing that is in the way; nothing stays bound.
    pub async fn bind(config: Config) -> Result<Self, Failure> {
        if !nix::unistd::geteuid().is_root() {
            return Err(Failure::failed("the agent makes namespaces and devices and needs root")
                .with_hint("run it with sudo or as a system service"));
        }
        make_directory(&config.data_dir, 0o700)?;
        make_directory(&config.run_dir, 0o755)?;
        let server = Server::bind(&config.socket, ServerLimits::default())?;
        let plugin_server =
            config.docker.as_ref().map(|docker| PluginServer::bind(&docker.socket)).transpose()?;
        let store = Store::open(&config.data_dir.join("weft.redb"))
            .map_err(|error| Failure::failed(error.to_string()).with_hint(error.hint()))?;
        let (udp, listener) = bind_gossip(&config).await?;
        let uplink_mtu = uplink_mtu(&config).await?;
        let secrets = SharedSecrets::default();
        let (incoming, taken) = mpsc::channel(INCOMING_QUEUED_MAX);
        let now = Instant::now();
        let settings = crate::core::Settings {
            name: config.name.clone(),
            advertise: config.advertise_addr(),
            rest: config.rest,
        };
        let (core, inputs, Ends { handle, news }) =
            Core::new(settings, store, udp, secrets.clone(), taken, now).map_err(|error| {
                Failure::failed(format!("state of `{}`: {error:#}", config.data_dir.display()))
                    .with_hint("move it away and join again as a new node")
            })?;
        let planner = Planner::new(Host {
            node: core.identity().map(|identity| identity.node).unwrap_or_default(),
            vtep: config.advertise,
            vxlan_port: config.vxlan_port,
            uplink_mtu,
        });
        let executor = Executor::new(&config.run_dir).map_err(|error| {
            Failure::failed(format!("run directory `{}`: {error}", config.run_dir.display()))
                .with_hint("`weft doctor` tells what the kernel lacks")
        })?;
        let (vanished, vanishing) = mpsc::channel(VANISHED_QUEUED_MAX);
        let (driver, overlay) = OverlayDriver::new(planner, executor, RECONCILE_EVERY, vanished);
        let own = std::iter::once(&config.socket)
            .chain(config.docker.as_ref().map(|docker| &docker.socket));
        let plugins =
            Plugins::new(config.plugins.clone(), own.cloned().collect(), Patience::default());
        let registry = Arc::new(Registry::with_plugins(plugins));
        register(&registry, driver.clone(), WeftIpam::new(handle.clone()))?;
        let controller = Arc::new(Controller::new(
            crate::controller::Settings {
                name: config.name.clone(),
                advertise: config.advertise_addr(),
                pools: cluster_pools(&config.pools)?,
                vxlan_port: config.vxlan_port,
                uplink_mtu,
                data_dir: config.data_dir.clone(),
                run_dir: config.run_dir.clone(),
                socket: config.socket.clone(),
                docker: config.docker.clone(),
            },
            handle,
            registry,
            driver,
            now,
        ));
        let dispatcher = Dispatcher::new(controller.clone(), news, vanishing);
        let docker = config
            .docker
            .as_ref()
            .zip(plugin_server)
            .map(|(docker, server)| (server, Plugin::new(controller.clone(), docker)));
        Ok(Self {
            config,
            core,
            inputs,
            listener,
            secrets,
            incoming,
            server,
            controller,
            dispatcher,
            overlay,
            docker,
        })
    }

    /// Runs until `stop`, or until a part that cannot be done without fails.
    ///
    /// The order of a stop: no new calls, what is under way ends, the core flushes and tells its
    /// peers, the data path is left as it is.
    ///
    /// # Errors
    /// The disk refused to keep state.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let (core_stop, rest_stop) = (CancellationToken::new(), CancellationToken::new());
        let mut core = tokio::spawn(self.core.run(self.inputs, core_stop.clone()));
        let mut rest = JoinSet::new();
        rest.spawn(self.overlay.run(rest_stop.clone()));
        rest.spawn(self.dispatcher.run(rest_stop.clone()));
        rest.spawn(streams::listen(self.listener, self.secrets, self.incoming));
        let server_stop = CancellationToken::new();
        let (started, starting) = watch::channel(false);
        let mut servers = JoinSet::new();
        let api = Arc::new(Api(self.controller.clone()));
        servers.spawn(self.server.run(api, starting, server_stop.clone()));
        match self.controller.restore().await {
            Ok(outcome) => tracing::info!(?outcome, "endpoints restored"),
            // Without a cluster there is nothing to restore.
            Err(error) if error.kind == ErrorKind::Unavailable => {}
            Err(error) => {
                // With endpoints unknown the reconciler would take their data paths for strays.
                core_stop.cancel();
                drop(core.await);
                servers.shutdown().await;
                rest.shutdown().await;
                anyhow::bail!("endpoints were not restored: {error}");
            }
        }
        rest.spawn({
            let (controller, stop) = (self.controller.clone(), rest_stop.clone());
            async move { controller.settle_with_plugins(stop).await }
        });
        rest.spawn({
            let (controller, stop) = (self.controller.clone(), rest_stop.clone());
            async move { controller.let_networks_go(stop).await }
        });
        rest.spawn({
            let (controller, stop) = (self.controller.clone(), rest_stop.clone());
            async move { controller.beat(stop).await }
        });
        self.controller.begin_reconciling().await;
        rest.spawn({
            let (controller, stop) = (self.controller.clone(), rest_stop.clone());
            async move { controller.end_detached_until(stop).await }
        });
        started.send_replace(true);
        LastEnd::forget(&self.config.socket);
        let mut discovered = None;
        if let Some((server, plugin)) = self.docker {
            if let Err(error) = plugin.restore().await {
                tracing::error!(%error, "the Docker plugin begins with empty books");
            }
            discovered = Some(plugin.discovered());
            rest.spawn(plugin.clone().run_chores(rest_stop.clone()));
            servers.spawn(server.run(plugin, server_stop.clone()));
        } else {
            let (controller, stop) = (self.controller.clone(), rest_stop.clone());
            rest.spawn(async move { controller.expire_until(stop).await });
        }
        let found = Found { configured: self.config.start_up, port: self.config.port, discovered };
        rest.spawn(start_up(self.controller, found, rest_stop.clone()));
        if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
            tracing::debug!(%error, "service manager was not told");
        }
        tracing::info!(name = self.config.name, "agent ready");
        let early = tokio::select! {
            () = stop.cancelled() => None,
            ended = &mut core => Some(ended),
        };
        tracing::info!("agent stopping");
        server_stop.cancel();
        let served = async { while servers.join_next().await.is_some() {} };
        drop(tokio::time::timeout(STOP_TIMEOUT, served).await);
        rest_stop.cancel();
        core_stop.cancel();
        let ended = match early {
            Some(ended) => ended,
            None => core.await,
        };
        rest.shutdown().await;
        ended.context("the core broke off")?.context("state could not be kept")
    }
}

/// What leads into a cluster at start.
struct Found {
    configured: StartUp,
    /// Gossip port of this node, and so of those an engine tells.
    port: u16,
    /// Other nodes of the engine's Swarm.
    discovered: Option<watch::Receiver<BTreeSet<IpAddr>>>,
}

/// Does at start what the configuration says; a node that is in a cluster has nothing to do.
async fn start_up(controller: Arc<Controller>, mut found: Found, stop: CancellationToken) {
    let mut pause = JOIN_RETRY;
    loop {
        let result = match &found.configured {
            StartUp::Wait => return,
            StartUp::Init => controller.init_cluster(InitRequest::default()).await,
            StartUp::Join { seeds, token_file } => {
                join_at_start(&controller, seeds, &found, token_file).await
            }
        };
        match result {
            Ok(cluster) => {
                tracing::info!(cluster = %cluster.id, "in the cluster, as configured");
                return;
            }
            Err(error) if error.kind == ErrorKind::Conflict => return,
            Err(error) => {
                let retry_s = pause.as_secs();
                tracing::warn!(%error, hint = error.hint, retry_s, "start-up action failed");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = more_is_discovered(&mut found.discovered) => continue,
            () = stop.cancelled() => return,
        }
        pause = (pause * 2).min(Duration::from_secs(60));
    }
}

async fn more_is_discovered(discovered: &mut Option<watch::Receiver<BTreeSet<IpAddr>>>) {
    if let Some(receiver) = discovered
        && receiver.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

async fn join_at_start(
    controller: &Controller,
    seeds: &[crate::seed::Seed],
    found: &Found,
    token_file: &Path,
) -> crate::control::Answer<weft_api::control::ClusterResource> {
    use weft_api::control::ControlError;
    if controller.is_member().await {
        return Err(ControlError::conflict("this node is in a cluster already"));
    }
    let mut addresses = Vec::new();
    for seed in seeds {
        match seed.resolve().await {
            Ok(resolved) => addresses.extend(resolved),
            Err(error) => tracing::warn!(%error, "seed not found"),
        }
    }
    if let Some(discovered) = &found.discovered {
        let known = discovered.borrow().iter().copied().collect::<Vec<_>>();
        addresses.extend(known.into_iter().map(|ip| std::net::SocketAddr::new(ip, found.port)));
    }
    if addresses.is_empty() && seeds.is_empty() {
        return Err(ControlError::unavailable("no other node is known yet")
            .with_hint("an engine in a Swarm tells who is there; or name a member with --join"));
    }
    let token = std::fs::read_to_string(token_file).map_err(|error| {
        ControlError::invalid(format!("token file `{}`: {error}", token_file.display()))
    })?;
    let token = Secret::new(token.trim().to_owned());
    controller.join_cluster(JoinRequest { token, seeds: addresses }).await
}

fn make_directory(path: &Path, mode: u32) -> Result<(), Failure> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(mode).create(path).map_err(|error| {
        Failure::failed(format!("directory `{}`: {error}", path.display()))
            .with_hint("choose a directory that root may write")
    })
}

async fn bind_gossip(config: &Config) -> Result<(UdpSocket, TcpListener), Failure> {
    let any = match config.advertise {
        std::net::IpAddr::V4(_) => std::net::IpAddr::from([0; 4]),
        std::net::IpAddr::V6(_) => std::net::IpAddr::from([0; 16]),
    };
    let at = std::net::SocketAddr::new(any, config.port);
    let refused = |protocol: &str, error: std::io::Error| {
        let hint = if error.kind() == std::io::ErrorKind::AddrInUse {
            "another agent or program has it; choose another --port on all nodes, or stop that one"
        } else {
            "check --advertise and --port"
        };
        Failure::failed(format!("{protocol} port `{at}`: {error}")).with_hint(hint)
    };
    let udp = UdpSocket::bind(at).await.map_err(|error| refused("UDP", error))?;
    // The usual buffer is full after some hundred small datagrams. Where this is not allowed, a
    // burst loses more of them.
    let _ = setsockopt(&udp, sockopt::RcvBufForce, &RECEIVE_BUFFER);
    let tcp = TcpListener::bind(at).await.map_err(|error| refused("TCP", error))?;
    Ok((udp, tcp))
}

/// Returns the MTU of the interface that holds the advertised address.
async fn uplink_mtu(config: &Config) -> Result<u32, Failure> {
    let found = async {
        let mut connection = Connection::open(&Namespace::current()?).await?;
        uplink::find(&mut connection, config.advertise).await
    };
    match found.await {
        Ok(Some(link)) => Ok(link.mtu),
        Ok(None) => Err(Failure::failed(format!(
            "advertised address `{}` is on no interface of this host",
            config.advertise
        ))
        .with_hint("give an address of this host with --advertise; `ip address` lists them")),
        Err(error) => Err(Failure::failed(format!("interfaces were not read: {error}"))),
    }
}

fn register(registry: &Registry, driver: OverlayDriver, ipam: WeftIpam) -> Result<(), Failure> {
    registry
        .register_driver(NETWORK_TYPE, Arc::new(driver), Capability::of(Scope::Global))
        .map_err(|error| Failure::failed(error.to_string()))?;
    registry
        .register_ipam_driver(ipam_driver::NAME, Arc::new(ipam))
        .map_err(|error| Failure::failed(error.to_string()))
}

fn cluster_pools(pools: &Pools) -> Result<ClusterPools, Failure> {
    let default6 = match pools.default6 {
        Some(pool) => pool,
        None => random_ula().map_err(|error| Failure::failed(error.to_string()))?,
    };
    Ok(ClusterPools {
        vnis: pools.vni_first.get()..=pools.vni_last.get(),
        default4: BlockPool { pool: pools.default4.into(), block_prefix: pools.default4_prefix },
        default6: BlockPool { pool: default6.into(), block_prefix: pools.default6_prefix },
    })
}

/// Draws a unique local /48 (RFC 4193).
fn random_ula() -> anyhow::Result<ipnetwork::Ipv6Network> {
    let mut octets = [0; 16];
    octets[0] = 0xfd;
    octets[1..6].copy_from_slice(&crate::identity::random::<5>()?);
    Ok(ipnetwork::Ipv6Network::new(octets.into(), 48)?)
}
