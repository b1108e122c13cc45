//! What of a member list is news: of a long one mostly nothing is, and foca would look up each line
//! in all of its own.

use std::collections::BTreeMap;

use weft_api::NodeId;

use crate::membership::identity::{Identity, Record, Standing};

/// The lines that foca has, by node.
pub(crate) struct Known<'a>(BTreeMap<NodeId, &'a foca::Member<Identity>>);

impl<'a> Known<'a> {
    pub(crate) fn new(members: impl Iterator<Item = &'a foca::Member<Identity>>) -> Self {
        Self(members.map(|member| (member.id().node, member)).collect())
    }

    /// Tells whether a line may change what foca knows.
    pub(crate) fn is_news(&self, record: &Record) -> bool {
        self.same(record).is_none_or(|member| {
            member.incarnation() < record.incarnation || Standing::of(member) != record.standing
        })
    }

    /// Tells whether a line holds a member down that is up under this very identity.
    pub(crate) fn is_false_death(&self, record: &Record) -> bool {
        let is_up = |member: &foca::Member<Identity>| Standing::of(member) != Standing::Down;
        record.standing == Standing::Down && self.same(record).is_some_and(is_up)
    }

    /// What is known of the same identity.
    fn same(&self, record: &Record) -> Option<&'a foca::Member<Identity>> {
        let member = self.0.get(&record.identity.node).copied();
        member.filter(|member| *member.id() == record.identity)
    }
}

#[cfg(test)]
mod tests {
    use weft_api::Boot;

    use super::*;

    fn record(boot: u64, incarnation: u16, standing: Standing) -> Record {
        let addr = "10.0.0.1:7950".parse().expect("an address");
        let boot = Boot { counter: boot, nonce: 0 };
        let node = NodeId::from_bytes([1; 16]);
        let identity = Identity { node, boot, renewal: 0, addr, name: "one".to_owned() };
        Record { identity, incarnation, standing }
    }

    #[test]
    fn only_what_foca_does_not_know_yet_is_news() {
        use Standing::{Alive, Down, Suspect};
        let known = foca::Member::from(record(2, 5, Alive));
        let known = Known::new(std::iter::once(&known));
        let news = [
            record(1, 5, Alive),
            record(3, 0, Alive),
            record(2, 6, Alive),
            record(2, 5, Suspect),
            record(2, 4, Down),
        ];
        assert!(news.iter().all(|record| known.is_news(record)));
        assert!(!known.is_news(&record(2, 5, Alive)) && !known.is_news(&record(2, 4, Alive)));
        assert!(Known::new(std::iter::empty()).is_news(&record(2, 5, Alive)));
        let deaths = news.iter().filter(|record| known.is_false_death(record)).count();
        assert_eq!(deaths, 1);
    }
}
