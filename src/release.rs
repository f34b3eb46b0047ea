//! What every source yields: a release and its package; and what a package may carry: its file
//! list.

use std::collections::{BTreeMap, btree_map};

use serde::{Deserialize, Serialize};

use crate::archive::SafePath;
use crate::archive::guard::{Node, check_tree};
use crate::error::in_short;
use crate::trust::Sha256;
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
}

/// The kind of this machine, as `launchers` of a check answer and `--castoff version` call it:
/// `linux-x86_64`, `windows-x86_64`.
pub fn target() -> String {
    format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH)
}

/// One archive that holds a release, or a launcher.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// Where it is; absolute.
    pub url: String,
    /// The digest of its bytes.
    pub sha256: Sha256,
    /// Its size in bytes, when the source says so.
    pub size: Option<u64>,
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
    /// Command lines by hook, as the configuration has them. As long as a release cannot be signed,
    /// a list that holds any is refused.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub hooks: BTreeMap<String, Vec<String>>,
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
    /// only case or Unicode form differ), or a path or link that must not be written; with
    /// `PACKAGE_COMMANDS` when it brings commands to run.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let list: Self = serde_json::from_slice(bytes).map_err(|error| Error::FileListInvalid {
            problem: in_short(&error.to_string()).into_owned(),
        })?;
        if list.castoff != 1 {
            let problem = format!("format {} is not known to this launcher", list.castoff);
            return Err(Error::FileListInvalid { problem });
        }
        if !list.hooks.is_empty() {
            let hooks = list.hooks.into_keys().collect::<Vec<_>>().join(", ");
            let hooks = in_short(&hooks).into_owned();
            return Err(Error::PackageCommands { hooks });
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
    fn commands_of_a_package_are_refused_and_an_empty_table_of_them_is_none() {
        let with = |hooks: &str| {
            let text = list(&file("a"))
                .replace("\"castoff\"", &format!("\"hooks\": {hooks}, \"castoff\""));
            FileList::parse(text.as_bytes())
        };
        assert!(with("{}").unwrap().hooks.is_empty());
        let error = with(r#"{"after_commit": ["rm -r /"], "before_start": []}"#).unwrap_err();
        assert_eq!(error.code(), Code::PackageCommands);
        assert!(error.to_string().contains("after_commit, before_start"));
        assert_eq!(with("[]").unwrap_err().code(), Code::FileListInvalid);
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
