//! Forges: services that keep repositories, whose releases or tags are versions. What is peculiar to
//! one of them is in a file of its own ([`Service`]); what all have in common is here: which of the
//! releases is meant, which of its files, what an error status means, and the signed documents.
//!
//! Promises:
//!
//! - The order of versions decides, whatever order the service lists them in. What is no version, a
//!   draft, and on the channel `stable` a pre-release is passed over, and the log says so.
//! - A file is chosen by `source.asset`, or by the words for this kind of machine in its name. Where
//!   that does not decide, nothing is guessed: the error names the files.
//! - With keys pinned, a release without its signed document is refused.
//!
//! Not promised: more than the newest page ([`PAGE`]) of releases is looked at, and more than
//! [`TAG_PAGES`] of tags, which services list in an order of their own. Without keys, a release
//! is what the service says over https; a digest is compared where it names one.

use std::borrow::Cow;
use std::fmt::Write as _;

use ureq::http::header;

use super::documents::{self, Documents};
use super::index::Remote;
use super::refused::refusal;
use super::{Announced, Ask, Source, check};
use crate::config::{Patterns, SourceConfig};
use crate::error::in_short;
use crate::fetch::{Answer, BYTES, Url};
use crate::json::Object;
use crate::release::{Package, Release, target};
use crate::trust::{Sha256, Trust, Trusted};
use crate::version::Version;
use crate::{Code, Error, Result, order, record};

mod machine;

pub(super) use self::machine::is_package;

/// The releases that are asked for at once: the most that GitHub, GitLab and Gitee give. (A Gitea gives
/// 50, unless it is set up otherwise.) Who has published a hundred more has left the first behind.
pub(super) const PAGE: &str = "100";

/// How many pages of tags are looked at.
const TAG_PAGES: usize = 10;

/// The largest list that is read: a hundred releases with their notes and a hundred files each.
const LIST_LIMIT: u64 = 16 << 20;

/// The channel on which no pre-release counts.
const STABLE: &str = "stable";

/// How many names an error lists: a release may have hundreds of files.
const NAMED: usize = 10;

/// What is peculiar to a service: its addresses, and the names of its fields.
pub(super) trait Service {
    /// The media type that it is asked for.
    fn accept(&self) -> &'static str {
        "application/json"
    }

    /// The address of the one release that the publisher calls the latest, where there is such a thing.
    fn newest(&self, _at: &Place) -> Option<String> {
        None
    }

    /// The address of the release of a tag, where a release can be asked for by that.
    fn tagged(&self, _at: &Place, _tag: &str) -> Option<String> {
        None
    }

    /// The address of the list of releases; `None` where there are only tags.
    fn releases(&self, at: &Place) -> Option<String>;

    /// The address of the list of tags.
    fn tags(&self, at: &Place) -> String;

    /// A release of its answer.
    fn release(&self, fields: &Object<'_>, at: &Place) -> Result<Found, String>;

    /// A tag of its answer.
    fn tag(&self, fields: &Object<'_>, at: &Place) -> Result<Found, String>;
}

/// The repository at a service.
pub(super) struct Place {
    /// The address of the service, without a slash at its end.
    pub(super) url: String,
    /// The repository, as `owner/name`.
    pub(super) repo: String,
    /// Whether the service is asked in somebody's name.
    pub(super) has_token: bool,
}

/// A release as its service describes it. The addresses are as they came.
#[derive(Default)]
pub(super) struct Found {
    pub(super) tag: String,
    pub(super) name: String,
    pub(super) notes: String,
    /// Not published, or not yet.
    pub(super) draft: bool,
    pub(super) prerelease: bool,
    pub(super) published: Option<String>,
    pub(super) page: Option<String>,
    pub(super) assets: Vec<Asset>,
    /// The archives that the service makes of the tag.
    pub(super) tarball: Option<String>,
    pub(super) zipball: Option<String>,
}

/// A file of a release.
pub(super) struct Asset {
    pub(super) name: String,
    pub(super) url: String,
    pub(super) size: Option<u64>,
    pub(super) sha256: Option<Sha256>,
}

impl Found {
    /// A release in the fields that GitHub has, and those who follow it.
    pub(super) fn usual(fields: &Object<'_>) -> Result<Self, String> {
        let assets = fields.objects("assets")?;
        let published = fields.text("published_at")?;
        Ok(Self {
            tag: fields
                .required("tag_name", fields.text("tag_name"))?
                .to_owned(),
            name: owned(fields, "name")?.unwrap_or_default(),
            notes: owned(fields, "body")?.unwrap_or_default(),
            draft: fields.flag("draft")?,
            prerelease: fields.flag("prerelease")?,
            published: match published {
                Some(time) => Some(time.to_owned()),
                None => owned(fields, "created_at")?,
            },
            page: owned(fields, "html_url")?,
            assets: assets.iter().map(Asset::usual).collect::<Result<_, _>>()?,
            tarball: owned(fields, "tarball_url")?,
            zipball: owned(fields, "zipball_url")?,
        })
    }

    /// A tag in the fields that all have.
    pub(super) fn of_tag(fields: &Object<'_>) -> Result<Self, String> {
        let commit = fields.inner("commit")?;
        let published = commit.map(|commit| owned(&commit, "created_at"));
        Ok(Self {
            tag: fields.required("name", fields.text("name"))?.to_owned(),
            notes: owned(fields, "message")?.unwrap_or_default(),
            published: published.transpose()?.flatten(),
            tarball: owned(fields, "tarball_url")?,
            zipball: owned(fields, "zipball_url")?,
            ..Self::default()
        })
    }
}

impl Asset {
    fn usual(fields: &Object<'_>) -> Result<Self, String> {
        let field = "browser_download_url";
        let url = fields.required(field, fields.text(field))?.to_owned();
        // Other algorithms than this one prove nothing here.
        let digest = fields.text("digest")?.unwrap_or_default();
        let sha256 = digest.strip_prefix("sha256:").map(str::parse);
        Ok(Self {
            name: owned(fields, "name")?.unwrap_or_else(|| last_segment(&url).to_owned()),
            size: fields.number("size")?,
            sha256: sha256
                .transpose()
                .map_err(|problem| fields.wrong("digest", problem))?,
            url,
        })
    }
}

/// A field's text, if it is there.
pub(super) fn owned(fields: &Object<'_>, name: &str) -> Result<Option<String>, String> {
    Ok(fields.text(name)?.map(str::to_owned))
}

/// What an address ends with, which is a file's name mostly.
pub(super) fn last_segment(url: &str) -> &str {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    path.rsplit('/').next().unwrap_or_default()
}

/// A text as one segment of a path: a slash in it divides nothing.
pub(super) fn segment(text: &str) -> String {
    let mut segment = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            segment.push(char::from(byte));
        } else {
            let _ = write!(segment, "%{byte:02X}");
        }
    }
    segment
}

/// A text as segments of a path, divided where it has slashes.
pub(super) fn segments(text: &str) -> String {
    let parts: Vec<String> = text.split('/').map(segment).collect();
    parts.join("/")
}

/// A release whose tag is a version.
struct Candidate {
    version: Version,
    found: Found,
    /// The address of the answer that it is from.
    base: String,
}

impl Candidate {
    /// What a link in the answer leads to.
    fn address(&self, link: &str) -> Result<String> {
        let url = Url::parse(&self.base).and_then(|base| base.join(link));
        let invalid = |problem: &str| Error::AnswerInvalid {
            url: self.base.clone(),
            problem: format!("the link {:?} {problem}", in_short(link)),
        };
        Ok(url.map_err(invalid)?.to_string())
    }

    fn unavailable(&self, problem: String) -> Error {
        Error::TargetUnavailable {
            version: self.version.to_string(),
            target: target(),
            problem,
        }
    }

    fn announced(self) -> Announced {
        let archives = [&self.found.tarball, &self.found.zipball]
            .map(|link| self.address(link.as_ref()?).ok());
        Announced {
            archives,
            version: self.version,
            name: self.found.name,
            notes: self.found.notes,
            published: self.found.published,
            page: self.found.page,
        }
    }
}

/// What was read of answers, and what was passed over.
#[derive(Default)]
struct Listed {
    candidates: Vec<Candidate>,
    /// The address of the last answer.
    url: String,
    /// How many there were, whatever became of them.
    count: usize,
    /// Tags that are no versions.
    strange: Vec<String>,
    drafts: usize,
    prereleases: usize,
}

impl Listed {
    fn take(&mut self, found: Found, stable: bool) {
        if found.draft {
            self.drafts += 1;
            return;
        }
        match found.tag.parse::<Version>() {
            Err(_) => self.strange.push(in_short(&found.tag).into_owned()),
            Ok(version) if stable && (found.prerelease || version.is_prerelease()) => {
                record::debug!("passed over: {version} is a pre-release");
                self.prereleases += 1;
            }
            Ok(version) => self.candidates.push(Candidate {
                version,
                found,
                base: self.url.clone(),
            }),
        }
    }

    /// What there is instead of a version to install.
    fn nothing(&self) -> Error {
        let mut reasons = Vec::new();
        match &self.strange[..] {
            [] => {}
            [tag] if self.drafts + self.prereleases == 0 => {
                reasons.push(format!("its only tag {tag:?} is no version"));
            }
            tags => reasons.push(format!("no versions: {} ({})", tags.len(), names(tags))),
        }
        for (count, what) in [
            (self.prereleases, "not for the channel stable"),
            (self.drafts, "not published"),
        ] {
            if count > 0 {
                reasons.push(format!("{what}: {count}"));
            }
        }
        if reasons.is_empty() {
            reasons.push("there is neither a release nor a tag".to_owned());
        }
        Error::NoReleases {
            url: self.url.clone(),
            problem: reasons.join(", "),
        }
    }
}

/// The first names of a list, for an error.
fn names<T: AsRef<str>>(all: &[T]) -> String {
    let shown: Vec<Cow<'_, str>> = all
        .iter()
        .take(NAMED)
        .map(|name| in_short(name.as_ref()))
        .collect();
    let more = if all.len() > NAMED { ", …" } else { "" };
    shown.join(", ") + more
}

/// What is to be fetched of a release.
enum Choice<'a> {
    Asset(&'a Asset),
    Archive { zip: bool },
}

/// A repository at a service.
pub(super) struct Forge {
    service: &'static dyn Service,
    at: Place,
    asset: Option<String>,
    documents: Option<String>,
    pin: Option<Version>,
}

impl Forge {
    /// The repository that is configured; of its versions only `pin`, if that is one.
    pub(super) fn new(
        service: &'static dyn Service,
        config: &SourceConfig,
        pin: Option<&Version>,
    ) -> Self {
        Self {
            service,
            at: Place {
                url: config.url.trim_end_matches('/').to_owned(),
                repo: config.repo.clone(),
                has_token: config.token.is_some(),
            },
            asset: config.asset.clone(),
            documents: config.documents.clone(),
            pin: pin.cloned(),
        }
    }

    fn get(&self, ask: &Ask<'_>, url: &str) -> Result<Answer> {
        ask.get(url, self.service.accept(), LIST_LIMIT)
    }

    /// The release to install.
    fn current(&self, ask: &Ask<'_>, channel: &str) -> Result<Candidate> {
        let stable = channel == STABLE && self.pin.is_none();
        if let Some(pin) = &self.pin {
            return self.pinned(ask, pin);
        }
        if stable
            && let Some(url) = self.service.newest(&self.at)
            && let Some(candidate) = self.one(ask, &url, stable)?
        {
            return Ok(candidate);
        }
        let mut listed = self.list(ask, stable)?;
        if listed.candidates.is_empty() {
            return Err(listed.nothing());
        }
        Ok(listed.candidates.swap_remove(0))
    }

    /// The release at an address; `None` where there is none, or one that does not count. (Whether there
    /// is such a repository, the list tells.)
    fn one(&self, ask: &Ask<'_>, url: &str, stable: bool) -> Result<Option<Candidate>> {
        let answer = self.get(ask, url)?;
        if answer.status == 404 {
            return Ok(None);
        }
        self.succeeded(&answer)?;
        let mut listed = Listed {
            url: answer.url.clone(),
            ..Listed::default()
        };
        let document = check::parse(&answer)?;
        let found = Object::of(&document)
            .and_then(|fields| self.service.release(&fields, &self.at))
            .map_err(|problem| check::invalid(&answer, problem))?;
        listed.take(found, stable);
        Ok(listed.candidates.pop())
    }

    /// The release of one version, or the tag, wherever it is: it is meant, and no other.
    fn pinned(&self, ask: &Ask<'_>, pin: &Version) -> Result<Candidate> {
        let bare = pin.as_str();
        for tag in [format!("v{bare}"), bare.to_owned()] {
            if let Some(url) = self.service.tagged(&self.at, &tag)
                && let Some(candidate) = self.one(ask, &url, false)?
                && candidate.version == *pin
            {
                return Ok(candidate);
            }
        }
        let mut count = 0;
        let mut url = String::new();
        for released in [true, false] {
            let mut listed = match self.listed(ask, released, false) {
                // The repository is there: it has no tags.
                Err(error) if count > 0 && error.code() == Code::RepoNotFound => break,
                Ok(None) => continue,
                listed => listed?.unwrap_or_default(),
            };
            if let Some(place) = listed.candidates.iter().position(|it| it.version == *pin) {
                return Ok(listed.candidates.swap_remove(place));
            }
            count += listed.count;
            url = listed.url;
        }
        Err(Error::NoReleases {
            problem: format!(
                "update.pin asks for {pin}, which is none of the {count} releases and tags that it lists"
            ),
            url,
        })
    }

    /// What the service lists, the newest first: its releases, or its tags where it has no releases at
    /// all. A tag beside releases may be one that is not to be released yet.
    fn list(&self, ask: &Ask<'_>, stable: bool) -> Result<Listed> {
        let releases = self.listed(ask, true, stable)?;
        match releases.filter(|listed| listed.count > 0) {
            Some(listed) => Ok(listed),
            None => Ok(self.listed(ask, false, stable)?.unwrap_or_default()),
        }
    }

    /// The list of releases, or that of tags; `None` where the service has none of that kind.
    fn listed(&self, ask: &Ask<'_>, released: bool, stable: bool) -> Result<Option<Listed>> {
        let (first, pages) = if released {
            (self.service.releases(&self.at), 1)
        } else {
            (Some(self.service.tags(&self.at)), TAG_PAGES)
        };
        let Some(mut next) = first else {
            return Ok(None);
        };
        let mut listed = Listed::default();
        for page in 1..=pages {
            let answer = self.get(ask, &next)?;
            self.succeeded(&answer)?;
            listed.url.clone_from(&answer.url);
            let invalid = |problem| check::invalid(&answer, problem);
            let document = check::parse(&answer)?;
            let items = Object::list_of(&document).map_err(invalid)?;
            for fields in &items {
                let found = if released {
                    self.service.release(fields, &self.at)
                } else {
                    self.service.tag(fields, &self.at)
                };
                listed.take(found.map_err(invalid)?, stable);
            }
            listed.count += items.len();
            match next_page(&answer).filter(|_| !items.is_empty()) {
                Some(url) if page < pages => next = url,
                Some(_) if !released => {
                    record::warn!(
                        "there are more tags than the {} that were read",
                        listed.count
                    );
                    break;
                }
                _ => break,
            }
        }
        if !listed.strange.is_empty() {
            record::info!("passed over, no versions: {}", names(&listed.strange));
        }
        order::sort_by(&mut listed.candidates, |one, other| {
            other.version.cmp(&one.version)
        });
        Ok(Some(listed))
    }

    /// What an error status means at a forge.
    fn succeeded(&self, answer: &Answer) -> Result<()> {
        match answer.status {
            200..300 => Ok(()),
            404 => Err(Error::RepoNotFound {
                url: answer.url.clone(),
                repo: self.at.repo.clone(),
            }),
            _ => Err(refusal(answer)),
        }
    }

    /// A text of the configuration, in which a release's words are put in their places.
    fn filled(text: &str, candidate: &Candidate) -> String {
        text.replace("{version}", &candidate.version.file_name())
            .replace("{tag}", &candidate.found.tag)
            .replace("{target}", &target())
            .replace("{os}", std::env::consts::OS)
            .replace("{arch}", std::env::consts::ARCH)
    }

    /// Which file of a release is the package.
    fn choose<'a>(&self, candidate: &'a Candidate) -> Result<Choice<'a>> {
        let assets = &candidate.found.assets;
        let pattern = match self.asset.as_deref() {
            None => return machine::choose(candidate, assets),
            Some("tarball") => return Ok(Choice::Archive { zip: false }),
            Some("zipball") => return Ok(Choice::Archive { zip: true }),
            Some(pattern) => Self::filled(pattern, candidate),
        };
        let patterns = Patterns::parse(std::slice::from_ref(&pattern))?;
        let mut fitting: Vec<&Asset> = assets
            .iter()
            .filter(|asset| patterns.matches(&asset.name, false))
            .collect();
        // Beside a package its digest and its signature have its name and an ending more.
        if fitting.iter().any(|asset| machine::is_package(&asset.name)) {
            fitting.retain(|asset| machine::is_package(&asset.name));
        }
        let problem = match fitting[..] {
            [asset] => return Ok(Choice::Asset(asset)),
            [] if assets.is_empty() => {
                format!("source.asset asks for {pattern:?}, it has no files")
            }
            [] => format!(
                "source.asset asks for {pattern:?}, it has {}",
                asset_names(assets)
            ),
            _ => format!(
                "source.asset asks for {pattern:?}, which several are: {}",
                asset_names(fitting)
            ),
        };
        Err(candidate.unavailable(problem))
    }

    fn package(&self, candidate: &Candidate) -> Result<Package> {
        let package = |url: &str| candidate.address(url).map(Package::at);
        let found = &candidate.found;
        match self.choose(candidate)? {
            Choice::Asset(asset) => Ok(Package {
                sha256: asset.sha256,
                size: asset.size,
                ..package(&asset.url)?
            }),
            Choice::Archive { zip } => {
                let url = if zip { &found.zipball } else { &found.tarball };
                let missing = || candidate.unavailable("its tag has no archive".to_owned());
                Ok(Package {
                    wrapped: true,
                    ..package(url.as_ref().ok_or_else(missing)?)?
                })
            }
        }
    }

    /// The release as its signed document has it.
    fn signed(&self, candidate: &Candidate, ask: &Ask<'_>, trust: &mut Trust) -> Result<Trusted> {
        let folder = self.documents.as_ref().map(|template| {
            documents::folder(
                template,
                &candidate.version,
                &segments(&candidate.found.tag),
            )
        });
        // The archive of a tag is not the same bytes for ever, so that nobody signs one. And what the
        // document names itself need not be found here.
        let first = match self.choose(candidate) {
            Ok(Choice::Asset(asset)) => Some(candidate.address(&asset.url)?),
            Ok(Choice::Archive { .. }) => None,
            Err(error) => {
                record::debug!("{}", error.chain());
                None
            }
        };
        let papers = Papers {
            forge: self,
            candidate,
            ask,
            folder: folder.as_deref().map(|url| Remote { url, ask }),
        };
        documents::release_of(&papers, trust, &candidate.version, first.as_deref())
    }
}

impl Source for Forge {
    fn latest(&self, ask: &Ask<'_>, trust: &mut Trust) -> Result<Trusted> {
        let candidate = self.current(ask, trust.channel())?;
        if trust.is_pinned() {
            return self.signed(&candidate, ask, trust);
        }
        let package = self.package(&candidate)?;
        let mut release = Release::of(candidate.version, package);
        release.notes = candidate.found.notes;
        trust.unsigned(release)
    }

    fn history(&self, ask: &Ask<'_>, trust: &mut Trust, count: usize) -> Result<Vec<Announced>> {
        let listed = self.list(ask, trust.channel() == STABLE)?;
        if listed.candidates.is_empty() {
            return Err(listed.nothing());
        }
        let releases = listed.candidates.into_iter().take(count);
        Ok(releases.map(Candidate::announced).collect())
    }
}

/// The signed documents of a release: files of it, or in a folder elsewhere.
struct Papers<'a> {
    forge: &'a Forge,
    candidate: &'a Candidate,
    ask: &'a Ask<'a>,
    folder: Option<Remote<'a>>,
}

impl Papers<'_> {
    fn asset(&self, name: &str) -> Option<&Asset> {
        let assets = &self.candidate.found.assets;
        assets.iter().find(|asset| asset.name == name)
    }
}

impl Documents for Papers<'_> {
    fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        if let Some(folder) = &self.folder {
            return folder.read(name, limit);
        }
        let Some(asset) = self.asset(name) else {
            return Ok(None);
        };
        let url = self.candidate.address(&asset.url)?;
        let answer = self.ask.get(&url, BYTES, limit)?;
        // What the release lists and is gone from there.
        if matches!(answer.status, 404 | 410) {
            return Ok(None);
        }
        self.forge.succeeded(&answer)?;
        Ok(Some(answer.body))
    }

    /// A name is that of a file of the release, whatever folder it is in where the document is signed.
    fn resolve(&self, link: &str) -> Result<String> {
        let relative = !link.contains("://");
        if let Some(asset) = self.asset(last_segment(link)).filter(|_| relative) {
            return self.candidate.address(&asset.url);
        }
        if let Some(folder) = &self.folder {
            return folder.resolve(link);
        }
        if relative {
            let link = in_short(link);
            return Err(Error::AnswerInvalid {
                url: self.candidate.base.clone(),
                problem: format!(
                    "the signed document names {link:?}, the release has no such file"
                ),
            });
        }
        self.candidate.address(link)
    }

    fn place(&self, name: &str) -> String {
        match &self.folder {
            Some(folder) => folder.place(name),
            None => format!("{name} of {}", self.candidate.found.tag),
        }
    }
}

/// The address of the next page of a list, as the header `Link` has it (RFC 8288), which all of these
/// services send.
fn next_page(answer: &Answer) -> Option<String> {
    let links = answer.headers.get(header::LINK)?.to_str().ok()?;
    let next = links.split(',').find_map(|link| {
        let (url, how) = link.trim().strip_prefix('<')?.split_once('>')?;
        let next = how.split(';').map(str::trim);
        next.into_iter()
            .any(|it| matches!(it, "rel=\"next\"" | "rel=next"))
            .then_some(url)
    })?;
    let base = Url::parse(&answer.url).ok()?;
    Some(base.join(next).ok()?.to_string())
}

fn asset_names<'a>(assets: impl IntoIterator<Item = &'a Asset>) -> String {
    let all: Vec<&str> = assets.into_iter().map(|asset| &*asset.name).collect();
    names(&all)
}

#[cfg(test)]
mod tests;
