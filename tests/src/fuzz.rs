//! What fuzzers do with bytes. A target takes any bytes and panics when something does not hold;
//! `fuzz/` hands them to libFuzzer, and a test replays its corpus.

mod formats;
mod member;
mod messages;
mod operations;

pub use formats::{cni, config, facts, plugin, record, token};
pub use member::member;
pub use messages::{datagram, frame, state};
pub use operations::{nodes, tables};

/// A target.
pub type Target = fn(&[u8]);

/// Every target by its name, which is that of its corpus.
pub const TARGETS: [(&str, Target); 12] = [
    ("cni", cni),
    ("config", config),
    ("datagram", datagram),
    ("facts", facts),
    ("frame", frame),
    ("member", member),
    ("nodes", nodes),
    ("plugin", plugin),
    ("record", record),
    ("state", state),
    ("tables", tables),
    ("token", token),
];
