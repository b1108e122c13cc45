//! The node's membership of a cluster: resumed, founded, joined, left, lost.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::Context;
use tokio::sync::oneshot;
use weft_api::{Space, Write};
use weft_ipam::ClusterPools;
use weft_networkdb::{JoinRefusal, Key, KeyRing, MemberState, RolledBackBy};

use super::{Core, News};
use crate::gossip::noise::Secrets;
use crate::identity::{self, Identity};
use crate::node::{Node, NodeConfig, Output};

/// Spaces that end with a membership.
const CLUSTER_SPACES: [Space; 8] = [
    Space::Node,
    Space::Controller,
    Space::Members,
    Space::Facts,
    Space::Logs,
    Space::Claims,
    Space::Ipam,
    Space::Keys,
];

/// Why the node's membership cannot change as asked.
#[derive(Debug, thiserror::Error)]
pub enum MembershipError {
    /// There is one already.
    #[error("this node is in cluster {0} already")]
    Member(weft_api::ClusterId),
    /// There is none.
    #[error("this node is in no cluster")]
    NoCluster,
    /// A join or leave is under way.
    #[error("a join or leave is under way")]
    Busy,
    /// The cluster refused, or nobody answered.
    #[error(transparent)]
    Refused(#[from] JoinRefusal),
    /// The system failed.
    #[error("{0:#}")]
    System(#[from] anyhow::Error),
}

impl Core {
    /// Starts the node of an earlier membership, at its next boot, on disk before any packet.
    pub(super) fn resume(&mut self, now: Instant) -> anyhow::Result<()> {
        let Some(mut identity) = Identity::load(&self.store)? else { return Ok(()) };
        if !identity.joined {
            // The cluster never let this NodeId in: begin again when asked to.
            self.wipe(&CLUSTER_SPACES);
            let writes = std::mem::take(&mut self.writes);
            self.store.commit(&writes)?;
            return Ok(());
        }
        identity.next_boot().context("no randomness")?;
        self.store.commit(&[identity.to_write()])?;
        self.start_node(identity, now)
    }

    fn start_node(&mut self, identity: Identity, now: Instant) -> anyhow::Result<()> {
        let mut restored = Vec::new();
        for space in CLUSTER_SPACES {
            let records = self.store.load(space)?;
            restored.extend(records.into_iter().map(|(key, value)| (space, key, value)));
        }
        let config = NodeConfig {
            cluster: identity.cluster,
            node: identity.node,
            boot: identity.boot,
            name: self.settings.name.clone(),
            advertise: self.settings.advertise,
            keys: if identity.joined {
                KeyRing::new(identity.key_id, Key::from_bytes(identity.key))
            } else {
                KeyRing::of_token(identity.key_id, Key::from_bytes(identity.key))
            },
            seed: identity::random().context("no randomness")?,
            rest: self.settings.rest,
        };
        let node = Node::new(config, restored, now)?;
        let keys = node.db().key_ring().clone();
        self.node = Some(node);
        self.secrets.set(Some(Secrets { cluster: identity.cluster, keys }));
        let Identity { node, cluster, boot, .. } = &identity;
        tracing::info!(%node, %cluster, boot = boot.counter, "node started");
        self.identity = Some(identity);
        Ok(())
    }

    /// Founds a cluster with this node as its only member.
    ///
    /// # Errors
    /// [`MembershipError::Member`] when there is one already.
    pub fn init(&mut self, pools: &ClusterPools, now: Instant) -> Result<(), MembershipError> {
        self.no_membership()?;
        let identity = Identity::found().context("no randomness")?;
        self.writes.push(identity.to_write());
        self.start_node(identity, now)?;
        if let Some(node) = &mut self.node {
            node.found_cluster(pools, now);
        }
        Ok(())
    }

    /// Asks members of a cluster to let this node in; the answer comes when they have.
    pub fn join(
        &mut self,
        (cluster, key_id, key): (weft_api::ClusterId, u8, [u8; 32]),
        seeds: &[SocketAddr],
        answer: oneshot::Sender<Result<(), MembershipError>>,
        now: Instant,
    ) {
        if self.is_cut_off(cluster) {
            return self.rejoin(Key::from_bytes(key), seeds, answer, now);
        }
        let begun = self.no_membership().and_then(|()| {
            let identity = Identity::new(cluster, key_id, key).context("no randomness")?;
            self.writes.push(identity.to_write());
            Ok(self.start_node(identity, now)?)
        });
        match begun {
            Ok(()) => {
                self.joining = Some(answer);
                if let Some(node) = &mut self.node {
                    node.with_db(now, |db| db.join(seeds, now));
                }
            }
            Err(error) => drop(answer.send(Err(error))),
        }
    }

    /// Tells whether this node is a member of a cluster that it reaches nobody of.
    fn is_cut_off(&self, cluster: weft_api::ClusterId) -> bool {
        let joined = self.identity.as_ref().is_some_and(|identity| identity.joined);
        let own = self.identity.as_ref().is_some_and(|identity| identity.cluster == cluster);
        let idle = self.joining.is_none() && self.leaving.is_none();
        joined
            && own
            && idle
            && self.node.as_ref().is_some_and(|node| {
                let others = node.db().members().filter(|member| member.id != node.id());
                let states: Vec<MemberState> = others.map(|member| member.state).collect();
                let alive = |state: &MemberState| {
                    matches!(state, MemberState::Alive | MemberState::Suspect)
                };
                states.contains(&MemberState::Failed) && !states.iter().any(alive)
            })
    }

    /// Gets in touch with the cluster by a key that came after this node was last in it.
    fn rejoin(
        &mut self,
        key: Key,
        seeds: &[SocketAddr],
        answer: oneshot::Sender<Result<(), MembershipError>>,
        now: Instant,
    ) {
        let Some(node) = &mut self.node else { return };
        self.joining = Some(answer);
        node.with_db(now, |db| {
            db.readmit(key, now);
            db.join(seeds, now);
        });
    }

    /// Puts the key that seals from now on into the commit of what made it so.
    pub(super) fn keep_keys(&mut self, effects: &[Output]) {
        let last = effects
            .iter()
            .rev()
            .find_map(|effect| if let Output::Keys(ring) = effect { Some(ring) } else { None });
        if let (Some(ring), Some(identity)) = (last, &mut self.identity) {
            let (id, key) = ring.primary();
            (identity.key_id, identity.key) = (id, *key.as_bytes());
            self.writes.push(identity.to_write());
        }
    }

    pub(super) fn use_keys(&mut self, keys: KeyRing) {
        if let Some(identity) = &self.identity {
            self.secrets.set(Some(Secrets { cluster: identity.cluster, keys }));
        }
    }

    fn no_membership(&self) -> Result<(), MembershipError> {
        match &self.identity {
            Some(_) if self.joining.is_some() || self.leaving.is_some() => {
                Err(MembershipError::Busy)
            }
            Some(identity) => Err(MembershipError::Member(identity.cluster)),
            None => Ok(()),
        }
    }

    /// Hands everything over and leaves; the answer comes when the members know.
    pub fn leave(&mut self, answer: oneshot::Sender<Result<(), MembershipError>>, now: Instant) {
        if self.joining.is_some() || self.leaving.is_some() {
            drop(answer.send(Err(MembershipError::Busy)));
        } else if let Some(node) = &mut self.node {
            self.leaving = Some(answer);
            node.leave(now);
        } else {
            drop(answer.send(Err(MembershipError::NoCluster)));
        }
    }

    /// Puts the joined mark into the same commit as the facts that came with it.
    pub(super) fn mark_joined(&mut self, effects: &[Output]) {
        if effects.contains(&Output::Joined)
            && let Some(identity) = &mut self.identity
        {
            identity.joined = true;
            self.writes.push(identity.to_write());
        }
    }

    pub(super) fn answer_join(&mut self) {
        tracing::info!("joined the cluster");
        self.other_seeds.clear();
        if let Some(answer) = self.joining.take() {
            drop(answer.send(Ok(())));
        }
    }

    pub(super) fn join_failed(&mut self, refusal: JoinRefusal) {
        tracing::warn!(%refusal, "join failed");
        let others = std::mem::take(&mut self.other_seeds);
        if let Some(node) = self.node.as_mut().filter(|_| !others.is_empty()) {
            let now = Instant::now();
            return node.with_db(now, |db| db.join(&others, now));
        }
        // Not asked for, as after a rollback: networkdb goes on trying.
        if let Some(answer) = self.joining.take() {
            let goes_on = self.identity.as_ref().is_some_and(|identity| identity.joined)
                && !matches!(refusal, JoinRefusal::Left(_) | JoinRefusal::Forgotten(_));
            match &mut self.node {
                Some(node) if goes_on => {
                    let now = Instant::now();
                    node.with_db(now, |db| db.end_join(now));
                }
                Some(_) | None => self.end_membership(),
            }
            self.deferred.push(Box::new(move || drop(answer.send(Err(refusal.into())))));
        }
    }

    pub(super) fn handed_over(&mut self, unacknowledged: &[weft_api::NodeId]) {
        if !unacknowledged.is_empty() {
            tracing::warn!(?unacknowledged, "ranges handed over without every acknowledgement");
        }
        let now = Instant::now();
        if let Some(node) = &mut self.node {
            node.with_db(now, |db| db.leave(now));
        }
    }

    pub(super) fn left(&mut self) {
        tracing::info!("left the cluster");
        self.end_membership();
        if let Some(answer) = self.leaving.take() {
            self.deferred.push(Box::new(move || drop(answer.send(Ok(())))));
        }
    }

    /// This NodeId was seen with another life, or was forgotten: it may not write, allocate or
    /// donate any more.
    pub(super) fn rolled_back(&mut self, reason: RolledBackBy) {
        let Some(identity) = self.identity.clone() else { return };
        let others = self.live_members();
        // One that is forgotten may know others that are, and have not heard of it either.
        let told_by = self.node.as_ref().and_then(|node| node.db().told_by());
        let seeds = told_by.map_or_else(|| others.clone(), |seed| vec![seed]);
        self.end_membership();
        self.other_seeds = others;
        let removals = std::mem::take(&mut self.writes);
        if let Err(error) = self.store.commit(&removals) {
            // The next start finds the old identity, and the cluster tells it the same again.
            tracing::error!(%error, "records of the rolled-back node were not removed");
            return;
        }
        let renewed = Identity::new(identity.cluster, identity.key_id, identity.key)
            .context("no randomness")
            .and_then(|renewed| {
                self.writes.push(renewed.to_write());
                let id = renewed.node;
                self.start_node(renewed, Instant::now()).map(|()| id)
            });
        let text = match renewed {
            Ok(id) => format!(
                "{}: this agent joins again as node {id}, without the endpoints it had",
                what_became_of(identity.node, reason)
            ),
            Err(error) => format!(
                "{}; this agent takes no part any more: {error:#}",
                what_became_of(identity.node, reason)
            ),
        };
        tracing::error!("{text}");
        self.alarms.insert(text, 1);
        let now = Instant::now();
        if let Some(node) = &mut self.node {
            node.with_db(now, |db| db.join(&seeds, now));
        }
    }

    fn live_members(&self) -> Vec<SocketAddr> {
        let Some(node) = &self.node else { return Vec::new() };
        node.db()
            .members()
            .filter(|member| member.id != node.id())
            .filter(|member| {
                matches!(
                    member.state,
                    MemberState::Alive | MemberState::Suspect | MemberState::Failed
                )
            })
            .map(|member| member.addr)
            .collect()
    }

    fn end_membership(&mut self) {
        self.node = None;
        self.identity = None;
        self.secrets.set(None);
        self.streams.begin_life();
        self.tickets.clear();
        self.claims.clear();
        self.watches.clear();
        self.other_seeds.clear();
        self.writes.clear();
        self.wipe(&CLUSTER_SPACES);
        self.news.push(News::Ended);
    }

    /// Returns who this node is, while it is in a cluster.
    pub const fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// Tells whether a join or a leave is under way.
    pub const fn in_transit(&self) -> (bool, bool) {
        (self.joining.is_some(), self.leaving.is_some())
    }

    /// Adds durable writes of the controller to this call's commit.
    pub fn persist(&mut self, writes: impl IntoIterator<Item = Write>) {
        self.writes.extend(writes);
    }
}

/// Why a NodeId is not used any more, for people.
fn what_became_of(node: weft_api::NodeId, reason: RolledBackBy) -> String {
    match reason {
        RolledBackBy::Boot(_) | RolledBackBy::Record => format!(
            "node {node} was rolled back or cloned ({reason:?}); the old id stays among the members as \
             failed until `weft forget`"
        ),
        RolledBackBy::Forgotten => {
            format!("node {node} was forgotten by the other members, who may use its addresses now")
        }
    }
}
