//! Signed documents in a folder: on a disk, a stick, a share.
//!
//! Promises: the same as of an [index](super::index) on a server, without one. A folder that does not
//! answer, as a share whose server is gone may not, holds a check up no longer than it may take.

use std::io::Read as _;
use std::path::Path;

use super::documents::{self, Documents};
use super::{Announced, Ask, Source};
use crate::config::SourceConfig;
use crate::fetch::{aside, local};
use crate::trust::{Trust, Trusted};
use crate::{Error, Result};

/// A folder, by its absolute path.
pub(super) struct Folder {
    path: String,
}

impl Folder {
    pub(super) fn new(config: &SourceConfig) -> Self {
        Self {
            path: config.url.clone(),
        }
    }
}

impl Source for Folder {
    fn latest(&self, ask: &Ask<'_>, trust: &mut Trust) -> Result<Trusted> {
        documents::latest(
            &Local {
                path: &self.path,
                ask,
            },
            trust,
        )
    }

    /// An index names the current release and no other.
    fn history(&self, ask: &Ask<'_>, trust: &mut Trust, _count: usize) -> Result<Vec<Announced>> {
        self.latest(ask, trust).map(|it| Announced::only(&it))
    }
}

struct Local<'a> {
    path: &'a str,
    ask: &'a Ask<'a>,
}

impl Documents for Local<'_> {
    fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let folder = Path::new(self.path).to_path_buf();
        let path = folder.join(name);
        let work = move || {
            // Of a folder that is not there, nothing can be said to be missing in it.
            std::fs::metadata(&folder)?;
            match local::open(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                opened => {
                    let mut bytes = Vec::new();
                    // One byte more, by which it is seen to be too large.
                    opened?.0.take(limit + 1).read_to_end(&mut bytes)?;
                    Ok(Some(bytes))
                }
            }
        };
        let place = self.place(name);
        let read = aside::within(self.ask.left(), "folder", work).unwrap_or_else(Err);
        read.map_err(|error: std::io::Error| Error::Unreachable {
            url: place,
            source: error.into(),
        })
    }

    fn resolve(&self, link: &str) -> Result<String> {
        local::link(Path::new(self.path), link).map_err(|problem| Error::AnswerInvalid {
            url: self.path.to_owned(),
            problem: format!("{link:?} {problem}"),
        })
    }

    fn place(&self, name: &str) -> String {
        Path::new(self.path).join(name).display().to_string()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{Config, FILE_NAME};
    use crate::fetch::Client;

    #[test]
    fn no_more_of_a_document_is_read_than_its_limit_tells_from_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        let text = "source.url = 'https://a.example/'\n";
        std::fs::write(folder.path().join(FILE_NAME), text).unwrap();
        let config = Config::load(folder.path(), None, &|_| None).unwrap();
        let client = Client::new(&config.network, &config.source).unwrap();
        let ask = Ask::within(&client, None, Duration::from_mins(1));
        let documents = Local { path, ask: &ask };
        std::fs::write(folder.path().join("large.json"), [b' '; 100]).unwrap();
        let read = |name, limit| documents.read(name, limit).unwrap();
        assert_eq!(read("large.json", 10).unwrap().len(), 11);
        assert_eq!(read("large.json", 100).unwrap().len(), 100);
        assert!(read("none.json", 10).is_none());
    }
}
