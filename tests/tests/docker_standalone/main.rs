//! Real engines that are in no Swarm, each beside an agent.

mod another_ipam;
mod compose;
mod connections;
mod networks;
mod options;
mod ports;
mod restarts;
