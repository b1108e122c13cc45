//! Tables, chains and rules, by the messages of nf_tables.

use netlink_packet_core::{NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NetlinkPayload};
use netlink_proto::ReplyExpectation;
use netlink_proto::sys::protocols;
use nix::errno::Errno;

use super::expression::Expressions;
use super::message::{Attributes, Family, NftMessage, Verb, find};
use crate::netlink::connection::{Channel, message_of};
use crate::netlink::error::{NetlinkError, Refusal};
use crate::netlink::namespace::Namespace;

/// The text of a rule's comment among its user data (NFTNL_UDATA_RULE_COMMENT).
const COMMENT: u8 = 0;

/// A hook of the packet's path, with its priority (enum nf_inet_hooks, nf_ip_hook_priorities).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hook {
    pub(crate) kind: &'static str,
    pub(crate) number: u32,
    pub(crate) priority: i32,
}

/// Where a rule stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ChainId {
    pub(crate) family: Family,
    pub(crate) table: String,
    pub(crate) chain: String,
}

impl ChainId {
    fn attributes(&self) -> Attributes {
        Attributes::default().text(1, &self.table).text(2, &self.chain)
    }
}

/// A chain that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chain {
    pub(crate) id: ChainId,
    /// The hook it is called from; `None` for one that others jump to.
    pub(crate) hook: Option<u32>,
    pub(crate) drops: bool,
}

/// A rule that is there, and what its comment says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) chain: ChainId,
    pub(crate) handle: Vec<u8>,
    pub(crate) comment: Option<String>,
}

/// Where in its chain a new rule goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Head,
    Tail,
}

/// A change, one of a transaction.
pub(crate) type Change = (NftMessage, u16);

/// `nft add table FAMILY NAME`.
pub(crate) fn add_table(family: Family, name: &str) -> Change {
    (NftMessage::new(Verb::NewTable, family, Attributes::default().text(1, name)), NLM_F_CREATE)
}

/// `nft delete table FAMILY NAME`.
pub(crate) fn delete_table(family: Family, name: &str) -> Change {
    (NftMessage::new(Verb::DelTable, family, Attributes::default().text(1, name)), 0)
}

/// `nft add chain FAMILY TABLE NAME { type TYPE hook HOOK priority NUMBER; policy accept; }`.
pub(crate) fn add_chain(id: &ChainId, hook: Hook) -> Change {
    let place = Attributes::default().number(1, hook.number).bytes(2, &hook.priority.to_be_bytes());
    let attributes = Attributes::default()
        .text(1, &id.table)
        .text(3, &id.chain)
        .nest(4, place)
        .text(7, hook.kind);
    (NftMessage::new(Verb::NewChain, id.family, attributes), NLM_F_CREATE)
}

/// `nft add chain FAMILY TABLE NAME`: one that others jump to.
pub(crate) fn add_called_chain(id: &ChainId) -> Change {
    let attributes = Attributes::default().text(1, &id.table).text(3, &id.chain);
    (NftMessage::new(Verb::NewChain, id.family, attributes), NLM_F_CREATE)
}

/// `nft delete chain FAMILY TABLE NAME`; it has to be empty.
pub(crate) fn delete_chain(id: &ChainId) -> Change {
    let attributes = Attributes::default().text(1, &id.table).text(3, &id.chain);
    (NftMessage::new(Verb::DelChain, id.family, attributes), 0)
}

/// `nft flush chain FAMILY TABLE NAME`.
pub(crate) fn flush_chain(id: &ChainId) -> Change {
    (NftMessage::new(Verb::DelRule, id.family, id.attributes()), 0)
}

/// `nft add rule` or `nft insert rule FAMILY TABLE CHAIN … comment "COMMENT"`.
pub(crate) fn add_rule(
    chain: &ChainId,
    place: Place,
    comment: &str,
    expressions: Expressions,
) -> Change {
    let length = u8::try_from(comment.len() + 1).expect("a comment of ours is short");
    let mut user_data = vec![COMMENT, length];
    user_data.extend(comment.as_bytes());
    user_data.push(0);
    let attributes = chain.attributes().nest(4, expressions.into_attributes()).bytes(7, &user_data);
    let flags = match place {
        Place::Head => NLM_F_CREATE,
        Place::Tail => NLM_F_CREATE | NLM_F_APPEND,
    };
    (NftMessage::new(Verb::NewRule, chain.family, attributes), flags)
}

/// `nft delete rule FAMILY TABLE CHAIN handle NUMBER`.
pub(crate) fn delete_rule(rule: &Rule) -> Change {
    let attributes = rule.chain.attributes().bytes(3, &rule.handle);
    (NftMessage::new(Verb::DelRule, rule.chain.family, attributes), 0)
}

/// A socket for nftables in one namespace.
#[derive(Debug)]
pub(crate) struct Firewall(Channel<NftMessage>);

impl Firewall {
    pub(crate) async fn open(namespace: &Namespace) -> Result<Self, NetlinkError> {
        Channel::open_protocol(namespace, protocols::NETLINK_NETFILTER).await.map(Self)
    }

    /// Carries out all changes or none: `nft -f`.
    pub(crate) async fn transact(
        &mut self,
        doing: impl Fn() -> String,
        changes: Vec<Change>,
    ) -> Result<(), NetlinkError> {
        if changes.is_empty() {
            return Ok(());
        }
        // Kernels before 6.10 never answer to the first and the last message.
        let mut messages =
            vec![(message_of(NftMessage::begin(), 0), ReplyExpectation::NotExpected)];
        messages.extend(changes.into_iter().map(|(message, flags)| {
            (message_of(message, flags | NLM_F_ACK), ReplyExpectation::Expected)
        }));
        messages.push((message_of(NftMessage::end(), 0), ReplyExpectation::NotExpected));
        let answers = self.0.exchange(messages).await.map_err(|lost| lost.into_error(doing()))?;
        let refusal = answers.iter().find_map(|answer| match &answer.payload {
            NetlinkPayload::Error(error) => Refusal::decode(error),
            _ => None,
        });
        match refusal {
            Some(refusal) => Err(NetlinkError::Refused { doing: doing(), refusal }),
            None => Ok(()),
        }
    }

    /// Reads the base chains and the others of all tables: `nft list chains`.
    pub(crate) async fn chains(&mut self) -> Result<Vec<Chain>, NetlinkError> {
        let request = NftMessage::new(Verb::GetChain, Family::Any, Attributes::default());
        let found = self.0.dump(|| "list nftables chains".to_owned(), request).await?;
        Ok(found.iter().filter_map(decode_chain).collect())
    }

    /// Reads the rules of a chain; an absent chain has none: `nft -a list chain`.
    pub(crate) async fn rules(&mut self, chain: &ChainId) -> Result<Vec<Rule>, NetlinkError> {
        let request = NftMessage::new(Verb::GetRule, chain.family, chain.attributes());
        match self.0.dump(|| "list nftables rules".to_owned(), request).await {
            Ok(found) => Ok(found.iter().filter_map(decode_rule).collect()),
            Err(error) if error.is(Errno::ENOENT) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

fn decode_chain(message: &NftMessage) -> Option<Chain> {
    let id = ChainId {
        family: message.family()?,
        table: message.text(1)?.to_owned(),
        chain: message.text(3)?.to_owned(),
    };
    let number = |bytes: &[u8]| <[u8; 4]>::try_from(bytes).ok().map(u32::from_be_bytes);
    let hook = message.attribute(4).and_then(|hook| find(hook, 1)).and_then(number);
    let policy = message.attribute(5).and_then(number);
    Some(Chain { id, hook, drops: policy == Some(super::expression::Verdict::Drop as u32) })
}

fn decode_rule(message: &NftMessage) -> Option<Rule> {
    let chain = ChainId {
        family: message.family()?,
        table: message.text(1)?.to_owned(),
        chain: message.text(2)?.to_owned(),
    };
    let handle = message.attribute(3)?.to_vec();
    Some(Rule { chain, handle, comment: message.attribute(7).and_then(comment) })
}

/// Finds the comment among a rule's user data: octets type, length, text with its NUL.
fn comment(mut user_data: &[u8]) -> Option<String> {
    while let [kind, length, rest @ ..] = user_data {
        let value = rest.get(..usize::from(*length))?;
        if *kind == COMMENT {
            let text = value.strip_suffix(b"\0").unwrap_or(value);
            return std::str::from_utf8(text).ok().map(str::to_owned);
        }
        user_data = &rest[usize::from(*length)..];
    }
    None
}
