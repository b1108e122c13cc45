//! The cluster's key: listed, rotated and retired, in the words of operators.

use std::collections::BTreeMap;

use weft_api::NodeId;
use weft_api::control::{ControlError, KeyQuery, KeyResource, KeyRole, RotateRequest};
use weft_networkdb::{ClaimError, Key, KeyStatus, Outcome, Reach, RetireError};

use super::Controller;
use crate::control::{Answer, ErrorKind, resolve};
use crate::core::calls::Decision;
use crate::node::Node;

type Names = BTreeMap<NodeId, String>;

impl Controller {
    pub(super) async fn list_keys(&self) -> Answer<Vec<KeyResource>> {
        let names = self.node_names().await;
        let keys = self.node(|node, _| node.db().keys()).await?;
        Ok(keys.into_iter().map(|key| resource(key, &names)).collect())
    }

    pub(super) async fn rotate_key(&self, request: RotateRequest) -> Answer<Vec<KeyResource>> {
        // Asked first, because an answer that is dropped says the same of a stopped agent.
        self.list_keys().await?;
        let key =
            crate::identity::random().map_err(|error| ControlError::internal(error.to_string()))?;
        let reach = reach(request.force);
        let rotate = move |node: &mut Node, now| {
            node.with_db(now, |db| db.rotate_key(Key::from_bytes(key), reach, now))
        };
        let Decision { outcome, .. } = self
            .core
            .call_later(move |core, answer, now| core.claim(rotate, answer, now))
            .await
            .map_err(super::stopped)?;
        match outcome {
            Outcome::Rotated(key) => tracing::warn!(%key, "the cluster's key was rotated"),
            Outcome::Refused(error) => return Err(refused(&error, &self.node_names().await)),
            Outcome::Defined(_)
            | Outcome::Joined(_)
            | Outcome::Deleted(_)
            | Outcome::Forgotten(_) => {
                return Err(ControlError::internal("the claim of a rotation ended as another one"));
            }
        }
        self.list_keys().await
    }

    pub(super) async fn retire_key(&self, wanted: String, query: KeyQuery) -> Answer<()> {
        let keys = self.node(|node, _| node.db().keys()).await?;
        let describe = |key: &KeyStatus| (key.id.to_string(), key.id.to_string());
        let key = resolve("key", &wanted, keys, describe)?.id;
        let reach = reach(query.force);
        let retired = self
            .core(move |core, now| {
                let node = core.node_mut()?;
                Some(node.with_db(now, |db| db.retire_key(key, reach, now)))
            })
            .await?
            .ok_or_else(super::no_cluster)?;
        match retired {
            Ok(()) => {
                tracing::warn!(%key, "key retired");
                Ok(())
            }
            Err(error) => Err(not_retired(&error, &self.node_names().await)),
        }
    }
}

const fn reach(force: bool) -> Reach {
    if force { Reach::Present } else { Reach::Everyone }
}

fn resource(key: KeyStatus, names: &Names) -> KeyResource {
    KeyResource {
        id: key.id.to_string(),
        role: match key.role {
            weft_networkdb::KeyRole::Primary => KeyRole::Primary,
            weft_networkdb::KeyRole::Accepted => KeyRole::Accepted,
            weft_networkdb::KeyRole::Pending => KeyRole::Pending,
        },
        rotation: key.rotation,
        claimant: key.claimant.map(|node| name(node, names)),
        missing: key.missing.into_iter().map(|node| name(node, names)).collect(),
    }
}

fn name(node: NodeId, names: &Names) -> String {
    names.get(&node).cloned().unwrap_or_else(|| node.short())
}

fn of(nodes: &[NodeId], names: &Names) -> String {
    nodes.iter().map(|node| format!("`{}`", name(*node, names))).collect::<Vec<_>>().join(", ")
}

fn refused(error: &ClaimError, names: &Names) -> ControlError {
    match error {
        ClaimError::Unanswered { members } => ControlError::new(
            ErrorKind::Unavailable,
            format!("the key is not rotated: no answer from {}", of(members, names)),
        )
        .with_hint(
            "start it and try again; `weft forget` it, if it is gone for good; or `weft key rotate \
             --force`: a member that is away for more than one rotation, or while the old key is \
             removed, has to join again by a new token then",
        ),
        ClaimError::Contended { node, .. } => {
            ControlError::conflict(format!("{} is rotating the key, too", of(&[*node], names)))
                .with_hint(
                    "`weft key ls` shows its rotation; if that node is away it ends when the node \
                     is back or forgotten",
                )
        }
        ClaimError::Rotated => ControlError::conflict(
            "the key was rotated by another node in the same moment, not by this command",
        )
        .with_hint("`weft key ls` shows the new key; rotate again if that does not serve"),
        ClaimError::Rotating => ControlError::conflict(error.to_string())
            .with_hint("wait for it; `weft key ls` shows who is waited for"),
        ClaimError::NameTaken { .. }
        | ClaimError::PoolOverlap { .. }
        | ClaimError::VniTaken { .. }
        | ClaimError::NoSuchNetwork(_)
        | ClaimError::InUse { .. }
        | ClaimError::IdUsed(_)
        | ClaimError::Invalid { .. }
        | ClaimError::Answers { .. }
        | ClaimError::Half { .. }
        | ClaimError::NoSuchMember(_)
        | ClaimError::AlreadyGone { .. }
        | ClaimError::Named { .. }
        | ClaimError::Full
        | ClaimError::Leaving => {
            ControlError::unavailable(error.to_string()).with_hint("try again in a few seconds")
        }
    }
}

fn not_retired(error: &RetireError, names: &Names) -> ControlError {
    match error {
        RetireError::Unknown(_) => ControlError::not_found(error.to_string())
            .with_hint("`weft key ls` lists the keys this node knows"),
        RetireError::Primary(key) => {
            ControlError::forbidden(format!("key `{key}` is what the members speak with"))
                .with_hint("`weft key rotate` first; then it can be removed")
        }
        RetireError::Pending(key) => {
            ControlError::conflict(format!("key `{key}` is on its way to the members"))
                .with_hint("its rotation ends by itself; `weft key ls` shows who asked for it")
        }
        RetireError::Unconfirmed(nodes) => ControlError::forbidden(format!(
            "{} would be cut off: not known to have a newer key",
            of(nodes, names)
        ))
        .with_hint(
            "start it and wait until `weft key ls` waits for nobody; `weft forget` it, if it is \
             gone for good; or `weft key rm --force`: it has to join again by a new token then",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        BTreeMap::from([(NodeId::from_bytes([3; 16]), "b".to_owned())])
    }

    #[test]
    fn who_is_waited_for_is_named_and_what_to_do_is_hinted() {
        let away = vec![NodeId::from_bytes([3; 16])];
        let error = refused(&ClaimError::Unanswered { members: away.clone() }, &names());
        assert!(error.error.contains("no answer from `b`"), "{error:?}");
        assert!(error.hint.unwrap().contains("--force"));
        let error = not_retired(&RetireError::Unconfirmed(away), &names());
        assert!(error.error.contains("`b` would be cut off"), "{error:?}");
        assert!(error.hint.unwrap().contains("--force"));
    }

    #[test]
    fn a_resource_holds_no_more_of_a_key_than_its_fingerprint() {
        let key = Key::from_bytes([0xab; 32]);
        let status = KeyStatus {
            id: key.fingerprint(),
            role: weft_networkdb::KeyRole::Pending,
            rotation: 2,
            claimant: Some(NodeId::from_bytes([3; 16])),
            missing: vec![NodeId::from_bytes([4; 16])],
        };
        let shown = resource(status, &names());
        assert_eq!(shown.id, key.fingerprint().to_string());
        assert_eq!(shown.claimant.as_deref(), Some("b"));
        assert_eq!(shown.missing, [NodeId::from_bytes([4; 16]).short()]);
    }
}
