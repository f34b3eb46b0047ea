//! End to end: the launcher's executable, a release endpoint, real packages, real processes.
#![expect(
    clippy::disallowed_methods,
    reason = "tests set up and spoil what the launcher meets"
)]

mod bad_input;
mod going_back;
mod install;
mod kills;
mod start;
mod world;
