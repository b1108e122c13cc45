//! The table of members: what foca knows now, what the disk knew, and who is gone for good.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use weft_api::{Boot, NodeId, Space, Write};

use crate::membership::gone::Gone;
use crate::membership::identity::{Identity, Record, Standing};
use crate::output::{Member, MemberState, RestoreError};
use crate::wire::codec;

/// A change of one member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// Alive, for the first time, again, or in another boot.
    Up(NodeId, Boot),
    Failed(NodeId),
    Gone(NodeId, Gone),
    /// Another name or address.
    Renamed(NodeId),
    /// This node itself: to be persisted, of no other interest.
    Own(NodeId),
}

impl Change {
    pub(crate) fn node(&self) -> NodeId {
        match self {
            Self::Up(node, _)
            | Self::Failed(node)
            | Self::Gone(node, _)
            | Self::Renamed(node)
            | Self::Own(node) => *node,
        }
    }
}

/// What the disk holds of a member; the key is its NodeId.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    boot: Boot,
    name: String,
    addr: SocketAddr,
    gone: Option<Gone>,
}

/// All members known, this node included.
#[derive(Debug)]
pub(crate) struct Roster {
    members: BTreeMap<NodeId, Member>,
    /// Restored and not heard of since the start: claims and readiness count them as live.
    unheard: BTreeMap<NodeId, ()>,
    /// Who is said to be forgotten, and where it was, before the fact has come.
    former: BTreeMap<NodeId, Identity>,
}

impl Roster {
    pub(crate) fn new(own: &Identity, mut restored: BTreeMap<NodeId, Member>) -> Self {
        restored.remove(&own.node);
        let unheard = restored
            .values()
            .filter(|member| member.state == MemberState::Failed)
            .map(|member| (member.id, ()))
            .collect();
        let mut roster = Self { members: restored, unheard, former: BTreeMap::new() };
        roster.set_own(own);
        roster
    }

    /// Reads what an earlier start persisted. Nobody is alive before it was heard.
    pub(crate) fn restore(
        records: &[(Space, Vec<u8>, Vec<u8>)],
    ) -> Result<BTreeMap<NodeId, Member>, RestoreError> {
        let damaged = RestoreError::Undecodable { what: "member" };
        let mut members = BTreeMap::new();
        for (space, key, value) in records {
            if *space != Space::Members {
                continue;
            }
            let id: [u8; 16] = key.as_slice().try_into().map_err(|_| damaged.clone())?;
            let id = NodeId::from_bytes(id);
            let stored: Stored = codec::decode(value).map_err(|_| damaged.clone())?;
            let state = stored.gone.map_or(MemberState::Failed, MemberState::from);
            let Stored { boot, name, addr, .. } = stored;
            members.insert(id, Member { id, boot, name, addr, state });
        }
        Ok(members)
    }

    /// The durable form of a member.
    pub(crate) fn write(&self, node: NodeId) -> Option<Write> {
        let member = self.members.get(&node)?;
        let gone = Gone::of(member.state);
        let Member { boot, name, addr, .. } = member.clone();
        let value = codec::encode(&Stored { boot, name, addr, gone }).ok()?;
        Some(Write { space: Space::Members, key: node.as_bytes().to_vec(), value: Some(value) })
    }

    pub(crate) fn get(&self, node: NodeId) -> Option<&Member> {
        self.members.get(&node)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// Tells whether the NodeId left or was forgotten.
    pub(crate) fn is_gone(&self, node: NodeId) -> bool {
        self.members.get(&node).is_some_and(|member| Gone::of(member.state).is_some())
    }

    /// Tells whether a member is known from disk only.
    pub(crate) fn is_unheard(&self, node: NodeId) -> bool {
        self.unheard.contains_key(&node)
    }

    /// Members known from disk only.
    pub(crate) fn unheard(&self) -> impl Iterator<Item = NodeId> {
        self.unheard.keys().copied()
    }

    /// A member from disk was tried and did not answer: it has failed, as far as we can tell.
    pub(crate) fn set_unreachable(&mut self, node: NodeId) -> Option<Change> {
        self.unheard.remove(&node).map(|()| Change::Failed(node))
    }

    /// Puts this node's present identity in.
    pub(crate) fn set_own(&mut self, own: &Identity) -> Vec<Change> {
        let member = Member {
            id: own.node,
            boot: own.boot,
            name: own.name.clone(),
            addr: own.addr,
            state: MemberState::Alive,
        };
        match self.members.insert(own.node, member.clone()) {
            Some(old) if old == member => Vec::new(),
            Some(_) | None => vec![Change::Own(own.node)],
        }
    }

    /// Tells whether a member is held just as foca knows it.
    pub(crate) fn agrees(&self, member: &foca::Member<Identity>) -> bool {
        let id = member.id();
        let state = match member.state() {
            foca::State::Alive => MemberState::Alive,
            foca::State::Suspect => MemberState::Suspect,
            foca::State::Down => MemberState::Failed,
        };
        let agrees = |own: &Member| {
            (own.boot, own.addr, own.state) == (id.boot, id.addr, state) && own.name == id.name
        };
        self.members.get(&id.node).is_some_and(agrees) && !self.unheard.contains_key(&id.node)
    }

    /// Brings one member in line with what foca knows, and says what that changed.
    pub(crate) fn set(&mut self, record: &Record) -> Vec<Change> {
        let Identity { node, boot, addr, name, .. } = record.identity.clone();
        let state = match record.standing {
            Standing::Alive => MemberState::Alive,
            Standing::Suspect => MemberState::Suspect,
            Standing::Down => MemberState::Failed,
        };
        let old = self.members.get(&node);
        if old.is_some_and(|old| Gone::of(old.state).is_some() || boot < old.boot) {
            return Vec::new();
        }
        let new = Member { id: node, boot, name, addr, state };
        if old == Some(&new) && !self.unheard.contains_key(&node) {
            return Vec::new();
        }
        let heard = self.unheard.remove(&node).is_some();
        let old = self.members.insert(node, new.clone());
        let live = |state| matches!(state, MemberState::Alive | MemberState::Suspect);
        let was_live = old.as_ref().is_some_and(|old| live(old.state));
        let mut changes = Vec::new();
        if old.as_ref().is_some_and(|old| (&old.name, old.addr) != (&new.name, new.addr)) {
            changes.push(Change::Renamed(node));
        }
        let reborn = old.as_ref().is_some_and(|old| old.boot != boot);
        if live(state) && (!was_live || reborn) {
            changes.push(Change::Up(node, boot));
        } else if !live(state) && (was_live || old.is_none() || heard) {
            changes.push(Change::Failed(node));
        }
        changes
    }

    /// Takes note of a member that somebody else knows and does not hear.
    pub(crate) fn adopt(&mut self, silent: Identity) -> Option<Change> {
        let Identity { node: id, boot, addr, name, .. } = silent;
        if self.members.contains_key(&id) {
            return None;
        }
        self.members.insert(id, Member { id, boot, name, addr, state: MemberState::Failed });
        Some(Change::Failed(id))
    }

    /// The member is gone for good; one never heard of is taken note of, so that it stays out.
    pub(crate) fn set_gone(&mut self, node: NodeId, gone: Gone) -> Vec<Change> {
        self.unheard.remove(&node);
        let state = MemberState::from(gone);
        let former = self.former.remove(&node);
        let (boot, name, addr) = former.map_or_else(
            || (Boot::default(), String::new(), SocketAddr::from(([0, 0, 0, 0], 0))),
            |Identity { boot, name, addr, .. }| (boot, name, addr),
        );
        let unknown = Member { id: node, boot, name, addr, state: MemberState::Failed };
        let member = self.members.entry(node).or_insert(unknown);
        if member.state == state {
            return Vec::new();
        }
        member.state = state;
        vec![Change::Gone(node, gone)]
    }

    /// Takes note of where a forgotten member was; of one that is not known to be forgotten, until
    /// it is.
    pub(crate) fn note_former(&mut self, identity: Identity, most: usize) -> Vec<Change> {
        let node = identity.node;
        let Some(member) = self.members.get_mut(&node) else {
            if self.former.len() < most {
                self.former.insert(node, identity);
            }
            return Vec::new();
        };
        if member.state != MemberState::Forgotten || !member.addr.ip().is_unspecified() {
            return Vec::new();
        }
        (member.boot, member.name, member.addr) = (identity.boot, identity.name, identity.addr);
        vec![Change::Renamed(node)]
    }
}
