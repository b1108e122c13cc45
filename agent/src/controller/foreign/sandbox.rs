//! Endpoints of a third party's network driver in their sandboxes. The driver makes an interface
//! in the host; to move, name, address and route it is the caller's part (libnetwork's
//! `osl` package).

use ipnetwork::IpNetwork;
use serde_json::{Map, Value};
use weft_api::Definition;
use weft_api::control::{ControlError, StaticRoute};
use weft_api::driver::{Driver, DriverError, IpamData, JoinResult, Options};
use weft_api::error::Error;
use weft_overlay::netlink::connection::Connection;
use weft_overlay::netlink::sandbox::{self, Interface, free_name};
use weft_overlay::netlink::{Namespace, NetlinkError, link};
use weft_overlay::op::Route;

use super::super::endpoints::driver_options;
use super::super::inventory::{Endpoint, Sandbox};
use super::super::{Controller, driver_error};
use super::ledger::{ForeignEndpoint, Joined, Record};
use super::pools::{CHOICE, Choice};
use crate::control::Answer;
use crate::overlay_driver::options::{INTERNAL, MTU, options_of};

/// Label of the options a user gave a driver with `-o`.
const GENERIC: &str = "com.docker.network.generic";
/// Label that says whether a network has IPv6.
const ENABLE_IPV6: &str = "com.docker.network.enable_ipv6";

/// Says a definition in the words that engines use towards plugins.
pub(in super::super) fn plugin_options(
    definition: &Definition,
) -> (Options, Vec<IpamData>, Vec<IpamData>) {
    let (_, mut v4, mut v6) = options_of(definition);
    if definition.ipam != crate::ipam_driver::NAME {
        let space = Choice::of(definition).space;
        v4.iter_mut().chain(&mut v6).for_each(|data| data.address_space.clone_from(&space));
    }
    let mut generic: Map<String, Value> = definition
        .options
        .iter()
        .filter(|(key, _)| *key != CHOICE)
        .map(|(key, value)| (key.clone(), value.clone().into()))
        .collect();
    generic.extend(definition.mtu.map(|mtu| (MTU.to_owned(), mtu.to_string().into())));
    let mut options = Options::from([
        (GENERIC.to_owned(), generic.into()),
        (ENABLE_IPV6.to_owned(), (!v6.is_empty()).into()),
    ]);
    if definition.internal {
        options.insert(INTERNAL.to_owned(), true.into());
    }
    (options, v4, v6)
}

impl Controller {
    /// Lets a plugin join an endpoint, and puts the interface it names into the sandbox. What
    /// fails half-way is undone.
    pub(in super::super) async fn join_foreign(
        &self,
        definition: &Definition,
        mut endpoint: Endpoint,
        mut sandbox: Sandbox,
        asked_name: Option<String>,
    ) -> Answer<Endpoint> {
        let driver = self.driver_of(definition).await?.driver;
        let mut record = self.foreign.ledger().endpoint(endpoint.id).ok_or_else(|| {
            ControlError::internal(format!("endpoint `{}` is at no plugin", endpoint.name))
        })?;
        // From a leave that the plugin did not hear of.
        self.leave_foreign(&mut record).await.map_err(|error| super::no_driver(&error, self))?;
        record.joined = Some(Joined {
            key: sandbox.key.clone(),
            ifname: sandbox.ifname.clone(),
            link: None,
            external: false,
        });
        self.foreign_put(Record::Endpoint(record.clone())).await?;
        let entered = self.enter_foreign(
            &*driver,
            definition,
            &endpoint,
            &mut sandbox,
            &mut record,
            asked_name,
        );
        if let Err(error) = entered.await {
            if let Err(undo) = self.leave_foreign(&mut record).await {
                tracing::warn!(error = %undo, "failed join was not undone");
            }
            return Err(error);
        }
        endpoint.sandbox = Some(sandbox);
        Ok(endpoint)
    }

    async fn enter_foreign(
        &self,
        driver: &dyn Driver,
        definition: &Definition,
        endpoint: &Endpoint,
        sandbox: &mut Sandbox,
        record: &mut ForeignEndpoint,
        asked_name: Option<String>,
    ) -> Answer<()> {
        let (network, id) = (endpoint.network, endpoint.id);
        let mut result = JoinResult::default();
        let options = driver_options(endpoint);
        driver
            .join(network, id, &sandbox.key, &mut result, &options)
            .await
            .map_err(driver_error)?;
        if !result.src_name.is_empty() {
            let inside = Namespace::open(&sandbox.key).map_err(not_moved)?;
            if asked_name.is_none() && !result.dst_prefix.is_empty() {
                let mut connection = Connection::open(&inside).await.map_err(not_moved)?;
                sandbox.ifname =
                    free_name(&mut connection, &result.dst_prefix).await.map_err(not_moved)?;
            }
            if let Some(joined) = &mut record.joined {
                joined.ifname.clone_from(&sandbox.ifname);
                joined.link = Some(result.src_name.clone());
            }
            self.foreign_put(Record::Endpoint(record.clone())).await?;
            let wanted = interface(definition, endpoint, sandbox, &result);
            sandbox.mtu = Some(move_in(&result.src_name, &inside, &wanted).await?);
        }
        sandbox.gateway = result.gateway.filter(|_| sandbox.default_route);
        sandbox.gateway_ipv6 = result.gateway_ipv6.filter(|_| sandbox.default_route);
        let routes = result.static_routes.into_iter();
        sandbox.routes = routes
            .map(|route| StaticRoute { destination: route.destination, next_hop: route.next_hop })
            .collect();
        if sandbox.default_route {
            match driver.program_external_connectivity(network, id, &options).await {
                Ok(()) => {
                    record.joined.iter_mut().for_each(|joined| joined.external = true);
                    self.foreign_put(Record::Endpoint(record.clone())).await?;
                }
                Err(DriverError::NotImplemented) => {}
                Err(error) => return Err(driver_error(error)),
            }
        }
        Ok(())
    }

    /// Takes an endpoint out of its sandbox, if it is in one: its interface goes back to the host
    /// under its old name, where the plugin removes it. The record stays as it is for the plugin
    /// where that is away.
    ///
    /// # Errors
    /// The plugin is away.
    pub(super) async fn leave_foreign(&self, record: &mut ForeignEndpoint) -> Result<(), Error> {
        let Some(joined) = record.joined.clone() else { return Ok(()) };
        let left = self.leave_plugin(record, &joined).await;
        if let Some(name) = &joined.link
            && let Err(error) = move_out(&joined, name).await
        {
            // Most often the plugin has removed it, or the sandbox is gone and it went along.
            tracing::debug!(endpoint = %record.id, %error, "interface was not moved back");
        }
        match &left {
            Ok(()) => record.joined = None,
            Err(_) => record.joined.iter_mut().for_each(|joined| joined.link = None),
        }
        drop(self.foreign_put(Record::Endpoint(record.clone())).await);
        left
    }

    async fn leave_plugin(&self, record: &ForeignEndpoint, joined: &Joined) -> Result<(), Error> {
        let Some(name) = &record.driver else { return Ok(()) };
        let driver = self.registry.network(name).await?.driver;
        if joined.external
            && let Err(error) = driver.revoke_external_connectivity(record.network, record.id).await
        {
            super::told(Error::new(error.kind(), error), "way out was not taken back")?;
        }
        match driver.leave(record.network, record.id).await {
            Ok(()) => Ok(()),
            Err(error) => super::told(Error::new(error.kind(), error), "sandbox was not left"),
        }
    }

    /// Like [`Controller::leave_foreign`], by id; a plugin that is away hears of it later.
    pub(in super::super) async fn leave_foreign_endpoint(&self, id: weft_api::EndpointId) {
        let _turn = self.foreign_endpoint_turn(id).await;
        let Some(mut record) = self.foreign.ledger().endpoint(id) else { return };
        if let Err(error) = self.leave_foreign(&mut record).await {
            tracing::warn!(endpoint = %id, %error, "a plugin is away; it is told later");
        }
    }

    /// Takes up an endpoint that a plugin serves. Plugins keep what they know, so it is not asked
    /// anew; one whose sandbox is gone leaves it. Returns the endpoint's sandbox, if it is there.
    pub(in super::super) async fn restore_foreign(
        &self,
        definition: &Definition,
        endpoint: &Endpoint,
        sandbox: Option<Sandbox>,
    ) -> Answer<Option<Sandbox>> {
        let id = definition.id;
        self.node(move |node, now| node.with_db(now, |db| db.attach(id, now)))
            .await?
            .map_err(super::super::table_error)?;
        self.inventory().mark_created(id);
        let Some(sandbox) = sandbox else { return Ok(None) };
        let same_boot = sandbox.boot == super::super::sandboxes::host_boot();
        if same_boot && is_there(&sandbox).await {
            return Ok(Some(sandbox));
        }
        self.leave_foreign_endpoint(endpoint.id).await;
        Ok(None)
    }
}

fn interface(
    definition: &Definition,
    endpoint: &Endpoint,
    sandbox: &Sandbox,
    result: &JoinResult,
) -> Interface {
    let to_all = |v6: bool| -> IpNetwork {
        let text = if v6 { "::/0" } else { "0.0.0.0/0" };
        text.parse().expect("the network of all addresses")
    };
    let gateways = result.gateway.into_iter().chain(result.gateway_ipv6);
    let defaults = gateways
        .filter(|_| sandbox.default_route)
        .map(|via| Route { to: to_all(via.is_ipv6()), via: Some(via) });
    let others = result
        .static_routes
        .iter()
        .map(|route| Route { to: route.destination, via: route.next_hop });
    Interface {
        ifname: sandbox.ifname.clone(),
        mac: endpoint.mac,
        mtu: definition.mtu,
        addresses: endpoint.address.into_iter().chain(endpoint.address_ipv6).collect(),
        routes: defaults.chain(others).collect(),
    }
}

/// Moves the interface and returns its MTU.
async fn move_in(name: &str, inside: &Namespace, wanted: &Interface) -> Answer<u32> {
    let host = Namespace::current().map_err(not_moved)?;
    let mut connection = Connection::open(&host).await.map_err(not_moved)?;
    let link = link::get(&mut connection, name).await.map_err(not_moved)?;
    sandbox::move_in((&mut connection, &host), name, inside, wanted).await.map_err(not_moved)?;
    Ok(wanted.mtu.unwrap_or(link.mtu))
}

async fn move_out(joined: &Joined, name: &str) -> Result<(), NetlinkError> {
    let inside = Namespace::open(&joined.key)?;
    sandbox::move_out(&inside, &joined.ifname, &Namespace::current()?, name).await
}

async fn is_there(sandbox: &Sandbox) -> bool {
    let Ok(namespace) = Namespace::open(&sandbox.key) else { return false };
    let found =
        async { link::find(&mut Connection::open(&namespace).await?, &sandbox.ifname).await };
    found.await.is_ok_and(|found| found.is_some())
}

fn not_moved(error: NetlinkError) -> ControlError {
    ControlError::unavailable(format!("the network driver's interface was not set up: {error}"))
        .with_hint("look at the plugin's log, and whether its interfaces are in this host")
}
