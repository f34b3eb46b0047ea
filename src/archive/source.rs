//! A file that is read by position, so that several threads can.

use std::fs::File;
use std::io;

use crate::error::in_short;
use crate::{Error, Result};

/// An open file, its length, and what messages call it.
#[derive(Debug)]
pub(super) struct Source {
    file: File,
    pub(super) length: u64,
    pub(super) subject: String,
}

impl Source {
    pub(super) fn new(file: File, subject: &str) -> Result<Self> {
        let length = file
            .metadata()
            .map_err(Error::io("read the size of", subject))?
            .len();
        Ok(Self {
            file,
            length,
            subject: subject.to_owned(),
        })
    }

    /// Fills `bytes` from `offset` on.
    pub(super) fn read(&self, mut bytes: &mut [u8], mut offset: u64) -> Result<()> {
        while !bytes.is_empty() {
            match read_at(&self.file, bytes, offset) {
                Ok(0) => return Err(self.invalid("it ends before its records do")),
                Ok(count) => {
                    bytes = &mut bytes[count..];
                    offset += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io("read", &self.subject)(error)),
            }
        }
        Ok(())
    }

    pub(super) fn invalid(&self, problem: impl Into<String>) -> Error {
        Error::ArchiveInvalid {
            subject: self.subject.clone(),
            problem: problem.into(),
        }
    }

    pub(super) fn too_large(&self, limit: String) -> Error {
        Error::TooLarge {
            subject: self.subject.clone(),
            limit,
        }
    }

    pub(super) fn invalid_entry(&self, name: &[u8], problem: impl std::fmt::Display) -> Error {
        self.invalid(format!(
            "entry {:?}: {problem}",
            in_short(&String::from_utf8_lossy(name))
        ))
    }
}

#[cfg(unix)]
fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, bytes, offset)
}

#[cfg(windows)]
fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, bytes, offset)
}
