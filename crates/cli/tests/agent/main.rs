//! The resident updater, end to end: `castoff agent` with a `systemctl` that records and misbehaves, a
//! server that packages come from, and a receiver of reports.
#![cfg(unix)]

mod cycle;
mod doctor;
mod failing;
mod install;
mod orders;
mod otrs;
mod page;
mod unasked;
mod world;
