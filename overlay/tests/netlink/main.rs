//! The executor on the real kernel: every host is a network namespace of this process.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests are about sockets and time"
)]

mod announce;
mod bed;
mod entries;
mod features;
mod handed;
mod idempotence;
mod overlay;
mod pins;
mod published;
mod refusals;
mod sandbox;
mod settings;
mod underlay6;
mod way_out;
mod wire;
