//! `castoff agent`: the resident updater, what runs it, and what looks after it.

use std::io::{self, IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use castoff::config::{self, Config, Places};
use castoff::launcher::logfile;
use castoff::launcher::messages::{self, Lang, Text};
use castoff::{Error, Result};
use castoff_agent::board::View;
use castoff_agent::config::{Config as AgentConfig, FILE_NAME};
use castoff_agent::doctor::{self, Level};
use castoff_agent::install::Request;
use castoff_agent::ledger::Entry;
use castoff_agent::otrs::said;
use castoff_agent::shell::{self, End};
use clap::{Args, Subcommand};

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Agent {
    #[command(flatten)]
    place: Place,
    /// Where to listen, instead of what is configured
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Args)]
struct Place {
    /// The folder with launcher.toml and agent.toml
    #[arg(long, default_value = ".")]
    dir: PathBuf,
}

#[derive(Subcommand)]
enum Action {
    /// Writes the unit by which systemd runs it, and an agent.toml where there is none
    Install {
        #[command(flatten)]
        place: Place,
        /// The folder of an image that is a device's `/`; --dir is in it
        #[arg(long, conflicts_with = "start")]
        root: Option<PathBuf>,
        /// Replace a unit that somebody has changed
        #[arg(long)]
        force: bool,
        /// Start it, now and at every boot
        #[arg(long)]
        start: bool,
    },
    /// Writes a version where an app looks for it; called by the updater with the rights of the app's user
    #[command(hide = true)]
    Tell {
        #[arg(long)]
        entry: String,
        #[arg(long)]
        version: String,
        path: PathBuf,
    },
    /// Says whether this device is as it should be, and what to do where it is not
    Doctor {
        #[command(flatten)]
        place: Place,
        /// Print one JSON document for programs
        #[arg(long)]
        json: bool,
    },
}

impl Agent {
    /// Does it, and says so.
    pub(crate) fn run(self) -> ExitCode {
        let done = match self.action {
            None => serve(&self.place, self.listen),
            Some(Action::Install {
                place,
                root,
                force,
                start,
            }) => install(&place, root.as_deref(), force, start),
            Some(Action::Doctor { place, json }) => doctor(&place, json),
            Some(Action::Tell {
                entry,
                version,
                path,
            }) => tell(&entry, &version, &path),
        };
        done.unwrap_or_else(|error| {
            line(&format!("{} [{}]", error.chain(), error.code()));
            ExitCode::FAILURE
        })
    }
}

impl Place {
    fn open(&self) -> Result<(PathBuf, Config)> {
        // As it was named, links and all: so do packages name their destinations.
        let home = std::path::absolute(&self.dir).map_err(Error::io("find", &self.dir))?;
        let env = |name: &str| std::env::var(name).ok();
        let engine = Config::load(&home, config::baked(), &env)?;
        Ok((home, engine))
    }
}

fn serve(place: &Place, listen: Option<SocketAddr>) -> Result<ExitCode> {
    let (home, engine) = place.open()?;
    let mut own = AgentConfig::read(&home)?;
    if let Some(listen) = listen {
        own.listen = listen;
    }
    let scheme = if own.tls.is_some() { "https" } else { "http" };
    let places = Places::find(&engine, &home);
    let log = logfile::install(&places.log_dir, engine.log_level);
    let client = std::path::absolute(&places.client).unwrap_or(places.client);
    castoff_agent::run(own, engine, &home, &client, &|address| {
        line(&format!(
            "Listening on {scheme}://{address}; the log is {}",
            log.display()
        ));
    })?;
    line("The end: nothing is under way.");
    Ok(ExitCode::SUCCESS)
}

/// What is said where somebody has ended an upgrade.
const BROKEN_OFF: &str = "Broken off: nothing was changed";

/// An upgrade from a shell.
pub(crate) struct Once {
    pub(crate) force: bool,
    pub(crate) repo: Option<String>,
    pub(crate) target: Option<String>,
    pub(crate) json: bool,
}

/// Whether the app of a folder has services that are to be stopped and started.
pub(crate) fn looks_after(home: &Path) -> bool {
    home.join(FILE_NAME).exists()
}

/// `castoff update` there.
pub(crate) fn update(home: &Path, once: &Once) -> ExitCode {
    let place = Place {
        dir: home.to_path_buf(),
    };
    let opened = place.open();
    let configured = opened.as_ref().ok();
    let configured = configured.and_then(|(_, engine)| engine.language.clone());
    let lang = Lang::detect(configured.as_deref());
    let end = opened.and_then(|(home, engine)| upgrade(&home, engine, lang, once));
    end.unwrap_or_else(|error| {
        if once.json {
            told(&document(
                "failed",
                None,
                Some((error.code().as_str(), &error.chain())),
            ));
        } else {
            log::error!("{}: {}", error.code(), error.chain());
            line(&in_words(&error, lang));
        }
        ExitCode::FAILURE
    })
}

/// What has happened, for people: what a wrong word of the configuration was meant to be, too.
fn in_words(error: &Error, lang: Lang) -> String {
    let mut text = messages::what(error, lang);
    if let Error::ConfigInvalid {
        nearest: Some(nearest),
        ..
    } = error
    {
        if lang == Lang::En {
            text.push(' ');
        }
        let values = [("nearest", nearest.clone())];
        text.push_str(&Text::ReportNearest.render(lang, &values));
    }
    format!("{text} [{}]", error.code())
}

fn upgrade(home: &Path, mut engine: Config, lang: Lang, once: &Once) -> Result<ExitCode> {
    engine.override_for_once(once.repo.as_deref(), once.target.as_deref())?;
    let own = AgentConfig::read(home)?;
    let places = Places::find(&engine, home);
    logfile::install(&places.log_dir, engine.log_level);
    let client = std::path::absolute(&places.client).unwrap_or(places.client);
    let mut shown = Shown {
        lang,
        quiet: once.json,
        terminal: io::stderr().is_terminal(),
        open: false,
    };
    let end = shell::update(own, engine, home, &client, once.force, &mut |view| {
        shown.show(view);
    })?;
    let (outcome, view) = match &end {
        End::Done(view) if view.now.error.is_none() => ("success", Some(view)),
        End::Done(view) => ("failed", Some(view)),
        End::BrokenOff => ("broken off", None),
    };
    if once.json {
        told(&document(outcome, view, None));
    } else {
        let last = view.map_or(BROKEN_OFF, |view| &view.now.message);
        line(&said(last, lang));
    }
    Ok(ExitCode::from(match outcome {
        "success" => 0,
        "failed" => 1,
        // As of what Ctrl+C has ended.
        _ => 130,
    }))
}

fn document(outcome: &str, view: Option<&View>, error: Option<(&str, &str)>) -> String {
    let now = view.map(|view| &view.now);
    serde_json::json!({
        "outcome": outcome,
        "message": now.map(|now| &now.message),
        "error": now.and_then(|now| now.error.clone()).or_else(|| error.map(|(code, problem)| format!("{code}: {problem}"))),
    })
    .to_string()
}

/// Shows the board: its lines, and on a terminal how far a download is.
struct Shown {
    lang: Lang,
    quiet: bool,
    terminal: bool,
    /// Whether a line is there that the next one takes the place of.
    open: bool,
}

impl Shown {
    fn show(&mut self, view: &View) {
        if self.quiet {
            return;
        }
        let mut out = io::stderr().lock();
        if self.open {
            let _ = write!(out, "\r\x1b[K");
            self.open = false;
        }
        for line in &view.lines {
            let _ = writeln!(out, "{line}");
        }
        let now = &view.now;
        if self.terminal && view.busy && now.progress > 0 {
            let message = said(&now.message, self.lang);
            let _ = write!(out, "{:3} % {message}", now.progress);
            let _ = out.flush();
            self.open = true;
        }
    }
}

fn tell(entry: &str, version: &str, path: &Path) -> Result<ExitCode> {
    let entry: Entry = serde_json::from_str(entry).map_err(|error| Error::Internal {
        what: error.to_string(),
    })?;
    if let Err(problem) = entry.write(path, version) {
        line(&problem);
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn install(place: &Place, root: Option<&Path>, force: bool, start: bool) -> Result<ExitCode> {
    let (home, engine) = place.open()?;
    let executable = std::env::current_exe().map_err(Error::io("find", Path::new("castoff")))?;
    let request = Request {
        home,
        executable: absolute(&executable)?,
        root: root.map(absolute).transpose()?,
        force,
        start,
    };
    castoff_agent::install::install(&request, &engine, &mut told)?;
    Ok(ExitCode::SUCCESS)
}

fn doctor(place: &Place, json: bool) -> Result<ExitCode> {
    let (home, engine) = place.open()?;
    let client = Places::find(&engine, &home).client;
    let findings = doctor::examine(&home, &client, &engine);
    if json {
        told(&doctor::document(&findings)?);
    } else {
        told(doctor::table(&findings, &engine).trim_end());
    }
    let healthy = findings.iter().all(|it| it.level != Level::Fault);
    Ok(ExitCode::from(u8::from(!healthy)))
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::fs::canonicalize(path).map_err(Error::io("find", path))
}

/// What was asked for.
fn told(text: &str) {
    drop(writeln!(io::stdout(), "{text}"));
}

/// What people read.
fn line(text: &str) {
    drop(writeln!(io::stderr(), "{text}"));
}
