//! Rules that choose a routing table.

use ipnetwork::IpNetwork;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use nix::errno::Errno;

use super::address::family;
use super::connection::Connection;
use super::error::{NetlinkError, Tolerate};

/// The rule `to DESTINATION lookup TABLE` at a priority.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// Which destinations.
    pub to: IpNetwork,
    /// Which table.
    pub table: u32,
    /// Rules of lower numbers come first.
    pub priority: u32,
}

fn message(rule: &Rule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = family(rule.to.ip());
    message.header.dst_len = rule.to.prefix();
    message.header.action = RuleAction::ToTable;
    message.attributes.push(RuleAttribute::Destination(rule.to.network()));
    message.attributes.push(RuleAttribute::Table(rule.table));
    message.attributes.push(RuleAttribute::Priority(rule.priority));
    message
}

/// Adds a rule; the same one is kept: `ip rule add to POOL lookup TABLE priority NUMBER`.
///
/// # Errors
/// When the kernel refuses.
pub async fn ensure(connection: &mut Connection, rule: &Rule) -> Result<(), NetlinkError> {
    let request = RouteNetlinkMessage::NewRule(message(rule));
    let doing = || format!("add the rule for {}", rule.to);
    let added = connection.change(doing, (request, NLM_F_CREATE | NLM_F_EXCL)).await;
    added.tolerate(&[Errno::EEXIST])
}

/// Removes a rule; an absent one is a success: `ip rule delete to POOL lookup TABLE`.
///
/// # Errors
/// When the kernel refuses.
pub async fn remove(connection: &mut Connection, rule: &Rule) -> Result<(), NetlinkError> {
    let request = RouteNetlinkMessage::DelRule(message(rule));
    let removed = connection.change(|| format!("remove the rule for {}", rule.to), (request, 0));
    removed.await.tolerate(&[Errno::ENOENT])
}

/// Reads the rules that look up a table: `ip rule show table TABLE`.
///
/// # Errors
/// When the kernel refuses.
pub async fn list(connection: &mut Connection, table: u32) -> Result<Vec<Rule>, NetlinkError> {
    let request = RouteNetlinkMessage::GetRule(RuleMessage::default());
    let found = connection.dump(|| "list rules".to_owned(), request).await?;
    Ok(found.iter().filter_map(decode).filter(|rule| rule.table == table).collect())
}

fn decode(message: &RouteNetlinkMessage) -> Option<Rule> {
    let RouteNetlinkMessage::NewRule(message) = message else { return None };
    let (mut to, mut table, mut priority) = (None, u32::from(message.header.table), 0);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Destination(ip) => to = Some(*ip),
            RuleAttribute::Table(number) => table = *number,
            RuleAttribute::Priority(number) => priority = *number,
            _ => {}
        }
    }
    let to = IpNetwork::new(to?, message.header.dst_len).ok()?;
    Some(Rule { to, table, priority })
}
