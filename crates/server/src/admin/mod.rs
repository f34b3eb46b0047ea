//! The pages for people: apps, releases, tokens, and what was done.
//!
//! Promises:
//!
//! - They work without JavaScript, in English and in Chinese, on a phone.
//! - Nothing changes but by a form of one's own page, sent by who is signed in and may: other sites are
//!   refused by what the browser says of them, and by a secret in each form.
//! - What comes from outside is shown as text. No page takes script or style but this server's own two
//!   files.
//!
//! Not promised: an address or a text of these pages from one version to the next. Programs use
//! [`crate::native`].

mod apps;
mod page;
mod releases;
mod session;
mod texts;
mod tokens;
mod upload;

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::header::{
    ACCEPT_LANGUAGE, CACHE_CONTROL, CONTENT_TYPE, SET_COOKIE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, Method};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{any, get, post};

use crate::visit::Visit;
use crate::{Error, Result, Server, form, secret};
use session::Visitor;
use texts::Lang;

/// The cookie that keeps the language.
const LANGUAGE: &str = "castoff_lang";

/// How long a language is kept: a year, in seconds.
const LANGUAGE_KEPT: u32 = 365 * 86_400;

/// The files of the pages: name, media type, content.
const FILES: [(&str, &str, &str); 3] = [
    (
        "style.css",
        "text/css; charset=utf-8",
        include_str!("../../../../assets/style.css"),
    ),
    (
        "upload.js",
        "text/javascript; charset=utf-8",
        include_str!("upload.js"),
    ),
    (
        "icon.svg",
        "image/svg+xml",
        include_str!("../../../../assets/windows/castoff.svg"),
    ),
];

/// What their addresses end with, which changes with them: browsers keep them until then.
static FILES_TAG: LazyLock<String> = LazyLock::new(|| {
    let all: String = FILES.iter().map(|(_, _, content)| *content).collect();
    secret::digest(&all)[..12].to_owned()
});

/// The addresses of this part.
pub fn router(server: &Arc<Server>) -> Router<Arc<Server>> {
    let app = "/admin/apps/{app}";
    let release = "/admin/apps/{app}/releases/{release}";
    Router::new()
        .route("/admin/", get(apps::list))
        .route("/admin/sign-in", get(session::ask).post(session::begin))
        .route("/admin/sign-out", post(session::end))
        .route("/admin/new-app", get(apps::ask_new).post(apps::add))
        .route(app, get(apps::show))
        .route(&format!("{app}/change"), get(apps::ask).post(apps::change))
        .merge(upload::router(&format!("{app}/upload")))
        .route(release, get(releases::show).post(releases::edit))
        .route(
            &format!("{release}/activate"),
            get(releases::show).post(releases::activate),
        )
        .route(
            &format!("{release}/enable"),
            get(releases::show).post(releases::enable),
        )
        .route(
            &format!("{release}/deactivate"),
            get(releases::show).post(releases::deactivate),
        )
        .route(
            &format!("{release}/withdraw"),
            get(releases::ask_withdraw).post(releases::withdraw),
        )
        .route(
            &format!("{release}/delete"),
            get(releases::ask_delete).post(releases::delete),
        )
        .route("/admin/tokens", get(tokens::list).post(tokens::make))
        .route(
            "/admin/tokens/revoke",
            get(tokens::ask).post(tokens::revoke),
        )
        .route("/admin/audit", get(tokens::audit))
        .route("/admin/{*rest}", any(nothing_here))
        .layer(from_fn_with_state(Arc::clone(server), around))
        // Neither asks who it is.
        .route("/admin/files/{name}", get(file))
        .route("/admin", get(begin))
        .route("/", get(begin))
}

/// `GET /` and `GET /admin`.
async fn begin(visit: Visit) -> Redirect {
    Redirect::to(&format!("{}/admin/", session::root(&visit)))
}

/// `GET /admin/files/NAME`.
async fn file(Path(name): Path<String>) -> Result<Response> {
    let found = FILES.iter().find(|(known, ..)| *known == name);
    let (_, kind, content) = found.ok_or_else(|| Error::not_found("there is no such file"))?;
    let headers = [
        (CONTENT_TYPE, *kind),
        (CACHE_CONTROL, "public, max-age=31536000, immutable"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    Ok((headers, *content).into_response())
}

async fn nothing_here() -> Refused {
    Refused(Error::not_found("there is no such page"))
}

/// An error on its way to the page that shows it.
struct Refused(Error);

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = self.0.status().into_response();
        response.extensions_mut().insert(Arc::new(self.0));
        response
    }
}

/// What the handlers of pages answer.
type Shown = Result<Response, Refused>;

/// What is common to all pages: who asks, in which language; that no other site sends forms; errors as
/// pages; headers.
async fn around(
    State(server): State<Arc<Server>>,
    visit: Visit,
    mut request: Request,
    next: Next,
) -> Response {
    let query = form::parse(request.uri().query().unwrap_or_default().as_bytes());
    let wanted = query.get("lang").and_then(|tag| Lang::of_tag(tag));
    let lang = wanted.unwrap_or_else(|| language(request.headers()));
    let mut visitor = Visitor {
        t: lang.texts(),
        lang,
        root: session::root(&visit).to_owned(),
        path: format!("{}{}", session::root(&visit), request.uri().path()),
        query,
        session: None,
    };
    let is_form = request.method() != Method::GET && request.method() != Method::HEAD;
    let is_foreign = is_form && !session::is_own(&visit, request.headers());
    let mut response = match session::find(&server, request.headers()).await {
        _ if is_foreign => Refused(Error::FormInvalid).into_response(),
        Ok(session) => {
            visitor.session = session;
            request.extensions_mut().insert(visitor.clone());
            next.run(request).await
        }
        Err(error) => Refused(error).into_response(),
    };
    let refused = response.extensions_mut().remove::<Arc<Error>>();
    if let Some(error) = refused.and_then(Arc::into_inner) {
        response = page::failed(&visitor, error);
    }
    let headers = response.headers_mut();
    castoff_web::page::guard(headers);
    if let Some(lang) = wanted {
        set_cookie(headers, &visit, LANGUAGE, lang.code(), LANGUAGE_KEPT);
    }
    response
}

/// The language that was chosen before, or else the one that the browser likes best.
fn language(headers: &HeaderMap) -> Lang {
    let kept = session::cookie(headers, LANGUAGE).and_then(Lang::of_tag);
    kept.unwrap_or_else(|| {
        let accepted = headers.get(ACCEPT_LANGUAGE);
        Lang::accepted(accepted.and_then(|it| it.to_str().ok()).unwrap_or_default())
    })
}

/// Sets a cookie of these pages, which no script reads and no other site sends, for so many seconds;
/// with 0 it goes. Its value is of plain characters.
fn set_cookie(headers: &mut HeaderMap, visit: &Visit, name: &str, value: &str, seconds: u32) {
    let secure = if visit.is_secure { "; Secure" } else { "" };
    let cookie = format!(
        "{name}={value}; Path={}/admin; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}",
        session::root(visit)
    );
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        headers.append(SET_COOKIE, cookie);
    }
}
