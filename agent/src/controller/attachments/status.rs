//! Whether a container could be attached now, from memory alone: runtimes ask every few seconds.

use weft_api::Definition;
use weft_api::control::{AttachmentStatus, ClusterState};
use weft_ipam::{Holding, Space};
use weft_networkdb::MemberState;

use crate::control::Answer;
use crate::controller::Controller;
use crate::controller::cluster::state_of;
use crate::core::Core;

impl Controller {
    pub(in crate::controller) async fn attachment_status(
        &self,
        network: Option<String>,
    ) -> Answer<AttachmentStatus> {
        if self.leaving.is_under_way() {
            return Ok(unready("this node is leaving its cluster"));
        }
        self.core(move |core, _| match state_of(core) {
            ClusterState::None => unready("this node is in no cluster"),
            ClusterState::Joining => unready("this node is joining its cluster"),
            ClusterState::Leaving => unready("this node is leaving its cluster"),
            ClusterState::Syncing => {
                let limited_connectivity = is_alone(core);
                let syncing = unready("this node does not know yet what its cluster has");
                AttachmentStatus { limited_connectivity, ..syncing }
            }
            ClusterState::Ready => of_network(core, network.as_deref()),
        })
        .await
    }
}

fn unready(reason: impl Into<String>) -> AttachmentStatus {
    AttachmentStatus { ready: false, limited_connectivity: false, reason: reason.into() }
}

/// Tells whether there are other members and none of them answers: this node is cut off.
fn is_alone(core: &Core) -> bool {
    let Some(node) = core.node() else { return false };
    let others = node.db().members().filter(|member| member.id != node.id());
    let (mut away, mut near) = (0, 0);
    for member in others {
        match member.state {
            MemberState::Alive | MemberState::Suspect => near += 1,
            MemberState::Failed => away += 1,
            MemberState::Left | MemberState::Forgotten => {}
        }
    }
    away > 0 && near == 0
}

/// A network that is not there yet is made by the first container that asks for it.
fn of_network(core: &Core, network: Option<&str>) -> AttachmentStatus {
    let ready =
        AttachmentStatus { ready: true, limited_connectivity: false, reason: String::new() };
    let Some(node) = core.node() else { return unready("this node is in no cluster") };
    let named = network.and_then(|network| node.db().definition_by_name(network));
    let Some(definition) = named else { return ready };
    let name = &definition.name;
    if node.db().is_frozen(definition.id) {
        return unready(format!("network `{name}` is frozen: another has its name or pool"));
    }
    if is_full(definition, &node.ipam().holdings()) {
        return unready(format!("network `{name}` has no address left"));
    }
    ready
}

/// Tells whether no subnet of a family has a free address anywhere: this node owns all of it and
/// has none. What others own they may have free.
pub(super) fn is_full(definition: &Definition, holdings: &[Holding]) -> bool {
    let is_exhausted = |pool| {
        let space = Space::Subnet { network: definition.id, pool };
        let mut owned = holdings.iter().filter(|holding| holding.space == space);
        match (owned.next(), owned.next()) {
            (Some(sole), None) => sole.local.is_some_and(|local| local.free == 0),
            (Some(_), Some(_)) | (None, _) => false,
        }
    };
    let families = [true, false].map(|v4| {
        definition.subnets.iter().map(|subnet| subnet.pool).filter(move |pool| pool.is_ipv4() == v4)
    });
    families.into_iter().any(|pools| {
        let mut pools = pools.peekable();
        pools.peek().is_some() && pools.all(is_exhausted)
    })
}
