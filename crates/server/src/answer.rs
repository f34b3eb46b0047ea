//! Answers that hold until something changes.
//!
//! Promises: an answer is given only if nothing has changed since it was made, on whichever server of
//! the database: [`crate::registry::Registry::generation`] is asked each time. None is older than a
//! second, because apps come and go by the clock.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use serde_json::Value;

use crate::visit::Visit;
use crate::{Error, Result, Server, secret};

/// How long an answer holds at most.
const HOLDS: Duration = Duration::from_secs(1);

/// How many bytes of answers are kept; then all of them go.
const MOST: usize = 16 << 20;

/// An answer in JSON.
#[derive(Clone)]
pub struct Answer {
    status: StatusCode,
    body: Bytes,
    tag: HeaderValue,
    kind: HeaderValue,
}

impl Answer {
    /// An answer of this status and content.
    pub fn json(status: StatusCode, value: &Value) -> Self {
        Self::of(status, "application/json", value.to_string().into())
    }

    /// The same, of bytes of this media type.
    pub fn of(status: StatusCode, kind: &'static str, body: Bytes) -> Self {
        let digest = secret::digest_of(&body);
        let tag = HeaderValue::from_str(&format!("\"{}\"", &digest[..32]));
        Self {
            status,
            body,
            // Hexadecimal digits can stand in a header.
            tag: tag.unwrap_or(HeaderValue::from_static("\"\"")),
            kind: HeaderValue::from_static(kind),
        }
    }

    /// As it is sent to somebody who may have it already.
    fn response(self, headers: &HeaderMap) -> Response {
        let has = self.status == StatusCode::OK
            && headers.get(IF_NONE_MATCH).is_some_and(|tags| {
                let tag = self.tag.to_str().unwrap_or_default();
                let mut tags = tags.to_str().unwrap_or_default().split(',');
                tags.any(|it| it.trim().trim_start_matches("W/") == tag || it.trim() == "*")
            });
        let (status, body) = if has {
            (StatusCode::NOT_MODIFIED, Body::empty())
        } else {
            (self.status, Body::from(self.body))
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(ETAG, self.tag);
        headers.insert(CONTENT_TYPE, self.kind);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        response
    }
}

/// Answers, by who asked for what.
#[derive(Default)]
pub struct Kept(Mutex<Shelf>);

#[derive(Default)]
struct Shelf {
    generation: i64,
    bytes: usize,
    answers: HashMap<String, (Instant, Answer)>,
}

/// Answers a request with what is kept for it, or with what is made now.
pub async fn kept<F>(
    server: &Server,
    visit: &Visit,
    headers: &HeaderMap,
    make: F,
) -> Result<Response>
where
    F: Future<Output = Result<Answer>>,
{
    // Links in the answer repeat what it was asked under.
    let name = format!("{}{} {}", visit.base, visit.prefix, visit.path);
    let generation = server.registry.generation().await?;
    let answer = if let Some(answer) = server.kept.find(&name, generation) {
        answer
    } else {
        let answer = make.await?;
        server.kept.keep(name, generation, answer.clone());
        answer
    };
    Ok(answer.response(headers))
}

impl Kept {
    fn find(&self, name: &str, generation: i64) -> Option<Answer> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (made, answer) = kept.answers.get(name)?;
        (kept.generation == generation && made.elapsed() < HOLDS).then(|| answer.clone())
    }

    /// Keeps an answer that was begun when this was the last change.
    fn keep(&self, name: String, generation: i64, answer: Answer) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.generation > generation {
            return;
        }
        let size = name.len() + answer.body.len();
        if kept.generation < generation || kept.bytes + size > MOST {
            *kept = Shelf {
                generation,
                ..Shelf::default()
            };
        }
        if size <= MOST / 4 {
            kept.bytes += size;
            kept.answers.insert(name, (Instant::now(), answer));
        }
    }
}

/// The JSON of a request.
pub fn parse<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|error| Error::request(format!("the body: {error}")))
}
