//! Packages as publishers make them of a folder: by real folders, read by a launcher's reader, by
//! Info-ZIP and by Python.

#![expect(clippy::print_stderr, reason = "a test that is left out says so")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use castoff::archive::{Archive, Opening};
use castoff::release::{Commands, FileList, Listed};
use castoff_publish::pack::{Draft, Packed, Progress, pack};
use castoff_publish::{Result, against, release};
use castoff_testkit::http::{Reply, Server};
use castoff_testkit::package::Package;
use serde_json::json;
use tempfile::TempDir;

/// A folder to be packed, and one for what comes of it.
struct World {
    folder: TempDir,
    out: TempDir,
}

impl World {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            out: tempfile::tempdir().unwrap(),
        }
    }

    /// What Nuitka makes, in small: an executable, libraries, one of them behind a link, data, names
    /// that are not ASCII, an empty file and an empty folder.
    fn nuitka() -> Self {
        let world = Self::new();
        world.write("main.bin", noise(300_000));
        world.write("lib/libqt.so.6", noise(100_000));
        world.write("data/图标.txt", "x".repeat(50_000));
        world.write("data/空 folder/é.ini", "[a]\n");
        world.write("empty", "");
        world.folder("plugins/empty");
        #[cfg(unix)]
        {
            world.mode("main.bin", 0o755);
            world.link("lib/libqt.so", "libqt.so.6");
            world.link("plugins/lib", "../lib");
        }
        world
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn folder(&self, path: &str) {
        fs::create_dir_all(self.path().join(path)).unwrap();
    }

    #[cfg(unix)]
    fn link(&self, path: &str, target: &str) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(target, path).unwrap();
    }

    #[cfg(unix)]
    fn mode(&self, path: &str, mode: u32) {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(self.path().join(path), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn output(&self, name: &str) -> PathBuf {
        self.out.path().join(name)
    }

    fn draft(&self, version: &str) -> Draft {
        Draft {
            folder: self.path().to_path_buf(),
            version: version.parse().unwrap(),
            target: None,
            output: self.output(&format!("app-{version}.zip")),
            excludes: Vec::new(),
            default_excludes: true,
            commands: Commands::default(),
            against: None,
        }
    }

    fn pack(&self) -> Packed {
        made(&self.draft("1.0.0")).unwrap()
    }

    /// The names that are packed.
    fn packed(&self, change: impl FnOnce(&mut Draft)) -> Vec<String> {
        let mut draft = self.draft("1.0.0");
        change(&mut draft);
        let list = made(&draft).unwrap().list;
        list.files.keys().map(ToString::to_string).collect()
    }

    #[track_caller]
    fn refused(&self, code: &str) -> String {
        let draft = self.draft("1.0.0");
        let error = made(&draft).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert_eq!(fs::read_dir(self.out.path()).unwrap().count(), 0);
        error.to_string()
    }
}

fn made(draft: &Draft) -> Result<Packed> {
    pack(draft, &mut |_| ())
}

/// Bytes that cannot be compressed, the same in every run.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state.to_be_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

fn open(path: &Path) -> Archive {
    let opening = Opening::new("the package", path.parent().unwrap());
    Archive::open(File::open(path).unwrap(), &opening).unwrap()
}

#[test]
fn a_package_has_what_the_folder_has() {
    let world = World::nuitka();
    let packed = world.pack();
    let path = world.output("app-1.0.0.zip");
    let archive = open(&path);
    let list = archive.file_list(None).unwrap().unwrap();
    assert_eq!(list, packed.list);
    assert!(list.whole && list.fits.is_empty());
    assert_eq!(list.version, "1.0.0");
    for (index, entry) in archive.entries().iter().enumerate() {
        let mut content = Vec::new();
        archive.extract(index, &mut content).unwrap();
        match &list.files[&entry.path] {
            Listed::File {
                size, executable, ..
            } => {
                assert_eq!(content, fs::read(entry.path.below(world.path())).unwrap());
                assert_eq!(*size, content.len() as u64);
                let executable = *executable;
                assert_eq!(executable, entry.executable);
                assert_eq!(executable, cfg!(unix) && entry.path.as_str() == "main.bin");
            }
            Listed::Link { link } => {
                let target = fs::read_link(entry.path.below(world.path())).unwrap();
                assert_eq!(Path::new(link), target);
            }
        }
    }
    let folders: Vec<&str> = archive.folders().iter().map(AsRef::as_ref).collect();
    assert_eq!(folders, ["plugins/empty"]);
    assert_eq!(packed.file.size, fs::metadata(&path).unwrap().len());
    assert_eq!(packed.file.sha256, release::hash(&path).unwrap().sha256);
    #[cfg(unix)]
    assert_eq!(archive.entries().len(), 7);
}

#[test]
fn the_same_files_are_the_same_bytes() {
    let (one, other) = (World::nuitka(), World::nuitka());
    // Another order of creation, other times, other modes that mean the same.
    let names = ["main.bin", "empty", "data/图标.txt"];
    for name in names.iter().rev() {
        let path = other.path().join(name);
        let content = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        other.write(name, content);
        let file = File::options().write(true).open(&path).unwrap();
        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_hours(300_000);
        file.set_modified(long_ago).unwrap();
    }
    #[cfg(unix)]
    {
        other.mode("main.bin", 0o700);
        other.mode("empty", 0o600);
        other.mode("data", 0o700);
    }
    assert_eq!(one.pack().file.sha256, other.pack().file.sha256);
    let read = |world: &World| fs::read(world.output("app-1.0.0.zip")).unwrap();
    assert!(read(&one) == read(&other));
    // And again over what is there, and what an attempt that was killed has left.
    let before = read(&one);
    fs::write(one.output("app-1.0.0.zip.part"), "half").unwrap();
    one.pack();
    assert!(read(&one) == before);
    assert_eq!(fs::read_dir(one.out.path()).unwrap().count(), 1);
}

#[test]
fn what_no_app_needs_is_left_out() {
    let world = World::new();
    for path in [
        "main.bin",
        ".env",
        "lib/a.pyd",
        ".git/config",
        "sub/.git",
        "lib/__pycache__/a.cpython-312.pyc",
        "b.pyc",
        "Scripts/python/pyvenv.cfg",
        "Scripts/python/lib/x.py",
        ".DS_Store",
        ".castoff/state.json",
        ".backup/1.0.0/a",
        "local_version.json",
        "castoff-files.json",
        "lib/local_version.json",
    ] {
        world.write(path, path);
    }
    let kept = [".env", "lib/a.pyd", "lib/local_version.json", "main.bin"];
    assert_eq!(world.packed(|_| ()), kept);

    let all = world.packed(|draft| draft.default_excludes = false);
    assert_eq!(all.len(), kept.len() + 7, "{all:?}");
    assert!(all.iter().all(|path| !path.starts_with(".castoff")));

    world.write(
        ".castoffignore",
        "# What the build leaves\n\n*.pyd\r\n!b.pyc\n/lib/\n!castoff-files.json\n",
    );
    let exclude = |patterns: &[&str]| {
        world.packed(|draft| draft.excludes = patterns.iter().map(ToString::to_string).collect())
    };
    assert_eq!(exclude(&[]), [".env", "b.pyc", "main.bin"]);
    assert_eq!(
        exclude(&["*.bin", "!/lib/"]),
        [".env", "b.pyc", "lib/local_version.json"]
    );
    let mut draft = world.draft("1.0.0");
    draft.excludes = vec!["[a".to_owned()];
    assert_eq!(made(&draft).unwrap_err().code(), "CONFIG_INVALID");
}

#[test]
fn what_a_launcher_would_refuse_is_not_packed() {
    let empty = World::new();
    assert!(empty.refused("REQUEST_INVALID").contains("nothing to pack"));
    let world = World::new();
    world.write(".git/config", "x");
    world.refused("REQUEST_INVALID");

    let world = World::new();
    world.write("main", "x");
    let mut inside = world.draft("1.0.0");
    for output in ["app.zip", "lib/../app.zip"] {
        world.folder("lib");
        inside.output = world.path().join(output);
        let error = made(&inside).unwrap_err();
        assert!(error.to_string().contains("--output"), "{error}");
    }
    let mut draft = world.draft("1.0.0");
    draft.target = Some("windows/x".to_owned());
    assert_eq!(made(&draft).unwrap_err().code(), "REQUEST_INVALID");
    draft.folder = world.path().join("main");
    draft.target = None;
    assert_eq!(made(&draft).unwrap_err().code(), "REQUEST_INVALID");
}

#[cfg(unix)]
#[test]
fn what_another_system_could_not_write_is_not_packed() {
    for name in ["aux", "a:b", "lib/what?.txt", "lib/dot.", "a\\b"] {
        let world = World::new();
        world.write("main", "x");
        world.write(name, "x");
        let said = world.refused("ARCHIVE_UNSAFE");
        assert!(
            said.contains(&name.replace('\\', "\\\\")) || said.contains(name),
            "{said}"
        );
    }
    let world = World::new();
    world.write("lib/Readme", "x");
    world.write("lib/README", "x");
    world.refused("ARCHIVE_UNSAFE");
    let world = World::new();
    world.write("CASTOFF-FILES.json", "{}");
    world.refused("ARCHIVE_UNSAFE");
    for target in [
        "/etc/passwd",
        "../outside",
        "lib/../../x",
        ".castoff/state.json",
    ] {
        let world = World::new();
        world.folder("lib");
        world.link("link", target);
        let said = world.refused("ARCHIVE_UNSAFE");
        assert!(said.contains("link"), "{said}");
    }

    let world = World::new();
    let _socket = std::os::unix::net::UnixListener::bind(world.path().join("socket")).unwrap();
    let said = world.refused("REQUEST_INVALID");
    assert!(said.contains("neither a file nor"), "{said}");

    let world = World::new();
    let name = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"a\xff");
    fs::write(world.path().join(name), "x").unwrap();
    assert!(world.refused("REQUEST_INVALID").contains("Unicode"));

    let world = World::new();
    world.write("a.so.1", "x");
    world.link("a.so", "a.so.1");
    let mut draft = world.draft("1.0.0");
    draft.target = Some("windows-x86_64".to_owned());
    let error = made(&draft).unwrap_err();
    assert!(error.to_string().contains("Windows"), "{error}");
    draft.target = Some("linux-x86_64".to_owned());
    made(&draft).unwrap();
}

#[test]
fn a_file_that_changes_meanwhile_is_no_release() {
    let world = World::new();
    world.write("a", noise(1_000_000));
    world.write("b", "before");
    let mut first = true;
    let result = pack(&world.draft("1.0.0"), &mut |_| {
        if std::mem::take(&mut first) {
            world.write("b", "and after");
        }
    });
    let error = result.unwrap_err();
    assert!(error.to_string().contains("has changed"), "{error}");
    assert_eq!(fs::read_dir(world.out.path()).unwrap().count(), 0);
}

#[test]
fn commands_come_with_it_and_progress_is_told() {
    let world = World::nuitka();
    let mut draft = world.draft("1.0.0");
    draft.commands.after_commit = vec!["main.bin --migrate".to_owned()];
    let mut told = Vec::new();
    let packed = pack(&draft, &mut |progress| told.push(progress)).unwrap();
    assert_eq!(packed.list.hooks, draft.commands);
    assert_eq!(told.last(), Some(&Progress::Checking));
    told.pop();
    let whole = Progress::Packing {
        done: packed.bytes,
        total: packed.bytes,
    };
    assert_eq!(told.last(), Some(&whole));
}

/// Runs a tool, where there is one.
fn tool(name: &str, args: &[&str], input: &str) -> Option<String> {
    let mut command = Command::new(name);
    command.args(args).stdin(std::process::Stdio::piped());
    command.stdout(std::process::Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            eprintln!("left out: {name} cannot be run here: {error}");
            return None;
        }
    };
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{name}: {output:?}");
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn other_readers_see_the_same() {
    let world = World::nuitka();
    let packed = world.pack();
    let path = world.output("app-1.0.0.zip");
    let path = path.to_str().unwrap();
    tool("unzip", &["-tq", path], "");
    let script = "import hashlib, json, sys, zipfile
package = zipfile.ZipFile(sys.argv[1])
assert package.testzip() is None
entries = package.infolist()
for entry in entries:
    assert entry.date_time == (1980, 1, 1, 0, 0, 0), entry
    assert entry.create_system == 3, entry
    assert entry.filename.isascii() or entry.flag_bits & 0x800, entry
modes = {entry.filename: oct(entry.external_attr >> 16) for entry in entries}
print(json.dumps({'modes': modes, 'list': json.loads(package.read('castoff-files.json'))}))
";
    let Some(seen) = tool("python3", &["-", path], script) else {
        return;
    };
    let seen: serde_json::Value = serde_json::from_str(&seen).unwrap();
    let list = FileList::parse(seen["list"].to_string().as_bytes()).unwrap();
    assert_eq!(list, packed.list);
    let modes: BTreeMap<String, String> = serde_json::from_value(seen["modes"].clone()).unwrap();
    let expected = [
        ("castoff-files.json", "0o100644"),
        ("data/图标.txt", "0o100644"),
        ("data/空 folder/é.ini", "0o100644"),
        ("empty", "0o100644"),
        ("lib/libqt.so", "0o120777"),
        ("lib/libqt.so.6", "0o100644"),
        ("main.bin", "0o100755"),
        ("plugins/empty/", "0o40755"),
        ("plugins/lib", "0o120777"),
    ];
    let expected = expected.map(|(name, mode)| (name.to_owned(), mode.to_owned()));
    if cfg!(unix) {
        assert_eq!(modes, expected.into());
    }
}

/// The paths in a package.
fn names(path: &Path) -> Vec<String> {
    let archive = open(path);
    let entries = archive.entries().iter();
    entries.map(|entry| entry.path.to_string()).collect()
}

#[test]
fn a_partial_package_holds_what_has_changed() {
    let world = World::nuitka();
    world.write("goes", "x");
    let old = world.pack();
    world.write("empty", "no more");
    world.write("new", "x");
    fs::remove_file(world.path().join("goes")).unwrap();
    let changed: &[&str] = if cfg!(unix) {
        &["empty", "lib/libqt.so.6", "new", "plugins/lib"]
    } else {
        &["empty", "new"]
    };
    #[cfg(unix)]
    {
        fs::remove_file(world.path().join("plugins/lib")).unwrap();
        world.link("plugins/lib", "../data");
        world.mode("lib/libqt.so.6", 0o755);
    }
    let mut draft = world.draft("1.1.0");
    let whole = made(&draft).unwrap();

    draft.against = Some(old.list.clone());
    let partial = made(&draft).unwrap();
    assert_eq!(names(&draft.output), changed);
    assert_eq!(partial.held, changed.len());
    assert!(!partial.list.whole);
    assert_eq!(partial.list.fits, ["1.0.0"]);
    assert_eq!(partial.list.files, whole.list.files);
    assert_eq!(
        open(&draft.output).file_list(None).unwrap(),
        Some(partial.list)
    );

    // Nothing that has changed is a release too.
    let mut same = world.draft("1.2.0");
    same.against = Some(whole.list);
    assert_eq!(made(&same).unwrap().held, 0);
    assert!(names(&same.output).is_empty());
    same.version = "1.1.0".parse().unwrap();
    assert_eq!(made(&same).unwrap_err().code(), "REQUEST_INVALID");
}

#[test]
fn an_older_version_is_told_by_a_package_or_a_server() {
    let world = World::nuitka();
    let old = world.pack();
    let path = world.output("app-1.0.0.zip");
    let server = Server::start();
    server.route("/app.zip", Reply::file(&fs::read(&path).unwrap()));
    assert_eq!(
        against::read(path.to_str().unwrap(), None).unwrap(),
        old.list
    );
    assert_eq!(
        against::read(&server.url("/app.zip"), None).unwrap(),
        old.list
    );

    // As the later server answers, which keeps neither modes nor links.
    let files = old.list.files.iter().filter_map(|(path, listed)| match listed {
        Listed::File { size, sha256, .. } => Some(json!({
            "hash": sha256, "path": path, "url": format!("/media/nuitkal-pack/{sha256}"), "size": size,
        })),
        Listed::Link { .. } => None,
    });
    let files: Vec<_> = files.collect();
    let answer = |files: &[serde_json::Value]| {
        json!({
            "id": 1, "version": "1.0.0", "entry_point": "main.bin", "changelog": "c", "is_active": true,
            "file_count": files.len(), "total_size": 0, "files": files,
        })
        .to_string()
    };
    server.route("/active/", Reply::json(&answer(&files)));
    let told = against::read(&server.url("/active/"), None).unwrap();
    assert_eq!(told.version, "1.0.0");
    let mut draft = world.draft("1.1.0");
    draft.against = Some(told);
    made(&draft).unwrap();
    let again: &[&str] = if cfg!(unix) {
        &["lib/libqt.so", "main.bin", "plugins/lib"]
    } else {
        &[]
    };
    assert_eq!(names(&draft.output), again);

    let twice = [&files[..], &files[..1]].concat();
    let mut outside = files.clone();
    outside[0]["path"] = json!("../main.bin");
    let plain = Package::new("1.0.0").file("main.bin", "x").build().bytes;
    for wrong in [
        answer(&twice).into_bytes(),
        answer(&outside).into_bytes(),
        answer(&[]).replace("files", "data").into_bytes(),
        b"{".to_vec(),
        plain,
    ] {
        let path = world.output("wrong");
        fs::write(&path, wrong).unwrap();
        let error = against::read(path.to_str().unwrap(), None).unwrap_err();
        assert_eq!(error.code(), "REQUEST_INVALID", "{error}");
    }
    assert!(against::read("nowhere.zip", None).is_err());
    assert!(against::read(&server.url("/nowhere"), None).is_err());
}

/// 5 GiB that cannot be compressed, and more entries than 16 bits can count: both need zip64.
#[test]
#[ignore = "writes 10 GiB, and takes minutes"]
fn large_packages_are_zip64() {
    let world = World::new();
    for number in 0..70_000 {
        world.write(&format!("many/{}/{number}", number % 100), "x");
    }
    let block = noise(1 << 24);
    let mut file = File::create(world.path().join("large")).unwrap();
    for _ in 0..320 {
        file.write_all(&block).unwrap();
    }
    drop(file);
    let packed = world.pack();
    let path = world.output("app-1.0.0.zip");
    let archive = open(&path);
    assert_eq!(archive.entries().len(), packed.list.files.len());
    let large = archive.entries().iter().position(|it| it.size >> 32 > 0);
    archive.extract(large.unwrap(), &mut io::sink()).unwrap();
    tool("unzip", &["-tq", path.to_str().unwrap()], "");
}
