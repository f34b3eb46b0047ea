//! From a package to what people have, by way of the places at which releases are published: each
//! told by the `castoff` command and seen by the launcher that follows.

mod bucket;
#[expect(dead_code, reason = "the other tests ask an endpoint besides")]
#[path = "../common/mod.rs"]
mod common;
mod folder;
mod line;
mod server;
mod world;
