//! Sandboxes: the namespaces that endpoints are joined to. The first join makes one, the last
//! leave deletes it.

use std::net::IpAddr;

use weft_api::control::{ControlError, EndpointJoin, SandboxId, StaticRoute};
use weft_api::driver::{JoinResult, Options, TableEntry};
use weft_api::{Definition, EndpointId};
use weft_overlay::netlink::link::{self, Link};
use weft_overlay::netlink::namespace::Namespace;
use weft_overlay::netlink::{connection::Connection, route};

use super::endpoints::endpoint_options;
use super::inventory::{Endpoint, PlacedBy, Sandbox};
use super::{Controller, driver_error, table_error};
use crate::control::Answer;
use crate::overlay_driver::Vanished;
use crate::overlay_driver::options::{ADOPT, DEFAULT_ROUTE, HANDOVER, IFNAME};

/// Interfaces a sandbox may have that were named by us.
const INTERFACES_MAX: usize = 256;

impl Controller {
    pub(super) async fn enter_sandbox(
        &self,
        endpoint: Endpoint,
        request: EndpointJoin,
    ) -> Answer<Endpoint> {
        let request = EndpointJoin { netns: without_links(&request.netns), ..request };
        // Before any turn is taken: each that is gone has its own.
        self.leave_vanished(&request).await?;
        let _turn = self.locks.lock(format!("endpoint/{}", endpoint.id)).await;
        // Two joins to one namespace take turns: each sees the names the other took.
        let _place = self.locks.lock(format!("sandbox/{}", request.netns)).await;
        let mut endpoint = self.current(endpoint.id)?;
        if let Some(sandbox) = &endpoint.sandbox {
            return Err(ControlError::forbidden(format!(
                "endpoint `{}` is joined to sandbox `{}` already",
                endpoint.name, sandbox.key
            ))
            .with_hint("`weft endpoint leave` first"));
        }
        let network = endpoint.network;
        let definition = self
            .node(move |node, _| node.db().definition(network).cloned())
            .await?
            .ok_or_else(|| {
                ControlError::not_found(format!(
                    "network `{}` does not exist any more",
                    endpoint.network_name
                ))
            })?;
        let namespace = open(&request.netns)?;
        let asked_name = request.ifname.clone();
        let ifname = match request.ifname {
            Some(name) => checked_ifname(&namespace, name).await?,
            None => free_ifname(&namespace).await?,
        };
        let (id, to_be_had) = self.place(&request.netns, &links(&namespace).await?)?;
        // Another plugin's default route stays: a runtime attaches a container to several networks.
        let default_route =
            to_be_had && !(endpoint.container.is_some() && is_routed(&namespace).await?);
        let sandbox = Sandbox {
            id,
            key: request.netns,
            ifname,
            default_route,
            gateway: None,
            gateway_ipv6: None,
            mtu: None,
            routes: Vec::new(),
            entries: Vec::new(),
            boot: host_boot(),
            placed_by: PlacedBy::Driver,
        };
        endpoint.stale = false;
        let joined = if self.foreign.drives(endpoint.id) {
            self.join_foreign(&definition, endpoint, sandbox, asked_name).await?
        } else {
            self.join_driver(&definition, endpoint, sandbox, Join::First).await?
        };
        let write = joined.to_write();
        self.core(move |core, _| core.persist([write])).await?;
        self.inventory().put(joined.clone());
        Ok(joined)
    }

    /// Lets the driver join, and publishes what it said. Used at start as well.
    pub(super) async fn join_driver(
        &self,
        definition: &Definition,
        mut endpoint: Endpoint,
        mut sandbox: Sandbox,
        join: Join,
    ) -> Answer<Endpoint> {
        let driver = self.driver_of(definition).await?.driver;
        let mut result = JoinResult::default();
        let options = join_options(&endpoint, &sandbox, join);
        driver
            .join(endpoint.network, endpoint.id, &sandbox.key, &mut result, &options)
            .await
            .map_err(driver_error)?;
        let published = self.publish(&endpoint, std::mem::take(&mut result.table_entries)).await;
        match published {
            Ok(entries) => sandbox.entries = entries,
            Err(error) => {
                if let Err(undo) = driver.leave(endpoint.network, endpoint.id).await {
                    tracing::warn!(error = %undo, "failed join was not undone");
                }
                return Err(error);
            }
        }
        if sandbox.placed_by == PlacedBy::Engine {
            sandbox.ifname = result.src_name;
        }
        let (v4, v6) = gateways(definition, &endpoint, sandbox.default_route);
        sandbox.gateway = result.gateway.or(v4);
        sandbox.gateway_ipv6 = result.gateway_ipv6.or(v6);
        sandbox.mtu = Some(definition.mtu.unwrap_or_else(|| self.largest_mtu()));
        sandbox.routes = result
            .static_routes
            .into_iter()
            .map(|route| StaticRoute { destination: route.destination, next_hop: route.next_hop })
            .collect();
        endpoint.sandbox = Some(sandbox);
        Ok(endpoint)
    }

    /// Writes table entries; one that stands from an earlier start is brought up to date.
    async fn publish(
        &self,
        endpoint: &Endpoint,
        entries: Vec<TableEntry>,
    ) -> Answer<Vec<(String, String)>> {
        let network = endpoint.network;
        self.node(move |node, now| {
            let mut published = Vec::new();
            for TableEntry { table, key, value } in entries {
                let own = node.id();
                let standing = node
                    .db()
                    .entry(network, &table, &key)
                    .filter(|entry| entry.owner == own)
                    .map(|entry| entry.value.to_vec());
                let written =
                    match standing {
                        Some(standing) if standing == value => Ok(()),
                        Some(_) => node
                            .with_db(now, |db| db.update_entry(network, &table, &key, value, now)),
                        None => node
                            .with_db(now, |db| db.create_entry(network, &table, &key, value, now)),
                    };
                written.map_err(table_error)?;
                published.push((table, key));
            }
            Ok(published)
        })
        .await?
    }

    async fn unpublish(&self, endpoint: &Endpoint, entries: Vec<(String, String)>) -> Answer<()> {
        let network = endpoint.network;
        self.node(move |node, now| {
            for (table, key) in entries {
                let deleted = node.with_db(now, |db| db.delete_entry(network, &table, &key, now));
                if let Err(error) = deleted {
                    // Another node took the key over, or it went with the network.
                    tracing::debug!(%error, "entry not deleted");
                }
            }
        })
        .await
    }

    pub(super) async fn leave_endpoint(
        &self,
        id: EndpointId,
        sandbox: Option<SandboxId>,
    ) -> Answer<()> {
        let _turn = self.locks.lock(format!("endpoint/{id}")).await;
        let endpoint = self.current(id)?;
        if endpoint.sandbox.is_none() {
            return Err(ControlError::forbidden(format!(
                "endpoint `{}` is joined to no sandbox",
                endpoint.name
            )));
        }
        self.leave_locked(id, sandbox).await.map(drop)
    }

    /// Leaves the sandbox, if there is one; the caller holds the endpoint's lock.
    pub(super) async fn leave_locked(
        &self,
        id: EndpointId,
        expected: Option<SandboxId>,
    ) -> Answer<Endpoint> {
        let endpoint = self.leave_in_memory(id, expected).await?;
        let write = endpoint.to_write();
        self.core(move |core, _| core.persist([write])).await?;
        Ok(endpoint)
    }

    /// Like [`Controller::leave_locked`], for an endpoint that is ended next: what is on disk of it
    /// goes then. After a crash between the two it is found as it was before.
    pub(super) async fn leave_in_memory(
        &self,
        id: EndpointId,
        expected: Option<SandboxId>,
    ) -> Answer<Endpoint> {
        let mut endpoint = self.current(id)?;
        let Some(sandbox) = endpoint.sandbox.take() else { return Ok(endpoint) };
        if let Some(expected) = expected
            && expected.as_str() != sandbox.id
        {
            return Err(ControlError::not_found(format!(
                "endpoint `{}` is not joined to sandbox `{expected}`",
                endpoint.name
            )));
        }
        // First the others stop to send, then the data path goes.
        self.unpublish(&endpoint, sandbox.entries).await?;
        let network = endpoint.network;
        let definition = self.node(move |node, _| node.db().definition(network).cloned()).await?;
        if self.foreign.drives(id) {
            self.leave_foreign_endpoint(id).await;
        } else if let Ok(driver) = self.driver_for(definition.as_ref()).await
            && let Err(error) = driver.driver.leave(endpoint.network, id).await
        {
            tracing::warn!(endpoint = %id, %error, "driver did not leave the sandbox");
        }
        self.inventory().put(endpoint.clone());
        Ok(endpoint)
    }

    /// A sandbox is gone with its namespace: its endpoints leave, and keep their addresses.
    pub(super) async fn sandbox_vanished(&self, vanished: Vanished) {
        let _turn = self.locks.lock(format!("endpoint/{}", vanished.endpoint)).await;
        let Ok(mut endpoint) = self.current(vanished.endpoint) else { return };
        let is_gone = |sandbox: &mut Sandbox| sandbox.key == vanished.sandbox_key;
        let Some(sandbox) = endpoint.sandbox.take_if(is_gone) else { return };
        endpoint.stale = true;
        let write = endpoint.to_write();
        let kept = async {
            self.unpublish(&endpoint, sandbox.entries).await?;
            self.core(move |core, _| core.persist([write])).await
        };
        if let Err(error) = kept.await {
            tracing::warn!(%error, "leave of a vanished sandbox was not kept");
        }
        self.inventory().put(endpoint);
        self.engines.notify_one();
    }

    pub(super) fn current(&self, id: EndpointId) -> Answer<Endpoint> {
        self.inventory().get(id).cloned().ok_or_else(|| {
            ControlError::not_found(format!("endpoint `{id}` does not exist any more"))
        })
    }

    /// Lets an endpoint leave whose interface is to be another's: its namespace was made anew at
    /// its path, or whoever has the namespace took the interface away and asks for it again.
    async fn leave_vanished(&self, request: &EndpointJoin) -> Answer<()> {
        let Some(ifname) = &request.ifname else { return Ok(()) };
        let is_it = |endpoint: &Endpoint, sandbox: &Sandbox| {
            sandbox.key == request.netns
                && sandbox.ifname == *ifname
                && sandbox.placed_by == PlacedBy::Driver
                && !self.foreign.drives(endpoint.id)
        };
        let here: Vec<EndpointId> = {
            let inventory = self.inventory();
            let here =
                inventory.in_sandbox(&request.netns).filter(|(e, sandbox)| is_it(e, sandbox));
            here.map(|(endpoint, _)| endpoint.id).collect()
        };
        for id in here {
            let _turn = self.locks.lock(format!("endpoint/{id}")).await;
            let Ok(endpoint) = self.current(id) else { continue };
            let Some(sandbox) = endpoint.sandbox.as_ref().filter(|its| is_it(&endpoint, its))
            else {
                continue;
            };
            if is_among(&links(&open(&request.netns)?).await?, &endpoint, sandbox) {
                continue;
            }
            tracing::info!(endpoint = %id, netns = request.netns, "its interface is gone");
            let mut endpoint = self.leave_in_memory(id, None).await?;
            endpoint.stale = true;
            let write = endpoint.to_write();
            self.core(move |core, _| core.persist([write])).await?;
            self.inventory().put(endpoint);
        }
        Ok(())
    }

    /// Returns the sandbox's id, and whether its default routes are still to be had. Of endpoints
    /// that the driver places only those count whose interface is there: one that is not may have
    /// gone with a namespace that was at this path before.
    pub(super) fn place(&self, key: &str, there: &[Link]) -> Answer<(String, bool)> {
        let inventory = self.inventory();
        let mut id = None;
        let mut default_route = true;
        let counts = |endpoint: &Endpoint, sandbox: &Sandbox| {
            sandbox.placed_by == PlacedBy::Engine
                || self.foreign.drives(endpoint.id)
                || is_among(there, endpoint, sandbox)
        };
        for (_, sandbox) in inventory.in_sandbox(key).filter(|(e, sandbox)| counts(e, sandbox)) {
            id = Some(sandbox.id.clone());
            default_route &= !sandbox.default_route;
        }
        match id {
            Some(id) => Ok((id, default_route)),
            None => {
                let bytes: [u8; 16] = crate::identity::random()
                    .map_err(|error| ControlError::internal(error.to_string()))?;
                Ok((EndpointId::from_bytes(bytes).to_string(), default_route))
            }
        }
    }
}

/// Whether a namespace has a default route.
async fn is_routed(namespace: &Namespace) -> Answer<bool> {
    let routes = async { route::list(&mut Connection::open(namespace).await?).await };
    let routes = routes.await.map_err(|error| {
        ControlError::internal(format!("the routes of the namespace were not read: {error}"))
    })?;
    Ok(routes.iter().any(|entry| entry.table == route::MAIN && entry.route.to.prefix() == 0))
}

/// Whether an endpoint joins a sandbox, or is found in it after a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Join {
    First,
    Again,
}

fn join_options(endpoint: &Endpoint, sandbox: &Sandbox, join: Join) -> Options {
    let mut options = endpoint_options(endpoint);
    if sandbox.placed_by == PlacedBy::Engine {
        options.insert(HANDOVER.to_owned(), true.into());
        options.insert(ADOPT.to_owned(), (join == Join::Again).into());
        return options;
    }
    options.insert(IFNAME.to_owned(), sandbox.ifname.clone().into());
    options.insert(DEFAULT_ROUTE.to_owned(), sandbox.default_route.into());
    options
}

fn gateways(
    definition: &Definition,
    endpoint: &Endpoint,
    default_route: bool,
) -> (Option<IpAddr>, Option<IpAddr>) {
    let of = |address: Option<ipnetwork::IpNetwork>| {
        let address = address?.ip();
        let subnet = definition.subnets.iter().find(|subnet| subnet.pool.contains(address))?;
        subnet.gateway
    };
    if definition.internal || !default_route {
        return (None, None);
    }
    (of(endpoint.address), of(endpoint.address_ipv6))
}

/// Checks that there is such a namespace and that the interface's name is free in it.
pub(super) async fn check_join(request: &EndpointJoin) -> Answer<()> {
    let namespace = open(&request.netns)?;
    match &request.ifname {
        Some(name) => checked_ifname(&namespace, name.clone()).await.map(drop),
        None => Ok(()),
    }
}

/// Checks the form of a namespace's path.
fn check_path(path: &str) -> Answer<()> {
    if !path.starts_with('/') {
        return Err(ControlError::invalid(format!("namespace path `{path}` is not absolute"))
            .with_hint("give a path such as /run/netns/web or /proc/42/ns/net"));
    }
    Ok(())
}

/// The path with its directories as they are: one namespace is one sandbox, also where /var/run
/// leads to /run. The last part stays, for what leads from /proc to a namespace is no path.
fn without_links(path: &str) -> String {
    let path = std::path::Path::new(path);
    if !path.is_absolute() {
        return path.to_string_lossy().into_owned();
    }
    let directory = path.parent().and_then(|above| above.canonicalize().ok());
    let whole = directory.zip(path.file_name()).map(|(directory, name)| directory.join(name));
    whole.as_deref().unwrap_or(path).to_string_lossy().into_owned()
}

pub(super) fn open(path: &str) -> Answer<Namespace> {
    check_path(path)?;
    let namespace = Namespace::open(path).map_err(|error| {
        ControlError::not_found(error.to_string()).with_hint(
            "`ip netns add NAME` makes one under /run/netns; --pid takes that of a process",
        )
    })?;
    if is_host(&namespace) {
        return Err(ControlError::forbidden(format!(
            "namespace `{path}` is that of this host, whose routes would change"
        ))
        .with_hint("give that of a container, or one that `ip netns add NAME` made"));
    }
    Ok(namespace)
}

/// Tells whether a namespace is the one the agent itself is in.
pub(super) fn is_host(namespace: &Namespace) -> bool {
    Namespace::current().is_ok_and(|host| host.inode() == namespace.inode())
}

/// Names this run of the host's kernel: no namespace outlives it.
pub(super) fn host_boot() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned())
}

pub(super) async fn interfaces(namespace: &Namespace) -> Answer<Vec<String>> {
    Ok(links(namespace).await?.into_iter().map(|link| link.name).collect())
}

async fn links(namespace: &Namespace) -> Answer<Vec<Link>> {
    let read = async { link::list(&mut Connection::open(namespace).await?).await };
    read.await.map_err(|error| {
        ControlError::internal(format!("interfaces of the namespace were not read: {error}"))
    })
}

/// Whether an endpoint's interface is there, under its name or, renamed, by its MAC address.
fn is_among(links: &[Link], endpoint: &Endpoint, sandbox: &Sandbox) -> bool {
    links.iter().any(|link| link.name == sandbox.ifname || link.mac == endpoint.mac)
}

async fn checked_ifname(namespace: &Namespace, name: String) -> Answer<String> {
    let fits = |c: char| c.is_ascii_graphic() && c != '/' && c != ':';
    if name.is_empty() || name.len() > 15 || !name.chars().all(fits) || name == "." || name == ".."
    {
        return Err(ControlError::invalid(format!("`{name}` cannot name an interface"))
            .with_hint("use 1 to 15 letters or digits, such as eth0"));
    }
    if interfaces(namespace).await?.contains(&name) {
        return Err(ControlError::conflict(format!(
            "interface `{name}` exists already in that namespace"
        ))
        .with_hint("take another --ifname, or leave it out for the first free one"));
    }
    Ok(name)
}

async fn free_ifname(namespace: &Namespace) -> Answer<String> {
    let taken = interfaces(namespace).await?;
    (0..INTERFACES_MAX)
        .map(|number| format!("eth{number}"))
        .find(|name| !taken.contains(name))
        .ok_or_else(|| ControlError::unavailable("no interface name is left in that namespace"))
}
