//! Versions and their one total order.
//!
//! Publishers write versions as their tools do: Python's (PEP 440: `1.2`, `1.2.9.1`, `2.0rc1`,
//! `1.0.post2`), Git's tags (`v1.2.6`, `release/v1.2.6`), and semantic versions
//! (`1.0.0-nightly.2`). All of them are read here, and any two of them can be compared.
//!
//! What is promised:
//!
//! - What PEP 440 reads is ordered as PEP 440 says, whatever else the text could mean: `1.0-1` is
//!   a post-release, not a pre-release.
//! - What only semantic versioning reads (a pre-release that PEP 440 does not know) is ordered
//!   among its like as semantic versioning says, but for two things: build metadata counts, as
//!   PEP 440's local version does, and case does not.
//! - Both share the names of phases (`a` is `alpha`; `c`, `pre` and `preview` are `rc`), so that
//!   `1.0.0-rc.1` < `1.0.0-rc.1.2` < `1.0.0-rc.2`.
//! - Equality, hash and order look at what a text means, not at how it is written: `1.0`,
//!   `v1.0.0` and `release/1` are equal. The text itself is kept, for people.
//!
//! Not promised: that texts which only semantic versioning reads lie where PEP 440 would put a
//! similar name (`1.0.0-dev.1.2` follows `1.0.0-beta`, as semantic versioning has it, while
//! `1.0.0.dev1` comes before every pre-release).

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Error;

/// The longest text that is taken for a version. No real one comes near, and with a suffix it
/// still fits into the 255 bytes that file systems allow for a name.
const LONGEST: usize = 128;

/// How much of a refused text an error repeats: it may be megabytes of somebody's answer.
const SHOWN: usize = 40;

/// A version: the text as it was given, and its place in the one total order.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version {
    text: String,
    key: Key,
}

impl Version {
    /// The text as it was given, without white space around it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it comes before the version that it leads to: an alpha, a release candidate, a build of
    /// the development.
    pub fn is_prerelease(&self) -> bool {
        self.key.pre != Pre::Final || self.key.dev != Dev::No
    }

    /// A name for files and folders: safe on every platform, the same for the same text, and
    /// different for versions that differ. Two ways to write one version may have two names.
    pub fn file_name(&self) -> String {
        let normal = normalise(&self.text);
        // An epoch's mark (`1!2.0`) is no character for scripts. `_` between the first number and
        // a digit occurs in no other version, so the name stays unambiguous. The dot can be the
        // last character of `1.0a.`, and Windows drops it.
        normal.replace('!', "_").trim_end_matches('.').to_owned()
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Version {}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key.cmp(&other.key)
    }
}

impl Hash for Version {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Version {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        let refuse = |problem| Error::VersionInvalid {
            text: match text.char_indices().nth(SHOWN) {
                Some((end, _)) => format!("{}...", &text[..end]),
                None => text.to_owned(),
            },
            problem,
        };
        if text.is_empty() {
            return Err(refuse("it is empty"));
        }
        if text.len() > LONGEST {
            return Err(refuse("it is longer than 128 bytes"));
        }
        let normal = normalise(text);
        if number_too_large(&normal) {
            return Err(refuse("a number in it is larger than 64 bits hold"));
        }
        let key = pep440(&normal)
            .or_else(|| semantic(&normal))
            .ok_or_else(|| refuse("it is neither a PEP 440 nor a semantic version"))?;
        Ok(Self {
            text: text.to_owned(),
            key,
        })
    }
}

impl TryFrom<String> for Version {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.text
    }
}

/// A version's place in the order. The fields' order, and the variants' order in the enums below,
/// are the order of versions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Key {
    epoch: u64,
    /// Without zeros at its end: `1.0` is `1`.
    release: Vec<u64>,
    pre: Pre,
    /// `None`, the lowest, for what is no post-release.
    post: Option<u64>,
    dev: Dev,
    /// `None`, the lowest, for a public version.
    local: Option<Vec<LocalPart>>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Pre {
    /// `1.0.dev1`: no pre-release, and yet before all of them.
    OnlyDev,
    /// A phase (`alpha`, `nightly`) and what follows it.
    Phase(Identifier, Vec<Identifier>),
    Final,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Dev {
    Number(u64),
    /// What is not in development comes after what is.
    No,
}

/// A part of a pre-release; numbers come before texts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Identifier {
    Number(u64),
    Text(String),
}

/// A part of a local version; there, texts come before numbers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum LocalPart {
    Text(String),
    Number(u64),
}

/// In lower case, without the prefixes of tags.
fn normalise(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let bare = lower.strip_prefix("release/").unwrap_or(&lower);
    bare.strip_prefix('v').unwrap_or(bare).to_owned()
}

fn number_too_large(text: &str) -> bool {
    text.split(|c: char| !c.is_ascii_digit())
        .any(|digits| !digits.is_empty() && digits.parse::<u64>().is_err())
}

/// Reads a normalised text as PEP 440's appendix B does: from left to right, as much as each
/// part can take.
fn pep440(text: &str) -> Option<Key> {
    let mut rest = Rest(text);
    let mut first = rest.number()?;
    let mut epoch = 0;
    if rest.take("!") {
        epoch = first;
        first = rest.number()?;
    }
    let mut release = vec![first];
    while let Some(number) = rest.after(|rest| rest.take("."), Rest::number) {
        release.push(number);
    }
    let pre = rest.labelled(&["alpha", "a", "beta", "b", "preview", "pre", "c", "rc"]);
    let post = rest
        .after(|rest| rest.take("-"), Rest::number)
        .or_else(|| Some(rest.labelled(&["post", "rev", "r"])?.1));
    let dev = rest.labelled(&["dev"]).map(|(_, number)| number);
    let local = if rest.take("+") {
        let mut parts = vec![rest.local_part()?];
        while rest.separator() {
            parts.push(rest.local_part()?);
        }
        Some(parts)
    } else {
        None
    };
    if !rest.0.is_empty() {
        return None;
    }
    Some(Key {
        epoch,
        release: without_trailing_zeros(release),
        pre: match pre {
            Some((label, number)) => Pre::Phase(phase(label), vec![Identifier::Number(number)]),
            None if post.is_none() && dev.is_some() => Pre::OnlyDev,
            None => Pre::Final,
        },
        post,
        dev: dev.map_or(Dev::No, Dev::Number),
        local,
    })
}

/// Reads a normalised text as a semantic version, <https://semver.org/spec/v2.0.0.html>.
fn semantic(text: &str) -> Option<Key> {
    let version = semver::Version::parse(text).ok()?;
    let mut identifiers = version.pre.split('.').filter(|part| !part.is_empty());
    let pre = identifiers.next().map_or(Pre::Final, |first| {
        Pre::Phase(phase(first), identifiers.map(identifier).collect())
    });
    let local = (!version.build.is_empty())
        .then(|| version.build.split(['.', '-']).map(local_part).collect());
    Some(Key {
        epoch: 0,
        release: without_trailing_zeros(vec![version.major, version.minor, version.patch]),
        pre,
        post: None,
        dev: Dev::No,
        local,
    })
}

fn without_trailing_zeros(mut release: Vec<u64>) -> Vec<u64> {
    while release.pop_if(|number| *number == 0).is_some() {}
    release
}

/// The phase by its one name.
fn phase(label: &str) -> Identifier {
    match label {
        "a" => identifier("alpha"),
        "b" => identifier("beta"),
        "c" | "pre" | "preview" => identifier("rc"),
        other => identifier(other),
    }
}

fn identifier(text: &str) -> Identifier {
    text.parse()
        .map_or_else(|_| Identifier::Text(text.to_owned()), Identifier::Number)
}

fn local_part(text: &str) -> LocalPart {
    text.parse()
        .map_or_else(|_| LocalPart::Text(text.to_owned()), LocalPart::Number)
}

/// What is still to be read of a version. Every method takes something off the front, or nothing.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn take(&mut self, prefix: &str) -> bool {
        let rest = self.0.strip_prefix(prefix);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn take_while(&mut self, wanted: fn(&u8) -> bool) -> &'a str {
        let length = self.0.bytes().take_while(wanted).count();
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken
    }

    fn number(&mut self) -> Option<u64> {
        self.take_while(u8::is_ascii_digit).parse().ok()
    }

    fn separator(&mut self) -> bool {
        self.take("-") || self.take("_") || self.take(".")
    }

    /// `then`, when it comes right after what `before` takes; else nothing is taken.
    fn after<T>(
        &mut self,
        before: impl FnOnce(&mut Self) -> bool,
        then: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<T> {
        let start = self.0;
        let found = if before(self) { then(self) } else { None };
        if found.is_none() {
            self.0 = start;
        }
        found
    }

    /// `-rc.1`, `rc1`, `.rc`: the label, and its number or zero.
    fn labelled(&mut self, labels: &[&'static str]) -> Option<(&'static str, u64)> {
        let label = self.after(
            |rest| {
                rest.separator();
                true
            },
            |rest| labels.iter().copied().find(|label| rest.take(label)),
        )?;
        // The separator belongs to the label even when no number follows: `1.0a.` is `1.0a0`.
        self.separator();
        Some((label, self.number().unwrap_or(0)))
    }

    fn local_part(&mut self) -> Option<LocalPart> {
        let part = self.take_while(u8::is_ascii_alphanumeric);
        (!part.is_empty()).then(|| local_part(part))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::hash_map::DefaultHasher;

    use proptest::prelude::*;

    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    fn problem(text: &str) -> &'static str {
        match text.parse::<Version>() {
            Err(Error::VersionInvalid { problem, .. }) => problem,
            other => panic!("{text:?}: {other:?}"),
        }
    }

    fn hash(version: &Version) -> u64 {
        let mut hasher = DefaultHasher::new();
        version.hash(&mut hasher);
        hasher.finish()
    }

    #[test]
    fn the_table_of_pairs() {
        let table = include_str!("../tests/data/versions.tsv");
        let mut pairs = 0;
        for line in table.lines().filter(|line| !line.starts_with('#')) {
            let [left, sign, right] = line.split('\t').collect::<Vec<_>>()[..] else {
                panic!("not three columns: {line:?}");
            };
            let expected = match sign {
                "<" => Ordering::Less,
                "=" => Ordering::Equal,
                ">" => Ordering::Greater,
                _ => panic!("no sign of order: {line:?}"),
            };
            let (left, right) = (version(left), version(right));
            assert_eq!(left.cmp(&right), expected, "{line}");
            assert_eq!(right.cmp(&left), expected.reverse(), "{line}");
            pairs += 1;
        }
        assert!(pairs >= 120, "only {pairs} pairs");
    }

    #[test]
    fn the_text_is_kept() {
        assert_eq!(version(" v1.2.0 \n").as_str(), "v1.2.0");
        assert_eq!(version("release/v1.2.6").to_string(), "release/v1.2.6");
        let stored = serde_json::to_string(&version("V1.0")).unwrap();
        assert_eq!(stored, "\"V1.0\"");
        let read: Version = serde_json::from_str(&stored).unwrap();
        assert_eq!(read.as_str(), "V1.0");
        assert!(serde_json::from_str::<Version>("\"latest\"").is_err());
    }

    #[test]
    fn what_leads_to_a_version_is_a_prerelease() {
        for text in [
            "1.0rc1",
            "v2.0.0-beta.2",
            "1.0.dev3",
            "1.0a1.dev2",
            "1.0.post1.dev2",
            "1.0.0-nightly.2",
        ] {
            assert!(version(text).is_prerelease(), "{text}");
        }
        for text in [
            "1.0",
            "release/v1.2.6",
            "1.0.post1",
            "1.0-1",
            "1.0.0+build.5",
        ] {
            assert!(!version(text).is_prerelease(), "{text}");
        }
    }

    #[test]
    fn what_is_no_version_is_refused() {
        assert_eq!(problem(""), "it is empty");
        assert_eq!(problem(" \t "), "it is empty");
        assert_eq!(problem(&"1".repeat(129)), "it is longer than 128 bytes");
        assert_eq!(problem(&"1.".repeat(5_000)), "it is longer than 128 bytes");
        for text in [
            "18446744073709551616",
            "1.0.18446744073709551616",
            "1.0rc18446744073709551616",
            "1.0+99999999999999999999",
            "1.0.0-nightly.99999999999999999999",
        ] {
            assert_eq!(problem(text), "a number in it is larger than 64 bits hold");
        }
        for text in [
            "latest",
            "v",
            "release/",
            "release/latest",
            "1..0",
            "1.0.",
            ".1",
            "-1",
            "1,0",
            "1.0 0",
            "1.0-",
            "1.0x",
            "1.0+",
            "1.0+a..b",
            "1.0+-a",
            "1!",
            "!1",
            "1!2!3",
            "1.0.0-",
            "1.0-x.1",
            "1.0.0-nightly.02",
            "01.0.0-nightly.2",
            "../1.0",
            "1.0/2",
            "1.0\0",
            "vv1.0",
            "１.０",
            "1.0.dev1.2.3.4.5.x",
            "1.0-1-1",
        ] {
            let problem = problem(text);
            assert_eq!(
                problem, "it is neither a PEP 440 nor a semantic version",
                "{text:?}"
            );
        }
    }

    #[test]
    fn an_error_repeats_no_more_than_the_beginning() {
        let error = "é".repeat(10_000).parse::<Version>().unwrap_err();
        assert!(error.to_string().len() < 200, "{error}");
    }

    #[test]
    fn numbers_may_be_as_large_as_64_bits() {
        assert!(version("1.18446744073709551615") > version("1.18446744073709551614"));
    }

    #[test]
    fn file_names() {
        for (text, name) in [
            ("1.2.3", "1.2.3"),
            ("v1.2.3", "1.2.3"),
            ("release/V1.2.3", "1.2.3"),
            ("1.0RC1", "1.0rc1"),
            ("1!2.0", "1_2.0"),
            ("1.0a.", "1.0a"),
            ("1.0.0-Nightly.2+Build.5", "1.0.0-nightly.2+build.5"),
        ] {
            assert_eq!(version(text).file_name(), name);
        }
    }

    #[test]
    fn what_only_semantic_versioning_reads_is_in_its_own_order() {
        // The example of its specification, with identifiers that PEP 440 cannot read.
        let rising = [
            "1.0.0-0.3.7",
            "1.0.0-alpha.1.2",
            "1.0.0-alpha.beta",
            "1.0.0-beta.2.x",
            "1.0.0-beta.11.x",
            "1.0.0-dev.1.2",
            "1.0.0-nightly",
            "1.0.0-nightly.2",
            "1.0.0-nightly.10",
            "1.0.0-nightly.x",
            "1.0.0-rc.1.x",
            "1.0.0-x-y",
            "1.0.0",
        ];
        for pair in rising.windows(2) {
            assert!(version(pair[0]) < version(pair[1]), "{pair:?}");
        }
    }

    /// Texts of all the kinds that are read, from few enough numbers and words that equal and
    /// nearly equal ones meet.
    fn texts() -> impl Strategy<Value = String> {
        let number = || prop::sample::select(vec!["0", "1", "2", "10", "007"]);
        let plain = || prop::sample::select(vec!["0", "1", "2", "10"]);
        let word = || {
            prop::sample::select(vec![
                "a", "alpha", "b", "c", "rc", "pre", "dev", "post", "nightly", "x-y", "Z",
            ])
        };
        let separator = || prop::sample::select(vec!["", ".", "-", "_"]);
        let label = |labels: Vec<&'static str>| {
            (
                separator(),
                prop::sample::select(labels),
                separator(),
                number(),
            )
                .prop_map(|(before, label, after, number)| {
                    format!("{before}{label}{after}{number}")
                })
        };
        let maybe = |part: BoxedStrategy<String>| prop_oneof![2 => Just(String::new()), 1 => part];
        let prefix = prop::sample::select(vec!["", "", "v", "V", "release/", "release/v"]);
        let epoch = prop::sample::select(vec!["", "", "", "0!", "1!"]);
        let local = (plain(), word()).prop_map(|(n, w)| format!("+{n}.{}", w.replace('-', ".")));
        let pep440 = (
            epoch,
            prop::collection::vec(number(), 1..5),
            maybe(label(vec!["a", "alpha", "b", "beta", "c", "rc", "pre", "Preview"]).boxed()),
            maybe(
                prop_oneof![
                    label(vec!["post", "rev", "r"]),
                    number().prop_map(|n| format!("-{n}"))
                ]
                .boxed(),
            ),
            maybe(label(vec!["dev", "DEV"]).boxed()),
            maybe(local.boxed()),
        )
            .prop_map(|(epoch, release, pre, post, dev, local)| {
                format!("{epoch}{}{pre}{post}{dev}{local}", release.join("."))
            });
        let identifiers = prop::collection::vec(prop_oneof![plain(), word()], 1..4);
        let semantic = (
            [plain(), plain(), plain()],
            identifiers,
            prop::option::of(word()),
        )
            .prop_map(|(release, pre, build)| {
                let build = build.map(|build| format!("+{build}")).unwrap_or_default();
                format!("{}-{}{build}", release.join("."), pre.join("."))
            });
        (prefix, prop_oneof![pep440, semantic])
            .prop_map(|(prefix, text)| format!("{prefix}{text}"))
            // A sub-set of these is read by nobody, such as 1.0.0-1.rc.
            .prop_filter("a version", |text| text.parse::<Version>().is_ok())
    }

    proptest! {
        #[test]
        fn the_order_is_total(a in texts(), b in texts(), c in texts()) {
            let (a, b, c) = (version(&a), version(&b), version(&c));
            prop_assert_eq!(a.cmp(&a), Ordering::Equal);
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
            prop_assert_eq!(a == b, a.cmp(&b) == Ordering::Equal);
            if a <= b && b <= c {
                prop_assert!(a <= c);
            }
            if a == b {
                prop_assert_eq!(hash(&a), hash(&b));
                prop_assert_eq!(a.cmp(&c), b.cmp(&c));
            }
        }

        #[test]
        fn a_file_name_is_safe_and_names_one_version(a in texts(), b in texts()) {
            let (a, b) = (version(&a), version(&b));
            let name = a.file_name();
            prop_assert!(name.starts_with(|c: char| c.is_ascii_digit()));
            prop_assert!(!name.ends_with('.'));
            prop_assert!(name.bytes().all(|byte| matches!(
                byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'+')));
            if name == b.file_name() {
                prop_assert_eq!(a, b);
            }
        }

        #[test]
        fn nothing_makes_it_panic(text in any::<String>(), near in "[0-9.!+_a-z-]{0,20}") {
            let _ = text.parse::<Version>();
            let _ = near.parse::<Version>();
        }
    }
}
