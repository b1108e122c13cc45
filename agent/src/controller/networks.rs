//! Networks: made and deleted by claims, listed from the facts.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use weft_api::control::{
    AttachedNode, ControlError, ListFilter, NetworkCreate, NetworkDetail, NetworkPeer,
    NetworkResource, SubnetRequest,
};
use weft_api::driver::Scope;
use weft_api::{Definition, NetworkId, Stamp, Subnet, Vni};
use weft_ipam::{Block, BlockWant, Fate, Granted};
use weft_networkdb::{ClaimError, Origin, Outcome};
use weft_overlay::{PEER_TABLE, PeerRecord};

use super::{Controller, foreign, no_cluster, stopped};
use crate::control::{Answer, Detail, ErrorKind, NetworkRef};
use crate::core::calls::Decision;
use crate::node::Node;
use crate::overlay_driver::options::VXLAN_IDS;
use crate::registry::IpamDriver;

/// Longest name of a network, in bytes.
const NAME_BYTES_MAX: usize = 128;

/// How often a definition is tried that another node's may be ahead of.
const DEFINITIONS_RACED_MAX: usize = 1;

/// A definition under way, with what was taken for it.
struct Draft {
    definition: Definition,
    origins: Vec<Origin>,
    blocks: Vec<Block>,
}

impl Controller {
    pub(super) async fn list_networks(&self, filter: ListFilter) -> Answer<Vec<NetworkResource>> {
        let definitions = self
            .node(|node, _| {
                node.db()
                    .definitions()
                    .map(|definition| (definition.clone(), node.db().is_frozen(definition.id)))
                    .collect::<Vec<_>>()
            })
            .await?;
        let mut networks: Vec<_> = definitions
            .into_iter()
            .filter(|(definition, _)| filter.matches(&definition.id.to_string(), &definition.name))
            .map(|(definition, frozen)| self.network_resource(definition, frozen))
            .collect();
        networks.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(networks)
    }

    pub(super) async fn inspect_network(
        &self,
        network: &NetworkRef,
        detail: Detail,
    ) -> Answer<NetworkResource> {
        let definition = self.definition(network).await?;
        let id = definition.id;
        let frozen = self.node(move |node, _| node.db().is_frozen(id)).await?;
        let mut resource = self.network_resource(definition, frozen);
        if detail == Detail::Verbose {
            resource.detail = Some(self.node(move |node, _| network_detail(node, id)).await?);
        }
        Ok(resource)
    }

    fn network_resource(&self, definition: Definition, frozen: bool) -> NetworkResource {
        let endpoints =
            self.inventory().of(definition.id).map(super::inventory::Endpoint::resource).collect();
        NetworkResource {
            name: definition.name,
            id: definition.id,
            driver: definition.driver,
            ipam: definition.ipam,
            subnets: definition.subnets,
            options: definition.options,
            mtu: definition.mtu,
            internal: definition.internal,
            creator: definition.stamp.node,
            frozen,
            endpoints,
            detail: None,
        }
    }

    pub(super) async fn define_network(&self, request: NetworkCreate) -> Answer<NetworkResource> {
        validate(&request)?;
        self.check_mtu(request.mtu)?;
        let driver = self.registry.network(&request.driver).await;
        let scope = driver.map_err(|error| foreign::no_driver(&error, self))?.capability.data_scope;
        let ipam = self.ipam_driver(&request.ipam).await;
        let ipam = ipam.map_err(|error| foreign::no_driver(&error, self))?;
        for _ in 0..DEFINITIONS_RACED_MAX {
            let defined = self.define_with_pools(request.clone(), &ipam, scope).await;
            match defined {
                // Another node made it meanwhile, with pools of its own: those count.
                Err(error) if error.kind == ErrorKind::Conflict && !ipam.driver.is_built_in() => {}
                settled => return settled,
            }
        }
        self.define_with_pools(request, &ipam, scope).await
    }

    async fn define_with_pools(
        &self,
        request: NetworkCreate,
        ipam: &IpamDriver,
        scope: Scope,
    ) -> Answer<NetworkResource> {
        let id = NetworkId::from_bytes(
            crate::identity::random().map_err(|e| ControlError::internal(e.to_string()))?,
        );
        let _turn = self.pools_turn(id).await;
        let defined = match self.ask_for_pools(id, request, ipam, scope).await {
            Ok(request) => self.claim_definition(id, request).await,
            Err(error) => Err(error),
        };
        self.settle_pools_in_turn(id).await;
        defined
    }

    async fn claim_definition(
        &self,
        id: NetworkId,
        request: NetworkCreate,
    ) -> Answer<NetworkResource> {
        let draft = self.draft(id, request).await?;
        let (definition, origins) = (draft.definition.clone(), draft.origins);
        let define =
            move |node: &mut Node, now| node.with_db(now, |db| db.define(definition, origins, now));
        let Decision { outcome, asked } = self
            .core
            .call_later(move |core, answer, now| core.claim(define, answer, now))
            .await
            .map_err(stopped)?;
        let fate = Fate::of_refused(asked);
        match outcome {
            Outcome::Defined(definition) => {
                tracing::info!(network = %definition.id, name = definition.name, "network created");
                Ok(self.network_resource(definition, false))
            }
            Outcome::Joined(definition) => {
                self.return_blocks(draft.blocks, fate).await?;
                Ok(self.network_resource(definition, false))
            }
            Outcome::Refused(error) => {
                self.return_blocks(draft.blocks, fate).await?;
                Err(self.claim_error(error).await)
            }
            Outcome::Deleted(_) | Outcome::Forgotten(_) | Outcome::Rotated(_) => {
                Err(ControlError::internal("the claim of a definition ended as another one"))
            }
        }
    }

    fn check_mtu(&self, mtu: Option<u32>) -> Answer<()> {
        let maximum = self.largest_mtu();
        match mtu {
            Some(mtu) if mtu > maximum => Err(ControlError::invalid(format!(
                "MTU `{mtu}` is more than this host's uplink carries inside VXLAN"
            ))
            .with_hint(format!("use at most {maximum}, or leave --mtu out"))),
            Some(mtu) if mtu < 68 => {
                Err(ControlError::invalid(format!("MTU `{mtu}` is too small for IPv4"))
                    .with_hint("use at least 68, or 1280 with IPv6"))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The uplink's MTU less the encapsulation.
    pub(super) const fn largest_mtu(&self) -> u32 {
        let outer = match self.settings.advertise.ip() {
            IpAddr::V4(_) => weft_overlay::mtu::ENCAPSULATION_V4,
            IpAddr::V6(_) => weft_overlay::mtu::ENCAPSULATION_V6,
        };
        self.settings.uplink_mtu.saturating_sub(outer)
    }

    /// Fills in what the request leaves open: from the network of that name where there is one,
    /// from this node's blocks otherwise.
    async fn draft(&self, id: NetworkId, request: NetworkCreate) -> Answer<Draft> {
        let name = request.name.clone();
        let existing =
            self.node(move |node, _| node.db().definition_by_name(&name).cloned()).await?;
        let mut draft = Draft {
            definition: Definition {
                id,
                name: request.name,
                driver: request.driver,
                ipam: request.ipam,
                subnets: Vec::new(),
                options: request.options,
                mtu: request.mtu,
                internal: request.internal,
                stamp: Stamp::default(),
            },
            origins: Vec::new(),
            blocks: Vec::new(),
        };
        let filled = self.fill(&mut draft, &request.subnets, request.ipv6, existing.as_ref()).await;
        if let Err(error) = filled {
            self.return_blocks(draft.blocks, Fate::Unused).await?;
            return Err(error);
        }
        Ok(draft)
    }

    async fn fill(
        &self,
        draft: &mut Draft,
        asked: &[SubnetRequest],
        ipv6: bool,
        existing: Option<&Definition>,
    ) -> Answer<()> {
        let mut wanted: Vec<(Option<&SubnetRequest>, BlockWant)> = asked
            .iter()
            .map(|subnet| {
                let want =
                    if subnet.pool.is_ipv4() { BlockWant::Default4 } else { BlockWant::Default6 };
                (Some(subnet), want)
            })
            .collect();
        if asked.is_empty() {
            wanted.push((None, BlockWant::Default4));
        }
        if ipv6 && !asked.iter().any(|subnet| subnet.pool.is_ipv6()) {
            wanted.push((None, BlockWant::Default6));
        }
        let explicit_vnis = explicit_vnis(&draft.definition.options)?;
        // The i-th subnet of either family shares the i-th VNI: one broadcast domain.
        let mut vnis: Vec<Vni> = Vec::new();
        let mut counts = [0, 0];
        for (subnet, want) in wanted {
            let v6 = want == BlockWant::Default6;
            let segment = counts[usize::from(v6)];
            counts[usize::from(v6)] += 1;
            let theirs = existing.and_then(|network| {
                network.subnets.iter().filter(|s| s.pool.is_ipv6() == v6).nth(segment)
            });
            if vnis.len() <= segment {
                let vni = match (theirs, explicit_vnis.get(segment)) {
                    (Some(theirs), None) => theirs.vni,
                    (_, Some(vni)) if existing.is_none() => {
                        self.take_vni(BlockWant::ExactVni(*vni), &mut draft.blocks).await?
                    }
                    (_, Some(vni)) => *vni,
                    (None, None) => self.take_vni(BlockWant::Vni, &mut draft.blocks).await?,
                };
                vnis.push(vni);
            }
            let (pool, origin) = match (subnet, theirs) {
                (Some(subnet), _) => (subnet.pool, Origin::Asked),
                (None, Some(theirs)) => (theirs.pool, Origin::Default),
                (None, None) => (self.take_pool(want, &mut draft.blocks).await?, Origin::Default),
            };
            let gateway = subnet
                .and_then(|subnet| subnet.gateway)
                .or_else(|| (!draft.definition.internal).then(|| first_host(pool)));
            draft.origins.push(origin);
            draft.definition.subnets.push(Subnet {
                pool,
                gateway,
                range: subnet.and_then(|subnet| subnet.range),
                auxiliary: subnet.map(|subnet| subnet.auxiliary.clone()).unwrap_or_default(),
                vni: vnis[segment],
            });
        }
        Ok(())
    }

    async fn take_vni(&self, want: BlockWant, blocks: &mut Vec<Block>) -> Answer<Vni> {
        match self.take_block(want, blocks).await? {
            Block::Vni(vni) => Ok(vni),
            Block::Pool(_) => Err(ControlError::internal("asked for a VNI and got a pool")),
        }
    }

    async fn take_pool(&self, want: BlockWant, blocks: &mut Vec<Block>) -> Answer<IpNetwork> {
        match self.take_block(want, blocks).await? {
            Block::Pool(pool) => Ok(pool),
            Block::Vni(_) => Err(ControlError::internal("asked for a pool and got a VNI")),
        }
    }

    async fn take_block(&self, want: BlockWant, blocks: &mut Vec<Block>) -> Answer<Block> {
        let granted = self
            .core
            .call_later(move |core, answer, now| {
                let avoid = core.node().map(crate::host_routes::of_all).unwrap_or_default();
                core.take_block(want, &avoid, answer, now);
            })
            .await
            .map_err(|_| no_cluster())?;
        match granted {
            Ok(Granted::Block(block)) => {
                blocks.push(block);
                Ok(block)
            }
            Ok(Granted::Address(_)) => {
                Err(ControlError::internal("asked for a block and got an address"))
            }
            Err(error) => Err(refused_block(want, &error)),
        }
    }

    async fn return_blocks(&self, blocks: Vec<Block>, fate: Fate) -> Answer<()> {
        self.node(move |node, now| {
            for block in blocks {
                node.with_ipam(now, |ipam| ipam.return_block(block, fate, now));
            }
        })
        .await
    }

    pub(super) async fn undefine_network(&self, network: &NetworkRef) -> Answer<()> {
        let definition = self.definition(network).await?;
        let _turn = self.lock_network(definition.id).await;
        let here = self.inventory().of(definition.id).count();
        if here > 0 {
            return Err(ControlError::forbidden(format!(
                "network `{}` has {here} endpoint(s) on this node",
                definition.name
            ))
            .with_hint("`weft endpoint ls` shows them; `weft detach` ends one"));
        }
        self.release_orphans_in(definition.id).await;
        self.stop_using(&definition).await;
        let _pools = self.pools_turn(definition.id).await;
        self.foreign_pools_end(&definition).await?;
        let outcome = self.claim_deletion(&definition).await;
        self.settle_pools_in_turn(definition.id).await;
        outcome
    }

    async fn claim_deletion(&self, definition: &Definition) -> Answer<()> {
        let network = definition.id;
        let delete = move |node: &mut Node, now| node.with_db(now, |db| db.undefine(network, now));
        let Decision { outcome, .. } = self
            .core
            .call_later(move |core, answer, now| core.claim(delete, answer, now))
            .await
            .map_err(stopped)?;
        match outcome {
            Outcome::Deleted(_) => {
                tracing::info!(network = %definition.id, name = definition.name, "network deleted");
                Ok(())
            }
            Outcome::Refused(error) => Err(self.claim_error(error).await),
            Outcome::Defined(_)
            | Outcome::Joined(_)
            | Outcome::Forgotten(_)
            | Outcome::Rotated(_) => {
                Err(ControlError::internal("the claim of a deletion ended as another one"))
            }
        }
    }

    async fn claim_error(&self, error: ClaimError) -> ControlError {
        let names = self.node_names().await;
        let of = |nodes: &[weft_api::NodeId]| {
            nodes
                .iter()
                .map(|node| names.get(node).cloned().unwrap_or_else(|| node.short()))
                .collect::<Vec<_>>()
                .join("`, `")
        };
        match error {
            ClaimError::NameTaken { name, id } => ControlError::conflict(format!(
                "network `{name}` exists already with another shape (id {})",
                id.short()
            ))
            .with_hint(format!(
                "`weft network inspect {name}` shows it; take another name or agree"
            )),
            ClaimError::PoolOverlap { pool, other_pool, other } => ControlError::forbidden(
                format!("subnet `{pool}` overlaps `{other_pool}` of network `{other}`"),
            )
            .with_hint(
                "`weft network ls` shows the pools in use; leave --subnet out for a free one",
            ),
            error @ ClaimError::VniTaken { .. } => ControlError::forbidden(error.to_string())
                .with_hint("take another VNI, or leave it out"),
            ClaimError::InUse { network, nodes } => {
                let refused =
                    ControlError::forbidden(format!("the network is in use on `{}`", of(&nodes)));
                refused.with_hint(if self.is_held(network) {
                    "the Docker Engine of this host has it: `docker network rm` there; if the \
                     engine forgot it, `weft network rm --force`"
                } else {
                    "there, detach its endpoints (`weft endpoint ls`), and `docker network rm` \
                     what a Docker Engine has of it"
                })
            }
            ClaimError::Unanswered { members } => ControlError::new(
                ErrorKind::Timeout,
                format!("no answer from `{}`", of(&members)),
            )
            .with_hint(
                "try again when they answer or are declared failed; `weft members` shows them",
            ),
            ClaimError::NoSuchNetwork(id) => {
                ControlError::not_found(format!("network `{id}` does not exist any more"))
            }
            error @ ClaimError::Invalid { .. } => ControlError::invalid(error.to_string()),
            error @ (ClaimError::Contended { .. }
            | ClaimError::IdUsed(_)
            | ClaimError::Answers { .. }
            | ClaimError::Half { .. }
            | ClaimError::NoSuchMember(_)
            | ClaimError::AlreadyGone { .. }
            | ClaimError::Named { .. }
            | ClaimError::Rotated
            | ClaimError::Rotating
            | ClaimError::Full
            | ClaimError::Leaving) => {
                ControlError::unavailable(error.to_string()).with_hint("try again in a moment")
            }
        }
    }
}

/// Everything about a request that needs no state.
fn validate(request: &NetworkCreate) -> Answer<()> {
    let name = &request.name;
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(ControlError::invalid(format!(
            "network name `{name}` has {} bytes",
            name.len()
        ))
        .with_hint(format!("use 1 to {NAME_BYTES_MAX} bytes")));
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if !name.chars().all(fits) || !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Err(ControlError::invalid(format!("network name `{name}` is not allowed"))
            .with_hint("use letters, digits, `_`, `.` and `-`, and begin with a letter or digit"));
    }
    explicit_vnis(&request.options)?;
    if request.options.contains_key(foreign::CHOICE) {
        return Err(ControlError::invalid(format!(
            "option `{}` is the agent's own",
            foreign::CHOICE
        ))
        .with_hint("options of an IPAM driver are given with --ipam-opt"));
    }
    for (index, subnet) in request.subnets.iter().enumerate() {
        validate_subnet(subnet)?;
        let overlapping = request.subnets[..index].iter().find(|other| {
            other.pool.contains(subnet.pool.ip()) || subnet.pool.contains(other.pool.ip())
        });
        if let Some(other) = overlapping {
            return Err(ControlError::invalid(format!(
                "subnets `{}` and `{}` overlap",
                other.pool, subnet.pool
            )));
        }
    }
    Ok(())
}

pub(crate) fn validate_subnet(subnet: &SubnetRequest) -> Answer<()> {
    let pool = subnet.pool;
    if pool.ip() != pool.network() {
        return Err(ControlError::invalid(format!("subnet `{pool}` has host bits set"))
            .with_hint(format!("did you mean {}/{}?", pool.network(), pool.prefix())));
    }
    let longest = if pool.is_ipv4() { 30 } else { 126 };
    let shortest = if pool.is_ipv4() { 8 } else { 48 };
    if pool.prefix() > longest || pool.prefix() < shortest {
        return Err(ControlError::invalid(format!("subnet `{pool}` has no usable size"))
            .with_hint(format!("use a prefix length from {shortest} to {longest}")));
    }
    let first = pool.network();
    if first.is_multicast() || first.is_loopback() || first.is_unspecified() {
        return Err(ControlError::invalid(format!("subnet `{pool}` is not for hosts")));
    }
    let host = |what: &str, address: IpAddr| {
        let broadcast = pool.is_ipv4() && address == pool.broadcast();
        if !pool.contains(address) || address == pool.network() || broadcast {
            return Err(ControlError::invalid(format!(
                "{what} `{address}` is no host address of subnet `{pool}`"
            )));
        }
        Ok(())
    };
    if let Some(gateway) = subnet.gateway {
        host("gateway", gateway)?;
    }
    let mut taken = BTreeSet::new();
    for (name, address) in &subnet.auxiliary {
        host(&format!("auxiliary address `{name}`"), *address)?;
        if Some(*address) == subnet.gateway || !taken.insert(*address) {
            return Err(ControlError::invalid(format!(
                "auxiliary address `{name}` `{address}` is named twice"
            )));
        }
    }
    match subnet.range {
        Some(range)
            if range.is_ipv4() != pool.is_ipv4()
                || range.prefix() < pool.prefix()
                || !pool.contains(range.ip()) =>
        {
            Err(ControlError::invalid(format!("range `{range}` is not inside subnet `{pool}`")))
        }
        Some(_) | None => Ok(()),
    }
}

fn explicit_vnis(options: &BTreeMap<String, String>) -> Answer<Vec<Vni>> {
    let Some(list) = options.get(VXLAN_IDS) else { return Ok(Vec::new()) };
    list.split(',')
        .map(|part| {
            part.trim().parse::<u32>().ok().and_then(|number| Vni::new(number).ok()).ok_or_else(
                || {
                    ControlError::invalid(format!("option `{VXLAN_IDS}` has no VNI in `{part}`"))
                        .with_hint("use numbers from 1 to 16777215, separated by commas")
                },
            )
        })
        .collect()
}

fn refused_block(want: BlockWant, error: &weft_ipam::Error) -> ControlError {
    match (want, error) {
        (BlockWant::ExactVni(vni), weft_ipam::Error::IpOutOfRange) => ControlError::invalid(
            format!("VNI {vni} is not one that this cluster gives to its networks"),
        )
        .with_hint(
            "`weft ipam ls` shows the range in the line `vni`; `vni_first` and `vni_last` set it",
        ),
        (BlockWant::ExactVni(vni), weft_ipam::Error::IpAlreadyAllocated) => {
            ControlError::forbidden(format!("VNI {vni} is another network's, or was once"))
                .with_hint(
                    "a VNI is one network's for ever, even of one that was refused; take another",
                )
        }
        (BlockWant::Vni | BlockWant::ExactVni(_), error) => {
            ControlError::unavailable(error.to_string()).with_hint("see `weft ipam ls`")
        }
        (BlockWant::Default4 | BlockWant::Default6, error) => {
            ControlError::unavailable(error.to_string())
                .with_hint("name a pool with --subnet, or see `weft ipam ls`")
        }
    }
}

/// The first host address of a pool; that of a pool of one address is itself.
pub(crate) fn first_host(pool: IpNetwork) -> IpAddr {
    match pool.network() {
        IpAddr::V4(first) => IpAddr::V4(u32::from(first).saturating_add(1).into()),
        IpAddr::V6(first) => IpAddr::V6(u128::from(first).saturating_add(1).into()),
    }
}

fn network_detail(node: &Node, id: NetworkId) -> NetworkDetail {
    let db = node.db();
    let nodes = db
        .attached(id)
        .into_iter()
        .map(|node| {
            let member = db.members().find(|member| member.id == node);
            AttachedNode {
                id: node,
                name: member.map(|member| member.name.clone()).unwrap_or_default(),
                address: member.map(|member| member.addr.ip()),
            }
        })
        .collect();
    let peers = db
        .walk(id, PEER_TABLE)
        .filter_map(|entry| {
            let record = PeerRecord::decode(&entry.value).ok()?;
            Some(NetworkPeer {
                endpoint: entry.key.parse().ok()?,
                addresses: record.v4.into_iter().chain(record.v6).collect(),
                mac: Some(record.mac),
                vtep: Some(record.vtep),
                node: entry.owner,
            })
        })
        .collect();
    NetworkDetail { nodes, peers }
}
