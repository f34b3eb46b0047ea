//! What need not be said each time: the app and the pinned keys of the launcher.toml in the current
//! folder, and the one key that lies there.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use castoff_publish::signer::SECRET;
use castoff_publish::{Error, Result};
use toml::de::{DeTable, DeValue};

use super::{request, say};

/// What a launcher.toml says of publishing.
#[derive(Default)]
pub(super) struct Settings {
    pub(super) app: Option<String>,
    pub(super) keys: Vec<String>,
    pub(super) threshold: Option<usize>,
    pub(super) first: Option<u64>,
}

impl Settings {
    /// Reads that of the current folder; without one, nothing is said.
    pub(super) fn read() -> Result<Self> {
        let path = Path::new("launcher.toml");
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(io(path, source)),
        };
        let document = DeTable::parse(&text)
            .map_err(|error| request(format!("launcher.toml: {}", error.message())))?;
        let table = document.get_ref();
        let trust = |key: &str| table.get("trust")?.get_ref().get(key);
        let number = |key: &str| match trust(key)?.get_ref() {
            DeValue::Integer(number) => number.as_str().parse().ok(),
            _ => None,
        };
        let keys = trust("keys").and_then(|keys| keys.get_ref().as_array());
        let keys = keys.into_iter().flatten();
        Ok(Self {
            app: table
                .get("app")
                .and_then(|app| app.get_ref().as_str())
                .map(str::to_owned),
            keys: keys
                .filter_map(|key| key.get_ref().as_str().map(str::to_owned))
                .collect(),
            threshold: number("threshold").and_then(|number: u64| usize::try_from(number).ok()),
            first: number("first"),
        })
    }

    /// The app: as it was said, or else as it is configured here.
    pub(super) fn app(&self, said: Option<String>) -> Result<String> {
        said.or_else(|| self.app.clone()).ok_or_else(|| {
            request("say with --app which app it is; launcher.toml in the current folder does not")
        })
    }
}

/// The one secret key in the current folder.
pub(super) fn key_here() -> Result<PathBuf> {
    let here = Path::new(".");
    let entries = fs::read_dir(here).map_err(|source| io(here, source))?;
    let mut keys: Vec<PathBuf> = entries
        .filter_map(|entry| Some(PathBuf::from(entry.ok()?.file_name())))
        .filter(|name| name.extension().is_some_and(|end| end == SECRET))
        .collect();
    keys.sort();
    match keys.as_slice() {
        [key] => {
            say::line(&format!("Signing with {}.", key.display()));
            Ok(key.clone())
        }
        [] => Err(request(
            "say with --key which key signs; there is none in the current folder",
        )),
        several => {
            let names: Vec<_> = several
                .iter()
                .map(|key| key.display().to_string())
                .collect();
            Err(request(format!(
                "say with --key which key signs; there are several here: {}",
                names.join(", ")
            )))
        }
    }
}

fn io(path: &Path, source: std::io::Error) -> Error {
    Error::Engine(castoff::Error::Io {
        operation: "read",
        path: path.to_path_buf(),
        source,
    })
}
