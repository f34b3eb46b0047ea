//! The resident updater: it is told of a new version, fetches it, stops the services, switches, starts
//! them and looks whether they run; and leads back when they do not.
//!
//! | module | does |
//! |---|---|
//! | [`config`] | reads `agent.toml` |
//! | [`board`] | knows what is under way, and tells whoever asks or listens |
//! | [`work`] | does it: one operation at a time, by the engine |
//! | [`memory`] | keeps what must outlive a restart |
//! | [`checks`] | looks for updates unasked |
//! | [`package`] | what a package with a `manifest.json` is to become |
//! | [`services`] | stops, starts and looks at what runs: by systemd, by commands, or as a child of this process |
//! | [`ledger`] | tells the app which version it is |
//! | [`report`] | tells another program of every step |
//! | [`tope`] | the addresses of the TOP.E updater, field for field |
//! | [`otrs`] | those of OTRS Web, with its page |
//! | [`news`] | what the source says, as it was last heard |
//! | [`access`] | who may call |
//! | [`ownership`] | whether others may change what it works on |
//! | [`serve`] | the connections, and the end |
//! | [`shell`] | an upgrade from a shell |
//! | [`install`] | the unit by which systemd runs it |
//! | [`doctor`] | whether a device is as it should be |
//!
//! Data flows one way: an address's handler asks [`board`] whether there is room, hands an operation to
//! [`work`], and answers; the operation writes on the board, and the board is what everybody reads.
//!
//! Promises: no call waits for an operation; an operation that was interrupted is undone or finished at
//! the next start; the version that was whole before runs again, or the factory version, or nothing and an
//! alarm.

pub mod access;
pub mod board;
pub mod checks;
pub mod config;
pub mod doctor;
pub mod install;
pub mod ledger;
pub mod memory;
pub mod news;
pub mod otrs;
pub mod ownership;
pub mod package;
pub mod report;
pub mod serve;
pub mod services;
pub mod shell;
pub mod tope;
pub mod work;

pub use serve::run;
