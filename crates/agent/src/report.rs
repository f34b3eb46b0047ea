//! Tells another program of every step: the stage whenever it changes, the progress every five per cent.
//!
//! Promises: the work never waits for it. A receiver that is slow or not there costs reports, and nothing
//! else; its answer is not read.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::board::Board;

/// For one report. The receiver is on this machine.
const PATIENCE: Duration = Duration::from_secs(2);

/// Reports what is written on the board until the board ends.
pub fn start(board: Arc<Board>, url: String) -> JoinHandle<()> {
    thread::spawn(move || {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .build()
            .into();
        let mut heard = true;
        while let Some(reports) = board.next_reports() {
            for report in reports {
                let body = serde_json::to_vec(&report).unwrap_or_default();
                let sent = agent
                    .post(&url)
                    .header("Content-Type", "application/json")
                    .send(&body[..]);
                if let Err(error) = &sent
                    && heard
                {
                    log::warn!("{url} takes no reports: {error}");
                }
                heard = sent.is_ok();
            }
        }
    })
}
