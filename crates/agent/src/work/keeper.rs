//! What the engine calls before it unpacks a version, and before it switches to that.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use castoff::Error;
use castoff::archive::Archive;
use castoff::progress::{Event, Observer, Phase};
use castoff::release::Release;
use castoff::updater::Steward;

use super::Agent;
use super::watch::{Notes, percent};
use crate::board::Stage;
use crate::memory::Installation;
use crate::package::{self, Rules};
use crate::services::{Service, State};

/// Keeps the services of an installation.
pub(super) struct Keeper<'a> {
    agent: &'a Agent,
    installation: Mutex<Installation>,
    stopping: AtomicBool,
    /// Bytes to unpack.
    total: Mutex<u64>,
}

/// Where unpacking begins and ends, in per cent of an installation.
const UNPACKING: (u8, u8) = (5, 75);

impl<'a> Keeper<'a> {
    pub(super) fn new(agent: &'a Agent, installation: Installation) -> Self {
        Self {
            agent,
            installation: Mutex::new(installation),
            stopping: AtomicBool::new(false),
            total: Mutex::new(0),
        }
    }

    pub(super) fn installation(&self) -> Installation {
        let kept = self.installation.lock();
        kept.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The folders below which a module may lie.
    fn roots(&self) -> Vec<PathBuf> {
        let roots = &self.agent.config.packages.roots;
        if roots.is_empty() {
            vec![self.agent.client.clone()]
        } else {
            roots.clone()
        }
    }

    /// Whether it has begun to stop services.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }
}

impl Steward for Keeper<'_> {
    fn arrange(&self, archive: Archive, release: &mut Release) -> castoff::Result<Archive> {
        let roots = self.roots();
        let rules = Rules {
            roots: &roots,
            commands: self.agent.config.packages.commands,
            signed: release.document.is_some(),
            tree: &self.agent.asking()?.folder().tree(),
            forbidden: &self.agent.files,
        };
        let package = release.package.clone();
        let (archive, wishes) = package::arrange(archive, release, rules)?;
        let kept = self.agent.keep_package(&release.version, &package);
        if let Err(error) = &kept {
            // It is there for people; the app can do without.
            log::error!("the package is not kept: {}", error.chain());
        }
        let mut installation = self
            .installation
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        installation.wishes = wishes;
        installation.version = release.version.to_string();
        installation.kept = kept.unwrap_or(false);
        Ok(archive)
    }

    fn stop(&self) -> castoff::Result<()> {
        if self.agent.board.is_closing() {
            let problem = "this updater ends".to_owned();
            return Err(Error::ServicesFailed { problem });
        }
        let mut installation = self.installation();
        let services = self.agent.services.of(&installation.wishes.services);
        // No version has what is not there. A package's own commands may still bring it.
        let is_new = installation.left.is_none();
        if is_new && installation.wishes.commands.is_empty() {
            self.agent.services.need(&services)?;
        }
        // The second time nothing runs any more.
        if !self.is_stopping() {
            // What is new with this version is none of the one before.
            let ran = self.agent.memory().services.clone();
            let had = |service: &&Service| {
                ran.iter().any(|known| known.name == service.name)
                    || self.agent.services.look(&service.name).state == State::Running
            };
            let wished = installation.wishes.services.iter();
            installation.before = wished.filter(had).cloned().collect();
        }
        *self
            .installation
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = installation.clone();
        // Whoever comes after a kill has to know what to start.
        self.agent
            .remember(|memory| memory.installation = Some(installation))?;
        self.stopping.store(true, Ordering::SeqCst);
        self.agent
            .board
            .write(Stage::Installing, UNPACKING.1 + 5, "Stopping services...");
        self.agent.services.stop(&services)
    }
}

impl Observer for Keeper<'_> {
    fn event(&self, event: &Event<'_>) {
        let write = |percent: u8, message: String| {
            let board = &self.agent.board;
            let now = board.read();
            let is_news = (now.progress, &now.message) != (percent, &message);
            if now.progress <= percent && is_news {
                board.write(Stage::Installing, percent, message);
            }
        };
        let mut total = self.total.lock().unwrap_or_else(PoisonError::into_inner);
        Notes(&self.agent.board).event(event);
        match event {
            Event::Phase(Phase::Plan) => *total = 0,
            Event::Total { bytes, .. } => *total = bytes.unwrap_or(0),
            Event::Position(done) if *total > 0 => {
                let kept = self
                    .installation
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                let (from, to) = UNPACKING;
                let share = u64::from(percent(*done, *total)) * u64::from(to - from) / 100;
                let percent = from + u8::try_from(share).unwrap_or(0);
                // They are unpacked side by side; the one that is named is the one up to which the bytes
                // would have come one after the other.
                let mut sum = 0;
                let module = kept.wishes.modules.iter().find(|(_, size)| {
                    sum += size;
                    sum >= *done
                });
                let message = match module.or(kept.wishes.modules.last()) {
                    Some((name, _)) => format!("Installing module {name}..."),
                    None => format!("Installing version {}...", kept.version),
                };
                write(percent, message);
            }
            _ => {}
        }
    }
}
