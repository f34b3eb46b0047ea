//! Real commands of the system's shell.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::*;
use crate::Code;

/// Long enough for a shell to start and end on a busy machine.
const LONG: Duration = Duration::from_mins(1);

/// A client folder with a name that a shell would take apart.
struct World {
    _root: tempfile::TempDir,
    folder: PathBuf,
    environment: Vec<(OsString, OsString)>,
    timeout: Duration,
}

impl World {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("My App 客户端");
        fs::create_dir(&folder).unwrap();
        let mut environment: Vec<_> = std::env::vars_os().collect();
        environment.push(("CASTOFF_SOURCE_HEADERS".into(), "X: secret".into()));
        environment.push(("KEPT".into(), "as it is".into()));
        Self {
            _root: root,
            folder,
            environment,
            timeout: LONG,
        }
    }

    fn occasion(&self) -> Occasion<'_> {
        Occasion {
            client_dir: &self.folder,
            app_dir: &self.folder,
            staged_dir: None,
            from: None,
            to: None,
            reason: None,
            python: None,
        }
    }

    fn run(&self, lines: &[&str]) -> Result<()> {
        self.run_at(&self.occasion(), lines)
    }

    fn run_at(&self, occasion: &Occasion<'_>, lines: &[&str]) -> Result<()> {
        let runner = Runner {
            environment: &self.environment,
            timeout: self.timeout,
            keep_open: None,
        };
        let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
        let lines: Vec<&String> = lines.iter().collect();
        run(Hook::AfterCommit, &lines, &runner, occasion)
    }

    fn problem(&self, lines: &[&str]) -> String {
        let error = self.run(lines).unwrap_err();
        assert_eq!(error.code(), Code::HookFailed);
        assert!(error.to_string().starts_with("hook after_commit: "));
        error.to_string()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join(name)).unwrap()
    }
}

#[test]
fn commands_run_in_their_order_and_the_first_failure_ends_them() {
    let world = World::new();
    world.run(&["echo one> log", "echo two>> log"]).unwrap();
    assert_eq!(
        world.read("log").split_whitespace().collect::<Vec<_>>(),
        ["one", "two"]
    );

    let problem = world.problem(&[
        "echo three>> log",
        "echo no such table&& exit 7",
        "echo four>> log",
    ]);
    assert!(
        problem.contains("exit code 7; last output: no such table"),
        "{problem}"
    );
    assert!(world.read("log").contains("three") && !world.read("log").contains("four"));
}

#[test]
fn commands_are_told_what_is_documented_and_nothing_of_the_launchers_own() {
    let world = World::new();
    let (from, to) = ("1.0.0".parse().unwrap(), "1.1.0".parse().unwrap());
    let staged = world.folder.join(".castoff").join("staging");
    let occasion = Occasion {
        from: Some(&from),
        to: Some(&to),
        staged_dir: Some(&staged),
        reason: Some("signal 11"),
        python: Some(Path::new("/opt/python")),
        ..world.occasion()
    };
    let print = if cfg!(windows) {
        "set> env"
    } else {
        "env > env"
    };
    world.run_at(&occasion, &[print]).unwrap();
    let told = world.read("env");
    for expected in [
        "CASTOFF_HOOK=after_commit".to_owned(),
        "CASTOFF_FROM=1.0.0".to_owned(),
        "CASTOFF_TO=1.1.0".to_owned(),
        "CASTOFF_REASON=signal 11".to_owned(),
        "CASTOFF_PYTHON=/opt/python".to_owned(),
        "KEPT=as it is".to_owned(),
    ] {
        assert!(
            told.lines().any(|line| line == expected),
            "{expected} in {told}"
        );
    }
    for folder in [
        "CASTOFF_CLIENT_DIR=",
        "CASTOFF_APP_DIR=",
        "CASTOFF_STAGED_DIR=",
    ] {
        assert!(told.contains(folder), "{folder} in {told}");
    }
    assert!(!told.contains("secret"));

    world.run(&[print]).unwrap();
    for absent in [
        "CASTOFF_FROM",
        "CASTOFF_TO",
        "CASTOFF_STAGED_DIR",
        "CASTOFF_REASON",
    ] {
        assert!(!world.read("env").contains(absent), "{absent}");
    }
}

#[test]
fn a_quoted_command_line_reaches_the_shell_as_it_was_written() {
    let world = World::new();
    fs::create_dir(world.folder.join("two words")).unwrap();
    world
        .run(&[r#"cd "two words"&& echo "a b"> "c d""#])
        .unwrap();
    assert!(world.read("two words/c d").contains("a b"));
}

#[cfg(unix)]
mod on_unix {
    use super::*;

    /// Whether a process is there that has this text in its command line.
    fn is_running(marker: &str) -> bool {
        fs::read_dir("/proc").unwrap().any(|entry| {
            let line = fs::read(entry.unwrap().path().join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(marker)
        })
    }

    #[test]
    fn a_command_that_outlives_its_time_is_ended_with_what_it_started() {
        let mut world = World::new();
        world.timeout = Duration::from_millis(500);
        let begun = Instant::now();
        let problem = world.problem(&["echo working; sleep 987.654 & sleep 987.654"]);
        assert!(begun.elapsed() < LONG);
        assert!(
            problem.contains("did not end within 0.5 s; last output: working"),
            "{problem}"
        );
        #[cfg(target_os = "linux")]
        assert!(!is_running("987.654"));
    }

    #[test]
    fn one_that_does_not_listen_is_killed() {
        let mut world = World::new();
        world.timeout = Duration::from_millis(500);
        let line = "trap '' TERM; (trap '' TERM; sleep 986.543; echo no) & while :; do sleep 986.543; done";
        assert!(world.problem(&[line]).contains("did not end within"));
        #[cfg(target_os = "linux")]
        assert!(!is_running("986.543"));
    }

    #[test]
    fn what_a_command_leaves_running_keeps_nobody_waiting() {
        let world = World::new();
        let begun = Instant::now();
        // It keeps the pipe open, and says something long after.
        world
            .run(&["(sleep 20; echo late) & echo $! > pid"])
            .unwrap();
        assert!(begun.elapsed() < Duration::from_secs(15));
        let pid = world.read("pid");
        let killed = std::process::Command::new("kill").arg(pid.trim()).status();
        assert!(killed.unwrap().success(), "it is still there");
    }

    #[test]
    fn output_is_broken_into_lines_cleaned_and_bounded() {
        let world = World::new();
        let flood = "i=0; while [ $i -lt 20000 ]; do echo \"line $i of many, many, many lines\"; i=$((i+1)); done";
        let problem = world.problem(&[&format!("{flood}; exit 1")]);
        assert!(
            problem.contains("line 19999 of") && !problem.contains("line 19990 of"),
            "{problem}"
        );

        let problem = world
            .problem(&[r"printf 'a\033[31mred\tb\n10 %%\r99 %%\r100 %%\r\n\n\377x\n'; exit 1"]);
        assert!(
            problem.ends_with("last output: a[31mred b / 100 % / \u{fffd}x"),
            "{problem:?}"
        );

        let problem = world.problem(&["head -c 2500 /dev/zero | tr '\\0' x; exit 1"]);
        let lines: Vec<_> = problem
            .split("last output: ")
            .nth(1)
            .unwrap()
            .split(" / ")
            .map(str::len)
            .collect();
        assert_eq!(lines, [1000, 1000, 500]);
    }

    #[test]
    fn a_signal_is_named_and_a_folder_that_is_not_there_is_a_failure() {
        let world = World::new();
        assert!(world.problem(&["kill -9 $$"]).contains("ended by signal 9"));
        let nowhere = world.folder.join("nowhere");
        let occasion = Occasion {
            app_dir: &nowhere,
            ..world.occasion()
        };
        assert_eq!(
            world.run_at(&occasion, &["true"]).unwrap_err().code(),
            Code::HookFailed
        );
    }

    #[test]
    fn a_lock_is_held_for_as_long_as_the_command_runs() {
        let world = World::new();
        let path = world.folder.join("lock");
        let lock = fs::File::create(&path).unwrap();
        lock.lock().unwrap();
        let runner = Runner {
            environment: &world.environment,
            timeout: LONG,
            keep_open: Some(&lock),
        };
        let command = runner.shell("sleep 30 >/dev/null 2>&1 & echo $! > pid", &world.folder);
        runner.run(command, "test").unwrap();
        drop(lock);
        let other = fs::File::open(&path).unwrap();
        assert!(other.try_lock().is_err(), "what was left running has it");
        let pid = world.read("pid");
        std::process::Command::new("kill")
            .arg(pid.trim())
            .status()
            .unwrap();
        other.lock().unwrap();
    }
}

#[cfg(windows)]
#[test]
fn a_command_that_outlives_its_time_is_ended() {
    let mut world = World::new();
    world.timeout = Duration::from_millis(500);
    let begun = Instant::now();
    // Without a console `timeout` does not wait.
    let problem = world.problem(&["ping -n 300 127.0.0.1"]);
    assert!(begun.elapsed() < LONG);
    assert!(problem.contains("did not end within"), "{problem}");
}
