//! Brings the files of a release that has no archive to disk, several at once.
//!
//! Promises: each is fetched and proven as a package is ([`super::download`](fn@super::download)), and
//! only once where several paths have one content; what an earlier attempt has fetched is not fetched
//! again.

use std::path::Path;
use std::sync::Mutex;

use super::Client;
use super::download::{at_hand, check_limit, clear_all_but, download, file_stem, finished_name};
use crate::archive::{Loose, SafePath};
use crate::progress::{Event, Observer};
use crate::release::{Package, Remote};
use crate::{Result, disk, order};

/// How many are fetched at once: as many connections as browsers open to one server. With small files
/// most of the time is spent waiting for an answer.
const SIDE_BY_SIDE: usize = 6;

/// Fetches the files into `folder`, which then holds nothing else but `also`.
pub fn download_files(
    client: &Client,
    files: &[(&SafePath, &Remote)],
    folder: &Path,
    also: &str,
    observer: &dyn Observer,
) -> Result<Vec<Loose>> {
    let mut packages: Vec<Package> = files.iter().map(|(_, file)| package(file)).collect();
    order::sort_by(&mut packages, |one, other| one.sha256.cmp(&other.sha256));
    packages.dedup_by_key(|package| package.sha256);
    let mut keep: Vec<String> = packages.iter().map(file_stem).collect();
    order::sort(&mut keep);
    clear_all_but(folder, &|name| {
        let stem = name.split('.').next().unwrap_or(name);
        name == also
            || keep
                .binary_search_by(|kept| kept.as_str().cmp(stem))
                .is_ok()
    })?;
    let total = packages.iter().filter_map(|package| package.size).sum();
    if let Some(first) = packages.first() {
        check_limit(client, &first.url, total)?;
    }
    observer.event(&Event::Total {
        bytes: Some(total),
        done: 0,
    });
    let sum = Mutex::new(0);
    disk::in_parallel(SIDE_BY_SIDE, &packages, &|package| {
        let share = Share {
            observer,
            sum: &sum,
            own: Mutex::new(0),
        };
        download(client, package, folder, &share)?;
        share.comes_to(package.size.unwrap_or_default());
        Ok(())
    })?;
    Ok(loose(files))
}

/// The files, where each was fetched before and is still what it should be; `None` where one is not.
pub fn files_at_hand(files: &[(&SafePath, &Remote)], folder: &Path) -> Result<Option<Vec<Loose>>> {
    for (_, file) in files {
        match at_hand(folder, &package(file))? {
            Some(fetched) if fetched.sha256 == file.sha256 => {}
            _ => return Ok(None),
        }
    }
    Ok(Some(loose(files)))
}

/// What the files are, once they are in the folder.
fn loose(files: &[(&SafePath, &Remote)]) -> Vec<Loose> {
    let loose = files.iter().map(|(path, file)| Loose {
        path: (*path).clone(),
        stored: finished_name(&package(file)),
        size: file.size,
        sha256: file.sha256,
        executable: false,
    });
    loose.collect()
}

fn package(file: &Remote) -> Package {
    Package {
        sha256: Some(file.sha256),
        size: Some(file.size),
        ..Package::at(file.url.clone())
    }
}

/// Adds the progress of one file to that of all.
struct Share<'a> {
    observer: &'a dyn Observer,
    sum: &'a Mutex<u64>,
    /// What this file has in it.
    own: Mutex<u64>,
}

impl Share<'_> {
    fn comes_to(&self, position: u64) {
        let (Ok(mut sum), Ok(mut own)) = (self.sum.lock(), self.own.lock()) else {
            return;
        };
        *sum = sum.saturating_sub(*own) + position;
        *own = position;
        self.observer.event(&Event::Position(*sum));
    }
}

impl Observer for Share<'_> {
    fn event(&self, event: &Event<'_>) {
        match event {
            Event::Total { done, .. } => self.comes_to(*done),
            Event::Position(position) => self.comes_to(*position),
            other => self.observer.event(other),
        }
    }
}
