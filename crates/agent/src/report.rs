//! Tells another program of every step: the stage whenever it changes, the progress every five per cent; and
//! another one of outcomes.
//!
//! Promises: the work never waits for it. A receiver that is slow or not there costs reports, and nothing
//! else; its answer is not read.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use castoff::fetch::Client;

use crate::board::Board;

/// For one report. The receiver is on this machine.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks programs of this machine: by no proxy, and no redirect is followed. Error statuses are answers.
pub(crate) fn nearby(patience: Duration) -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_global(Some(patience))
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .build()
        .into()
}

/// Reports what is written on the board until the board ends.
pub fn start(board: Arc<Board>, url: String) -> JoinHandle<()> {
    thread::spawn(move || {
        let agent = nearby(PATIENCE);
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

/// How often an outcome is sent at most, and how long is waited before it is sent again.
const ATTEMPTS: u32 = 4;
const PAUSE: Duration = Duration::from_secs(5);

/// Sends a document to an address, on a thread of its own; again, where that fails. The answer is not read.
pub fn tell(client: Client, url: String, document: &serde_json::Value) -> JoinHandle<()> {
    let body = document.to_string().into_bytes();
    thread::spawn(move || {
        let headers = [("Content-Type", "application/json".to_owned())];
        for attempt in 1..=ATTEMPTS {
            let length = body.len() as u64;
            let mut sent = &body[..];
            let sent = client.request("POST", &url, &headers, Some((&mut sent, length)), 1 << 16);
            let problem = match sent {
                Ok(answer) if answer.status < 300 => return,
                Ok(answer) => format!("it answers {}", answer.status),
                Err(error) => error.chain(),
            };
            log::warn!("{url} does not take the outcome: {problem}");
            if attempt < ATTEMPTS {
                thread::sleep(PAUSE * attempt);
            }
        }
    })
}
