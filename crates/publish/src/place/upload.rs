//! Uploads that are under way: a file beside the package, `PACKAGE.upload`, knows which one it is, so that
//! the same command in another process goes on with it.

use std::path::PathBuf;

use castoff::disk;
use castoff::trust::Sha256;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::File;
use crate::{Error, Result};

/// How the name of the file ends that knows an upload.
const END: &str = "upload";

/// What is noted.
#[derive(Serialize, Deserialize)]
struct Upload {
    /// Where the file goes.
    to: String,
    sha256: Sha256,
    /// What the place calls the upload.
    id: String,
    /// The parts that are there, where the place takes a file in parts.
    #[serde(default)]
    parts: Vec<Sent>,
}

/// A part of a file that is at a place.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Sent {
    /// Bytes.
    pub(super) size: u64,
    /// Of the bytes that were sent, whatever the file has become since.
    pub(super) sha256: Sha256,
    /// What the place calls it.
    pub(super) tag: String,
}

/// Where the upload of a file to a place is noted.
pub(super) struct Note {
    path: PathBuf,
    to: String,
    sha256: Sha256,
}

impl Note {
    /// That of a file, which goes to an address.
    pub(super) fn of(file: &File<'_>, to: String) -> Result<Self> {
        let path =
            std::path::absolute(&file.path).map_err(Error::io("find the path of", &file.path))?;
        Ok(Self {
            path: path.with_added_extension(END),
            to,
            sha256: file.sha256,
        })
    }

    /// The upload of these very bytes to this address that is noted, and its parts.
    pub(super) fn read(&self) -> Option<(String, Vec<Sent>)> {
        let upload: Upload = serde_json::from_slice(&std::fs::read(&self.path).ok()?).ok()?;
        let same = upload.to == self.to && upload.sha256 == self.sha256;
        same.then_some((upload.id, upload.parts))
    }

    pub(super) fn write(&self, id: &str, parts: &[Sent]) -> Result<()> {
        let upload = Upload {
            to: self.to.clone(),
            sha256: self.sha256,
            id: id.to_owned(),
            parts: parts.to_vec(),
        };
        let text = json!(upload).to_string();
        Ok(disk::write_atomic(&self.path, text.as_bytes())?)
    }

    /// There is nothing to go on with any more.
    pub(super) fn remove(&self) -> Result<()> {
        Ok(disk::remove_file(&self.path)?)
    }
}
