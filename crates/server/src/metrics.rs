//! What is counted, for Prometheus.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use crate::Server;

/// The upper ends of the classes of durations, in seconds.
const CLASSES: [f64; 8] = [0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0];

/// Counters, all of which only go up.
#[derive(Default)]
pub struct Metrics {
    /// Requests by the first digit of their status, from 1 on.
    requests: [AtomicU64; 5],
    /// Requests whose duration is in a class, the last of which has no end.
    durations: [AtomicU64; CLASSES.len() + 1],
    microseconds: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
}

impl Metrics {
    /// A request was answered.
    pub fn answered(&self, status: StatusCode, after: Duration) {
        let class = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
        self.requests[class].fetch_add(1, Ordering::Relaxed);
        let seconds = after.as_secs_f64();
        let class = CLASSES
            .iter()
            .position(|end| seconds <= *end)
            .unwrap_or(CLASSES.len());
        self.durations[class].fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
        self.microseconds.fetch_add(micros, Ordering::Relaxed);
    }

    /// Bytes of packages went out.
    pub fn sent(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes of uploads came in.
    pub fn received(&self, bytes: u64) {
        self.received.fetch_add(bytes, Ordering::Relaxed);
    }

    fn text(&self) -> String {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut text = String::from(
            "# HELP castoff_requests_total Requests that were answered.\n# TYPE castoff_requests_total counter\n",
        );
        for (index, counter) in self.requests.iter().enumerate() {
            let _ = writeln!(
                text,
                "castoff_requests_total{{status=\"{}xx\"}} {}",
                index + 1,
                get(counter)
            );
        }
        text.push_str(
            "# HELP castoff_request_seconds How long until an answer began.\n\
             # TYPE castoff_request_seconds histogram\n",
        );
        let mut all = 0;
        for (index, counter) in self.durations.iter().enumerate() {
            all += get(counter);
            let end = CLASSES.get(index).map_or("+Inf".to_owned(), f64::to_string);
            let _ = writeln!(text, "castoff_request_seconds_bucket{{le=\"{end}\"}} {all}");
        }
        let micros = get(&self.microseconds);
        let _ = writeln!(
            text,
            "castoff_request_seconds_sum {}.{:06}\ncastoff_request_seconds_count {all}",
            micros / 1_000_000,
            micros % 1_000_000
        );
        for (name, help, counter) in [
            (
                "castoff_sent_bytes_total",
                "Bytes of packages that were sent.",
                &self.sent,
            ),
            (
                "castoff_received_bytes_total",
                "Bytes of uploads that arrived.",
                &self.received,
            ),
        ] {
            let _ = writeln!(
                text,
                "# HELP {name} {help}\n# TYPE {name} counter\n{name} {}",
                get(counter)
            );
        }
        text
    }
}

/// `GET /metrics`.
pub async fn show(State(server): State<Arc<Server>>) -> Response {
    let kind = (CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8");
    ([kind], server.metrics.text()).into_response()
}
