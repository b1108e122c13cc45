//! What `weft doctor` looks at; [`crate::doctor`] judges it.

mod engine;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use ipnetwork::IpNetwork;
use weft_api::control::{Check, DoctorReport, ListFilter};
use weft_overlay::netlink::namespace::Namespace;
use weft_overlay::netlink::nft::Handled;
use weft_overlay::netlink::uplink;

use super::Controller;
use crate::control::Answer;
use crate::doctor::{self, PortHolder};

/// How long the timer's lateness is measured.
const TIMER_TRIAL: Duration = Duration::from_millis(20);

impl Controller {
    /// Notices when this process stands still, until `stop`.
    pub(crate) async fn beat(&self, stop: tokio_util::sync::CancellationToken) {
        self.pulse.run(stop).await;
    }

    pub(super) async fn diagnose(&self) -> Answer<DoctorReport> {
        let mut checks = vec![doctor::privileges(&read("/proc/self/status"))];
        checks.extend(kernel().await);
        checks.push(self.pins());
        checks.extend(self.ports());
        checks.extend(obstacles().await);
        checks.push(doctor::disk(&self.settings.data_dir, free(&self.settings.data_dir)));
        let lateness = lateness().await;
        checks.push(doctor::clock(lateness, self.pulse.last(), Instant::now()));
        let path = self.overlay.status().await.unwrap_or_default();
        checks.extend(doctor::data_path(
            path.failed_operations,
            path.last_failure.as_deref(),
            &path.conflicts,
        ));
        let repaired = path.repaired_at.map(|at| at.elapsed());
        checks.push(doctor::repairs(&path.repairs, repaired));
        checks.push(doctor::announcements(
            path.failed_announcements,
            path.last_announcement_failure.as_deref(),
            path.dropped_announcements,
        ));
        checks.extend(self.engine_checks().await?);
        let alarms = self.core(|core, _| core.alarms().clone()).await?;
        checks.extend(doctor::alarms(alarms));
        checks.extend(self.cluster_checks().await?);
        Ok(DoctorReport { checks })
    }

    /// Looks at members and networks; a node in no cluster has neither.
    async fn cluster_checks(&self) -> Answer<Vec<Check>> {
        if !self.is_member().await {
            let hint = "`weft init` makes one, `weft join ADDR` joins one";
            return Ok(vec![Check::warn("cluster", "this node is in none", hint)]);
        }
        let networks = self.list_networks(ListFilter::default()).await?;
        let mut checks = vec![doctor::mtu(
            self.settings.uplink_mtu,
            self.settings.uplink_mtu - self.largest_mtu(),
            &networks,
        )];
        checks.extend(doctor::peers(&self.list_members().await?));
        let (sent, missed) = self.node(|node, _| node.db().probes()).await?;
        checks.push(doctor::probes(sent, missed));
        checks.extend(doctor::frozen(&networks));
        let endpoints: Vec<_> =
            self.inventory().endpoints().map(|endpoint| endpoint.resource()).collect();
        checks.extend(doctor::endpoints(&endpoints));
        let routes: Vec<(String, IpNetwork)> =
            self.node(|node, _| crate::host_routes::by_host(node)).await?;
        checks.extend(doctor::overlaps(&networks, &routes));
        Ok(checks)
    }

    fn ports(&self) -> [Check; 2] {
        let gossip = self.settings.advertise.port();
        let tunnels = self.settings.vxlan_port;
        let joined = self.inventory().endpoints().any(|endpoint| endpoint.sandbox.is_some());
        // Devices of an earlier start that are yet to be removed.
        let pinned = std::fs::read_dir(self.settings.run_dir.join("netns"));
        let ours = joined || pinned.is_ok_and(|mut pinned| pinned.next().is_some());
        let holder =
            if ours { PortHolder::Us } else { tried(self.settings.advertise.ip(), tunnels) };
        [doctor::port("gossip", gossip, &PortHolder::Us), doctor::port("vxlan", tunnels, &holder)]
    }

    fn pins(&self) -> Check {
        let inode = |path: &str| std::fs::metadata(path).ok().map(|metadata| metadata.ino());
        let shared = is_shared(&read("/proc/self/mountinfo"), &self.settings.run_dir);
        doctor::pins(inode("/proc/self/ns/mnt"), inode("/proc/1/ns/mnt"), shared)
    }
}

async fn kernel() -> Vec<Check> {
    match uplink::features().await {
        Ok(features) => features
            .into_iter()
            .map(|feature| {
                doctor::kernel(feature.name, feature.outcome.map_err(|error| error.to_string()))
            })
            .collect(),
        Err(error) => vec![doctor::kernel("namespaces", Err(error.to_string()))],
    }
}

async fn obstacles() -> Vec<Check> {
    let found = match Namespace::current() {
        Ok(host) => uplink::obstacles(&host).await,
        Err(error) => Err(error),
    };
    match found {
        Ok(obstacles) => obstacles
            .into_iter()
            .map(|obstacle| doctor::obstacle(&obstacle.chain, obstacle.handled == Handled::ByUs))
            .collect(),
        Err(error) => vec![Check::warn(
            "firewall",
            format!("nftables was not read: {error}"),
            "networks with a way out need it",
        )],
    }
}

/// Tries to take a port that no device of ours holds yet.
fn tried(address: IpAddr, port: u16) -> PortHolder {
    match UdpSocket::bind(SocketAddr::new(address, port)) {
        Ok(_) => PortHolder::Free,
        Err(_) if is_kernels(&read("/proc/net/udp"), port) => PortHolder::Kernel,
        Err(_) if is_kernels(&read("/proc/net/udp6"), port) => PortHolder::Kernel,
        Err(error) => PortHolder::Another(error.to_string()),
    }
}

/// Tells whether the kernel itself has a UDP port: its sockets have no inode (proc_net(5)).
fn is_kernels(sockets: &str, port: u16) -> bool {
    let at_port = format!(":{port:04X}");
    sockets.lines().skip(1).any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.get(1).is_some_and(|local| local.ends_with(&at_port)) && fields.get(9) == Some(&"0")
    })
}

/// Returns how many bytes the file system of a directory has left for us.
fn free(directory: &std::path::Path) -> Result<u64, String> {
    let there = nix::sys::statvfs::statvfs(directory).map_err(|error| error.to_string())?;
    Ok(there.blocks_available().saturating_mul(there.fragment_size()))
}

async fn lateness() -> Duration {
    let due = Instant::now() + TIMER_TRIAL;
    tokio::time::sleep_until(due.into()).await;
    due.elapsed()
}

/// Tells whether the mount that holds `path` passes its mounts on (proc(5), mountinfo).
fn is_shared(mountinfo: &str, path: &std::path::Path) -> bool {
    mountinfo
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ');
            let at = fields.nth(4)?;
            let shared = fields.any(|field| field.starts_with("shared:"));
            path.starts_with(at).then_some((at.len(), shared))
        })
        .max_by_key(|(length, _)| *length)
        .is_some_and(|(_, shared)| shared)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_of_the_kernel_is_told_from_that_of_a_program() {
        let line = |port: &str, inode: &str| {
            format!("1: 00000000:{port} 00000000:0000 07 00:00 00:00 00000000 0 0 {inode} 2 0 0\n")
        };
        let table = ["sl local_address\n", &line("12B5", "0"), &line("1F0E", "4242")].concat();
        assert!(is_kernels(&table, 4789));
        assert!(!is_kernels(&table, 7950) && !is_kernels(&table, 53));
    }

    #[test]
    fn the_innermost_mount_says_whether_a_path_is_shared() {
        let mounts = "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw\n\
                      30 22 0:26 / /run rw,nosuid - tmpfs tmpfs rw\n\
                      31 30 0:27 / /run/weft rw shared:9 - tmpfs tmpfs rw\n";
        let shared = |path: &str| is_shared(mounts, std::path::Path::new(path));
        assert!(shared("/var/lib/weft"));
        assert!(!shared("/run/other"));
        assert!(shared("/run/weft/netns"));
        assert!(shared("/"));
    }
}
