//! The `castoff` command: what publishers, operators, servers and devices work with.
//!
//! Thin: each subcommand is a call into the engine or its face, which the launcher's
//! `--castoff ...` calls too, or into `castoff-publish`, `castoff-server` or `castoff-agent`. Without the
//! feature `publish` it is what a device needs, and no more.

#[cfg(feature = "agent")]
mod agent;
#[cfg(feature = "publish")]
mod demo;
#[cfg(feature = "publish")]
mod publishing;
#[cfg(feature = "publish")]
mod serve;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use castoff::launcher::commands::{Command as Work, USUAL_RELEASES};
use castoff::launcher::operations::Operation;
use castoff::launcher::{Session, dialog, panic, shortcut};
use clap::{Args, Parser, Subcommand};

/// Brings an app up to date, or leaves it exactly as it was, and starts it.
#[derive(Parser)]
#[command(name = "castoff", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Plays the life of an app on loopback, in a temporary folder, and tells it
    #[cfg(feature = "publish")]
    Demo,
    /// Asks the source whether there is another version, or within the interval says what it has
    /// last said; changes nothing
    Check {
        #[command(flatten)]
        place: Place,
        /// Ask in any case
        #[arg(long)]
        force: bool,
    },
    /// Looks for updates while the app runs, and fetches them
    #[command(hide = true)]
    Background(Place),
    /// Brings the app up to date without starting it; with an agent.toml beside launcher.toml, its services stop
    /// and start as the resident updater has it
    Update {
        #[command(flatten)]
        place: Place,
        /// Also install what failed its checks or its trial here before, what is not yet for this
        /// installation, and over a metered connection
        #[arg(long)]
        force: bool,
        /// For this once another repository of the forge
        #[arg(long, value_name = "OWNER/NAME")]
        repo: Option<String>,
        /// For this once this version (or tag), and no other
        #[arg(long, value_name = "VERSION")]
        target: Option<String>,
    },
    /// Does what a double-click on the launcher does: updates, then starts the app
    Run {
        /// The launcher's folder, which holds launcher.toml
        #[arg(long, default_value = ".")]
        dir: PathBuf,
        /// Arguments for the app
        #[arg(last = true)]
        args: Vec<OsString>,
    },
    /// Goes back to an older version, and leaves the one it replaces alone from then on
    Rollback {
        #[command(flatten)]
        place: Place,
        /// A version, or `previous`, or `factory`
        #[arg(default_value = "previous")]
        to: String,
        /// Put the databases back too; the present ones are copied first
        #[arg(long)]
        with_data: bool,
    },
    /// Says which version is installed, and which are kept
    Versions(Place),
    /// Makes a version the factory version: read-only, and shared with no other (snapshot layout)
    Factory {
        #[command(flatten)]
        place: Place,
        #[command(subcommand)]
        action: Factory,
    },
    /// The links to a version's services and programs (snapshot layout)
    Links {
        #[command(flatten)]
        place: Place,
        #[command(subcommand)]
        action: Links,
    },
    /// Lists the older versions that are kept, restores or deletes one
    Backups {
        #[command(flatten)]
        place: Place,
        #[command(subcommand)]
        action: Option<Backups>,
    },
    /// Lists the releases that the source tells of, the newest first, with their notes
    Releases {
        #[command(flatten)]
        place: Place,
        /// How many at most
        #[arg(long, short = 'n', default_value_t = USUAL_RELEASES)]
        limit: usize,
    },
    /// Forgets what speaks against versions (failed trials and checks), so that they are installed
    /// when they are offered
    Retry {
        #[command(flatten)]
        place: Place,
        /// Only what speaks against this one
        version: Option<String>,
    },
    /// Says what is configured, installed and remembered, and what is wrong with it
    Doctor {
        #[command(flatten)]
        place: Place,
        /// Bring back installed files that are missing or damaged instead
        #[arg(long)]
        repair: bool,
    },
    /// Makes shortcuts to the app, on the desktop and in the menu of applications
    Shortcut {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        places: Places,
        #[command(subcommand)]
        action: Option<Shortcuts>,
    },
    /// Removes the app; files that the user made or changed only when told to
    Uninstall {
        #[command(flatten)]
        place: Place,
        /// Do not ask first
        #[arg(long)]
        yes: bool,
        /// Also remove what the user made or changed
        #[arg(long)]
        everything: bool,
    },
    /// The resident updater: devices and servers that update themselves
    #[cfg(feature = "agent")]
    Agent(agent::Agent),
    /// The release server
    #[cfg(feature = "publish")]
    Serve(serve::Serve),
    #[cfg(feature = "publish")]
    #[command(flatten)]
    Publishing(Box<publishing::Command>),
}

#[derive(Subcommand)]
enum Shortcuts {
    /// Removes them
    Remove,
}

#[derive(Args)]
struct Places {
    /// On the desktop
    #[arg(long, global = true)]
    desktop: bool,
    /// In the menu of applications
    #[arg(long, global = true)]
    menu: bool,
}

#[derive(Subcommand)]
enum Backups {
    /// Lists them, the newest first
    List,
    /// Puts one back, named by its version or its folder
    Restore {
        /// A version, or a folder's name
        backup: String,
    },
    /// Deletes one, named by its version or its folder
    Delete {
        /// A version, or a folder's name
        backup: String,
    },
}

#[derive(Subcommand)]
enum Factory {
    /// Sets it
    Set {
        /// An installed or kept version; else the installed one
        version: Option<String>,
        /// Also when there is another factory version already
        #[arg(long)]
        replace: bool,
    },
}

#[derive(Clone, Copy, Subcommand)]
enum Links {
    /// Makes those that are missing or wrong, and removes those to what is gone
    Setup,
    /// Looks at the whole structure: versions, factory, services, programs
    Check,
    /// Tries whether they follow a switch to another version and back
    Test,
}

/// What is to be done in a launcher's folder.
enum Job {
    Work(Work),
    Operation(Operation),
}

#[derive(Args)]
struct Place {
    /// The launcher's folder, which holds launcher.toml
    #[arg(long, global = true, default_value = ".")]
    dir: PathBuf,
    /// Print one JSON document for programs
    #[arg(long, global = true)]
    json: bool,
}

/// Where, and what; `None` for what is not done in a launcher's folder.
fn job(command: Command) -> Option<(Place, Job)> {
    let (place, work) = match command {
        #[cfg(feature = "agent")]
        Command::Agent(_) => return None,
        #[cfg(feature = "publish")]
        Command::Demo | Command::Serve(_) | Command::Publishing(_) => return None,
        Command::Check { place, force } => (place, Work::Check { force }),
        Command::Background(place) => (place, Work::Background),
        Command::Update { place, force, .. } => (place, Work::Update { force }),
        Command::Run { dir, args } => (Place { dir, json: false }, Work::Run { args }),
        Command::Rollback {
            place,
            to,
            with_data,
        } => (place, Work::Rollback { to, with_data }),
        Command::Versions(place) => return Some((place, Job::Operation(Operation::Versions))),
        Command::Factory {
            place,
            action: Factory::Set { version, replace },
        } => {
            let operation = Operation::SetFactory { version, replace };
            return Some((place, Job::Operation(operation)));
        }
        Command::Links { place, action } => {
            let operation = match action {
                Links::Setup => Operation::SetUpLinks,
                Links::Check => Operation::CheckLinks,
                Links::Test => Operation::TestLinks,
            };
            return Some((place, Job::Operation(operation)));
        }
        Command::Backups { place, action } => {
            let work = match action {
                None | Some(Backups::List) => Work::Backups,
                Some(Backups::Restore { backup }) => Work::Rollback {
                    to: backup,
                    with_data: false,
                },
                Some(Backups::Delete { backup }) => Work::Delete { backup },
            };
            (place, work)
        }
        Command::Releases { place, limit } => (place, Work::Releases { count: limit }),
        Command::Retry { place, version } => (place, Work::Retry { version }),
        Command::Doctor { place, repair } => (place, Work::Doctor { repair }),
        Command::Shortcut {
            place,
            places,
            action,
        } => {
            let wanted = [
                (places.desktop, shortcut::Place::Desktop),
                (places.menu, shortcut::Place::Menu),
            ];
            let places = wanted.into_iter().filter(|wanted| wanted.0);
            let work = Work::Shortcut {
                places: places.map(|wanted| wanted.1).collect(),
                remove: action.is_some(),
            };
            (place, work)
        }
        Command::Uninstall {
            place,
            yes,
            everything,
        } => (place, Work::Uninstall { yes, everything }),
    };
    Some((place, Job::Work(work)))
}

fn main() -> ExitCode {
    let command = Cli::parse().command;
    let command = match command {
        #[cfg(feature = "agent")]
        Command::Agent(agent) => return agent.run(),
        #[cfg(feature = "publish")]
        Command::Publishing(command) => return publishing::run(*command),
        #[cfg(feature = "publish")]
        Command::Serve(serve) => return serve.run(),
        #[cfg(feature = "publish")]
        Command::Demo => return demo::run(),
        #[cfg(feature = "agent")]
        Command::Update {
            place,
            force,
            repo,
            target,
        } if agent::looks_after(&place.dir) => {
            let once = agent::Once {
                force,
                repo,
                target,
                json: place.json,
            };
            return agent::update(&place.dir, &once);
        }
        command => command,
    };
    let once = match &command {
        Command::Update { repo, target, .. } => (repo.clone(), target.clone()),
        _ => (None, None),
    };
    // All others have returned.
    let Some((place, job)) = job(command) else {
        return ExitCode::FAILURE;
    };
    let after = match job {
        Job::Work(Work::Run { .. }) => panic::After::StartTheApp,
        _ => panic::After::Report,
    };
    panic::install(after);
    if after == panic::After::StartTheApp {
        // A shortcut may have started this, with no terminal.
        dialog::allow();
    }
    // As absolute as the launcher's own folder is: the app is started in another one. And one text
    // for one folder, by which a shortcut is known again; on Windows that would be a text which
    // few programs understand.
    let home = if cfg!(unix) {
        std::fs::canonicalize(&place.dir)
    } else {
        std::path::absolute(&place.dir)
    }
    .unwrap_or(place.dir);
    let session = Session::open(&home)
        .and_then(|session| session.for_once(once.0.as_deref(), once.1.as_deref()));
    ExitCode::from(match session {
        Ok(session) => match job {
            Job::Work(work) => session.work(&work, place.json),
            Job::Operation(operation) => session.operate(&operation, place.json),
        },
        Err(error) => Session::report_unopened(&error),
    })
}
