//! The operations: fetch a package, install it, and see that what is installed runs.
//!
//! ```text
//! fetch -> verify -> (the word) -> stage -> stop -> switch -> start -> look -> good
//!                                                                        \-> the version before -> look
//!                                                                              \-> the factory version
//! ```
//!
//! Promises: there is one operation at a time, on a thread of its own. A failure before the switch starts
//! what was stopped, and leads nowhere back. After the switch, the version before comes back, then the
//! factory version; when none runs, everything is stopped and the alarm is raised. What was interrupted
//! goes on at the next start, from what is kept in [`memory`](crate::memory) and in the engine's journal.
//!
//! | module | does |
//! |---|---|
//! | this one | gives the right to an operation, and hands it to the thread that works |
//! | `order` | a package that somebody has ordered: fetched, verified, installed at the word |
//! | `upgrade` | what the source offers, and the ways back to what is kept |
//! | `keeper` | what the engine calls before it unpacks, and before it switches |
//! | `installation` | what becomes of it: a version that runs |
//! | `watch` | what the engine does, on the board |
//! | `failure` | what is said of an operation that has failed, and what follows |

use std::fs::{File, TryLockError};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use castoff::progress::Observer;
use castoff::updater::Updater;
use castoff::{Error, disk};
use tokio::sync::oneshot;

use crate::board::{Board, Busy, Progress, Stage, Turn, View};
use crate::config::Config;
use crate::memory::{Installation, Memory, Order};
use crate::news::News;
use crate::services::Services;

mod failure;
mod installation;
mod keeper;
mod order;
mod upgrade;
mod watch;

pub use upgrade::Backup;

use failure::{Failure, Then};

/// What an upgrade begins with: which version it will be, the source has still to say.
const UPGRADING: &str = "Downloading the version that the source offers...";

/// What is said where another process is at work.
pub const ELSEWHERE: &str = "Another process is at work on this app";

/// How long the network is waited for by what goes on after a start, in seconds.
const PAUSES: [u64; 8] = [1, 2, 5, 10, 20, 40, 60, 60];

/// Why an operation does not begin.
#[derive(Debug)]
pub enum Refusal {
    /// Another is under way.
    Busy(Progress),
    /// Another process is at work, and how far that is, is not known.
    Elsewhere,
    /// No such package lies here, verified.
    NotFound,
    /// It was verified too long ago.
    Expired,
    /// What is asked for cannot be noted.
    Disk(Error),
}

enum Job {
    /// What somebody has ordered; `resumed`: an earlier process has begun it.
    Fetch {
        order: Order,
        resumed: bool,
    },
    Install(Installation),
    /// What the source offers; also what failed here before, where a person says so.
    Upgrade {
        force: bool,
        resumed: bool,
    },
    /// A backup, by its name.
    Restore(String),
    /// What an interrupted installation has left.
    GoOn(Installation),
}

/// The updater of one app.
pub struct Agent {
    /// Of the updater.
    pub config: Config,
    /// Of the app.
    pub engine: castoff::config::Config,
    client: PathBuf,
    /// What is under way.
    pub board: Arc<Board>,
    /// What runs.
    pub services: Services,
    mode: Mode,
    memory: Mutex<Memory>,
    /// Tells the last outcome.
    telling: Mutex<Option<JoinHandle<()>>>,
    /// Why the last installation could not be brought to its end, where it could not.
    unsettled: Mutex<Option<String>>,
    jobs: mpsc::Sender<(Right, Job, Told)>,
    /// What the source has said.
    pub news: News,
    /// What says what it does: no package may bring it.
    files: Vec<PathBuf>,
    /// Whether what an earlier process was fetching was taken up, or there was nothing.
    begun: AtomicBool,
}

/// Whoever waits for what an operation comes to.
type Told = Option<oneshot::Sender<View>>;

/// Who works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The resident updater.
    Resident,
    /// A process for one upgrade.
    Once,
}

/// The right to the one operation that there is at a time, in this process and in all that keep the same app.
struct Right {
    lock: File,
    turn: Turn,
}

impl Right {
    fn finish(self, last: Progress) -> View {
        // First: whoever reads that it has ended can begin the next.
        drop(self.lock);
        self.turn.finish(last)
    }
}

/// Takes a lock in the app's folder, unless another process has it.
pub(crate) fn lock(client: &Path, name: &str) -> castoff::Result<File> {
    let own = client.join(".castoff");
    disk::create_folders(&own)?;
    let path = own.join(name);
    let file = disk::open_part(&path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::UpdateRunning {
            path: client.to_path_buf(),
        }),
        Err(TryLockError::Error(error)) => Err(Error::io("lock", &path)(error)),
    }
}

impl Agent {
    /// Starts the thread that works, with what an earlier process has left undone.
    ///
    /// Fails where the state of the app cannot be read, or lies where others may write.
    pub fn start(
        config: Config,
        engine: castoff::config::Config,
        home: &Path,
        client: PathBuf,
        mode: Mode,
    ) -> castoff::Result<(Arc<Self>, JoinHandle<()>)> {
        let logged = mode == Mode::Once || config.web.upgrade;
        let file = logged.then(|| upgrade::log_file(&client));
        let board = Arc::new(Board::new(!config.report_url.is_empty(), file));
        let (jobs, todo) = mpsc::channel();
        let services = {
            let updater = Updater::new(&engine, &client, &castoff::progress::Silent)?;
            Services::new(&config.services, updater.folder())
        };
        let files = config.files(home);
        let agent = Self {
            config,
            engine,
            client,
            board,
            services,
            mode,
            memory: Mutex::default(),
            telling: Mutex::default(),
            unsettled: Mutex::default(),
            jobs,
            news: News::default(),
            files,
            begun: AtomicBool::new(false),
        };
        let agent = Arc::new(agent);
        let worker = {
            let agent = Arc::clone(&agent);
            thread::spawn(move || {
                while let Ok((right, job, told)) = todo.recv() {
                    let Ok(last) = catch_unwind(AssertUnwindSafe(|| agent.work(job))) else {
                        // The next process takes up what this one has left.
                        log::error!("the work has panicked");
                        std::process::abort();
                    };
                    let view = right.finish(last);
                    if let Some(told) = told {
                        // Whoever waited may have gone.
                        let _ = told.send(view);
                    }
                }
            })
        };
        // What stands still is started when that has come to its end; one upgrade starts what it has installed.
        if !agent.go_on() && mode == Mode::Resident {
            agent.services.begin();
        }
        Ok((agent, worker))
    }

    /// What tells of the last outcome, if anything does.
    pub fn telling(&self) -> Option<JoinHandle<()>> {
        let mut telling = self.telling.lock().unwrap_or_else(PoisonError::into_inner);
        telling.take()
    }

    /// Takes up what an earlier process has left; what is being done by another one is left to that. Whether
    /// an installation was begun, which the services wait for.
    fn go_on(&self) -> bool {
        let right = match self.take() {
            Ok(right) => right,
            // That has the services, and this one's turn comes.
            Err(Refusal::Elsewhere) => return true,
            Err(Refusal::Busy(_)) => {
                self.begun.store(true, Ordering::SeqCst);
                return true;
            }
            // The log of whoever asks next says why.
            Err(_) => return false,
        };
        if self.asking().is_ok_and(|updater| updater.is_unsettled()) {
            // An update by hand: it is undone, and what runs with it starts.
            let mut installation = Installation::of(String::new());
            installation.before.clone_from(&self.memory().services);
            installation
                .wishes
                .services
                .clone_from(&installation.before);
            self.take_up(right, installation);
            return true;
        }
        self.begun.store(true, Ordering::SeqCst);
        if self.mode == Mode::Once {
            // Orders are the resident updater's.
            return false;
        }
        let memory = self.memory().clone();
        let (message, job) = match (memory.order, memory.stage) {
            _ if memory.upgrade => {
                // Once: what ends this process each time must not be begun for ever.
                self.note(|memory| memory.upgrade = false);
                let (force, resumed) = (true, true);
                (UPGRADING.to_owned(), Job::Upgrade { force, resumed })
            }
            (Some(order), Stage::Downloading | Stage::Verifying) => {
                let resumed = true;
                let message = format!("Downloading version {}...", order.version);
                (message, Job::Fetch { order, resumed })
            }
            (Some(order), Stage::ToInstall) if self.lies_here(&order) => {
                if self.board.read().stage != Stage::Idle {
                    // The last word on something else is not taken back.
                    return false;
                }
                self.board
                    .write(Stage::ToInstall, 100, order::ready(&order.version));
                return false;
            }
            _ => return false,
        };
        self.send(right, Stage::Downloading, &message, job, None);
        false
    }

    /// Takes up an installation that another process was killed in, and what could not be taken up at the start
    /// because another process was at work. Whether there was an installation.
    pub fn take_up_what_is_left(&self) -> bool {
        if self.board.is_taken() {
            return false;
        }
        if !self.begun.load(Ordering::SeqCst) {
            return self.go_on() && self.board.is_taken();
        }
        let left = self
            .asking()
            .is_ok_and(|updater| Memory::has_installation(updater.folder()));
        // While that lives, it has the right.
        left && self.take().is_err() && self.board.is_taken()
    }

    /// Whether a child that has ended by itself may be started: no operation is about to say something of it.
    pub fn may_revive(&self) -> bool {
        let at_work = matches!(
            self.board.read().stage,
            Stage::Installing | Stage::Rebooting
        );
        !(at_work && self.board.is_taken())
    }

    fn take_up(&self, right: Right, installation: Installation) {
        let message = match &*installation.version {
            "" => "An interrupted update is undone...".to_owned(),
            version => format!("Installing version {version}..."),
        };
        let job = Job::GoOn(installation);
        self.send(right, Stage::Installing, &message, job, None);
    }

    fn send(&self, right: Right, stage: Stage, message: &str, job: Job, told: Told) {
        self.board.begin(stage, message);
        let _ = self.jobs.send((right, job, told));
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The engine, on the app's folder.
    pub(crate) fn updater<'a>(
        &'a self,
        observer: &'a dyn Observer,
    ) -> castoff::Result<Updater<'a>> {
        Updater::new(&self.engine, &self.client, observer)
    }

    /// Changes the memory, durably.
    fn remember(&self, change: impl FnOnce(&mut Memory)) -> castoff::Result<()> {
        let updater = self.updater(&castoff::progress::Silent)?;
        let mut memory = self.memory();
        let mut changed = memory.clone();
        change(&mut changed);
        changed.save(updater.folder())?;
        *memory = changed;
        Ok(())
    }

    /// The same where an operation does not end for it.
    fn note(&self, change: impl FnOnce(&mut Memory)) {
        if let Err(error) = self.remember(change) {
            log::error!("cannot be noted: {}", error.chain());
        }
    }

    /// An updater that nobody watches, for questions.
    pub fn asking(&self) -> castoff::Result<Updater<'_>> {
        self.updater(&castoff::progress::Silent)
    }

    /// Takes the right to an operation. What another process has left undone comes first.
    fn take(&self) -> Result<Right, Refusal> {
        let turn = self.board.take();
        let turn = turn.map_err(|Busy(now)| Refusal::Busy(now))?;
        let lock = lock(&self.client, "operation.lock").map_err(|error| match error {
            Error::UpdateRunning { .. } => Refusal::Elsewhere,
            error => Refusal::Disk(error),
        })?;
        let right = Right { lock, turn };
        // Another process may have worked since.
        let memory = self
            .asking()
            .and_then(|updater| Memory::load(updater.folder()));
        let memory = memory.map_err(Refusal::Disk)?;
        *self.memory() = memory.clone();
        match memory.installation {
            None => Ok(right),
            Some(installation) => {
                self.take_up(right, installation);
                Err(Refusal::Busy(self.board.read()))
            }
        }
    }

    /// Does it, and gives the last word on it.
    fn work(&self, job: Job) -> Progress {
        match job {
            Job::Fetch { order, resumed } => {
                let fetch = || {
                    let fetched = self.fetch_now(&order);
                    fetched.map_err(|failure| failure.without_password(&order.package_url))
                };
                match self.patiently(resumed, fetch) {
                    Ok(()) => Progress::at(Stage::ToInstall, 100, order::ready(&order.version)),
                    Err(failure) => {
                        if !self.ends() {
                            self.note(|memory| memory.stage = Stage::Failed);
                        }
                        failure.last_word()
                    }
                }
            }
            Job::Install(installation) => self.conclude(self.install_now(installation)),
            Job::Upgrade { force, resumed } => {
                self.conclude(self.patiently(resumed, || self.upgrade_now(force)))
            }
            Job::Restore(name) => self.conclude(self.restore_now(&name)),
            Job::GoOn(installation) => self.conclude(self.go_on_now(installation)),
        }
    }

    /// Does it again for some minutes, where an earlier process has begun it and the network does not answer: at
    /// the start of the system it may still be on its way.
    fn patiently<T>(
        &self,
        resumed: bool,
        mut work: impl FnMut() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut pauses = PAUSES.iter().filter(|_| resumed);
        loop {
            let failure = match work() {
                Err(failure) if failure.then == Then::TryAgain => failure,
                result => return result,
            };
            let Some(pause) = pauses.next().filter(|_| !self.board.is_closing()) else {
                return Err(failure);
            };
            log::warn!("{}; again in {pause} s", failure.problem);
            thread::sleep(Duration::from_secs(*pause));
        }
    }

    /// Whether this process or the system is about to end. What that interrupts is taken up at the next start.
    fn ends(&self) -> bool {
        self.board.is_closing() || self.services.system_ends()
    }
}
