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
//! With pinned keys, the answer also carries the signed release document and, where they have changed,
//! the keys documents. Then what they say counts, and of the rest only the address of the package,
//! which is one more place to fetch it from.
//!
//! Not promised: that the release is newer than what is installed, or that the package exists.

use serde_json::Value;

use super::{Ask, Source};
use crate::config::{FieldNames, SourceConfig};
use crate::error::in_short;
use crate::fetch::{Answer, Url};
use crate::json::{self, Object, excerpt};
use crate::release::{Package, Release, leads_outside, target};
use crate::trust::{Trust, Trusted};
use crate::{Error, Result};

/// The largest answer that is read. Real ones have a few hundred bytes, and notes; with a signed
/// document those are in it twice.
const ANSWER_LIMIT: u64 = 2 << 20;

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
    fn latest(&self, ask: &Ask<'_>, trust: &mut Trust) -> Result<Trusted> {
        let answer = ask.client.get(&self.url, ask.left(), ANSWER_LIMIT)?;
        read(&answer, &self.fields, trust)
    }
}

/// The release that an answer announces.
pub(crate) fn read(answer: &Answer, names: &FieldNames, trust: &mut Trust) -> Result<Trusted> {
    if !(200..300).contains(&answer.status) {
        return Err(refusal(answer));
    }
    let document = parse(answer)?;
    let fields = Fields {
        answer,
        object: Object::of(&document).map_err(|problem| invalid(answer, problem))?,
    };
    if trust.is_pinned() {
        fields.signed(names, trust)
    } else {
        trust.unsigned(fields.release(names)?)
    }
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

fn invalid(answer: &Answer, problem: String) -> Error {
    Error::AnswerInvalid {
        url: answer.url.clone(),
        problem,
    }
}

fn parse(answer: &Answer) -> Result<Value> {
    json::parse(&answer.body).map_err(|error| {
        let sent_as = answer
            .content_type
            .as_deref()
            .map_or("of no stated type".into(), in_short);
        let begins = excerpt(&answer.body);
        invalid(
            answer,
            format!("{error}; it is {sent_as} and begins {begins:?}"),
        )
    })
}

/// An object of an answer.
struct Fields<'a> {
    answer: &'a Answer,
    object: Object<'a>,
}

impl Fields<'_> {
    /// What the answer says in the clear.
    fn release(&self, names: &FieldNames) -> Result<Release> {
        let version = self.required(&names.version)?.parse()?;
        let entry_point = self
            .text(&names.entry_point)?
            .filter(|path| !path.is_empty());
        if let Some(path) = entry_point.filter(|path| leads_outside(path)) {
            let problem = format!("{:?} is no path inside the client folder", in_short(path));
            return Err(self.wrong(&names.entry_point, &problem));
        }
        Ok(Release {
            version,
            notes: self.text(&names.notes)?.unwrap_or_default().to_owned(),
            entry_point: entry_point.map(str::to_owned),
            package: self.package(&names.url, &names.sha256, &names.size)?,
            launcher: self.launcher(&names.launchers)?,
            critical_below: None,
            document: None,
        })
    }

    /// What the documents in the answer say.
    fn signed(&self, names: &FieldNames, trust: &mut Trust) -> Result<Trusted> {
        let keys = self
            .object
            .list(&names.keys)
            .map_err(|problem| self.invalid(problem))?;
        for document in keys.unwrap_or_default() {
            let document = bytes(document);
            // The server sends all that it has.
            if !trust.is_known(&document)? && trust.next_keys().is_some() {
                trust.follow(&document)?;
            }
        }
        let Some(document) = self.object.get(&names.release) else {
            return Err(Error::TrustUnsigned {
                subject: self.answer.url.clone(),
            });
        };
        let first = self.address(&names.url).ok();
        let resolve = |link: &str| self.link(&names.release, link);
        trust.release(&bytes(document), None, first.as_deref(), &resolve)
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
                .map_err(|problem| self.wrong(sha256, problem))?,
            url: self.address(url)?,
            mirrors: Vec::new(),
            size: self
                .object
                .number(size)
                .map_err(|problem| self.invalid(problem))?,
            files: None,
            wrapped: false,
        })
    }

    /// An address. A path is one on the host of the check, with or without the slash.
    fn address(&self, names: &[String]) -> Result<String> {
        for name in names {
            if let Some(link) = self.text(name)?.filter(|link| !link.is_empty()) {
                return self.link(name, link);
            }
        }
        Err(self.wrong(&names.join(" or "), "is missing"))
    }

    fn link(&self, name: &str, link: &str) -> Result<String> {
        let wrong = |problem: &str| self.wrong(name, &format!("{:?} {problem}", in_short(link)));
        let root = Url::parse(&self.answer.url).map_err(wrong)?.root();
        Ok(root.join(link).map_err(wrong)?.to_string())
    }

    fn inner(&self, name: &str) -> Result<Option<Self>> {
        let inner = self
            .object
            .inner(name)
            .map_err(|problem| self.invalid(problem))?;
        Ok(inner.map(|object| Self {
            answer: self.answer,
            object,
        }))
    }

    fn required(&self, name: &str) -> Result<&str> {
        self.text(name)?
            .ok_or_else(|| self.wrong(name, "is missing"))
    }

    fn text(&self, name: &str) -> Result<Option<&str>> {
        self.object
            .text(name)
            .map_err(|problem| self.invalid(problem))
    }

    fn wrong(&self, field: &str, problem: &str) -> Error {
        self.invalid(self.object.wrong(field, problem))
    }

    fn invalid(&self, problem: String) -> Error {
        invalid(self.answer, problem)
    }
}

/// A document in an answer: as an object, or as the text of one.
fn bytes(document: &Value) -> Vec<u8> {
    match document {
        Value::String(text) => text.clone().into_bytes(),
        other => other.to_string().into_bytes(),
    }
}

#[cfg(test)]
mod tests;
