//! Hostile packages and unruly servers, end to end: what must be refused is refused and leaves
//! nothing, inside the client folder or out of it; what is merely unusual is installed.

use std::fs;
use std::time::{Duration, Instant};

use castoff_testkit::http::{Reply, Request, Server, Tls};
use castoff_testkit::package::{Package, RawEntry, RawZip, hostile};
use serde_json::Value;

use crate::siege::Besieged;
use crate::world::{CHECK, ENTRY, Run, World, app, script};

/// A world with 1.0.0 installed, in a folder that is watched.
fn besieged() -> Besieged {
    Besieged::new(|parent| {
        let world = World::inside(parent, Server::start(), "");
        install(&world);
        world
    })
}

/// Offers a package that is what its release says, and tells everything that is wrong with what
/// comes of it.
fn faults(besieged: &Besieged, name: &str, code: &str, bytes: &[u8]) -> Vec<String> {
    besieged.world.publish_bytes("1.1.0", bytes.to_vec());
    besieged.faults(&besieged.world.run(&[]), name, code)
}

/// Installs 1.0.0 and starts it often enough that it is past its trial and nothing is news.
fn install(world: &World) {
    world.publish_app("1.0.0");
    for _ in 0..2 {
        world.run(&[]).assert_app("1.0.0");
    }
}

/// Bytes that no compression makes smaller.
fn noise(length: u32) -> Vec<u8> {
    let words = (0..length.div_ceil(4)).map(|n| n.wrapping_mul(2_654_435_761).rotate_left(7));
    words.flat_map(u32::to_le_bytes).collect()
}

#[test]
fn every_hostile_package_with_the_right_digest() {
    let besieged = besieged();
    let packages = hostile::all();
    assert!(packages.len() > 50, "the testkit's packages are all here");
    let found: Vec<String> = packages
        .iter()
        .flat_map(|package| faults(&besieged, package.name, package.code, &package.bytes))
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
    besieged.world.publish_app("1.1.0");
    besieged.world.run(&[]).assert_app("1.1.0");
}

#[test]
fn every_name_that_must_not_be_written() {
    let besieged = besieged();
    let mut found = Vec::new();
    for name in hostile::NAMES {
        let bytes = hostile::with_name(name.as_bytes());
        found.extend(faults(
            &besieged,
            &format!("{name:?}"),
            "ARCHIVE_UNSAFE",
            &bytes,
        ));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_package_truncated_at_every_thousandth_byte() {
    let besieged = besieged();
    let whole = app("1.1.0").file("noise.bin", noise(40_000)).build();
    let mut found = Vec::new();
    for length in (0..whole.bytes.len()).step_by(1000) {
        let name = format!("the first {length} bytes");
        found.extend(faults(
            &besieged,
            &name,
            "ARCHIVE_INVALID",
            &whole.bytes[..length],
        ));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// An entry as a Windows tool in China writes it: a GBK name, no flag, no Unix mode.
fn gbk(name: &[u8], content: &str) -> RawEntry {
    hostile::unflagged(RawEntry::deflated(name, content)).both(|header| {
        header.made_by = 0x0014;
        header.external = 0x20;
    })
}

#[test]
fn names_in_gbk_without_the_flag_are_installed_in_chinese() {
    let world = World::new();
    install(&world);
    // Two files and a folder: instructions, data, settings.
    let bytes = RawZip::of([
        gbk(ENTRY.as_bytes(), &script("1.1.0")),
        gbk(b"\xcb\xb5\xc3\xf7.txt", "read me"),
        gbk(b"\xca\xfd\xbe\xdd/\xc5\xe4\xd6\xc3.ini", "a=1"),
    ]);
    world.publish_bytes("1.1.0", bytes.build());
    world.run(&[]).assert_app("1.1.0");
    assert_eq!(world.read("\u{8bf4}\u{660e}.txt"), "read me");
    assert_eq!(world.read("\u{6570}\u{636e}/\u{914d}\u{7f6e}.ini"), "a=1");
    let restored = world.run(&["--castoff", "backups", "restore", "1.0.0"]);
    assert_eq!(restored.code, Some(0), "{restored:?}");
    assert_eq!(world.read("\u{8bf4}\u{660e}.txt"), "\u{8bf4}\u{660e}\n");
    assert!(!world.path("\u{6570}\u{636e}").exists());
}

#[test]
fn a_zip64_package_is_installed() {
    let world = World::new();
    install(&world);
    let bytes = RawZip::of([
        RawEntry::deflated(ENTRY, script("1.1.0")).zip64(),
        RawEntry::stored("lib/a.txt", "a").zip64(),
        RawEntry::deflated("lib/b.txt", "b".repeat(5000)),
    ]);
    world.publish_bytes("1.1.0", bytes.zip64().build());
    world.run(&[]).assert_app("1.1.0");
    assert_eq!(world.read("lib/a.txt"), "a");
    assert_eq!(world.read("lib/b.txt"), "b".repeat(5000));
}

/// A world that asks over https, with 1.0.0 installed while its authority was trusted.
fn over_tls(tls: &Tls, config: &str) -> World {
    let parent = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let world = World::inside(parent, Server::start_tls(tls), config);
    world.publish_app("1.0.0");
    for _ in 0..2 {
        trusting(&world, tls).assert_app("1.0.0");
    }
    world
}

/// Runs with the testkit's authority among the trusted ones.
fn trusting(world: &World, tls: &Tls) -> Run {
    Run::of(world.command(&[]).env("SSL_CERT_FILE", &tls.ca_pem_path))
}

#[test]
#[cfg_attr(
    windows,
    ignore = "windows: its trusted authorities are the machine's, not a test's"
)]
fn https_with_a_trusted_certificate() {
    let tls = Tls::new();
    let world = over_tls(&tls, "");
    world.publish_app("1.1.0");
    trusting(&world, &tls).assert_app("1.1.0");
}

#[test]
#[cfg_attr(
    windows,
    ignore = "windows: its trusted authorities are the machine's, not a test's"
)]
fn https_with_a_certificate_that_nobody_trusts() {
    let tls = Tls::new();
    let world = over_tls(&tls, "");
    let before = world.tree();
    world.publish_app("1.1.0");
    let started = Instant::now();
    world
        .run(&[])
        .assert_app("1.0.0")
        .assert_told("SOURCE_UNREACHABLE");
    assert!(started.elapsed() < Duration::from_secs(10));
    assert_eq!(world.tree(), before);
    world.assert_tidy();
}

#[test]
#[cfg_attr(
    windows,
    ignore = "windows: its trusted authorities are the machine's, not a test's"
)]
fn a_package_from_a_server_whose_certificate_nobody_trusts() {
    let (known, unknown) = (Tls::new(), Tls::new());
    let stranger = Server::start_tls(&unknown);
    let world = over_tls(&known, "");
    let built = app("1.1.0").build();
    let mut answer = World::answer(&built, "1.1.0");
    answer["file"] = stranger.url("/a.zip").into();
    world.announce(&answer);
    stranger.route("/a.zip", Reply::file(&built.bytes));
    trusting(&world, &known)
        .assert_app("1.0.0")
        .assert_told("SOURCE_UNREACHABLE");
    assert!(stranger.requests().is_empty(), "nothing was asked of it");
}

#[test]
fn certificates_that_are_configured_not_to_matter() {
    let tls = Tls::new();
    let world = over_tls(&tls, "verify_certificates = false");
    world.publish_app("1.1.0");
    world.run(&[]).assert_app("1.1.0");
}

#[test]
#[cfg_attr(
    windows,
    ignore = "windows: its trusted authorities are the machine's, not a test's"
)]
fn a_package_redirected_from_https_to_http() {
    let tls = Tls::new();
    let world = over_tls(&tls, "");
    let plain = Server::start();
    let built = app("1.1.0").build();
    plain.route("/a.zip", Reply::file(&built.bytes));
    world.announce(&World::answer(&built, "1.1.0"));
    world.media("1.1.0", Reply::redirect(302, &plain.url("/a.zip")));
    trusting(&world, &tls)
        .assert_app("1.0.0")
        .assert_told("REDIRECT_REFUSED");
    assert!(plain.requests().is_empty(), "nothing went in the clear");
}

/// An address that only a proxy could reach.
fn beyond_the_proxy() -> String {
    format!("https://updates.example.com{CHECK}")
}

/// Starts with a source beyond the proxy at `proxy`.
fn behind(world: &World, proxy: &str) -> Run {
    let mut command = world.command(&[]);
    command
        .env("CASTOFF_SOURCE_URL", beyond_the_proxy())
        .env("HTTPS_PROXY", proxy);
    Run::of(&mut command)
}

#[test]
fn a_proxy_that_refuses_closes_or_resets() {
    let world = World::new();
    install(&world);
    for reply in [
        Reply::status(403).body("not for you"),
        Reply::status(407).header("Proxy-Authenticate", "Basic"),
        Reply::status(502),
        Reply::status(200).reset_at_once(),
        Reply::raw("what is a proxy?\n"),
    ] {
        let proxy = Server::start();
        proxy.fallback(reply);
        let run = behind(&world, &proxy.url(""));
        run.assert_app("1.0.0").assert_told("SOURCE_UNREACHABLE");
        let requests = proxy.requests();
        assert!(
            requests.iter().all(|request| request.method == "CONNECT"),
            "{requests:?}"
        );
        assert_eq!(requests[0].target, "updates.example.com:443");
    }
    behind(&world, "http://127.0.0.1:1")
        .assert_app("1.0.0")
        .assert_told("SOURCE_UNREACHABLE");
}

#[test]
fn a_proxy_that_works() {
    let tls = Tls::new();
    let world = over_tls(&tls, "verify_certificates = false");
    world.publish_app("1.1.0");
    let proxy = Server::start();
    proxy.fallback(Reply::tunnel_to(world.server.address()));
    behind(&world, &proxy.url("")).assert_app("1.1.0");
}

/// A package of 1.1.0 that is large enough to break in the middle.
fn large() -> Package {
    app("1.1.0").file("noise.bin", noise(300_000))
}

/// The strong ETag of an unchanged package.
const ETAG: &str = "\"one\"";

/// The requests for the package.
fn asked(world: &World) -> Vec<Request> {
    let mut requests = world.server.requests();
    requests.retain(|request| request.path().starts_with("/media/1.1.0"));
    requests
}

/// A world with 1.0.0 installed and 1.1.0 announced, served by what `replies` makes of it.
fn offered(spoil: impl FnOnce(&mut Value), replies: impl FnOnce(&[u8]) -> Vec<Reply>) -> World {
    let world = World::new();
    install(&world);
    let built = large().build();
    let mut answer = World::answer(&built, "1.1.0");
    spoil(&mut answer);
    world.announce(&answer);
    for reply in replies(&built.bytes) {
        world.server.route("/media/1.1.0.zip", reply);
    }
    world
}

/// The same after a first start in which the download broke off at 100,000 bytes.
fn broken_off(replies: impl FnOnce(&[u8]) -> Vec<Reply>) -> World {
    let world = offered(
        |_| (),
        |bytes| {
            let breaks = Reply::file(bytes).etag(ETAG).cut_after(100_000).times(1);
            [breaks].into_iter().chain(replies(bytes)).collect()
        },
    );
    let mut command = world.command(&[]);
    let first = Run::of(command.env("CASTOFF_NETWORK_RETRIES", "0"));
    first.assert_app("1.0.0").assert_told("DOWNLOAD_FAILED");
    world
}

macro_rules! installed {
    ($($(#[$doc:meta])* $name:ident: $world:expr;)*) => {$(
        $(#[$doc])*
        #[test]
        fn $name() {
            let world: World = $world;
            world.run(&[]).assert_app("1.1.0");
            assert_eq!(fs::read(world.path("noise.bin")).unwrap(), noise(300_000));
            world.assert_tidy();
        }
    )*};
}

installed! {
    a_range_answered_with_the_whole_file: broken_off(|bytes| {
        vec![Reply::file(bytes).etag(ETAG).ignore_range()]
    });
    a_range_of_a_file_that_was_replaced_by_the_same_bytes: broken_off(|bytes| {
        vec![Reply::file(bytes).etag("\"two\"")]
    });
    a_range_whose_etag_is_another_each_time: broken_off(|bytes| {
        vec![Reply::file(bytes).changing_etag().times(1), Reply::file(bytes)]
    });
    a_range_with_a_gzip_label: broken_off(|bytes| {
        vec![Reply::file(bytes).etag(ETAG).gzip_label().times(1), Reply::file(bytes).etag(ETAG)]
    });
    a_range_other_than_the_one_asked_for: broken_off(|bytes| {
        let lie = format!("bytes 0-9/{}", bytes.len());
        vec![Reply::file(bytes).etag(ETAG).content_range(&lie).times(1), Reply::file(bytes)]
    });
    a_range_of_a_file_of_another_size: broken_off(|bytes| {
        let lie = format!("bytes 100000-199999/{}", bytes.len() - 1);
        vec![Reply::file(bytes).etag(ETAG).content_range(&lie).times(1), Reply::file(bytes)]
    });
    a_range_that_is_refused_with_416: broken_off(|bytes| {
        vec![Reply::status(416).times(1), Reply::file(bytes)]
    });
    a_range_in_chunks: broken_off(|bytes| vec![Reply::file(bytes).etag(ETAG).chunked()]);
    chunks_without_a_length: offered(|_| (), |bytes| vec![Reply::file(bytes).chunked()]);
    chunks_without_a_length_and_no_size_announced: offered(
        |answer| { answer.as_object_mut().unwrap().remove("file_size"); },
        |bytes| vec![Reply::file(bytes).chunked()],
    );
    a_body_that_ends_with_its_connection: offered(|_| (), |bytes| vec![Reply::file(bytes).until_close()]);
    a_connection_reset_before_the_answer: offered(|_| (), |bytes| {
        vec![Reply::file(bytes).reset_at_once().times(1), Reply::file(bytes)]
    });
    a_connection_reset_in_the_head: offered(|_| (), |bytes| {
        vec![Reply::file(bytes).reset_in_head().times(1), Reply::file(bytes)]
    });
    a_connection_reset_in_the_body: offered(|_| (), |bytes| {
        vec![Reply::file(bytes).reset_after(50_000).times(1), Reply::file(bytes)]
    });
}

#[test]
fn a_range_is_asked_for_on_condition_and_only_the_rest_comes() {
    let world = broken_off(|bytes| vec![Reply::file(bytes).etag(ETAG)]);
    world.run(&[]).assert_app("1.1.0");
    let requests = asked(&world);
    assert_eq!(requests.len(), 2, "{requests:?}");
    assert_eq!(requests[1].header("range"), Some("bytes=100000-"));
    assert_eq!(requests[1].header("if-range"), Some(ETAG));
}

#[test]
fn a_file_that_was_replaced_by_other_bytes_after_a_break() {
    let world = broken_off(|bytes| {
        let other: Vec<u8> = bytes.iter().map(|byte| !byte).collect();
        vec![Reply::file(&other).etag("\"two\"")]
    });
    let before = world.tree();
    world
        .run(&[])
        .assert_app("1.0.0")
        .assert_told("HASH_MISMATCH");
    assert_eq!(world.tree(), before);
    assert!(
        !world.path(".castoff/downloads").exists(),
        "the bytes are gone"
    );
}

#[test]
fn a_package_refused_with_416_though_no_range_was_asked_for() {
    let world = offered(|_| (), |_| vec![Reply::status(416)]);
    world
        .run(&[])
        .assert_app("1.0.0")
        .assert_told("HTTP_STATUS");
    world.assert_tidy();
}

#[test]
fn a_busy_server_is_asked_again_when_it_says() {
    for status in [429, 503] {
        let world = offered(
            |_| (),
            |bytes| {
                let busy = Reply::status(status).header("Retry-After", "2").times(1);
                vec![busy, Reply::file(bytes)]
            },
        );
        let started = Instant::now();
        world.run(&[]).assert_app("1.1.0");
        assert!(started.elapsed() >= Duration::from_secs(2), "{status}");
        assert_eq!(asked(&world).len(), 2, "{status}");
    }
}

#[test]
fn a_server_that_is_busy_for_an_hour_is_left_alone() {
    for status in [429, 503] {
        let reply = Reply::status(status).header("Retry-After", "3600");
        let world = offered(|_| (), |_| vec![reply]);
        let started = Instant::now();
        world
            .run(&[])
            .assert_app("1.0.0")
            .assert_told("HTTP_STATUS");
        assert!(started.elapsed() < Duration::from_secs(5), "{status}");
        assert_eq!(asked(&world).len(), 1, "{status}");
        world.assert_tidy();
    }
}

#[test]
fn connections_that_are_reset_each_time() {
    type Spoil = fn(Reply) -> Reply;
    let stages: [(Spoil, &str); 3] = [
        (Reply::reset_at_once, "SOURCE_UNREACHABLE"),
        (Reply::reset_in_head, "SOURCE_UNREACHABLE"),
        (|reply| reply.reset_after(5_000), "DOWNLOAD_FAILED"),
    ];
    for (spoil, code) in stages {
        let world = offered(|_| (), |bytes| vec![spoil(Reply::file(bytes))]);
        let before = world.tree();
        world.run(&[]).assert_app("1.0.0").assert_told(code);
        assert_eq!(world.tree(), before, "{code}");
        world.assert_tidy();
    }
}
