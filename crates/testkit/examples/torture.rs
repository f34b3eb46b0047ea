//! Kills the launcher at random moments, again and again, and looks at what is left.
//!
//! ```text
//! torture LAUNCHER KILLS [--seed N] [A B]
//! ```
//!
//! `LAUNCHER` is the executable as it is shipped, without fail points. `A` and `B` are two versions of
//! an app, each a folder or a zip; without them two versions of 200 files are made up.
//!
//! The launcher updates from one to the other and back, for ever, one folder in each layout, both at
//! the same time. It is killed at a moment between its start and 1.1 times what an undisturbed update
//! takes: half of the times alone, half together with the app that it may have started. Then it is
//! started again, with the server or without, and must end with 0, start the app of one version, whose
//! files are that version's and the user's own, bit for bit; without a server, the old one until the
//! journal has gone and the new one after; with one, the new one.
//!
//! A histogram says what was found on the disk after the kills. Ends with 1 at the first fault, and
//! says where the folder is. The moments follow from the seed; what the launcher has got to by then
//! depends on the machine.

fn main() -> std::process::ExitCode {
    #[cfg(unix)]
    return torture::main();
    #[cfg(not(unix))]
    panic!("links, modes and process groups are those of Unix");
}

#[cfg(unix)]
#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program whose product is what it prints"
)]
mod torture {
    use std::collections::BTreeMap;
    use std::fs::{self, File};
    use std::io::Read;
    use std::os::unix::process::CommandExt;
    use std::path::{Path, PathBuf};
    use std::process::{Child, Command, ExitCode, Output, Stdio};
    use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

    use castoff_testkit::http::{Reply, Server};
    use castoff_testkit::package::{Built, Node, Package, Tree};
    use rustix::process::{Pid, Signal, kill_process_group};
    use serde_json::{Value, json};

    const CHECK: &str = "/active/";
    /// Undisturbed updates that are timed before the first kill.
    const TIMED: usize = 6;
    /// What the tool adds to each version: a script that says its version, a link with another
    /// target in each, and what it leads to.
    const ENTRY: &str = "castoff-torture/start.sh";
    const LINK: &str = "castoff-torture/version";
    /// A file of the user's among the app's.
    const OWN: &str = "castoff-torture/own.txt";
    const OWN_TEXT: &str = "the user's\n";

    type Result<T> = std::result::Result<T, String>;

    pub(super) fn main() -> ExitCode {
        let mut seed = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let mut args: Vec<String> = std::env::args().skip(1).collect();
        if let Some(place) = args.iter().position(|arg| arg == "--seed") {
            match args.get(place + 1).and_then(|arg| arg.parse().ok()) {
                Some(given) => seed = given,
                None => return usage(),
            }
            args.drain(place..place + 2);
        }
        let (launcher, kills, apps) = match &args[..] {
            [launcher, kills] => (launcher, kills, ["1.0.0", "1.1.0"].map(made_up)),
            [launcher, kills, a, b] => (launcher, kills, [a, b].map(|path| read(path.as_ref()))),
            _ => return usage(),
        };
        let Ok(kills) = kills.parse::<usize>() else {
            return usage();
        };
        let [a, b] = apps;
        let versions = [Version::new("1.0.0", a), Version::new("1.1.0", b)];
        let [old, new] = versions.each_ref().map(|version| version.built.files.len());
        println!("{kills} kills, seed {seed}, {old} and {new} files");
        let worlds = [
            (
                World::new(launcher.as_ref(), "in-place", &versions),
                kills / 2,
            ),
            (
                World::new(launcher.as_ref(), "snapshot", &versions),
                kills - kills / 2,
            ),
        ];
        let whole = std::thread::scope(|scope| {
            let versions = &versions;
            let runs = worlds.map(|(world, kills)| {
                scope.spawn(move || torture(world, versions, kills, Random(seed)))
            });
            runs.map(|run| run.join().unwrap_or(false)) == [true; 2]
        });
        ExitCode::from(u8::from(!whole))
    }

    fn usage() -> ExitCode {
        eprintln!("torture LAUNCHER KILLS [--seed N] [A B]");
        ExitCode::from(2)
    }

    /// Kills the launcher so many times in one world; whether it always came back.
    fn torture(world: World, versions: &[Version; 2], kills: usize, mut random: Random) -> bool {
        let mut histogram = Histogram::default();
        let result = world.prepare(versions).and_then(|cycle| {
            for number in 1..=kills {
                let moment = cycle.mul_f64(random.fraction() * 1.1);
                let blow = Blow {
                    moment,
                    with_app: random.below(2) == 0,
                    offline: random.below(2) == 0,
                };
                let (found, came_out) = world
                    .survive(&blow, versions)
                    .map_err(|fault| format!("kill {number}, {blow:?}: {fault}"))?;
                *histogram
                    .entry(found)
                    .or_default()
                    .entry(came_out)
                    .or_default() += 1;
            }
            Ok(cycle)
        });
        match result {
            Ok(cycle) => {
                let table = table(&histogram);
                println!("\n{}: an update takes {cycle:.0?}\n{table}", world.layout);
                true
            }
            Err(fault) => {
                let folder = world.home.keep();
                eprintln!("{}: {fault}\nin {}", world.layout, folder.display());
                false
            }
        }
    }

    /// One kill, and the start after it.
    #[derive(Debug)]
    struct Blow {
        /// The time from the launcher's start to the kill.
        moment: Duration,
        /// Whether the app that the launcher has started is killed with it.
        with_app: bool,
        /// Whether the server is gone when the launcher is started again.
        offline: bool,
    }

    /// What the disk says after a kill, in the order in which an update comes by it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    enum Found {
        Nothing,
        Part,
        Package,
        Staging,
        BackingUp,
        Journal,
        Trial,
        Done,
        /// The launcher was faster than the kill.
        Ended,
    }

    impl Found {
        fn as_str(self) -> &'static str {
            match self {
                Self::Nothing => "nothing begun",
                Self::Part => "a part of the package",
                Self::Package => "the package",
                Self::Staging => "staging",
                Self::BackingUp => "half a backup",
                Self::Journal => "the journal",
                Self::Trial => "committed, on trial",
                Self::Done => "committed, confirmed",
                Self::Ended => "ended before the kill",
            }
        }
    }

    /// Which version the next start has come to.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    enum CameOut {
        OfflineOld,
        OfflineNew,
        OnlineNew,
    }

    type Histogram = BTreeMap<Found, BTreeMap<CameOut, usize>>;

    fn table(histogram: &Histogram) -> String {
        let mut lines = vec![
            "| found after the kill | kills | offline: old | offline: new | online: new |"
                .to_owned(),
            "|---|---:|---:|---:|---:|".to_owned(),
        ];
        for (found, counts) in histogram {
            let count = |came_out| counts.get(&came_out).copied().unwrap_or(0);
            lines.push(format!(
                "| {} | {} | {} | {} | {} |",
                found.as_str(),
                counts.values().sum::<usize>(),
                count(CameOut::OfflineOld),
                count(CameOut::OfflineNew),
                count(CameOut::OnlineNew),
            ));
        }
        lines.join("\n")
    }

    /// A version as it is published, and as it must lie on the disk.
    struct Version {
        name: &'static str,
        built: Built,
        tree: Tree,
    }

    impl Version {
        fn new(name: &'static str, mut files: Tree) -> Self {
            let script = format!("#!/bin/sh\necho \"app {name} $CASTOFF_VERSION\"\nsleep 0.03\n");
            let target = format!("{name}.txt");
            let nodes = &mut files.0;
            nodes.insert(ENTRY.to_owned(), Node::File(0o755, script.into_bytes()));
            nodes.insert(LINK.to_owned(), Node::Link(target.clone()));
            let content = Node::File(0o644, name.into());
            nodes.insert(format!("castoff-torture/{target}"), content);

            let mut package = Package::new(name).list();
            for (path, node) in nodes.iter() {
                package = match node {
                    Node::File(0o755, content) => package.executable(path, content),
                    Node::File(_, content) => package.file(path, content),
                    Node::Link(target) => package.link(path, target),
                    Node::Folder(_) => package,
                };
            }
            nodes.insert(OWN.to_owned(), Node::File(0o644, OWN_TEXT.into()));
            let folders: Vec<String> = nodes
                .keys()
                .flat_map(|path| {
                    path.match_indices('/')
                        .map(|(end, _)| path[..end].to_owned())
                })
                .collect();
            nodes.extend(folders.into_iter().map(|path| (path, Node::Folder(0o755))));
            Self {
                name,
                built: package.build(),
                tree: files,
            }
        }

        fn media(&self) -> String {
            format!("/{}.zip", self.name)
        }

        fn answer(&self) -> Value {
            json!({
                "version": self.name, "file": self.media(), "entry_point": ENTRY,
                "file_size": self.built.size, "file_hash": self.built.sha256,
            })
        }
    }

    /// 197 files of all kinds, 200 with what the tool adds. Half of them differ between versions, and
    /// one in ten is in one version alone.
    fn made_up(version: &str) -> Tree {
        let mut tree = Tree::default();
        let numbered = (0..197).zip(["py", "so", "json", "png", "dat"].iter().cycle());
        for (number, ending) in numbered {
            let seed = if number % 2 == 0 { "same" } else { version };
            let mut random = Random(
                seed.bytes()
                    .map(u64::from)
                    .fold(number, |sum, byte| sum * 31 + byte),
            );
            let place = if number % 10 == 1 { version } else { "lib" };
            let size = if number == 3 {
                2 << 20
            } else {
                random.below(30_000)
            };
            let content = (0..size).map(|_| random.next().to_be_bytes()[0]).collect();
            let mode = if number % 7 == 0 { 0o755 } else { 0o644 };
            let path = format!("{place}/{}/{number}.{ending}", number % 8);
            tree.0.insert(path, Node::File(mode, content));
        }
        tree
    }

    /// The files and links of a folder or a zip, with the two modes that a package has.
    fn read(path: &Path) -> Tree {
        let mut tree = if path.is_dir() {
            Tree::read(path, &[])
        } else {
            let mut tree = Tree::default();
            let file = File::open(path).expect("the archive");
            let mut zip = zip::ZipArchive::new(file).expect("a zip");
            for index in 0..zip.len() {
                let mut entry = zip.by_index(index).expect("an entry");
                let mut content = Vec::new();
                entry.read_to_end(&mut content).expect("its content");
                let node = if entry.is_dir() {
                    continue;
                } else if entry.is_symlink() {
                    Node::Link(String::from_utf8(content).expect("a link's target"))
                } else {
                    Node::File(entry.unix_mode().unwrap_or(0o644), content)
                };
                let name = entry.name().expect("a name in UTF-8").into_owned();
                tree.0.insert(name, node);
            }
            tree
        };
        tree.0.retain(|_, node| match node {
            Node::Folder(_) => false,
            Node::Link(_) => true,
            Node::File(mode, _) => {
                *mode = if *mode & 0o111 == 0 { 0o644 } else { 0o755 };
                true
            }
        });
        tree
    }

    /// A launcher in a folder of its own, and the server that it asks.
    struct World {
        home: tempfile::TempDir,
        layout: &'static str,
        server: Server,
    }

    impl World {
        fn new(launcher: &Path, layout: &'static str, versions: &[Version; 2]) -> Self {
            let home = tempfile::tempdir().expect("a temporary folder");
            let server = Server::start();
            for version in versions {
                server.route(&version.media(), Reply::file(&version.built.bytes));
            }
            fs::copy(launcher, home.path().join("launcher")).expect("the launcher");
            let config = format!(
                "app = \"org.castoff.torture\"\nname = \"Torture\"\nlog_dir = \"logs\"\n\
                 language = \"en\"\nlayout = \"{layout}\"\n[source]\nurl = \"{}\"\n\
                 [network]\nretries = 0\ncheck_timeout = 20\n",
                server.url(CHECK)
            );
            fs::write(home.path().join("launcher.toml"), config).expect("the configuration");
            Self {
                home,
                layout,
                server,
            }
        }

        /// Installs, adds the user's file, and updates back and forth; the median time of an update.
        fn prepare(&self, versions: &[Version; 2]) -> Result<Duration> {
            self.offer(&versions[0]);
            finish(self.start());
            fs::write(self.app_folder().join(OWN), OWN_TEXT).map_err(|error| error.to_string())?;
            let mut times = Vec::new();
            for version in versions.iter().rev().cycle().take(TIMED) {
                self.offer(version);
                let begun = Instant::now();
                let output = finish(self.start());
                times.push(begun.elapsed());
                self.check(&output, version)?;
            }
            times.sort();
            Ok(times[TIMED / 2])
        }

        /// Offers the version that is not installed, kills the update to it, starts again, and
        /// checks what came of it.
        fn survive(&self, blow: &Blow, versions: &[Version; 2]) -> Result<(Found, CameOut)> {
            let installed = self.version();
            let [old, new] = match versions
                .iter()
                .position(|version| version.name == installed)
            {
                Some(0) => [&versions[0], &versions[1]],
                Some(_) => [&versions[1], &versions[0]],
                None => return Err(format!("version {installed} is installed")),
            };
            self.offer(new);
            let mut killed = self.start();
            std::thread::sleep(blow.moment);
            let ended = killed.try_wait().map_err(|error| error.to_string())?;
            if blow.with_app && ended.is_none() {
                kill_process_group(Pid::from_child(&killed), Signal::KILL)
                    .map_err(|error| error.to_string())?;
            }
            // Nothing happens to one that has ended.
            killed.kill().map_err(|error| error.to_string())?;
            killed.wait().map_err(|error| error.to_string())?;
            let found = match ended {
                Some(_) => Found::Ended,
                None => self.found(new),
            };

            if blow.offline {
                self.server.unroute(CHECK);
                self.server.route(CHECK, Reply::status(503).reset_at_once());
            }
            let output = finish(self.start());
            // The app that outlived its launcher still has this open.
            finish(killed);
            let (came_out, version) = match (blow.offline, found >= Found::Trial) {
                (true, false) => (CameOut::OfflineOld, old),
                (true, true) => (CameOut::OfflineNew, new),
                (false, _) => (CameOut::OnlineNew, new),
            };
            self.check(&output, version)
                .map_err(|fault| format!("{found:?}, {came_out:?}: {fault}"))?;
            if !blow.offline {
                self.check_tidy()?;
            }
            Ok((found, came_out))
        }

        fn offer(&self, version: &Version) {
            self.server.unroute(CHECK);
            let answer = version.answer().to_string();
            self.server.route(CHECK, Reply::json(&answer));
        }

        /// Starts the launcher, in a process group of its own.
        fn start(&self) -> Child {
            Command::new(self.home.path().join("launcher"))
                .env_clear()
                .env("HOME", self.home.path().join("user"))
                .env("PATH", std::env::var_os("PATH").unwrap_or_default())
                .process_group(0)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("the launcher starts")
        }

        /// What lies on the disk on the way from one version to `new`.
        fn found(&self, new: &Version) -> Found {
            let has = |name| self.own(name).exists();
            let packages = || {
                let entries = fs::read_dir(self.own("downloads")).into_iter().flatten();
                let names = entries.flatten().map(|entry| entry.file_name());
                names.collect::<Vec<_>>()
            };
            if has("journal.json") {
                Found::Journal
            } else if self.version() == new.name {
                let state = fs::read(self.own("state.json")).unwrap_or_default();
                let state: Value = serde_json::from_slice(&state).unwrap_or_default();
                if state["trial"].is_null() {
                    Found::Done
                } else {
                    Found::Trial
                }
            } else if has("backup") {
                Found::BackingUp
            } else if has("staging") {
                Found::Staging
            } else if packages().is_empty() {
                Found::Nothing
            } else if packages().iter().any(|name| {
                Path::new(name)
                    .extension()
                    .is_some_and(|ending| ending == "part")
            }) {
                Found::Part
            } else {
                Found::Package
            }
        }

        /// Checks that the app of `version` has run, and that its files are what lies there.
        fn check(&self, output: &Output, version: &Version) -> Result<()> {
            let name = version.name;
            let told = self.version();
            let tree = Tree::read(
                &self.app_folder(),
                &[".castoff", ".backup", "local_version.json"],
            );
            let differences = version.tree.differences(&tree);
            let stdout = String::from_utf8_lossy(&output.stdout);
            let fault =
                if output.status.code() != Some(0) || stdout != format!("app {name} {name}\n") {
                    format!("it is not the app of {name} that ran to its end")
                } else if told != name {
                    format!("{told} is installed instead of {name}")
                } else if self.own("journal.json").exists() {
                    "the journal is still there".to_owned()
                } else if !differences.is_empty() {
                    let some = &differences[..differences.len().min(20)];
                    format!(
                        "{} paths are not those of {name}:\n{}",
                        differences.len(),
                        some.join("\n")
                    )
                } else {
                    return Ok(());
                };
            let stderr = String::from_utf8_lossy(&output.stderr);
            Err(format!("{fault}\n{}\n{stdout}{stderr}", output.status))
        }

        /// Checks that an update that came to its end left nothing half-done.
        fn check_tidy(&self) -> Result<()> {
            let left = ["staging", "backup", "restoring", "gone"].map(|name| self.own(name));
            match left.iter().find(|path| path.exists()) {
                Some(path) => Err(format!("left behind: {}", path.display())),
                None => Ok(()),
            }
        }

        fn client(&self) -> PathBuf {
            self.home.path().join("client")
        }

        fn own(&self, name: &str) -> PathBuf {
            self.client().join(".castoff").join(name)
        }

        fn app_folder(&self) -> PathBuf {
            match self.layout {
                "snapshot" => self.client().join("versions/current"),
                _ => self.client(),
            }
        }

        /// The version that the disk says is installed.
        fn version(&self) -> String {
            if self.layout == "snapshot" {
                let link =
                    fs::read_link(self.client().join("versions/current")).unwrap_or_default();
                // v1.0.0, or v1.0.0_2 where the name was taken.
                let name = link.to_string_lossy();
                let name = name.trim_start_matches('v').split('_').next();
                return name.unwrap_or_default().to_owned();
            }
            let text = fs::read(self.client().join("local_version.json")).unwrap_or_default();
            let value: Value = serde_json::from_slice(&text).unwrap_or_default();
            value["version"].as_str().unwrap_or_default().to_owned()
        }
    }

    /// What a launcher and the app that it started have said, when both have ended.
    fn finish(started: Child) -> Output {
        started.wait_with_output().expect("pipes can be read")
    }

    /// Numbers by chance, the same ones for the same seed (SplitMix64).
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = self.0;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        }

        /// A number below `end`.
        fn below(&mut self, end: usize) -> usize {
            let end = u64::try_from(end).expect("64 bits are enough");
            usize::try_from(self.next() % end).expect("it is below a usize")
        }

        /// A number from 0 to 1.
        fn fraction(&mut self) -> f64 {
            f64::from(u32::try_from(self.next() >> 32).expect("32 bits are left"))
                / f64::from(u32::MAX)
        }
    }
}
