//! What engines on this host ask of the controller: networks held, addresses claimed ahead of
//! their endpoints, endpoints whose interface the engine places itself.
//!
//! Engines repeat calls, so each of these is idempotent, and durable before it is answered.

mod claims;
mod endpoints;
mod holds;
mod networks;

pub(crate) use super::networks::{first_host, validate_subnet};
pub(crate) use claims::{AddressWanted, LINGERING_S_MAX, now_s, since_s};
pub(crate) use endpoints::{EndpointWanted, Handed, PORT_MAP};
pub(crate) use holds::only_built_in;
