//! How the parts are wired: what one puts out is what another takes in.

use std::collections::BTreeSet;
use std::time::Instant;

use weft_api::{Definition, NetworkId, NodeId, Vni};

use crate::claims::{self, Definitions, Standing, Turn, View};
use crate::db::leave::Leave;
use crate::db::{Joining, NetworkDb, Readiness};
use crate::facts::FactKind;
use crate::keys::{Fingerprint, Keyring};
use crate::membership::gone::Gone;
use crate::membership::greeter::Target;
use crate::membership::join::JoinMessage;
use crate::membership::roster::Change;
use crate::membership::{self, Membership};
use crate::output::{Bound, MemberEvent, MemberState, Output, RolledBackBy};
use crate::sync::{self, Carrier, Sync};
use crate::wire::Message;

/// The parts, as claims read them.
pub(super) struct PartsView<'a> {
    pub(super) membership: &'a Membership,
    pub(super) sync: &'a Sync,
    pub(super) definitions: &'a Definitions,
    pub(super) in_use: &'a BTreeSet<NetworkId>,
    pub(super) keyring: &'a Keyring,
}

impl View for PartsView<'_> {
    fn live(&self) -> Vec<NodeId> {
        let unheard = self.membership.roster().unheard();
        let alive = self.membership.alive().map(|member| member.id);
        let own = self.membership.identity().node;
        let live: BTreeSet<NodeId> = alive.chain(unheard).chain([own]).collect();
        live.into_iter().collect()
    }

    fn members(&self) -> Vec<NodeId> {
        let roster = self.membership.roster();
        roster.iter().map(|member| member.id).filter(|node| !roster.is_gone(*node)).collect()
    }

    fn standing(&self, node: NodeId) -> Standing {
        if self.membership.roster().is_unheard(node) {
            return Standing::Live;
        }
        match self.membership.roster().get(node).map(|member| member.state) {
            Some(MemberState::Alive | MemberState::Suspect) => Standing::Live,
            Some(MemberState::Failed) => Standing::Failed,
            Some(MemberState::Left | MemberState::Forgotten) => Standing::Gone,
            None => Standing::Unknown,
        }
    }

    fn definitions(&self) -> Box<dyn Iterator<Item = &Definition> + '_> {
        Box::new(self.definitions.iter())
    }

    fn is_defined(&self, network: NetworkId) -> bool {
        self.definitions.is_defined(network)
    }

    fn is_deleted(&self, network: NetworkId) -> bool {
        self.definitions.is_deleted(network)
    }

    fn was_deleted_with(&self, vni: Vni) -> bool {
        self.definitions.was_deleted_with(vni)
    }

    fn attached(&self, network: NetworkId) -> Vec<NodeId> {
        self.sync.attached(network)
    }

    fn has_endpoints_here(&self, network: NetworkId) -> bool {
        self.in_use.contains(&network)
    }

    fn turn(&self, rotation: u64, key: Fingerprint, base: Fingerprint) -> Turn {
        let state = self.keyring.state();
        let (latest, primary) = state.primary();
        if state.contains(key) {
            Turn::Done
        } else if latest.checked_add(1) == Some(rotation) && primary == base {
            if self.keyring.knows(key) { Turn::Fit } else { Turn::Early }
        } else if latest.checked_add(1).is_some_and(|next| next < rotation) {
            Turn::Early
        } else {
            Turn::Over
        }
    }

    fn is_in_force(&self, key: Fingerprint) -> bool {
        self.keyring.state().contains(key)
    }

    fn key_rested_at(&self) -> Option<Instant> {
        self.keyring.rested_at()
    }
}

pub(super) fn gone_change(gone: Gone) -> sync::MemberChange {
    match gone {
        Gone::Left => sync::MemberChange::Left,
        Gone::Forgotten => sync::MemberChange::Forgotten,
    }
}

impl NetworkDb {
    /// Carries outputs from part to part until all are quiet.
    pub(super) fn settle(&mut self, now: Instant) {
        loop {
            if let Some(output) = self.membership.poll_output() {
                self.carry_membership(output, now);
            } else if let Some(output) = self.sync.poll_output() {
                self.carry_sync(output, now);
            } else if let Some(output) = self.claims.poll_output() {
                self.carry_claims(output, now);
            } else if let Some(output) = self.keyring.poll_output() {
                self.carry_keys(output, now);
            } else {
                break;
            }
        }
        self.check_ready();
    }

    fn carry_membership(&mut self, output: membership::Output, now: Instant) {
        match output {
            membership::Output::Packet { to, bytes } => {
                self.post(to, &Message::Membership(bytes), Carrier::Datagram, now);
            }
            membership::Output::Tell { to, message } => {
                self.post(to, &Message::Join(message), Carrier::Datagram, now);
            }
            membership::Output::Persist(write) => self.writes.push_back(write),
            membership::Output::Changed(change) => self.on_member(change, now),
            membership::Output::RolledBack(boot) => self.roll_back(RolledBackBy::Boot(boot)),
            membership::Output::Overflow(bound) => self.outputs.push_back(Output::Overflow(bound)),
        }
    }

    /// Tells everyone who must know of a member's change.
    pub(super) fn on_member(&mut self, change: Change, now: Instant) {
        let node = change.node();
        let Some(member) = self.membership.roster().get(node).cloned() else { return };
        let (to_sync, to_claims, event) = match change {
            Change::Up(_, boot) => {
                let was_lost = self.greeter.failed_before(Target::Node(node));
                if !self.streams.has_queue(node) {
                    self.greeter.drop_target(Target::Node(node));
                }
                if was_lost {
                    self.greeter.hurry(now);
                }
                (sync::MemberChange::Up { boot }, claims::MemberChange::Up, MemberEvent::Up(member))
            }
            Change::Failed(_) => {
                self.greeter.want(Target::Node(node), now);
                let failed = claims::MemberChange::Failed;
                (sync::MemberChange::Failed, failed, MemberEvent::Failed(node))
            }
            Change::Gone(_, gone) => {
                self.greeter.drop_target(Target::Node(node));
                let _ = self.streams.take_queue(node);
                let (to_claims, event) = match gone {
                    Gone::Left => (claims::MemberChange::Left, MemberEvent::Left(node)),
                    Gone::Forgotten => {
                        self.greeter.want(Target::Forgotten(node), now);
                        (claims::MemberChange::Forgotten, MemberEvent::Forgotten(node))
                    }
                };
                (gone_change(gone), to_claims, event)
            }
            Change::Renamed(_) => {
                if member.state == MemberState::Forgotten {
                    self.greeter.want(Target::Forgotten(node), now);
                }
                self.outputs.push_back(Output::Member(MemberEvent::Renamed(member)));
                return;
            }
            Change::Own(_) => return,
        };
        self.outputs.push_back(Output::Member(event));
        self.sync.on_member(node, to_sync, now);
        let Self { claims, membership, sync, definitions, in_use, keyring, .. } = self;
        let view = PartsView { membership, sync, definitions, in_use, keyring };
        claims.on_member(node, to_claims, &view, now);
    }

    fn carry_sync(&mut self, output: sync::Output, now: Instant) {
        match output {
            sync::Output::Send { to, message, carrier } => {
                self.post_all(&to, &Message::Sync(message), carrier, now);
            }
            sync::Output::Persist(write) => self.writes.push_back(write),
            sync::Output::Table(event) => self.outputs.push_back(Output::Table(event)),
            sync::Output::Watch { id, event } => {
                self.outputs.push_back(Output::Watch { id, event });
            }
            sync::Output::Fact { kind, subject, state } => {
                self.on_fact(kind, subject, state, now);
            }
            sync::Output::PullMember { node, from } => {
                let message = Message::Join(JoinMessage::WhoIs(node));
                self.post(from, &message, Carrier::Datagram, now);
            }
            // Looked up when readiness is checked.
            sync::Output::FactsSynced(_) => {}
            sync::Output::Alarm(alarm) => self.outputs.push_back(Output::Alarm(alarm)),
            sync::Output::Overflow(bound) => {
                self.outputs.push_back(Output::Overflow(Bound::Sync(bound)));
            }
            sync::Output::OwnRecordUnknown => self.roll_back(RolledBackBy::Record),
        }
    }

    fn on_fact(&mut self, kind: FactKind, subject: Vec<u8>, value: Vec<u8>, now: Instant) {
        let network = match self.definitions.on_fact(kind, &subject, &value) {
            claims::DefinitionsChange::Defined(id) => {
                let defined = self.definitions.get(id).cloned();
                self.outputs.extend(defined.map(Output::Defined));
                Some(id)
            }
            claims::DefinitionsChange::Deleted(id) => {
                // Whoever deleted it may not have known what is known here.
                let whole = self.definitions.tombstone(id);
                if whole != value {
                    let _ = self.sync.put_fact(kind, &subject, &whole, now);
                }
                self.outputs.push_back(Output::Deleted(id));
                Some(id)
            }
            claims::DefinitionsChange::None => None,
        };
        if let Some(network) = network {
            let Self { claims, membership, sync, definitions, in_use, keyring, .. } = self;
            let view = PartsView { membership, sync, definitions, in_use, keyring };
            claims.on_fact(network, &view, now);
        }
        self.on_gone_fact(kind, &subject, now);
        self.on_keys_fact(kind, &value, now);
        self.outputs.push_back(Output::Fact { kind, subject, value });
    }

    /// A fact says that a member is gone for good.
    pub(super) fn on_gone_fact(&mut self, kind: FactKind, subject: &[u8], now: Instant) {
        let gone = match kind {
            FactKind::LEFT => Gone::Left,
            FactKind::FORGOTTEN => Gone::Forgotten,
            _ => return,
        };
        let Ok(id) = <[u8; 16]>::try_from(subject) else { return };
        let node = NodeId::from_bytes(id);
        if node != self.config.node {
            self.membership.on_gone(node, gone, now);
        } else if gone == Gone::Forgotten {
            self.roll_back(RolledBackBy::Forgotten);
        } else if self.leave == Leave::None {
            // An earlier life left: this node is a member no more.
            self.leave = Leave::Done;
            self.outputs.push_back(Output::LeftCluster);
        }
    }

    fn carry_claims(&mut self, output: claims::Output, now: Instant) {
        match output {
            claims::Output::Persist(write) => self.writes.push_back(write),
            claims::Output::Send { to, message } => {
                let carrier = self.send_key_ahead(to, &message, now);
                self.post(to, &Message::Claims(message), carrier, now);
            }
            claims::Output::KeepKey(key) => self.keyring.keep(key),
            claims::Output::ReleaseKey(key) => self.keyring.release(key),
            claims::Output::Cede { to, claim, answer } => self.cede(to, claim, answer, now),
            claims::Output::PutFact { kind, subject, value } => {
                let value = match <[u8; 16]>::try_from(subject.as_slice()) {
                    Ok(id) if kind == FactKind::DELETED => {
                        self.definitions.tombstone(NetworkId::from_bytes(id))
                    }
                    Ok(_) | Err(_) => value,
                };
                // Claims write facts that their own joins made, so they are never refused; a
                // bound that is met is reported by the facts themselves.
                let _ = self.sync.put_fact(kind, &subject, &value, now);
            }
            claims::Output::Decided { id, outcome, asked } => {
                self.outputs.push_back(Output::Claim { id, outcome, asked });
            }
            // Read through `is_barred`.
            claims::Output::BarAttach(_) | claims::Output::UnbarAttach(_) => {}
        }
    }

    /// This disk was rolled back or cloned, or this node was forgotten: nothing is written under
    /// this NodeId any more.
    pub(super) fn roll_back(&mut self, reason: RolledBackBy) {
        if !self.rolled_back {
            self.rolled_back = true;
            self.sync.halt();
            self.outputs.push_back(Output::RolledBack { reason });
        }
    }

    /// Nothing is taken from a member that is to be forgotten, so it is not waited for.
    fn check_ready(&mut self) {
        let has_told = |node| self.sync.facts_synced(node) || self.claims.is_named(node);
        let waits = self.ready != Readiness::Waiting
            || self.rolled_back
            || self.join != Joining::Idle
            || self.membership.roster().unheard().next().is_some()
            || !self.membership.alive().all(|member| has_told(member.id));
        if !waits {
            self.ready = Readiness::Ready;
            self.outputs.push_back(Output::Ready);
        }
    }
}
