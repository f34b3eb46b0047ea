//! What goes along with the files of a version: hooks, databases, Python dependencies; one call for
//! each point of the pipeline at which something of it is due.
//!
//! Everything here is off until the configuration says otherwise, and costs nothing then.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::Config;
use crate::database::Databases;
use crate::environments;
use crate::hooks::{self, Hook, Occasion, Runner};
use crate::layout;
use crate::layout::locks::{ChangeLock, UpdateLock};
use crate::order;
use crate::progress::{Along, Event, Observer};
use crate::release::Commands;
use crate::state::{ClientFolder, Link};
use crate::version::Version;
use crate::{Error, Result, record};

/// What goes along with the versions in a client folder.
#[derive(Clone, Copy)]
pub struct Companions<'a> {
    config: &'a Config,
    folder: &'a ClientFolder,
    /// The launcher's environment, of which commands get what is not the launcher's own.
    environment: &'a [(OsString, OsString)],
    observer: &'a dyn Observer,
    /// Commands of a package that may bring some.
    packaged: Option<&'a Commands>,
}

/// From which version to which, and why.
#[derive(Clone, Copy, Debug, Default)]
pub struct Way<'a> {
    /// The version that is left.
    pub from: Option<&'a Version>,
    /// The version that is in place in the end.
    pub to: Option<&'a Version>,
    /// Why, when it leads back.
    pub reason: Option<&'a str>,
}

impl<'a> Companions<'a> {
    /// What the configuration names.
    pub fn new(
        config: &'a Config,
        folder: &'a ClientFolder,
        environment: &'a [(OsString, OsString)],
        observer: &'a dyn Observer,
    ) -> Self {
        Self {
            config,
            folder,
            environment,
            observer,
            packaged: None,
        }
    }

    /// The same with the commands that a package brings, if there are any. Fails with
    /// `PACKAGE_COMMANDS` unless packages are signed and the configuration allows it.
    pub(crate) fn with_package(mut self, commands: &'a Commands) -> Result<Self> {
        if commands.is_empty() {
            return Ok(self);
        }
        if self.config.trust.is_none() || !self.config.hooks.package {
            let named = [
                (Hook::AfterStage, &commands.after_stage),
                (Hook::AfterCommit, &commands.after_commit),
            ];
            let named = named.iter().filter(|(_, lines)| !lines.is_empty());
            let hooks: Vec<_> = named.map(|(hook, _)| hook.as_str()).collect();
            return Err(Error::PackageCommands {
                hooks: hooks.join(", "),
            });
        }
        self.packaged = Some(commands);
        Ok(self)
    }

    /// Command lines of a hook: the configuration's, then the package's.
    fn commands(&self, hook: Hook) -> Vec<&'a String> {
        let packaged: &[String] = match (self.packaged, hook) {
            (Some(commands), Hook::AfterStage) => &commands.after_stage,
            (Some(commands), Hook::AfterCommit) => &commands.after_commit,
            _ => &[],
        };
        hook.commands(&self.config.hooks)
            .iter()
            .chain(packaged)
            .collect()
    }

    /// Whether an update runs anything that takes its time.
    pub(crate) fn run_commands(&self) -> bool {
        let hooks = &self.config.hooks;
        let lists = [Hook::AfterStage, Hook::BeforeBackup, Hook::AfterCommit];
        // What another launcher's package brings is not known here.
        hooks.package
            || self.config.python.requirements.is_some()
            || self.config.databases.other.is_some()
            || lists.iter().any(|hook| !hook.commands(hooks).is_empty())
    }

    /// Before the version in place is backed up. Fails with `HOOK_FAILED`.
    pub(crate) fn before_backup(&self, way: Way<'_>) -> Result<()> {
        self.hook(Hook::BeforeBackup, way, None, None)
    }

    /// When a version is staged: installs what it depends on. Fails with `DEPENDENCIES_FAILED` or
    /// `HOOK_FAILED`.
    pub(crate) fn after_stage(&self, way: Way<'_>, staged: &Path) -> Result<()> {
        let tree = self.folder.tree();
        if self.config.python.requirements.is_some() {
            self.tell(Along::Dependencies);
        }
        environments::prepare(
            self.folder,
            self.config,
            Some(staged),
            &tree,
            &self.runner(None),
        )?;
        self.hook(Hook::AfterStage, way, Some(staged), None)
    }

    /// Copies the databases, bound to the version that is about to be left and that is kept as
    /// `name`. Says whether there are any. Fails with `DATABASE_COPY_FAILED`.
    pub(crate) fn keep_data(
        &self,
        name: &str,
        version: Option<&Version>,
        lock: &ChangeLock,
    ) -> Result<bool> {
        let databases = &self.config.databases;
        if !databases.sqlite.is_empty() || databases.other.is_some() {
            self.tell(Along::Databases);
        }
        self.databases(None).copy(name, version, Some(lock))
    }

    /// Whether there is anything to do when a version is in place that may touch data.
    pub(crate) fn migrates(&self) -> bool {
        !self.commands(Hook::AfterCommit).is_empty()
    }

    /// When a version is in place: migrations. Fails with `HOOK_FAILED`.
    pub(crate) fn after_commit(&self, way: Way<'_>, lock: &ChangeLock) -> Result<()> {
        self.hook(Hook::AfterCommit, way, None, Some(lock))
    }

    /// Fails unless there is a copy of the databases of that name which can be put back.
    pub(crate) fn check_data(&self, name: &str) -> Result<()> {
        match self.databases(None).check(name)? {
            Some(_) => Ok(()),
            None => Err(Error::NoData {
                name: name.to_owned(),
            }),
        }
    }

    /// Copies the databases as they are, under a name that nothing else has.
    pub(crate) fn keep_present(&self, version: Option<&Version>, lock: &ChangeLock) -> Result<()> {
        let databases = self.databases(None);
        let taken = databases.list();
        // That of the version, so that the data goes forward with it again.
        let mut name = self
            .folder
            .linked(Link::Current)
            .or_else(|| version.map(Version::file_name))
            .unwrap_or_else(|| "unknown".to_owned());
        while taken.contains(&name) {
            name.push_str("-later");
        }
        databases.copy(&name, version, Some(lock)).map(|_| ())
    }

    /// Removes the copy that belongs to a version which is removed.
    pub(crate) fn forget_data(&self, name: &str) -> Result<()> {
        self.databases(None).remove(name)
    }

    /// When an update ends that has called `before_backup` and has changed nothing.
    pub(crate) fn called_off(&self, version: Option<&Version>, reason: &str) {
        let way = Way {
            from: version,
            to: version,
            reason: Some(reason),
        };
        if let Err(error) = self.hook(Hook::OnRollback, way, None, None) {
            record::error!("{}: {}", error.code(), error.chain());
        }
    }

    /// Makes the databases what they were when the copy was made. Can be repeated.
    pub(crate) fn put_data_back(&self, name: &str, lock: &ChangeLock) -> Result<()> {
        self.tell(Along::DatabasesBack);
        if self.databases(Some(lock)).put_back(name, lock)? {
            return Ok(());
        }
        Err(Error::NoData {
            name: name.to_owned(),
        })
    }

    /// When a version before is in place again. It stays, whatever comes of this.
    pub(crate) fn after_return(&self, way: Way<'_>) {
        let tree = self.folder.tree();
        let prepared =
            environments::prepare(self.folder, self.config, None, &tree, &self.runner(None));
        for done in [prepared, self.hook(Hook::OnRollback, way, None, None)] {
            if let Err(error) = done {
                record::error!("{}: {}", error.code(), error.chain());
            }
        }
    }

    /// Before the app is started. Fails with `HOOK_FAILED`.
    ///
    /// Dependencies that are not there, because their environment was lost or an update with a
    /// foreign interpreter did not come about, are installed again; the app starts, whatever comes
    /// of it.
    pub(crate) fn before_start(&self, version: Option<&Version>) -> Result<()> {
        if self.config.python.requirements.is_some()
            && let Ok(_lock) = UpdateLock::take(self.folder, Duration::ZERO)
        {
            let tree = self.folder.tree();
            let runner = self.runner(None);
            if let Err(error) =
                environments::prepare(self.folder, self.config, None, &tree, &runner)
            {
                record::error!("{}: {}", error.code(), error.chain());
            }
        }
        let way = Way {
            to: version,
            ..Way::default()
        };
        self.hook(Hook::BeforeStart, way, None, None)
    }

    /// The interpreter of the environment that fits what is in place.
    pub(crate) fn python(&self) -> Option<PathBuf> {
        environments::python_for(self.folder, self.config, &self.folder.tree())
    }

    /// When a version has passed its trial. It stays, whatever comes of this.
    pub(crate) fn after_confirm(&self, way: Way<'_>) {
        let pruned = self.prune();
        for done in [self.hook(Hook::AfterConfirm, way, None, None), pruned] {
            if let Err(error) = done {
                record::error!("{}: {}", error.code(), error.chain());
            }
        }
    }

    /// Removes copies of databases and environments that belong to no version that is kept. Of
    /// copies that a person's way back has left, the newest stay, as many as versions do.
    fn prune(&self) -> Result<()> {
        let configured = !self.config.databases.sqlite.is_empty()
            || self.config.databases.other.is_some()
            || self.config.python.requirements.is_some();
        if !configured {
            return Ok(());
        }
        let kept = layout::list(self.folder);
        let current = self.folder.linked(Link::Current);
        let databases = self.databases(None);
        let mut others = Vec::new();
        for name in databases.list() {
            let belongs =
                kept.iter().any(|kept| kept.name == name) || Some(&name) == current.as_ref();
            if !belongs && let Ok(Some(data)) = databases.load(&name) {
                others.push((data.created, name));
            }
        }
        order::sort(&mut others);
        let surplus = others.len().saturating_sub(self.config.update.keep);
        for (_, name) in others.into_iter().take(surplus) {
            databases.remove(&name)?;
        }
        let mut trees = vec![self.folder.tree()];
        trees.extend(
            kept.iter()
                .map(|kept| layout::files_of(self.folder, &kept.name)),
        );
        let mut needed = Vec::new();
        for tree in &trees {
            needed.extend(environments::requirements(self.config, &[tree])?);
        }
        environments::prune(self.folder, &needed)
    }

    fn tell(&self, along: Along<'_>) {
        self.observer.event(&Event::Along(along));
    }

    fn databases<'b>(&'b self, lock: Option<&'b ChangeLock>) -> Databases<'b> {
        Databases::new(self.folder, &self.config.databases, self.runner(lock))
    }

    /// A command that outlives a launcher which is killed keeps its lock.
    fn runner<'b>(&'b self, lock: Option<&'b ChangeLock>) -> Runner<'b> {
        Runner {
            environment: self.environment,
            timeout: self.config.hooks.timeout,
            keep_open: lock.map(ChangeLock::file),
        }
    }

    fn hook(
        &self,
        hook: Hook,
        way: Way<'_>,
        staged: Option<&Path>,
        lock: Option<&ChangeLock>,
    ) -> Result<()> {
        let commands = self.commands(hook);
        if commands.is_empty() {
            return Ok(());
        }
        self.tell(Along::Commands(hook.as_str()));
        let tree = self.folder.tree();
        let python = environments::interpreter(self.folder, self.config, &tree, self.environment);
        // A hook that comes before the first version has no such folder yet.
        let app_dir = if tree.is_dir() {
            &tree
        } else {
            self.folder.root()
        };
        let occasion = Occasion {
            client_dir: self.folder.root(),
            app_dir,
            staged_dir: staged,
            from: way.from,
            to: way.to,
            reason: way.reason,
            python: python.as_deref(),
        };
        hooks::run(hook, &commands, &self.runner(lock), &occasion)
    }
}
