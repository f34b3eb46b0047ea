//! What pages are made of: their frame, errors, confirmations, fields of forms, and how things are
//! written for people.

use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse as _, Response};
use castoff::launcher::messages::render;
use chrono::{DateTime, SecondsFormat, Utc};
use maud::{DOCTYPE, Markup, html};

use super::FILES_TAG;
use super::session::{self, Person, Visitor};
use super::texts::{Lang, Texts};
use crate::Error;
use crate::form::Fields;
use crate::registry::Role;

/// How many digits of a digest are enough to tell two apart by eye.
const DIGITS: usize = 12;

/// What was sent from a page that is shown again because it could not be done.
#[derive(Default)]
pub(super) struct Sent {
    fields: Fields,
    error: Option<Error>,
}

impl Sent {
    /// These fields, and why they could not be taken.
    pub(super) fn failed(fields: Fields, error: Error) -> Self {
        Self {
            fields,
            error: Some(error),
        }
    }

    /// What is in a field: what was entered, or else this.
    pub(super) fn value<'a>(&'a self, name: &str, or: &'a str) -> &'a str {
        self.fields.get(name).map_or(or, String::as_str)
    }

    /// Whether a box is ticked.
    pub(super) fn is_ticked(&self, name: &str) -> bool {
        self.fields.contains_key(name)
    }
}

/// A page without its frame.
pub(super) struct View<'a> {
    /// What it is about.
    pub(super) title: &'a str,
    /// The pages above it: addresses and names.
    pub(super) trail: &'a [(String, &'a str)],
    /// What was sent from it before.
    pub(super) sent: &'a Sent,
    /// Its content.
    pub(super) body: Markup,
}

/// Shows a page.
pub(super) fn show(visitor: &Visitor, view: View<'_>) -> Response {
    let t = visitor.t;
    let View {
        title,
        trail,
        sent,
        body,
    } = view;
    let file = |name| format!("{}?{}", visitor.link(&format!("/files/{name}")), *FILES_TAG);
    let done = visitor.query.get("done").filter(|_| sent.error.is_none());
    let done = done.and_then(|name| t.done(name));
    let markup = html! {
        (DOCTYPE)
        html lang=(visitor.lang.tag()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Castoff" }
                link rel="icon" href=(file("icon.svg"));
                link rel="stylesheet" href=(file("style.css"));
                script src=(file("upload.js")) defer {}
            }
            body {
                (header(visitor, &file("icon.svg")))
                main {
                    @if !trail.is_empty() {
                        nav.trail {
                            @for (address, name) in trail { a href=(address) { bdi { (name) } } }
                        }
                    }
                    h1 { bdi { (title) } }
                    @if let Some(done) = done { p.notice.done role="status" { (done) } }
                    @if let Some(error) = &sent.error { (refusal(t, title, error)) }
                    (body)
                }
            }
        }
    };
    let status = sent.error.as_ref().map_or(StatusCode::OK, Error::status);
    let mut response = (status, markup).into_response();
    if let Some(Error::TooMany(seconds)) = &sent.error {
        response
            .headers_mut()
            .insert(RETRY_AFTER, (*seconds).into());
    }
    response
}

/// What is above every page: where one can go, who one is, the other language.
fn header(visitor: &Visitor, icon: &str) -> Markup {
    let t = visitor.t;
    let is_admin = |session: &crate::registry::Session| session.bearer.role >= Role::Admin;
    html! {
        header {
            a.brand href=(visitor.link("/")) { img src=(icon) alt="" width="28" height="28"; "Castoff" }
            @if let Some(session) = &visitor.session {
                nav.pages aria-label=(t.navigation) {
                    @for (page, name, is_shown) in [
                        ("/", t.apps, true),
                        ("/tokens", t.tokens, is_admin(session)),
                        ("/audit", t.audit, is_admin(session)),
                    ] {
                        @let address = visitor.link(page);
                        @if is_shown {
                            a href=(address) aria-current=[(visitor.path == address).then_some("page")] { (name) }
                        }
                    }
                }
            }
            nav.languages aria-label=(t.language) {
                @for lang in Lang::ALL {
                    @if lang == visitor.lang {
                        b lang=(lang.tag()) { (lang.name()) }
                    } @else {
                        a href=(in_language(visitor, lang)) lang=(lang.tag()) hreflang=(lang.tag()) { (lang.name()) }
                    }
                }
            }
            @if let Some(session) = &visitor.session {
                form.person method="post" action=(visitor.link("/sign-out")) {
                    input type="hidden" name="csrf" value=(session.csrf);
                    span title=(role(t, session.bearer.role)) { bdi { (session.bearer.name) } }
                    button.quiet { (t.sign_out) }
                }
            }
        }
    }
}

/// The address of the same page in another language.
fn in_language(visitor: &Visitor, lang: Lang) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in &visitor.query {
        if !matches!(name.as_str(), "lang" | "done") {
            query.append_pair(name, value);
        }
    }
    query.append_pair("lang", lang.code());
    format!("{}?{}", visitor.path, query.finish())
}

fn refusal(t: &Texts, title: &str, error: &Error) -> Markup {
    html! {
        div.notice.error role="alert" {
            @if title != t.of(error) { p { b { (t.of(error)) } } }
            p lang="en" { (error.message()) }
            p { code { (error.code()) } }
        }
    }
}

/// Shows that a page could not be made, or what has to be done first.
pub(super) fn failed(visitor: &Visitor, error: Error) -> Response {
    let is_missing = matches!(error, Error::TokenMissing);
    let t = visitor.t;
    let title = t.of(&error);
    let sent = Sent::failed(Fields::new(), error);
    if is_missing {
        return session::sign_in(visitor, &visitor.path, &sent);
    }
    let body = html! {
        p { a href=(visitor.link("/")) { (t.apps) } }
    };
    show(
        visitor,
        View {
            title,
            trail: &[],
            sent: &sent,
            body,
        },
    )
}

/// A question before what cannot be undone.
pub(super) struct Question<'a> {
    /// What is asked.
    pub(super) title: &'a str,
    /// The pages above it.
    pub(super) trail: &'a [(String, &'a str)],
    /// What comes of it.
    pub(super) lines: &'a [String],
    /// What its form repeats.
    pub(super) fields: &'a [(&'a str, &'a str)],
    /// What its button says.
    pub(super) button: &'a str,
    /// Where the other button leads.
    pub(super) back: &'a str,
}

/// Shows a question. Its form goes to its own address.
pub(super) fn ask(person: &Person, question: &Question<'_>, sent: &Sent) -> Response {
    let body = html! {
        form.sheet.narrow method="post" action=(person.path) {
            (csrf(person))
            @for (name, value) in question.fields { input type="hidden" name=(name) value=(value); }
            @for line in question.lines { p { (line) } }
            div.buttons {
                button.danger { (question.button) }
                a.button href=(question.back) { (person.t.cancel) }
            }
        }
    };
    show(
        person,
        View {
            title: question.title,
            trail: question.trail,
            sent,
            body,
        },
    )
}

/// What every form of a person brings.
pub(super) fn csrf(person: &Person) -> Markup {
    html! { input type="hidden" name="csrf" value=(person.csrf()); }
}

/// A field of a form: what it is called, what to know about it, and where it is entered.
pub(super) fn field(label: &str, hint: &str, input: &Markup) -> Markup {
    html! {
        label.field {
            span { (label) }
            (input)
            @if !hint.is_empty() { small { (hint) } }
        }
    }
}

/// A text with its words in braces replaced.
pub(super) fn fill(text: &str, values: &[(&str, &str)]) -> String {
    let values: Vec<_> = values
        .iter()
        .map(|(name, value)| (*name, (*value).to_owned()))
        .collect();
    render(text, &values)
}

/// A point of time.
pub(super) fn time(time: DateTime<Utc>) -> Markup {
    html! {
        time datetime=(time.to_rfc3339_opts(SecondsFormat::Secs, true)) { (text_of(time)) }
    }
}

/// The same, as text.
pub(super) fn text_of(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M UTC").to_string()
}

/// A digest, cut off for tables; all of it when a mouse rests on it.
pub(super) fn digest(sha256: &str) -> Markup {
    html! { code title=(sha256) { (sha256.get(..DIGITS).unwrap_or(sha256)) "…" } }
}

/// The name of a role.
pub(super) const fn role(t: &Texts, role: Role) -> &'static str {
    match role {
        Role::Read => t.role_read,
        Role::Publish => t.role_publish,
        Role::Admin => t.role_admin,
    }
}
