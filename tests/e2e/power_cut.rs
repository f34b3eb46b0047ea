//! The power fails at any moment; started again, the launcher finds either version whole, or makes
//! it so, and starts it.
//!
//! An update is run once, and every change that it makes to the disk is recorded. Then each state
//! in which a power cut could have left the disk (`model.rs`) is laid out in a folder, the launcher
//! is started there, without a server, and what it leaves is looked at: see [`check`].
//!
//! Then the record is looked at once more for each of its syncs, as if that one had not been made:
//! some state must fail then, or the sync is worth nothing, or the test is not.

#![expect(clippy::print_stdout, reason = "what was tried is told")]

mod model;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use castoff_testkit::http::Server;
use castoff_testkit::package::{Package, sha256};
use serde_json::Value;

use self::model::{Before, Moment, Record, State};
use crate::world::{ENTRY, Run, World, app, dying};

/// A version and its files; `None` where nothing is installed.
type Whole = Option<(String, BTreeMap<String, String>)>;

/// What was done, and what may be found when it is cut off.
struct Case {
    name: &'static str,
    record: Record,
    before: Whole,
    after: Whole,
    /// Until this step is reached, it is as before. Nothing tells of that moment in a restore, whose
    /// journal alone makes it.
    begins: Option<&'static str>,
    /// Once this step is reached, it is as after.
    ends: &'static str,
    /// The syncs from this step on are left out in turn.
    syncs_from: Option<&'static str>,
    /// The backup that is there as long as the version after it is.
    backup: Option<&'static str>,
}

/// What may be found at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Allowed {
    Before,
    Either,
    After,
}

const LINKED: &str = "it is a link: its content was durable before";

/// Syncs that may be left out without harm in any case, and why. (A star stands for anything.)
const SPARE: &[(&str, &str)] = &[
    ("fetch.*", "a package is hashed again before it is used"),
    (
        "commit.renamed: folder .",
        "it is synced with local_version.json",
    ),
    (
        "undo.paths: folder .",
        "it is synced with local_version.json",
    ),
    ("undo.paths: file *.png", LINKED),
    ("undo.paths: file *.sh", LINKED),
    ("undo.paths: file stays.py", LINKED),
    (
        "undo.paths: file \u{8bf4}\u{660e}.txt",
        "it was not replaced",
    ),
    ("undo.paths: file same.db", "it was not replaced"),
];

const CONFIG: &str = "[update]\nkeep = 1\nmutable = [\"plugin.py\"]";

/// Memory, where programs may be run from it: the replay needs what the disk holds, not the disk.
fn parent() -> PathBuf {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let usable = mounts.lines().any(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        fields[1] == "/dev/shm" && !fields[3].split(',').any(|option| option == "noexec")
    });
    if usable {
        PathBuf::from("/dev/shm")
    } else {
        PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
    }
}

fn world() -> World {
    World::inside(&parent(), Server::start(), CONFIG)
}

/// An app with files of every fate: replaced, removed, added, unchanged; of kinds that are written
/// in place and of others; in folders that stay, come and go.
fn versioned(version: &str) -> Package {
    app(version)
        .file("settings.ini", format!("of {version}"))
        .file("plugin.py", format!("# {version}"))
        .file("same.db", "the same")
        .file(&format!("data/deep/{version}.txt"), version)
        .file("data/deep/er/same.png", "the same picture")
        .file("data/deep/er/new.png", format!("picture {version}"))
}

/// `versions` were installed, and have run well; the user has files there.
fn installed(versions: &[&str]) -> World {
    let world = world();
    for &version in versions {
        world.publish(version, &versioned(version));
        world.run(&[]).assert_app(version);
    }
    world.write("notes.txt", "the user's own");
    world.write("data/mine.txt", "the user's, in a folder");
    world
}

/// 1.1.0, which brings a file of a name that the user has taken.
fn next() -> Package {
    versioned("1.1.0").file("notes.txt", "the release's")
}

fn whole(world: &World) -> Whole {
    match world.version() {
        version if version.starts_with('<') || version == "none" => None,
        version => Some((version, world.tree())),
    }
}

/// In which paths two trees differ, for people.
fn differences(found: &Whole, expected: &Whole) -> String {
    let none = (String::from("nothing"), BTreeMap::new());
    let (found, expected) = (
        found.as_ref().unwrap_or(&none),
        expected.as_ref().unwrap_or(&none),
    );
    let mut text = format!("found {}, expected {}\n", found.0, expected.0);
    let paths: BTreeSet<&String> = found.1.keys().chain(expected.1.keys()).collect();
    for path in paths {
        let (found, expected) = (found.1.get(path), expected.1.get(path));
        if found != expected {
            writeln!(text, "{path}: found {found:.60?}, expected {expected:.60?}").unwrap();
        }
    }
    text
}

/// Runs the launcher, recording what it does to the disk.
fn record(world: &World, args: &[&str], syncs: Syncs) -> (Record, Run) {
    let folder = world.home().join("record");
    fs::create_dir(&folder).unwrap();
    let before = Before::of(&world.client());
    let mut command = world.command(args);
    command.env("CASTOFF_RECORD", &folder);
    if syncs == Syncs::Each {
        command.env("CASTOFF_NO_SYNCFS", "1");
    }
    let run = Run::of(&mut command);
    (before.then(&world.client(), &folder), run)
}

/// How many files are synced at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Syncs {
    /// By one call, as Linux can.
    All,
    /// One by one, as everywhere else.
    Each,
}

/// A launcher in a folder in which states are laid out.
struct Bench {
    world: World,
}

impl Bench {
    fn new() -> Self {
        let world = world();
        let config = world.home().join("launcher.toml");
        let text = fs::read_to_string(&config).unwrap();
        // No server: the launcher recovers, and starts what is there.
        let text = text
            .replace(&world.server.url(""), "http://127.0.0.1:9")
            .replace("retries = 1", "retries = 0");
        fs::write(config, text).unwrap();
        Self { world }
    }

    /// Everything in the client folder but for the locks, and for how the last update went: an
    /// undo is told once.
    fn snapshot(&self) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        let mut folders = vec![self.world.client()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path
                    .strip_prefix(self.world.client())
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned();
                let metadata = fs::symlink_metadata(&path).unwrap();
                if metadata.is_dir() {
                    folders.push(path);
                    found.insert(name, String::new());
                } else if path.extension().is_none_or(|suffix| suffix != "lock") {
                    let bytes = fs::read(&path).unwrap_or_default();
                    if name == ".castoff/state.json" {
                        let mut state = self.world.state();
                        state["last"] = Value::Null;
                        found.insert(name, state.to_string());
                        continue;
                    }
                    found.insert(
                        name,
                        format!("{:?} {}", metadata.modified().unwrap(), sha256(&bytes)),
                    );
                }
            }
        }
        found
    }

    /// Lays a state out, starts the launcher there (twice for those that are in order), and says what
    /// is wrong.
    fn check(&self, case: &Case, state: &State, allowed: Allowed) -> Result<(), String> {
        let world = &self.world;
        case.record.lay_out(state, &world.client());
        let run = world.run(&[]);
        let found = whole(world);
        let version = |whole: &Whole| whole.as_ref().map(|(version, _)| version.clone());
        let is_after = match allowed {
            Allowed::Before => false,
            Allowed::Either => version(&found) == version(&case.after),
            Allowed::After => true,
        };
        let expected = if is_after { &case.after } else { &case.before };
        if found != *expected {
            return Err(format!("{}\n{run:#?}", differences(&found, expected)));
        }
        match expected {
            Some((version, _)) => {
                if run.code != Some(0) || !run.stdout.contains(&format!("app {version} ")) {
                    return Err(format!("{version} does not start: {run:#?}"));
                }
            }
            None => {
                if run.code == Some(0) || !run.stdout.is_empty() || !world.tree().is_empty() {
                    return Err(format!(
                        "something of an install: {:#?} {run:#?}",
                        world.tree()
                    ));
                }
            }
        }
        for name in ["journal.json", "staging", "backup", "restoring"] {
            if world.path(".castoff").join(name).exists() {
                return Err(format!("{name} was left behind: {run:#?}"));
            }
        }
        if let Some((version, tree)) = expected {
            self.check_list(version, tree)?;
        }
        self.check_backups(case, expected.as_ref().map(|(version, _)| version.as_str()))?;
        if !state.in_order {
            // Whatever it was, it is put in order now.
            return Ok(());
        }
        let before = self.snapshot();
        let again = world.run(&[]);
        if (again.code, &again.stdout) != (run.code, &run.stdout) || self.snapshot() != before {
            return Err(format!(
                "a second start changes something: {run:#?}\n{again:#?}"
            ));
        }
        Ok(())
    }

    /// The list of what is installed is of this version, and of what is there.
    fn check_list(&self, version: &str, tree: &BTreeMap<String, String>) -> Result<(), String> {
        let text = self.world.read(".castoff/installed.json");
        let list: Value = serde_json::from_str(&text).unwrap_or_default();
        let missing = |path: &&String| !tree.contains_key(*path);
        let files = list["files"].as_object();
        let wrong = files.map(|files| files.keys().filter(missing).collect::<Vec<_>>());
        if list["version"] != version || wrong.as_ref().is_none_or(|wrong| !wrong.is_empty()) {
            return Err(format!("installed.json is not of {version}: {wrong:?}"));
        }
        Ok(())
    }

    /// Whatever is described as a backup is whole, and the one that is needed is there.
    fn check_backups(&self, case: &Case, version: Option<&str>) -> Result<(), String> {
        let world = &self.world;
        let mut whole = Vec::new();
        for name in world.backups() {
            let folder = world.path(".backup").join(&name);
            let Ok(text) = fs::read(folder.join("backup.json")) else {
                continue;
            };
            let Ok(backup) = serde_json::from_slice::<Value>(&text) else {
                return Err(format!("the description of {name} is damaged"));
            };
            for list in [&backup["installed"]["files"], &backup["displaced"]] {
                for (path, record) in list.as_object().unwrap() {
                    let kept = fs::read(folder.join(path)).unwrap_or_default();
                    if record["content"]["file"]["sha256"] != sha256(&kept).as_str() {
                        return Err(format!("{path} in the backup {name} is damaged"));
                    }
                }
            }
            whole.push(name);
        }
        match case.backup {
            Some(needed)
                if version == case.after.as_ref().map(|after| after.0.as_str())
                    && !whole.iter().any(|name| name == needed) =>
            {
                Err(format!("no backup {needed} beside {version:?}: {whole:?}"))
            }
            _ => Ok(()),
        }
    }
}

impl Case {
    fn allowed(&self, after: usize) -> Allowed {
        if self.record.reached(self.ends, after) {
            Allowed::After
        } else if self
            .begins
            .is_none_or(|begins| self.record.reached(begins, after))
        {
            Allowed::Either
        } else {
            Allowed::Before
        }
    }

    /// What can be found when the power fails at any moment, each only once.
    fn states(&self, without: Option<usize>) -> Vec<(State, Allowed)> {
        let mut known = HashSet::new();
        let mut states = Vec::new();
        let from = without.map_or(0, |sync| sync + 1);
        for after in from..=self.record.len() {
            let allowed = self.allowed(after);
            for state in self.record.states(Moment { after, without }) {
                if known.insert((state.digest.clone(), allowed, state.lost_notes.clone())) {
                    states.push((state, allowed));
                }
            }
        }
        states
    }
}

type Verdict = Result<(), String>;

/// Checks states on two launchers at once, each state once. Stops at the first failure.
#[derive(Default)]
struct Checker {
    verdicts: Mutex<HashMap<(String, Allowed), Verdict>>,
    runs: AtomicUsize,
}

impl Checker {
    fn first_failure(
        &self,
        case: &Case,
        benches: &[Bench],
        states: &[(State, Allowed)],
    ) -> Verdict {
        let next = AtomicUsize::new(0);
        let failure = Mutex::new(Ok(()));
        std::thread::scope(|scope| {
            for bench in benches {
                scope.spawn(|| {
                    while failure.lock().unwrap().is_ok()
                        && let Some((state, allowed)) =
                            states.get(next.fetch_add(1, Ordering::Relaxed))
                    {
                        if !state.lost_notes.is_empty() {
                            let problem = format!("{}\nlost: {:?}", state.how, state.lost_notes);
                            *failure.lock().unwrap() = Err(problem);
                            return;
                        }
                        let key = (state.digest.clone(), *allowed);
                        let known = self.verdicts.lock().unwrap().get(&key).cloned();
                        let verdict = known.unwrap_or_else(|| {
                            self.runs.fetch_add(1, Ordering::Relaxed);
                            let verdict = bench.check(case, state, *allowed);
                            let verdict = verdict.map_err(|problem| {
                                format!("{}\n{allowed:?} allowed\n{problem}", state.how)
                            });
                            self.verdicts.lock().unwrap().insert(key, verdict.clone());
                            verdict
                        });
                        if verdict.is_err() {
                            *failure.lock().unwrap() = verdict;
                        }
                    }
                });
            }
        });
        failure.into_inner().unwrap()
    }
}

/// Whether a sync may be left out without harm, and why.
fn spare(name: &str, syncs: Syncs) -> Option<&'static str> {
    let matches = |(pattern, _): &&(&str, &str)| match pattern.split_once('*') {
        Some((begin, end)) => name.starts_with(begin) && name.ends_with(end),
        None => name == *pattern,
    };
    let one_by_one: &[(&str, &str)] = match syncs {
        Syncs::All => &[(
            "backup.synced: folder .",
            "the one call before it synced it",
        )],
        Syncs::Each => &[
            (
                "backup.filled: folder .castoff/staging/*",
                "a staged file is missed under its new name alone",
            ),
            (
                "backup.synced: folder .castoff/staging/*",
                "a staged file is missed under its new name alone",
            ),
            ("backup.synced: file .castoff/backup/*.png", LINKED),
            ("backup.synced: file .castoff/backup/*.txt", LINKED),
            ("backup.synced: file .castoff/backup/*.py", LINKED),
            ("backup.synced: file .castoff/backup/*.ini", LINKED),
            ("backup.synced: file .castoff/backup/*.sh", LINKED),
            ("backup.synced: file .castoff/backup/*.bin", LINKED),
        ],
    };
    let found = SPARE.iter().chain(one_by_one).find(matches);
    found.map(|(_, why)| *why)
}

/// Replays a case, and then once more without each of its syncs, which must fail; but for those
/// that can be [spared](spare).
fn replay(case: &Case, syncs: Syncs) {
    let begun = Instant::now();
    let benches = [Bench::new(), Bench::new()];
    let checker = Checker::default();
    let states = case.states(None);
    if let Err(problem) = checker.first_failure(case, &benches, &states) {
        panic!("{}: {problem}", case.name);
    }
    let mut report = format!(
        "{}, {syncs:?}: {} moments, {} states, {:.0?}\n",
        case.name,
        case.record.len() + 1,
        states.len(),
        begun.elapsed(),
    );
    let mut not_missed = Vec::new();
    for (sync, name) in case.record.syncs() {
        // What comes before is an update, and tried there; what comes after is the same with one
        // call as with many.
        let elsewhere = match syncs {
            Syncs::All => case
                .syncs_from
                .is_some_and(|from| !case.record.reached(from, sync)),
            Syncs::Each => case.record.reached("commit.journalled", sync),
        };
        let word = if elsewhere {
            continue;
        } else if let Some(why) = spare(&name, syncs) {
            format!("spare: {why}")
        } else {
            let mut states = case.states(Some(sync));
            // What is lost at once, or in the end, is found soonest.
            states.reverse();
            states.sort_by_key(|(state, _)| state.lost_notes.is_empty());
            if checker.first_failure(case, &benches, &states).is_ok() {
                not_missed.push(name.clone());
                "not missed".to_owned()
            } else {
                "missed".to_owned()
            }
        };
        writeln!(report, "  without {name} (change {sync}): {word}").unwrap();
    }
    println!(
        "{report}  {} states tried, {:.0?}",
        checker.runs.into_inner(),
        begun.elapsed()
    );
    assert!(
        not_missed.is_empty(),
        "{}: these syncs are not missed: {not_missed:#?}",
        case.name
    );
}

fn first_install(syncs: Syncs) -> Case {
    let world = world();
    world.publish("1.0.0", &versioned("1.0.0"));
    let (record, run) = record(&world, &[], syncs);
    run.assert_app("1.0.0");
    Case {
        name: "first install",
        record,
        before: None,
        after: whole(&world),
        begins: Some("commit.journalled"),
        ends: "commit.done",
        syncs_from: None,
        backup: None,
    }
}

fn update(syncs: Syncs) -> Case {
    // One backup too many, or the first one.
    let world = installed(match syncs {
        Syncs::All => &["0.9.0", "1.0.0"],
        Syncs::Each => &["1.0.0"],
    });
    let before = whole(&world);
    world.publish("1.1.0", &next());
    let (record, run) = record(&world, &[], syncs);
    run.assert_app("1.1.0");
    assert_eq!(world.backups(), ["1.0.0"]);
    Case {
        name: "update",
        record,
        before,
        after: whole(&world),
        begins: Some("commit.journalled"),
        ends: "commit.done",
        syncs_from: None,
        backup: Some("1.0.0"),
    }
}

fn failed_trial(syncs: Syncs) -> Case {
    // Its backup is the first one.
    let world = installed(&["1.0.0"]);
    let before = whole(&world);
    world.publish("1.1.0", &next().executable(ENTRY, dying()));
    let (record, run) = record(&world, &[], syncs);
    run.assert_app("1.0.0").assert_told("TRIAL_FAILED");
    let after = whole(&world);
    assert_eq!(before, after);
    Case {
        name: "failed trial",
        record,
        before,
        after,
        begins: Some("commit.journalled"),
        ends: "undo.done",
        syncs_from: Some("commit.done"),
        backup: None,
    }
}

fn recovery(syncs: Syncs) -> Case {
    let world = installed(&["0.9.0", "1.0.0"]);
    let before = whole(&world);
    world.publish("1.1.0", &next());
    world.run_failing("commit.trial=kill").assert_killed();
    world.server.unroute(crate::world::CHECK);
    let (record, run) = record(&world, &[], syncs);
    run.assert_app("1.0.0");
    let after = whole(&world);
    assert_eq!(before, after);
    Case {
        name: "recovery",
        record,
        before,
        after,
        begins: None,
        ends: "undo.done",
        syncs_from: None,
        backup: None,
    }
}

fn restore(syncs: Syncs) -> Case {
    let world = installed(&["0.9.0", "1.0.0"]);
    world.publish("1.1.0", &next());
    world.run(&[]).assert_app("1.1.0");
    let before = whole(&world);
    let (record, run) = record(&world, &["--castoff", "backups", "restore", "1.0.0"], syncs);
    assert_eq!(run.code, Some(0), "{run:#?}");
    Case {
        name: "restore",
        record,
        before,
        after: whole(&world),
        begins: None,
        ends: "undo.done",
        syncs_from: None,
        backup: Some("1.0.0"),
    }
}

#[test]
fn a_first_install_survives_a_power_cut() {
    replay(&first_install(Syncs::All), Syncs::All);
}

#[test]
fn an_update_survives_a_power_cut() {
    replay(&update(Syncs::All), Syncs::All);
}

#[test]
fn a_failed_trial_survives_a_power_cut() {
    replay(&failed_trial(Syncs::All), Syncs::All);
}

#[test]
fn a_recovery_survives_a_power_cut() {
    replay(&recovery(Syncs::All), Syncs::All);
}

#[test]
fn a_restore_survives_a_power_cut() {
    replay(&restore(Syncs::All), Syncs::All);
}

#[test]
fn a_first_install_with_single_syncs_survives_a_power_cut() {
    replay(&first_install(Syncs::Each), Syncs::Each);
}

#[test]
fn an_update_with_single_syncs_survives_a_power_cut() {
    replay(&update(Syncs::Each), Syncs::Each);
}
