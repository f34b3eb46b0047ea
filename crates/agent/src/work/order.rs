//! Orders: a package is fetched and verified, waits for the word, and is installed then.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::path::Path;

use castoff::Error;
use castoff::release::{Package, Release};
use castoff::trust::Trusted;
use castoff::updater::Updater;
use chrono::Utc;
use md5::{Digest as _, Md5};

use super::failure::Failure;
use super::keeper::Keeper;
use super::watch::{Downloading, percent};
use super::{Agent, Job, Refusal};
use crate::board::Stage;
use crate::memory::{Installation, Memory, Order};

/// Bytes that are read at once for a digest.
const BLOCK: usize = 128 * 1024;

impl Agent {
    /// Begins to fetch a package, unless that is under way or done already.
    pub fn fetch(&self, mut order: Order) -> Result<(), Refusal> {
        order.keep_little(self.engine.trust.is_some());
        let known = {
            let memory = self.memory();
            let same = |known: &Order| {
                (&known.version, &known.package_md5) == (&order.version, &order.package_md5)
            };
            memory
                .order
                .as_ref()
                .is_some_and(same)
                .then_some(memory.clone())
        };
        if let Some(memory) = known {
            let now = self.board.read().stage;
            let under_way = matches!(now, Stage::Downloading | Stage::Verifying)
                && matches!(memory.stage, Stage::Downloading | Stage::Verifying);
            let done = now == Stage::ToInstall
                && memory.stage == Stage::ToInstall
                && !self.is_expired(&memory)
                && self.lies_here(&order);
            if under_way || done {
                return Ok(());
            }
        }
        let right = self.take()?;
        let message = format!("Downloading version {}...", order.version);
        let noted = self.remember(|memory| {
            memory.rest();
            memory.order = Some(order.clone());
            memory.stage = Stage::Downloading;
        });
        if let Err(error) = noted {
            self.board.begin(Stage::Downloading, message);
            right.finish(Failure::of(&error, "DOWNLOAD_FAILED").last_word());
            return Err(Refusal::Disk(error));
        }
        let resumed = false;
        let job = Job::Fetch { order, resumed };
        self.send(right, Stage::Downloading, &message, job, None);
        Ok(())
    }

    /// Begins to install the version that was fetched.
    pub fn install(&self, version: &str) -> Result<(), Refusal> {
        let right = self.take()?;
        let memory = self.memory().clone();
        let known = memory.order.as_ref().filter(|order| {
            order.version == version && memory.stage == Stage::ToInstall && self.lies_here(order)
        });
        if known.is_none() {
            return Err(Refusal::NotFound);
        }
        if self.is_expired(&memory) {
            return Err(Refusal::Expired);
        }
        let message = format!("Installing version {version}...");
        let job = Job::Install(Installation::of(version.to_owned()));
        self.send(right, Stage::Installing, &message, job, None);
        Ok(())
    }

    /// Whether the package that was asked for waits, and is whole.
    pub(super) fn lies_here(&self, order: &Order) -> bool {
        let updater = self.updater(&castoff::progress::Silent);
        let waiting = updater.ok().and_then(|updater| updater.waiting());
        waiting.is_some_and(|waiting| order.version.parse().ok() == Some(waiting.version))
    }

    /// Whether an ordered package waits for the word.
    pub(crate) fn waits(&self) -> bool {
        let memory = self.memory().clone();
        let order = memory.order.filter(|_| memory.stage == Stage::ToInstall);
        order.is_some_and(|order| self.lies_here(&order))
    }

    /// A clock that was set back makes no package old.
    fn is_expired(&self, memory: &Memory) -> bool {
        let age = memory.verified_at.map(|at| Utc::now() - at);
        age.and_then(|age| age.to_std().ok())
            .is_some_and(|age| age > self.config.packages.expire())
    }

    pub(super) fn fetch_now(&self, order: &Order) -> Result<(), Failure> {
        let observer = Downloading::new(&self.board, order.package_size);
        let of = |error: Error| Failure::of(&error, "DOWNLOAD_FAILED");
        let updater = self.updater(&observer).map_err(of)?;
        let trusted = trusted(&updater, order).map_err(of)?;
        let resumes = has_part(&updater);
        let mut got = self.fetch_and_compare(&updater, &trusted, order)?;
        if got.is_some() && resumes {
            // A part may have lost something in a power cut, or was of another file.
            got = self.fetch_and_compare(&updater, &trusted, order)?;
        }
        if let Some(got) = got {
            return Err(Failure::new(
                "MD5_MISMATCH",
                format!("expected {}, got {got}", order.package_md5),
                "MD5 verification failed",
            ));
        }
        // Who cannot remember it would not find it again.
        self.remember(|memory| {
            memory.stage = Stage::ToInstall;
            memory.verified_at = Some(Utc::now());
        })
        .map_err(of)
    }

    /// Fetches a package, and keeps it if it is the right one; else gives the MD5 that it has.
    fn fetch_and_compare(
        &self,
        updater: &Updater<'_>,
        trusted: &Trusted,
        order: &Order,
    ) -> Result<Option<String>, Failure> {
        let of = |error: Error| Failure::of(&error, "DOWNLOAD_FAILED");
        let delivery = updater.fetch_handed(trusted.clone()).map_err(of)?;
        self.note(|memory| memory.stage = Stage::Verifying);
        self.board
            .write(Stage::Verifying, 0, "Verifying package integrity...");
        let got = self
            .md5_of(delivery.file())
            .map_err(|error| of(Error::io("read", Path::new(&order.package_name))(error)))?;
        if got == order.package_md5 {
            return delivery.accept().map(|()| None).map_err(of);
        }
        if let Err(error) = delivery.refuse() {
            log::error!("{}", error.chain());
        }
        Ok(Some(got))
    }

    fn md5_of(&self, mut file: &File) -> std::io::Result<String> {
        let length = file.metadata()?.len().max(1);
        let (mut md5, mut done, mut block) = (Md5::new(), 0_u64, vec![0; BLOCK]);
        file.rewind()?;
        loop {
            let read = file.read(&mut block)?;
            if read == 0 {
                break;
            }
            md5.update(&block[..read]);
            let before = percent(done, length);
            done += read as u64;
            if percent(done, length) != before {
                self.board.write(
                    Stage::Verifying,
                    percent(done, length),
                    "Verifying package integrity...",
                );
            }
        }
        file.rewind()?;
        let mut text = String::with_capacity(32);
        for byte in md5.finalize() {
            let _ = write!(text, "{byte:02x}");
        }
        Ok(text)
    }

    /// Installs what was handed over, and sees that it runs.
    pub(super) fn install_now(&self, installation: Installation) -> Result<String, Failure> {
        let keeper = Keeper::new(self, installation);
        let result = self
            .updater(&keeper)
            .and_then(|updater| updater.with_steward(&keeper).install_handed());
        self.outcome_of(result, &keeper)
    }
}

/// The release that an order is about, as far as it may be believed.
fn trusted(updater: &Updater<'_>, order: &Order) -> castoff::Result<Trusted> {
    let mut trust = updater.trust()?;
    if !trust.is_pinned() {
        let package = Package {
            size: Some(order.package_size),
            md5: Some(order.package_md5.clone()),
            ..Package::at(order.package_url.clone())
        };
        return trust.unsigned(Release::of(order.version.parse()?, package));
    }
    for keys in &order.keys {
        let keys = document(keys);
        if !trust.is_known(&keys)? && trust.next_keys().is_some() {
            trust.follow(&keys)?;
        }
    }
    let Some(release) = &order.release else {
        return Err(Error::TrustUnsigned {
            subject: format!("version {}", order.version),
            problem: "the order holds no signed `release`",
        });
    };
    let url = order.package_url.as_str();
    let here = |_: &str| Ok(url.to_owned());
    let trusted = trust.release(&document(release), None, Some(url), &here)?;
    updater.keep_trust(trust)?;
    if Some(&trusted.version) == order.version.parse().ok().as_ref() {
        return Ok(trusted);
    }
    Err(Error::TrustMismatch {
        subject: "release document".to_owned(),
        what: "version",
        expected: order.version.clone(),
        got: trusted.version.to_string(),
    })
}

/// Whether the beginning of a package lies there.
fn has_part(updater: &Updater<'_>) -> bool {
    let entries = std::fs::read_dir(updater.folder().downloads());
    let mut entries = entries.into_iter().flatten().flatten();
    entries.any(|entry| entry.path().extension().is_some_and(|end| end == "part"))
}

pub(super) fn ready(version: &str) -> String {
    format!("Package ready to install: {version}")
}

/// A document in an order: as an object, or as the text of one.
fn document(value: &serde_json::Value) -> Vec<u8> {
    match value {
        serde_json::Value::String(text) => text.clone().into_bytes(),
        other => other.to_string().into_bytes(),
    }
}
