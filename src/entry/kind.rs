//! Where the entry point is, what kind of file it is, and what runs that kind.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use crate::{Error, Result, disk};

/// Where a Python that belongs to the app lies: brought along, or in a virtual environment.
#[cfg(unix)]
const BUNDLED: &[&str] = &[
    "python/bin/python3",
    "python/bin/python",
    ".venv/bin/python",
    "venv/bin/python",
    "env/bin/python",
];
#[cfg(windows)]
const BUNDLED: &[&str] = &[
    r"python\python.exe",
    "python.exe",
    r".venv\Scripts\python.exe",
    r"venv\Scripts\python.exe",
    r"env\Scripts\python.exe",
];

/// What is looked for in PATH, with the arguments that come before the entry point. `python` may
/// be Python 2 on old systems, so it comes last.
#[cfg(unix)]
const PYTHONS: &[(&str, &[&str])] = &[("python3", &[]), ("python", &[])];
#[cfg(windows)]
const PYTHONS: &[(&str, &[&str])] = &[
    ("py.exe", &["-3"]),
    ("python3.exe", &[]),
    ("python.exe", &[]),
];
/// For `.pyw`: the same without a console window, which only Windows tells apart.
#[cfg(unix)]
const WINDOWED_PYTHONS: &[(&str, &[&str])] = PYTHONS;
#[cfg(windows)]
const WINDOWED_PYTHONS: &[(&str, &[&str])] = &[("pyw.exe", &["-3"]), ("pythonw.exe", &[])];

/// The fixed places come first: they are what existing packages were tried with.
#[cfg(unix)]
const SHELLS: &[&str] = &["/bin/bash", "bash", "/bin/sh", "sh"];
/// Git and MSYS2 bring this name. `bash.exe` may be the one of the Linux subsystem, which does not
/// understand Windows paths.
#[cfg(windows)]
const SHELLS: &[&str] = &["sh.exe"];

/// Where programs are looked for when there is no PATH.
#[cfg(unix)]
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";
#[cfg(windows)]
const DEFAULT_PATH: &str = "";

/// The kinds of entry points, by suffix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// `.py`, `.pyw`
    Python { windowed: bool },
    /// `.sh`
    Shell,
    /// `.bat`, `.cmd`
    Batch,
    /// Anything else: the system is to execute it.
    Program,
}

impl Kind {
    fn of(path: &Path) -> Self {
        let suffix = path.extension().unwrap_or_default().to_ascii_lowercase();
        match suffix.to_str() {
            Some("py") => Self::Python { windowed: false },
            Some("pyw") => Self::Python { windowed: true },
            Some("sh") => Self::Shell,
            Some("bat" | "cmd") => Self::Batch,
            _ => Self::Program,
        }
    }
}

/// Where interpreters are looked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Search<'a> {
    /// The client folder, absolute.
    pub(super) folder: &'a Path,
    /// PATH.
    pub(super) path: Option<&'a OsStr>,
    /// `run.python`: a name to look for in PATH, or a path, relative to the client folder.
    pub(super) python: Option<&'a str>,
    /// The interpreter of the environment with the app's dependencies, which goes before any other.
    pub(super) environment: Option<&'a Path>,
    /// Whether what is started has neither a console nor anything else to write to: a Python that
    /// opens a console of its own would open it for nobody.
    pub(super) unheard: bool,
}

/// The absolute path of an entry point, which exists, is a file, and lies inside the client
/// folder.
pub(super) fn locate(folder: &Path, entry: &str) -> Result<PathBuf> {
    let invalid = |problem| Error::EntryInvalid {
        entry: entry.to_owned(),
        problem,
    };
    check_text(entry).map_err(invalid)?;
    let path = folder.join(entry).components().collect::<PathBuf>();
    let missing = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Error::EntryMissing {
            entry: entry.to_owned(),
            folder: folder.to_owned(),
        },
        _ => Error::io("find the entry point", &path)(error),
    };
    let real_folder = fs::canonicalize(folder).map_err(missing)?;
    let real = fs::canonicalize(&path).map_err(missing)?;
    if !real.starts_with(real_folder) {
        return Err(invalid("it leads outside the client folder"));
    }
    if !fs::metadata(&real).map_err(missing)?.is_file() {
        return Err(invalid("it is not a file"));
    }
    Ok(path)
}

/// Refuses what is absolute or leads upwards, here or on another system: one text is announced to
/// all of them.
fn check_text(entry: &str) -> Result<(), &'static str> {
    if entry.is_empty() {
        return Err("it is empty");
    }
    if entry.contains('\0') {
        return Err("it holds a zero byte");
    }
    // A drive (C:x) or a stream of a file (x:y).
    if entry.contains(':') {
        return Err("it holds a colon");
    }
    if entry.starts_with(['/', '\\']) {
        return Err("it is not relative to the client folder");
    }
    if entry.split(['/', '\\']).any(|part| part == "..") {
        return Err("it leads upwards");
    }
    if cfg!(unix) && entry.contains('\\') {
        return Err("it holds a backslash");
    }
    let ordinary = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    if !Path::new(entry).components().all(ordinary) {
        return Err("it is not relative to the client folder");
    }
    Ok(())
}

/// The command that runs the entry point, as yet without its arguments.
pub(super) fn command(path: &Path, entry: &str, search: &Search<'_>) -> Result<Command> {
    let interpreter = match (Kind::of(path), search.environment) {
        (Kind::Python { windowed }, Some(python)) => {
            let quiet = windowed || search.unheard;
            let program = if quiet {
                windowless(python.into())
            } else {
                python.into()
            };
            Ok((program, &[][..]))
        }
        (Kind::Python { windowed }, None) => python(windowed, search).map(|found| {
            // Who configures an interpreter gets that one.
            let quiet = search.unheard && search.python.is_none();
            (if quiet { windowless(found.0) } else { found.0 }, found.1)
        }),
        (Kind::Shell, _) => shell(search),
        (Kind::Batch, _) if cfg!(windows) => return Ok(Command::new(path)),
        (Kind::Batch, _) => {
            return Err(Error::EntryInvalid {
                entry: entry.to_owned(),
                problem: "batch files run on Windows only",
            });
        }
        (Kind::Program, _) => {
            #[cfg(unix)]
            check_program(path).map_err(|source| Error::StartFailed {
                path: path.to_owned(),
                source,
            })?;
            return Ok(Command::new(path));
        }
    };
    let (program, before) = interpreter.map_err(|tried| Error::InterpreterMissing {
        entry: entry.to_owned(),
        tried: tried.join(", "),
    })?;
    let mut command = Command::new(program);
    command.args(before).arg(path);
    Ok(command)
}

/// A program and the arguments that come before the entry point, or what was tried in vain.
type Found = Result<(PathBuf, &'static [&'static str]), Vec<String>>;

/// The Python that runs `.py` entry points.
pub(super) fn python(windowed: bool, search: &Search<'_>) -> Found {
    if let Some(configured) = search.python {
        let name = Path::new(configured);
        let program = if name.components().count() > 1 || name.is_absolute() {
            Some(search.folder.join(name)).filter(|path| is_program(path))
        } else {
            search.in_path(configured)
        };
        return program
            .map(|program| (program, &[][..]))
            .ok_or_else(|| vec![format!("{configured} (run.python)")]);
    }
    let mut tried = Vec::new();
    for name in BUNDLED {
        let name = if windowed {
            name.replace("python.exe", "pythonw.exe")
        } else {
            (*name).to_owned()
        };
        let program = search.folder.join(&name);
        if search.is_bundled_program(&program) {
            return Ok((program, &[]));
        }
        tried.push(format!("{name} in the client folder"));
    }
    for (name, before) in if windowed { WINDOWED_PYTHONS } else { PYTHONS } {
        if let Some(program) = search.in_path(name) {
            return Ok((program, before));
        }
        tried.push(format!("{name} in PATH"));
    }
    Err(tried)
}

/// The Python beside this one that opens no console window (Windows), or this one.
fn windowless(program: PathBuf) -> PathBuf {
    let launcher = program
        .file_name()
        .is_some_and(|name| name.eq_ignore_ascii_case("py.exe"));
    let other = program.with_file_name(if launcher { "pyw.exe" } else { "pythonw.exe" });
    if is_program(&other) { other } else { program }
}

fn shell(search: &Search<'_>) -> Found {
    let find = |name: &&str| {
        if Path::new(name).is_absolute() {
            Some(PathBuf::from(name)).filter(|path| is_program(path))
        } else {
            search.in_path(name)
        }
    };
    SHELLS
        .iter()
        .find_map(find)
        .map(|program| (program, &[][..]))
        .ok_or_else(|| SHELLS.iter().map(ToString::to_string).collect())
}

impl Search<'_> {
    /// Looks for a program in PATH, but neither in the working directory (an empty or relative
    /// part of PATH) nor in the client folder: who starts the app from a folder of downloads must
    /// not start what was put there.
    fn in_path(&self, name: &str) -> Option<PathBuf> {
        let path = self.path.unwrap_or(OsStr::new(DEFAULT_PATH));
        env::split_paths(path)
            .filter(|folder| folder.is_absolute() && !self.holds(folder))
            .map(|folder| folder.join(name))
            .find(|program| is_program(program))
    }

    /// Whether a path leads into the client folder.
    fn holds(&self, path: &Path) -> bool {
        match (fs::canonicalize(path), fs::canonicalize(self.folder)) {
            (Ok(path), Ok(folder)) => path.starts_with(folder),
            _ => false,
        }
    }

    /// Whether a program is brought along. If only the x bit is missing, because it was installed
    /// without modes, it is set; not where a link leads outside, as virtual environments have it.
    fn is_bundled_program(&self, path: &Path) -> bool {
        is_program(path)
            || path.is_file()
                && self.holds(path)
                && disk::make_executable(path).is_ok()
                && is_program(path)
    }
}

/// Whether the system may execute the file.
fn is_program(path: &Path) -> bool {
    #[cfg(unix)]
    return path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok();
    // The aliases of the Microsoft Store are empty.
    #[cfg(windows)]
    return fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() > 0);
}

/// Sees to the x bit, and foresees what the system's own refusal says too tersely, or what it
/// would not refuse: without this, a script that names no interpreter would run as a replacement
/// of this process (the C library gives it to a shell), and not as its child.
#[cfg(unix)]
fn check_program(path: &Path) -> io::Result<()> {
    use std::io::Read;
    use std::os::unix::ffi::OsStrExt;

    /// What Linux reads to tell kinds of executables apart.
    const HEAD: u64 = 256;

    if !is_program(path) {
        disk::make_executable(path).map_err(|error| match error {
            Error::Io { source, .. } => source,
            other => io::Error::other(other),
        })?;
        if !is_program(path) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
    }
    let mut head = Vec::new();
    match fs::File::open(path) {
        Ok(file) => file.take(HEAD).read_to_end(&mut head)?,
        // Programs may be executed without being readable.
        Err(_) => return Ok(()),
    };
    let Some(line) = head.strip_prefix(b"#!") else {
        return if head.contains(&0) {
            Ok(())
        } else {
            Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "it is neither a program nor a script whose first line begins with #!",
            ))
        };
    };
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let interpreter = line
        .trim_ascii_start()
        .split(|byte| matches!(byte, b' ' | b'\t'))
        .next()
        .map(|name| Path::new(OsStr::from_bytes(name)))
        .filter(|interpreter| interpreter.is_absolute());
    match interpreter {
        Some(interpreter) if !interpreter.exists() => {
            // Quoted, so that the carriage return of a Windows line end can be seen.
            let name = interpreter.to_string_lossy();
            Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("its first line names {name:?}, which does not exist"),
            ))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_that_nobody_hears_gets_the_python_without_a_window_that_lies_beside() {
        let folder = tempfile::tempdir().unwrap();
        let (bundled, script) = (
            folder.path().join(BUNDLED[0]),
            folder.path().join("main.py"),
        );
        let quiet = bundled.with_file_name("pythonw.exe");
        fs::create_dir_all(bundled.parent().unwrap()).unwrap();
        let program = |unheard, python| {
            let search = Search {
                folder: folder.path(),
                path: None,
                python,
                environment: None,
                unheard,
            };
            let command = command(&script, "main.py", &search).unwrap();
            PathBuf::from(command.get_program())
        };
        // Bundled interpreters get their x bit.
        fs::write(&bundled, "x").unwrap();
        assert_eq!(program(true, None), bundled, "there is no other");
        fs::copy(&bundled, &quiet).unwrap();
        assert_eq!(program(true, None), quiet);
        assert_eq!(program(false, None), bundled);
        assert_eq!(program(true, Some(BUNDLED[0])), bundled, "as configured");
    }
}
