//! Where things are on this machine: the client folder and the log.
//!
//! The client folder lies beside the launcher, whatever the working directory is. An installation
//! that this user may not write (Program Files, `/opt`) has a copy per user instead, in the local
//! data folder: on Windows never the roaming one, which would carry hundreds of megabytes to every
//! machine that the user logs on to.
//!
//! Writability is tried, not asked for: access lists, read-only mounts and quotas do not show in
//! a file's mode. What is found holds for the moment; a later write can still fail.
//!
//! Once a user has a copy, it stays in use, also when the folder beside the launcher can be written
//! for once (as administrator): else one user would have two installations that differ. What says
//! so is the copy itself: it notes the folder that it is a copy of (`over` in its `state.json`).
//! Another installation of the same app, which the user may write, is none of its concern. Who
//! wants it undone removes the copy.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use directories::BaseDirs;

use super::{Config, LayoutKind};
use crate::archive::crc32;
use crate::state::ClientFolder;
use crate::{Code, disk};

/// The folders that this run works with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// The client folder. It need not exist yet.
    pub client: PathBuf,
    /// The client folder beside the launcher, when there is one and `client` is the user's copy of
    /// it: it is started as it is for as long as there is no better copy.
    pub read_only: Option<PathBuf>,
    /// Why `client` is where it is.
    pub why: Why,
    /// The folder of the log. It need not exist yet.
    pub log_dir: PathBuf,
}

/// Why the client folder is where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Beside the launcher, where it can be written.
    Writable,
    /// The user's own, since the one beside the launcher cannot be written.
    NotWritable,
    /// The user's own, which is in use, although the one beside the launcher can be written now.
    Kept,
    /// Beside the launcher, since the user has no folder.
    NoHome,
}

impl Why {
    /// The word for it in `--json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Writable => "writable",
            Self::NotWritable => "not-writable",
            Self::Kept => "kept",
            Self::NoHome => "no-home",
        }
    }
}

impl Places {
    /// Finds the folders for a launcher that lies in `exe_dir`.
    pub fn find(config: &Config, exe_dir: &Path) -> Self {
        let user = BaseDirs::new().map(|dirs| UserFolders {
            data: dirs.data_local_dir().to_owned(),
            state: dirs.state_dir().unwrap_or(dirs.data_local_dir()).to_owned(),
        });
        choose(config, exe_dir, user, &writable)
    }
}

/// The folders that the system gives every user.
struct UserFolders {
    data: PathBuf,
    state: PathBuf,
}

fn choose(
    config: &Config,
    exe_dir: &Path,
    user: Option<UserFolders>,
    writable: &dyn Fn(&Path) -> bool,
) -> Places {
    let own = own_folder(config, exe_dir);
    let beside = exe_dir.join(&config.client_dir);
    let copy = user
        .as_ref()
        .map(|user| user.data.join(&own).join("client"));
    let (client, why) = match copy {
        // A device's or a server's, which no user has a copy of.
        _ if config.layout == LayoutKind::Snapshot => (beside.clone(), Why::Writable),
        Some(copy) if is_copy_of(config, &copy, &beside) => {
            let why = if writable(&beside) {
                Why::Kept
            } else {
                Why::NotWritable
            };
            (copy, why)
        }
        Some(copy) if !writable(&beside) => (copy, Why::NotWritable),
        Some(_) => (beside.clone(), Why::Writable),
        // There is nowhere else to go; the first write will say what is wrong.
        None => (beside.clone(), Why::NoHome),
    };
    let read_only = (client != beside && beside.is_dir()).then_some(beside);
    let log_dir = match (&config.log_dir, user) {
        (Some(configured), _) => exe_dir.join(configured),
        (None, Some(user)) => user.state.join(&own).join("log"),
        (None, None) => exe_dir.join("log"),
    };
    Places {
        client,
        read_only,
        why,
        log_dir,
    }
}

/// Whether a user's folder holds a copy of the installation in `beside`, made by this user: whoever
/// works with another's home (sudo) neither runs what lies there nor leaves files there.
fn is_copy_of(config: &Config, copy: &Path, beside: &Path) -> bool {
    if !disk::is_mine(copy) {
        return false;
    }
    let copy = ClientFolder::new(copy, &config.version_file);
    let over = copy.load_state().over;
    over.is_some_and(|over| over.is_in(beside)) && copy.local_version().is_some()
}

/// The name of the app's folder among those of other apps.
pub(crate) fn own_folder(config: &Config, exe_dir: &Path) -> String {
    if !config.app.is_empty() {
        return folder_name(&config.app);
    }
    let name = folder_name(&config.name);
    if config.origins.is_default("name") {
        // The name of some folder, such as `bin`: two apps must not share their copies.
        let place = crc32(exe_dir.as_os_str().as_encoded_bytes());
        return format!("{name}-{place:08x}");
    }
    name
}

/// A name that every file system takes, as close to the text as possible.
pub(crate) fn folder_name(text: &str) -> String {
    let safe: String = text
        .chars()
        .map(|c| match c {
            '<' | '>' | ':' | '"' | '/' | '\\' | '|' | '?' | '*' => '_',
            c if c.is_control() => '_',
            c => c,
        })
        .collect();
    let safe = safe.trim_matches(['.', ' ']);
    let stem = safe
        .split('.')
        .next()
        .unwrap_or_default()
        .to_ascii_uppercase();
    let device = matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL")
        || (stem.len() == 4
            && (stem.starts_with("COM") || stem.starts_with("LPT"))
            && stem.ends_with(|c: char| c.is_ascii_digit()));
    if safe.is_empty() || device {
        format!("_{safe}")
    } else {
        safe.to_owned()
    }
}

/// Whether a folder, or for one that does not exist the nearest one above it, can be written.
fn writable(folder: &Path) -> bool {
    // Unique among the threads and processes that try at the same time.
    static TRIES: AtomicU32 = AtomicU32::new(0);
    let Some(existing) = folder.ancestors().find(|path| path.exists()) else {
        return false;
    };
    let probe = existing.join(format!(
        ".castoff-{}-{}.probe",
        std::process::id(),
        TRIES.fetch_add(1, Ordering::Relaxed)
    ));
    // Closed before it is removed, which Windows wants.
    match disk::create_file(&probe, false).map(drop) {
        Ok(()) => {
            sweep_probes(existing, &probe);
            disk::remove_file(&probe).is_ok()
        }
        // A full disk is not one that this user may not write: to go elsewhere would be to install
        // the app a second time.
        Err(error) => error.code() == Code::DiskFull,
    }
}

/// Removes what others have left that were stopped in the middle of trying.
fn sweep_probes(folder: &Path, own: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_probe = name.starts_with(".castoff-") && name.ends_with(".probe");
        if is_probe && entry.path() != own {
            // Where somebody is just trying, nothing is lost: it has been made.
            let _ = disk::remove_file(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn config(text: &str) -> Config {
        let text = format!("{text}\nsource.url = 'https://example.com/'");
        Config::load(Path::new("/opt/Tool"), Some(&text), &|_| None).unwrap()
    }

    fn chosen(config: &Config, exe_dir: &Path, writable: bool) -> Places {
        let user = UserFolders {
            data: "/users/data".into(),
            state: "/users/state".into(),
        };
        choose(config, exe_dir, Some(user), &|_| writable)
    }

    #[test]
    fn beside_the_launcher_where_that_can_be_written() {
        let places = chosen(&config("app = 'a.b'"), Path::new("/opt/Tool"), true);
        assert_eq!(places.client, Path::new("/opt/Tool/client"));
        assert_eq!(places.read_only, None);
        assert_eq!(places.log_dir, Path::new("/users/state/a.b/log"));
    }

    #[test]
    fn in_the_users_folder_where_it_cannot() {
        let installed = tempfile::tempdir().unwrap();
        let config = config("app = 'a.b'");
        let places = chosen(&config, installed.path(), false);
        assert_eq!(places.client, Path::new("/users/data/a.b/client"));
        assert_eq!(places.read_only, None, "there is none to start");

        let beside = installed.path().join("client");
        fs::create_dir(&beside).unwrap();
        let places = chosen(&config, installed.path(), false);
        assert_eq!(places.client, Path::new("/users/data/a.b/client"));
        assert_eq!(places.read_only, Some(beside));
    }

    #[test]
    fn a_copy_in_use_stays_in_use_for_the_installation_that_it_is_of() {
        let home = tempfile::tempdir().unwrap();
        let (one, other) = (home.path().join("one"), home.path().join("other"));
        let config = config("app = 'a.b'");
        let place = |exe_dir: &Path, may_write: bool| {
            let user = UserFolders {
                data: home.path().join("data"),
                state: home.path().join("state"),
            };
            let places = choose(&config, exe_dir, Some(user), &|_| may_write);
            (places.client, places.why)
        };
        fs::create_dir_all(one.join("client")).unwrap();
        let copy = home.path().join("data/a.b/client");
        assert_eq!(place(&one, true), (one.join("client"), Why::Writable));
        fs::create_dir_all(copy.join(".castoff")).unwrap();
        let folder = one.join("client").to_string_lossy().into_owned();
        let state = serde_json::json!({"over": {"folder": folder, "version": "1.0"}});
        fs::write(copy.join(".castoff/state.json"), state.to_string()).unwrap();
        assert_eq!(place(&one, true), (one.join("client"), Why::Writable));
        fs::write(copy.join("local_version.json"), r#"{"version": "1.1"}"#).unwrap();
        assert_eq!(place(&one, true), (copy.clone(), Why::Kept));
        assert_eq!(place(&one, false), (copy, Why::NotWritable));
        assert_eq!(place(&other, true), (other.join("client"), Why::Writable));
    }

    #[test]
    fn without_a_home_everything_is_beside_the_launcher() {
        let places = choose(&config("app = 'a.b'"), Path::new("/x"), None, &|_| false);
        assert_eq!(places.client, Path::new("/x/client"));
        assert_eq!(places.log_dir, Path::new("/x/log"));
    }

    #[test]
    fn configured_folders_are_relative_to_the_launcher() {
        let config = config("client_dir = 'the/app'\nlog_dir = 'logs'");
        let places = chosen(&config, Path::new("/x"), true);
        assert_eq!(places.client, Path::new("/x/the/app"));
        assert_eq!(places.log_dir, Path::new("/x/logs"));
    }

    #[test]
    fn apps_do_not_share_a_folder() {
        let own = |text: &str, exe_dir: &str| own_folder(&config(text), Path::new(exe_dir));
        assert_eq!(own("name = 'Example: Client'", "/x"), "Example_ Client");
        assert!(own("", "/x").starts_with("Tool-"), "{}", own("", "/x"));
        assert_ne!(own("", "/x"), own("", "/y"));
    }

    #[test]
    fn folder_names_are_safe() {
        for (text, name) in [
            ("a.b", "a.b"),
            ("工具", "工具"),
            ("a/b\\c:d", "a_b_c_d"),
            ("..", "_"),
            ("", "_"),
            ("con", "_con"),
            ("COM1.x", "_COM1.x"),
            (" x. ", "x"),
            ("a\nb", "a_b"),
        ] {
            assert_eq!(folder_name(text), name);
        }
    }

    #[test]
    fn writability_is_tried_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        // Of a process that was killed.
        fs::write(folder.path().join(".castoff-1-0.probe"), "").unwrap();
        assert!(writable(folder.path()));
        assert!(writable(&folder.path().join("not/yet/there")));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);

        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(!writable(&file.join("client")), "a file is in the way");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn not_even_root_writes_everywhere() {
        assert!(!writable(Path::new("/proc/castoff")));
    }
}
