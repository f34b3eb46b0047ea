//! What the release server and the resident updater share as servers: [`tls`], and so far nothing else.

pub mod tls;
