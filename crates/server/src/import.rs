//! Takes over what a Django server has.

use std::fmt;
use std::path::Path;

use crate::{Error, Result, Server};

/// What was taken over.
#[derive(Debug, Default)]
pub struct Report {}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("")
    }
}

/// Takes over an installation.
pub async fn django(server: &Server, database: &Path, media: &Path) -> Result<Report> {
    let _ = (server, media);
    Err(Error::request(format!(
        "{}: cannot be read yet",
        database.display()
    )))
}
