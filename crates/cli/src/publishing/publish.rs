//! `castoff publish`, `activate`, `withdraw` and `published`.

use std::cell::OnceCell;
use std::path::PathBuf;

use castoff::version::Version;
use castoff_publish::Result;
use castoff_publish::document::Folder;
use castoff_publish::place::{Event, Named, Place, Tell};
use castoff_publish::publish::{Activation, Keys, Publisher, own_folder};
use chrono::Utc;
use clap::Args;
use indicatif::ProgressBar;

use super::settings::{self, Settings};
use super::{Announce, Signing, Term, bar, highest, public_keys, request, say};

/// Where to publish.
#[derive(Args)]
pub(crate) struct At {
    /// Where: a folder, s3://BUCKET/FOLDER, or https://HOST of a release server; else what publish.toml says
    #[arg(long, value_name = "PLACE")]
    to: Option<String>,
    /// A file with the token of the release server; else that of publish.toml, or CASTOFF_TOKEN
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Send by plain http, where others can read the token and change what is sent
    #[arg(long)]
    allow_http: bool,
}

/// What an index or a channel is to say.
#[derive(Args)]
pub(crate) struct Channel {
    #[command(flatten)]
    term: Term,
    /// The percentage of installations that are to have it already; else all
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u64).range(..=100))]
    rollout: Option<u64>,
}

#[derive(Args)]
pub(crate) struct Publish {
    /// A package, or a folder of which all releases are published
    #[arg(value_name = "PACKAGE|FOLDER")]
    what: PathBuf,
    #[command(flatten)]
    at: At,
    /// Make it current; of a folder, --version, or else the highest version
    #[arg(long)]
    activate: bool,
    #[command(flatten)]
    channel: Channel,
    /// No version below this one is safe to go on with
    #[arg(long, conflicts_with = "critical_below")]
    critical: bool,
    #[command(flatten)]
    announce: Announce,
    #[command(flatten)]
    signing: Signing,
}

#[derive(Args)]
pub(crate) struct Activate {
    /// The version
    version: Version,
    #[command(flatten)]
    at: At,
    #[command(flatten)]
    channel: Channel,
    #[command(flatten)]
    own: Own,
}

#[derive(Args)]
pub(crate) struct Withdraw {
    /// The version
    version: Version,
    #[command(flatten)]
    at: At,
    #[command(flatten)]
    term: Term,
    #[command(flatten)]
    own: Own,
}

/// Whose release it is, and who says so.
#[derive(Args)]
pub(crate) struct Own {
    /// The folder of the publisher's own documents
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// The app; else that of launcher.toml
    #[arg(long, value_name = "ID")]
    app: Option<String>,
    #[command(flatten)]
    signing: Signing,
}

#[derive(Args)]
pub(crate) struct Published {
    #[command(flatten)]
    at: At,
    /// The app; else that of launcher.toml
    #[arg(long, value_name = "ID")]
    app: Option<String>,
    /// Print one JSON document for programs
    #[arg(long)]
    pub(super) json: bool,
}

/// For scripts: the token of a release server.
const TOKEN: &str = "CASTOFF_TOKEN";

impl At {
    fn open(self, app: &str, settings: &Settings) -> Result<Box<dyn Place>> {
        let publish = &settings.publish;
        let to = self.to.or_else(|| publish.to.clone()).ok_or_else(|| {
            request("say with --to where to publish; publish.toml in the current folder does not")
        })?;
        let named = self.token_file;
        let token = match named.or_else(|| publish.token_file.clone()) {
            Some(path) => Some(settings::secret(&path)?),
            // An empty variable is as good as none.
            None => std::env::var(TOKEN).ok().filter(|text| !text.is_empty()),
        };
        let named = Named {
            to,
            app: app.to_owned(),
            token,
            allow_http: self.allow_http || publish.allow_http,
        };
        named.open()
    }
}

/// What all of these commands do their work with.
fn publisher<'a>(
    place: &'a dyn Place,
    app: String,
    folder: Folder,
    keys: &'a Keys<'a>,
    signing: &Signing,
    settings: &Settings,
) -> Result<Publisher<'a>> {
    Ok(Publisher {
        place,
        app,
        folder,
        keys,
        signers: OnceCell::new(),
        known: public_keys(&signing.signed_by)?,
        first: settings.first.unwrap_or(1),
        now: Utc::now(),
    })
}

/// Does something of which a person is told step by step.
fn told<T>(work: impl FnOnce(&mut Tell<'_>) -> Result<T>) -> Result<T> {
    let mut shown: Option<ProgressBar> = None;
    let done = work(&mut |event| match event {
        Event::Sending { name, done, size } => {
            let bar = shown.get_or_insert_with(bar::new);
            bar::show(bar, name, done, size);
        }
        event => {
            if let Some(bar) = shown.take() {
                bar.finish_and_clear();
            }
            say::event(&event);
        }
    });
    if let Some(bar) = shown {
        bar.finish_and_clear();
    }
    done
}

impl Publish {
    pub(super) fn run(self) -> Result<()> {
        let settings = Settings::read()?;
        let app = settings.app(self.announce.app.clone())?;
        let place = self.at.open(&app, &settings)?;
        let folder = own_folder(&self.what)?;
        let keys = || self.signing.open_any();
        let publisher = publisher(place.as_ref(), app, folder, &keys, &self.signing, &settings)?;
        let first = told(|tell| publisher.begin(tell))?;
        let (version, signed) = if self.what.is_dir() {
            let Announce { version, .. } = self.announce;
            let version = match version {
                Some(version) => version,
                None => highest(&publisher.folder)?,
            };
            told(|tell| publisher.everything(!self.activate, tell))?;
            (version, true)
        } else {
            let mut draft = self.announce.draft(&self.what, &settings)?;
            if self.critical {
                draft.critical_below = Some(draft.version.clone());
            }
            let version = draft.version.clone();
            (version, told(|tell| publisher.package(draft, tell))?)
        };
        if self.activate {
            let wish = self.channel.wish(version);
            let current = told(|tell| publisher.activate(&wish, tell))?;
            say::current(&current, &wish.channel, place.address());
        } else if self.what.is_dir() {
            say::published_all(place.address());
        } else {
            say::published(&version, place.address());
        }
        if first {
            say::source(&place.source(signed));
        }
        Ok(())
    }
}

impl Channel {
    fn wish(self, version: Version) -> Activation {
        Activation {
            channel: self.term.channel,
            version,
            rollout: self.rollout,
            expires: self.term.expires,
        }
    }
}

impl Activate {
    pub(super) fn run(self) -> Result<()> {
        let settings = Settings::read()?;
        let app = settings.app(self.own.app.clone())?;
        let place = self.at.open(&app, &settings)?;
        let keys = || self.own.signing.open_any();
        let publisher = self.own.publisher(place.as_ref(), app, &keys, &settings)?;
        let wish = self.channel.wish(self.version);
        let current = told(|tell| publisher.activate(&wish, tell))?;
        say::current(&current, &wish.channel, place.address());
        Ok(())
    }
}

impl Withdraw {
    pub(super) fn run(self) -> Result<()> {
        let settings = Settings::read()?;
        let app = settings.app(self.own.app.clone())?;
        let place = self.at.open(&app, &settings)?;
        let keys = || self.own.signing.open_any();
        let publisher = self.own.publisher(place.as_ref(), app, &keys, &settings)?;
        let Term { channel, expires } = self.term;
        let current = told(|tell| publisher.withdraw(&channel, &self.version, expires, tell))?;
        say::withdrawn(&self.version, &current, &channel);
        for (other, content) in &place.listing()?.channels {
            if *other != channel && content.version == self.version {
                say::still_current(&self.version, other);
            }
        }
        Ok(())
    }
}

impl Own {
    fn publisher<'a>(
        &self,
        place: &'a dyn Place,
        app: String,
        keys: &'a Keys<'a>,
        settings: &Settings,
    ) -> Result<Publisher<'a>> {
        let folder = Folder::open(&self.dir)?;
        publisher(place, app, folder, keys, &self.signing, settings)
    }
}

impl Published {
    pub(super) fn run(self) -> Result<()> {
        let settings = Settings::read()?;
        let app = settings.app(self.app)?;
        let place = self.at.open(&app, &settings)?;
        say::listing(&place.listing()?, place.address(), self.json);
        Ok(())
    }
}
