//! The files with which a publisher begins: a launcher's configuration, a key pair, and what the
//! commands of publishers need not be told each time.
//!
//! Promises: nothing that is there is overwritten, and all of it is looked at before the first file is
//! written; a launcher can read the launcher.toml.

use std::path::{Path, PathBuf};

use castoff::config::Config;
use castoff::trust::PublicKey;
use serde::Deserialize;

use crate::document::is_identity;
use crate::signer::{NewPair, SECRET, join, write_new};
use crate::{Error, Result, is_address};

/// The launcher's configuration.
pub const LAUNCHER_FILE: &str = "launcher.toml";
/// The publisher's.
pub const PUBLISH_FILE: &str = "publish.toml";
/// The name of the key pair.
const KEY: &str = "castoff";

/// Any public key, where a configuration is judged before its own one is made.
const SOME_KEY: &str = "RWTQnxctt3vcYbSWWeY0UGLgu6TbSlXIuUOQgRTL+3Qn5mUeGzxqk6GP";

/// What `publish.toml` says. All of it can be said on the command line instead.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishFile {
    /// What to start, in the package.
    pub entry_point: Option<String>,
    /// The secret key's file, from the folder of `publish.toml`.
    pub key: Option<PathBuf>,
    /// Where to publish: a folder, a bucket (s3), or a release server (http, https).
    pub to: Option<String>,
    /// A file with the release server's token, from the folder of `publish.toml`.
    pub token_file: Option<PathBuf>,
    /// Whether a release server may be asked by plain http, on whatever host.
    #[serde(default)]
    pub allow_http: bool,
}

/// What a publisher has answered.
#[derive(Clone, Debug)]
pub struct Answers {
    /// The app, such as `com.example.client`.
    pub app: String,
    /// The app's name as people know it; `None`: the app.
    pub name: Option<String>,
    /// Where launchers find updates: an address (http, https), or a folder.
    pub source: String,
    /// What to start, in the package.
    pub entry_point: String,
    /// Where releases are published, as `castoff publish` takes it; `None`: it is said each time.
    pub to: Option<String>,
    /// Whether launchers take only what is signed.
    pub sign: bool,
}

/// Files that are not there yet.
#[derive(Debug)]
pub struct Beginning {
    answers: Answers,
    launcher: PathBuf,
    publish: PathBuf,
    /// The key pair, where there is to be one.
    pub pair: Option<NewPair>,
}

impl Beginning {
    /// Judges the answers, and the folder for the files.
    ///
    /// Fails with `FILE_EXISTS` for what would be overwritten, with `REQUEST_INVALID` for answers that
    /// do not go together, and with `CONFIG_INVALID` for what no launcher takes.
    pub fn new(folder: &Path, answers: Answers) -> Result<Self> {
        if !is_identity(&answers.app) {
            return Err(Error::request(format!(
                "{:?} names no app: letters, digits, dots, hyphens and underscores do, as in \
                 com.example.client",
                answers.app
            )));
        }
        if !answers.sign && !is_address(&answers.source) {
            return Err(Error::request(
                "what lies in a folder is believed for its signatures alone: sign, or name an address \
                 (https://...)",
            ));
        }
        if !folder.is_dir() {
            return Err(Error::request(format!("{} is no folder", folder.display())));
        }
        let launcher = free(folder, LAUNCHER_FILE)?;
        let publish = free(folder, PUBLISH_FILE)?;
        let pair = answers.sign.then(|| NewPair::named(folder, KEY));
        // The folder has no launcher.toml, and nothing else is asked.
        let text = answers.launcher_file(answers.sign.then_some(SOME_KEY));
        Config::load(folder, Some(&text), &|_| None)?;
        Ok(Self {
            pair: pair.transpose()?,
            answers,
            launcher,
            publish,
        })
    }

    /// Writes the files, the keys first; a secret key without a passphrase can be used by whoever has
    /// the file. Returns their paths.
    pub fn write(&self, passphrase: Option<String>) -> Result<Vec<PathBuf>> {
        let mut written = Vec::new();
        let key: Option<PublicKey> = match &self.pair {
            Some(pair) => {
                let key = pair.make(passphrase)?;
                written.extend([pair.secret.clone(), pair.public.clone()]);
                Some(key)
            }
            None => None,
        };
        let key = key.map(|key| key.to_string());
        let launcher = self.answers.launcher_file(key.as_deref());
        let publish = self.answers.publish_file();
        for (path, text) in [(&self.launcher, launcher), (&self.publish, publish)] {
            write_new(path, text.as_bytes(), 0o644)?;
            written.push(path.clone());
        }
        Ok(written)
    }
}

/// The path of a file that is not there.
fn free(folder: &Path, name: &str) -> Result<PathBuf> {
    let path = join(folder, name);
    if path.symlink_metadata().is_ok() {
        return Err(Error::Exists { path });
    }
    Ok(path)
}

impl Answers {
    /// The kind of source, as `source.kind` has it.
    fn kind(&self) -> &'static str {
        match (is_address(&self.source), self.sign) {
            (false, _) => "folder",
            (true, true) => "index",
            (true, false) => "check",
        }
    }

    fn launcher_file(&self, key: Option<&str>) -> String {
        let mut lines = vec![
            "# The launcher's configuration: to lie beside it, or to be baked into it.".to_owned(),
            format!("app = {}", quoted(&self.app)),
        ];
        let name = self.name.as_deref();
        lines.extend(name.map(|name| format!("name = {}", quoted(name))));
        lines.extend([
            format!("entry_point = {}", quoted(&self.entry_point)),
            String::new(),
            "[source]".to_owned(),
            format!("kind = {}", quoted(self.kind())),
            format!("url = {}", quoted(&self.source)),
        ]);
        lines.extend(key.map(|key| format!("\n[trust]\nkeys = [{}]", quoted(key))));
        lines.join("\n") + "\n"
    }

    fn publish_file(&self) -> String {
        let mut lines = vec![
            "# What castoff need not be told each time it is called here. There is no secret in it."
                .to_owned(),
            format!("entry_point = {}", quoted(&self.entry_point)),
        ];
        if self.sign {
            lines.push(format!("key = {}", quoted(&format!("{KEY}.{SECRET}"))));
        }
        lines.extend(self.to.as_ref().map(|to| format!("to = {}", quoted(to))));
        lines.join("\n") + "\n"
    }
}

/// A text as TOML has it, which is as JSON has it, but for a character that is refused when the file is
/// read back.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
