//! A network driver behind a plugin (libnetwork's `drivers/remote`).

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use weft_api::cidr::parse_cidr;
use weft_api::discovery::{Discover, Discovery};
use weft_api::driver::{
    Capability, Driver, DriverError, EventType, InterfaceInfo, IpamData, JoinInfo, NetworkInfo,
    Options, Plugin, RouteType, Scope,
};
use weft_api::error::Error;
use weft_api::plugin::Empty;
use weft_api::plugin::network::{
    AllocateNetworkRequest, AllocateNetworkResponse, Capabilities, CreateEndpointRequest,
    CreateEndpointResponse, CreateNetworkRequest, DiscoveryNotification, EndpointInterface,
    EndpointOperInfoResponse, EndpointRequest, JoinRequest, JoinResponse, NetworkRequest, PATH,
};
use weft_api::{EndpointId, Kind, NetworkId};

/// A network driver behind a plugin.
pub struct RemoteDriver {
    plugin: Arc<dyn Plugin>,
    capability: Capability,
}

impl fmt::Debug for RemoteDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteDriver({}, {:?})", self.plugin.name(), self.capability)
    }
}

impl RemoteDriver {
    /// Makes the driver, once it has said what it can do.
    ///
    /// # Errors
    /// What the plugin answered; unavailable when it names no scope, or one there is not.
    pub async fn connect(plugin: Arc<dyn Plugin>) -> Result<(Self, Capability), DriverError> {
        let asked: Capabilities = ask(&*plugin, "GetCapabilities", &Value::Null).await?;
        let scope = |member: &str, text: &str| {
            text.parse::<Scope>().map_err(|error| {
                Error::unavailable(format!("plugin `{}`: {member} {error}", plugin.name()))
            })
        };
        let data_scope = scope("Scope", &asked.scope)?;
        let connectivity_scope = match asked.connectivity_scope.as_str() {
            "" => data_scope,
            text => scope("ConnectivityScope", text)?,
        };
        let capability = Capability { data_scope, connectivity_scope };
        Ok((Self { plugin, capability }, capability))
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        call: &str,
        request: &impl Serialize,
    ) -> Result<T, DriverError> {
        ask(&*self.plugin, call, request).await
    }

    /// What the plugin answered cannot be used.
    fn unusable(&self, call: &str, what: impl fmt::Display) -> Error {
        Error::unavailable(format!("plugin `{}` answered {call} with {what}", self.plugin.name()))
    }

    /// Takes what the plugin settled; what was settled before is not the plugin's to set.
    fn settle(
        &self,
        interface: &mut dyn InterfaceInfo,
        answer: &EndpointInterface,
    ) -> Result<(), Error> {
        let bad = |error: &dyn fmt::Display| self.unusable("CreateEndpoint", error);
        if !answer.mac_address.is_empty() {
            let mac = answer.mac_address.parse().map_err(|error| bad(&error))?;
            interface.set_mac_address(mac).map_err(|error| bad(&error))?;
        }
        for (text, is_v6) in [(&answer.address, false), (&answer.address_ipv6, true)] {
            if text.is_empty() {
                continue;
            }
            let address = parse_cidr(text).map_err(|error| bad(&error))?;
            if address.is_ipv6() != is_v6 {
                return Err(bad(&format_args!("address `{address}` as one of the other family")));
            }
            interface.set_ip_address(address).map_err(|error| bad(&error))?;
        }
        Ok(())
    }

    fn take_join(&self, info: &mut dyn JoinInfo, answer: &JoinResponse) -> Result<(), Error> {
        let bad = |error: &dyn fmt::Display| self.unusable("Join", error);
        if let Some(names) = &answer.interface_name
            && !names.src_name.is_empty()
        {
            for name in [&names.src_name, &names.dst_prefix] {
                check_interface_name(name).map_err(|error| bad(&error))?;
            }
            info.interface_name()
                .set_names(&names.src_name, &names.dst_prefix)
                .map_err(|error| bad(&error))?;
        }
        let address = |text: &str| -> Result<Option<IpAddr>, Error> {
            match text {
                "" => Ok(None),
                text => text.parse().map(Some).map_err(|_| bad(&format_args!("address `{text}`"))),
            }
        };
        if let Some(gateway) = address(&answer.gateway)? {
            info.set_gateway(gateway).map_err(|error| bad(&error))?;
        }
        if let Some(gateway) = address(&answer.gateway_ipv6)? {
            info.set_gateway_ipv6(gateway).map_err(|error| bad(&error))?;
        }
        for route in &answer.static_routes {
            let destination = parse_cidr(&route.destination).map_err(|error| bad(&error))?;
            let kind = RouteType::try_from(route.route_type).map_err(|error| bad(&error))?;
            info.add_static_route(destination, kind, address(&route.next_hop)?)
                .map_err(|error| bad(&error))?;
        }
        if answer.disable_gateway_service {
            info.disable_gateway_service();
        }
        Ok(())
    }
}

/// A name that the kernel would not take is no interface's; a prefix may be empty.
fn check_interface_name(name: &str) -> Result<(), Error> {
    let fits = |c: char| c.is_ascii_graphic() && c != '/' && c != ':';
    if name.len() > 15 || !name.chars().all(fits) {
        return Err(Error::invalid_parameter(format!("`{name}`, which names no interface")));
    }
    Ok(())
}

async fn ask<T: DeserializeOwned>(
    plugin: &dyn Plugin,
    call: &str,
    request: &impl Serialize,
) -> Result<T, DriverError> {
    let method = format!("{}{call}", PATH.trim_start_matches('/'));
    match super::ask(plugin, &method, request).await {
        Ok(answer) => Ok(answer),
        Err(error) if error.kind == Kind::NotImplemented => Err(DriverError::NotImplemented),
        Err(error) => Err(error.into()),
    }
}

fn endpoint(nid: NetworkId, eid: EndpointId) -> EndpointRequest {
    EndpointRequest { network_id: nid.to_string(), endpoint_id: eid.to_string() }
}

#[async_trait]
impl Driver for RemoteDriver {
    async fn network_allocate(
        &self,
        nid: NetworkId,
        options: &BTreeMap<String, String>,
        ipv4_data: &[IpamData],
        ipv6_data: &[IpamData],
    ) -> Result<BTreeMap<String, String>, DriverError> {
        let request = AllocateNetworkRequest {
            network_id: nid.to_string(),
            options: options.clone(),
            ipv4_data: ipv4_data.to_vec(),
            ipv6_data: ipv6_data.to_vec(),
        };
        let answer: AllocateNetworkResponse = self.ask("AllocateNetwork", &request).await?;
        Ok(answer.options)
    }

    async fn network_free(&self, nid: NetworkId) -> Result<(), DriverError> {
        let request = NetworkRequest { network_id: nid.to_string() };
        self.ask::<Empty>("FreeNetwork", &request).await.map(drop)
    }

    async fn create_network(
        &self,
        nid: NetworkId,
        options: &Options,
        _info: &mut dyn NetworkInfo,
        ipv4_data: &[IpamData],
        ipv6_data: &[IpamData],
    ) -> Result<(), DriverError> {
        let request = CreateNetworkRequest {
            network_id: nid.to_string(),
            options: options.clone(),
            ipv4_data: ipv4_data.to_vec(),
            ipv6_data: ipv6_data.to_vec(),
        };
        self.ask::<Empty>("CreateNetwork", &request).await.map(drop)
    }

    async fn delete_network(&self, nid: NetworkId) -> Result<(), DriverError> {
        let request = NetworkRequest { network_id: nid.to_string() };
        self.ask::<Empty>("DeleteNetwork", &request).await.map(drop)
    }

    async fn create_endpoint(
        &self,
        nid: NetworkId,
        eid: EndpointId,
        interface: &mut dyn InterfaceInfo,
        options: &Options,
    ) -> Result<(), DriverError> {
        let text = |address: Option<ipnetwork::IpNetwork>| {
            address.map(|address| address.to_string()).unwrap_or_default()
        };
        let request = CreateEndpointRequest {
            network_id: nid.to_string(),
            endpoint_id: eid.to_string(),
            interface: EndpointInterface {
                address: text(interface.address()),
                address_ipv6: text(interface.address_ipv6()),
                mac_address: interface.mac_address().map(|m| m.to_string()).unwrap_or_default(),
            },
            options: options.clone(),
        };
        let answer: CreateEndpointResponse = self.ask("CreateEndpoint", &request).await?;
        let settled = self.settle(interface, &answer.interface);
        if settled.is_err()
            && let Err(error) = self.delete_endpoint(nid, eid).await
        {
            tracing::warn!(endpoint = %eid, %error, "refused endpoint was not rolled back");
        }
        Ok(settled?)
    }

    async fn delete_endpoint(&self, nid: NetworkId, eid: EndpointId) -> Result<(), DriverError> {
        self.ask::<Empty>("DeleteEndpoint", &endpoint(nid, eid)).await.map(drop)
    }

    async fn endpoint_oper_info(
        &self,
        nid: NetworkId,
        eid: EndpointId,
    ) -> Result<Options, DriverError> {
        let answer: EndpointOperInfoResponse =
            self.ask("EndpointOperInfo", &endpoint(nid, eid)).await?;
        Ok(answer.value)
    }

    async fn join(
        &self,
        nid: NetworkId,
        eid: EndpointId,
        sandbox_key: &str,
        info: &mut dyn JoinInfo,
        options: &Options,
    ) -> Result<(), DriverError> {
        let request = JoinRequest {
            network_id: nid.to_string(),
            endpoint_id: eid.to_string(),
            sandbox_key: sandbox_key.to_owned(),
            options: options.clone(),
        };
        let answer: JoinResponse = self.ask("Join", &request).await?;
        let taken = self.take_join(info, &answer);
        if taken.is_err()
            && let Err(error) = self.leave(nid, eid).await
        {
            tracing::warn!(endpoint = %eid, %error, "refused join was not undone");
        }
        Ok(taken?)
    }

    async fn leave(&self, nid: NetworkId, eid: EndpointId) -> Result<(), DriverError> {
        self.ask::<Empty>("Leave", &endpoint(nid, eid)).await.map(drop)
    }

    async fn program_external_connectivity(
        &self,
        nid: NetworkId,
        eid: EndpointId,
        options: &Options,
    ) -> Result<(), DriverError> {
        let request = JoinRequest {
            network_id: nid.to_string(),
            endpoint_id: eid.to_string(),
            sandbox_key: String::new(),
            options: options.clone(),
        };
        self.ask::<Empty>("ProgramExternalConnectivity", &request).await.map(drop)
    }

    async fn revoke_external_connectivity(
        &self,
        nid: NetworkId,
        eid: EndpointId,
    ) -> Result<(), DriverError> {
        self.ask::<Empty>("RevokeExternalConnectivity", &endpoint(nid, eid)).await.map(drop)
    }

    async fn event_notify(
        &self,
        _event: EventType,
        _nid: NetworkId,
        _table: &str,
        _key: &str,
        _value: &[u8],
    ) {
        // The protocol has no tables: a plugin brings its own way to spread what it knows.
    }

    fn decode_table_entry(
        &self,
        _table: &str,
        _key: &str,
        _value: &[u8],
    ) -> (String, BTreeMap<String, String>) {
        (String::new(), BTreeMap::new())
    }

    fn network_type(&self) -> &str {
        self.plugin.name()
    }

    fn is_built_in(&self) -> bool {
        false
    }
}

impl RemoteDriver {
    /// Nodes are told to drivers whose networks connect several of them; keys are never told.
    async fn discover(&self, call: &str, news: &Discovery) -> Result<(), DriverError> {
        let Discovery::Node(node) = news else { return Ok(()) };
        if self.capability.connectivity_scope == Scope::Local {
            return Ok(());
        }
        let request = DiscoveryNotification {
            discovery_type: news.discovery_type().number().into(),
            discovery_data: node.clone(),
        };
        self.ask::<Empty>(call, &request).await.map(drop)
    }
}

#[async_trait]
impl Discover for RemoteDriver {
    async fn discover_new(&self, news: &Discovery) -> Result<(), DriverError> {
        self.discover("DiscoverNew", news).await
    }

    async fn discover_delete(&self, news: &Discovery) -> Result<(), DriverError> {
        self.discover("DiscoverDelete", news).await
    }
}
