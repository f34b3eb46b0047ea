//! A release endpoint of one app on loopback: just enough of HTTP for the demo.
//!
//! It answers the check and hands out packages, in the shape of the release server that the
//! launcher works with. It is no server for anything else: one request a connection, no ranges.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// The path of the check.
pub(super) const CHECK: &str = "/api/nuitkal_pack/apps/demo/active/";

/// The folder of signed documents.
pub(super) const RELEASES: &str = "/releases/";

/// What is served, by path.
type Pages = Arc<Mutex<HashMap<String, Vec<u8>>>>;

/// A running endpoint. Dropping it stops it, and its address refuses connections from then on.
pub(super) struct Endpoint {
    address: SocketAddr,
    pages: Pages,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Endpoint {
    pub(super) fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let pages = Pages::default();
        let stop = Arc::new(AtomicBool::new(false));
        let (served, stopped) = (Arc::clone(&pages), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                // A client that goes away is its own affair.
                let _ = stream.and_then(|stream| answer(&stream, &served));
            }
        });
        Ok(Self {
            address,
            pages,
            stop,
            thread: Some(thread),
        })
    }

    pub(super) fn url(&self) -> String {
        self.address(CHECK)
    }

    /// The address of a path.
    pub(super) fn address(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Makes a page available, or replaces it.
    pub(super) fn put(&self, path: &str, body: Vec<u8>) {
        self.pages
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(path.to_owned(), body);
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for a connection.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn answer(mut stream: &TcpStream, pages: &Pages) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let path = request.split(' ').nth(1).unwrap_or_default();
    let page = pages
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get(path)
        .cloned();
    let (status, body) = match page {
        Some(body) => ("200 OK", body),
        None => (
            "404 Not Found",
            br#"{"detail":"No App matches the given query."}"#.to_vec(),
        ),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    )?;
    stream.write_all(&body)
}
