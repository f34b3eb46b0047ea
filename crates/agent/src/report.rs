//! Tells of every step: another program, the stage whenever it changes and the progress every five per cent;
//! and a file, line by line.
//!
//! Promises: the work never waits for it. A receiver that is slow or not there costs reports, and nothing
//! else; its answer is not read.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use castoff::fetch::Client;
use castoff::{Result, disk};

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

/// How often an outcome is sent at most, and how long is waited before it is sent again.
const ATTEMPTS: u32 = 4;
const PAUSE: Duration = Duration::from_secs(5);

/// Sends a document to an address, on a thread of its own; again, where that fails. The answer is not read.
pub fn tell(client: Client, url: String, document: &serde_json::Value) {
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
    });
}

/// The log of updates, in the app's folder.
const LOG: &str = "logs/update.log";

/// The size at which it is set aside, in bytes.
const LARGEST: u64 = 10 << 20;

/// How long the board is waited for at once.
const WAIT: Duration = Duration::from_secs(5);

/// Writes what is said on the board to `logs/update.log` in the app's folder, until the board ends. A file
/// that cannot be written is none.
pub fn write_log(board: Arc<Board>, folder: &Path) {
    let path = folder.join(LOG);
    thread::spawn(move || {
        let (mut seen, mut said) = (0, 0);
        loop {
            let ended = board.has_ended();
            let (lines, all) = board.lines_after(said);
            said = all;
            if !lines.is_empty()
                && let Err(error) = append(&path, &lines)
            {
                log::debug!("{}", error.chain());
            }
            if ended {
                return;
            }
            seen = board.read_after(seen, WAIT).1;
        }
    });
}

fn append(path: &Path, lines: &[String]) -> Result<()> {
    if let Some(parent) = path.parent() {
        disk::create_folders(parent)?;
    }
    if std::fs::metadata(path).is_ok_and(|found| found.len() >= LARGEST) {
        disk::rename(path, &path.with_added_extension("1"))?;
    }
    let mut file = disk::open_to_append(path)?;
    let mut text = lines.join("\n");
    text.push('\n');
    file.write_all(text.as_bytes())
        .map_err(castoff::Error::io("write", path))
}
