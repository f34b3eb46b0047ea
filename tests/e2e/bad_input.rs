//! Bad input: an error with a stable code, the app byte for byte as it was, and the app starts.

use std::time::Duration;

use castoff_testkit::http::Reply;
use serde_json::{Value, json};

use crate::world::{CHECK, World, app};

fn installed() -> World {
    let world = World::with("stall_timeout = 1\n[update]\nkeep = 3");
    world.publish_app("1.0.0");
    world.run(&[]).assert_app("1.0.0");
    world.run(&[]).assert_app("1.0.0");
    world
}

/// Publishes 1.1.0, lets `spoil` spoil something, and checks that nothing comes of it.
#[track_caller]
fn assert_refused(code: &str, spoil: impl FnOnce(&World, &mut Value, Vec<u8>)) {
    let world = installed();
    let before = world.tree();
    let built = app("1.1.0").build();
    let mut answer = World::answer(&built, "1.1.0");
    let bytes = built.bytes.clone();
    world.media("1.1.0", Reply::file(&built.bytes));
    spoil(&world, &mut answer, bytes);
    if !answer.is_null() {
        world.announce(&answer);
    }
    let run = world.run(&[]);
    run.assert_app("1.0.0").assert_told(code);
    assert_eq!(world.tree(), before, "{run:#?}");
    assert_eq!(world.version(), "1.0.0");
    assert_eq!(world.state()["last"]["outcome"], code);
    world.assert_tidy();
}

/// Replaces the check's answer.
fn answer_with(world: &World, answer: &mut Value, reply: Reply) {
    world.server.replace(CHECK, reply);
    *answer = Value::Null;
}

macro_rules! refused {
    ($($name:ident: $code:literal, $spoil:expr;)*) => {$(
        #[test]
        fn $name() { assert_refused($code, $spoil); }
    )*};
}

refused! {
    a_wrong_digest: "HASH_MISMATCH", |_, answer, _| answer["file_hash"] = "ab".repeat(32).into();
    a_wrong_size: "SIZE_MISMATCH", |_, answer, bytes| answer["file_size"] = (bytes.len() - 1).into();
    no_digest: "ANSWER_INVALID", |_, answer, _| { answer.as_object_mut().unwrap().remove("file_hash"); };
    an_empty_digest: "ANSWER_INVALID", |_, answer, _| answer["file_hash"] = "".into();
    no_package: "ANSWER_INVALID", |_, answer, _| { answer.as_object_mut().unwrap().remove("file"); };
    a_version_that_is_a_number: "ANSWER_INVALID", |_, answer, _| answer["version"] = 2.into();
    a_version_that_is_none: "VERSION_INVALID", |_, answer, _| answer["version"] = "newest".into();
    an_empty_version: "VERSION_INVALID", |_, answer, _| answer["version"] = "".into();
    a_version_of_ten_kilobytes: "VERSION_INVALID", |_, answer, _| answer["version"] = "1.".repeat(5_000).into();
    a_version_that_is_a_path: "VERSION_INVALID", |_, answer, _| answer["version"] = "../../1.1.0".into();
    an_entry_point_outside: "ANSWER_INVALID", |_, answer, _| answer["entry_point"] = "../run.sh".into();
    a_package_over_plain_http_from_elsewhere: "INSECURE_URL", |_, answer, _| answer["file"] = "http://203.0.113.1/a.zip".into();
    a_package_of_another_scheme: "ANSWER_INVALID", |_, answer, _| answer["file"] = "file:///etc/passwd".into();
    no_active_version: "NO_ACTIVE_VERSION", |world, answer, _| {
        let text = json!({"error": "\u{5e94}\u{7528} demo \u{6ca1}\u{6709}\u{6fc0}\u{6d3b}\u{7248}\u{672c}"}).to_string();
        answer_with(world, answer, Reply::status(404).body(text));
    };
    a_disabled_app: "APP_UNAVAILABLE", |world, answer, _| {
        answer_with(world, answer, Reply::status(404).body("{\"detail\":\"No App matches the given query.\"}"));
    };
    a_server_error: "HTTP_STATUS", |world, answer, _| answer_with(world, answer, Reply::status(500));
    a_web_page_instead_of_an_answer: "ANSWER_INVALID", |world, answer, _| {
        answer_with(world, answer, Reply::html("<html>Log in to the hotel's network</html>"));
    };
    half_an_answer: "ANSWER_INVALID", |world, answer, _| answer_with(world, answer, Reply::json("{\"version\": \"1.1"));
    an_answer_with_a_key_twice: "ANSWER_INVALID", |world, answer, _| {
        let text = answer.to_string().replacen('{', "{\"version\":\"0.0.1\",", 1);
        answer_with(world, answer, Reply::json(&text));
    };
    an_answer_nested_too_deeply: "ANSWER_INVALID", |world, answer, _| {
        answer_with(world, answer, Reply::json(&"[".repeat(100_000)));
    };
    a_package_that_is_a_web_page: "HASH_MISMATCH", |world, answer, _| {
        answer.as_object_mut().unwrap().remove("file_size");
        world.media("1.1.0", Reply::html("<html>no</html>"));
    };
    a_package_that_is_not_there: "HTTP_STATUS", |world, _, _| world.media("1.1.0", Reply::status(404));
    a_package_cut_short: "DOWNLOAD_FAILED", |world, _, bytes| world.media("1.1.0", Reply::file(&bytes).cut_after(100));
    a_package_without_end: "SIZE_MISMATCH", |world, _, bytes| world.media("1.1.0", Reply::file(&bytes).endless());
    a_download_that_stalls: "DOWNLOAD_STALLED", |world, _, bytes| {
        world.media("1.1.0", Reply::file(&bytes).stall_after(100));
    };
    a_download_of_a_byte_at_a_time: "DOWNLOAD_STALLED", |world, _, bytes| {
        world.media("1.1.0", Reply::file(&bytes).trickle(1, Duration::from_millis(50)));
    };
    a_redirect_loop: "REDIRECT_REFUSED", |world, _, _| {
        world.media("1.1.0", Reply::redirect(302, "/media/1.1.0.zip"));
    };
    a_package_that_is_no_archive: "ARCHIVE_INVALID", |world, answer, _| {
        let bytes = b"This is no archive.".to_vec();
        answer["file_size"] = bytes.len().into();
        answer["file_hash"] = castoff::trust::Sha256::of(&bytes).to_string().into();
        world.media("1.1.0", Reply::file(&bytes));
    };
}

/// A package whose archive is hostile, with the right digest: only the archive's checks can help.
#[track_caller]
fn assert_package_refused(code: &str, bytes: &[u8]) {
    assert_refused(code, |world, answer, _| {
        answer["file_size"] = bytes.len().into();
        answer["file_hash"] = castoff::trust::Sha256::of(bytes).to_string().into();
        world.media("1.1.0", Reply::file(bytes));
    });
}

#[test]
fn a_package_that_writes_outside() {
    use castoff_testkit::package::hostile;
    assert_package_refused("ARCHIVE_UNSAFE", &hostile::with_name(b"../outside.txt"));
}

#[test]
fn a_package_that_writes_into_castoffs_own_folder() {
    use castoff_testkit::package::hostile;
    assert_package_refused(
        "ARCHIVE_UNSAFE",
        &hostile::with_name(b".castoff/state.json"),
    );
}

#[test]
fn a_package_cut_in_the_middle() {
    let bytes = app("1.1.0").build().bytes;
    assert_package_refused("ARCHIVE_INVALID", &bytes[..bytes.len() / 2]);
}

#[test]
fn a_broken_release_is_left_alone_for_a_while() {
    let world = installed();
    let built = app("1.1.0").build();
    let mut answer = World::answer(&built, "1.1.0");
    answer["file_hash"] = "ab".repeat(32).into();
    world.announce(&answer);
    world.media("1.1.0", Reply::file(&built.bytes));
    world
        .run(&[])
        .assert_app("1.0.0")
        .assert_told("HASH_MISMATCH");
    let requests = world.server.requests().len();
    let quiet = world.run(&[]);
    quiet.assert_app("1.0.0");
    assert_eq!(
        world.server.requests().len(),
        requests + 1,
        "checked, not fetched: {quiet:?}"
    );
    assert_eq!(world.state()["last"]["outcome"], "BACKING_OFF");
    world.announce(&World::answer(&built, "1.1.0"));
    world.run(&[]).assert_app("1.1.0");
}

#[cfg(unix)]
#[test]
fn links_and_strangers_on_the_way_are_refused() {
    let world = installed();
    let outside = world.home().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::rename(world.path("data"), outside.join("data")).unwrap();
    std::os::unix::fs::symlink(outside.join("data"), world.path("data")).unwrap();
    world.publish_app("1.1.0");
    world
        .run(&[])
        .assert_app("1.0.0")
        .assert_told("TARGET_UNSAFE");
    assert_eq!(
        std::fs::read_to_string(outside.join("data/changes.txt")).unwrap(),
        "changes 1.0.0\n"
    );
    world.assert_tidy();
}

#[test]
fn a_folder_of_the_users_where_the_new_version_has_a_file() {
    let world = installed();
    world.write("new.txt/mine", "mine");
    world.publish("1.1.0", &app("1.1.0").file("new.txt", b"theirs"));
    world
        .run(&[])
        .assert_app("1.0.0")
        .assert_told("TARGET_UNSAFE");
    assert_eq!(world.read("new.txt/mine"), "mine");
    assert_eq!(world.backups(), Vec::<String>::new());
}

#[test]
fn state_files_full_of_nonsense_do_not_stop_the_app() {
    for name in ["state.json", "installed.json"] {
        let world = installed();
        world.write(&format!(".castoff/{name}"), "{\"castoff\": [[[");
        world.publish_app("1.1.0");
        let run = world.run(&[]);
        run.assert_app("1.1.0");
    }
}

#[test]
fn a_journal_that_cannot_be_read_is_never_started_over() {
    let world = installed();
    world.write(".castoff/journal.json", "nonsense");
    let run = world.run(&[]);
    run.assert_told("RECOVERY_FAILED");
    assert_eq!(run.code, Some(74));
    assert!(!run.stdout.contains("app"), "{run:?}");
}

#[test]
fn wrong_configuration_names_the_line_and_the_nearest_key() {
    let world = installed();
    world.configure("[update]\nkep = 3");
    let run = world.run(&[]);
    run.assert_told("CONFIG_INVALID")
        .assert_told("update.keep")
        .assert_told("launcher.toml");
    assert_eq!(run.code, Some(78));
    std::fs::remove_file(world.home().join("launcher.toml")).unwrap();
    world.run(&[]).assert_told("CONFIG_MISSING");
}

#[cfg(unix)]
#[test]
fn a_folder_that_may_not_be_changed() {
    use std::os::unix::fs::PermissionsExt;
    let world = installed();
    world.publish_app("1.1.0");
    std::fs::set_permissions(world.path("data"), std::fs::Permissions::from_mode(0o555)).unwrap();
    let before = world.tree();
    let run = world.run(&[]);
    std::fs::set_permissions(world.path("data"), std::fs::Permissions::from_mode(0o755)).unwrap();
    if world.version() == "1.1.0" {
        // The superuser may change anything.
        return;
    }
    run.assert_app("1.0.0").assert_told("PERMISSION_DENIED");
    assert_eq!(world.tree(), before);
}

#[test]
fn a_command_that_there_is_not_is_answered_with_those_that_there_are() {
    let run = World::new().run(&["--castoff", "chek"]);
    assert_eq!(run.code, Some(78), "{run:#?}");
    let commands = run
        .stderr
        .lines()
        .filter(|line| line.contains("--castoff "));
    let (app, own): (Vec<_>, Vec<_>) = commands.partition(|line| line.contains(" run "));
    assert_eq!((app.len(), own.len()), (1, 13), "{run:#?}");
    assert!(
        own.iter().all(|line| line.ends_with(" [--json]")),
        "{own:?}"
    );
}
