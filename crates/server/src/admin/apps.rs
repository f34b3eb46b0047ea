//! Apps: all of them, one with its releases, and what is said of it.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use castoff::launcher::messages::size;
use chrono::{DateTime, NaiveDateTime, Utc};
use maud::{Markup, html};

use super::Shown;
use super::page::{self, Sent, View, csrf, digest, field, fill, time};
use super::releases::badges;
use super::session::{Person, Posted};
use crate::form::Fields;
use crate::registry::{App, Channel, Release};
use crate::{Error, Result, Server, publishing};

/// How a form writes a time.
const FORM_TIME: &str = "%Y-%m-%dT%H:%M";

/// `GET /admin/`.
pub(super) async fn list(State(server): State<Arc<Server>>, person: Person) -> Shown {
    let t = person.t;
    let now = Utc::now();
    let mut rows = Vec::new();
    for app in server.registry.apps().await? {
        let releases = server.registry.releases(&app.id).await?;
        let mut current: Vec<_> = releases
            .iter()
            .flat_map(|release| {
                release
                    .active
                    .iter()
                    .map(move |channel| (channel, &release.version))
            })
            .map(|(channel, version)| format!("{version} ({channel})"))
            .collect();
        current.sort_unstable();
        rows.push((app, current));
    }
    let body = html! {
        @if rows.is_empty() {
            p.empty { (if person.is_admin() { t.no_apps_admin } else { t.no_apps }) }
        } @else {
            table {
                thead { tr { th { (t.name) } th { (t.key) } th { (t.current_version) } th { (t.state) } } }
                tbody {
                    @for (app, current) in &rows {
                        tr {
                            td.head { a href=(address(&person, app, "")) { bdi { (app.name) } } }
                            td data-label=(t.key) { code { (app.key) } }
                            td data-label=(t.current_version) {
                                @if current.is_empty() { span.faint { (t.none) } }
                                @for current in current { div { (current) } }
                            }
                            td data-label=(t.state) { (availability(&person, app, now)) }
                        }
                    }
                }
            }
        }
        @if person.is_admin() {
            div.buttons { a.button.main href=(person.link("/new-app")) { (t.add_app) } }
        }
    };
    let (title, sent) = (t.apps, Sent::default());
    Ok(page::show(
        &person,
        View {
            title,
            trail: &[],
            sent: &sent,
            body,
        },
    ))
}

/// The address of an app's page, or of one below it, such as `/upload`.
pub(super) fn address(person: &Person, app: &App, page: &str) -> String {
    person.link(&format!("/apps/{}{page}", app.key))
}

fn availability(person: &Person, app: &App, now: DateTime<Utc>) -> Markup {
    html! {
        @if app.is_available(now) {
            span.badge.good { (person.t.available) }
        } @else {
            span.badge.off { (person.t.not_available) }
        }
    }
}

/// `GET /admin/apps/APP`.
pub(super) async fn show(
    State(server): State<Arc<Server>>,
    person: Person,
    Path(named): Path<String>,
) -> Shown {
    let t = person.t;
    let app = server.app(&named).await?;
    let releases = server.registry.releases(&app.id).await?;
    let channels = server.registry.channels(&app.id).await?;
    let body = html! {
        p { code { (app.key) } " " (availability(&person, &app, Utc::now())) }
        @if !app.is_available(Utc::now()) { p.faint { (t.not_available_hint) } }
        @if !app.description.is_empty() { div.text { (app.description) } }
        div.buttons {
            a.button.main href=(address(&person, &app, "/upload")) { (t.upload) }
            @if person.is_admin() {
                a.button href=(address(&person, &app, "/change")) { (t.change_app) }
            }
        }
        h2 { (t.channels) }
        (channel_table(&person, &app, &channels, &releases))
        h2 { (t.releases) }
        (release_table(&person, &app, &channels, &releases))
    };
    let trail = [(person.link("/"), t.apps)];
    let sent = Sent::default();
    Ok(page::show(
        &person,
        View {
            title: &app.name,
            trail: &trail,
            sent: &sent,
            body,
        },
    ))
}

fn channel_table(person: &Person, app: &App, channels: &[Channel], releases: &[Release]) -> Markup {
    let t = person.t;
    let current: Vec<_> = channels
        .iter()
        .filter_map(|channel| {
            let release = releases.iter().find(|it| Some(it.id) == channel.release)?;
            Some((channel, release))
        })
        .collect();
    html! {
        @if current.is_empty() {
            p.empty { (t.no_channels) }
        } @else {
            table {
                thead { tr {
                    th { (t.channel) } th { (t.version) } th.number { (t.rollout) } th { (t.index) }
                } }
                tbody {
                    @for (channel, release) in current {
                        tr {
                            td.head { (channel.name) }
                            td data-label=(t.version) { (link(person, app, release)) }
                            td.number data-label=(t.rollout) { (channel.rollout) " %" }
                            td data-label=(t.index) {
                                @if channel.seq > 0 {
                                    (fill(t.index_number, &[("number", &channel.seq.to_string())]))
                                } @else {
                                    span.faint { (t.none) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn link(person: &Person, app: &App, release: &Release) -> Markup {
    html! {
        a href=(address(person, app, &format!("/releases/{}", release.id))) { (release.version) }
    }
}

fn release_table(person: &Person, app: &App, channels: &[Channel], releases: &[Release]) -> Markup {
    let t = person.t;
    html! {
        @if releases.is_empty() {
            p.empty { (t.no_releases) }
        } @else {
            table {
                thead { tr {
                    th { (t.version) } th { (t.state) } th { (t.created) } th { (t.target) }
                    th.number { (t.size) } th { (t.sha256) } th.number { (t.downloads) }
                } }
                tbody {
                    @for release in releases {
                        tr {
                            td.head { (link(person, app, release)) }
                            td data-label=(t.state) { (badges(t, release, channels)) }
                            td data-label=(t.created) { (time(release.created)) }
                            td data-label=(t.target) {
                                @for it in &release.packages { div { (it.target) } }
                            }
                            td.number data-label=(t.size) {
                                @for it in &release.packages { div { (size(it.size.cast_unsigned())) } }
                            }
                            td data-label=(t.sha256) {
                                @for it in &release.packages { div { (digest(&it.sha256)) } }
                            }
                            td.number data-label=(t.downloads) {
                                @for it in &release.packages { div { (it.downloads) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// `GET /admin/new-app`.
pub(super) async fn ask_new(person: Person) -> Shown {
    person.must_be_admin()?;
    Ok(form(&person, None, &Sent::default()))
}

/// `POST /admin/new-app`.
pub(super) async fn add(
    State(server): State<Arc<Server>>,
    Posted { person, fields }: Posted,
) -> Shown {
    person.must_be_admin()?;
    let added = async {
        let key = fields.get("key").map_or("", |it| it.trim()).to_owned();
        let app = entered(App::new(key, None, String::new()), &fields)?;
        publishing::add_app(&server, person.name(), &app).await?;
        Ok(app)
    };
    match added.await {
        Ok(app) => Ok(person.done(&format!("/apps/{}", app.key), "app_added")),
        Err(error) => Ok(form(&person, None, &Sent::failed(fields, error))),
    }
}

/// `GET /admin/apps/APP/change`.
pub(super) async fn ask(
    State(server): State<Arc<Server>>,
    person: Person,
    Path(named): Path<String>,
) -> Shown {
    person.must_be_admin()?;
    let app = server.app(&named).await?;
    Ok(form(&person, Some(&app), &Sent::default()))
}

/// `POST /admin/apps/APP/change`.
pub(super) async fn change(
    State(server): State<Arc<Server>>,
    Path(named): Path<String>,
    Posted { person, fields }: Posted,
) -> Shown {
    person.must_be_admin()?;
    let app = server.app(&named).await?;
    let changed = async {
        let app = entered(app.clone(), &fields)?;
        publishing::change_app(&server, person.name(), &app).await
    };
    match changed.await {
        Ok(()) => Ok(person.done(&format!("/apps/{}", app.key), "app_changed")),
        Err(error) => Ok(form(&person, Some(&app), &Sent::failed(fields, error))),
    }
}

/// The app as it is after what was entered.
fn entered(app: App, fields: &Fields) -> Result<App> {
    let text = |name| fields.get(name).map_or("", |it| it.trim());
    let name = text("name");
    if name.is_empty() {
        return Err(Error::request("an app needs a name"));
    }
    Ok(App {
        name: name.to_owned(),
        description: text("description").replace("\r\n", "\n"),
        enable_time: entered_time(text("enable_time"), app.enable_time)?,
        disable_time: entered_time(text("disable_time"), app.disable_time)?,
        ..app
    })
}

/// A time that was entered, to the minute; the one that is there if it was left alone.
fn entered_time(text: &str, there: Option<DateTime<Utc>>) -> Result<Option<DateTime<Utc>>> {
    if text.is_empty() {
        return Ok(None);
    }
    if text == form_time(there) {
        return Ok(there);
    }
    let time = NaiveDateTime::parse_from_str(text, FORM_TIME)
        .map_err(|_| Error::request(format!("{text:?} is no time such as 2026-11-25T18:30")))?;
    Ok(Some(time.and_utc()))
}

fn form_time(time: Option<DateTime<Utc>>) -> String {
    time.map(|time| time.format(FORM_TIME).to_string())
        .unwrap_or_default()
}

fn form(person: &Person, app: Option<&App>, sent: &Sent) -> Response {
    let t = person.t;
    let text = |of: fn(&App) -> &str| app.map_or("", of);
    // A new app is there for launchers at once, unless somebody says otherwise.
    let enable_time = app.map_or(Some(Utc::now()), |app| app.enable_time);
    let (enable_time, disable_time) = (
        form_time(enable_time),
        form_time(app.and_then(|app| app.disable_time)),
    );
    let body = html! {
        form.sheet.narrow method="post" action=(person.path) {
            (csrf(person))
            @if app.is_none() {
                (field(t.key, t.key_hint, &html! {
                    input name="key" required pattern="[A-Za-z0-9_\\-][A-Za-z0-9._\\-]*" autocapitalize="off"
                        spellcheck="false" value=(sent.value("key", ""));
                }))
            }
            (field(t.name, "", &html! {
                input name="name" required value=(sent.value("name", text(|app| &app.name)));
            }))
            (field(t.description, "", &html! {
                textarea name="description" rows="3" { (sent.value("description", text(|app| &app.description))) }
            }))
            (field(t.enable_time, t.enable_time_hint, &html! {
                input type="datetime-local" name="enable_time" value=(sent.value("enable_time", &enable_time));
            }))
            (field(t.disable_time, t.disable_time_hint, &html! {
                input type="datetime-local" name="disable_time" value=(sent.value("disable_time", &disable_time));
            }))
            div.buttons {
                button.main { (if app.is_none() { t.add_app } else { t.save }) }
                a.button href=(app.map_or_else(|| person.link("/"), |app| address(person, app, ""))) { (t.cancel) }
            }
        }
    };
    let mut trail = vec![(person.link("/"), t.apps)];
    trail.extend(app.map(|app| (address(person, app, ""), app.name.as_str())));
    let title = if app.is_none() {
        t.add_app
    } else {
        t.change_app
    };
    page::show(
        person,
        View {
            title,
            trail: &trail,
            sent,
            body,
        },
    )
}
