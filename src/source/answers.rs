//! Answers that are kept, so that a server is asked only whether they still hold (`If-None-Match`: RFC
//! 9110, section 13.1). GitHub counts such a question as none, if it is asked with a token.
//!
//! Promises: what is kept is of one address and as it came, and is used only where that address says
//! that it still holds. What was refused is not kept: it would be refused for as long as the server says
//! that nothing has changed, or the one who sent it would go on being heard when they are gone. What
//! cannot be kept or read costs an answer more, and nothing else.
//!
//! A time (`Last-Modified`) is not asked by: a server that goes back to an older file says that nothing
//! is newer.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use ureq::http::header::{self, HeaderMap, HeaderValue};

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
    /// The addresses that were asked.
    asked: RefCell<Vec<String>>,
    changed: Cell<bool>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Kept {
    /// What was asked for, before redirects.
    asked: String,
    url: String,
    etag: String,
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
            asked: RefCell::default(),
            changed: Cell::new(false),
        }
    }

    /// Writes what is new. Unless the answers were `good`, none of them is kept.
    pub fn save(&self, good: bool) -> Result<()> {
        if !good {
            let asked = self.asked.borrow();
            let mut kept = self.kept.borrow_mut();
            let before = kept.len();
            kept.retain(|kept| !asked.contains(&kept.asked));
            if kept.len() != before {
                self.changed.set(true);
            }
        }
        if !self.changed.take() {
            return Ok(());
        }
        let kept = self.kept.borrow();
        let text = serde_json::to_vec(&*kept).unwrap_or_default();
        disk::write_atomic(&self.path, &text)
    }

    /// Adds what makes a question one whether the kept answer still holds.
    pub(super) fn ask(&self, asked: &str, headers: &mut HeaderMap) {
        self.asked.borrow_mut().push(asked.to_owned());
        let kept = self.kept.borrow();
        let kept = kept.iter().find(|kept| kept.asked == asked);
        if let Some(Ok(etag)) = kept.map(|kept| HeaderValue::from_str(&kept.etag)) {
            headers.insert(header::IF_NONE_MATCH, etag);
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
        let etag = answer.headers.get(header::ETAG);
        let etag = etag.and_then(|etag| etag.to_str().ok());
        let body = Some(&answer.body)
            .filter(|body| answer.status == 200 && body.len() <= LARGEST)
            .and_then(|body| std::str::from_utf8(body).ok());
        let kept = etag.zip(body).map(|(etag, body)| Kept {
            asked: asked.to_owned(),
            url: answer.url.clone(),
            etag: etag.to_owned(),
            content_type: answer.content_type.clone(),
            body: body.to_owned(),
        });
        if let Some(place) = place {
            if kept.as_ref() == Some(&all[place]) {
                return answer;
            }
            all.remove(place);
            self.changed.set(true);
        }
        if let Some(kept) = kept {
            all.insert(0, kept);
            all.truncate(MOST);
            self.changed.set(true);
        }
        answer
    }
}
