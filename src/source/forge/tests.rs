//! Each forge against answers built as its service gives them, on a real server. Every test of the
//! forges runs for each of them, in a module of its name.

use castoff_testkit::http::{Reply, Request, Server};
use castoff_testkit::sign::{APP, Document, Signer, role};
use chrono::Utc;
use serde_json::{Value, json};

use super::{Forge, Service};
use crate::config::{SourceConfig, SourceKind, TrustConfig};
use crate::fetch::tests::{PATIENT, client, network, source};
use crate::fetch::{Answer, download};
use crate::progress::Silent;
use crate::release::{Package, target};
use crate::source::codeup::Codeup;
use crate::source::gitea::Gitea;
use crate::source::gitee::Gitee;
use crate::source::github::Github;
use crate::source::gitlab::Gitlab;
use crate::source::refused::{PAUSE, rate_limit};
use crate::source::tests::bad_answers::{
    Asked, cells, status_401, status_403, status_500, too_many_questions, truncated_answer,
    unreachable, web_page,
};
use crate::source::{Announced, Answers, Ask, Source as _};
use crate::trust::{Anchor, Level, Role, Sha256, Trust, Trusted};
use crate::version::Version;
use crate::{Code, Result};

const REPO: &str = "owner/app";
const TOKEN: &str = "a-secret";
const CONTENT: &[u8] = b"the bytes of a package";

/// A release as its publisher makes it.
#[derive(Clone, Default)]
struct Made {
    tag: &'static str,
    draft: bool,
    prerelease: bool,
    files: Vec<(String, Vec<u8>)>,
}

fn made(tag: &'static str) -> Made {
    Made {
        tag,
        ..Made::default()
    }
}

impl Made {
    fn file(mut self, name: &str, content: impl AsRef<[u8]>) -> Self {
        self.files
            .push((name.to_owned(), content.as_ref().to_vec()));
        self
    }

    fn draft(mut self) -> Self {
        self.draft = true;
        self
    }

    fn prerelease(mut self) -> Self {
        self.prerelease = true;
        self
    }
}

/// A service, and how it answers.
#[derive(Clone, Copy)]
struct Kit {
    kind: SourceKind,
    service: &'static dyn Service,
}

const GITHUB: Kit = Kit {
    kind: SourceKind::Github,
    service: &Github,
};
const CODEUP: Kit = Kit {
    kind: SourceKind::Codeup,
    service: &Codeup,
};
const GITLAB: Kit = Kit {
    kind: SourceKind::Gitlab,
    service: &Gitlab,
};
const GITEE: Kit = Kit {
    kind: SourceKind::Gitee,
    service: &Gitee,
};
const GITEA: Kit = Kit {
    kind: SourceKind::Gitea,
    service: &Gitea,
};

impl Kit {
    /// The list of releases, or of tags where there are no releases.
    fn list(self) -> &'static str {
        match self.kind {
            SourceKind::Github => "/repos/owner/app/releases",
            SourceKind::Gitlab => "/api/v4/projects/owner%2Fapp/releases",
            SourceKind::Gitee => "/api/v5/repos/owner/app/releases",
            SourceKind::Gitea => "/api/v1/repos/owner/app/releases",
            _ => self.tags(),
        }
    }

    fn tags(self) -> &'static str {
        match self.kind {
            SourceKind::Github => "/repos/owner/app/tags",
            SourceKind::Gitee => "/api/v5/repos/owner/app/tags",
            SourceKind::Gitea => "/api/v1/repos/owner/app/tags",
            _ => "/api/v4/projects/owner%2Fapp/repository/tags",
        }
    }

    /// What is asked first on the channel `stable`.
    fn first(self) -> &'static str {
        match self.kind {
            SourceKind::Github => "/repos/owner/app/releases/latest",
            _ => self.list(),
        }
    }

    /// Answers the first question on any channel with this.
    fn answer(self, server: &Server, reply: &Reply) {
        for path in [self.first(), self.list()] {
            server.replace(path, reply.clone());
        }
    }

    fn archive(self, tag: &str, ending: &str) -> String {
        match self.kind {
            SourceKind::Github if ending == ".zip" => format!("/repos/{REPO}/zipball/{tag}"),
            SourceKind::Github => format!("/repos/{REPO}/tarball/refs/tags/{tag}"),
            SourceKind::Gitee => format!("/{REPO}/archive/refs/tags/{tag}{ending}"),
            SourceKind::Gitea => format!("/{REPO}/archive/{tag}{ending}"),
            SourceKind::Gitlab => {
                let file = tag.replace('/', "-");
                format!("/{REPO}/-/archive/{tag}/app-{file}{ending}")
            }
            _ => {
                let file = tag.replace('/', "-");
                format!("/{REPO}/-/archive/{tag}/{file}{ending}")
            }
        }
    }

    fn file(self, tag: &str, name: &str) -> String {
        match self.kind {
            SourceKind::Gitlab => format!("/{REPO}/-/releases/{tag}/downloads/{name}"),
            _ => format!("/{REPO}/releases/download/{tag}/{name}"),
        }
    }

    /// Puts releases on a server, in this order, with their files. On GitHub the first one that is
    /// neither a draft nor a pre-release is the latest.
    fn publish(self, server: &Server, releases: &[Made]) {
        let answers: Vec<Value> = releases.iter().map(|it| self.release(server, it)).collect();
        server.replace(self.list(), Reply::json(&Value::from(answers).to_string()));
        let latest = releases.iter().find(|it| !it.draft && !it.prerelease);
        if self.kind == SourceKind::Github {
            server.unroute(self.first());
            if let Some(latest) = latest {
                let answer = self.release(server, latest);
                server.route(self.first(), Reply::json(&answer.to_string()));
            }
        }
        for release in releases {
            for (number, (name, content)) in release.files.iter().enumerate() {
                let path = self.file(release.tag, name);
                server.unroute(&path).route(&path, Reply::file(content));
                let path = format!("/repos/{REPO}/releases/assets/{number}");
                server.unroute(&path).route(&path, Reply::file(content));
            }
        }
    }

    /// Puts tags without releases on a server.
    fn tag(self, server: &Server, tags: &[&str]) {
        if self.kind != SourceKind::Codeup {
            server.route(self.list(), Reply::json("[]"));
        }
        let answers: Vec<Value> = tags.iter().map(|tag| self.tagged(server, tag)).collect();
        server.route(self.tags(), Reply::json(&Value::from(answers).to_string()));
    }

    fn tagged(self, server: &Server, tag: &str) -> Value {
        match self.kind {
            SourceKind::Github => json!({
                "name": tag, "zipball_url": server.url(&self.archive(tag, ".zip")),
                "tarball_url": server.url(&self.archive(tag, ".tar.gz")),
                "commit": {"sha": "c5b97d5ae6c19d5c5df71a34c7fbeeda2479ccbc", "url": "https://a.example/c5b9"},
                "node_id": "MDM6UmVmMQ==",
            }),
            SourceKind::Gitee => json!({
                "name": tag, "message": format!("notes of {tag}"),
                "commit": {"sha": "c5b9", "date": "2026-01-02T03:04:05+00:00"},
                "tagger": {"name": "a", "email": "a@b.example", "date": null},
            }),
            SourceKind::Gitea => json!({
                "name": tag, "message": format!("notes of {tag}"), "id": "c5b9",
                "commit": {"url": "https://a.example/c", "sha": "c5b9", "created": "2026-01-02T03:04:05Z"},
                "zipball_url": server.url(&self.archive(tag, ".zip")),
                "tarball_url": server.url(&self.archive(tag, ".tar.gz")),
            }),
            _ => json!({
                "name": tag, "message": format!("notes of {tag}"), "target": "2695effb", "release": null,
                "protected": false, "commit": {
                    "id": "2695effb5807a22ff3d138d593fd856244e155e7", "short_id": "2695effb",
                    "title": "Initial commit", "created_at": "2026-01-02T03:04:05.000+08:00",
                    "parent_ids": [], "message": "Initial commit", "author_name": "John Smith",
                },
            }),
        }
    }

    /// A release in the documented shape, with fields that nobody asks for.
    fn release(self, server: &Server, made: &Made) -> Value {
        let tag = made.tag;
        let url = |path: String| server.url(&path);
        let user = json!({"login": "owner", "id": 1, "html_url": "https://a.example/owner"});
        let files = |asset: &dyn Fn(usize, &str, &[u8]) -> Value| -> Vec<Value> {
            let files = made.files.iter().enumerate();
            files
                .map(|(at, (name, content))| asset(at, name, content))
                .collect()
        };
        match self.kind {
            SourceKind::Github => json!({
                "url": url(format!("/repos/{REPO}/releases/1")), "id": 1, "node_id": "MDc6UmVsZWFzZTE=",
                "html_url": format!("https://github.example/{REPO}/releases/{tag}"),
                "tarball_url": url(self.archive(tag, ".tar.gz")),
                "zipball_url": url(self.archive(tag, ".zip")),
                "tag_name": tag, "target_commitish": "master", "name": format!("App {tag}"),
                "body": format!("notes of {tag}"), "draft": made.draft, "prerelease": made.prerelease,
                "immutable": false, "created_at": "2026-01-01T00:00:00Z",
                "published_at": "2026-01-02T03:04:05Z", "author": user,
                "assets": files(&|number, name, content| json!({
                    "url": url(format!("/repos/{REPO}/releases/assets/{number}")), "id": number,
                    "browser_download_url": url(self.file(tag, name)), "name": name, "label": null,
                    "state": "uploaded", "content_type": "application/zip", "size": content.len(),
                    "digest": format!("sha256:{}", Sha256::of(content)), "download_count": 42,
                    "uploader": user,
                })),
            }),
            SourceKind::Gitlab => json!({
                "tag_name": tag, "name": format!("App {tag}"), "description": format!("notes of {tag}"),
                "created_at": "2026-01-01T00:00:00.000Z", "released_at": "2026-01-02T03:04:05.000Z",
                "upcoming_release": made.draft, "author": user, "milestones": [], "evidences": [],
                "commit": {"id": "079e90101242458910cccd35eab0e211dfc359c0", "short_id": "079e9010"},
                "_links": {"self": format!("https://gitlab.example/{REPO}/-/releases/{tag}"),
                           "edit_url": "https://gitlab.example/edit"},
                "assets": {
                    "count": made.files.len() + 4,
                    "sources": [
                        {"format": "zip", "url": url(self.archive(tag, ".zip"))},
                        {"format": "tar.gz", "url": url(self.archive(tag, ".tar.gz"))},
                        {"format": "tar.bz2", "url": url(self.archive(tag, ".tar.bz2"))},
                        {"format": "tar", "url": url(self.archive(tag, ".tar"))},
                    ],
                    "links": files(&|number, name, _| json!({
                        "id": number, "name": name, "url": format!("https://other.example/{name}"),
                        "direct_asset_url": url(self.file(tag, name)), "link_type": "package",
                    })),
                },
            }),
            SourceKind::Gitee => {
                let mut assets = files(
                    &|_, name, _| json!({"browser_download_url": url(self.file(tag, name)), "name": name}),
                );
                // One with a name and one without, as both are met.
                let zip = url(self.archive(tag, ".zip"));
                assets.push(json!({"browser_download_url": zip, "name": format!("{tag}.zip")}));
                assets.push(json!({"browser_download_url": url(self.archive(tag, ".tar.gz"))}));
                json!({
                    "id": 1, "tag_name": tag, "target_commitish": "master",
                    "prerelease": made.prerelease, "name": format!("App {tag}"),
                    "body": format!("notes of {tag}"), "author": user,
                    "created_at": "2026-01-02T03:04:05+08:00", "assets": assets,
                })
            }
            SourceKind::Gitea => json!({
                "id": 1, "tag_name": tag, "target_commitish": "main", "name": format!("App {tag}"),
                "body": format!("notes of {tag}"), "url": url(format!("/api/v1/repos/{REPO}/releases/1")),
                "html_url": format!("https://gitea.example/{REPO}/releases/tag/{tag}"),
                "tarball_url": url(self.archive(tag, ".tar.gz")),
                "zipball_url": url(self.archive(tag, ".zip")),
                "draft": made.draft, "prerelease": made.prerelease,
                "created_at": "2026-01-01T00:00:00Z", "published_at": "2026-01-02T03:04:05Z",
                "author": user,
                "assets": files(&|number, name, content| json!({
                    "id": number, "name": name, "size": content.len(), "download_count": 0,
                    "created_at": "2026-01-01T00:00:00Z", "uuid": "0d9f",
                    "browser_download_url": url(self.file(tag, name)), "type": "attachment",
                })),
            }),
            _ => self.tagged(server, tag),
        }
    }

    fn source(self, server: &Server) -> SourceConfig {
        SourceConfig {
            kind: self.kind,
            repo: REPO.to_owned(),
            ..source(&server.url("/"))
        }
    }

    fn token(self) -> (&'static str, String) {
        match self.kind {
            SourceKind::Github => ("authorization", format!("Bearer {TOKEN}")),
            SourceKind::Gitee | SourceKind::Gitea => ("authorization", format!("token {TOKEN}")),
            _ => ("private-token", TOKEN.to_owned()),
        }
    }

    /// What is asked, on which channel, for which version.
    fn ask(self, server: &Server) -> Question<'static> {
        Question {
            kit: self,
            source: self.source(server),
            channel: "stable",
            pin: None,
            pinned: None,
            answers: None,
        }
    }

    fn latest(self, server: &Server) -> Result<Trusted> {
        self.ask(server).latest()
    }

    fn has_releases(self) -> bool {
        self.kind != SourceKind::Codeup
    }
}

struct Question<'a> {
    kit: Kit,
    source: SourceConfig,
    channel: &'static str,
    pin: Option<Version>,
    pinned: Option<TrustConfig>,
    answers: Option<&'a Answers>,
}

impl Question<'_> {
    fn on(mut self, channel: &'static str) -> Self {
        self.channel = channel;
        self
    }

    fn pin(mut self, version: &str) -> Self {
        self.pin = Some(version.parse().unwrap());
        self
    }

    fn asset(mut self, pattern: &str) -> Self {
        self.source.asset = Some(pattern.to_owned());
        self
    }

    fn with_token(mut self) -> Self {
        self.source.token = Some(TOKEN.to_owned());
        self
    }

    fn documents(mut self, url: &str) -> Self {
        self.source.documents = Some(url.to_owned());
        self
    }

    fn trusting(mut self, signer: &Signer) -> Self {
        let key = signer.public().parse().unwrap();
        self.pinned = Some(TrustConfig {
            role: Role::new(vec![key], 1).unwrap(),
            first: 1,
        });
        self
    }

    fn ask<T>(
        &self,
        question: impl FnOnce(&Forge, &Ask<'_>, &mut Trust) -> Result<T>,
    ) -> Result<T> {
        let anchor = Anchor {
            app: APP,
            channel: self.channel,
            indexed: false,
            pinned: self.pinned.as_ref(),
        };
        let mut trust = Trust::new(&anchor, Utc::now());
        let client = client(&network(), &self.source);
        let mut ask = Ask::within(&client, None, PATIENT);
        if let Some(answers) = self.answers {
            ask = ask.with_answers(answers);
        }
        let forge = Forge::new(self.kit.service, &self.source, self.pin.as_ref());
        question(&forge, &ask, &mut trust)
    }

    fn latest(&self) -> Result<Trusted> {
        self.ask(Forge::latest)
    }

    fn history(&self, count: usize) -> Result<Vec<Announced>> {
        self.ask(|forge, ask, trust| forge.history(ask, trust, count))
    }

    /// Fetches a package as an update does.
    fn fetch(&self, package: &Package) -> Sha256 {
        let folder = tempfile::tempdir().unwrap();
        let client = client(&network(), &self.source);
        let fetched = download(&client, package, folder.path(), &Silent);
        fetched.unwrap().sha256
    }
}

/// The name of a package for this machine.
fn own() -> String {
    let arch = std::env::consts::ARCH;
    format!("app-{}-{arch}.zip", std::env::consts::OS)
}

/// The name of a package for no machine that runs these tests.
const OTHER: &str = "app-freebsd-riscv64.zip";

fn code(result: Result<Trusted>) -> Code {
    result.map(|it| it.version.clone()).unwrap_err().code()
}

#[track_caller]
fn problem(result: Result<Trusted>, expected: Code) -> String {
    let error = result.map(|it| it.version.clone()).unwrap_err();
    assert_eq!(error.code(), expected, "{error}");
    error.to_string()
}

cells! {
    github = GITHUB {
        latest, latest_is_the_publishers_choice, latest_by_the_order_of_versions, history,
        pinned_version, pinned_version_that_is_not_there, tags_on_several_pages, prereleases_by_channel, drafts_never_count,
        file_for_this_machine, pinned_by_its_tag, files_and_no_package, file_by_pattern, file_that_is_not_there, archive_of_the_tag,
        archive_of_the_tag_where_there_are_no_files, tags_where_there_are_no_releases,
        size_and_digest, token, token_fetches_private_files, etag, signed_release,
        signed_documents_elsewhere, signed_document_that_is_missing, signed_document_of_another_version,
        unreachable, status_401, status_403, status_404, status_500, too_many_questions, web_page,
        truncated_answer, wrong_types, no_releases, tag_that_is_no_version,
        redirect_to_another_host, relative_addresses,
    }
    codeup = CODEUP {
        latest, latest_by_the_order_of_versions, history, pinned_version,
        pinned_version_that_is_not_there, tags_on_several_pages, prereleases_by_channel, archive_of_the_tag,
        archive_of_the_tag_where_there_are_no_files, no_digest, token, etag,
        signed_documents_elsewhere, signed_document_that_is_missing, repository_by_its_number,
        unreachable, status_401, status_403, status_404, status_500, too_many_questions, web_page,
        truncated_answer, wrong_types, no_releases, tag_that_is_no_version, redirect_to_another_host,
    }
    gitlab = GITLAB {
        latest, latest_by_the_order_of_versions, history, pinned_version,
        pinned_version_that_is_not_there, tags_on_several_pages, prereleases_by_channel, drafts_never_count,
        file_for_this_machine, pinned_by_its_tag, files_and_no_package, file_by_pattern, file_that_is_not_there, archive_of_the_tag,
        archive_of_the_tag_where_there_are_no_files, tags_where_there_are_no_releases, no_digest,
        token, etag, signed_release, signed_documents_elsewhere, signed_document_that_is_missing,
        signed_document_of_another_version, unreachable, status_401, status_403, status_404,
        status_500, too_many_questions, web_page, truncated_answer, wrong_types, no_releases,
        tag_that_is_no_version, redirect_to_another_host, files_with_titles, relative_addresses,
    }
    gitee = GITEE {
        latest, latest_by_the_order_of_versions, history, pinned_version,
        pinned_version_that_is_not_there, tags_on_several_pages, prereleases_by_channel, file_for_this_machine, pinned_by_its_tag, files_and_no_package,
        file_by_pattern, file_that_is_not_there, archive_of_the_tag,
        archive_of_the_tag_where_there_are_no_files, tags_where_there_are_no_releases, no_digest,
        token, etag, signed_release, signed_documents_elsewhere, signed_document_that_is_missing,
        signed_document_of_another_version, unreachable, status_401, status_403, status_404,
        status_500, too_many_questions, web_page, truncated_answer, wrong_types, no_releases,
        tag_that_is_no_version, redirect_to_another_host, relative_addresses,
    }
    gitea = GITEA {
        latest, latest_by_the_order_of_versions, history, pinned_version,
        pinned_version_that_is_not_there, tags_on_several_pages, prereleases_by_channel, drafts_never_count,
        file_for_this_machine, pinned_by_its_tag, files_and_no_package, file_by_pattern, file_that_is_not_there, archive_of_the_tag,
        archive_of_the_tag_where_there_are_no_files, tags_where_there_are_no_releases, no_digest,
        token, etag, signed_release, signed_documents_elsewhere, signed_document_that_is_missing,
        signed_document_of_another_version, unreachable, status_401, status_403, status_404,
        status_500, too_many_questions, web_page, truncated_answer, wrong_types, no_releases,
        tag_that_is_no_version, redirect_to_another_host, relative_addresses,
    }
}

fn latest(kit: Kit) {
    let server = Server::start();
    kit.publish(
        &server,
        &[made("v1.1.0").file(&own(), CONTENT), made("v1.0.0")],
    );
    let release = kit.latest(&server).unwrap();
    assert_eq!(release.version.as_str(), "v1.1.0");
    assert_eq!(release.notes, "notes of v1.1.0");
    assert_eq!(release.level(), Level::Digest);
    let asked = &server.requests()[0];
    assert_eq!(asked.path(), kit.first());
    if kit.kind == SourceKind::Github {
        assert_eq!(asked.header("accept"), Some("application/vnd.github+json"));
        assert_eq!(server.requests().len(), 1);
    } else {
        let page = if kit.kind == SourceKind::Gitea {
            "limit"
        } else {
            "per_page"
        };
        assert!(
            asked.target.contains(&format!("{page}=100")),
            "{}",
            asked.target
        );
        assert_eq!(asked.header("accept"), Some("application/json"));
    }
}

fn latest_is_the_publishers_choice(kit: Kit) {
    // A version of an older line may be published after a newer one.
    let server = Server::start();
    kit.publish(&server, &[made("v1.1.1"), made("v2.0.0")]);
    assert_eq!(kit.latest(&server).unwrap().version.as_str(), "v1.1.1");
    // One that is no version, or a pre-release, is none; then the list counts.
    for tag in ["nightly", "v3.0.0-rc.1"] {
        kit.publish(&server, &[made(tag), made("v1.1.1"), made("v2.0.0")]);
        assert_eq!(kit.latest(&server).unwrap().version.as_str(), "v2.0.0");
    }
}

fn latest_by_the_order_of_versions(kit: Kit) {
    let server = Server::start();
    let releases = ["v1.9.0", "release/v1.10.0", "v1.2.0", "nightly", "1.8"].map(made);
    kit.publish(&server, &releases);
    // Where the publisher has made no choice.
    if kit.kind == SourceKind::Github {
        server.unroute(kit.first());
    }
    let release = kit.latest(&server).unwrap();
    assert_eq!(release.version.as_str(), "release/v1.10.0");
}

fn history(kit: Kit) {
    let server = Server::start();
    let releases = ["v1.0.0", "v1.2.0", "latest", "v1.1.0", "v2.0.0-rc.1"].map(made);
    kit.publish(&server, &releases);
    let versions = |channel, count| -> Vec<String> {
        let history = kit.ask(&server).on(channel).history(count).unwrap();
        let versions = history.iter().map(|it| it.version.to_string());
        versions.collect()
    };
    assert_eq!(versions("stable", 10), ["v1.2.0", "v1.1.0", "v1.0.0"]);
    assert_eq!(versions("beta", 2), ["v2.0.0-rc.1", "v1.2.0"]);
    let newest = kit.ask(&server).history(1).unwrap().remove(0);
    assert_eq!(newest.notes, "notes of v1.2.0");
    assert!(newest.published.unwrap().starts_with("2026-01-02T03:04:05"));
    if kit.has_releases() {
        assert_eq!(newest.name, "App v1.2.0");
        let page = newest.page.unwrap();
        assert!(
            page.contains("/releases/") && page.ends_with("v1.2.0"),
            "{page}"
        );
    }
}

fn pinned_version(kit: Kit) {
    let server = Server::start();
    kit.publish(
        &server,
        &["v1.3.0", "release/v1.2.6", "v1.4.0-rc.1"].map(made),
    );
    let version = |pin| {
        let release = kit.ask(&server).pin(pin).latest().unwrap();
        release.version.to_string()
    };
    assert_eq!(version("1.2.6"), "release/v1.2.6");
    // Who asks for it by its number wants no other, whatever the channel.
    assert_eq!(version("1.4.0rc1"), "v1.4.0-rc.1");
}

fn pinned_version_that_is_not_there(kit: Kit) {
    let server = Server::start();
    kit.publish(&server, &["v1.3.0", "v1.2.0"].map(made));
    let said = problem(kit.ask(&server).pin("1.2.6").latest(), Code::NoReleases);
    assert!(said.contains("update.pin asks for 1.2.6"), "{said}");
}

/// One that is far behind the newest page.
fn pinned_by_its_tag(kit: Kit) {
    let server = Server::start();
    kit.publish(&server, &[made("v1.3.0")]);
    let path = match kit.kind {
        SourceKind::Gitlab => format!("{}/v1.2.6", kit.list()),
        _ => format!("{}/tags/v1.2.6", kit.list()),
    };
    let answer = kit.release(&server, &made("v1.2.6"));
    server.route(&path, Reply::json(&answer.to_string()));
    let release = kit.ask(&server).pin("1.2.6").latest().unwrap();
    assert_eq!(release.version.as_str(), "v1.2.6");
    // A tag that nothing was released for.
    let tags = json!([kit.tagged(&server, "v1.2.7")]);
    server.route(kit.tags(), Reply::json(&tags.to_string()));
    let release = kit.ask(&server).pin("1.2.7").latest().unwrap();
    assert_eq!(release.version.as_str(), "v1.2.7");
    assert_eq!(kit.latest(&server).unwrap().version.as_str(), "v1.3.0");
}

fn tags_on_several_pages(kit: Kit) {
    let server = Server::start();
    if kit.has_releases() {
        server.route(kit.list(), Reply::json("[]"));
    }
    let page = |tag: &str| Reply::json(&json!([kit.tagged(&server, tag)]).to_string());
    let next = format!(
        "<{}?page=2>; rel=\"next\", </last>; rel=\"last\"",
        kit.tags()
    );
    server.route(kit.tags(), page("v9.9.0").header("Link", &next).times(1));
    server.route(
        kit.tags(),
        page("v10.0.0").header("Link", "</first>; rel=\"first\""),
    );
    assert_eq!(kit.latest(&server).unwrap().version.as_str(), "v10.0.0");
    let asked = server.requests();
    assert!(
        asked.last().unwrap().target.ends_with("?page=2"),
        "{asked:?}"
    );
    // A list without an end has one here.
    server.replace(kit.tags(), page("v9.9.0").header("Link", &next));
    let before = server.requests().len();
    assert_eq!(kit.latest(&server).unwrap().version.as_str(), "v9.9.0");
    assert!(server.requests().len() - before <= super::TAG_PAGES + 2);
}

/// An installer is none, and the sources are not what is meant.
fn files_and_no_package(kit: Kit) {
    let server = Server::start();
    kit.publish(&server, &[made("v1.1.0").file("App-setup.exe", "x")]);
    let said = problem(kit.latest(&server), Code::TargetUnavailable);
    assert!(
        said.contains("none of its files is a package: App-setup.exe"),
        "{said}"
    );
}

fn prereleases_by_channel(kit: Kit) {
    let server = Server::start();
    let flagged = matches!(
        kit.kind,
        SourceKind::Github | SourceKind::Gitee | SourceKind::Gitea
    );
    let newest = if flagged { "v1.3.0" } else { "v1.3.0-beta.1" };
    kit.publish(
        &server,
        &[made(newest).prerelease(), made("v1.2.0rc1"), made("v1.1.0")],
    );
    if kit.kind == SourceKind::Github {
        server.unroute(kit.first());
    }
    let version = |channel| {
        let release = kit.ask(&server).on(channel).latest().unwrap();
        release.version.to_string()
    };
    assert_eq!(version("stable"), "v1.1.0");
    assert_eq!(version("beta"), newest);
    // None but such.
    kit.publish(&server, &[made("v1.2.0rc1").prerelease()]);
    let said = problem(kit.latest(&server), Code::NoReleases);
    assert!(said.contains("not for the channel stable: 1"), "{said}");
}

fn drafts_never_count(kit: Kit) {
    let server = Server::start();
    kit.publish(&server, &[made("v1.3.0").draft(), made("v1.1.0")]);
    for channel in ["stable", "beta"] {
        let release = kit.ask(&server).on(channel).latest().unwrap();
        assert_eq!(release.version.as_str(), "v1.1.0");
    }
    let pinned = kit.ask(&server).pin("1.3.0").latest();
    assert_eq!(code(pinned), Code::NoReleases);
    kit.publish(&server, &[made("v1.3.0").draft()]);
    let said = problem(kit.latest(&server), Code::NoReleases);
    assert!(said.contains("not published: 1"), "{said}");
}

fn file_for_this_machine(kit: Kit) {
    let server = Server::start();
    let own = own();
    let release = made("v1.1.0")
        .file(OTHER, "for others")
        .file(&format!("{own}.sha256"), "a digest")
        .file("app-src.zip", "what it is built from")
        .file(&own, CONTENT);
    kit.publish(&server, &[release]);
    let package = kit.latest(&server).unwrap().package.clone();
    assert_eq!(package.url, server.url(&kit.file("v1.1.0", &own)));
    assert!(!package.wrapped);
    assert_eq!(kit.ask(&server).fetch(&package), Sha256::of(CONTENT));
    // The only one, where it is for every machine.
    let release = made("v1.2.0")
        .file("notes.pdf", "x")
        .file("app.zip", CONTENT);
    kit.publish(&server, &[release]);
    let package = kit.latest(&server).unwrap().package.clone();
    assert_eq!(package.url, server.url(&kit.file("v1.2.0", "app.zip")));
}

fn file_by_pattern(kit: Kit) {
    let server = Server::start();
    let release = made("v1.1.0")
        .file("special-1.1.0.zip", CONTENT)
        .file("special-1.1.0.zip.minisig", "x")
        .file("app-1.1.0.zip", "x")
        .file("other.bin", "x");
    kit.publish(&server, &[release]);
    for (pattern, name) in [
        ("special-{version}*", "special-1.1.0.zip"),
        ("*-{version}.zip.minisig", "special-1.1.0.zip.minisig"),
        ("a*.zip", "app-1.1.0.zip"),
        ("*.bin", "other.bin"),
    ] {
        let release = kit.ask(&server).asset(pattern).latest().unwrap();
        assert_eq!(release.package.url, server.url(&kit.file("v1.1.0", name)));
    }
    let none = kit.ask(&server).asset("{target}-{tag}.zip").latest();
    let said = problem(none, Code::TargetUnavailable);
    assert!(said.contains(&format!("{}-v1.1.0.zip", target())), "{said}");
    assert!(said.contains("app-1.1.0.zip, other.bin"), "{said}");
    // Which of several is meant is not guessed.
    let several = kit.ask(&server).asset("*.zip").latest();
    let said = problem(several, Code::TargetUnavailable);
    assert!(
        said.contains("several are: special-1.1.0.zip, app-1.1.0.zip"),
        "{said}"
    );
}

fn file_that_is_not_there(kit: Kit) {
    let server = Server::start();
    kit.publish(&server, &[made("v1.1.0").file(OTHER, "for others")]);
    let said = problem(kit.latest(&server), Code::TargetUnavailable);
    assert!(said.contains(OTHER) && said.contains(&target()), "{said}");
    // Two that fit alike.
    let (one, other) = (own().replace("app", "one"), own());
    kit.publish(&server, &[made("v1.1.0").file(&one, "x").file(&other, "x")]);
    let said = problem(kit.latest(&server), Code::TargetUnavailable);
    assert!(said.contains(&format!("{one}, {other}")), "{said}");
    kit.publish(&server, &[made("v1.1.0")]);
    let said = problem(
        kit.ask(&server).asset("*.zip").latest(),
        Code::TargetUnavailable,
    );
    assert!(said.contains("it has no files"), "{said}");
}

fn archive_of_the_tag(kit: Kit) {
    let server = Server::start();
    kit.publish(&server, &[made("release/v1.1.0").file(&own(), CONTENT)]);
    for (asset, ending) in [("tarball", ".tar.gz"), ("zipball", ".zip")] {
        let package = kit
            .ask(&server)
            .asset(asset)
            .latest()
            .unwrap()
            .package
            .clone();
        let path = kit.archive("release/v1.1.0", ending);
        assert_eq!(package.url, server.url(&path));
        assert!(package.wrapped);
        assert_eq!((package.size, package.sha256), (None, None));
        server.route(&path, Reply::file(CONTENT).chunked());
        assert_eq!(kit.ask(&server).fetch(&package), Sha256::of(CONTENT));
    }
}

fn archive_of_the_tag_where_there_are_no_files(kit: Kit) {
    let server = Server::start();
    kit.publish(
        &server,
        &[made("v1.1.0")
            .file("app.zip.sha256", "x")
            .file("a-src.zip", "x")],
    );
    let package = kit.latest(&server).unwrap().package.clone();
    let ending = if cfg!(windows) { ".zip" } else { ".tar.gz" };
    assert_eq!(package.url, server.url(&kit.archive("v1.1.0", ending)));
    assert!(package.wrapped);
}

fn tags_where_there_are_no_releases(kit: Kit) {
    let server = Server::start();
    kit.tag(&server, &["v1.0.0", "start", "v1.2.0", "v1.1.0"]);
    let release = kit.latest(&server).unwrap();
    assert_eq!(release.version.as_str(), "v1.2.0");
    assert!(release.package.wrapped);
    assert!(release.package.url.contains("v1.2.0"));
    assert_eq!(kit.ask(&server).history(9).unwrap().len(), 3);
    // A tag beside releases may be of one that is not to be had yet.
    kit.publish(&server, &[made("v1.1.0")]);
    assert_eq!(kit.latest(&server).unwrap().version.as_str(), "v1.1.0");
}

fn size_and_digest(kit: Kit) {
    let server = Server::start();
    kit.publish(&server, &[made("v1.1.0").file(&own(), CONTENT)]);
    let package = kit.latest(&server).unwrap().package.clone();
    assert_eq!(package.size, Some(CONTENT.len() as u64));
    assert_eq!(package.sha256, Some(Sha256::of(CONTENT)));
    // Releases of before 2025 have none, and another algorithm proves nothing here.
    for (digest, expected) in [
        (Value::Null, Ok(None)),
        (json!("sha512:00"), Ok(None)),
        (json!("sha256:00"), Err(Code::AnswerInvalid)),
    ] {
        let mut answer = kit.release(&server, &made("v1.1.0").file(&own(), CONTENT));
        answer["assets"][0]["digest"] = digest;
        server.replace(kit.first(), Reply::json(&answer.to_string()));
        let digest = kit.latest(&server).map(|it| it.package.sha256);
        assert_eq!(digest.map_err(|error| error.code()), expected);
    }
}

fn no_digest(kit: Kit) {
    let server = Server::start();
    kit.publish(&server, &[made("v1.1.0").file(&own(), CONTENT)]);
    let package = kit.latest(&server).unwrap().package.clone();
    assert_eq!(package.sha256, None);
    let size = (kit.kind == SourceKind::Gitea).then_some(CONTENT.len() as u64);
    assert_eq!(package.size, size);
}

fn token(kit: Kit) {
    let server = Server::start();
    kit.publish(&server, &[made("v1.1.0").file(&own(), CONTENT)]);
    let (name, value) = kit.token();
    kit.latest(&server).unwrap();
    assert_eq!(server.requests()[0].header(name), None);
    kit.ask(&server).with_token().latest().unwrap();
    assert_eq!(server.requests()[1].header(name), Some(&*value));
}

fn token_fetches_private_files(kit: Kit) {
    let (server, storage) = (Server::start(), Server::start());
    kit.publish(&server, &[made("v1.1.0").file(&own(), CONTENT)]);
    let path = format!("/repos/{REPO}/releases/assets/0");
    server.replace(&path, Reply::redirect(302, &storage.url("/bytes?signed")));
    storage.route("/bytes", Reply::file(CONTENT));
    let question = kit.ask(&server).with_token();
    let package = question.latest().unwrap().package.clone();
    assert_eq!(package.url, server.url(&path));
    assert_eq!(question.fetch(&package), Sha256::of(CONTENT));
    let asked = server.requests().pop().unwrap();
    assert_eq!(asked.header("accept"), Some("application/octet-stream"));
    assert_eq!(asked.header("authorization"), Some(&*kit.token().1));
    assert_eq!(storage.requests()[0].header("authorization"), None);
}

fn etag(kit: Kit) {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("answers.json");
    let mut answer = kit.release(&server, &made("v1.1.0"));
    if kit.kind != SourceKind::Github {
        answer = json!([answer]);
    }
    let reply = Reply::json(&answer.to_string()).etag("W/\"one\"");
    server.route(kit.first(), reply.times(1));
    server.route(kit.first(), Reply::status(304));
    for _ in 0..2 {
        let answers = Answers::load(&path);
        let question = Question {
            answers: Some(&answers),
            ..kit.ask(&server)
        };
        assert_eq!(question.latest().unwrap().version.as_str(), "v1.1.0");
        answers.save(true).unwrap();
    }
    let asked = server.requests();
    assert_eq!(asked[0].header("if-none-match"), None);
    assert_eq!(asked[1].header("if-none-match"), Some("W/\"one\""));
}

/// The documents of version 1.1.0: the keys that follow the pinned ones, and the release.
fn documents(url: &str) -> (Signer, [(&'static str, String); 2]) {
    let (root, releaser) = (Signer::new(), Signer::new());
    let roles = [&root, &releaser, &root].map(|signer| role(&[signer], 1));
    let keys = Document::keys(1, &roles[0], &roles[1], &roles[2]).signed(&[&root]);
    let release = Document::release("1.1.0", url, CONTENT).signed(&[&releaser]);
    let documents = [("keys.1.json", keys), ("release-1.1.0.json", release)];
    (root, documents)
}

fn signed_release(kit: Kit) {
    let server = Server::start();
    let name = "client.zip";
    let (root, documents) = documents(name);
    let mut release = made("v1.1.0").file(OTHER, "x").file(name, CONTENT);
    for (name, text) in &documents {
        release = release.file(name, text);
    }
    kit.publish(&server, &[release]);
    let question = kit.ask(&server).trusting(&root);
    let trusted = question.latest().unwrap();
    assert_eq!(trusted.level(), Level::Release);
    assert_eq!(trusted.version.as_str(), "1.1.0");
    assert_eq!(trusted.notes, "what is new in 1.1.0");
    assert_eq!(trusted.package.url, server.url(&kit.file("v1.1.0", name)));
    assert_eq!(trusted.package.sha256, Some(Sha256::of(CONTENT)));
    assert_eq!(question.fetch(&trusted.package), Sha256::of(CONTENT));
    // With a stranger's signatures it is none.
    let stranger = kit.ask(&server).trusting(&Signer::new()).latest();
    assert_eq!(code(stranger), Code::TrustSignature);
}

fn signed_documents_elsewhere(kit: Kit) {
    let (server, other) = (Server::start(), Server::start());
    kit.publish(&server, &[made("v1.1.0")]);
    let (root, documents) = documents("client.zip");
    for (name, text) in &documents {
        other.route(&format!("/1.1.0/v1.1.0/{name}"), Reply::json(text));
    }
    let question = kit.ask(&server).trusting(&root).with_token();
    let question = question.documents(&other.url("/{version}/{tag}"));
    let trusted = question.latest().unwrap();
    assert_eq!(trusted.level(), Level::Release);
    assert_eq!(trusted.package.url, other.url("/1.1.0/v1.1.0/client.zip"));
    let (name, _) = kit.token();
    let told = |request: &Request| request.header(name).is_some();
    assert!(
        !other.requests().iter().any(told),
        "the token went elsewhere"
    );
}

fn signed_document_that_is_missing(kit: Kit) {
    let server = Server::start();
    kit.publish(&server, &[made("v1.1.0").file(&own(), CONTENT)]);
    let question = kit.ask(&server).trusting(&Signer::new());
    let said = problem(question.latest(), Code::TrustUnsigned);
    assert!(said.contains("release-1.1.0.json of v1.1.0"), "{said}");
    let question = question.documents(&server.url("/documents"));
    let said = problem(question.latest(), Code::TrustUnsigned);
    assert!(said.contains("/documents/release-1.1.0.json"), "{said}");
}

fn signed_document_of_another_version(kit: Kit) {
    let server = Server::start();
    let (root, [keys, (_, old)]) = documents("client.zip");
    let release = made("v1.2.0")
        .file("client.zip", CONTENT)
        .file(keys.0, keys.1)
        .file("release-1.2.0.json", old);
    kit.publish(&server, &[release]);
    let said = problem(
        kit.ask(&server).trusting(&root).latest(),
        Code::TrustMismatch,
    );
    assert!(said.contains("1.1.0, expected v1.2.0"), "{said}");
}

fn repository_by_its_number(kit: Kit) {
    let server = Server::start();
    let path = "/api/v4/projects/2080972/repository/tags";
    let answer = json!([kit.tagged(&server, "release/v1.1.0")]);
    server.route(path, Reply::json(&answer.to_string()));
    let mut question = kit.ask(&server).asset("zipball");
    question.source.repo = "2080972".to_owned();
    let release = question.latest().unwrap();
    let expected = "/api/v4/projects/2080972/repository/archive.zip?sha=release%2Fv1.1.0";
    assert_eq!(release.package.url, server.url(expected));
}

fn files_with_titles(kit: Kit) {
    let server = Server::start();
    let mut answer = kit.release(&server, &made("v1.1.0").file(&own(), CONTENT));
    answer["assets"]["links"][0]["name"] = json!("The app, version 1.1 for you");
    server.route(kit.list(), Reply::json(&json!([answer]).to_string()));
    let release = kit.latest(&server).unwrap();
    assert_eq!(release.package.url, server.url(&kit.file("v1.1.0", &own())));
    // What older servers do not say.
    answer["assets"]["links"][0]["direct_asset_url"] = Value::Null;
    answer["assets"]["links"][0]["url"] = json!("/files/app.zip");
    server.replace(kit.list(), Reply::json(&json!([answer]).to_string()));
    let release = kit.latest(&server).unwrap();
    assert_eq!(release.package.url, server.url("/files/app.zip"));
    // A title with a dot, and no ending that is known.
    answer["assets"]["links"][0]["name"] = json!("App-1.1.0");
    server.replace(kit.list(), Reply::json(&json!([answer]).to_string()));
    let release = kit.latest(&server).unwrap();
    assert_eq!(release.package.url, server.url("/files/app.zip"));
}

/// Both questions are answered with this.
impl Asked for Kit {
    fn answered(self, reply: &Reply) -> Result<Trusted> {
        let server = Server::start();
        self.answer(&server, reply);
        self.latest(&server)
    }
}

fn status_404(kit: Kit) {
    let reply = Reply::json(r#"{"message":"Not Found","status":"404"}"#);
    let said = problem(kit.answered(&reply.with_status(404)), Code::RepoNotFound);
    assert!(said.contains(REPO), "{said}");
}

fn wrong_types(kit: Kit) {
    let server = Server::start();
    let good = kit.release(&server, &made("v1.1.0").file(&own(), CONTENT));
    let tag = if kit.has_releases() {
        "tag_name"
    } else {
        "name"
    };
    let notes = match kit.kind {
        SourceKind::Codeup => "message",
        SourceKind::Gitlab => "description",
        _ => "body",
    };
    let mut wrong = vec![(tag, json!(7)), (tag, Value::Null), (notes, json!([]))];
    match kit.kind {
        SourceKind::Codeup => wrong.push(("commit", json!("c5b9"))),
        SourceKind::Gitlab => wrong.extend([
            ("assets", json!([])),
            ("upcoming_release", json!("no")),
            ("assets", json!({"links": [{"name": "a.zip"}]})),
            ("assets", json!({"links": [7]})),
        ]),
        _ => wrong.extend([
            ("assets", json!({})),
            ("prerelease", json!("no")),
            ("assets", json!([{"name": "a.zip"}])),
            ("assets", json!([7])),
            (
                "assets",
                json!([{"browser_download_url": "/a", "size": -1}]),
            ),
        ]),
    }
    for (field, value) in wrong {
        let mut release = good.clone();
        release[field] = value.clone();
        // A list in any case: the publisher's choice is an object.
        let answer = json!([release]).to_string();
        server.replace(kit.list(), Reply::json(&answer));
        let said = problem(kit.ask(&server).on("beta").latest(), Code::AnswerInvalid);
        assert!(
            said.contains(&format!("field [0].{field}")),
            "{value}: {said}"
        );
    }
    for answer in ["{}", "7", "[7]", "null"] {
        server.replace(kit.list(), Reply::json(answer));
        let said = problem(kit.ask(&server).on("beta").latest(), Code::AnswerInvalid);
        assert!(
            said.contains("no list") || said.contains("field [0]: "),
            "{said}"
        );
    }
}

fn no_releases(kit: Kit) {
    let server = Server::start();
    kit.tag(&server, &[]);
    let said = problem(kit.latest(&server), Code::NoReleases);
    assert!(said.contains("neither a release nor a tag"), "{said}");
    let history = kit.ask(&server).history(3).unwrap_err();
    assert_eq!(history.code(), Code::NoReleases);
}

fn tag_that_is_no_version(kit: Kit) {
    let server = Server::start();
    kit.tag(&server, &["nightly"]);
    let said = problem(kit.latest(&server), Code::NoReleases);
    assert!(
        said.contains("its only tag \"nightly\" is no version"),
        "{said}"
    );
    let server = Server::start();
    kit.publish(&server, &["nightly", "latest"].map(made));
    let said = problem(kit.latest(&server), Code::NoReleases);
    assert!(said.contains("no versions: 2 (nightly, latest)"), "{said}");
}

fn redirect_to_another_host(kit: Kit) {
    let (server, other) = (Server::start(), Server::start());
    kit.answer(&server, &Reply::redirect(301, &other.url("/moved")));
    let mut answer = kit.release(&other, &made("v1.1.0"));
    if kit.kind != SourceKind::Github {
        answer = json!([answer]);
    }
    other.route("/moved", Reply::json(&answer.to_string()));
    let release = kit.ask(&server).with_token().latest().unwrap();
    assert_eq!(release.version.as_str(), "v1.1.0");
    let (name, value) = kit.token();
    assert_eq!(server.requests()[0].header(name), Some(&*value));
    assert_eq!(other.requests()[0].header(name), None);
}

fn relative_addresses(kit: Kit) {
    let (server, other) = (Server::start(), Server::start());
    kit.publish(&server, &[made("v1.1.0").file(&own(), CONTENT)]);
    let answer = kit.release(&server, &made("v1.1.0").file(&own(), CONTENT));
    // As seen from the address that has answered.
    let answer = answer.to_string().replace(&server.url("/"), "/");
    other.route("/moved", Reply::json(&format!("[{answer}]")));
    kit.answer(&server, &Reply::redirect(302, &other.url("/moved")));
    let release = kit.ask(&server).on("beta").latest().unwrap();
    assert_eq!(release.package.url, other.url(&kit.file("v1.1.0", &own())));
}

#[test]
fn absurd_times_of_a_rate_limit_are_no_times() {
    let answer = |headers: &[(&'static str, &str)]| Answer {
        url: String::new(),
        status: 429,
        content_type: None,
        retry_after: None,
        headers: headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect(),
        body: Vec::new(),
    };
    let now = Utc::now();
    for reset in ["9223372036854775807", "soon", "-9223372036854775808"] {
        let answer = answer(&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", reset)]);
        assert_eq!(rate_limit(&answer, now), Some(now + PAUSE));
    }
    let endless = Answer {
        retry_after: Some(std::time::Duration::MAX),
        ..answer(&[])
    };
    assert_eq!(rate_limit(&endless, now), Some(now + PAUSE));
}

#[test]
fn a_name_in_a_signed_document_is_one_of_a_file_of_the_release() {
    let server = Server::start();
    let (root, documents) = documents("packages/none.zip");
    let mut release = made("v1.1.0");
    for (name, text) in &documents {
        release = release.file(name, text);
    }
    GITHUB.publish(&server, &[release]);
    let said = problem(
        GITHUB.ask(&server).trusting(&root).latest(),
        Code::AnswerInvalid,
    );
    assert!(said.contains("names \"packages/none.zip\""), "{said}");
}
