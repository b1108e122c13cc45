//! The cluster as a whole: made, joined, left, looked at.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use ipnetwork::IpNetwork;
use weft_api::control::{
    ClusterResource, ClusterState, ControlError, InitRequest, IpamPool, IpamShare, JoinRequest,
    LeaveRequest, MemberCounts, MemberResource, MemberState, Secret, StatusResource, TokenResponse,
};
use weft_api::{Definition, NodeId};
use weft_ipam::{BlockPool, ClusterPools, Holding, Space};

use super::Controller;
use crate::control::{Answer, ErrorKind};
use crate::core::Core;
use crate::core::cluster::MembershipError;
use crate::ipam_driver::GLOBAL_SPACE;
use crate::token::Token;

/// The id of the one key a new cluster has.
const FIRST_KEY: u8 = 1;

impl Controller {
    pub(crate) async fn init_cluster(&self, request: InitRequest) -> Answer<ClusterResource> {
        let pools = overlay_pools(&self.settings.pools, &request)?;
        self.core(move |core, now| {
            core.init(&pools, now)?;
            Ok(cluster_resource(core))
        })
        .await?
        .map_err(membership_error)?
        .ok_or_else(super::no_cluster)
    }

    pub(crate) async fn join_cluster(&self, request: JoinRequest) -> Answer<ClusterResource> {
        let token: Token =
            request.token.reveal().parse().map_err(|error: crate::token::TokenError| {
                ControlError::invalid(error.to_string()).with_hint(error.hint())
            })?;
        if request.seeds.is_empty() {
            return Err(ControlError::invalid("no member to ask was named")
                .with_hint("give the address of at least one member"));
        }
        let seeds = request.seeds;
        self.core
            .call_later(move |core, answer, now| {
                core.join((token.cluster, FIRST_KEY, token.key), &seeds, answer, now);
            })
            .await
            .map_err(super::stopped)?
            .map_err(membership_error)?;
        self.core(|core, _| cluster_resource(core)).await?.ok_or_else(super::no_cluster)
    }

    pub(super) async fn leave_cluster(&self, request: LeaveRequest) -> Answer<()> {
        let endpoints: Vec<_> = self.inventory().endpoints().map(|endpoint| endpoint.id).collect();
        if !endpoints.is_empty() && !request.force {
            return Err(ControlError::forbidden(format!(
                "this node has {} endpoint(s)",
                endpoints.len()
            ))
            .with_hint("detach them first, or `weft leave --force` to end them"));
        }
        if !request.force && self.node(|node, _| node.is_cut_off()).await? {
            return Err(ControlError::unavailable(
                "no other member answers, and what only this node knows would be lost",
            )
            .with_hint(
                "wait until one does (`weft members`); `weft forget` those that are gone for good, \
                 or `weft leave --force`",
            ));
        }
        let _leaving = self.leaving.start().ok_or_else(|| {
            ControlError::conflict("this node is leaving already")
                .with_hint("`weft status` shows how far it is")
        })?;
        for id in endpoints {
            let _turn = self.locks.lock(format!("endpoint/{id}")).await;
            if self.current(id).is_err() {
                // Detached while it waited for its turn.
                continue;
            }
            let endpoint = self.leave_locked(id, None).await?;
            self.end_endpoint(endpoint).await?;
        }
        self.core
            .call_later(|core, answer, now| core.leave(answer, now))
            .await
            .map_err(super::stopped)?
            .map_err(membership_error)
    }

    pub(super) async fn join_token(&self) -> Answer<TokenResponse> {
        self.core(|core, _| {
            let identity = core.identity()?;
            let token = Token { cluster: identity.cluster, key: identity.key };
            let mut seeds: Vec<SocketAddr> = vec![core.settings().advertise];
            if let Some(node) = core.node() {
                let others = node.db().members().filter(|member| member.id != node.id());
                seeds.extend(others.filter(|m| is_alive(m.state)).map(|m| m.addr).take(4));
            }
            Some(TokenResponse { token: Secret::new(token.to_text()), seeds })
        })
        .await?
        .ok_or_else(super::no_cluster)
    }

    pub(super) async fn list_members(&self) -> Answer<Vec<MemberResource>> {
        self.node(|node, _| {
            node.db()
                .members()
                .map(|member| MemberResource {
                    id: member.id,
                    name: member.name.clone(),
                    address: member.addr,
                    state: member_state(member.state),
                    boot: member.boot.counter,
                    this: member.id == node.id(),
                })
                .collect()
        })
        .await
    }

    /// Returns the names of all members known.
    pub(super) async fn node_names(&self) -> BTreeMap<NodeId, String> {
        self.node(|node, _| node.db().members().map(|m| (m.id, m.name.clone())).collect())
            .await
            .unwrap_or_default()
    }

    pub(super) async fn describe_status(&self) -> Answer<StatusResource> {
        let uptime_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let endpoints = self.inventory().endpoints().count() as u64;
        let mut status = self
            .core(move |core, _| {
                let mut members = MemberCounts::default();
                let mut networks = 0;
                let mut counters = core.counters().clone();
                if let Some(node) = core.node() {
                    for member in node.db().members() {
                        match member.state {
                            weft_networkdb::MemberState::Alive => members.alive += 1,
                            weft_networkdb::MemberState::Suspect => members.suspect += 1,
                            weft_networkdb::MemberState::Failed => members.failed += 1,
                            weft_networkdb::MemberState::Left
                            | weft_networkdb::MemberState::Forgotten => {}
                        }
                    }
                    networks = node.db().definitions().count() as u64;
                    counters.extend(node.counters());
                }
                StatusResource {
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                    node: core.identity().map(|identity| identity.node),
                    name: core.settings().name.clone(),
                    cluster: core.identity().map(|identity| identity.cluster),
                    state: state_of(core),
                    advertise: core.settings().advertise,
                    uptime_ms,
                    members,
                    networks,
                    endpoints,
                    counters,
                }
            })
            .await?;
        if let Some(path) = self.overlay.status().await {
            status.counters.extend(
                path.repairs.into_iter().map(|(name, count)| (format!("repaired_{name}"), count)),
            );
            status.counters.extend(
                path.refused.into_iter().map(|(name, count)| (format!("peers_{name}"), count)),
            );
            status.counters.insert("kernel_operations_failed".to_owned(), path.failed_operations);
            let dropped = ("announcements_dropped".to_owned(), path.dropped_announcements);
            let failed = ("announcements_failed".to_owned(), path.failed_announcements);
            status.counters.extend([dropped, failed]);
        }
        Ok(status)
    }

    pub(super) async fn list_ipam(&self) -> Answer<Vec<IpamPool>> {
        let (holdings, names, networks, me) = self
            .node(|node, _| {
                let names: BTreeMap<NodeId, String> =
                    node.db().members().map(|m| (m.id, m.name.clone())).collect();
                let networks: Vec<Definition> = node.db().definitions().cloned().collect();
                (node.ipam().holdings(), names, networks, node.id())
            })
            .await?;
        let mut pools: BTreeMap<Space, IpamPool> = BTreeMap::new();
        for holding in holdings {
            let pool =
                pools.entry(holding.space).or_insert_with(|| empty_pool(&holding.space, &networks));
            add_holding(pool, &holding, &names, me);
        }
        Ok(pools.into_values().collect())
    }
}

fn add_holding(
    pool: &mut IpamPool,
    holding: &Holding,
    names: &BTreeMap<NodeId, String>,
    me: NodeId,
) {
    let count = |number: u128| u64::try_from(number).unwrap_or(u64::MAX);
    if holding.owner == me {
        let local = holding.local;
        pool.used = count(local.map_or(0, |local| local.used));
        pool.free = count(local.map_or(0, |local| local.free));
        pool.resting = count(local.map_or(0, |local| local.resting));
    }
    pool.size = pool.size.saturating_add(count(holding.owned));
    pool.shares.push(IpamShare {
        node: holding.owner,
        name: names.get(&holding.owner).cloned(),
        addresses: count(holding.owned),
    });
}

fn empty_pool(space: &Space, networks: &[Definition]) -> IpamPool {
    let (name, network, pool) = match space {
        Space::Subnet { network, pool } => (GLOBAL_SPACE, Some(*network), pool.to_string()),
        Space::Vni => ("vni", None, "VNIs".to_owned()),
        Space::Blocks(blocks) => {
            (GLOBAL_SPACE, None, format!("{} cut to /{}", blocks.pool, blocks.block_prefix))
        }
    };
    IpamPool {
        space: name.to_owned(),
        network,
        network_name: network.and_then(|id| {
            networks.iter().find(|definition| definition.id == id).map(|d| d.name.clone())
        }),
        pool,
        size: 0,
        used: 0,
        resting: 0,
        free: 0,
        shares: Vec::new(),
    }
}

const fn is_alive(state: weft_networkdb::MemberState) -> bool {
    matches!(state, weft_networkdb::MemberState::Alive | weft_networkdb::MemberState::Suspect)
}

const fn member_state(state: weft_networkdb::MemberState) -> MemberState {
    match state {
        weft_networkdb::MemberState::Alive => MemberState::Alive,
        weft_networkdb::MemberState::Suspect => MemberState::Suspect,
        weft_networkdb::MemberState::Failed => MemberState::Failed,
        weft_networkdb::MemberState::Left => MemberState::Left,
        weft_networkdb::MemberState::Forgotten => MemberState::Forgotten,
    }
}

pub(super) fn state_of(core: &Core) -> ClusterState {
    match (core.node(), core.in_transit()) {
        (None, _) => ClusterState::None,
        (Some(_), (true, _)) => ClusterState::Joining,
        (Some(_), (_, true)) => ClusterState::Leaving,
        (Some(node), _) if node.db().is_ready() => ClusterState::Ready,
        (Some(_), _) => ClusterState::Syncing,
    }
}

fn cluster_resource(core: &Core) -> Option<ClusterResource> {
    let identity = core.identity()?;
    Some(ClusterResource {
        id: identity.cluster,
        node: identity.node,
        name: core.settings().name.clone(),
        advertise: core.settings().advertise,
    })
}

/// Lays what a request says over the configured pools.
fn overlay_pools(configured: &ClusterPools, request: &InitRequest) -> Answer<ClusterPools> {
    let block = |configured: &BlockPool, pool: Option<IpNetwork>, prefix: Option<u8>| BlockPool {
        pool: pool.unwrap_or(configured.pool),
        block_prefix: prefix.unwrap_or(configured.block_prefix),
    };
    let pools = ClusterPools {
        vnis: request.vni_first.unwrap_or(*configured.vnis.start())
            ..=request.vni_last.unwrap_or(*configured.vnis.end()),
        default4: block(&configured.default4, request.default4, request.default4_prefix),
        default6: block(&configured.default6, request.default6, request.default6_prefix),
    };
    let refused = |what: String| {
        Err(ControlError::invalid(what).with_hint("leave the option out for the default"))
    };
    if pools.vnis.is_empty() || *pools.vnis.start() == 0 || *pools.vnis.end() > weft_api::Vni::MAX {
        return refused(format!(
            "VNIs `{}` to `{}` are no range within 1 to 16777215",
            pools.vnis.start(),
            pools.vnis.end()
        ));
    }
    for (blocks, v4, longest) in [(pools.default4, true, 30), (pools.default6, false, 126)] {
        if blocks.pool.is_ipv4() != v4 || blocks.pool.ip() != blocks.pool.network() {
            return refused(format!("default pool `{}` is not usable", blocks.pool));
        }
        if blocks.block_prefix < blocks.pool.prefix() || blocks.block_prefix > longest {
            return refused(format!(
                "default pool `{}` cannot be cut to /{}",
                blocks.pool, blocks.block_prefix
            ));
        }
    }
    Ok(pools)
}

fn membership_error(error: MembershipError) -> ControlError {
    use weft_networkdb::JoinRefusal;
    let text = error.to_string();
    match error {
        MembershipError::Member(_) => ControlError::conflict(text)
            .with_hint("`weft leave` first, to make or join another cluster"),
        MembershipError::NoCluster => super::no_cluster(),
        MembershipError::Busy => {
            ControlError::conflict(text).with_hint("wait for it; `weft status` shows how far it is")
        }
        MembershipError::Refused(refusal) => {
            let (kind, hint) = match refusal {
                JoinRefusal::Unreachable(_) => (
                    ErrorKind::Unavailable,
                    "check the address and port, that the agent there runs and is in the cluster, \
                     and that the token is of that cluster",
                ),
                JoinRefusal::WrongKey => (
                    ErrorKind::Forbidden,
                    "take a new token on a member that others hold alive: `weft token -o FILE`",
                ),
                JoinRefusal::ForeignCluster => {
                    (ErrorKind::Forbidden, "take the token of the cluster that the address is in")
                }
                JoinRefusal::Version { .. } => {
                    (ErrorKind::Forbidden, "run the same version on all nodes")
                }
                JoinRefusal::Full(_) => {
                    (ErrorKind::Unavailable, "nodes that are gone must leave first")
                }
                JoinRefusal::Left(_) | JoinRefusal::Forgotten(_) | JoinRefusal::RolledBack(_) => {
                    (ErrorKind::Forbidden, "join again: the node takes a new id")
                }
            };
            ControlError::new(kind, text).with_hint(hint)
        }
        MembershipError::System(_) => ControlError::internal(text),
    }
}

impl Controller {
    /// Tells whether this node is in a cluster.
    pub(crate) async fn is_member(&self) -> bool {
        self.core(|core, _| core.identity().is_some()).await.unwrap_or(false)
    }
}
