//! `castoff agent`: the resident updater, what runs it, and what looks after it.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use castoff::config::{self, Config, Places};
use castoff::launcher::logfile;
use castoff::{Error, Result};
use castoff_agent::config::Config as AgentConfig;
use castoff_agent::doctor::{self, Level};
use castoff_agent::install::Request;
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
