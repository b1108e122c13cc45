//! The counters of a node by name, for `weft status`.

use std::collections::BTreeMap;

use weft_ipam::Ipam;
use weft_networkdb::NetworkDb;

/// Lists counters by name. Naming every field makes a new one a compile error here.
macro_rules! named {
    ($prefix:literal, $counters:expr, $type:path { $($field:ident),+ $(,)? }) => {{
        let $type { $($field),+ } = $counters;
        [$((concat!($prefix, stringify!($field)), *$field)),+]
    }};
}

pub(super) fn of(db: &NetworkDb, ipam: &Ipam) -> BTreeMap<String, u64> {
    let gossip = named!(
        "gossip_",
        db.counters(),
        weft_networkdb::Counters {
            datagrams_in,
            datagrams_out,
            datagram_bytes_out,
            frames_in,
            frames_out,
            frame_bytes_out,
            foreign_cluster,
            bad_auth,
            replayed,
            stale_boot,
            undecodable,
            too_large,
            other_version,
            dropped,
            joins_refused,
            streams_failed,
            from_named,
        }
    );
    let sync = named!(
        "sync_",
        db.sync_counters(),
        weft_networkdb::sync::Counters {
            record_bound,
            log_bound,
            gap_bound,
            owner_bound,
            push_queue_bound,
            fact_bound,
            watch_bound,
            unknown_owner,
            gone_owner,
            malformed_fact,
            malformed_message,
            stale_record,
            records_in,
        }
    );
    let allocation = named!(
        "ipam_",
        &ipam.counters(),
        weft_ipam::Counters { malformed, busy, unanswered, fragmented, asks_full }
    );
    gossip
        .into_iter()
        .chain(sync)
        .chain(allocation)
        .map(|(name, count)| (name.to_owned(), count))
        .collect()
}
