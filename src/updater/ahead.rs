//! Updates at another time than before the start: what is fetched while the app runs, what waits and
//! is installed without asking anybody, and what is remembered of the source's answers.
//!
//! What waits is the verified download; it is hashed again, and unpacked, at the commit. A worker holds
//! no lock but that of fetching, and for its launcher's own update, at its end, that of updating;
//! neither is waited for by a start that goes on.

use chrono::TimeDelta;

use super::{
    Archive, Code, Error, Event, FetchLock, Journal, Offer, Outcome, Phase, Release, Result,
    SelfUpdate, Trusted, Updater, Utc, Version, Whence, disk, fetch, when,
};
use crate::record;
use crate::state::{Asked, Offered};
use crate::when::{Clock, Start};

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

/// How old what is remembered of an answer may become before its time is written down again, where no
/// interval needs it: a start with nothing new should write nothing.
const NOTED_AGAIN: TimeDelta = TimeDelta::days(1);

impl Updater<'_> {
    /// What a start does about updates, before the app.
    pub fn at_start(&self) -> Start {
        let state = self.folder.load_state();
        let installed = self.current_version();
        when::at_start(
            &self.config.update,
            &state,
            installed.as_ref(),
            Clock::system(),
        )
    }

    /// The critical release that is known for what is installed.
    pub fn known_critical(&self) -> Option<Release> {
        let state = self.folder.load_state();
        let installed = self.current_version();
        when::known_critical(&self.config.update, &state, installed.as_ref()).cloned()
    }

    /// Why the critical release that is known is not taken now, if it is not.
    pub fn critical_refusal(&self) -> Option<Error> {
        let installed = self.current_version();
        self.refusal(installed.as_ref(), &self.known_critical()?)
    }

    /// Why the app must not be started, after an update that did not come about: what is installed is
    /// not safe to go on with, and `update.block_critical` forbids it where a fixed version waits.
    pub fn blocked(&self) -> Option<Error> {
        let installed = self.current_version()?;
        let fixed = self.folder.load_state().pending.filter(|fixed| {
            !fixed.handed
                && self.config.update.block_critical
                && fixed.version != installed
                && fixed.is_critical_for(Some(&installed))
                && self.lies_by(&fixed.package)
        })?;
        // What would not be installed here is no reason to keep the app from anybody.
        let trusted = self.trust().and_then(|trust| trust.recall(fixed)).ok()?;
        let offer = Offer {
            installed: Some(installed.clone()),
            release: trusted,
        };
        self.admit(&offer, false).ok()?;
        Some(Error::CriticalBlocked {
            installed: installed.to_string(),
            offered: offer.release.version.to_string(),
        })
    }

    /// Installs what waits, if anything does, without asking anybody.
    pub fn install_waiting(&self) -> Result<Option<Outcome>> {
        self.recover()?;
        self.tidy();
        match self.take_waiting().transpose() {
            None => Ok(None),
            Some(Err(error)) if error.code() == Code::UpdateRunning => {
                record::info!("what waits is left for later: {}", error.chain());
                Ok(None)
            }
            Some(result) => {
                self.remember(&result);
                result.map(Some)
            }
        }
    }

    /// The same, of a folder that is in order.
    pub(super) fn take_waiting(&self) -> Result<Option<Outcome>> {
        let pending = self.folder.load_state().pending;
        let Some(pending) = pending.filter(|release| !release.handed) else {
            return Ok(None);
        };
        let installed = self.current_version();
        if installed.as_ref() == Some(&pending.version) {
            self.forget_waiting()?;
            return Ok(None);
        }
        match self.trust()?.recall(pending) {
            // An index that was seen since names another, or none.
            Err(error) if matches!(error.code(), Code::TrustMismatch | Code::TrustWithdrawn) => {
                record::info!("what waits was withdrawn: {}", error.chain());
                self.forget_waiting()?;
                Ok(None)
            }
            release => {
                let release = release?;
                let offer = Offer { installed, release };
                self.take(offer, false, Whence::Disk).map(Some)
            }
        }
    }

    pub(super) fn forget_waiting(&self) -> Result<()> {
        self.folder.change_state(|state| state.pending = None)?;
        self.clear_downloads()
    }

    /// What a worker does while the app runs: asks, fetches and verifies, and notes that the release
    /// waits. `None`: there was nothing to do, or another does it.
    pub fn fetch_ahead(mut self) -> Result<Option<Outcome>> {
        self.ahead = true;
        let lock = match FetchLock::take(&self.folder, Duration::ZERO) {
            Err(error) if error.code() == Code::UpdateRunning => {
                record::info!("another is fetching already");
                return Ok(None);
            }
            lock => lock?,
        };
        let state = self.folder.load_state();
        let installed = self.current_version();
        // An update under way, or one to be undone by the next start.
        if Journal::lies_in(&self.folder)
            || !when::in_background(
                &self.config.update,
                &state,
                installed.as_ref(),
                Clock::system(),
            )
        {
            return Ok(None);
        }
        let mut offer = self.ask_to_follow();
        let launcher = self.take_launcher(&mut offer);
        let result = offer.and_then(|offer| self.lay_by(&offer));
        self.remember(&result);
        drop(lock);
        if let Some(executable) = &self.launcher {
            SelfUpdate::new(executable, &self.folder, self.config, self.observer)
                .follow(launcher.as_ref(), false);
        }
        result.map(Some)
    }

    /// Fetches and verifies what is offered, and notes that it waits.
    fn lay_by(&self, offer: &Offer) -> Result<Outcome> {
        let version = offer.release.version.clone();
        if !offer.is_news() {
            self.drop_withdrawn(offer)?;
            return Ok(Outcome::UpToDate { version });
        }
        self.admit(offer, false)?;
        let there = self.lies_by(&offer.release.package);
        if there && when::waits(&self.folder.load_state(), &offer.release) {
            return Ok(Outcome::Pending { version });
        }
        self.spare_metered(offer, false)?;
        self.drop_withdrawn(offer)?;
        // A start may have installed something meanwhile: what then differs is for the next check.
        let has_changed = || self.current_version() != offer.installed;
        if !has_changed() {
            let fetched = self.fetch(&offer.release);
            self.blame(&fetched, &offer.release);
            fetched?;
        }
        if has_changed() {
            self.clear_downloads()?;
            let version = self.current_version().unwrap_or(version);
            return Ok(Outcome::UpToDate { version });
        }
        let release = offer.release.release().clone();
        self.folder
            .change_state(|state| state.pending = Some(release))?;
        Ok(Outcome::Pending { version })
    }

    /// What waits, verified again; `None` where it is gone.
    pub(super) fn at_hand(&self, release: &Trusted) -> Result<Option<Archive>> {
        let package = &release.package;
        if package.by_file {
            return self.files_at_hand(release);
        }
        self.observer.event(&Event::Phase(Phase::Verify));
        let Some(fetched) = fetch::at_hand(&self.folder.downloads(), package)? else {
            return Ok(None);
        };
        self.open(fetched, package).map(Some)
    }

    /// Puts a large package off while the connection is paid for by the byte.
    pub(super) fn spare_metered(&self, offer: &Offer, force: bool) -> Result<()> {
        let state = self.folder.load_state();
        let (config, release) = (&self.config.update, &offer.release);
        if !force
            && when::spares_metered(config, &state, release, offer.installed.as_ref())
            && fetch::metered::is_metered() == Some(true)
        {
            return Err(Error::MeteredConnection {
                version: release.version.to_string(),
                size: release.package.size.unwrap_or(0).to_string(),
            });
        }
        Ok(())
    }

    /// Why a release would not be taken now, if it is news: what the configuration, its rollout and
    /// what is remembered of it say. Whether it leads back, and over what connection, is left aside.
    pub fn refusal(&self, installed: Option<&Version>, release: &Release) -> Option<Error> {
        let refused = self.admit_release(installed, release, false).err();
        refused.filter(|_| installed != Some(&release.version))
    }

    /// The last answer of the source, within the interval.
    pub fn kept_offer(&self) -> Option<Offered> {
        let offer = self.folder.load_state().asked?.offer?;
        let interval = self.config.update.interval;
        (!when::is_due(interval, Some(offer.at), Utc::now())).then_some(offer)
    }

    /// Remembers that the source was asked, and what it has said. That it cannot be remembered costs a
    /// check more, and nothing else.
    pub(super) fn note_asked(&self, installed: Option<&Version>, answer: &Result<Trusted>) {
        let asked = Asked::now();
        let at = asked.at;
        // One that leads back, such as an old one that somebody says again, takes nobody's place.
        let offer = answer.as_ref().ok();
        let offer = offer.filter(|release| self.leads_on(installed, release).is_ok());
        let offer = offer.map(|release| {
            let mut kept = release.release().clone();
            kept.document = None;
            kept.manifest = None;
            Offered {
                at,
                release: kept,
                trust: release.level().as_str().to_owned(),
            }
        });
        let error = answer.as_ref().err();
        let error = error.map(|error| error.code().as_str().to_owned());
        let is_new = !self.folder.own().exists();
        let needed = !self.config.update.interval.is_zero();
        let noted = self.folder.change_state(|state| {
            let before = state.asked.take();
            let (said, kept) = match (&before, offer) {
                (before, None) => (true, before.as_ref().and_then(|it| it.offer.clone())),
                (
                    Some(Asked {
                        offer: Some(old), ..
                    }),
                    Some(new),
                ) => {
                    let same = (&old.release, &old.trust) == (&new.release, &new.trust);
                    (same, Some(new))
                }
                (_, new) => (false, new),
            };
            if kept.as_ref().is_some_and(|it| it.release.rollout.is_some()) && state.lot.is_none() {
                // The standard library's own random numbers.
                let random = RandomState::new().build_hasher().finish();
                state.lot = Some((random >> 32) as u32);
            }
            let fresh = before.as_ref().is_some_and(|it| {
                said && it.error == error && it.at <= at && at - it.at < NOTED_AGAIN
            });
            state.asked = if fresh && !needed {
                before
            } else {
                Some(Asked {
                    error,
                    offer: kept,
                    ..asked
                })
            };
        });
        // Its name is as durable as what is in it.
        let noted = noted.and_then(|()| {
            if is_new {
                disk::sync_folder(self.folder.root())
            } else {
                Ok(())
            }
        });
        if let Err(error) = noted {
            record::debug!("the check is not remembered: {}", error.chain());
        }
    }
}
