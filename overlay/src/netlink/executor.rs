//! Carries kernel operations out, in order, and goes on after a failure.

mod announcements;
mod connections;
mod entries;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use connections::Connections;
use nix::errno::Errno;
use weft_api::EndpointId;

use super::connection::Connection;
use super::error::NetlinkError;
use super::link::Link;
use super::namespace::{self, Namespace};
use super::ports::Ports;
use super::{bridge, endpoint, link, observe, qdisc, sysctl, vxlan, way_out};
use crate::observed::Observed;
use crate::op::{EndpointLink, HandedLink, KernelOp, Place, Vxlan, WayOut};
use crate::publish::{PortRequest, PublishedPort};

/// The one place that changes this host's network.
///
/// ```no_run
/// use weft_overlay::netlink::Executor;
/// use weft_overlay::op::KernelOp;
///
/// # async fn example() -> Result<(), weft_overlay::netlink::NetlinkError> {
/// let mut executor = Executor::new("/run/weft")?;
/// let op = KernelOp::EnsureNamespace { name: "weft-0123456789".to_owned() };
/// for (index, error) in executor.apply(vec![op]).await {
///     eprintln!("operation {index}: {error}");
/// }
/// assert!(executor.observe().await?.namespaces.contains_key("weft-0123456789"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Executor {
    connections: Connections,
    ports: Ports,
}

impl Executor {
    /// An executor for the namespace this thread is in. Networks' namespaces are pinned in the
    /// folder `netns` of the run directory.
    ///
    /// # Errors
    /// Without root.
    pub fn new(run_dir: impl AsRef<Path>) -> Result<Self, NetlinkError> {
        Self::new_in(Namespace::current()?, run_dir)
    }

    /// An executor for another host namespace: several hosts can live in one process.
    ///
    /// # Errors
    /// Without root.
    pub fn new_in(host: Namespace, run_dir: impl AsRef<Path>) -> Result<Self, NetlinkError> {
        let pins = run_dir.as_ref().join("netns");
        namespace::prepare_directory(&pins)?;
        Ok(Self { connections: Connections::new(host, pins), ports: Ports::default() })
    }

    /// The host's namespace.
    pub fn host(&self) -> &Namespace {
        &self.connections.host
    }

    /// Where a network's namespace is pinned.
    pub fn pin_path(&self, name: &str) -> PathBuf {
        self.connections.pin_path(name)
    }

    /// Carries the operations out in order. Neighbouring FDB and neighbour operations travel
    /// together, and so do announcements. Returns the failures by index; all others were carried
    /// out.
    pub async fn apply(&mut self, ops: Vec<KernelOp>) -> Vec<(usize, NetlinkError)> {
        let mut failures = Vec::new();
        let mut position = 0;
        while position < ops.len() {
            let rest = &ops[position..];
            let entries = rest.iter().take_while(|op| entries::target(op).is_some()).count();
            if entries > 0 {
                self.apply_entries(position, &rest[..entries], &mut failures).await;
                position += entries;
                continue;
            }
            let announced = rest.iter().take_while(|op| announcements::place(op).is_some()).count();
            if announced > 0 {
                self.announce(position, &rest[..announced], &mut failures).await;
                position += announced;
                continue;
            }
            if let Err(error) = self.apply_one(&ops[position]).await {
                failures.push((position, error));
            }
            position += 1;
        }
        if failures.iter().any(|(_, error)| error.lost_answers()) {
            self.connections.reset();
        }
        failures.sort_by_key(|(position, _)| *position);
        failures
    }

    async fn announce(
        &mut self,
        first: usize,
        ops: &[KernelOp],
        failures: &mut Vec<(usize, NetlinkError)>,
    ) {
        for (namespace, ops) in by_namespace(first, ops, announcements::place) {
            let outcome = match self.connections.network(namespace).await {
                Ok(network) => announcements::apply(network, &ops, failures).await,
                Err(error) => absent_is_done(error),
            };
            failures.extend(outcome.err().zip(ops.first()).map(|(error, (at, _))| (*at, error)));
        }
    }

    async fn apply_entries(
        &mut self,
        first: usize,
        ops: &[KernelOp],
        failures: &mut Vec<(usize, NetlinkError)>,
    ) {
        let namespace = |op| entries::target(op).map(|(namespace, _)| namespace);
        for (namespace, ops) in by_namespace(first, ops, namespace) {
            match self.connections.network(namespace).await {
                Ok(network) => entries::apply(&mut network.connection, &ops, failures).await,
                Err(error) => failures.extend(entries::unreachable(&ops, &error)),
            }
        }
    }

    async fn apply_one(&mut self, op: &KernelOp) -> Result<(), NetlinkError> {
        match op {
            KernelOp::EnsureNamespace { name } => self.ensure_namespace(name).await,
            KernelOp::RemoveNamespace { name } => self.remove_namespace(name).await,
            KernelOp::EnsureBridge { namespace, bridge } => {
                let network = self.connections.network(namespace).await?;
                bridge::ensure(&mut network.connection, bridge).await
            }
            KernelOp::EnsureVxlan { namespace, vxlan } => self.ensure_vxlan(namespace, vxlan).await,
            KernelOp::EnsureEndpoint { namespace, link } => {
                self.ensure_endpoint(namespace, link).await
            }
            KernelOp::EnsureHanded { namespace, link } => self.ensure_handed(namespace, link).await,
            KernelOp::EnsureLimits { namespace, port, shaper, limits } => {
                let network = self.connections.network(namespace).await?;
                qdisc::ensure_limits(&mut network.connection, port, shaper, limits).await
            }
            KernelOp::EnsureWayOut { namespace, way } => self.ensure_way_out(namespace, way).await,
            KernelOp::RemoveWayOut { way, .. } => {
                let (host, firewall) = self.connections.outside().await?;
                way_out::remove(host, firewall, &way.host_link, &way.pools).await
            }
            KernelOp::EnsurePublished { endpoint, ports } => {
                self.ports.hold(&self.connections.host, *endpoint, ports)?;
                self.connections.outside().await?.1.publish(*endpoint, ports).await
            }
            KernelOp::RemovePublished { endpoint } => {
                let removed = self.connections.outside().await?.1.unpublish(*endpoint).await;
                self.ports.release(*endpoint);
                removed
            }
            KernelOp::RemoveLink { place, name } => self.remove_link(place, name).await,
            KernelOp::ReplaceFdb { .. }
            | KernelOp::RemoveFdb { .. }
            | KernelOp::ReplaceNeighbour { .. }
            | KernelOp::RemoveNeighbour { .. } => {
                unreachable!("operations on entries travel by `apply_entries`")
            }
            KernelOp::Announce { .. } => unreachable!("announcements travel by `announce`"),
        }
    }

    /// Chooses ports of the host for an endpoint, and holds them until its ports are removed. What
    /// it holds already and fits is chosen again. One that could not be chosen leaves all others
    /// as they were.
    ///
    /// # Errors
    /// [`NetlinkError::PortTaken`] names the last one that was tried.
    pub fn choose_ports(
        &mut self,
        endpoint: EndpointId,
        requests: &[PortRequest],
    ) -> Result<Vec<PublishedPort>, NetlinkError> {
        self.ports.choose(&self.connections.host, endpoint, requests)
    }

    async fn ensure_namespace(&mut self, name: &str) -> Result<(), NetlinkError> {
        let path = self.pin_path(name);
        let made = tokio::task::spawn_blocking(move || {
            let made = namespace::make_pinned(path)?;
            sysctl::write_all(&made, &network_settings())
        });
        made.await
            .map_err(|e| NetlinkError::io("make a namespace", std::io::Error::other(e)))??;
        let network = self.connections.network(name).await?;
        link::set_up(&mut network.connection, "lo").await
    }

    /// Links are removed before the namespace: the kernel takes them down later, and until then
    /// their VNIs would be taken.
    async fn remove_namespace(&mut self, name: &str) -> Result<(), NetlinkError> {
        let path = self.pin_path(name);
        let mut outcome = Ok(());
        if namespace::is_pinned(&path) {
            let network = self.connections.network(name).await?;
            for link in link::list(&mut network.connection).await? {
                if matches!(link.kind.as_str(), "vxlan" | "veth" | "bridge") {
                    let removed = link::remove(&mut network.connection, &link.name).await;
                    outcome = outcome.and(removed);
                }
            }
        }
        self.connections.forget(name);
        outcome.and(namespace::unpin(path))
    }

    async fn ensure_vxlan(&mut self, namespace: &str, wanted: &Vxlan) -> Result<(), NetlinkError> {
        let both = self.connections.both(namespace).await?;
        let network = both.network;
        let made =
            vxlan::ensure(both.host, &mut network.connection, &network.namespace, wanted).await;
        match made {
            Err(error) if error.is(Errno::EEXIST) => Err(self.name_holder(wanted).await),
            outcome => outcome,
        }
    }

    /// Finds who has a VNI: a leftover in the host or in another pinned namespace.
    async fn name_holder(&mut self, wanted: &Vxlan) -> NetlinkError {
        let holder = self.find_holder(wanted).await.ok().flatten();
        let unknown = || "a device in a namespace that is not pinned here".to_owned();
        NetlinkError::VniInUse {
            vni: wanted.vni.into(),
            port: wanted.port,
            holder: holder.unwrap_or_else(unknown),
        }
    }

    async fn find_holder(&mut self, wanted: &Vxlan) -> Result<Option<String>, NetlinkError> {
        let has = |link: &&Link| {
            let shape = vxlan::Shape::of(link);
            shape.is_some_and(|s| s.vni == u32::from(wanted.vni) && s.port == wanted.port)
        };
        let links = link::list(self.connections.host().await?).await?;
        if let Some(link) = links.iter().find(has) {
            return Ok(Some(format!("`{}` in the host's namespace", link.name)));
        }
        for name in namespace::list_pinned(self.connections.pins())? {
            let network = self.connections.network(&name).await?;
            let links = link::list(&mut network.connection).await?;
            if let Some(link) = links.iter().find(has) {
                let path = self.pin_path(&name);
                return Ok(Some(format!("`{}` in `{}`", link.name, path.display())));
            }
        }
        Ok(None)
    }

    async fn ensure_endpoint(
        &mut self,
        namespace: &str,
        wanted: &EndpointLink,
    ) -> Result<(), NetlinkError> {
        let sandbox = self.open_place(&wanted.sandbox)?;
        let network = self.connections.network(namespace).await?;
        endpoint::ensure(&mut network.connection, &sandbox, wanted).await
    }

    async fn ensure_handed(
        &mut self,
        namespace: &str,
        wanted: &HandedLink,
    ) -> Result<(), NetlinkError> {
        let both = self.connections.both(namespace).await?;
        let host = (both.host, both.host_namespace);
        endpoint::ensure_handed(&mut both.network.connection, host, wanted).await
    }

    /// Tells whether a network's namespace is pinned and holds this link. Changes nothing.
    ///
    /// # Errors
    /// When the kernel refuses to tell.
    pub async fn has_link(&mut self, namespace: &str, name: &str) -> Result<bool, NetlinkError> {
        if !namespace::is_pinned(self.pin_path(namespace)) {
            return Ok(false);
        }
        let network = self.connections.network(namespace).await?;
        let found = link::find(&mut network.connection, name).await;
        if found.as_ref().is_err_and(NetlinkError::lost_answers) {
            self.connections.reset();
        }
        Ok(found?.is_some())
    }

    async fn ensure_way_out(&mut self, namespace: &str, way: &WayOut) -> Result<(), NetlinkError> {
        let both = self.connections.both(namespace).await?;
        let host = way_out::Side { connection: both.host, namespace: both.host_namespace };
        let network = way_out::Side {
            connection: &mut both.network.connection,
            namespace: &both.network.namespace,
        };
        way_out::ensure(host, network, both.firewall, way).await
    }

    /// A place that is gone has taken its links along.
    async fn remove_link(&mut self, place: &Place, name: &str) -> Result<(), NetlinkError> {
        match place {
            Place::Host => {
                let (host, firewall) = self.connections.outside().await?;
                match link::find(host, name).await? {
                    Some(found) if found.group == way_out::GROUP => {
                        way_out::remove(host, firewall, name, &[]).await
                    }
                    Some(_) => link::remove(host, name).await,
                    None => Ok(()),
                }
            }
            Place::Network(network) => match self.connections.network(network).await {
                Ok(network) => {
                    link::remove_soon(&mut network.connection, &network.namespace, name).await
                }
                Err(error) => absent_is_done(error),
            },
            Place::Sandbox(path) => match Namespace::open(path) {
                Ok(sandbox) => link::remove(&mut Connection::open(&sandbox).await?, name).await,
                Err(error) => absent_is_done(error),
            },
        }
    }

    fn open_place(&self, place: &Place) -> Result<Namespace, NetlinkError> {
        match place {
            Place::Host => self.connections.host.try_clone(),
            Place::Network(name) => Namespace::open(self.pin_path(name)),
            Place::Sandbox(path) => Namespace::open(path),
        }
    }

    /// Reads back all that is ours. A device that is down or not set as ours are is left out, so
    /// that the reconciler ensures it again.
    ///
    /// # Errors
    /// When the kernel refuses to tell.
    pub async fn observe(&mut self) -> Result<Observed, NetlinkError> {
        let observed = self.read_all().await;
        if observed.as_ref().is_err_and(NetlinkError::lost_answers) {
            self.connections.reset();
        }
        observed
    }

    async fn read_all(&mut self) -> Result<Observed, NetlinkError> {
        let (connection, firewall) = self.connections.outside().await?;
        let host = observe::host(connection, firewall).await?;
        let mut observed = Observed {
            host_links: host.names(),
            handed: host.handed.clone(),
            published: firewall.published().await?,
            namespaces: BTreeMap::new(),
        };
        for name in namespace::list_pinned(self.connections.pins())? {
            let network = self.connections.network(&name).await?;
            let read = observe::network(&mut network.connection, &host).await?;
            observed.namespaces.insert(name, read);
        }
        Ok(observed)
    }
}

/// Parts operations by namespace, in order, each with its index.
fn by_namespace<'a>(
    first: usize,
    ops: &'a [KernelOp],
    namespace: impl Fn(&'a KernelOp) -> Option<&'a str>,
) -> BTreeMap<&'a str, Vec<(usize, &'a KernelOp)>> {
    let mut parted: BTreeMap<&str, Vec<(usize, &KernelOp)>> = BTreeMap::new();
    for (offset, op) in ops.iter().enumerate() {
        if let Some(namespace) = namespace(op) {
            parted.entry(namespace).or_default().push((first + offset, op));
        }
    }
    parted
}

fn absent_is_done(error: NetlinkError) -> Result<(), NetlinkError> {
    let gone = matches!(error, NetlinkError::NamespaceGone(_) | NetlinkError::NotNamespace(_));
    if gone { Ok(()) } else { Err(error) }
}

/// Settings of a network's namespace: it routes for its endpoints and says nothing by itself.
fn network_settings() -> Vec<(String, &'static str)> {
    [
        ("ipv4/ip_forward", "1"),
        ("ipv6/conf/all/forwarding", "1"),
        // Addresses are allocated; to wait a second for the proof would drop first packets.
        ("ipv6/conf/all/accept_dad", "0"),
        ("ipv6/conf/default/accept_dad", "0"),
        ("ipv6/conf/all/disable_ipv6", "0"),
        ("ipv6/conf/default/disable_ipv6", "0"),
        // The gateway is asked on its own bridge only.
        ("ipv4/conf/all/arp_ignore", "1"),
        ("ipv4/conf/all/rp_filter", "0"),
        ("ipv4/conf/default/rp_filter", "0"),
        ("ipv4/conf/all/send_redirects", "0"),
        ("ipv4/conf/default/send_redirects", "0"),
        // Bridged frames are nobody's to filter here, and are quicker without.
        ("bridge/bridge-nf-call-iptables", "0"),
        ("bridge/bridge-nf-call-ip6tables", "0"),
        ("bridge/bridge-nf-call-arptables", "0"),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .to_vec()
}
