//! Refuses names and links that must not be written.
//!
//! Promises: a [`SafePath`] stays below the folder that it is joined to, names the same place on
//! every system, and never lies in a folder that the launcher keeps for itself. What one system
//! could not write is refused on all of them: a release must be installable everywhere, and a
//! check that only Windows makes is a check that no Linux test has seen. [`check_link`] and
//! [`check_tree`] say the same of links, each alone and all together.
//!
//! Does not promise: anything about the disk. A link that already lies in the target folder is
//! the business of whoever writes there.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization as _;

use crate::error::in_short;
use crate::order;
use crate::{Error, Result};

/// The launcher's own folders in the client folder. No package writes there, and no file list
/// names them.
pub const RESERVED: [&str; 2] = [".castoff", ".backup"];

/// The longest component in bytes: NAME_MAX of Linux and of most file systems. Those that count
/// UTF-16 units or characters allow 255 of these, which is never less.
const COMPONENT_LIMIT: usize = 255;

/// The longest path in bytes: PATH_MAX of macOS, the smallest of the three systems. It counts
/// from the root of the file system; what is left for the client folder is not known here.
pub(super) const PATH_LIMIT: usize = 1024;

/// How many links are followed for one target, as in Linux. More is a circle, or made to look
/// like none.
const LINK_LIMIT: usize = 40;

/// How many components are walked for all the links of a tree: a hundred thousand links of ten
/// each. Without it, a small archive of long links would keep a processor busy for hours.
const STEP_LIMIT: usize = 1_000_000;

/// A relative path that is safe to write below a folder on every platform: components parted by
/// `/`, none of them empty, `.`, `..`, a device name, or otherwise special anywhere.
///
/// Refused with `ARCHIVE_UNSAFE`, on every system alike:
///
/// - empty and absolute paths, drives (`C:x`), UNC paths, streams (`a:b`), backslashes;
/// - empty, `.` and `..` components, also a slash at the end;
/// - control characters and any of `<>:"|?*`;
/// - a dot or space at a component's end, which Windows drops;
/// - device names such as `NUL`, `com1.txt`, `LPT²` and `CONIN$`, in any case;
/// - a component of more than 255 bytes, a path of more than 1,024;
/// - [`RESERVED`] names as the first component, in every form that some file system takes for
///   the same: case, Unicode form, ignored characters, 8.3 aliases (`BACKUP~1`).
///
/// The text is kept as it came; [`SafePath::folded`] is for comparing.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SafePath(String);

impl SafePath {
    /// The path as text, with forward slashes.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path below `folder`, in the system's form.
    pub fn below(&self, folder: &Path) -> PathBuf {
        let mut path = folder.to_path_buf();
        path.extend(self.components());
        path
    }

    /// The components from the first to the last.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/')
    }

    /// The last component.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// The folder that holds it; none at the root.
    pub fn parent(&self) -> Option<SafePath> {
        self.0
            .rsplit_once('/')
            .map(|(folder, _)| Self(folder.to_owned()))
    }

    /// The folders that hold it, the nearest first.
    pub fn parents(&self) -> impl Iterator<Item = SafePath> {
        std::iter::successors(self.parent(), SafePath::parent)
    }

    /// The form in which two paths are equal when some file system takes them for one: canonical
    /// composition and no case.
    ///
    /// Case goes by way of the upper case, a character at a time, so that `ſ` is `s`, `ß` is
    /// `ss` and both sigmas are one, as APFS sees them. The dotless `ı` stays what it is: no file
    /// system takes it for an `i`.
    pub fn folded(&self) -> String {
        fold(&self.0)
    }
}

impl fmt::Display for SafePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SafePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl TryFrom<String> for SafePath {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        match path_problem(&text) {
            Some(problem) => Err(refused(text, problem)),
            None => Ok(Self(text)),
        }
    }
}

impl TryFrom<&str> for SafePath {
    type Error = Error;

    fn try_from(text: &str) -> Result<Self> {
        text.to_owned().try_into()
    }
}

impl FromStr for SafePath {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        text.try_into()
    }
}

impl From<SafePath> for String {
    fn from(path: SafePath) -> Self {
        path.0
    }
}

impl AsRef<str> for SafePath {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// Checks where a link at `path` points, by the text alone: relative, with forward slashes, inside
/// the tree, and not into a [`RESERVED`] folder. `target` may be `.` or go through `..`.
///
/// Other links on the way are not known here; [`check_tree`] follows them.
pub fn check_link(path: &SafePath, target: &str) -> Result<()> {
    Links::default().follow(path, target)
}

/// What lies at a path, as far as [`check_tree`] minds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node<'a> {
    /// An ordinary file.
    File,
    /// A folder, named for its own sake.
    Folder,
    /// A symbolic link and its target.
    Link(&'a str),
}

/// Checks that paths, and the targets of those that are links, can lie in one folder together.
///
/// Fails with `ARCHIVE_UNSAFE` when two are the same but for case or Unicode form, when one lies
/// below another that is no folder, and when a link, followed through all the others, leaves the
/// folder, goes in a circle, or ends in a [`RESERVED`] folder. Folders need not be among them.
pub fn check_tree<'a>(nodes: impl IntoIterator<Item = (&'a SafePath, Node<'a>)>) -> Result<()> {
    let mut nodes: Vec<_> = nodes
        .into_iter()
        .map(|(path, node)| (key(path), path, node))
        .collect();
    // In the order of the keys, what lies below a path comes right after it.
    order::sort_by(&mut nodes, |left, right| left.0.cmp(&right.0));
    for pair in nodes.windows(2) {
        let [(above, first, node), (below, path, _)] = pair else {
            continue;
        };
        let problem = match below.strip_prefix(above.as_str()) {
            Some("") => format!("{first} is there too, the same but for case or Unicode form"),
            Some(rest) if rest.starts_with(PARTING) && *node != Node::Folder => {
                format!("it lies below {first}, which is no folder")
            }
            _ => continue,
        };
        return Err(refused(path.as_str(), problem));
    }
    let mut links = Links::default();
    for (key, _, node) in &nodes {
        if let Node::Link(target) = node {
            links.targets.insert(key, target);
        }
    }
    for (_, path, node) in &nodes {
        if let Node::Link(target) = node {
            links.follow(path, target)?;
        }
    }
    Ok(())
}

/// Stands for `/` in a key: less than every other character of a path, so that a folder and what
/// it holds sort together.
const PARTING: char = '\0';

/// A path as it is compared and sorted.
fn key(path: &SafePath) -> String {
    path.folded().replace('/', "\0")
}

/// All the links of a tree, to be followed without a disk.
#[derive(Default)]
struct Links<'a> {
    targets: HashMap<&'a str, &'a str>,
    /// Components walked so far.
    steps: usize,
}

impl Links<'_> {
    /// Walks from the link at `path` to its target as a file system would.
    fn follow(&mut self, path: &SafePath, target: &str) -> Result<()> {
        let refuse = |problem| Err(refused(format!("{path} -> {target}"), problem));
        // where the walk stands, as a key; the length of each of its folders' keys
        let mut here = path.parent().as_ref().map_or_else(String::new, key);
        let mut lengths: Vec<usize> = here.match_indices(PARTING).map(|(end, _)| end).collect();
        if !here.is_empty() {
            lengths.insert(0, 0);
        }
        // the components still to walk, the next one last
        let mut ahead: Vec<&str> = Vec::new();
        let mut enter = Some(target);
        let mut followed = 0;
        loop {
            if let Some(target) = enter.take() {
                if target.is_empty() || target.starts_with('/') || target.contains('\\') {
                    return refuse("the target is no relative path with forward slashes");
                }
                ahead.extend(target.rsplit('/'));
            }
            let Some(name) = ahead.pop() else { break };
            self.steps += 1;
            if self.steps > STEP_LIMIT || here.len() > PATH_LIMIT {
                return refuse("the links are too long to be followed");
            }
            match name {
                "." => {}
                ".." => match lengths.pop() {
                    Some(length) => here.truncate(length),
                    None => return refuse("the link leads out of the folder"),
                },
                name => {
                    if let Some(problem) = component_problem(name) {
                        return refuse(problem);
                    }
                    let length = here.len();
                    if !here.is_empty() {
                        here.push(PARTING);
                    }
                    here.push_str(&fold(name));
                    enter = self.targets.get(here.as_str()).copied();
                    if enter.is_none() {
                        lengths.push(length);
                        continue;
                    }
                    here.truncate(length);
                    followed += 1;
                    if followed > LINK_LIMIT {
                        return refuse("the link goes in a circle");
                    }
                }
            }
        }
        match here.split(PARTING).next() {
            Some(first) if is_reserved(first) => {
                refuse("the link leads into the launcher's own folder")
            }
            _ => Ok(()),
        }
    }
}

pub(super) fn refused(entry: impl AsRef<str>, problem: impl Into<String>) -> Error {
    Error::ArchiveUnsafe {
        entry: in_short(entry.as_ref()).into_owned(),
        problem: problem.into(),
    }
}

fn path_problem(path: &str) -> Option<&'static str> {
    if path.is_empty() {
        return Some("the name is empty");
    }
    if path.starts_with(['/', '\\']) {
        return Some("the path is absolute");
    }
    if path.len() > PATH_LIMIT {
        return Some("the path has more than 1024 bytes");
    }
    if let Some(problem) = path.split('/').find_map(component_problem) {
        return Some(problem);
    }
    let first = path.split('/').next().unwrap_or(path);
    is_reserved(first).then_some("the name is the launcher's own")
}

fn component_problem(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        return Some("a component is empty");
    }
    if name == "." || name == ".." {
        return Some("a component is . or ..");
    }
    if name.len() > COMPONENT_LIMIT {
        return Some("a component has more than 255 bytes");
    }
    if name.contains('\\') {
        return Some("there is a backslash in it");
    }
    if name.contains(char::is_control) {
        return Some("there is a control character in it");
    }
    if name.contains([':', '<', '>', '"', '|', '?', '*']) {
        return Some("there is one of <>:\"|?* in it");
    }
    if name.ends_with(['.', ' ']) {
        return Some("a component ends in a dot or space");
    }
    is_device(name).then_some("a component is a device of Windows")
}

/// Whether Windows takes a name for a device, whatever follows the first dot and whatever spaces
/// stand before it.
fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or(name).trim_end_matches(' ');
    let is = |device: &str| stem.eq_ignore_ascii_case(device);
    if ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"]
        .into_iter()
        .any(is)
    {
        return true;
    }
    // COM0 and LPT0 are ordinary names; the superscripts are digits to Windows.
    stem.split_at_checked(3).is_some_and(|(port, number)| {
        (port.eq_ignore_ascii_case("COM") || port.eq_ignore_ascii_case("LPT"))
            && matches!(
                number,
                "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9" | "¹" | "²" | "³"
            )
    })
}

/// Whether some file system takes a name at the root for one of [`RESERVED`].
fn is_reserved(name: &str) -> bool {
    // HFS+ passes over these when it compares names
    let ignored = |c: char| matches!(c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}');
    let name = fold(name).replace(ignored, "");
    RESERVED.into_iter().any(|reserved| {
        // the 8.3 alias of NTFS and FAT: no dot, six characters, a number
        let alias = reserved.trim_start_matches('.');
        let alias = &alias[..alias.len().min(6)];
        name == reserved
            || name
                .strip_prefix(alias)
                .and_then(|rest| rest.strip_prefix('~'))
                .is_some_and(|number| {
                    !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit())
                })
    })
}

fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let folded: String = text
        .nfd()
        // twice: only the lower ß has an upper form of two letters
        .flat_map(char::to_lowercase)
        .flat_map(|c| {
            let upper = (c != 'ı').then(|| c.to_uppercase());
            let kept = upper.is_none().then_some(c);
            upper.into_iter().flatten().chain(kept)
        })
        .flat_map(char::to_lowercase)
        .collect();
    folded.nfc().collect()
}

#[cfg(test)]
mod tests {
    use castoff_testkit::package::hostile;
    use proptest::prelude::*;

    use super::*;
    use crate::Code;

    fn path(text: &str) -> SafePath {
        text.try_into().unwrap()
    }

    fn refuses(result: Result<()>) {
        assert_eq!(result.unwrap_err().code(), Code::ArchiveUnsafe);
    }

    #[test]
    fn hostile_names_are_refused() {
        for name in hostile::NAMES {
            let error = SafePath::try_from(*name).expect_err(name);
            assert_eq!(error.code(), Code::ArchiveUnsafe);
        }
        for name in ["a".repeat(256), "中".repeat(86), "a/".repeat(512) + "b"] {
            assert!(name.parse::<SafePath>().is_err(), "{name}");
        }
    }

    #[test]
    fn ordinary_names_are_taken() {
        let long = format!("{}/{}", "a".repeat(150), "b".repeat(149));
        for name in [
            "main.py",
            "lib/python3.13/site-packages/a-1.0.dist-info/RECORD",
            "程序/主程序.exe",
            "a b (1) [x] {y} $HOME %PATH% `id` 'q' &;!#@^+=,~",
            "-rf",
            ".env",
            ".git/config",
            "lib/.backup/kept",
            ".backups",
            "backup~",
            "COM0",
            "COM10",
            "console",
            "nul-l",
            "lib/auxiliary.py",
            "local_version.json",
            &"a".repeat(255),
            &long,
        ] {
            assert_eq!(path(name).as_str(), name);
        }
    }

    #[test]
    fn a_path_is_taken_apart() {
        let deep = path("a/b/c.py");
        assert_eq!(deep.file_name(), "c.py");
        assert_eq!(deep.parents().collect::<Vec<_>>(), [path("a/b"), path("a")]);
        assert_eq!(deep.below(Path::new("x")), Path::new("x/a/b/c.py"));
        assert_eq!(path("main.py").parent(), None);
        assert_eq!(path("main.py").file_name(), "main.py");
    }

    #[test]
    fn what_some_file_system_takes_for_one_folds_to_one() {
        for (one, other) in [
            ("Main.PY", "main.py"),
            ("\u{e9}", "E\u{301}"),
            ("\u{212a}", "k"),
            ("\u{17f}", "S"),
            ("ΟΔΟΣ", "οδος"),
            ("STRASSE", "straße"),
            ("\u{1e9e}", "ss"),
            ("ǰ", "J\u{30c}"),
        ] {
            assert_eq!(path(one).folded(), path(other).folded(), "{one} {other}");
        }
        for (one, other) in [("ı", "i"), ("a", "ａ"), ("中", "国")] {
            assert_ne!(path(one).folded(), path(other).folded(), "{one} {other}");
        }
    }

    #[test]
    fn folding_what_is_folded_changes_nothing() {
        for c in '\u{80}'..='\u{1ffff}' {
            let once = fold(c.encode_utf8(&mut [0; 4]));
            assert_eq!(fold(&once), once, "{c:?}");
        }
    }

    #[test]
    fn links_within_the_tree_are_taken() {
        for (from, to) in [
            ("lib/a.so", "a.so.1"),
            ("lib/a.so", "./a.so.1"),
            ("lib/a.so", "../bin/../lib/b"),
            ("bin/python", "python3.13"),
            ("lib64", "lib"),
            ("a/b/up", "../.."),
            ("here", "."),
        ] {
            check_link(&path(from), to).unwrap();
        }
    }

    #[test]
    fn links_out_of_the_tree_are_refused() {
        for (from, to) in [
            ("a", ""),
            ("a", "/"),
            ("a", "/etc/passwd"),
            ("a", ".."),
            ("a", "b/../../c"),
            ("a/b", "../../c"),
            ("a", "..\\b"),
            ("a", "C:/b"),
            ("a", "b//c"),
            ("a", "b/"),
            ("a", "NUL"),
            ("a", "b\0c"),
            ("a", ".castoff"),
            ("a/b", "../.Backup/1.0.0"),
        ] {
            refuses(check_link(&path(from), to));
        }
    }

    #[test]
    fn links_are_followed_through_each_other() {
        let links = |links: &[(&str, &str)]| {
            let links: Vec<_> = links.iter().map(|(from, to)| (path(from), *to)).collect();
            check_tree(links.iter().map(|(from, to)| (from, Node::Link(to))))
        };
        links(&[("a", "b"), ("b", "c"), ("d", "a/x/../y")]).unwrap();
        links(&[("a/b/up", "../.."), ("c", "a/b/up/d")]).unwrap();
        // as text it stays inside; followed, it climbs from the root
        refuses(links(&[("a/b/up", "../.."), ("c", "a/b/up/../d")]));
        refuses(links(&[("a/b/up", "../.."), ("c", "A/B/UP/../d")]));
        refuses(links(&[("up", "."), ("c", "up/.castoff")]));
        refuses(links(&[("a", "a")]));
        refuses(links(&[("a", "b/c"), ("b", "a/c")]));
    }

    #[test]
    fn links_that_take_for_ever_are_given_up() {
        let target = "x/../".repeat(800) + "x";
        let links: Vec<_> = (0..1000).map(|n| path(&format!("link{n}"))).collect();
        refuses(check_tree(
            links.iter().map(|from| (from, Node::Link(&target))),
        ));
    }

    #[test]
    fn what_cannot_lie_side_by_side_is_refused() {
        let both = |one: (&str, Node), other: (&str, Node)| {
            let (first, second) = (path(one.0), path(other.0));
            let there = check_tree([(&first, one.1), (&second, other.1)]);
            let back = check_tree([(&second, other.1), (&first, one.1)]);
            assert_eq!(there.is_ok(), back.is_ok());
            there
        };
        both(("a", Node::Folder), ("a/b", Node::File)).unwrap();
        both(("a", Node::File), ("a b", Node::File)).unwrap();
        both(("a/b", Node::File), ("A/c", Node::File)).unwrap();
        refuses(both(("a", Node::File), ("A", Node::File)));
        refuses(both(("a", Node::File), ("a", Node::Folder)));
        refuses(both(("a", Node::File), ("A/b", Node::File)));
        refuses(both(("a", Node::File), ("a/b/c", Node::Folder)));
        refuses(both(("a", Node::Link("c")), ("a/b", Node::File)));
    }

    #[test]
    fn what_sorts_between_a_file_and_its_child_hides_nothing() {
        let paths = ["a", "a b", "a!", "a-b", "a/b"].map(path);
        refuses(check_tree(paths.iter().map(|path| (path, Node::File))));
    }

    proptest! {
        #[test]
        fn a_path_that_is_taken_stays_below_its_folder(text in ".{0,40}") {
            if let Ok(path) = SafePath::try_from(text) {
                let below = path.below(Path::new("folder"));
                let mut parts = below.components();
                prop_assert_eq!(parts.next().unwrap().as_os_str(), "folder");
                prop_assert!(parts.all(|part| matches!(part, std::path::Component::Normal(_))));
                prop_assert!(path.parents().all(|above| SafePath::try_from(above.as_str()).is_ok()));
                prop_assert_eq!(path.folded().matches('/').count(), path.as_str().matches('/').count());
            }
        }
    }
}
