//! What the commands of publishers tell: data on stdout, the rest on stderr. Nothing from a document
//! reaches the terminal uncleaned.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use castoff::launcher::messages::{sanitise, size};
use castoff::trust::document::{keys_name, release_name};
use castoff::trust::{PublicKey, Role};
use castoff::version::Version;
use castoff_publish::document::{Content, Document, Folder, Standing, Written, list, roles};
use castoff_publish::init::Answers;
use castoff_publish::pack::Packed;
use castoff_publish::place::{Current, Event, Listing, Source};
use castoff_publish::signer::NewPair;
use castoff_publish::verify::{Report, Signed};
use castoff_publish::{Error, Result, time};
use serde_json::{Value, json};

/// For people.
pub(super) fn line(text: &str) {
    drop(writeln!(io::stderr(), "{text}"));
}

/// For programs, and for people who asked for it.
fn data(text: &str) {
    drop(writeln!(io::stdout(), "{text}"));
}

pub(super) fn error(error: &Error, json: bool) {
    let message = match error {
        Error::Engine(error) => error.chain(),
        other => other.to_string(),
    };
    if json {
        data(&json!({"error": error.code(), "message": message}).to_string());
    } else {
        line(&format!(
            "castoff: {} [{}]",
            sanitise(&message),
            error.code()
        ));
    }
}

pub(super) fn new_pair(pair: &NewPair, public: &PublicKey, open: bool) {
    data(&public.to_string());
    line(&format!(
        "{}\nThe public key is {}. In launcher.toml:\n\n[trust]\nkeys = [\"{public}\"]",
        keep(pair, open),
        pair.public.display()
    ));
}

/// What to do with a secret key; `open`: it has no passphrase.
fn keep(pair: &NewPair, open: bool) -> String {
    let mut text = format!(
        "\nThe secret key is {}. Keep it offline, and make a copy: nobody can make it again.",
        pair.secret.display()
    );
    if open {
        text.push_str("\nIt has no passphrase: whoever has the file can sign.");
    }
    text
}

/// The files with which a publisher begins, and what comes next.
pub(super) fn begun(
    written: &[PathBuf],
    pair: Option<&NewPair>,
    open: bool,
    answers: &Answers,
    folder: &Path,
) {
    for path in written {
        data(&path.display().to_string());
    }
    if let Some(pair) = pair {
        line(&keep(pair, open));
    }
    let app = &answers.app;
    let to = match answers.to {
        Some(_) => "",
        None => " --to PLACE",
    };
    let mut steps = vec![
        format!(
            "castoff pack DIST --version 1.0.0      DIST: the folder with {}",
            sanitise(&answers.entry_point)
        ),
        format!("castoff publish {app}-1.0.0.zip --activate{to}"),
    ];
    if answers.to.is_none() {
        steps.push(format!(
            "PLACE: a folder, s3://BUCKET/FOLDER, or https://HOST of a release server; launchers find there \
             what {} answers",
            sanitise(&answers.source)
        ));
    }
    let place = match folder.to_str() {
        Some(".") => "here".to_owned(),
        _ => format!("in {}", folder.display()),
    };
    line(&format!("\nNext, {place}:"));
    for step in steps {
        line(&format!("  {step}"));
    }
    line("launcher.toml belongs beside the launcher, or baked into it (docs/pack.md).");
}

/// A package that was made.
pub(super) fn packed(packed: &Packed, output: &Path) {
    let list = &packed.list;
    line(&format!(
        "Packed {} of {}: {}, as a package {}, SHA-256 {}.",
        count(list.files.len(), "file"),
        list.version,
        size(packed.bytes),
        size(packed.file.size),
        packed.file.sha256,
    ));
    if !list.whole {
        line(&format!(
            "It holds what differs from {} ({}), and can be installed over that version only.",
            list.fits.join(", "),
            count(packed.held, "file"),
        ));
    }
    data(&output.display().to_string());
}

/// What has happened in a publication.
pub(super) fn event(event: &Event<'_>) {
    match event {
        Event::Sending { .. } => {}
        Event::Resumed { name, done } => line(&format!(
            "{}: {} are there from an earlier attempt",
            sanitise(name),
            size(*done)
        )),
        Event::Sent { name, size: bytes } => {
            line(&format!("{}: {} sent", sanitise(name), size(*bytes)));
        }
        Event::Prepared => line("The app is new there."),
        Event::Signed(document) => line(&format!("{}: signed", document.path().display())),
        Event::Written { name } => line(&format!("{}: published", sanitise(name))),
        Event::There { name } => line(&format!("{}: is there already", sanitise(name))),
    }
}

/// A release that is at a place, and not current there.
pub(super) fn published(version: &Version, place: &str) {
    data(&format!("{version} is published at {place}"));
    line(&format!(
        "Nobody gets it yet: `castoff activate {version}` makes it current."
    ));
}

/// All releases of a folder.
pub(super) fn published_all(place: &str) {
    data(&format!("All that lies here is published at {place}"));
}

/// What is current in a channel.
pub(super) fn current(current: &Current, channel: &str, place: &str) {
    let mut text = match &current.version {
        Some(version) => format!("{version} is current in {channel} at {place}"),
        None => format!("nothing is current in {channel} at {place}"),
    };
    if current.unchanged {
        text.push_str(", as before");
    }
    data(&text);
    number(current);
}

/// The number of an index, and until when it holds.
fn number(current: &Current) {
    let Some(seq) = current.seq else { return };
    let expires = current.expires.map(|at| {
        format!(
            "; it holds until {}, and has to be signed again before",
            time::text(at)
        )
    });
    line(&format!(
        "The index has number {seq}{}.",
        expires.unwrap_or_default()
    ));
}

/// A version that was taken back, and what people get.
pub(super) fn withdrawn(version: &Version, current: &Current, channel: &str) {
    data(&format!("{version} is withdrawn from {channel}"));
    match &current.version {
        Some(next) => line(&format!(
            "Nobody installs it any more. Whoever has it, and whoever has an older version, gets {next} \
             with the next check."
        )),
        None => line("Nobody installs it any more. There is no other version to get."),
    }
    number(current);
}

/// A version that was taken back, and is current elsewhere.
pub(super) fn still_current(version: &Version, channel: &str) {
    line(&format!(
        "{version} is still current in {0}: `castoff withdraw {version} --channel {0}` takes it back \
         there.",
        sanitise(channel)
    ));
}

/// How a launcher finds what is published.
pub(super) fn source(source: &Source) {
    line(&format!(
        "\nLaunchers find it by these lines of launcher.toml:\n\n[source]\nkind = {}\nurl = {}",
        json!(source.kind),
        json!(source.url)
    ));
}

/// What is published at a place.
pub(super) fn listing(listing: &Listing, place: &str, as_json: bool) {
    let current_in = |version: &Version| -> Vec<&String> {
        let channels = listing.channels.iter();
        let current = channels.filter(|(_, channel)| channel.version == *version);
        current.map(|(name, _)| name).collect()
    };
    if as_json {
        let releases = listing.releases.iter().map(|release| {
            json!({
                "version": release.version, "signed": release.signed,
                "current": current_in(&release.version), "withdrawn": release.withdrawn,
                "packages": release.packages,
            })
        });
        let channels = listing.channels.iter().map(|(name, channel)| {
            let value = json!({
                "version": channel.version, "seq": channel.seq,
                "expires": channel.expires.map(time::text), "rollout": channel.rollout,
            });
            (name.clone(), value)
        });
        let value = json!({
            "place": place, "releases": releases.collect::<Vec<_>>(),
            "channels": channels.collect::<serde_json::Map<_, _>>(),
        });
        data(&value.to_string());
        return;
    }
    if listing.releases.is_empty() {
        line(&format!("Nothing is published at {place}."));
    }
    for release in &listing.releases {
        let mut marks: Vec<String> = current_in(&release.version)
            .into_iter()
            .map(|channel| format!("current in {}", sanitise(channel)))
            .collect();
        marks.extend(release.withdrawn.then(|| "withdrawn".to_owned()));
        marks.extend((!release.signed).then(|| "not signed".to_owned()));
        data(format!("{}  {}", release.version, marks.join(", ")).trim_end());
        for package in &release.packages {
            data(&format!(
                "  {}: {}, {}",
                sanitise(&package.target),
                sanitise(&package.name),
                size(package.size)
            ));
        }
    }
    for (name, channel) in &listing.channels {
        let mut text = format!("{}: {}", sanitise(name), channel.version);
        if let Some(seq) = channel.seq {
            let _ = write!(text, ", number {seq}");
        }
        if let Some(expires) = channel.expires {
            let _ = write!(text, ", expires {}", time::text(expires));
        }
        if let Some(rollout) = channel.rollout {
            let _ = write!(text, ", for {rollout} per cent");
        }
        data(&text);
    }
}

/// What a document says.
pub(super) fn summary(document: &Document) {
    for text in document.summary() {
        line(&text);
    }
}

pub(super) fn written(written: &Written, folder: &Folder) -> Result<()> {
    summary(&written.document);
    signed(written, folder)
}

/// Who has signed a document now, and who still has to.
pub(super) fn signed(written: &Written, folder: &Folder) -> Result<()> {
    if written.dropped > 0 {
        line(&format!(
            "It says something else than before; {} of before left out.",
            count(written.dropped, "signature")
        ));
    }
    for key in &written.already {
        line(&format!("The key {} had signed it already.", key.id()));
    }
    for key in &written.added {
        line(&format!("Signed by the key {}.", key.id()));
    }
    for standing in folder.standings(&written.document)? {
        line(&state(&standing));
    }
    data(&written.document.path().display().to_string());
    Ok(())
}

fn count(number: usize, what: &str) -> String {
    let end = if number == 1 { "" } else { "s" };
    format!("{number} {what}{end}")
}

fn ids<'a>(keys: impl IntoIterator<Item = &'a PublicKey>) -> String {
    let ids: Vec<String> = keys.into_iter().map(PublicKey::id).collect();
    if ids.is_empty() {
        "nobody".to_owned()
    } else {
        ids.join(", ")
    }
}

fn state(standing: &Standing) -> String {
    let mut text = format!(
        "Of the {}, {} of {} needed have signed",
        standing.of,
        standing.signed.len(),
        standing.threshold
    );
    let lacks = standing.lacks();
    if lacks > 0 {
        let _ = write!(
            text,
            "; missing: {} by {}",
            count(lacks, "signature"),
            ids(&standing.missing).replace(", ", " or ")
        );
    }
    text.push('.');
    text
}

/// Who may sign what.
pub(super) fn keys(document: &Document, folder: &Folder, as_json: bool) -> Result<()> {
    let Content::Keys(keys) = document.content() else {
        return Err(super::request(format!(
            "{} is no keys document",
            document.path().display()
        )));
    };
    let standings = folder.standings(document)?;
    if as_json {
        let role = |role: &Role| {
            let keys = role.keys().iter();
            let keys: Vec<Value> = keys
                .map(|key| {
                    let signed = document.is_signed_by(key);
                    json!({"id": key.id(), "key": key.to_string(), "signed": signed})
                })
                .collect();
            json!({"threshold": role.threshold(), "keys": keys})
        };
        let signatures = standings.iter().map(|standing| {
            let ids = |keys: &[PublicKey]| keys.iter().map(PublicKey::id).collect::<Vec<_>>();
            json!({
                "of": standing.of, "needed": standing.threshold, "signed": ids(&standing.signed),
                "missing": ids(&standing.missing), "lacks": standing.lacks(),
            })
        });
        let value = json!({
            "app": document.app(), "number": keys.number,
            "expires": keys.expires.map(time::text), "min_version": keys.min_version,
            "roles": {
                "root": role(&keys.root), "release": role(&keys.release), "index": role(&keys.index),
            },
            "signatures": signatures.collect::<Vec<_>>(),
            "complete": standings.iter().all(|standing| standing.lacks() == 0),
        });
        data(&value.to_string());
        return Ok(());
    }
    data(&format!(
        "{}: keys number {} of {}",
        document.path().display(),
        keys.number,
        document.app()
    ));
    if let Some(expires) = keys.expires {
        data(&format!("expires      {}", time::text(expires)));
    }
    if let Some(least) = &keys.min_version {
        data(&format!("min_version  {least}"));
    }
    for (name, role) in roles(keys) {
        data(&format!(
            "{name}: {} of {}",
            role.threshold(),
            count(role.keys().len(), "key")
        ));
        for key in role.keys() {
            data(&format!("  {}  {key}", key.id()));
        }
    }
    for standing in &standings {
        data(&state(standing));
    }
    if keys.number == 1 {
        data("The keys that are pinned in launchers have to have signed it too.");
    }
    Ok(())
}

/// What a launcher trusts, and why.
pub(super) fn report(report: &Report, as_json: bool) {
    if as_json {
        data(&report.json().to_string());
        return;
    }
    let launcher = &report.launcher;
    let pinned = &launcher.pinned.role;
    data(&format!(
        "A launcher of {} for {}, channel {}, with {} of {} pinned ({})",
        sanitise(&launcher.app),
        launcher.target,
        launcher.channel,
        pinned.threshold(),
        count(pinned.keys().len(), "key"),
        ids(pinned.keys())
    ));
    for step in &report.steps {
        let keys = &step.keys;
        let [before, own] = &step.signed;
        let mut text = format!("  {}: {}; {}", keys_name(keys.number), by(before), by(own));
        if let Some(expires) = keys.expires {
            let _ = write!(text, "; expires {}", time::text(expires));
        }
        if let Some(least) = &keys.min_version {
            let _ = write!(text, "; nothing below {least}");
        }
        data(&text);
    }
    if let Some((index, signed)) = &report.index {
        let mut text = format!(
            "  {}.json: {}; number {}, issued {}, expires {}; current is {}",
            sanitise(&index.channel),
            by(signed),
            index.seq,
            time::text(index.issued),
            time::text(index.expires),
            index.current.version
        );
        if !index.revoked.is_empty() {
            let _ = write!(text, "; revoked {}", list(&index.revoked));
        }
        data(&text);
    }
    if let Some((release, signed)) = &report.release {
        data(&format!(
            "  {}: {}",
            release_name(&release.version),
            by(signed)
        ));
    }
    if let Some(package) = &report.package {
        let found = match &package.file {
            Some(path) => format!("{} is that file", path.display()),
            None if report.is_trusted() => "it is elsewhere, and was not compared".to_owned(),
            None => "what lies here is not that file".to_owned(),
        };
        data(&format!(
            "  package {}: {} bytes, SHA-256 {}; {found}",
            sanitise(&package.urls.join(" or ")),
            package.announced.size,
            package.announced.sha256,
        ));
    }
    match (&report.refused, &report.release) {
        (Some(error), _) => line(&format!(
            "A launcher would refuse it: {} [{}]",
            sanitise(&error.chain()),
            error.code().as_str()
        )),
        (None, Some((release, _))) => {
            data(&format!("A launcher would install {}.", release.version));
        }
        (None, None) => data("A launcher would believe it."),
    }
}

fn by(signed: &Signed) -> String {
    format!(
        "{} of {} needed {} keys ({})",
        signed.by.len(),
        signed.needed,
        signed.role,
        ids(&signed.by)
    )
}
