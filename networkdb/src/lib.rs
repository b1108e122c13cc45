//! The gossip-replicated table store.
