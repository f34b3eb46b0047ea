//! What need not be said each time: the app and the pinned keys of the launcher.toml in the current
//! folder, what the publish.toml there says, and the one key that lies there.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use castoff_publish::init::{LAUNCHER_FILE, PUBLISH_FILE, PublishFile};
use castoff_publish::signer::SECRET;
use castoff_publish::{Error, Result};
use toml::de::{DeTable, DeValue};

use super::{request, say};

/// What both files say of publishing.
#[derive(Default)]
pub(super) struct Settings {
    pub(super) app: Option<String>,
    pub(super) keys: Vec<String>,
    pub(super) threshold: Option<usize>,
    pub(super) first: Option<u64>,
    pub(super) publish: PublishFile,
}

impl Settings {
    /// Reads those of the current folder; one that is not there says nothing.
    pub(super) fn read() -> Result<Self> {
        let publish = publish_file()?;
        let text = text_of(LAUNCHER_FILE)?;
        let document = DeTable::parse(&text).map_err(|error| wrong(LAUNCHER_FILE, &error))?;
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
            publish,
        })
    }

    /// The app: as it was said, or else as it is configured here.
    pub(super) fn app(&self, said: Option<String>) -> Result<String> {
        said.or_else(|| self.app.clone()).ok_or_else(|| {
            request("say with --app which app it is; launcher.toml in the current folder does not")
        })
    }
}

fn publish_file() -> Result<PublishFile> {
    toml::from_str(&text_of(PUBLISH_FILE)?).map_err(|error| wrong(PUBLISH_FILE, &error))
}

/// What a file with a secret says: its first line.
pub(super) fn secret(path: &Path) -> Result<String> {
    let text = fs::read_to_string(path).map_err(|source| io(path, source))?;
    let secret = text.lines().next().unwrap_or_default().trim();
    if secret.is_empty() {
        return Err(request(format!("{} is empty", path.display())));
    }
    Ok(secret.to_owned())
}

fn wrong(file: &str, error: &toml::de::Error) -> Error {
    request(format!("{file}: {}", error.message()))
}

/// What a file of the current folder says.
fn text_of(file: &str) -> Result<String> {
    let path = Path::new(file);
    match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        read => read.map_err(|source| io(path, source)),
    }
}

/// The key of publish.toml, or else the one secret key in the current folder, if there is one.
pub(super) fn key_here() -> Result<Option<PathBuf>> {
    if let Some(key) = publish_file()?.key {
        say::line(&format!("Signing with {}.", key.display()));
        return Ok(Some(key));
    }
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
            Ok(Some(key.clone()))
        }
        [] => Ok(None),
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
