//! What is configured, in a file of TOML; [docs/deploy-server.md] has every key.
//!
//! [docs/deploy-server.md]: https://github.com/castoff/castoff/blob/main/docs/deploy-server.md

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use castoff_web::tls;
use serde::Deserialize;

use crate::registry::Registry;
use crate::{Error, Result};

/// What is taken unless the configuration says otherwise: packages of 4 GiB.
const MAX_UPLOAD: u64 = 4 << 30;

/// The configuration of a server.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The address under which people reach it, such as `https://updates.example.com`; unless told, it
    /// is what a request says.
    pub public_url: Option<String>,
    /// Its folder: database, packages, uploads under way.
    pub data: PathBuf,
    /// The database; unless told, `castoff.sqlite` in the folder. `DATABASE_URL` of the environment goes
    /// before it.
    pub database: Option<String>,
    /// The store of packages, such as `s3://BUCKET/PREFIX?endpoint=URL`; unless told, `media` in the folder.
    pub object_store: Option<String>,
    /// The app that answers where an address names none.
    pub default_app: Option<String>,
    /// Who may fetch.
    pub read: Read,
    /// The addresses of proxies whose `X-Forwarded-*` count.
    pub trusted_proxies: Vec<IpAddr>,
    /// The most bytes of an upload.
    pub max_upload: u64,
    /// Certificate and key for TLS.
    pub tls: Option<tls::Files>,
    /// The files of secret keys, by the key of the app whose indexes they sign.
    pub index_keys: BTreeMap<String, PathBuf>,
    /// How many days an index holds that the server signs.
    pub index_days: u32,
    /// Whether each request is a line of the log.
    pub request_log: bool,
}

/// Who may fetch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Read {
    /// Everybody.
    #[default]
    Open,
    /// Who has a token.
    Token,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            public_url: None,
            data: PathBuf::from("castoff-data"),
            database: None,
            object_store: None,
            default_app: None,
            read: Read::Open,
            trusted_proxies: Vec::new(),
            max_upload: MAX_UPLOAD,
            tls: None,
            index_keys: BTreeMap::new(),
            index_days: 30,
            request_log: true,
        }
    }
}

impl Config {
    /// Reads the file. Paths in it that are relative are so to its folder.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Error::request(format!("cannot read {}: {error}", path.display())))?;
        let mut config: Self = toml::from_str(&text)
            .map_err(|error| Error::request(format!("{}: {error}", path.display())))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        config.data = folder.join(&config.data);
        if let Some(tls) = &mut config.tls {
            *tls = tls.below(folder);
        }
        for key in config.index_keys.values_mut() {
            *key = folder.join(&*key);
        }
        if let Some(url) = &mut config.public_url {
            if !url.starts_with("http://") && !url.starts_with("https://") {
                return Err(Error::request(format!("public_url: {url:?} is no address")));
            }
            url.truncate(url.trim_end_matches('/').len());
        }
        Ok(config)
    }

    /// The address of the database.
    pub fn database(&self) -> String {
        let own = || Registry::sqlite(&self.data.join("castoff.sqlite"));
        let of_environment = std::env::var("DATABASE_URL").ok();
        of_environment
            .filter(|url| !url.is_empty())
            .or_else(|| self.database.clone())
            .unwrap_or_else(own)
    }

    /// Where packages lie, if not in a bucket.
    pub fn media(&self) -> PathBuf {
        self.data.join("media")
    }

    /// Where uploads lie that are under way.
    pub fn spool(&self) -> PathBuf {
        self.data.join("spool")
    }
}
