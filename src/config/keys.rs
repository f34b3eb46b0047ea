//! The one table of what can be configured.
//!
//! A key's environment variable, its default, its checks, what a baked value allows and its line
//! in `docs/configuration.md` all come from here; nothing else lists the keys.

use super::value::{Kind, Value};
use crate::trust::MOST_KEYS;

/// One thing that can be configured.
#[derive(Debug)]
pub struct Key {
    /// The dotted name, as in `update.downgrade`.
    pub name: &'static str,
    /// What its values look like.
    pub kind: Kind,
    /// The default as the environment would say it; `None`: left open, see `help`.
    pub default: Option<&'static str>,
    /// What it does, in one line; empty but in tests.
    pub help: &'static str,
    /// How a baked value may be changed from outside.
    pub tighten: Tighten,
}

impl Key {
    /// The environment variable, as in `CASTOFF_UPDATE_DOWNGRADE`.
    pub fn variable(&self) -> String {
        format!(
            "CASTOFF_{}",
            self.name.to_ascii_uppercase().replace('.', "_")
        )
    }
}

/// How the file and the environment may change what was baked into the executable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tighten {
    /// In any way.
    Free,
    /// To this value only.
    OnlyTo(&'static str),
    /// To a smaller number only.
    OnlySmaller,
    /// To a larger number only.
    OnlyLarger,
    /// To another address of the same host, and not from https to http; a path not at all.
    SameHost,
    /// Not at all.
    Fixed,
}

impl Tighten {
    /// Whether `new` may stand where `baked` (`None`: nothing) was baked in.
    pub(super) fn allows(self, baked: Option<&Value>, new: &Value) -> bool {
        let Some(baked) = baked else { return true };
        if baked == new {
            return true;
        }
        match (self, baked, new) {
            (Self::Free, ..) => true,
            (Self::OnlyTo(strict), _, new) => new.to_string() == strict,
            (Self::OnlySmaller, Value::Number(baked), Value::Number(new)) => new < baked,
            (Self::OnlyLarger, Value::Number(baked), Value::Number(new)) => new > baked,
            (Self::SameHost, Value::Text(baked), Value::Text(new)) => {
                let (baked, new) = (host(baked), host(new));
                // A path has none: then it is this one.
                !baked.1.is_empty() && baked.1 == new.1 && (baked.0 == new.0 || new.0 == "https")
            }
            // A rule that does not fit the key's kind: nothing gets past it.
            _ => false,
        }
    }
}

/// Scheme and host of a checked address, in lower case.
fn host(url: &str) -> (String, String) {
    let uri = url.parse::<ureq::http::Uri>().unwrap_or_default();
    let lower = |part: Option<&str>| part.unwrap_or_default().to_ascii_lowercase();
    (lower(uri.scheme_str()), lower(uri.host()))
}

/// A day. Longer time limits are slips of the pen (milliseconds, mostly).
const DAY: u64 = 86_400;

/// Every key, in the order of the sample file and the documentation.
pub const KEYS: &[Key] = &[
    // What is signed for another app of the publisher's is not for this one.
    tight(
        "app",
        Kind::Identity,
        None,
        "identity of the app, such as `com.example.client`; names the per-user folders, and is what signed documents are compared with",
        Tighten::Fixed,
    ),
    key(
        "name",
        Kind::Text,
        None,
        "name of the app as people know it; else `app`, else the launcher's folder",
    ),
    key(
        "icon",
        Kind::Path,
        None,
        "icon of shortcuts, relative to the client folder or the launcher's: `.ico` on Windows, `.png` or `.svg` on Linux",
    ),
    key(
        "client_dir",
        Kind::Path,
        Some("client"),
        "folder of the app, relative to the launcher's folder",
    ),
    key(
        "entry_point",
        Kind::EntryPoint,
        None,
        "file in the client folder to start when the release names none",
    ),
    key(
        "version_file",
        Kind::FileName,
        Some("local_version.json"),
        "name of the file in the client folder that says what is installed",
    ),
    key(
        "installed_version",
        Kind::Text,
        None,
        "version that counts as installed where the version file is missing and the client folder is not empty",
    ),
    key(
        "layout",
        Kind::Choice {
            now: if cfg!(unix) {
                &["in-place", "snapshot"]
            } else {
                &["in-place"]
            },
            later: if cfg!(unix) { &[] } else { &["snapshot"] },
        },
        Some("in-place"),
        "how versions lie on disk: `in-place` (one folder, with backups) or `snapshot` (a folder for each version, and links; Unix)",
    ),
    key(
        "channel",
        Kind::Identity,
        Some("stable"),
        "channel of releases to follow, where the source has several",
    ),
    key(
        "language",
        Kind::Text,
        None,
        "language of messages, `en` or `zh-CN`; else the system's",
    ),
    // Who bakes `false` in has a reason: nobody may be there to close a window.
    tight(
        "dialogs",
        Kind::Flag,
        Some("true"),
        "whether an error after which nothing starts is shown in a window where there is no terminal",
        Tighten::OnlyTo("false"),
    ),
    key(
        "log_dir",
        Kind::Path,
        None,
        "folder of the log, relative to the launcher's folder; else the per-user one",
    ),
    key(
        "log_level",
        Kind::Choice {
            now: &["off", "error", "warn", "info", "debug", "trace"],
            later: &[],
        },
        Some("info"),
        "least severe level that is logged: `off`, `error`, `warn`, `info`, `debug`, `trace`",
    ),
    // From a source with an index to one without would be a step down.
    tight(
        "source.kind",
        Kind::Choice {
            now: &[
                "check",
                "check-files",
                "index",
                "folder",
                "github",
                "codeup",
                "yunxiao",
                "gitlab",
                "gitee",
                "gitea",
                "forgejo",
                "pushed",
            ],
            later: &[],
        },
        Some("check"),
        "kind of source: `check` (an endpoint that answers with the active version), `check-files` (one that answers file by file), `index` (signed documents on any web server), `folder` (the same in a folder), or a forge: `github`, `codeup` (also `yunxiao`), `gitlab`, `gitee`, `gitea` (also `forgejo`); or `pushed`: nobody is asked, releases are handed to `castoff agent`",
        Tighten::OnlyTo("index"),
    ),
    tight(
        "source.url",
        Kind::Place,
        None,
        "address of the source, http or https, without credentials, or the path of a `folder`; has to be set, but for the forges that have an address of their own and for `pushed`",
        Tighten::SameHost,
    ),
    tight(
        "source.repo",
        Kind::Text,
        None,
        "repository at a forge, as `owner/name`",
        Tighten::Fixed,
    ),
    key(
        "source.token",
        Kind::Secret,
        None,
        "token for a forge, sent as that forge expects it, to scheme, host and port of `source.url` and nowhere else",
    ),
    key(
        "source.asset",
        Kind::Text,
        None,
        "which file of a forge's release is the package: a gitignore pattern, in which `{version}`, `{tag}`, `{target}`, `{os}` and `{arch}` are replaced, or `tarball` or `zipball` for the archive of the tag; else the one that is named after this kind of machine, the only one, or without files the archive of the tag",
    ),
    key(
        "source.documents",
        Kind::Text,
        None,
        "address of the folder with the signed documents, in which `{version}` and `{tag}` are replaced; else they are files of the release itself",
    ),
    key(
        "source.history",
        Kind::Text,
        None,
        "address of a check source's list of versions; else made of `source.url`",
    ),
    key(
        "source.headers",
        Kind::Headers,
        None,
        "headers (tokens) sent to scheme, host and port of `source.url` and nowhere else; in the environment one `Name: value` a line",
    ),
    key(
        "source.fields.version",
        Kind::Text,
        Some("version"),
        "field of the check answer that holds the version",
    ),
    key(
        "source.fields.url",
        Kind::List,
        Some("download_url, file"),
        "fields that hold the package's address, tried in this order",
    ),
    key(
        "source.fields.sha256",
        Kind::Text,
        Some("file_hash"),
        "field that holds the package's SHA-256",
    ),
    key(
        "source.fields.size",
        Kind::Text,
        Some("file_size"),
        "field that holds the package's size in bytes",
    ),
    key(
        "source.fields.entry_point",
        Kind::Text,
        Some("entry_point"),
        "field that holds the entry point",
    ),
    key(
        "source.fields.notes",
        Kind::Text,
        Some("changelog"),
        "field that holds the release notes",
    ),
    key(
        "source.fields.launchers",
        Kind::Text,
        Some("launchers"),
        "field that holds the launchers, by target",
    ),
    key(
        "source.fields.critical_below",
        Kind::Text,
        Some("critical_below"),
        "field that holds the version below which an update cannot wait",
    ),
    key(
        "source.fields.rollout",
        Kind::Text,
        Some("rollout"),
        "field that holds the percentage of installations that are to have the version already",
    ),
    key(
        "source.fields.release",
        Kind::Text,
        Some("release"),
        "field that holds the signed release document",
    ),
    key(
        "source.fields.keys",
        Kind::Text,
        Some("keys"),
        "field that holds the keys documents, in their order",
    ),
    tight(
        "trust.keys",
        Kind::Keys,
        None,
        "public keys of the publisher, as `castoff keygen` prints them; with them, what is not signed is refused",
        Tighten::Fixed,
    ),
    tight(
        "trust.threshold",
        Kind::Count {
            least: 1,
            most: MOST_KEYS as u64,
        },
        Some("1"),
        "how many of these keys have to sign",
        Tighten::OnlyLarger,
    ),
    tight(
        "trust.first",
        Kind::Count {
            least: 1,
            most: u32::MAX as u64,
        },
        Some("1"),
        "number of the first keys document that is followed; larger where `trust.keys` are those of later keys",
        Tighten::Fixed,
    ),
    key(
        "network.connect_timeout",
        Kind::Seconds {
            least: 0.001,
            most: DAY,
        },
        Some("5 s"),
        "until a connection stands",
    ),
    key(
        "network.stall_timeout",
        Kind::Seconds {
            least: 0.001,
            most: DAY,
        },
        Some("30 s"),
        "without (enough) new bytes of a package",
    ),
    key(
        "network.check_timeout",
        Kind::Seconds {
            least: 0.001,
            most: DAY,
        },
        Some("2 s"),
        "for a whole check, when an app is installed that can be started instead",
    ),
    key(
        "network.retries",
        Kind::Count {
            least: 0,
            most: 100,
        },
        Some("3"),
        "attempts after the first",
    ),
    // Below, calls to the system outweigh the bytes; above, memory does.
    key(
        "network.chunk_size",
        Kind::Size {
            least: 1 << 10,
            most: 16 << 20,
        },
        Some("64 KiB"),
        "bytes that are read and written at once, 1 KiB to 16 MiB",
    ),
    tight(
        "network.verify_certificates",
        Kind::Flag,
        Some("true"),
        "whether certificates are checked",
        Tighten::OnlyTo("true"),
    ),
    tight(
        "network.allow_http",
        Kind::Flag,
        Some("false"),
        "whether plain http is allowed to hosts other than loopback, tokens included; without it, with `trust.keys` and without tokens",
        Tighten::OnlyTo("false"),
    ),
    tight(
        "network.max_package_size",
        Kind::Size {
            least: 1,
            most: u64::MAX,
        },
        Some("4 GiB"),
        "largest package that is fetched",
        Tighten::OnlySmaller,
    ),
    key(
        "update.when",
        Kind::Choice {
            now: &["before-launch", "background", "manual"],
            later: &[],
        },
        Some("before-launch"),
        "when to look for updates: `before-launch`, in the `background` while the app runs (what was fetched is installed at the next start), or `manual` (only when told to)",
    ),
    key(
        "update.interval",
        Kind::Seconds {
            least: 0.0,
            most: 30 * DAY,
        },
        Some("0 s"),
        "shortest time between two checks, failed ones included; 0: every start checks",
    ),
    key(
        "update.skip",
        Kind::Lines,
        Some(""),
        "versions that are left out",
    ),
    key(
        "update.pin",
        Kind::Text,
        None,
        "the one version (or tag) that may be installed",
    ),
    key(
        "update.metered_limit",
        Kind::Size {
            least: 0,
            most: u64::MAX,
        },
        Some("10 MiB"),
        "larger packages are not fetched over a connection that the system calls metered",
    ),
    key(
        "update.quiet_hours",
        Kind::Text,
        None,
        "hours of the day, as `22:00-06:00` in local time, in which nothing is looked for in the background",
    ),
    tight(
        "update.block_critical",
        Kind::Flag,
        Some("false"),
        "whether a version that is not safe to go on with is not started, where a fixed one has been fetched and cannot be installed",
        Tighten::OnlyTo("true"),
    ),
    tight(
        "update.downgrade",
        Kind::Choice {
            now: &["follow", "refuse"],
            later: &[],
        },
        Some("follow"),
        "when the source offers an older version: `follow` installs it, `refuse` does not",
        Tighten::OnlyTo("refuse"),
    ),
    key(
        "update.preserve",
        Kind::Patterns,
        Some(""),
        "paths that an update never overwrites or removes; gitignore patterns",
    ),
    key(
        "update.mutable",
        Kind::Patterns,
        Some(""),
        "paths that the app writes in place, so that a backup copies them; gitignore patterns",
    ),
    // What the Python client leaves out.
    key(
        "update.backup_excludes",
        Kind::Patterns,
        Some("__pycache__/, *.pyc, .git/, *.zip"),
        "files outside the release that the backup leaves out; gitignore patterns",
    ),
    key(
        "update.keep",
        Kind::Count {
            least: 0,
            most: 1_000,
        },
        Some("3"),
        "how many older versions stay",
    ),
    key(
        "update.keep_space",
        Kind::Size {
            least: 0,
            most: 1 << 50,
        },
        Some("0"),
        "bytes that older versions may take together, beyond the newest one; 0: any number",
    ),
    tight(
        "update.launcher",
        Kind::Flag,
        Some("true"),
        "whether the launcher replaces itself by the one that the source announces",
        Tighten::OnlyTo("false"),
    ),
    key(
        "snapshot.bin_dir",
        Kind::Path,
        Some("/usr/local/bin"),
        "folder of the links to a version's programs, for `castoff links`",
    ),
    key(
        "run.python",
        Kind::Text,
        Some("auto"),
        "Python interpreter for `.py` entry points; `auto` looks for one",
    ),
    key(
        "run.wait",
        Kind::Flag,
        Some("true"),
        "whether the launcher waits for the app and hands its exit code on",
    ),
    key(
        "run.trial",
        Kind::Seconds {
            least: 0.0,
            most: DAY,
        },
        Some("10 s"),
        "with `run.confirm` = `alive`: how long a new version must run to have passed its trial",
    ),
    key(
        "run.confirm",
        Kind::Choice {
            now: &["alive", "ready", "http", "command", "none"],
            later: &[],
        },
        Some("alive"),
        "what a new version has to show: that it is `alive`, that it is `ready`, by `http`, to a `command`, or `none`",
    ),
    key(
        "run.confirm_within",
        Kind::Seconds {
            least: 0.001,
            most: DAY,
        },
        Some("60 s"),
        "how long it may take until a new version is `ready`, answers by `http`, or the `command` succeeds",
    ),
    key(
        "run.confirm_url",
        Kind::Url,
        None,
        "address that has to answer with status 200, for `http`",
    ),
    key(
        "run.confirm_command",
        Kind::Text,
        None,
        "command line for the system's shell that has to end with 0, for `command`",
    ),
    key(
        "run.attempts",
        Kind::Count {
            least: 1,
            most: 100,
        },
        Some("2"),
        "how many starts may fail or end without a verdict before the version before is put back",
    ),
    key(
        "run.ok_codes",
        Kind::Codes,
        Some(""),
        "exit codes with which a new version may end at once and has passed its trial; with `alive` 0 is one",
    ),
    key(
        "run.fail_codes",
        Kind::Codes,
        Some(""),
        "exit codes with which a new version that ends at once has failed, as if it had crashed",
    ),
    key(
        "hooks.before_backup",
        Kind::Lines,
        Some(""),
        "command lines to run before the backup is made",
    ),
    key(
        "hooks.after_stage",
        Kind::Lines,
        Some(""),
        "command lines to run when the new version is staged",
    ),
    key(
        "hooks.after_commit",
        Kind::Lines,
        Some(""),
        "command lines to run when the new version is in place, before its first start: migrations",
    ),
    key(
        "hooks.before_start",
        Kind::Lines,
        Some(""),
        "command lines to run before every start of the app",
    ),
    key(
        "hooks.after_confirm",
        Kind::Lines,
        Some(""),
        "command lines to run when the new version has passed its trial",
    ),
    key(
        "hooks.on_rollback",
        Kind::Lines,
        Some(""),
        "command lines to run when the version before has been put back",
    ),
    // Who bakes `true` in trusts those who sign releases with more than files.
    tight(
        "hooks.package",
        Kind::Flag,
        Some("false"),
        "whether the commands for `after_stage` and `after_commit` that a signed package brings are run too",
        Tighten::OnlyTo("false"),
    ),
    key(
        "hooks.timeout",
        Kind::Seconds {
            least: 0.001,
            most: DAY,
        },
        Some("5 min"),
        "for each command: hooks, dumps, dependencies",
    ),
    key(
        "databases.sqlite",
        Kind::Lines,
        Some(""),
        "SQLite files that belong to the version, relative to the client folder or absolute",
    ),
    key(
        "databases.dump",
        Kind::Text,
        None,
        "command line that writes any other database to the file `CASTOFF_DUMP`",
    ),
    key(
        "databases.restore",
        Kind::Text,
        None,
        "command line that makes that database what the file `CASTOFF_DUMP` holds",
    ),
    key(
        "python.requirements",
        Kind::EntryPoint,
        None,
        "file of the app with its Python dependencies, such as `requirements.txt`; without it none are installed",
    ),
    key(
        "python.environment",
        Kind::Choice {
            now: &["own", "foreign"],
            later: &[],
        },
        Some("own"),
        "where dependencies go: `own` makes a virtual environment for each state of the file, `foreign` installs into the interpreter that is found",
    ),
];

const fn key(
    name: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    help: &'static str,
) -> Key {
    tight(name, kind, default, help, Tighten::Free)
}

const fn tight(
    name: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    help: &'static str,
    tighten: Tighten,
) -> Key {
    Key {
        name,
        kind,
        default,
        // The tests hold the documentation to it; the launcher does without the texts.
        help: if cfg!(test) { help } else { "" },
        tighten,
    }
}

/// The key of that name.
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// Whether keys lie below that name, as they do below `update`.
pub(super) fn is_table(name: &str) -> bool {
    KEYS.iter().any(|key| {
        key.name
            .strip_prefix(name)
            .is_some_and(|rest| rest.starts_with('.'))
    })
}

/// The key that was probably meant by a name that is none.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let candidates = KEYS.iter().map(|key| {
        let whole = likeness(name, key.name);
        // The right key in the wrong table, such as `downgrade` at the top. A little less than
        // the whole name, so that this decides only where the whole name does not.
        let misplaced = likeness(&last(name), &last(key.name)) * 0.9;
        (key.name, whole.max(misplaced))
    });
    best(candidates)
}

/// The choice that was probably meant.
pub(super) fn nearest_choice(text: &str, choices: &[&'static str]) -> Option<&'static str> {
    best(
        choices
            .iter()
            .map(|&choice| (choice, likeness(text, choice))),
    )
}

fn likeness(a: &str, b: &str) -> f64 {
    let plain = |text: &str| text.to_lowercase().replace('-', "_");
    strsim::normalized_damerau_levenshtein(&plain(a), &plain(b))
}

fn best(candidates: impl Iterator<Item = (&'static str, f64)>) -> Option<&'static str> {
    // Two letters of three the same: less is no hint but a puzzle.
    const ENOUGH: f64 = 0.66;
    candidates
        .filter(|(_, likeness)| *likeness >= ENOUGH)
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_defaults_are_values() {
        for (index, key) in KEYS.iter().enumerate() {
            assert!(KEYS[..index].iter().all(|other| other.name != key.name));
            assert!(!is_table(key.name), "{} is a key and a table", key.name);
            if let Some(default) = key.default {
                let value = key.kind.read_text(default);
                assert!(value.is_ok(), "{}: {value:?}", key.name);
            }
        }
    }

    #[test]
    fn variables() {
        let variable = |name| find(name).unwrap().variable();
        assert_eq!(variable("app"), "CASTOFF_APP");
        assert_eq!(variable("update.downgrade"), "CASTOFF_UPDATE_DOWNGRADE");
        assert_eq!(
            variable("source.fields.sha256"),
            "CASTOFF_SOURCE_FIELDS_SHA256"
        );
    }

    #[test]
    fn the_nearest_key() {
        for (unknown, meant) in [
            ("update.downgrad", Some("update.downgrade")),
            ("updates.keep", Some("update.keep")),
            ("downgrade", Some("update.downgrade")),
            ("network.preserve", Some("update.preserve")),
            ("clientDir", Some("client_dir")),
            ("entry-point", Some("entry_point")),
            ("source.Url", Some("source.url")),
            ("colour", None),
            ("x", None),
        ] {
            assert_eq!(nearest(unknown), meant, "{unknown}");
        }
    }

    #[test]
    fn what_may_be_tightened() {
        let allows = |name: &str, baked: &str, new: &str| {
            let key = find(name).unwrap();
            let read = |text| key.kind.read_text(text).unwrap();
            key.tighten.allows(Some(&read(baked)), &read(new))
        };
        for (name, baked, new, allowed) in [
            ("network.verify_certificates", "false", "true", true),
            ("network.verify_certificates", "true", "true", true),
            ("network.verify_certificates", "true", "false", false),
            ("network.allow_http", "true", "false", true),
            ("network.allow_http", "false", "true", false),
            ("network.max_package_size", "1 GiB", "1 MiB", true),
            ("network.max_package_size", "1 GiB", "2 GiB", false),
            ("update.downgrade", "follow", "refuse", true),
            ("update.downgrade", "refuse", "follow", false),
            ("update.launcher", "true", "false", true),
            ("update.launcher", "false", "true", false),
            (
                "source.url",
                "https://a.example/x",
                "https://A.EXAMPLE:8443/y",
                true,
            ),
            (
                "source.url",
                "http://a.example/",
                "https://a.example/",
                true,
            ),
            (
                "source.url",
                "https://a.example/",
                "http://a.example/",
                false,
            ),
            (
                "source.url",
                "https://a.example/",
                "https://b.example/",
                false,
            ),
            (
                "source.url",
                "https://a.example/",
                "https://a.example.b.example/",
                false,
            ),
            ("update.keep", "3", "30", true),
            ("dialogs", "true", "false", true),
            ("dialogs", "false", "true", false),
        ] {
            assert_eq!(
                allows(name, baked, new),
                allowed,
                "{name}: {baked} -> {new}"
            );
        }
    }
}
