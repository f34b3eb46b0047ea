//! Answers that are kept, so that a server is asked only whether they still hold (`If-None-Match`,
//! `If-Modified-Since`: RFC 9110, section 13.1). GitHub counts such a question as none.
//!
//! Promises: what is kept is of one address and as it came, and is used only where that address says
//! that it still holds. What cannot be kept or read costs an answer more, and nothing else.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use ureq::http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::fetch::Answer;
use crate::{Result, disk};

/// As many as the documents of a source with keys, index and release, and a few pages of a forge.
const MOST: usize = 8;

/// A larger answer is not kept: it would be read and written at every start.
const LARGEST: usize = 256 << 10;

/// The answers of one client folder.
#[derive(Debug)]
pub struct Answers {
    path: PathBuf,
    kept: RefCell<Vec<Kept>>,
    changed: Cell<bool>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Kept {
    /// What was asked for, before redirects.
    asked: String,
    url: String,
    etag: Option<String>,
    modified: Option<String>,
    content_type: Option<String>,
    body: String,
}

impl Answers {
    /// What is kept in the file at `path`, which need not be there.
    pub fn load(path: &Path) -> Self {
        let bytes = disk::in_use::read(path).unwrap_or_default();
        Self {
            path: path.to_path_buf(),
            kept: RefCell::new(serde_json::from_slice(&bytes).unwrap_or_default()),
            changed: Cell::new(false),
        }
    }

    /// Writes what is new.
    pub fn save(&self) -> Result<()> {
        if !self.changed.take() {
            return Ok(());
        }
        let kept = self.kept.borrow();
        let text = serde_json::to_vec(&*kept).unwrap_or_default();
        disk::write_atomic(&self.path, &text)
    }

    /// Adds what makes a question one whether the kept answer still holds.
    pub(super) fn ask(&self, asked: &str, headers: &mut HeaderMap) {
        let kept = self.kept.borrow();
        let Some(kept) = kept.iter().find(|kept| kept.asked == asked) else {
            return;
        };
        for (name, text) in [
            (header::IF_NONE_MATCH, &kept.etag),
            (header::IF_MODIFIED_SINCE, &kept.modified),
        ] {
            let value = text.as_deref().map(HeaderValue::from_str);
            if let Some(Ok(value)) = value {
                headers.insert(name, value);
            }
        }
    }

    /// The answer that counts: the kept one, where the server says that it still holds.
    pub(super) fn take(&self, asked: &str, answer: Answer) -> Answer {
        let mut all = self.kept.borrow_mut();
        let place = all.iter().position(|kept| kept.asked == asked);
        if answer.status == 304 {
            return match place {
                Some(place) => Answer {
                    url: all[place].url.clone(),
                    status: 200,
                    content_type: all[place].content_type.clone(),
                    body: all[place].body.clone().into_bytes(),
                    ..answer
                },
                None => answer,
            };
        }
        let text = |name: HeaderName| {
            let value = answer.headers.get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        let kept = Kept {
            asked: asked.to_owned(),
            url: answer.url.clone(),
            etag: text(header::ETAG),
            modified: text(header::LAST_MODIFIED),
            content_type: answer.content_type.clone(),
            body: String::from_utf8(answer.body.clone()).unwrap_or_default(),
        };
        let useful = answer.status == 200
            && kept.body.len() == answer.body.len()
            && kept.body.len() <= LARGEST
            && (kept.etag.is_some() || kept.modified.is_some());
        if let Some(place) = place {
            if useful && all[place] == kept {
                return answer;
            }
            all.remove(place);
            self.changed.set(true);
        }
        if useful {
            all.insert(0, kept);
            all.truncate(MOST);
            self.changed.set(true);
        }
        answer
    }
}
