//! What is remembered of signed documents from one check to the next: `.castoff/trust.json`.
//!
//! It holds nothing but documents in their envelopes. Promises: none gets here that was not verified.
//! Whoever reads it verifies them again, beginning with the keys that are pinned.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::state::{ClientFolder, pretty, read_json};
use crate::{Result, disk};

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
    pub(super) fn load(folder: &ClientFolder) -> Option<Self> {
        match read_json(&file(folder)) {
            Ok(memory) => memory,
            Err(error) => {
                log::warn!("{}; going on from the keys that are pinned", error.chain());
                None
            }
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
