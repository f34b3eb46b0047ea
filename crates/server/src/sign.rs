//! Indexes that the server signs, for apps whose index key it holds.
//!
//! Promises: an index is what `castoff index new` would make of the same documents, by the same code:
//! its number is one more than the last, and what was revoked stays so. It is made within the change
//! that it belongs to, so that no number is given twice, on however many servers.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use castoff::trust::document::{index_name, release_name};
use castoff::version::Version;
use castoff_publish::document::{Content, Folder};
use castoff_publish::index::{self, Draft};
use castoff_publish::signer::Signer;
use chrono::{TimeDelta, Utc};

use crate::config::Config;
use crate::registry::{App, Change};
use crate::storage::disk::blocking;
use crate::{Error, Result, Server, intake};

/// The index keys that this server holds, by the key of their app.
pub struct Keys(BTreeMap<String, Arc<Signer>>);

impl Keys {
    /// Opens those that are configured. The passphrase of those that have one is
    /// `CASTOFF_PASSPHRASE` in the environment.
    pub fn open(config: &Config) -> Result<Self> {
        let mut ask = |path: &Path| {
            std::env::var("CASTOFF_PASSPHRASE").map_err(|_| {
                castoff_publish::Error::PassphraseNeeded {
                    problem: format!(
                        "{} has a passphrase: put it into the environment as CASTOFF_PASSPHRASE",
                        path.display()
                    ),
                }
            })
        };
        let open = |(app, path): (&String, &std::path::PathBuf)| {
            let signer =
                Signer::open(path, &mut ask).map_err(|error| Error::request(error.to_string()))?;
            Ok((app.clone(), Arc::new(signer)))
        };
        config
            .index_keys
            .iter()
            .map(open)
            .collect::<Result<_>>()
            .map(Self)
    }

    /// The key that signs the indexes of this app.
    pub fn of(&self, app: &str) -> Option<&Arc<Signer>> {
        self.0.get(app)
    }
}

/// What an index is to say.
pub struct Wish {
    /// The channel.
    pub channel: String,
    /// What is to be current.
    pub current: Version,
    /// For how many per cent of installations.
    pub rollout: i64,
    /// What is not to be installed any more, besides what was revoked before.
    pub revoked: Vec<Version>,
}

/// Signs an index, and puts it among the documents. Says its number.
pub async fn index(
    server: &Server,
    change: &mut Change,
    app: &App,
    signer: &Arc<Signer>,
    wish: Wish,
) -> Result<i64> {
    let name = index_name(&wish.channel);
    let mut wanted = vec![name.clone(), release_name(&wish.current)];
    let documents = change.documents(&app.id).await?;
    wanted.extend(
        documents
            .into_iter()
            .filter(|name| name.starts_with("keys.")),
    );
    let folder = intake::folder(server)?;
    for wanted in &wanted {
        if let Some(content) = change.document(&app.id, wanted).await? {
            let path = folder.path().join(wanted);
            std::fs::write(&path, content).map_err(|error| Error::io("write", &path, &error))?;
        }
    }
    let draft = Draft {
        app: Some(app.key.clone()),
        channel: wish.channel,
        current: wish.current,
        revoked: wish.revoked,
        rollout: Some(wish.rollout.cast_unsigned()).filter(|rollout| *rollout < 100),
        expires: TimeDelta::days(server.config.index_days.into()),
    };
    let signer = Arc::clone(signer);
    let (content, seq) = blocking(move || {
        let failed = |error: castoff_publish::Error| Error::conflict(error.to_string());
        let beside = Folder::open(folder.path()).map_err(failed)?;
        let signers = std::slice::from_ref(signer.as_ref());
        let written = index::make(&beside, &draft, signers, &[], Utc::now()).map_err(failed)?;
        let Content::Index(made) = written.document.content() else {
            return Err(Error::Internal("what was made is no index".to_owned()));
        };
        let path = written.document.path();
        let content =
            std::fs::read_to_string(path).map_err(|error| Error::io("read", path, &error))?;
        Ok((content, made.seq.cast_signed()))
    })
    .await?;
    change.put_document(&app.id, &name, &content).await?;
    Ok(seq)
}
