//! What the tests of every crate are built from: packages, good and hostile, an HTTP server that
//! breaks, stalls and lies as ordered, signers, good and hostile, and a browser.

pub mod browser;
pub mod http;
pub mod package;
pub mod sign;
pub mod tar;
