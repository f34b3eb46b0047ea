//! Sets a device up: the unit by which systemd runs the updater, and an `agent.toml` to begin with.
//!
//! Promises: said twice, it does nothing the second time; what somebody has changed stays, and is shown;
//! everything that is done is told.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use castoff::config::{Config as Engine, LayoutKind, Places};
use castoff::{Error, Result, disk};

use crate::config::{Config, Control, FILE_NAME};
use crate::services::{program, systemd};

/// The service's name.
pub const SERVICE: &str = "castoff-agent";

const UNIT: &str = include_str!("../../../assets/agent/castoff-agent.service");
const EXAMPLE: &str = include_str!("../../../assets/agent/agent.toml");
const EXAMPLE_UNIT: &str = include_str!("../../../assets/agent/app.service");
const CONDITION: &str = include_str!("../../../assets/agent/service.conf");
const UNITS: &str = "/etc/systemd/system";

/// Where examples of units lie, in the folder with launcher.toml.
const EXAMPLES: &str = "services.example";

/// Where the log goes unless launcher.toml says: a service of the system has no user's folder.
const LOGS: &str = "/var/log/castoff";

/// For `systemctl` to do one thing: a restart waits for an installation, as long as the unit gives it.
const PATIENCE: Duration = Duration::from_mins(11);

/// What is to be installed, and where.
#[derive(Clone, Debug)]
pub struct Request {
    /// The absolute folder with launcher.toml.
    pub home: PathBuf,
    /// The absolute path of the program that the unit is to start.
    pub executable: PathBuf,
    /// The folder that is to be the device's `/`, where that is an image; what lies below it is named as the
    /// device will see it.
    pub root: Option<PathBuf>,
    /// Whether a unit that was changed is replaced.
    pub force: bool,
    /// Whether it is to run now, and at every boot.
    pub start: bool,
}

/// Installs, and tells every step.
///
/// Fails with `CONFIG_INVALID` where a file of the configuration is wrong, a path cannot be in a unit, or
/// there is no systemd; and with `SERVICES_FAILED` where `systemctl` does.
pub fn install(request: &Request, engine: &Engine, tell: &mut dyn FnMut(&str)) -> Result<()> {
    let place = Place(request.root.as_deref());
    let units = place.here(Path::new(UNITS));
    if request.root.is_some() {
        disk::create_folders(&units)?;
    } else if !units.is_dir() {
        return Err(wrong(
            UNITS,
            "there is no such folder: this system is not run by systemd. For an image of another system there is \
             --root; elsewhere let what runs your services run `castoff agent --dir FOLDER`",
        ));
    }
    // What is wrong in it is better known now than at the first start.
    Config::read(&request.home)?;
    let logs = match engine.log_dir.as_deref().unwrap_or(Path::new(LOGS)) {
        beside if beside.is_relative() => request.home.join(beside),
        absolute => place.here(absolute),
    };
    if !logs.is_dir() {
        disk::create_folders(&logs)?;
        tell(&format!("{} is made, for the log", logs.display()));
    }
    // systemd takes no path with `..` in it.
    let logs = logs.canonicalize().map_err(Error::io("find", &logs))?;
    let logs = place.there(&logs);
    let folder = place.there(&request.home);
    let executable = place.there(&request.executable);
    let mut text = unit(&executable, &folder, &logs)?;

    let example = request.home.join(FILE_NAME);
    if example.exists() {
        tell(&format!("{} stays as it is", example.display()));
    } else {
        write(&example, EXAMPLE)?;
        tell(&format!(
            "{} is written: every key with its default",
            example.display()
        ));
    }
    if !place.here(&executable).exists() {
        tell(&format!(
            "{} is not there yet: the unit starts it",
            executable.display()
        ));
    }
    let unit = units.join(format!("{SERVICE}.service"));
    let config = Config::read(&request.home)?;
    if config.services.control == Control::Child {
        text = without_limits(&text);
    }
    let changed = put_unit(&unit, &text, request.force, tell)?;
    if config.services.control == Control::Systemd {
        let client = Places::find(engine, &request.home).client;
        let client = place.there(&std::path::absolute(&client).unwrap_or(client));
        let app = App {
            services: &config.services.units,
            client: &client,
            layout: engine.layout,
        };
        app.put_conditions(&units, request.force, tell)?;
        app.put_examples(&units, &request.home.join(EXAMPLES), tell)?;
    }
    if request.start {
        start(&config, changed, tell)?;
    }
    tell("Next:");
    if let Some(root) = &request.root {
        let root = root.display();
        tell(&format!("  systemctl --root {root} enable {SERVICE}"));
        tell("and on the device:");
    } else if !request.start {
        tell("  systemctl daemon-reload");
        tell(&format!("  systemctl enable --now {SERVICE}"));
    }
    tell(&format!(
        "  castoff agent doctor --dir {}",
        folder.display()
    ));
    Ok(())
}

/// Returns whether the unit is another one than before.
fn put_unit(path: &Path, text: &str, force: bool, tell: &mut dyn FnMut(&str)) -> Result<bool> {
    let shown = path.display();
    let found = match std::fs::read_to_string(path) {
        Ok(found) => Some(found),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(Error::io("read", path)(error)),
    };
    match found {
        Some(found) if found == text => {
            tell(&format!("{shown} is as it should be"));
            Ok(false)
        }
        Some(found) if !force => {
            tell(&format!(
                "{shown} is another one and stays; `--force` replaces it. What is there (-), what would be (+):"
            ));
            for line in difference(&found, text) {
                tell(&format!("  {line}"));
            }
            Ok(false)
        }
        found => {
            write(path, text)?;
            let done = found.map_or("written", |_| "replaced");
            tell(&format!("{shown} is {done}"));
            Ok(true)
        }
    }
}

/// What systemd is to know of the app, by its names on the device.
struct App<'a> {
    services: &'a [String],
    client: &'a Path,
    layout: LayoutKind,
}

impl App<'_> {
    /// Has the services of an app that is updated in place wait for the undo of an update that the power has
    /// interrupted: at boot systemd would start them beside it. The updater starts them then.
    fn put_conditions(&self, units: &Path, force: bool, tell: &mut dyn FnMut(&str)) -> Result<()> {
        if self.layout != LayoutKind::InPlace {
            return Ok(());
        }
        let journal = self.client.join(".castoff/journal.json");
        let text = CONDITION.replace("@JOURNAL@", plain(&journal)?);
        for name in self.services {
            let folder = units.join(format!("{}.service.d", systemd::unit_of(name)));
            disk::create_folders(&folder)?;
            put_unit(&folder.join("castoff.conf"), &text, force, tell)?;
        }
        Ok(())
    }

    /// Writes examples of units for services that have none, each after the one before it.
    fn put_examples(
        &self,
        units: &Path,
        examples: &Path,
        tell: &mut dyn FnMut(&str),
    ) -> Result<()> {
        let (tree, condition) = match self.layout {
            LayoutKind::InPlace => (self.client.to_path_buf(), String::new()),
            LayoutKind::Snapshot => {
                let current = self.client.join("versions/current");
                // Before the first version there is nothing to start, and that is no failure.
                let condition = format!("ConditionPathExists={}\n", plain(&current)?);
                (current.join("bin"), condition)
            }
        };
        let mut before: Option<&str> = None;
        for name in self.services {
            let name = systemd::unit_of(name);
            let path = examples.join(format!("{name}.service"));
            let after = before.map_or_else(String::new, |it| format!("{it}.service "));
            let wants = before.map_or_else(String::new, |it| format!("Wants={it}.service\n"));
            before = Some(name);
            if units.join(format!("{name}.service")).exists() || path.exists() {
                continue;
            }
            let text = EXAMPLE_UNIT
                .replace("@NAME@", name)
                .replace("@AFTER@", &after)
                .replace("@WANTS@", &format!("{wants}{condition}"))
                .replace("@START@", plain(&tree.join(name))?)
                .replace("@FOLDER@", plain(self.client)?);
            disk::create_folders(examples)?;
            write(&path, &text)?;
            tell(&format!(
                "{} is written, an example: see to it, and copy it to {UNITS}",
                path.display()
            ));
        }
        Ok(())
    }
}

/// `changed`: one that runs does so by another unit.
fn start(config: &Config, changed: bool, tell: &mut dyn FnMut(&str)) -> Result<()> {
    let systemctl = systemd::systemctl(&config.services);
    let start = if changed { "restart" } else { "start" };
    for arguments in [
        &["daemon-reload"][..],
        &["enable", SERVICE],
        &[start, SERVICE],
    ] {
        let mut command = Command::new(&systemctl);
        command.args(arguments);
        let line = format!("systemctl {}", arguments.join(" "));
        program::run(command, PATIENCE).map_err(|problem| Error::ServicesFailed {
            problem: format!("{line}: {}", problem.trim()),
        })?;
        tell(&format!("{line}: done"));
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    disk::write_atomic(path, text.as_bytes())?;
    // Everybody may read it, whatever the caller's umask is.
    disk::set_mode(path, Some(0o644))
}

/// The unit for a device.
fn unit(executable: &Path, folder: &Path, logs: &Path) -> Result<String> {
    Ok(UNIT
        .replace("@EXECUTABLE@", plain(executable)?)
        .replace("@FOLDER@", plain(folder)?)
        .replace("@LOGS@", plain(logs)?))
}

/// The unit of an updater that is the parent of an app, which may need any amount of memory.
fn without_limits(unit: &str) -> String {
    let lines = unit.lines().filter(|line| {
        !line.starts_with("MemoryMax=") && !line.starts_with("OOMScoreAdjust=") && *line != LIMITS
    });
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// The comment on what limits the memory.
const LIMITS: &str = "# The updater needs a tenth of that; what its packages run counts too.";

/// A path that means itself wherever it stands in a unit, where each setting has its own rules of quoting.
fn plain(path: &Path) -> Result<&str> {
    let text = path.to_str().filter(|text| {
        text.starts_with('/')
            && text
                .chars()
                .all(|it| it.is_alphanumeric() || "/._-+@=,:~".contains(it))
    });
    text.ok_or_else(|| {
        wrong(
            &path.display().to_string(),
            "no unit can name it: letters, digits and / . _ - + @ = , : ~ are what may be in it",
        )
    })
}

/// The lines that are in one text alone, in their order; comments and blank lines say nothing.
fn difference<'a>(found: &'a str, wanted: &'a str) -> Vec<String> {
    let lines = |text: &'a str| {
        let lines = text.lines().map(str::trim);
        lines
            .filter(|line| !line.is_empty() && !line.starts_with(['#', ';']))
            .collect::<Vec<_>>()
    };
    let (found, wanted) = (lines(found), lines(wanted));
    let gone = found.iter().filter(|line| !wanted.contains(line));
    let new = wanted.iter().filter(|line| !found.contains(line));
    let gone = gone.map(|line| format!("- {line}"));
    let lines: Vec<_> = gone.chain(new.map(|line| format!("+ {line}"))).collect();
    if lines.is_empty() {
        return vec!["(comments, blank lines, or the order)".to_owned()];
    }
    lines
}

/// A device's `/`, as it is seen from here.
struct Place<'a>(Option<&'a Path>);

impl Place<'_> {
    /// What a path from here is called on the device.
    fn there(&self, path: &Path) -> PathBuf {
        let inside = self.0.and_then(|root| path.strip_prefix(root).ok());
        inside.map_or_else(|| path.to_path_buf(), |inside| Path::new("/").join(inside))
    }

    /// Where the device's path is from here.
    fn here(&self, path: &Path) -> PathBuf {
        match (self.0, path.strip_prefix("/")) {
            (Some(root), Ok(inside)) => root.join(inside),
            _ => path.to_path_buf(),
        }
    }
}

fn wrong(place: &str, problem: &str) -> Error {
    Error::ConfigInvalid {
        place: place.to_owned(),
        problem: problem.to_owned(),
        nearest: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_says_what_is_so_without_it() {
        let config: Config = toml::from_str(EXAMPLE).unwrap();
        assert_eq!(format!("{config:?}"), format!("{:?}", Config::default()));
        // Every key that it shows is one, and is written as it has to be.
        let shown = EXAMPLE
            .lines()
            .map(|line| line.strip_prefix('#').filter(|it| !it.starts_with(' ')))
            .zip(EXAMPLE.lines())
            .map(|(shown, line)| shown.unwrap_or(line));
        let shown: String = shown.flat_map(|line| [line, "\n"]).collect();
        let config: Config = toml::from_str(&shown).unwrap();
        assert_eq!(config.services.units, ["worker", "device-api"]);
        assert_eq!(config.packages.expire(), Duration::from_hours(24));
    }

    #[test]
    fn an_app_that_is_a_child_has_the_memory_that_it_needs() {
        let text = without_limits(UNIT);
        assert!(!text.contains("Memory") && !text.contains("OOM") && !text.contains("a tenth"));
        assert_eq!(UNIT.lines().count(), text.lines().count() + 3);
    }

    #[test]
    fn a_unit_names_plain_paths_alone() {
        let of = |folder: &str| {
            let executable = Path::new("/usr/local/bin/castoff");
            unit(executable, Path::new(folder), Path::new("/var/log/x"))
        };
        let text = of("/opt/tope").unwrap();
        let left = |name: &&str| text.contains(&format!("@{name}@"));
        assert_eq!(
            ["EXECUTABLE", "FOLDER", "LOGS"]
                .iter()
                .find(|name| left(name)),
            None
        );
        assert!(text.contains("\nExecStart=/usr/local/bin/castoff agent --dir /opt/tope\n"));
        for bad in [
            "opt/tope",
            "/opt/a b",
            "/opt/%h",
            "/opt/$x",
            "/opt/\"x",
            "/opt/a\nb",
        ] {
            assert!(of(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_somebody_has_changed_is_shown() {
        let theirs = UNIT.replace("MemoryMax=512M", "MemoryMax=1G");
        assert_eq!(
            difference(&theirs, UNIT),
            ["- MemoryMax=1G", "+ MemoryMax=512M"]
        );
        assert_eq!(difference(&format!("# mine\n{UNIT}"), UNIT).len(), 1);
    }
}
