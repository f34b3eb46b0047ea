//! Folders in the place of servers: a disk, a stick, a share.
//!
//! Promises: what a document links to lies in its folder or below, or is an address on the network;
//! only ordinary files are opened, so that no pipe holds anybody up.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{self, Read, Seek as _};
use std::path::{Path, absolute};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use super::Url;

/// As large as what is written at once, and as many as keep the reader from waiting for the writer.
const BLOCK: usize = 256 * 1024;
/// See [`BLOCK`].
const BLOCKS: usize = 2;

/// What a file's address begins with. What follows is its path as it is, and not encoded.
const SCHEME: &str = "file://";

/// The folder that a configuration names: by a path, relative to `base`, or as `file://`.
pub(crate) fn folder(place: &str, base: &Path) -> Result<String, &'static str> {
    let path = match place.get(..SCHEME.len()) {
        Some(scheme) if scheme.eq_ignore_ascii_case(SCHEME) => {
            let rest = decode(&place[SCHEME.len()..]).ok_or("holds a % that encodes nothing")?;
            match rest.strip_prefix("localhost").unwrap_or(&rest) {
                // file:///C:/releases
                local if cfg!(windows) && local.starts_with('/') => local[1..].to_owned(),
                // file://server/share
                share if cfg!(windows) => format!(r"\\{}", share.replace('/', r"\")),
                local if local.starts_with('/') => local.to_owned(),
                _ => return Err("names another machine"),
            }
        }
        _ if place.contains("://") => return Err("must be the path of a folder"),
        _ => place.to_owned(),
    };
    let path = absolute(base.join(path)).map_err(|_| "is no path")?;
    let text = path.into_os_string().into_string();
    text.map_err(|_| "leads to a path that is no Unicode")
}

fn decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(text.into());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        bytes.push(match byte {
            b'%' => {
                let digits = std::str::from_utf8(after.get(..2)?).ok()?;
                rest = &after[2..];
                u8::from_str_radix(digits, 16).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok().map(Cow::from)
}

/// The address of a file.
pub(crate) fn address(path: &Path) -> String {
    format!("{SCHEME}{}", path.display())
}

/// The path in a file's address; `None` for addresses on the network.
pub fn path_of(url: &str) -> Option<&Path> {
    url.strip_prefix(SCHEME).map(Path::new)
}

/// What a document in `folder` links to.
pub fn link(folder: &Path, link: &str) -> Result<String, &'static str> {
    if link.contains("://") {
        return Url::parse(link).map(|url| url.to_string());
    }
    let outside = link.starts_with('/')
        || link.contains(['\\', ':'])
        || link.chars().any(char::is_control)
        || link.split('/').any(|part| part == "..");
    if link.is_empty() || outside {
        return Err("does not lead to a file in the folder");
    }
    Ok(address(&folder.join(link)))
}

/// The bytes of a file, read on a thread of its own: nothing of the system ends a read from a share whose
/// server is gone, and whoever waits for it must not wait for ever. The thread is left behind then.
pub(crate) struct Reader {
    blocks: Receiver<io::Result<Vec<u8>>>,
    block: io::Cursor<Vec<u8>>,
    patience: Duration,
}

impl Reader {
    /// Opens an ordinary file, to be read from `start` on, and says how many bytes it has. Every step may
    /// take as long as `patience`.
    pub(crate) fn open(path: &Path, start: u64, patience: Duration) -> io::Result<(Self, u64)> {
        let (send, blocks) = sync_channel(BLOCKS);
        let path = path.to_path_buf();
        thread::Builder::new()
            .name("folder".to_owned())
            .spawn(move || {
                let (mut file, length) = match open(&path) {
                    Ok(opened) => opened,
                    Err(error) => return drop(send.send(Err(error))),
                };
                // The length goes first, as if it were a block.
                if send.send(Ok(length.to_le_bytes().to_vec())).is_err() {
                    return;
                }
                let sought = file.seek(io::SeekFrom::Start(start));
                let mut read = || {
                    let mut block = vec![0; BLOCK];
                    let count = file.read(&mut block)?;
                    block.truncate(count);
                    Ok(block)
                };
                let mut next = sought.and_then(|_| read());
                loop {
                    let more = next.as_ref().is_ok_and(|block| !block.is_empty());
                    // Nobody listens any more, or there is nothing more to say.
                    if send.send(next).is_err() || !more {
                        return;
                    }
                    next = read();
                }
            })?;
        let length = blocks.recv_timeout(patience).map_err(|_| stalled())??;
        let length = length.try_into().map(u64::from_le_bytes);
        let length = length.map_err(|_| io::Error::other("no length"))?;
        let reader = Self {
            blocks,
            block: io::Cursor::default(),
            patience,
        };
        Ok((reader, length))
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.block.read(buffer)?;
        if count > 0 || buffer.is_empty() {
            return Ok(count);
        }
        let block = match self.blocks.recv_timeout(self.patience) {
            Ok(block) => block?,
            Err(RecvTimeoutError::Disconnected) => return Ok(0),
            Err(RecvTimeoutError::Timeout) => return Err(stalled()),
        };
        self.block = io::Cursor::new(block);
        self.block.read(buffer)
    }
}

fn stalled() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the folder does not answer")
}

/// Opens an ordinary file, and says how many bytes it has.
pub fn open(path: &Path) -> io::Result<(File, u64)> {
    // Before it is opened: who opens a pipe waits for somebody who writes.
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("no ordinary file"));
    }
    Ok((File::open(path)?, metadata.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_folder_is_named_by_a_path_or_as_a_file() {
        let base = Path::new("/opt/app");
        for (place, path) in [
            ("/media/stick", "/media/stick"),
            ("releases", "/opt/app/releases"),
            ("file:///media/a%20b", "/media/a b"),
            ("FILE://localhost/media", "/media"),
        ] {
            assert_eq!(folder(place, base).unwrap(), path, "{place}");
        }
        for place in ["file://server/share", "file:///a%2", "https://a.example/"] {
            assert!(folder(place, base).is_err(), "{place}");
        }
    }

    #[cfg(windows)]
    #[test]
    fn a_folder_is_named_by_a_path_or_as_a_file() {
        let base = Path::new(r"C:\App");
        for (place, path) in [
            (r"\\server\share", r"\\server\share"),
            ("file://server/share/x", r"\\server\share\x"),
            ("file:///D:/a%20b", r"D:\a b"),
            ("releases", r"C:\App\releases"),
        ] {
            assert_eq!(folder(place, base).unwrap(), path, "{place}");
        }
    }

    #[test]
    fn links_stay_in_the_folder_or_lead_to_the_network() {
        let folder = Path::new("/media/stick");
        let inside = link(folder, "packages/a 1.zip").unwrap();
        assert_eq!(path_of(&inside).unwrap(), folder.join("packages/a 1.zip"));
        assert_eq!(
            link(folder, "https://a.example/x").unwrap(),
            "https://a.example/x"
        );
        for wrong in [
            "",
            "../a",
            "a/../../b",
            "/etc/passwd",
            r"..\a",
            "C:x",
            "file:///etc/passwd",
        ] {
            assert!(link(folder, wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_file_is_read_from_where_it_is_wanted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let bytes: Vec<u8> = (0..u8::MAX).cycle().take(2 * BLOCK + 7).collect();
        fs::write(&path, &bytes).unwrap();
        for start in [0, 1, BLOCK, bytes.len()] {
            let minute = Duration::from_mins(1);
            let (mut reader, length) = Reader::open(&path, start as u64, minute).unwrap();
            assert_eq!(length, bytes.len() as u64);
            let mut read = Vec::new();
            reader.read_to_end(&mut read).unwrap();
            assert!(read == bytes[start..], "{start}");
        }
        assert!(Reader::open(&folder.path().join("none"), 0, Duration::ZERO).is_err());
    }

    /// A pipe that nobody writes to is as silent as a share whose server is gone.
    #[cfg(unix)]
    #[test]
    fn a_file_that_says_nothing_is_given_up() {
        let (_send, blocks) = sync_channel(1);
        let mut reader = Reader {
            blocks,
            block: io::Cursor::default(),
            patience: Duration::from_millis(10),
        };
        let error = reader.read(&mut [0; 4]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn only_ordinary_files_are_opened() {
        let folder = tempfile::tempdir().unwrap();
        assert!(open(folder.path()).is_err());
        assert!(open(&folder.path().join("none")).is_err());
        let file = folder.path().join("file");
        fs::write(&file, b"abc").unwrap();
        assert_eq!(open(&file).unwrap().1, 3);
    }
}
