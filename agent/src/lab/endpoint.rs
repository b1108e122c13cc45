//! Endpoints of a lab, each in a namespace of its own.

use std::net::IpAddr;

use weft_api::Mac;
use weft_api::control::{AttachRequest, EndpointResource};
use weft_overlay::netlink::namespace::make_pinned;
use weft_overlay::netlink::{Connection, Namespace, link, sysctl};

use super::ground::explain;
use super::ping::{Families, PingError, Source};
use super::plan::{EndpointPlan, Inside};
use crate::client::Client;
use crate::failure::Failure;

/// Name of an endpoint's interface in its namespace.
const IFNAME: &str = "eth0";
/// Time between two questions for a neighbour that does not answer. The kernel's own second would
/// be what is measured whenever a ping is earlier than the news of its target.
const NEIGHBOUR_RETRY_MS: &str = "10";
/// Identifier of the pings an endpoint sends.
const PINGS: u16 = 1;
/// Identifier of a steady stream beside them.
pub(super) const STREAM: u16 = 2;

/// An endpoint that is attached.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) plan: EndpointPlan,
    pub(super) id: String,
    pub(super) namespace: Namespace,
    pub(super) source: Source,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) mac: Option<Mac>,
    pub(super) mtu: u32,
}

/// Makes an endpoint's namespace.
pub(super) fn make_namespace(plan: &EndpointPlan) -> Result<Namespace, Failure> {
    make_pinned(&plan.namespace).map_err(explain)
}

/// Asks an agent to attach the namespace.
pub(super) async fn request(
    client: &Client,
    plan: &EndpointPlan,
    network: &str,
) -> Result<EndpointResource, Failure> {
    let request = AttachRequest {
        network: network.to_owned(),
        name: Some(plan.name.clone()),
        addresses: Vec::new(),
        mac: None,
        netns: plan.namespace.display().to_string(),
        ifname: Some(IFNAME.to_owned()),
        options: Default::default(),
    };
    Ok(client.attach(&request).await?)
}

impl Endpoint {
    /// Attaches an endpoint and makes it ready to ping.
    pub(super) async fn attach(
        client: &Client,
        plan: EndpointPlan,
        network: &str,
        inside: Inside,
    ) -> Result<Self, Failure> {
        let namespace = make_namespace(&plan)?;
        let resource = request(client, &plan, network).await?;
        let mut connection = Connection::open(&namespace).await.map_err(explain)?;
        let mtu = link::get(&mut connection, IFNAME).await.map_err(explain)?.mtu;
        let families = families(inside);
        retry_soon(&namespace, families)?;
        let source = Source::open(&namespace, families, PINGS).map_err(refused)?;
        Ok(Self {
            id: resource.id.to_string(),
            addresses: addresses(&resource),
            mac: resource.mac,
            plan,
            namespace,
            source,
            mtu,
        })
    }
}

pub(super) const fn families(inside: Inside) -> Families {
    match inside {
        Inside::V4 => Families::V4,
        Inside::Dual => Families::Both,
    }
}

/// Says why there can be no pings.
pub(super) fn refused(error: PingError) -> Failure {
    Failure::failed(error.to_string()).with_hint("raw sockets need CAP_NET_RAW")
}

/// Returns an endpoint's addresses, IPv4 first.
pub(super) fn addresses(resource: &EndpointResource) -> Vec<IpAddr> {
    let both = [resource.address, resource.address_ipv6];
    both.into_iter().flatten().map(|address| address.ip()).collect()
}

fn retry_soon(namespace: &Namespace, families: Families) -> Result<(), Failure> {
    let key = |family: &str| format!("{family}/neigh/{IFNAME}/retrans_time_ms");
    let v4 = (key("ipv4"), NEIGHBOUR_RETRY_MS);
    let v6 = (key("ipv6"), NEIGHBOUR_RETRY_MS);
    let settings = match families {
        Families::V4 => vec![v4],
        Families::Both => vec![v4, v6],
    };
    sysctl::write_all(namespace, &settings).map_err(explain)
}
