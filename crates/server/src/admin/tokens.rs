//! Tokens, and the audit of what was done with them.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use maud::html;

use super::Shown;
use super::page::{self, Question, Sent, View, csrf, field, fill, role, text_of, time};
use super::session::{Person, Posted};
use crate::registry::{Role, Token};
use crate::{Error, Server, publishing};

/// How many lines of the audit are shown.
const LINES: i64 = 200;

/// `GET /admin/tokens`.
pub(super) async fn list(State(server): State<Arc<Server>>, person: Person) -> Shown {
    person.must_be_admin()?;
    let tokens = server.registry.tokens().await?;
    Ok(show(&person, &tokens, &Sent::default()))
}

fn show(person: &Person, tokens: &[Token], sent: &Sent) -> Response {
    let t = person.t;
    let hint = |it| match it {
        Role::Read => t.role_read_hint,
        Role::Publish => t.role_publish_hint,
        Role::Admin => t.role_admin_hint,
    };
    let body = html! {
        table {
            thead { tr { th { (t.name) } th { (t.role) } th { (t.made) } th { (t.state) } th {} } }
            tbody {
                @for token in tokens {
                    tr {
                        td.head { bdi { (token.name) } }
                        td data-label=(t.role) { (role(t, token.role)) }
                        td data-label=(t.made) { (time(token.created)) }
                        td data-label=(t.state) {
                            @if let Some(revoked) = token.revoked {
                                span.badge.off { (fill(t.revoked, &[("time", &text_of(revoked))])) }
                            } @else {
                                span.badge.good { (t.valid) }
                            }
                        }
                        td.action {
                            @if token.revoked.is_none() {
                                a.button href=(revoke_address(person, &token.name)) { (t.revoke) }
                            }
                        }
                    }
                }
            }
        }
        h2 { (t.make_token) }
        form.sheet.narrow method="post" action=(person.link("/tokens")) {
            (csrf(person))
            (field(t.name, t.token_name_hint, &html! {
                input name="name" required autocomplete="off" value=(sent.value("name", ""));
            }))
            fieldset {
                legend { (t.role) }
                @for it in [Role::Read, Role::Publish, Role::Admin] {
                    label.tick {
                        input type="radio" name="role" value=(it.as_str()) required
                            checked[sent.value("role", Role::Publish.as_str()) == it.as_str()];
                        span { (role(t, it)) " " small { (hint(it)) } }
                    }
                }
            }
            div.buttons { button.main { (t.make_token) } }
        }
    };
    page::show(
        person,
        View {
            title: t.tokens,
            trail: &[],
            sent,
            body,
        },
    )
}

fn revoke_address(person: &Person, name: &str) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("name", name);
    person.link(&format!("/tokens/revoke?{}", query.finish()))
}

/// `POST /admin/tokens`.
pub(super) async fn make(
    State(server): State<Arc<Server>>,
    Posted { person, fields }: Posted,
) -> Shown {
    person.must_be_admin()?;
    let text = |name| fields.get(name).map_or("", |it| it.trim());
    let name = text("name");
    let made = async {
        let role = text("role").parse()?;
        publishing::add_token(&server.registry, person.name(), name, role).await
    };
    let token = match made.await {
        Ok(token) => token,
        Err(error) => {
            let tokens = server.registry.tokens().await?;
            return Ok(show(&person, &tokens, &Sent::failed(fields, error)));
        }
    };
    let t = person.t;
    let body = html! {
        p { (t.token_once) }
        p { code.secret { (token) } }
        div.buttons { a.button.main href=(person.link("/tokens")) { (t.token_copied) } }
    };
    let title = fill(t.token_made, &[("name", name)]);
    let trail = [(person.link("/tokens"), t.tokens)];
    let sent = Sent::default();
    Ok(page::show(
        &person,
        View {
            title: &title,
            trail: &trail,
            sent: &sent,
            body,
        },
    ))
}

/// `GET /admin/tokens/revoke?name=NAME`.
pub(super) async fn ask(person: Person) -> Shown {
    person.must_be_admin()?;
    let name = person.query.get("name").cloned();
    let name = name.ok_or_else(|| Error::request("the address names no token"))?;
    Ok(question(&person, &name, &Sent::default()))
}

/// `POST /admin/tokens/revoke`.
pub(super) async fn revoke(
    State(server): State<Arc<Server>>,
    Posted { person, fields }: Posted,
) -> Shown {
    person.must_be_admin()?;
    let name = fields.get("name").cloned().unwrap_or_default();
    match publishing::revoke_token(&server.registry, person.name(), &name).await {
        Ok(()) => Ok(person.done("/tokens", "token_revoked")),
        Err(error) => Ok(question(&person, &name, &Sent::failed(fields, error))),
    }
}

fn question(person: &Person, name: &str, sent: &Sent) -> Response {
    let t = person.t;
    let mut lines = vec![t.revoke_what.to_owned()];
    if name == person.name() {
        lines.push(t.revoke_own.to_owned());
    }
    let back = person.link("/tokens");
    let question = Question {
        title: &fill(t.revoke_title, &[("name", name)]),
        trail: &[(back.clone(), t.tokens)],
        lines: &lines,
        fields: &[("name", name)],
        button: t.revoke,
        back: &back,
    };
    page::ask(person, &question, sent)
}

/// `GET /admin/audit`.
pub(super) async fn audit(State(server): State<Arc<Server>>, person: Person) -> Shown {
    person.must_be_admin()?;
    let t = person.t;
    let entries = server.registry.audit(LINES).await?;
    let body = html! {
        @if entries.is_empty() {
            p.empty { (t.no_audit) }
        } @else {
            p.faint { (fill(t.audit_hint, &[("count", &LINES.to_string())])) }
            table {
                thead { tr { th { (t.time) } th { (t.who) } th { (t.what) } th { (t.app) } th { (t.detail) } } }
                tbody {
                    @for entry in &entries {
                        tr {
                            td data-label=(t.time) { (time(entry.at)) }
                            td data-label=(t.who) { bdi { (entry.who) } }
                            td data-label=(t.what) { (entry.action) }
                            td.loose data-label=(t.app) { (entry.app) }
                            td.long data-label=(t.detail) { (entry.detail) }
                        }
                    }
                }
            }
        }
    };
    let sent = Sent::default();
    Ok(page::show(
        &person,
        View {
            title: t.audit,
            trail: &[],
            sent: &sent,
            body,
        },
    ))
}
