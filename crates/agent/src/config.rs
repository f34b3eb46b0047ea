//! What is configured for the updater itself, in `agent.toml` beside `launcher.toml`; docs/devices.md has
//! every key. What concerns the app, its source and its keys is in `launcher.toml`, as everywhere.

use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use castoff::config::Origin;
use castoff::{Error, Result};
use castoff_web::tls;
use serde::Deserialize;

use crate::ledger::Record;

/// The file's name.
pub const FILE_NAME: &str = "agent.toml";

/// Longer times are slips of the pen.
const LONGEST: Duration = Duration::from_hours(24);

/// The configuration of the updater.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Names, beside that of `listen`, under which it may be called.
    pub hosts: Vec<String>,
    /// A file with the token that every call has to bring.
    pub token_file: Option<PathBuf>,
    /// Whether calls that change nothing need no token.
    pub open_reading: bool,
    /// Certificate and key for TLS.
    pub tls: Option<tls::Files>,
    /// Where every step is reported; empty: nowhere.
    pub report_url: String,
    /// What packages with a `manifest.json` may do.
    pub packages: Packages,
    /// What runs.
    pub services: Services,
    /// Where the app looks for its version.
    pub record: Record,
    /// What is served.
    pub web: Web,
    /// What comes of looking for updates unasked.
    pub checks: Checks,
    /// Where the outcome of every operation is told; empty: nowhere.
    pub outcome_url: String,
}

impl Default for Config {
    /// As the original is found by the program that calls it.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 12315)),
            hosts: Vec::new(),
            token_file: None,
            open_reading: false,
            tls: None,
            report_url: "http://localhost:9080/api/v1.0/ota/report".to_owned(),
            packages: Packages::default(),
            services: Services::default(),
            record: Record::default(),
            web: Web::default(),
            checks: Checks::default(),
            outcome_url: String::new(),
        }
    }
}

/// `[checks]`
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Checks {
    /// Whether what is found is installed; else it waits for a word.
    pub install: bool,
}

/// `[web]`
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Web {
    /// The addresses of the TOP.E updater.
    pub tope: bool,
    /// Those of OTRS Web, and the page `/upgrade`.
    pub upgrade: bool,
}

impl Default for Web {
    fn default() -> Self {
        Self {
            tope: true,
            upgrade: false,
        }
    }
}

/// `[packages]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Packages {
    /// The folders below which a module's `dst` may lie; what follows is its path in a version. Unless
    /// told, the folder of the app.
    pub roots: Vec<PathBuf>,
    /// Whether their commands are run.
    pub commands: Commands,
    /// How long after its verification a package may be installed, in seconds; unless told, a day.
    pub expire: Option<u64>,
    /// The folder, relative to the app's, in which the packages of versions stay that came to run: one folder
    /// for each version, as many as `update.keep` in launcher.toml.
    pub keep_in: Option<PathBuf>,
}

/// Whether the commands of packages are run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Commands {
    /// Those of signed packages.
    #[default]
    Signed,
    /// Those of all packages.
    Always,
    /// None.
    Never,
}

/// `[services]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Services {
    /// By what means they are stopped and started.
    pub control: Control,
    /// Services that stand still during every update, in the order in which they start.
    pub units: Vec<String>,
    /// The service of this updater, which it never stops; unless told, the one that it runs in.
    pub own: Option<String>,
    /// The program `systemctl`.
    pub systemctl: Option<PathBuf>,
    /// Seconds for a service to stop; unless told, 10.
    pub stop_timeout: Option<u64>,
    /// Seconds for all of them to run; unless told, 30.
    pub start_timeout: Option<u64>,
    /// How long a service has to be seen running, in milliseconds; unless told, 1000.
    pub steady: Option<u64>,
    /// A command line that stops a service, for `command`.
    pub stop: Option<String>,
    /// One that starts it; for `child`, the app itself.
    pub start: Option<String>,
    /// One that ends with 0 while it runs.
    pub status: Option<String>,
    /// An address that has to answer with 200 when all of them run.
    pub health_url: Option<String>,
    /// A command line that is run when no version is left that runs, or an installation cannot be brought to its
    /// end.
    pub alarm: Option<String>,
}

/// By what means services are stopped and started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Control {
    /// `systemctl`.
    #[default]
    Systemd,
    /// The commands `stop`, `start` and `status`, with the service's name in `CASTOFF_SERVICE`.
    Command,
    /// The app is a child of this updater: the command line `start`, in the folder of its version.
    Child,
    /// Nothing runs.
    None,
}

impl Services {
    /// For a service to stop.
    pub fn stop_timeout(&self) -> Duration {
        Duration::from_secs(self.stop_timeout.unwrap_or(10))
    }

    /// For all of them to run.
    pub fn start_timeout(&self) -> Duration {
        Duration::from_secs(self.start_timeout.unwrap_or(30))
    }

    /// Between two looks that both have to find a service running.
    pub fn steady(&self) -> Duration {
        Duration::from_millis(self.steady.unwrap_or(1000))
    }
}

impl Packages {
    /// How long after its verification a package may be installed.
    pub fn expire(&self) -> Duration {
        Duration::from_secs(self.expire.unwrap_or(24 * 60 * 60))
    }
}

impl Config {
    /// Reads the file in `folder`; what is not there is as it is by default.
    ///
    /// Fails with `CONFIG_INVALID`, also where others than this machine may call and no token is asked.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE_NAME);
        let mut config = match std::fs::read_to_string(&path) {
            Ok(text) => toml::from_str(&text)
                .map_err(|error: toml::de::Error| invalid(&path, &error.to_string()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::default(),
            Err(error) => return Err(Error::io("read the configuration", &path)(error)),
        };
        if let Some(file) = &mut config.token_file {
            *file = folder.join(&*file);
        }
        config.tls = config.tls.map(|files| files.below(folder));
        config.check(&path)?;
        Ok(config)
    }

    /// Its files: no package may bring them.
    pub fn files(&self, home: &Path) -> Vec<PathBuf> {
        let tls = self.tls.iter();
        let tls = tls.flat_map(|files| [files.certificate.clone(), files.key.clone()]);
        let own = [FILE_NAME, castoff::config::FILE_NAME].map(|name| home.join(name));
        own.into_iter()
            .chain(self.token_file.clone())
            .chain(tls)
            .collect()
    }

    /// All files that say what is done, those of the app's own configuration among them, and the folders in which
    /// it is done.
    pub fn trusted(
        &self,
        engine: &castoff::config::Config,
        home: &Path,
        client: &Path,
    ) -> Vec<PathBuf> {
        let read = engine
            .origins
            .iter()
            .filter_map(|(_, origin)| match origin {
                Origin::File { path, .. } => Some(path),
                // As an app has them that updated itself.
                Origin::Environment(name) if name.starts_with("APP_UPDATE_") => {
                    Some(home.join(".env"))
                }
                _ => None,
            });
        let mut files = self.files(home);
        files.extend(read);
        files.extend([home, client].map(Path::to_path_buf));
        files.extend([".castoff", "versions"].map(|name| client.join(name)));
        files.sort();
        files.dedup();
        files
    }

    /// Whether its values go together.
    pub fn check(&self, path: &Path) -> Result<()> {
        if !self.listen.ip().is_loopback() && self.token_file.is_none() {
            return Err(invalid(
                path,
                &format!(
                    "`listen` is {}, where others than this machine can call: it needs `token_file`",
                    self.listen
                ),
            ));
        }
        let url = &self.report_url;
        if !url.is_empty() && !url.starts_with("http://") {
            return Err(invalid(
                path,
                &format!("`report_url` {url:?} is no address that begins with http://"),
            ));
        }
        let kept = self.packages.keep_in.as_deref();
        let inside = |path: &Path| {
            path.components()
                .all(|it| matches!(it, Component::Normal(_)))
        };
        if kept.is_some_and(|kept| !inside(kept)) {
            return Err(invalid(
                path,
                "`packages.keep_in` has to lie in the app's folder",
            ));
        }
        if let Some(problem) = self.record.problem() {
            return Err(invalid(path, &problem));
        }
        let services = &self.services;
        let times = [
            ("stop_timeout", services.stop_timeout()),
            ("start_timeout", services.start_timeout()),
            ("steady", services.steady()),
        ];
        if let Some((name, _)) = times.iter().find(|(_, time)| *time > LONGEST) {
            return Err(invalid(
                path,
                &format!("`services.{name}` is longer than a day"),
            ));
        }
        if services.steady() >= services.start_timeout() {
            let problem = "`services.steady` has to be shorter than `services.start_timeout`";
            return Err(invalid(path, problem));
        }
        if let Some(name) = services.units.iter().find(|name| !is_service(name)) {
            return Err(invalid(
                path,
                &format!("`services.units`: {name:?} is no service"),
            ));
        }
        let commands = [
            ("stop", &services.stop),
            ("start", &services.start),
            ("status", &services.status),
        ];
        let missing = commands.iter().find(|(_, line)| line.is_none());
        match (services.control, missing) {
            (Control::Command, Some((name, _))) => Err(invalid(
                path,
                &format!("`services.{name}` is missing, which `control = \"command\"` needs"),
            )),
            (Control::Child, _) if !cfg!(unix) => Err(invalid(
                path,
                "`services.control` has to be \"command\" or \"none\": what a child leaves running cannot be ended here",
            )),
            (Control::Child, _) if services.start.is_none() || !services.units.is_empty() => {
                Err(invalid(
                    path,
                    "`control = \"child\"` needs `services.start`, the command line of the app, and no `services.units`",
                ))
            }
            (Control::Systemd, _) if !cfg!(unix) && !services.units.is_empty() => Err(invalid(
                path,
                "`services.control` has to be \"command\" or \"none\": there is no systemd here",
            )),
            _ => Ok(()),
        }
    }
}

/// What else systemd has units of. To start some of them is to end the system.
const OTHER_UNITS: &[&str] = &[
    "target",
    "mount",
    "automount",
    "socket",
    "timer",
    "path",
    "slice",
    "scope",
    "swap",
    "device",
    "snapshot",
];

/// Whether a text can be the name of a service, and nothing else to whoever it is handed to.
pub fn is_service(name: &str) -> bool {
    let end = name.rsplit_once('.').map(|(_, end)| end);
    !end.is_some_and(|end| OTHER_UNITS.contains(&end))
        && !name.is_empty()
        && name.len() <= 255
        && !name.starts_with(['-', '.'])
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b":_.@-\\".contains(&byte))
}

fn invalid(path: &Path, problem: &str) -> Error {
    Error::ConfigInvalid {
        place: path.display().to_string(),
        problem: problem.trim_end().to_owned(),
        nearest: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use castoff::Code;

    fn refused(text: &str) -> String {
        let config: Config = toml::from_str(text).unwrap();
        let error = config.check(Path::new("agent.toml")).unwrap_err();
        assert_eq!(error.code(), Code::ConfigInvalid);
        error.to_string()
    }

    #[test]
    fn what_is_not_said_is_as_the_original_has_it() {
        let config: Config = toml::from_str("").unwrap();
        config.check(Path::new("agent.toml")).unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:12315");
        assert_eq!(config.services.start_timeout(), Duration::from_secs(30));
        assert_eq!(config.packages.expire(), Duration::from_hours(24));
    }

    #[test]
    fn others_than_this_machine_need_a_token() {
        assert!(refused("listen = \"0.0.0.0:12315\"").contains("token_file"));
        let with = "listen = \"0.0.0.0:1\"\ntoken_file = \"token\"";
        let config: Config = toml::from_str(with).unwrap();
        config.check(Path::new("agent.toml")).unwrap();
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        refused("report_url = \"localhost:9080\"");
        refused("[services]\nunits = [\"--now\"]");
        refused("[services]\nunits = [\"a b\"]");
        refused("[services]\nunits = [\"poweroff.target\"]");
        refused("[services]\nsteady = 30000");
        refused("[services]\nstop_timeout = 18446744073709551615");
        assert!(refused("[services]\ncontrol = \"command\"\nstop = \"x\"").contains("start"));
        refused("[services]\ncontrol = \"child\"");
        refused("[services]\ncontrol = \"child\"\nstart = \"x\"\nunits = [\"y\"]");
        refused("packages.keep_in = \"../x\"");
        refused("packages.keep_in = \"/x\"");
        assert!(toml::from_str::<Config>("listne = 1").is_err());
    }
}
