//! The sockets that are kept open: one in the host, one in each network's namespace.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::netlink::connection::Connection;
use crate::netlink::error::NetlinkError;
use crate::netlink::namespace::Namespace;
use crate::netlink::nft::Firewall;

/// Sockets by namespace, opened when first asked for.
#[derive(Debug)]
pub(super) struct Connections {
    pub(super) host: Namespace,
    pins: PathBuf,
    to_host: Option<Connection>,
    firewall: Option<Firewall>,
    networks: BTreeMap<String, Network>,
}

/// A network's namespace and the socket in it.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) namespace: Namespace,
    pub(super) connection: Connection,
}

/// Everything a way out touches.
pub(super) struct Both<'a> {
    pub(super) host: &'a mut Connection,
    pub(super) host_namespace: &'a Namespace,
    pub(super) firewall: &'a mut Firewall,
    pub(super) network: &'a mut Network,
}

impl Connections {
    pub(super) fn new(host: Namespace, pins: PathBuf) -> Self {
        Self { host, pins, to_host: None, firewall: None, networks: BTreeMap::new() }
    }

    /// Where a network's namespace is pinned.
    pub(super) fn pin_path(&self, name: &str) -> PathBuf {
        self.pins.join(name)
    }

    pub(super) fn pins(&self) -> &PathBuf {
        &self.pins
    }

    pub(super) async fn host(&mut self) -> Result<&mut Connection, NetlinkError> {
        if self.to_host.is_none() {
            self.to_host = Some(Connection::open(&self.host).await?);
        }
        Ok(self.to_host.as_mut().expect("it was opened above"))
    }

    /// The host's socket and its firewall's.
    pub(super) async fn outside(
        &mut self,
    ) -> Result<(&mut Connection, &mut Firewall), NetlinkError> {
        if self.firewall.is_none() {
            self.firewall = Some(Firewall::open(&self.host).await?);
        }
        self.host().await?;
        let host = self.to_host.as_mut().expect("it was opened above");
        Ok((host, self.firewall.as_mut().expect("it was opened above")))
    }

    /// The socket in a network's namespace. One that was pinned anew meanwhile is opened anew.
    pub(super) async fn network(&mut self, name: &str) -> Result<&mut Network, NetlinkError> {
        let path = self.pin_path(name);
        let inode = fs::metadata(&path).ok().map(|metadata| metadata.ino());
        let kept = self.networks.get(name).is_some_and(|n| Some(n.namespace.inode()) == inode);
        if !kept {
            self.networks.remove(name);
            let namespace = Namespace::open(&path)?;
            let connection = Connection::open(&namespace).await?;
            self.networks.insert(name.to_owned(), Network { namespace, connection });
        }
        Ok(self.networks.get_mut(name).expect("it was opened above"))
    }

    /// The sockets of the host and of a network together.
    pub(super) async fn both(&mut self, name: &str) -> Result<Both<'_>, NetlinkError> {
        self.outside().await?;
        self.network(name).await?;
        Ok(Both {
            host: self.to_host.as_mut().expect("it was opened above"),
            host_namespace: &self.host,
            firewall: self.firewall.as_mut().expect("it was opened above"),
            network: self.networks.get_mut(name).expect("it was opened above"),
        })
    }

    /// Closes a network's socket, which would keep its namespace alive.
    pub(super) fn forget(&mut self, name: &str) {
        self.networks.remove(name);
    }

    /// Closes all: after lost answers it is not known what a socket will read next.
    pub(super) fn reset(&mut self) {
        self.to_host = None;
        self.firewall = None;
        self.networks.clear();
    }
}
