//! What is under way: the one place where it is written, and from which everybody reads.
//!
//! What is written becomes lines of a log too: those of the last operation are kept here, and all are
//! added to a file, where there is one.
//!
//! Promises: to read takes a lock that nobody holds for longer than it takes to copy a few words; there is
//! one operation at a time, and the right to it is given and taken here.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use castoff::launcher::logfile::LogFile;
use chrono::Local;
use log::Level;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// How long a success is shown before the updater is ready again, as the original shows it.
const SHOWN: Duration = Duration::from_secs(65);

/// How many reports wait for a receiver that is slow. Beyond, those between two stages are dropped.
const MOST_REPORTS: usize = 128;

/// Reports are made at every step of so many per cent.
const REPORT_STEP: u8 = 5;

/// How many lines of an operation are kept. An update has thirty; beyond, the oldest go.
const MOST_LINES: usize = 1000;

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

/// The board, with the lines of the last operation from one of them on.
#[derive(Clone, Debug, Serialize)]
pub struct View {
    /// What is under way.
    pub now: Progress,
    /// Whether anything is.
    pub busy: bool,
    /// Counts the operations.
    pub operation: u64,
    /// The number of the first of `lines` in its operation.
    pub from: usize,
    /// `[2026-11-21 02:45:35] [INFO] what happened`
    pub lines: Vec<String>,
}

/// Whether this process is about to end. Nothing begins then.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Closing {
    No,
    /// When what is under way has ended.
    Waits,
    /// Whatever is under way.
    Leaves,
}

struct Inner {
    now: Progress,
    since: Instant,
    taken: bool,
    operation: u64,
    lines: VecDeque<String>,
    /// How many lines of the operation have gone.
    gone: usize,
    /// What has to be reported; none where nobody is to be told.
    reports: Option<VecDeque<Progress>>,
    closing: Closing,
    ended: bool,
}

/// The board.
pub struct Board {
    inner: Mutex<Inner>,
    changed: Condvar,
    /// Whether those who watch are to go; marked as changed with everything that is written.
    watched: watch::Sender<bool>,
    file: Option<Mutex<LogFile>>,
}

/// The right to the one operation; it ends when this is dropped.
#[must_use = "the right ends when this is dropped"]
pub struct Turn {
    board: Arc<Board>,
    /// It was given back already: by now another may have it.
    given_back: bool,
}

impl Board {
    /// A board on which nothing is under way. With `reporting`, what is written is kept for
    /// [`Board::next_reports`]; with a `file`, its lines go there too.
    pub fn new(reporting: bool, file: Option<LogFile>) -> Self {
        Self {
            inner: Mutex::new(Inner {
                now: Progress::ready(),
                since: Instant::now(),
                taken: false,
                reports: reporting.then(VecDeque::new),
                operation: 0,
                lines: VecDeque::new(),
                gone: 0,
                closing: Closing::No,
                ended: false,
            }),
            changed: Condvar::new(),
            watched: watch::Sender::new(false),
            file: file.map(Mutex::new),
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

    /// What is under way, and the lines of `operation` after the first `known`; all of them where another
    /// has begun since.
    pub fn view(&self, operation: u64, known: usize) -> View {
        let mut inner = self.lock();
        inner.grow_old();
        inner.view(operation, known)
    }

    /// Tells of every change. `true`: this is the end, and whoever watches goes.
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.watched.subscribe()
    }

    /// Sends away whoever watches.
    pub fn part(&self) {
        self.watched.send_replace(true);
    }

    /// Adds a line to the log alone.
    pub fn note(&self, level: Level, text: &str) {
        let mut inner = self.lock();
        let line = inner.add(level, text);
        drop(inner);
        self.tell(Some(line));
    }

    /// Wakes whoever waits, and writes a line to the file.
    fn tell(&self, line: Option<String>) {
        self.changed.notify_all();
        self.watched.send_modify(|_| ());
        if let (Some(line), Some(file)) = (line, &self.file) {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            // It does not fail.
            let _ = file.write_all(format!("{line}\n").as_bytes());
        }
    }

    /// Gives the right to an operation. Nothing is written: it may turn out that there is nothing to do.
    pub fn take(self: &Arc<Self>) -> Result<Turn, Busy> {
        let mut inner = self.lock();
        inner.grow_old();
        if inner.taken || inner.closing != Closing::No {
            return Err(Busy(inner.now.clone()));
        }
        inner.taken = true;
        Ok(Turn {
            board: Arc::clone(self),
            given_back: false,
        })
    }

    /// Whether an operation is under way.
    pub fn is_taken(&self) -> bool {
        self.lock().taken
    }

    /// Writes the first line of an operation, with which a new log begins.
    pub fn begin(&self, stage: Stage, message: impl Into<String>) {
        let mut inner = self.lock();
        inner.operation += 1;
        inner.lines.clear();
        inner.gone = 0;
        drop(inner);
        self.write(stage, 0, message);
    }

    /// Writes how far it is.
    pub fn write(&self, stage: Stage, progress: u8, message: impl Into<String>) {
        self.put(Progress::at(stage, progress, message));
    }

    fn put(&self, now: Progress) {
        let mut inner = self.lock();
        let line = inner.told(&now);
        let line = line.map(|(level, text)| inner.add(level, &text));
        inner.put(now);
        drop(inner);
        self.tell(line);
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

    /// This process is about to end: no operation begins any more. `true`: one is under way that is waited for;
    /// else none gets to where services are stopped.
    pub fn close(&self) -> bool {
        let mut inner = self.lock();
        let waits = inner.taken && !inner.fetches();
        inner.closing = if waits {
            Closing::Waits
        } else {
            Closing::Leaves
        };
        waits
    }

    /// Whether this process is about to end, and what is under way is not waited for.
    pub fn is_closing(&self) -> bool {
        self.lock().closing == Closing::Leaves
    }

    /// Nothing is written any more: whoever waits is let go.
    pub fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_all();
    }

    /// Waits until no operation is under way that is waited for.
    pub fn wait_for_rest(&self) {
        let mut inner = self.lock();
        while inner.taken {
            if inner.fetches() {
                // It had not begun when it was looked at.
                inner.closing = Closing::Leaves;
                return;
            }
            inner = self
                .changed
                .wait(inner)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Turn {
    /// Writes what came of it, and gives the right back in the same instant: whoever reads that it has ended
    /// can begin the next. Returns the board as it is then.
    pub fn finish(mut self, last: Progress) -> View {
        self.given_back = true;
        let mut inner = self.board.lock();
        let line = inner.told(&last);
        let line = line.map(|(level, text)| inner.add(level, &text));
        inner.put(last);
        inner.taken = false;
        let view = inner.view(inner.operation, 0);
        drop(inner);
        self.board.tell(line);
        view
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.given_back {
            self.board.lock().taken = false;
            self.board.tell(None);
        }
    }
}

impl Inner {
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
        self.now = now;
        self.since = Instant::now();
    }

    /// Whether what is under way can be left as it is.
    fn fetches(&self) -> bool {
        matches!(self.now.stage, Stage::Downloading | Stage::Verifying)
    }

    fn view(&self, operation: u64, known: usize) -> View {
        let known = if operation == self.operation {
            known.max(self.gone)
        } else {
            self.gone
        };
        View {
            now: self.now.clone(),
            busy: self.taken,
            operation: self.operation,
            from: known,
            lines: self.lines.iter().skip(known - self.gone).cloned().collect(),
        }
    }

    /// What the log says of it, if that is news: not how far a download is.
    fn told(&self, now: &Progress) -> Option<(Level, String)> {
        let (old, new) = (&self.now, now);
        let goes_on = new.stage == Stage::Downloading && old.stage == Stage::Downloading;
        if let Some(error) = &new.error {
            return Some((Level::Error, format!("{}: {error}", new.message)));
        }
        let is_news = old.message != new.message || self.lines.is_empty();
        (self.taken && is_news && (!goes_on || self.lines.is_empty()))
            .then(|| (Level::Info, new.message.clone()))
    }

    /// Adds a line, and returns it.
    fn add(&mut self, level: Level, text: &str) -> String {
        let time = Local::now().format("%Y-%m-%d %H:%M:%S");
        let mut line = format!("[{time}] [{level}] ");
        for c in text.trim_end().chars() {
            // One line each: no text from outside can forge another.
            if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') {
                let _ = write!(line, "{}", c.escape_default());
            } else {
                line.push(c);
            }
        }
        self.lines.push_back(line.clone());
        if self.lines.len() > MOST_LINES {
            self.lines.pop_front();
            self.gone += 1;
        }
        line
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
        let board = Arc::new(Board::new(false, None));
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
        let board = Board::new(true, None);
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
        let board = Board::new(true, None);
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
