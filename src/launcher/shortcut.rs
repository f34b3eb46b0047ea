//! Shortcuts to the launcher: on the desktop, and in the menu of applications.
//!
//! A `.lnk` on Windows, a `.desktop` file on Linux, with the app's name and icon. They start the
//! launcher, never the app: so they stay right through every update.
//!
//! Promises: a file that does not start this launcher is neither overwritten nor removed, whatever
//! its name. Making a shortcut again writes the one that is there anew. Everything is the user's
//! own; nothing is done for all users of a machine.
//!
//! Does not promise that a desktop trusts the file (GNOME asks the person once), nor anything on
//! macOS, where applications are put into the Dock by hand.

#[cfg(any(not(windows), test))]
mod desktop_entry;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

#[cfg(not(windows))]
use directories::BaseDirs;
use directories::UserDirs;

use crate::launcher::Session;
use crate::launcher::messages::sanitise;
use crate::{Error, Result, config, disk, order, record};

/// Where a shortcut can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The user's desktop.
    Desktop,
    /// The user's menu of applications: the Start menu on Windows.
    Menu,
}

impl Place {
    /// Every place.
    pub const ALL: [Self; 2] = [Self::Desktop, Self::Menu];

    /// The place as it is called in `--json` and in errors.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Desktop => "desktop",
            Self::Menu => "menu",
        }
    }

    /// Its folder, where this user has one.
    fn folder(self) -> Option<PathBuf> {
        if cfg!(target_os = "macos") {
            return None;
        }
        match self {
            Self::Desktop => {
                let user = UserDirs::new()?;
                let usual = || user.home_dir().join("Desktop");
                let desktop = user.desktop_dir().map_or_else(usual, Path::to_path_buf);
                // Linux: a desktop that is the home folder is one that was switched off.
                (desktop.is_dir() && desktop != user.home_dir()).then_some(desktop)
            }
            Self::Menu => {
                #[cfg(windows)]
                {
                    castoff_windows::shortcut::programs_folder().ok()
                }
                #[cfg(not(windows))]
                {
                    Some(BaseDirs::new()?.data_dir().join("applications"))
                }
            }
        }
    }
}

/// What a shortcut says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Link {
    /// The name that people see.
    name: String,
    /// The program.
    target: PathBuf,
    /// Its arguments.
    arguments: Vec<OsString>,
    /// The working directory.
    folder: PathBuf,
    /// The icon's file.
    icon: Option<PathBuf>,
}

#[cfg(windows)]
const SUFFIX: &str = "lnk";
#[cfg(not(windows))]
const SUFFIX: &str = "desktop";

/// Kinds of files that hold icons.
#[cfg(windows)]
const ICONS: &[&str] = &["ico", "exe", "dll"];
#[cfg(not(windows))]
const ICONS: &[&str] = &["png", "svg", "xpm"];

impl Session {
    /// Makes the shortcuts, or writes those anew that are there. Without places: wherever this
    /// user can have one. Returns their paths.
    pub(crate) fn make_shortcuts(&self, places: &[Place]) -> Result<Vec<PathBuf>> {
        let link = self.link()?;
        let mut made = Vec::new();
        for place in Place::ALL {
            match place.folder() {
                Some(folder) if places.is_empty() || places.contains(&place) => {
                    made.push(link.write_to(&folder, place, &self.file_name(place))?);
                }
                None if places.contains(&place) => {
                    return Err(Error::NoShortcutPlace {
                        place: place.as_str(),
                    });
                }
                _ => {}
            }
        }
        if made.is_empty() {
            return Err(Error::NoShortcutPlace {
                place: Place::Menu.as_str(),
            });
        }
        Ok(made)
    }

    /// The shortcuts to this launcher, whatever they are called.
    pub(crate) fn shortcuts(&self, places: &[Place]) -> Result<Vec<PathBuf>> {
        let link = self.link()?;
        let mut found = Vec::new();
        for place in Place::ALL {
            if let Some(folder) = place.folder()
                && (places.is_empty() || places.contains(&place))
            {
                found.extend(link.found_in(&folder));
            }
        }
        Ok(found)
    }

    /// Removes the shortcuts to this launcher, and returns where they were.
    pub(crate) fn remove_shortcuts(&self, places: &[Place]) -> Result<Vec<PathBuf>> {
        let found = self.shortcuts(places)?;
        for path in &found {
            disk::remove_file(path)?;
        }
        Ok(found)
    }

    fn link(&self) -> Result<Link> {
        let (target, arguments) = if let Some(launcher) = &self.launcher {
            (launcher.clone(), Vec::new())
        } else {
            // `castoff` works on any launcher's folder, and has to be told which.
            let castoff =
                std::env::current_exe().map_err(Error::io("find the program in", &self.home))?;
            let home = self.home.clone().into_os_string();
            (castoff, vec!["run".into(), "--dir".into(), home])
        };
        Ok(Link {
            name: sanitise(&self.config.name),
            icon: self.icon(),
            target,
            arguments,
            folder: self.home.clone(),
        })
    }

    /// The configured icon, if it is there and of a kind that this system shows.
    fn icon(&self) -> Option<PathBuf> {
        let configured = self.config.icon.as_ref()?;
        let found = [&self.places.client, &self.home]
            .map(|folder| folder.join(configured))
            .into_iter()
            .find(|path| path.is_file());
        let Some(path) = found else {
            record::warn!("the icon {} does not exist", configured.display());
            return None;
        };
        let kind = path.extension().unwrap_or_default().to_ascii_lowercase();
        if ICONS.iter().all(|known| kind != **known) {
            record::warn!("{} is no icon that this system shows", path.display());
            return None;
        }
        std::path::absolute(path).ok()
    }

    /// What the file is called there, without its suffix.
    fn file_name(&self, place: Place) -> String {
        // In a menu on Linux the file's name is the entry's identity: one that some other
        // application has would hide that one.
        if place == Place::Menu && cfg!(not(windows)) {
            config::own_folder(&self.config, &self.home)
        } else {
            config::folder_name(&self.config.name)
        }
    }
}

impl Link {
    fn write_to(&self, folder: &Path, place: Place, name: &str) -> Result<PathBuf> {
        /// Apps of one name on one desktop. More is a fault, and must not become a loop.
        const MOST: u32 = 99;

        let ours = self.found_in(folder).into_iter().next();
        let numbered = |number| match number {
            1 => folder.join(format!("{name}.{SUFFIX}")),
            _ => folder.join(format!("{name} ({number}).{SUFFIX}")),
        };
        let free = || (1..=MOST).map(numbered).find(|path| !path.exists());
        let Some(path) = ours.or_else(free) else {
            return Err(Error::TargetUnsafe {
                path: numbered(1),
                problem: "it is not a shortcut to this launcher, and nor are all the others",
            });
        };
        let bytes = self.bytes(&path)?;
        disk::create_folders(folder)?;
        disk::write_atomic(&path, &bytes)?;
        if place == Place::Desktop {
            // What desktops want of a file that is to be started by a double-click.
            disk::set_mode(&path, Some(0o755))?;
        }
        Ok(path)
    }

    /// The shortcuts in a folder that start what this one starts, in the order of their names.
    fn found_in(&self, folder: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut found: Vec<PathBuf> = entries
            .map(|entry| entry.path())
            .filter(|path| {
                path.extension()
                    .is_some_and(|suffix| suffix.eq_ignore_ascii_case(SUFFIX))
                    // Anything may lie on a desktop, under any name.
                    && fs::metadata(path)
                        .is_ok_and(|found| found.is_file() && found.len() <= LARGEST)
                    && self.starts_the_same(path)
            })
            .collect();
        order::sort(&mut found);
        found
    }

    #[cfg(not(windows))]
    fn bytes(&self, path: &Path) -> Result<Vec<u8>> {
        desktop_entry::text(self)
            .map(String::into_bytes)
            .ok_or_else(|| {
                let problem = "a path that is no Unicode text cannot stand in it";
                let error = std::io::Error::new(std::io::ErrorKind::InvalidInput, problem);
                Error::io("make the shortcut", path)(error)
            })
    }

    #[cfg(not(windows))]
    fn starts_the_same(&self, path: &Path) -> bool {
        let text = fs::read_to_string(path).unwrap_or_default();
        let command = desktop_entry::command(&text).unwrap_or_default();
        let Some((target, arguments)) = command.split_first() else {
            return false;
        };
        let arguments = arguments.iter().map(OsString::from);
        // A name alone is looked for in PATH, wherever this process happens to be.
        arguments.eq(self.arguments.iter().cloned())
            && Path::new(target).is_absolute()
            && same_file(&self.target, Path::new(target))
    }

    #[cfg(windows)]
    fn bytes(&self, path: &Path) -> Result<Vec<u8>> {
        castoff_windows::shortcut::to_bytes(&castoff_windows::shortcut::Link {
            target: self.target.clone(),
            arguments: command_line(&self.arguments),
            working_dir: self.folder.clone(),
            icon: self.icon.clone().unwrap_or_else(|| self.target.clone()),
            description: self.name.clone(),
        })
        .map_err(Error::io("make the shortcut", path))
    }

    #[cfg(windows)]
    fn starts_the_same(&self, path: &Path) -> bool {
        let link = fs::read(path).and_then(|bytes| castoff_windows::shortcut::of_bytes(&bytes));
        link.is_ok_and(|link| {
            link.arguments == command_line(&self.arguments) && same_file(&self.target, &link.target)
        })
    }
}

/// No shortcut is larger; what is need not be read to know that it is none of ours.
const LARGEST: u64 = 1 << 20;

/// Whether two paths name one file, by whatever links and spellings.
fn same_file(one: &Path, other: &Path) -> bool {
    match (fs::canonicalize(one), fs::canonicalize(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}

/// Arguments as programs on Windows take them apart again. Paths and plain words, which have no
/// quotes.
#[cfg(any(windows, test))]
pub(super) fn command_line(arguments: &[OsString]) -> OsString {
    let mut line = OsString::new();
    for argument in arguments {
        if !line.is_empty() {
            line.push(" ");
        }
        let text = argument.to_string_lossy();
        if text.contains(' ') {
            line.push("\"");
            line.push(argument);
            // A backslash before the quote would make it a part of the argument.
            let backslashes = text.len() - text.trim_end_matches('\\').len();
            line.push("\\".repeat(backslashes));
            line.push("\"");
        } else {
            line.push(argument);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(not(windows))]
    fn link(folder: &Path, target: &str) -> Link {
        let target = folder.join(target);
        fs::write(&target, "").unwrap();
        Link {
            name: "Test App".into(),
            target,
            arguments: Vec::new(),
            folder: folder.into(),
            icon: None,
        }
    }

    #[cfg(not(windows))]
    #[test]
    fn apps_of_one_name_do_not_overwrite_each_other_and_one_app_has_one_shortcut() {
        let folder = tempfile::tempdir().unwrap();
        let desktop = folder.path().join("desktop");
        let place = Place::Desktop;
        let (one, other) = (link(folder.path(), "one"), link(folder.path(), "other"));
        let first = one.write_to(&desktop, place, "App").unwrap();
        let second = other.write_to(&desktop, place, "App").unwrap();
        assert_eq!(first, desktop.join("App.desktop"));
        assert_eq!(second, desktop.join("App (2).desktop"));
        // Also when the app, or its shortcut, is called something else meanwhile.
        assert_eq!(one.write_to(&desktop, place, "New").unwrap(), first);
        assert_eq!(other.write_to(&desktop, place, "App").unwrap(), second);
        assert_eq!(one.found_in(&desktop), [first]);
        fs::write(desktop.join("b.desktop"), "[Desktop Entry]\nExec=other\n").unwrap();
        assert_eq!(other.found_in(&desktop), [second]);
        assert_eq!(fs::read_dir(&desktop).unwrap().count(), 3);
    }

    #[cfg(unix)]
    #[test]
    fn what_lies_on_a_desktop_can_be_started() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let link = link(folder.path(), "one");
        for (place, mode) in [(Place::Desktop, 0o755), (Place::Menu, 0o644)] {
            let path = link
                .write_to(&folder.path().join(place.as_str()), place, "App")
                .unwrap();
            let permissions = fs::metadata(path).unwrap().permissions();
            assert_eq!(permissions.mode() & 0o777, mode);
        }
    }

    #[test]
    fn a_path_is_one_argument_on_windows() {
        let line = |text: &[&str]| {
            let arguments: Vec<OsString> = text.iter().map(Into::into).collect();
            command_line(&arguments)
        };
        assert_eq!(line(&[]), "");
        assert_eq!(line(&["run", r"C:\a b\"]), r#"run "C:\a b\\""#);
        assert_eq!(line(&["run", r"C:\a\"]), r"run C:\a\");
    }
}
