//! What changes of logs mean to drivers and watches.

use weft_api::{NetworkId, NodeId};

use super::output::Output;
use super::{ATTACHMENTS, Sync};
use crate::table::record::EntryKey;
use crate::table::shelf::{Counted, Effect};
use crate::table::{Cause, Change, TableEvent};

impl Sync {
    /// Puts out the events of some effects, in their order.
    pub(crate) fn tell(&mut self, network: NetworkId, effects: &[Effect]) {
        if network == ATTACHMENTS {
            return;
        }
        for effect in effects {
            let Effect { at, before, after, .. } = effect;
            let cause = effect.cause();
            if let Some(event) = event(network, at, before.as_ref(), after.as_ref(), cause) {
                self.outputs.push_back(Output::Table(event));
            }
            let shown = |counted: &Option<Counted>| {
                counted.clone().filter(|counted| !self.peers.is_hidden(counted.owner))
            };
            let (seen, sees) = (shown(before), shown(after));
            let cause = match (&seen, &sees, after) {
                (Some(_), None, Some(_)) => Cause::Hidden,
                _ => cause,
            };
            if let Some(event) = event(network, at, seen.as_ref(), sees.as_ref(), cause) {
                self.tell_watches(event);
            }
        }
    }

    /// A failed owner's keys are hidden. Rule 5: no lower one replaces them.
    pub(crate) fn hide(&mut self, owner: NodeId) {
        if let Some(peer) = self.peers.get_mut(owner) {
            peer.hidden = true;
        }
        self.peers.hide_never(owner);
        self.tell_all(owner, Cause::Hidden);
    }

    /// A failed owner is back. Rule 6: so are its keys, at once.
    pub(crate) fn unhide(&mut self, owner: NodeId) {
        self.peers.hide_never(owner);
        let peer = self.peers.get_mut(owner);
        let was_hidden = peer.is_some_and(|peer| std::mem::replace(&mut peer.hidden, false));
        if was_hidden {
            self.tell_all(owner, Cause::Returned);
        }
    }

    fn tell_all(&mut self, owner: NodeId, cause: Cause) {
        let mut events = Vec::new();
        for (network, shelf) in &self.shelves {
            if *network == ATTACHMENTS {
                continue;
            }
            for (at, _) in shelf.log(owner).into_iter().flat_map(|log| log.iter()) {
                let counted = shelf.counted(at).filter(|counted| counted.owner == owner);
                let (before, after) = match cause {
                    Cause::Returned => (None, counted),
                    Cause::Hidden
                    | Cause::Written
                    | Cause::Left
                    | Cause::Superseded
                    | Cause::Detached => (counted, None),
                };
                events.extend(event(*network, at, before.as_ref(), after.as_ref(), cause));
            }
        }
        for event in events {
            self.outputs.push_back(Output::Table(event.clone()));
            self.tell_watches(event);
        }
    }

    fn tell_watches(&mut self, event: TableEvent) {
        let hearing = self.watches.hearing(event.network, &event.table, &event.key);
        let told = hearing.map(|id| Output::Watch { id, event: event.clone() });
        self.outputs.extend(told);
    }
}

impl Effect {
    fn cause(&self) -> Cause {
        match (self.cause, &self.before, &self.after) {
            (Cause::Written, Some(before), Some(after)) if before.owner != after.owner => {
                Cause::Superseded
            }
            (cause, _, _) => cause,
        }
    }
}

fn event(
    network: NetworkId,
    at: &EntryKey,
    before: Option<&Counted>,
    after: Option<&Counted>,
    cause: Cause,
) -> Option<TableEvent> {
    let (change, counted) = match (before, after) {
        (None, None) => return None,
        (None, Some(after)) => (Change::Create, after),
        (Some(before), None) => (Change::Delete, before),
        (Some(before), Some(after)) => {
            if (before.owner, before.seq) == (after.owner, after.seq) {
                return None;
            }
            (Change::Update, after)
        }
    };
    Some(TableEvent {
        network,
        table: at.table.clone(),
        key: at.key.clone(),
        change,
        cause,
        owner: counted.owner,
        value: counted.value.clone(),
        prev: before.map(|before| before.value.clone()),
    })
}
