//! What must outlive a restart of the updater, in `.castoff/agent.json`: the package that was asked for, and
//! how far an installation has come that the engine's own journal knows nothing of.
//!
//! Written by a rename, synced, before what it announces is done.

use std::path::{Path, PathBuf};

use castoff::state::ClientFolder;
use castoff::{Error, Result, disk};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::board::Stage;
use crate::package::Wishes;
use crate::services::Service;

/// What somebody asks to be fetched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The version.
    pub version: String,
    /// Where its package is.
    pub package_url: String,
    /// What the package is called.
    pub package_name: String,
    /// Its size in bytes.
    pub package_size: u64,
    /// Its MD5.
    pub package_md5: String,
    /// The signed release document, where keys are pinned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<serde_json::Value>,
    /// Keys documents that it needs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<serde_json::Value>,
}

impl Order {
    /// Makes the documents small: as texts, and where no keys are pinned there is no use for them.
    pub fn keep_little(&mut self, pinned: bool) {
        if !pinned {
            self.release = None;
            self.keys.clear();
        }
        for document in self.release.iter_mut().chain(&mut self.keys) {
            if !document.is_string() {
                *document = document.to_string().into();
            }
        }
    }
}

/// To what an installation has fallen back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The new version is tried.
    #[default]
    New,
    /// The version before.
    Previous,
    /// The factory version.
    Factory,
}

/// An installation under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installation {
    /// The version that is to be installed.
    pub version: String,
    /// What its package asks for.
    pub wishes: Wishes,
    /// Those of them that the version before has.
    #[serde(default)]
    pub before: Vec<Service>,
    /// To what it has fallen back.
    pub level: Level,
    /// Why, where it has.
    pub why: Option<String>,
    /// The version that is left, where one that is kept takes its place.
    #[serde(default)]
    pub left: Option<String>,
    /// Whether its package has been kept for it, and was not before.
    #[serde(default)]
    pub kept: bool,
}

impl Installation {
    /// One that begins.
    pub fn of(version: String) -> Self {
        Self {
            version,
            wishes: Wishes::default(),
            before: Vec::new(),
            level: Level::New,
            why: None,
            left: None,
            kept: false,
        }
    }
}

/// The memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// What was asked for last.
    pub order: Option<Order>,
    /// How far that has come.
    pub stage: Stage,
    /// When its package was verified.
    pub verified_at: Option<DateTime<Utc>>,
    /// What is being installed.
    pub installation: Option<Installation>,
    /// Whether somebody has asked for whatever the source offers, and that is being fetched.
    pub upgrade: bool,
    /// All services of versions that have run: the factory version may have any of them.
    pub services: Vec<Service>,
}

fn place(folder: &ClientFolder) -> PathBuf {
    folder.own().join("agent.json")
}

impl Memory {
    /// Nothing is asked for any more.
    pub fn rest(&mut self) {
        *self = Self {
            services: std::mem::take(&mut self.services),
            ..Self::default()
        };
    }

    /// Keeps the names of services.
    pub fn know(&mut self, services: &[Service]) {
        for service in services {
            self.services.retain(|known| known.name != service.name);
            self.services.push(service.clone());
        }
    }

    /// What was kept. A memory that makes no sense is none: the log says so. One that cannot be read now is an
    /// error, for it is not to be written over.
    pub fn load(folder: &ClientFolder) -> Result<Self> {
        let path = place(folder);
        let memory = read(&path)?.unwrap_or_else(|problem| {
            log::error!("{}: {problem}; what it said is forgotten", path.display());
            Self::default()
        });
        Ok(memory)
    }

    /// Whether an installation is noted. Asked again and again, so that what cannot be read is no news.
    pub fn has_installation(folder: &ClientFolder) -> bool {
        matches!(read(&place(folder)), Ok(Ok(memory)) if memory.installation.is_some())
    }

    /// Keeps it, durably.
    pub fn save(&self, folder: &ClientFolder) -> Result<()> {
        let own = folder.own();
        if !own.exists() {
            disk::create_folders(&own)?;
            disk::sync_folder(folder.root())?;
        }
        let text = serde_json::to_vec_pretty(self).map_err(|error| Error::Internal {
            what: error.to_string(),
        })?;
        // The address of a package may hold a password.
        disk::write_secret(&place(folder), &text)
    }
}

/// A memory; inside, why what was read is none.
fn read(path: &Path) -> Result<std::result::Result<Memory, String>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).map_err(|error| error.to_string())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Ok(Memory::default())),
        Err(error) => Err(Error::io("read", path)(error)),
    }
}
