//! The daemon and command line `weft`, as a library so that tests and benches reach its parts.

pub mod app;
pub mod cli;
pub mod client;
pub mod cni_plugin;
pub mod commands;
pub mod config;
pub mod control;
pub mod controller;
pub mod core;
pub mod docker;
pub mod doctor;
pub mod failure;
pub mod gossip;
pub mod host_routes;
pub mod identity;
pub mod ipam_driver;
pub mod lab;
pub mod logging;
pub mod node;
pub mod overlay_driver;
pub mod plugins;
pub mod registry;
pub mod seed;
pub mod store;
pub mod token;
