//! Packages and their files, as they are fetched: whole, in part, or not again.
//!
//! Promises: what lies under an address never changes, so its ETag is its place, and it may be kept for
//! a year. A range is answered as RFC 9110 says; more than one, with the whole. A package that was sent
//! to its end counts as one download.

use std::collections::HashMap;
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use axum::extract::{Path, State};
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, LAST_MODIFIED, RANGE,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body::Frame;

use crate::visit::Visit;
use crate::{Error, Result, Server};

/// Downloads that were finished, by the place of the package, until they are written down.
#[derive(Default)]
pub struct Downloads(Mutex<HashMap<String, i64>>);

impl Downloads {
    fn count(&self, place: &str) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(place.to_owned()).or_default() += 1;
    }

    /// Writes them down. Those that cannot be are kept for the next time.
    pub async fn write(&self, server: &Server) -> Result<()> {
        let counts: Vec<_> = {
            let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            counts.drain().collect()
        };
        if counts.is_empty() {
            return Ok(());
        }
        let written = server.registry.count_downloads(&counts).await;
        if written.is_err() {
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            for (place, count) in counts {
                *kept.entry(place).or_default() += count;
            }
        }
        written
    }
}

/// `GET /media/PLACE`.
pub async fn show(
    State(server): State<Arc<Server>>,
    visit: Visit,
    Path(place): Path<String>,
    headers: HeaderMap,
) -> Result<Response> {
    visit.may_read(&server)?;
    send(&server, &place, &headers).await
}

/// Sends what lies at this place of the store.
pub async fn send(server: &Arc<Server>, place: &str, headers: &HeaderMap) -> Result<Response> {
    let stored = server.store.look(place).await?;
    let stored = stored.ok_or_else(|| Error::not_found("there is no such file"))?;
    let tag = format!("\"{}\"", place.rsplit('/').next().unwrap_or_default());
    let modified = httpdate::fmt_http_date(stored.modified.into());
    let text = |name| {
        headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    let names = |tags: &str| {
        tags.split(',')
            .any(|it| it.trim().trim_start_matches("W/") == tag || it.trim() == "*")
    };
    let not_modified = match (text(IF_NONE_MATCH), text(IF_MODIFIED_SINCE)) {
        (Some(tags), _) => names(tags),
        (None, Some(since)) => httpdate::parse_http_date(since)
            .is_ok_and(|since| httpdate::parse_http_date(&modified).is_ok_and(|at| at <= since)),
        (None, None) => false,
    };
    let mut answer = HeaderMap::new();
    let mut set = |name, value: &str| {
        // A place has plain characters alone.
        if let Ok(value) = HeaderValue::from_str(value) {
            answer.insert(name, value);
        }
    };
    set(ETAG, &tag);
    set(LAST_MODIFIED, &modified);
    set(ACCEPT_RANGES, "bytes");
    set(CACHE_CONTROL, "public, max-age=31536000, immutable");
    if not_modified {
        return Ok((StatusCode::NOT_MODIFIED, answer).into_response());
    }
    let is_zip = std::path::Path::new(place)
        .extension()
        .is_some_and(|end| end == "zip");
    let kind = if is_zip {
        "application/zip"
    } else {
        "application/octet-stream"
    };
    set(CONTENT_TYPE, kind);
    let is_same = text(IF_RANGE).is_none_or(|it| it == tag || it == modified);
    let asked = text(RANGE).filter(|_| is_same);
    let (status, range) = match asked.map(|asked| range_of(asked, stored.size)) {
        Some(Asked::Part(range)) => {
            let (first, last) = (range.start, range.end - 1);
            set(
                CONTENT_RANGE,
                &format!("bytes {first}-{last}/{}", stored.size),
            );
            (StatusCode::PARTIAL_CONTENT, range)
        }
        Some(Asked::Beyond) => {
            set(CONTENT_RANGE, &format!("bytes */{}", stored.size));
            return Ok((StatusCode::RANGE_NOT_SATISFIABLE, answer).into_response());
        }
        Some(Asked::Whole) | None => (StatusCode::OK, 0..stored.size),
    };
    set(CONTENT_LENGTH, &(range.end - range.start).to_string());
    let is_end = range.end == stored.size;
    let body = server.store.read(place, range.clone()).await?;
    let body = if is_end {
        Body::new(Counted {
            body,
            left: range.end - range.start,
            server: Arc::clone(server),
            place: place.to_owned(),
        })
    } else {
        body
    };
    Ok((status, answer, body).into_response())
}

/// What a `Range` asks for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    /// These bytes.
    Part(Range<u64>),
    /// None that there are.
    Beyond,
    /// What is no single range of bytes is as good as none.
    Whole,
}

fn range_of(text: &str, size: u64) -> Asked {
    let Some((from, to)) = text
        .strip_prefix("bytes=")
        .filter(|ranges| !ranges.contains(','))
        .and_then(|range| range.trim().split_once('-'))
    else {
        return Asked::Whole;
    };
    match (from.parse::<u64>(), to.parse::<u64>()) {
        (Ok(from), Ok(to)) if from <= to && from < size => {
            Asked::Part(from..to.saturating_add(1).min(size))
        }
        (Ok(from), Ok(to)) if from <= to => Asked::Beyond,
        (Ok(from), Err(_)) if to.is_empty() && from < size => Asked::Part(from..size),
        (Ok(_), Err(_)) if to.is_empty() => Asked::Beyond,
        (Err(_), Ok(0)) if from.is_empty() => Asked::Beyond,
        (Err(_), Ok(last)) if from.is_empty() && size > 0 => {
            Asked::Part(size.saturating_sub(last)..size)
        }
        _ => Asked::Whole,
    }
}

/// A body that is counted when all of it was taken.
struct Counted {
    body: Body,
    left: u64,
    server: Arc<Server>,
    place: String,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            let sent = data.len() as u64;
            self.server.metrics.sent(sent);
            self.left = self.left.saturating_sub(sent);
            if self.left == 0 {
                self.server.downloads.count(&self.place);
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_rfc_9110_says() {
        for (text, asked) in [
            ("bytes=0-0", Asked::Part(0..1)),
            ("bytes=2-", Asked::Part(2..10)),
            ("bytes=2-99", Asked::Part(2..10)),
            ("bytes=-3", Asked::Part(7..10)),
            ("bytes=-99", Asked::Part(0..10)),
            ("bytes=10-", Asked::Beyond),
            ("bytes=10-20", Asked::Beyond),
            ("bytes=-0", Asked::Beyond),
            ("bytes=5-2", Asked::Whole),
            ("bytes=0-1,3-4", Asked::Whole),
            ("bytes=-", Asked::Whole),
            ("lines=0-1", Asked::Whole),
            ("bytes=a-b", Asked::Whole),
            ("bytes=0-18446744073709551615", Asked::Part(0..10)),
        ] {
            assert_eq!(range_of(text, 10), asked, "{text}");
        }
    }
}
