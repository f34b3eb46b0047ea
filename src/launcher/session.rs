//! What every command begins with: configuration, places, language, log, terminal.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::config::{self, Config, Places};
use crate::entry::End;
use crate::launcher::messages::{Lang, Text};
use crate::launcher::terminal::Terminal;
use crate::launcher::{dialog, exit_code, logfile, panic, worker};
use crate::updater::{Invocation, Outcome, Updater};
use crate::when::Start;
use crate::{Code, Error, Result, record};

/// A launcher's folder, opened for work.
pub struct Session {
    /// The launcher's folder.
    pub(crate) home: PathBuf,
    /// This process's executable, if it is the launcher.
    pub(crate) launcher: Option<PathBuf>,
    pub(crate) config: Config,
    pub(crate) places: Places,
    pub(crate) terminal: Terminal,
    pub(crate) lang: Lang,
    pub(crate) log: PathBuf,
}

impl Session {
    /// Reads the configuration of the launcher in `home` and opens the log. Dialogs that it does not
    /// want are forbidden from then on, also when it cannot be used.
    pub fn open(home: &Path) -> Result<Self> {
        let (baked, env) = (config::baked(), |name: &str| std::env::var(name).ok());
        let config = Config::load(home, baked, &env);
        let dialogs = match &config {
            Ok(config) => config.dialogs,
            Err(_) => config::dialogs_despite_errors(home, baked, &env),
        };
        if !dialogs {
            dialog::forbid();
        }
        let config = config?;
        let places = Places::find(&config, home);
        let lang = Lang::detect(config.language.as_deref());
        let log = logfile::install(&places.log_dir, config.log_level);
        let terminal = Terminal::new(lang, &config.name).with_log(Some(log.clone()));
        record::debug!(
            "castoff {} on {}",
            env!("CARGO_PKG_VERSION"),
            places.client.display()
        );
        Ok(Self {
            home: home.to_path_buf(),
            launcher: None,
            config,
            places,
            terminal,
            lang,
            log,
        })
    }

    /// For this once another repository, or another version and no other. Fails where that is none.
    pub fn for_once(mut self, repo: Option<&str>, version: Option<&str>) -> Result<Self> {
        self.config.override_for_once(repo, version)?;
        Ok(self)
    }

    /// This process is the launcher, and its executable is to follow what the source announces.
    #[must_use]
    pub fn with_launcher(mut self, executable: Option<PathBuf>) -> Self {
        self.launcher = executable;
        self
    }

    /// Shows an error that keeps a session from being opened.
    pub fn report_unopened(error: &Error) -> u8 {
        let said = std::env::var("CASTOFF_LANGUAGE").ok();
        let lang = Lang::detect(said.as_deref());
        Terminal::new(lang, "Castoff").last_error(error, Text::DoneNotStarted.template(lang));
        exit_code(error)
    }

    pub(crate) fn updater(&self) -> Result<Updater<'_>> {
        let updater = Updater::new(&self.config, &self.places.client, &self.terminal)?;
        Ok(updater
            .over(self.places.read_only.as_deref())
            .with_launcher(self.launcher.as_deref()))
    }

    /// The app that is to be started: that of the client folder, or the one that was installed
    /// beside the launcher where this user may not write, while that is the better one.
    pub(crate) fn startable(&self) -> Result<Updater<'_>> {
        let updater = self.updater()?;
        if updater.current().root() == updater.folder().root() {
            return Ok(updater);
        }
        Updater::new(&self.config, updater.current().root(), &self.terminal)
    }

    /// Starts the app. A copy of the user's own that does not start gives way to the installation
    /// that it is a copy of.
    fn launch(&self, invocation: Invocation<'_>) -> Result<End> {
        let updater = self.startable()?;
        let (error, base) = match (updater.launch(invocation), &self.places.read_only) {
            (Err(error), Some(base)) if updater.folder().root() != base => (error, base),
            (result, _) => return result,
        };
        let base = Updater::new(&self.config, base, &self.terminal)?;
        if !has_entry(&base) {
            return Err(error);
        }
        record::error!("{}: {}", error.code(), error.chain());
        let folder = [("folder", base.folder().root().display().to_string())];
        let done = match base.installed() {
            Some(version) => {
                let version = [("version", version.to_string())];
                let values = [folder, version].concat();
                self.terminal.text(Text::DoneStartingBase, &values)
            }
            None => self.terminal.text(Text::DoneStartingBaseUnknown, &folder),
        };
        self.terminal.error(&error, &done);
        base.launch(invocation)
    }

    /// What a double-click does: brings the app up to date, or leaves it as it is, and starts it.
    /// Returns the app's exit code, or one of the launcher's own when no app ran.
    pub fn run(&self, args: &[OsString], launcher: Option<&Path>) -> u8 {
        let update = match panic::survived() {
            Some(what) => Err(Error::Internal { what }),
            None => self.before_start(),
        };
        let failed_update = match update {
            // Nothing new is nothing to tell: the app starts, and that is what was asked for.
            Ok(None | Some(Outcome::UpToDate { .. })) => None,
            Ok(Some(outcome)) => {
                self.terminal.outcome(&outcome);
                if matches!(outcome, Outcome::Pending { .. })
                    && let Some(blocked) = self.blocked()
                {
                    return self.fail(&blocked);
                }
                None
            }
            Err(error) => Some(error),
        };
        if let Some(error) = &failed_update {
            record::warn!("{}: {}", error.code(), error.chain());
            if error.code() == Code::RecoveryFailed && self.places.read_only.is_none() {
                // What lies there may be a mixture: that is never started.
                self.terminal
                    .last_error(error, Text::DoneNotStarted.template(self.lang));
                return exit_code(error);
            }
            if let Some(blocked) = self.blocked() {
                self.terminal.error(error, "");
                return self.fail(&blocked);
            }
            self.report_before_start(error);
        }
        let cwd = std::env::current_dir().ok();
        let environment: Vec<_> = std::env::vars_os().collect();
        let invocation = Invocation {
            args,
            environment: &environment,
            launcher,
            cwd: cwd.as_deref(),
        };
        match self.launch(invocation) {
            Ok(end) => end.pass_on(),
            Err(Error::NotInstalled { folder, .. }) => {
                let source = failed_update.map(Box::new);
                self.fail(&Error::NotInstalled { folder, source })
            }
            Err(error) => self.fail(&error),
        }
    }

    /// Brings the app up to date, as far as that is due before the start, and sends a worker on its
    /// way, if one is to look for updates meanwhile.
    fn before_start(&self) -> Result<Option<Outcome>> {
        let updater = self.updater()?;
        match updater.at_start() {
            Start::Ask => updater.update(false).map(Some),
            Start::GoOn { worker } => {
                let outcome = updater.install_waiting();
                if worker && let Err(error) = worker::start(self) {
                    record::warn!("no worker looks for updates: {error}");
                }
                match (outcome, updater.critical_refusal()) {
                    // Nobody was asked, and yet there is something to tell.
                    (Ok(None), Some(refused)) => Err(refused),
                    (outcome, _) => outcome,
                }
            }
        }
    }

    /// Why the app must not be started, although it could be.
    fn blocked(&self) -> Option<Error> {
        self.updater().ok()?.blocked()
    }

    /// Shows an error and gives its exit code.
    pub(crate) fn fail(&self, error: &Error) -> u8 {
        record::error!("{}: {}", error.code(), error.chain());
        self.terminal.last_error(error, "");
        exit_code(error)
    }

    /// The update failed and the app starts all the same, if there is one.
    fn report_before_start(&self, error: &Error) {
        let Ok(updater) = self.startable() else {
            return;
        };
        if !has_entry(&updater) {
            // The start will fail, and then says why.
            return;
        }
        let critical = self
            .updater()
            .is_ok_and(|followed| followed.known_critical().is_some());
        // A refusal is known since an earlier start, which has told it, and said in the log. But what is
        // started may not be safe to go on with, and the person is to know that.
        if critical || !error.code().is_refusal() {
            self.report_starting(&updater, error);
        }
    }

    fn report_starting(&self, updater: &Updater<'_>, error: &Error) {
        let done = match updater.installed() {
            Some(version) => {
                let version = [("version", version.to_string())];
                self.terminal.text(Text::DoneStarting, &version)
            }
            None => self.terminal.text(Text::DoneStartingUnknown, &[]),
        };
        self.terminal.error(error, &done);
    }
}

/// Whether there is something to start.
fn has_entry(updater: &Updater<'_>) -> bool {
    let entry = updater.entry_point();
    entry.is_some_and(|entry| updater.folder().tree().join(entry).exists())
}
