//! A package that is uploaded in a browser: with a progress bar where scripts run, as a plain form
//! elsewhere.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRequest as _, Multipart, Path, Request, State};
use axum::response::Response;
use axum::routing::get;
use castoff::launcher::messages::size;
use castoff_publish::document::ANY;
use chrono::Utc;
use maud::html;

use super::Shown;
use super::apps::address;
use super::page::{self, Sent, View, csrf, field, fill};
use super::releases::{self, Words, place, place_entered, words};
use super::session::Person;
use crate::form::{self, Fields, Form, Limits};
use crate::native::releases::{must_be_name, version_of};
use crate::publishing::{self, NewPackage};
use crate::registry::{App, Channel, Release};
use crate::{Error, Result, Server};

/// The most bytes of what is entered besides the package.
const FIELDS_LIMIT: usize = 1 << 20;

/// The page at this path.
pub(super) fn router(path: &str) -> Router<Arc<Server>> {
    Router::new()
        .route(path, get(ask).post(take))
        // How much is taken, the form decides.
        .layer(DefaultBodyLimit::disable())
}

/// `GET /admin/apps/APP/upload`.
async fn ask(
    State(server): State<Arc<Server>>,
    person: Person,
    Path(named): Path<String>,
) -> Shown {
    let app = server.app(&named).await?;
    let channels = server.registry.channels(&app.id).await?;
    Ok(show(&server, &person, &app, &channels, &Sent::default()))
}

/// `POST /admin/apps/APP/upload`.
async fn take(
    State(server): State<Arc<Server>>,
    person: Person,
    Path(named): Path<String>,
    request: Request,
) -> Shown {
    let app = server.app(&named).await?;
    let limits = Limits {
        file: server.config.max_upload,
        fields: FIELDS_LIMIT,
    };
    let parts = Multipart::from_request(request, &())
        .await
        .map_err(|error| Error::request(error.body_text()))?;
    let form = match form::multipart(&server, parts, limits).await {
        Ok(form) => form,
        Err(error) => {
            let channels = server.registry.channels(&app.id).await?;
            let sent = Sent::failed(Fields::new(), error);
            return Ok(show(&server, &person, &app, &channels, &sent));
        }
    };
    person.must_have_sent(&form.fields)?;
    let Form { fields, file } = form;
    let published = async {
        // What is entered wrong is said before the package is unpacked.
        let place = place_entered(&fields)?;
        let (release, is_new) = publish(&server, &person, &app, &fields, file).await?;
        Ok((release, is_new, place))
    };
    let (release, is_new, (channel, rollout)) = match published.await {
        Ok(published) => published,
        Err(error) => {
            let channels = server.registry.channels(&app.id).await?;
            let sent = Sent::failed(fields, error);
            return Ok(show(&server, &person, &app, &channels, &sent));
        }
    };
    if fields.contains_key("activate") {
        let version = &release.version;
        let activated =
            publishing::activate(&server, person.name(), &app, channel, version, rollout).await;
        if let Err(error) = activated {
            // The release is there: what is left can be done on its page.
            let sent = Sent::failed(fields, error);
            return releases::page(&server, &person, &app, &release, &sent).await;
        }
    }
    let text = if is_new {
        "published"
    } else {
        "published_already"
    };
    Ok(person.done(&format!("/apps/{}/releases/{}", app.key, release.id), text))
}

async fn publish(
    server: &Server,
    person: &Person,
    app: &App,
    fields: &Fields,
    file: Option<(String, tempfile::TempPath)>,
) -> Result<(Release, bool)> {
    let text = |name| fields.get(name).map_or("", |it| it.trim());
    let (name, path) = file.ok_or_else(|| Error::request(person.t.no_file))?;
    must_be_name(&name)?;
    let words = Words::entered(fields)?;
    let new = NewPackage {
        version: version_of(text("version"))?,
        target: match text("target") {
            "" => ANY,
            target => target,
        }
        .to_owned(),
        name,
        entry_point: words.entry_point,
        notes: words.notes,
        critical_below: words.critical_below,
        created: Utc::now(),
    };
    publishing::publish(server, person.name(), app, &path, new).await
}

fn show(
    server: &Server,
    person: &Person,
    app: &App,
    channels: &[Channel],
    sent: &Sent,
) -> Response {
    let t = person.t;
    let limit = server.config.max_upload;
    let is_ticked = sent.is_ticked("activate");
    let body = html! {
        form.sheet.narrow #upload method="post" enctype="multipart/form-data" action=(address(person, app, "/upload"))
            data-limit=(limit) data-too-large=(t.too_large) data-checking=(t.checking)
            data-broken-off=(t.broken_off) data-cancelled=(t.cancelled) {
            (csrf(person))
            (field(t.version, t.version_hint, &html! {
                input name="version" required autocapitalize="off" autocomplete="off" spellcheck="false"
                    value=(sent.value("version", ""));
            }))
            (field(t.file, &fill(t.file_hint, &[("limit", &size(limit))]), &html! {
                input type="file" name="file" required;
            }))
            (field(t.target, t.target_hint, &html! {
                input name="target" autocapitalize="off" spellcheck="false" value=(sent.value("target", ANY));
            }))
            (words(t, None, sent))
            fieldset {
                legend {
                    label.tick {
                        input type="checkbox" name="activate" value="yes" checked[is_ticked];
                        (t.activate_at_once)
                    }
                }
                (place(t, channels, sent))
            }
            div.progress hidden {
                progress max="1" value="0" aria-label=(t.uploading) {}
                output {}
            }
            div.buttons {
                button.main { (t.upload_button) }
                button type="button" data-cancel hidden { (t.cancel) }
                a.button href=(address(person, app, "")) { (t.cancel) }
            }
        }
    };
    let trail = [
        (person.link("/"), t.apps),
        (address(person, app, ""), app.name.as_str()),
    ];
    page::show(
        person,
        View {
            title: t.upload,
            trail: &trail,
            sent,
            body,
        },
    )
}
