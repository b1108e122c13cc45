//! The overlay driver as the agent composes it, on the real kernel.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod bed;
mod handover;
mod published;
