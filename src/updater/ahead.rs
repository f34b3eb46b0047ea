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

    /// Whether a critical release is known for what is installed.
    pub fn knows_critical(&self) -> bool {
        let state = self.folder.load_state();
        let installed = self.current_version();
        when::known_critical(&self.config.update, &state, installed.as_ref()).is_some()
    }

    /// Why the app must not be started, after an update that did not come about: what is installed is
    /// not safe to go on with, and `update.block_critical` forbids it where a fixed version waits.
    pub fn blocked(&self) -> Option<Error> {
        let config = &self.config.update;
        let installed = self.current_version()?;
        let mut state = self.folder.load_state();
        // Only what waits counts.
        state.asked = None;
        let fixed = when::known_critical(config, &state, Some(&installed))
            .filter(|_| config.block_critical)?;
        self.lies_by(&fixed.package)
            .then(|| Error::CriticalBlocked {
                installed: installed.to_string(),
                offered: fixed.version.to_string(),
            })
    }

    /// Installs what waits, if anything does, without asking anybody.
    pub fn install_waiting(&self) -> Result<Option<Outcome>> {
        self.recover()?;
        self.tidy();
        let Some(pending) = self.folder.load_state().pending else {
            return Ok(None);
        };
        let installed = self.current_version();
        if installed.as_ref() == Some(&pending.version) {
            self.folder.change_state(|state| state.pending = None)?;
            return Ok(None);
        }
        let result = self.trust().and_then(|trust| {
            let release = trust.recall(pending)?;
            self.take(Offer { installed, release }, false, Whence::Disk)
        });
        match result {
            Err(error) if error.code() == Code::UpdateRunning => {
                log::info!("what waits is left for later: {}", error.chain());
                Ok(None)
            }
            result => {
                self.remember(&result);
                result.map(Some)
            }
        }
    }

    /// What a worker does while the app runs: asks, fetches and verifies, and notes that the release
    /// waits. `None`: there was nothing to do, or another does it.
    pub fn fetch_ahead(mut self) -> Result<Option<Outcome>> {
        self.ahead = true;
        let lock = match FetchLock::take(&self.folder, Duration::ZERO) {
            Err(error) if error.code() == Code::UpdateRunning => {
                log::info!("another is fetching already");
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
        let launcher = offer
            .as_mut()
            .ok()
            .filter(|offer| self.leads_on(offer).is_ok())
            .and_then(|offer| offer.release.take_launcher());
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
        self.drop_withdrawn(offer)?;
        let version = offer.release.version.clone();
        if !offer.is_news() {
            return Ok(Outcome::UpToDate { version });
        }
        self.admit(offer, false)?;
        let there = self.lies_by(&offer.release.package);
        if there && when::waits(&self.folder.load_state(), &offer.release) {
            return Ok(Outcome::Pending { version });
        }
        self.spare_metered(offer, false)?;
        let fetched = self.fetch(&offer.release);
        self.blame(&fetched, &offer.release);
        fetched?;
        let release = offer.release.release().clone();
        self.folder
            .change_state(|state| state.pending = Some(release))?;
        Ok(Outcome::Pending { version })
    }

    /// What waits, verified again; `None` where it is gone.
    pub(super) fn at_hand(&self, release: &Trusted) -> Result<Option<Archive>> {
        let package = &release.package;
        if package.by_file {
            // Each is there already, and is hashed again.
            return self
                .lies_by(package)
                .then(|| self.fetch_files(release))
                .transpose();
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
    pub(super) fn note_asked(&self, answer: &Result<Trusted>) {
        let asked = Asked::now();
        let at = asked.at;
        let offer = answer.as_ref().ok().map(|release| {
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
            log::debug!("the check is not remembered: {}", error.chain());
        }
    }
}
