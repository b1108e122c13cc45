//! What `weft doctor` looks at: each check takes what was observed and judges it.
//!
//! Nothing here observes. Whoever holds the sockets, the kernel and the tables passes in what it
//! found; so every judgement can be tested, and none needs rights.

pub mod engine;

use std::net::SocketAddr;
use std::time::Duration;

use ipnetwork::IpNetwork;
use weft_api::control::{Check, MemberResource, MemberState, NetworkResource};

/// Judges something the kernel has to be able to do, by what came of trying it. A kernel without
/// nftables or IPv6 tunnels still carries networks that need neither.
pub fn kernel(feature: &str, tried: Result<(), String>) -> Check {
    let name = format!("kernel {feature}");
    let Err(error) = tried else { return Check::ok(name, "works") };
    if feature.contains("nftables") {
        let hint = "modprobe nf_tables; without it networks need --internal, there is no way out";
        return Check::warn(name, error, hint);
    }
    if feature.contains("IPv6") {
        return Check::warn(name, error, "only an underlay of IPv6 needs it");
    }
    let hint = "modprobe bridge veth vxlan, or use a kernel with CONFIG_BRIDGE, CONFIG_VETH and \
                CONFIG_VXLAN";
    Check::fail(name, error, hint)
}

/// Judges what stands in the way of forwarded packets: other people's chains that drop.
pub fn obstacle(chain: &str, open: bool) -> Check {
    let name = format!("firewall {chain}");
    if open {
        return Check::ok(name, "drops forwarded packets; our accept rules stand in it");
    }
    Check::warn(
        name,
        "drops forwarded packets, and its table is not one we write to",
        "let packets from and to the links `weft-*` through, or endpoints have no way out",
    )
}

/// Judges whether pinned namespaces outlive the agent: in a mount namespace of its own they go
/// with it, and so does the traffic.
pub fn pins(own: Option<u64>, first: Option<u64>, shared: bool) -> Check {
    if own.is_some() && own == first {
        return Check::ok("mounts", "namespaces are pinned on the host and outlive the agent");
    }
    if shared {
        return Check::ok("mounts", "the run directory is shared with the host");
    }
    if own.is_none() || first.is_none() {
        return Check::warn(
            "mounts",
            "whether the agent has mounts of its own cannot be told from here",
            "see that its start hides no mounts: `nsenter --net`, not `ip netns exec`",
        );
    }
    Check::warn(
        "mounts",
        "the agent has mounts of its own: networks go down when it stops",
        "start it in the host's mount namespace (`nsenter --net`, not `ip netns exec`), or share \
         the run directory",
    )
}

/// Judges what the agent raised alarms about.
pub fn alarms(alarms: impl IntoIterator<Item = (String, u64)>) -> Vec<Check> {
    alarms
        .into_iter()
        .map(|(alarm, times)| {
            let detail = format!("{alarm} ({times} times)");
            Check::fail("alarm", detail, "read docs/OPERATIONS.md, Alarms")
        })
        .collect()
}

/// Judges the data path by what the kernel refused and which addresses two endpoints claim.
pub fn data_path(failed: u64, last: Option<&str>, conflicts: &[String]) -> Vec<Check> {
    let mut checks = vec![match last {
        Some(last) if failed > 0 => Check::warn(
            "data path",
            format!("the kernel refused {failed} operations, at last: {last}"),
            "the agent tries again every few seconds; its log says more",
        ),
        Some(_) | None => Check::ok("data path", "the kernel took everything"),
    }];
    checks.extend(conflicts.iter().map(|conflict| {
        Check::warn("conflict", conflict.clone(), "detach one of the two endpoints")
    }));
    checks
}

/// Judges whether endpoints of this host are told which MAC an address has now. What was not told
/// is found out late, and nothing else fails with it.
pub fn announcements(failed: u64, last: Option<&str>, dropped: u64) -> Check {
    let late = "endpoints find out by themselves, after up to a minute";
    match last {
        Some(last) if failed > 0 => Check::warn(
            "announcements",
            format!("{failed} were not sent, at last: {last}; {late}"),
            "give the agent CAP_NET_RAW (`NET_RAW` in its container or plugin)",
        ),
        Some(_) | None if dropped > 0 => Check::warn(
            "announcements",
            format!("{dropped} had no room; {late}"),
            "find what restarts containers, or gives addresses other MACs, so often",
        ),
        Some(_) | None => Check::ok("announcements", "all were sent"),
    }
}

/// Bits of the capability sets in `/proc/PID/status` (`capability.h`).
const CAPABILITIES: [(u32, &str); 2] = [(12, "CAP_NET_ADMIN"), (21, "CAP_SYS_ADMIN")];
/// The bit of CAP_NET_RAW, without which nothing but announcements fails.
const NET_RAW: u32 = 13;

/// Judges rights by the text of `/proc/self/status`.
pub fn privileges(status: &str) -> Check {
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok());
    let Some(effective) = effective else {
        return Check::warn("privileges", "they cannot be read", "mount /proc");
    };
    let missing: Vec<&str> = CAPABILITIES
        .iter()
        .filter(|(bit, _)| effective & (1 << bit) == 0)
        .map(|(_, name)| *name)
        .collect();
    if missing.is_empty() && effective & (1 << NET_RAW) == 0 {
        return Check::warn(
            "privileges",
            "CAP_NET_RAW missing: endpoints learn late that an address has another MAC",
            "give the capability",
        );
    }
    if missing.is_empty() {
        return Check::ok("privileges", "CAP_NET_ADMIN, CAP_NET_RAW and CAP_SYS_ADMIN");
    }
    Check::fail(
        "privileges",
        format!("{} missing", missing.join(" and ")),
        "run as root, or give the capabilities",
    )
}

/// Who holds a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortHolder {
    /// Nobody.
    Free,
    /// This agent, or a device it made.
    Us,
    /// The kernel, for VXLAN devices of somebody else, which ours share it with: Docker's overlay.
    Kernel,
    /// Somebody else; what the operating system said when the port was tried.
    Another(String),
}

/// Judges a port; `name` says what it is for, such as `gossip udp`.
pub fn port(name: &str, number: u16, holder: &PortHolder) -> Check {
    let check = format!("port {name}");
    match holder {
        PortHolder::Us => Check::ok(check, format!("{number}, ours")),
        PortHolder::Free => Check::ok(check, format!("{number}, free")),
        PortHolder::Kernel => {
            Check::ok(check, format!("{number}, shared with VXLAN devices of another program"))
        }
        PortHolder::Another(error) => Check::fail(
            check,
            format!("{number} is taken: {error}"),
            "stop what holds it (`ss -lunp` shows), or choose another port on every node",
        ),
    }
}

/// Smallest MTU that IPv6 works with (RFC 8200, section 5), in bytes.
const MTU_MIN: u32 = 1280;

/// Judges the uplink's MTU. `overhead` is what the encapsulation takes: 50 bytes over IPv4, 70 over
/// IPv6.
pub fn mtu(uplink: u32, overhead: u32, networks: &[NetworkResource]) -> Check {
    let room = uplink.saturating_sub(overhead);
    let detail = format!("uplink {uplink}, overlay {room}");
    let too_large: Vec<String> = networks
        .iter()
        .filter(|network| network.mtu.is_some_and(|mtu| mtu > room))
        .map(|network| format!("`{}`", network.name))
        .collect();
    if !too_large.is_empty() {
        return Check::fail(
            "mtu",
            format!("{detail}, and {} ask for more", too_large.join(", ")),
            "full-size packets are lost: raise the uplink's MTU or make the networks anew",
        );
    }
    if room < MTU_MIN {
        return Check::warn(
            "mtu",
            detail,
            format!("IPv6 needs {MTU_MIN} inside: raise the uplink's MTU"),
        );
    }
    Check::ok("mtu", detail)
}

/// How late a timer may fire before failure detection suffers: half a probe interval.
const LATENESS_MAX: Duration = Duration::from_millis(500);

/// Judges the clock. Weft never compares wall clocks; what counts is that timers fire on time.
pub fn clock(lateness: Duration) -> Check {
    let detail =
        format!("timers fire up to {} ms late; wall clocks do not matter", lateness.as_millis());
    if lateness <= LATENESS_MAX {
        return Check::ok("clock", detail);
    }
    Check::warn(
        "clock",
        detail,
        "the machine is overloaded or was suspended: others may take this node for failed",
    )
}

/// Judges the members: one check for all that is well, one for each that is not.
pub fn peers(members: &[MemberResource]) -> Vec<Check> {
    let others: Vec<&MemberResource> = members.iter().filter(|member| !member.this).collect();
    let alive = others.iter().filter(|member| member.state == MemberState::Alive).count();
    let expected = others
        .iter()
        .filter(|member| !matches!(member.state, MemberState::Left | MemberState::Forgotten))
        .count();
    let mut checks = vec![Check::ok("peers", format!("{alive} of {expected} answer"))];
    for member in others {
        let check = format!("peer {}", member.name);
        match member.state {
            MemberState::Alive | MemberState::Left | MemberState::Forgotten => {}
            MemberState::Suspect => checks.push(Check::warn(
                check,
                format!("{} does not answer at the moment", member.address),
                "look again in a few seconds",
            )),
            MemberState::Failed => checks.push(Check::fail(
                check,
                format!("{} does not answer", member.address),
                reach_hint(member.address),
            )),
        }
    }
    checks
}

fn reach_hint(address: SocketAddr) -> String {
    format!(
        "start its agent, or let UDP and TCP port {} and the VXLAN port through the firewalls; if it \
         is gone for good, `weft forget` it",
        address.port()
    )
}

/// Judges networks: those that lost name or pool when two halves of the cluster met.
pub fn frozen(networks: &[NetworkResource]) -> Vec<Check> {
    networks
        .iter()
        .filter(|network| network.frozen)
        .map(|network| {
            Check::warn(
                format!("network {}", network.name),
                format!("{} is frozen: another network has its name or subnet", network.id),
                "move its endpoints to a new network, then remove it by its id",
            )
        })
        .collect()
}

/// Judges pools against routes of hosts (node name, destination). Default routes overlap everything
/// and mean nothing.
pub fn overlaps(networks: &[NetworkResource], routes: &[(String, IpNetwork)]) -> Vec<Check> {
    let mut checks = Vec::new();
    for network in networks {
        for subnet in &network.subnets {
            let hit =
                routes.iter().find(|(_, route)| route.prefix() > 0 && overlap(*route, subnet.pool));
            if let Some((node, route)) = hit {
                checks.push(Check::warn(
                    format!("network {}", network.name),
                    format!("its subnet {} overlaps the route {route} of {node}", subnet.pool),
                    "endpoints cannot reach what that route leads to: choose another subnet",
                ));
            }
        }
    }
    checks
}

pub(crate) fn overlap(one: IpNetwork, other: IpNetwork) -> bool {
    match (one, other) {
        (IpNetwork::V4(one), IpNetwork::V4(other)) => one.overlaps(other),
        (IpNetwork::V6(one), IpNetwork::V6(other)) => one.overlaps(other),
        (IpNetwork::V4(_), IpNetwork::V6(_)) | (IpNetwork::V6(_), IpNetwork::V4(_)) => false,
    }
}

#[cfg(test)]
mod tests;
