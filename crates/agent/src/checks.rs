//! Looks for updates unasked, unless `update.when` in launcher.toml is `manual`: at `update.interval`, not in
//! `update.quiet_hours`, and never at the same moment as all others.
//!
//! What is found is installed, or waits for a person's word, as `[checks]` says. A version that has failed
//! here before is left alone.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use castoff::config::{Config, SourceKind, When};

use crate::work::Agent;

/// The interval where none is configured, as the original has it.
pub const USUAL: Duration = Duration::from_hours(24);

/// How often it is looked at the clock, at least.
const LOOK: Duration = Duration::from_mins(1);

/// The delay that is added to an interval, in parts of it: enough that thousands do not ask at once.
const JITTER: u32 = 10;

/// The same for the first time after a start, at most: somebody may have waited for it.
const FIRST: Duration = Duration::from_secs(30);

/// Whether anything is looked for unasked.
pub fn are_made(engine: &Config) -> bool {
    engine.source.kind != SourceKind::Pushed && engine.update.when != When::Manual
}

/// Looks as long as the process lives.
pub fn start(agent: Arc<Agent>) {
    thread::spawn(move || {
        let configured = agent.engine.update.interval;
        let interval = if configured.is_zero() {
            USUAL
        } else {
            configured
        };
        let mut jitter = (interval / JITTER).min(FIRST);
        loop {
            if is_time(&agent) {
                thread::sleep(random_part(jitter));
                jitter = interval / JITTER;
                // Somebody may have looked meanwhile.
                if is_time(&agent) && !agent.board.is_taken() {
                    look(&agent);
                }
            }
            thread::sleep(LOOK.min(interval / 4).max(Duration::from_millis(100)));
        }
    });
}

fn is_time(agent: &Agent) -> bool {
    agent.asking().is_ok_and(|updater| updater.is_time(USUAL))
}

fn look(agent: &Agent) {
    match agent.check(true) {
        Ok(checked) => {
            let offered = checked
                .offered
                .as_ref()
                .ok()
                .map(|release| &release.version);
            let is_news = offered.is_some() && offered != checked.installed.as_ref();
            if agent.config.checks.install && is_news {
                // It has failed here, is older, skipped, pinned away, or not yet for everybody: no failure again.
                if let Some(refusal) = checked.refusal {
                    log::info!("{}", refusal.chain());
                    return;
                }
                if agent.waits() {
                    log::info!(
                        "what was ordered waits for its word, and nothing else is installed"
                    );
                    return;
                }
                // Who is busy by now looks again.
                let _ = agent.upgrade(false);
            }
        }
        Err(error) => log::warn!("{}", error.chain()),
    }
}

fn random_part(of: Duration) -> Duration {
    // The standard library's own random numbers.
    let random = RandomState::new().build_hasher().finish();
    let thousandths = u32::try_from(random % 1000).unwrap_or(0);
    of / 1000 * thousandths
}
