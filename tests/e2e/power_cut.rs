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
use crate::world::{ENTRY, Layout, Run, World, app, dying, tree_of};

/// A version and its files; `None` where nothing is installed.
type Whole = Option<(String, Tree)>;

/// Paths, and what is there.
type Tree = BTreeMap<String, String>;

/// What was done, and what may be found when it is cut off.
struct Case {
    name: &'static str,
    layout: Layout,
    record: Record,
    before: Whole,
    after: Whole,
    /// In the snapshot layout: every version that was there before or is after.
    versions: BTreeMap<String, Tree>,
    /// In the snapshot layout: what was shared before, and is after.
    shared: [Tree; 2],
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

/// The same for one case of the snapshot layout.
const SPARE_SNAPSHOT: &[(&str, Syncs, &str, &str)] = &[
    (
        "first install",
        Syncs::All,
        "build.filled: folder shared*",
        "the one call after it syncs it, before the journal",
    ),
    (
        "first install",
        Syncs::Each,
        "build.filled: folder shared",
        "one of two: the next path that is shared syncs it again",
    ),
    (
        "update",
        Syncs::Each,
        "backup.synced: file .castoff/staging/*/stays.py",
        LINKED,
    ),
    (
        "update",
        Syncs::Each,
        "backup.synced: folder .",
        "nothing in it is new: a first install misses it",
    ),
    (
        "recovery",
        Syncs::All,
        "prune.gone: folder versions",
        "the journal leads to the version again, and goes after it",
    ),
];

fn config(layout: Layout) -> &'static str {
    match layout {
        Layout::InPlace => "[update]\nkeep = 1\nmutable = [\"plugin.py\"]",
        Layout::Snapshot => {
            "[update]\nkeep = 0\nmutable = [\"plugin.py\"]\n\
             preserve = [\"settings.ini\", \"data/deep/er/\"]"
        }
    }
}

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

fn world(layout: Layout) -> World {
    World::inside(&parent(), Server::start(), "").change_layout(layout, config(layout))
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
fn installed(layout: Layout, versions: &[&str]) -> World {
    let world = world(layout);
    for &version in versions {
        world.publish(version, &versioned(version));
        world.run(&[]).assert_app(version);
    }
    let users = match layout {
        Layout::InPlace => "",
        Layout::Snapshot => "versions/current/",
    };
    world.write(&format!("{users}notes.txt"), "the user's own");
    world.write(&format!("{users}data/mine.txt"), "the user's, in a folder");
    world
}

/// 1.1.0, which brings a file of a name that the user has taken.
fn next() -> Package {
    versioned("1.1.0").file("notes.txt", "the release's")
}

fn whole(world: &World) -> Whole {
    match world.version() {
        version if version.starts_with('<') || version == "none" => None,
        version => {
            let mut tree = world.tree();
            let previous = fs::read_link(world.path("versions/previous"));
            tree.extend(previous.map(|to| (String::from("previous"), to.display().to_string())));
            Some((version, tree))
        }
    }
}

/// The versions of the snapshot layout, and what is in them.
fn versions(world: &World) -> BTreeMap<String, Tree> {
    let entries = fs::read_dir(world.path("versions")).into_iter().flatten();
    let folders = entries
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_dir());
    folders
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, tree_of(&entry.path()))
        })
        .collect()
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

/// Runs the launcher, recording what it does to the disk. A case that is told nothing more is one
/// of going back.
fn record(
    name: &'static str,
    world: &World,
    layout: Layout,
    args: &[&str],
    syncs: Syncs,
) -> (Case, Run) {
    let folder = world.home().join("record");
    fs::create_dir(&folder).unwrap();
    let shared = || tree_of(&world.path("shared"));
    let (whole_before, shared_before) = (whole(world), shared());
    let mut versions_there = versions(world);
    let before = Before::of(&world.client());
    let mut command = world.command(args);
    command.env("CASTOFF_RECORD", &folder);
    if syncs == Syncs::Each {
        command.env("CASTOFF_NO_SYNCFS", "1");
    }
    let run = Run::of(&mut command);
    versions_there.extend(versions(world));
    let case = Case {
        name,
        layout,
        record: before.then(&world.client(), &folder),
        before: whole_before,
        after: whole(world),
        versions: versions_there,
        shared: [shared_before, shared()],
        begins: None,
        ends: "undo.done",
        syncs_from: None,
        backup: None,
    };
    (case, run)
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
    fn new(layout: Layout) -> Self {
        let world = world(layout);
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
        // Services follow the links before anybody starts the launcher.
        self.check_links(case)
            .map_err(|problem| format!("before a start: {problem}"))?;
        let before = state.in_order.then(|| self.snapshot());
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
        for name in ["journal.json", "staging", "backup", "restoring", "gone"] {
            if world.path(".castoff").join(name).exists() {
                return Err(format!("{name} was left behind: {run:#?}"));
            }
        }
        match (case.layout, expected) {
            (Layout::InPlace, Some((version, tree))) => self.check_list(version, tree)?,
            (Layout::InPlace, None) => {}
            (Layout::Snapshot, _) => self.check_versions(case, is_after)?,
        }
        self.check_backups(case, expected.as_ref().map(|(version, _)| version.as_str()))?;
        let after = before.as_ref().map(|_| self.snapshot());
        if before == after {
            // Whatever it was, it is put in order now; or it was in order, and was left so.
            return Ok(());
        }
        let again = world.run(&[]);
        if (again.code, &again.stdout) != (run.code, &run.stdout) || Some(self.snapshot()) != after
        {
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

    /// Where `current` and `previous` lead, a version is, and it is whole.
    fn check_links(&self, case: &Case) -> Result<(), String> {
        let folder = self.world.path("versions");
        for link in ["current", "previous"] {
            let Ok(target) = fs::read_link(folder.join(link)) else {
                continue;
            };
            let name = target.to_str().unwrap();
            let found = Some((name.to_owned(), tree_of(&folder.join(name))));
            let expected = case.versions.get_key_value(name);
            let expected = expected.map(|(name, tree)| (name.clone(), tree.clone()));
            if found != expected {
                return Err(format!("{link}: {}", differences(&found, &expected)));
            }
        }
        Ok(())
    }

    /// Every version is whole, has the list that is of it if it has one, and the current one has;
    /// what was shared is.
    fn check_versions(&self, case: &Case, is_after: bool) -> Result<(), String> {
        let world = &self.world;
        self.check_links(case)?;
        for name in [".current.new", ".previous.new"] {
            if fs::symlink_metadata(world.path("versions").join(name)).is_ok() {
                return Err(format!("{name} was left behind"));
            }
        }
        let current = fs::read_link(world.path("versions/current")).unwrap_or_default();
        for (name, tree) in versions(world) {
            if case.versions.get(&name) != Some(&tree) {
                return Err(format!("{name} is not whole: {tree:#?}"));
            }
            let text = world.read(&format!(".castoff/versions/{name}.json"));
            if text.is_empty() && current.to_str() != Some(&name) {
                continue;
            }
            let list: Value = serde_json::from_str(&text)
                .map_err(|error| format!("the list of {name} is damaged: {error}"))?;
            for (path, record) in list["files"].as_object().unwrap() {
                let kept = fs::read(world.path("versions").join(&name).join(path));
                let digest = &record["content"]["file"]["sha256"];
                if !digest.is_null() && *digest != sha256(&kept.unwrap_or_default()).as_str() {
                    return Err(format!("the list of {name} is not of its {path}"));
                }
            }
        }
        let found = tree_of(&world.path("shared"));
        for (path, content) in &case.shared[usize::from(is_after)] {
            if found.get(path) != Some(content) {
                return Err(format!("shared/{path}: {:?}", found.get(path)));
            }
        }
        // What is there is not made again.
        let [before, after] = &case.shared;
        for (path, content) in &found {
            if ![before.get(path), after.get(path)].contains(&Some(content)) {
                return Err(format!("shared/{path} is damaged: {content}"));
            }
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
fn spare(case: &Case, name: &str, syncs: Syncs) -> Option<&'static str> {
    let matches = |pattern: &str| match pattern.split_once('*') {
        Some((begin, end)) => name.starts_with(begin) && name.ends_with(end),
        None => name == pattern,
    };
    let of_case = SPARE_SNAPSHOT.iter().find(|(of, with, pattern, _)| {
        case.layout == Layout::Snapshot && (*of, *with) == (case.name, syncs) && matches(pattern)
    });
    if let Some((.., why)) = of_case {
        return Some(why);
    }
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
    let mut all = SPARE.iter().chain(one_by_one);
    let found = all.find(|(pattern, _)| matches(pattern));
    found.map(|(_, why)| *why)
}

/// Replays a case, and then once more without each of its syncs, which must fail; but for those
/// that can be [spared](spare).
fn replay(case: &Case, syncs: Syncs) {
    let begun = Instant::now();
    let benches = [Bench::new(case.layout), Bench::new(case.layout)];
    let checker = Checker::default();
    let states = case.states(None);
    if let Err(problem) = checker.first_failure(case, &benches, &states) {
        panic!("{}: {problem}", case.name);
    }
    let mut report = format!(
        "{} ({:?}), {syncs:?}: {} moments, {} states, {:.0?}\n",
        case.name,
        case.layout,
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
        } else if let Some(why) = spare(case, &name, syncs) {
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

/// A case of a commit.
fn committing(case: Case) -> Case {
    Case {
        begins: Some("commit.journalled"),
        ends: "commit.done",
        ..case
    }
}

fn first_install(layout: Layout, syncs: Syncs) -> Case {
    let world = world(layout);
    world.publish("1.0.0", &versioned("1.0.0"));
    let (case, run) = record("first install", &world, layout, &[], syncs);
    run.assert_app("1.0.0");
    committing(case)
}

fn update(layout: Layout, syncs: Syncs) -> Case {
    // One older version too many, or the first one.
    let world = installed(
        layout,
        match syncs {
            Syncs::All => &["0.9.0", "1.0.0"],
            Syncs::Each => &["1.0.0"],
        },
    );
    world.publish("1.1.0", &next());
    let (case, run) = record("update", &world, layout, &[], syncs);
    run.assert_app("1.1.0");
    let backup = match layout {
        Layout::InPlace => {
            assert_eq!(world.backups(), ["1.0.0"]);
            Some("1.0.0")
        }
        Layout::Snapshot => {
            assert!(!world.path("versions/v0.9.0").exists());
            None
        }
    };
    Case {
        backup,
        ..committing(case)
    }
}

fn failed_trial(layout: Layout, syncs: Syncs) -> Case {
    // Its backup is the first one.
    let world = installed(layout, &["1.0.0"]);
    world.publish("1.1.0", &next().executable(ENTRY, dying()));
    let (case, run) = record("failed trial", &world, layout, &[], syncs);
    run.assert_app("1.0.0").assert_told("TRIAL_FAILED");
    assert_eq!(case.before, case.after);
    // The version that failed is there for a while.
    let mut versions = case.versions;
    if layout == Layout::Snapshot {
        let twin = installed(layout, &["1.0.0"]);
        twin.publish("1.1.0", &next().executable(ENTRY, dying()));
        twin.run_failing("commit.done=kill").assert_killed();
        versions.extend(self::versions(&twin));
    }
    Case {
        begins: Some("commit.journalled"),
        syncs_from: Some("commit.done"),
        versions,
        ..case
    }
}

fn recovery(layout: Layout, syncs: Syncs) -> Case {
    let world = installed(layout, &["0.9.0", "1.0.0"]);
    let before = whole(&world);
    world.publish("1.1.0", &next());
    world.run_failing("commit.trial=kill").assert_killed();
    world.server.unroute(crate::world::CHECK);
    let (case, run) = record("recovery", &world, layout, &[], syncs);
    run.assert_app("1.0.0");
    assert_eq!(before, case.after);
    Case { before, ..case }
}

fn going_back(layout: Layout, syncs: Syncs) -> Case {
    let world = installed(layout, &["0.9.0", "1.0.0"]);
    world.publish("1.1.0", &next());
    world.run(&[]).assert_app("1.1.0");
    let args: &[&str] = match layout {
        Layout::InPlace => &["--castoff", "backups", "restore", "1.0.0"],
        Layout::Snapshot => &["--castoff", "rollback"],
    };
    let (case, run) = record("going back", &world, layout, args, syncs);
    assert_eq!(run.code, Some(0), "{run:#?}");
    Case {
        backup: (layout == Layout::InPlace).then_some("1.0.0"),
        ..case
    }
}

/// The cases of a layout, each a test of its own.
macro_rules! cases {
    ($layout:ident: $($name:ident = $case:ident, $syncs:ident;)*) => {
        $(#[test]
        fn $name() {
            replay(&$case(Layout::$layout, Syncs::$syncs), Syncs::$syncs);
        })*
    };
}

cases! { InPlace:
    a_first_install_survives_a_power_cut = first_install, All;
    an_update_survives_a_power_cut = update, All;
    a_failed_trial_survives_a_power_cut = failed_trial, All;
    a_recovery_survives_a_power_cut = recovery, All;
    a_restore_survives_a_power_cut = going_back, All;
    a_first_install_with_single_syncs_survives_a_power_cut = first_install, Each;
    an_update_with_single_syncs_survives_a_power_cut = update, Each;
}

cases! { Snapshot:
    a_first_snapshot_survives_a_power_cut = first_install, All;
    a_new_snapshot_survives_a_power_cut = update, All;
    a_failed_snapshot_survives_a_power_cut = failed_trial, All;
    a_recovery_of_snapshots_survives_a_power_cut = recovery, All;
    a_rollback_to_a_snapshot_survives_a_power_cut = going_back, All;
    a_first_snapshot_with_single_syncs_survives_a_power_cut = first_install, Each;
    a_new_snapshot_with_single_syncs_survives_a_power_cut = update, Each;
}
