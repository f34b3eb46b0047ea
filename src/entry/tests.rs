//! Real processes, started from folders and with arguments that are as awkward as they may be.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
#[cfg(unix)]
use std::{ffi::OsStr, fs::File, time::Instant};

use super::run::exception;
use super::{End, Launch, Prepared, Proof, Verdict, resolve};
use crate::config::{Confirm, RunConfig};
use crate::version::Version;
use crate::{Code, Error, Result};

mod confirm;

/// What must reach the app as it is.
const AWKWARD: &[&str] = &[
    "",
    "two words",
    "\"double\" 'single' `back`",
    "line\nbreak",
    "%PATH% !x! ^&|<>",
    "$(touch planted) $HOME ; exit 9",
    "更新 ünï",
    "-c",
    "trailing\\",
];

/// Long enough for a process to start and end on a busy machine.
const LONG: Duration = Duration::from_secs(30);

/// A client folder with an awkward name, and what is started from it.
struct App {
    _root: tempfile::TempDir,
    folder: PathBuf,
    environment: Vec<(OsString, OsString)>,
    args: Vec<OsString>,
    run: RunConfig,
}

impl App {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let name = if cfg!(all(windows, emulated)) {
            // Wine's cmd does not read %%cd:~,%, by which a percent sign is kept from being read.
            "My App's ^&(x) 客户端"
        } else if cfg!(windows) {
            "My App's ^&(x) 客户端 %PATH%"
        } else {
            "My \"App\"'s 客户端 %PATH% $(x)"
        };
        let folder = root.path().join(name);
        fs::create_dir(&folder).unwrap();
        Self {
            _root: root,
            folder,
            environment: std::env::vars_os().collect(),
            args: Vec::new(),
            run: RunConfig {
                python: None,
                wait: true,
                confirm: Confirm::Alive,
                trial: LONG,
                confirm_within: LONG,
                attempts: 2,
                ok_codes: Vec::new(),
                fail_codes: Vec::new(),
            },
        }
    }

    fn file(self, name: &str, text: &str) -> Self {
        let path = self.folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn set(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.retain(|(key, _)| key != name);
        self.environment.push((name.into(), value.into()));
        self
    }

    fn args(mut self, args: &[&str]) -> Self {
        self.args = args.iter().map(OsString::from).collect();
        self
    }

    fn python(mut self, python: &str) -> Self {
        self.run.python = Some(python.to_owned());
        self
    }

    fn launch<'a>(&'a self, entry: &'a str) -> Launch<'a> {
        Launch {
            folder: &self.folder,
            entry,
            args: &self.args,
            environment: &self.environment,
            run: &self.run,
            version: None,
            launcher: None,
            cwd: None,
            ready_file: None,
            keep_open: None,
        }
    }

    fn resolve(&self, entry: &str) -> Result<Prepared> {
        resolve(&self.launch(entry))
    }

    fn wait(&self, entry: &str) -> End {
        let running = self.resolve(entry).unwrap().spawn().unwrap();
        running.wait().unwrap()
    }

    fn judge(&self, entry: &str) -> Verdict {
        self.judge_by(entry, &Proof::Alive).expect("no verdict")
    }

    fn judge_by(&self, entry: &str, proof: &Proof<'_>) -> Option<Verdict> {
        let mut running = self.resolve(entry).unwrap().spawn().unwrap();
        running.judge(&self.run, proof).unwrap()
    }

    fn codes(mut self, ok: &[u32], fail: &[u32]) -> Self {
        (self.run.ok_codes, self.run.fail_codes) = (ok.to_vec(), fail.to_vec());
        self
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join(name)).unwrap()
    }

    /// What the app has written, as soon as it is there.
    #[cfg(unix)]
    fn read_soon(&self, name: &str) -> String {
        let start = Instant::now();
        loop {
            match fs::read_to_string(self.folder.join(name)) {
                Ok(text) if text.ends_with('\n') => return text,
                _ if start.elapsed() > LONG => panic!("{name} was not written"),
                _ => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

fn code(result: Result<Prepared>) -> Code {
    result.expect_err("must be refused").code()
}

/// Whether a program is there to test with; says so if not.
fn has(program: &str) -> bool {
    let there = std::process::Command::new(program)
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success());
    if !there {
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), "not tried: there is no {program}");
    }
    there
}

#[test]
fn entry_points_outside_the_folder_are_refused() {
    let app = App::new().file("main.py", "").file("sub/x.py", "");
    fs::write(app.folder.with_file_name("outside.py"), "").unwrap();
    let absolute = app.folder.join("main.py");
    for entry in [
        "",
        "..",
        "../outside.py",
        "sub/../../outside.py",
        "sub/../main.py",
        "..\\outside.py",
        "sub\\..\\..\\outside.py",
        "\\main.py",
        "\\\\server\\share\\main.py",
        "C:main.py",
        "C:\\main.py",
        "c:/main.py",
        "main.py:stream",
        "main.py\0",
        "/main.py",
        "//main.py",
        absolute.to_str().unwrap(),
        "sub",
        ".",
    ] {
        assert_eq!(code(app.resolve(entry)), Code::EntryInvalid, "{entry:?}");
    }
}

#[test]
fn missing_entry_points_are_named() {
    let app = App::new().file("main.py", "");
    for entry in ["none.py", "none/main.py", "main.py/x.py"] {
        let error = app.resolve(entry).unwrap_err();
        assert_eq!(error.code(), Code::EntryMissing, "{entry:?}");
        assert!(error.to_string().contains(entry));
    }
}

#[test]
fn plain_paths_inside_are_taken() {
    let app = App::new().file("sub dir/it's.sh", "exit 3");
    if !cfg!(unix) {
        return;
    }
    for entry in ["sub dir/it's.sh", "./sub dir/it's.sh", "sub dir//it's.sh"] {
        let prepared = app.resolve(entry).unwrap();
        assert_eq!(prepared.path(), app.folder.join("sub dir/it's.sh"));
        assert_eq!(prepared.spawn().unwrap().wait().unwrap(), End::Code(3));
    }
}

#[test]
fn python_gets_arguments_folder_and_path() {
    if !has("python3") {
        return;
    }
    let app = App::new().args(AWKWARD).file(
        "main.py",
        "import json, os, sys\n\
         json.dump([sys.argv, os.getcwd()], open('seen.json', 'w'))\n\
         sys.exit(42)\n",
    );
    assert_eq!(app.wait("main.py"), End::Code(42));
    let (argv, cwd): (Vec<String>, String) = serde_json::from_str(&app.read("seen.json")).unwrap();
    assert_eq!(Path::new(&argv[0]), app.folder.join("main.py"));
    assert_eq!(argv[1..], *AWKWARD);
    assert_eq!(
        fs::canonicalize(cwd).unwrap(),
        fs::canonicalize(&app.folder).unwrap()
    );
    assert!(!app.folder.join("planted").exists());
}

#[test]
fn without_any_interpreter_everything_tried_is_listed() {
    let app = App::new().file("main.py", "").set("PATH", "");
    let Error::InterpreterMissing { entry, tried } = app.resolve("main.py").unwrap_err() else {
        panic!("another error");
    };
    assert_eq!(entry, "main.py");
    for name in ["python", "venv", "env", "python3", "in PATH"] {
        assert!(tried.contains(name), "{name} is not in {tried}");
    }

    let app = app.python("no-such-python");
    let error = app.resolve("main.py").unwrap_err();
    assert_eq!(error.code(), Code::InterpreterMissing);
    assert!(error.to_string().contains("no-such-python"), "{error}");
}

#[test]
fn own_variables_do_not_reach_the_app() {
    let mut app = App::new()
        .set("CASTOFF_FAIL", "commit.rename=kill")
        .set("CASTOFF_SOURCE_URL", "https://secret@example.com")
        .set("CASTOFF_VERSION", "forged")
        .set("KEPT", "a=b\nc");
    app.environment.push(("CASTOFFISH".into(), "kept".into()));
    let version: Version = "1.2.3".parse().unwrap();
    let launch = Launch {
        version: Some(&version),
        launcher: Some(Path::new("/opt/launcher")),
        ..app.launch("main.py")
    };
    let environment = super::environment(&launch, None);
    let own: Vec<_> = environment
        .iter()
        .filter(|(name, _)| name.to_string_lossy().starts_with("CASTOFF_"))
        .map(|(name, value)| (name.to_str().unwrap(), value.to_str().unwrap()))
        .collect();
    assert_eq!(
        own,
        [
            ("CASTOFF_VERSION", "1.2.3"),
            ("CASTOFF_LAUNCHER", "/opt/launcher")
        ]
    );
    for (name, value) in [("KEPT", "a=b\nc"), ("CASTOFFISH", "kept")] {
        assert_eq!(super::variable(&environment, name).unwrap(), value);
    }
}

#[test]
fn exceptions_are_told_from_exit_codes() {
    for code in [
        0xC000_0005,
        0xC000_001D,
        0xC000_00FD,
        0xC000_0135,
        0xC000_0409,
        0xE06D_7363,
        0xE043_4352,
    ] {
        assert!(exception(code).is_some(), "{code:x}");
    }
    for code in [
        0,
        1,
        3,
        139,
        9009,
        0x4001_0004,
        0xC000_013A,
        0xC000_0142,
        0xC000_026B,
        u32::MAX,
        0xFFFF_FFFE,
    ] {
        assert_eq!(exception(code), None, "{code:x}");
    }
    assert_eq!(exception(0xC000_0005).unwrap(), "exception 0xC0000005");
}

/// Writes its arguments, one a line, quoted as they came.
#[cfg(windows)]
const PRINT: &str = "@echo off\r\n:next\r\nif \"%~1\"==\"\" exit /b 7\r\n\
                     echo \"%~1\">> seen\r\nshift\r\ngoto next\r\n";

#[cfg(windows)]
#[test]
fn batch_files_get_arguments_and_hand_on_codes() {
    // What a batch file writes is in the console's code page, so that this is plain ASCII.
    let arguments = ["plain", "two words", "a&b|c<d>e", "(x)^y", "back\\slash"];
    let app = App::new().args(&arguments).file("main.bat", PRINT);
    assert_eq!(app.wait("main.bat"), End::Code(7));
    let expected: Vec<String> = arguments.map(|text| format!("\"{text}\"")).into();
    let seen = app.read("seen");
    assert_eq!(seen.lines().collect::<Vec<_>>(), expected);
    // What no batch file can be given is refused, rather than given as something else.
    let app = app.args(&["line\nbreak"]);
    let error = app.resolve("main.bat").unwrap().spawn().unwrap_err();
    assert_eq!(error.code(), Code::StartFailed);
}

#[cfg(windows)]
#[test]
fn a_program_gets_its_arguments_in_a_folder_with_percent_signs() {
    let mut app = App::new().args(&["/d", "/c", "exit 7"]);
    app.folder = app.folder.join("100% %PATH%");
    fs::create_dir(&app.folder).unwrap();
    fs::copy(r"C:\windows\system32\cmd.exe", app.folder.join("tool.exe")).unwrap();
    assert_eq!(app.wait("tool.exe"), End::Code(7));
}

#[cfg(windows)]
#[test]
fn a_batch_file_is_judged_by_its_end() {
    let app = App::new()
        .file("good.bat", "@exit /b 0\r\n")
        .file("own.bat", "@exit 3\r\n")
        .file("dies.bat", "@exit -1073741819\r\n");
    assert!(matches!(app.judge("good.bat"), Verdict::Good { .. }));
    assert!(matches!(app.judge("own.bat"), Verdict::Unproven { .. }));
    assert!(matches!(app.judge("dies.bat"), Verdict::Failed { .. }));
}

#[cfg(windows)]
#[test]
#[cfg_attr(
    emulated,
    ignore = "wine: its cmd does not read %%cd:~,%, by which a percent sign is kept from being read"
)]
fn batch_files_get_percent_signs() {
    let app = App::new().args(&["100%", "%PATH%"]).file("main.bat", PRINT);
    assert_eq!(app.wait("main.bat"), End::Code(7));
    assert_eq!(app.read("seen"), "\"100%\"\r\n\"%PATH%\"\r\n");
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::process::{Child, Command};

    use super::*;

    /// Writes its arguments, each ended by a zero byte, and where it runs.
    const REPORT: &str = "for x in \"$@\"; do printf '%s\\0' \"$x\"; done > args\n\
                          pwd > cwd\nprintf '%s' \"$0\" > name\nexit 7\n";

    /// Gives a file the x bit.
    fn executable(app: App, name: &str) -> App {
        let path = app.folder.join(name);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        app
    }

    fn assert_reported(app: &App, entry: &str) {
        let expected: String = AWKWARD.iter().flat_map(|arg| [arg, "\0"]).collect();
        assert_eq!(app.read("args"), expected);
        let real = fs::canonicalize(&app.folder).unwrap();
        assert_eq!(app.read("cwd").trim_end(), real.to_str().unwrap());
        assert_eq!(Path::new(&app.read("name")), app.folder.join(entry));
        assert!(!app.folder.join("planted").exists());
    }

    #[test]
    fn shell_scripts_need_neither_x_bit_nor_first_line() {
        let app = App::new().args(AWKWARD).file("run.SH", REPORT);
        assert_eq!(app.wait("run.SH"), End::Code(7));
        assert_reported(&app, "run.SH");
    }

    #[test]
    fn programs_get_the_x_bit_that_their_installation_forgot() {
        for name in ["app", "App.AppImage", "app.bin", "app.exe"] {
            let script = format!("#!/bin/sh\n{REPORT}");
            let app = App::new().args(AWKWARD).file(name, &script);
            assert_eq!(app.wait(name), End::Code(7), "{name}");
            assert_reported(&app, name);
            let mode = fs::metadata(app.folder.join(name)).unwrap().permissions();
            assert_eq!(mode.mode() & 0o111, (mode.mode() & 0o444) >> 2, "{name}");
        }
    }

    #[test]
    fn binaries_run() {
        let app = App::new().args(&["-c", "exit 5"]);
        fs::copy("/bin/sh", app.folder.join("tool")).unwrap();
        assert_eq!(app.wait("tool"), End::Code(5));
    }

    #[test]
    fn batch_files_are_refused() {
        let app = App::new().file("run.bat", "").file("run.CMD", "");
        assert_eq!(code(app.resolve("run.bat")), Code::EntryInvalid);
        assert_eq!(code(app.resolve("run.CMD")), Code::EntryInvalid);
    }

    #[test]
    #[cfg_attr(
        emulated,
        ignore = "qemu: its fork has memory of its own, so that a failed start is not reported"
    )]
    fn what_the_system_would_not_start_is_explained() {
        let app = App::new()
            .file("text", "echo hello\n")
            .file("empty", "")
            .file("lost", "#!/no/such/interpreter -x\n")
            .file("dos", "#!/bin/sh\r\nexit 0\r\n")
            .file("broken", "\x7fELF\0\0\0\0 and no more");
        for (entry, hint) in [
            ("text", "#!"),
            ("empty", "#!"),
            ("lost", "\"/no/such/interpreter\""),
            ("dos", "\"/bin/sh\\r\""),
        ] {
            let error = app.resolve(entry).unwrap_err();
            assert_eq!(error.code(), Code::StartFailed, "{entry}");
            assert!(error.chain().contains(hint), "{}", error.chain());
        }
        let error = app.resolve("broken").unwrap().spawn().unwrap_err();
        assert_eq!(error.code(), Code::StartFailed);
    }

    #[test]
    fn links_may_lead_about_the_folder_but_not_out_of_it() {
        let app = App::new()
            .file("bin/real.sh", "exit 4")
            .file(".castoff/x", "");
        let outside = app.folder.with_file_name("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("evil.sh"), "exit 1").unwrap();
        symlink("bin/real.sh", app.folder.join("inner.sh")).unwrap();
        symlink(outside.join("evil.sh"), app.folder.join("evil.sh")).unwrap();
        symlink("../outside", app.folder.join("out")).unwrap();
        symlink("nowhere", app.folder.join("dangling.sh")).unwrap();
        symlink("round.sh", app.folder.join("round.sh")).unwrap();

        assert_eq!(app.wait("inner.sh"), End::Code(4));
        assert_eq!(code(app.resolve("evil.sh")), Code::EntryInvalid);
        assert_eq!(code(app.resolve("out/evil.sh")), Code::EntryInvalid);
        assert_eq!(code(app.resolve("dangling.sh")), Code::EntryMissing);
        assert_eq!(code(app.resolve("round.sh")), Code::Io);

        // The client folder itself may be a link, as `current` is.
        let link = app.folder.with_file_name("current");
        symlink(&app.folder, &link).unwrap();
        let launch = Launch {
            folder: &link,
            ..app.launch("inner.sh")
        };
        let prepared = resolve(&launch).unwrap();
        assert_eq!(prepared.path(), link.join("inner.sh"));
    }

    /// A stand-in for an interpreter, which says which one it is.
    fn fake(path: &Path, mode: u32) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let name = path.to_str().unwrap().replace('\'', "'\\''");
        fs::write(path, format!("#!/bin/sh\nprintf '%s' '{name}' > chosen\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn pythons_are_tried_in_order() {
        let app = App::new().file("main.py", "").file("main.pyw", "");
        let one = app.folder.with_file_name("one");
        let two = app.folder.with_file_name("two");
        let app = app.set("PATH", std::env::join_paths([&one, &two]).unwrap());
        // From the last to the first, so that each one goes before those already there.
        let order = [
            two.join("python"),
            one.join("python"),
            two.join("python3"),
            one.join("python3"),
            app.folder.join("venv/bin/python"),
            app.folder.join(".venv/bin/python"),
            app.folder.join("python/bin/python3"),
        ];
        for python in order {
            // Those of the client folder may have been installed without modes.
            let mode = if python.starts_with(&app.folder) {
                0o644
            } else {
                0o755
            };
            fake(&python, mode);
            for entry in ["main.py", "main.pyw"] {
                assert_eq!(app.wait(entry), End::Code(0));
                assert_eq!(Path::new(&app.read("chosen")), python);
            }
        }

        let configured = app.folder.join("own/py");
        fake(&configured, 0o755);
        let app = app.python("own/py");
        app.wait("main.py");
        assert_eq!(Path::new(&app.read("chosen")), configured);
        let app = app.python(two.join("python").to_str().unwrap());
        app.wait("main.py");
        assert_eq!(Path::new(&app.read("chosen")), two.join("python"));
        let app = app.python("python");
        app.wait("main.py");
        assert_eq!(Path::new(&app.read("chosen")), one.join("python"));
    }

    #[test]
    fn planted_interpreters_are_passed_over() {
        let app = App::new().file("main.py", "");
        let folder = app.folder.clone();
        fake(&folder.join("python3"), 0o755);
        fake(&folder.join("bin/python3"), 0o755);
        let link = folder.with_file_name("link");
        symlink(&folder, &link).unwrap();
        let outside = folder.with_file_name("outside");
        fake(&outside.join("python"), 0o755);
        fs::write(outside.join("python3"), "not executable").unwrap();

        let planted = [
            Path::new(""),
            Path::new("."),
            &folder,
            &folder.join("bin"),
            &link,
        ];
        let app = app.set("PATH", std::env::join_paths(planted).unwrap());
        assert_eq!(code(app.resolve("main.py")), Code::InterpreterMissing);

        let path = planted.into_iter().chain([outside.as_path()]);
        let app = app.set("PATH", std::env::join_paths(path).unwrap());
        app.wait("main.py");
        assert_eq!(Path::new(&app.read("chosen")), outside.join("python"));
    }

    #[test]
    fn the_environment_arrives() {
        let script = "printf '%s' \"$CASTOFF_CWD|$CASTOFF_FAIL|$KEPT\" > seen";
        let app = App::new()
            .file("run.sh", script)
            .set("CASTOFF_FAIL", "x")
            .set("KEPT", "日本 $(x)");
        let launch = Launch {
            cwd: Some(Path::new("/where it was")),
            ..app.launch("run.sh")
        };
        resolve(&launch).unwrap().spawn().unwrap().wait().unwrap();
        assert_eq!(app.read("seen"), "/where it was||日本 $(x)");
    }

    #[test]
    fn verdicts() {
        for (script, expected) in [
            ("exit 0", Verdict::Good { ended: Some(0) }),
            ("exit 1", Verdict::Unproven { code: 1 }),
            ("exit 126", Verdict::Unproven { code: 126 }),
            ("exit 139", Verdict::Unproven { code: 139 }),
            ("kill -KILL $$", Verdict::Unproven { code: 137 }),
            ("kill -TERM $$", Verdict::Unproven { code: 143 }),
            // Where that is ignored, as in the background job of a shell, a shell cannot change it.
            (
                "env --default-signal true 2>/dev/null && exec env --default-signal sh -c 'kill -INT $$'\n\
                 kill -INT $$",
                Verdict::Unproven { code: 130 },
            ),
        ] {
            let app = App::new().file("run.sh", script);
            assert_eq!(app.judge("run.sh"), expected, "{script}");
        }
        for (signal, name) in [
            ("SEGV", "SIGSEGV"),
            ("ABRT", "SIGABRT"),
            ("BUS", "SIGBUS"),
            ("ILL", "SIGILL"),
            ("FPE", "SIGFPE"),
            ("TRAP", "SIGTRAP"),
            ("SYS", "SIGSYS"),
        ] {
            let script = format!("ulimit -c 0\nkill -{signal} $$");
            let app = App::new().file("run.sh", &script);
            let Verdict::Failed { how } = app.judge("run.sh") else {
                panic!("{signal} is no failure");
            };
            assert!(how.contains(name), "{how}");
        }
    }

    #[test]
    fn an_app_that_runs_on_is_good_and_can_still_be_waited_for() {
        let mut app = App::new().file("run.sh", "read line < gate\nexit \"$line\"");
        app.run.trial = Duration::from_millis(100);
        assert!(mkfifo(&app.folder.join("gate")));
        let mut running = app.resolve("run.sh").unwrap().spawn().unwrap();
        let start = Instant::now();
        let verdict = running.judge(&app.run, &Proof::Alive).unwrap();
        assert_eq!(verdict, Some(Verdict::Good { ended: None }));
        assert!(start.elapsed() < LONG);
        fs::write(app.folder.join("gate"), "9\n").unwrap();
        assert_eq!(running.wait().unwrap(), End::Code(9));
    }

    fn mkfifo(path: &Path) -> bool {
        let made = Command::new("mkfifo").arg(path).status();
        made.is_ok_and(|status| status.success())
    }

    #[test]
    fn the_lock_stays_with_the_app() {
        // The app holds the only other handle, and gives it up when it ends.
        let app = App::new().file("run.sh", "read line < gate\n");
        assert!(mkfifo(&app.folder.join("gate")));
        let path = app.folder.join("lock");
        let lock = File::create(&path).unwrap();
        lock.lock_shared().unwrap();
        let launch = Launch {
            keep_open: Some(&lock),
            ..app.launch("run.sh")
        };
        let running = resolve(&launch).unwrap().spawn().unwrap();
        drop(lock);
        let other = File::open(&path).unwrap();
        let held = other.try_lock().is_err();
        // The app ends in any case: left behind, it would hold the test's output open.
        fs::write(app.folder.join("gate"), "\n").unwrap();
        running.wait().unwrap();
        assert!(held, "the app does not hold the lock");
        // Other tests start processes at the same time, which hold it for an instant.
        let start = Instant::now();
        while other.try_lock().is_err() {
            assert!(start.elapsed() < LONG, "somebody else holds the lock");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The launcher of the tests of signals: this test executable, which runs only this "test".
    /// By itself it does nothing.
    #[test]
    #[ignore = "the other tests start it"]
    fn as_launcher() {
        let Some(folder) = std::env::var_os("TEST_LAUNCHER_FOLDER") else {
            return;
        };
        let mut app = App::new();
        app.folder = folder.into();
        if std::env::var_os("TEST_LAUNCHER_EXEC").is_some() {
            let error = app.resolve("run.sh").unwrap().exec();
            panic!("{}", error.chain());
        }
        if app.folder.join("first.sh").exists() {
            app.wait("first.sh");
            signal_hook::low_level::raise(signal_hook::consts::SIGUSR1).unwrap();
        }
        let mut running = app.resolve("run.sh").unwrap().spawn().unwrap();
        app.run.trial = Duration::from_millis(1);
        running.judge(&app.run, &Proof::Alive).unwrap();
        running.wait().unwrap().pass_on();
    }

    /// Makes this test executable run that "test" alone.
    const AS_LAUNCHER: [&str; 5] = [
        "--exact",
        "entry::tests::unix::as_launcher",
        "--ignored",
        "--nocapture",
        "--test-threads=1",
    ];

    /// A command that starts with no signal ignored, whoever runs the tests: nohup, a service
    /// manager or a background job of a shell leave some so.
    fn settled(program: impl AsRef<OsStr>) -> Command {
        let known = |command: &mut Command| command.status().is_ok_and(|status| status.success());
        if known(Command::new("env").args(["--default-signal", "true"])) {
            let mut command = Command::new("env");
            command.arg("--default-signal").arg(program);
            command
        } else {
            Command::new(program)
        }
    }

    fn launcher(app: &App) -> Command {
        let mut command = settled(std::env::current_exe().unwrap());
        command
            .args(AS_LAUNCHER)
            .env("TEST_LAUNCHER_FOLDER", &app.folder);
        command
    }

    fn send(child: &Child, signal: &str) {
        let number = child.id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &number]).status();
        assert!(sent.unwrap().success());
    }

    /// Writes a line for each signal; ends after TERM, a while later, so that a second one would
    /// be seen.
    const COUNTING: &str = "for x in HUP INT QUIT USR1 USR2; do trap \"echo $x >> got\" $x; done\n\
                            trap 'echo TERM >> got; end=1' TERM\necho ready > ready\n\
                            while [ -z \"$end\" ]; do sleep 0.05; done\n\
                            for x in 1 2 3 4 5; do sleep 0.05; done\nexit 33\n";

    #[test]
    fn signals_are_passed_on_once() {
        let app = App::new().file("run.sh", COUNTING);
        let mut child = launcher(&app).spawn().unwrap();
        app.read_soon("ready");
        let mut expected = String::new();
        for signal in ["HUP", "INT", "QUIT", "USR1", "USR2", "TERM"] {
            send(&child, signal);
            expected.extend([signal, "\n"]);
            let start = Instant::now();
            while fs::read_to_string(app.folder.join("got")).unwrap_or_default() != expected {
                assert!(start.elapsed() < LONG, "{signal} was not passed on");
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        assert_eq!(child.wait().unwrap().code(), Some(33));
        assert_eq!(app.read("got"), expected);
    }

    #[test]
    fn the_launcher_ends_by_the_signal_that_ended_the_app() {
        use std::os::unix::process::ExitStatusExt;

        for signal in [15, 9, 11, 1] {
            let script = format!("ulimit -c 0\nkill -{signal} $$");
            let app = App::new().file("run.sh", &script);
            let status = launcher(&app).status().unwrap();
            assert_eq!(status.signal(), Some(signal));
            assert!(!status.core_dumped());
        }
    }

    #[test]
    fn a_signal_between_two_apps_reaches_the_second() {
        use std::os::unix::process::ExitStatusExt;

        let app = App::new()
            .file("first.sh", "exit 0")
            .file("run.sh", "exec sleep 60");
        let status = launcher(&app).status().unwrap();
        assert_eq!(status.signal(), Some(signal_hook::consts::SIGUSR1));
    }

    #[test]
    fn exec_becomes_the_app() {
        let app = App::new().file("run.sh", "echo $$ > pid\nexit 21\n");
        let mut command = launcher(&app);
        let mut child = command.env("TEST_LAUNCHER_EXEC", "1").spawn().unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(21));
        assert_eq!(app.read("pid").trim_end(), child.id().to_string());
    }

    #[cfg(target_os = "linux")]
    #[test]
    #[cfg_attr(emulated, ignore = "qemu: what is ignored is the emulator's own")]
    fn what_was_ignored_stays_ignored_and_nothing_else_is() {
        // The terminal's signals 2 and 3 as a shell ignores them for background jobs, 1 as nohup.
        let report = "exec grep SigIgn /proc/self/status > ignored";
        for (trap, expected) in [("", 0), ("trap '' HUP INT QUIT;", 0b111)] {
            let app = App::new().file("run.sh", report);
            let status = settled("/bin/sh")
                .arg("-c")
                .arg(format!("{trap} exec \"$0\" \"$@\""))
                .arg(std::env::current_exe().unwrap())
                .args(AS_LAUNCHER)
                .env("TEST_LAUNCHER_FOLDER", &app.folder)
                .status()
                .unwrap();
            assert!(status.success());
            let line = app.read("ignored");
            let set = line.trim_start_matches("SigIgn:").trim();
            let own = u64::from_str_radix(set, 16).unwrap() & 0xFFFF;
            assert_eq!(own, expected, "{line}");
        }
    }

    #[test]
    fn control_c_reaches_the_app_once_and_leaves_the_launcher() {
        if !has("python3") {
            return;
        }
        // The driver is the terminal: it types Ctrl+C, and later asks the launcher alone to end.
        let app = App::new().file("run.sh", COUNTING);
        let driver = "import os, pty, signal, sys, time\n\
            def until(name, text):\n\
            \x20   for _ in range(3000):\n\
            \x20       if os.path.exists(name) and open(name).read() == text: return\n\
            \x20       time.sleep(0.01)\n\
            \x20   sys.exit('no ' + text)\n\
            pid, terminal = pty.fork()\n\
            if pid == 0:\n\
            \x20   os.execvp(sys.argv[1], sys.argv[1:])\n\
            os.chdir(os.environ['TEST_LAUNCHER_FOLDER'])\n\
            until('ready', 'ready\\n')\n\
            os.write(terminal, b'\\x03')\n\
            until('got', 'INT\\n')\n\
            time.sleep(0.3)\n\
            os.kill(pid, signal.SIGTERM)\n\
            until('got', 'INT\\nTERM\\n')\n\
            status = os.waitpid(pid, 0)[1]\n\
            sys.exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 'killed')\n";
        let launcher = launcher(&app);
        let status = Command::new("python3")
            .args(["-c", driver])
            .arg(launcher.get_program())
            .args(launcher.get_args())
            .env("TEST_LAUNCHER_FOLDER", &app.folder)
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(33));
        assert_eq!(app.read("got"), "INT\nTERM\n");
    }

    #[test]
    fn existing_x_bits_are_left_alone() {
        let app = App::new().file("app", "#!/bin/sh\nexit 0\n");
        let app = executable(app, "app");
        let path = app.folder.join("app");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
        app.wait("app");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o750);
    }
}
