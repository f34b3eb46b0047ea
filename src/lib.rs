//! The engine of Castoff: it brings an app up to date, or leaves it exactly as it was, and starts
//! it.
//!
//! The map, in the order in which an update travels:
//!
//! ```text
//! recover -> check -> fetch -> verify -> plan -> stage -> back up -> commit -> launch -> confirm
//! layout     source   fetch    trust     plan    stage    layout     layout    entry     updater
//! ```
//!
//! [`updater`] is that pipeline: one method a phase, each taking what the one before gave, so that
//! code which skips verification does not compile. Every front end (the launcher, the `castoff`
//! command) passes an [`Observer`](progress::Observer) and does with the outcome what suits it.
//!
//! The engine prints nothing, parses no arguments and knows no terminal; [`launcher`] does, and
//! only binaries use it. Nothing writes to a disk but through [`disk`].

#![cfg_attr(
    test,
    expect(
        clippy::disallowed_methods,
        reason = "tests make the folders that they work in; the ban is for what is shipped"
    )
)]

pub mod archive;
pub mod companions;
pub mod config;
pub mod database;
pub mod disk;
pub mod entry;
pub mod environments;
pub mod error;
pub mod fetch;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod hooks;
mod json;
pub mod launcher;
pub mod layout;
mod order;
mod packed;
pub mod plan;
pub mod progress;
mod record;
pub mod release;
pub mod repair;
mod selfupdate;
pub mod source;
pub mod stage;
pub mod state;
pub mod steps;
pub mod trust;
pub mod uninstall;
pub mod updater;
pub mod version;
pub mod when;

pub use error::{Code, Error, Result};
