//! What can go wrong: one enum, a stable code each.
//!
//! A message (`Display`) names the operation, the path or URL, and what was expected and found; it
//! is English, lower case, and made for the log. What a person reads is made from
//! [`Error::code`] and [`Error::details`] by the message catalogues (`assets/messages`), which
//! hold a sentence and a hint for every code in every language.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::disk::in_use::is_held;

/// The engine's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of another library, kept as the source.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// How many characters of somebody's text an error repeats: enough to find the rest by, and little
/// enough for a terminal, whoever sent how much of it. The end is a third: it is what most paths
/// differ in, and where a parser says at which line it was.
const SHOWN: usize = 240;

/// A text from outside as an error repeats it: what is too long loses its middle.
pub(crate) fn in_short(text: &str) -> Cow<'_, str> {
    // In bytes: there are never fewer of them.
    if text.len() <= SHOWN {
        return text.into();
    }
    let place = |(place, _)| place;
    let head = text.char_indices().nth(SHOWN * 2 / 3).map(place);
    let tail = text.char_indices().rev().nth(SHOWN / 3 - 1).map(place);
    match (head, tail) {
        (Some(head), Some(tail)) if head < tail => {
            format!("{}…{}", &text[..head], &text[tail..]).into()
        }
        _ => text.into(),
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// The stable name of a kind of error. Programs may rely on the text; it never changes
        /// its meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// Every code, in the order of this file.
            pub const ALL: &[Code] = &[$(Code::$name,)*];

            /// Whether a release is not taken by a rule, and nothing has gone wrong.
            pub const fn is_refusal(self) -> bool {
                matches!(
                    self,
                    Self::BadVersion
                        | Self::BackingOff
                        | Self::DowngradeRefused
                        | Self::VersionSkipped
                        | Self::VersionPinned
                        | Self::RolloutPending
                        | Self::MeteredConnection
                )
            }

            /// The code as it is printed, logged and stored.
            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$name => $text,)* }
            }
        }
    };
}

codes! {
    /// launcher.toml, the environment or the baked configuration has a wrong key or value.
    ConfigInvalid = "CONFIG_INVALID",
    /// There is no configuration at all.
    ConfigMissing = "CONFIG_MISSING",
    /// Something outside tried to loosen what was baked into the executable.
    ConfigLoosened = "CONFIG_LOOSENED",
    /// The source or the package's server did not answer.
    Unreachable = "SOURCE_UNREACHABLE",
    /// The server answered with an error status.
    HttpStatus = "HTTP_STATUS",
    /// The source answered something that is not a release.
    AnswerInvalid = "ANSWER_INVALID",
    /// The source knows the app, and has no version to offer.
    NoActiveVersion = "NO_ACTIVE_VERSION",
    /// The source does not know the app, or has disabled it.
    AppUnavailable = "APP_UNAVAILABLE",
    /// A plain http address where https is required.
    InsecureUrl = "INSECURE_URL",
    /// A redirect to where none may lead, or too many of them.
    RedirectRefused = "REDIRECT_REFUSED",
    /// The connection broke while the package was being fetched.
    DownloadFailed = "DOWNLOAD_FAILED",
    /// The package came too slowly, or not at all any more.
    DownloadStalled = "DOWNLOAD_STALLED",
    /// Something has another size than was announced.
    SizeMismatch = "SIZE_MISMATCH",
    /// Something is larger than the limits allow.
    TooLarge = "TOO_LARGE",
    /// Something has another digest than was announced.
    HashMismatch = "HASH_MISMATCH",
    /// A text that is no version.
    VersionInvalid = "VERSION_INVALID",
    /// An older version was offered and the configuration refuses it.
    DowngradeRefused = "DOWNGRADE_REFUSED",
    /// The offered package failed its trial on this machine.
    BadVersion = "BAD_VERSION",
    /// The offered package failed its checks lately, and is left alone for a while.
    BackingOff = "BACKING_OFF",
    /// A forge that answers no more questions for a while.
    RateLimited = "RATE_LIMITED",
    /// A source that asks who is asking, or knows and refuses.
    AccessDenied = "ACCESS_DENIED",
    /// A repository that is not there, or not for everybody.
    RepoNotFound = "REPO_NOT_FOUND",
    /// A repository without a version to install.
    NoReleases = "NO_RELEASES",
    /// A version that the configuration leaves out.
    VersionSkipped = "VERSION_SKIPPED",
    /// A version other than the one that may be installed.
    VersionPinned = "VERSION_PINNED",
    /// A version that is not yet for this installation.
    RolloutPending = "ROLLOUT_PENDING",
    /// A large package, and a connection that is paid for by the byte.
    MeteredConnection = "METERED_CONNECTION",
    /// An installed version that must not be started any more.
    CriticalBlocked = "CRITICAL_BLOCKED",
    /// Keys are pinned, and what came has no signature.
    TrustUnsigned = "TRUST_UNSIGNED",
    /// Fewer keys have signed something than it takes.
    TrustSignature = "TRUST_SIGNATURE",
    /// A signed document, or its envelope, that is none.
    TrustInvalid = "TRUST_INVALID",
    /// Keys or an index that hold no longer.
    TrustExpired = "TRUST_EXPIRED",
    /// An index from the future, or a clock from the past.
    TrustFromFuture = "TRUST_FROM_FUTURE",
    /// An index that is older than one that was seen.
    TrustRolledBack = "TRUST_ROLLED_BACK",
    /// A signed document that belongs somewhere else: to another app, channel or version.
    TrustMismatch = "TRUST_MISMATCH",
    /// A version that the publisher has taken back.
    TrustWithdrawn = "TRUST_WITHDRAWN",
    /// A release that has nothing for this kind of machine.
    TargetUnavailable = "TARGET_UNAVAILABLE",
    /// The package is no archive, or a broken one.
    ArchiveInvalid = "ARCHIVE_INVALID",
    /// The package holds a name or a link that must not be written.
    ArchiveUnsafe = "ARCHIVE_UNSAFE",
    /// A file list that contradicts itself or its package.
    FileListInvalid = "FILE_LIST_INVALID",
    /// A partial package that does not fit what is installed.
    PartialMisfit = "PARTIAL_MISFIT",
    /// A package that brings commands to run, and is not signed, or not allowed to.
    PackageCommands = "PACKAGE_COMMANDS",
    /// Nothing was fetched that could be installed.
    NothingWaits = "NOTHING_WAITS",
    /// Services did not stop, or did not start.
    ServicesFailed = "SERVICES_FAILED",
    /// No room on the disk, or a quota that is used up.
    DiskFull = "DISK_FULL",
    /// The system forbids a read or a write.
    PermissionDenied = "PERMISSION_DENIED",
    /// Any other failure of a file operation.
    Io = "IO_ERROR",
    /// A link, a mount point or something else that is in the way of an update.
    TargetUnsafe = "TARGET_UNSAFE",
    /// A file that cannot be replaced because a program holds it.
    FileInUse = "FILE_IN_USE",
    /// Another updater works on the same folder.
    UpdateRunning = "UPDATE_RUNNING",
    /// The app is running, so nothing can be replaced.
    AppRunning = "APP_RUNNING",
    /// The entry point does not exist.
    EntryMissing = "ENTRY_MISSING",
    /// The entry point lies outside the client folder, or is no file.
    EntryInvalid = "ENTRY_INVALID",
    /// No interpreter for the entry point was found.
    InterpreterMissing = "INTERPRETER_MISSING",
    /// The system would not start the entry point.
    StartFailed = "START_FAILED",
    /// The new version was started and died at once.
    TrialFailed = "TRIAL_FAILED",
    /// A command of the configuration failed, or did not end within its time.
    HookFailed = "HOOK_FAILED",
    /// The app's Python dependencies could not be installed.
    DependenciesFailed = "DEPENDENCIES_FAILED",
    /// A database could not be copied.
    DatabaseCopyFailed = "DATABASE_COPY_FAILED",
    /// A copy of a database that is not what it was when it was made.
    DatabaseDamaged = "DATABASE_DAMAGED",
    /// A database could not be put back.
    DatabaseRestoreFailed = "DATABASE_RESTORE_FAILED",
    /// A launcher that was announced failed its self-check.
    LauncherUnfit = "LAUNCHER_UNFIT",
    /// Nothing is installed, and nothing could be had.
    NotInstalled = "NOT_INSTALLED",
    /// A file of Castoff's own state cannot be used.
    StateInvalid = "STATE_INVALID",
    /// Installed files are missing or damaged, and nothing has them as they were.
    RepairIncomplete = "REPAIR_INCOMPLETE",
    /// No backup of that version.
    BackupNotFound = "BACKUP_NOT_FOUND",
    /// A backup that is not what it was when it was made.
    BackupDamaged = "BACKUP_DAMAGED",
    /// There is no such version to go back to.
    NoWayBack = "NO_WAY_BACK",
    /// No databases are kept with a version.
    NoData = "NO_DATA",
    /// A version that cannot be removed.
    VersionNeeded = "VERSION_NEEDED",
    /// There is a factory version already.
    FactorySet = "FACTORY_SET",
    /// A command that the layout has no use for.
    LayoutUnfit = "LAYOUT_UNFIT",
    /// An interrupted update could not be undone.
    RecoveryFailed = "RECOVERY_FAILED",
    /// This user has no such place for a shortcut.
    NoShortcutPlace = "NO_SHORTCUT_PLACE",
    /// A fault of Castoff itself.
    Internal = "INTERNAL",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What went wrong.
#[derive(thiserror::Error)]
#[expect(
    missing_docs,
    reason = "the message above each variant says what its fields are"
)]
pub enum Error {
    #[error("{place}: {problem}{}", did_you_mean(.nearest.as_deref()))]
    ConfigInvalid {
        place: String,
        problem: String,
        nearest: Option<String>,
    },
    #[error("no configuration: {} does not exist and none was baked in", path.display())]
    ConfigMissing { path: PathBuf },
    #[error("{place}: {key} = {value} would loosen what was baked in ({baked})")]
    ConfigLoosened {
        place: String,
        key: String,
        value: String,
        baked: String,
    },
    #[error("cannot reach {url}")]
    Unreachable { url: String, source: Cause },
    #[error("{url} answered {status}")]
    HttpStatus {
        url: String,
        status: u16,
        retry_after: Option<Duration>,
    },
    #[error("{url} answered something that is not a release: {problem}")]
    AnswerInvalid { url: String, problem: String },
    #[error("{url} has no active version: {said}")]
    NoActiveVersion { url: String, said: String },
    #[error("{url} does not offer the app: {said}")]
    AppUnavailable { url: String, said: String },
    #[error("{url} is not https")]
    InsecureUrl { url: String },
    #[error("redirect from {from} to {to} refused: {problem}")]
    RedirectRefused {
        from: String,
        to: String,
        problem: &'static str,
    },
    #[error("the download of {url} broke off after {received} bytes")]
    DownloadFailed {
        url: String,
        received: u64,
        source: Cause,
    },
    #[error("the download of {url} stalled: {received} bytes, then too little in {seconds} s")]
    DownloadStalled {
        url: String,
        received: u64,
        seconds: u64,
    },
    #[error("{subject} has {got} bytes, expected {expected}")]
    SizeMismatch {
        subject: String,
        expected: u64,
        got: u64,
    },
    #[error("{subject} exceeds the limit of {limit}")]
    TooLarge { subject: String, limit: String },
    #[error("{subject} has SHA-256 {got}, expected {expected}")]
    HashMismatch {
        subject: String,
        expected: String,
        got: String,
    },
    #[error("{text:?} is no version: {problem}")]
    VersionInvalid { text: String, problem: &'static str },
    #[error(
        "version {offered} is older than the installed {installed}, and downgrades are refused"
    )]
    DowngradeRefused { installed: String, offered: String },
    #[error("version {version} failed its trial here before ({why})")]
    BadVersion { version: String, why: String },
    #[error("version {version} failed its checks lately; next try after {until}")]
    BackingOff { version: String, until: String },
    #[error("{url} answers no more questions until {until}")]
    RateLimited { url: String, until: String },
    #[error("{url} refuses access ({status})")]
    AccessDenied { url: String, status: u16 },
    #[error("there is no repository {repo} at {url}")]
    RepoNotFound { url: String, repo: String },
    #[error("{url} has no version to install: {problem}")]
    NoReleases { url: String, problem: String },
    #[error("version {version} is left out by update.skip")]
    VersionSkipped { version: String },
    #[error("version {version} is not {pinned}, to which update.pin holds")]
    VersionPinned { version: String, pinned: String },
    #[error(
        "version {version} is for {rollout} per cent of all installations so far, and not for this one"
    )]
    RolloutPending { version: String, rollout: u64 },
    #[error("version {version} is not fetched over a metered connection ({size} bytes)")]
    MeteredConnection { version: String, size: String },
    #[error("version {installed} must not be started any more, and {offered} cannot be installed")]
    CriticalBlocked { installed: String, offered: String },
    #[error("{subject} is not signed ({problem}), and keys are pinned")]
    TrustUnsigned {
        subject: String,
        problem: &'static str,
    },
    #[error("{subject} is signed by {signed} of the {role} keys, {needed} have to sign")]
    TrustSignature {
        subject: String,
        role: &'static str,
        signed: usize,
        needed: usize,
    },
    #[error("{subject}: {problem}")]
    TrustInvalid { subject: String, problem: String },
    #[error("{subject} expired at {expired}")]
    TrustExpired { subject: String, expired: String },
    #[error("{subject} was issued at {issued}, more than a day ahead of this clock")]
    TrustFromFuture { subject: String, issued: String },
    #[error(
        "{subject} has number {seq}, and {known} was seen already, or the same with other content"
    )]
    TrustRolledBack {
        subject: String,
        seq: u64,
        known: u64,
    },
    #[error("{subject} has the {what} {got}, expected {expected}")]
    TrustMismatch {
        subject: String,
        what: &'static str,
        expected: String,
        got: String,
    },
    #[error("version {version} is {problem}")]
    TrustWithdrawn { version: String, problem: String },
    #[error("version {version} is not for {target}: {problem}")]
    TargetUnavailable {
        version: String,
        target: String,
        problem: String,
    },
    #[error("{subject} is not a usable archive: {problem}")]
    ArchiveInvalid { subject: String, problem: String },
    #[error("archive entry {entry:?} refused: {problem}")]
    ArchiveUnsafe { entry: String, problem: String },
    #[error("file list: {problem}")]
    FileListInvalid { problem: String },
    #[error("the partial package fits {fits}, not the installed {installed}")]
    PartialMisfit { installed: String, fits: String },
    #[error("the package brings commands to run ({hooks}), and those of this package are refused")]
    PackageCommands { hooks: String },
    #[error("nothing was fetched that could be installed")]
    NothingWaits,
    #[error("{problem}")]
    ServicesFailed { problem: String },
    #[error("{} has {available} bytes free, {needed} are needed", path.display())]
    DiskFull {
        path: PathBuf,
        needed: u64,
        available: u64,
    },
    #[error("cannot {operation} {}", path.display())]
    Io {
        operation: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("{} is in the way: {problem}", path.display())]
    TargetUnsafe {
        path: PathBuf,
        problem: &'static str,
    },
    #[error("{} is in use", path.display())]
    FileInUse { path: PathBuf, source: io::Error },
    #[error("another updater works on {}", path.display())]
    UpdateRunning { path: PathBuf },
    #[error("the app in {} is running", path.display())]
    AppRunning { path: PathBuf },
    #[error("the entry point {entry} does not exist in {}", folder.display())]
    EntryMissing { entry: String, folder: PathBuf },
    #[error("the entry point {entry:?} cannot be used: {problem}")]
    EntryInvalid {
        entry: String,
        problem: &'static str,
    },
    #[error("no interpreter for {entry}; tried {tried}")]
    InterpreterMissing { entry: String, tried: String },
    #[error("cannot start {}", path.display())]
    StartFailed { path: PathBuf, source: io::Error },
    #[error("version {version} died right after its start: {how}")]
    TrialFailed { version: String, how: String },
    #[error("hook {hook}: {command}: {problem}")]
    HookFailed {
        hook: &'static str,
        command: String,
        problem: String,
    },
    #[error("cannot install what {} names: {problem}", path.display())]
    DependenciesFailed { path: PathBuf, problem: String },
    #[error("cannot copy the database {database}: {problem}")]
    DatabaseCopyFailed { database: String, problem: String },
    #[error("the copy {} of a database is damaged: {problem}", path.display())]
    DatabaseDamaged { path: PathBuf, problem: String },
    #[error("cannot put back the database {database}: {problem}")]
    DatabaseRestoreFailed { database: String, problem: String },
    #[error("the launcher {url} failed its self-check: {problem}")]
    LauncherUnfit { url: String, problem: String },
    #[error("nothing is installed in {}", folder.display())]
    NotInstalled {
        folder: PathBuf,
        source: Option<Box<Error>>,
    },
    #[error("{} cannot be used: {problem}", path.display())]
    StateInvalid { path: PathBuf, problem: String },
    #[error(
        "{count} files are missing or damaged and could not be had again ({files}): no older version \
         has them, and the source did not give the installed package"
    )]
    RepairIncomplete {
        count: usize,
        /// The first of them.
        files: String,
        source: Option<Box<Error>>,
    },
    #[error("no backup of version {version} in {}", folder.display())]
    BackupNotFound { version: String, folder: PathBuf },
    #[error("the backup {} is damaged: {problem}", path.display())]
    BackupDamaged { path: PathBuf, problem: String },
    #[error("there is no {to} version to go back to")]
    NoWayBack { to: String },
    #[error("no databases are kept with {name}")]
    NoData { name: String },
    #[error("{name} cannot be removed: {why}")]
    VersionNeeded { name: String, why: &'static str },
    #[error("{version} is the factory version already")]
    FactorySet { version: String },
    #[error("{command} is not for the layout {layout}")]
    LayoutUnfit {
        command: &'static str,
        layout: &'static str,
    },
    #[error("an interrupted update in {} could not be undone", folder.display())]
    RecoveryFailed {
        folder: PathBuf,
        backup: String,
        source: Box<Error>,
    },
    #[error("this user has no {place} for shortcuts")]
    NoShortcutPlace { place: &'static str },
    #[error("internal fault: {what}")]
    Internal { what: String },
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |word| format!("; did you mean `{word}`?"))
}

impl Error {
    /// An adapter for `map_err`: what was being done, and to which path.
    pub fn io(operation: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Error {
        let path = path.as_ref().to_path_buf();
        move |source| Error::Io {
            operation,
            path,
            source,
        }
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::ConfigInvalid { .. } => Code::ConfigInvalid,
            Self::ConfigMissing { .. } => Code::ConfigMissing,
            Self::ConfigLoosened { .. } => Code::ConfigLoosened,
            Self::Unreachable { .. } => Code::Unreachable,
            Self::HttpStatus { .. } => Code::HttpStatus,
            Self::AnswerInvalid { .. } => Code::AnswerInvalid,
            Self::NoActiveVersion { .. } => Code::NoActiveVersion,
            Self::AppUnavailable { .. } => Code::AppUnavailable,
            Self::InsecureUrl { .. } => Code::InsecureUrl,
            Self::RedirectRefused { .. } => Code::RedirectRefused,
            Self::DownloadFailed { .. } => Code::DownloadFailed,
            Self::DownloadStalled { .. } => Code::DownloadStalled,
            Self::SizeMismatch { .. } => Code::SizeMismatch,
            Self::TooLarge { .. } => Code::TooLarge,
            Self::HashMismatch { .. } => Code::HashMismatch,
            Self::VersionInvalid { .. } => Code::VersionInvalid,
            Self::DowngradeRefused { .. } => Code::DowngradeRefused,
            Self::BadVersion { .. } => Code::BadVersion,
            Self::BackingOff { .. } => Code::BackingOff,
            Self::RateLimited { .. } => Code::RateLimited,
            Self::AccessDenied { .. } => Code::AccessDenied,
            Self::RepoNotFound { .. } => Code::RepoNotFound,
            Self::NoReleases { .. } => Code::NoReleases,
            Self::VersionSkipped { .. } => Code::VersionSkipped,
            Self::VersionPinned { .. } => Code::VersionPinned,
            Self::RolloutPending { .. } => Code::RolloutPending,
            Self::MeteredConnection { .. } => Code::MeteredConnection,
            Self::CriticalBlocked { .. } => Code::CriticalBlocked,
            Self::TrustUnsigned { .. } => Code::TrustUnsigned,
            Self::TrustSignature { .. } => Code::TrustSignature,
            Self::TrustInvalid { .. } => Code::TrustInvalid,
            Self::TrustExpired { .. } => Code::TrustExpired,
            Self::TrustFromFuture { .. } => Code::TrustFromFuture,
            Self::TrustRolledBack { .. } => Code::TrustRolledBack,
            Self::TrustMismatch { .. } => Code::TrustMismatch,
            Self::TrustWithdrawn { .. } => Code::TrustWithdrawn,
            Self::TargetUnavailable { .. } => Code::TargetUnavailable,
            Self::ArchiveInvalid { .. } => Code::ArchiveInvalid,
            Self::ArchiveUnsafe { .. } => Code::ArchiveUnsafe,
            Self::FileListInvalid { .. } => Code::FileListInvalid,
            Self::PartialMisfit { .. } => Code::PartialMisfit,
            Self::PackageCommands { .. } => Code::PackageCommands,
            Self::NothingWaits => Code::NothingWaits,
            Self::ServicesFailed { .. } => Code::ServicesFailed,
            Self::DiskFull { .. } => Code::DiskFull,
            Self::Io { source, .. } if is_held(source) => Code::FileInUse,
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Code::DiskFull,
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    Code::PermissionDenied
                }
                _ => Code::Io,
            },
            Self::TargetUnsafe { .. } => Code::TargetUnsafe,
            Self::FileInUse { .. } => Code::FileInUse,
            Self::UpdateRunning { .. } => Code::UpdateRunning,
            Self::AppRunning { .. } => Code::AppRunning,
            Self::EntryMissing { .. } => Code::EntryMissing,
            Self::EntryInvalid { .. } => Code::EntryInvalid,
            Self::InterpreterMissing { .. } => Code::InterpreterMissing,
            Self::StartFailed { .. } => Code::StartFailed,
            Self::TrialFailed { .. } => Code::TrialFailed,
            Self::HookFailed { .. } => Code::HookFailed,
            Self::DependenciesFailed { .. } => Code::DependenciesFailed,
            Self::DatabaseCopyFailed { .. } => Code::DatabaseCopyFailed,
            Self::DatabaseDamaged { .. } => Code::DatabaseDamaged,
            Self::DatabaseRestoreFailed { .. } => Code::DatabaseRestoreFailed,
            Self::LauncherUnfit { .. } => Code::LauncherUnfit,
            Self::NotInstalled { .. } => Code::NotInstalled,
            Self::StateInvalid { .. } => Code::StateInvalid,
            Self::RepairIncomplete { .. } => Code::RepairIncomplete,
            Self::BackupNotFound { .. } => Code::BackupNotFound,
            Self::BackupDamaged { .. } => Code::BackupDamaged,
            Self::NoWayBack { .. } => Code::NoWayBack,
            Self::NoData { .. } => Code::NoData,
            Self::VersionNeeded { .. } => Code::VersionNeeded,
            Self::FactorySet { .. } => Code::FactorySet,
            Self::LayoutUnfit { .. } => Code::LayoutUnfit,
            Self::RecoveryFailed { .. } => Code::RecoveryFailed,
            Self::NoShortcutPlace { .. } => Code::NoShortcutPlace,
            Self::Internal { .. } => Code::Internal,
        }
    }

    /// What the catalogues' sentence for [`Error::code`] may name, by the placeholder's name.
    /// The same placeholders for every error of one code.
    #[expect(
        clippy::too_many_lines,
        clippy::match_same_arms,
        reason = "one arm a variant, in their order"
    )]
    pub fn details(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::ConfigInvalid {
                place,
                problem,
                nearest,
            } => vec![
                ("place", place.clone()),
                ("problem", problem.clone()),
                ("nearest", nearest.clone().unwrap_or_default()),
            ],
            Self::ConfigMissing { path }
            | Self::TargetUnsafe { path, .. }
            | Self::FileInUse { path, .. }
            | Self::UpdateRunning { path }
            | Self::AppRunning { path } => vec![("path", path.display().to_string())],
            Self::ConfigLoosened {
                place,
                key,
                value,
                baked,
            } => vec![
                ("place", place.clone()),
                ("key", key.clone()),
                ("value", value.clone()),
                ("baked", baked.clone()),
            ],
            Self::Unreachable { url, source } => {
                vec![("url", url.clone()), ("problem", source.to_string())]
            }
            Self::HttpStatus { url, status, .. } => {
                vec![("url", url.clone()), ("status", status.to_string())]
            }
            Self::AnswerInvalid { url, problem } | Self::LauncherUnfit { url, problem } => {
                vec![("url", url.clone()), ("problem", problem.clone())]
            }
            Self::NoActiveVersion { url, said } | Self::AppUnavailable { url, said } => {
                vec![("url", url.clone()), ("said", said.clone())]
            }
            Self::InsecureUrl { url } => vec![("url", url.clone())],
            Self::RedirectRefused { from, to, problem } => {
                vec![
                    ("from", from.clone()),
                    ("to", to.clone()),
                    ("problem", (*problem).to_owned()),
                ]
            }
            Self::DownloadFailed { url, received, .. } => {
                vec![("url", url.clone()), ("received", received.to_string())]
            }
            Self::DownloadStalled {
                url,
                received,
                seconds,
            } => vec![
                ("url", url.clone()),
                ("received", received.to_string()),
                ("seconds", seconds.to_string()),
            ],
            Self::SizeMismatch {
                subject,
                expected,
                got,
            } => vec![
                ("subject", subject.clone()),
                ("expected", expected.to_string()),
                ("got", got.to_string()),
            ],
            Self::TooLarge { subject, limit } => {
                vec![("subject", subject.clone()), ("limit", limit.clone())]
            }
            Self::HashMismatch {
                subject,
                expected,
                got,
            } => vec![
                ("subject", subject.clone()),
                ("expected", expected.clone()),
                ("got", got.clone()),
            ],
            Self::VersionInvalid { text, problem } => {
                vec![
                    ("version", text.clone()),
                    ("problem", (*problem).to_owned()),
                ]
            }
            Self::DowngradeRefused { installed, offered } => {
                vec![
                    ("installed", installed.clone()),
                    ("offered", offered.clone()),
                ]
            }
            Self::BadVersion { version, why } => {
                vec![("version", version.clone()), ("why", why.clone())]
            }
            Self::BackingOff { version, until } => {
                vec![("version", version.clone()), ("until", until.clone())]
            }
            Self::RateLimited { url, until } => {
                vec![("url", url.clone()), ("until", until.clone())]
            }
            Self::AccessDenied { url, status } => {
                vec![("url", url.clone()), ("status", status.to_string())]
            }
            Self::RepoNotFound { url, repo } => vec![("url", url.clone()), ("repo", repo.clone())],
            Self::NoReleases { url, problem } => {
                vec![("url", url.clone()), ("problem", problem.clone())]
            }
            Self::VersionSkipped { version } => vec![("version", version.clone())],
            Self::VersionPinned { version, pinned } => {
                vec![("version", version.clone()), ("pinned", pinned.clone())]
            }
            Self::RolloutPending { version, rollout } => vec![
                ("version", version.clone()),
                ("rollout", rollout.to_string()),
            ],
            Self::MeteredConnection { version, size } => {
                vec![("version", version.clone()), ("size", size.clone())]
            }
            Self::CriticalBlocked { installed, offered } => vec![
                ("installed", installed.clone()),
                ("offered", offered.clone()),
            ],
            Self::TrustUnsigned { subject, problem } => vec![
                ("subject", subject.clone()),
                ("problem", (*problem).to_owned()),
            ],
            Self::TrustSignature {
                subject,
                role,
                signed,
                needed,
            } => vec![
                ("subject", subject.clone()),
                ("role", (*role).to_owned()),
                ("signed", signed.to_string()),
                ("needed", needed.to_string()),
            ],
            Self::TrustExpired { subject, expired } => {
                vec![("subject", subject.clone()), ("expired", expired.clone())]
            }
            Self::TrustFromFuture { subject, issued } => {
                vec![("subject", subject.clone()), ("issued", issued.clone())]
            }
            Self::TrustRolledBack {
                subject,
                seq,
                known,
            } => vec![
                ("subject", subject.clone()),
                ("seq", seq.to_string()),
                ("known", known.to_string()),
            ],
            Self::TrustMismatch {
                subject,
                what,
                expected,
                got,
            } => vec![
                ("subject", subject.clone()),
                ("what", (*what).to_owned()),
                ("expected", expected.clone()),
                ("got", got.clone()),
            ],
            Self::TrustWithdrawn { version, problem } => {
                vec![("version", version.clone()), ("problem", problem.clone())]
            }
            Self::TargetUnavailable {
                version,
                target,
                problem,
            } => vec![
                ("version", version.clone()),
                ("target", target.clone()),
                ("problem", problem.clone()),
            ],
            Self::ArchiveInvalid { subject, problem } | Self::TrustInvalid { subject, problem } => {
                vec![("subject", subject.clone()), ("problem", problem.clone())]
            }
            Self::ArchiveUnsafe { entry, problem } => {
                vec![("entry", entry.clone()), ("problem", problem.clone())]
            }
            Self::FileListInvalid { problem } => vec![("problem", problem.clone())],
            Self::PartialMisfit { installed, fits } => {
                vec![("installed", installed.clone()), ("fits", fits.clone())]
            }
            Self::PackageCommands { hooks } => vec![("hooks", hooks.clone())],
            Self::NothingWaits => Vec::new(),
            Self::ServicesFailed { problem } => vec![("problem", problem.clone())],
            // One code, so one set of placeholders: a full disk is met with and without figures.
            Self::DiskFull { path, .. } => vec![("path", path.display().to_string())],
            Self::Io {
                operation,
                path,
                source,
            } => vec![
                ("operation", (*operation).to_owned()),
                ("path", path.display().to_string()),
                ("problem", source.to_string()),
            ],
            Self::EntryMissing { entry, folder } => {
                vec![
                    ("entry", entry.clone()),
                    ("folder", folder.display().to_string()),
                ]
            }
            Self::EntryInvalid { entry, problem } => {
                vec![("entry", entry.clone()), ("problem", (*problem).to_owned())]
            }
            Self::InterpreterMissing { entry, tried } => {
                vec![("entry", entry.clone()), ("tried", tried.clone())]
            }
            Self::StartFailed { path, source } => {
                vec![
                    ("path", path.display().to_string()),
                    ("problem", source.to_string()),
                ]
            }
            Self::TrialFailed { version, how } => {
                vec![("version", version.clone()), ("how", how.clone())]
            }
            Self::HookFailed {
                hook,
                command,
                problem,
            } => vec![
                ("hook", (*hook).to_owned()),
                ("command", command.clone()),
                ("problem", problem.clone()),
            ],
            Self::DatabaseCopyFailed { database, problem }
            | Self::DatabaseRestoreFailed { database, problem } => {
                vec![("database", database.clone()), ("problem", problem.clone())]
            }
            Self::NotInstalled { folder, .. } => vec![("folder", folder.display().to_string())],
            Self::StateInvalid { path, problem }
            | Self::BackupDamaged { path, problem }
            | Self::DatabaseDamaged { path, problem }
            | Self::DependenciesFailed { path, problem } => {
                vec![
                    ("path", path.display().to_string()),
                    ("problem", problem.clone()),
                ]
            }
            Self::RepairIncomplete { count, files, .. } => {
                vec![("count", count.to_string()), ("files", files.clone())]
            }
            Self::BackupNotFound { version, folder } => {
                vec![
                    ("version", version.clone()),
                    ("folder", folder.display().to_string()),
                ]
            }
            Self::RecoveryFailed { folder, backup, .. } => {
                vec![
                    ("folder", folder.display().to_string()),
                    ("backup", backup.clone()),
                ]
            }
            Self::NoWayBack { to } => vec![("to", to.clone())],
            Self::NoData { name } => vec![("name", name.clone())],
            Self::VersionNeeded { name, why } => {
                vec![("name", name.clone()), ("why", (*why).to_owned())]
            }
            Self::FactorySet { version } => vec![("version", version.clone())],
            Self::LayoutUnfit { command, layout } => {
                vec![
                    ("command", (*command).to_owned()),
                    ("layout", (*layout).to_owned()),
                ]
            }
            Self::NoShortcutPlace { place } => vec![("place", (*place).to_owned())],
            Self::Internal { what } => vec![("what", what.clone())],
        }
    }

    /// The whole chain of causes in one line, for the log and for `--json`.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(next) = cause {
            let next_text = next.to_string();
            if !text.ends_with(&next_text) {
                text.push_str(": ");
                text.push_str(&next_text);
            }
            cause = next.source();
        }
        text
    }
}

/// The code and the chain. Every field of every variant by its name would be for nobody, and is 5 kB
/// of the launcher, as every `dyn Error` can be shown so.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code(), self.chain())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_repeated_in_short() {
        for text in [String::new(), "é".repeat(SHOWN), "a".repeat(SHOWN)] {
            assert_eq!(in_short(&text), text);
        }
        for letter in ["a", "页"] {
            let text = format!("begin{}end", letter.repeat(100_000));
            let short = in_short(&text);
            assert_eq!(short.chars().count(), SHOWN + 1);
            assert!(
                short.starts_with("begin") && short.ends_with("end"),
                "{short}"
            );
        }
    }
}
