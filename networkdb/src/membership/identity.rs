//! A member as the membership protocol names it.

use std::net::SocketAddr;

use serde::{Deserialize, Deserializer, Serialize, de};
use weft_api::{Boot, NodeId};

/// Bytes of a member's name, at most.
pub(crate) const NAME_MAX: usize = 128;

/// A node in one of its boots. `renewal` grows within a boot each time the node finds itself
/// declared down, because the protocol cannot take a Down back from the same identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) node: NodeId,
    pub(crate) boot: Boot,
    pub(crate) renewal: u32,
    pub(crate) addr: SocketAddr,
    #[serde(deserialize_with = "bounded_name")]
    pub(crate) name: String,
}

/// Tells whether a boot that was heard of a NodeId shows that the disk which knows `own` as its
/// newest was rolled back or cloned.
pub(crate) fn contradicts(heard: Boot, own: Boot) -> bool {
    heard.counter > own.counter || (heard.counter == own.counter && heard.nonce != own.nonce)
}

fn bounded_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    if name.len() > NAME_MAX {
        return Err(de::Error::custom("name too long"));
    }
    Ok(name)
}

impl foca::Identity for Identity {
    /// Liveness is per NodeId, wherever the node runs.
    type Addr = NodeId;

    fn renew(&self) -> Option<Self> {
        Some(Self { renewal: self.renewal.checked_add(1)?, ..self.clone() })
    }

    fn addr(&self) -> NodeId {
        self.node
    }

    /// A total order, so that all members prefer the same one of two: the newer boot, then the
    /// newer renewal. A Down of an older boot therefore never counts against a newer one.
    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        let rank = |id: &Self| (id.boot, id.renewal, id.addr, id.name.clone());
        rank(self) > rank(adversary)
    }
}

/// How a member stands in the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Standing {
    Alive,
    Suspect,
    Down,
}

impl Standing {
    pub(crate) fn of(member: &foca::Member<Identity>) -> Self {
        match member.state() {
            foca::State::Alive => Self::Alive,
            foca::State::Suspect => Self::Suspect,
            foca::State::Down => Self::Down,
        }
    }
}

/// What one member knows of another: a line of the member list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) identity: Identity,
    pub(crate) incarnation: u16,
    pub(crate) standing: Standing,
}

impl Record {
    /// Which suspicion of its member this would be: a refutation raises one or the other.
    pub(crate) fn suspicion(&self) -> (u32, u16) {
        (self.identity.renewal, self.incarnation)
    }
}

impl From<&foca::Member<Identity>> for Record {
    fn from(member: &foca::Member<Identity>) -> Self {
        let (identity, incarnation) = (member.id().clone(), member.incarnation());
        Self { identity, incarnation, standing: Standing::of(member) }
    }
}

impl From<Record> for foca::Member<Identity> {
    fn from(record: Record) -> Self {
        let state = match record.standing {
            Standing::Alive => foca::State::Alive,
            Standing::Suspect => foca::State::Suspect,
            Standing::Down => foca::State::Down,
        };
        Self::new(record.identity, record.incarnation, state)
    }
}
