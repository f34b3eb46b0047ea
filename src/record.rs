//! The engine's own log records: `record::info!` and its like, with the arguments of `format!`.
//!
//! They go to the logger that the crate `log` knows, with the module as origin, and as far as its
//! level of the moment lets them. The crate's own macros are for libraries: what those record below
//! warnings is left out when the engine is built (feature `terse` in Cargo.toml), and ours is not. A
//! record says nothing of file and line, which no log shows.
//!
//! Other than with those macros, the arguments are evaluated whether the record is wanted or not.

use std::fmt::Arguments;

use log::{Level, Record};

macro_rules! error {
    ($($message:tt)+) => {
        $crate::record::send(::log::Level::Error, module_path!(), format_args!($($message)+))
    };
}

// `warn` by itself would be the attribute.
macro_rules! warning {
    ($($message:tt)+) => {
        $crate::record::send(::log::Level::Warn, module_path!(), format_args!($($message)+))
    };
}

macro_rules! info {
    ($($message:tt)+) => {
        $crate::record::send(::log::Level::Info, module_path!(), format_args!($($message)+))
    };
}

macro_rules! debug {
    ($($message:tt)+) => {
        $crate::record::send(::log::Level::Debug, module_path!(), format_args!($($message)+))
    };
}

pub(crate) use {debug, error, info, warning as warn};

/// Hands one record to the logger.
pub(crate) fn send(level: Level, origin: &str, message: Arguments<'_>) {
    if level <= log::max_level() {
        let mut record = Record::builder();
        let record = record.level(level).target(origin).args(message);
        log::logger().log(&record.build());
    }
}
