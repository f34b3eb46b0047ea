//! What is remembered of signed documents from one check to the next: `.castoff/trust.json`.
//!
//! It holds nothing but documents in their envelopes. Promises: none gets here that was not verified.
//! Whoever reads it verifies them again, beginning with the keys that are pinned.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::state::{ClientFolder, pretty, read_json};
use crate::{Code, Result, disk, record};

/// `trust.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Memory {
    /// The keys documents that were followed, from the first on.
    pub(super) keys: Vec<String>,
    /// The newest index of each channel.
    pub(super) indexes: BTreeMap<String, String>,
    /// The release that it names, by channel, once that was let pass.
    pub(super) releases: BTreeMap<String, String>,
}

impl Memory {
    /// What is no such file counts as nothing. One that cannot be read just now does not: what was
    /// seen would be forgotten, and written over.
    pub(super) fn load(folder: &ClientFolder) -> Result<Option<Self>> {
        match read_json(&file(folder)) {
            Err(error) if error.code() == Code::StateInvalid => {
                record::warn!("{}; going on from the keys that are pinned", error.chain());
                Ok(None)
            }
            memory => memory,
        }
    }

    /// Makes it durable: a number that was seen must not be forgotten by a power cut after what it
    /// led to was installed.
    pub(super) fn save(&self, folder: &ClientFolder) -> Result<()> {
        disk::create_folders(&folder.own())?;
        disk::write_atomic(&file(folder), &pretty(self)?)
    }
}

fn file(folder: &ClientFolder) -> PathBuf {
    folder.own().join("trust.json")
}
