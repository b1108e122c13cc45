//! What of Weft's is in a host's kernel.

use std::collections::BTreeSet;
use std::path::Path;

use ipnetwork::IpNetwork;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use weft_overlay::netlink::namespace::{list_pinned, run_in};
use weft_overlay::netlink::{Connection, Executor, Namespace, link, route, rule, way_out};
use weft_overlay::observed::Observed;

/// What of Weft's is in a host's kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// Links of the host beside `lo` and its uplink, with their numbers.
    pub links: BTreeSet<(u32, String)>,
    /// Routes to pools.
    pub routes: BTreeSet<IpNetwork>,
    /// Rules that lead there.
    pub rules: BTreeSet<IpNetwork>,
    /// nftables tables, by name.
    pub tables: BTreeSet<String>,
    /// Pinned network namespaces.
    pub pins: Vec<String>,
    /// What is in those.
    pub observed: Observed,
}

impl Kernel {
    pub(super) async fn read(host: &Namespace, run_dir: &Path) -> Self {
        let mut connection = Connection::open(host).await.expect("netlink");
        let links = link::list(&mut connection).await.expect("links");
        let links = links.into_iter().filter(|link| link.name != "lo" && link.name != "eth0");
        let routes = route::list(&mut connection).await.expect("routes");
        let routes = routes.into_iter().filter(|entry| entry.table == way_out::TABLE);
        let rules = rule::list(&mut connection, way_out::TABLE).await.expect("rules");
        let tables = run_in(host, nft_tables).expect("the namespace");
        let pins = list_pinned(run_dir.join("netns")).expect("pins");
        let observed = if pins.is_empty() {
            // An executor makes the directory; a look must not.
            Observed::default()
        } else {
            let host = host.try_clone().expect("a descriptor");
            let mut executor = Executor::new_in(host, run_dir).expect("an executor");
            executor.observe().await.expect("the kernel can be read")
        };
        Self {
            links: links.map(|link| (link.index, link.name)).collect(),
            routes: routes.map(|entry| entry.route.to).collect(),
            rules: rules.into_iter().map(|rule| rule.to).collect(),
            tables,
            pins,
            observed,
        }
    }

    /// True when nothing of Weft's is there.
    pub fn is_clean(&self) -> bool {
        self.links.is_empty()
            && self.routes.is_empty()
            && self.rules.is_empty()
            && self.tables.is_empty()
            && self.pins.is_empty()
    }
}

/// Lists nftables tables: a dump by NFT_MSG_GETTABLE (linux/netfilter/nf_tables.h).
fn nft_tables() -> BTreeSet<String> {
    const GETTABLE: u16 = 10 << 8 | 1;
    const REQUEST_DUMP: u16 = 0x301;
    const TABLE_NAME: u16 = 1;
    const DONE: u16 = 3;
    let mut socket = Socket::new(NETLINK_NETFILTER).expect("a netfilter socket");
    socket.bind_auto().expect("an address");
    let mut request = Vec::new();
    request.extend(20_u32.to_ne_bytes());
    request.extend(GETTABLE.to_ne_bytes());
    request.extend(REQUEST_DUMP.to_ne_bytes());
    request.extend([0; 8]);
    // nfgenmsg: all families, version 0, resource 0.
    request.extend([0; 4]);
    socket.send_to(&request, &SocketAddr::new(0, 0), 0).expect("a dump");
    let mut names = BTreeSet::new();
    loop {
        let (bytes, _) = socket.recv_from_full().expect("an answer");
        let mut rest = &bytes[..];
        while rest.len() >= 16 {
            let length = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
            let kind = u16::from_ne_bytes([rest[4], rest[5]]);
            if kind == DONE || kind == 2 {
                return names;
            }
            let mut attributes = &rest[20..length];
            while attributes.len() >= 4 {
                let size = usize::from(u16::from_ne_bytes([attributes[0], attributes[1]]));
                if u16::from_ne_bytes([attributes[2], attributes[3]]) == TABLE_NAME {
                    let text = String::from_utf8_lossy(&attributes[4..size]);
                    names.insert(text.trim_end_matches('\0').to_owned());
                }
                attributes = &attributes[size.next_multiple_of(4).min(attributes.len())..];
            }
            rest = &rest[length.next_multiple_of(4).min(rest.len())..];
        }
    }
}
