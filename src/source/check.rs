//! The check endpoint: one address that answers with the active version as a JSON object.
//!
//! Both shapes of zghmvp's Django servers are read, the documented one (`download_url`, a full
//! address) and the first real one (`file`, a path on the same host), and whatever else a server
//! calls its fields, by `[source.fields]`. Fields that are not named there are ignored.
//!
//! The version, an address and a SHA-256 must be there; size, notes, entry point and launchers may
//! be absent or null. A field of the wrong type is an error, never a guess. Of the launchers only
//! the one for this kind of machine is looked at.
//!
//! Not promised: that the release is newer than what is installed, or that the package exists.

use std::time::Duration;

use serde_json::{Map, Value};

use super::{Source, json};
use crate::config::{FieldNames, SourceConfig};
use crate::error::in_short;
use crate::fetch::{Answer, Client, Url};
use crate::release::{Package, Release, target};
use crate::version::Version;
use crate::{Error, Result};

/// The largest answer that is read. Real ones have a few hundred bytes, and notes.
const ANSWER_LIMIT: u64 = 1 << 20;

/// How much of a strange answer is quoted: enough to recognise a login page by.
const EXCERPT: usize = 120;

/// A check endpoint.
pub(super) struct Check {
    url: String,
    fields: FieldNames,
}

impl Check {
    pub(super) fn new(config: &SourceConfig) -> Self {
        Self {
            url: config.url.clone(),
            fields: config.fields.clone(),
        }
    }
}

impl Source for Check {
    fn latest(
        &self,
        client: &Client,
        _installed: Option<&Version>,
        timeout: Duration,
    ) -> Result<Release> {
        let answer = client.get(&self.url, timeout, ANSWER_LIMIT)?;
        read(&answer, &self.fields)
    }
}

/// The release that an answer announces.
pub(crate) fn read(answer: &Answer, names: &FieldNames) -> Result<Release> {
    if !(200..300).contains(&answer.status) {
        return Err(refusal(answer));
    }
    Fields::of(answer)?.release(names)
}

/// What an error status means. The Django servers say "no active version" in `error` and "no such
/// app" in `detail`, both with 404; everything else is not theirs.
fn refusal(answer: &Answer) -> Error {
    let body = json::parse(&answer.body).unwrap_or_default();
    let said = |key: &str| body.get(key).and_then(Value::as_str);
    let url = answer.url.clone();
    if let Some(text) = said("error").filter(|text| is_no_active_version(text)) {
        return Error::NoActiveVersion {
            url,
            said: excerpt(text.as_bytes()),
        };
    }
    match said("detail") {
        Some(text) if answer.status == 404 => Error::AppUnavailable {
            url,
            said: excerpt(text.as_bytes()),
        },
        _ => Error::HttpStatus {
            url,
            status: answer.status,
            retry_after: answer.retry_after,
        },
    }
}

fn is_no_active_version(text: &str) -> bool {
    let text = text.to_lowercase();
    ["激活版本", "激活的版本", "active version"]
        .iter()
        .any(|words| text.contains(words))
}

/// An object of an answer.
struct Fields<'a> {
    answer: &'a Answer,
    /// What leads to the object, as in `launchers.linux-x86_64.`; empty for the answer itself.
    place: String,
    object: Map<String, Value>,
}

impl<'a> Fields<'a> {
    fn of(answer: &'a Answer) -> Result<Self> {
        let invalid = |problem| Error::AnswerInvalid {
            url: answer.url.clone(),
            problem,
        };
        match json::parse(&answer.body) {
            Ok(Value::Object(object)) => Ok(Self {
                answer,
                place: String::new(),
                object,
            }),
            Ok(other) => Err(invalid(format!("{}, no object", kind(&other)))),
            Err(error) => {
                let sent_as = answer
                    .content_type
                    .as_deref()
                    .map_or("of no stated type".into(), in_short);
                let begins = excerpt(&answer.body);
                Err(invalid(format!(
                    "{error}; it is {sent_as} and begins {begins:?}"
                )))
            }
        }
    }

    fn release(&self, names: &FieldNames) -> Result<Release> {
        let version = self.required(&names.version)?.parse()?;
        let entry_point = self
            .text(&names.entry_point)?
            .filter(|path| !path.is_empty());
        if let Some(path) = entry_point.filter(|path| leads_outside(path)) {
            let problem = format!("{:?} is no path inside the client folder", in_short(path));
            return Err(self.invalid(&names.entry_point, &problem));
        }
        Ok(Release {
            version,
            notes: self.text(&names.notes)?.unwrap_or_default().to_owned(),
            entry_point: entry_point.map(str::to_owned),
            package: self.package(&names.url, &names.sha256, &names.size)?,
            launcher: self.launcher(&names.launchers)?,
        })
    }

    /// The launcher for this machine: `{"TARGET": {"url": ..., "sha256": ..., "size": ...}, ...}`.
    fn launcher(&self, name: &str) -> Result<Option<Package>> {
        let Some(launchers) = self.inner(name)? else {
            return Ok(None);
        };
        let Some(launcher) = launchers.inner(&target())? else {
            return Ok(None);
        };
        launcher
            .package(&["url".to_owned()], "sha256", "size")
            .map(Some)
    }

    /// What is to be fetched, as the fields of these names say.
    fn package(&self, url: &[String], sha256: &str, size: &str) -> Result<Package> {
        let digest = self.required(sha256)?;
        Ok(Package {
            sha256: digest
                .parse()
                .map_err(|problem| self.invalid(sha256, problem))?,
            url: self.address(url)?,
            size: self.number(size)?,
        })
    }

    /// An address. A path is one on the host of the check, with or without the slash.
    fn address(&self, names: &[String]) -> Result<String> {
        for name in names {
            let Some(link) = self.text(name)?.filter(|link| !link.is_empty()) else {
                continue;
            };
            let invalid =
                |problem: &str| self.invalid(name, &format!("{:?} {problem}", in_short(link)));
            let root = Url::parse(&self.answer.url).map_err(invalid)?.root();
            return Ok(root.join(link).map_err(invalid)?.to_string());
        }
        Err(self.invalid(&names.join(" or "), "is missing"))
    }

    fn inner(&self, name: &str) -> Result<Option<Self>> {
        match self.object.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(object)) => Ok(Some(Self {
                answer: self.answer,
                place: format!("{}{name}.", self.place),
                object: object.clone(),
            })),
            Some(other) => Err(self.invalid(name, &format!("is {}, no object", kind(other)))),
        }
    }

    fn required(&self, name: &str) -> Result<&str> {
        self.text(name)?
            .ok_or_else(|| self.invalid(name, "is missing"))
    }

    fn text(&self, name: &str) -> Result<Option<&str>> {
        match self.object.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.invalid(name, &format!("is {}, not text", kind(other)))),
        }
    }

    fn number(&self, name: &str) -> Result<Option<u64>> {
        match self.object.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value.as_u64().map(Some).ok_or_else(|| {
                let problem = format!("is {}, not a number of bytes", kind(value));
                self.invalid(name, &problem)
            }),
        }
    }

    fn invalid(&self, field: &str, problem: &str) -> Error {
        Error::AnswerInvalid {
            url: self.answer.url.clone(),
            problem: format!("field {}{field}: {problem}", self.place),
        }
    }
}

/// Whether an entry point is none: absolute on any system, or upwards. What it names is looked at
/// when the release is there.
fn leads_outside(path: &str) -> bool {
    path.starts_with(['/', '\\'])
        || path.contains(':')
        || path.chars().any(char::is_control)
        || path.split(['/', '\\']).any(|component| component == "..")
}

fn kind(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "a truth value".to_owned(),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => format!("the text {:?}", excerpt(text.as_bytes())),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

/// The beginning of what a server said, in one line that is safe to show.
fn excerpt(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * EXCERPT)]);
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect();
    let line = words.join(" ");
    match line.char_indices().nth(EXCERPT) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests;
