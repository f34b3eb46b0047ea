//! Signed documents on any web server, object store or content network: no program has to run there.
//!
//! Promises: what the server says is believed for its signatures alone; where it lies to some people
//! and not to others, or goes back to an older answer, they are told.

use chrono::Utc;

use super::documents::{self, Documents};
use super::refused::{rate_limit, refusal};
use super::{Announced, Ask, Source};
use crate::config::SourceConfig;
use crate::fetch::Url;
use crate::trust::document::KEYS_PREFIX;
use crate::trust::{Trust, Trusted};
use crate::{Error, Result};

/// The folder at an address.
pub(super) struct Index {
    url: String,
}

impl Index {
    pub(super) fn new(config: &SourceConfig) -> Self {
        // The documents lie in it, and not beside it.
        let slash = if config.url.ends_with('/') { "" } else { "/" };
        Self {
            url: format!("{}{slash}", config.url),
        }
    }
}

impl Source for Index {
    fn latest(&self, ask: &Ask<'_>, trust: &mut Trust) -> Result<Trusted> {
        documents::latest(
            &Remote {
                url: &self.url,
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

/// The folder with the documents, whose address ends with a slash.
pub(super) struct Remote<'a> {
    pub(super) url: &'a str,
    pub(super) ask: &'a Ask<'a>,
}

impl Remote<'_> {
    fn address(&self, link: &str) -> Result<Url> {
        let invalid = |problem: &str| Error::AnswerInvalid {
            url: self.url.to_owned(),
            problem: format!("{link:?} {problem}"),
        };
        // Stores of objects read a plus sign as a space; everybody reads its code as the sign.
        let (path, rest) = link.split_at(link.find(['?', '#']).unwrap_or(link.len()));
        let link = format!("{}{rest}", path.replace('+', "%2B"));
        Url::parse(self.url)
            .and_then(|base| base.join(&link))
            .map_err(invalid)
    }
}

impl Documents for Remote<'_> {
    fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let url = self.address(name)?.to_string();
        let answer = self.ask.get(&url, "", limit)?;
        match answer.status {
            200..300 => Ok(Some(answer.body)),
            404 | 410 => Ok(None),
            // Object stores that do not let their files be listed say so of what is not there, and keys
            // mostly are not.
            403 if name.starts_with(KEYS_PREFIX) && rate_limit(&answer, Utc::now()).is_none() => {
                Ok(None)
            }
            _ => Err(refusal(&answer)),
        }
    }

    fn resolve(&self, link: &str) -> Result<String> {
        Ok(self.address(link)?.to_string())
    }

    fn place(&self, name: &str) -> String {
        format!("{}{name}", self.url)
    }
}
