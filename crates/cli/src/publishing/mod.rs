//! The commands of publishers: packages, keys, signatures, documents.
//!
//! Each ends with 0 when what was asked for was done, and with 1 when it was not; `verify` with 1
//! also when a launcher would not install what it looked at. A written document's path goes to
//! stdout, what there is to know about it to stderr.

mod ask;
mod bar;
mod init;
mod pack;
mod publish;
mod say;
mod settings;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use castoff::config::TrustConfig;
use castoff::trust::{PublicKey, Role};
use castoff::version::Version;
use castoff_publish::document::{Content, Document, Folder};
use castoff_publish::keys::{RoleWish, Wishes};
use castoff_publish::signer::{NewPair, Signer, public_key};
use castoff_publish::verify::{Launcher, verify};
use castoff_publish::{Error, Result, index, keys, release, time};
use chrono::{TimeDelta, Utc};
use clap::{Args, Subcommand};

use settings::Settings;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Writes the files with which a publisher begins: launcher.toml, a key pair, publish.toml
    Init(init::Init),
    /// Makes a key pair, NAME.key and NAME.pub, which minisign reads too
    Keygen {
        /// The name of both files
        #[arg(default_value = "castoff")]
        name: String,
        /// The folder for them
        #[arg(long, default_value = ".")]
        dir: PathBuf,
        /// Do not encrypt the secret key
        #[arg(long)]
        no_passphrase: bool,
    },
    /// The keys documents: which keys speak for which role
    Keys {
        #[command(subcommand)]
        action: Keys,
    },
    /// Packs a folder: a zip with the file list in it, the same bytes for the same files
    Pack(Box<pack::Pack>),
    /// Signs a package by making its release document, or adds a signature to a document
    Sign {
        /// A package (zip), or a document that is signed by others already
        file: PathBuf,
        #[command(flatten)]
        announce: Box<Announce>,
        #[command(flatten)]
        signing: Signing,
    },
    /// The index of a channel: which release is current
    Index {
        #[command(subcommand)]
        action: Index,
    },
    /// Publishes a package, or all that lies in a folder, at a place that launchers ask
    Publish(Box<publish::Publish>),
    /// Makes a version current that is published already
    Activate(Box<publish::Activate>),
    /// Takes a version back: it is not installed any more, and people go back to the one before
    Withdraw(Box<publish::Withdraw>),
    /// Lists what is published at a place
    Published(publish::Published),
    /// Goes through a folder, or looks at a document, as a launcher does, and says what it trusts
    Verify {
        /// The folder, or a document
        #[arg(default_value = ".")]
        path: PathBuf,
        /// A public key that is pinned: its file, or its text; else those of launcher.toml
        #[arg(long = "pub", value_name = "KEY")]
        keys: Vec<String>,
        /// How many of these keys have to sign
        #[arg(long, value_name = "N")]
        threshold: Option<usize>,
        /// The number of the first keys document that is followed
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        first: Option<u64>,
        /// The app; else that of launcher.toml, or of the documents
        #[arg(long, value_name = "ID")]
        app: Option<String>,
        /// The channel
        #[arg(long, default_value = "stable")]
        channel: String,
        /// The kind of machine, such as windows-x86_64; else this one's
        #[arg(long)]
        target: Option<String>,
        /// Print one JSON document for programs
        #[arg(long)]
        json: bool,
    },
}

#[derive(Subcommand)]
pub(crate) enum Keys {
    /// Writes keys.1.json
    Init {
        /// The app; else that of launcher.toml
        #[arg(long, value_name = "ID")]
        app: Option<String>,
        #[command(flatten)]
        roles: Box<Roles>,
        #[command(flatten)]
        signing: Signing,
    },
    /// Writes the keys document after the newest one; what is not said stays
    Rotate {
        /// The number of the keys document with which launchers begin, as in trust.first
        #[arg(long, value_name = "N", default_value = "1")]
        first: u64,
        #[command(flatten)]
        roles: Box<Roles>,
        #[command(flatten)]
        signing: Signing,
    },
    /// Says who may sign what, and who has signed the keys document itself
    Show {
        /// A keys document, or a folder, of which the newest one is shown
        #[arg(default_value = ".")]
        path: PathBuf,
        /// Print one JSON document for programs
        #[arg(long)]
        json: bool,
    },
}

#[derive(Subcommand)]
pub(crate) enum Index {
    /// Makes a release current
    New(Box<NewIndex>),
    /// Signs the index again, for some more time
    Renew {
        /// The folder of the index
        #[arg(default_value = ".")]
        dir: PathBuf,
        #[command(flatten)]
        term: Term,
        #[command(flatten)]
        signing: Signing,
    },
}

#[derive(Args)]
pub(crate) struct NewIndex {
    /// The folder of the release documents
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// The app; else that of launcher.toml, or of the release
    #[arg(long, value_name = "ID")]
    app: Option<String>,
    /// The version; else the highest that has a release document
    #[arg(long, value_name = "VERSION")]
    current: Option<Version>,
    /// A version that is not to be installed any more
    #[arg(long, value_name = "VERSION")]
    revoke: Vec<Version>,
    /// The percentage of installations that are to have it already; else all
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u64).range(..=100))]
    rollout: Option<u64>,
    #[command(flatten)]
    term: Term,
    #[command(flatten)]
    signing: Signing,
}

#[derive(Args)]
pub(crate) struct Term {
    /// The channel
    #[arg(long, default_value = "stable")]
    channel: String,
    /// How long the index holds, from now on
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = time::duration)]
    expires: TimeDelta,
}

#[derive(Args)]
pub(crate) struct Signing {
    /// A secret key's file; else that of publish.toml, or the one in the current folder
    #[arg(long = "key", value_name = "FILE")]
    keys: Vec<PathBuf>,
    /// A public key that has signed the document of before, if none of these keys has
    #[arg(long, value_name = "KEY")]
    signed_by: Vec<String>,
}

#[derive(Args)]
pub(crate) struct Roles {
    /// The folder of the keys documents
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// The public keys that sign keys documents: files or texts
    #[arg(long, value_name = "KEY", num_args = 1..)]
    root: Vec<String>,
    /// How many of them have to
    #[arg(long, value_name = "N")]
    root_threshold: Option<usize>,
    /// The public keys that sign releases
    #[arg(long, value_name = "KEY", num_args = 1..)]
    release: Vec<String>,
    /// How many of them have to
    #[arg(long, value_name = "N")]
    release_threshold: Option<usize>,
    /// The public keys that sign indexes
    #[arg(long, value_name = "KEY", num_args = 1..)]
    index: Vec<String>,
    /// How many of them have to
    #[arg(long, value_name = "N")]
    index_threshold: Option<usize>,
    /// Nothing below this version is installed
    #[arg(long, value_name = "VERSION")]
    min_version: Option<Version>,
    /// How long these keys hold, such as 10y
    #[arg(long, value_name = "TIME", value_parser = time::duration)]
    expires: Option<TimeDelta>,
}

#[derive(Args)]
pub(crate) struct Announce {
    /// The app; else that of launcher.toml
    #[arg(long, value_name = "ID")]
    app: Option<String>,
    /// The version of the package; else the one that its file list says
    #[arg(long)]
    version: Option<Version>,
    /// The kind of machine, such as windows-x86_64; else all that are not named
    #[arg(long)]
    target: Option<String>,
    /// What to start, in the package; else that of publish.toml
    #[arg(long, value_name = "PATH")]
    entry_point: Option<String>,
    /// What is new
    #[arg(long, value_name = "TEXT", conflicts_with = "notes_file")]
    notes: Option<String>,
    /// A file that says what is new
    #[arg(long, value_name = "FILE")]
    notes_file: Option<PathBuf>,
    /// Where the package is to be had; else beside the document
    #[arg(long, value_name = "URL")]
    url: Vec<String>,
    /// Versions below are not safe to go on with
    #[arg(long, value_name = "VERSION")]
    critical_below: Option<Version>,
    /// The least version of the operating system
    #[arg(long, value_name = "VERSION")]
    system: Option<String>,
    /// The launcher for a kind of machine, in the package's folder or below
    #[arg(long, value_name = "TARGET=FILE")]
    launcher: Vec<String>,
}

/// Does it, and says so.
pub(crate) fn run(command: Command) -> ExitCode {
    let json = matches!(
        command,
        Command::Verify { json: true, .. }
            | Command::Published(publish::Published { json: true, .. })
            | Command::Keys {
                action: Keys::Show { json: true, .. }
            }
    );
    match work(command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say::error(&error, json);
            ExitCode::FAILURE
        }
    }
}

/// Whether what was asked for is so.
fn work(command: Command) -> Result<bool> {
    match command {
        Command::Keygen {
            name,
            dir,
            no_passphrase,
        } => keygen(&dir, &name, no_passphrase)?,
        Command::Keys { action } => match action {
            Keys::Init {
                app,
                roles,
                signing,
            } => {
                let settings = Settings::read()?;
                let app = settings.app(app)?;
                let (folder, wishes) = (Folder::open(&roles.dir)?, roles.wishes()?);
                let signers = signing.open()?;
                let written = keys::init(&folder, &app, &wishes, &signers, Utc::now())?;
                say::written(&written, &folder)?;
            }
            Keys::Rotate {
                first,
                roles,
                signing,
            } => {
                let (folder, wishes) = (Folder::open(&roles.dir)?, roles.wishes()?);
                let (signers, known) = (signing.open()?, signing.known()?);
                let written = keys::rotate(&folder, &wishes, first, &signers, &known, Utc::now())?;
                say::written(&written, &folder)?;
            }
            Keys::Show { path, json } => show(&path, json)?,
        },
        Command::Init(init) => init.run()?,
        Command::Pack(pack) => pack.run()?,
        Command::Publish(publish) => publish.run()?,
        Command::Activate(activate) => activate.run()?,
        Command::Withdraw(withdraw) => withdraw.run()?,
        Command::Published(published) => published.run()?,
        Command::Sign {
            file,
            announce,
            signing,
        } => sign(&file, *announce, &signing)?,
        Command::Index { action } => index(action)?,
        Command::Verify {
            path,
            keys,
            threshold,
            first,
            app,
            channel,
            target,
            json,
        } => {
            let settings = Settings::read()?;
            let pinned = pinned(&keys, threshold, first, &settings)?;
            let launcher = Launcher {
                app: app
                    .or(settings.app)
                    .unwrap_or_else(|| claimed(&path, &channel)),
                channel,
                pinned,
                target: target.unwrap_or_else(castoff::release::target),
            };
            let report = verify(&path, launcher, Utc::now())?;
            say::report(&report, json);
            return Ok(report.is_trusted());
        }
    }
    Ok(true)
}

fn keygen(dir: &Path, name: &str, no_passphrase: bool) -> Result<()> {
    // Before anybody thinks of a passphrase.
    let pair = NewPair::named(dir, name)?;
    let passphrase = if no_passphrase {
        None
    } else {
        Some(ask::new_passphrase(&pair.secret)?)
    };
    let public = pair.make(passphrase)?;
    say::new_pair(&pair, &public, no_passphrase);
    Ok(())
}

fn show(path: &Path, json: bool) -> Result<()> {
    let (document, folder) = if path.is_dir() {
        let folder = Folder::open(path)?;
        let Some((document, _)) = folder.newest_keys()? else {
            return Err(request(format!(
                "no keys document lies in {}; without one, the keys that are pinned speak for all",
                path.display()
            )));
        };
        (document, folder)
    } else {
        (Document::read(path)?, Folder::around(path))
    };
    say::keys(&document, &folder, json)
}

fn sign(file: &Path, announce: Announce, signing: &Signing) -> Result<()> {
    let folder = Folder::around(file);
    if !is_package(file)? {
        if announce.says_anything() {
            return Err(request(format!(
                "{} is no package (zip): a document is signed as it is, without further options",
                file.display()
            )));
        }
        let document = Document::read(file)?;
        // Who signs something reads it first.
        say::summary(&document);
        let written = document.sign(&signing.open()?)?;
        return say::signed(&written, &folder);
    }
    let draft = announce.draft(file, &Settings::read()?)?;
    let (signers, known) = (signing.open()?, signing.known()?);
    let written = release::sign(&draft, &signers, &known)?;
    say::written(&written, &folder)?;
    outdated(&written.document, &folder)
}

/// Says so when an index names a release as it was before.
fn outdated(release: &Document, folder: &Folder) -> Result<()> {
    if let Content::Release(content) = release.content() {
        for channel in folder.outdated_by(&content.version, release.sha256())? {
            say::line(&format!(
                "The index of {channel} names this release as it was before; `castoff index new` makes \
                 it anew.",
            ));
        }
    }
    Ok(())
}

fn index(action: Index) -> Result<()> {
    let (written, folder) = match action {
        Index::New(new) => {
            let NewIndex {
                dir,
                app,
                current,
                revoke,
                rollout,
                term,
                signing,
            } = *new;
            let folder = Folder::open(&dir)?;
            let current = match current {
                Some(current) => current,
                None => highest(&folder)?,
            };
            let draft = index::Draft {
                app: app.or(Settings::read()?.app),
                channel: term.channel,
                current,
                revoked: revoke,
                rollout,
                expires: term.expires,
            };
            let (signers, known) = (signing.open()?, signing.known()?);
            let written = index::make(&folder, &draft, &signers, &known, Utc::now())?;
            (written, folder)
        }
        Index::Renew { dir, term, signing } => {
            let folder = Folder::open(&dir)?;
            let (signers, known) = (signing.open()?, signing.known()?);
            let written = index::renew(
                &folder,
                &term.channel,
                term.expires,
                &signers,
                &known,
                Utc::now(),
            )?;
            if let Content::Index(index) = written.document.content()
                && let Some((release, _)) = folder.release(&index.current.version)?
            {
                outdated(&release, &folder)?;
            }
            (written, folder)
        }
    };
    say::written(&written, &folder)
}

fn highest(folder: &Folder) -> Result<Version> {
    let highest = folder.highest_release()?.ok_or_else(|| {
        request(format!(
            "no release document lies in {}; `castoff sign` makes it",
            folder.path().display()
        ))
    })?;
    say::line(&format!(
        "{highest} is the highest version that has a release document here."
    ));
    Ok(highest)
}

/// The keys that are pinned in the launcher that is played.
fn pinned(
    keys: &[String],
    threshold: Option<usize>,
    first: Option<u64>,
    settings: &Settings,
) -> Result<TrustConfig> {
    let named = if keys.is_empty() {
        say::line("The keys are those of launcher.toml.");
        &settings.keys
    } else {
        keys
    };
    if named.is_empty() {
        return Err(request(
            "say with --pub which keys are pinned; launcher.toml in the current folder has none",
        ));
    }
    // Keys and threshold belong together.
    let own = settings.threshold.filter(|_| keys.is_empty());
    let first = first.or(settings.first.filter(|_| keys.is_empty()));
    let role = Role::new(public_keys(named)?, threshold.or(own).unwrap_or(1))
        .map_err(|problem| request(format!("who is pinned {problem}")))?;
    Ok(TrustConfig {
        role,
        first: first.unwrap_or(1),
    })
}

/// The app that documents claim to be of; whoever has signed them decides whether that counts.
fn claimed(path: &Path, channel: &str) -> String {
    let app = if path.is_file() {
        Document::read(path)
            .ok()
            .map(|document| document.app().to_owned())
    } else {
        let index = Folder::open(path).and_then(|folder| folder.index(channel));
        index
            .ok()
            .flatten()
            .map(|(index, _)| index.app().to_owned())
    };
    if let Some(app) = &app {
        say::line(&format!("The app is {app}, as the documents say."));
    }
    app.unwrap_or_default()
}

fn public_keys(named: &[String]) -> Result<Vec<PublicKey>> {
    named.iter().map(|named| public_key(named)).collect()
}

/// The version that a package's own list is of.
fn listed_version(package: &Path) -> Result<Version> {
    let list = release::file_list(package)?.ok_or_else(|| {
        request("say with --version which version the package is; it has no file list that does")
    })?;
    Ok(list.version.parse()?)
}

fn is_package(file: &Path) -> Result<bool> {
    use std::io::Read as _;
    let io = |source| {
        Error::Engine(castoff::Error::Io {
            operation: "read",
            path: file.to_path_buf(),
            source,
        })
    };
    let mut start = Vec::new();
    let (file, _) = castoff::fetch::local::open(file).map_err(io)?;
    file.take(2).read_to_end(&mut start).map_err(io)?;
    Ok(start == b"PK")
}

fn request(problem: impl Into<String>) -> Error {
    Error::Request {
        problem: problem.into(),
    }
}

impl Signing {
    /// Opens the secret keys, and asks for their passphrases.
    fn open(&self) -> Result<Vec<Signer>> {
        let signers = self.open_any()?;
        if signers.is_empty() {
            return Err(request(
                "say with --key which key signs; there is none in the current folder",
            ));
        }
        Ok(signers)
    }

    /// The same, where nothing may have to be signed; none, when there is no key.
    fn open_any(&self) -> Result<Vec<Signer>> {
        let alone = if self.keys.is_empty() {
            settings::key_here()?
        } else {
            None
        };
        let paths = alone.as_slice().iter().chain(&self.keys);
        let mut signers: Vec<Signer> = Vec::new();
        for path in paths {
            let signer = Signer::open(path, &mut ask::passphrase)?;
            // The same key twice is one signature.
            if signers
                .iter()
                .all(|known| known.public() != signer.public())
            {
                signers.push(signer);
            }
        }
        Ok(signers)
    }

    fn known(&self) -> Result<Vec<PublicKey>> {
        public_keys(&self.signed_by)
    }
}

impl Roles {
    fn wishes(&self) -> Result<Wishes> {
        let wish = |keys: &[String], threshold| -> Result<RoleWish> {
            Ok(RoleWish {
                keys: public_keys(keys)?,
                threshold,
            })
        };
        Ok(Wishes {
            root: wish(&self.root, self.root_threshold)?,
            release: wish(&self.release, self.release_threshold)?,
            index: wish(&self.index, self.index_threshold)?,
            min_version: self.min_version.clone(),
            expires: self.expires,
        })
    }
}

impl Announce {
    fn says_anything(&self) -> bool {
        let texts = [&self.app, &self.target, &self.entry_point, &self.notes];
        texts.iter().any(|text| text.is_some())
            || self.version.is_some()
            || self.notes_file.is_some()
            || !self.url.is_empty()
            || self.critical_below.is_some()
            || self.system.is_some()
            || !self.launcher.is_empty()
    }

    fn draft(self, package: &Path, settings: &Settings) -> Result<release::Draft> {
        let version = match self.version {
            Some(version) => version,
            None => listed_version(package)?,
        };
        let notes = match (self.notes, self.notes_file) {
            (None, Some(path)) => Some(std::fs::read_to_string(&path).map_err(|source| {
                Error::Engine(castoff::Error::Io {
                    operation: "read",
                    path,
                    source,
                })
            })?),
            (notes, _) => notes,
        };
        let launcher = |text: String| match text.split_once('=') {
            Some((target, file)) => Ok((target.to_owned(), PathBuf::from(file))),
            None => Err(request(format!(
                "{text:?} is not TARGET=FILE, as in linux-x86_64=MyApp"
            ))),
        };
        Ok(release::Draft {
            app: settings.app(self.app)?,
            version,
            target: self.target,
            package: package.to_path_buf(),
            entry_point: self
                .entry_point
                .or_else(|| settings.publish.entry_point.clone()),
            notes,
            urls: self.url,
            critical_below: self.critical_below,
            system: self.system,
            launchers: self
                .launcher
                .into_iter()
                .map(launcher)
                .collect::<Result<_>>()?,
        })
    }
}
