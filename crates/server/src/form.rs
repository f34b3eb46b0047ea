//! Forms, as browsers and scripts send them.
//!
//! Promises: fields are small, or refused. A file goes to the spool as it arrives, whatever its size, and
//! is gone with the [`Form`] unless somebody takes it further.
//!
//! Not promised: that a form came from where it should; whoever reads it sees to that.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::extract::Multipart;
use axum::extract::multipart::{Field, MultipartError};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tempfile::TempPath;
use tokio::io::AsyncWriteExt as _;

use crate::{Error, Result, Server};

/// The fields of a form, by name; of several of one name the last.
pub type Fields = BTreeMap<String, String>;

/// How much of a form is taken.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most bytes of its file.
    pub file: u64,
    /// The most bytes of all its fields, with their names.
    pub fields: usize,
}

/// A form with a file.
#[derive(Debug, Default)]
pub struct Form {
    /// Its fields, without the file.
    pub fields: Fields,
    /// The file's name, without folders, and where it lies in the spool; `None`: no file was chosen.
    pub file: Option<(String, TempPath)>,
}

/// Reads a form without files, of at most so many bytes.
///
/// Fails with `TOO_LARGE`, and with `REQUEST_INVALID` when the connection breaks.
pub async fn url_encoded(body: Body, limit: usize) -> Result<Fields> {
    let body = Limited::new(body, limit).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            too_long(limit)
        } else {
            Error::request(format!("the form: {error}"))
        }
    })?;
    Ok(parse(&body.to_bytes()))
}

/// The fields of a text such as `name=value&other=value`.
pub fn parse(text: &[u8]) -> Fields {
    form_urlencoded::parse(text).into_owned().collect()
}

/// Reads a form with at most one file.
///
/// Fails with `TOO_LARGE`, `DISK_FULL`, and with `REQUEST_INVALID` when it is no such form, or when the
/// connection breaks.
pub async fn multipart(server: &Server, mut parts: Multipart, limits: Limits) -> Result<Form> {
    let mut form = Form::default();
    let (mut left, mut file_left) = (limits.fields, limits.file);
    while let Some(mut part) = parts.next_field().await.map_err(|error| broken(&error))? {
        let name = part.name().unwrap_or_default().to_owned();
        let file_name = part.file_name().map(str::to_owned);
        let mut take = |length: usize| {
            left = left.checked_sub(length).ok_or(too_long(limits.fields))?;
            Ok::<_, Error>(())
        };
        take(name.len())?;
        if let Some(file_name) = file_name {
            take(file_name.len())?;
            let file = keep(server, &mut part, &mut file_left).await?;
            let file_name = file_name.rsplit(['/', '\\']).next().unwrap_or_default();
            if file_name.is_empty() {
                continue;
            }
            if form.file.is_some() {
                return Err(Error::request("the form: it has more than one file"));
            }
            form.file = Some((file_name.to_owned(), file));
        } else {
            let mut value = Vec::new();
            while let Some(chunk) = part.chunk().await.map_err(|error| broken(&error))? {
                take(chunk.len())?;
                value.extend_from_slice(&chunk);
            }
            let value = String::from_utf8(value)
                .map_err(|_| Error::request(format!("the form: {name:?} is no text")))?;
            form.fields.insert(name, value);
        }
    }
    Ok(form)
}

/// Writes a part into a file of the spool, with no more bytes than are left of those that are taken.
pub(crate) async fn keep(
    server: &Server,
    part: &mut Field<'_>,
    left: &mut u64,
) -> Result<TempPath> {
    let spool = server.config.spool();
    let (file, path) = tempfile::NamedTempFile::new_in(&spool)
        .map_err(|error| Error::io("make a file in", &spool, &error))?
        .into_parts();
    let mut file = tokio::fs::File::from_std(file);
    let failed = |error: std::io::Error| Error::io("write", &path, &error);
    while let Some(chunk) = part.chunk().await.map_err(|error| broken(&error))? {
        let size = chunk.len() as u64;
        *left = left.checked_sub(size).ok_or_else(|| too_large(server))?;
        file.write_all(&chunk).await.map_err(failed)?;
        server.metrics.received(size);
    }
    file.flush().await.map_err(failed)?;
    Ok(path)
}

/// More than an upload may have.
pub(crate) fn too_large(server: &Server) -> Error {
    Error::TooLarge(format!(
        "the file is larger than the {} bytes that are taken here (max_upload)",
        server.config.max_upload
    ))
}

fn too_long(limit: usize) -> Error {
    Error::TooLarge(format!(
        "the fields of the form have more than {limit} bytes"
    ))
}

/// What is no form of parts, or breaks off.
pub(crate) fn broken(error: &MultipartError) -> Error {
    Error::request(format!("the form: {}", error.body_text()))
}
