//! The page for people, and what keeps it up to date.
//!
//! Promises: it works without scripts, in English and in Chinese, on a phone, and behind another server
//! under any path: every link is relative. What comes from outside is shown as text. It takes script and
//! style from this updater's own files alone.
//!
//! A form is taken from a browser that says that it is of this page: by `Origin`, which
//! [`Access`](crate::access::Access) has compared, or by `Sec-Fetch-Site`. Every browser since 2020 sends
//! one of them with every form.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Form, Path, Query, State};
use axum::http::header::{
    ACCEPT_LANGUAGE, CACHE_CONTROL, CONTENT_TYPE, LOCATION, ORIGIN, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use castoff::Error;
use castoff::fetch;
use castoff::launcher::messages::{self, Lang};
use castoff::source::Announced;
use chrono::{DateTime, Local};
use futures_util::stream::{self, Stream};
use maud::{DOCTYPE, Markup, html};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::texts::{self, Texts, fill, said};
use super::{broken, hours, kind, markdown, plain};
use crate::board::{Stage, View};
use crate::checks;
use crate::news::{Age, Checked, Wish};
use crate::serve::blocking;
use crate::work::{Agent, Backup, ELSEWHERE, Refusal};

/// How many versions are shown.
const SHOWN: usize = 10;

/// How many pages may watch at once: each keeps one of the connections for as long as it is open, and most of them
/// are to be left for those who ask and go.
static WATCHERS: Semaphore = Semaphore::const_new(16);

/// The files of the page: name, media type, content.
const FILES: [(&str, &str, &str); 4] = [
    (
        "style.css",
        "text/css; charset=utf-8",
        include_str!("../../../../assets/style.css"),
    ),
    (
        "upgrade.css",
        "text/css; charset=utf-8",
        include_str!("upgrade.css"),
    ),
    (
        "upgrade.js",
        "text/javascript; charset=utf-8",
        include_str!("upgrade.js"),
    ),
    (
        "icon.svg",
        "image/svg+xml",
        include_str!("../../../../assets/windows/castoff.svg"),
    ),
];

/// Its addresses.
pub(super) fn router() -> Router<Arc<Agent>> {
    Router::new()
        .route("/upgrade", get(show))
        .route("/upgrade/", get(async || see_other("../upgrade")))
        .route("/upgrade/check", post(check))
        .route("/upgrade/start", post(start))
        .route("/upgrade/restore", get(ask_restore).post(restore))
        .route("/upgrade/events", get(events))
        .route("/upgrade/files/{name}", get(file))
}

/// `GET /upgrade/files/NAME`.
async fn file(Path(name): Path<String>) -> Response {
    let Some((_, kind, content)) = FILES.iter().find(|(known, ..)| *known == name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let headers = [
        (CONTENT_TYPE, *kind),
        (CACHE_CONTROL, "no-cache"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, *content).into_response()
}

/// What a page is asked with.
#[derive(Deserialize)]
struct Asked {
    /// The language, where one was chosen.
    lang: Option<String>,
    /// The name of a backup.
    #[serde(default)]
    name: String,
}

/// In which language one reads, and what the links of the page carry for it.
#[derive(Clone, Copy)]
struct Reader {
    lang: Lang,
    t: &'static Texts,
    query: &'static str,
}

impl Reader {
    fn of(asked: &Asked, headers: &HeaderMap) -> Self {
        let chosen = asked.lang.as_deref().and_then(Lang::from_tag);
        let lang = chosen.unwrap_or_else(|| {
            let accepted = headers.get(ACCEPT_LANGUAGE);
            Lang::accepted(accepted.and_then(|it| it.to_str().ok()).unwrap_or_default())
        });
        Self {
            lang,
            t: texts::of(lang),
            query: chosen.map_or("", question),
        }
    }
}

/// What chooses a language.
const fn question(lang: Lang) -> &'static str {
    match lang {
        Lang::En => "?lang=en",
        Lang::ZhCn => "?lang=zh-CN",
    }
}

fn see_other(to: &str) -> Response {
    (StatusCode::SEE_OTHER, [(LOCATION, to.to_owned())]).into_response()
}

/// A form that is not of this page, if it is none.
fn foreign(agent: &Agent, headers: &HeaderMap, reader: Reader) -> Option<Response> {
    let fetched = headers.get("sec-fetch-site");
    let own = headers.contains_key(ORIGIN) || fetched.is_some_and(|it| it == "same-origin");
    (!own).then(|| problem(agent, StatusCode::FORBIDDEN, reader, reader.t.refused))
}

/// `POST /upgrade/check`.
async fn check(
    State(agent): State<Arc<Agent>>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Response {
    let reader = Reader::of(&asked, &headers);
    if let Some(refusal) = foreign(&agent, &headers, reader) {
        return refusal;
    }
    // What comes of it is on the page, which also says where that is still to come.
    let patience = agent.engine.network.check_timeout;
    let _ = timeout(patience, agent.learn(Wish::insisting())).await;
    see_other(&format!("../upgrade{}", reader.query))
}

/// `POST /upgrade/start`.
async fn start(
    State(agent): State<Arc<Agent>>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Response {
    let reader = Reader::of(&asked, &headers);
    if let Some(refusal) = foreign(&agent, &headers, reader) {
        return refusal;
    }
    // Nobody waits here for the end.
    match blocking(&agent, |agent| agent.upgrade(true)).await {
        Some(Ok(_)) => see_other(&format!("../upgrade{}", reader.query)),
        Some(Err(refusal)) => not_now(&agent, &refusal, reader),
        None => broken(None),
    }
}

/// Why nothing was begun.
fn not_now(agent: &Agent, refusal: &Refusal, reader: Reader) -> Response {
    let (status, text) = match refusal {
        Refusal::Elsewhere => (StatusCode::CONFLICT, said(ELSEWHERE, reader.lang)),
        // The page shows the one that is under way.
        Refusal::Busy(_) => return see_other(&format!("../upgrade{}", reader.query)),
        Refusal::Disk(error) => {
            log::error!("nothing was begun: {}", error.chain());
            let what = messages::what(error, reader.lang);
            let text = format!("{what} [{}]", error.code());
            (StatusCode::INTERNAL_SERVER_ERROR, text)
        }
        // Of packages that somebody has ordered, which a page does not.
        Refusal::NotFound | Refusal::Expired => return broken(None),
    };
    problem(agent, status, reader, &text)
}

/// The backup of a name that can be put back.
async fn backup(agent: &Arc<Agent>, name: &str) -> Option<Backup> {
    let all = blocking(agent, Agent::backups).await?.ok()?;
    all.into_iter().find(|it| it.ours && it.name == name)
}

/// A name as a value in an address.
fn encoded(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    name.bytes().fold(String::new(), |mut text, byte| {
        if plain(byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
        text
    })
}

/// `GET /upgrade/restore?name=`.
async fn ask_restore(
    State(agent): State<Arc<Agent>>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Response {
    let reader = Reader::of(&asked, &headers);
    let t = reader.t;
    let back = format!("../upgrade{}", reader.query);
    let Some(backup) = backup(&agent, &asked.name).await else {
        return problem(&agent, StatusCode::NOT_FOUND, reader, t.nothing);
    };
    let version = backup.version.as_deref().unwrap_or(&backup.name);
    let title = fill(t.restore_title, "version", version);
    let body = html! {
        form.sheet.narrow method="post" action={ "restore" (reader.query) } {
            input type="hidden" name="name" value=(backup.name);
            p { b { (fill(t.restore_from, "time", &clock(backup.created))) } }
            p { (t.restore_what) }
            div.buttons {
                button.danger { (t.restore) }
                a.button href=(back) { (t.cancel) }
            }
        }
    };
    let ask = format!("name={}", encoded(&backup.name));
    let frame = Frame {
        title: &title,
        below: "",
        carried: Some(&ask),
        busy: false,
        asks: false,
    };
    page(&agent, reader, &frame, &body).into_response_with(StatusCode::OK)
}

#[derive(Deserialize)]
struct Wanted {
    name: String,
}

/// `POST /upgrade/restore`.
async fn restore(
    State(agent): State<Arc<Agent>>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
    Form(wanted): Form<Wanted>,
) -> Response {
    let reader = Reader::of(&asked, &headers);
    if let Some(refusal) = foreign(&agent, &headers, reader) {
        return refusal;
    }
    let Some(backup) = backup(&agent, &wanted.name).await else {
        return problem(&agent, StatusCode::NOT_FOUND, reader, reader.t.nothing);
    };
    match blocking(&agent, move |agent| agent.restore(&backup.name)).await {
        Some(Ok(_)) => see_other(&format!("../upgrade{}", reader.query)),
        Some(Err(refusal)) => not_now(&agent, &refusal, reader),
        None => broken(None),
    }
}

/// `GET /upgrade/events`: the board, whenever it changes.
async fn events(
    State(agent): State<Arc<Agent>>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Response {
    let Ok(place) = WATCHERS.try_acquire() else {
        // The page's script asks again after a while; nobody else reads this.
        let problem = "Too many pages watch already\n";
        return (StatusCode::SERVICE_UNAVAILABLE, problem).into_response();
    };
    let reader = Reader::of(&asked, &headers);
    let headers = [
        ("x-accel-buffering", "no"),
        ("x-content-type-options", "nosniff"),
    ];
    let stream = changes(agent, reader.lang, place);
    let events = Sse::new(stream).keep_alive(KeepAlive::default());
    (headers, events).into_response()
}

/// What is told to one who watches, and has the `place` for it until the end.
fn changes(
    agent: Arc<Agent>,
    lang: Lang,
    place: SemaphorePermit<'static>,
) -> impl Stream<Item = Result<Event, Infallible>> {
    let watched = agent.board.watch();
    let begin = (agent, watched, place, None::<(u64, usize)>);
    stream::unfold(begin, move |(agent, mut watched, place, seen)| async move {
        if seen.is_some() {
            watched.changed().await.ok()?;
        }
        if *watched.borrow_and_update() {
            return None;
        }
        let (operation, known) = seen.unwrap_or_default();
        let view = agent.board.view(operation, known);
        let next = (view.operation, view.from + view.lines.len());
        let event = json!({
            "busy": view.busy, "operation": view.operation,
            "stage": view.now.stage, "progress": view.now.progress,
            "message": said(&view.now.message, lang), "from": view.from, "lines": view.lines,
        });
        let event = Event::default().data(event.to_string());
        Some((Ok(event), (agent, watched, place, Some(next))))
    })
}

/// What the page shows of the source.
struct Shown {
    checked: Checked,
    history: Vec<Announced>,
    age: Age,
    /// Whether the source is being asked, so that the page is soon another.
    asks: bool,
}

impl Shown {
    /// What is known; where nothing is, the source is waited for, once and not for longer than for a check.
    async fn of(agent: &Arc<Agent>) -> castoff::Result<Self> {
        let known = Self::known(agent).await?;
        let patience = match known.age {
            Age::New => return Ok(known),
            // It is asked behind the page.
            Age::Old => Duration::ZERO,
            Age::Unknown => agent.engine.network.check_timeout,
        };
        let _ = timeout(patience, agent.learn(Wish::usual(SHOWN))).await;
        Self::known(agent).await
    }

    async fn known(agent: &Arc<Agent>) -> castoff::Result<Self> {
        let known = blocking(agent, |agent| {
            // First: what ends after that is news for the next page.
            let asks = agent.is_asking();
            let (checked, age) = agent.known()?;
            let (history, other) = agent.history(SHOWN);
            Ok(Self {
                checked,
                history: history.unwrap_or_default(),
                age: age.max(other),
                asks,
            })
        });
        done(known.await)
    }
}

/// What has come of work on a thread of its own.
fn done<T>(work: Option<castoff::Result<T>>) -> castoff::Result<T> {
    work.unwrap_or_else(|| {
        Err(Error::Internal {
            what: "it was broken off".to_owned(),
        })
    })
}

/// `GET /upgrade`.
async fn show(
    State(agent): State<Arc<Agent>>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Response {
    let reader = Reader::of(&asked, &headers);
    let shown = match Shown::of(&agent).await {
        Ok(shown) => shown,
        Err(error) => return broken(Some(&error)),
    };
    let backups = match done(blocking(&agent, Agent::backups).await) {
        Ok(backups) => backups,
        Err(error) => return broken(Some(&error)),
    };
    let view = agent.board.view(0, 0);
    let t = reader.t;
    let body = html! {
        (ended(&view, reader))
        @if view.busy { (under_way(&view, reader)) }
        (versions(&shown, view.busy, reader))
        @if !view.busy { (under_way(&view, reader)) }
        section {
            h2 { (t.history) }
            @if shown.history.is_empty() {
                p.empty { (if shown.asks { t.asking } else { t.no_history }) }
            }
            div.releases {
                @for release in &shown.history { (told(release, &shown.checked, reader)) }
            }
        }
        section {
            h2 { (t.backups) }
            (kept(&backups, view.busy, reader))
        }
        section {
            h2 { (t.config) }
            (configured(&agent, reader))
        }
    };
    let frame = Frame {
        title: t.title,
        below: "upgrade/",
        carried: Some(""),
        busy: view.busy,
        asks: shown.asks,
    };
    page(&agent, reader, &frame, &body).into_response_with(StatusCode::OK)
}

/// What the last operation has come to.
fn ended(view: &View, reader: Reader) -> Markup {
    let now = &view.now;
    html! {
        @if !view.busy {
            @match (&now.error, now.stage) {
                (Some(error), _) => div.notice.error role="alert" {
                    p { b { (said(&now.message, reader.lang)) } }
                    p lang="en" { (error) }
                },
                (None, Stage::Success) => p.notice.done role="status" {
                    (said(&now.message, reader.lang))
                },
                _ => {},
            }
        }
    }
}

/// What is installed, what is offered, and the button.
fn versions(shown: &Shown, busy: bool, reader: Reader) -> Markup {
    let t = reader.t;
    let checked = &shown.checked;
    let here = checked.installed.as_ref().map(plain);
    let offered = checked.offered.as_ref().ok();
    let latest = offered.map(|release| plain(&release.version));
    let is_same = offered.is_some_and(|it| checked.installed.as_ref() == Some(&it.version));
    let (class, state) = match offered {
        None if shown.asks => ("off", t.asking),
        None => ("bad", t.unreachable),
        Some(_) if checked.is_newer() => ("news", t.available),
        Some(_) if is_same => ("good", t.same),
        Some(_) => ("off", t.older),
    };
    let details = checked.details.as_ref();
    let published = details.and_then(|it| it.published.as_deref());
    let version = |name: &str, version: Option<&str>, or: &str| {
        html! { div { span.label { (name) } strong.large { bdi { (version.unwrap_or(or)) } } } }
    };
    html! {
        section.sheet.offer {
            div.versions {
                (version(t.current, here.as_deref(), t.none))
                @if !is_same {
                    div.arrow aria-hidden="true" { "→" }
                    (version(t.latest, latest.as_deref(), t.unknown))
                }
                div.state {
                    span.badge.(class) { (state) }
                    @if shown.asks && offered.is_some() { small { (t.asking) } }
                    @if let Some(published) = published {
                        small { (fill(t.published, "time", &when(published))) }
                    }
                    @if let Some(page) = details.and_then(|it| address(it.page.as_deref())) {
                        a href=(page) rel="noopener noreferrer" target="_blank" { (t.release_page) }
                    }
                }
            }
            @if let (Err(problem), false) = (&checked.offered, shown.asks) { p.faint lang="en" { (problem) } }
            @if !busy {
                div.buttons {
                    @if let (Some(latest), true) = (&latest, checked.is_newer()) {
                        form method="post" action={ "upgrade/start" (reader.query) } {
                            button.main { (fill(t.upgrade, "version", latest)) }
                        }
                    }
                    form method="post" action={ "upgrade/check" (reader.query) } {
                        button { (t.check) }
                    }
                }
            }
            @if let (Some(release), true, false) = (offered, checked.is_newer(), busy) {
                div.whats-new {
                    h2 { (t.whats_new) }
                    (notes(&release.notes, t))
                }
            }
        }
    }
}

fn notes(notes: &str, t: &Texts) -> Markup {
    html! {
        @if notes.trim().is_empty() { p.faint { (t.no_notes) } }
        @else { div.notes { (markdown::render(notes)) } }
    }
}

/// How far the operation is, and its log.
fn under_way(view: &View, reader: Reader) -> Markup {
    let t = reader.t;
    let now = &view.now;
    // The stages in which each step is under way, and what it is called.
    let steps = [
        ("downloading", t.step_download),
        ("verifying toInstall", t.step_verify),
        ("installing", t.step_install),
        ("rebooting", t.step_start),
    ];
    let at = steps
        .iter()
        .position(|(stages, _)| stages.split(' ').any(|it| it == now.stage.as_str()));
    html! {
        section #live data-events={ "upgrade/events" (reader.query) } data-busy=(view.busy)
            data-operation=(view.operation) {
            @if view.busy {
                div.sheet.progress {
                    h2 { (t.working) }
                    ol.steps {
                        @for (number, (stages, name)) in steps.iter().enumerate() {
                            li data-stages=(stages)
                                .done[at.is_some_and(|at| number < at)]
                                .now[at == Some(number)] { (name) }
                        }
                    }
                    progress max="100" value=(now.progress) {}
                    output { (said(&now.message, reader.lang)) }
                }
            }
            @if !view.lines.is_empty() {
                details.log open[view.busy || now.error.is_some()] {
                    summary { (t.log) }
                    ol lang="en" { @for line in &view.lines { li .(level(line)) { (line) } } }
                }
            }
        }
    }
}

/// The class of a line of the log.
fn level(line: &str) -> &'static str {
    let has = |level: &str| line.get(22..).is_some_and(|rest| rest.starts_with(level));
    match () {
        () if has("[ERROR]") => "bad-line",
        () if has("[WARN]") => "warn-line",
        () => "line",
    }
}

/// A version of the history.
fn told(release: &Announced, checked: &Checked, reader: Reader) -> Markup {
    let t = reader.t;
    let version = plain(&release.version);
    let is_here = checked.installed.as_ref() == Some(&release.version);
    let latest = checked.offered.as_ref().ok().map(|it| &it.version);
    let named = [&version, release.version.as_str()].contains(&&*release.name);
    html! {
        details.release {
            summary {
                b { bdi { (version) } }
                @if !release.name.is_empty() && !named { span.name { bdi { (release.name) } } }
                @if is_here { span.badge.good { (t.badge_installed) } }
                @if latest == Some(&release.version) && !is_here { span.badge.news { (t.badge_latest) } }
                @if let Some(published) = &release.published { small { (when(published)) } }
            }
            div.release-body {
                (notes(&release.notes, t))
                @if let Some(page) = address(release.page.as_deref()) {
                    p { a href=(page) rel="noopener noreferrer" target="_blank" { (t.release_page) } }
                }
            }
        }
    }
}

/// The backups.
fn kept(backups: &[Backup], busy: bool, reader: Reader) -> Markup {
    let t = reader.t;
    html! {
        @if backups.is_empty() { p.empty { (t.no_backups) } }
        @else {
            table {
                thead { tr { th { (t.version) } th { (t.created) } th.number { (t.size) } th {} } }
                tbody {
                    @for backup in backups {
                        tr {
                            td.head { bdi { (backup.version.as_deref().unwrap_or(&backup.name)) } }
                            td data-label=(t.created) { (clock(backup.created)) }
                            td.number data-label=(t.size) { (bytes(backup.size)) }
                            td.action {
                                @if !backup.ours { small { (t.by_hand) } }
                                @else if !busy {
                                    @let mark = if reader.query.is_empty() { "?" } else { "&" };
                                    a.button href={ "upgrade/restore" (reader.query) (mark) "name=" (encoded(&backup.name)) } { (t.restore) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What is configured.
fn configured(agent: &Agent, reader: Reader) -> Markup {
    let t = reader.t;
    let engine = &agent.engine;
    let interval = fill(t.hours, "n", &hours(engine).to_string());
    let automatic = if checks::are_made(engine) {
        t.on
    } else {
        t.off
    };
    html! {
        dl.sheet.facts {
            div { dt { (t.source) } dd { (kind(engine)) } }
            @if !engine.source.repo.is_empty() {
                div { dt { (t.repository) } dd { bdi { (engine.source.repo) } } }
            }
            div { dt { (t.auto_check) } dd { (automatic) } }
            div { dt { (t.interval) } dd { (interval) } }
            div { dt { (t.kept) } dd { (engine.update.keep) } }
        }
    }
}

/// What is around a page.
struct Frame<'a> {
    title: &'a str,
    /// What leads from the page to the addresses below `/upgrade/`.
    below: &'a str,
    /// What the page was asked with, beside the language; none where it cannot be asked for again.
    carried: Option<&'a str>,
    /// Whether something is under way, so that the page is soon another.
    busy: bool,
    /// Whether the source is being asked: of that no script hears.
    asks: bool,
}

fn page(agent: &Agent, reader: Reader, frame: &Frame<'_>, body: &Markup) -> Markup {
    let t = reader.t;
    let file = |name: &str| format!("{}files/{name}", frame.below);
    let engine = &agent.engine;
    let name = [&*engine.name, &*engine.app, "Castoff"]
        .into_iter()
        .find(|name| !name.is_empty())
        .unwrap_or_default();
    let mark = |carried: &str| if carried.is_empty() { "" } else { "&" };
    html! {
        (DOCTYPE)
        html lang=(reader.lang.tag()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (frame.title) " · " (name) }
                link rel="icon" href=(file("icon.svg"));
                link rel="stylesheet" href=(file("style.css"));
                link rel="stylesheet" href=(file("upgrade.css"));
                script src=(file("upgrade.js")) defer {}
                @if frame.busy { noscript { meta http-equiv="refresh" content="2"; } }
                @else if frame.asks { meta http-equiv="refresh" content="2"; }
            }
            body {
                header {
                    span.brand { img src=(file("icon.svg")) alt="" width="28" height="28"; bdi { (name) } }
                    @if let Some(carried) = frame.carried {
                        nav.languages aria-label=(t.language) {
                            @for (lang, name) in [(Lang::En, "English"), (Lang::ZhCn, "中文")] {
                                @if lang == reader.lang { b lang=(lang.tag()) { (name) } }
                                @else { a href={ (question(lang)) (mark(carried)) (carried) } lang=(lang.tag()) hreflang=(lang.tag()) { (name) } }
                            }
                        }
                    }
                }
                main { h1 { (frame.title) } (body) }
                footer { (t.foot) }
            }
        }
    }
}

/// A page that says why nothing was begun.
fn problem(agent: &Agent, status: StatusCode, reader: Reader, text: &str) -> Response {
    let body = html! {
        div.sheet.narrow {
            p { (reader.t.begun_nothing) }
            div.buttons { a.button href={ "../upgrade" (reader.query) } { (reader.t.back) } }
        }
    };
    let frame = Frame {
        title: text,
        below: "",
        carried: None,
        busy: false,
        asks: false,
    };
    page(agent, reader, &frame, &body).into_response_with(status)
}

/// An answer with the headers of every page.
trait Answer {
    fn into_response_with(self, status: StatusCode) -> Response;
}

impl Answer for Markup {
    fn into_response_with(self, status: StatusCode) -> Response {
        let mut response = (status, self).into_response();
        let headers = response.headers_mut();
        castoff_web::page::guard(headers);
        response
    }
}

/// A page elsewhere, if its address is one that a browser may be sent to.
fn address(page: Option<&str>) -> Option<String> {
    page.and_then(|page| fetch::resolve(page, page).ok())
}

/// A point of time as the source writes it, by the clock of this machine.
fn when(text: &str) -> String {
    match DateTime::parse_from_rfc3339(text) {
        Ok(time) => time
            .with_timezone(&Local)
            .format("%Y-%m-%d %H:%M")
            .to_string(),
        Err(_) => text.to_owned(),
    }
}

fn clock(time: DateTime<Local>) -> String {
    time.format("%Y-%m-%d %H:%M:%S").to_string()
}

#[expect(clippy::cast_precision_loss, reason = "one digit is shown")]
fn bytes(count: u64) -> String {
    match count {
        0..1024 => format!("{count} B"),
        1024..0x10_0000 => format!("{:.1} KiB", count as f64 / 1024.0),
        _ => format!("{:.1} MiB", count as f64 / 1_048_576.0),
    }
}
