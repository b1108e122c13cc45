//! The runtime's side against a real plugin process; see `test-plugin/main.rs` for the plugin.
//!
//! Claims follow the list of what the tests of Go's libcni 1.2.3 check, in our own words.
//! What compiles old Go code there is done here with a plugin that behaves as the old ones.

mod bench;
mod blocking;
mod cache;
mod conf;
mod conf_list;
mod gc;
mod hostile;
mod invoke;
mod list;
mod noop;
mod property;
mod single;
mod timeout;
