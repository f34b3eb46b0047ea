//! The line to a place, which breaks, and what is sent over it.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

/// Stands before a server, counts what goes there, and hangs or breaks when so much has.
pub(crate) struct Line {
    address: SocketAddr,
    state: Arc<State>,
}

struct State {
    sent: AtomicU64,
    /// At which count it breaks off next.
    limit: AtomicU64,
    /// Whether it hangs then, for ever, or the connection breaks.
    hangs: AtomicBool,
}

impl Line {
    pub(crate) fn to(place: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            sent: AtomicU64::new(0),
            limit: AtomicU64::new(u64::MAX),
            hangs: AtomicBool::new(false),
        });
        let shared = Arc::clone(&state);
        let to = place.strip_prefix("http://").unwrap().to_owned();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(&to) else {
                    continue;
                };
                let (mut back, mut from) =
                    (client.try_clone().unwrap(), server.try_clone().unwrap());
                thread::spawn(move || {
                    drop(std::io::copy(&mut from, &mut back));
                    drop(back.shutdown(Shutdown::Both));
                });
                let shared = Arc::clone(&shared);
                thread::spawn(move || shared.carry(client, server));
            }
        });
        Self { address, state }
    }

    pub(crate) fn address(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn sent(&self) -> u64 {
        self.state.sent.load(Ordering::SeqCst)
    }

    pub(crate) fn break_at(&self, limit: u64, hangs: bool) {
        self.state.hangs.store(hangs, Ordering::SeqCst);
        self.state.limit.store(limit, Ordering::SeqCst);
    }
}

impl State {
    fn carry(&self, mut client: TcpStream, mut server: TcpStream) {
        let mut block = [0; 4096];
        while let Ok(count @ 1..) = client.read(&mut block) {
            if server.write_all(&block[..count]).is_err() {
                break;
            }
            let sent = self.sent.fetch_add(count as u64, Ordering::SeqCst) + count as u64;
            if sent >= self.limit.load(Ordering::SeqCst) {
                if self.hangs.load(Ordering::SeqCst) {
                    // Until whoever sends is ended.
                    client.set_nonblocking(false).unwrap();
                    thread::park();
                }
                self.limit.store(u64::MAX, Ordering::SeqCst);
                break;
            }
        }
        drop(client.shutdown(Shutdown::Both));
        drop(server.shutdown(Shutdown::Both));
    }
}

/// Bytes that do not get smaller.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..length / 8).flat_map(|_| next()).collect()
}
