//! What is installed, and what Castoff remembers: `local_version.json` and `.castoff/`.
//!
//! Promises: `local_version.json` is what the Python client reads and writes, so that either can
//! take over from the other. A state file that cannot be read never stops the app: it counts as
//! empty, and says so in the log. Every file is replaced at once and durably (`disk`).
//!
//! Does not promise to be fast on `installed.json`, which names every file: nothing reads it
//! while there is nothing new.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use chrono::{DateTime, SecondsFormat, SubsecRound, Utc};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::archive::SafePath;
use crate::archive::guard::Node;
use crate::config::LayoutKind;
use crate::disk;
use crate::layout::locks::StateLock;
use crate::release::Release;
use crate::trust::Sha256;
use crate::version::Version;
use crate::{Code, Error, Result, record};

/// The client folder and where Castoff keeps its things in it.
#[derive(Clone, Debug)]
pub struct ClientFolder {
    root: PathBuf,
    layout: LayoutKind,
    version_file: String,
    /// What is installed where no file says it.
    assumed: Option<Version>,
}

/// The links of the snapshot layout, below `versions/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// The version that is started.
    Current,
    /// The one that was current before the last switch.
    Previous,
    /// The one to which a device can always go back.
    Factory,
}

impl Link {
    /// The link's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Previous => "previous",
            Self::Factory => "factory",
        }
    }
}

impl ClientFolder {
    /// The folder `root` in the layout in-place, in which `version_file` says what is installed.
    pub fn new(root: impl Into<PathBuf>, version_file: impl Into<String>) -> Self {
        Self {
            root: root.into(),
            layout: LayoutKind::InPlace,
            version_file: version_file.into(),
            assumed: None,
        }
    }

    /// The same folder in another layout.
    #[must_use]
    pub fn with_layout(mut self, layout: LayoutKind) -> Self {
        self.layout = layout;
        self
    }

    /// The same folder, in which `version` is installed where the version file is missing and there is
    /// something.
    #[must_use]
    pub fn assuming(mut self, version: Option<&Version>) -> Self {
        self.assumed = version.cloned();
        self
    }

    /// How versions lie in it.
    pub fn layout(&self) -> LayoutKind {
        self.layout
    }

    /// The folder itself, which holds everything that Castoff keeps.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of the app's files, its working directory: the client folder itself, or the
    /// folder of the current version. The latter need not exist.
    pub fn tree(&self) -> PathBuf {
        match self.layout {
            LayoutKind::InPlace => self.root.clone(),
            // Not through the link: the running app is not to see the files of the next version.
            LayoutKind::Snapshot => match self.linked(Link::Current) {
                Some(name) => self.versions().join(name),
                None => self.link(Link::Current),
            },
        }
    }

    /// Where the versions of the snapshot layout are, and the links to them.
    pub fn versions(&self) -> PathBuf {
        self.root.join("versions")
    }

    /// Where a link of the snapshot layout is.
    pub fn link(&self, link: Link) -> PathBuf {
        self.versions().join(link.as_str())
    }

    /// The name of the version's folder that a link leads to; `None` where there is no link, or
    /// one that leads out of `versions/`.
    pub fn linked(&self, link: Link) -> Option<String> {
        let target = std::fs::read_link(self.link(link)).ok()?;
        let inside = target.parent().is_some_and(|parent| {
            let beside = parent.as_os_str().is_empty() || parent == Path::new(".");
            // The root may have another name where the link was made.
            let same = || {
                let versions = self.versions().canonicalize();
                parent.is_absolute() && parent.canonicalize().ok() == versions.ok()
            };
            beside || parent == self.versions() || same()
        });
        let name = target.file_name()?.to_str()?;
        inside.then(|| name.to_owned())
    }

    /// The version in a folder of the snapshot layout: as its list says, else as it is called.
    pub fn version_in(&self, name: &str) -> Option<Version> {
        head(&self.list_of(name)).or_else(|| name.parse().ok())
    }

    /// The list of the files of a version in the snapshot layout.
    pub(crate) fn list_of(&self, name: &str) -> PathBuf {
        self.own().join("versions").join(format!("{name}.json"))
    }

    /// `local_version.json`, unless it is configured otherwise.
    pub fn version_file(&self) -> PathBuf {
        self.root.join(&self.version_file)
    }

    /// Castoff's own folder.
    pub fn own(&self) -> PathBuf {
        self.root.join(".castoff")
    }

    /// Where backups are.
    pub fn backups(&self) -> PathBuf {
        self.root.join(".backup")
    }

    /// Where packages are fetched to.
    pub fn downloads(&self) -> PathBuf {
        self.own().join("downloads")
    }

    /// Where new versions are made whole.
    pub fn staging(&self) -> PathBuf {
        self.own().join("staging")
    }

    /// A file on its way back.
    pub(crate) fn restoring(&self) -> PathBuf {
        self.own().join("restoring")
    }

    /// Where installed files go that are in use when they are replaced or removed.
    pub(crate) fn aside(&self) -> PathBuf {
        self.own().join("aside")
    }

    /// Where older versions go that are being removed.
    pub(crate) fn gone(&self) -> PathBuf {
        self.own().join("gone")
    }

    /// The file by which a version on trial says that it is ready.
    pub(crate) fn ready(&self) -> PathBuf {
        self.own().join("ready")
    }

    /// The journal of a commit or an undo under way.
    pub fn journal(&self) -> PathBuf {
        self.own().join("journal.json")
    }

    pub(crate) fn installed(&self) -> PathBuf {
        match (self.layout, self.linked(Link::Current)) {
            (LayoutKind::Snapshot, Some(name)) => self.list_of(&name),
            _ => self.own().join("installed.json"),
        }
    }

    /// Answers of the source.
    pub(crate) fn answers(&self) -> PathBuf {
        self.own().join("answers.json")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.own().join("state.json")
    }

    /// Whether a path of the tree is Castoff's own and not the app's.
    pub(crate) fn is_own(&self, name: &str) -> bool {
        name == ".castoff" || name == ".backup" || name == self.version_file
    }

    /// What is installed: in the snapshot layout the version to which `current` leads.
    ///
    /// Else what `local_version.json` says; `None` when it is not there or not readable as a
    /// version, which the Python client also takes for "not installed".
    pub fn local_version(&self) -> Option<LocalVersion> {
        if self.layout == LayoutKind::Snapshot {
            let version = self.version_in(&self.linked(Link::Current)?)?;
            return Some(LocalVersion {
                version,
                update_time: None,
            });
        }
        let bytes = match disk::in_use::read(&self.version_file()) {
            Ok(bytes) => bytes,
            Err(_) if self.version_file().exists() => return None,
            Err(_) => return self.assumed_version(),
        };
        match serde_json::from_slice(&bytes) {
            Ok(version) => Some(version),
            Err(error) => {
                record::warn!("{} is not usable: {error}", self.version_file().display());
                None
            }
        }
    }

    fn assumed_version(&self) -> Option<LocalVersion> {
        let version = self.assumed.as_ref()?;
        let mut entries = std::fs::read_dir(&self.root).ok()?.flatten();
        let any = entries.any(|entry| !self.is_own(&entry.file_name().to_string_lossy()));
        any.then(|| LocalVersion {
            version: version.clone(),
            update_time: None,
        })
    }

    /// The raw text of `local_version.json`, for a backup.
    pub(crate) fn local_version_text(&self) -> Option<String> {
        String::from_utf8(disk::in_use::read(&self.version_file()).ok()?).ok()
    }

    /// Says in `local_version.json` that `version` is installed.
    pub(crate) fn set_local_version(&self, version: &Version) -> Result<()> {
        let local = LocalVersion {
            version: version.clone(),
            // As Python's datetime.now().isoformat() has it: local time, no zone.
            update_time: Some(
                chrono::Local::now()
                    .naive_local()
                    .and_utc()
                    .to_rfc3339_opts(SecondsFormat::Micros, true)
                    .replace('Z', ""),
            ),
        };
        disk::write_atomic(&self.version_file(), &pretty(&local)?)
    }

    /// Puts back what a backup kept.
    pub(crate) fn put_local_version(&self, text: Option<&str>) -> Result<()> {
        match text {
            Some(text) => disk::write_atomic(&self.version_file(), text.as_bytes()),
            None => disk::remove_durably(&self.version_file()),
        }
    }

    /// What Castoff remembers. One that cannot be used counts as empty.
    pub fn load_state(&self) -> State {
        match read_json(&self.state()) {
            Ok(state) => state.unwrap_or_default(),
            Err(error) => {
                record::warn!("{}; going on without it", error.chain());
                State::default()
            }
        }
    }

    /// Changes what Castoff remembers, and makes it durable, if it is another then.
    ///
    /// Reading, changing and writing are one step: another launcher at the same time, which may
    /// not be an updater, loses nothing of it. Where what is there cannot be read just now, the change
    /// fails rather than take its place; what is no state at all counts as empty.
    pub(crate) fn change_state<T>(&self, change: impl FnOnce(&mut State) -> T) -> Result<T> {
        let _lock = StateLock::take(self)?;
        let before = self.state_to_change()?;
        let mut state = before.clone();
        let result = change(&mut state);
        self.replace_state(&before, &state)?;
        Ok(result)
    }

    fn state_to_change(&self) -> Result<State> {
        match read_json(&self.state()) {
            Err(error) if error.code() == Code::StateInvalid => {
                record::warn!("{}; going on without it", error.chain());
                Ok(State::default())
            }
            state => Ok(state?.unwrap_or_default()),
        }
    }

    fn replace_state(&self, before: &State, state: &State) -> Result<()> {
        if state == before {
            return Ok(());
        }
        disk::write_atomic(&self.state(), &pretty(state)?)
    }

    /// The list of what is installed, where there is a usable one.
    pub fn load_installed(&self) -> Option<Installed> {
        match read_json(&self.installed()) {
            Ok(installed) => installed,
            Err(error) => {
                record::warn!("{}; the folder is looked through instead", error.chain());
                None
            }
        }
    }

    /// The version that the list is of, without reading the rest of it.
    pub(crate) fn listed_version(&self) -> Option<Version> {
        head(&self.installed())
    }

    pub(crate) fn save_installed(&self, installed: Option<&Installed>) -> Result<()> {
        match installed {
            Some(installed) => disk::write_atomic(&self.installed(), &compact(installed)?),
            None => disk::remove_durably(&self.installed()),
        }
    }
}

/// `local_version.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LocalVersion {
    /// The installed version.
    pub version: Version,
    /// When it was installed; local time without a zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_time: Option<String>,
}

/// `installed.json`: every file of what is installed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Installed {
    /// The version; `None` for a folder that was found without one.
    pub version: Option<Version>,
    /// The digest of the package it came from, where it is known.
    pub digest: Option<Sha256>,
    /// What to start, when the release named it.
    pub entry_point: Option<String>,
    /// The files.
    pub files: BTreeMap<SafePath, FileRecord>,
}

/// What is known of one installed file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Its content.
    pub content: Content,
    /// Its modification time when that was recorded, in nanoseconds since 1970.
    pub modified: i64,
    /// The CRC-32 of its content, where an archive gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crc32: Option<u32>,
    /// Whether it came with a release. A file that was merely found is the user's until a release
    /// overwrites it: no update removes it.
    pub owned: bool,
}

/// What a path holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Content {
    /// An ordinary file.
    File {
        /// Bytes.
        size: u64,
        /// The digest of the content.
        sha256: Sha256,
        /// Permission bits, where the system has them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mode: Option<u32>,
    },
    /// A symbolic link and where it points.
    Link(String),
}

impl Content {
    /// As the guard of names and links sees it.
    pub(crate) fn node(&self) -> Node<'_> {
        match self {
            Self::File { .. } => Node::File,
            Self::Link(target) => Node::Link(target),
        }
    }
}

/// `state.json`: what Castoff remembers from one start to the next.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// What the installed release says of what to start.
    pub entry: Option<EntryPoint>,
    /// The version on trial.
    pub trial: Option<Trial>,
    /// Packages that failed their trial here and are not installed again.
    pub bad: Vec<Bad>,
    /// The package whose failed trial brought the installed version back, until that has shown that
    /// it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub back_from: Option<Sha256>,
    /// Packages that failed their checks, and when they are tried again.
    pub backing_off: Vec<BackOff>,
    /// A release that is fetched and waits for the app to be closed.
    pub pending: Option<Release>,
    /// When the source was last asked, and what it has said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked: Option<Asked>,
    /// A number of this folder's own, at random, by which a release that goes to some installations
    /// first finds them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lot: Option<u32>,
    /// How the last update went.
    pub last: Option<LastOutcome>,
    /// In a copy per user: the read-only installation that it stands in for.
    pub over: Option<Over>,
    /// The launcher's executable as it was hashed, so that it is not hashed at every start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub launcher: Option<Hashed>,
}

/// How the last question to the source ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// When it ended.
    pub at: DateTime<Utc>,
    /// The code of the error, if it failed.
    pub error: Option<String>,
    /// The last answer, which may be older.
    pub offer: Option<Offered>,
}

impl Asked {
    /// Just now, with success; what was said is not kept.
    pub(crate) fn now() -> Self {
        Self {
            at: Utc::now().trunc_subsecs(0),
            error: None,
            offer: None,
        }
    }
}

/// An answer of the source, to be shown and to know a critical release by. Nothing is installed for
/// what it says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Offered {
    /// When it came.
    pub at: DateTime<Utc>,
    /// What was offered, without its document and its list of files.
    pub release: Release,
    /// What vouched for it ([`Level`](crate::trust::Level)).
    pub trust: String,
}

/// A read-only installation, as the last update of its copy saw it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Over {
    /// Its folder, for comparing only: what is no Unicode in its name is replaced.
    pub folder: String,
    /// Its version.
    pub version: Option<Version>,
}

impl Over {
    /// What an installation is now.
    pub(crate) fn of(base: &ClientFolder) -> Self {
        Self {
            folder: base.root().to_string_lossy().into_owned(),
            version: base.local_version().map(|local| local.version),
        }
    }

    /// Whether it is the installation in `folder`, whatever its version.
    pub(crate) fn is_in(&self, folder: &Path) -> bool {
        self.folder == folder.to_string_lossy()
    }
}

/// The digest of a file, and by what the file is known again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hashed {
    /// The digest of its content.
    pub sha256: Sha256,
    /// Bytes.
    pub size: u64,
    /// Its modification time, in nanoseconds since 1970.
    pub modified: i64,
}

/// What to start, as a release names it, and of which version: when the Python client has installed another one, it is
/// worth nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EntryPoint {
    /// The version that it belongs to.
    pub version: Option<Version>,
    /// The path, relative to the client folder; `None` when the release leaves it to the
    /// configuration.
    pub path: Option<String>,
}

/// A version that has not shown yet that it runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// The version.
    pub version: Version,
    /// Its package.
    pub digest: Sha256,
    /// What to go back to; `None` for a first install.
    pub back: Option<WayBack>,
    /// Starts so far that failed or had no verdict. Counted before the start, so that a machine that
    /// dies with the app does not try for ever.
    pub tries: u32,
}

/// An older version that can be gone back to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WayBack {
    /// The backup's name, or that of the version's folder.
    pub name: String,
    /// In the snapshot layout: where `previous` is to lead then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// The copy of the databases that is put back as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
}

impl WayBack {
    /// Whether it needs what is kept as `name`.
    pub(crate) fn leads_to(&self, name: &str) -> bool {
        self.name == name || self.previous.as_deref() == Some(name)
    }
}

/// A package that failed its trial, or that a person has left.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bad {
    /// Its version.
    pub version: Version,
    /// Its digest: a corrected package of the same version is another one.
    pub digest: Sha256,
    /// How it failed.
    pub why: String,
}

/// A package that failed its checks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackOff {
    /// Its version; none for a launcher's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// Its digest.
    pub digest: Sha256,
    /// How often.
    pub times: u32,
    /// Not before.
    pub until: DateTime<Utc>,
}

/// How the last update went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LastOutcome {
    /// When.
    pub at: DateTime<Utc>,
    /// `up-to-date`, `installed`, `updated`, `pending`, `rolled-back`, or an error's code.
    pub outcome: String,
    /// The version that is installed since.
    pub version: Option<Version>,
    /// The whole chain of causes, after an error.
    pub error: Option<String>,
}

impl State {
    /// Notes an outcome. The same one for the same version keeps its time, because a start with
    /// nothing new should write nothing.
    pub(crate) fn note(&mut self, outcome: &str, version: Option<&Version>, error: Option<&Error>) {
        let error = error.map(Error::chain);
        let same = self.last.as_ref().is_some_and(|last| {
            last.outcome == outcome && last.version.as_ref() == version && last.error == error
        });
        if !same {
            self.last = Some(LastOutcome {
                at: Utc::now().trunc_subsecs(0),
                outcome: outcome.to_owned(),
                version: version.cloned(),
                error,
            });
        }
    }

    /// What is remembered of the entry point of `version`.
    pub(crate) fn entry_of(&self, version: Option<&Version>) -> Option<&EntryPoint> {
        self.entry
            .as_ref()
            .filter(|entry| entry.version.as_ref() == version)
    }

    /// The trial of a package, if that is what is on trial.
    pub(crate) fn trial_of(&mut self, digest: Sha256) -> Option<&mut Trial> {
        self.trial.as_mut().filter(|trial| trial.digest == digest)
    }

    /// Marks a package, so that it is not installed again by itself.
    pub(crate) fn mark_bad(&mut self, mark: &Bad) {
        if self.bad_mark(mark.digest).is_none() {
            self.bad.push(mark.clone());
        }
    }

    /// Forgets whatever speaks against a package.
    pub(crate) fn forgive(&mut self, digest: Sha256) {
        self.bad.retain(|bad| bad.digest != digest);
        self.backing_off.retain(|entry| entry.digest != digest);
        self.back_from.take_if(|failed| *failed == digest);
    }

    /// The mark of a package that failed its trial.
    pub(crate) fn bad_mark(&self, digest: Sha256) -> Option<&Bad> {
        self.bad.iter().find(|bad| bad.digest == digest)
    }

    /// Until when a package is left alone, if it is.
    pub(crate) fn backing_off_until(
        &self,
        digest: Sha256,
        now: DateTime<Utc>,
    ) -> Option<DateTime<Utc>> {
        let entry = self
            .backing_off
            .iter()
            .find(|entry| entry.digest == digest)?;
        // A clock that was wrong once must not put updates off for years.
        (entry.until > now && entry.until - now <= LONGEST_BACK_OFF).then_some(entry.until)
    }

    /// Leaves a package alone for a while: a quarter of an hour at first, then twice as long each
    /// time, at most a day.
    pub(crate) fn back_off(
        &mut self,
        version: Option<&Version>,
        digest: Sha256,
        now: DateTime<Utc>,
    ) {
        let times = self
            .backing_off
            .iter()
            .find(|entry| entry.digest == digest)
            .map_or(1, |entry| entry.times.saturating_add(1));
        self.backing_off.retain(|entry| entry.digest != digest);
        if self.backing_off.len() >= REMEMBERED {
            self.backing_off.remove(0);
        }
        let wait = FIRST_BACK_OFF * 2_i32.pow((times - 1).min(10));
        self.backing_off.push(BackOff {
            version: version.cloned(),
            digest,
            times,
            until: now + wait.min(LONGEST_BACK_OFF),
        });
    }
}

/// A publisher who notices a broken package needs some minutes to replace it.
const FIRST_BACK_OFF: chrono::TimeDelta = chrono::TimeDelta::minutes(15);
/// A package that is broken for a day will be replaced by another one, with another digest.
const LONGEST_BACK_OFF: chrono::TimeDelta = chrono::TimeDelta::hours(24);

/// Enough for every package that a publisher breaks between two good ones.
const REMEMBERED: usize = 8;

/// The version that a list is of.
fn head(list: &Path) -> Option<Version> {
    #[derive(Deserialize)]
    struct Head {
        version: Option<Version>,
    }
    let head: Option<Head> = read_json(list).ok().flatten();
    head?.version
}

/// Reads a JSON file; `None` when there is none.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let bytes = match disk::in_use::read(path) {
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(None);
        }
        bytes => bytes?,
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| Error::StateInvalid {
            path: path.to_path_buf(),
            problem: error.to_string(),
        })
}

/// JSON for files that people and the Python client read: indented by two.
pub(crate) fn pretty(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec_pretty(value).map_err(|error| Error::Internal {
        what: error.to_string(),
    })
}

/// JSON for files with a line for each of thousands of files.
pub(crate) fn compact(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| Error::Internal {
        what: error.to_string(),
    })
}

/// Whether an error comes of what goes along with a package on this machine, and will most likely
/// come again: it is not worth a wait at every start.
pub(crate) fn comes_again(code: Code) -> bool {
    matches!(
        code,
        Code::HookFailed | Code::DependenciesFailed | Code::DatabaseCopyFailed
    )
}

/// Whether an error says that this very package is at fault, so that fetching it again would
/// fail again.
pub(crate) fn blames_the_package(code: Code) -> bool {
    matches!(
        code,
        Code::HashMismatch
            | Code::SizeMismatch
            | Code::TooLarge
            | Code::ArchiveInvalid
            | Code::ArchiveUnsafe
            | Code::FileListInvalid
            | Code::PartialMisfit
            | Code::PackageCommands
    )
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_state_that_cannot_be_read_is_not_overwritten_and_one_that_is_none_is() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = ClientFolder::new(temporary.path(), "local_version.json");
        let change = || folder.change_state(|state| state.note("updated", None, None));
        fs::create_dir(folder.own()).unwrap();
        // A link to itself can be replaced, and not be read.
        std::os::unix::fs::symlink("state.json", folder.state()).unwrap();
        assert_eq!(change().unwrap_err().code(), Code::Io);
        assert!(fs::symlink_metadata(folder.state()).unwrap().is_symlink());
        assert_eq!(folder.load_state(), State::default());

        fs::remove_file(folder.state()).unwrap();
        fs::write(folder.state(), "{").unwrap();
        change().unwrap();
        assert_eq!(folder.load_state().last.unwrap().outcome, "updated");
    }
}
