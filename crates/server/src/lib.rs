//! The release server: what publishers upload, and what launchers ask for.
//!
//! | module | does |
//! |---|---|
//! | [`config`] | reads what is configured |
//! | [`registry`] | knows apps, releases, channels, documents, tokens, in SQLite or PostgreSQL |
//! | [`storage`] | keeps packages and their files, on a disk or in a bucket |
//! | [`intake`] | opens and unpacks what arrives, before anything of it is believed |
//! | [`publishing`] | what publishers do, as one change each |
//! | [`sign`] | signs indexes |
//! | [`visit`] | who asks, from where, with which token |
//! | [`form`] | reads forms, and puts their files into the spool |
//! | [`answer`] | keeps answers until something changes |
//! | [`media`] | sends packages, whole or in part |
//! | [`native`] | the addresses of `castoff publish`, and of launchers |
//! | [`zghmvp`] | the addresses of both Django servers, field for field |
//! | [`admin`] | the pages for people |
//! | [`import`] | takes over what a Django server has |
//! | [`listen`] | connections, TLS, the end |
//! | [`linger`] | takes what is sent in vain |
//! | [`metrics`] | what is counted |
//!
//! Data flows one way: an address's handler reads the request, asks [`publishing`] or [`registry`], and
//! writes an answer. Nothing else writes to the database or to the store.

pub mod admin;
pub mod answer;
pub mod config;
mod error;
pub mod form;
pub mod import;
pub mod intake;
pub mod linger;
pub mod listen;
pub mod media;
pub mod metrics;
pub mod native;
pub mod publishing;
pub mod registry;
pub mod secret;
mod server;
pub mod sign;
pub mod storage;
pub mod visit;
pub mod zghmvp;

pub use error::{Error, Result};
pub use server::{Server, prepare, router};
