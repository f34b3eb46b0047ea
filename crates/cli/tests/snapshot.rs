//! The commands for operators, above all on the snapshot layout.
#![cfg(unix)]

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use castoff_testkit::http::Server;
use castoff_testkit::package::Package;
use serde_json::{Value, json};
use tempfile::TempDir;

use common::{ENTRY, app, castoff, command, document, folder_asking, publish};

const SNAPSHOT: &str = "layout = \"snapshot\"";

/// A machine with an app, and the endpoint that it asks.
struct Device {
    server: Server,
    home: TempDir,
}

impl Device {
    fn new(config: &str) -> Self {
        let server = Server::start();
        let home = folder_asking(&server, config);
        let file = home.path().join("launcher.toml");
        let text = fs::read_to_string(&file).unwrap();
        let bin = home.path().join("bin");
        let text = format!("snapshot.bin_dir = \"{}\"\n{text}", bin.display());
        fs::write(&file, text).unwrap();
        Self { server, home }
    }

    /// One on which these versions have been installed, and have shown that they run.
    fn with(config: &str, versions: &[&str]) -> Self {
        let device = Self::new(config);
        for version in versions {
            device.update_to(version);
        }
        device
    }

    #[track_caller]
    fn update_to(&self, version: &str) {
        publish(&self.server, version, &device_app(version));
        let run = self.castoff(&["run"]);
        let told = String::from_utf8_lossy(&run.stdout);
        assert!(told.contains(&format!("app {version} ")), "{run:?}");
    }

    fn castoff(&self, args: &[&str]) -> Output {
        castoff(self.home.path(), args)
    }

    #[track_caller]
    fn good(&self, args: &[&str]) -> String {
        let output = self.castoff(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn json(&self, args: &[&str]) -> Value {
        let args = [args, &["--json"]].concat();
        document(&self.castoff(&args))
    }

    /// Checks that a command is refused, with this code and this exit code.
    #[track_caller]
    fn assert_refused(&self, args: &[&str], code: &str, exit: i32) {
        let output = self.castoff(&[args, &["--json"]].concat());
        assert_eq!(document(&output)["error"], code, "{args:?}: {output:?}");
        assert_eq!(output.status.code(), Some(exit), "{args:?}: {output:?}");
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.home.path().join("client").join(relative)
    }

    fn link(&self, name: &str) -> Option<String> {
        let target = fs::read_link(self.path("versions").join(name)).ok()?;
        Some(target.to_str().unwrap().to_owned())
    }

    #[track_caller]
    fn assert_links(&self, current: &str, previous: Option<&str>, factory: Option<&str>) {
        assert_eq!(self.link("current").as_deref(), Some(current));
        assert_eq!(self.link("previous").as_deref(), previous);
        assert_eq!(self.link("factory").as_deref(), factory);
    }

    /// Checks that the version's folder is what a factory version is, and shared with no other.
    #[track_caller]
    fn assert_factory(&self, name: &str) {
        let folder = self.path("versions").join(name);
        assert_eq!(mode(&folder), 0o555);
        for path in below(&folder) {
            let expected = if path.is_dir() || path.ends_with(ENTRY) || path.ends_with("tool") {
                0o555
            } else {
                0o444
            };
            assert_eq!(mode(&path), expected, "{}", path.display());
            if path.is_file() {
                let names = fs::metadata(&path).unwrap().nlink();
                assert_eq!(names, 1, "{}", path.display());
            }
        }
    }

    #[track_caller]
    fn assert_writable(&self, name: &str) {
        for path in below(&self.path("versions").join(name)) {
            assert_ne!(mode(&path) & 0o200, 0, "{}", path.display());
        }
    }
}

/// A read-only folder cannot be emptied by its owner.
impl Drop for Device {
    fn drop(&mut self) {
        let _ = Command::new("chmod")
            .args(["-R", "u+w"])
            .arg(self.home.path())
            .status();
    }
}

/// An app with a file that no version changes, services and a program.
fn device_app(version: &str) -> Package {
    app(version)
        .file("lib/same.py", "print('the same')\n")
        .file("services/camera/main.py", format!("# {version}\n"))
        .file("services/web.conf", format!("{version}\n"))
        .executable("bin/tool", format!("#!/bin/sh\necho tool {version}\n"))
        .list()
}

/// The files and folders below a folder; links are passed over.
fn below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            found.extend(below(&path));
        }
        found.push(path);
    }
    found
}

/// The content of every file below a folder.
fn content(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let files = below(folder).into_iter().filter(|path| path.is_file());
    let mut content: Vec<_> = files
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    content.sort();
    content
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn versions_are_listed_in_both_layouts() {
    for layout in ["in-place", "snapshot"] {
        let device = Device::new(&format!("layout = \"{layout}\""));
        assert_eq!(device.good(&["versions"]), "Nothing is installed.\n");
        let nothing = json!({"current": null, "on_trial": false, "factory": null, "kept": []});
        assert_eq!(device.json(&["versions"]), nothing);

        device.update_to("1.0.0");
        publish(&device.server, "1.1.0", &device_app("1.1.0"));
        device.good(&["update"]);
        let text = device.good(&["versions"]);
        let mut lines = text.lines();
        let first = lines.next().unwrap();
        assert_eq!(first, "1.1.0            current, on trial", "{layout}");
        assert!(lines.next().unwrap().starts_with("1.0.0   "), "{text}");
        assert_eq!(lines.next(), None);
        device.good(&["run"]);

        let told = device.json(&["versions"]);
        assert_eq!(told["current"], "1.1.0", "{layout}");
        assert_eq!(told["on_trial"], false, "{layout}");
        let kept = told["kept"].as_array().unwrap();
        assert_eq!(kept.len(), 1, "{layout}: {told}");
        assert_eq!(kept[0]["version"], "1.0.0", "{layout}");
        assert!(kept[0]["size"].as_u64().unwrap() > 0, "{layout}");
        let (name, reason) = match layout {
            "snapshot" => ("v1.0.0", "previous"),
            _ => ("1.0.0", "update to 1.1.0"),
        };
        assert_eq!(
            (&kept[0]["name"], &kept[0]["reason"]),
            (&json!(name), &json!(reason))
        );
    }
}

#[test]
fn a_rollback_goes_to_the_version_before_and_forward_again_or_to_any_that_is_named() {
    let device = Device::with(SNAPSHOT, &["1.0.0", "1.1.0", "1.2.0"]);
    device.good(&["factory", "set", "1.0.0"]);
    let text = device.good(&["rollback"]);
    assert!(text.contains("1.1.0"), "{text}");
    device.assert_links("v1.1.0", Some("v1.2.0"), Some("v1.0.0"));
    device.good(&["rollback"]);
    device.assert_links("v1.2.0", Some("v1.1.0"), Some("v1.0.0"));
    device.good(&["rollback", "previous"]);
    let told = device.json(&["rollback", "factory"]);
    assert_eq!(told, json!({"outcome": "restored", "version": "1.0.0"}));
    device.assert_links("v1.0.0", Some("v1.1.0"), Some("v1.0.0"));
    assert!(device.good(&["run"]).contains("app 1.0.0 "));
    device.good(&["rollback", "1.2.0"]);
    device.good(&["rollback", "v1.1.0"]);
    device.assert_links("v1.1.0", Some("v1.2.0"), Some("v1.0.0"));
    device.assert_refused(&["rollback", "9.9"], "BACKUP_NOT_FOUND", 74);
    device.assert_links("v1.1.0", Some("v1.2.0"), Some("v1.0.0"));
}

#[test]
fn a_rollback_in_place_goes_to_the_newest_backup_or_to_the_named_one() {
    let device = Device::with("", &["1.0.0", "1.1.0", "1.2.0"]);
    device.good(&["rollback"]);
    assert!(device.good(&["run"]).contains("app 1.1.0 "));
    device.good(&["rollback", "1.0.0"]);
    assert!(device.good(&["run"]).contains("app 1.0.0 "));
    device.assert_refused(&["rollback", "factory"], "NO_WAY_BACK", 74);
    for command in [&["factory", "set"][..], &["links", "check"]] {
        device.assert_refused(command, "LAYOUT_UNFIT", 78);
    }
}

#[test]
fn what_is_not_needed_can_be_deleted() {
    let device = Device::with(SNAPSHOT, &["1.0.0", "1.1.0", "1.2.0", "1.3.0"]);
    device.good(&["factory", "set", "1.0.0"]);
    for needed in ["1.2.0", "v1.0.0"] {
        device.assert_refused(&["backups", "delete", needed], "VERSION_NEEDED", 74);
    }
    device.assert_refused(&["backups", "delete", "1.3.0"], "BACKUP_NOT_FOUND", 74);
    assert!(
        device
            .good(&["backups", "delete", "1.1.0"])
            .contains("v1.1.0")
    );
    assert!(!device.path("versions/v1.1.0").exists());
    assert_eq!(
        device.json(&["versions"])["kept"].as_array().unwrap().len(),
        2
    );

    let device = Device::with("", &["1.0.0", "1.1.0"]);
    let told = device.json(&["backups", "delete", "1.0.0"]);
    assert_eq!(told, json!({"outcome": "deleted", "name": "1.0.0"}));
    assert_eq!(device.json(&["backups"]), json!([]));
}

#[test]
fn a_factory_version_is_read_only_and_shares_nothing() {
    let device = Device::with(SNAPSHOT, &["1.0.0", "1.1.0"]);
    let same = |version: &str| {
        let path = device.path("versions").join(version).join("lib/same.py");
        fs::metadata(path).unwrap().ino()
    };
    assert_eq!(same("v1.0.0"), same("v1.1.0"));
    let before = content(&device.path("versions"));
    let told = device.json(&["factory", "set", "1.0.0"]);
    assert_eq!(told, json!({"outcome": "factory-set", "name": "v1.0.0"}));
    device.assert_links("v1.1.0", Some("v1.0.0"), Some("v1.0.0"));
    device.assert_factory("v1.0.0");
    device.assert_writable("v1.1.0");
    assert_ne!(same("v1.0.0"), same("v1.1.0"));
    assert_eq!(content(&device.path("versions")), before);

    // Once more is no fault; another one needs a word.
    device.good(&["factory", "set", "1.0.0"]);
    device.assert_refused(&["factory", "set"], "FACTORY_SET", 74);
    device.assert_links("v1.1.0", Some("v1.0.0"), Some("v1.0.0"));
    device.assert_writable("v1.1.0");
    device.good(&["factory", "set", "--replace"]);
    device.assert_links("v1.1.0", Some("v1.0.0"), Some("v1.1.0"));
    device.assert_factory("v1.1.0");
    device.assert_writable("v1.0.0");
    assert_eq!(content(&device.path("versions")), before);
    let text = device.good(&["versions"]);
    assert!(
        text.starts_with("1.1.0            current, factory\n"),
        "{text}"
    );
    device.assert_refused(
        &["factory", "set", "nonsense", "--replace"],
        "BACKUP_NOT_FOUND",
        74,
    );
}

#[test]
fn a_damaged_version_does_not_become_the_factory_version() {
    for damage in ["removed", "changed"] {
        let device = Device::with(SNAPSHOT, &["1.0.0", "1.1.0"]);
        let file = device.path("versions/v1.0.0/only-1.0.0");
        match damage {
            "removed" => fs::remove_file(&file).unwrap(),
            _ => fs::write(&file, "y").unwrap(),
        }
        device.assert_refused(&["factory", "set", "1.0.0"], "BACKUP_DAMAGED", 74);
        device.assert_links("v1.1.0", Some("v1.0.0"), None);
        device.assert_writable("v1.0.0");
    }
}

#[test]
fn what_the_app_has_written_to_shared_does_not_speak_against_a_factory_version() {
    let device = Device::new(&format!("{SNAPSHOT}\nupdate.preserve = [\"uploads/\"]"));
    let package = device_app("1.0.0").file("uploads/start", "shipped").list();
    publish(&device.server, "1.0.0", &package);
    device.good(&["run"]);
    let file = device.path("shared/uploads/start");
    assert_eq!(fs::read_to_string(&file).unwrap(), "shipped");
    fs::write(&file, "written").unwrap();
    device.good(&["factory", "set"]);
    device.assert_factory("v1.0.0");
    assert_eq!(mode(&file), 0o644);
    device.good(&["links", "setup"]);
    device.good(&["links", "check"]);
}

#[test]
fn the_factory_version_survives_updates_and_pruning() {
    let config = format!("{SNAPSHOT}\nupdate.keep = 0");
    let device = Device::with(&config, &["1.0.0"]);
    device.good(&["factory", "set"]);
    let before = content(&device.path("versions/v1.0.0"));
    for version in ["1.1.0", "1.2.0", "1.3.0"] {
        device.update_to(version);
        device.assert_writable(&format!("v{version}"));
    }
    device.assert_links("v1.3.0", Some("v1.2.0"), Some("v1.0.0"));
    assert!(!device.path("versions/v1.1.0").exists());
    device.assert_factory("v1.0.0");
    assert_eq!(content(&device.path("versions/v1.0.0")), before);
    // One that was the factory version can be removed.
    device.good(&["factory", "set", "--replace"]);
    device.good(&["backups", "delete", "1.0.0"]);
    assert!(!device.path("versions/v1.0.0").exists());
}

/// Root may write where nobody may: this is done by somebody else where the tests are run by root.
#[test]
fn a_user_without_rights_sets_updates_and_replaces_a_factory_version() {
    let device = Device::with(SNAPSHOT, &["1.0.0", "1.1.0"]);
    let home = device.home.path();
    let by_root = fs::metadata(home).unwrap().uid() == 0;
    // The build's folders may be closed to others. No link: the build's own file is not to be given away.
    let program = home.join("castoff");
    fs::copy(env!("CARGO_BIN_EXE_castoff"), &program).unwrap();
    if by_root {
        let owned = Command::new("chown")
            .args(["-hR", "65534:65534"])
            .args(
                fs::read_dir(home)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            )
            .arg(home)
            .status();
        assert!(owned.unwrap().success());
    }
    let as_user = |args: &[&str]| {
        let mut command = if by_root {
            let mut command = Command::new("setpriv");
            command
                .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
                .arg(&program);
            command
        } else {
            Command::new(&program)
        };
        command.args(args).current_dir(home);
        command.env("HOME", home).env("LC_ALL", "C");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    as_user(&["factory", "set"]);
    device.assert_factory("v1.1.0");
    publish(&device.server, "1.2.0", &device_app("1.2.0"));
    assert!(as_user(&["run"]).contains("app 1.2.0 "));
    device.assert_writable("v1.2.0");
    device.assert_factory("v1.1.0");
    as_user(&["rollback", "factory"]);
    assert!(as_user(&["run"]).contains("app 1.1.0 "));
    as_user(&["factory", "set", "1.0.0", "--replace"]);
    device.assert_factory("v1.0.0");
    device.assert_writable("v1.1.0");
    as_user(&["links", "setup"]);
    as_user(&["links", "check"]);
}

#[test]
fn setting_a_factory_version_can_be_killed_anywhere_and_repeated() {
    let places = [
        "factory.file@1",
        "factory.file@4",
        "factory.made",
        "factory.set",
    ];
    for place in places {
        let device = Device::with(SNAPSHOT, &["1.0.0", "1.1.0"]);
        device.good(&["factory", "set", "1.0.0"]);
        let before = content(&device.path("versions"));
        let args = ["factory", "set", "1.1.0", "--replace"];
        let killed = command(device.home.path(), &args)
            .env("CASTOFF_FAIL", format!("{place}=kill"))
            .output()
            .unwrap();
        assert_eq!(killed.status.signal(), Some(9), "{place}: {killed:?}");
        assert_eq!(content(&device.path("versions")), before, "{place}");
        // What is the factory version by now is whole and read-only.
        device.assert_factory(&device.link("factory").unwrap());
        assert!(device.good(&["run"]).contains("app 1.1.0 "), "{place}");
        device.good(&args);
        device.assert_links("v1.1.0", Some("v1.0.0"), Some("v1.1.0"));
        device.assert_factory("v1.1.0");
        device.assert_writable("v1.0.0");
        assert_eq!(content(&device.path("versions")), before, "{place}");
        assert!(!device.path(".castoff/restoring").exists(), "{place}");
    }
}

/// The faults that a look at links finds: name of the link (or last parts of the path), and fault.
#[track_caller]
fn faults(findings: &Value) -> Vec<(String, String)> {
    let faults = findings.as_array().unwrap().iter();
    let faults = faults.filter(|row| !row["fault"].is_null());
    let mut faults: Vec<_> = faults
        .map(|row| {
            let path = Path::new(row["path"].as_str().unwrap());
            let name = path.file_name().unwrap().to_str().unwrap();
            (name.to_owned(), row["fault"].as_str().unwrap().to_owned())
        })
        .collect();
    faults.sort();
    faults
}

fn named(faults: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = faults.iter();
    owned
        .map(|(name, fault)| ((*name).to_owned(), (*fault).to_owned()))
        .collect()
}

/// A tree as the devices' own scripts make it: relative links between versions, and links to
/// services and programs that lead to one version and do not follow a switch.
fn existing_tree() -> Device {
    let device = Device::new(&format!("{SNAPSHOT}\nentry_point = \"{ENTRY}\""));
    for version in ["1.0.0", "1.1.0"] {
        let folder = device.path(&format!("versions/v{version}"));
        for (path, text) in [
            (ENTRY, format!("#!/bin/sh\necho \"app {version} $*\"\n")),
            ("services/camera/main.py", "print(1)\n".into()),
            ("services/web.conf", version.into()),
            ("bin/tool", "#!/bin/sh\n".into()),
        ] {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            if path.ends_with(ENTRY) || path.ends_with("tool") {
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            }
        }
    }
    for (name, target) in [("current", "v1.1.0"), ("previous", "v1.0.0")] {
        symlink(target, device.path("versions").join(name)).unwrap();
    }
    let bin = device.home.path().join("bin");
    fs::create_dir(&bin).unwrap();
    symlink(device.path("versions/v1.1.0/bin/tool"), bin.join("tool")).unwrap();
    fs::create_dir(device.path("services")).unwrap();
    let camera = device.path("versions/v1.1.0/services/camera");
    symlink(camera, device.path("services/camera")).unwrap();
    device
}

#[test]
fn links_of_a_tree_that_other_tools_have_made_are_set_right_and_follow_a_switch() {
    let device = existing_tree();
    let found = device.castoff(&["links", "check", "--json"]);
    assert_eq!(found.status.code(), Some(1), "{found:?}");
    let wrong = [
        ("camera", "astray"),
        ("tool", "astray"),
        ("web.conf", "missing"),
    ];
    assert_eq!(faults(&document(&found)), named(&wrong));
    // These links do not follow a switch.
    let tested = device.castoff(&["links", "test", "--json"]);
    assert_eq!(tested.status.code(), Some(1), "{tested:?}");
    assert_eq!(faults(&document(&tested)), named(&wrong));

    let text = device.good(&["links", "setup"]);
    assert!(text.ends_with("Everything looks good.\n"), "{text}");
    let bin = device.home.path().join("bin");
    let home = fs::canonicalize(device.home.path()).unwrap();
    assert_eq!(
        fs::read_link(bin.join("tool")).unwrap(),
        home.join("client/versions/current/bin/tool")
    );
    assert_eq!(
        fs::read_link(device.path("services/camera")).unwrap(),
        Path::new("../versions/current/services/camera")
    );
    device.good(&["links", "check"]);
    let tested = device.json(&["links", "test"]);
    assert_eq!(tested.as_array().unwrap().len(), 3, "{tested}");
    assert_eq!(faults(&tested), named(&[]));
    device.assert_links("v1.1.0", Some("v1.0.0"), None);
    assert_eq!(
        fs::read_to_string(device.path("services/web.conf")).unwrap(),
        "1.1.0"
    );
    device.good(&["rollback"]);
    assert_eq!(
        fs::read_to_string(device.path("services/web.conf")).unwrap(),
        "1.0.0"
    );
    // Set up anew, nothing changes.
    device.good(&["links", "setup"]);
    device.good(&["links", "check"]);
}

#[test]
fn what_is_in_the_way_of_a_link_is_told_and_stays_and_stale_links_go() {
    let device = Device::with(SNAPSHOT, &["1.0.0"]);
    let bin = device.home.path().join("bin");
    fs::create_dir(&bin).unwrap();
    fs::create_dir(device.path("services")).unwrap();
    // Somebody's own program, and a link to another's.
    fs::write(bin.join("tool"), "mine").unwrap();
    symlink("/bin/sh", device.path("services/camera")).unwrap();
    let before_own = bin.join("own");
    symlink("/bin/sh", &before_own).unwrap();
    let run = device.castoff(&["links", "setup", "--json"]);
    assert_eq!(run.status.code(), Some(1), "{run:?}");
    let in_the_way = named(&[("camera", "in-the-way"), ("tool", "in-the-way")]);
    assert_eq!(faults(&document(&run)), in_the_way);
    assert_eq!(fs::read_to_string(bin.join("tool")).unwrap(), "mine");
    assert_eq!(
        fs::read_link(device.path("services/camera")).unwrap(),
        Path::new("/bin/sh")
    );
    fs::remove_file(bin.join("tool")).unwrap();
    fs::remove_file(device.path("services/camera")).unwrap();
    device.good(&["links", "setup"]);

    // A version without the configuration and the program.
    let package = app("1.1.0")
        .file("services/camera/main.py", "# new\n")
        .list();
    publish(&device.server, "1.1.0", &package);
    let told = device.castoff(&["run"]);
    assert!(
        String::from_utf8_lossy(&told.stdout).contains("app 1.1.0 "),
        "{told:?}"
    );
    let found = device.castoff(&["links", "check", "--json"]);
    assert_eq!(found.status.code(), Some(1), "{found:?}");
    let stale = named(&[("tool", "stale"), ("web.conf", "stale")]);
    assert_eq!(faults(&document(&found)), stale);
    device.good(&["links", "setup"]);
    assert!(!bin.join("tool").is_symlink());
    assert!(!device.path("services/web.conf").is_symlink());
    assert!(before_own.is_symlink(), "nobody asked for that");
    device.good(&["links", "check"]);
    // That the version before has more is no fault of the links.
    device.good(&["links", "test"]);
    device.assert_links("v1.1.0", Some("v1.0.0"), None);
}

#[test]
fn a_check_of_links_finds_each_kind_of_fault() {
    let device = Device::with(SNAPSHOT, &["1.0.0", "1.1.0"]);
    device.good(&["factory", "set", "1.0.0"]);
    device.good(&["links", "setup"]);
    device.good(&["links", "check"]);
    let versions = device.path("versions");
    let camera = device.path("services/camera");
    let file = versions.join("v1.0.0/lib/same.py");
    let relink = |link: &Path, target: &str| {
        fs::remove_file(link).unwrap();
        symlink(target, link).unwrap();
    };
    let check = || {
        let found = device.castoff(&["links", "check", "--json"]);
        let faults = faults(&document(&found));
        assert_eq!(found.status.code(), Some(i32::from(!faults.is_empty())));
        faults
    };

    relink(&versions.join("previous"), "v0.9.0");
    assert_eq!(check(), named(&[("previous", "dead")]));
    relink(&versions.join("previous"), "../services");
    assert_eq!(check(), named(&[("previous", "astray")]));
    fs::remove_file(versions.join("previous")).unwrap();
    fs::write(versions.join("previous"), "").unwrap();
    assert_eq!(check(), named(&[("previous", "in-the-way")]));
    relink(&versions.join("previous"), "v1.0.0");
    assert_eq!(check(), named(&[]));

    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(check(), named(&[("v1.0.0", "unprotected")]));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o444)).unwrap();
    fs::hard_link(&file, versions.join("v1.1.0/another-name")).unwrap();
    assert_eq!(check(), named(&[("v1.0.0", "unprotected")]));
    device.good(&["factory", "set", "1.0.0"]);
    assert_eq!(check(), named(&[]));

    relink(&camera, "../versions/v1.0.0/services/camera");
    assert_eq!(check(), named(&[("camera", "astray")]));
    fs::remove_file(&camera).unwrap();
    assert_eq!(check(), named(&[("camera", "missing")]));
    let text = String::from_utf8(device.castoff(&["links", "check"]).stdout).unwrap();
    assert!(text.contains("camera: is missing\n"), "{text}");
    assert!(text.ends_with("Problems found: 1.\n"), "{text}");
    device.good(&["links", "setup"]);

    fs::remove_file(versions.join("current")).unwrap();
    // Without a current version, every link to it is stale.
    assert!(check().contains(&("current".into(), "missing".into())));
    symlink("v1.1.0", versions.join("current")).unwrap();
    assert_eq!(check(), named(&[]));
}

#[test]
fn a_test_of_links_that_is_killed_is_undone() {
    for place in [
        "switch.previous@1",
        "switch.current@1",
        "switch.previous@2",
        "switch.current@2",
    ] {
        let device = Device::with(SNAPSHOT, &["1.0.0", "1.1.0"]);
        device.good(&["links", "setup"]);
        let killed = command(device.home.path(), &["links", "test"])
            .env("CASTOFF_FAIL", format!("{place}=kill"))
            .output()
            .unwrap();
        assert_eq!(killed.status.signal(), Some(9), "{place}: {killed:?}");
        assert!(device.path(".castoff/journal.json").exists(), "{place}");
        assert!(device.good(&["run"]).contains("app 1.1.0 "), "{place}");
        device.assert_links("v1.1.0", Some("v1.0.0"), None);
        device.good(&["links", "test"]);
        device.assert_links("v1.1.0", Some("v1.0.0"), None);
    }
    // There is nothing to switch to.
    let device = Device::with(SNAPSHOT, &["1.0.0"]);
    device.assert_refused(&["links", "test"], "NO_WAY_BACK", 74);
}
