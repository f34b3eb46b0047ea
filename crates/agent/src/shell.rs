//! `castoff update` where an `agent.toml` lies: the same upgrade as by the page, from a shell.
//!
//! Promises: it and a resident updater do not work on an app at the same time, and each takes up what the
//! other was killed in. Told to end, it leaves a download as it is, and brings an installation to its end.

use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::Arc;

use castoff::progress::Silent;
use castoff::updater::Updater;
use castoff::{Error, Result};

use crate::board::View;
use crate::config::{Config, Control};
use crate::memory::Memory;
use crate::services::{Service, systemd};
use crate::work::{self, Agent, Mode, Refusal};
use crate::{report, serve};

/// What has come of it.
#[derive(Clone, Debug)]
pub enum End {
    /// The board as it is then.
    Done(View),
    /// Somebody has ended it before anything was changed.
    BrokenOff,
}

/// Upgrades the app in `client` to what its source offers; with `force` also to what failed here before.
/// `show` is called with every change of the board, and the lines that are new.
///
/// Fails where nothing was begun: with `UPDATE_RUNNING` where another process is at work, or is the parent of
/// the app.
pub fn update(
    config: Config,
    engine: castoff::config::Config,
    home: &Path,
    client: &Path,
    force: bool,
    show: &mut dyn FnMut(&View),
) -> Result<End> {
    serve::check(&config, &engine, home, client)?;
    if config.services.control == Control::Systemd
        && let Some(own) = systemd::own_unit()
    {
        let updater = Updater::new(&engine, client, &Silent)?;
        let brought = Memory::load(updater.folder())?.services;
        if is_stopped(&own, &config.services.units, &brought) {
            let problem = format!(
                "this runs in {own}, which an update stops: `systemd-run --pipe castoff update --dir {}` runs outside",
                home.display()
            );
            return Err(Error::ServicesFailed { problem });
        }
    }
    let is_child = config.services.control == Control::Child;
    // A child of the resident updater is not this process's to end.
    let _alone = is_child
        .then(|| work::lock(client, serve::LOCK))
        .transpose()?;
    let runtime = serve::runtime()?;
    let end = runtime.block_on(async {
        let told = castoff_web::end();
        // Who has lost their connection finds the upgrade done.
        #[cfg(unix)]
        let _lost = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup());
        let report_url = config.report_url.clone();
        let client_dir = client.to_path_buf();
        let (agent, _worker) = Agent::start(config, engine, home, client_dir, Mode::Once)?;
        let reporter =
            (!report_url.is_empty()).then(|| report::start(Arc::clone(&agent.board), report_url));
        let end = upgrade(&agent, force, client, told, show).await;
        agent.services.leave();
        serve::last_reports(&agent, reporter).await;
        end
    });
    // Who is told of it may be slow.
    runtime.shutdown_background();
    end
}

/// Whether a unit is one of the services that are configured, or that packages have brought.
fn is_stopped(own: &str, units: &[String], brought: &[Service]) -> bool {
    let brought = brought.iter().map(|service| &service.name);
    let mut all = units.iter().chain(brought);
    all.any(|unit| systemd::unit_of(unit) == systemd::unit_of(own))
}

/// What was left first, then the upgrade.
async fn upgrade(
    agent: &Agent,
    force: bool,
    client: &Path,
    told: impl Future<Output = ()>,
    show: &mut dyn FnMut(&View),
) -> Result<End> {
    let mut course = Course {
        told: pin!(told),
        ends: false,
        show,
    };
    let mut end = course.follow(agent).await;
    // Twice: what another process was killed in meanwhile comes first.
    for _ in 0..2 {
        if course.ends || matches!(end, End::BrokenOff) {
            return Ok(end);
        }
        match agent.upgrade(force) {
            Ok(_) => return Ok(course.follow(agent).await),
            Err(Refusal::Disk(error)) => return Err(error),
            Err(_) if agent.board.is_taken() => end = course.follow(agent).await,
            Err(_) => {
                return Err(Error::UpdateRunning {
                    path: client.to_path_buf(),
                });
            }
        }
    }
    Ok(end)
}

struct Course<'a, F> {
    told: Pin<&'a mut F>,
    /// Somebody has said that it is enough.
    ends: bool,
    show: &'a mut dyn FnMut(&View),
}

impl<F: Future<Output = ()>> Course<'_, F> {
    /// Shows what is under way until nothing is.
    async fn follow(&mut self, agent: &Agent) -> End {
        let mut watched = agent.board.watch();
        let (mut operation, mut known) = (0, 0);
        loop {
            watched.borrow_and_update();
            let view = agent.board.view(operation, known);
            (operation, known) = (view.operation, view.from + view.lines.len());
            (self.show)(&view);
            if !view.busy {
                return End::Done(view);
            }
            tokio::select! {
                _ = watched.changed() => {}
                () = &mut self.told, if !self.ends => {
                    self.ends = true;
                    if !agent.board.close() {
                        return End::BrokenOff;
                    }
                    let text = "The installation is brought to its end first";
                    agent.board.note(log::Level::Warn, text);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_of_the_app_is_known_with_its_ending_and_without() {
        let units = ["otrs".to_owned(), "worker.service".to_owned()];
        let brought = [Service {
            order: 0,
            name: "device-api".to_owned(),
        }];
        for own in ["otrs.service", "worker.service", "device-api.service"] {
            assert!(is_stopped(own, &units, &brought), "{own}");
        }
        assert!(!is_stopped("cron.service", &units, &brought));
    }
}
