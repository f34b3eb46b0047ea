//! Gitignore patterns over the paths of a client folder.
//!
//! The rules are Git's: the last pattern that matches decides, `!` takes back, a pattern with a
//! slash before its end is anchored at the client folder, `foo/` is for folders only, and what
//! lies below a folder that matches cannot be taken back. Two things differ, because the patterns
//! are the items of a list and not the lines of a file: `#` begins no comment, and what can never
//! match is refused instead of passed over; it would protect nothing.
//!
//! Case counts, except on systems whose file systems fold it (Windows, macOS). There only ASCII
//! letters are folded.

use gix_glob::pattern::Case;
use gix_glob::wildmatch::Mode;

use crate::config::UpdateConfig;
use crate::{Error, Result};

const CASE: Case = if cfg!(any(windows, target_os = "macos")) {
    Case::Fold
} else {
    Case::Sensitive
};

/// A list of patterns, ready to match.
#[derive(Clone, Debug, Default)]
pub struct Patterns {
    patterns: Vec<gix_glob::Pattern>,
}

impl Patterns {
    /// Reads patterns. [`Error::ConfigInvalid`] names the one that can match nothing.
    pub fn parse(patterns: &[String]) -> Result<Self> {
        let patterns = patterns
            .iter()
            .map(|text| {
                let refuse = |problem: &str| Error::ConfigInvalid {
                    place: format!("the pattern {text:?}"),
                    problem: problem.to_owned(),
                    nearest: None,
                };
                if let Some(problem) = unclosed(text) {
                    return Err(refuse(problem));
                }
                gix_glob::parse(without_trailing_spaces(text))
                    .filter(|pattern| !pattern.text.is_empty())
                    .ok_or_else(|| refuse("it names nothing"))
            })
            .collect::<Result<_>>()?;
        Ok(Self { patterns })
    }

    /// Whether the patterns take a path: relative to the client folder, parts joined by `/`.
    pub fn matches(&self, path: &str, is_folder: bool) -> bool {
        let path = path.trim_end_matches('/');
        // The client folder itself is no item in it.
        !path.is_empty() && self.matches_item(path, is_folder)
    }

    fn matches_item(&self, path: &str, is_folder: bool) -> bool {
        path.match_indices('/')
            .any(|(end, _)| self.last_match(&path[..end], true))
            || self.last_match(path, is_folder)
    }

    /// What the last pattern that matches this very path says.
    fn last_match(&self, path: &str, is_folder: bool) -> bool {
        let name = path.rfind('/').map(|slash| slash + 1);
        self.patterns
            .iter()
            .rev()
            .find(|pattern| {
                pattern.matches_repo_relative_path(
                    path.into(),
                    name,
                    Some(is_folder),
                    CASE,
                    Mode::NO_MATCH_SLASH_LITERAL,
                )
            })
            .is_some_and(|pattern| !pattern.is_negative())
    }
}

/// Spaces at the end do not count, unless there is a backslash before them.
fn without_trailing_spaces(text: &str) -> &str {
    let trimmed = text.trim_end_matches(' ');
    let backslashes = trimmed
        .bytes()
        .rev()
        .take_while(|byte| *byte == b'\\')
        .count();
    if backslashes % 2 == 1 && trimmed.len() < text.len() {
        &text[..=trimmed.len()]
    } else {
        trimmed
    }
}

/// What is wrong with a pattern whose brackets or escapes do not end.
fn unclosed(text: &str) -> Option<&'static str> {
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '\\' if rest.next().is_none() => return Some("nothing follows the backslash"),
            '[' => {
                // Right after the opening, `]` stands for itself.
                let inside = rest.as_str();
                let inside = inside.strip_prefix(['!', '^']).unwrap_or(inside);
                let first = inside.chars().next().map_or(0, char::len_utf8);
                let Some(end) = inside[first..].find(']') else {
                    return Some("nothing closes the bracket");
                };
                rest = inside[first + end + 1..].chars();
            }
            _ => {}
        }
    }
    None
}

/// The patterns of `[update]`, which say what an update may not do to whose files.
#[derive(Debug)]
pub struct Rules {
    /// What an update never overwrites or removes.
    pub preserve: Patterns,
    /// The same as it was written.
    pub preserved: Vec<String>,
    /// What apps write in place, so that a backup copies it.
    pub mutable: Patterns,
    /// Files outside the file list that a backup leaves out.
    pub backup_excludes: Patterns,
}

impl Rules {
    /// The rules of a configuration.
    pub fn of(config: &UpdateConfig) -> Result<Self> {
        Ok(Self {
            preserve: Patterns::parse(&config.preserve)?,
            preserved: config.preserve.clone(),
            mutable: Patterns::parse(&config.mutable)?,
            backup_excludes: Patterns::parse(&config.backup_excludes)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(texts: &[&str]) -> Patterns {
        let texts: Vec<_> = texts.iter().map(ToString::to_string).collect();
        Patterns::parse(&texts).unwrap()
    }

    /// A path with a slash at its end is a folder.
    fn taken(texts: &[&str], path: &str) -> bool {
        patterns(texts).matches(path, path.ends_with('/'))
    }

    #[test]
    fn gits_documentation() {
        for (texts, takes, leaves) in [
            // A slash at the beginning or in the middle anchors.
            (
                &["doc/frotz"][..],
                &["doc/frotz", "doc/frotz/"][..],
                &["a/doc/frotz"][..],
            ),
            (&["/doc/frotz"], &["doc/frotz"], &["a/doc/frotz"]),
            (
                &["frotz/"],
                &["frotz/", "a/frotz/", "a/frotz/x"],
                &["frotz", "a/frotz"],
            ),
            (
                &["doc/frotz/"],
                &["doc/frotz/", "doc/frotz/x"],
                &["a/doc/frotz/"],
            ),
            // Wildcards do not cross slashes.
            (
                &["foo/*"],
                &["foo/test.json", "foo/bar/", "foo/bar/hello.c"],
                &["foo/", "a/foo/x"],
            ),
            (&["*.[oa]"], &["x.o", "lib/x.a"], &["x.c", "x.oa"]),
            (&["/*.c"], &["cat-file.c"], &["mozilla-sha1/sha1.c"]),
            (&["h?llo"], &["hello", "a/hallo"], &["hllo", "h/llo"]),
            (&["hello.*"], &["hello.txt", "a/hello.java"], &["hello"]),
            // Two asterisks do.
            (&["**/foo"], &["foo", "a/foo", "a/b/foo"], &["foox"]),
            (&["**/foo/bar"], &["foo/bar", "a/foo/bar"], &["foo/x/bar"]),
            (&["abc/**"], &["abc/x", "abc/x/y"], &["abc/", "x/abc/y"]),
            (
                &["a/**/b"],
                &["a/b", "a/x/b", "a/x/y/b"],
                &["x/a/b", "a/bx"],
            ),
            // The last one decides, but not below a folder that is taken.
            (
                &["*.html", "!foo.html"],
                &["bar.html", "a/bar.html"],
                &["foo.html", "a/foo.html"],
            ),
            (&["!foo.html", "*.html"], &["foo.html"], &[]),
            (&["a/", "!a/keep"], &["a/keep", "a/b/c"], &["b"]),
            (
                &["/*", "!/foo", "/foo/*", "!/foo/bar"],
                &["x", "foo/x"],
                &["foo/", "foo/bar", "foo/bar/x"],
            ),
            // Escapes.
            (
                &["\\!important!.txt"],
                &["!important!.txt"],
                &["important!.txt"],
            ),
            (&["\\#x"], &["#x"], &["x"]),
            (&["#x"], &["#x"], &["x"]),
            (&["a\\*"], &["a*"], &["ab"]),
            (&["a  "], &["a"], &["a  "]),
            (&["a\\ "], &["a "], &["a"]),
        ] {
            for path in takes {
                assert!(taken(texts, path), "{texts:?} should take {path}");
            }
            for path in leaves {
                assert!(!taken(texts, path), "{texts:?} should leave {path}");
            }
        }
    }

    #[test]
    fn what_people_preserve() {
        let list = ["uploads/", ".env", "*.db", "config/*.ini"];
        for path in [
            "uploads/",
            "uploads/a/b.png",
            ".env",
            "sub/.env",
            "db/otrs_data.db",
            "config/a.ini",
            "上传/x.db",
        ] {
            assert!(taken(&list, path), "{path}");
        }
        for path in [
            "upload/x",
            "env",
            "config/sub/a.ini",
            "main.py",
            "x.db-journal",
        ] {
            assert!(!taken(&list, path), "{path}");
        }
        assert!(taken(&["上传/"], "上传/文件.txt"));
    }

    #[test]
    fn nothing_takes_nothing() {
        assert!(!taken(&[], "a"));
        assert!(!Patterns::default().matches("a/b", false));
        assert!(!taken(&["*"], ""));
    }

    #[test]
    fn what_can_match_nothing_is_refused() {
        for text in ["", "  ", "!", "/", "!/", "a\\", "[a", "x[!]", "[]", "a[]b"] {
            let error = Patterns::parse(&["ok".to_owned(), text.to_owned()]).unwrap_err();
            assert!(
                error.to_string().contains(&format!("{text:?}")),
                "{text:?}: {error}"
            );
        }
        for text in ["[]]", "[!]]x", "a\\[", "[[:alpha:]]", "\\\\"] {
            assert!(Patterns::parse(&[text.to_owned()]).is_ok(), "{text:?}");
        }
    }

    #[cfg(any(windows, target_os = "macos"))]
    #[test]
    fn case_is_folded_where_the_file_system_folds_it() {
        assert!(taken(&["Uploads/"], "uploads/x"));
    }
}
