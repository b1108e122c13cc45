//! The plugin's interfaces: a bridge a network, a veth pair an endpoint.

use weft_overlay::netlink::{Connection, Namespace, address, bridge, link, veth};

const MTU: u32 = 1500;

fn short(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}

fn bridge_name(network: &str) -> String {
    format!("tb{}", short(network))
}

async fn connection(host: &Namespace) -> Connection {
    Connection::open(host).await.expect("netlink")
}

pub(super) async fn bridge(host: &Namespace, network: &str, gateway: &str) {
    let mut connection = connection(host).await;
    let name = bridge_name(network);
    bridge::ensure_plain(&mut connection, &name).await.expect("a bridge");
    let index = link::get(&mut connection, &name).await.expect("the bridge").index;
    if let Ok(gateway) = gateway.parse() {
        address::add(&mut connection, index, gateway).await.expect("an address");
    }
}

pub(super) async fn gateway(host: &Namespace, network: &str) -> String {
    let mut connection = connection(host).await;
    let index = link::get(&mut connection, &bridge_name(network)).await.expect("a bridge").index;
    let addresses = address::list(&mut connection).await.expect("addresses");
    let own = addresses.into_iter().find(|(link, a)| *link == index && a.is_ipv4());
    own.map(|(_, address)| address.ip().to_string()).unwrap_or_default()
}

pub(super) async fn remove_bridge(host: &Namespace, network: &str) {
    let removed = link::remove(&mut connection(host).await, &bridge_name(network)).await;
    removed.expect("the bridge goes");
}

/// Makes a pair, and returns the name of the end for the sandbox.
pub(super) async fn pair(host: &Namespace, network: &str, endpoint: &str) -> String {
    let mut connection = connection(host).await;
    let (near, far) = (format!("tn{}", short(endpoint)), format!("tf{}", short(endpoint)));
    if link::find(&mut connection, &near).await.expect("links").is_none() {
        let ends = (veth::End::named(&near), veth::End::named(&far));
        veth::create(&mut connection, &ends.0, &ends.1, host, MTU).await.expect("a pair");
        let bridge = bridge_name(network);
        link::set_master(&mut connection, &near, &bridge).await.expect("a port");
        link::set_up(&mut connection, &near).await.expect("a link");
    }
    far
}

pub(super) async fn remove_pair(host: &Namespace, endpoint: &str) {
    let near = format!("tn{}", short(endpoint));
    link::remove(&mut connection(host).await, &near).await.expect("the pair goes");
}
