//! The network: asking a source, and fetching a package.
//!
//! [`Client`] makes requests by this project's own rules (redirects, tokens, plain http, time
//! limits). [`download`] brings a package to disk, resumes what broke off, and hands on the very
//! file that it has hashed. [`resolve`] makes a server's links absolute.
//!
//! Whatever a server sends is hostile until proven: no name of a file, no address and no size is
//! taken from it without a check.

pub(crate) mod aside;
mod client;
mod download;
mod files;
pub mod local;
pub(crate) mod metered;
mod proxy;
mod stall;
mod system_proxy;
mod url;

pub(crate) use client::BYTES;
pub use client::{Answer, Client};

pub(crate) use download::finished_path;
pub use download::{Fetched, at_hand, clear_others, download, lies_in, missing};
pub use files::{download_files, files_at_hand};
pub(crate) use url::Url;
pub use url::resolve;
#[cfg(fuzzing)]
pub(crate) use {client::Reply, download::resumed};

#[cfg(test)]
pub(crate) mod tests;
