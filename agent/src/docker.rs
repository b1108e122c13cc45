//! The agent as a plugin of a Docker Engine: network driver and IPAM driver in one.
//!
//! [`PluginServer`] turns requests into calls of [`Plugin`], which asks the controller and nothing
//! beside it. Three rules shape all of it. An engine repeats calls, so every call is idempotent
//! and durable before it is answered. An engine holds locks while it calls, so no call goes back
//! to the engine. And an engine tells little: what an address is for has to be inferred
//! (`purpose`), which network is meant is in an option or in the subnet (`networks`), and
//! releases carry a pool's id and nothing else (`pool_id`).

mod agreement;
mod books;
mod chores;
mod endpoints;
mod granted;
mod ipam;
mod networks;
mod pool_id;
mod purpose;
mod reservations;
mod server;
mod settings;
mod swarm;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use weft_api::control::ControlError;
use weft_api::driver::Scope;

use crate::config;
use crate::control::Answer;
use crate::controller::Controller;

pub use server::PluginServer;

use books::Books;
use granted::Granted;

/// How long a call waits for a network that was defined elsewhere a moment ago.
const DEFINED_PATIENCE: Duration = Duration::from_secs(5);
/// Longest id of an engine, in bytes; its own have 64 or 25.
const ID_BYTES_MAX: usize = 128;

/// The plugin; shared by the server's connections and its chores.
#[derive(Debug)]
pub struct Plugin {
    controller: Arc<Controller>,
    scope: Scope,
    /// What the engine calls this plugin.
    name: String,
    /// How long a pool or an address may wait for its network or endpoint, in seconds. An engine
    /// takes far less; what waits longer belongs to a call that broke off.
    unused_s_max: u64,
    books: Mutex<Books>,
    granted: Mutex<Granted>,
    /// Held while a pool is looked for and taken.
    pools: tokio::sync::Mutex<()>,
    /// Wakes the chores that are this node's alone.
    chores: Notify,
    /// Wakes those that ask other members.
    shared_chores: Notify,
    seen: Mutex<chores::Seen>,
    discovered: watch::Sender<BTreeSet<IpAddr>>,
}

impl Plugin {
    /// Makes the plugin of an engine.
    pub fn new(controller: Arc<Controller>, config: &config::Docker) -> Arc<Self> {
        Arc::new(Self {
            controller,
            scope: config.scope,
            name: config.name.clone(),
            unused_s_max: config.unused.as_secs(),
            books: Mutex::default(),
            granted: Mutex::default(),
            pools: tokio::sync::Mutex::default(),
            chores: Notify::new(),
            shared_chores: Notify::new(),
            seen: Mutex::default(),
            discovered: watch::Sender::default(),
        })
    }

    /// Follows the addresses of the other nodes of the engine's Swarm.
    pub fn discovered(&self) -> watch::Receiver<BTreeSet<IpAddr>> {
        self.discovered.subscribe()
    }

    /// Holds the books for a few instructions; never across an await.
    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same, for what a Swarm's leader was given.
    fn granted(&self) -> MutexGuard<'_, Granted> {
        self.granted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Checks the form of an id.
fn checked_id<'a>(member: &str, id: &'a str) -> Answer<&'a str> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if id.is_empty() {
        return Err(ControlError::invalid(format!("`{member}` is missing in the request")));
    }
    if id.len() > ID_BYTES_MAX || !id.chars().all(fits) {
        return Err(ControlError::invalid(format!("`{member}` is not an id of an engine")));
    }
    Ok(id)
}

/// Tells a Swarm's network from that of one engine, whose ids are of 64 hexadecimal digits.
fn is_swarms(network_id: &str) -> bool {
    !(network_id.len() == 64 && network_id.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_tell_a_swarms_network_from_an_engines() {
        assert!(is_swarms("ur8tmux5x1o7sl8c5ckjx1a5d"));
        assert!(!is_swarms(&"24b65d5d04ed7da9".repeat(4)));
    }

    #[test]
    fn an_id_that_is_missing_or_could_be_a_path_is_refused() {
        assert!(checked_id("NetworkID", "ur8tmux5x1o7sl8c5ckjx1a5d").is_ok());
        for id in ["", "../x", "a/b", "a b", &"a".repeat(129)] {
            assert!(checked_id("NetworkID", id).is_err(), "{id}");
        }
    }
}
