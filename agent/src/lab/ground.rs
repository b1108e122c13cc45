//! The underlay: a bridge in a namespace of its own, and a namespace a host on it.
//!
//! A host with Docker drops bridged frames of its own namespace, so nothing of a lab is there.

use nix::errno::Errno;
use weft_api::Vni;
use weft_overlay::netlink::namespace::make_pinned;
use weft_overlay::netlink::{
    Connection, Namespace, NetlinkError, address, bridge, link, veth, vxlan,
};
use weft_overlay::op::Vxlan;

use super::plan::Plan;
use crate::failure::Failure;

const BRIDGE: &str = "underlay";
const UPLINK: &str = "eth0";
const UPLINK_MTU: u32 = 1500;
const ENDPOINT_MTU: u32 = UPLINK_MTU - 50;
const PROBE: &str = "probe";

/// Makes the underlay and returns the hosts' namespaces.
pub(super) async fn lay(plan: &Plan) -> Result<Vec<Namespace>, Failure> {
    std::fs::create_dir_all(plan.pins()).map_err(|error| {
        Failure::failed(format!("`{}` cannot be made: {error}", plan.pins().display()))
    })?;
    let namespace = make_pinned(&plan.bridge_namespace).map_err(explain)?;
    let mut connection = Connection::open(&namespace).await.map_err(explain)?;
    link::set_up(&mut connection, "lo").await.map_err(explain)?;
    bridge::ensure_plain(&mut connection, BRIDGE).await.map_err(explain)?;
    expect_vxlan(&mut connection, plan).await?;
    let mut hosts = Vec::with_capacity(plan.hosts.len());
    for host in &plan.hosts {
        let namespace = make_pinned(&host.namespace).map_err(explain)?;
        let (near, far) = (veth::End::named(&host.name), veth::End::named(UPLINK));
        veth::create(&mut connection, &near, &far, &namespace, UPLINK_MTU)
            .await
            .map_err(explain)?;
        link::set_master(&mut connection, &host.name, BRIDGE).await.map_err(explain)?;
        link::set_up(&mut connection, &host.name).await.map_err(explain)?;
        let mut inside = Connection::open(&namespace).await.map_err(explain)?;
        link::set_up(&mut inside, "lo").await.map_err(explain)?;
        link::set_up(&mut inside, UPLINK).await.map_err(explain)?;
        let index = link::get(&mut inside, UPLINK).await.map_err(explain)?.index;
        address::add(&mut inside, index, host.address).await.map_err(explain)?;
        hosts.push(namespace);
    }
    Ok(hosts)
}

/// Makes a VXLAN device and takes it away: whether the kernel has them shows in no file.
async fn expect_vxlan(connection: &mut Connection, plan: &Plan) -> Result<(), Failure> {
    let namespace = Namespace::open(&plan.bridge_namespace).map_err(explain)?;
    let mut second = Connection::open(&namespace).await.map_err(explain)?;
    let Some(host) = plan.hosts.first() else { return Ok(()) };
    let wanted = Vxlan {
        name: PROBE.to_owned(),
        vni: Vni::new(1).expect("1 is a VNI"),
        port: 4789,
        local: host.address.ip(),
        mtu: ENDPOINT_MTU,
        bridge: BRIDGE.to_owned(),
    };
    let made = vxlan::ensure(connection, &mut second, &namespace, &wanted).await;
    if let Err(error) = &made
        && error.is(Errno::EOPNOTSUPP)
    {
        return Err(Failure::failed("this kernel has no VXLAN devices")
            .with_hint("load the module with `modprobe vxlan`, or use a kernel that has it"));
    }
    made.map_err(explain)?;
    link::remove(connection, PROBE).await.map_err(explain)
}

/// Says what a refusal of the kernel means for a lab.
pub(super) fn explain(error: NetlinkError) -> Failure {
    let is_denied = error.is(Errno::EPERM) || error.is(Errno::EACCES);
    let failure = Failure::failed(error.to_string());
    if is_denied {
        failure.with_hint(
            "a lab needs root with CAP_SYS_ADMIN and CAP_NET_ADMIN; in a container, run it with \
             --privileged",
        )
    } else {
        failure
    }
}
