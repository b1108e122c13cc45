//! Queueing disciplines: what limits the traffic of an endpoint, on its port in the network's
//! namespace.
//!
//! Towards the endpoint the port itself is shaped. From the endpoint, frames are led through an
//! intermediate device (ifb) that is shaped, and come back to where they were: that delays what is
//! too much, where a policer would drop it.

use std::collections::{BTreeMap, BTreeSet};

use netlink_packet_core::{
    DefaultNla, Emitable, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, Nla, NlasIterator,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{
    TcAction, TcActionAttribute, TcActionMirrorOption, TcActionOption, TcActionType, TcAttribute,
    TcFilterU32Option, TcHandle, TcHeader, TcMessage, TcMirror, TcMirrorActionType, TcOption,
    TcU32Key, TcU32Selector, TcU32SelectorFlags,
};
use nix::errno::Errno;
use rtnetlink::LinkIfb;

use super::connection::Connection;
use super::error::{NetlinkError, Tolerate};
use super::link;
use crate::op::{Limit, Limits};

/// TCA_OPTIONS (linux/rtnetlink.h).
const OPTIONS: u16 = 2;
/// TCA_TBF_PARMS, TCA_TBF_RATE64 and TCA_TBF_BURST (linux/pkt_sched.h).
const PARAMETERS: u16 = 1;
const RATE64: u16 = 4;
const BURST: u16 = 6;
/// TC_LINKLAYER_ETHERNET: the kernel computes times itself.
const ETHERNET: u8 = 1;
/// Where in `tc_tbf_qopt` its first rate begins.
const RATE_AT: usize = 8;
/// The queue holds what passes in this share of a second, beyond the burst.
const QUEUED_SHARE: u64 = 40;
/// First priority, all protocols, in the order of the network.
const ALL_FRAMES: u32 = 1 << 16 | 3_u16.to_be() as u32;

/// Limits a port both ways, or one; what is limited already gets the new rate.
///
/// # Errors
/// The port is not there, or the kernel has no `tbf` or `ifb`.
pub async fn ensure_limits(
    network: &mut Connection,
    port: &str,
    shaper: &str,
    limits: &Limits,
) -> Result<(), NetlinkError> {
    let port_index = link::get(network, port).await?.index;
    if let Some(limit) = limits.ingress {
        shape(network, port, port_index, limit).await?;
    }
    let Some(limit) = limits.egress else { return Ok(()) };
    if link::find(network, shaper).await?.is_none() {
        // What led to one that is gone would lead nowhere for ever.
        remove_ingress(network, port, port_index).await?;
        let message = LinkIfb::new(shaper).build();
        link::create(network, || format!("create `{shaper}`"), message).await?;
    }
    let shaper_index = link::get(network, shaper).await?.index;
    shape(network, shaper, shaper_index, limit).await?;
    link::set_up(network, shaper).await?;
    lead_through(network, port, port_index, shaper_index).await
}

/// `tc qdisc replace dev NAME root tbf rate RATE burst BYTES limit BYTES`.
async fn shape(
    network: &mut Connection,
    name: &str,
    index: u32,
    limit: Limit,
) -> Result<(), NetlinkError> {
    let queued = limit.rate_bytes_s / QUEUED_SHARE + u64::from(limit.burst_bytes);
    let queued = u32::try_from(queued).unwrap_or(u32::MAX);
    let mut parameters = [0; 36];
    parameters[1] = ETHERNET;
    let rate = u32::try_from(limit.rate_bytes_s).unwrap_or(u32::MAX);
    parameters[RATE_AT..RATE_AT + 4].copy_from_slice(&rate.to_ne_bytes());
    parameters[24..28].copy_from_slice(&queued.to_ne_bytes());
    let options = [
        DefaultNla::new(PARAMETERS, parameters.to_vec()),
        DefaultNla::new(RATE64, limit.rate_bytes_s.to_ne_bytes().to_vec()),
        DefaultNla::new(BURST, limit.burst_bytes.to_ne_bytes().to_vec()),
    ];
    let options = options.as_slice();
    let mut bytes = vec![0; options.buffer_len()];
    options.emit(&mut bytes);
    let attributes = vec![
        TcAttribute::Kind("tbf".to_owned()),
        TcAttribute::Other(DefaultNla::new(OPTIONS, bytes)),
    ];
    let message = TcMessage::from_parts(header(index, TcHandle::ROOT), attributes);
    let request = (RouteNetlinkMessage::NewQueueDiscipline(message), NLM_F_CREATE | NLM_F_REPLACE);
    network.change(|| format!("limit `{name}`"), request).await
}

/// `tc qdisc add dev PORT ingress; tc filter add dev PORT ingress protocol all u32 match u32 0 0
/// action mirred egress redirect dev SHAPER`. What is led there already is led on; what is led
/// elsewhere, or nowhere, is led anew.
async fn lead_through(
    network: &mut Connection,
    port: &str,
    index: u32,
    shaper: u32,
) -> Result<(), NetlinkError> {
    let message = ingress(index);
    let request = (RouteNetlinkMessage::NewQueueDiscipline(message), NLM_F_CREATE | NLM_F_EXCL);
    match network.change(|| format!("see what `{port}` takes in"), request.clone()).await {
        Err(error) if error.is(Errno::EEXIST) => {
            if led_to(network, index).await?.contains(&shaper) {
                return Ok(());
            }
            remove_ingress(network, port, index).await?;
            network.change(|| format!("see what `{port}` takes in"), request).await?;
        }
        made => made?,
    }
    let message = redirect(index, shaper);
    let request = (RouteNetlinkMessage::NewTrafficFilter(message), NLM_F_CREATE | NLM_F_EXCL);
    let made = network.change(|| format!("lead what `{port}` takes in"), request).await;
    if made.is_err() {
        // The first failure is what the caller has to know.
        let _ = remove_ingress(network, port, index).await;
    }
    made
}

/// A filter that every frame fits, which goes on as one that leaves by `shaper`.
fn redirect(index: u32, shaper: u32) -> TcMessage {
    let mut mirror = TcMirror::default();
    mirror.generic.action = TcActionType::Stolen;
    mirror.eaction = TcMirrorActionType::EgressRedir;
    mirror.ifindex = shaper;
    let mut action = TcAction::default();
    action.attributes = vec![
        TcActionAttribute::Kind("mirred".to_owned()),
        TcActionAttribute::Options(vec![TcActionOption::Mirror(TcActionMirrorOption::Parms(
            mirror,
        ))]),
    ];
    let mut any = TcU32Selector::default();
    any.flags = TcU32SelectorFlags::Terminal;
    any.nkeys = 1;
    any.keys = vec![TcU32Key::default()];
    let options = vec![TcFilterU32Option::Selector(any), TcFilterU32Option::Action(vec![action])];
    let attributes = vec![
        TcAttribute::Kind("u32".to_owned()),
        TcAttribute::Options(options.into_iter().map(TcOption::U32).collect()),
    ];
    let parent = TcHandle { major: u16::MAX, minor: 0 };
    let header = TcHeader { info: ALL_FRAMES, ..header(index, parent) };
    TcMessage::from_parts(header, attributes)
}

/// `tc qdisc del dev PORT ingress`, with its filters.
async fn remove_ingress(
    network: &mut Connection,
    port: &str,
    index: u32,
) -> Result<(), NetlinkError> {
    let request = (RouteNetlinkMessage::DelQueueDiscipline(ingress(index)), 0);
    let removed = network.change(|| format!("see nothing of `{port}`"), request).await;
    removed.tolerate(&[Errno::ENOENT, Errno::EINVAL])
}

fn ingress(index: u32) -> TcMessage {
    let handle = TcHandle { major: u16::MAX, minor: 0 };
    let header = TcHeader { handle, ..header(index, TcHandle::INGRESS) };
    TcMessage::from_parts(header, vec![TcAttribute::Kind("ingress".to_owned())])
}

fn header(index: u32, parent: TcHandle) -> TcHeader {
    TcHeader { index: index.cast_signed(), parent, ..TcHeader::default() }
}

/// Reads where frames that a link takes in are led: `tc filter show dev PORT ingress`.
async fn led_to(network: &mut Connection, index: u32) -> Result<BTreeSet<u32>, NetlinkError> {
    let parent = TcHandle { major: u16::MAX, minor: 0 };
    let message = TcMessage::from_parts(header(index, parent), Vec::new());
    let request = RouteNetlinkMessage::GetTrafficFilter(message);
    let answers = network.dump(|| "list traffic filters".to_owned(), request).await?;
    let targets = answers.iter().filter_map(|answer| match answer {
        RouteNetlinkMessage::NewTrafficFilter(filter) => target_of(filter),
        _ => None,
    });
    Ok(targets.collect())
}

fn target_of(filter: &TcMessage) -> Option<u32> {
    let options = filter.attributes.iter().find_map(|attribute| match attribute {
        TcAttribute::Options(options) => Some(options),
        _ => None,
    })?;
    let actions = options.iter().find_map(|option| match option {
        TcOption::U32(TcFilterU32Option::Action(actions)) => Some(actions),
        _ => None,
    })?;
    let attributes = actions.iter().flat_map(|action| &action.attributes);
    attributes.into_iter().find_map(|attribute| match attribute {
        TcActionAttribute::Options(options) => options.iter().find_map(|option| match option {
            TcActionOption::Mirror(TcActionMirrorOption::Parms(mirror)) => Some(mirror.ifindex),
            _ => None,
        }),
        _ => None,
    })
}

/// What limits the links of a namespace.
#[derive(Debug, Default)]
pub(crate) struct Disciplines {
    /// Rates of shaped links in bytes a second, by index.
    pub(crate) rates: BTreeMap<u32, u64>,
    /// Links whose frames are seen as they come in, each with where they are led.
    pub(crate) led: BTreeMap<u32, BTreeSet<u32>>,
}

/// Reads what limits the links: `tc qdisc show`, and `tc filter show` where frames are seen.
///
/// # Errors
/// When the kernel refuses.
pub(crate) async fn list(network: &mut Connection) -> Result<Disciplines, NetlinkError> {
    let request = RouteNetlinkMessage::GetQueueDiscipline(TcMessage::default());
    let mut found = Disciplines::default();
    for answer in network.dump(|| "list queueing disciplines".to_owned(), request).await? {
        let RouteNetlinkMessage::NewQueueDiscipline(message) = answer else { continue };
        let index = message.header.index.cast_unsigned();
        let kind = message.attributes.iter().find_map(|attribute| match attribute {
            TcAttribute::Kind(kind) => Some(kind.as_str()),
            _ => None,
        });
        match kind {
            Some("tbf") => found.rates.extend(rate_of(&message).map(|rate| (index, rate))),
            Some("ingress") => {
                found.led.insert(index, BTreeSet::new());
            }
            _ => {}
        }
    }
    for (index, targets) in &mut found.led {
        *targets = led_to(network, *index).await?;
    }
    Ok(found)
}

fn rate_of(message: &TcMessage) -> Option<u64> {
    let options = message.attributes.iter().find_map(|attribute| match attribute {
        TcAttribute::Options(options) => options.first(),
        _ => None,
    })?;
    let mut bytes = vec![0; options.value_len()];
    options.emit_value(&mut bytes);
    let mut rate = None;
    for option in NlasIterator::new(bytes.as_slice()) {
        let option = option.ok()?;
        match option.kind() {
            PARAMETERS => {
                let number = option.value().get(RATE_AT..RATE_AT + 4)?;
                let number = u32::from_ne_bytes(number.try_into().ok()?);
                rate = rate.or(Some(u64::from(number)));
            }
            RATE64 => rate = Some(u64::from_ne_bytes(option.value().try_into().ok()?)),
            _ => {}
        }
    }
    rate
}
