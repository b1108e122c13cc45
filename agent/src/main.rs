//! The daemon and command line `weft`.
fn main() {}
