//! A launcher in a folder of its own, and the endpoint that it asks.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
#[cfg(unix)]
use std::process::Output;
use std::process::{Command, Stdio};
use std::sync::Arc;

use castoff_testkit::http::{Reply, Server};
use castoff_testkit::package::{Built, Package};
use serde_json::{Value, json};

/// The path of the check.
pub(crate) const CHECK: &str = "/api/nuitkal_pack/apps/demo/active/";

/// A launcher's folder and its endpoint. Hermetic: nothing of the machine's configuration,
/// language or proxies reaches the launcher.
pub(crate) struct World {
    pub(crate) server: Arc<Server>,
    folder: tempfile::TempDir,
    layout: Layout,
}

/// How versions lie in a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    InPlace,
    #[cfg(unix)]
    Snapshot,
}

impl Layout {
    /// Those that this system has.
    pub(crate) const ALL: &[Self] = &[
        Self::InPlace,
        #[cfg(unix)]
        Self::Snapshot,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::InPlace => "in-place",
            #[cfg(unix)]
            Self::Snapshot => "snapshot",
        }
    }
}

/// A finished run of the launcher.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    #[cfg(unix)]
    output: Output,
}

impl World {
    /// A launcher whose configuration is only what it needs.
    pub(crate) fn new() -> Self {
        Self::with("")
    }

    /// The same with more configuration, which follows `[network]`.
    pub(crate) fn with(config: &str) -> Self {
        let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
        Self::inside(parent, Server::start(), config)
    }

    /// A world of a layout.
    pub(crate) fn laid_out(layout: Layout, config: &str) -> Self {
        Self::new().change_layout(layout, config)
    }

    /// The same in another layout, before anything is installed.
    pub(crate) fn change_layout(mut self, layout: Layout, config: &str) -> Self {
        self.layout = layout;
        self.configure(config);
        self
    }

    /// The same in a folder inside `parent`, asking `server`.
    pub(crate) fn inside(parent: &Path, server: Server, config: &str) -> Self {
        let folder = tempfile::tempdir_in(parent).unwrap();
        let layout = Layout::InPlace;
        let world = Self {
            server: Arc::new(server),
            folder,
            layout,
        };
        let launcher = env!("CARGO_BIN_EXE_castoff-launcher");
        // A second name, so that a hundred worlds do not hold a hundred copies.
        fs::hard_link(launcher, world.launcher())
            .or_else(|_| fs::copy(launcher, world.launcher()).map(|_| ()))
            .unwrap();
        world.configure(config);
        world
    }

    /// The same world once more, in a folder of its own, with modes and times as they are, and on
    /// Unix links as well. They share what is published.
    pub(crate) fn again(&self) -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        if cfg!(unix) {
            let mut from = self.home().as_os_str().to_owned();
            from.push("/.");
            let copied = Command::new("cp")
                .arg("-a")
                .args([from.as_os_str(), folder.path().as_os_str()])
                .status();
            assert!(copied.unwrap().success());
        } else {
            copy_folder(self.home(), folder.path());
        }
        Self {
            server: Arc::clone(&self.server),
            folder,
            layout: self.layout,
        }
    }

    /// Writes launcher.toml anew.
    pub(crate) fn configure(&self, more: &str) {
        self.configure_source(&format!("url = \"{}\"", self.server.url(CHECK)), more);
    }

    /// The same with another source than the check.
    pub(crate) fn configure_source(&self, source: &str, more: &str) {
        let text = format!(
            "app = \"org.castoff.test\"\nname = \"Test App\"\nlog_dir = \"logs\"\nlanguage = \"en\"\n\
             layout = \"{}\"\n[source]\n{source}\n[network]\nretries = 1\ncheck_timeout = 20\n{more}\n",
            self.layout.as_str()
        );
        fs::write(self.home().join("launcher.toml"), text).unwrap();
    }

    pub(crate) fn home(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn launcher(&self) -> PathBuf {
        self.home()
            .join(if cfg!(windows) { "MyApp.exe" } else { "MyApp" })
    }

    pub(crate) fn client(&self) -> PathBuf {
        self.home().join("client")
    }

    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.client().join(relative)
    }

    pub(crate) fn read(&self, relative: &str) -> String {
        fs::read_to_string(self.path(relative)).unwrap_or_else(|error| format!("<{error}>"))
    }

    pub(crate) fn write(&self, relative: &str, text: &str) {
        let path = self.path(relative);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// The check answer for a package, in the shape of the first real server.
    pub(crate) fn answer(built: &Built, version: &str) -> Value {
        json!({
            "id": 1, "version": version, "file": format!("/media/{version}.zip"),
            "entry_point": ENTRY, "file_size": built.bytes.len(), "file_hash": built.sha256,
            "upload_time": "2026-11-21T02:28:25.475039Z", "changelog": format!("what is new in {version}"),
            "is_active": true, "app": "0d87",
        })
    }

    /// Publishes a package and its check answer.
    pub(crate) fn publish(&self, version: &str, package: &Package) -> Built {
        let built = package.build();
        self.announce(&Self::answer(&built, version));
        self.media(
            version,
            Reply::file(&built.bytes).etag(&format!("\"{version}\"")),
        );
        built
    }

    /// Publishes bytes as a package, with the right digest and size, whatever they are.
    pub(crate) fn publish_bytes(&self, version: &str, bytes: Vec<u8>) -> Built {
        let built = Built::of_bytes(version, bytes);
        self.announce(&Self::answer(&built, version));
        self.media(version, Reply::file(&built.bytes));
        built
    }

    /// Publishes an app of the given version: see [`app`].
    pub(crate) fn publish_app(&self, version: &str) -> Built {
        self.publish(version, &app(version))
    }

    /// Publishes an app of that version and starts it.
    #[track_caller]
    pub(crate) fn update_to(&self, version: &str) {
        self.publish_app(version);
        self.run(&[]).assert_app(version);
    }

    pub(crate) fn announce(&self, answer: &Value) {
        self.server.replace(CHECK, Reply::json(&answer.to_string()));
    }

    pub(crate) fn media(&self, version: &str, reply: Reply) {
        let path = format!("/media/{version}.zip");
        self.server.replace(&path, reply);
    }

    /// The launcher as a command, to be started somewhere else than in its folder.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.launcher());
        command
            .args(args)
            .current_dir(env!("CARGO_TARGET_TMPDIR"))
            .stdin(Stdio::null());
        // Per-user folders are looked for here, and found out when they are used unasked.
        isolate(&mut command, &self.home().join("user"));
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Run {
        Run::of(&mut self.command(args))
    }

    /// Runs with an order for the named steps, as `steps` reads it.
    pub(crate) fn run_failing(&self, order: &str) -> Run {
        Run::of(self.command(&[]).env("CASTOFF_FAIL", order))
    }

    /// The folder of the app's files.
    pub(crate) fn app_folder(&self) -> PathBuf {
        match self.layout {
            Layout::InPlace => self.client(),
            #[cfg(unix)]
            Layout::Snapshot => self.path("versions/current"),
        }
    }

    /// The app's files: path to content (or link target) and mode, without Castoff's own.
    pub(crate) fn tree(&self) -> BTreeMap<String, String> {
        tree_of(&self.app_folder())
    }

    pub(crate) fn version(&self) -> String {
        #[cfg(unix)]
        if self.layout == Layout::Snapshot {
            let link = fs::read_link(self.path("versions/current")).unwrap_or_default();
            let name = link.to_string_lossy().into_owned();
            let version = name.trim_start_matches('v').split('_').next();
            return version
                .filter(|version| !version.is_empty())
                .unwrap_or("none")
                .to_owned();
        }
        let text = self.read("local_version.json");
        let value: Value = serde_json::from_str(&text).unwrap_or_default();
        value["version"].as_str().unwrap_or("none").to_owned()
    }

    pub(crate) fn state(&self) -> Value {
        serde_json::from_str(&self.read(".castoff/state.json")).unwrap_or_default()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.home().join("logs/castoff.log")).unwrap_or_default()
    }

    /// The names of the backups.
    pub(crate) fn backups(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path(".backup")) else {
            return Vec::new();
        };
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Checks that nothing half-done lies about: no journal, nothing staged, no half backup.
    pub(crate) fn assert_tidy(&self) {
        for name in ["journal.json", "staging", "backup", "restoring", "gone"] {
            assert!(
                !self.path(".castoff").join(name).exists(),
                "{name} was left behind"
            );
        }
    }
}

impl Run {
    pub(crate) fn of(command: &mut Command) -> Self {
        let mut output = command.output();
        // On a busy machine Wine sometimes does not start a process (error 1359, internal). And where
        // another thread starts something while the launcher is being copied, that has it open for
        // an instant. Nothing has run yet then.
        let may_pass = |error: &std::io::Error| {
            error.kind() == std::io::ErrorKind::ExecutableFileBusy
                || cfg!(emulated) && error.raw_os_error() == Some(1359)
        };
        for _ in 0..20 {
            if !output.as_ref().is_err_and(may_pass) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
            output = command.output();
        }
        let output = output.unwrap();
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            #[cfg(unix)]
            output,
        }
    }

    /// Checks that the app of `version` ran and the launcher passed its exit code on.
    #[track_caller]
    pub(crate) fn assert_app(&self, version: &str) -> &Self {
        assert!(
            self.stdout.contains(&format!("app {version} ")),
            "no app {version}: {self:#?}"
        );
        assert_eq!(self.code, Some(0), "{self:#?}");
        self
    }

    /// Checks that a person was told the code.
    #[track_caller]
    pub(crate) fn assert_told(&self, code: &str) -> &Self {
        assert!(self.stderr.contains(code), "{code} was not told: {self:#?}");
        assert!(
            !self.stderr.contains('\u{1b}'),
            "escape codes without a terminal: {self:#?}"
        );
        self
    }

    #[track_caller]
    pub(crate) fn assert_killed(&self) -> &Self {
        #[cfg(unix)]
        {
            use std::os::unix::process::ExitStatusExt;
            assert_eq!(
                self.output.status.signal(),
                Some(9),
                "not killed: {self:#?}"
            );
        }
        // How Windows, or Wine, reports an abort; the launcher has no such codes of its own.
        #[cfg(windows)]
        assert!(
            matches!(self.code.map(i32::cast_unsigned), Some(3 | 0xC000_0409)),
            "not killed: {self:#?}"
        );
        self
    }
}

/// Lets nothing of the machine's configuration, language or proxies reach a program.
pub(crate) fn isolate(command: &mut Command, home: &Path) {
    command.env_clear().env("HOME", home);
    // The last is where an emulator of another processor finds that one's libraries.
    for name in ["PATH", "SystemRoot", "TEMP", "TMP", "QEMU_LD_PREFIX"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
}

/// Copies what is in a folder; on Windows a copy keeps its time.
fn copy_folder(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&to).unwrap();
            copy_folder(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), &to).unwrap();
        }
    }
}

/// An app of 1.x: a script that says its version, a file that changes, one that stays, one that
/// only this version has, one in a folder.
pub(crate) fn app(version: &str) -> Package {
    Package::new(version)
        .executable(ENTRY, script(version))
        .file(
            "data/changes.txt",
            format!("changes {version}\n").as_bytes(),
        )
        .file("stays.py", b"print('always the same')\n")
        .file(
            &format!("only/{version}.bin"),
            version.repeat(500).as_bytes(),
        )
        .file("\u{8bf4}\u{660e}.txt", b"\xe8\xaf\xb4\xe6\x98\x8e\n")
        .list()
}

/// The same without the file that stays, for those who have `fits` installed.
pub(crate) fn partial_app(version: &str, fits: &str) -> Package {
    Package::new(version)
        .executable(ENTRY, script(version))
        .file(
            "data/changes.txt",
            format!("changes {version}\n").as_bytes(),
        )
        .kept("stays.py", b"print('always the same')\n")
        .partial(&[fits])
}

/// The entry point: a script of the system's own shell, since every machine has that.
pub(crate) const ENTRY: &str = if cfg!(windows) { "run.bat" } else { "run.sh" };

/// An entry point that says its version, as [`Run::assert_app`] wants it.
pub(crate) fn script(version: &str) -> String {
    if cfg!(windows) {
        format!("@echo app {version} %CASTOFF_VERSION% args: %*\r\n")
    } else {
        format!("#!/bin/sh\necho \"app {version} $CASTOFF_VERSION args: $*\"\n")
    }
}

/// An entry point that says something and ends with a code.
pub(crate) fn ending(text: &str, code: u8) -> String {
    if cfg!(windows) {
        format!("@echo {text}\r\n@exit {code}\r\n")
    } else {
        format!("#!/bin/sh\necho \"{text}\"\nexit {code}\n")
    }
}

/// An entry point that runs a command and then dies as a broken program does: by a signal, or with
/// an exception's code.
pub(crate) fn dying_after(unix: &str, windows: &str) -> String {
    if cfg!(windows) {
        // An access violation: 0xC0000005.
        format!("@{windows}\r\n@exit -1073741819\r\n")
    } else {
        format!("#!/bin/sh\n{unix}\nkill -SEGV $$\n")
    }
}

/// An entry point that dies at once.
pub(crate) fn dying() -> String {
    dying_after(":", "rem")
}

/// What [`World::tree`] gives, of any client folder.
pub(crate) fn tree_of(folder: &Path) -> BTreeMap<String, String> {
    let mut tree = BTreeMap::new();
    collect(folder, "", &mut tree);
    tree
}

fn collect(folder: &Path, prefix: &str, tree: &mut BTreeMap<String, String>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries {
        let entry = entry.unwrap();
        let name = entry.file_name().to_string_lossy().into_owned();
        if prefix.is_empty() && [".castoff", ".backup", "local_version.json"].contains(&&*name) {
            continue;
        }
        let path = format!("{prefix}{name}");
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            tree.insert(format!("{path}/"), String::new());
            collect(&entry.path(), &format!("{path}/"), tree);
        } else if kind.is_symlink() {
            let target = fs::read_link(entry.path()).unwrap();
            tree.insert(path, format!("-> {}", target.display()));
        } else {
            let content = fs::read(entry.path()).unwrap();
            tree.insert(
                path,
                format!(
                    "{:o} {}",
                    mode(&entry.path()),
                    String::from_utf8_lossy(&content)
                ),
            );
        }
    }
}

#[cfg(unix)]
pub(crate) fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[cfg(not(unix))]
pub(crate) fn mode(_path: &Path) -> u32 {
    0
}
