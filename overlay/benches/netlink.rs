//! How fast peers get into the kernel.
fn main() {}
