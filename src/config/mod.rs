//! What launcher.toml, the environment and the configuration in the executable say.
//!
//! Four layers, the later over the earlier: the defaults, what was baked into the executable, the
//! file, the environment. [`keys`] is the table of everything that can be said. What is wrong is
//! refused with its place (file, line and column, or variable) and, where one can be guessed, the
//! right word: a slip that is passed over would show only when an update is needed.
//!
//! What was baked in cannot be loosened by the other layers, see [`keys::Tighten`]. That does not
//! protect from somebody who can replace the executable itself.
//!
//! Nothing here looks at the network or, but for the file and what [`Places::find`] tries, at the
//! disk: that a folder or an interpreter exists is for those to find out who need it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fmt, fs, io};

use self::layers::{Document, Layers, invalid, position};
use self::value::Value;
use crate::fetch::{Url, local};
use crate::trust::Role;
use crate::version::Version;
use crate::{Error, Result};

mod hours;
pub mod keys;
mod layers;
mod otrs;
mod patterns;
mod places;
mod value;

pub use hours::Hours;
pub use layers::{Origin, Origins};
pub use patterns::{Patterns, Rules};
pub use places::{Places, Why};
pub(crate) use places::{folder_name, own_folder};
pub use value::Kind;

/// The file's name beside the launcher.
pub const FILE_NAME: &str = "launcher.toml";

/// The environment variable that names another file.
pub const FILE_VARIABLE: &str = "CASTOFF_CONFIG_FILE";

mod generated {
    include!(concat!(env!("OUT_DIR"), "/baked.rs"));
}

/// The configuration that was baked into this executable when it was built.
pub fn baked() -> Option<&'static str> {
    generated::BAKED
}

/// Whether dialogs may be shown, where [`Config::load`] has failed: what the same layers say of that
/// key alone, as far as it can be read.
pub fn dialogs_despite_errors(
    exe_dir: &Path,
    baked: Option<&str>,
    env: &dyn Fn(&str) -> Option<String>,
) -> bool {
    let said_in = |text: &str| layers::flag_in(text, "dialogs");
    let file = fs::read(named_file(env).unwrap_or_else(|| exe_dir.join(FILE_NAME)));
    let in_file = file
        .ok()
        .and_then(|bytes| said_in(&String::from_utf8_lossy(&bytes)));
    let in_env = env("CASTOFF_DIALOGS").and_then(|text| text.trim().parse().ok());
    baked.and_then(said_in) != Some(false) && in_env.or(in_file).unwrap_or(true)
}

/// The file that the environment names. An empty variable is as good as none.
fn named_file(env: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let named = env(FILE_VARIABLE).filter(|text| !text.trim().is_empty());
    named.map(PathBuf::from)
}

/// Everything that can be configured, checked and with its defaults filled in.
#[derive(Clone, Debug)]
pub struct Config {
    /// The app's identity, such as `com.example.client`; also names per-user folders. Empty when
    /// none is configured.
    pub app: String,
    /// The app's name as people know it.
    pub name: String,
    /// The icon of shortcuts, relative to the client folder or the launcher's.
    pub icon: Option<PathBuf>,
    /// The client folder as configured; relative to the launcher's folder.
    pub client_dir: PathBuf,
    /// What to start when the release names nothing.
    pub entry_point: Option<String>,
    /// What is installed where the version file is missing.
    pub installed_version: Option<Version>,
    /// The version file's name in the client folder.
    pub version_file: String,
    /// How versions lie on disk.
    pub layout: LayoutKind,
    /// Where `castoff links` links a version's programs (snapshot layout).
    pub bin_dir: PathBuf,
    /// The channel of releases to follow.
    pub channel: String,
    /// The language of messages; `None`: the system's.
    pub language: Option<String>,
    /// Whether an error may be shown in a window where there is no terminal.
    pub dialogs: bool,
    /// Where the log goes; `None`: the per-user log folder.
    pub log_dir: Option<PathBuf>,
    /// The least severe level that is logged.
    pub log_level: log::LevelFilter,
    /// Where releases are announced.
    pub source: SourceConfig,
    /// Whose signatures count; `None`: no keys are pinned, and nothing has to be signed.
    pub trust: Option<TrustConfig>,
    /// How the network is used.
    pub network: NetworkConfig,
    /// Whether something of it holds for this once alone: what the source says then is not remembered.
    pub once: bool,
    /// What an update does.
    pub update: UpdateConfig,
    /// How the app is started.
    pub run: RunConfig,
    /// What is run at the named steps of an update.
    pub hooks: HooksConfig,
    /// The databases that belong to the version.
    pub databases: DatabasesConfig,
    /// The app's Python dependencies.
    pub python: PythonConfig,
    /// Where each value came from.
    pub origins: Origins,
}

/// `layout`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayoutKind {
    /// One folder, with backups in it.
    InPlace,
    /// A folder for each version, and links to them (Unix).
    Snapshot,
}

/// `[source]`
#[derive(Clone)]
pub struct SourceConfig {
    /// The kind of source.
    pub kind: SourceKind,
    /// The address of the check endpoint or of the folder with the documents; of a
    /// [folder](SourceKind::Folder) its absolute path.
    pub url: String,
    /// Headers (tokens) sent to scheme, host and port of `url`, and nowhere else.
    pub headers: BTreeMap<String, String>,
    /// The repository at a forge; empty for other kinds.
    pub repo: String,
    /// The token for a forge, sent where the headers are.
    pub token: Option<String>,
    /// Which file of a forge's release is the package.
    pub asset: Option<String>,
    /// Where the signed documents lie, if not with the release itself.
    pub documents: Option<String>,
    /// Where a check source lists its versions.
    pub history: Option<String>,
    /// The names of the check answer's fields.
    pub fields: FieldNames,
}

impl fmt::Debug for SourceConfig {
    /// Without the headers' values, which are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceConfig")
            .field("kind", &self.kind)
            .field("url", &self.url)
            .field("headers", &self.headers.keys())
            .field("repo", &self.repo)
            .field("token", &self.token.as_ref().map(|_| "a secret"))
            .field("asset", &self.asset)
            .field("documents", &self.documents)
            .field("history", &self.history)
            .field("fields", &self.fields)
            .finish()
    }
}

/// The kinds of sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// An endpoint that answers with the active version.
    Check,
    /// Signed documents on a web server.
    Index,
    /// Signed documents in a folder.
    Folder,
    /// An endpoint that answers with what has changed, file by file.
    CheckFiles,
    /// Releases of a repository at GitHub, or GitHub Enterprise.
    Github,
    /// Tags of a repository at Aliyun's Codeup.
    Codeup,
    /// Releases at a GitLab.
    Gitlab,
    /// Releases at Gitee.
    Gitee,
    /// Releases at a Gitea or Forgejo.
    Gitea,
    /// Nobody is asked: releases are handed to the resident updater.
    Pushed,
}

impl SourceKind {
    /// Whether a signed index says which release is current.
    pub fn has_index(self) -> bool {
        matches!(self, Self::Index | Self::Folder)
    }

    /// Whether it is a repository whose tags are versions.
    pub fn is_forge(self) -> bool {
        !self.has_index() && !matches!(self, Self::Check | Self::CheckFiles | Self::Pushed)
    }

    /// Its address, where there is one that everybody uses.
    fn usual_address(self) -> Option<&'static str> {
        match self {
            Self::Github => Some("https://api.github.com"),
            Self::Codeup => Some("https://codeup.aliyun.com"),
            Self::Gitlab => Some("https://gitlab.com"),
            Self::Gitee => Some("https://gitee.com"),
            Self::Pushed => Some(""),
            Self::Check | Self::CheckFiles | Self::Index | Self::Folder | Self::Gitea => None,
        }
    }

    /// The word in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Index => "index",
            Self::Folder => "folder",
            Self::CheckFiles => "check-files",
            Self::Github => "github",
            Self::Codeup => "codeup",
            Self::Gitlab => "gitlab",
            Self::Gitee => "gitee",
            Self::Gitea => "gitea",
            Self::Pushed => "pushed",
        }
    }

    fn of(word: &str) -> Self {
        match word {
            "check-files" => Self::CheckFiles,
            "index" => Self::Index,
            "folder" => Self::Folder,
            "github" => Self::Github,
            "codeup" | "yunxiao" => Self::Codeup,
            "gitlab" => Self::Gitlab,
            "gitee" => Self::Gitee,
            "gitea" | "forgejo" => Self::Gitea,
            "pushed" => Self::Pushed,
            _ => Self::Check,
        }
    }
}

/// `[trust]`
#[derive(Clone, Debug)]
pub struct TrustConfig {
    /// The keys that are pinned, and how many of them have to sign.
    pub role: Role,
    /// The number of the first keys document that they lead to, from 1.
    pub first: u64,
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
    pub launchers: String,
    pub critical_below: String,
    pub rollout: String,
    pub release: String,
    pub keys: String,
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
    /// Whether plain http is allowed to hosts other than loopback: said so, or safe since what comes
    /// has to be signed.
    pub allow_http: bool,
    /// Whether it was said so: else no token goes there.
    pub tokens_by_http: bool,
    /// The largest package that is fetched, in bytes.
    pub max_package_size: u64,
}

/// `[update]`
#[derive(Clone, Debug)]
pub struct UpdateConfig {
    /// When to look for updates.
    pub when: When,
    /// The shortest time between two checks.
    pub interval: Duration,
    /// Versions that are left out.
    pub skip: Vec<Version>,
    /// The one version that may be installed.
    pub pin: Option<Version>,
    /// Larger packages, in bytes, are not fetched over a metered connection.
    pub metered_limit: u64,
    /// When nothing is looked for in the background.
    pub quiet_hours: Option<Hours>,
    /// Whether a version that is not safe to go on with is not started, where a fixed one waits and
    /// cannot be installed.
    pub block_critical: bool,
    /// What to do when the source offers an older version.
    pub downgrade: Downgrade,
    /// Paths that an update never overwrites or removes; gitignore patterns.
    pub preserve: Vec<String>,
    /// Paths that apps write in place, so that a backup copies them; gitignore patterns, in
    /// addition to the kinds that are known to be written so.
    pub mutable: Vec<String>,
    /// Files outside the file list that the backup leaves out; gitignore patterns.
    pub backup_excludes: Vec<String>,
    /// How many older versions stay.
    pub keep: usize,
    /// Bytes that they may take together, beyond the newest one; 0: any number.
    pub keep_space: u64,
    /// Whether the launcher replaces itself by the one that the source announces.
    pub launcher: bool,
}

/// `update.when`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Before the app is started.
    BeforeLaunch,
    /// While the app runs; what was fetched is installed at the next start.
    Background,
    /// Only when told to.
    Manual,
}

impl When {
    /// The word in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BeforeLaunch => "before-launch",
            Self::Background => "background",
            Self::Manual => "manual",
        }
    }
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
    /// What a new version has to show to have passed its trial.
    pub confirm: Confirm,
    /// How long it must run, where it has to be alive.
    pub trial: Duration,
    /// How long it may take to show anything else.
    pub confirm_within: Duration,
    /// How many starts may fail or end without a verdict; at least 1.
    pub attempts: u32,
    /// Exit codes of an early end after which a new version has passed its trial.
    pub ok_codes: Vec<u32>,
    /// Exit codes of an early end after which a new version has failed its trial.
    pub fail_codes: Vec<u32>,
}

/// `run.confirm`, with what it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Confirm {
    /// It still runs after `run.trial`, or has ended with 0.
    Alive,
    /// It makes the file that `CASTOFF_READY_FILE` names.
    Ready,
    /// This address answers with status 200.
    Http(String),
    /// This command line ends with 0.
    Command(String),
    /// Nothing: every version is good as soon as it is installed.
    Nothing,
}

/// `[hooks]`: command lines, in their order; see [`crate::hooks`].
#[derive(Clone, Debug)]
#[expect(
    missing_docs,
    reason = "each is the list of the hook that it is called"
)]
pub struct HooksConfig {
    pub before_backup: Vec<String>,
    pub after_stage: Vec<String>,
    pub after_commit: Vec<String>,
    pub before_start: Vec<String>,
    pub after_confirm: Vec<String>,
    pub on_rollback: Vec<String>,
    /// Whether those of a signed package are run as well.
    pub package: bool,
    /// For each command.
    pub timeout: Duration,
}

/// `[databases]`
#[derive(Clone, Debug)]
pub struct DatabasesConfig {
    /// SQLite files, relative to the client folder or absolute.
    pub sqlite: Vec<String>,
    /// What copies any other database, and what puts it back.
    pub other: Option<DumpConfig>,
}

/// `databases.dump` and `databases.restore`, of which neither is of use without the other.
#[derive(Clone, Debug)]
pub struct DumpConfig {
    /// The command line that writes the file `CASTOFF_DUMP`.
    pub dump: String,
    /// The command line that reads it.
    pub restore: String,
}

/// `[python]`
#[derive(Clone, Debug)]
pub struct PythonConfig {
    /// The file with the dependencies, relative to the app's folder; `None`: none are installed.
    pub requirements: Option<String>,
    /// Where they are installed.
    pub environment: EnvironmentKind,
}

/// `python.environment`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnvironmentKind {
    /// In a virtual environment for each state of the file.
    Own,
    /// In the interpreter that is found.
    Foreign,
}

impl Config {
    /// Reads the configuration of a launcher that lies in `exe_dir`: over what was `baked` in, the
    /// file that `CASTOFF_CONFIG_FILE` names (or launcher.toml beside the launcher, which may be
    /// missing), and over that the environment.
    ///
    /// [`Error::ConfigMissing`] when nobody said anything: nothing baked in, no file, no
    /// `CASTOFF_SOURCE_URL`.
    pub fn load(
        exe_dir: &Path,
        baked: Option<&str>,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self> {
        let said = |variable: &str| env(variable).filter(|text| !text.trim().is_empty());
        let named = named_file(env);
        let path = named.clone().unwrap_or_else(|| exe_dir.join(FILE_NAME));

        let mut layers = Layers::defaults();
        let otrs = if baked.is_none() && !says_source(&path, &said) {
            otrs::Variables::find(exe_dir, env)
        } else {
            None
        };
        if let Some(variables) = &otrs {
            variables.lay(&mut layers)?;
        }
        if let Some(text) = baked {
            layers.lay_document(text, Document::Baked)?;
            layers.settle_address();
            layers.pin();
        }
        match fs::read(&path) {
            Ok(bytes) => layers.lay_document(text(&bytes, &path)?, Document::File(&path))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if baked.is_none() && otrs.is_none() && !environment_says_source(&said) {
                    return Err(Error::ConfigMissing { path });
                }
                // A file that was asked for by name is not optional.
                if named.is_some() {
                    return Err(Error::io("read the configuration", &path)(error));
                }
            }
            // It exists: what it would have tightened must not be lost.
            Err(error) => return Err(Error::io("read the configuration", &path)(error)),
        }
        layers.lay_environment(env)?;
        Reader(layers).config(exe_dir, &path)
    }
}

impl Config {
    /// For this once another repository, or another version and no other. Fails with `CONFIG_INVALID` where
    /// that is none, or the source has no repositories.
    pub fn override_for_once(&mut self, repo: Option<&str>, version: Option<&str>) -> Result<()> {
        self.once = repo.is_some() || version.is_some();
        if let Some(repo) = repo {
            let invalid = |problem: &str| Error::ConfigInvalid {
                place: format!("repository {repo:?}"),
                problem: problem.to_owned(),
                nearest: None,
            };
            if self.source.repo.is_empty() {
                return Err(invalid("the source has no repositories"));
            }
            if !is_repo(self.source.kind, repo) {
                return Err(invalid("it has to be one such as owner/name"));
            }
            repo.clone_into(&mut self.source.repo);
        }
        if let Some(version) = version {
            self.update.pin = Some(version.parse()?);
        }
        Ok(())
    }
}

/// Whether a forge may have a repository of this name.
fn is_repo(kind: SourceKind, repo: &str) -> bool {
    let parts: Vec<&str> = repo.split('/').collect();
    let plain = |part: &&str| {
        !matches!(*part, "" | "." | "..")
            && part
                .chars()
                .all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_'))
    };
    // Codeup also knows a repository by its number.
    let number = kind == SourceKind::Codeup && parts.len() == 1;
    parts.iter().all(plain) && (parts.len() >= 2 || number)
}

/// Whether the file or the environment says where releases are.
fn says_source(path: &Path, said: &dyn Fn(&str) -> Option<String>) -> bool {
    let file = fs::read(path).unwrap_or_default();
    environment_says_source(said) || layers::has_table(&String::from_utf8_lossy(&file), "source")
}

fn environment_says_source(said: &dyn Fn(&str) -> Option<String>) -> bool {
    let whence = [
        "CASTOFF_SOURCE_URL",
        "CASTOFF_SOURCE_KIND",
        "CASTOFF_SOURCE_REPO",
    ];
    whence.iter().any(|name| said(name).is_some())
}

fn text<'a>(bytes: &'a [u8], path: &Path) -> Result<&'a str> {
    std::str::from_utf8(bytes).map_err(|error| {
        let good = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        let (line, column) = position(&good, good.len());
        Error::ConfigInvalid {
            place: format!("{}:{line}:{column}", path.display()),
            problem: "not UTF-8 text".to_owned(),
            nearest: None,
        }
    })
}

/// Takes the typed values out of the layers. The kinds asked for are those of the table of keys;
/// a test that loads the defaults meets every one of them.
struct Reader(Layers);

impl Reader {
    fn config(mut self, exe_dir: &Path, path: &Path) -> Result<Config> {
        let trust = self.trust(path)?;
        let (kind, url) = self.source(exe_dir, path, trust.is_some())?;
        let repo = self.repo(kind, path)?;
        let installed_version = self.text("installed_version");
        let installed_version = installed_version
            .map(|text| self.version("installed_version", &text))
            .transpose()?;
        let update = self.update()?;
        let run = self.run()?;
        let http = self.flag("network.allow_http");
        let other = self.dump(path)?;
        let app = self.text("app").unwrap_or_default();
        let name = self.text("name").unwrap_or_else(|| {
            let folder = exe_dir.file_name().map(|name| name.to_string_lossy());
            match folder {
                _ if !app.is_empty() => app.clone(),
                Some(folder) => folder.into_owned(),
                None => "app".to_owned(),
            }
        });
        Ok(Config {
            once: false,
            app,
            name,
            icon: self.text("icon").map(PathBuf::from),
            client_dir: self.word("client_dir").into(),
            entry_point: self.text("entry_point"),
            installed_version,
            version_file: self.word("version_file"),
            layout: match self.word("layout").as_str() {
                "snapshot" => LayoutKind::Snapshot,
                _ => LayoutKind::InPlace,
            },
            bin_dir: self.word("snapshot.bin_dir").into(),
            channel: self.word("channel"),
            language: self.text("language"),
            dialogs: self.flag("dialogs"),
            log_dir: self.text("log_dir").map(PathBuf::from),
            log_level: self
                .word("log_level")
                .parse()
                .unwrap_or(log::LevelFilter::Info),
            source: SourceConfig {
                kind,
                url,
                headers: self.headers("source.headers"),
                repo,
                token: self.text("source.token"),
                asset: self.text("source.asset"),
                documents: self.text("source.documents"),
                history: self.text("source.history"),
                fields: FieldNames {
                    version: self.word("source.fields.version"),
                    url: self.list("source.fields.url"),
                    sha256: self.word("source.fields.sha256"),
                    size: self.word("source.fields.size"),
                    entry_point: self.word("source.fields.entry_point"),
                    notes: self.word("source.fields.notes"),
                    launchers: self.word("source.fields.launchers"),
                    critical_below: self.word("source.fields.critical_below"),
                    rollout: self.word("source.fields.rollout"),
                    release: self.word("source.fields.release"),
                    keys: self.word("source.fields.keys"),
                },
            },
            network: NetworkConfig {
                connect_timeout: self.time("network.connect_timeout"),
                stall_timeout: self.time("network.stall_timeout"),
                check_timeout: self.time("network.check_timeout"),
                retries: self.number("network.retries"),
                chunk_size: self.number("network.chunk_size"),
                verify_certificates: self.flag("network.verify_certificates"),
                // Who listens to what is signed learns nothing that is not public, and who changes
                // it is found out.
                allow_http: http || self.0.may_relax("trust.keys") && trust.is_some(),
                tokens_by_http: http,
                max_package_size: self.number("network.max_package_size"),
            },
            trust,
            update,
            run,
            hooks: self.hooks(),
            databases: DatabasesConfig {
                sqlite: self.list("databases.sqlite"),
                other,
            },
            python: PythonConfig {
                requirements: self.text("python.requirements"),
                environment: match self.word("python.environment").as_str() {
                    "own" => EnvironmentKind::Own,
                    _ => EnvironmentKind::Foreign,
                },
            },
            origins: self.0.origins,
        })
    }

    /// The kind of source and where it is.
    fn source(&mut self, exe_dir: &Path, path: &Path, keys: bool) -> Result<(SourceKind, String)> {
        let kind = SourceKind::of(&self.word("source.kind"));
        let usual = || kind.usual_address().map(str::to_owned);
        let Some(url) = self.text("source.url").or_else(usual) else {
            return Err(Error::ConfigInvalid {
                place: path.display().to_string(),
                problem: "`source.url` is missing: without it there is nowhere to ask".to_owned(),
                nearest: None,
            });
        };
        if kind.has_index() && !keys {
            let problem = "needs `trust.keys`: what it reads is believed for its signatures";
            return Err(self.unfit("source.kind", problem.to_owned()));
        }
        if kind == SourceKind::Folder {
            return match local::folder(&url, exe_dir) {
                Ok(folder) => Ok((kind, folder)),
                Err(problem) => Err(self.unfit("source.url", problem.to_owned())),
            };
        }
        if kind != SourceKind::Pushed && Url::parse(&url).is_err() {
            let problem = "must be an address such as https://updates.example.com/";
            return Err(self.unfit("source.url", format!("{problem}, not {url:?}")));
        }
        Ok((kind, url))
    }

    fn update(&mut self) -> Result<UpdateConfig> {
        let skip = self.list("update.skip");
        let skip = skip.iter().map(|text| self.version("update.skip", text));
        let skip = skip.collect::<Result<_>>()?;
        let pin = self.text("update.pin");
        let pin = pin
            .map(|text| self.version("update.pin", &text))
            .transpose()?;
        let hours = self.text("update.quiet_hours");
        let hours = hours.map(|text| text.parse().map_err(|problem| (text, problem)));
        let quiet_hours = hours.transpose().map_err(|(text, problem): (_, &str)| {
            self.unfit("update.quiet_hours", format!("{problem}, not {text:?}"))
        })?;
        Ok(UpdateConfig {
            when: match self.word("update.when").as_str() {
                "before-launch" => When::BeforeLaunch,
                "background" => When::Background,
                _ => When::Manual,
            },
            interval: self.time("update.interval"),
            skip,
            pin,
            metered_limit: self.number("update.metered_limit"),
            quiet_hours,
            block_critical: self.flag("update.block_critical"),
            downgrade: match self.word("update.downgrade").as_str() {
                "follow" => Downgrade::Follow,
                _ => Downgrade::Refuse,
            },
            preserve: self.list("update.preserve"),
            mutable: self.list("update.mutable"),
            backup_excludes: self.list("update.backup_excludes"),
            keep: self.number("update.keep"),
            keep_space: self.number("update.keep_space"),
            launcher: self.flag("update.launcher"),
        })
    }

    /// The repository at a forge.
    fn repo(&mut self, kind: SourceKind, path: &Path) -> Result<String> {
        let Some(repo) = self.text("source.repo").filter(|_| kind.is_forge()) else {
            if kind.is_forge() {
                return Err(Error::ConfigInvalid {
                    place: path.display().to_string(),
                    problem: "`source.repo` is missing: a forge has many".to_owned(),
                    nearest: None,
                });
            }
            return Ok(String::new());
        };
        if !is_repo(kind, &repo) {
            let problem = format!("must be a repository such as owner/name, not {repo:?}");
            return Err(self.unfit("source.repo", problem));
        }
        Ok(repo)
    }

    fn version(&self, key: &str, text: &str) -> Result<Version> {
        let unfit = |error: Error| self.unfit(key, format!("must hold versions: {error}"));
        text.parse().map_err(unfit)
    }

    fn trust(&mut self, path: &Path) -> Result<Option<TrustConfig>> {
        let threshold = self.number("trust.threshold");
        let first = self.number("trust.first");
        let Some(Value::List(keys)) = self.0.values.remove("trust.keys") else {
            // Whoever asks for signatures means to have keys.
            for key in ["trust.threshold", "trust.first"] {
                if !self.0.origins.is_default(key) {
                    return Err(self.unfit(key, "needs `trust.keys`, which is missing".to_owned()));
                }
            }
            return Ok(None);
        };
        if !self.0.values.contains_key("app") {
            return Err(Error::ConfigInvalid {
                place: path.display().to_string(),
                problem: "`app` is missing, and with `trust.keys` it says whose releases are meant"
                    .to_owned(),
                nearest: None,
            });
        }
        let keys = keys.iter().map(|key| key.parse()).collect::<Result<_, _>>();
        let role = keys
            .map_err(str::to_owned)
            .and_then(|keys| Role::new(keys, threshold))
            .map_err(|problem| self.unfit("trust.threshold", problem))?;
        Ok(Some(TrustConfig { role, first }))
    }

    fn run(&mut self) -> Result<RunConfig> {
        let run = RunConfig {
            python: self.text("run.python").filter(|python| python != "auto"),
            wait: self.flag("run.wait"),
            confirm: match self.word("run.confirm").as_str() {
                "alive" => Confirm::Alive,
                "ready" => Confirm::Ready,
                "http" => Confirm::Http(self.confirm_url()?),
                "command" => Confirm::Command(self.confirms_by("run.confirm_command")?),
                _ => Confirm::Nothing,
            },
            trial: self.time("run.trial"),
            confirm_within: self.time("run.confirm_within"),
            attempts: self.number("run.attempts"),
            ok_codes: self.codes("run.ok_codes"),
            fail_codes: self.codes("run.fail_codes"),
        };
        if let Some(both) = run.ok_codes.iter().find(|it| run.fail_codes.contains(it)) {
            let problem = format!("must not hold {both}, which `run.ok_codes` holds too");
            return Err(self.unfit("run.fail_codes", problem));
        }
        Ok(run)
    }

    /// The key without which `run.confirm` cannot be what it is.
    fn confirms_by(&mut self, key: &str) -> Result<String> {
        self.text(key).ok_or_else(|| {
            let problem = format!("needs `{key}`, which is missing");
            self.unfit("run.confirm", problem)
        })
    }

    fn confirm_url(&mut self) -> Result<String> {
        let url = self.confirms_by("run.confirm_url")?;
        let plain = Url::parse(&url).is_ok_and(|url| !url.is_https() && !url.is_loopback());
        let allowed = self.0.values.get("network.allow_http") == Some(&Value::Flag(true));
        if plain && !allowed {
            // Otherwise no version would ever pass.
            let problem = "must begin with https:// or lead to this machine, unless \
                           `network.allow_http` is set";
            return Err(self.unfit("run.confirm_url", problem.to_owned()));
        }
        Ok(url)
    }

    /// Values that are right, each for itself, and do not go together.
    fn unfit(&self, key: &str, problem: String) -> Error {
        invalid(self.0.origins.of(key).to_string(), key, problem.into())
    }

    fn hooks(&mut self) -> HooksConfig {
        HooksConfig {
            before_backup: self.list("hooks.before_backup"),
            after_stage: self.list("hooks.after_stage"),
            after_commit: self.list("hooks.after_commit"),
            before_start: self.list("hooks.before_start"),
            after_confirm: self.list("hooks.after_confirm"),
            on_rollback: self.list("hooks.on_rollback"),
            package: self.flag("hooks.package"),
            timeout: self.time("hooks.timeout"),
        }
    }

    fn dump(&mut self, path: &Path) -> Result<Option<DumpConfig>> {
        let missing = match (self.text("databases.dump"), self.text("databases.restore")) {
            (Some(dump), Some(restore)) => return Ok(Some(DumpConfig { dump, restore })),
            (None, None) => return Ok(None),
            (Some(_), None) => "restore",
            (None, Some(_)) => "dump",
        };
        Err(Error::ConfigInvalid {
            place: path.display().to_string(),
            problem: format!(
                "`databases.{missing}` is missing: a dump and its restore need each other"
            ),
            nearest: None,
        })
    }

    fn text(&mut self, key: &str) -> Option<String> {
        match self.0.values.remove(key)? {
            Value::Text(text) | Value::Secret(text) => Some(text),
            other => unreachable!("{key} is no text: {other}"),
        }
    }

    fn word(&mut self, key: &str) -> String {
        match self.text(key) {
            Some(text) => text,
            None => unreachable!("{key} has no default"),
        }
    }

    fn flag(&mut self, key: &str) -> bool {
        match self.0.values.remove(key) {
            Some(Value::Flag(flag)) => flag,
            _ => unreachable!("{key} is no flag"),
        }
    }

    fn number<T: TryFrom<u64>>(&mut self, key: &str) -> T {
        match self.0.values.remove(key) {
            Some(Value::Number(number)) => T::try_from(number)
                .unwrap_or_else(|_| unreachable!("{key} has a bound that fits its type")),
            _ => unreachable!("{key} is no number"),
        }
    }

    fn time(&mut self, key: &str) -> Duration {
        match self.0.values.remove(key) {
            Some(Value::Time(time)) => time,
            _ => unreachable!("{key} is no time"),
        }
    }

    fn list(&mut self, key: &str) -> Vec<String> {
        match self.0.values.remove(key) {
            Some(Value::List(list)) => list,
            _ => unreachable!("{key} is no list"),
        }
    }

    fn codes(&mut self, key: &str) -> Vec<u32> {
        match self.0.values.remove(key) {
            Some(Value::Codes(codes)) => codes,
            _ => unreachable!("{key} is no list of codes"),
        }
    }

    fn headers(&mut self, key: &str) -> BTreeMap<String, String> {
        match self.0.values.remove(key) {
            Some(Value::Headers(headers)) => headers,
            None => BTreeMap::new(),
            Some(other) => unreachable!("{key} is no table: {other}"),
        }
    }
}

#[cfg(test)]
mod tests;
