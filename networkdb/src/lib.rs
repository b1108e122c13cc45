//! The gossip-replicated table store.

pub mod facts;
pub mod sync;
pub mod table;
pub mod watch;
