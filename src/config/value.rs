//! Values of keys: read from text or from TOML, and checked.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use toml::de::DeValue;

use super::keys;
use super::patterns::Patterns;
use crate::Error;
use crate::trust::{PublicKey, Role};

/// What the values of a key look like.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Any text but an empty one.
    Text,
    /// Letters, digits, dots, hyphens and underscores: it names folders.
    Identity,
    /// A path.
    Path,
    /// A file's name, without folders.
    FileName,
    /// A relative path that stays in the client folder.
    EntryPoint,
    /// true or false.
    Flag,
    /// One of a few words.
    Choice {
        /// Those that are accepted.
        now: &'static [&'static str],
        /// Those that are planned, and refused as such.
        later: &'static [&'static str],
    },
    /// A whole number.
    #[expect(
        missing_docs,
        reason = "the smallest and the largest that are accepted"
    )]
    Count { least: u64, most: u64 },
    /// Bytes: a whole number, or a text such as `64 KiB`.
    #[expect(
        missing_docs,
        reason = "the smallest and the largest that are accepted"
    )]
    Size { least: u64, most: u64 },
    /// Time: a number of seconds, or a text such as `500 ms`.
    #[expect(
        missing_docs,
        reason = "the shortest and the longest that are accepted"
    )]
    Seconds { least: f64, most: u64 },
    /// An http or https address without credentials.
    Url,
    /// Such an address, or the path of a folder, also as `file://`.
    Place,
    /// Texts, at least one.
    List,
    /// Public keys, at least one.
    Keys,
    /// Exit codes: whole numbers of 32 bits, those below 0 as Windows also shows them.
    Codes,
    /// Texts with commas in them, perhaps none; in the environment one a line.
    Lines,
    /// Gitignore patterns.
    Patterns,
    /// HTTP headers: names and values.
    Headers,
    /// A text that is shown nowhere.
    Secret,
}

/// A value that has passed the checks of its kind.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Text(String),
    Secret(String),
    Flag(bool),
    Number(u64),
    Time(Duration),
    List(Vec<String>),
    Codes(Vec<u32>),
    Headers(BTreeMap<String, String>),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Secret(_) => f.write_str("a secret"),
            Self::Flag(flag) => flag.fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::Time(time) => write!(f, "{} s", time.as_secs_f64()),
            Self::List(list) => f.write_str(&list.join(", ")),
            Self::Codes(codes) => {
                let codes: Vec<_> = codes.iter().map(u32::to_string).collect();
                f.write_str(&codes.join(", "))
            }
            // Never the values: they are tokens.
            Self::Headers(headers) => {
                f.write_str(&headers.keys().cloned().collect::<Vec<_>>().join(", "))
            }
        }
    }
}

/// Why something is no value of a kind.
#[derive(Debug, PartialEq)]
pub(super) struct Problem {
    /// What is wrong, to follow the key's name: "must be ...".
    pub(super) text: String,
    /// What was probably meant.
    pub(super) nearest: Option<&'static str>,
}

impl<T: Into<String>> From<T> for Problem {
    fn from(text: T) -> Self {
        Self {
            text: text.into(),
            nearest: None,
        }
    }
}

type Result<T> = std::result::Result<T, Problem>;

impl Kind {
    /// Reads what the environment says: every kind as text, lists with commas.
    pub(super) fn read_text(self, text: &str) -> Result<Value> {
        let text = text.trim();
        match self {
            Self::Flag => match text {
                "true" => Ok(Value::Flag(true)),
                "false" => Ok(Value::Flag(false)),
                _ => Err(self.misfit(&format!("{text:?}"))),
            },
            Self::Count { .. } => {
                let number = text
                    .parse()
                    .map_err(|_| self.misfit(&format!("{text:?}")))?;
                self.check_number(number)
            }
            Self::List | Self::Keys | Self::Patterns => {
                let parts = text.split(',').map(str::trim);
                self.check_list(
                    parts
                        .filter(|part| !part.is_empty())
                        .map(str::to_owned)
                        .collect(),
                )
            }
            Self::Codes => {
                let parts = text.split(',').map(str::trim);
                self.read_codes(
                    parts
                        .filter(|part| !part.is_empty())
                        .map(|part| (part.parse().ok(), part)),
                )
            }
            Self::Lines => {
                let lines = text.lines().map(str::trim);
                self.check_list(
                    lines
                        .filter(|line| !line.is_empty())
                        .map(str::to_owned)
                        .collect(),
                )
            }
            Self::Headers => {
                let mut headers = BTreeMap::new();
                for line in text.lines().filter(|line| !line.trim().is_empty()) {
                    let (name, value) = line
                        .split_once(':')
                        .ok_or("must be one `Name: value` a line")?;
                    headers.insert(name.trim().to_owned(), value.trim().to_owned());
                }
                check_headers(headers)
            }
            _ => self.read_word(text),
        }
    }

    /// Reads a value of a TOML document.
    pub(super) fn read_toml(self, value: &DeValue<'_>) -> Result<Value> {
        match (self, value) {
            (Self::Flag, DeValue::Boolean(flag)) => Ok(Value::Flag(*flag)),
            (Self::Count { .. } | Self::Size { .. }, DeValue::Integer(number)) => {
                let read = u64::from_str_radix(number.as_str(), number.radix());
                self.check_number(read.map_err(|_| self.misfit(number.as_str()))?)
            }
            (Self::Seconds { .. }, DeValue::Integer(number)) => {
                let read = u32::from_str_radix(number.as_str(), number.radix());
                let time = read.map(|seconds| Duration::from_secs(seconds.into()));
                self.check_time(time.ok(), number.as_str())
            }
            (Self::Seconds { .. }, DeValue::Float(number)) => {
                self.check_time(read_decimal(number.as_str(), SECOND), number.as_str())
            }
            (Self::List | Self::Keys | Self::Lines | Self::Patterns, DeValue::Array(array)) => {
                let mut list = Vec::new();
                for part in array {
                    let text = part.get_ref().as_str().ok_or_else(|| {
                        self.misfit(&format!("one with {}", article(part.get_ref())))
                    })?;
                    list.push(text.to_owned());
                }
                self.check_list(list)
            }
            (Self::Codes, DeValue::Array(array)) => {
                self.read_codes(array.iter().map(|part| match part.get_ref() {
                    DeValue::Integer(number) => {
                        let read = i64::from_str_radix(number.as_str(), number.radix());
                        (read.ok(), number.as_str())
                    }
                    other => (None, article(other)),
                }))
            }
            (Self::Headers, DeValue::Table(table)) => {
                let mut headers = BTreeMap::new();
                for (name, value) in table {
                    let name = name.get_ref();
                    let text = value.get_ref().as_str().ok_or_else(|| {
                        format!(
                            "needs a string for `{name}`, not {}",
                            article(value.get_ref())
                        )
                    })?;
                    headers.insert(name.to_string(), text.to_owned());
                }
                check_headers(headers)
            }
            (
                Self::Flag
                | Self::Count { .. }
                | Self::List
                | Self::Keys
                | Self::Codes
                | Self::Lines
                | Self::Patterns
                | Self::Headers,
                other,
            ) => Err(self.misfit(article(other))),
            (_, DeValue::String(text)) => self.read_word(text),
            (_, other) => Err(self.misfit(article(other))),
        }
    }

    /// Reads the kinds that a single string stands for, in TOML and in the environment.
    fn read_word(self, text: &str) -> Result<Value> {
        let word = || Ok(Value::Text(text.to_owned()));
        if text.trim().is_empty() {
            return Err("must not be empty".into());
        }
        if text.contains(char::is_control) {
            return Err("must not hold control characters".into());
        }
        match self {
            Self::Identity => {
                let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
                if !text.chars().all(plain) || text.starts_with('.') || text.ends_with('.') {
                    return Err(self.misfit(&format!("{text:?}")));
                }
                word()
            }
            Self::FileName => {
                if text.contains(['/', '\\', ':']) || matches!(text, "." | "..") {
                    return Err(self.misfit(&format!("{text:?}")));
                }
                word()
            }
            Self::Secret => Ok(Value::Secret(text.to_owned())),
            Self::EntryPoint => check_entry_point(text).and_then(|()| word()),
            Self::Choice { now, later } => {
                if now.contains(&text) {
                    return word();
                }
                if later.contains(&text) {
                    let now = now.join("`, `");
                    return Err(format!("`{text}` is not available yet, unlike `{now}`").into());
                }
                Err(Problem {
                    nearest: keys::nearest_choice(text, now),
                    ..self.misfit(&format!("{text:?}"))
                })
            }
            Self::Size { .. } => {
                let bytes = read_size(text).ok_or_else(|| self.misfit(&format!("{text:?}")))?;
                self.check_number(bytes)
            }
            Self::Seconds { .. } => self.check_time(read_time(text), &format!("{text:?}")),
            Self::Url => check_url(text).and_then(|()| word()),
            Self::Place if is_path(text) => word(),
            Self::Place if !text.contains("://") => Err(self.misfit(&format!("{text:?}"))),
            Self::Place => check_url(text).and_then(|()| word()),
            _ => word(),
        }
    }

    /// Reads exit codes: each the number, if it is one, and how it is written.
    fn read_codes<'t>(self, parts: impl Iterator<Item = (Option<i64>, &'t str)>) -> Result<Value> {
        let mut codes = Vec::new();
        for (number, text) in parts {
            // The same 32 bits, with or without a sign.
            let code = number.and_then(|number| {
                let signed = i32::try_from(number).map(i32::cast_unsigned);
                u32::try_from(number).or(signed).ok()
            });
            codes.push(code.ok_or_else(|| self.misfit(&format!("one with {text}")))?);
        }
        Ok(Value::Codes(codes))
    }

    fn check_number(self, number: u64) -> Result<Value> {
        let (Self::Count { least, most } | Self::Size { least, most }) = self else {
            return Err(self.misfit("a number"));
        };
        if (least..=most).contains(&number) {
            Ok(Value::Number(number))
        } else {
            Err(format!("must be from {least} to {most}, not {number}").into())
        }
    }

    fn check_time(self, time: Option<Duration>, found: &str) -> Result<Value> {
        let Self::Seconds { least, most } = self else {
            return Err(self.misfit("a time"));
        };
        let time = time.ok_or_else(|| self.misfit(found))?;
        if (Duration::from_secs_f64(least)..=Duration::from_secs(most)).contains(&time) {
            Ok(Value::Time(time))
        } else {
            Err(format!("must be from {least} to {most} seconds, not {found}").into())
        }
    }

    fn check_list(self, list: Vec<String>) -> Result<Value> {
        match self {
            Self::Patterns => match Patterns::parse(&list) {
                Err(Error::ConfigInvalid { place, problem, .. }) => {
                    return Err(format!("cannot use {place}: {problem}").into());
                }
                Err(other) => return Err(other.to_string().into()),
                Ok(_) => {}
            },
            Self::Lines => {
                let unfit =
                    |text: &String| text.trim().is_empty() || text.contains(char::is_control);
                if list.iter().any(unfit) {
                    return Err("must hold neither empty texts nor control characters".into());
                }
            }
            Self::Keys => {
                let keys: Vec<PublicKey> = list
                    .iter()
                    .map(|text| text.parse().map_err(|_| self.misfit(&format!("{text:?}"))))
                    .collect::<Result<_>>()?;
                // How many of them have to sign is looked at when that is known too.
                Role::new(keys, 1)?;
            }
            _ if list.is_empty() || list.iter().any(|text| text.trim().is_empty()) => {
                return Err("must name at least one, and none that is empty".into());
            }
            _ => {}
        }
        Ok(Value::List(list))
    }

    fn misfit(self, found: &str) -> Problem {
        let expected = match self {
            Self::Text | Self::Path | Self::Secret => "a string".to_owned(),
            Self::Identity => {
                "letters, digits, `.`, `-` and `_`, as in `com.example.client`".to_owned()
            }
            Self::FileName => "the name of a file, without folders".to_owned(),
            Self::EntryPoint => "a path in the client folder".to_owned(),
            Self::Flag => "true or false".to_owned(),
            Self::Choice { now, .. } => format!("one of `{}`", now.join("`, `")),
            Self::Count { .. } => "a whole number".to_owned(),
            Self::Size { .. } => "a number of bytes, or a size such as \"64 KiB\"".to_owned(),
            Self::Seconds { .. } => "a number of seconds, or a time such as \"500 ms\"".to_owned(),
            Self::Url => "an address such as https://updates.example.com/".to_owned(),
            Self::Place => "an address such as https://updates.example.com/, or the path of a \
                            folder such as /media/releases or ./releases"
                .to_owned(),
            Self::List | Self::Lines | Self::Patterns => "a list of strings".to_owned(),
            Self::Keys => "a list of public keys such as \"RWQ...\"".to_owned(),
            Self::Codes => "a list of exit codes".to_owned(),
            Self::Headers => "a table of strings".to_owned(),
        };
        format!("must be {expected}, not {found}").into()
    }
}

/// The type of a TOML value, as it stands in a sentence.
pub(super) fn article(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

fn read_size(text: &str) -> Option<u64> {
    let (number, unit) = split_unit(text);
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "kib" => 1 << 10,
        "mb" => 1_000_000,
        "mib" => 1 << 20,
        "gb" => 1_000_000_000,
        "gib" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

fn read_time(text: &str) -> Option<Duration> {
    let (number, unit) = split_unit(text);
    let unit = match unit {
        "" | "s" => SECOND,
        "ms" => Duration::from_millis(1),
        "min" | "m" => Duration::from_mins(1),
        "h" => Duration::from_hours(1),
        _ => return None,
    };
    read_decimal(number, unit)
}

const SECOND: Duration = Duration::from_secs(1);

/// So many units, as in `1.5` or `2e3`; `None` for what is negative, endless, or no number at all.
///
/// By whole numbers: what the standard library has to read an `f64` by is 15 kB.
fn read_decimal(text: &str, unit: Duration) -> Option<Duration> {
    let text = text.strip_prefix('+').unwrap_or(text);
    let (number, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    // More digits say nothing that a clock could tell.
    let fraction = fraction.get(..12).unwrap_or(fraction);
    let digits = [whole, fraction].concat();
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let shift = exponent.parse::<i32>().ok()?;
    let shift = shift.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let scale = 10_u128.checked_pow(shift.unsigned_abs());
    let number = digits.parse::<u128>().ok()?.checked_mul(unit.as_nanos())?;
    let nanoseconds = if shift < 0 {
        number / scale.unwrap_or(u128::MAX)
    } else {
        number.checked_mul(scale?)?
    };
    let seconds = u64::try_from(nanoseconds / SECOND.as_nanos()).ok()?;
    let rest = u32::try_from(nanoseconds % SECOND.as_nanos()).ok()?;
    Some(Duration::new(seconds, rest))
}

fn split_unit(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim())
}

/// Refuses what leaves the client folder on any platform, whichever this one is: a launcher.toml
/// is written once for all of them.
fn check_entry_point(text: &str) -> Result<()> {
    let outside = text.starts_with(['/', '\\'])
        // A drive, or an alternate data stream.
        || text.contains(':')
        || text.split(['/', '\\']).any(|part| part == "..");
    if outside {
        return Err(format!("must stay in the client folder, unlike {text:?}").into());
    }
    if text.ends_with(['/', '\\']) || text.split(['/', '\\']).all(|part| part == ".") {
        return Err(format!("must name a file, unlike {text:?}").into());
    }
    Ok(())
}

/// Whether a place is a folder: absolute, or relative with a dot, so that a host without its scheme is
/// not taken for one.
fn is_path(text: &str) -> bool {
    let mut characters = text.chars();
    let drive = characters.next().is_some_and(|c| c.is_ascii_alphabetic())
        && characters.next() == Some(':')
        && matches!(characters.next(), Some('/' | '\\'));
    let scheme = text
        .get(..7)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("file://"));
    drive
        || scheme
        || text.starts_with("\\\\")
        || text.starts_with('/') && !text.starts_with("//")
        || [".", ".."].contains(&text)
        || ["./", "../", ".\\", "..\\"]
            .iter()
            .any(|start| text.starts_with(start))
}

/// Checks with the parser that the client uses, so that the two see the same host.
fn check_url(text: &str) -> Result<()> {
    // Before anything that would repeat the text, which an error must not when it holds a secret.
    let authority = text.split_once("://").map_or(text, |(_, rest)| rest);
    let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err("must not hold credentials; put a token into `source.headers`".into());
    }
    let misfit = || Kind::Url.misfit(&format!("{text:?}"));
    let uri: ureq::http::Uri = text.parse().map_err(|_| misfit())?;
    match uri.scheme_str() {
        Some("http" | "https") => {}
        Some(other) => return Err(format!("must begin with https://, not with {other}://").into()),
        None => return Err(format!("must begin with https://, unlike {text:?}").into()),
    }
    let host = uri.host().unwrap_or_default();
    if host.is_empty() || (authority != host && uri.port_u16().is_none()) {
        return Err(misfit());
    }
    Ok(())
}

fn check_headers(headers: BTreeMap<String, String>) -> Result<Value> {
    use ureq::http::{HeaderName, HeaderValue};
    for (name, value) in &headers {
        if HeaderName::try_from(name).is_err() {
            return Err(format!("holds {name:?}, which is no name of a header").into());
        }
        if HeaderValue::try_from(value).is_err() {
            return Err(format!("holds a value for `{name}` that no header can have").into());
        }
    }
    Ok(Value::Headers(headers))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Kind = Kind::Seconds {
        least: 0.001,
        most: 86_400,
    };
    const SIZE: Kind = Kind::Size {
        least: 1,
        most: u64::MAX,
    };

    fn problem(kind: Kind, text: &str) -> String {
        kind.read_text(text).expect_err(text).text
    }

    #[test]
    fn times() {
        for (text, milliseconds) in [
            ("5", 5_000),
            ("5s", 5_000),
            ("5 s", 5_000),
            ("0.5", 500),
            (".5 s", 500),
            ("1.5 h", 5_400_000),
            ("2.00000000000000000000000000000000000000001 s", 2_000),
            ("500 ms", 500),
            ("2 min", 120_000),
            ("2m", 120_000),
            ("1h", 3_600_000),
        ] {
            let expected = Value::Time(Duration::from_millis(milliseconds));
            assert_eq!(TIME.read_text(text), Ok(expected), "{text}");
        }
        for text in [
            "soon",
            "-1",
            "5 parsecs",
            "nan",
            "inf",
            "1e3",
            "",
            "0",
            "0 s",
            "25 h",
            "s",
        ] {
            assert!(TIME.read_text(text).is_err(), "{text}");
        }
        assert!(problem(TIME, "30000000").contains("86400 seconds"));
    }

    #[test]
    fn decimal_numbers_are_read_as_toml_writes_them() {
        for text in [
            "1.5",
            "+0.25",
            "2e3",
            "2.5E-3",
            "1e+2",
            "0.0",
            "1e-400",
            "123456.789",
        ] {
            let expected = Duration::from_secs_f64(text.parse().unwrap());
            assert_eq!(read_decimal(text, SECOND), Some(expected), "{text}");
        }
        for text in [
            "-1.5", "-0.0", "inf", "+inf", "nan", "1e400", "1e30", "e3", ".", "++1", "1+1",
        ] {
            assert_eq!(read_decimal(text, SECOND), None, "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("65536", 65_536),
            ("64 KiB", 65_536),
            ("64kib", 65_536),
            ("64 kB", 64_000),
            ("4 GiB", 4 << 30),
            ("1 B", 1),
            ("3 MB", 3_000_000),
        ] {
            assert_eq!(SIZE.read_text(text), Ok(Value::Number(bytes)), "{text}");
        }
        for text in [
            "0",
            "big",
            "-1",
            "1.5 KiB",
            "64 KiBi",
            "99999999999 GiB",
            "",
        ] {
            assert!(SIZE.read_text(text).is_err(), "{text}");
        }
    }

    #[test]
    fn addresses() {
        for text in [
            "https://updates.example.com/api/",
            "HTTPS://updates.example.com",
            "http://127.0.0.1:8000/x?y=z",
            "http://[::1]:8000/",
            "https://[::1]/",
        ] {
            assert!(Kind::Url.read_text(text).is_ok(), "{text}");
        }
        for text in [
            "updates.example.com/api",
            "updates.example.com",
            "//updates.example.com/",
            "/api/active/",
            "ftp://example.com/",
            "file:///etc/passwd",
            "https://",
            "https:///x",
            "https://a b/",
            "https://a\\@b/",
            "https://a:99999/",
            "https://a:/",
            "https:a",
            "javascript:alert(1)",
            "https://例え/",
        ] {
            assert!(Kind::Url.read_text(text).is_err(), "{text}");
        }
        assert!(problem(Kind::Url, "ftp://example.com/").contains("https://"));
    }

    #[test]
    fn credentials_are_refused_and_not_repeated() {
        for text in [
            "https://me:secret@example.com/",
            "me:secret@example.com",
            "x://secret@a b",
        ] {
            let problem = problem(Kind::Url, text);
            assert!(problem.contains("source.headers"), "{problem}");
            assert!(!problem.contains("secret"), "{problem}");
        }
    }

    #[test]
    fn entry_points() {
        for text in [
            "main.py",
            "bin/app",
            "bin\\app.exe",
            "./main.py",
            "..main.py",
            "a b.sh",
        ] {
            assert!(Kind::EntryPoint.read_text(text).is_ok(), "{text}");
        }
        for text in [
            "/bin/sh",
            "\\\\server\\share\\x",
            "C:\\x.exe",
            "C:x.exe",
            "../x",
            "a/../../x",
            "a\\..\\..\\x",
            "..",
            "main.py:stream",
        ] {
            assert!(
                problem(Kind::EntryPoint, text).contains("client folder"),
                "{text}"
            );
        }
        for text in ["", ".", "./", "bin/", "a\0b"] {
            assert!(Kind::EntryPoint.read_text(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn choices() {
        let kind = Kind::Choice {
            now: &["follow", "refuse"],
            later: &["ask"],
        };
        assert!(kind.read_text("follow").is_ok());
        let wrong = kind.read_text("refsue").unwrap_err();
        assert_eq!(
            wrong.text,
            "must be one of `follow`, `refuse`, not \"refsue\""
        );
        assert_eq!(wrong.nearest, Some("refuse"));
        assert!(problem(kind, "ask").contains("not available yet"));
    }

    #[test]
    fn names() {
        for text in ["com.example.client", "0d87e1", "A-b_c"] {
            assert!(Kind::Identity.read_text(text).is_ok(), "{text}");
        }
        for text in [
            "", ".", "..", "a/b", "a b", "例え", "a.", ".a", "../a", "a\\b",
        ] {
            assert!(Kind::Identity.read_text(text).is_err(), "{text}");
        }
        for text in ["", ".", "..", "a/b", "a\\b", "C:a"] {
            assert!(Kind::FileName.read_text(text).is_err(), "{text}");
        }
    }

    #[test]
    fn lists_and_flags_from_text() {
        let list =
            |texts: &[&str]| Ok(Value::List(texts.iter().map(ToString::to_string).collect()));
        assert_eq!(Kind::List.read_text("a, b,c ,"), list(&["a", "b", "c"]));
        assert_eq!(Kind::Patterns.read_text(""), list(&[]));
        assert_eq!(Kind::Lines.read_text("a, b\n\n c "), list(&["a, b", "c"]));
        assert_eq!(Kind::Lines.read_text(""), list(&[]));
        assert!(Kind::Lines.read_text("a\tb").is_err());
        assert!(Kind::List.read_text(" , ").is_err());
        assert!(problem(Kind::Patterns, "a, [b").contains("[b"));
        assert_eq!(Kind::Flag.read_text("true"), Ok(Value::Flag(true)));
        for text in ["yes", "1", "True", ""] {
            assert!(
                problem(Kind::Flag, text).contains("true or false"),
                "{text}"
            );
        }
    }

    #[test]
    fn exit_codes() {
        let codes = |codes: &[u32]| Ok(Value::Codes(codes.to_vec()));
        assert_eq!(Kind::Codes.read_text(""), codes(&[]));
        assert_eq!(Kind::Codes.read_text("3, 0,"), codes(&[3, 0]));
        // An access violation, as one system's tools write it or the other's.
        assert_eq!(
            Kind::Codes.read_text("-1073741819, 3221225477"),
            codes(&[0xC000_0005, 0xC000_0005])
        );
        for text in ["x", "1.5", "4294967296", "-2147483649"] {
            let problem = problem(Kind::Codes, text);
            assert_eq!(
                problem,
                format!("must be a list of exit codes, not one with {text}")
            );
        }
    }

    #[test]
    fn headers() {
        let read = Kind::Headers
            .read_text("Authorization: Bearer a:b\nX-Y: z\n")
            .unwrap();
        assert_eq!(read.to_string(), "Authorization, X-Y");
        let Value::Headers(headers) = read else {
            panic!()
        };
        assert_eq!(headers["Authorization"], "Bearer a:b");
        for text in ["secret", "a b: secret", ": secret", "X: secret\u{1}"] {
            assert!(!problem(Kind::Headers, text).contains("secret"), "{text}");
        }
    }
}
