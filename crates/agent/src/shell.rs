//! `castoff update` where an `agent.toml` lies: the same upgrade as by the page, from a shell.
//!
//! Promises: it and a resident updater do not work on an app at the same time, and each takes up what the
//! other was killed in. Told to end, it leaves a download as it is, and brings an installation to its end.

use std::path::Path;
use std::pin::pin;
use std::sync::Arc;

use castoff::{Error, Result};

use crate::board::View;
use crate::config::Config;
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
    serve::check(&config, home, client)?;
    let report_url = config.report_url.clone();
    serve::runtime()?.block_on(async {
        let is_child = config.services.control == crate::config::Control::Child;
        // A child of the resident updater is not this process's to end.
        let _alone = is_child
            .then(|| work::lock(client, serve::LOCK))
            .transpose()?;
        let (agent, _worker) =
            Agent::start(config, engine, home, client.to_path_buf(), Mode::Once)?;
        let reporter =
            (!report_url.is_empty()).then(|| report::start(Arc::clone(&agent.board), report_url));
        let mut end = follow(&agent, show).await;
        if let End::Done(_) = end {
            end = match agent.upgrade(force) {
                Ok(_) => follow(&agent, show).await,
                Err(Refusal::Disk(error)) => return Err(error),
                Err(_) => {
                    return Err(Error::UpdateRunning {
                        path: client.to_path_buf(),
                    });
                }
            };
        }
        agent.leave();
        serve::last_reports(&agent.board, reporter).await;
        Ok(end)
    })
}

/// Shows what is under way until nothing is.
async fn follow(agent: &Agent, show: &mut dyn FnMut(&View)) -> End {
    let mut watched = agent.board.watch();
    let (mut operation, mut known) = (0, 0);
    let mut told = pin!(castoff_web::end());
    let mut ends = false;
    loop {
        watched.borrow_and_update();
        let view = agent.board.view(operation, known);
        (operation, known) = (view.operation, view.from + view.lines.len());
        show(&view);
        if !view.busy {
            return End::Done(view);
        }
        tokio::select! {
            _ = watched.changed() => {}
            () = &mut told, if !ends => {
                ends = agent.board.close();
                if !ends {
                    return End::BrokenOff;
                }
                let text = "The installation is brought to its end first";
                agent.board.note(log::Level::Warn, text);
            }
        }
    }
}
