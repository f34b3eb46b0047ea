//! Forms: of several parts, in one line, or JSON in their place, as the Django servers take them.
//!
//! Promises: a file goes to the spool as it comes, and is gone when its form is. Nothing is longer than it
//! may be: files as `max_upload` says, texts as [`longest`] does.

use std::collections::BTreeMap;
use std::error::Error as _;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::multipart::{Field, Multipart};
use axum::extract::{FromRequest as _, Request};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE};
use http_body_util::LengthLimitError;
use serde_json::Value;
use tempfile::TempPath;

use crate::answer::parse;
use crate::form::{broken, keep, too_large};
use crate::storage::disk::blocking;
use crate::{Error, Result, Server};

/// More parts than any form has.
const PARTS: usize = 100;

/// The longest list of files, and what stands around it.
const BODY: usize = 33 << 20;

/// A form that was sent.
#[derive(Default)]
pub(super) struct Form {
    texts: BTreeMap<String, String>,
    /// What came as `file`.
    pub(super) file: Option<Part>,
}

/// A file that was sent.
pub(super) struct Part {
    /// What it was called.
    pub(super) name: String,
    /// Where it lies; it goes with this.
    pub(super) path: TempPath,
}

/// How many bytes a text may have.
fn longest(name: &str) -> usize {
    match name {
        "changelog" => 1 << 20,
        "file_manifest" => 32 << 20,
        _ => 64 << 10,
    }
}

impl Form {
    /// Reads a request's body.
    ///
    /// Fails with `REQUEST_INVALID` for what is no form, and with `TOO_LARGE`.
    pub(super) async fn read(server: &Server, request: Request) -> Result<Self> {
        let kind = request.headers().get(CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let essence = kind.split(';').next().unwrap_or_default().trim();
        match essence.to_ascii_lowercase().as_str() {
            "multipart/form-data" => Self::of_parts(server, request).await,
            "application/json" => Self::of_json(json(request.into_body()).await?),
            _ => Self::of_line(&read(request.into_body()).await?),
        }
    }

    /// A text that was sent, without spaces around it.
    pub(super) fn said(&self, name: &str) -> Option<&str> {
        self.texts.get(name).map(|text| text.trim())
    }

    /// The same, if it is not empty.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.said(name).filter(|text| !text.is_empty())
    }

    /// Whether a text that was sent says yes.
    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        let yes = ["1", "t", "true", "y", "yes", "on"];
        let text = self.text(name)?.to_ascii_lowercase();
        Some(yes.contains(&text.as_str()))
    }

    async fn of_parts(server: &Server, request: Request) -> Result<Self> {
        if let Some(length) = request.headers().get(CONTENT_LENGTH) {
            let length = length.to_str().ok().and_then(|text| text.parse().ok());
            let length: u64 = length.unwrap_or_default();
            if length > server.config.max_upload.saturating_add(BODY as u64) {
                return Err(too_large(server));
            }
            need_room(server, length).await?;
        }
        let mut parts = Multipart::from_request(request, &())
            .await
            .map_err(|error| Error::request(error.body_text()))?;
        let mut form = Self::default();
        let mut left = server.config.max_upload;
        let mut count = 0;
        while let Some(mut part) = parts.next_field().await.map_err(|error| broken(&error))? {
            count += 1;
            if count > PARTS {
                return Err(Error::request(format!("a form of more than {PARTS} parts")));
            }
            let name = part.name().unwrap_or_default().to_owned();
            if let Some(called) = file_name(&part) {
                let path = keep(server, &mut part, &mut left).await?;
                if name == "file" {
                    form.file = Some(Part { name: called, path });
                }
            } else {
                let text = text_of(part, longest(&name)).await?;
                form.texts.insert(name, text);
            }
        }
        Ok(form)
    }

    fn of_line(line: &[u8]) -> Result<Self> {
        let mut form = Self::default();
        for (name, value) in form_urlencoded::parse(line).take(PARTS) {
            form.insert(&name, value.into_owned())?;
        }
        Ok(form)
    }

    fn of_json(value: Value) -> Result<Self> {
        let Value::Object(fields) = value else {
            return Err(Error::request("the body is no JSON object"));
        };
        let mut form = Self::default();
        for (name, value) in fields {
            match value {
                Value::Null => {}
                Value::String(text) => form.insert(&name, text)?,
                other => form.insert(&name, other.to_string())?,
            }
        }
        Ok(form)
    }

    fn insert(&mut self, name: &str, text: String) -> Result<()> {
        if text.len() > longest(name) {
            return Err(too_long(longest(name)));
        }
        self.texts.insert(name.to_owned(), text);
        Ok(())
    }
}

/// The JSON of a request.
pub(super) async fn json(body: Body) -> Result<Value> {
    parse(&read(body).await?)
}

async fn read(body: Body) -> Result<Bytes> {
    let failed = |error: axum::Error| {
        if error
            .source()
            .is_some_and(<dyn std::error::Error>::is::<LengthLimitError>)
        {
            too_long(BODY)
        } else {
            Error::request(format!("the request broke off: {error}"))
        }
    };
    to_bytes(body, BODY).await.map_err(failed)
}

/// The name of a part that is a file.
fn file_name(part: &Field<'_>) -> Option<String> {
    if let Some(name) = part.file_name() {
        return Some(name.to_owned());
    }
    // Python sends names that are not ASCII as RFC 5987 says.
    let disposition = part.headers().get(CONTENT_DISPOSITION)?;
    let disposition = String::from_utf8_lossy(disposition.as_bytes()).into_owned();
    let (_, coded) = disposition.split_once("filename*=")?;
    let name = coded.rsplit('\'').next()?;
    Some(name.trim_end_matches([';', '"', ' ']).to_owned())
}

async fn text_of(mut part: Field<'_>, longest: usize) -> Result<String> {
    let mut text = Vec::new();
    while let Some(piece) = part.chunk().await.map_err(|error| broken(&error))? {
        if text.len() + piece.len() > longest {
            return Err(too_long(longest));
        }
        text.extend_from_slice(&piece);
    }
    String::from_utf8(text).map_err(|_| Error::request("a text that is not UTF-8"))
}

/// Fails unless there is room for a file of so many bytes and for what is unpacked of it.
pub(super) async fn need_room(server: &Server, bytes: u64) -> Result<()> {
    let spool = server.config.spool();
    blocking(move || {
        castoff::disk::need_space(&spool, bytes.saturating_mul(2))
            .map_err(|error| Error::DiskFull(error.to_string()))
    })
    .await
}

fn too_long(longest: usize) -> Error {
    Error::TooLarge(format!("a text is longer than {longest} bytes"))
}
