//! Whether a device is as it should be: a list of findings, each with what to do.
//!
//! Promises: nothing of the app is changed, no service is touched; what cannot be found out is a finding
//! too, and ends nothing. Names of findings are for programs and stay; what was found is for people, in
//! their language.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use axum::http::Uri;
use castoff::config::{Config as Engine, LayoutKind, SourceKind};
use castoff::launcher::messages::{Lang, render, size};
use castoff::layout::links::{Fault, Finding as LinkFinding};
use castoff::progress::Silent;
use castoff::state::{ClientFolder, Link};
use castoff::updater::Updater;
use castoff::{Result, disk};
use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::config::{Config, Control, FILE_NAME};
use crate::install::SERVICE;
use crate::ownership;
use crate::services::{Found, Services, State};

/// No clock that is right shows a time before this was written (2026-01-01).
const EARLIEST: i64 = 1_767_225_600;

/// By how much a clock may have been set back.
const SET_BACK: chrono::Duration = chrono::Duration::minutes(5);

/// For a program on this machine to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// With less than that nothing can be kept, not even what is under way.
const NEARLY_FULL: u64 = 16 << 20;

/// Room beside a whole new version: its package and the journal.
const BESIDE: u64 = 64 << 20;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Updates go on, and somebody should look at it.
    Warning,
    /// The app does not run as it should, or cannot be updated.
    Fault,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What; the same in every language.
    pub name: String,
    /// How bad.
    pub level: Level,
    /// What was found.
    pub found: String,
    /// What to do.
    pub advice: Option<String>,
}

impl Level {
    /// The word for it.
    pub fn word(self, lang: Lang) -> &'static str {
        match (self, lang) {
            (Self::Ok, Lang::En) => "ok",
            (Self::Ok, Lang::ZhCn) => "正常",
            (Self::Warning, Lang::En) => "warning",
            (Self::Warning, Lang::ZhCn) => "警告",
            (Self::Fault, Lang::En) => "fault",
            (Self::Fault, Lang::ZhCn) => "故障",
        }
    }
}

/// Looks at the device whose launcher.toml is in `home` and whose app is in `client`.
pub fn examine(home: &Path, client: &Path, engine: &Engine) -> Vec<Finding> {
    let mut doctor = Doctor {
        home,
        engine,
        lang: Lang::detect(engine.language.as_deref()),
        findings: Vec::new(),
    };
    let config = doctor.configuration();
    match Updater::new(engine, client, &Silent) {
        Ok(updater) => doctor.app(&updater, config.as_ref()),
        Err(error) => doctor.fault("app", &Text::Problem, &error.chain()),
    }
    if let Some(config) = &config {
        doctor.port(config, client);
        doctor.receiver(config);
        doctor.token(config);
    }
    doctor.access(config.as_ref(), client);
    doctor.findings
}

struct Doctor<'a> {
    home: &'a Path,
    engine: &'a Engine,
    lang: Lang,
    findings: Vec<Finding>,
}

impl Doctor<'_> {
    fn find(&mut self, name: &str, level: Level, text: &Text, value: &str) {
        let values = [("x", value.to_owned())];
        let [found, advice] = text.of(self.lang);
        self.findings.push(Finding {
            name: name.to_owned(),
            level,
            found: render(found, &values),
            advice: Some(render(advice, &values)).filter(|it| !it.is_empty()),
        });
    }

    fn good(&mut self, name: &str, text: &Text, value: &str) {
        self.find(name, Level::Ok, text, value);
    }

    fn warn(&mut self, name: &str, text: &Text, value: &str) {
        self.find(name, Level::Warning, text, value);
    }

    fn fault(&mut self, name: &str, text: &Text, value: &str) {
        self.find(name, Level::Fault, text, value);
    }

    fn configuration(&mut self) -> Option<Config> {
        match Config::read(self.home) {
            Ok(config) => {
                let path = self.home.join(FILE_NAME);
                self.good("configuration", &Text::Is, &shown(&path));
                Some(config)
            }
            Err(error) => {
                self.fault("configuration", &Text::Configuration, &error.chain());
                None
            }
        }
    }

    fn app(&mut self, updater: &Updater<'_>, config: Option<&Config>) {
        let folder = updater.folder();
        self.folders(folder);
        match updater.installed() {
            Some(version) => self.good("version", &Text::Is, version.as_str()),
            None => self.warn("version", &Text::NoVersion, ""),
        }
        if folder.layout() == LayoutKind::Snapshot && holds_versions(folder) {
            self.links(updater);
        }
        if let Ok(files) = updater.files() {
            let listed = files.listed.to_string();
            match files.missing.first().or(files.damaged.first()) {
                None => self.good("files", &Text::Files, &listed),
                Some(first) => self.fault("files", &Text::FilesDamaged, first.as_str()),
            }
        }
        if let Some(config) = config {
            self.services(config, updater);
        }
        self.space(folder);
        self.clock(folder);
        self.source(updater);
        match updater.trust() {
            Ok(trust) if trust.is_pinned() => self.good("keys", &Text::Pinned, ""),
            Ok(_) => self.warn("keys", &Text::NotPinned, ""),
            Err(error) => self.fault("keys", &Text::Problem, &error.chain()),
        }
    }

    fn folders(&mut self, folder: &ClientFolder) {
        let mut wanted = vec![(".castoff", folder.own())];
        if folder.layout() == LayoutKind::Snapshot {
            wanted.push(("versions", folder.versions()));
            wanted.push(("shared", folder.root().join("shared")));
        }
        for (name, path) in wanted {
            let name = format!("folder {name}");
            match std::fs::metadata(&path) {
                Ok(found) if found.is_dir() => self.good(&name, &Text::Is, &shown(&path)),
                Ok(_) => self.fault(&name, &Text::NoFolder, &shown(&path)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    self.good(&name, &Text::MadeLater, &shown(&path));
                }
                Err(error) => {
                    self.fault(
                        &name,
                        &Text::Problem,
                        &format!("{}: {error}", path.display()),
                    );
                }
            }
        }
    }

    fn links(&mut self, updater: &Updater<'_>) {
        let folder = updater.folder();
        let findings = match updater.check_links() {
            Ok(findings) => findings,
            Err(error) => return self.fault("links", &Text::Problem, &error.chain()),
        };
        for LinkFinding { path, fault } in findings {
            let between = path.parent() == Some(&folder.versions());
            let is_link = std::fs::symlink_metadata(&path).is_ok_and(|it| it.is_symlink());
            let named = path.file_name().unwrap_or_default().to_string_lossy();
            let name = match &fault {
                _ if !between => format!("link {}", shown(&path)),
                None if !is_link => "factory".to_owned(),
                Some(Fault::Unprotected(_)) => "factory".to_owned(),
                _ => format!("link {named}"),
            };
            let place = fault.as_ref().and_then(Fault::place).map(shown);
            let place = place.unwrap_or_else(|| shown(&path));
            match fault {
                None if is_link => {
                    let target = std::fs::read_link(&path).unwrap_or_default();
                    self.good(&name, &Text::Leads, &shown(&target));
                }
                None => self.good(&name, &Text::Protected, &named),
                Some(Fault::Unprotected(_)) => self.fault(&name, &Text::Unprotected, &place),
                // Nothing of the app needs those to run.
                Some(Fault::Missing) if !between => self.warn(&name, &Text::LinkMissing, &place),
                Some(Fault::InTheWay) if !between => self.warn(&name, &Text::InTheWay, &place),
                Some(Fault::Stale) => self.warn(&name, &Text::Stale, &place),
                Some(Fault::Missing) => self.fault(&name, &Text::NoCurrent, &place),
                Some(Fault::InTheWay) => self.fault(&name, &Text::InTheWay, &place),
                Some(Fault::Astray(_) | Fault::Dead(_)) if between => {
                    self.fault(&name, &Text::AstrayVersion, &place);
                }
                Some(Fault::Astray(_) | Fault::Dead(_)) => {
                    self.fault(&name, &Text::Astray, &place);
                }
            }
        }
        // TOP.E's script takes the x away too, and with it the way back.
        let bin = folder.link(Link::Factory).join("bin");
        if let Some(program) = first_lame(&bin) {
            self.warn("factory programs", &Text::Lame, &shown(&program));
        }
        let is_there = |link| std::fs::symlink_metadata(folder.link(link)).is_ok();
        if !is_there(Link::Previous) {
            self.good("link previous", &Text::NoPrevious, "");
        }
        if !is_there(Link::Factory) {
            self.warn("link factory", &Text::NoFactory, "");
        }
    }

    fn services(&mut self, config: &Config, updater: &Updater<'_>) {
        let services = Services::new(&config.services, updater.folder());
        let configured = services.of(&[]).into_iter();
        let mut names: Vec<_> = configured.map(|service| service.name).collect();
        // What a package has named is not kept; the units that it has brought are.
        let brought = std::fs::read_dir(updater.folder().tree().join("services"));
        let brought = brought.into_iter().flatten().flatten();
        let brought: BTreeSet<_> = brought
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter_map(|name| Some(name.strip_suffix(".service")?.to_owned()))
            .filter(|name| crate::config::is_service(name) && name != SERVICE)
            .collect();
        if services.may_be_more() {
            names.extend(brought);
        }
        let mut seen = BTreeSet::new();
        names.retain(|name| seen.insert(name.clone()));
        if names.is_empty() {
            self.good("services", &Text::NoServices, "");
        } else {
            for service in &names {
                self.service(service, services.look(service), updater);
            }
        }
        if config.services.control == Control::Systemd {
            let own = config.services.own.as_deref().unwrap_or(SERVICE);
            let name = format!("service {own}");
            match services.look(own) {
                Found { known: false, .. } => self.warn(&name, &Text::OwnUnknown, own),
                Found {
                    state: State::Failed,
                    ..
                } => self.fault(&name, &Text::ServiceDown, own),
                Found { at_boot: false, .. } => self.warn(&name, &Text::NotAtBoot, own),
                Found {
                    state: State::Running,
                    ..
                } => self.good(&name, &Text::Runs, own),
                _ => self.warn(&name, &Text::ServiceDown, own),
            }
        }
    }

    fn service(&mut self, service: &str, found: Found, updater: &Updater<'_>) {
        let name = format!("service {service}");
        match found.state {
            _ if !found.known => self.fault(&name, &Text::ServiceUnknown, service),
            State::Stopped if updater.installed().is_none() => {
                self.good(&name, &Text::NothingToRun, service);
            }
            State::Stopped | State::Failed => self.fault(&name, &Text::ServiceDown, service),
            State::Between => self.warn(&name, &Text::ServiceBetween, service),
            State::Running if !found.at_boot => self.warn(&name, &Text::NotAtBoot, service),
            State::Running => self.good(&name, &Text::Runs, service),
        }
    }

    fn space(&mut self, folder: &ClientFolder) {
        let free = match disk::free_space(folder.root()) {
            Ok(free) => free,
            Err(error) => return self.fault("space", &Text::Problem, &error.chain()),
        };
        let wanted = disk::size_below(&folder.tree()).saturating_add(BESIDE);
        if free < NEARLY_FULL {
            self.fault("space", &Text::Full, &size(free));
        } else if free < wanted {
            self.warn("space", &Text::LittleSpace, &size(free));
        } else {
            self.good("space", &Text::Space, &size(free));
        }
    }

    /// A clock that is wrong lets certificates and signatures seem to be of another time.
    fn clock(&mut self, folder: &ClientFolder) {
        let now = Utc::now();
        let program = std::env::current_exe().and_then(|path| path.metadata()?.modified());
        let newest = [
            DateTime::from_timestamp(EARLIEST, 0),
            program.ok().map(|time: SystemTime| time.into()),
            folder.load_state().last.map(|last| last.at),
        ];
        let newest = newest.into_iter().flatten().max().unwrap_or(now);
        let told = |time: DateTime<Utc>| time.format("%Y-%m-%d %H:%M:%S UTC").to_string();
        if now + SET_BACK < newest {
            let value = format!("{} < {}", told(now), told(newest));
            self.fault("clock", &Text::ClockBehind, &value);
        } else {
            self.good("clock", &Text::Is, &told(now));
        }
    }

    fn source(&mut self, updater: &Updater<'_>) {
        if self.engine.source.kind == SourceKind::Pushed {
            return self.good("source", &Text::Pushed, "");
        }
        match updater.offer() {
            Ok(offer) => self.good("source", &Text::Offers, offer.release.version.as_str()),
            Err(error) => self.fault("source", &Text::SourceFails, &error.chain()),
        }
    }

    fn port(&mut self, config: &Config, client: &Path) {
        let mut address = config.listen;
        if address.ip().is_unspecified() {
            address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
        }
        let value = address.to_string();
        if !connects(address) {
            return self.fault("port", &Text::NobodyListens, &value);
        }
        if lives(client) {
            self.good("port", &Text::Listens, &value);
        } else {
            self.fault("port", &Text::PortTaken, &value);
        }
    }

    fn receiver(&mut self, config: &Config) {
        let url = &config.report_url;
        if url.is_empty() {
            return self.good("reports", &Text::NoReports, "");
        }
        let authority = url.parse::<Uri>().ok().and_then(|uri| {
            let host = uri.host()?.trim_matches(['[', ']']).to_owned();
            Some((host, uri.port_u16().unwrap_or(80)))
        });
        let addresses = authority.and_then(|authority| authority.to_socket_addrs().ok());
        if addresses.is_some_and(|mut addresses| addresses.any(connects)) {
            self.good("reports", &Text::Is, url);
        } else {
            self.warn("reports", &Text::NoReceiver, url);
        }
    }

    fn token(&mut self, config: &Config) {
        let Some(path) = &config.token_file else {
            return self.good("token", &Text::NoToken, "");
        };
        match std::fs::metadata(path) {
            Err(error) => {
                let value = format!("{}: {error}", path.display());
                self.fault("token", &Text::Problem, &value);
            }
            Ok(found) if disk::mode_of(&found).is_some_and(|mode| mode & 0o077 != 0) => {
                self.fault("token", &Text::TokenOpen, &shown(path));
            }
            Ok(_) => self.good("token", &Text::Is, &shown(path)),
        }
    }

    /// What root runs or believes, others may not change.
    fn access(&mut self, config: Option<&Config>, client: &Path) {
        let programs = std::env::current_exe().ok().into_iter();
        let ours = config.map_or_else(Vec::new, |it| it.trusted(self.engine, self.home, client));
        let open = programs.chain(ours.clone()).find(|path| is_open(path));
        let tree =
            ["current/bin", "current/services"].map(|name| client.join("versions").join(name));
        let open = open.or_else(|| tree.iter().find_map(|folder| first_open(folder)));
        match (ownership::check(&ours), open) {
            (Err(error), _) => self.fault("access", &Text::Open, &error.chain()),
            (Ok(()), Some(path)) => self.fault("access", &Text::Open, &shown(&path)),
            (Ok(()), None) => self.good("access", &Text::Closed, ""),
        }
    }
}

/// A path for people, without a `.` in it.
fn shown(path: impl AsRef<Path>) -> String {
    let plain: PathBuf = path.as_ref().components().collect();
    plain.display().to_string()
}

/// Whether there is a version, whatever the links say.
fn holds_versions(folder: &ClientFolder) -> bool {
    let entries = std::fs::read_dir(folder.versions());
    let mut entries = entries.into_iter().flatten().flatten();
    entries.any(|entry| {
        entry
            .file_type()
            .is_ok_and(|kind| kind.is_dir() || kind.is_symlink())
    })
}

fn connects(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, PATIENCE).is_ok()
}

/// Whether the resident updater of a folder lives: it has its port then, or it would have ended.
fn lives(client: &Path) -> bool {
    let lock = std::fs::File::open(client.join(".castoff").join(crate::serve::LOCK));
    lock.is_ok_and(|lock| matches!(lock.try_lock(), Err(std::fs::TryLockError::WouldBlock)))
}

/// Whether others than its owner may change a file or folder, or its owner is neither root nor this user.
#[cfg(unix)]
fn is_open(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let me = rustix::process::geteuid();
    // A user's group is often the user's alone; root's updater does not rely on that.
    let others = if me.is_root() { 0o022 } else { 0o002 };
    std::fs::symlink_metadata(path).is_ok_and(|found| {
        let owned = [0, me.as_raw()].contains(&found.uid());
        !found.is_symlink() && (found.mode() & others != 0 || !owned)
    })
}

#[cfg(not(unix))]
fn is_open(_path: &Path) -> bool {
    false
}

/// The first thing in a folder that others may change.
fn first_open(folder: &Path) -> Option<PathBuf> {
    if is_open(folder) {
        return Some(folder.to_path_buf());
    }
    let entries = std::fs::read_dir(folder).ok()?.flatten();
    let mut paths = entries.map(|entry| entry.path());
    paths.find(|path| is_open(path))
}

/// The first file in a folder of programs that nobody may execute.
fn first_lame(folder: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?.flatten();
    let mut paths = entries.map(|entry| entry.path());
    paths.find(|path| {
        std::fs::metadata(path).is_ok_and(|found| {
            found.is_file() && disk::mode_of(&found).is_some_and(|mode| mode & 0o111 == 0)
        })
    })
}

/// What is said: the finding and the advice, in each language. `{x}` is the value of a finding.
enum Text {
    Is,
    Problem,
    Configuration,
    NoFolder,
    MadeLater,
    NoVersion,
    Leads,
    Protected,
    Unprotected,
    Lame,
    LinkMissing,
    InTheWay,
    Stale,
    NoCurrent,
    AstrayVersion,
    Astray,
    NoPrevious,
    NoFactory,
    Files,
    FilesDamaged,
    NoServices,
    ServiceUnknown,
    ServiceDown,
    ServiceBetween,
    NothingToRun,
    NotAtBoot,
    Runs,
    OwnUnknown,
    Full,
    LittleSpace,
    Space,
    ClockBehind,
    Pushed,
    Offers,
    SourceFails,
    Pinned,
    NotPinned,
    NobodyListens,
    Listens,
    PortTaken,
    NoReports,
    NoReceiver,
    NoToken,
    TokenOpen,
    Open,
    Closed,
}

impl Text {
    fn of(&self, lang: Lang) -> [&'static str; 2] {
        match lang {
            Lang::En => self.english(),
            Lang::ZhCn => self.chinese(),
        }
    }

    #[expect(clippy::too_many_lines, reason = "it is a table")]
    fn english(&self) -> [&'static str; 2] {
        match self {
            Self::Is => ["{x}", ""],
            Self::Problem => ["{x}", "see docs/devices.md"],
            Self::Configuration => ["{x}", "correct it, then: systemctl restart castoff-agent"],
            Self::NoFolder => [
                "{x} is no folder",
                "move it away: it is made when it is needed",
            ],
            Self::MadeLater => ["{x} is not there, and made when it is needed", ""],
            Self::NoVersion => [
                "no version is installed",
                "hand one to the updater: docs/devices.md",
            ],
            Self::Leads => ["leads to {x}", ""],
            Self::Protected => ["{x} is read-only and shares nothing", ""],
            Self::Unprotected => [
                "{x} can be written, or is shared with another version",
                "castoff factory set; or with a version and --replace",
            ],
            Self::Lame => [
                "{x} cannot be executed",
                "install that version again, then: castoff factory set VERSION --replace",
            ],
            Self::LinkMissing => ["{x} is missing", "castoff links setup, if it is wanted"],
            Self::InTheWay => [
                "{x} is something else and stays",
                "move it away, then: castoff links setup",
            ],
            Self::Stale => [
                "{x} leads to what the version does not have",
                "castoff links setup",
            ],
            Self::NoCurrent => [
                "{x} is missing: no version is the current one",
                "castoff rollback VERSION, or install one",
            ],
            Self::AstrayVersion => [
                "it leads to {x}, which is no version here",
                "castoff rollback VERSION, or install one",
            ],
            Self::Astray => ["it leads to {x}", "castoff links setup"],
            Self::NoPrevious => ["none before the second version", ""],
            Self::NoFactory => [
                "no version is the factory version",
                "castoff factory set, when one is proven",
            ],
            Self::Files => ["{x} files are as they were installed", ""],
            Self::FilesDamaged => [
                "{x} is missing or damaged, perhaps others too",
                "castoff doctor --repair; or install the version again",
            ],
            Self::NoServices => ["none is named in agent.toml", ""],
            Self::ServiceUnknown => [
                "systemd knows no {x}",
                "put its unit in /etc/systemd/system, then: systemctl daemon-reload",
            ],
            Self::ServiceDown => [
                "{x} does not run",
                "systemctl status {x}; journalctl -u {x}",
            ],
            Self::ServiceBetween => [
                "{x} is starting or stopping",
                "look again; journalctl -u {x}",
            ],
            Self::NothingToRun => ["{x} waits for the first version", ""],
            Self::NotAtBoot => ["{x} is not started at boot", "systemctl enable {x}"],
            Self::Runs => ["{x} runs", ""],
            Self::OwnUnknown => [
                "systemd does not run the updater",
                "castoff agent install --start",
            ],
            Self::Full => [
                "{x} are free",
                "make room: castoff versions, castoff backups delete VERSION",
            ],
            Self::LittleSpace => [
                "{x} are free: perhaps too little for another version",
                "make room: castoff versions, castoff backups delete VERSION",
            ],
            Self::Space => ["{x} are free", ""],
            Self::ClockBehind => [
                "it is behind what has happened: {x}",
                "set the clock: timedatectl set-ntp true",
            ],
            Self::Pushed => ["none is asked: versions are handed to the updater", ""],
            Self::Offers => ["it offers {x}", ""],
            Self::SourceFails => ["{x}", "see to the network and to [source] in launcher.toml"],
            Self::Pinned => ["signatures are needed", ""],
            Self::NotPinned => [
                "no key is pinned: whoever may call can install anything",
                "trust.keys in launcher.toml: docs/signing.md",
            ],
            Self::NobodyListens => [
                "nobody listens on {x}",
                "systemctl enable --now castoff-agent; journalctl -u castoff-agent",
            ],
            Self::Listens => ["the updater answers on {x}", ""],
            Self::PortTaken => [
                "another program listens on {x}",
                "ss -ltnp says which; end it, or change listen in agent.toml",
            ],
            Self::NoReports => ["nobody is told of steps", ""],
            Self::NoReceiver => [
                "nobody takes reports at {x}",
                "start the program that does, or set report_url in agent.toml",
            ],
            Self::NoToken => ["none: only this machine can call", ""],
            Self::TokenOpen => ["others may read {x}", "chmod 600 {x}"],
            Self::Open => [
                "others may change what this updater trusts: {x}",
                "chown root, chmod go-w",
            ],
            Self::Closed => ["nobody else may change what this updater trusts", ""],
        }
    }

    fn chinese(&self) -> [&'static str; 2] {
        match self {
            Self::Is => ["{x}", ""],
            Self::Problem => ["{x}", "请看 docs/devices.md"],
            Self::Configuration => ["{x}", "改正后执行：systemctl restart castoff-agent"],
            Self::NoFolder => ["{x} 不是文件夹", "请移走它：需要时会自动建立"],
            Self::MadeLater => ["{x} 还不存在，需要时会自动建立", ""],
            Self::NoVersion => [
                "没有安装任何版本",
                "请把一个版本交给更新程序：docs/devices.md",
            ],
            Self::Leads => ["指向 {x}", ""],
            Self::Protected => ["{x} 只读，不与其他版本共用文件", ""],
            Self::Unprotected => [
                "{x} 可以被写入，或与其他版本共用",
                "castoff factory set；或加上版本号和 --replace",
            ],
            Self::Lame => [
                "{x} 不能被执行",
                "重新安装该版本，再执行：castoff factory set 版本号 --replace",
            ],
            Self::LinkMissing => ["缺少 {x}", "如果需要：castoff links setup"],
            Self::InTheWay => [
                "{x} 是别的东西，不会被动",
                "请移走它，再执行：castoff links setup",
            ],
            Self::Stale => ["{x} 指向当前版本没有的东西", "castoff links setup"],
            Self::NoCurrent => [
                "缺少 {x}：没有当前版本",
                "castoff rollback 版本号，或安装一个版本",
            ],
            Self::AstrayVersion => [
                "它指向 {x}，那不是这里的版本",
                "castoff rollback 版本号，或安装一个版本",
            ],
            Self::Astray => ["它指向 {x}", "castoff links setup"],
            Self::NoPrevious => ["安装第二个版本之前没有", ""],
            Self::NoFactory => ["没有出厂版本", "某个版本经过检验后：castoff factory set"],
            Self::Files => ["{x} 个文件与安装时一致", ""],
            Self::FilesDamaged => [
                "{x} 缺失或损坏，也许还有其他文件",
                "castoff doctor --repair；或重新安装该版本",
            ],
            Self::NoServices => ["agent.toml 中没有列出服务", ""],
            Self::ServiceUnknown => [
                "systemd 不认识 {x}",
                "把它的单元文件放进 /etc/systemd/system，再执行：systemctl daemon-reload",
            ],
            Self::ServiceDown => ["{x} 没有运行", "systemctl status {x}；journalctl -u {x}"],
            Self::ServiceBetween => ["{x} 正在启动或停止", "请稍后再看；journalctl -u {x}"],
            Self::NothingToRun => ["{x} 在等待第一个版本", ""],
            Self::NotAtBoot => ["{x} 不会在开机时启动", "systemctl enable {x}"],
            Self::Runs => ["{x} 正在运行", ""],
            Self::OwnUnknown => [
                "更新程序不是由 systemd 运行的",
                "castoff agent install --start",
            ],
            Self::Full => [
                "剩余空间 {x}",
                "请腾出空间：castoff versions，castoff backups delete 版本号",
            ],
            Self::LittleSpace => [
                "剩余空间 {x}：可能不够再装一个版本",
                "请腾出空间：castoff versions，castoff backups delete 版本号",
            ],
            Self::Space => ["剩余空间 {x}", ""],
            Self::ClockBehind => [
                "时钟落后于已经发生的事：{x}",
                "请校正时钟：timedatectl set-ntp true",
            ],
            Self::Pushed => ["不查询：版本由别的程序交给更新程序", ""],
            Self::Offers => ["提供版本 {x}", ""],
            Self::SourceFails => ["{x}", "请检查网络和 launcher.toml 中的 [source]"],
            Self::Pinned => ["必须有签名", ""],
            Self::NotPinned => [
                "没有固定任何公钥：能调用的人可以安装任何东西",
                "launcher.toml 中的 trust.keys：docs/signing.md",
            ],
            Self::NobodyListens => [
                "{x} 上没有程序监听",
                "systemctl enable --now castoff-agent；journalctl -u castoff-agent",
            ],
            Self::Listens => ["更新程序在 {x} 上应答", ""],
            Self::PortTaken => [
                "{x} 被别的程序占用",
                "用 ss -ltnp 查看；结束它，或修改 agent.toml 中的 listen",
            ],
            Self::NoReports => ["不向任何程序报告进度", ""],
            Self::NoReceiver => [
                "{x} 没有程序接收报告",
                "启动接收程序，或修改 agent.toml 中的 report_url",
            ],
            Self::NoToken => ["没有：只有本机可以调用", ""],
            Self::TokenOpen => ["其他用户可以读取 {x}", "chmod 600 {x}"],
            Self::Open => [
                "其他用户可以改动更新程序所信任的东西：{x}",
                "chown root，chmod go-w",
            ],
            Self::Closed => ["其他用户不能改动更新程序所信任的东西", ""],
        }
    }
}

/// A table for people.
pub fn table(findings: &[Finding], engine: &Engine) -> String {
    use std::fmt::Write as _;
    let lang = Lang::detect(engine.language.as_deref());
    let widest = findings.iter().map(|it| it.name.chars().count()).max();
    let widest = widest.unwrap_or_default().min(32);
    let mut text = String::new();
    for Finding {
        name,
        level,
        found,
        advice,
    } in findings
    {
        let word = level.word(lang);
        // A Chinese character is as wide as two others.
        let wide = word.chars().filter(|c| !c.is_ascii()).count();
        let column = 8_usize.saturating_sub(wide);
        let _ = writeln!(text, "{word:<column$} {name:<widest$}  {found}");
        if let Some(advice) = advice {
            let _ = writeln!(text, "{:<8} {:<widest$}  -> {advice}", "", "");
        }
    }
    text
}

/// The same for programs.
pub fn document(findings: &[Finding]) -> Result<String> {
    let count = |level| findings.iter().filter(|it| it.level == level).count();
    let document = serde_json::json!({
        "faults": count(Level::Fault), "warnings": count(Level::Warning), "findings": findings,
    });
    serde_json::to_string_pretty(&document).map_err(|error| castoff::Error::Internal {
        what: error.to_string(),
    })
}
