//! What every source yields: a release and its package; and what a package may carry: its file
//! list.

use std::collections::{BTreeMap, BTreeSet, btree_map};

use serde::{Deserialize, Serialize};

use crate::archive::SafePath;
use crate::archive::guard::{Node, check_tree};
use crate::error::in_short;
use crate::trust::{Hasher, Sha256};
use crate::version::Version;
use crate::{Error, Result};

/// The file list's name at the root of an archive. It is never installed as a file.
pub const FILE_LIST_NAME: &str = "castoff-files.json";

/// The largest file list that is read: 32 MiB, room for a quarter of a million files.
pub const FILE_LIST_LIMIT: u64 = 32 << 20;

/// A version of the app as a source announces it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The version.
    pub version: Version,
    /// The publisher's notes, as they came; empty when there are none.
    pub notes: String,
    /// What to start, relative to the client folder, when the release names it.
    pub entry_point: Option<String>,
    /// The archive that holds it.
    pub package: Package,
    /// The launcher that is announced with it for this kind of machine ([`target`]): the
    /// executable itself, no archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launcher: Option<Package>,
    /// Versions below are not safe to go on with, as the release says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub critical_below: Option<Version>,
    /// The percentage of installations that are to have it already; `None`: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<u64>,
    /// Whether it was handed to a resident updater ([`crate::updater::Delivery`]), which installs it when it
    /// is told to; nobody else does.
    #[serde(default, skip_serializing_if = "is_false")]
    pub handed: bool,
    /// The signed document that says all this, in its envelope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<String>,
    /// Its files one by one, where it has no archive ([`Package::by_file`]). Kept beside what is fetched,
    /// and not here.
    #[serde(skip)]
    pub manifest: Option<Box<Manifest>>,
}

impl Release {
    /// One of which nothing is known but its version and its package.
    pub fn of(version: Version, package: Package) -> Self {
        Self {
            version,
            notes: String::new(),
            entry_point: None,
            package,
            launcher: None,
            critical_below: None,
            rollout: None,
            handed: false,
            document: None,
            manifest: None,
        }
    }

    /// Whether `installed` is not safe to go on with.
    pub fn is_critical_for(&self, installed: Option<&Version>) -> bool {
        let least = self.critical_below.as_ref();
        installed.is_some_and(|installed| least.is_some_and(|least| installed < least))
    }
}

/// The kind of this machine, as `launchers` of a check answer and `--castoff version` call it:
/// `linux-x86_64`, `windows-x86_64`.
pub fn target() -> String {
    format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH)
}

/// Whether this machine's operating system is of that version at least: on Windows its build, such
/// as `10.0.17763`, elsewhere the kernel's, such as `5.10`. What cannot be compared is let pass: to
/// refuse it would help nobody.
pub(crate) fn fits_system(least: &str) -> bool {
    let Some(own) = system_version() else {
        return true;
    };
    let numbers = |text: &str| -> Vec<u32> {
        let numbers = text.split(|c: char| !c.is_ascii_digit());
        numbers.map_while(|part| part.parse().ok()).collect()
    };
    numbers(&own) >= numbers(least)
}

#[cfg(unix)]
fn system_version() -> Option<String> {
    let system = rustix::system::uname();
    system.release().to_str().ok().map(str::to_owned)
}

#[cfg(windows)]
fn system_version() -> Option<String> {
    castoff_windows::process::system_version()
}

/// Whether an entry point is none: absolute on any system, or upwards. What it names is looked at
/// when the release is there.
pub fn leads_outside(path: &str) -> bool {
    path.starts_with(['/', '\\'])
        || path.contains(':')
        || path.chars().any(char::is_control)
        || path.split(['/', '\\']).any(|component| component == "..")
}

/// One archive that holds a release, or the executable of a launcher.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// Where it is: an absolute address, or `file://` and a path.
    pub url: String,
    /// Where else it is, to be tried in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mirrors: Vec<String>,
    /// The digest of its bytes, when the source says so: forges do not of the archives that they
    /// make of a tag, which are then as safe as the connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Sha256>,
    /// Its size in bytes, when the source says so.
    pub size: Option<u64>,
    /// The digest of the file list in it, where the release says that there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Sha256>,
    /// Its MD5 in lower-case hexadecimal, where whoever announces it has no other digest. Who fetches the
    /// package compares it ([`crate::updater::Delivery`]) and sets `sha256`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub md5: Option<String>,
    /// Whether everything lies in one top folder that is no part of the app, as in the archives that
    /// forges make of a tag.
    #[serde(default, skip_serializing_if = "is_false")]
    pub wrapped: bool,
    /// Whether there is no archive, and each file has an address of its own ([`Manifest`]). The digest is
    /// then that of their list.
    #[serde(default, skip_serializing_if = "is_false")]
    pub by_file: bool,
}

/// For flags that are left out where they say nothing.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands on a reference"
)]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// The files of a release that has no archive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Every file of the release.
    pub files: BTreeMap<SafePath, Remote>,
    /// What only the installed version had.
    pub gone: Vec<SafePath>,
}

/// A file with an address of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remote {
    /// Bytes.
    pub size: u64,
    /// The digest of its content.
    pub sha256: Sha256,
    /// Where it is.
    pub url: String,
}

impl Manifest {
    /// What stands for the digest of a package: that of the version's files, wherever they are and
    /// whatever they replace.
    pub fn id(&self, version: &Version) -> Sha256 {
        let mut hasher = Hasher::default();
        hasher.update(version.file_name().as_bytes());
        for (path, file) in &self.files {
            // No path has a line's end in it.
            let line = format!("\n{} {} {path}", file.sha256, file.size);
            hasher.update(line.as_bytes());
        }
        hasher.finish()
    }

    /// The file list that an archive of those that are `meant` would have.
    pub fn list(&self, version: &Version, meant: &dyn Fn(&SafePath) -> bool) -> FileList {
        let listed = |file: &Remote| Listed::File {
            size: file.size,
            sha256: file.sha256,
            executable: false,
        };
        let files = self.files.iter().filter(|(path, _)| meant(path));
        FileList {
            castoff: 1,
            version: version.as_str().to_owned(),
            whole: false,
            fits: Vec::new(),
            files: files
                .map(|(path, file)| (path.clone(), listed(file)))
                .collect(),
            hooks: Commands::default(),
            gone: self.gone.iter().cloned().collect(),
        }
    }
}

impl Package {
    /// One of which nothing is known but where it is.
    pub fn at(url: String) -> Self {
        Self {
            url,
            mirrors: Vec::new(),
            sha256: None,
            size: None,
            files: None,
            md5: None,
            wrapped: false,
            by_file: false,
        }
    }

    /// What it is remembered by: the digest that is announced, or where none is that of its address.
    pub fn id(&self) -> Sha256 {
        match (&self.md5, self.sha256) {
            (Some(md5), _) => Sha256::of(md5.as_bytes()),
            (None, Some(sha256)) => sha256,
            (None, None) => Sha256::of(self.url.as_bytes()),
        }
    }
}

/// Path, size, digest and mode of every file of a release.
///
/// As `castoff-files.json`:
///
/// ```json
/// {"castoff": 1, "version": "1.1.0", "whole": true, "fits": [],
///  "files": {"main.py": {"size": 12, "sha256": "…", "executable": false},
///            "lib/a.so": {"link": "a.so.1"}}}
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileList {
    /// The format's number: 1.
    pub castoff: u32,
    /// The version that the list describes.
    pub version: String,
    /// Whether the package holds every file of the list. A partial one holds what has changed.
    pub whole: bool,
    /// The versions onto which a partial package fits; when it names none, the files decide.
    #[serde(default)]
    pub fits: Vec<String>,
    /// Every file of the release, whether the package holds it or not.
    #[serde(deserialize_with = "unique")]
    pub files: BTreeMap<SafePath, Listed>,
    /// Command lines to run with it.
    #[serde(default, skip_serializing_if = "Commands::is_empty")]
    pub hooks: Commands,
    /// What a source, not the list itself, says that only the installed version had: whoever installed
    /// it may have kept no list.
    #[serde(skip)]
    pub gone: BTreeSet<SafePath>,
}

/// Command lines that a package brings, by hook, as the configuration has them. Only what belongs to
/// the update itself can come with a package: what runs before every start, or on a way back, is for
/// the configuration to say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Commands {
    /// When the new version is staged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after_stage: Vec<String>,
    /// When it is in place, before its first start: migrations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after_commit: Vec<String>,
}

impl Commands {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.after_stage.is_empty() && self.after_commit.is_empty()
    }
}

/// What a file list says of one path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Listed {
    /// An ordinary file.
    File {
        /// Bytes.
        size: u64,
        /// The digest of its content.
        sha256: Sha256,
        /// Whether it may be executed; advice, see `stage`.
        #[serde(default)]
        executable: bool,
    },
    /// A symbolic link that stays inside the tree.
    Link {
        /// Where it points, relative to its own folder, with forward slashes.
        link: String,
    },
}

impl FileList {
    /// Reads and checks a `castoff-files.json`.
    ///
    /// Fails with `FILE_LIST_INVALID` when it is no such document, lists a path twice (also when
    /// only case or Unicode form differ), or a path or link that must not be written.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let list: Self = serde_json::from_slice(bytes).map_err(|error| Error::FileListInvalid {
            problem: in_short(&error.to_string()).into_owned(),
        })?;
        if list.castoff != 1 {
            let problem = format!("format {} is not known to this launcher", list.castoff);
            return Err(Error::FileListInvalid { problem });
        }
        let nodes = list.files.iter().map(|(path, listed)| match listed {
            Listed::File { .. } => (path, Node::File),
            Listed::Link { link } => (path, Node::Link(link)),
        });
        check_tree(nodes).map_err(|error| Error::FileListInvalid {
            problem: error.to_string(),
        })?;
        Ok(list)
    }
}

/// A map whose keys are refused when they repeat: with serde's own, the last one would win.
fn unique<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<SafePath, Listed>, D::Error> {
    struct Unique;
    impl<'de> serde::de::Visitor<'de> for Unique {
        type Value = BTreeMap<SafePath, Listed>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a map of paths")
        }

        fn visit_map<A: serde::de::MapAccess<'de>>(
            self,
            mut map: A,
        ) -> Result<Self::Value, A::Error> {
            let mut files = BTreeMap::new();
            while let Some((path, listed)) = map.next_entry::<SafePath, Listed>()? {
                match files.entry(path) {
                    btree_map::Entry::Vacant(place) => place.insert(listed),
                    btree_map::Entry::Occupied(place) => {
                        return Err(serde::de::Error::custom(format!(
                            "{} is there twice",
                            place.key()
                        )));
                    }
                };
            }
            Ok(files)
        }
    }
    deserializer.deserialize_map(Unique)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Code;

    const DIGEST: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    /// A list with these members of `files`.
    fn list(files: &str) -> String {
        format!(r#"{{"castoff": 1, "version": "1.1.0", "whole": true, "files": {{{files}}}}}"#)
    }

    fn file(path: &str) -> String {
        format!(r#""{path}": {{"size": 3, "sha256": "{DIGEST}"}}"#)
    }

    fn refused(text: &str) -> String {
        let error = FileList::parse(text.as_bytes()).unwrap_err();
        assert_eq!(error.code(), Code::FileListInvalid);
        error.to_string()
    }

    #[test]
    fn a_file_list_is_read() {
        let text = list(&format!(
            r#"{}, "lib/a.so": {{"link": "a.so.1"}}"#,
            file("main.py")
        ));
        let parsed = FileList::parse(text.as_bytes()).unwrap();
        assert!(parsed.whole && parsed.fits.is_empty());
        let file = Listed::File {
            size: 3,
            sha256: DIGEST.parse().unwrap(),
            executable: false,
        };
        assert_eq!(parsed.files[&"main.py".try_into().unwrap()], file);
        let written = serde_json::to_vec(&parsed).unwrap();
        assert_eq!(FileList::parse(&written).unwrap(), parsed);
    }

    #[test]
    fn commands_of_a_package_are_for_the_update_alone() {
        let with = |hooks: &str| {
            let text = list(&file("a"))
                .replace("\"castoff\"", &format!("\"hooks\": {hooks}, \"castoff\""));
            FileList::parse(text.as_bytes())
        };
        assert!(with("{}").unwrap().hooks.is_empty());
        let brought = with(r#"{"after_commit": ["flask db upgrade"]}"#)
            .unwrap()
            .hooks;
        assert_eq!(brought.after_commit, ["flask db upgrade"]);
        for hooks in [
            "7",
            r#"{"before_start": ["x"]}"#,
            r#"{"after_commit": "x"}"#,
        ] {
            assert_eq!(with(hooks).unwrap_err().code(), Code::FileListInvalid);
        }
    }

    #[test]
    fn a_path_is_listed_once() {
        let twice = format!("{}, {}", file("a"), file("a"));
        assert!(refused(&list(&twice)).contains("a is there twice"));
        for (one, other) in [("a", "A"), ("\u{e9}", "e\u{301}"), ("a", "A/b")] {
            refused(&list(&format!("{}, {}", file(one), file(other))));
        }
    }

    #[test]
    fn a_path_or_link_that_must_not_be_written_is_not_listed() {
        for path in ["../a", "/a", "C:x", ".castoff/state.json", ""] {
            refused(&list(&file(path)));
        }
        refused(&list(r#""a": {"link": "/etc/passwd"}"#));
        refused(&list(r#""a/b": {"link": "../.."}"#));
        refused(&list(&format!(r#""a": {{"link": "b"}}, {}"#, file("a/c"))));
    }

    #[test]
    fn an_error_repeats_little_of_a_file_list() {
        let much = "a".repeat(100_000);
        for text in [
            list(&file(&much)),
            list(&format!(r#""a": {{"link": "../{much}"}}"#)),
            list(&file("a")).replace("\"castoff\"", &format!("\"{much}\": 1, \"castoff\"")),
            list(&file("a")).replace(DIGEST, &much),
        ] {
            let said = refused(&text);
            assert!(said.len() < 1000, "{} bytes", said.len());
        }
        let hooks = format!(r#""hooks": {{"{much}": []}}, "castoff""#);
        let text = list(&file("a")).replace("\"castoff\"", &hooks);
        let said = FileList::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(said.len() < 1000, "{} bytes", said.len());
    }

    #[test]
    fn what_a_file_list_may_not_say_is_refused() {
        for text in [
            "",
            "[]",
            r#"{"castoff": 1}"#,
            &list(&file("a"))[..40],
            &list(&file("a")).replace("\"castoff\": 1", "\"castoff\": 2"),
            &list(&file("a")).replace("\"castoff\"", "\"more\": 1, \"castoff\""),
            &list(&file("a")).replace("\"version\"", "\"whole\": true, \"version\""),
            &list(&file("a")).replace("\"size\"", "\"more\": 1, \"size\""),
            &list(&file("a")).replace("\"size\": 3", "\"size\": -3"),
            &list(&file("a")).replace("\"size\": 3", "\"link\": \"b\""),
            &list(&file("a")).replace(DIGEST, "abc"),
        ] {
            refused(text);
        }
    }
}
