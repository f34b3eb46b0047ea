//! What launcher.toml, the environment and the baked configuration say.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Everything that can be configured, checked and with its defaults filled in.
#[derive(Clone, Debug)]
pub struct Config {
    /// The app's identity, such as `com.example.client`; also names per-user folders.
    pub app: String,
    /// The app's name as people know it.
    pub name: String,
    /// The client folder as configured; relative to the launcher's folder.
    pub client_dir: PathBuf,
    /// What to start when the release names nothing.
    pub entry_point: Option<String>,
    /// The version file's name in the client folder.
    pub version_file: String,
    /// The language of messages; `None`: the system's.
    pub language: Option<String>,
    /// Where the log goes; `None`: the per-user log folder.
    pub log_dir: Option<PathBuf>,
    /// The least severe level that is logged.
    pub log_level: log::LevelFilter,
    /// Where releases are announced.
    pub source: SourceConfig,
    /// How the network is used.
    pub network: NetworkConfig,
    /// What an update does.
    pub update: UpdateConfig,
    /// How the app is started.
    pub run: RunConfig,
}

/// `[source]`
#[derive(Clone, Debug)]
pub struct SourceConfig {
    /// The kind of source; only `check` so far.
    pub kind: SourceKind,
    /// The address of the check endpoint.
    pub url: String,
    /// Headers sent to the host of `url`, and to no other (tokens).
    pub headers: BTreeMap<String, String>,
    /// The names of the check answer's fields.
    pub fields: FieldNames,
}

/// The kinds of sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// An endpoint that answers with the active version.
    Check,
}

/// `[source.fields]`: the names under which the check answer says things.
#[derive(Clone, Debug)]
#[expect(
    missing_docs,
    reason = "each is the name of the field that holds what it is called"
)]
pub struct FieldNames {
    pub version: String,
    /// Tried in this order.
    pub url: Vec<String>,
    pub sha256: String,
    pub size: String,
    pub entry_point: String,
    pub notes: String,
}

/// `[network]`
#[derive(Clone, Debug)]
pub struct NetworkConfig {
    /// Until a connection stands.
    pub connect_timeout: Duration,
    /// Without (enough) new bytes of a package.
    pub stall_timeout: Duration,
    /// For a whole check, when an app is installed that can be started instead.
    pub check_timeout: Duration,
    /// Attempts after the first.
    pub retries: u32,
    /// Bytes that are read and written at once.
    pub chunk_size: usize,
    /// Whether certificates are checked.
    pub verify_certificates: bool,
    /// Whether plain http is allowed to hosts other than loopback.
    pub allow_http: bool,
    /// The largest package that is fetched, in bytes.
    pub max_package_size: u64,
}

/// `[update]`
#[derive(Clone, Debug)]
pub struct UpdateConfig {
    /// What to do when the source offers an older version.
    pub downgrade: Downgrade,
    /// Paths that an update never overwrites or removes; gitignore patterns.
    pub preserve: Vec<String>,
    /// Paths that apps write in place, so that a backup copies them; gitignore patterns, in
    /// addition to the kinds that are known to be written so.
    pub mutable: Vec<String>,
    /// Files outside the file list that the backup leaves out; gitignore patterns.
    pub backup_excludes: Vec<String>,
    /// How many backups stay.
    pub keep: usize,
}

/// `update.downgrade`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Downgrade {
    /// The source decides: an older version is installed.
    Follow,
    /// An older version is refused.
    Refuse,
}

/// `[run]`
#[derive(Clone, Debug)]
pub struct RunConfig {
    /// The Python interpreter; `None`: found by itself.
    pub python: Option<String>,
    /// Whether the launcher waits for the app and hands its exit code on.
    pub wait: bool,
    /// How long a new version must run to have passed its trial.
    pub trial: Duration,
}
