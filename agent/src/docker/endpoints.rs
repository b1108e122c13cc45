//! Calls about one endpoint.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde_json::Value;
use weft_api::control::ControlError;
use weft_api::driver::Options;
use weft_api::plugin::network::{
    CreateEndpointRequest, CreateEndpointResponse, EndpointInterface, EndpointOperInfoResponse,
    EndpointRequest, InterfaceName, JoinRequest, JoinResponse, StaticRoute,
};
use weft_api::{Definition, Mac};

use super::{Plugin, checked_id};
use crate::control::Answer;
use crate::controller::engine::{EndpointWanted, Handed, PORT_MAP};
use crate::controller::inventory::{Endpoint, Hold, WayOutBy};

/// How interfaces of containers are called.
const DST_PREFIX: &str = "eth";
/// Labels of libnetwork begin so; all others are the user's endpoint options.
const LABELS: &str = "com.docker.network.";

impl Plugin {
    pub(super) async fn create_endpoint(
        &self,
        request: CreateEndpointRequest,
    ) -> Answer<CreateEndpointResponse> {
        let (hold, definition) = self.held(&request.network_id).await?;
        let engine_endpoint = checked_id("EndpointID", &request.endpoint_id)?.to_owned();
        let asked = &request.interface;
        let mac = match asked.mac_address.as_str() {
            "" => None,
            text => Some(
                text.parse::<Mac>().map_err(|error| ControlError::invalid(error.to_string()))?,
            ),
        };
        if mac.is_some_and(|mac| !mac.is_unicast()) {
            return Err(ControlError::invalid(format!(
                "MAC address `{}` is not one interface's",
                asked.mac_address
            )));
        }
        let mut addresses = Vec::new();
        for text in [&asked.address, &asked.address_ipv6] {
            if !text.is_empty() {
                let address: IpNetwork = text.parse().map_err(|_| {
                    ControlError::invalid(format!(
                        "`{text}` is not an address with a prefix length"
                    ))
                })?;
                addresses.push(address.ip());
            }
        }
        self.endpoint_called(&engine_endpoint);
        let wanted = EndpointWanted {
            engine_network: hold.engine_network,
            engine_endpoint,
            addresses,
            mac,
            options: own_options(&request.options),
        };
        let made = self.controller.make_engine_endpoint(&definition, wanted).await?;
        Ok(CreateEndpointResponse { interface: settled(asked, &made) })
    }

    pub(super) async fn delete_endpoint(&self, request: EndpointRequest) -> Answer<()> {
        let id = checked_id("EndpointID", &request.endpoint_id)?;
        self.controller.end_engine_endpoint(id).await
    }

    pub(super) fn endpoint_oper_info(
        &self,
        request: &EndpointRequest,
    ) -> Answer<EndpointOperInfoResponse> {
        let endpoint = self.endpoint(&request.network_id, &request.endpoint_id)?;
        let mut value = Options::new();
        if let Some(mac) = endpoint.mac {
            value.insert(format!("{LABELS}endpoint.macaddress"), Value::String(mac.to_string()));
        }
        if let Some(ports) = endpoint.engine.and_then(|engine| engine.published) {
            value.insert(PORT_MAP.to_owned(), ports);
        }
        Ok(EndpointOperInfoResponse { value })
    }

    pub(super) async fn join(&self, request: JoinRequest) -> Answer<JoinResponse> {
        let (hold, _) = self.held(&request.network_id).await?;
        if request.sandbox_key.is_empty() {
            return Err(ControlError::invalid("`SandboxKey` is missing in the request"));
        }
        let endpoint = self.endpoint(&request.network_id, &request.endpoint_id)?;
        self.endpoint_called(&request.endpoint_id);
        let handed =
            self.controller.hand_over(endpoint.id, &request.sandbox_key, hold.way_out).await?;
        self.endpoint_joined(endpoint.id);
        Ok(answer(handed))
    }

    pub(super) async fn leave(&self, request: EndpointRequest) -> Answer<()> {
        let id = checked_id("EndpointID", &request.endpoint_id)?;
        self.endpoint_called(id);
        match self.controller.engine_endpoint(id) {
            Some(endpoint) => self.controller.take_back(endpoint.id).await,
            None => Ok(()),
        }
    }

    /// The engine asks whichever driver leads the sandbox's packets out to publish its ports.
    pub(super) async fn program_external_connectivity(&self, request: JoinRequest) -> Answer<()> {
        let (hold, definition) = self.held(&request.network_id).await?;
        let endpoint = self.endpoint(&request.network_id, &request.endpoint_id)?;
        let ports = request.options.get(PORT_MAP).cloned().unwrap_or(Value::Null);
        let none = ports.as_array().is_none_or(Vec::is_empty);
        if none {
            return Ok(());
        }
        if hold.way_out == WayOutBy::Engine || definition.internal {
            return Ok(());
        }
        self.controller.publish_ports(endpoint.id, ports).await
    }

    pub(super) async fn revoke_external_connectivity(
        &self,
        request: EndpointRequest,
    ) -> Answer<()> {
        let id = checked_id("EndpointID", &request.endpoint_id)?;
        match self.controller.engine_endpoint(id) {
            Some(endpoint) => self.controller.unpublish_ports(endpoint.id).await,
            None => Ok(()),
        }
    }

    /// The network as the engine has it, and as the cluster has it.
    async fn held(&self, network_id: &str) -> Answer<(Hold, Definition)> {
        let id = checked_id("NetworkID", network_id)?;
        let hold = self.controller.hold_of(id).ok_or_else(|| {
            ControlError::not_found(format!("no network ({id}) exists"))
                .with_hint("the agent does not know it: remove the network and make it anew")
        })?;
        let definition = self.controller.definition_of(hold.network).await?.ok_or_else(|| {
            ControlError::not_found(format!("the cluster's network of ({id}) is deleted"))
                .with_hint("remove the network and make it anew")
        })?;
        Ok((hold, definition))
    }

    fn endpoint(&self, network_id: &str, endpoint_id: &str) -> Answer<Endpoint> {
        checked_id("NetworkID", network_id)?;
        let id = checked_id("EndpointID", endpoint_id)?;
        self.controller.engine_endpoint(id).ok_or_else(|| {
            ControlError::not_found(format!("no endpoint ({id}) exists"))
                .with_hint("start the container again")
        })
    }
}

/// An answer names only what the request left open.
fn settled(asked: &EndpointInterface, made: &Endpoint) -> EndpointInterface {
    let mut interface = EndpointInterface::default();
    let none_asked = asked.address.is_empty() && asked.address_ipv6.is_empty();
    if none_asked && let Some(address) = made.address {
        interface.address = address.to_string();
    }
    if none_asked && let Some(address) = made.address_ipv6 {
        interface.address_ipv6 = address.to_string();
    }
    if asked.mac_address.is_empty()
        && let Some(mac) = made.mac
    {
        interface.mac_address = mac.to_string();
    }
    interface
}

/// The options a user gave with `--driver-opt`.
fn own_options(options: &Options) -> BTreeMap<String, String> {
    let own = options.iter().filter(|(key, _)| !key.starts_with(LABELS));
    own.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

fn answer(handed: Handed) -> JoinResponse {
    let text = |gateway: Option<IpAddr>| gateway.map_or_else(String::new, |g| g.to_string());
    let routes = handed.routes.into_iter().map(|(destination, next_hop)| StaticRoute {
        destination: destination.to_string(),
        route_type: 0,
        next_hop: next_hop.to_string(),
    });
    JoinResponse {
        interface_name: Some(InterfaceName {
            src_name: handed.src_name,
            dst_prefix: DST_PREFIX.to_owned(),
        }),
        gateway: text(handed.gateway),
        gateway_ipv6: text(handed.gateway_ipv6),
        static_routes: routes.collect(),
        disable_gateway_service: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_the_user_are_told_from_labels() {
        let options = serde_json::from_value(serde_json::json!({
            "com.docker.network.portmap": [], "com.docker.network.endpoint.exposedports": [],
            "color": "red", "number": 7,
        }))
        .unwrap();
        assert_eq!(own_options(&options), BTreeMap::from([("color".into(), "red".into())]));
    }

    #[test]
    fn a_join_is_answered_with_what_there_is_only() {
        let handed = Handed {
            src_name: "wh0".into(),
            gateway: None,
            gateway_ipv6: None,
            routes: vec![("10.2.0.0/24".parse().unwrap(), "10.1.0.1".parse().unwrap())],
        };
        let json = serde_json::to_string(&answer(handed)).unwrap();
        let interface = r#"{"InterfaceName":{"SrcName":"wh0","DstPrefix":"eth"},"#;
        let route = r#"{"Destination":"10.2.0.0/24","RouteType":0,"NextHop":"10.1.0.1"}"#;
        assert_eq!(json, format!("{interface}\"StaticRoutes\":[{route}]}}"));
    }
}
