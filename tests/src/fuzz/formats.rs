//! Formats that are read from outside: what is read can be written, and is read again the same.

use std::path::Path;

use cni::libcni::{conf_from_bytes, conf_list_from_bytes};
use cni::types::{CniResult, CommonArgs, NetConf, load_args};
use cni::version::{ALL, PluginInfo};
use serde::Serialize;
use serde::de::DeserializeOwned;
use weft_agent::config::Layer;
use weft_agent::token::Token;
use weft_api::control;
use weft_api::plugin::{ipam, network};
use weft_ipam::{Space, join_allocations, join_ranges};
use weft_overlay::{PEER_TABLE, PeerRecord, decode_table_entry};

/// A value of the peer table.
pub fn record(bytes: &[u8]) {
    let _described = decode_table_entry(PEER_TABLE, "key", bytes);
    if let Ok(record) = PeerRecord::decode(bytes) {
        assert_eq!(PeerRecord::decode(&record.encode()), Ok(record));
    }
}

/// A join token, as somebody typed it.
pub fn token(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(token) = text.parse::<Token>() {
        let again = token.to_text().parse::<Token>().map(|again| again.to_text());
        assert_eq!(again.ok(), Some(token.to_text()));
    }
}

/// Two values of one fact about ranges or an allocation: they join to the same in any order.
pub fn facts(bytes: &[u8]) {
    let _space = Space::from_subject(bytes);
    let Some((cut, bytes)) = bytes.split_first() else { return };
    let (one, other) = bytes.split_at(usize::from(*cut).min(bytes.len()));
    for join in [join_ranges, join_allocations] {
        let joined = |first: &[u8], second: &[u8]| {
            // What is there is what was joined before: its own form, not that of a peer.
            let first = join(None, first).ok().flatten()?;
            let changed = join(Some(&first), second).ok()?;
            Some(changed.unwrap_or(first))
        };
        let both = joined(one, other);
        assert_eq!(both, joined(other, one));
        if let Some(both) = both {
            for part in [one, other, &both] {
                assert_eq!(join(Some(&both), part).ok(), Some(None), "joined again");
            }
        }
    }
}

/// The agent's configuration file.
pub fn config(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _either = Layer::from_toml(Path::new("weft.toml"), &text);
}

/// What CNI runtimes and plugins say, and what the cache holds.
pub fn cni(bytes: &[u8]) {
    let _either = (conf_list_from_bytes(bytes), conf_from_bytes(bytes), PluginInfo::decode(bytes));
    let _either = (NetConf::decode(bytes), CniResult::from_plugin("1.0.0", bytes));
    let _either = load_args(&String::from_utf8_lossy(bytes), &mut CommonArgs::default());
    let Ok(result) = CniResult::from_slice(bytes) else { return };
    for version in ALL {
        let Ok(other) = result.to_version(version) else { continue };
        let text = serde_json::to_vec(&other).expect("a result has text keys only");
        CniResult::from_slice(&text).expect("what is written can be read");
    }
}

/// Bodies of requests on the plugin's socket and on the control socket.
pub fn plugin(bytes: &[u8]) {
    again::<network::CreateNetworkRequest>(bytes);
    again::<network::CreateEndpointRequest>(bytes);
    again::<network::JoinRequest>(bytes);
    again::<network::AllocateNetworkRequest>(bytes);
    again::<ipam::RequestPoolRequest>(bytes);
    again::<ipam::RequestAddressRequest>(bytes);
    again::<ipam::RequestAddressResponse>(bytes);
    again::<control::NetworkCreate>(bytes);
    again::<control::AttachRequest>(bytes);
    again::<control::AttachmentAdd>(bytes);
}

fn again<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
    let Ok(read) = serde_json::from_slice::<T>(bytes) else { return };
    let written = serde_json::to_value(&read).expect("text keys only");
    let read: T = serde_json::from_value(written.clone()).expect("what is written can be read");
    assert_eq!(serde_json::to_value(&read).expect("text keys only"), written);
}
