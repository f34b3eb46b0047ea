//! The resident updater: it is told of a new version, fetches it, stops the services, switches, starts
//! them and looks whether they run; and leads back when they do not.
//!
//! | module | does |
//! |---|---|
//! | [`config`] | reads `agent.toml` |
//! | [`board`] | knows what is under way, and tells whoever asks or listens |
//! | [`work`] | does it: one operation at a time, by the engine |
//! | [`memory`] | keeps what must outlive a restart |
//! | [`package`] | what a package with a `manifest.json` is to become |
//! | [`services`] | stops, starts and looks at what runs |
//! | [`report`] | tells another program of every step |
//! | [`tope`] | the addresses of the TOP.E updater, field for field |
//! | [`news`] | knows what the source says of releases |
//! | [`otrs`] | the addresses of OTRS Web's upgrade, field for field, and its page |
//! | [`access`] | who may call |
//! | [`serve`] | the connections, and the end |
//!
//! Data flows one way: an address's handler asks [`board`] whether there is room, hands an operation to
//! [`work`], and answers; the operation writes on the board, and the board is what everybody reads.
//!
//! Promises: no call waits for an operation, but for the two of OTRS Web that promise its result; an operation that was interrupted is undone or finished at
//! the next start; the version that was whole before runs again, or the factory version, or nothing and an
//! alarm.

pub mod access;
pub mod board;
pub mod config;
pub mod memory;
pub mod news;
pub mod otrs;
pub mod package;
pub mod report;
pub mod serve;
pub mod services;
pub mod tope;
pub mod work;

pub use serve::run;
