//! Real file systems: full ones, ones that share blocks, that fold case, that are mounted in the
//! way, that may not be written.
//!
//! They are mounted for the test and unmounted at its end, which needs the superuser and loop
//! devices. A test that cannot mount what it needs is left out, and says so.
#![expect(clippy::print_stderr, reason = "a test that is left out says so")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use castoff_testkit::http::{Reply, Server};
use castoff_testkit::package::Package;
use castoff_testkit::tar::{gzip, zstd};
use tempfile::NamedTempFile;

use crate::selfupdate::{announce_launcher, another, assert_unchanged, launcher_fetches};
use crate::world::{CHECK, Run, World, app, isolate, mode, script};

/// Large enough for btrfs, which takes no less than 109 MiB; sparse, so that it costs little.
const IMAGE_SIZE: u64 = 128 << 20;

/// A mounted file system. Unmounted when it is dropped, by a panic as well.
pub(crate) struct Disk {
    point: PathBuf,
    /// The loop device, where it is ours to detach.
    device: Option<String>,
    _image: Option<NamedTempFile>,
}

impl Disk {
    /// Memory, with options such as `size=8m`.
    pub(crate) fn tmpfs(point: &Path, options: &str) -> Result<Self, String> {
        let path = path(point);
        tool(
            "mount",
            &["-t", "tmpfs", "-o", options, "castoff-test", path],
        )?;
        Ok(Self::at(point, None, None))
    }

    /// A second view of the folder `of`.
    fn bind(point: &Path, of: &Path) -> Result<Self, String> {
        tool("mount", &["--bind", path(of), path(point)])?;
        Ok(Self::at(point, None, None))
    }

    /// btrfs, on which files can share blocks.
    fn btrfs(point: &Path) -> Result<Self, String> {
        let image = image();
        tool("mkfs.btrfs", &["-q", path(image.path())])?;
        let mount = ["-t", "btrfs", "-o", "loop", path(image.path()), path(point)];
        tool("mount", &mount)?;
        Ok(Self::at(point, Some(image), None))
    }

    /// A file system without links and modes that takes `A` and `a` for one name: the kernel's
    /// FAT, or exFAT in user space where the kernel has neither.
    fn folding(point: &Path) -> Result<Self, String> {
        Self::folding_with(point, "fmask=0022")
    }

    /// The same with an option that both have.
    fn folding_with(point: &Path, option: &str) -> Result<Self, String> {
        let image = image();
        let file = path(image.path());
        let options = format!("loop,utf8,{option}");
        let in_kernel = ["-t", "vfat", "-o", &options, file, path(point)];
        let made = tool("mkfs.vfat", &[file]).and_then(|_| tool("mount", &in_kernel));
        if made.is_ok() {
            return Ok(Self::at(point, Some(image), None));
        }
        tool("mkfs.exfat", &[file])?;
        let device = tool("losetup", &["--find", "--show", file])?;
        let device = device.trim().to_owned();
        let mounted = tool("mount.exfat-fuse", &["-o", option, &device, path(point)]);
        if mounted.is_err() {
            let _ = tool("losetup", &["--detach", &device]);
        }
        mounted.map(|_| Self::at(point, Some(image), Some(device)))
    }

    fn at(point: &Path, image: Option<NamedTempFile>, device: Option<String>) -> Self {
        Self {
            point: point.to_path_buf(),
            device,
            _image: image,
        }
    }

    /// Mounts it anew with other options.
    #[track_caller]
    pub(crate) fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        tool("mount", &["-o", &options, path(&self.point)]).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if tool("umount", &[path(&self.point)]).is_err() {
            // Something still uses it; it goes when that ends.
            let _ = tool("umount", &["--lazy", path(&self.point)]);
        }
        if let Some(device) = &self.device {
            let _ = tool("losetup", &["--detach", device]);
        }
    }
}

/// A world whose client folder is a disk of its own, which is unmounted before the world goes.
struct OnDisk {
    disk: Disk,
    world: World,
}

impl OnDisk {
    /// `None` when the disk cannot be mounted here.
    fn new(config: &str, mount: impl FnOnce(&Path) -> Result<Disk, String>) -> Option<Self> {
        let world = World::with(config);
        fs::create_dir(world.client()).unwrap();
        let disk = or_left_out(mount(&world.client()))?;
        Some(Self { disk, world })
    }
}

/// Says why a test is left out.
pub(crate) fn or_left_out<T>(made: Result<T, String>) -> Option<T> {
    made.inspect_err(|why| {
        let thread = std::thread::current();
        eprintln!("left out: {}: {why}", thread.name().unwrap_or("a test"));
    })
    .ok()
}

/// Runs a system's tool, and gives its output or what went wrong.
pub(crate) fn tool(program: &str, args: &[&str]) -> Result<String, String> {
    let output = Command::new(program)
        .args(args)
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} {args:?}: {}", said.trim()))
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// An empty file for a file system.
fn image() -> NamedTempFile {
    let image = NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    image.as_file().set_len(IMAGE_SIZE).unwrap();
    image
}

/// Installs a package as 1.0.0 and starts it often enough that it is past its trial.
fn install(world: &World, package: &Package) {
    world.publish("1.0.0", package);
    for _ in 0..2 {
        world.run(&[]).assert_app("1.0.0");
    }
}

/// Installs a 1.0.0 that ends early each time, with exit code 3, and so stays on trial.
fn install_on_trial(world: &World) {
    let early = "#!/bin/sh\necho \"app 1.0.0 $CASTOFF_VERSION\"\nexit 3\n";
    world.publish("1.0.0", &app("1.0.0").executable("run.sh", early));
    assert_eq!(world.run(&[]).code, Some(3));
    assert_eq!(world.state()["trial"]["version"], "1.0.0");
}

/// Bytes that no compression makes smaller.
fn noise(length: u32) -> Vec<u8> {
    let words = (0..length.div_ceil(4)).map(|n| n.wrapping_mul(2_654_435_761).rotate_left(7));
    words.flat_map(u32::to_le_bytes).collect()
}

/// An app with many small text files: they take far more blocks than they have bytes.
fn crumbs(version: &str, count: usize) -> Package {
    (0..count).fold(app(version), |package, number| {
        package.file(&format!("crumbs/{number}.txt"), number.to_string())
    })
}

/// Runs the update that does not fit, checks that it is told and that nothing comes of it.
#[track_caller]
fn assert_does_not_fit(world: &World, where_it_struck: &str) {
    let before = world.tree();
    let run = world.run(&[]);
    run.assert_app("1.0.0").assert_told("DISK_FULL");
    assert_eq!(world.tree(), before, "{run:#?}");
    assert_eq!(world.version(), "1.0.0");
    assert_eq!(world.backups(), Vec::<String>::new());
    world.assert_tidy();
    let log = world.log();
    assert!(
        log.contains(where_it_struck),
        "not at {where_it_struck}: {log}"
    );
}

/// Bytes in the folder of downloads.
fn downloaded(world: &World) -> u64 {
    let Ok(entries) = fs::read_dir(world.path(".castoff/downloads")) else {
        return 0;
    };
    entries
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum()
}

/// How often the package of 1.1.0 was asked for.
fn fetches(world: &World) -> usize {
    let requests = world.server.requests();
    requests
        .iter()
        .filter(|request| request.path() == "/media/1.1.0.zip")
        .count()
}

#[test]
fn a_package_larger_than_the_disk_is_not_even_fetched() {
    let Some(OnDisk { disk, world }) = OnDisk::new("", |at| Disk::tmpfs(at, "size=6m")) else {
        return;
    };
    install(&world, &app("1.0.0"));
    world.publish("1.1.0", &app("1.1.0").file("noise.bin", noise(4 << 20)));
    assert_does_not_fit(&world, "are needed");
    assert_eq!(fetches(&world), 0);
    disk.remount("size=64m");
    world.run(&[]).assert_app("1.1.0");
}

#[test]
fn a_disk_that_is_full_when_a_tar_is_decompressed() {
    type Pack = fn(&[u8]) -> Vec<u8>;
    let zeros = |package: Package| {
        (0..20).fold(package, |package, number| {
            package.file(&format!("zeros/{number}"), vec![0; 600 << 10])
        })
    };
    // In two parts, of which only the last says how large it is, and it is small. And the zstd of
    // the tests says nothing of that.
    let in_parts = |tar: &[u8]| {
        let (first, last) = tar.split_at(tar.len() - 512);
        [gzip(first), gzip(last)].concat()
    };
    let packings: [(Pack, &str); 3] = [
        (gzip, "are needed"),
        (zstd, "cannot write to"),
        (in_parts, "cannot write to"),
    ];
    for (pack, where_it_struck) in packings {
        let Some(OnDisk { disk, world }) = OnDisk::new("", |at| Disk::tmpfs(at, "size=8m")) else {
            return;
        };
        install(&world, &app("1.0.0"));
        let built = zeros(app("1.1.0")).build_tar("", pack);
        world.announce(&World::answer(&built, "1.1.0"));
        world.media("1.1.0", Reply::file(&built.bytes));
        assert_does_not_fit(&world, where_it_struck);
        assert!(
            downloaded(&world) <= built.size,
            "what was decompressed has left the disk"
        );
        disk.remount("size=64m");
        world.run(&[]).assert_app("1.1.0");
    }
}

#[test]
fn a_disk_that_is_full_before_the_package_of_unknown_size_has_come() {
    let Some(OnDisk { disk, world }) = OnDisk::new("", |at| Disk::tmpfs(at, "size=8m")) else {
        return;
    };
    install(&world, &app("1.0.0"));
    let built = app("1.1.0").file("noise.bin", noise(10 << 20)).build();
    let mut answer = World::answer(&built, "1.1.0");
    answer.as_object_mut().unwrap().remove("file_size");
    world.announce(&answer);
    world.media("1.1.0", Reply::file(&built.bytes).chunked());
    assert_does_not_fit(&world, ".castoff/downloads/");
    assert_eq!(
        downloaded(&world),
        0,
        "a disk that the part filled is empty again"
    );
    world.media("1.1.0", Reply::file(&built.bytes));
    assert_does_not_fit(&world, "are needed");
    disk.remount("size=64m");
    world.run(&[]).assert_app("1.1.0");
}

#[test]
fn a_disk_that_is_full_before_all_is_staged() {
    let Some(OnDisk { disk, world }) = OnDisk::new("", |at| Disk::tmpfs(at, "size=12m")) else {
        return;
    };
    install(&world, &app("1.0.0"));
    world.publish("1.1.0", &crumbs("1.1.0", 3_000));
    assert_does_not_fit(&world, "cannot write crumbs/");
    disk.remount("size=64m");
    world.run(&[]).assert_app("1.1.0");
    assert_eq!(fetches(&world), 1, "what was fetched whole is used again");
}

#[test]
fn a_disk_that_is_full_before_all_is_backed_up() {
    let Some(OnDisk { disk, world }) = OnDisk::new("", |at| Disk::tmpfs(at, "size=12m")) else {
        return;
    };
    disk.remount("size=64m");
    install(&world, &crumbs("1.0.0", 1_500));
    disk.remount("size=12m");
    world.publish("1.1.0", &crumbs("1.1.0", 1_500));
    assert_does_not_fit(&world, "cannot copy ");
    disk.remount("size=64m");
    world.run(&[]).assert_app("1.1.0");
    assert_eq!(world.backups(), ["1.0.0"]);
}

#[test]
fn a_disk_with_one_entry_more_each_time() {
    // Entries can be rationed one by one, so that the shortage strikes at every single creation.
    let Some(OnDisk { disk, world }) = OnDisk::new("", |at| Disk::tmpfs(at, "size=64m")) else {
        return;
    };
    install(&world, &app("1.0.0"));
    let before = world.tree();
    world.publish_app("1.1.0");
    let used = entries(&world);
    for left in 0..100 {
        disk.remount(&format!("nr_inodes={}", used + left));
        let run = world.run(&[]);
        if world.version() == "1.1.0" {
            run.assert_app("1.1.0");
            let log = world.log();
            for place in [".castoff/downloads", ".castoff/staging", ".castoff/backup"] {
                assert!(log.contains(place), "{place} never lacked an entry: {log}");
            }
            assert!(left > 10, "{left}");
            return;
        }
        run.assert_app("1.0.0").assert_told("DISK_FULL");
        assert_eq!(world.backups(), Vec::<String>::new(), "{left} entries left");
        assert_eq!(world.tree(), before, "{left} entries left: {run:#?}");
        world.assert_tidy();
        assert!(
            !world.home().join("user").exists(),
            "a full disk is not a read-only one"
        );
    }
    panic!("never enough: {}", world.log());
}

#[test]
fn a_disk_without_a_byte_or_an_entry_left_while_the_app_is_on_trial() {
    let Some(OnDisk { disk, world }) = OnDisk::new("", |at| Disk::tmpfs(at, "size=16m")) else {
        return;
    };
    install_on_trial(&world);
    fill(&world);
    disk.remount(&format!("nr_inodes={}", entries(&world)));
    for _ in 0..4 {
        let run = world.run(&[]);
        assert_eq!(run.code, Some(3), "{run:#?}");
        assert!(run.stdout.contains("app 1.0.0 1.0.0"), "{run:#?}");
    }
}

/// How many entries the client folder's disk has.
fn entries(world: &World) -> u32 {
    let told = tool("df", &["--output=iused", path(&world.client())]).unwrap();
    told.lines().last().unwrap().trim().parse().unwrap()
}

/// Uses up all the bytes of the client folder's disk.
fn fill(world: &World) {
    use std::io::Write;
    let mut file = fs::File::create(world.path("filler")).unwrap();
    while file.write(&[7; 4096]).is_ok() {}
}

/// Where a file's blocks are, and whether other files have them too.
fn extents(file: &Path) -> (Vec<String>, bool) {
    let told = tool("filefrag", &["-v", path(file)]).unwrap();
    let rows: Vec<&str> = told
        .lines()
        .filter(|line| {
            line.split(':')
                .next()
                .is_some_and(|n| n.trim().parse::<u32>().is_ok())
        })
        .collect();
    let shared = !rows.is_empty() && rows.iter().all(|row| row.contains("shared"));
    let places = rows
        .iter()
        .map(|row| row.split(':').nth(2).unwrap_or_default().trim().to_owned());
    (places.collect(), shared)
}

#[test]
fn backups_share_blocks_where_the_disk_can() {
    let Some(OnDisk { disk: _disk, world }) = OnDisk::new("", Disk::btrfs) else {
        return;
    };
    let with_settings = |version: &str| app(version).file("settings.json", noise(200_000));
    install(&world, &with_settings("1.0.0"));
    let before = world.tree();
    world.publish("1.1.0", &with_settings("1.1.0"));
    world.run(&[]).assert_app("1.1.0");

    let (used, kept) = (
        world.path("settings.json"),
        world.path(".backup/1.0.0/settings.json"),
    );
    let look = |file: &Path| fs::metadata(file).unwrap();
    assert_ne!(
        look(&used).ino(),
        look(&kept).ino(),
        "the app may write into its own"
    );
    assert_eq!(look(&kept).nlink(), 1);
    let (places, shared) = extents(&kept);
    assert!(shared, "{places:?}");
    assert_eq!(extents(&used).0, places);
    // Kept under both names: no app writes into a program.
    let stays = [world.path("stays.py"), world.path(".backup/1.0.0/stays.py")];
    assert_eq!(look(&stays[0]).ino(), look(&stays[1]).ino());

    fs::write(&used, "written in place").unwrap();
    assert_eq!(fs::read(&kept).unwrap(), noise(200_000));
    let restored = world.run(&["--castoff", "backups", "restore", "1.0.0"]);
    assert_eq!(restored.code, Some(0), "{restored:?}");
    assert_eq!(world.tree(), before);
}

#[test]
fn a_quota_that_is_used_up_is_a_full_disk() {
    let Some(OnDisk { disk, world }) = OnDisk::new("", Disk::btrfs) else {
        return;
    };
    let quota = tool("btrfs", &["quota", "enable", path(&disk.point)]);
    if or_left_out(quota).is_none() {
        return;
    }
    install(&world, &app("1.0.0"));
    let limit = |limit| tool("btrfs", &["qgroup", "limit", limit, path(&disk.point)]).unwrap();
    tool("btrfs", &["quota", "rescan", "-w", path(&disk.point)]).unwrap();
    limit("16m");
    world.publish("1.1.0", &app("1.1.0").file("noise.bin", noise(12 << 20)));
    assert_does_not_fit(&world, "quota exceeded");
    limit("none");
    world.run(&[]).assert_app("1.1.0");
}

/// The names in a folder of the app, as they are written.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort();
    names
}

#[track_caller]
fn restore(world: &World, version: &str) {
    let run = world.run(&["--castoff", "backups", "restore", version]);
    assert_eq!(run.code, Some(0), "{run:#?}");
}

#[test]
fn without_links_and_modes_an_update_a_rollback_and_a_restore() {
    let Some(OnDisk { disk: _disk, world }) = OnDisk::new("", Disk::folding) else {
        return;
    };
    install(&world, &app("1.0.0"));
    let before = world.tree();
    world.write("mine.txt", "mine");
    world.publish_app("1.1.0");
    world.run(&[]).assert_app("1.1.0");
    world.assert_tidy();
    world.run(&[]).assert_app("1.1.0");
    let second = world.tree();

    let dying = app("1.2.0").executable("run.sh", "#!/bin/sh\nkill -SEGV $$\n");
    world.publish("1.2.0", &dying);
    world
        .run(&[])
        .assert_app("1.1.0")
        .assert_told("TRIAL_FAILED");
    assert_eq!(world.tree(), second);
    world.assert_tidy();

    restore(&world, "1.0.0");
    assert_eq!(world.read("mine.txt"), "mine");
    fs::remove_file(world.path("mine.txt")).unwrap();
    assert_eq!(world.tree(), before);
}

#[test]
fn without_any_right_to_execute_a_script_is_started_by_its_shell() {
    let mount = |at: &Path| Disk::folding_with(at, "fmask=0133");
    let Some(OnDisk { disk: _disk, world }) = OnDisk::new("", mount) else {
        return;
    };
    install(&world, &app("1.0.0"));
    assert_eq!(mode(&world.path("run.sh")), 0o644);
    world.publish_app("1.1.0");
    world.run(&[]).assert_app("1.1.0");
    restore(&world, "1.0.0");
    assert_eq!(world.read("run.sh"), script("1.0.0"));
}

#[test]
fn without_case_a_file_that_changes_only_its_case() {
    for content in ["the same", "another"] {
        let Some(OnDisk { disk: _disk, world }) = OnDisk::new("", Disk::folding) else {
            return;
        };
        install(&world, &app("1.0.0").file("Readme.md", "the same"));
        let before = world.tree();
        assert!(world.path("README.MD").exists(), "the disk folds case");
        world.publish("1.1.0", &app("1.1.0").file("README.md", content));
        world.run(&[]).assert_app("1.1.0");
        let readme = |name: &String| name.eq_ignore_ascii_case("readme.md");
        let found = |world: &World| -> Vec<String> {
            names(&world.client()).into_iter().filter(readme).collect()
        };
        assert_eq!(found(&world), ["README.md"]);
        assert_eq!(world.read("README.md"), content);
        restore(&world, "1.0.0");
        assert_eq!(found(&world), ["Readme.md"]);
        assert_eq!(world.tree(), before);
    }
}

#[test]
fn without_case_a_folder_that_changes_only_its_case() {
    let Some(OnDisk { disk: _disk, world }) = OnDisk::new("", Disk::folding) else {
        return;
    };
    install(&world, &app("1.0.0").file("docs/de/a.txt", "a"));
    let before = world.tree();
    world.publish("1.1.0", &app("1.1.0").file("Docs/DE/a.txt", "b"));
    let undone = world.run_failing("commit.renamed=error");
    undone.assert_app("1.0.0").assert_told("IO_ERROR");
    assert_eq!(world.tree(), before);
    world.run(&[]).assert_app("1.1.0");
    assert_eq!(world.read("Docs/DE/a.txt"), "b");
    assert!(
        names(&world.client()).contains(&"Docs".to_owned()),
        "{:?}",
        world.tree()
    );
    restore(&world, "1.0.0");
    assert_eq!(world.tree(), before);
}

#[test]
fn without_case_kills_in_the_middle_of_a_commit() {
    let package = |version: &str, name: &str| app(version).file(name, version);
    let trees = [("1.0.0", "Readme.md"), ("1.1.0", "README.md")].map(|(version, name)| {
        let on_disk = OnDisk::new("", Disk::folding)?;
        on_disk.world.publish(version, &package(version, name));
        on_disk.world.run(&[]).assert_app(version);
        Some(on_disk.world.tree())
    });
    let [Some(old), Some(new)] = trees else {
        return;
    };
    let steps = [
        "commit.journalled",
        "commit.remove@1",
        "commit.remove@2",
        "commit.rename@1",
        "commit.rename@2",
        "commit.rename@3",
        "commit.rename@4",
        "commit.listed",
        "commit.versioned",
    ];
    for step in steps {
        let Some(OnDisk { disk: _disk, world }) = OnDisk::new("", Disk::folding) else {
            return;
        };
        install(&world, &package("1.0.0", "Readme.md"));
        world.publish("1.1.0", &package("1.1.0", "README.md"));
        world.run_failing(&format!("{step}=kill")).assert_killed();
        // Offline: what a recovery leads to shows itself before the update is tried again.
        let closed = "http://127.0.0.1:1/";
        let run = Run::of(world.command(&[]).env("CASTOFF_SOURCE_URL", closed));
        let version = world.version();
        run.assert_app(&version);
        let whole = if version == "1.0.0" { &old } else { &new };
        assert_eq!(&world.tree(), whole, "{step}: a mixture");
        world.assert_tidy();
        world.run(&[]).assert_app("1.1.0");
        assert_eq!(&world.tree(), &new, "{step}");
    }
}

/// A world with 1.0.0 installed, 1.1.0 offered, and `mount` over a folder of the app.
fn obstructed(config: &str, mount: impl FnOnce(&Path) -> Result<Disk, String>) -> Option<OnDisk> {
    let world = World::with(config);
    install(&world, &app("1.0.0"));
    let content = fs::read(world.path("data/changes.txt")).unwrap();
    let disk = or_left_out(mount(&world.path("data")))?;
    fs::write(world.path("data/changes.txt"), content).unwrap();
    world.publish_app("1.1.0");
    Some(OnDisk { disk, world })
}

#[test]
fn a_disk_mounted_where_the_update_would_write() {
    let Some(OnDisk { disk: _disk, world }) = obstructed("", |at| Disk::tmpfs(at, "size=1m"))
    else {
        return;
    };
    let before = world.tree();
    world
        .run(&[])
        .assert_app("1.0.0")
        .assert_told("TARGET_UNSAFE");
    assert_eq!(world.tree(), before);
    assert_eq!(world.backups(), Vec::<String>::new());
    world.assert_tidy();
}

#[test]
fn a_folder_of_the_same_disk_mounted_where_the_update_would_write() {
    let elsewhere = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let Some(OnDisk { disk: _disk, world }) = obstructed("", |at| Disk::bind(at, elsewhere.path()))
    else {
        return;
    };
    let before = world.tree();
    world
        .run(&[])
        .assert_app("1.0.0")
        .assert_told("TARGET_UNSAFE");
    assert_eq!(world.tree(), before);
    assert_eq!(world.backups(), Vec::<String>::new());
    world.assert_tidy();
}

#[test]
fn a_disk_mounted_on_a_folder_of_the_preserve_list() {
    let preserve = "[update]\npreserve = [\"data/\"]";
    let Some(OnDisk { disk: _disk, world }) = obstructed(preserve, |at| Disk::tmpfs(at, "size=1m"))
    else {
        return;
    };
    world.run(&[]).assert_app("1.1.0");
    assert_eq!(world.read("data/changes.txt"), "changes 1.0.0\n");
    restore(&world, "1.0.0");
    world.run(&[]).assert_app("1.0.0");
}

#[test]
fn a_read_only_disk_without_a_folder_of_the_users() {
    let Some(OnDisk { disk, world }) = OnDisk::new("", |at| Disk::tmpfs(at, "size=64m")) else {
        return;
    };
    install(&world, &app("1.0.0"));
    fs::create_dir(world.path("home")).unwrap();
    let before = world.tree();
    world.publish_app("1.1.0");
    disk.remount("ro");
    for _ in 0..2 {
        // The user's home, too, is on the disk that cannot be written.
        let run = Run::of(world.command(&["x"]).env("HOME", world.path("home")));
        run.assert_app("1.0.0").assert_told("PERMISSION_DENIED");
        assert_eq!(world.tree(), before);
    }
    disk.remount("rw");
    world.run(&[]).assert_app("1.1.0");
}

#[test]
fn a_read_only_disk_with_a_version_on_trial() {
    let Some(OnDisk { disk, world }) = OnDisk::new("", |at| Disk::tmpfs(at, "size=64m")) else {
        return;
    };
    install_on_trial(&world);
    world.server.unroute(CHECK);
    disk.remount("ro");
    for _ in 0..4 {
        let run = Run::of(world.command(&[]).env("HOME", world.path("home")));
        assert_eq!(run.code, Some(3), "{run:#?}");
        assert!(run.stdout.contains("app 1.0.0 1.0.0"), "{run:#?}");
    }
}

#[test]
fn a_read_only_disk_and_the_copy_of_the_user() {
    let Some(OnDisk { disk, world }) = OnDisk::new("", |at| Disk::tmpfs(at, "size=64m")) else {
        return;
    };
    install(&world, &app("1.0.0"));
    let before = world.tree();
    disk.remount("ro");
    world.server.unroute(CHECK);
    let offline = world.run(&[]);
    offline.assert_app("1.0.0");
    world.publish_app("1.1.0");
    world.run(&[]).assert_app("1.1.0");
    assert_eq!(world.tree(), before);
    let copy = world
        .home()
        .join("user/.local/share/org.castoff.test/client");
    assert!(copy.join("run.sh").exists());
    world.server.unroute(CHECK);
    world.run(&[]).assert_app("1.1.0");
}

/// Nobody: an account that every system has and that owns nothing.
const NOBODY: u32 = 65_534;

/// A world in a folder that everybody may pass through, with 1.0.0 installed by nobody; `None`
/// where this test may not become nobody.
fn of_nobody() -> Option<World> {
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups", "true"];
    or_left_out(tool("setpriv", &nobody))?;
    let world = World::inside(&std::env::temp_dir(), Server::start(), "");
    fs::set_permissions(world.home(), fs::Permissions::from_mode(0o755)).unwrap();
    for folder in ["client", "logs", "user"] {
        fs::create_dir(world.home().join(folder)).unwrap();
        chown(world.home().join(folder), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    world.publish_app("1.0.0");
    for _ in 0..2 {
        as_nobody(&world, "user").assert_app("1.0.0");
    }
    assert_eq!(fs::metadata(world.path("run.sh")).unwrap().uid(), NOBODY);
    Some(world)
}

/// Runs the launcher as nobody, with a home in the launcher's folder.
fn as_nobody(world: &World, home: &str) -> Run {
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .arg(world.launcher())
        .current_dir(world.home());
    isolate(&mut command, &world.home().join(home));
    Run::of(&mut command)
}

/// Gives a path of the client folder to the superuser, with a mode.
fn take_away(world: &World, relative: &str, mode: u32) {
    let path = world.path(relative);
    chown(&path, Some(0), Some(0)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_user_without_the_right_to_change_or_read_a_folder_of_the_app() {
    for mode in [0o755, 0o700] {
        let Some(world) = of_nobody() else { return };
        take_away(&world, "data", mode);
        let before = world.tree();
        world.publish_app("1.1.0");
        let run = as_nobody(&world, "user");
        run.assert_app("1.0.0").assert_told("PERMISSION_DENIED");
        assert_eq!(world.tree(), before);
        assert_eq!(world.backups(), Vec::<String>::new());
        world.assert_tidy();
    }
}

#[test]
fn a_folder_that_the_user_may_not_read_is_not_copied_unless_it_is_the_apps() {
    let Some(world) = of_nobody() else { return };
    world.write("lost+found/deep/file", "");
    take_away(&world, "lost+found/deep", 0o700);
    // To be listed, and not to be entered.
    take_away(&world, "lost+found", 0o744);
    take_away(&world, "", 0o755);
    world.publish_app("1.1.0");
    as_nobody(&world, "user").assert_app("1.1.0");
    let log = world.log();
    assert!(log.contains("lost+found/deep is passed over"), "{log}");

    let Some(world) = of_nobody() else { return };
    take_away(&world, "data", 0o700);
    take_away(&world, "", 0o755);
    world.publish_app("1.1.0");
    let run = as_nobody(&world, "user");
    run.assert_app("1.0.0").assert_told("PERMISSION_DENIED");
}

#[test]
fn a_user_who_does_not_own_the_files_of_a_folder_that_is_theirs() {
    let Some(world) = of_nobody() else { return };
    // A link to a file of somebody else is refused by the system: the backup copies it.
    for file in ["data/changes.txt", "stays.py", "run.sh"] {
        take_away(&world, file, 0o755);
    }
    let before = world.tree();
    world.publish_app("1.1.0");
    as_nobody(&world, "user").assert_app("1.1.0");
    assert_eq!(world.backups(), ["1.0.0"]);
    restore(&world, "1.0.0");
    assert_eq!(world.tree(), before);
}

#[test]
fn a_user_without_the_right_to_change_the_client_folder_and_without_a_home() {
    let Some(world) = of_nobody() else { return };
    take_away(&world, "", 0o755);
    for file in [
        ".castoff",
        ".castoff/run.lock",
        ".castoff/update.lock",
        ".castoff/state.lock",
    ] {
        let mode = if file == ".castoff" { 0o755 } else { 0o644 };
        take_away(&world, file, mode);
    }
    let before = world.tree();
    world.publish_app("1.1.0");
    let run = as_nobody(&world, "nowhere");
    run.assert_app("1.0.0").assert_told("PERMISSION_DENIED");
    assert_eq!(world.tree(), before);
    assert_eq!(script("1.0.0"), world.read("run.sh"));
}

#[test]
fn a_user_without_the_right_to_change_the_launchers_folder() {
    let Some(world) = of_nobody() else { return };
    let built = world.publish_app("1.0.0");
    announce_launcher(&world, &built, "1.0.0", &another());
    for _ in 0..2 {
        let run = as_nobody(&world, "user");
        run.assert_app("1.0.0");
        assert_eq!(run.stderr, "");
    }
    assert_unchanged(&world);
    assert_eq!(launcher_fetches(&world), 0);
    let log = world.log();
    assert!(log.contains("a new launcher is announced"), "{log}");
}
