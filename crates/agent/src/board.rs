//! What is under way: the one place where it is written, and from which everybody reads.
//!
//! Promises: to read takes a lock that nobody holds for longer than it takes to copy a few words; there is
//! one operation at a time, and the right to it is given and taken here.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::Local;
use serde::{Deserialize, Serialize};

/// How long a success is shown before the updater is ready again, as the original shows it.
const SHOWN: Duration = Duration::from_secs(65);

/// How many reports wait for a receiver that is slow. Beyond, those between two stages are dropped.
const MOST_REPORTS: usize = 128;

/// How many lines of an operation are kept.
const MOST_LINES: usize = 500;

/// Reports are made at every step of so many per cent.
const REPORT_STEP: u8 = 5;

/// How far an operation is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "each is the word of the TOP.E updater for it")]
pub enum Stage {
    #[default]
    Idle,
    Downloading,
    Verifying,
    /// Fetched, verified, and waiting for the word.
    ToInstall,
    Installing,
    /// The services are being started again.
    Rebooting,
    Success,
    Failed,
}

impl Stage {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Downloading => "downloading",
            Self::Verifying => "verifying",
            Self::ToInstall => "toInstall",
            Self::Installing => "installing",
            Self::Rebooting => "rebooting",
            Self::Success => "success",
            Self::Failed => "failed",
        }
    }
}

/// What is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// How far it is.
    pub stage: Stage,
    /// In per cent of the stage.
    pub progress: u8,
    /// For people.
    pub message: String,
    /// `CODE: what happened`, where it failed.
    pub error: Option<String>,
}

impl Progress {
    /// So far it is.
    pub fn at(stage: Stage, progress: u8, message: impl Into<String>) -> Self {
        Self {
            stage,
            progress: progress.min(100),
            message: message.into(),
            error: None,
        }
    }

    /// It failed: `code` and `problem` for programs, `message` for people.
    pub fn failed(code: &str, problem: &str, message: impl Into<String>) -> Self {
        Self {
            error: Some(format!("{code}: {problem}")),
            ..Self::at(Stage::Failed, 100, message)
        }
    }

    fn ready() -> Self {
        Self::at(Stage::Idle, 0, "Updater ready")
    }
}

/// Somebody else's operation is under way.
#[derive(Clone, Debug)]
pub struct Busy(pub Progress);

struct Inner {
    now: Progress,
    since: Instant,
    taken: bool,
    /// What the last operation has said, with the time.
    lines: VecDeque<String>,
    /// How many lines there have been.
    said: u64,
    /// What has to be reported; none where nobody is to be told.
    reports: Option<VecDeque<Progress>>,
    /// Counts the changes.
    count: u64,
    ended: bool,
}

/// The board.
pub struct Board {
    inner: Mutex<Inner>,
    changed: Condvar,
}

/// The right to the one operation; it ends when this is dropped.
#[must_use = "the right ends when this is dropped"]
pub struct Turn(Arc<Board>);

impl Board {
    /// A board on which nothing is under way. With `reporting`, what is written is kept for
    /// [`Board::next_reports`].
    pub fn new(reporting: bool) -> Self {
        Self {
            inner: Mutex::new(Inner {
                now: Progress::ready(),
                since: Instant::now(),
                taken: false,
                lines: VecDeque::new(),
                said: 0,
                reports: reporting.then(VecDeque::new),
                count: 0,
                ended: false,
            }),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is under way.
    pub fn read(&self) -> Progress {
        let mut inner = self.lock();
        inner.grow_old();
        inner.now.clone()
    }

    /// What is under way, and how often the board was written; where that is not more than `known`, waits
    /// for a change as long as `patience`.
    pub fn read_after(&self, known: u64, patience: Duration) -> (Progress, u64) {
        let mut inner = self.lock();
        let deadline = Instant::now() + patience;
        loop {
            inner.grow_old();
            let left = deadline.saturating_duration_since(Instant::now());
            if inner.count > known || inner.ended || left.is_zero() {
                return (inner.now.clone(), inner.count);
            }
            inner = self
                .changed
                .wait_timeout(inner, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Gives the right to an operation. Nothing is written: it may turn out that there is nothing to do.
    pub fn take(self: &Arc<Self>) -> Result<Turn, Busy> {
        let mut inner = self.lock();
        inner.grow_old();
        if inner.taken {
            return Err(Busy(inner.now.clone()));
        }
        inner.taken = true;
        inner.lines.clear();
        Ok(Turn(Arc::clone(self)))
    }

    /// Whether an operation is under way.
    pub fn is_taken(&self) -> bool {
        self.lock().taken
    }

    /// What the last operation has said, line by line: `[2026-11-21 02:45:35] [INFO] ...`.
    pub fn lines(&self) -> Vec<String> {
        self.lock().lines.iter().cloned().collect()
    }

    /// The lines after the first `known` of all, and how many there have been. Those that are gone by now
    /// are left out.
    pub fn lines_after(&self, known: u64) -> (Vec<String>, u64) {
        let inner = self.lock();
        let news = usize::try_from(inner.said.saturating_sub(known)).unwrap_or(usize::MAX);
        let skipped = inner.lines.len().saturating_sub(news);
        (
            inner.lines.iter().skip(skipped).cloned().collect(),
            inner.said,
        )
    }

    /// Says something about the operation that does not change how far it is.
    pub fn say(&self, level: &str, text: &str) {
        let mut inner = self.lock();
        inner.say(level, text);
        inner.count += 1;
        drop(inner);
        self.changed.notify_all();
    }

    /// Whether nothing is written any more.
    pub fn has_ended(&self) -> bool {
        self.lock().ended
    }

    /// Writes how far it is.
    pub fn write(&self, stage: Stage, progress: u8, message: impl Into<String>) {
        self.put(Progress::at(stage, progress, message));
    }

    fn put(&self, now: Progress) {
        let mut inner = self.lock();
        inner.put(now);
        drop(inner);
        self.changed.notify_all();
    }

    /// Waits until there is something to report, and takes all of it. `None`: nothing comes any more.
    pub fn next_reports(&self) -> Option<Vec<Progress>> {
        let mut inner = self.lock();
        loop {
            inner.grow_old();
            let reports: Vec<_> = inner
                .reports
                .iter_mut()
                .flat_map(|it| it.drain(..))
                .collect();
            if !reports.is_empty() {
                return Some(reports);
            }
            if inner.ended {
                return None;
            }
            inner = self
                .changed
                .wait_timeout(inner, Duration::from_secs(5))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Nothing is written any more: whoever waits is let go.
    pub fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_all();
    }

    /// Waits until no operation is under way.
    pub fn wait_for_rest(&self) {
        let mut inner = self.lock();
        while inner.taken {
            inner = self
                .changed
                .wait(inner)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Turn {
    /// Writes what came of it, and gives the right back in the same instant: whoever reads that it has ended
    /// can begin the next.
    pub fn finish(self, last: Progress) {
        let mut inner = self.0.lock();
        inner.put(last);
        inner.taken = false;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.lock().taken = false;
        self.0.changed.notify_all();
    }
}

impl Inner {
    fn say(&mut self, level: &str, text: &str) {
        let now = Local::now().format("%Y-%m-%d %H:%M:%S");
        // One line is one line, whatever a package calls its modules.
        let text: String = text
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        if self.lines.len() >= MOST_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(format!("[{now}] [{level}] {text}"));
        self.said += 1;
    }

    fn put(&mut self, now: Progress) {
        let worth = now.stage != self.now.stage
            || now.error != self.now.error
            || now.progress / REPORT_STEP != self.now.progress / REPORT_STEP
            || (now.stage != Stage::Downloading && now.message != self.now.message);
        if let Some(reports) = self.reports.as_mut().filter(|_| worth) {
            if reports.len() >= MOST_REPORTS {
                let between = |at: &usize| reports[*at].stage == reports[*at - 1].stage;
                let dropped = (1..reports.len()).find(between).unwrap_or(0);
                reports.remove(dropped);
            }
            reports.push_back(now.clone());
        }
        let is_tick = now.stage == self.now.stage && now.stage == Stage::Downloading;
        if let Some(error) = &now.error {
            self.say("ERROR", error);
        }
        if now.message != self.now.message && !is_tick && now.stage != Stage::Idle {
            let level = if now.error.is_some() { "ERROR" } else { "INFO" };
            self.say(level, &now.message);
        }
        self.now = now;
        self.since = Instant::now();
        self.count += 1;
    }

    /// A success is shown for a while, as long as nothing newer is there.
    fn grow_old(&mut self) {
        if self.now.stage == Stage::Success && !self.taken && self.since.elapsed() >= SHOWN {
            self.put(Progress::ready());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_operation_at_a_time() {
        let board = Arc::new(Board::new(false));
        let turn = board.take().ok().unwrap();
        board.write(Stage::Downloading, 9, "Downloading package...");
        let Err(Busy(now)) = board.take() else {
            panic!("two at once");
        };
        assert_eq!((now.stage, now.progress), (Stage::Downloading, 9));
        drop(turn);
        assert!(board.take().is_ok());
    }

    #[test]
    fn every_stage_and_every_fifth_per_cent_is_reported() {
        let board = Board::new(true);
        for percent in 0..=100 {
            board.write(Stage::Downloading, percent, format!("{percent}"));
        }
        board.write(Stage::Verifying, 0, "Verifying");
        let reports = board.next_reports().unwrap();
        let steps: Vec<_> = reports.iter().map(|it| (it.stage, it.progress)).collect();
        let mut wanted: Vec<_> = (0..=20)
            .map(|step| (Stage::Downloading, step * 5))
            .collect();
        wanted.push((Stage::Verifying, 0));
        assert_eq!(steps, wanted);
    }

    #[test]
    fn a_receiver_that_does_not_come_costs_no_memory_and_no_stage() {
        let board = Board::new(true);
        let stages = [Stage::Downloading, Stage::Verifying, Stage::ToInstall];
        for round in 0..30 {
            for percent in 0..=100 {
                board.write(Stage::Installing, percent, format!("{round} {percent}"));
            }
        }
        for stage in stages {
            board.write(stage, 0, "");
        }
        let reports = board.next_reports().unwrap();
        assert!(reports.len() <= MOST_REPORTS);
        for stage in stages {
            assert!(reports.iter().any(|it| it.stage == stage));
        }
    }
}
