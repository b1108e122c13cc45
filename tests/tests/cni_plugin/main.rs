//! The CNI plugin `weft-cni` with real agents: every command, chains with the reference plugins,
//! and what breaks.

mod chain;
mod commands;
mod failures;
