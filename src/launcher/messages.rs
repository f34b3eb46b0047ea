//! The texts that people read, in their language.
//!
//! The texts are in `assets/messages`, one file a language; `build.rs` makes [`Text`] of them and
//! refuses a text that one language lacks.
//!
//! Promised: what [`render`] puts into a template cannot leave its place. A server, an archive or
//! a file name cannot move the cursor, change colours, add lines, or turn the writing direction,
//! and cannot fill the screen. Not promised: that it is true, or that letters which look alike are
//! told apart.

use std::iter::{self, Peekable};
use std::str::Chars;
use std::sync::OnceLock;

use crate::packed::unpack;
use crate::{Code, Error};

include!(concat!(env!("OUT_DIR"), "/messages.rs"));

/// The longest value that is put into a template, in characters: a deep path or an address with a
/// token fits, and three of them leave a screen readable.
const LONGEST_VALUE: usize = 400;

/// The longest line of a publisher's notes before a start, in characters.
pub(super) const LONGEST_LINE: usize = 300;

/// What stands for text that was left out.
pub(super) const CUT: &str = "…";

/// The languages of the catalogues, in the order of `CATALOGUES` in `build.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lang {
    /// English, which is also for everyone whose language there is no catalogue for.
    En,
    /// Simplified Chinese, which also serves those who read traditional characters.
    ZhCn,
}

impl Lang {
    /// Every language.
    pub const ALL: [Self; 2] = [Self::En, Self::ZhCn];

    /// The language to speak: the configured one, else the first of the system's preferences that
    /// there is a catalogue for, else English.
    pub fn detect(configured: Option<&str>) -> Self {
        match configured {
            Some(tag) => Self::from_tag(tag).unwrap_or(Self::En),
            None => Self::first_of(sys_locale::get_locales()),
        }
    }

    fn first_of(locales: impl IntoIterator<Item = String>) -> Self {
        locales
            .into_iter()
            .find_map(|tag| Self::from_tag(&tag))
            .unwrap_or(Self::En)
    }

    /// The language of a tag such as `zh-CN`, `zh_TW.UTF-8`, `en` or `C`; `None` where there is no
    /// catalogue for it.
    pub fn from_tag(tag: &str) -> Option<Self> {
        let language = tag.split(['-', '_', '.', '@']).next().unwrap_or(tag);
        // `C` and `POSIX` are a choice too: that of programs which read our lines.
        if ["en", "c", "posix"]
            .iter()
            .any(|name| language.eq_ignore_ascii_case(name))
        {
            Some(Self::En)
        } else if language.eq_ignore_ascii_case("zh") {
            Some(Self::ZhCn)
        } else {
            None
        }
    }

    /// The one of an `Accept-Language` (RFC 9110, section 12.5.4) that is liked best; English when it
    /// names none that there is a catalogue for.
    pub fn accepted(header: &str) -> Self {
        let mut best = (Self::En, 0.0);
        for item in header.split(',') {
            let (tag, weight) = item.split_once(';').unwrap_or((item, "q=1"));
            let weight = weight.trim().strip_prefix("q=");
            let weight = weight.and_then(|it| it.parse::<f32>().ok()).unwrap_or(0.0);
            if let Some(lang) = Self::from_tag(tag.trim())
                && weight > best.1
            {
                best = (lang, weight);
            }
        }
        best.0
    }

    /// The language's tag (BCP 47).
    pub const fn tag(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::ZhCn => "zh-CN",
        }
    }
}

impl Text {
    /// The text in a language, with its placeholders.
    pub fn template(self, lang: Lang) -> &'static str {
        text(self as usize * Lang::ALL.len() + lang as usize)
    }

    /// The text in a language, its placeholders replaced as [`render`] does.
    pub fn render(self, lang: Lang, values: &[(&str, String)]) -> String {
        render(self.template(lang), values)
    }
}

/// What happened and what to do next: the templates for a code.
fn error_templates(code: Code, lang: Lang) -> [&'static str; 2] {
    // The tests hold a text against every code; an empty one is better here than a panic.
    let Some(at) = CODES.split(' ').position(|known| known == code.as_str()) else {
        return ["", ""];
    };
    let first = FIRST_ERROR + (at * Lang::ALL.len() + lang as usize) * 2;
    [text(first), text(first + 1)]
}

/// A text by its number.
fn text(number: usize) -> &'static str {
    static TEXTS: OnceLock<String> = OnceLock::new();
    let end = |number: usize| ENDS[number] as usize;
    let texts = TEXTS.get_or_init(|| {
        let packed = include_bytes!(concat!(env!("OUT_DIR"), "/messages.bin"));
        String::from_utf8(unpack(packed, end(ENDS.len() - 1))).unwrap_or_default()
    });
    let begin = number.checked_sub(1).map_or(0, end);
    texts.get(begin..end(number)).unwrap_or_default()
}

/// What happened, in one sentence or two.
pub fn what(error: &Error, lang: Lang) -> String {
    render(error_templates(error.code(), lang)[0], &readable(error))
}

/// What to do next.
pub fn hint(error: &Error, lang: Lang) -> String {
    render(error_templates(error.code(), lang)[1], &readable(error))
}

/// The details of an error, with amounts of data in units that people use.
///
/// Sizes that were compared stay exact: rounded, they would look the same.
fn readable(error: &Error) -> Vec<(&'static str, String)> {
    let mut details = error.details();
    for (name, value) in &mut details {
        if *name == "received"
            && let Ok(bytes) = value.parse()
        {
            *value = size(bytes);
        }
    }
    details
}

/// An amount of data for people, such as `12.30 MiB`.
pub fn size(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}

/// Replaces the placeholders of a template by values, each [sanitised](sanitise).
///
/// A placeholder without a value stays as it is. Braces in a value mean nothing.
pub fn render(template: &str, values: &[(&str, String)]) -> String {
    let mut text = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, inner)) = rest.split_once('{') {
        text.push_str(before);
        let Some((name, after)) = inner.split_once('}') else {
            text.push('{');
            rest = inner;
            break;
        };
        if let Some((_, value)) = values.iter().find(|(known, _)| *known == name) {
            text.push_str(&sanitise(value));
        } else {
            text.extend(["{", name, "}"]);
        }
        rest = after;
    }
    text.push_str(rest);
    text
}

/// Makes text from outside fit for one line of a terminal.
///
/// Escape sequences, control characters and invisible characters that reorder text are removed,
/// line breaks and tabs become spaces, and what is too long loses its middle: the beginning of an
/// address and the end of a path say most.
pub fn sanitise(text: &str) -> String {
    let clean: String = visible(text)
        .map(|c| if c == '\n' || c == '\t' { ' ' } else { c })
        .collect();
    shortened(clean.trim(), LONGEST_VALUE)
}

/// Makes a publisher's notes fit for a terminal: as [`sanitise`], but lines and tabs are kept.
///
/// At most `most` lines are returned, and a `…` after them when there were more; of a line with more
/// than `longest` characters the middle is left out. Empty lines around the notes are dropped.
pub fn sanitise_notes(notes: &str, most: usize, longest: usize) -> Vec<String> {
    let clean: String = visible(notes).collect();
    let mut lines = clean.trim_matches('\n').trim_end().lines();
    let mut kept: Vec<String> = lines
        .by_ref()
        .take(most)
        .map(|line| shortened(line.trim_end(), longest))
        .collect();
    if lines.next().is_some() {
        kept.push(CUT.to_owned());
    }
    kept
}

/// The characters of a text that can be shown, line breaks (all as `\n`) and tabs.
fn visible(text: &str) -> impl Iterator<Item = char> {
    let mut chars = text.chars().peekable();
    iter::from_fn(move || {
        loop {
            match chars.next()? {
                '\u{1b}' => match chars.next_if(|c| (' '..='~').contains(c)) {
                    Some('[') => skip_control(&mut chars, '@'),
                    Some(']' | 'P' | 'X' | '^' | '_') => skip_string(&mut chars),
                    Some(' '..='/') => skip_control(&mut chars, '0'),
                    _ => {}
                },
                '\u{9b}' => skip_control(&mut chars, '@'),
                '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}' => skip_string(&mut chars),
                '\r' if chars.peek() == Some(&'\n') => {}
                '\u{85}' | '\u{2028}' | '\u{2029}' => return Some('\n'),
                c @ ('\n' | '\t') => return Some(c),
                c if !is_harmful(c) => return Some(c),
                _ => {}
            }
        }
    })
}

/// The rest of an escape or control sequence: its parameters, and the one character that ends it,
/// which is `first_final` or a later one (ECMA-48, 5.3.2 and 5.4).
fn skip_control(chars: &mut Peekable<Chars<'_>>, first_final: char) {
    while chars.next_if(|c| (' '..first_final).contains(c)).is_some() {}
    chars.next_if(|c| (first_final..='~').contains(c));
}

/// The rest of a control string, such as a window's title. Any control character ends it, so that
/// one without an end hides no more than its line.
fn skip_string(chars: &mut Peekable<Chars<'_>>) {
    while chars.next_if(|c| !c.is_control()).is_some() {}
    if chars.next_if_eq(&'\u{1b}').is_some() {
        chars.next_if_eq(&'\\');
    } else {
        chars.next_if(|c| ['\u{7}', '\u{9c}'].contains(c));
    }
}

/// Whether a character acts on the text around it instead of being shown: controls, marks and
/// overrides of the writing direction (Unicode's `Bidi_Control`), invisible fillers, and tags.
///
/// The joiners U+200C and U+200D stay: scripts and emoji need them.
fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            | '\u{200b}' | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// At most `most` characters of a text, its middle replaced by [`CUT`].
fn shortened(text: &str, most: usize) -> String {
    let count = text.chars().count();
    if count <= most {
        return text.to_owned();
    }
    let head = most / 2;
    let tail = most - head - CUT.chars().count();
    text.chars()
        .take(head)
        .chain(CUT.chars())
        .chain(text.chars().skip(count - tail))
        .collect()
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeSet;
    use std::io;
    use std::time::Duration;

    use super::*;

    const URL: &str = "https://updates.example.com/active/";
    const PACKAGE: &str = "https://updates.example.com/app-1.3.0.zip";

    /// One error of every kind, in the order of `Code::ALL`.
    #[expect(clippy::too_many_lines, reason = "it is a list")]
    pub(in super::super) fn samples() -> Vec<Error> {
        let url = || URL.to_owned();
        let package = || PACKAGE.to_owned();
        let text = str::to_owned;
        let io = |kind: io::ErrorKind| io::Error::new(kind, "as the system says");
        let file_error = |kind| Error::Io {
            operation: "write",
            path: "client/app.bin".into(),
            source: io(kind),
        };
        vec![
            Error::ConfigInvalid {
                place: text("launcher.toml:7:1"),
                problem: text("unknown key `keeps` in [update]"),
                nearest: Some(text("keep")),
            },
            Error::ConfigMissing {
                path: "launcher.toml".into(),
            },
            Error::ConfigLoosened {
                place: text("launcher.toml"),
                key: text("network.verify_certificates"),
                value: text("false"),
                baked: text("true"),
            },
            Error::Unreachable {
                url: url(),
                source: text("connection refused").into(),
            },
            Error::HttpStatus {
                url: url(),
                status: 503,
                retry_after: Some(Duration::from_secs(5)),
            },
            Error::AnswerInvalid {
                url: url(),
                problem: text("expected JSON, got text/html"),
            },
            Error::NoActiveVersion {
                url: url(),
                said: text("No active version"),
            },
            Error::AppUnavailable {
                url: url(),
                said: text("Not found."),
            },
            Error::InsecureUrl {
                url: text("http://updates.example.com/app-1.3.0.zip"),
            },
            Error::RedirectRefused {
                from: package(),
                to: text("http://login.example.net/"),
                problem: "from https to http",
            },
            Error::DownloadFailed {
                url: package(),
                received: 1_572_864,
                source: text("connection reset").into(),
            },
            Error::DownloadStalled {
                url: package(),
                received: 1_572_864,
                seconds: 30,
            },
            Error::SizeMismatch {
                subject: text("app-1.3.0.zip"),
                expected: 1_572_864,
                got: 1_572_863,
            },
            Error::TooLarge {
                subject: text("app-1.3.0.zip"),
                limit: text("2 GiB"),
            },
            Error::HashMismatch {
                subject: text("app-1.3.0.zip"),
                expected: "0".repeat(64),
                got: "f".repeat(64),
            },
            Error::VersionInvalid {
                text: text("latest"),
                problem: "it does not begin with a digit",
            },
            Error::DowngradeRefused {
                installed: text("1.3.0"),
                offered: text("1.2.3"),
            },
            Error::BadVersion {
                version: text("1.3.0"),
                why: text("exit code 1 after 0.4 s"),
            },
            Error::BackingOff {
                version: text("1.3.0"),
                until: text("2026-01-17T18:40:58Z"),
            },
            Error::RateLimited {
                url: url(),
                until: text("2026-01-17T18:40:58Z"),
            },
            Error::AccessDenied {
                url: url(),
                status: 401,
            },
            Error::RepoNotFound {
                url: url(),
                repo: text("example/client"),
            },
            Error::NoReleases {
                url: url(),
                problem: text("no tag is a version"),
            },
            Error::VersionSkipped {
                version: text("1.3.0"),
            },
            Error::VersionPinned {
                version: text("1.3.0"),
                pinned: text("1.2.3"),
            },
            Error::RolloutPending {
                version: text("1.3.0"),
                rollout: 10,
            },
            Error::MeteredConnection {
                version: text("1.3.0"),
                size: text("52428800"),
            },
            Error::CriticalBlocked {
                installed: text("1.2.3"),
                offered: text("1.3.0"),
            },
            Error::TrustUnsigned {
                subject: url(),
                problem: "it holds no signature",
            },
            Error::TrustSignature {
                subject: text("keys.2.json"),
                role: "root",
                signed: 1,
                needed: 2,
            },
            Error::TrustInvalid {
                subject: text("stable.json"),
                problem: text("field spec: is the number 2, not 1"),
            },
            Error::TrustExpired {
                subject: text("stable.json"),
                expired: text("2026-11-25T12:00:00+00:00"),
            },
            Error::TrustFromFuture {
                subject: text("stable.json"),
                issued: text("2099-01-01T00:00:00+00:00"),
            },
            Error::TrustRolledBack {
                subject: text("stable.json"),
                seq: 6,
                known: 7,
            },
            Error::TrustMismatch {
                subject: text("stable.json"),
                what: "channel",
                expected: text("stable"),
                got: text("beta"),
            },
            Error::TrustWithdrawn {
                version: text("1.1.0"),
                problem: text("below 1.2.0, the least that may be installed"),
            },
            Error::TargetUnavailable {
                version: text("1.1.0"),
                target: text("linux-aarch64"),
                problem: text("it has no package for this kind of machine"),
            },
            Error::ArchiveInvalid {
                subject: text("app-1.3.0.zip"),
                problem: text("no central directory"),
            },
            Error::ArchiveUnsafe {
                entry: text("../../evil"),
                problem: text("leads out of the folder"),
            },
            Error::FileListInvalid {
                problem: text("app.bin is listed twice"),
            },
            Error::PartialMisfit {
                installed: text("1.1.0"),
                fits: text("1.2.3"),
            },
            Error::PackageCommands {
                hooks: text("after_commit"),
            },
            Error::NothingWaits,
            Error::ServicesFailed {
                problem: text("unit device-api.service does not stop"),
            },
            Error::DiskFull {
                path: "client/.castoff".into(),
                needed: 2_000_000,
                available: 1_000_000,
            },
            file_error(io::ErrorKind::PermissionDenied),
            file_error(io::ErrorKind::Other),
            Error::TargetUnsafe {
                path: "client/data".into(),
                problem: "it is a link",
            },
            Error::FileInUse {
                path: "client/app.exe".into(),
                source: io(io::ErrorKind::ResourceBusy),
            },
            Error::UpdateRunning {
                path: "client".into(),
            },
            Error::AppRunning {
                path: "client".into(),
            },
            Error::EntryMissing {
                entry: text("main.py"),
                folder: "client".into(),
            },
            Error::EntryInvalid {
                entry: text("../main.py"),
                problem: "it lies outside the client folder",
            },
            Error::InterpreterMissing {
                entry: text("main.py"),
                tried: text("python3, python"),
            },
            Error::StartFailed {
                path: "client/app.exe".into(),
                source: io(io::ErrorKind::PermissionDenied),
            },
            Error::TrialFailed {
                version: text("1.3.0"),
                how: text("exit code 1 after 0.4 s"),
            },
            Error::HookFailed {
                hook: "after_commit",
                command: text("flask db upgrade"),
                problem: text("exit code 1; last output: no such table: users"),
            },
            Error::DependenciesFailed {
                path: "client/requirements.txt".into(),
                problem: text("exit code 1; last output: ERROR: No matching distribution found"),
            },
            Error::DatabaseCopyFailed {
                database: text("db/app.db"),
                problem: text("it is locked"),
            },
            Error::DatabaseDamaged {
                path: "client/.castoff/data/1.2.3".into(),
                problem: text("0.sqlite has another SHA-256"),
            },
            Error::DatabaseRestoreFailed {
                database: text("pg_restore"),
                problem: text("exit code 1"),
            },
            Error::LauncherUnfit {
                url: url(),
                problem: text("it did not end within 10 s"),
            },
            Error::NotInstalled {
                folder: "client".into(),
                source: Some(Box::new(Error::HttpStatus {
                    url: url(),
                    status: 503,
                    retry_after: None,
                })),
            },
            Error::StateInvalid {
                path: "client/.castoff/state.json".into(),
                problem: text("expected value at line 1 column 1"),
            },
            Error::RepairIncomplete {
                count: 2,
                files: text("lib/app.so, stays.py"),
                source: None,
            },
            Error::BackupNotFound {
                version: text("1.0.0"),
                folder: "client/.backup".into(),
            },
            Error::BackupDamaged {
                path: "client/.backup/1.2.3".into(),
                problem: text("app.bin has another SHA-256"),
            },
            Error::NoWayBack {
                to: text("previous"),
            },
            Error::NoData {
                name: text("1.0.0"),
            },
            Error::VersionNeeded {
                name: text("v1.2.3"),
                why: "previous",
            },
            Error::FactorySet {
                version: text("v1.0.0"),
            },
            Error::LayoutUnfit {
                command: "factory",
                layout: "in-place",
            },
            Error::RecoveryFailed {
                folder: "client".into(),
                backup: text("client/.backup/1.2.3"),
                source: Box::new(Error::FileInUse {
                    path: "client/app.exe".into(),
                    source: io(io::ErrorKind::ResourceBusy),
                }),
            },
            Error::NoShortcutPlace { place: "desktop" },
            Error::Internal {
                what: text("index out of bounds, at src/plan.rs:7:1"),
            },
        ]
    }

    fn placeholders(template: &str) -> BTreeSet<&str> {
        template
            .split('{')
            .skip(1)
            .filter_map(|part| part.split_once('}'))
            .map(|(name, _)| name)
            .collect()
    }

    #[test]
    fn the_samples_are_one_of_every_code() {
        let codes: Vec<Code> = samples().iter().map(Error::code).collect();
        assert_eq!(codes, Code::ALL);
        let texts = CODES.split(' ').count();
        assert_eq!(texts, codes.len(), "a text for a code there is not");
    }

    #[test]
    fn every_code_has_both_texts_in_every_language_and_names_only_its_details() {
        // A full disk is met in two ways, under one code.
        let full = Error::Io {
            operation: "write",
            path: "x".into(),
            source: io::ErrorKind::StorageFull.into(),
        };
        for error in samples().iter().chain([&full]) {
            let known: BTreeSet<&str> = error.details().into_iter().map(|(name, _)| name).collect();
            for lang in Lang::ALL {
                for template in error_templates(error.code(), lang) {
                    assert!(!template.is_empty(), "{} in {lang:?}", error.code());
                    let unknown: Vec<_> =
                        placeholders(template).difference(&known).copied().collect();
                    assert!(unknown.is_empty(), "{}: {unknown:?}", error.code());
                }
            }
        }
    }

    #[test]
    fn no_text_is_empty_or_left_untranslated() {
        // Names and patterns that are the same in every language would be listed here.
        for text in Text::ALL {
            let [en, zh] = Lang::ALL.map(|lang| text.template(lang));
            assert!(!en.is_empty() && !zh.is_empty(), "{text:?}");
            assert_ne!(en, zh, "{text:?}");
        }
    }

    #[test]
    fn languages_are_found_by_tag() {
        for (tag, expected) in [
            ("zh-CN", Some(Lang::ZhCn)),
            ("zh_CN.UTF-8", Some(Lang::ZhCn)),
            ("zh-Hans-CN", Some(Lang::ZhCn)),
            ("zh_TW", Some(Lang::ZhCn)),
            ("ZH-HK", Some(Lang::ZhCn)),
            ("zh", Some(Lang::ZhCn)),
            ("en_GB.UTF-8", Some(Lang::En)),
            ("C.UTF-8", Some(Lang::En)),
            ("POSIX", Some(Lang::En)),
            ("zha", None),
            ("fr-FR", None),
            ("", None),
        ] {
            assert_eq!(Lang::from_tag(tag), expected, "{tag:?}");
        }
        for lang in Lang::ALL {
            assert_eq!(Lang::detect(Some(lang.tag())), lang);
        }
        assert_eq!(Lang::detect(Some("fr")), Lang::En);
        let preferences = ["fr-FR", "zh-CN", "en"].map(str::to_owned);
        assert_eq!(Lang::first_of(preferences), Lang::ZhCn);
        assert_eq!(Lang::first_of([]), Lang::En);
    }

    #[test]
    fn placeholders_are_replaced_once() {
        let values = [("a", "{b}".to_owned()), ("b", "x".to_owned())];
        assert_eq!(render("{a} {b} {c}, {a", &values), "{b} x {c}, {a");
        assert_eq!(render("", &values), "");
    }

    #[test]
    fn nothing_from_outside_can_paint_the_terminal() {
        for (hostile, clean) in [
            ("\u{1b}[31mred\u{1b}[0m", "red"),
            ("\u{1b}[2J\u{1b}[1;1Hgone", "gone"),
            ("\u{9b}2Jgone", "gone"),
            ("\u{1b}]0;title\u{7}text", "text"),
            ("\u{1b}]8;;http://x\u{1b}\\link\u{1b}]8;;\u{1b}\\", "link"),
            ("\u{1b}Pq payload\u{9c}text", "text"),
            ("\u{1b}(0lqk", "lqk"),
            ("\u{1b}", ""),
            ("\u{1b}[", ""),
            ("\u{1b}\u{1b}[31mred", "red"),
            ("\u{1b}[31\u{1b}[32mred", "red"),
            ("safe\u{202e}exe.txt", "safeexe.txt"),
            ("\u{2066}a\u{2069}\u{200b}b\u{feff}", "ab"),
            ("a\rb\u{8}c\u{7f}\0", "abc"),
            ("one\r\ntwo\u{2028}three\tfour", "one two three four"),
            ("中文 ünï 👩\u{200d}💻", "中文 ünï 👩\u{200d}💻"),
        ] {
            assert_eq!(sanitise(hostile), clean, "{hostile:?}");
            assert_eq!(render("{x}", &[("x", hostile.to_owned())]), clean);
        }
    }

    #[test]
    fn an_endless_control_string_hides_no_more_than_its_line() {
        assert_eq!(sanitise("\u{1b}]0;hidden\nshown"), "shown");
        let lines = sanitise_notes("one\n\u{1b}]0;hidden\ntwo", 20, LONGEST_LINE);
        assert_eq!(lines.last().map(String::as_str), Some("two"));
    }

    #[test]
    fn long_values_lose_their_middle() {
        let long = format!("https://{}/end", "字".repeat(10_000));
        let short = sanitise(&long);
        assert_eq!(short.chars().count(), LONGEST_VALUE);
        assert!(short.starts_with("https://字") && short.ends_with("字/end"));
        assert_eq!(
            sanitise(&"x".repeat(LONGEST_VALUE)).len(),
            LONGEST_VALUE,
            "just short enough"
        );
    }

    #[test]
    fn notes_keep_their_lines() {
        let notes = "\r\n- one\u{1b}[5m\r\n\r\n\t- two  \n\n";
        assert_eq!(
            sanitise_notes(notes, 20, LONGEST_LINE),
            ["- one", "", "\t- two"]
        );
        assert_eq!(sanitise_notes("1\n2\n3", 2, LONGEST_LINE), ["1", "2", CUT]);
        assert_eq!(sanitise_notes("1\n2", 2, LONGEST_LINE), ["1", "2"]);
        assert_eq!(
            sanitise_notes("\n \n", 2, LONGEST_LINE),
            Vec::<String>::new()
        );
        let line = &sanitise_notes(&"x".repeat(1_000_000), 2, LONGEST_LINE)[0];
        assert_eq!(line.chars().count(), LONGEST_LINE);
    }
}
