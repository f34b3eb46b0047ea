//! The launcher brings itself up to date.
//!
//! After the app's own update and before the app's start: a launcher that the source announces, and
//! that is not the one which lies on disk, is fetched and verified as a package is, laid beside the
//! launcher, asked whether it works there (`--castoff self-check`), and given the launcher's name.
//! It runs from the next start on.
//!
//! ```text
//! MyApp         MyApp.exe           the launcher
//! .MyApp.new    .MyApp.new.exe      the new one, until it has the launcher's name
//! .MyApp.old    .MyApp.old.exe      the one before, until the new one has come through a start
//! ```
//!
//! Names with a dot, since a `MyApp.old` may be a person's own copy.
//!
//! Promises: nothing here fails a start. What was not announced by its SHA-256 is not run, what does
//! not pass its own check gets no name. On Unix the launcher's name leads to a whole launcher at
//! every instant. A launcher that could not be had or does not work is left alone for a while, as a
//! package that failed its checks is. A start with nothing new looks at two names, and hashes
//! nothing.
//!
//! Not promised: on Windows, which replaces no running executable, the name is given by two renames;
//! a power cut in the instant between them leaves the launcher under its two other names, one whole
//! file each. Owner,
//! access list and extended attributes of the old executable are not taken over, its mode is. Two
//! launchers with one executable and different client folders do not know of each other.
//!
//! Anybody who can announce a package can announce a launcher: it is trusted as much, and no more.

use std::env::consts::EXE_SUFFIX;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use chrono::Utc;

use crate::config::Config;
use crate::fetch::{self, Client, Fetched};
use crate::layout::locks::{FetchLock, UpdateLock};
use crate::layout::tree;
use crate::progress::{Event, Observer, Phase};
use crate::release::Package;
use crate::state::{ClientFolder, Hashed};
use crate::steps::{Step, reach};
use crate::trust::{self, Sha256, hash_file};
use crate::{Code, Error, Result, disk, record};

/// How long a new launcher may take to check itself. It takes milliseconds; a virus scanner that
/// meets a new executable takes seconds.
const CHECK_LIMIT: Duration = Duration::from_secs(10);

/// How much of what it says is read.
const SAID_LIMIT: u64 = 1024;

/// What a launcher that works says first.
const GREETING: &str = "castoff ";

/// The launcher's executable, and what is needed to follow.
pub(crate) struct SelfUpdate<'a> {
    launcher: PathBuf,
    staged: PathBuf,
    old: PathBuf,
    folder: &'a ClientFolder,
    config: &'a Config,
    observer: &'a dyn Observer,
}

impl<'a> SelfUpdate<'a> {
    /// For the launcher at `executable`, which keeps what it fetches and remembers in `folder`.
    pub(crate) fn new(
        executable: &Path,
        folder: &'a ClientFolder,
        config: &'a Config,
        observer: &'a dyn Observer,
    ) -> Self {
        let [staged, old] = beside(executable);
        Self {
            launcher: executable.to_path_buf(),
            staged,
            old,
            folder,
            config,
            observer,
        }
    }

    /// Follows what is announced, and clears away what an earlier time has left. That it cannot is
    /// said in the log.
    ///
    /// `force` also tries a launcher that is left alone for a while.
    pub(crate) fn follow(&self, announced: Option<&Package>, force: bool) {
        let announced = announced.filter(|_| self.config.update.launcher);
        if let Err(error) = self.try_follow(announced, force) {
            record::warn!(
                "the launcher stays as it is: {}: {}",
                error.code(),
                error.chain()
            );
        }
    }

    fn try_follow(&self, announced: Option<&Package>, force: bool) -> Result<()> {
        let left = [&self.staged, &self.old]
            .into_iter()
            .any(|path| fs::symlink_metadata(path).is_ok());
        if announced.is_none() && !left {
            return Ok(());
        }
        let known = self.known()?;
        let own = known.map_or_else(|| self.hash(), Ok)?;
        let wanted = announced
            .filter(|package| package.id() != own && (force || !self.is_left_alone(package.id())));
        if wanted.is_none() && !left {
            return Ok(());
        }
        let Some(lock) = self.lock()? else {
            return Ok(());
        };
        disk::remove_file(&self.staged)?;
        // A launcher that is known has come through a start: there is no need of the one before.
        // On Windows a process may still run in that one; then it goes at another start.
        if known.is_some()
            && let Err(error) = disk::remove_file(&self.old)
        {
            record::debug!("left for later: {}", error.chain());
        }
        let Some(package) = wanted else {
            return Ok(());
        };
        let result = self.replace(package, own, lock);
        if result.is_err() {
            self.give_up(package.id());
        }
        result
    }

    /// The right to touch the launcher; `None`: another has it, who may be at this very work.
    fn lock(&self) -> Result<Option<UpdateLock>> {
        match UpdateLock::take(self.folder, Duration::ZERO) {
            Err(error) if error.code() == Code::UpdateRunning => Ok(None),
            lock => lock.map(Some),
        }
    }

    /// The launcher's digest, if it was hashed at an earlier start.
    fn known(&self) -> Result<Option<Sha256>> {
        let (_, now) = self.look()?;
        let known = self.folder.load_state().launcher;
        Ok(known
            .filter(|known| (known.size, known.modified) == now)
            .map(|known| known.sha256))
    }

    /// The launcher's digest, remembered from now on.
    fn hash(&self) -> Result<Sha256> {
        let (file, (size, modified)) = self.look()?;
        let (sha256, _) = hash_file(&file).map_err(Error::io("read", &self.launcher))?;
        let hashed = Hashed {
            sha256,
            size,
            modified,
        };
        self.folder
            .change_state(|state| state.launcher = Some(hashed))?;
        Ok(sha256)
    }

    /// The launcher, opened, with its size and time.
    fn look(&self) -> Result<(File, (u64, i64))> {
        let path = &self.launcher;
        let is_file = fs::symlink_metadata(path)
            .map_err(Error::io("look at", path))?
            .is_file();
        if !is_file {
            return Err(Error::TargetUnsafe {
                path: path.clone(),
                problem: "the launcher is no ordinary file",
            });
        }
        let file = File::open(path).map_err(Error::io("open", path))?;
        let metadata = file.metadata().map_err(Error::io("look at", path))?;
        Ok((file, (metadata.len(), tree::modified(&metadata))))
    }

    fn is_left_alone(&self, digest: Sha256) -> bool {
        let state = self.folder.load_state();
        state.backing_off_until(digest, Utc::now()).is_some()
    }

    /// Leaves a launcher alone for a while, whatever was wrong: a new launcher is never urgent, and
    /// every attempt is a wait for the app.
    fn give_up(&self, digest: Sha256) {
        let noted = self
            .folder
            .change_state(|state| state.back_off(None, digest, Utc::now()));
        if let Err(error) = noted {
            record::warn!("{}", error.chain());
        }
    }

    /// From the fetch to the swap. `own`: the digest of the launcher that is replaced.
    fn replace(&self, package: &Package, own: Sha256, lock: UpdateLock) -> Result<()> {
        // First of all: where no file can be made, none needs to be fetched.
        match disk::create_file(&self.staged, true) {
            Err(error) if error.code() == Code::PermissionDenied => {
                record::info!("a new launcher is announced: {}", error.chain());
                return Ok(());
            }
            staged => drop(staged?),
        }
        disk::remove_file(&self.staged)?;
        if let Err(error) = disk::remove_file(&self.old) {
            record::info!("a new launcher is announced: {}", error.chain());
            return Ok(());
        }
        // A download may take long, and nobody's start is to wait for it.
        drop(lock);
        let _fetching = match FetchLock::take(self.folder, Duration::ZERO) {
            Err(error) if error.code() == Code::UpdateRunning => return Ok(()),
            lock => lock?,
        };
        let fetched = self.fetch(package)?;
        let Some(_lock) = self.lock()? else {
            return Ok(());
        };
        if self.known()? != Some(own) {
            // Another launcher was quicker.
            return Ok(());
        }
        let result = self.install(package, fetched);
        // If the launcher's name should lead nowhere, this is what there is.
        if result.is_err()
            && self.launcher.exists()
            && let Err(error) = disk::remove_file(&self.staged)
        {
            record::warn!("{}", error.chain());
        }
        result
    }

    /// From the verified download to the swap.
    fn install(&self, package: &Package, fetched: Fetched) -> Result<()> {
        self.stage(package, fetched)?;
        let said = self.check(package)?;
        reach(Step::LauncherChecked)?;
        self.swap()?;
        reach(Step::LauncherSwapped)?;
        record::info!("the launcher is replaced by {said}, from the next start on");
        self.folder
            .change_state(|state| state.forgive(package.id()))?;
        disk::remove_tree(&self.downloads())
    }

    /// Not among the app's packages: each clears away what was fetched of others.
    fn downloads(&self) -> PathBuf {
        self.folder.own().join("launcher")
    }

    /// Fetches the new launcher.
    fn fetch(&self, package: &Package) -> Result<Fetched> {
        let downloads = self.downloads();
        self.observer.event(&Event::Phase(Phase::Launcher));
        disk::create_folders(&downloads)?;
        fetch::clear_others(&downloads, package)?;
        disk::need_space(&downloads, package.size.unwrap_or(0))?;
        let client = Client::new(&self.config.network, &self.config.source)?;
        fetch::download(&client, package, &downloads, self.observer)
    }

    /// Verifies the new launcher and lays it beside the old one.
    fn stage(&self, package: &Package, fetched: Fetched) -> Result<()> {
        let size = fetched.size;
        let verified = trust::verify(fetched, package)?;
        reach(Step::LauncherFetched)?;
        let (old, _) = self.look()?;
        let old = old
            .metadata()
            .map_err(Error::io("look at", &self.launcher))?;
        let staged = disk::create_file(&self.staged, true)?;
        disk::need_space(&self.staged, size)?;
        disk::fill(staged, &self.staged, &verified.into_file())?;
        disk::set_mode(&self.staged, disk::mode_of(&old))?;
        disk::sync_folder(self.home())?;
        reach(Step::LauncherStaged)
    }

    fn home(&self) -> &Path {
        self.launcher.parent().unwrap_or(&self.launcher)
    }

    /// Lets the new launcher check itself where it lies, and returns what it says it is.
    fn check(&self, package: &Package) -> Result<String> {
        let unfit = |problem: String| Error::LauncherUnfit {
            url: package.url.clone(),
            problem,
        };
        let deadline = Instant::now() + CHECK_LIMIT;
        let mut command = Command::new(&self.staged);
        command
            .args(["--castoff", "self-check"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        #[cfg(windows)]
        {
            use std::os::windows::process::CommandExt;
            command.creation_flags(castoff_windows::process::NO_WINDOW);
        }
        let mut child = command
            .spawn()
            .map_err(|error| unfit(format!("it cannot be started: {error}")))?;
        let said = listen(&mut child, CHECK_LIMIT);
        let status = ended_by(&mut child, deadline).map_err(Error::io("wait for", &self.staged))?;
        match status {
            None => Err(unfit(format!(
                "it did not end within {} s",
                CHECK_LIMIT.as_secs()
            ))),
            Some(status) if status.success() && said.starts_with(GREETING) => Ok(said),
            Some(status) => Err(unfit(format!("{status}, said {said:?}"))),
        }
    }

    /// Gives the new launcher the name of the old one, which keeps a second name.
    #[cfg(unix)]
    fn swap(&self) -> Result<()> {
        disk::link_or_copy(&self.launcher, &self.old)?;
        reach(Step::LauncherKept)?;
        disk::rename(&self.staged, &self.launcher)?;
        disk::sync_folder(self.home())
    }

    /// Gives the new launcher the name of the old one, which gets another name: a running executable
    /// can be renamed and not be replaced.
    #[cfg(not(unix))]
    fn swap(&self) -> Result<()> {
        reach(Step::LauncherKept)?;
        exchange(&disk::rename, &self.staged, &self.launcher, &self.old)
    }
}

/// The names beside a launcher's executable that its update uses: of the one that is staged, and of
/// the one before.
pub(crate) fn beside(executable: &Path) -> [PathBuf; 2] {
    let name = if cfg!(windows) {
        executable.file_stem()
    } else {
        executable.file_name()
    };
    [".new", ".old"].map(|what| {
        let mut own = OsString::from(".");
        own.push(name.unwrap_or_default());
        own.push(what);
        // Windows goes by the ending.
        own.push(EXE_SUFFIX);
        executable.with_file_name(own)
    })
}

/// Renames `current` to `old` and `new` to `current`. When the second fails, the first is undone, if
/// need be by a copy in the place of `new`: whatever comes between, `current` is whole or not there,
/// and if it is not, `old` is whole.
#[cfg(any(not(unix), test))]
fn exchange(
    rename: &dyn Fn(&Path, &Path) -> Result<()>,
    new: &Path,
    current: &Path,
    old: &Path,
) -> Result<()> {
    // Scanners hold files for moments only.
    const ATTEMPTS: u32 = 20;
    const PAUSE: Duration = Duration::from_millis(100);
    rename(current, old)?;
    let exchanged = rename(new, current);
    if exchanged.is_err() {
        for _ in 0..ATTEMPTS {
            if rename(old, current).is_ok() {
                return exchanged;
            }
            thread::sleep(PAUSE);
        }
        // Of the old one, this needs no more than to read.
        disk::remove_file(new)?;
        if let Err(error) = disk::copy(old, new) {
            let _ = disk::remove_file(new);
            return Err(error);
        }
        rename(new, current)?;
    }
    exchanged
}

/// The first line of what a child says until it closes its output; nothing if that takes too long.
fn listen(child: &mut Child, limit: Duration) -> String {
    let (sender, said) = mpsc::channel();
    if let Some(output) = child.stdout.take() {
        // Not waited for: whom the child has started may hold its output open for ever.
        thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = output.take(SAID_LIMIT).read_to_end(&mut bytes);
            let _ = sender.send(bytes);
        });
    }
    let said = said.recv_timeout(limit).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    said.lines().next().unwrap_or_default().trim().to_owned()
}

/// How a child has ended by that time. One that has not is ended.
fn ended_by(child: &mut Child, deadline: Instant) -> std::io::Result<Option<ExitStatus>> {
    const POLL: Duration = Duration::from_millis(5);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exchange_that_fails_half_way_is_undone() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name| folder.path().join(name);
        let (new, current, old) = (path("new"), path("current"), path("old"));
        fs::write(&current, "1").unwrap();
        exchange(&disk::rename, &new, &current, &old).unwrap_err();
        assert_eq!(fs::read(&current).unwrap(), b"1");
        assert!(!old.exists());

        fs::write(&new, "2").unwrap();
        exchange(&disk::rename, &new, &current, &old).unwrap();
        assert_eq!(fs::read(&current).unwrap(), b"2");
        assert_eq!(fs::read(&old).unwrap(), b"1");
        assert!(!new.exists());
    }

    #[test]
    fn what_cannot_be_renamed_back_gets_its_name_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name| folder.path().join(name);
        let (new, current, old) = (path("new"), path("current"), path("old"));
        fs::write(&new, "2").unwrap();
        fs::write(&current, "1").unwrap();
        let named = std::cell::RefCell::new(Vec::new());
        let held = |from: &Path, to: &Path| {
            let content = fs::read_to_string(from).unwrap();
            let free = from == current || from == new && content == "1";
            if free {
                assert!(!to.exists(), "nothing is written over");
                named.borrow_mut().push((to.to_path_buf(), content));
                return disk::rename(from, to);
            }
            Err(Error::io("put into place", to)(
                std::io::ErrorKind::ResourceBusy.into(),
            ))
        };
        exchange(&held, &new, &current, &old).unwrap_err();
        let expected = [&old, &current].map(|name| (name.clone(), "1".to_owned()));
        assert_eq!(named.into_inner(), expected);
        assert_eq!(fs::read(&current).unwrap(), b"1");
        assert_eq!(fs::read(&old).unwrap(), b"1", "until the next start");
    }
}
