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

use std::fmt::Write as _;
use std::fs::{File, TryLockError};
use std::io::{Read as _, Seek as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use castoff::archive::Archive;
use castoff::fetch::Client;
use castoff::progress::{Along, Event, Observer, Phase};
use castoff::release::{Package, Release};
use castoff::state::Link;
use castoff::trust::Trusted;
use castoff::updater::{Outcome, Steward, Updater};
use castoff::version::Version;
use castoff::{Code, Error, disk};
use chrono::Utc;
use md5::{Digest as _, Md5};
use tokio::sync::oneshot;

use crate::board::{Board, Busy, Progress, Stage, Turn, View};
use crate::config::Config;
use crate::memory::{Installation, Level, Memory, Order};
use crate::news::News;
use crate::package::{self, Rules};
use crate::report;
use crate::services::{Service, Services, State, program};

mod upgrade;

pub use upgrade::Backup;

/// The code of what fails when a version is put in place.
const DEPLOYMENT: &str = "DEPLOYMENT_FAILED";

/// For each command of a package, as the original has it.
const COMMAND_LIMIT: Duration = Duration::from_secs(30);

/// How often a download writes on the board where its per cent stays the same.
const WRITE_EVERY: Duration = Duration::from_millis(500);

/// What an upgrade begins with: which version it will be, the source has still to say.
const UPGRADING: &str = "Downloading the version that the source offers...";

/// How long the network is waited for by what goes on after a start, in seconds.
const PAUSES: [u64; 8] = [1, 2, 5, 10, 20, 40, 60, 60];

/// Bytes that are read at once for a digest.
const BLOCK: usize = 128 * 1024;

/// Why an operation failed: a code that the caller knows, and what happened.
#[derive(Debug)]
pub struct Failure {
    code: &'static str,
    problem: String,
    message: String,
    /// Whether the next start has to take it up: what lies there may be a mixture.
    goes_on: bool,
    /// Whether another attempt may succeed when the network is there.
    of_the_network: bool,
}

/// Why an operation does not begin.
#[derive(Debug)]
pub enum Refusal {
    /// Another is under way.
    Busy(Progress),
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
    jobs: mpsc::Sender<(Right, Job, Told)>,
    /// What the source has said.
    pub news: News,
    /// What says what it does: no package may bring it.
    files: Vec<PathBuf>,
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
            jobs,
            news: News::default(),
            files,
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
            Err(Refusal::Busy(_)) => return true,
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
                self.board
                    .write(Stage::ToInstall, 100, ready(&order.version));
                return false;
            }
            _ => return false,
        };
        self.send(right, Stage::Downloading, &message, job, None);
        false
    }

    /// Takes up an installation that another process was killed in. Whether there was one.
    pub fn take_up_what_is_left(&self) -> bool {
        if self.board.is_taken() {
            return false;
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

    /// Whether the package that was asked for waits, and is whole.
    fn lies_here(&self, order: &Order) -> bool {
        let updater = self.updater(&castoff::progress::Silent);
        let waiting = updater.ok().and_then(|updater| updater.waiting());
        waiting.is_some_and(|waiting| order.version.parse().ok() == Some(waiting.version))
    }

    /// Begins to fetch a package, unless that is under way or done already.
    pub fn fetch(&self, order: Order) -> Result<(), Refusal> {
        let known = {
            let memory = self.memory();
            let same = |known: &Order| {
                (&known.version, &known.package_md5) == (&order.version, &order.package_md5)
            };
            memory
                .order
                .as_ref()
                .is_some_and(same)
                .then_some(memory.clone())
        };
        if let Some(memory) = known {
            let now = self.board.read().stage;
            let under_way = matches!(now, Stage::Downloading | Stage::Verifying)
                && matches!(memory.stage, Stage::Downloading | Stage::Verifying);
            let done = now == Stage::ToInstall
                && memory.stage == Stage::ToInstall
                && !self.is_expired(&memory)
                && self.lies_here(&order);
            if under_way || done {
                return Ok(());
            }
        }
        let right = self.take()?;
        let message = format!("Downloading version {}...", order.version);
        let noted = self.remember(|memory| {
            memory.rest();
            memory.order = Some(order.clone());
            memory.stage = Stage::Downloading;
        });
        if let Err(error) = noted {
            self.board.begin(Stage::Downloading, message);
            right.finish(failed(&failure_of(&error, "DOWNLOAD_FAILED")));
            return Err(Refusal::Disk(error));
        }
        let resumed = false;
        let job = Job::Fetch { order, resumed };
        self.send(right, Stage::Downloading, &message, job, None);
        Ok(())
    }

    /// Begins to install the version that was fetched.
    pub fn install(&self, version: &str) -> Result<(), Refusal> {
        let right = self.take()?;
        let memory = self.memory().clone();
        let known = memory.order.as_ref().filter(|order| {
            order.version == version && memory.stage == Stage::ToInstall && self.lies_here(order)
        });
        if known.is_none() {
            return Err(Refusal::NotFound);
        }
        if self.is_expired(&memory) {
            return Err(Refusal::Expired);
        }
        let message = format!("Installing version {version}...");
        let job = Job::Install(Installation::of(version.to_owned()));
        self.send(right, Stage::Installing, &message, job, None);
        Ok(())
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
            Error::UpdateRunning { .. } => {
                let message = "Another process is at work on this app";
                Refusal::Busy(Progress::at(Stage::Installing, 0, message))
            }
            error => Refusal::Disk(error),
        })?;
        let right = Right { lock, turn };
        // Another process may have worked since.
        let memory = Memory::load(self.asking().map_err(Refusal::Disk)?.folder());
        *self.memory() = memory.clone();
        match memory.installation {
            None => Ok(right),
            Some(installation) => {
                self.take_up(right, installation);
                Err(Refusal::Busy(self.board.read()))
            }
        }
    }

    /// A clock that was set back makes no package old.
    fn is_expired(&self, memory: &Memory) -> bool {
        let age = memory.verified_at.map(|at| Utc::now() - at);
        age.and_then(|age| age.to_std().ok())
            .is_some_and(|age| age > self.config.packages.expire())
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
                    Ok(()) => Progress::at(Stage::ToInstall, 100, ready(&order.version)),
                    Err(failure) => {
                        if !self.ends() {
                            self.note(|memory| memory.stage = Stage::Failed);
                        }
                        failed(&failure)
                    }
                }
            }
            Job::Install(installation) => self.end(self.install_now(installation)),
            Job::Upgrade { force, resumed } => {
                self.end(self.patiently(resumed, || self.upgrade_now(force)))
            }
            Job::Restore(name) => self.end(self.restore_now(&name)),
            Job::GoOn(installation) => self.end(self.go_on_now(installation)),
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
                Err(failure) if failure.of_the_network => failure,
                result => return result,
            };
            let Some(pause) = pauses.next().filter(|_| !self.board.is_closing()) else {
                return Err(failure);
            };
            log::warn!("{}; again in {pause} s", failure.problem);
            thread::sleep(Duration::from_secs(*pause));
        }
    }

    /// From what an interrupted installation has left to a version that runs.
    fn go_on_now(&self, installation: Installation) -> Result<String, Failure> {
        // At its start the system may have started what is about to be undone.
        let stopped = self.services.stop(&self.services_of(&installation));
        if let Err(error) = stopped {
            // Files are not put back under an app that runs, nor is one that still runs taken for the new one.
            let mut failure = failure_of(&error, "PROCESS_KILL_FAILED");
            failure.goes_on = true;
            self.services.alarm(&failure.problem);
            return Err(failure);
        }
        self.finish(installation)
    }

    /// Whether this process or the system is about to end. What that interrupts is taken up at the next start.
    fn ends(&self) -> bool {
        self.board.is_closing() || self.services.system_ends()
    }

    /// Whether an ordered package waits for the word.
    fn waits(&self) -> bool {
        let memory = self.memory().clone();
        let order = memory.order.filter(|_| memory.stage == Stage::ToInstall);
        order.is_some_and(|order| self.lies_here(&order))
    }

    /// What an installation has come to.
    fn end(&self, result: Result<String, Failure>) -> Progress {
        let ends = result.is_err() && self.ends();
        if !ends {
            self.tell_outcome(result.as_ref());
        }
        match result {
            Ok(message) => {
                let waits = self.waits();
                self.note(|memory| {
                    if waits {
                        // Something else that somebody has ordered.
                        memory.installation = None;
                        memory.upgrade = false;
                    } else {
                        memory.rest();
                    }
                });
                Progress::at(Stage::Success, 100, message)
            }
            Err(failure) => {
                if !failure.goes_on && !ends {
                    self.note(|memory| {
                        memory.upgrade = false;
                        // What was not installed can be, when the reason is gone.
                        if memory.installation.is_some() {
                            memory.rest();
                        }
                    });
                }
                failed(&failure)
            }
        }
    }

    /// The services that belong to an installation: to the version before, those that it had; to the factory
    /// version, whichever have ever run.
    fn services_of(&self, installation: &Installation) -> Vec<Service> {
        match installation.level {
            Level::New => self.services.of(&installation.wishes.services),
            Level::Previous => self.services.of(&installation.before),
            Level::Factory => self.services.of(&self.memory().services),
        }
    }

    /// Starts what is in place, and sees that it runs. The app is told before which version it is.
    fn start_what_is_there(
        &self,
        updater: &Updater<'_>,
        services: &[Service],
    ) -> castoff::Result<()> {
        if let Some(version) = updater.installed() {
            self.config.record.tell(updater.folder(), &version);
        }
        let started = self.services.start(services);
        started.and_then(|()| self.services.check(services))
    }

    /// Tells whoever is configured what an operation has come to. Nobody waits for it.
    fn tell_outcome(&self, result: Result<&String, &Failure>) {
        let url = self.config.outcome_url.clone();
        if url.is_empty() {
            return;
        }
        let version = self.asking().ok().and_then(|updater| updater.installed());
        let body = serde_json::json!({
            "app": self.engine.app,
            "version": version.map(|version| version.to_string()),
            "outcome": if result.is_ok() { "success" } else { "failed" },
            "code": result.err().map(|failure| failure.code),
            "message": result.map_or_else(|failure| failure.problem.as_str(), String::as_str),
            "at": Utc::now().to_rfc3339(),
        });
        match Client::new(&self.engine.network, &self.engine.source) {
            Ok(client) => {
                let telling = report::tell(client, url, &body);
                *self.telling.lock().unwrap_or_else(PoisonError::into_inner) = Some(telling);
            }
            Err(error) => log::error!("{}", error.chain()),
        }
    }

    fn fetch_now(&self, order: &Order) -> Result<(), Failure> {
        let observer = Downloading::new(&self.board, order.package_size);
        let of = |error: Error| failure_of(&error, "DOWNLOAD_FAILED");
        let updater = self.updater(&observer).map_err(of)?;
        let trusted = trusted(&updater, order).map_err(of)?;
        let resumes = has_part(&updater);
        let mut got = self.fetch_and_compare(&updater, &trusted, order)?;
        if got.is_some() && resumes {
            // A part may have lost something in a power cut, or was of another file.
            got = self.fetch_and_compare(&updater, &trusted, order)?;
        }
        if let Some(got) = got {
            return Err(Failure {
                code: "MD5_MISMATCH",
                problem: format!("expected {}, got {got}", order.package_md5),
                message: "MD5 verification failed".to_owned(),
                goes_on: false,
                of_the_network: false,
            });
        }
        // Who cannot remember it would not find it again.
        self.remember(|memory| {
            memory.stage = Stage::ToInstall;
            memory.verified_at = Some(Utc::now());
        })
        .map_err(of)
    }

    /// Fetches a package, and keeps it if it is the right one; else gives the MD5 that it has.
    fn fetch_and_compare(
        &self,
        updater: &Updater<'_>,
        trusted: &Trusted,
        order: &Order,
    ) -> Result<Option<String>, Failure> {
        let of = |error: Error| failure_of(&error, "DOWNLOAD_FAILED");
        let delivery = updater.fetch_handed(trusted.clone()).map_err(of)?;
        self.note(|memory| memory.stage = Stage::Verifying);
        self.board
            .write(Stage::Verifying, 0, "Verifying package integrity...");
        let got = self
            .md5_of(delivery.file())
            .map_err(|error| of(Error::io("read", Path::new(&order.package_name))(error)))?;
        if got == order.package_md5 {
            return delivery.accept().map(|()| None).map_err(of);
        }
        if let Err(error) = delivery.refuse() {
            log::error!("{}", error.chain());
        }
        Ok(Some(got))
    }

    fn md5_of(&self, mut file: &File) -> std::io::Result<String> {
        let length = file.metadata()?.len().max(1);
        let (mut md5, mut done, mut block) = (Md5::new(), 0_u64, vec![0; BLOCK]);
        file.rewind()?;
        loop {
            let read = file.read(&mut block)?;
            if read == 0 {
                break;
            }
            md5.update(&block[..read]);
            let before = percent(done, length);
            done += read as u64;
            if percent(done, length) != before {
                self.board.write(
                    Stage::Verifying,
                    percent(done, length),
                    "Verifying package integrity...",
                );
            }
        }
        file.rewind()?;
        let mut text = String::with_capacity(32);
        for byte in md5.finalize() {
            let _ = write!(text, "{byte:02x}");
        }
        Ok(text)
    }

    /// Installs what was handed over, and sees that it runs.
    fn install_now(&self, installation: Installation) -> Result<String, Failure> {
        let keeper = Keeper::new(self, installation);
        let result = self
            .updater(&keeper)
            .and_then(|updater| updater.with_steward(&keeper).install_handed());
        self.come_to(result, &keeper)
    }

    /// What becomes of an installation by the engine: it is tried out, or what was stopped starts again.
    fn come_to(
        &self,
        result: castoff::Result<Outcome>,
        keeper: &Keeper<'_>,
    ) -> Result<String, Failure> {
        let installation = keeper.installation();
        match result {
            Ok(Outcome::UpToDate { version }) if !keeper.is_stopping() => {
                let updater = self
                    .asking()
                    .map_err(|error| failure_of(&error, DEPLOYMENT))?;
                let services = self.services_of(&installation);
                match self.start_what_is_there(&updater, &services) {
                    Ok(()) => Ok(format!("Version {version} is installed already")),
                    Err(error) => Err(failure_of(&error, DEPLOYMENT)),
                }
            }
            Ok(_) => self.finish(installation),
            Err(error) => {
                let stopping = keeper.is_stopping();
                let code = if stopping && error.code() == Code::ServicesFailed {
                    "PROCESS_KILL_FAILED"
                } else {
                    DEPLOYMENT
                };
                Err(self.call_off(&installation, failure_of(&error, code), stopping))
            }
        }
    }

    /// After an installation that has failed before the switch, or was undone: what was stopped goes on, if
    /// the version before is whole.
    fn call_off(
        &self,
        installation: &Installation,
        mut failure: Failure,
        stopped: bool,
    ) -> Failure {
        if self.services.system_ends() {
            return failure;
        }
        let settled = self.asking().and_then(|updater| {
            updater.settle()?;
            if stopped {
                let services = self.services.of(&installation.before);
                return Ok(self.start_what_is_there(&updater, &services));
            }
            Ok(Ok(()))
        });
        match settled {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                failure.problem.push_str("; and the version before: ");
                failure.problem.push_str(&error.chain());
                self.services.alarm(&failure.problem);
            }
            Err(error) => {
                // A mixture is not started.
                failure.problem.push_str("; ");
                failure.problem.push_str(&error.chain());
                failure.goes_on = stopped;
                self.services.alarm(&failure.problem);
                return failure;
            }
        }
        // Nothing was switched: the package waits on.
        self.note(|memory| memory.installation = None);
        failure
    }

    /// From a switch that has been made, or was interrupted, to a version that runs; says what has come of it.
    fn finish(&self, mut installation: Installation) -> Result<String, Failure> {
        let notes = Notes(&self.board);
        let updater = self
            .updater(&notes)
            .map_err(|error| failure_of(&error, DEPLOYMENT))?;
        if let Err(error) = updater.settle() {
            // What lies there may be a mixture: it is not started.
            let mut failure = failure_of(&error, DEPLOYMENT);
            failure.goes_on = true;
            self.services.alarm(&failure.problem);
            return Err(failure);
        }
        let switched = is_of(updater.installed().as_ref(), &installation);
        if installation.level == Level::New && !switched {
            let problem = "it was interrupted".to_owned();
            let failure = Failure::deployment(problem, "The installation was interrupted");
            return Err(self.call_off(&installation, failure, true));
        }
        loop {
            let Err(error) = self.try_out(&updater, &mut installation) else {
                break;
            };
            let problem = error.chain();
            log::error!("{:?}: {problem}", installation.level);
            if self.services.system_ends() {
                return Err(Failure::deployment(
                    format!("the system is going down: {problem}"),
                    "The installation goes on at the next start",
                ));
            }
            let first = installation
                .why
                .get_or_insert_with(|| problem.clone())
                .clone();
            if installation.level == Level::Previous {
                // The factory version is of all of them.
                let all = self.services.of(&self.memory().services);
                if let Err(error) = self.services.stop(&all) {
                    log::error!("{}", error.chain());
                }
            } else if let Err(error) = self.services.stop(&self.services_of(&installation)) {
                log::error!("{}", error.chain());
            }
            installation.level = match installation.level {
                Level::New => Level::Previous,
                Level::Previous => Level::Factory,
                Level::Factory => {
                    self.services.alarm(&first);
                    return Err(Failure::deployment(
                        format!("{first}; no version runs: {problem}"),
                        "Update failed, and no version runs",
                    ));
                }
            };
            let kept = installation.clone();
            self.note(|memory| memory.installation = Some(kept));
        }
        let version = updater.installed();
        let version = version.map_or_else(|| "none".to_owned(), |it| it.to_string());
        match installation.why {
            None => {
                self.note(|memory| memory.know(&installation.wishes.services));
                Ok(if installation.left.is_some() {
                    format!("Version {version} is restored")
                } else {
                    format!("Successfully installed version {version}")
                })
            }
            Some(why) => {
                let what = if installation.left.is_some() {
                    "Restoring"
                } else {
                    "Update"
                };
                Err(Failure::deployment(
                    format!("{why}; version {version} is back"),
                    &format!("{what} failed, version {version} is back"),
                ))
            }
        }
    }

    /// Puts the version of a level in place, starts the services, and sees that they run.
    fn try_out(
        &self,
        updater: &Updater<'_>,
        installation: &mut Installation,
    ) -> castoff::Result<()> {
        let mut services = self.services_of(installation);
        let write = |percent, message: &str| self.board.write(Stage::Rebooting, percent, message);
        let trial = updater.trial();
        let is_new = is_of(updater.installed().as_ref(), installation);
        match (installation.level, &trial) {
            (Level::New, Some(trial)) => {
                match updater.begin_trial(trial) {
                    Ok(true) => {}
                    Ok(false) => {
                        let problem = "its starts were interrupted too often".to_owned();
                        return Err(Error::ServicesFailed { problem });
                    }
                    // A disk that takes no count is no fault of the version.
                    Err(error) => log::error!("{}", error.chain()),
                }
                run_commands(updater, &installation.wishes.commands)?;
            }
            (Level::Previous, Some(trial)) => {
                write(80, "Rolling back to the version before...");
                let why = installation.why.clone().unwrap_or_default();
                updater.fail_trial(trial, &why)?;
            }
            (Level::Previous, None) if is_new => {
                write(80, "Rolling back to the version before...");
                let left = installation.left.as_deref().unwrap_or("previous");
                updater.roll_back(left, false)?;
            }
            (Level::Factory, _) => {
                write(80, "Rolling back to the factory version...");
                let folder = updater.folder();
                if folder.linked(Link::Current) == folder.linked(Link::Factory) {
                    return Err(Error::NoWayBack {
                        to: "factory".to_owned(),
                    });
                }
                updater.roll_back("factory", false)?;
            }
            (Level::New | Level::Previous, None) => {}
        }
        if let Some(version) = updater.installed() {
            // Before it starts: it may look only then.
            self.config.record.tell(updater.folder(), &version);
        }
        write(85, "Starting services...");
        self.services.reload();
        if installation.left.is_some() || installation.level == Level::Factory {
            // They are those of all versions, and this one may not have them all.
            services.retain(|service| self.services.look(&service.name).known);
        }
        self.services.start(&services)?;
        write(95, "Verifying deployment...");
        self.services.check(&services)?;
        if let (Level::New, Some(trial)) = (installation.level, &trial) {
            updater.pass_trial(trial);
        }
        Ok(())
    }

    /// The folders below which a module may lie.
    fn roots(&self) -> Vec<PathBuf> {
        let roots = &self.config.packages.roots;
        if roots.is_empty() {
            vec![self.client.clone()]
        } else {
            roots.clone()
        }
    }
}

/// The release that an order is about, as far as it may be believed.
fn trusted(updater: &Updater<'_>, order: &Order) -> castoff::Result<Trusted> {
    let mut trust = updater.trust()?;
    if !trust.is_pinned() {
        let package = Package {
            size: Some(order.package_size),
            md5: Some(order.package_md5.clone()),
            ..Package::at(order.package_url.clone())
        };
        return trust.unsigned(Release::of(order.version.parse()?, package));
    }
    for keys in &order.keys {
        let keys = document(keys);
        if !trust.is_known(&keys)? && trust.next_keys().is_some() {
            trust.follow(&keys)?;
        }
    }
    let Some(release) = &order.release else {
        return Err(Error::TrustUnsigned {
            subject: format!("version {}", order.version),
            problem: "the order holds no signed `release`",
        });
    };
    let url = order.package_url.as_str();
    let here = |_: &str| Ok(url.to_owned());
    let trusted = trust.release(&document(release), None, Some(url), &here)?;
    updater.keep_trust(trust)?;
    if Some(&trusted.version) == order.version.parse().ok().as_ref() {
        return Ok(trusted);
    }
    Err(Error::TrustMismatch {
        subject: "release document".to_owned(),
        what: "version",
        expected: order.version.clone(),
        got: trusted.version.to_string(),
    })
}

/// Whether the beginning of a package lies there.
fn has_part(updater: &Updater<'_>) -> bool {
    let entries = std::fs::read_dir(updater.folder().downloads());
    let mut entries = entries.into_iter().flatten().flatten();
    entries.any(|entry| entry.path().extension().is_some_and(|end| end == "part"))
}

/// The commands that a package brings, in the folder of the version.
fn run_commands(updater: &Updater<'_>, lines: &[String]) -> castoff::Result<()> {
    for line in lines {
        log::info!("post_cmds: {line}");
        let command = program::shell(line, &updater.folder().tree());
        program::run(command, COMMAND_LIMIT).map_err(|problem| Error::HookFailed {
            hook: "post_cmds",
            command: line.clone(),
            problem: problem.trim().to_owned(),
        })?;
    }
    Ok(())
}

impl Failure {
    /// The same without what follows the `?` of an address, which may be a password.
    fn without_password(mut self, url: &str) -> Self {
        if let Some((_, query)) = url.split_once('?').filter(|(_, query)| !query.is_empty()) {
            self.problem = self.problem.replace(query, "...");
        }
        self
    }

    fn deployment(problem: String, message: &str) -> Self {
        Self {
            code: DEPLOYMENT,
            problem,
            message: message.to_owned(),
            goes_on: false,
            of_the_network: false,
        }
    }
}

/// The code under which the caller knows an error; `otherwise` where it has none of its own.
fn failure_of(error: &Error, otherwise: &'static str) -> Failure {
    let code = match error.code() {
        Code::DiskFull => "DISK_FULL",
        Code::ArchiveInvalid
        | Code::ArchiveUnsafe
        | Code::FileListInvalid
        | Code::PackageCommands => "INVALID_MANIFEST",
        _ => otherwise,
    };
    let message = match code {
        "DISK_FULL" => "The disk is full",
        "INVALID_MANIFEST" => "The package is not usable",
        "DOWNLOAD_FAILED" => "Download failed",
        "PROCESS_KILL_FAILED" => "A service does not stop",
        _ => "Installation failed",
    };
    Failure {
        code,
        problem: error.chain(),
        message: message.to_owned(),
        goes_on: false,
        of_the_network: match error {
            // That of a proxy, mostly.
            Error::HttpStatus { status, .. } => *status >= 500,
            _ => matches!(
                error.code(),
                Code::Unreachable | Code::DownloadFailed | Code::DownloadStalled
            ),
        },
    }
}

/// Whether a version is the one that an installation is of.
fn is_of(version: Option<&Version>, installation: &Installation) -> bool {
    version.is_some() && version == installation.version.parse().ok().as_ref()
}

/// The last word on what has failed.
fn failed(failure: &Failure) -> Progress {
    log::error!("{}: {}", failure.code, failure.problem);
    Progress::failed(failure.code, &failure.problem, failure.message.clone())
}

fn ready(version: &str) -> String {
    format!("Package ready to install: {version}")
}

/// A document in an order: as an object, or as the text of one.
fn document(value: &serde_json::Value) -> Vec<u8> {
    match value {
        serde_json::Value::String(text) => text.clone().into_bytes(),
        other => other.to_string().into_bytes(),
    }
}

fn percent(done: u64, of: u64) -> u8 {
    u8::try_from(done.saturating_mul(100) / of.max(1))
        .unwrap_or(100)
        .min(100)
}

/// Millions of bytes, as the original says them.
#[expect(clippy::cast_precision_loss, reason = "one digit is shown")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Writes on the board how far a download is.
struct Downloading<'a> {
    board: &'a Board,
    written: Mutex<(u8, Instant)>,
    total: Mutex<u64>,
}

impl<'a> Downloading<'a> {
    fn new(board: &'a Board, total: u64) -> Self {
        Self {
            board,
            written: Mutex::new((0, Instant::now())),
            total: Mutex::new(total),
        }
    }

    fn comes_to(&self, done: u64) {
        let total = *self.total.lock().unwrap_or_else(PoisonError::into_inner);
        let now = percent(done, total);
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if written.0 == now && written.1.elapsed() < WRITE_EVERY {
            return;
        }
        *written = (now, Instant::now());
        drop(written);
        let message = format!(
            "Downloading package... {:.1} MB / {:.1} MB",
            megabytes(done),
            megabytes(total)
        );
        self.board.write(Stage::Downloading, now, message);
    }
}

impl Observer for Downloading<'_> {
    fn event(&self, event: &Event<'_>) {
        match event {
            Event::Total { bytes, done } => {
                if let Some(bytes) = bytes {
                    *self.total.lock().unwrap_or_else(PoisonError::into_inner) = *bytes;
                }
                self.comes_to(*done);
            }
            Event::Position(done) => self.comes_to(*done),
            Event::Retry {
                attempt, of, error, ..
            } => {
                log::warn!("attempt {attempt} of {of} follows: {}", error.chain());
            }
            _ => {}
        }
    }
}

/// Writes in the log what goes along with a version.
struct Notes<'a>(&'a Board);

impl Observer for Notes<'_> {
    fn event(&self, event: &Event<'_>) {
        let Event::Along(along) = event else {
            return;
        };
        let text = match along {
            Along::Dependencies => "Installing what the version depends on",
            Along::Databases => "Copying the databases",
            Along::DatabasesBack => "Putting the databases back",
            Along::Commands(hook) => &format!("Running the commands of hooks.{hook}"),
        };
        self.0.note(log::Level::Info, text);
    }
}

/// Keeps the services of an installation: what the engine calls between staging and switch.
struct Keeper<'a> {
    agent: &'a Agent,
    installation: Mutex<Installation>,
    stopping: AtomicBool,
    /// Bytes to unpack.
    total: Mutex<u64>,
}

/// Where unpacking begins and ends, in per cent of an installation.
const UNPACKING: (u8, u8) = (5, 75);

impl<'a> Keeper<'a> {
    fn new(agent: &'a Agent, installation: Installation) -> Self {
        Self {
            agent,
            installation: Mutex::new(installation),
            stopping: AtomicBool::new(false),
            total: Mutex::new(0),
        }
    }

    fn installation(&self) -> Installation {
        let kept = self.installation.lock();
        kept.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether it has begun to stop services.
    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }
}

impl Steward for Keeper<'_> {
    fn arrange(&self, archive: Archive, release: &mut Release) -> castoff::Result<Archive> {
        let rules = Rules {
            roots: &self.agent.roots(),
            commands: self.agent.config.packages.commands,
            signed: release.document.is_some(),
            tree: &self.agent.asking()?.folder().tree(),
            forbidden: &self.agent.files,
        };
        let kept = release.package.clone();
        let (archive, wishes) = package::arrange(archive, release, rules)?;
        if let Err(error) = self.agent.keep_package(&release.version, &kept) {
            // It is there for people; the app can do without.
            log::error!("the package is not kept: {}", error.chain());
        }
        let mut kept = self
            .installation
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        kept.wishes = wishes;
        kept.version = release.version.to_string();
        Ok(archive)
    }

    fn stop(&self) -> castoff::Result<()> {
        if self.agent.board.is_closing() {
            let problem = "this updater ends".to_owned();
            return Err(Error::ServicesFailed { problem });
        }
        let mut installation = self.installation();
        let services = self.agent.services.of(&installation.wishes.services);
        // No version has what is not there. A package's own commands may still bring it.
        let is_new = installation.left.is_none();
        if is_new && installation.wishes.commands.is_empty() {
            self.agent.services.need(&services)?;
        }
        // What is new with this version is none of the one before.
        let ran = self.agent.memory().services.clone();
        let had = |service: &&Service| {
            ran.iter().any(|known| known.name == service.name)
                || self.agent.services.look(&service.name).state == State::Running
        };
        let wished = installation.wishes.services.iter();
        installation.before = wished.filter(had).cloned().collect();
        *self
            .installation
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = installation.clone();
        // Whoever comes after a kill has to know what to start.
        self.agent
            .remember(|memory| memory.installation = Some(installation))?;
        self.stopping.store(true, Ordering::SeqCst);
        self.agent
            .board
            .write(Stage::Installing, UNPACKING.1 + 5, "Stopping services...");
        self.agent.services.stop(&services)
    }
}

impl Observer for Keeper<'_> {
    fn event(&self, event: &Event<'_>) {
        let write = |percent: u8, message: String| {
            let board = &self.agent.board;
            let now = board.read();
            let is_news = (now.progress, &now.message) != (percent, &message);
            if now.progress <= percent && is_news {
                board.write(Stage::Installing, percent, message);
            }
        };
        let mut total = self.total.lock().unwrap_or_else(PoisonError::into_inner);
        Notes(&self.agent.board).event(event);
        match event {
            Event::Phase(Phase::Plan) => *total = 0,
            Event::Total { bytes, .. } => *total = bytes.unwrap_or(0),
            Event::Position(done) if *total > 0 => {
                let kept = self
                    .installation
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                let (from, to) = UNPACKING;
                let share = u64::from(percent(*done, *total)) * u64::from(to - from) / 100;
                let percent = from + u8::try_from(share).unwrap_or(0);
                // They are unpacked side by side; the one that is named is the one up to which the bytes
                // would have come one after the other.
                let mut sum = 0;
                let module = kept.wishes.modules.iter().find(|(_, size)| {
                    sum += size;
                    sum >= *done
                });
                let message = match module.or(kept.wishes.modules.last()) {
                    Some((name, _)) => format!("Installing module {name}..."),
                    None => format!("Installing version {}...", kept.version),
                };
                write(percent, message);
            }
            _ => {}
        }
    }
}
