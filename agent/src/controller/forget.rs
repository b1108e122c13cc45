//! Members that are forgotten: which ones are meant, and in which words it fails.

use std::collections::BTreeSet;

use weft_api::NodeId;
use weft_api::control::{ControlError, ForgetRequest, MemberResource, MemberState};
use weft_networkdb::{ClaimError, Outcome, Reach};

use super::Controller;
use crate::control::{Answer, ErrorKind, resolve};
use crate::core::calls::Decision;
use crate::node::Node;

const FORCE: &str = "or `weft forget --force`, when it is certain that all who are named are \
     stopped for good; addresses that an absent member has of them may then be given out twice";

impl Controller {
    /// Forgets members and lists them; those who left or were forgotten before are no error.
    pub(super) async fn forget_members(
        &self,
        request: ForgetRequest,
    ) -> Answer<Vec<MemberResource>> {
        let members = self.list_members().await?;
        let victims = named(&request.nodes, &members)?;
        if !self.node(|node, _| node.ipam().knows_owners()).await? {
            return Err(ControlError::unavailable("this node has not heard yet who owns what")
                .with_hint("try again when `weft status` shows `ready`, or on another member"));
        }
        let reach = if request.force { Reach::Present } else { Reach::Everyone };
        let named: Vec<NodeId> = victims.iter().copied().collect();
        let forget = move |node: &mut Node, now| node.forget(named, reach, now);
        let Decision { outcome, .. } = self
            .core
            .call_later(move |core, answer, now| core.claim(forget, answer, now))
            .await
            .map_err(super::stopped)?;
        match outcome {
            Outcome::Forgotten(nodes) => tracing::warn!(?nodes, "members forgotten"),
            Outcome::Refused(ClaimError::AlreadyGone { .. }) => {}
            Outcome::Refused(error) => return Err(refused(&error, &members)),
            Outcome::Defined(_)
            | Outcome::Joined(_)
            | Outcome::Deleted(_)
            | Outcome::Rotated(_) => {
                return Err(ControlError::internal("the claim of a forget ended as another one"));
            }
        }
        let members = self.list_members().await?;
        Ok(members.into_iter().filter(|member| victims.contains(&member.id)).collect())
    }
}

/// Finds who is meant. One that is gone already is meant by its id or where no other has the name.
fn named(wanted: &[String], members: &[MemberResource]) -> Answer<BTreeSet<NodeId>> {
    if wanted.is_empty() {
        return Err(ControlError::invalid("no member is named").with_hint("name at least one"));
    }
    let gone = |member: &&MemberResource| {
        matches!(member.state, MemberState::Left | MemberState::Forgotten)
    };
    let describe = |member: &&MemberResource| (member.id.to_string(), member.name.clone());
    let find = |text: &String| {
        let present = members.iter().filter(|member| !gone(member));
        let found = match resolve("member", text, present, describe) {
            Err(error) if error.kind == ErrorKind::NotFound => {
                resolve("member", text, members, describe)
            }
            found => found,
        };
        let member = found.map_err(|error| {
            error.with_hint("`weft members` lists the members this node knows, with their ids")
        })?;
        if member.this {
            return Err(ControlError::invalid(format!("`{text}` is the node that is asked"))
                .with_hint("`weft leave` takes this node out of the cluster"));
        }
        Ok(member.id)
    };
    wanted.iter().map(find).collect()
}

fn refused(error: &ClaimError, members: &[MemberResource]) -> ControlError {
    let of = |nodes: &[NodeId]| {
        let name = |node: &NodeId| {
            let member = members.iter().find(|member| member.id == *node);
            member.map_or_else(|| node.short(), |member| member.name.clone())
        };
        nodes.iter().map(|node| format!("`{}`", name(node))).collect::<Vec<_>>().join(", ")
    };
    match error {
        ClaimError::Answers { nodes } => {
            ControlError::conflict(format!("member {} still answers", of(nodes))).with_hint(
                "run `weft leave` there, or stop it; it is taken for failed some seconds later",
            )
        }
        ClaimError::Unanswered { members } => ControlError::new(
            ErrorKind::Unavailable,
            format!("nothing is forgotten: no answer from {}, who must agree too", of(members)),
        )
        .with_hint(format!("start it and try again; name it too, if it is gone; {FORCE}")),
        ClaimError::Half { named, members } => ControlError::forbidden(format!(
            "{named} of {members} members are named; the others could forget this half likewise"
        ))
        .with_hint(format!("start some of them and try again, {FORCE}")),
        ClaimError::Contended { node, .. } => ControlError::conflict(format!(
            "{} is about to forget one of these members too",
            of(&[*node])
        ))
        .with_hint("try again in a few seconds"),
        ClaimError::NoSuchMember(_) => ControlError::not_found(error.to_string())
            .with_hint("`weft members` lists the members this node knows"),
        ClaimError::Named { .. } => ControlError::invalid(error.to_string()),
        ClaimError::NameTaken { .. }
        | ClaimError::PoolOverlap { .. }
        | ClaimError::VniTaken { .. }
        | ClaimError::NoSuchNetwork(_)
        | ClaimError::InUse { .. }
        | ClaimError::IdUsed(_)
        | ClaimError::Invalid { .. }
        | ClaimError::AlreadyGone { .. }
        | ClaimError::Rotated
        | ClaimError::Rotating
        | ClaimError::Full
        | ClaimError::Leaving => {
            ControlError::conflict(error.to_string()).with_hint("try again in a few seconds")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(n: u8, name: &str, state: MemberState) -> MemberResource {
        MemberResource {
            id: NodeId::from_bytes([n; 16]),
            name: name.to_owned(),
            address: ([192, 0, 2, n], 7950).into(),
            state,
            boot: 1,
            this: n == 1,
        }
    }

    fn members() -> Vec<MemberResource> {
        vec![
            member(1, "a", MemberState::Alive),
            member(2, "b", MemberState::Forgotten),
            member(3, "b", MemberState::Failed),
            member(4, "c", MemberState::Left),
        ]
    }

    #[test]
    fn a_name_means_the_member_that_is_not_gone_and_an_id_any() {
        let ids = |wanted: &[&str]| {
            let wanted: Vec<String> = wanted.iter().map(|text| (*text).to_owned()).collect();
            let found = named(&wanted, &members()).map_err(|error| error.kind)?;
            Ok(found.into_iter().map(|id| id.as_bytes()[0]).collect::<Vec<_>>())
        };
        assert_eq!(ids(&["b"]), Ok(vec![3]));
        assert_eq!(ids(&["0202", "c"]), Ok(vec![2, 4]));
        assert_eq!(ids(&["0303", "b"]), Ok(vec![3]));
        assert_eq!(ids(&["x"]), Err(ErrorKind::NotFound));
        assert_eq!(ids(&["a"]), Err(ErrorKind::InvalidParameter));
        assert_eq!(ids(&[]), Err(ErrorKind::InvalidParameter));
    }

    #[test]
    fn who_is_waited_for_is_named_and_force_is_hinted() {
        let away = vec![NodeId::from_bytes([3; 16])];
        let error = refused(&ClaimError::Unanswered { members: away }, &members());
        assert!(error.error.contains("no answer from `b`"), "{error:?}");
        let hint = |error: ControlError| error.hint.unwrap();
        assert!(hint(error).contains("--force"));
        let half = ClaimError::Half { named: 1, members: 2 };
        assert!(hint(refused(&half, &members())).contains("--force"));
    }
}
