//! What goes wrong with an underlay and with disks.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::mount::{MsFlags, mount};
use weft_overlay::netlink::Namespace;
use weft_overlay::netlink::namespace::run_in;

use super::Testbed;
use super::ground::{GOSSIP_PORT, port};

/// What is wrong with the underlay. Hosts go by their numbers, as in [`Testbed::hosts`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Nothing passes from and to a host.
    Both(usize),
    /// Nothing passes from a host. What is for it passes.
    From(usize),
    /// What the agent of a host sends does not pass; all else does, so that it is heard by nobody
    /// and hears all.
    Mute(usize),
    /// This share of all packets is lost, in percent, by chance.
    Loss(u32),
}

impl Cut {
    /// The rules of nftables that do it, on the underlay's bridge.
    fn rules(self) -> String {
        match self {
            Self::Both(host) => {
                let port = port(host + 1);
                format!("iifname \"{port}\" drop; oifname \"{port}\" drop;")
            }
            Self::From(host) => format!("iifname \"{}\" drop;", port(host + 1)),
            Self::Mute(host) => {
                let port = port(host + 1);
                let of_agents = |protocol: &str, end: &str| {
                    format!("iifname \"{port}\" {protocol} {end} {GOSSIP_PORT} drop;")
                };
                let both = ["udp", "tcp"].map(|protocol| {
                    [of_agents(protocol, "sport"), of_agents(protocol, "dport")].concat()
                });
                both.concat()
            }
            Self::Loss(percent) => format!("numgen random mod 100 < {percent} drop;"),
        }
    }
}

impl Testbed {
    /// Lets the underlay be wrong in these ways and in no other; of none it is whole again.
    ///
    /// # Panics
    /// When nftables refuses.
    pub fn cut(&self, cuts: &[Cut]) {
        let rules: String = cuts.iter().map(|cut| cut.rules()).collect();
        // Made first, so that it can be deleted.
        let text = format!(
            "table bridge faults {{}}\ndelete table bridge faults\ntable bridge faults {{ chain \
             forward {{ type filter hook forward priority 0; {rules}\n}}\n}}\n"
        );
        load(self.ground.namespace(), &text);
    }
}

fn load(namespace: &Namespace, rules: &str) {
    let mut nft = Command::new("nft");
    nft.args(["-f", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut nft = run_in(namespace, || nft.spawn()).expect("the namespace").expect("nft starts");
    nft.stdin.take().expect("a pipe").write_all(rules.as_bytes()).expect("the rules are taken");
    let done = nft.wait_with_output().expect("our own child");
    assert!(done.status.success(), "{rules}: {}", String::from_utf8_lossy(&done.stderr));
}

/// A small file system in memory, which can be filled. It goes with the testbed.
#[derive(Debug)]
pub struct SmallDisk {
    directory: PathBuf,
}

impl SmallDisk {
    /// Mounts one of so many MiB.
    ///
    /// # Panics
    /// Without root.
    pub fn mount(directory: &Path, mebibytes: u32) -> Self {
        std::fs::create_dir_all(directory).expect("a directory");
        let size = format!("size={mebibytes}m");
        let (kind, flags) = (Some("tmpfs"), MsFlags::empty());
        mount(kind, directory, kind, flags, Some(size.as_str())).expect("a file system");
        Self { directory: directory.to_owned() }
    }

    /// Takes all the room there is.
    ///
    /// # Panics
    /// When something but the lack of room ends it.
    pub fn fill(&self) {
        let mut file = File::create(self.filler()).expect("a file");
        // Whole pages first, then what is left.
        for block in [1 << 20, 4096, 1] {
            while file.write_all(&vec![0; block]).is_ok() {}
        }
        let more = file.write(&[0]).expect_err("the disk is full");
        assert_eq!(more.kind(), std::io::ErrorKind::StorageFull);
    }

    /// Gives the room back.
    ///
    /// # Panics
    /// When it was not taken.
    pub fn empty(&self) {
        std::fs::remove_file(self.filler()).expect("what filled the disk");
    }

    fn filler(&self) -> PathBuf {
        self.directory.join("filler")
    }
}
