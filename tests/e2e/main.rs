//! End to end: the launcher's executable, a release endpoint, real packages, real processes.
#![expect(
    clippy::disallowed_methods,
    reason = "tests set up and spoil what the launcher meets"
)]

mod archives;
mod attacks;
mod bad_input;
mod check_files;
#[cfg(unix)]
mod companions;
mod dialogs;
#[cfg(target_os = "linux")]
mod disks;
mod going_back;
mod hostile;
mod install;
mod kills;
// Thousands of starts of the launcher, of which none depends on the processor.
#[cfg(all(target_os = "linux", not(emulated)))]
mod power_cut;
#[cfg(target_os = "linux")]
mod read_only;
mod repair;
mod selfupdate;
mod shortcuts;
mod siege;
#[cfg(unix)]
mod snapshot;
mod sources;
mod start;
mod trial;
mod uninstall;
mod when;
#[cfg(windows)]
mod windows;
#[cfg(windows)]
mod windows_exe;
mod world;
