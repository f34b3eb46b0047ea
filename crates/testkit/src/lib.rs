//! What the tests of every crate are built from: packages, good and hostile, and an HTTP server
//! that breaks, stalls and lies as ordered.

pub mod http;
pub mod package;
