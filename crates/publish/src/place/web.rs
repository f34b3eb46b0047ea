//! Requests to a place on the network, and files that are sent there.
//!
//! Promises: a token goes to its own server alone and into no message; what may be asked twice is asked
//! again when a connection breaks, after a wait that doubles.

use std::fs::File as Handle;
use std::io::{self, Read, Seek as _, SeekFrom, Take};
use std::path::Path;
use std::time::Duration;

use castoff::config::Config;
use castoff::fetch::{Answer, Client};

use super::{Event, File, Tell};
use crate::{Error, Result, steps};

/// Without bytes moving: as long as a connection over a bad line takes to come back.
const STALL: Duration = Duration::from_mins(1);

/// Until a server has taken in what was sent: gigabytes are hashed, unpacked, and moved then.
const PATIENCE: Duration = Duration::from_mins(15);

/// The wait before the first repetition.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// As long as a server may ask to be left alone.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Attempts, of which none got any further.
pub(super) const ATTEMPTS: u32 = 4;

/// How much of an answer is read; lists of many releases are the longest.
const LIMIT: u64 = 16 << 20;

/// A server, and how it is asked.
pub(super) struct Web {
    place: String,
    quick: Client,
    patient: Client,
}

/// A request.
#[derive(Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) method: &'a str,
    pub(super) url: &'a str,
    pub(super) headers: &'a [(&'a str, String)],
    pub(super) body: Option<&'a [u8]>,
}

impl Web {
    /// `place` is what messages call it, `url` an address of the server that the token is for.
    pub(super) fn new(
        place: &str,
        url: &str,
        token: Option<String>,
        allow_http: bool,
    ) -> Result<Self> {
        let folder = tempfile::tempdir().map_err(Error::io("create", std::env::temp_dir()))?;
        // A launcher's own defaults, with this address for a source.
        let baked = format!("[source]\nurl = {url:?}\n");
        let mut config = Config::load(folder.path(), Some(&baked), &|_| None)?;
        config.source.token = token;
        config.network.allow_http |= allow_http;
        config.network.tokens_by_http |= allow_http;
        let mut client = |stall| {
            config.network.stall_timeout = stall;
            Client::new(&config.network, &config.source)
        };
        Ok(Self {
            place: place.to_owned(),
            quick: client(STALL)?,
            patient: client(PATIENCE)?,
        })
    }

    /// Sends a small request, again and again if need be.
    pub(super) fn ask(&self, request: Request<'_>) -> Result<Answer> {
        let mut attempt = 1;
        loop {
            let answer = self.once(&self.quick, request);
            let asked = match &answer {
                Err(Error::Unreachable { .. }) => None,
                Ok(answer) if passes(answer) => answer.retry_after,
                _ => return answer,
            };
            if attempt == ATTEMPTS {
                return answer;
            }
            pause(attempt, asked);
            attempt += 1;
        }
    }

    /// Sends a request once, and waits long for what becomes of it.
    pub(super) fn wait_for(&self, request: Request<'_>) -> Result<Answer> {
        self.once(&self.patient, request)
    }

    fn once(&self, client: &Client, request: Request<'_>) -> Result<Answer> {
        let Request {
            method,
            url,
            headers,
            body,
        } = request;
        let answer = match body {
            Some(mut bytes) => {
                let length = bytes.len() as u64;
                client.request(method, url, headers, Some((&mut bytes, length)), LIMIT)
            }
            None => client.request(method, url, headers, None, LIMIT),
        };
        answer.map_err(|error| self.failed(error))
    }

    /// Sends a part of a file, once.
    pub(super) fn send(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, String)],
        part: &mut Part<'_, '_, impl Read>,
    ) -> Result<Answer> {
        let length = part.from.limit();
        let answer = self
            .quick
            .request(method, url, headers, Some((part, length)), LIMIT);
        steps::reach(steps::SENDING)?;
        answer.map_err(|error| self.failed(error))
    }

    fn failed(&self, error: castoff::Error) -> Error {
        match error {
            castoff::Error::Unreachable { source, .. } => Error::Unreachable {
                place: self.place.clone(),
                problem: source.to_string(),
            },
            castoff::Error::InsecureUrl { .. } => Error::request(format!(
                "{} is asked by plain http, where anybody on the way can read the token and change what is \
                 sent; use https, or say --allow-http",
                self.place
            )),
            // Without the address: that of a bucket is signed, and good for whoever reads it.
            castoff::Error::TooLarge { .. } => {
                self.odd(&format!("it is longer than {LIMIT} bytes"))
            }
            castoff::Error::AnswerInvalid { problem, .. } => self.odd(&problem),
            other => Error::Engine(other),
        }
    }

    fn odd(&self, problem: &str) -> Error {
        Error::Refused {
            place: self.place.clone(),
            what: "a request".to_owned(),
            problem: format!("its answer is not to be understood: {problem}"),
        }
    }
}

/// Whether a refusal is one for the moment, so that the same request may be sent again.
pub(super) fn passes(answer: &Answer) -> bool {
    match answer.status {
        // A store says so of what came too slowly.
        400 => contains(&answer.body, b"<Code>RequestTimeout</Code>"),
        408 | 429 | 500 | 502..=504 => true,
        _ => false,
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// Waits after so many attempts that came to nothing, or as long as the server has asked for.
pub(super) fn pause(attempt: u32, asked: Option<Duration>) {
    let wait = asked.map_or(FIRST_WAIT * 2_u32.pow(attempt.saturating_sub(1)), |asked| {
        asked.min(LONGEST_WAIT)
    });
    std::thread::sleep(wait);
}

/// A part of a file that is sent, and told of as it goes.
pub(super) struct Part<'a, 'b, R> {
    from: Take<R>,
    name: &'a str,
    size: u64,
    done: u64,
    tell: &'a mut Tell<'b>,
}

impl<'a, 'b, R: Read> Part<'a, 'b, R> {
    /// `length` bytes, which are those of a file from `start` on.
    pub(super) fn of(
        file: &'a File<'_>,
        from: R,
        start: u64,
        length: u64,
        tell: &'a mut Tell<'b>,
    ) -> Self {
        Self {
            from: from.take(length),
            name: file.name,
            size: file.size,
            done: start,
            tell,
        }
    }
}

impl<R: Read> Read for Part<'_, '_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer)?;
        self.done += count as u64;
        (self.tell)(Event::Sending {
            name: self.name,
            done: self.done,
            size: self.size,
        });
        Ok(count)
    }
}

/// Opens a file, to be read from `start` on.
pub(super) fn open_at(path: &Path, start: u64) -> Result<Handle> {
    let (mut file, _) = castoff::fetch::local::open(path).map_err(Error::io("read", path))?;
    file.seek(SeekFrom::Start(start))
        .map_err(Error::io("read", path))?;
    Ok(file)
}
