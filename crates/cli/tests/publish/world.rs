//! A publisher, who has a folder, a key and a place; and launchers that follow.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use castoff_publish::steps;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::{ENTRY, app, command, document};

pub(crate) const APP: &str = "com.example.client";

/// A publisher's folder, with a key and settings.
pub(crate) struct Publisher {
    pub(crate) folder: TempDir,
    pub(crate) key: String,
    /// What launchers have for a source: kind and address.
    pub(crate) source: (&'static str, String),
}

impl Publisher {
    /// One who publishes at a folder beside the own one.
    pub(crate) fn new() -> Self {
        let publisher = Self::at("../www", "folder", "");
        let place = publisher.place();
        fs::create_dir(&place).unwrap();
        Self {
            source: ("folder", place.to_str().unwrap().to_owned()),
            ..publisher
        }
    }

    /// One who publishes at a place, with further settings.
    pub(crate) fn at(to: &str, kind: &'static str, settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("own");
        fs::create_dir(&own).unwrap();
        fs::write(own.join("launcher.toml"), format!("app = \"{APP}\"\n")).unwrap();
        let settings = format!("entry_point = \"{ENTRY}\"\nto = {}\n{settings}", json!(to));
        fs::write(own.join("publish.toml"), settings).unwrap();
        let mut publisher = Self {
            folder,
            key: String::new(),
            source: (kind, String::new()),
        };
        publisher.key = publisher.done(&["keygen", "--no-passphrase"]);
        publisher
    }

    pub(crate) fn own(&self) -> PathBuf {
        self.folder.path().join("own")
    }

    pub(crate) fn place(&self) -> PathBuf {
        self.folder.path().join("www")
    }

    /// The command in the publisher's folder, without a terminal, as cron has it.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = command(&self.own(), args);
        command.stdin(Stdio::null()).env_remove("CASTOFF_TOKEN");
        command
    }

    pub(crate) fn castoff(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Has the command killed at a step.
    #[track_caller]
    pub(crate) fn killed(&self, step: &str, args: &[&str]) {
        let mut command = self.command(args);
        command.env("CASTOFF_FAIL", format!("{step}=kill"));
        let killed = command.output().unwrap();
        assert!(!killed.status.success(), "{step}: {killed:?}");
    }

    /// Kills a publication at a step. What launchers see is what was there before, or what comes after;
    /// and the same command goes on to the same end.
    pub(crate) fn outlives(&self, step: &str, homes: &[TempDir]) {
        if step == steps::KEYS {
            self.done(&["keys", "init"]);
        }
        self.publish("1.0.0");
        assert_eq!(update(&homes[0])["version"], "1.0.0", "{step}");
        let package = self.package("1.1.0");
        let args = ["publish", &package, "--activate"];
        self.killed(step, &args);
        let expected = if step == steps::CURRENT {
            "1.1.0"
        } else {
            "1.0.0"
        };
        for home in homes {
            update(home);
            assert_eq!(installed(home).as_deref(), Some(expected), "{step}");
        }
        self.done(&args);
        let seq = &self.published()["channels"]["stable"]["seq"];
        assert_eq!(*seq, 2, "{step}");
        for home in homes {
            update(home);
            assert_eq!(installed(home).as_deref(), Some("1.1.0"), "{step}");
        }
    }

    #[track_caller]
    pub(crate) fn done(&self, args: &[&str]) -> String {
        let output = self.castoff(args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// What is said to people.
    #[track_caller]
    pub(crate) fn said(&self, args: &[&str]) -> String {
        let output = self.castoff(args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    #[track_caller]
    pub(crate) fn refused(&self, args: &[&str], code: &str) -> String {
        let output = self.castoff(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(&format!("[{code}]")), "{args:?}: {said}");
        said
    }

    /// Writes the package of a version.
    pub(crate) fn package(&self, version: &str) -> String {
        let name = format!("app-{version}.zip");
        fs::write(self.own().join(&name), app(version).build().bytes).unwrap();
        name
    }

    /// Publishes a version, and makes it current.
    #[track_caller]
    pub(crate) fn publish(&self, version: &str) -> String {
        let package = self.package(version);
        self.done(&["publish", &package, "--activate"])
    }

    pub(crate) fn published(&self) -> Value {
        document(&self.castoff(&["published", "--json"]))
    }

    /// The files at the place.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.place()).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// The folder of a launcher that follows.
    pub(crate) fn launcher(&self) -> TempDir {
        let home = tempfile::tempdir().unwrap();
        let (kind, url) = &self.source;
        let mut config = format!(
            "app = \"{APP}\"\nlog_dir = \"logs\"\n[source]\nkind = \"{kind}\"\nurl = {}\n",
            json!(url)
        );
        if *kind != "check" {
            config.extend(["[trust]\nkeys = [\"", &self.key, "\"]\n"]);
        }
        fs::write(home.path().join("launcher.toml"), config).unwrap();
        home
    }
}

/// Has a launcher look for updates.
pub(crate) fn update(home: &TempDir) -> Value {
    let mut command = command(home.path(), &["update", "--json"]);
    document(&command.stdin(Stdio::null()).output().unwrap())
}

/// The version that is installed, and no other.
fn installed(home: &TempDir) -> Option<String> {
    let client = home.path().join("client");
    let versions = ["1.0.0", "1.1.0", "1.2.0b1"];
    let mut found = versions
        .iter()
        .filter(|version| client.join(format!("only-{version}")).exists());
    let version = found.next().map(|version| (*version).to_owned());
    assert_eq!(found.next(), None, "one version, and nothing of another");
    version
}
