//! The app's Python dependencies: what its `requirements.txt` names, installed by pip.
//!
//! By default there is a virtual environment for each state of the file, at
//! `.castoff/environments/HASH`, so that going back to a version goes back to its dependencies
//! without asking the network. It is made where it stays (an environment cannot be moved) and has
//! its mark only when it is whole and durable; without the mark it is made afresh. With
//! `python.environment = "foreign"` pip installs into the interpreter that is found, and going back
//! installs what the file of the version before names.
//!
//! Promised: nothing is done when what the file names is installed; a half-made environment is
//! never used; pip is that of the interpreter which the app is started with.
//!
//! Not promised: that two states of the file which name no exact versions install the same a second
//! time; that a change in another file which the first one includes (`-r`) is seen; that a foreign
//! interpreter loses what only the new version needed.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::config::{Config, EnvironmentKind};
use crate::disk;
use crate::entry::Python;
use crate::hooks::Runner;
use crate::state::ClientFolder;
use crate::trust::Sha256;
use crate::{Error, Result, record};

/// Where the interpreter is in an environment.
const INTERPRETER: &str = if cfg!(windows) {
    r"Scripts\python.exe"
} else {
    "bin/python"
};

/// What makes an environment a whole one. It holds the digest of the file with the requirements.
const MARK: &str = "castoff-complete";

/// What is installed in a foreign interpreter: the digest of the file with the requirements.
const FOREIGN: &str = "foreign";

/// The digest of the file with the requirements in the first of these folders that has it: what is
/// staged comes before what stays as it is. `None` when none has, or none is configured.
pub fn requirements(config: &Config, app_dirs: &[&Path]) -> Result<Option<Sha256>> {
    Ok(find(config, app_dirs)?.map(|(_, digest)| digest))
}

fn find(config: &Config, app_dirs: &[&Path]) -> Result<Option<(PathBuf, Sha256)>> {
    let Some(name) = &config.python.requirements else {
        return Ok(None);
    };
    let paths = app_dirs.iter().map(|folder| folder.join(name));
    let Some(path) = paths.into_iter().find(|path| path.is_file()) else {
        return Ok(None);
    };
    let digest = Sha256::of(&disk::in_use::read(&path)?);
    Ok(Some((path, digest)))
}

/// Installs what the app needs, unless that is there already. Going back to a version is the same,
/// with the folder of that version.
///
/// The file with the requirements is looked for in `staged`, then in `app_dir`, the folder of the
/// version in place; so is the interpreter, in `app_dir` only. Fails with `DEPENDENCIES_FAILED`, or
/// with `INTERPRETER_MISSING`. The environment of another state of the file is not touched.
pub fn prepare(
    folder: &ClientFolder,
    config: &Config,
    staged: Option<&Path>,
    app_dir: &Path,
    runner: &Runner<'_>,
) -> Result<()> {
    let app_dirs: Vec<&Path> = staged.into_iter().chain([app_dir]).collect();
    let Some((requirements, digest)) = find(config, &app_dirs)? else {
        return Ok(());
    };
    let installing = Installing {
        folder,
        config,
        app_dir,
        runner,
        requirements: &requirements,
        digest,
    };
    match config.python.environment {
        EnvironmentKind::Own => installing.own(),
        EnvironmentKind::Foreign => installing.foreign(),
    }
}

/// The interpreter of the environment for what the app in `app_dir` needs: what the app is to be
/// started with. `None` when there is no such environment, or none is wanted.
pub fn python_for(folder: &ClientFolder, config: &Config, app_dir: &Path) -> Option<PathBuf> {
    if config.python.environment == EnvironmentKind::Foreign {
        return None;
    }
    let digest = requirements(config, &[app_dir]).ok()??;
    let place = place(folder, digest);
    is_whole(&place, digest).then(|| place.join(INTERPRETER))
}

/// The interpreter that the app in `app_dir` is run with: that of its environment, else the one that
/// is found. What hooks are told ([`crate::hooks::Occasion::python`]).
pub fn interpreter(
    folder: &ClientFolder,
    config: &Config,
    app_dir: &Path,
    environment: &[(OsString, OsString)],
) -> Option<PathBuf> {
    python_for(folder, config, app_dir).or_else(|| {
        let found = Python::find(app_dir, &config.run, environment)?;
        Some(found.program)
    })
}

/// Removes the environments of files that are not `in_use`: neither that of what is installed, nor
/// that of a version that can be gone back to.
pub fn prune(folder: &ClientFolder, in_use: &[Sha256]) -> Result<()> {
    let used: Vec<PathBuf> = in_use.iter().map(|digest| place(folder, *digest)).collect();
    for entry in fs::read_dir(all(folder)).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !used.contains(&path) {
            discard(&path)?;
        }
    }
    Ok(())
}

/// Where environments are.
fn all(folder: &ClientFolder) -> PathBuf {
    folder.own().join("environments")
}

/// Where the environment for a file is. Paths in an environment are long, and Windows' are short:
/// a quarter of the digest tells a machine's few files apart, and the mark has all of it.
fn place(folder: &ClientFolder, digest: Sha256) -> PathBuf {
    all(folder).join(&digest.to_string()[..16])
}

/// Whether an environment was made whole for a file, and its interpreter is still there: it is that
/// of the system, which may have been replaced.
fn is_whole(place: &Path, digest: Sha256) -> bool {
    fs::read_to_string(place.join(MARK)).is_ok_and(|mark| mark == digest.to_string())
        && place.join(INTERPRETER).is_file()
}

/// Removes an environment: first its mark, so that half of one is never taken for whole.
fn discard(place: &Path) -> Result<()> {
    if place.exists() {
        disk::remove_durably(&place.join(MARK))?;
        disk::remove_tree(place)?;
    }
    Ok(())
}

/// Dependencies that are to be installed.
struct Installing<'a> {
    folder: &'a ClientFolder,
    config: &'a Config,
    app_dir: &'a Path,
    runner: &'a Runner<'a>,
    requirements: &'a Path,
    digest: Sha256,
}

impl Installing<'_> {
    /// Into an environment of their own.
    fn own(&self) -> Result<()> {
        let folder = self.folder;
        let place = place(folder, self.digest);
        if is_whole(&place, self.digest) {
            return Ok(());
        }
        let python = self.python()?;
        record::info!("making an environment for {}", self.requirements.display());
        discard(&place)?;
        disk::create_folders(&all(folder))?;
        let made = self.make(&python, &place);
        if made.is_err() {
            // A full disk gets its room back.
            let _ = discard(&place);
        }
        made
    }

    fn make(&self, python: &Python, place: &Path) -> Result<()> {
        let mut venv = python.command();
        // Isolated: what the user has installed elsewhere is not what the app needs.
        venv.args(["-I", "-m", "venv"]).arg(place);
        self.run(venv, "venv")?;
        let mut pip = Command::new(place.join(INTERPRETER));
        pip.arg("-I");
        self.pip(pip)?;
        disk::sync_tree(&[place], None)?;
        disk::write_atomic(&place.join(MARK), self.digest.to_string().as_bytes())?;
        disk::sync_folder(place.parent().unwrap_or(place))
    }

    /// Into the interpreter that is found.
    fn foreign(&self) -> Result<()> {
        let folder = self.folder;
        let mark = all(folder).join(FOREIGN);
        let digest = self.digest.to_string();
        if fs::read_to_string(&mark).is_ok_and(|mark| mark == digest) {
            return Ok(());
        }
        let python = self.python()?;
        disk::create_folders(&all(folder))?;
        // While pip is at work, and when it has failed, nobody knows what is installed.
        disk::remove_durably(&mark)?;
        self.pip(python.command())?;
        disk::write_atomic(&mark, digest.as_bytes())
    }

    /// The interpreter that the app would be started with, were there no environment.
    fn python(&self) -> Result<Python> {
        let run = &self.config.run;
        Python::find(self.app_dir, run, self.runner.environment).ok_or_else(|| {
            Error::InterpreterMissing {
                entry: self.requirements.display().to_string(),
                tried: run
                    .python
                    .clone()
                    .unwrap_or_else(|| "python3, python".into()),
            }
        })
    }

    fn pip(&self, mut command: Command) -> Result<()> {
        command
            .args(["-m", "pip", "install", "--disable-pip-version-check"])
            .args(["--no-input", "-r"])
            .arg(self.requirements);
        self.run(command, "pip")
    }

    fn run(&self, mut command: Command, name: &str) -> Result<()> {
        // Not in the app's folder, whose modules Python would take for its own.
        self.runner.prepare(&mut command, &all(self.folder));
        self.runner
            .run(command, name)
            .map_err(|failure| Error::DependenciesFailed {
                path: self.requirements.to_path_buf(),
                problem: format!("{name}: {failure}"),
            })
    }
}

#[cfg(test)]
mod tests;
