//! The `castoff` command.
fn main() {}
