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

use super::refused;
use super::{Announced, Ask, Source};
use crate::config::{FieldNames, SourceConfig};
use crate::error::in_short;
use crate::fetch::{Answer, Url};
use crate::json::{self, Object, excerpt};
use crate::release::{FILE_LIST_LIMIT, Package, Release, leads_outside, target};
use crate::trust::document::percentage;
use crate::trust::{Trust, Trusted};
use crate::version::Version;
use crate::{Error, Result, order, record};

/// The largest answer that is read. Real ones have a few hundred bytes, and notes; with a signed
/// document those are in it twice.
pub(super) const ANSWER_LIMIT: u64 = 2 << 20;

/// The largest list of versions that is read: a few thousand of them with their notes, or, as a server
/// that answers file by file has it, some with all their files.
const HISTORY_LIMIT: u64 = FILE_LIST_LIMIT;

/// A check endpoint.
pub(super) struct Check {
    url: String,
    history: Option<String>,
    fields: FieldNames,
}

impl Check {
    pub(super) fn new(config: &SourceConfig) -> Self {
        Self {
            url: config.url.clone(),
            history: config.history.clone(),
            fields: config.fields.clone(),
        }
    }
}

impl Source for Check {
    fn latest(&self, ask: &Ask<'_>, trust: &mut Trust) -> Result<Trusted> {
        let answer = ask.get(&self.url, "", ANSWER_LIMIT)?;
        read(&answer, &self.fields, trust)
    }

    fn history(&self, ask: &Ask<'_>, _trust: &mut Trust, count: usize) -> Result<Vec<Announced>> {
        history(ask, &self.url, self.history.as_deref(), &self.fields, count)
    }
}

/// The releases in the list of versions, which lies beside the endpoint unless it is told where.
pub(super) fn history(
    ask: &Ask<'_>,
    check: &str,
    list: Option<&str>,
    names: &FieldNames,
    count: usize,
) -> Result<Vec<Announced>> {
    let list = list.map_or_else(|| history_address(check), str::to_owned);
    let answer = ask.get(&list, "", HISTORY_LIMIT)?;
    read_history(&answer, names, count)
}

/// The list of versions beside a check endpoint, as both Django servers have it.
fn history_address(check: &str) -> String {
    let (address, query) = match check.split_once('?') {
        Some((address, query)) => (address, format!("?{query}")),
        None => (check, String::new()),
    };
    let path = address.find("://").map_or(0, |scheme| scheme + 3);
    let (host, path) = address.split_at(
        address[path..]
            .find('/')
            .map_or(address.len(), |at| at + path),
    );
    let list = match path.trim_end_matches('/').rsplit_once('/') {
        Some((base, "check")) => format!("{base}/versions/"),
        Some((base, _)) => format!("{base}/list/"),
        None => "/list/".to_owned(),
    };
    format!("{host}{list}{query}")
}

/// The releases in a list: the list itself, or one in the field `data` or `versions`. What is no
/// version is passed over.
fn read_history(answer: &Answer, names: &FieldNames, count: usize) -> Result<Vec<Announced>> {
    if !(200..300).contains(&answer.status) {
        return Err(refusal(answer));
    }
    let document = parse(answer)?;
    let fields = ["data", "versions", "results"];
    let list = document
        .as_array()
        .or_else(|| {
            fields
                .iter()
                .find_map(|name| document.get(name)?.as_array())
        })
        .ok_or_else(|| invalid(answer, "it is no list of versions".to_owned()))?;
    let mut releases = Vec::new();
    for entry in list {
        let object = Object::of(entry).map_err(|problem| invalid(answer, problem))?;
        let text = |name: &str| {
            let text = object
                .text(name)
                .map_err(|problem| invalid(answer, problem))?;
            Ok::<_, Error>(text.unwrap_or_default().to_owned())
        };
        match text(&names.version)?.parse() {
            Ok(version) => releases.push(Announced {
                version,
                name: String::new(),
                notes: text(&names.notes)?,
                published: Some(text("upload_time")?).filter(|time| !time.is_empty()),
                page: None,
                archives: [None, None],
            }),
            Err(error) => record::info!("passed over: {}", error.chain()),
        }
    }
    order::sort_by(&mut releases, |one, other| other.version.cmp(&one.version));
    releases.truncate(count);
    Ok(releases)
}

/// The release that an answer announces.
pub(crate) fn read(answer: &Answer, names: &FieldNames, trust: &mut Trust) -> Result<Trusted> {
    if !(200..300).contains(&answer.status) {
        return Err(refusal(answer));
    }
    let document = parse(answer)?;
    let fields = Fields::of(answer, &document)?;
    if trust.is_pinned() {
        fields.signed(names, trust)
    } else {
        trust.unsigned(fields.release(names)?)
    }
}

/// What an error status means. The Django servers say "no active version" in `error` and "no such
/// app" in `detail`, both with 404; everything else is not theirs.
pub(super) fn refusal(answer: &Answer) -> Error {
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
        _ => refused::refusal(answer),
    }
}

fn is_no_active_version(text: &str) -> bool {
    let text = text.to_lowercase();
    ["激活版本", "激活的版本", "active version"]
        .iter()
        .any(|words| text.contains(words))
}

/// What is wrong with an answer.
pub(super) fn invalid(answer: &Answer, problem: String) -> Error {
    Error::AnswerInvalid {
        url: answer.url.clone(),
        problem,
    }
}

/// The JSON document that an answer is.
pub(super) fn parse(answer: &Answer) -> Result<Value> {
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
pub(super) struct Fields<'a> {
    answer: &'a Answer,
    object: Object<'a>,
}

impl<'a> Fields<'a> {
    /// The document of an answer.
    pub(super) fn of(answer: &'a Answer, document: &'a Value) -> Result<Self> {
        Ok(Self {
            answer,
            object: Object::of(document).map_err(|problem| invalid(answer, problem))?,
        })
    }

    /// The entry of the list `name` with this number.
    pub(super) fn entry(&self, name: &str, number: usize, entry: &'a Value) -> Result<Self> {
        let object = self.object.item(name, number, entry);
        Ok(Self {
            answer: self.answer,
            object: object.map_err(|problem| self.invalid(problem))?,
        })
    }

    /// A list; absent, it is empty.
    pub(super) fn list(&self, name: &str) -> Result<&'a [Value]> {
        let list = self.object.list(name);
        let list = list.map_err(|problem| self.invalid(problem))?;
        Ok(list.unwrap_or_default())
    }

    /// What to start, inside the client folder.
    pub(super) fn entry_point(&self, name: &str) -> Result<Option<String>> {
        let path = self.text(name)?.filter(|path| !path.is_empty());
        if let Some(path) = path.filter(|path| leads_outside(path)) {
            let problem = format!("{:?} is no path inside the client folder", in_short(path));
            return Err(self.wrong(name, &problem));
        }
        Ok(path.map(str::to_owned))
    }

    /// A percentage of installations.
    pub(super) fn rollout(&self, name: &str) -> Result<Option<u64>> {
        percentage(&self.object, name).map_err(|problem| self.invalid(problem))
    }

    /// What the answer says in the clear.
    fn release(&self, names: &FieldNames) -> Result<Release> {
        let version = self.required(&names.version)?.parse()?;
        let package = self.package(&names.url, &names.sha256, &names.size)?;
        Ok(Release {
            notes: self.text(&names.notes)?.unwrap_or_default().to_owned(),
            entry_point: self.entry_point(&names.entry_point)?,
            launcher: self.launcher(&names.launchers)?,
            critical_below: self.version(&names.critical_below)?,
            rollout: self.rollout(&names.rollout)?,
            ..Release::of(version, package)
        })
    }

    /// What the documents in the answer say.
    fn signed(&self, names: &FieldNames, trust: &mut Trust) -> Result<Trusted> {
        for document in self.list(&names.keys)? {
            let document = bytes(document);
            // The server sends all that it has.
            if !trust.is_known(&document)? && trust.next_keys().is_some() {
                trust.follow(&document)?;
            }
        }
        let Some(document) = self.object.get(&names.release) else {
            return Err(Error::TrustUnsigned {
                subject: self.answer.url.clone(),
                problem: "the answer holds no signed release",
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
            sha256: Some(
                digest
                    .parse()
                    .map_err(|problem| self.wrong(sha256, problem))?,
            ),
            size: self.number(size)?,
            ..Package::at(self.address(url)?)
        })
    }

    /// An address. A path is one on the host of the check, with or without the slash.
    pub(super) fn address(&self, names: &[String]) -> Result<String> {
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

    pub(super) fn required(&self, name: &str) -> Result<&str> {
        self.text(name)?
            .ok_or_else(|| self.wrong(name, "is missing"))
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<u64>> {
        self.object
            .number(name)
            .map_err(|problem| self.invalid(problem))
    }

    /// A version, or nothing where the text is empty.
    pub(super) fn version(&self, name: &str) -> Result<Option<Version>> {
        let text = self.text(name)?.filter(|text| !text.is_empty());
        text.map(str::parse).transpose()
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&str>> {
        self.object
            .text(name)
            .map_err(|problem| self.invalid(problem))
    }

    pub(super) fn wrong(&self, field: &str, problem: &str) -> Error {
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
