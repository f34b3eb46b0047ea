//! Who asks for a page: signed in or not, and whether by a form of one's own.
//!
//! A session is a secret in a cookie, of which the database has the digest alone, as of the token that
//! it was begun with. It ends with that token.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Request, State};
use axum::http::HeaderMap;
use axum::http::header::COOKIE;
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Redirect, Response};
use chrono::{TimeDelta, Utc};
use maud::html;
use subtle::ConstantTimeEq as _;

use super::page::{self, Sent, View, field};
use super::texts::{Lang, Texts};
use super::{Refused, Shown, set_cookie};
use crate::form::{self, Fields};
use crate::registry::{Role, Session};
use crate::visit::Visit;
use crate::{Error, Result, Server, secret};

/// The cookie of a session.
const COOKIE_NAME: &str = "castoff_session";

/// How long a session lasts, in hours: a day's work.
const HOURS: u32 = 12;

/// The most bytes of a form without files: notes of a release may be long.
const FORM_LIMIT: usize = 1 << 20;

/// Whoever asks for a page.
#[derive(Clone)]
pub(super) struct Visitor {
    /// What the pages say, in their language.
    pub(super) t: &'static Texts,
    /// The language itself.
    pub(super) lang: Lang,
    /// What stands before `/admin` in links.
    pub(super) root: String,
    /// The path of the page, without the query.
    pub(super) path: String,
    /// The query of the page.
    pub(super) query: Fields,
    /// Who it is; `None`: nobody has signed in.
    pub(super) session: Option<Session>,
}

impl Visitor {
    /// The address of a page, such as `/tokens`.
    pub(super) fn link(&self, page: &str) -> String {
        format!("{}/admin{page}", self.root)
    }
}

/// Who has signed in, and may see and do releases.
pub(super) struct Person {
    pub(super) visitor: Visitor,
    session: Session,
}

impl std::ops::Deref for Person {
    type Target = Visitor;

    fn deref(&self) -> &Visitor {
        &self.visitor
    }
}

impl Person {
    /// The name of their token, for the audit.
    pub(super) fn name(&self) -> &str {
        &self.session.bearer.name
    }

    /// Whether they may also do what is beyond releases.
    pub(super) fn is_admin(&self) -> bool {
        self.session.bearer.role >= Role::Admin
    }

    /// Fails with `ROLE_MISSING` unless they may do what is beyond releases.
    pub(super) fn must_be_admin(&self) -> Result<()> {
        if self.is_admin() {
            return Ok(());
        }
        Err(Error::RoleMissing(Role::Admin.as_str()))
    }

    /// The secret that each of their forms has to bring.
    pub(super) fn csrf(&self) -> &str {
        &self.session.csrf
    }

    /// Fails with `FORM_INVALID` unless a form brought it.
    pub(super) fn must_have_sent(&self, fields: &Fields) -> Result<()> {
        let brought = fields.get("csrf").map(String::as_bytes).unwrap_or_default();
        if bool::from(brought.ct_eq(self.csrf().as_bytes())) {
            return Ok(());
        }
        Err(Error::FormInvalid)
    }

    /// Leads to a page after something was done there, which says so by this text's name.
    pub(super) fn done(&self, page: &str, text: &str) -> Response {
        Redirect::to(&format!("{}?done={text}", self.link(page))).into_response()
    }
}

impl<S: Sync> FromRequestParts<S> for Visitor {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refused> {
        let visitor = parts.extensions.get::<Self>().cloned();
        visitor.ok_or_else(|| {
            Refused(Error::Internal(
                "the page's request was not read".to_owned(),
            ))
        })
    }
}

impl<S: Sync> FromRequestParts<S> for Person {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let visitor = Visitor::from_request_parts(parts, state).await?;
        let session = visitor.session.clone().ok_or(Error::TokenMissing)?;
        if session.bearer.role < Role::Publish {
            return Err(Refused(Error::RoleMissing(Role::Publish.as_str())));
        }
        Ok(Self { visitor, session })
    }
}

/// A form that its own page has sent.
pub(super) struct Posted {
    /// Who has sent it.
    pub(super) person: Person,
    /// What was entered.
    pub(super) fields: Fields,
}

impl<S: Sync> FromRequest<S> for Posted {
    type Rejection = Refused;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refused> {
        let (mut parts, body) = request.into_parts();
        let person = Person::from_request_parts(&mut parts, state).await?;
        let fields = form::url_encoded(body, FORM_LIMIT).await?;
        person.must_have_sent(&fields)?;
        Ok(Self { person, fields })
    }
}

/// The session of a request.
pub(super) async fn find(server: &Server, headers: &HeaderMap) -> Result<Option<Session>> {
    match cookie(headers, COOKIE_NAME) {
        Some(secret) => server.registry.session(&secret::digest(secret)).await,
        None => Ok(None),
    }
}

/// The value of a cookie.
pub(super) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let cookies = headers.get_all(COOKIE).iter();
    cookies
        .filter_map(|header| header.to_str().ok())
        .flat_map(|header| header.split(';'))
        .filter_map(|cookie| cookie.trim().split_once('='))
        .find(|(known, _)| *known == name)
        .map(|(_, value)| value)
}

/// The path under which a proxy shows this server, without a slash at the end; mostly nothing.
pub(super) fn root(visit: &Visit) -> &str {
    let (_, place) = visit.base.split_once("://").unwrap_or_default();
    place.find('/').map_or("", |at| &place[at..])
}

/// Whether a browser says that a form comes from a page of this server. Each of today's says so, by one
/// of two headers.
pub(super) fn is_own(visit: &Visit, headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    if let Some(site) = text("sec-fetch-site") {
        // `none`: the person did it, by the browser's own means.
        return matches!(site, "same-origin" | "none");
    }
    let Some((_, origin)) = text("origin").and_then(|origin| origin.split_once("://")) else {
        return false;
    };
    let (_, base) = visit.base.split_once("://").unwrap_or_default();
    base.strip_suffix(root(visit)) == Some(origin) || text("host") == Some(origin)
}

/// `GET /admin/sign-in`.
pub(super) async fn ask(visitor: Visitor) -> Response {
    let next = visitor.link("/");
    sign_in(&visitor, &next, &Sent::default())
}

/// The page on which one signs in, and which leads to another afterwards.
pub(super) fn sign_in(visitor: &Visitor, next: &str, sent: &Sent) -> Response {
    let t = visitor.t;
    let body = html! {
        form.sheet.narrow method="post" action=(visitor.link("/sign-in")) {
            input type="hidden" name="next" value=(next);
            (field(t.token, t.token_hint, &html! {
                input type="password" name="token" required autofocus autocomplete="current-password";
            }))
            div.buttons { button.main { (t.sign_in) } }
        }
    };
    page::show(
        visitor,
        View {
            title: t.sign_in,
            trail: &[],
            sent,
            body,
        },
    )
}

/// `POST /admin/sign-in`.
pub(super) async fn begin(
    State(server): State<Arc<Server>>,
    visit: Visit,
    visitor: Visitor,
    body: Body,
) -> Shown {
    let fields = form::url_encoded(body, FORM_LIMIT).await?;
    let token = fields.get("token").map_or("", |it| it.trim());
    // A page of this server alone.
    let next = fields
        .get("next")
        .filter(|next| next.starts_with(&visitor.link("/")))
        .cloned()
        .unwrap_or_else(|| visitor.link("/"));
    let secret = match enter(&server, &visit, token).await {
        Ok(secret) => secret,
        Err(error) => {
            return Ok(sign_in(
                &visitor,
                &next,
                &Sent::failed(Fields::new(), error),
            ));
        }
    };
    let mut response = Redirect::to(&next).into_response();
    let headers = response.headers_mut();
    set_cookie(headers, &visit, COOKIE_NAME, &secret, HOURS * 3600);
    Ok(response)
}

/// Begins a session for whom has this token. Says its secret.
async fn enter(server: &Server, visit: &Visit, token: &str) -> Result<String> {
    server.failures.check(visit.client)?;
    let Some(bearer) = server.registry.bearer(&secret::digest(token)).await? else {
        server.failures.note(visit.client);
        return Err(Error::TokenInvalid);
    };
    if bearer.role < Role::Publish {
        return Err(Error::RoleMissing(Role::Publish.as_str()));
    }
    let (secret, csrf) = (secret::hex(32), secret::hex(32));
    let expires = Utc::now() + TimeDelta::hours(HOURS.into());
    let digest = secret::digest(&secret);
    server
        .registry
        .begin_session(&digest, &bearer.name, &csrf, expires)
        .await?;
    log::info!("{} signed in from {}", bearer.name, visit.client);
    Ok(secret)
}

/// `POST /admin/sign-out`.
pub(super) async fn end(
    State(server): State<Arc<Server>>,
    visit: Visit,
    headers: HeaderMap,
    Posted { person, .. }: Posted,
) -> Shown {
    if let Some(secret) = cookie(&headers, COOKIE_NAME) {
        server.registry.end_session(&secret::digest(secret)).await?;
    }
    let mut response = person.done("/sign-in", "signed_out");
    set_cookie(response.headers_mut(), &visit, COOKIE_NAME, "", 0);
    Ok(response)
}
