//! Where packages and their files lie: on a disk, or in a bucket that several servers share.
//!
//! Promises: what [`Store::put`] has answered for is whole and durable, and is never changed: a place
//! is written once, or with the same bytes again. Places are made by this server, of plain characters,
//! and lead nowhere else.

pub(crate) mod disk;
#[cfg(feature = "s3")]
mod s3;

use std::ops::Range;
use std::path::Path;

use axum::body::Body;
use chrono::{DateTime, Utc};

use crate::config::Config;
use crate::{Error, Result};

/// A store of packages.
pub enum Store {
    /// A folder.
    Disk(disk::Disk),
    /// A bucket.
    #[cfg(feature = "s3")]
    Bucket(s3::Bucket),
}

/// What is known of something in the store.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Bytes.
    pub size: u64,
    /// When it was put there.
    pub modified: DateTime<Utc>,
}

impl Store {
    /// Opens the store that is configured.
    pub fn open(config: &Config) -> Result<Self> {
        match &config.object_store {
            None => Ok(Self::Disk(disk::Disk::new(config.media())?)),
            #[cfg(feature = "s3")]
            Some(address) => Ok(Self::Bucket(s3::Bucket::open(address)?)),
            #[cfg(not(feature = "s3"))]
            Some(_) => Err(Error::request(
                "this castoff was built without S3: build it with --features s3",
            )),
        }
    }

    /// Puts a file there. The file itself may be gone afterwards.
    pub async fn put(&self, place: &str, from: &Path) -> Result<()> {
        must_be_plain(place)?;
        match self {
            Self::Disk(disk) => disk.put(place, from).await,
            #[cfg(feature = "s3")]
            Self::Bucket(bucket) => bucket.put(place, from).await,
        }
    }

    /// Puts a file there unless it lies there already: whatever lies at this place has the same bytes.
    pub async fn put_once(&self, place: &str, from: &Path) -> Result<()> {
        must_be_plain(place)?;
        match self {
            Self::Disk(disk) => disk.put_once(place, from).await,
            #[cfg(feature = "s3")]
            Self::Bucket(bucket) => match bucket.look(place).await? {
                Some(_) => Ok(()),
                None => bucket.put(place, from).await,
            },
        }
    }

    /// What is known of what lies there; `None`: nothing does.
    pub async fn look(&self, place: &str) -> Result<Option<Stored>> {
        if must_be_plain(place).is_err() {
            return Ok(None);
        }
        match self {
            Self::Disk(disk) => disk.look(place).await,
            #[cfg(feature = "s3")]
            Self::Bucket(bucket) => bucket.look(place).await,
        }
    }

    /// These bytes of it, as they are read.
    pub async fn read(&self, place: &str, range: Range<u64>) -> Result<Body> {
        must_be_plain(place)?;
        match self {
            Self::Disk(disk) => disk.read(place, range).await,
            #[cfg(feature = "s3")]
            Self::Bucket(bucket) => bucket.read(place, range).await,
        }
    }

    /// Removes it, if it is there.
    pub async fn remove(&self, place: &str) -> Result<()> {
        must_be_plain(place)?;
        match self {
            Self::Disk(disk) => disk.remove(place).await,
            #[cfg(feature = "s3")]
            Self::Bucket(bucket) => bucket.remove(place).await,
        }
    }
}

/// Fails unless the place is a relative path of plain names.
fn must_be_plain(place: &str) -> Result<()> {
    let plain = |name: &str| {
        !name.is_empty()
            && !name.starts_with('.')
            && !name.ends_with('.')
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "._-+".contains(c))
    };
    if place.len() < 512 && place.split('/').all(plain) {
        return Ok(());
    }
    Err(Error::not_found(format!(
        "{place:?} is no place of the store"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn what_many_put_at_once_lies_there() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("media");
        let store = std::sync::Arc::new(Store::Disk(disk::Disk::new(root.clone()).unwrap()));
        for round in 0..20 {
            let place = format!("files/{round}");
            let puts = (0..8).map(|index| {
                let from = folder.path().join(index.to_string());
                std::fs::write(&from, "same").unwrap();
                let (store, place) = (store.clone(), place.clone());
                tokio::spawn(async move {
                    store.put_once(&place, &from).await.unwrap();
                    // And reads it while others still put it there.
                    let body = store.read(&place, 0..4).await.unwrap();
                    axum::body::to_bytes(body, 9).await.unwrap()
                })
            });
            for put in puts.collect::<Vec<_>>() {
                assert_eq!(put.await.unwrap(), "same");
            }
        }
    }

    #[test]
    fn places_lead_nowhere_else() {
        for plain in ["nuitkal_packs/2026/11/a-1.0.0.zip", "nuitkal-pack/ab12"] {
            assert!(must_be_plain(plain).is_ok(), "{plain}");
        }
        for other in [
            "", "/a", "a/", "a//b", "../a", "a/../b", "a/.b", "a\\b", "C:a", "a b", "a\0",
        ] {
            assert!(must_be_plain(other).is_err(), "{other}");
        }
    }
}
