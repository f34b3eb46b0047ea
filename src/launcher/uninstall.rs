//! The command that removes an app: what it asks, and what goes beside the client folder.
//!
//! The engine ([`crate::uninstall`]) empties the client folder. Around it go the shortcuts, the
//! log and, last of all, the launcher and its configuration.
//!
//! Promises: on a terminal a person is shown what goes, and asked (in a window where the launcher is
//! merely attached to a shell's console); without one, the user's files stay unless `--everything`
//! was said, and so does the launcher unless `--yes` was. Everything can be done again after an
//! interruption: what the next run needs goes last.
//!
//! The launcher stays where its folder holds anything that is not the app's, where this user may
//! not write, and where somebody else brought it: that is for whoever installed it.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use directories::UserDirs;
use serde_json::json;

use super::commands::Told;
use super::messages::{Text, sanitise};
use super::{EXIT_TRY_AGAIN, Session, logfile};
use crate::layout;
use crate::state::ClientFolder;
use crate::uninstall::{Removed, Uninstall};
use crate::{Result, config, disk, record, selfupdate};

/// Files that are named: as many as fit on a screen with the question.
const MOST_NAMED: usize = 12;

/// What a person has agreed to.
#[derive(Clone, Copy)]
struct Consent {
    /// To removing the launcher too.
    launcher: bool,
    /// To removing the user's files too.
    everything: bool,
}

impl Session {
    pub(super) fn uninstall(&self, yes: bool, everything: bool, as_json: bool) -> Result<Told> {
        let updater = self.updater()?;
        let version = updater.installed().map(|version| version.to_string());
        let mut apart = self.launcher_files();
        apart.push(self.home.join(config::FILE_NAME));
        apart.push(self.places.log_dir.clone());
        // Where there is no folder, none is made to be locked.
        let find = || {
            let there = updater.folder().root().is_dir();
            there
                .then(|| updater.uninstall(everything, &apart))
                .transpose()
        };
        let person = !as_json && io::stdin().is_terminal() && io::stderr().is_terminal();
        let agreed = if yes || !person {
            let consent = Consent {
                launcher: yes,
                everything,
            };
            Some((find()?, consent))
        } else {
            self.agree(&find, updater.folder(), everything)?
        };
        let Some((found, consent)) = agreed else {
            return Ok(Told {
                text: self.say(Text::DoneNothing).to_owned(),
                json: json!({"outcome": "declined"}),
                code: EXIT_TRY_AGAIN,
            });
        };
        // First, since a file in use leaves everything as it was.
        let removed = match found {
            Some(found) => found.carry_out(consent.everything)?,
            None => Removed::default(),
        };
        let shortcuts = self.remove_shortcuts(&[]).unwrap_or_else(|error| {
            // It leads nowhere now, which is no reason to leave the rest where it is.
            record::warn!("{}", error.chain());
            Vec::new()
        });
        record::info!("removed {} files", removed.files);
        self.remove_log();
        self.remove_users_folders();
        let launcher = consent.launcher && self.remove_launcher()?;
        Ok(self.removed(&removed, version.as_deref(), &shortcuts, launcher))
    }

    fn removed(
        &self,
        removed: &Removed,
        version: Option<&str>,
        shortcuts: &[PathBuf],
        launcher: bool,
    ) -> Told {
        let base = self.places.read_only.as_ref();
        let mut text = match base {
            Some(base) => {
                let folder = [("folder", base.display().to_string())];
                self.terminal.text(Text::OutcomeUninstalledCopy, &folder)
            }
            None => self.terminal.text(Text::OutcomeUninstalled, &[]),
        };
        text.push('\n');
        if !removed.left.is_empty() {
            self.list(&mut text, Text::UninstallKept, &removed.left);
        }
        let stays = self.launcher.as_ref().filter(|_| !launcher);
        if let Some(path) = stays {
            if !removed.left.is_empty() {
                let _ = writeln!(text, "{}", self.say(Text::UninstallKeptHint));
            }
            let path = [("path", path.display().to_string())];
            let line = self.terminal.text(Text::UninstallLauncherKept, &path);
            let _ = writeln!(text, "{line}");
        }
        let json = json!({
            "outcome": "uninstalled", "version": version, "files": removed.files,
            "kept": removed.left, "shortcuts": shortcuts, "launcher_removed": launcher,
            "read_only": base,
        });
        Told::good(text, json)
    }

    /// Finds what is to be removed, and asks until what a person has agreed to is what there is;
    /// `None` for a no.
    ///
    /// While they read and think, nothing is held: the app may run, and an update may come.
    fn agree<'u>(
        &self,
        find: &dyn Fn() -> Result<Option<Uninstall<'u>>>,
        folder: &ClientFolder,
        everything: bool,
    ) -> Result<Option<(Option<Uninstall<'u>>, Consent)>> {
        loop {
            let (brought, shown) = match find()? {
                Some(found) => (found.brought(), found.users().to_vec()),
                None => (0, Vec::new()),
            };
            let backups = layout::list(folder).len();
            let Some(consent) = self.ask(brought, &shown, backups, everything) else {
                return Ok(None);
            };
            let found = find()?;
            let users = found.as_ref().map_or(&[][..], Uninstall::users);
            if !consent.everything || users.iter().all(|path| shown.contains(path)) {
                return Ok(Some((found, consent)));
            }
        }
    }

    /// Shows what is going to be removed, and asks; `None` for a no.
    fn ask(
        &self,
        brought: usize,
        users: &[PathBuf],
        backups: usize,
        everything: bool,
    ) -> Option<Consent> {
        let mut text = String::new();
        let _ = writeln!(text, "{}", self.say(Text::UninstallIntro));
        let files = brought + if everything { users.len() } else { 0 };
        let files = format!("{files} ({})", self.places.client.display());
        self.row(&mut text, Text::LabelFiles, &files);
        self.row(&mut text, Text::LabelBackups, &backups.to_string());
        for path in self.shortcuts(&[]).unwrap_or_default() {
            self.row(&mut text, Text::LabelShortcuts, &path.display().to_string());
        }
        let log = self.log.display().to_string();
        self.row(&mut text, Text::LabelLog, &log);
        if let Some(launcher) = self.launcher.as_deref().filter(|_| self.launcher_may_go()) {
            let launcher = launcher.display().to_string();
            self.row(&mut text, Text::LabelLauncher, &launcher);
        }
        self.terminal.rest();
        let question = match &self.places.read_only {
            Some(_) => Text::UninstallQuestionCopy,
            None => Text::UninstallQuestion,
        };
        if !self.agreed(&text, question) {
            return None;
        }
        let everything = everything || {
            !users.is_empty() && {
                let mut text = String::new();
                self.list(&mut text, Text::UninstallUsers, users);
                self.agreed(&text, Text::UninstallUsersQuestion)
            }
        };
        Some(Consent {
            launcher: true,
            everything,
        })
    }

    /// Shows a text and asks about it, on the terminal or, where that is not this process's to read
    /// from, in a window. Only a yes is one.
    fn agreed(&self, text: &str, question: Text) -> bool {
        let question = self.terminal.text(question, &[]);
        #[cfg(windows)]
        if castoff_windows::console::is_shared() {
            let text = format!("{text}\n{question}");
            return castoff_windows::dialog::agrees(&self.config.name, &text);
        }
        let _ = write!(io::stderr(), "{text}{question} [y/N] ");
        let _ = io::stderr().flush();
        let mut answer = String::new();
        let read = io::stdin().lock().read_line(&mut answer);
        let answer = answer.trim().to_lowercase();
        read.is_ok() && ["y", "yes", "是", "好"].contains(&answer.as_str())
    }

    /// Names files, as many as a person will read.
    fn list(&self, text: &mut String, heading: Text, paths: &[PathBuf]) {
        let values = [
            ("count", paths.len().to_string()),
            ("folder", self.places.client.display().to_string()),
        ];
        let _ = writeln!(text, "{}", self.terminal.text(heading, &values));
        for path in paths.iter().take(MOST_NAMED) {
            let _ = writeln!(text, "  {}", sanitise(&path.display().to_string()));
        }
        if let Some(more @ 1..) = paths.len().checked_sub(MOST_NAMED) {
            let more = [("count", more.to_string())];
            let _ = writeln!(text, "  {}", self.terminal.text(Text::UninstallMore, &more));
        }
    }

    /// Removes the log, and writes no more of it. What cannot be removed is left: it harms nobody.
    fn remove_log(&self) {
        logfile::close();
        let folder = &self.places.log_dir;
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let ours = name.to_str().is_some_and(|name| {
                name.strip_prefix(logfile::FILE_NAME)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            });
            if ours {
                let _ = disk::remove_file(&entry.path());
            }
        }
        remove_folder(folder);
    }

    /// Removes the folders that Castoff has made for this user, if nothing is in them any more.
    fn remove_users_folders(&self) {
        let beside = self.home.join(&self.config.client_dir);
        let own = config::own_folder(&self.config, &self.home);
        for (folder, apart) in [
            (&self.places.client, self.places.client != beside),
            (&self.places.log_dir, self.config.log_dir.is_none()),
        ] {
            if let Some(parent) = folder.parent()
                && apart
                && parent.file_name() == Some(OsStr::new(&own))
            {
                disk::remove_empty_folder(parent);
            }
        }
    }

    /// Whether the launcher is the app's alone: nothing else is in its folder, but for what stays
    /// in the client folder, and this user may change it.
    fn launcher_may_go(&self) -> bool {
        let mut own = self.launcher_files();
        own.push(self.home.join(config::FILE_NAME));
        own.push(first_below(&self.home, &self.config.client_dir));
        own.extend(
            self.config
                .log_dir
                .as_ref()
                .map(|log| first_below(&self.home, log)),
        );
        let Ok(mut entries) = fs::read_dir(&self.home) else {
            return false;
        };
        self.launcher.is_some()
            && self.places.read_only.is_none()
            && disk::may_change(&self.home)
            && entries.all(|entry| entry.is_ok_and(|entry| own.contains(&entry.path())))
    }

    /// The launcher's executable, and what an update of it may have left.
    fn launcher_files(&self) -> Vec<PathBuf> {
        let launcher = self.launcher.iter();
        launcher
            .flat_map(|path| {
                let [staged, old] = selfupdate::beside(path);
                [path.clone(), staged, old]
            })
            .collect()
    }

    /// Removes the launcher and its configuration, and their folder if it is empty then. Returns
    /// whether the launcher went.
    fn remove_launcher(&self) -> Result<bool> {
        if !self.launcher_may_go() {
            return Ok(false);
        }
        for left in self.launcher_files().iter().skip(1) {
            disk::remove_file(left)?;
        }
        // Without its configuration the launcher could not be asked again: it goes first.
        disk::remove_own_executable(&self.home)?;
        disk::remove_file(&self.home.join(config::FILE_NAME))?;
        remove_folder(&self.home);
        Ok(true)
    }
}

/// Removes an empty folder, unless it is one of those that every user has.
fn remove_folder(folder: &Path) {
    let user = UserDirs::new();
    let everybodys = user.as_ref().is_some_and(|user| {
        let given = [user.desktop_dir(), user.download_dir(), user.document_dir()];
        folder == user.home_dir() || given.contains(&Some(folder))
    });
    if !everybodys {
        disk::remove_empty_folder(folder);
    }
}

/// The entry of `home` in which `relative` lies.
fn first_below(home: &Path, relative: &Path) -> PathBuf {
    home.join(
        relative
            .components()
            .next()
            .map_or(OsStr::new(""), |part| part.as_os_str()),
    )
}
