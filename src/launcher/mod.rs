//! The launcher's face: what a person sees, in their language, and what is kept for support.
//!
//! - [`messages`]: the texts, in the languages of `assets/messages`, and the rule that nothing
//!   from outside reaches a terminal uncleaned.
//! - [`markdown`]: release notes, for a terminal.
//! - [`terminal`]: the observer that shows progress, outcomes and errors, on stderr only.
//! - [`dialog`]: the error after which nothing starts, in a window where there is no terminal.
//! - [`logfile`]: the log, rotated, which fails without telling anyone.
//! - [`shortcut`]: shortcuts to the launcher, on the desktop and in the menu.
//! - `worker`: a process of its own that looks for updates while the app runs.
//! - [`mod@panic`]: a fault of Castoff itself, survived by starting anew.
//!
//! Only binaries use this module; the engine does not know it. It decides nothing about an update.
//!
//! # Exit codes
//!
//! The launcher hands on the app's exit code. It has codes of its own only where no app ran, and
//! for the commands of `--castoff`; they follow `sysexits.h`, so that they can hardly be taken for an app's.
//!
//! | code | name | means |
//! |---|---|---|
//! | 69 | [`EXIT_UNAVAILABLE`] | no usable version: nothing is installed and nothing could be had |
//! | 70 | [`EXIT_INTERNAL`] | a fault of Castoff itself |
//! | 72 | [`EXIT_CANNOT_START`] | the entry point cannot be started |
//! | 74 | [`EXIT_DISK`] | the disk: a recovery, a backup or a file operation failed |
//! | 75 | [`EXIT_TRY_AGAIN`] | something else is at work just now, or a person said no; try again |
//! | 78 | [`EXIT_CONFIG`] | the configuration, or a command, is missing or wrong |
//!
//! # Windows
//!
//! The launcher is a GUI program there, so that a double-click opens no console window. Started
//! from a console it uses that one, and so does the app. A shell does not wait for a GUI program
//! that is typed at its prompt; a batch file does, and so do `start /wait` in cmd.exe,
//! `Start-Process -Wait` in PowerShell and everything else that waits for a process. They get the
//! exit code. What is redirected stays so, and is UTF-8; a console gets its text as UTF-16,
//! whatever its code page.

pub mod commands;
pub mod dialog;
pub mod logfile;
pub mod markdown;
pub mod messages;
pub mod operations;
pub mod panic;
mod session;
pub mod shortcut;
pub mod terminal;
mod uninstall;
mod worker;

pub use session::Session;

use crate::{Code, Error};

/// No version could be had or used: unreachable, refused, or not what was announced.
/// (`EX_UNAVAILABLE`)
pub const EXIT_UNAVAILABLE: u8 = 69;
/// A fault of Castoff itself. (`EX_SOFTWARE`)
pub const EXIT_INTERNAL: u8 = 70;
/// What is installed cannot be started. (`EX_OSFILE`)
pub const EXIT_CANNOT_START: u8 = 72;
/// The disk failed us: above all, an interrupted update could not be undone. (`EX_IOERR`)
pub const EXIT_DISK: u8 = 74;
/// Another update or the app itself is running, or a person said no; the same call may succeed in
/// a moment.
/// (`EX_TEMPFAIL`)
pub const EXIT_TRY_AGAIN: u8 = 75;
/// The configuration is missing or wrong. (`EX_CONFIG`)
pub const EXIT_CONFIG: u8 = 78;

/// The exit code for an error that kept the app from running.
pub fn exit_code(error: &Error) -> u8 {
    match error.code() {
        // A first installation that another launcher is just making is worth waiting for.
        Code::NotInstalled => match error {
            Error::NotInstalled {
                source: Some(cause),
                ..
            } if exit_code(cause) == EXIT_TRY_AGAIN => EXIT_TRY_AGAIN,
            _ => EXIT_UNAVAILABLE,
        },
        Code::ConfigInvalid | Code::ConfigMissing | Code::ConfigLoosened | Code::LayoutUnfit => {
            EXIT_CONFIG
        }
        Code::Unreachable
        | Code::HttpStatus
        | Code::AnswerInvalid
        | Code::NoActiveVersion
        | Code::AppUnavailable
        | Code::InsecureUrl
        | Code::RedirectRefused
        | Code::DownloadFailed
        | Code::DownloadStalled
        | Code::SizeMismatch
        | Code::TooLarge
        | Code::HashMismatch
        | Code::VersionInvalid
        | Code::DowngradeRefused
        | Code::BadVersion
        | Code::BackingOff
        | Code::RateLimited
        | Code::AccessDenied
        | Code::RepoNotFound
        | Code::NoReleases
        | Code::VersionSkipped
        | Code::VersionPinned
        | Code::RolloutPending
        | Code::MeteredConnection
        | Code::CriticalBlocked
        | Code::TrustUnsigned
        | Code::TrustSignature
        | Code::TrustInvalid
        | Code::TrustExpired
        | Code::TrustFromFuture
        | Code::TrustRolledBack
        | Code::TrustMismatch
        | Code::TrustWithdrawn
        | Code::TargetUnavailable
        | Code::ArchiveInvalid
        | Code::ArchiveUnsafe
        | Code::FileListInvalid
        | Code::PartialMisfit
        | Code::PackageCommands
        | Code::NothingWaits
        | Code::LauncherUnfit => EXIT_UNAVAILABLE,
        Code::DiskFull
        | Code::PermissionDenied
        | Code::Io
        | Code::TargetUnsafe
        | Code::StateInvalid
        | Code::RepairIncomplete
        | Code::BackupNotFound
        | Code::BackupDamaged
        | Code::NoWayBack
        | Code::NoData
        | Code::VersionNeeded
        | Code::FactorySet
        | Code::DatabaseCopyFailed
        | Code::DatabaseDamaged
        | Code::DatabaseRestoreFailed
        | Code::RecoveryFailed
        | Code::NoShortcutPlace => EXIT_DISK,
        Code::FileInUse | Code::UpdateRunning | Code::AppRunning => EXIT_TRY_AGAIN,
        Code::EntryMissing
        | Code::EntryInvalid
        | Code::InterpreterMissing
        | Code::StartFailed
        | Code::HookFailed
        | Code::ServicesFailed
        | Code::DependenciesFailed
        | Code::TrialFailed => EXIT_CANNOT_START,
        Code::Internal => EXIT_INTERNAL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_installation_under_way_elsewhere_is_worth_another_try() {
        let busy = Error::NotInstalled {
            folder: "client".into(),
            source: Some(Box::new(Error::UpdateRunning {
                path: "client".into(),
            })),
        };
        let absent = Error::NotInstalled {
            folder: "client".into(),
            source: None,
        };
        assert_eq!(exit_code(&busy), EXIT_TRY_AGAIN);
        assert_eq!(exit_code(&absent), EXIT_UNAVAILABLE);
    }
}
