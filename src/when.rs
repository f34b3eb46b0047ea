//! When updates are looked for, and which are taken: the decisions, from configuration, memory,
//! clock and offer. What is decided here is told to people in docs/when.md.
//!
//! Promises: nothing here asks, waits, reads or writes; the same facts give the same decision. A
//! clock that was set back stops no checks: what was asked in the future counts as never asked.
//!
//! Not promised: that the clock is right. One that runs ahead makes a check come early, and that is
//! all.

use std::time::Duration;

use chrono::{DateTime, Timelike as _, Utc};

use crate::config::{UpdateConfig, When};
use crate::release::Release;
use crate::state::State;
use crate::trust::Sha256;
use crate::version::Version;
use crate::{Error, Result};

/// The time, as the decisions need it.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Now.
    pub now: DateTime<Utc>,
    /// The minute of the day here, counted from midnight.
    pub minute: u32,
}

impl Clock {
    /// The system's.
    pub fn system() -> Self {
        let local = chrono::Local::now();
        Self {
            now: local.to_utc(),
            minute: local.hour() * 60 + local.minute(),
        }
    }
}

/// What a start does about updates, before the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Ask the source, and install what it offers.
    Ask,
    /// Ask nobody, and install what waits, if anything does.
    GoOn {
        /// Have a worker look for updates meanwhile.
        worker: bool,
    },
}

/// What a start does.
pub fn at_start(
    config: &UpdateConfig,
    state: &State,
    installed: Option<&Version>,
    clock: Clock,
) -> Start {
    if installed.is_none() || is_pressed(config, state, installed, clock.now) {
        return Start::Ask;
    }
    let due = is_due(config.interval, last_asked(state), clock.now);
    match config.when {
        When::BeforeLaunch if due => Start::Ask,
        When::Background => Start::GoOn {
            worker: due && !is_quiet(config, clock),
        },
        _ => Start::GoOn { worker: false },
    }
}

/// Whether a worker is to look for updates. It asks itself once more what the start has decided:
/// another may have been quicker.
pub fn in_background(
    config: &UpdateConfig,
    state: &State,
    installed: Option<&Version>,
    clock: Clock,
) -> bool {
    installed.is_some()
        && config.when == When::Background
        && at_start(config, state, installed, clock) != Start::GoOn { worker: false }
}

/// When the source was last asked, whatever it has said.
pub fn last_asked(state: &State) -> Option<DateTime<Utc>> {
    state.asked.as_ref().map(|asked| asked.at)
}

/// Whether the interval since `last` is over.
pub fn is_due(interval: Duration, last: Option<DateTime<Utc>>, now: DateTime<Utc>) -> bool {
    // No length of time from the future to now.
    last.and_then(|last| (now - last).to_std().ok())
        .is_none_or(|age| age >= interval)
}

pub(crate) fn is_quiet(config: &UpdateConfig, clock: Clock) -> bool {
    config
        .quiet_hours
        .is_some_and(|hours| hours.hold(clock.minute))
}

/// The release, offered before or waiting, for which what is installed is not safe to go on with. A
/// release that may not be taken, by a pin or because its turn has not come, is none.
pub fn known_critical<'a>(
    config: &UpdateConfig,
    state: &'a State,
    installed: Option<&Version>,
) -> Option<&'a Release> {
    let waits = state.pending.as_ref().filter(|release| !release.handed);
    let offer = state.asked.as_ref().and_then(|asked| asked.offer.as_ref());
    let offered = offer.map(|offer| &offer.release);
    waits.into_iter().chain(offered).find(|release| {
        installed != Some(&release.version)
            && release.is_critical_for(installed)
            && admit(config, state, release, installed, false).is_ok()
    })
}

/// Whether a start must do what it can for a critical release. One that has failed here, or is left alone
/// for a while, is no reason to ask more often than usual.
fn is_pressed(
    config: &UpdateConfig,
    state: &State,
    installed: Option<&Version>,
    now: DateTime<Utc>,
) -> bool {
    known_critical(config, state, installed).is_some_and(|release| {
        let package = release.package.id();
        state.bad_mark(package).is_none() && state.backing_off_until(package, now).is_none()
    })
}

/// Whether the configuration and the release's own rollout let it be taken here.
///
/// - What is skipped is not taken, unless it is critical.
/// - A pin holds, whatever is offered: who names one version means that one.
/// - The rollout is the publisher's word, as it is theirs what is critical: it holds for critical
///   releases too. It does not for first installs, for what waits already, and with `force`, which is
///   no word against the configuration.
pub fn admit(
    config: &UpdateConfig,
    state: &State,
    release: &Release,
    installed: Option<&Version>,
    force: bool,
) -> Result<()> {
    let version = || release.version.to_string();
    if config.skip.contains(&release.version) && !release.is_critical_for(installed) {
        return Err(Error::VersionSkipped { version: version() });
    }
    if let Some(pinned) = config.pin.as_ref().filter(|pin| **pin != release.version) {
        return Err(Error::VersionPinned {
            version: version(),
            pinned: pinned.to_string(),
        });
    }
    let rollout = release.rollout.unwrap_or(100);
    let has_turn = rollout >= 100
        || state
            .lot
            .is_some_and(|lot| has_turn(lot, &release.version, rollout));
    if has_turn || force || installed.is_none() || waits(state, release) {
        return Ok(());
    }
    Err(Error::RolloutPending {
        version: version(),
        rollout,
    })
}

/// Whether this very release is fetched and waits.
pub fn waits(state: &State, release: &Release) -> bool {
    let pending = state.pending.as_ref();
    pending.is_some_and(|pending| pending.package.id() == release.package.id())
}

/// Whether an installation is among the first `rollout` per cent to have a version. Who is so at one
/// percentage is so at every higher one, and each version begins with others.
pub fn has_turn(lot: u32, version: &Version, rollout: u64) -> bool {
    let digest = Sha256::of(format!("{lot} {version}").as_bytes()).0;
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(first) % 100 < rollout
}

/// Whether a package is not to be fetched over a connection that is paid for by the byte. One whose
/// size nobody has said counts as small.
pub fn spares_metered(
    config: &UpdateConfig,
    state: &State,
    release: &Release,
    installed: Option<&Version>,
) -> bool {
    let size = release.package.size.unwrap_or(0);
    size > config.metered_limit
        && installed.is_some()
        && !release.is_critical_for(installed)
        && !waits(state, release)
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::Code;
    use crate::config::Config;
    use crate::release::Package;
    use crate::state::{Asked, Offered};

    fn config(more: &str) -> UpdateConfig {
        let text = format!("app = 'a.b'\nname = 'A'\n[source]\nurl = 'https://a.example/'\n{more}");
        let temporary = tempfile::tempdir().unwrap();
        std::fs::write(temporary.path().join("launcher.toml"), text).unwrap();
        Config::load(temporary.path(), None, &|_| None)
            .unwrap()
            .update
    }

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    fn release(text: &str) -> Release {
        let package = Package {
            sha256: Some(Sha256::of(text.as_bytes())),
            size: Some(1000),
            ..Package::at("https://a.example/a.zip".into())
        };
        Release::of(version(text), package)
    }

    fn critical(text: &str) -> Release {
        Release {
            critical_below: Some(version(text)),
            ..release(text)
        }
    }

    fn clock(minute: u32) -> Clock {
        Clock {
            now: "2026-11-25T12:00:00Z".parse().unwrap(),
            minute,
        }
    }

    /// Asked some minutes ago.
    fn asked(minutes: i64, offer: Option<Release>) -> State {
        let at = clock(0).now - TimeDelta::minutes(minutes);
        let offer = offer.map(|release| Offered {
            at,
            release,
            trust: "digest".into(),
        });
        State {
            asked: Some(Asked {
                at,
                error: None,
                offer,
            }),
            ..State::default()
        }
    }

    const WORK: Start = Start::GoOn { worker: true };
    const REST: Start = Start::GoOn { worker: false };

    #[test]
    fn a_start_asks_by_its_mode_and_interval() {
        let one = version("1.0");
        let hour = "[update]\ninterval = 3600\nwhen = ";
        for (mode, minutes, expected) in [
            ("'before-launch'", 59, REST),
            ("'before-launch'", 60, Start::Ask),
            // From the future, by a clock that was set back.
            ("'before-launch'", -60, Start::Ask),
            ("'background'", 59, REST),
            ("'background'", 60, WORK),
            ("'manual'", 60, REST),
        ] {
            let config = config(&format!("{hour}{mode}"));
            let state = asked(minutes, Some(release("1.1")));
            let start = |installed| at_start(&config, &state, installed, clock(0));
            assert_eq!(start(Some(&one)), expected, "{mode} {minutes}");
            assert_eq!(start(None), Start::Ask, "{mode}: nothing is installed");
            let works = in_background(&config, &state, Some(&one), clock(0));
            assert_eq!(works, expected == WORK, "{mode}");
        }
        let config = config("");
        assert_eq!(
            at_start(&config, &asked(0, None), Some(&one), clock(0)),
            Start::Ask
        );
    }

    #[test]
    fn a_worker_rests_in_quiet_hours_unless_a_critical_release_is_known() {
        let one = version("1.0");
        let config = config("[update]\nwhen = 'background'\nquiet_hours = '22:00-06:00'");
        let state = State::default();
        assert_eq!(at_start(&config, &state, Some(&one), clock(0)), REST);
        assert_eq!(at_start(&config, &state, Some(&one), clock(720)), WORK);
        let known = asked(0, Some(critical("1.1")));
        assert_eq!(at_start(&config, &known, Some(&one), clock(0)), Start::Ask);
        assert!(in_background(&config, &known, Some(&one), clock(0)));
    }

    #[test]
    fn a_critical_release_overrides_all_but_a_pin_and_its_rollout() {
        let one = version("1.0");
        let text = "[update]\nwhen = 'manual'\ninterval = 3600\nskip = ['1.1']\n";
        let manual = config(text);
        let known = asked(0, Some(critical("1.1")));
        assert_eq!(at_start(&manual, &known, Some(&one), clock(0)), Start::Ask);
        // It is installed.
        let new = version("1.1");
        assert_eq!(at_start(&manual, &known, Some(&new), clock(0)), REST);
        // It waits.
        let waiting = State {
            pending: Some(critical("1.1")),
            ..State::default()
        };
        assert_eq!(
            at_start(&manual, &waiting, Some(&one), clock(0)),
            Start::Ask
        );
        // It has failed here, and waits for its turn like any other.
        let mut failed = known;
        let package = critical("1.1").package.id();
        failed.back_off(Some(&new), package, clock(0).now);
        assert_eq!(at_start(&manual, &failed, Some(&one), clock(0)), REST);
        assert!(known_critical(&manual, &failed, Some(&one)).is_some());
        let known = asked(0, Some(critical("1.1")));
        let pinned = config(&format!("{text}pin = '1.0'"));
        assert_eq!(at_start(&pinned, &known, Some(&one), clock(0)), REST);
        let nobody = Release {
            rollout: Some(0),
            ..critical("1.1")
        };
        let nobody = asked(0, Some(nobody));
        assert_eq!(at_start(&manual, &nobody, Some(&one), clock(0)), REST);
    }

    #[test]
    fn skip_pin_and_rollout_refuse_with_their_codes() {
        let one = version("1.0");
        let code = |text: &str, release: &Release, installed, force| {
            let state = State::default();
            admit(&config(text), &state, release, installed, force)
                .err()
                .map(|error| error.code())
        };
        let skip = "[update]\nskip = ['1.1']";
        let pin = "[update]\npin = '1.0'";
        let skipped = Some(Code::VersionSkipped);
        assert_eq!(code(skip, &release("1.1"), Some(&one), true), skipped);
        assert_eq!(code(skip, &release("1.1.0"), None, false), skipped);
        assert_eq!(code(skip, &release("1.2"), Some(&one), false), None);
        assert_eq!(code(skip, &critical("1.1"), Some(&one), false), None);
        let pinned = Some(Code::VersionPinned);
        assert_eq!(code(pin, &critical("1.1"), Some(&one), true), pinned);
        assert_eq!(code(pin, &release("1.0"), None, false), None);
        let late = Release {
            rollout: Some(0),
            ..release("1.1")
        };
        let pending = Some(Code::RolloutPending);
        assert_eq!(code("", &late, Some(&one), false), pending);
        assert_eq!(code("", &late, Some(&one), true), None);
        assert_eq!(code("", &late, None, false), None);
        let waiting = State {
            pending: Some(late.clone()),
            ..State::default()
        };
        assert!(admit(&config(""), &waiting, &late, Some(&one), false).is_ok());
    }

    #[test]
    fn a_rollout_reaches_its_percentage_and_takes_nobody_out_again() {
        let (one, two) = (version("1.1"), version("1.2"));
        let at = |version, rollout| (0..10_000).filter(move |lot| has_turn(*lot, version, rollout));
        let count = at(&one, 10).count();
        // Four standard deviations of 30 are 120.
        assert!((880..=1120).contains(&count), "{count}");
        assert!(at(&one, 10).all(|lot| has_turn(lot, &one, 50)));
        assert_eq!((at(&one, 0).count(), at(&one, 100).count()), (0, 10_000));
        let both = at(&one, 10).filter(|lot| has_turn(*lot, &two, 10)).count();
        assert!(both < 200, "each version begins with others: {both}");
    }

    #[test]
    fn large_packages_are_put_off_and_critical_ones_are_not() {
        let one = version("1.0");
        let config = config("[update]\nmetered_limit = 999");
        let state = State::default();
        let spared =
            |release: &Release, installed| spares_metered(&config, &state, release, installed);
        assert!(spared(&release("1.1"), Some(&one)));
        assert!(!spared(&release("1.1"), None));
        assert!(!spared(&critical("1.1"), Some(&one)));
        let mut unknown = release("1.1");
        unknown.package.size = None;
        assert!(!spared(&unknown, Some(&one)));
        let waiting = State {
            pending: Some(release("1.1")),
            ..State::default()
        };
        assert!(!spares_metered(
            &config,
            &waiting,
            &release("1.1"),
            Some(&one)
        ));
    }
}
