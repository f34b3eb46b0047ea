//! What it means when a server refuses: the same for every source.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::Value;

use crate::fetch::Answer;
use crate::{Error, json};

/// How long a service is left alone that says that it was asked too often, and not until when: what
/// GitHub's documentation asks for.
pub(super) const PAUSE: TimeDelta = TimeDelta::minutes(1);

/// What an error status means, where the source has no words of its own for it: who is asked for a token
/// is told so, and who has asked too often until when.
pub(super) fn refusal(answer: &Answer) -> Error {
    let url = answer.url.clone();
    let status = answer.status;
    if let Some(until) = rate_limit(answer, Utc::now()) {
        return Error::RateLimited {
            url,
            until: until.to_rfc3339_opts(SecondsFormat::Secs, true),
        };
    }
    match status {
        401 | 403 => Error::AccessDenied { url, status },
        _ => Error::HttpStatus {
            url,
            status,
            retry_after: answer.retry_after,
        },
    }
}

/// Until when a service answers no more questions, where that is what its answer says: 429 (RFC 6585),
/// or 403 with no question left or with a time to wait, as GitHub's documentation has it. Gitea has no
/// limit of its own; GitLab and Gitee use the same headers, GitLab without `x-`.
pub(super) fn rate_limit(answer: &Answer, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let header = |name: &str| {
        let headers = &answer.headers;
        let value = headers
            .get(format!("x-ratelimit-{name}"))
            .or_else(|| headers.get(format!("ratelimit-{name}")))?;
        value.to_str().ok()?.trim().parse::<i64>().ok()
    };
    let used_up = header("remaining") == Some(0);
    // GitHub's limit of a second kind is often said in words alone.
    let said = || {
        let body = json::parse(&answer.body).unwrap_or_default();
        let message = body.get("message").and_then(Value::as_str);
        message.is_some_and(|message| message.to_ascii_lowercase().contains("rate limit"))
    };
    match answer.status {
        429 => {}
        403 if used_up || answer.retry_after.is_some() || said() => {}
        _ => return None,
    }
    let wait = answer
        .retry_after
        .and_then(|wait| TimeDelta::from_std(wait).ok());
    let reset = header("reset").filter(|_| used_up);
    let until = match (wait, reset) {
        (Some(wait), _) => now.checked_add_signed(wait),
        (None, Some(reset)) => DateTime::from_timestamp(reset, 0),
        (None, None) => None,
    };
    Some(until.unwrap_or(now + PAUSE))
}
