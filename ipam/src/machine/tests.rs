//! Claims about whole clusters of machines, by schedule and by chance.

mod addresses;
mod cluster;
mod farewells;
mod heirs;
mod leaders;
mod networks;
mod schedules;
mod simulation;
mod swarm;
