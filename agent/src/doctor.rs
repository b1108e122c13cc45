//! What `weft doctor` looks at: each check takes what was observed and judges it.
//!
//! Nothing here observes. Whoever holds the sockets, the kernel and the tables passes in what it
//! found; so every judgement can be tested, and none needs rights.

pub mod engine;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use ipnetwork::IpNetwork;
use weft_api::control::{
    Check, EndpointResource, EndpointState, MemberResource, MemberState, NetworkResource,
};

use crate::last_end::LastEnd;
use crate::pulse::Standstill;

/// How long what is over is warned of.
const RECENT: Duration = Duration::from_secs(3600);

/// Judges that nobody answers on the control socket; `last` is the word that the last agent left.
pub fn absent(error: &str, hint: &str, last: Option<&LastEnd>) -> Check {
    let Some(LastEnd { reason, ago }) = last else { return Check::fail("agent", error, hint) };
    let ago = ago.map_or_else(String::new, |ago| format!("{} ago ", short(ago)));
    Check::fail("agent", format!("{error}; {ago}one ended: {reason}"), hint)
}

/// A time in its largest unit, for people.
fn short(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}

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

/// Judges what was found in the kernel in another shape than planned, and put right: `repairs`
/// since the start by kind, such as `fdb_missing`, and the time since the last of what was missing
/// or wrong. What was too much is left by whoever was there before, and means nothing.
pub fn repairs(repairs: &BTreeMap<String, u64>, last: Option<Duration>) -> Check {
    let counted: Vec<String> =
        repairs.iter().map(|(kind, times)| format!("{} {times}", kind.replace('_', " "))).collect();
    let Some(last) = last else {
        let detail = "nobody else changed what is ours in the kernel";
        return Check::ok("repairs", detail);
    };
    let detail = format!(
        "somebody changed what is ours in the kernel: it was put right, at last {} ago ({})",
        short(last),
        counted.join(", ")
    );
    if last > RECENT {
        return Check::ok("repairs", detail);
    }
    Check::warn("repairs", detail, "find out who: traffic may have been lost until then")
}

/// What a disk has to have left, in bytes: the state file grows by doubling what it needs.
const DISK_FREE_MIN: u64 = 16 << 20;

/// Judges the room for durable state.
pub fn disk(directory: &Path, free: Result<u64, String>) -> Check {
    let directory = directory.display();
    let free = match free {
        Ok(free) => free,
        Err(error) => {
            let hint = "see that the data directory is there";
            return Check::warn("disk", format!("`{directory}`: {error}"), hint);
        }
    };
    let detail = format!("`{directory}` has {} MiB left", free >> 20);
    if free >= DISK_FREE_MIN {
        return Check::ok("disk", detail);
    }
    Check::warn("disk", detail, "make room: an agent that cannot keep its state ends")
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

/// Judges the clock. Weft never compares wall clocks; what counts is that timers fire on time, and
/// that this process ran all the time.
pub fn clock(lateness: Duration, last: Option<Standstill>, now: Instant) -> Check {
    let hint = "the machine is overloaded or was paused, or somebody stopped the process: \
                others may take this node for failed";
    let timers = format!("timers fire up to {} ms late", lateness.as_millis());
    if let Some(Standstill { length, ended }) = last {
        let ago = now.saturating_duration_since(ended);
        if ago <= RECENT {
            let detail =
                format!("the agent stood still for {}, until {} ago", short(length), short(ago));
            return Check::warn("clock", format!("{detail}; {timers}"), hint);
        }
    }
    let detail = format!("{timers}; wall clocks do not matter");
    if lateness <= LATENESS_MAX {
        return Check::ok("clock", detail);
    }
    Check::warn("clock", detail, hint)
}

/// Judges the members: one check for all that is well, one for each that is not.
pub fn peers(members: &[MemberResource]) -> Vec<Check> {
    let others: Vec<&MemberResource> = members.iter().filter(|member| !member.this).collect();
    let alive = others.iter().filter(|member| member.state == MemberState::Alive).count();
    let expected = others
        .iter()
        .filter(|member| !matches!(member.state, MemberState::Left | MemberState::Forgotten))
        .count();
    let detail = format!("{alive} of {expected} answer");
    let mut checks = vec![if alive == 0 && expected > 1 {
        let hint = "look at this host's own network first; traffic may flow all the same";
        Check::warn("peers", format!("{detail}: this node is cut off, or all others are"), hint)
    } else {
        Check::ok("peers", detail)
    }];
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

/// Of how many probes a verdict on the network needs to know, and which share may go unanswered.
const PROBES_MIN: u32 = 8;
const PROBES_MISSED_MIN: u32 = 3;
const MISSED_SHARE: u32 = 8;

/// Judges the way between hosts by the last probes of this node's: how many there were, and how
/// many of them nobody answered in time.
pub fn probes(sent: u32, missed: u32) -> Check {
    let detail = format!("{} of the last {sent} probes were answered", sent - missed);
    let few = sent < PROBES_MIN || missed < PROBES_MISSED_MIN;
    if few || missed * MISSED_SHARE < sent {
        return Check::ok("probes", detail);
    }
    Check::warn(
        "probes",
        detail,
        "packets get lost between hosts, or members went away or stand still: `peers` says who; \
         else look at the network",
    )
}

/// Judges endpoints: those whose namespace is gone.
pub fn endpoints(endpoints: &[EndpointResource]) -> Vec<Check> {
    let stale = endpoints.iter().filter(|endpoint| endpoint.state == EndpointState::Stale);
    stale
        .map(|endpoint| {
            Check::warn(
                format!("endpoint {}", endpoint.name),
                "the namespace it was in is gone; its addresses stay its",
                format!("`weft detach {}` gives them back", endpoint.id),
            )
        })
        .collect()
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
