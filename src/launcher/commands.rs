//! The commands that the launcher (`--castoff <command>`) and `castoff` have in common.
//!
//! What a command finds goes to standard output, as text or, with `--json`, as one document; what
//! happens on the way goes to standard error.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use chrono::{DateTime, SecondsFormat, SubsecRound as _, Utc};
use serde_json::{Value, json};

use crate::config::{self, Config, Rules, When, Why};
use crate::fetch::Client;
use crate::fetch::metered::is_metered;
use crate::launcher::markdown;
use crate::launcher::messages::{self, Text, sanitise, size};
use crate::launcher::shortcut::Place;
use crate::launcher::terminal::shows_styles;
use crate::launcher::{EXIT_CONFIG, EXIT_DISK, Session, exit_code, worker};
use crate::layout::journal::Journal;
use crate::layout::{self, Kept};
use crate::release::target;
use crate::repair::{Findings, Repaired};
use crate::state::{ClientFolder, Link, State};
use crate::trust::{PublicKey, Role};
use crate::updater::{Outcome, Updater};
use crate::version::Version;
use crate::when::{self, Start};
use crate::{Error, Result, disk};

/// How many releases are listed: as many as the upgrade page of OTRS Web shows.
pub const USUAL_RELEASES: usize = 10;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Update, then start the app.
    Run {
        /// Arguments for the app.
        args: Vec<OsString>,
    },
    /// Ask the source, or within the interval say what it has last said; change nothing.
    Check {
        /// Ask in any case.
        force: bool,
    },
    /// Update without starting the app.
    Update {
        /// Also install what failed its checks or its trial here before, what is not yet for this
        /// installation, and over a metered connection.
        force: bool,
    },
    /// Look for updates while the app runs, and fetch them: not for people.
    Background,
    /// Go back to an older version.
    Rollback {
        /// A version, the name of what is kept of it, `previous` or `factory`.
        to: String,
        /// The databases too.
        with_data: bool,
    },
    /// List the older versions that are kept.
    Backups,
    /// List the releases that the source tells of, with their notes.
    Releases {
        /// How many at most.
        count: usize,
    },
    /// Remove one of them.
    Delete {
        /// A version, or the name of what is kept of it.
        backup: String,
    },
    /// Forget what speaks against versions, so that they are installed when they are offered.
    Retry {
        /// Against this one alone.
        version: Option<String>,
    },
    /// Say what is configured, installed and remembered, and what is wrong with it.
    Doctor {
        /// Bring back installed files that are missing or damaged instead.
        repair: bool,
    },
    /// Make shortcuts to the launcher, or remove them.
    Shortcut {
        /// Where; without any: wherever this user can have one.
        places: Vec<Place>,
        /// Remove them instead.
        remove: bool,
    },
    /// Remove the app, and the launcher.
    Uninstall {
        /// Do not ask first.
        yes: bool,
        /// Also what the user made or changed.
        everything: bool,
    },
    /// Say which launcher this is.
    Version,
    /// Say whether this launcher would work where it lies: asked by the one that it is to replace.
    SelfCheck,
}

impl Command {
    /// Reads what follows `--castoff`. The error is what could not be understood.
    pub fn parse(words: &[OsString]) -> Result<Self, String> {
        let text: Vec<&str> = words.iter().filter_map(|word| word.to_str()).collect();
        match text.as_slice() {
            _ if text.len() < words.len() => Err("?".into()),
            ["run", args @ ..] => Ok(Self::Run {
                args: args.iter().map(OsString::from).collect(),
            }),
            ["check"] => Ok(Self::Check { force: false }),
            ["check", "--force"] => Ok(Self::Check { force: true }),
            ["background"] => Ok(Self::Background),
            ["update"] => Ok(Self::Update { force: false }),
            ["update", "--force"] => Ok(Self::Update { force: true }),
            ["backups"] | ["backups", "list"] => Ok(Self::Backups),
            ["releases"] => Ok(Self::Releases {
                count: USUAL_RELEASES,
            }),
            ["releases", count] => match count.parse() {
                Ok(count) => Ok(Self::Releases { count }),
                Err(_) => Err(text.join(" ")),
            },
            ["rollback"] => Ok(Self::rollback(Link::Previous.as_str(), false)),
            ["rollback", "--with-data"] => Ok(Self::rollback(Link::Previous.as_str(), true)),
            ["rollback", to, "--with-data"] | ["rollback", "--with-data", to] => {
                Ok(Self::rollback(to, true))
            }
            ["rollback", to] | ["backups", "restore", to] => Ok(Self::rollback(to, false)),
            ["backups", "delete", backup] => Ok(Self::Delete {
                backup: (*backup).to_owned(),
            }),
            ["retry"] => Ok(Self::Retry { version: None }),
            ["retry", version] => Ok(Self::Retry {
                version: Some((*version).to_owned()),
            }),
            ["doctor"] => Ok(Self::Doctor { repair: false }),
            ["doctor", "--repair"] => Ok(Self::Doctor { repair: true }),
            ["shortcut", "remove", options @ ..] => Self::shortcut(options, true),
            ["shortcut", options @ ..] => Self::shortcut(options, false),
            ["uninstall", options @ ..]
                if options
                    .iter()
                    .all(|word| ["--yes", "--everything"].contains(word)) =>
            {
                Ok(Self::Uninstall {
                    yes: options.contains(&"--yes"),
                    everything: options.contains(&"--everything"),
                })
            }
            ["version"] => Ok(Self::Version),
            ["self-check"] => Ok(Self::SelfCheck),
            _ => Err(text.join(" ")),
        }
    }

    fn rollback(to: &str, with_data: bool) -> Self {
        let to = to.to_owned();
        Self::Rollback { to, with_data }
    }

    fn shortcut(options: &[&str], remove: bool) -> Result<Self, String> {
        let place = |option: &&str| match *option {
            "--desktop" => Ok(Place::Desktop),
            "--menu" => Ok(Place::Menu),
            other => Err(format!("shortcut {other}")),
        };
        let places = options.iter().map(place).collect::<Result<_, _>>()?;
        Ok(Self::Shortcut { places, remove })
    }

    /// Says which launcher this is, which needs no configuration.
    pub fn tell_version(as_json: bool) -> u8 {
        version().print(as_json)
    }

    /// Reads the configuration as a start in `home` would, and says which launcher this is, or
    /// what is wrong. Writes nothing, asks nobody, and says all on standard output, which the
    /// launcher that asks reads.
    pub fn check_self(home: &Path) -> u8 {
        let checked = Config::load(home, config::baked(), &|name| std::env::var(name).ok())
            .and_then(|config| {
                Rules::of(&config.update)?;
                Client::new(&config.network, &config.source)
            });
        match checked {
            Ok(_) => Self::tell_version(false),
            Err(error) => {
                let _ = writeln!(io::stdout(), "{}: {}", error.code(), error.chain());
                exit_code(&error)
            }
        }
    }
}

/// A finding, told as text and as JSON.
pub(super) struct Told {
    pub(super) text: String,
    pub(super) json: Value,
    /// The exit code: not 0 when something is wrong that was asked about.
    pub(super) code: u8,
}

impl Told {
    pub(super) fn good(text: String, json: Value) -> Self {
        Self {
            text,
            json,
            code: 0,
        }
    }

    pub(super) fn print(self, as_json: bool) -> u8 {
        let text = if as_json {
            self.json.to_string()
        } else {
            self.text
        };
        // Whoever reads may have gone: that is no fault of the command.
        let _ = writeln!(io::stdout(), "{}", text.trim_end());
        self.code
    }
}

impl Session {
    /// Does what a command says and gives the exit code: 0, or one of the launcher's own; for
    /// [`Command::Run`] the app's.
    pub fn work(&self, command: &Command, as_json: bool) -> u8 {
        let told = match command {
            Command::Run { args } => {
                let launcher = std::env::current_exe().ok();
                return self.run(args, launcher.as_deref());
            }
            Command::Background => return worker::work(self),
            Command::Check { force } => self.check(*force),
            Command::Update { force } => self.update(*force),
            Command::Backups => self.backups(),
            Command::Releases { count } => self.releases(*count),
            Command::Rollback { to, with_data } => self.roll_back(to, *with_data),
            Command::Delete { backup } => self.delete(backup),
            Command::Retry { version } => self.retry(version.as_deref()),
            Command::Doctor { repair: false } => self.doctor(),
            Command::Doctor { repair: true } => self.repair(),
            Command::Shortcut { places, remove } => self.shortcut(places, *remove),
            Command::Uninstall { yes, everything } => self.uninstall(*yes, *everything, as_json),
            // The configuration was read when the session was opened.
            Command::Version | Command::SelfCheck => return Command::tell_version(as_json),
        };
        self.tell(told, as_json)
    }

    /// Prints what was found, or what went wrong, and gives the exit code.
    pub(super) fn tell(&self, told: Result<Told>, as_json: bool) -> u8 {
        match told {
            Ok(told) => told.print(as_json),
            Err(error) => {
                if as_json {
                    let code = error.code().as_str();
                    let document = json!({"error": code, "message": error.chain()});
                    let _ = writeln!(io::stdout(), "{document}");
                }
                self.fail(&error)
            }
        }
    }

    /// Says which commands there are.
    pub fn usage(&self, unknown: &str) -> u8 {
        let _ = writeln!(
            io::stderr(),
            "{}\n\n  --castoff run [ARGUMENTS]\n  --castoff check [--force] [--json]\n  \
             --castoff update [--force] [--json]\n  --castoff rollback [VERSION] [--with-data] [--json]\n  \
             --castoff retry [VERSION] [--json]\n  --castoff backups [list] [--json]\n  \
             --castoff backups restore VERSION [--json]\n  \
             --castoff backups delete VERSION [--json]\n  --castoff releases [COUNT] [--json]\n  --castoff doctor [--repair] [--json]\n  \
             --castoff shortcut [--desktop] [--menu] [--json]\n  \
             --castoff shortcut remove [--desktop] [--menu] [--json]\n  \
             --castoff uninstall [--yes] [--everything] [--json]\n  --castoff version [--json]",
            Text::ReportUnknownCommand.render(self.lang, &[("command", unknown.to_owned())]),
        );
        EXIT_CONFIG
    }

    fn check(&self, force: bool) -> Result<Told> {
        let updater = self.updater()?;
        let kept = updater.kept_offer().filter(|_| !force);
        let asked = kept.as_ref().map(|kept| kept.at);
        let installed = updater.current().local_version();
        let installed = installed.map(|local| local.version);
        let (release, trust) = if let Some(kept) = kept {
            (kept.release, kept.trust)
        } else {
            let release = updater.offer()?.release;
            let trust = release.level().as_str().to_owned();
            (release.release().clone(), trust)
        };
        let news = installed.as_ref() != Some(&release.version);
        let critical = release.is_critical_for(installed.as_ref());
        let refused = updater.refusal(installed.as_ref(), &release);
        let installed = installed.as_ref().map(ToString::to_string);
        let offered = release.version.to_string();
        let mut text = String::new();
        self.row(
            &mut text,
            Text::LabelInstalled,
            installed.as_deref().unwrap_or(self.say(Text::LabelNone)),
        );
        self.row(&mut text, Text::LabelOffered, &offered);
        if news && critical {
            let _ = writeln!(text, "  {}", self.say(Text::FoundCritical));
        }
        if let Some(error) = &refused {
            let what = messages::what(error, self.lang);
            let _ = writeln!(text, "  {what} [{}]", error.code());
        }
        if news {
            for line in release.notes.lines() {
                let _ = writeln!(text, "  {}", sanitise(line));
            }
        }
        if let Some(asked) = asked {
            let minutes = (Utc::now() - asked).num_minutes().to_string();
            let values = [("minutes", minutes), ("time", asked.to_rfc3339())];
            let _ = writeln!(text, "{}", self.terminal.text(Text::FoundKept, &values));
        }
        let package = &release.package;
        let json = json!({
            "installed": installed, "offered": offered, "update_available": news,
            "notes": release.notes, "critical": critical, "trust": trust,
            "package": {"url": package.url, "sha256": package.sha256, "size": package.size},
            "launcher": release.launcher, "kept_from": asked,
            "refused": refused.map(|error| error.code().as_str()),
        });
        Ok(Told::good(text, json))
    }

    fn update(&self, force: bool) -> Result<Told> {
        let outcome = self.updater()?.update(force)?;
        let from = match &outcome {
            Outcome::Updated { from, .. } => Some(from.to_string()),
            _ => None,
        };
        let json = json!({
            "outcome": outcome.as_str(), "version": outcome.version().to_string(), "from": from,
        });
        self.terminal.rest();
        Ok(Told::good(self.terminal.outcome_text(&outcome), json))
    }

    fn backups(&self) -> Result<Told> {
        let kept = layout::list(self.updater()?.folder());
        let mut text = String::new();
        if kept.is_empty() {
            text.push_str(self.say(Text::LabelNoBackups));
        }
        for one in &kept {
            text.push_str(&kept_line(one));
        }
        Ok(Told::good(text, kept.iter().map(kept_json).collect()))
    }

    fn releases(&self, count: usize) -> Result<Told> {
        let updater = self.updater()?;
        let releases = updater.releases(count)?;
        let installed = self.startable()?.installed();
        let styles = shows_styles();
        let mut text = String::new();
        let mut rows = Vec::new();
        for release in &releases {
            let is_installed = installed.as_ref() == Some(&release.version);
            let mark = if is_installed {
                self.say(Text::LabelCurrent)
            } else {
                ""
            };
            // The day is enough for people; times are for programs.
            let published = release.published.as_deref().unwrap_or_default();
            let day = published.split('T').next().unwrap_or_default();
            let name = if release.name == release.version.as_str() {
                ""
            } else {
                &release.name
            };
            let head = [release.version.as_str(), day, name, mark];
            let head = head.iter().filter(|part| !part.is_empty());
            let head: Vec<_> = head.map(|part| sanitise(part)).collect();
            let _ = writeln!(text, "{}", head.join("  "));
            if let Some(page) = &release.page {
                let _ = writeln!(text, "  {}", sanitise(page));
            }
            text.push_str(&markdown::render(&release.notes, "  ", styles));
            text.push('\n');
            rows.push(json!({
                "version": release.version, "name": release.name, "notes": release.notes,
                "published": release.published, "page": release.page, "installed": is_installed,
            }));
        }
        if releases.is_empty() {
            text.push_str(self.say(Text::LabelNone));
        }
        Ok(Told::good(text, rows.into()))
    }

    fn roll_back(&self, to: &str, with_data: bool) -> Result<Told> {
        let kept = self.updater()?.roll_back(to, with_data)?;
        let version = kept
            .version
            .map_or_else(|| "?".into(), |version| version.to_string());
        let values = [
            ("name", self.config.name.clone()),
            ("version", version.clone()),
        ];
        let text = Text::OutcomeRestored.render(self.lang, &values);
        self.terminal.rest();
        let json = json!({"outcome": "restored", "version": version});
        Ok(Told::good(text, json))
    }

    fn delete(&self, backup: &str) -> Result<Told> {
        let kept = self.updater()?.delete(backup)?;
        let text = self
            .terminal
            .text(Text::OutcomeDeleted, &[("kept", kept.name.clone())]);
        let json = json!({"outcome": "deleted", "name": kept.name});
        Ok(Told::good(text, json))
    }

    fn retry(&self, version: Option<&str>) -> Result<Told> {
        let versions = self.updater()?.retry(version)?;
        let mut told = String::new();
        for version in &versions {
            let version = [("version", version.clone())];
            let _ = writeln!(told, "{}", self.terminal.text(Text::OutcomeRetry, &version));
        }
        if versions.is_empty() {
            told = self.terminal.text(Text::OutcomeRetryNone, &[]);
        }
        let json = json!({"outcome": "retry", "versions": versions});
        Ok(Told::good(told, json))
    }

    fn doctor(&self) -> Result<Told> {
        let updater = self.updater()?;
        let folder = updater.folder();
        let state = folder.load_state();
        let startable = self.startable()?;
        let installed = startable.installed().map(|version| version.to_string());
        let interrupted = Journal::lies_in(folder);
        let free = disk::free_space(existing(folder.root().to_path_buf()).as_path()).ok();
        let offer = updater.offer();
        let entry = startable.entry_point();
        let none = self.say(Text::LabelNone);
        let mut text = String::new();
        self.row(&mut text, Text::LabelName, &self.config.name);
        self.row(&mut text, Text::LabelLauncher, env!("CARGO_PKG_VERSION"));
        self.row(&mut text, Text::LabelSystem, &target());
        self.row(
            &mut text,
            Text::LabelClientFolder,
            &startable.folder().root().display().to_string(),
        );
        let (base, copy) = self.folders(&mut text, &updater);
        self.row(
            &mut text,
            Text::LabelInstalled,
            installed.as_deref().unwrap_or(none),
        );
        self.row(
            &mut text,
            Text::LabelEntryPoint,
            entry.as_deref().unwrap_or(none),
        );
        self.row(&mut text, Text::LabelSource, &self.config.source.url);
        let trust = self.trust(&mut text, &updater)?;
        let offered = match &offer {
            Ok(offer) => offer.release.version.to_string(),
            Err(error) => format!("{} {}", self.say(Text::LabelFault), error.chain()),
        };
        self.row(&mut text, Text::LabelOffered, &offered);
        let timing = self.timing(&mut text, &updater, &state);
        let trial = state.trial.as_ref().map(|trial| trial.version.to_string());
        self.row(
            &mut text,
            Text::LabelOnTrial,
            trial.as_deref().unwrap_or(none),
        );
        let bad: Vec<String> = state
            .bad
            .iter()
            .map(|bad| bad.version.to_string())
            .collect();
        self.row(
            &mut text,
            Text::LabelBadVersions,
            if bad.is_empty() { none } else { "" },
        );
        for bad in &state.bad {
            let _ = writeln!(text, "    {} ({})", bad.version, sanitise(&bad.why));
        }
        let backups = layout::list(folder).len();
        self.row(&mut text, Text::LabelBackups, &backups.to_string());
        let absent = self.say(Text::LabelAbsent);
        let fault = self.say(Text::LabelFault);
        self.row(
            &mut text,
            Text::LabelInterrupted,
            if interrupted { fault } else { absent },
        );
        // What an interrupted update has left is no version's.
        let files = startable.files().ok().filter(|_| !interrupted);
        let faults = self.files(&mut text, files.as_ref());
        let space = free.map_or_else(|| self.say(Text::LabelUnknown).to_owned(), size);
        self.row(&mut text, Text::LabelFreeSpace, &space);
        let log = self.log.display().to_string();
        self.row(&mut text, Text::LabelLog, &log);
        let settings = self.settings(&mut text);
        let json = json!({
            "launcher": env!("CARGO_PKG_VERSION"), "system": target(), "app": self.config.app,
            "name": self.config.name, "client_folder": startable.folder().root(),
            "why": self.places.why.as_str(), "read_only": base, "copy": copy, "installed": installed,
            "entry_point": entry, "source": self.config.source.url, "trust": trust,
            "offered": offer.as_ref().ok().map(|offer| offer.release.version.to_string()),
            "source_error": offer.as_ref().err().map(Error::chain), "on_trial": trial, "bad": bad,
            "backups": backups, "interrupted": interrupted, "free_space": free, "log": log,
            "files": files, "updates": timing,
            "last": state.last, "settings": settings,
        });
        let code = match &offer {
            _ if interrupted || faults > 0 => EXIT_DISK,
            Err(error) => exit_code(error),
            Ok(_) => 0,
        };
        Ok(Told { text, json, code })
    }

    /// Says when updates are looked for, and what stands in their way. `state`: before this command
    /// has asked itself.
    fn timing(&self, text: &mut String, updater: &Updater<'_>, state: &State) -> Value {
        let config = &self.config.update;
        let none = || self.say(Text::LabelNone).to_owned();
        let time = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Secs, true);
        let last = state.asked.as_ref();
        let interval = config.interval.as_secs();
        let since = when::last_asked(&updater.folder().load_state());
        let asks = updater.at_start() != Start::GoOn { worker: false };
        let next = since
            .filter(|_| config.when != When::Manual && !asks)
            .map(|since| since + config.interval);
        let next = next.filter(|next| *next > Utc::now());
        let critical = updater.known_critical().map(|it| it.version.to_string());
        let hours = config.quiet_hours.map(|hours| hours.to_string());
        let yes_or_no = |yes| self.say(if yes { Text::LabelYes } else { Text::LabelNo });
        let skip: Vec<&str> = config.skip.iter().map(Version::as_str).collect();
        let pin = config.pin.as_ref().map(Version::as_str);
        let waiting = state.pending.as_ref().map(|it| it.version.as_str());
        let metered = is_metered();
        let seconds = [("seconds", interval.to_string())];
        let rows = [
            (Text::LabelWhen, config.when.as_str().to_owned()),
            (
                Text::LabelInterval,
                self.terminal.text(Text::LabelIntervalSeconds, &seconds),
            ),
            (
                Text::LabelLastCheck,
                last.map_or_else(none, |last| {
                    let ended = last.error.as_deref();
                    let ended = ended.unwrap_or(self.say(Text::LabelGood));
                    format!("{} ({ended})", time(last.at))
                }),
            ),
            (
                Text::LabelNextCheck,
                match next {
                    Some(next) => time(next),
                    None if config.when == When::Manual && !asks => none(),
                    None => self.say(Text::LabelNextStart).to_owned(),
                },
            ),
            (
                Text::LabelSkip,
                if skip.is_empty() {
                    none()
                } else {
                    skip.join(", ")
                },
            ),
            (Text::LabelPin, pin.map_or_else(none, str::to_owned)),
            (Text::LabelQuietHours, hours.clone().unwrap_or_else(none)),
            (Text::LabelCritical, critical.clone().unwrap_or_else(none)),
            (
                Text::LabelBlockCritical,
                yes_or_no(config.block_critical).to_owned(),
            ),
            (
                Text::LabelMetered,
                metered
                    .map_or(self.say(Text::LabelUnknown), yes_or_no)
                    .to_owned(),
            ),
            (Text::LabelMeteredLimit, size(config.metered_limit)),
            (Text::LabelWaiting, waiting.map_or_else(none, str::to_owned)),
        ];
        for (label, value) in rows {
            self.row(text, label, &value);
        }
        json!({
            "when": config.when.as_str(), "interval": interval, "next_check": next.map(time),
            "last_check": last.map(|last| json!({"at": time(last.at), "error": last.error})),
            "skip": skip, "pin": pin, "metered": metered, "waiting": waiting,
            "quiet_hours": hours, "critical": critical, "block_critical": config.block_critical,
            "metered_limit": config.metered_limit,
        })
    }

    /// Says what has to be signed, by whom, and what is known of the index.
    fn trust(&self, text: &mut String, updater: &Updater<'_>) -> Result<Value> {
        let trust = updater.trust()?;
        let Some(keys) = trust.keys() else {
            self.row(text, Text::LabelSignatures, self.say(Text::TrustNone));
            return Ok(Value::Null);
        };
        let ids = |role: &Role| role.keys().iter().map(PublicKey::id).collect::<Vec<_>>();
        let role = |role: &Role| json!({"threshold": role.threshold(), "keys": ids(role)});
        let values = [
            ("number", keys.number.to_string()),
            ("needed", keys.release.threshold().to_string()),
            ("count", keys.release.keys().len().to_string()),
        ];
        let told = self.terminal.text(Text::TrustKeys, &values);
        self.row(text, Text::LabelSignatures, &told);
        let index = trust.last_index();
        if let Some(index) = index {
            let values = [
                ("seq", index.seq.to_string()),
                ("expires", index.expires.to_rfc3339()),
            ];
            let _ = writeln!(
                text,
                "    {}",
                self.terminal.text(Text::TrustIndex, &values)
            );
        }
        Ok(json!({
            "keys": keys.number, "expires": keys.expires, "min_version": keys.min_version,
            "root": role(&keys.root), "release": role(&keys.release), "index": role(&keys.index),
            "seen": index.map(|index| json!({
                "seq": index.seq, "issued": index.issued, "expires": index.expires,
                "current": index.current.version, "revoked": index.revoked,
            })),
        }))
    }

    /// What is configured, and where it comes from.
    fn settings(&self, text: &mut String) -> serde_json::Map<String, Value> {
        let mut settings = serde_json::Map::new();
        let _ = writeln!(text, "\n{}", self.say(Text::LabelConfiguration));
        let origins = &self.config.origins;
        for (key, origin) in origins.iter().filter(|(key, _)| !origins.is_default(key)) {
            let _ = writeln!(text, "    {key:<28} {origin}");
            settings.insert(key.to_owned(), origin.to_string().into());
        }
        settings
    }

    /// Says how the installed files are, and returns how many are missing or damaged.
    fn files(&self, text: &mut String, found: Option<&Findings>) -> usize {
        let Some(found) = found else {
            self.row(text, Text::LabelFiles, self.say(Text::LabelUnknown));
            return 0;
        };
        let values = [
            ("files", found.listed),
            ("missing", found.missing.len()),
            ("damaged", found.damaged.len()),
            ("changed", found.changed.len()),
        ];
        let values = values.map(|(name, count)| (name, count.to_string()));
        let told = self.terminal.text(Text::LabelFilesFound, &values);
        self.row(text, Text::LabelFiles, &told);
        if found.faults() > 0 {
            let _ = writeln!(text, "    {}", self.say(Text::LabelRepairHint));
        }
        found.faults()
    }

    fn repair(&self) -> Result<Told> {
        let Repaired { found, older } = self.startable()?.repair()?;
        self.terminal.rest();
        let line = |text, name, count: usize| {
            let told = self.terminal.text(text, &[(name, count.to_string())]);
            format!("{told}\n")
        };
        let mut text = match found.faults() {
            0 => line(Text::OutcomeWhole, "files", found.listed),
            count => line(Text::OutcomeRepaired, "count", count),
        };
        for path in found.missing.iter().chain(&found.damaged) {
            let _ = writeln!(text, "    {}", sanitise(path.as_str()));
        }
        if older > 0 {
            text.push_str(&line(Text::OutcomeRepairedOlder, "count", older));
        }
        if !found.changed.is_empty() {
            text.push_str(&line(Text::OutcomeRepairLeft, "count", found.changed.len()));
        }
        for path in &found.changed {
            let _ = writeln!(text, "    {}", sanitise(path.as_str()));
        }
        let outcome = if found.faults() == 0 {
            "whole"
        } else {
            "repaired"
        };
        let json = json!({"outcome": outcome, "files": found, "older": older});
        Ok(Told::good(text, json))
    }

    /// Says why the app is where it is and, where there are two, what is in either folder: the
    /// installation beside the launcher and the user's copy.
    fn folders(&self, text: &mut String, updater: &Updater<'_>) -> (Value, Value) {
        let why = match self.places.why {
            Why::Writable => Text::ReasonWritable,
            Why::NoHome => Text::ReasonNoHome,
            Why::NotWritable => Text::ReasonNotWritable,
            Why::Kept => Text::ReasonKept,
        };
        self.row(text, Text::LabelWhy, self.say(why));
        let Some(base) = &self.places.read_only else {
            return (Value::Null, Value::Null);
        };
        let base = ClientFolder::new(base, &self.config.version_file);
        let mut tell = |label, folder: &ClientFolder| {
            let version = folder.local_version().map(|local| local.version);
            let shown = version
                .as_ref()
                .map_or(self.say(Text::LabelNone), |version| version.as_str());
            let line = format!("{} ({shown})", folder.root().display());
            self.row(text, label, &line);
            json!({"folder": folder.root(), "version": version})
        };
        (
            tell(Text::LabelReadOnly, &base),
            tell(Text::LabelCopy, updater.folder()),
        )
    }

    fn shortcut(&self, places: &[Place], remove: bool) -> Result<Told> {
        let (paths, text, outcome) = if remove {
            let paths = self.remove_shortcuts(places)?;
            (paths, Text::OutcomeShortcutRemoved, "removed")
        } else {
            let paths = self.make_shortcuts(places)?;
            (paths, Text::OutcomeShortcutMade, "made")
        };
        let mut told = String::new();
        for path in &paths {
            let path = [("path", path.display().to_string())];
            let _ = writeln!(told, "{}", self.terminal.text(text, &path));
        }
        if paths.is_empty() {
            told = self.terminal.text(Text::OutcomeShortcutNone, &[]);
        }
        let json = json!({"outcome": outcome, "shortcuts": paths});
        Ok(Told::good(told, json))
    }

    pub(super) fn say(&self, text: Text) -> &'static str {
        text.template(self.lang)
    }

    pub(super) fn row(&self, text: &mut String, label: Text, value: &str) {
        let label = self.say(label);
        // A Chinese character is as wide as two others.
        let width: usize = label
            .chars()
            .map(|c| if c.is_ascii() { 1 } else { 2 })
            .sum();
        let _ = writeln!(
            text,
            "{label}{} {}",
            " ".repeat(26_usize.saturating_sub(width)),
            sanitise(value)
        );
    }
}

/// A line about an older version that is kept.
pub(super) fn kept_line(kept: &Kept) -> String {
    let version = kept
        .version
        .as_ref()
        .map_or("?", |version| version.as_str());
    let made = kept.created.trunc_subsecs(0);
    let bytes = size(kept.size);
    format!("{version:<16} {made}  {bytes:>10}  {}\n", kept.reason)
}

/// The same for programs.
pub(super) fn kept_json(kept: &Kept) -> Value {
    json!({
        "name": kept.name, "version": kept.version, "created": kept.created, "size": kept.size,
        "reason": kept.reason,
    })
}

fn version() -> Told {
    let version = env!("CARGO_PKG_VERSION");
    Told::good(
        format!("castoff {version} ({})", target()),
        json!({"version": version, "system": target()}),
    )
}

/// The nearest folder above that exists: a client folder may not be there yet.
fn existing(mut path: PathBuf) -> PathBuf {
    while !path.exists() && path.pop() {}
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_castoff_is_understood_or_named() {
        let parse =
            |text: &str| Command::parse(&text.split(' ').map(OsString::from).collect::<Vec<_>>());
        assert_eq!(parse("check"), Ok(Command::Check { force: false }));
        assert_eq!(parse("check --force"), Ok(Command::Check { force: true }));
        assert_eq!(parse("background"), Ok(Command::Background));
        assert_eq!(parse("update --force"), Ok(Command::Update { force: true }));
        assert_eq!(
            parse("backups restore 1.0"),
            Ok(Command::rollback("1.0", false))
        );
        assert_eq!(parse("retry"), Ok(Command::Retry { version: None }));
        let version = Some("1.1.0".into());
        assert_eq!(parse("retry 1.1.0"), Ok(Command::Retry { version }));
        assert_eq!(
            parse("doctor --repair"),
            Ok(Command::Doctor { repair: true })
        );
        assert_eq!(parse("doctor --all"), Err("doctor --all".into()));
        assert_eq!(parse("retry 1 2"), Err("retry 1 2".into()));
        assert_eq!(
            parse("run a b"),
            Ok(Command::Run {
                args: vec!["a".into(), "b".into()]
            })
        );
        assert_eq!(
            parse("shortcut --menu --desktop"),
            Ok(Command::Shortcut {
                places: vec![Place::Menu, Place::Desktop],
                remove: false
            })
        );
        assert_eq!(
            parse("shortcut remove"),
            Ok(Command::Shortcut {
                places: vec![],
                remove: true
            })
        );
        assert_eq!(
            parse("uninstall --everything --yes"),
            Ok(Command::Uninstall {
                yes: true,
                everything: true
            })
        );
        assert_eq!(parse("uninstall --all"), Err("uninstall --all".into()));
        assert_eq!(parse("shortcut --all"), Err("shortcut --all".into()));
        assert_eq!(parse("chek"), Err("chek".into()));
        assert_eq!(parse("backups restore"), Err("backups restore".into()));
    }
}
