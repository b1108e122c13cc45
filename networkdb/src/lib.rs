//! The gossip-replicated table store.

mod claims;
mod facts;

pub use claims::{ClaimBody, ClaimError, ClaimId, Origin, Outcome};
