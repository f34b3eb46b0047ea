//! A release: what it is, what is said of it, and where it is current.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use castoff::launcher::messages::size;
use castoff::version::Version;
use maud::{Markup, html};

use super::Shown;
use super::apps::address;
use super::page::{self, Question, Sent, View, csrf, field, fill, time};
use super::session::{Person, Posted};
use super::texts::Texts;
use crate::config::Read;
use crate::form::Fields;
use crate::native::releases::version_of;
use crate::registry::{App, Channel, Release, STABLE};
use crate::{Error, Result, Server, publishing};

/// App and number of a release, as in its address.
type Named = Path<(String, String)>;

/// What of a form says what a release says of itself.
pub(super) struct Words {
    pub(super) entry_point: String,
    pub(super) notes: String,
    pub(super) critical_below: Option<Version>,
}

impl Words {
    /// Reads them from a form.
    pub(super) fn entered(fields: &Fields) -> Result<Self> {
        let text = |name| fields.get(name).map_or("", |it| it.trim());
        let critical_below = match text("critical_below") {
            "" => None,
            version => Some(version_of(version)?),
        };
        Ok(Self {
            entry_point: text("entry_point").to_owned(),
            notes: text("notes").replace("\r\n", "\n"),
            critical_below,
        })
    }
}

/// Channel and rollout of a form.
pub(super) fn place_entered(fields: &Fields) -> Result<(&str, i64)> {
    let text = |name, or| {
        fields
            .get(name)
            .map(|it| it.trim())
            .filter(|it| !it.is_empty())
            .unwrap_or(or)
    };
    let rollout = text("rollout", "100");
    let rollout = rollout
        .parse()
        .map_err(|_| Error::request(format!("a rollout is 0 to 100 per cent, not {rollout:?}")))?;
    Ok((text("channel", STABLE), rollout))
}

async fn find(server: &Server, named: &(String, String)) -> Result<(App, Release)> {
    let app = server.app(&named.0).await?;
    let releases = server.registry.releases(&app.id).await?;
    let release = releases.into_iter().find(|it| it.id.to_string() == named.1);
    let release = release.ok_or_else(|| {
        Error::not_found(format!(
            "{} has no release with the number {}",
            app.key, named.1
        ))
    })?;
    Ok((app, release))
}

fn own_address(person: &Person, app: &App, release: &Release, page: &str) -> String {
    address(person, app, &format!("/releases/{}{page}", release.id))
}

/// Where a release is current, or why not.
pub(super) fn badges(t: &Texts, release: &Release, channels: &[Channel]) -> Markup {
    html! {
        @for name in &release.active {
            @let rollout = channels.iter().find(|it| it.name == *name).map_or(100, |it| it.rollout);
            @let text = if rollout < 100 { t.current_in_part } else { t.current_in };
            span.badge.good { (fill(text, &[("channel", name), ("rollout", &rollout.to_string())])) }
        }
        @if release.withdrawn { span.badge.bad { (t.withdrawn) } }
        @if !release.enabled { span.badge.off { (t.deactivated) } }
        @if release.active.is_empty() && !release.withdrawn && release.enabled {
            span.faint { (t.not_current) }
        }
    }
}

/// `GET /admin/apps/APP/releases/NUMBER`.
pub(super) async fn show(
    State(server): State<Arc<Server>>,
    person: Person,
    Path(named): Named,
) -> Shown {
    let (app, release) = find(&server, &named).await?;
    page(&server, &person, &app, &release, &Sent::default()).await
}

/// The page of a release, after something that was sent from it.
pub(super) async fn page(
    server: &Server,
    person: &Person,
    app: &App,
    release: &Release,
    sent: &Sent,
) -> Shown {
    let t = person.t;
    let channels = server.registry.channels(&app.id).await?;
    let body = html! {
        p {
            (badges(t, release, &channels)) " "
            span.faint { "· " (t.created) " " (time(release.created)) }
        }
        @if !release.notes.is_empty() { div.text { (release.notes) } }
        (packages(server, person, release))
        div.columns {
            section {
                h2 { (t.activate) }
                (activation(person, app, release, &channels, sent))
                h2 { (t.more) }
                (more(person, app, release))
            }
            section {
                h2 { (t.edit) }
                form.sheet method="post" action=(own_address(person, app, release, "")) {
                    (csrf(person))
                    (words(t, Some(release), sent))
                    div.buttons { button { (t.save) } }
                }
            }
        }
    };
    let trail = [
        (person.link("/"), t.apps),
        (address(person, app, ""), app.name.as_str()),
    ];
    let title = release.version.as_str();
    Ok(page::show(
        person,
        View {
            title,
            trail: &trail,
            sent,
            body,
        },
    ))
}

fn activation(
    person: &Person,
    app: &App,
    release: &Release,
    channels: &[Channel],
    sent: &Sent,
) -> Markup {
    let t = person.t;
    html! {
        @if release.withdrawn {
            p.empty { (t.cannot_activate) }
        } @else if !release.enabled {
            p.empty { (t.cannot_activate_yet) }
        } @else {
            form.sheet method="post" action=(own_address(person, app, release, "/activate")) {
                (csrf(person))
                p.faint { (t.activate_hint) }
                (place(t, channels, sent))
                div.buttons { button.main { (t.activate) } }
            }
        }
    }
}

fn packages(server: &Server, person: &Person, release: &Release) -> Markup {
    let t = person.t;
    html! {
        h2 { (t.packages) }
        table {
            thead { tr {
                th { (t.file) } th { (t.target) } th.number { (t.size) } th.number { (t.downloads) } th { (t.sha256) }
            } }
            tbody {
                @for it in &release.packages {
                    tr {
                        td.head {
                            // Where fetching needs a token, a browser has none.
                            @if server.config.read == Read::Open {
                                a href=(format!("{}/media/{}", person.root, it.place)) { (it.name) }
                            } @else {
                                (it.name)
                            }
                        }
                        td data-label=(t.target) { (it.target) }
                        td.number data-label=(t.size) { (size(it.size.cast_unsigned())) }
                        td.number data-label=(t.downloads) { (it.downloads) }
                        td.long data-label=(t.sha256) { code { (it.sha256) } }
                    }
                }
            }
        }
    }
}

/// The fields of what a release says of itself.
pub(super) fn words(t: &Texts, release: Option<&Release>, sent: &Sent) -> Markup {
    let text = |of: fn(&Release) -> &str| release.map_or("", of);
    html! {
        (field(t.notes, t.notes_hint, &html! {
            textarea name="notes" rows="6" { (sent.value("notes", text(|it| &it.notes))) }
        }))
        (field(t.entry_point, t.entry_point_hint, &html! {
            input name="entry_point" autocapitalize="off" spellcheck="false"
                value=(sent.value("entry_point", text(|it| &it.entry_point)));
        }))
        (field(t.critical_below, t.critical_below_hint, &html! {
            input name="critical_below" autocapitalize="off" spellcheck="false"
                value=(sent.value("critical_below", text(|it| it.critical_below.as_deref().unwrap_or_default())));
        }))
    }
}

/// The fields of where a release is to be current.
pub(super) fn place(t: &Texts, channels: &[Channel], sent: &Sent) -> Markup {
    html! {
        div.pair {
            (field(t.channel, "", &html! {
                input name="channel" list="channels" required autocapitalize="off" spellcheck="false"
                    value=(sent.value("channel", STABLE));
            }))
            (field(t.rollout, t.rollout_hint, &html! {
                input type="number" name="rollout" required min="0" max="100" value=(sent.value("rollout", "100"));
            }))
        }
        datalist id="channels" {
            @for channel in channels { option value=(channel.name) {} }
        }
    }
}

fn more(person: &Person, app: &App, release: &Release) -> Markup {
    let t = person.t;
    let is_current = !release.active.is_empty();
    let (page, text, hint) = if release.enabled {
        ("/deactivate", t.deactivate, t.deactivate_hint)
    } else {
        ("/enable", t.enable, t.enable_hint)
    };
    html! {
        div.sheet.choices {
            @if is_current {
                p.faint { (fill(t.only_elsewhere, &[("channels", &release.active.join(", "))])) }
            }
            @if !release.withdrawn && !is_current {
                form method="post" action=(own_address(person, app, release, page)) {
                    (csrf(person))
                    button { (text) }
                    small { (hint) }
                }
            }
            @if !release.withdrawn {
                div {
                    a.button.danger href=(own_address(person, app, release, "/withdraw")) { (t.withdraw) }
                    small { (t.withdraw_hint) }
                }
            }
            @if !is_current {
                div {
                    a.button.danger href=(own_address(person, app, release, "/delete")) { (t.delete) }
                    small { (t.delete_hint) }
                }
            }
        }
    }
}

/// Leads back to a release that something was done to, or shows why it was not.
async fn answer(
    server: &Server,
    person: &Person,
    (app, release): (&App, &Release),
    fields: Fields,
    done: Result<()>,
    text: &str,
) -> Shown {
    match done {
        Ok(()) => Ok(person.done(&format!("/apps/{}/releases/{}", app.key, release.id), text)),
        Err(error) => page(server, person, app, release, &Sent::failed(fields, error)).await,
    }
}

/// `POST /admin/apps/APP/releases/NUMBER`.
pub(super) async fn edit(
    State(server): State<Arc<Server>>,
    Path(named): Named,
    Posted { person, fields }: Posted,
) -> Shown {
    let (app, release) = find(&server, &named).await?;
    let done = async {
        let words = Words::entered(&fields)?;
        let edit = |release: &mut Release| {
            release.entry_point = words.entry_point;
            release.notes = words.notes;
            release.critical_below = words.critical_below.map(|it| it.to_string());
        };
        publishing::edit(&server, person.name(), &app, &release.version, edit).await
    };
    let done = done.await.map(|_| ());
    answer(&server, &person, (&app, &release), fields, done, "edited").await
}

/// `POST /admin/apps/APP/releases/NUMBER/activate`.
pub(super) async fn activate(
    State(server): State<Arc<Server>>,
    Path(named): Named,
    Posted { person, fields }: Posted,
) -> Shown {
    let (app, release) = find(&server, &named).await?;
    let done = async {
        let (channel, rollout) = place_entered(&fields)?;
        publishing::activate(
            &server,
            person.name(),
            &app,
            channel,
            &release.version,
            rollout,
        )
        .await
    };
    let done = done.await.map(|_| ());
    answer(
        &server,
        &person,
        (&app, &release),
        fields,
        done,
        "activated",
    )
    .await
}

/// `POST /admin/apps/APP/releases/NUMBER/enable`.
pub(super) async fn enable(
    State(server): State<Arc<Server>>,
    Path(named): Named,
    Posted { person, fields }: Posted,
) -> Shown {
    let (app, release) = find(&server, &named).await?;
    let enable = |release: &mut Release| release.enabled = true;
    let done = publishing::edit(&server, person.name(), &app, &release.version, enable).await;
    answer(
        &server,
        &person,
        (&app, &release),
        fields,
        done.map(|_| ()),
        "release_enabled",
    )
    .await
}

/// `POST /admin/apps/APP/releases/NUMBER/deactivate`.
pub(super) async fn deactivate(
    State(server): State<Arc<Server>>,
    Path(named): Named,
    Posted { person, fields }: Posted,
) -> Shown {
    let (app, release) = find(&server, &named).await?;
    let disable = |release: &mut Release| release.enabled = false;
    let done = publishing::edit(&server, person.name(), &app, &release.version, disable).await;
    answer(
        &server,
        &person,
        (&app, &release),
        fields,
        done.map(|_| ()),
        "release_deactivated",
    )
    .await
}

/// `GET /admin/apps/APP/releases/NUMBER/withdraw`.
pub(super) async fn ask_withdraw(
    State(server): State<Arc<Server>>,
    person: Person,
    Path(named): Named,
) -> Shown {
    let (app, release) = find(&server, &named).await?;
    Ok(withdraw_question(&person, &app, &release, &Sent::default()))
}

/// `POST /admin/apps/APP/releases/NUMBER/withdraw`.
pub(super) async fn withdraw(
    State(server): State<Arc<Server>>,
    Path(named): Named,
    Posted { person, fields }: Posted,
) -> Shown {
    let (app, release) = find(&server, &named).await?;
    let channel = release.active.first().map_or(STABLE, String::as_str);
    match publishing::withdraw(&server, person.name(), &app, channel, &release.version).await {
        Ok(_) => {
            let page = format!("/apps/{}/releases/{}", app.key, release.id);
            Ok(person.done(&page, "release_withdrawn"))
        }
        Err(error) => {
            let sent = Sent::failed(fields, error);
            Ok(withdraw_question(&person, &app, &release, &sent))
        }
    }
}

fn withdraw_question(person: &Person, app: &App, release: &Release, sent: &Sent) -> Response {
    let t = person.t;
    let mut lines = vec![t.withdraw_what.to_owned()];
    if !release.active.is_empty() {
        lines.push(fill(
            t.withdraw_current,
            &[("channels", &release.active.join(", "))],
        ));
    }
    question(
        person,
        app,
        release,
        sent,
        (t.withdraw_title, &lines, t.withdraw),
    )
}

/// `GET /admin/apps/APP/releases/NUMBER/delete`.
pub(super) async fn ask_delete(
    State(server): State<Arc<Server>>,
    person: Person,
    Path(named): Named,
) -> Shown {
    let (app, release) = find(&server, &named).await?;
    Ok(delete_question(&person, &app, &release, &Sent::default()))
}

/// `POST /admin/apps/APP/releases/NUMBER/delete`.
pub(super) async fn delete(
    State(server): State<Arc<Server>>,
    Path(named): Named,
    Posted { person, fields }: Posted,
) -> Shown {
    let (app, release) = find(&server, &named).await?;
    match publishing::delete(&server, person.name(), &app, &release.version).await {
        Ok(()) => Ok(person.done(&format!("/apps/{}", app.key), "release_deleted")),
        Err(error) => {
            let sent = Sent::failed(fields, error);
            Ok(delete_question(&person, &app, &release, &sent))
        }
    }
}

fn delete_question(person: &Person, app: &App, release: &Release, sent: &Sent) -> Response {
    let t = person.t;
    let lines = [t.delete_what.to_owned(), t.delete_withdraw.to_owned()];
    question(
        person,
        app,
        release,
        sent,
        (t.delete_title, &lines, t.delete),
    )
}

fn question(
    person: &Person,
    app: &App,
    release: &Release,
    sent: &Sent,
    (title, lines, button): (&str, &[String], &str),
) -> Response {
    let back = own_address(person, app, release, "");
    let question = Question {
        title: &fill(title, &[("version", release.version.as_str())]),
        trail: &[
            (person.link("/"), person.t.apps),
            (address(person, app, ""), app.name.as_str()),
            (back.clone(), release.version.as_str()),
        ],
        lines,
        fields: &[],
        button,
        back: &back,
    };
    page::ask(person, &question, sent)
}
