//! The launcher replaces itself: by another executable that really runs.
//!
//! The other one is the same with bytes behind its end, which no loader looks at.

use std::fs;
use std::path::PathBuf;

use castoff::release::target;
use castoff::trust::Sha256;
use castoff_testkit::http::Reply;
use castoff_testkit::package::Built;
use serde_json::{Value, json};

use crate::world::World;

const MEDIA: &str = "/media/launcher";

/// A launcher other than the one that is built, which does the same.
pub(crate) fn another() -> Vec<u8> {
    let mut bytes = fs::read(env!("CARGO_BIN_EXE_castoff-launcher")).unwrap();
    bytes.extend_from_slice(b"another one");
    bytes
}

/// What a check answer says of a launcher.
fn entry(bytes: &[u8]) -> Value {
    json!({"url": MEDIA, "size": bytes.len(), "sha256": Sha256::of(bytes).to_string(),
           "version": "9.9.9"})
}

/// Announces a package that is published, and with it this launcher.
pub(crate) fn announce_launcher(world: &World, built: &Built, version: &str, bytes: &[u8]) {
    if cfg!(windows) {
        give_own_launcher(world);
    }
    world.server.replace(MEDIA, Reply::file(bytes));
    announce(world, built, version, &json!({target(): entry(bytes)}));
}

/// Gives a world a launcher of its own. Those of all worlds are one file with many names, and Windows
/// removes no name of a file that runs somewhere.
pub(crate) fn give_own_launcher(world: &World) {
    let shared = world.home().join("shared");
    if !shared.exists() {
        fs::rename(world.launcher(), &shared).unwrap();
        fs::copy(shared, world.launcher()).unwrap();
    }
}

fn announce(world: &World, built: &Built, version: &str, launchers: &Value) {
    let mut answer = World::answer(built, version);
    answer["launchers"] = launchers.clone();
    world.announce(&answer);
}

/// A world with 1.0.0 installed and out of its trial, and this launcher announced.
fn installed(bytes: &[u8]) -> World {
    let world = World::new();
    let built = world.publish_app("1.0.0");
    world.run(&[]).assert_app("1.0.0");
    announce_launcher(&world, &built, "1.0.0", bytes);
    world
}

fn beside(world: &World, what: &str) -> PathBuf {
    let ending = std::env::consts::EXE_SUFFIX;
    world.home().join(format!(".MyApp.{what}{ending}"))
}

fn old(world: &World) -> PathBuf {
    beside(world, "old")
}

fn staged(world: &World) -> PathBuf {
    beside(world, "new")
}

/// How often the launcher was asked for.
pub(crate) fn launcher_fetches(world: &World) -> usize {
    let requests = world.server.requests();
    requests.iter().filter(|one| one.path() == MEDIA).count()
}

#[track_caller]
pub(crate) fn assert_launcher(world: &World, bytes: &[u8]) {
    let found = fs::read(world.launcher()).unwrap_or_default();
    assert!(
        found == bytes,
        "another launcher of {} bytes: {}",
        found.len(),
        world.log()
    );
}

/// After whatever has interrupted the launcher's update: the launcher becomes the announced one, as
/// soon as that is tried again, and then nothing is left of it all.
#[track_caller]
pub(crate) fn assert_launcher_works(world: &World, what: &str) {
    let forced = world.run(&["--castoff", "update", "--force"]);
    assert_eq!(forced.code, Some(0), "{what}: {forced:?}");
    assert_launcher(world, &another());
    for _ in 0..3 {
        let run = world.run(&[]);
        assert_eq!((run.code, &*run.stderr), (Some(0), ""), "{what}: {run:?}");
    }
    assert!(!old(world).exists() && !staged(world).exists(), "{what}");
}

/// Checks that the launcher is the one that was built and nothing lies beside it.
#[track_caller]
pub(crate) fn assert_unchanged(world: &World) {
    let built = fs::read(env!("CARGO_BIN_EXE_castoff-launcher")).unwrap();
    assert_launcher(world, &built);
    assert!(!old(world).exists() && !staged(world).exists());
}

#[test]
fn an_announced_launcher_is_installed_and_the_one_before_goes_when_it_has_come_through_a_start() {
    let world = World::new();
    let other = another();
    let built = world.publish_app("1.0.0");
    announce_launcher(&world, &built, "1.0.0", &other);
    world.run(&[]).assert_app("1.0.0");
    assert_launcher(&world, &other);
    assert!(old(&world).exists() && !staged(&world).exists());
    assert!(!world.path(".castoff/launcher").exists());

    // The new one's first start, and its second.
    world.run(&[]).assert_app("1.0.0");
    assert!(old(&world).exists());
    world.run(&["x"]).assert_app("1.0.0");
    assert!(!old(&world).exists());

    let state = world.state();
    assert_eq!(
        state["launcher"]["sha256"],
        Sha256::of(&other).to_string().as_str()
    );
    let run = world.run(&[]);
    run.assert_app("1.0.0");
    assert_eq!(run.stderr, "");
    assert_eq!(world.state(), state);
    assert_launcher(&world, &other);
    assert_eq!(launcher_fetches(&world), 1);
}

#[test]
fn a_launcher_that_is_there_already_is_not_fetched() {
    let world = installed(&fs::read(env!("CARGO_BIN_EXE_castoff-launcher")).unwrap());
    world.run(&[]).assert_app("1.0.0");
    assert_unchanged(&world);
    assert_eq!(launcher_fetches(&world), 0);
}

#[test]
fn a_launcher_for_another_machine_or_against_the_configuration_is_passed_over() {
    let world = World::new();
    let built = world.publish_app("1.0.0");
    let other = another();
    announce(
        &world,
        &built,
        "1.0.0",
        &json!({"amiga-m68k": entry(&other)}),
    );
    world.run(&[]).assert_app("1.0.0");
    world.configure("[update]\nlauncher = false");
    announce_launcher(&world, &built, "1.0.0", &other);
    world.run(&[]).assert_app("1.0.0");
    assert_eq!(world.state()["last"]["outcome"], "up-to-date");
    assert_unchanged(&world);
    assert_eq!(launcher_fetches(&world), 0);
}

/// Starts twice with something announced that does not become the launcher, and then by force.
#[track_caller]
fn refused(world: &World, code: &str) {
    let attempts = || world.log().matches(code).count();
    for _ in 0..2 {
        let run = world.run(&[]);
        run.assert_app("1.0.0");
        assert!(!run.stderr.contains(code), "{run:?}");
        assert_unchanged(world);
    }
    assert_eq!(attempts(), 1, "it is left alone for a while");
    assert_eq!(launcher_fetches(world), 1);
    let forced = world.run(&["--castoff", "update", "--force"]);
    assert_eq!(forced.code, Some(0), "the app's update is what counts");
    assert_eq!(attempts(), 2);
    assert_unchanged(world);
}

#[test]
fn a_launcher_with_another_digest_is_refused() {
    let other = another();
    let world = installed(&other);
    world.server.unroute(MEDIA);
    let mut spoilt = other;
    *spoilt.last_mut().unwrap() ^= 1;
    world.server.route(MEDIA, Reply::file(&spoilt));
    refused(&world, "HASH_MISMATCH");
}

#[test]
fn a_file_that_is_no_executable_is_refused() {
    refused(&installed(b"not a launcher\n"), "LAUNCHER_UNFIT");
}

#[test]
fn half_a_launcher_is_refused() {
    let other = another();
    refused(&installed(&other[..other.len() / 3]), "LAUNCHER_UNFIT");
}

#[cfg(unix)]
#[test]
fn a_program_that_is_no_launcher_is_refused() {
    refused(&installed(b"#!/bin/sh\nexit 0\n"), "LAUNCHER_UNFIT");
    let angry = "#!/bin/sh\necho castoff 1\nexit 3\n";
    refused(&installed(angry.as_bytes()), "LAUNCHER_UNFIT");
}

#[cfg(unix)]
#[test]
fn a_launcher_that_hangs_in_its_check_is_ended() {
    let world = installed(b"#!/bin/sh\necho $$ > checked.pid\nexec sleep 600\n");
    let begun = std::time::Instant::now();
    let mut command = world.command(&[]);
    let run = crate::world::Run::of(command.current_dir(world.home()));
    run.assert_app("1.0.0");
    assert!(begun.elapsed().as_secs() >= 10);
    assert_unchanged(&world);
    let log = world.log();
    assert!(log.contains("did not end within 10 s"), "{log}");
    let pid = fs::read_to_string(world.home().join("checked.pid")).unwrap();
    let process = PathBuf::from("/proc").join(pid.trim());
    assert!(!process.exists(), "{} is left", process.display());
}

#[test]
fn the_check_tells_whether_the_configuration_can_be_used() {
    let world = World::new();
    let good = world.run(&["--castoff", "self-check"]);
    assert_eq!(good.code, Some(0), "{good:?}");
    assert!(good.stdout.starts_with("castoff "), "{good:?}");
    assert!(good.stdout.contains(&target()), "{good:?}");
    world.configure("[update]\nlaucher = false");
    let bad = world.run(&["--castoff", "self-check"]);
    assert_eq!(bad.code, Some(78), "{bad:?}");
    assert!(bad.stdout.starts_with("CONFIG_INVALID: "), "{bad:?}");
    fs::remove_file(world.home().join("launcher.toml")).unwrap();
    let none = world.run(&["--castoff", "self-check"]);
    assert_eq!(none.code, Some(78), "{none:?}");
    assert_eq!(world.server.requests().len(), 0);
    assert!(!world.home().join("logs").exists() && !world.client().exists());
}

#[test]
fn a_server_that_is_away_delays_the_app_once() {
    let world = installed(&another());
    world.server.replace(MEDIA, Reply::status(404));
    refused(&world, "HTTP_STATUS");
}

#[test]
fn a_failure_between_the_two_names_leaves_the_launcher_that_was_there() {
    let other = another();
    let world = installed(&other);
    world.run_failing("launcher.kept=error").assert_app("1.0.0");
    let built = fs::read(env!("CARGO_BIN_EXE_castoff-launcher")).unwrap();
    assert_launcher(&world, &built);
    world.run(&[]).assert_app("1.0.0");
    assert_unchanged(&world);
    assert_launcher_works(&world, "launcher.kept=error");
}

#[test]
fn what_an_interrupted_time_has_left_is_cleared_away() {
    let world = World::new();
    world.publish_app("1.0.0");
    world.run(&[]).assert_app("1.0.0");
    for path in [staged(&world), old(&world)] {
        fs::write(path, "left behind").unwrap();
    }
    world.run(&[]).assert_app("1.0.0");
    world.run(&[]).assert_app("1.0.0");
    assert_unchanged(&world);
}

#[test]
fn launchers_at_once_end_with_one_that_works() {
    let other = another();
    let world = installed(&other);
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..4).map(|_| scope.spawn(|| world.run(&[]))).collect();
        for run in runs {
            run.join().unwrap().assert_app("1.0.0");
        }
    });
    for _ in 0..3 {
        world.run(&[]).assert_app("1.0.0");
    }
    assert_launcher(&world, &other);
    assert!(!old(&world).exists() && !staged(&world).exists());
    assert_eq!(launcher_fetches(&world), 1);
}

#[cfg(unix)]
#[test]
fn the_mode_is_that_of_the_one_before() {
    use std::os::unix::fs::PermissionsExt;

    let other = another();
    let world = installed(&other);
    give_own_launcher(&world);
    let mode = fs::Permissions::from_mode(0o750);
    fs::set_permissions(world.launcher(), mode).unwrap();
    world.run(&[]).assert_app("1.0.0");
    assert_launcher(&world, &other);
    assert_eq!(crate::world::mode(&world.launcher()), 0o750);
}
