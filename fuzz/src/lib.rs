//! What several targets hold of several things.
//!
//! A target feeds bytes to one parser and asserts what the parser promises: that nothing panics,
//! and what the module's documentation says besides.

use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;

use castoff::Result;
use castoff::archive::SafePath;
use castoff::config::Config;
use castoff::state::ClientFolder;

/// Longer than any message is that repeats no more than the beginning of what it refuses.
const LONGEST_MESSAGE: usize = 3072;

/// What came of bytes from outside; nothing after an error. Its messages can be made, and do not
/// hand all that was sent on to the log.
pub fn judge<T>(result: Result<T>) -> Option<T> {
    let result = result.map_err(|error| error.chain());
    if let Err(message) = &result {
        let length = message.len();
        assert!(length <= LONGEST_MESSAGE, "{length} bytes: {message:.200}");
    }
    result.ok()
}

/// What came of bytes from this machine's own disk, or of its publisher's.
pub fn trust<T>(result: Result<T>) -> Option<T> {
    result.map_err(|error| error.chain()).ok()
}

/// Checks an address that is about to be asked: another parser reads it in the same way, and there
/// is nothing in it that could end a line of a request.
pub fn assert_address(url: &str) {
    assert!(url.bytes().all(|byte| byte.is_ascii_graphic()), "{url:?}");
    assert!(!url.contains(['\\', '#', '"', '<', '>']), "{url:?}");
    let (scheme, host, port) = origin(url);
    let uri: http::Uri = url
        .parse()
        .unwrap_or_else(|error| panic!("{url:?}: {error}"));
    assert_eq!(uri.scheme_str(), Some(scheme.as_str()), "{url:?}");
    assert_eq!(uri.host(), Some(host.as_str()), "{url:?}");
    let default = if scheme == "https" { 443 } else { 80 };
    assert_eq!(uri.port_u16().unwrap_or(default), port, "{url:?}");
}

/// Scheme, host and port of a resolved address.
pub fn origin(url: &str) -> (String, String, u16) {
    let (scheme, rest) = url.split_once("://").expect("it has a scheme");
    assert!(scheme == "http" || scheme == "https", "{url:?}");
    let end = rest.find('/').expect("a resolved address has a path");
    let authority = &rest[..end];
    assert!(!authority.contains(['@', '?']), "{url:?}");
    let host = authority.rfind(']').map_or_else(
        || authority.split(':').next().unwrap_or_default(),
        |end| &authority[..=end],
    );
    assert!(!host.is_empty(), "{url:?}");
    let port = match authority[host.len()..].strip_prefix(':') {
        Some(port) => port.parse().expect("the port is a number"),
        None if scheme == "https" => 443,
        None => 80,
    };
    (scheme.to_owned(), host.to_owned(), port)
}

/// Checks that a name that was taken stays below the folder that it is joined to, and is read again
/// as what it is.
pub fn assert_inside(path: &SafePath) {
    let folder = Path::new("/client");
    let joined = path.below(folder);
    let below = joined.strip_prefix(folder).expect("it is below the folder");
    let mut count = 0;
    for component in below.components() {
        assert!(matches!(component, Component::Normal(_)), "{path:?}");
        count += 1;
    }
    assert_eq!(count, path.components().count(), "{path:?}");
    assert!(!path.as_str().contains(char::is_control), "{path:?}");
    assert!(!path.as_str().contains('\\'), "{path:?}");
    assert!(
        !castoff::archive::guard::RESERVED.contains(&path.components().next().unwrap()),
        "{path:?}"
    );
    assert_eq!(SafePath::try_from(path.as_str()).as_ref().ok(), Some(path));
}

/// A client folder of this process, in which the target may lay files.
pub fn client_folder() -> &'static ClientFolder {
    static FOLDER: OnceLock<ClientFolder> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let root = scratch().join("client");
        std::fs::create_dir_all(root.join(".castoff")).expect("the folder can be made");
        ClientFolder::new(root, "local_version.json")
    })
}

/// A folder of this process. A fuzzer does not end as other programs do, so nobody here removes it:
/// ci/fuzz.sh removes the folder that holds it.
pub fn scratch() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = tempfile::Builder::new().prefix("castoff-fuzz-").tempdir();
        folder.expect("a folder can be made").keep()
    })
}

/// A configuration in which everything but the address has its default.
pub fn config() -> &'static Config {
    static CONFIG: OnceLock<Config> = OnceLock::new();
    CONFIG.get_or_init(|| {
        let baked = "[source]\nurl = \"https://host.example/api/apps/1/active/\"";
        Config::load(Path::new("/nowhere"), Some(baked), &|_| None).expect("it is right")
    })
}
