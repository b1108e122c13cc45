//! A cluster of `Sync`s on a virtual clock, and what must hold of it.

mod cluster;
mod deleted;
mod entries;
mod facts;
mod faults;
mod owners;
mod properties;
