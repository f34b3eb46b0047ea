//! The resident updater, end to end: `castoff agent` with a `systemctl` that records and misbehaves, a
//! server that packages come from, and a receiver of reports.
#![cfg(unix)]

mod child;
mod crowd;
mod cycle;
mod doctor;
mod failing;
mod forge;
mod install;
mod orders;
mod otrs;
mod page;
mod shell;
mod unasked;
mod world;
