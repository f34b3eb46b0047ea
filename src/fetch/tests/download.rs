use std::fs;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use castoff_testkit::http::{Reply, Server, Tls};

use super::{PATIENT, SHORT, client, network, source};
use crate::config::NetworkConfig;
use crate::fetch::{Fetched, download};
use crate::progress::{Event, Observer, Silent};
use crate::release::Package;
use crate::trust::Sha256;
use crate::{Code, Error, Result};

const SIZE: usize = 300_000;

/// A server, a package of [`SIZE`] bytes on it, and a folder for it.
struct World {
    server: Server,
    folder: tempfile::TempDir,
    bytes: Vec<u8>,
    package: Package,
    network: NetworkConfig,
}

impl World {
    fn new() -> Self {
        Self::on(Server::start())
    }

    fn on(server: Server) -> Self {
        // Bytes whose every stretch differs, so that a wrong join shows.
        let numbers = (0..u32::MAX).flat_map(|n| (n / 251).to_le_bytes());
        let bytes: Vec<u8> = numbers.take(SIZE).collect();
        let package = Package {
            url: server.url("/a.zip"),
            mirrors: Vec::new(),
            sha256: Some(Sha256::of(&bytes)),
            size: Some(SIZE as u64),
            files: None,
            md5: None,
            wrapped: false,
            by_file: false,
        };
        Self {
            server,
            folder: tempfile::tempdir().unwrap(),
            bytes,
            package,
            network: network(),
        }
    }

    /// The package as it should be served.
    fn good(&self) -> Reply {
        Reply::file(&self.bytes).etag("\"v1\"")
    }

    fn serve(&self, replies: impl IntoIterator<Item = Reply>) -> &Self {
        for reply in replies {
            self.server.route("/a.zip", reply);
        }
        self
    }

    fn fetch(&self) -> Result<Fetched> {
        self.fetch_watched(&Silent)
    }

    fn fetch_watched(&self, observer: &dyn Observer) -> Result<Fetched> {
        let client = client(&self.network, &source(&self.package.url));
        download(&client, &self.package, self.folder.path(), observer)
    }

    #[track_caller]
    fn succeeds(&self) {
        let mut fetched = self.fetch().unwrap();
        let mut bytes = Vec::new();
        fetched.file.read_to_end(&mut bytes).unwrap();
        assert!(bytes == self.bytes, "other bytes");
        assert_eq!(
            (fetched.sha256, fetched.size),
            (self.package.id(), SIZE as u64)
        );
        assert_eq!(self.names(), [format!("{}.package", self.stem())]);
    }

    #[track_caller]
    fn fails(&self, code: Code) -> Error {
        let error = self.fetch().unwrap_err();
        assert_eq!(error.code(), code, "{}", error.chain());
        error
    }

    fn stem(&self) -> String {
        self.package.id().to_string()[..32].to_owned()
    }

    fn part(&self) -> PathBuf {
        self.folder.path().join(format!("{}.part", self.stem()))
    }

    /// Leaves a part of these bytes, as an earlier run would have, from an answer with `etag`.
    fn left(&self, bytes: &[u8], etag: Option<&str>) -> &Self {
        fs::write(self.part(), bytes).unwrap();
        let origin =
            serde_json::json!({"url": self.package.url, "etag": etag, "last_modified": null});
        fs::write(self.part().with_added_extension("json"), origin.to_string()).unwrap();
        self
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// The `Range` of each request.
    fn ranges(&self) -> Vec<Option<String>> {
        self.header("range")
    }

    fn header(&self, name: &str) -> Vec<Option<String>> {
        let requests = self.server.requests();
        requests
            .iter()
            .map(|request| request.header(name).map(str::to_owned))
            .collect()
    }
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "compared with headers that may be absent"
)]
fn range(from: usize) -> Option<String> {
    Some(format!("bytes={from}-"))
}

#[test]
fn a_package_is_fetched_hashed_and_named_by_its_digest() {
    let world = World::new();
    world.serve([world
        .good()
        .header("Content-Disposition", "attachment; filename=../../evil")]);
    world.succeeds();
    assert_eq!(world.ranges(), [None]);
}

#[test]
fn a_finished_package_is_used_again_without_the_network() {
    let world = World::new();
    world.serve([world.good()]);
    world.succeeds();
    world.succeeds();
    assert_eq!(world.server.requests().len(), 1);
}

#[test]
fn a_finished_package_that_was_changed_is_fetched_again() {
    for damage in [b"short".to_vec(), vec![0; SIZE]] {
        let world = World::new();
        world.serve([world.good()]);
        fs::write(
            world
                .folder
                .path()
                .join(format!("{}.package", world.stem())),
            damage,
        )
        .unwrap();
        world.succeeds();
    }
}

#[cfg(unix)]
#[test]
fn links_in_the_downloads_folder_are_removed_and_not_followed() {
    let world = World::new();
    world.serve([world.good()]);
    let outside = tempfile::tempdir().unwrap();
    let victim = outside.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    std::os::unix::fs::symlink(&victim, world.part()).unwrap();
    std::os::unix::fs::symlink(&victim, world.part().with_extension("package")).unwrap();
    world.succeeds();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
}

#[test]
fn chunked_without_a_length_is_fetched() {
    for size in [Some(SIZE as u64), None] {
        let mut world = World::new();
        world.package.size = size;
        world.serve([world.good().chunked().times(1), world.good().until_close()]);
        world.succeeds();
    }
}

#[test]
fn gzip_claimed_for_a_whole_package_changes_nothing() {
    let world = World::new();
    world.serve([world.good().gzip_label()]);
    world.succeeds();
}

#[test]
fn a_reset_in_the_body_is_resumed_from_the_exact_byte() {
    let world = World::new();
    world.serve([world.good().reset_after(100_001).times(1), world.good()]);
    world.succeeds();
    assert_eq!(world.ranges(), [None, range(100_001)]);
    assert_eq!(world.header("if-range"), [None, Some("\"v1\"".to_owned())]);
}

#[test]
fn a_reset_at_every_stage_is_repeated() {
    let world = World::new();
    world.serve([
        world.good().reset_at_once().times(1),
        world.good().reset_in_head().times(1),
        world.good().reset_after(0).times(1),
        world.good(),
    ]);
    world.succeeds();
}

#[test]
fn a_short_body_is_resumed_however_it_is_framed() {
    let world = World::new();
    world.serve([
        world.good().cut_after(10_000).times(1),
        world.good().until_close().cut_after(10_000).times(1),
        world.good().chunked().cut_after(10_000).times(1),
        world.good(),
    ]);
    world.succeeds();
    assert_eq!(
        world.ranges(),
        [None, range(10_000), range(20_000), range(30_000)]
    );
}

#[test]
fn a_package_that_breaks_off_every_time_fails_and_its_part_serves_the_next_start() {
    let world = World::new();
    world.serve([world.good().cut_after(1_000).times(4), world.good()]);
    let error = world.fails(Code::DownloadFailed);
    let Error::DownloadFailed {
        received: 4_000, ..
    } = error
    else {
        panic!("{error:?}");
    };
    assert_eq!(fs::read(world.part()).unwrap(), world.bytes[..4_000]);
    world.succeeds();
    assert_eq!(world.ranges().last().unwrap(), &range(4_000));
}

#[test]
fn the_retries_are_as_many_as_configured() {
    let mut world = World::new();
    world.network.retries = 1;
    world.serve([world.good().reset_at_once()]);
    world.fails(Code::Unreachable);
    assert_eq!(world.server.requests().len(), 2);
}

#[test]
fn a_part_without_a_validator_or_with_a_weak_one_is_resumed_unconditionally() {
    for etag in [None, Some("W/\"v1\"")] {
        let world = World::new();
        world
            .serve([Reply::file(&world.bytes).etag("W/\"v1\"")])
            .left(&world.bytes[..5_000], etag);
        world.succeeds();
        assert_eq!(world.ranges(), [range(5_000)]);
        assert_eq!(world.header("if-range"), [None]);
    }
}

#[test]
fn a_last_modified_date_serves_where_there_is_no_etag() {
    let date = "Sat, 21 Nov 2026 02:28:25 GMT";
    let world = World::new();
    let reply = || Reply::file(&world.bytes).last_modified(date);
    world.serve([reply().cut_after(7_000).times(1), reply()]);
    world.succeeds();
    assert_eq!(world.header("if-range"), [None, Some(date.to_owned())]);
    assert_eq!(world.ranges(), [None, range(7_000)]);
}

#[test]
fn a_description_of_a_part_that_is_nonsense_or_of_another_address_is_no_validator() {
    for description in ["{", "[1]", r#"{"url": "https://other/", "etag": "\"v0\""}"#] {
        let world = World::new();
        world
            .serve([world.good()])
            .left(&world.bytes[..5_000], None);
        fs::write(world.part().with_added_extension("json"), description).unwrap();
        world.succeeds();
        assert_eq!(world.header("if-range"), [None], "{description}");
    }
}

#[test]
fn a_200_for_a_range_is_taken_from_its_start() {
    let world = World::new();
    world
        .serve([world.good().ignore_range()])
        .left(&world.bytes[..5_000], Some("\"v1\""));
    world.succeeds();
    assert_eq!(world.ranges(), [range(5_000)]);
}

#[test]
fn an_etag_that_changed_is_answered_whole_and_taken_from_its_start() {
    let world = World::new();
    world
        .serve([world.good()])
        .left(b"of an older file", Some("\"v0\""));
    world.succeeds();
    assert_eq!(world.server.requests().len(), 1);
}

#[test]
fn an_etag_that_changed_unsaid_in_a_206_starts_over() {
    let world = World::new();
    world
        .serve([world.good().changing_etag()])
        .left(b"of an older file", Some("\"v0\""));
    world.succeeds();
    assert_eq!(world.ranges(), [range(16), None]);
}

#[test]
fn headers_that_are_no_ascii_are_not_passed_over() {
    for (name, value) in [("ETag", "\"é\""), ("Content-Encoding", "é")] {
        let world = World::new();
        let rest = Reply::status(206)
            .body(&world.bytes[5_000..])
            .header("Content-Range", "bytes 5000-299999/300000")
            .header(name, value);
        world
            .serve([rest.times(1), world.good()])
            .left(&world.bytes[..5_000], Some("\"v0\""));
        world.succeeds();
        assert_eq!(world.ranges(), [range(5_000), None], "{name}");
    }
}

#[test]
fn a_wrong_content_range_starts_over() {
    for wrong in [
        "bytes 0-299999/300000",
        "bytes 4999-299999/300000",
        "bytes 5000-299999/300001",
        "bytes 5000-300000/300000",
        "bytes 5000-4999/300000",
        "bytes 5000-299999/*",
        "bytes */300000",
        "items 5000-299999/300000",
        "bytes +5000-299999/300000",
        "bytes 5000-+299999/300000",
        "bytes 5000-299999/+300000",
        "bytes 5000-18446744073709551616/300000",
        "nonsense",
    ] {
        let world = World::new();
        world
            .serve([world.good().content_range(wrong)])
            .left(&world.bytes[..5_000], None);
        world.succeeds();
        assert_eq!(world.ranges(), [range(5_000), None], "{wrong}");
    }
}

#[test]
fn a_206_without_a_content_range_and_one_that_nobody_asked_for() {
    let world = World::new();
    let bare = Reply::status(206).body(&world.bytes[5_000..]);
    world
        .serve([bare.clone().times(1), world.good()])
        .left(&world.bytes[..5_000], None);
    world.succeeds();
    assert_eq!(world.ranges(), [range(5_000), None]);

    let world = World::new();
    world.serve([bare]);
    world.fails(Code::HttpStatus);
}

#[test]
fn gzip_on_a_range_starts_over() {
    let world = World::new();
    world
        .serve([world.good().gzip_label()])
        .left(&world.bytes[..5_000], None);
    world.succeeds();
    assert_eq!(world.ranges(), [range(5_000), None]);
}

#[test]
fn a_416_starts_over() {
    let world = World::new();
    let refused = Reply::status(416).content_range("bytes */9");
    world
        .serve([refused.times(1), world.good()])
        .left(&world.bytes[..5_000], None);
    world.succeeds();
    assert_eq!(world.ranges(), [range(5_000), None]);
}

#[test]
fn a_416_for_a_file_that_became_shorter_ends_by_its_size() {
    let world = World::new();
    world
        .serve([Reply::file(&world.bytes[..1_000])])
        .left(&world.bytes[..5_000], None);
    world.fails(Code::SizeMismatch);
}

#[test]
fn a_part_that_is_whole_needs_no_network_with_or_without_a_known_size() {
    for size in [Some(SIZE as u64), None] {
        let mut world = World::new();
        world.package.size = size;
        world.left(&world.bytes, None);
        world.succeeds();
        assert!(world.server.requests().is_empty());
    }
}

#[test]
fn a_part_that_is_too_long_or_wrong_throughout_is_thrown_away() {
    for left in [vec![0; SIZE], vec![0; SIZE + 1]] {
        let world = World::new();
        world.serve([world.good()]).left(&left, None);
        world.succeeds();
        assert_eq!(world.ranges(), [None]);
    }
}

#[test]
fn a_resumed_package_with_a_wrong_digest_is_fetched_once_more_from_its_start() {
    let world = World::new();
    world
        .serve([world.good()])
        .left(&[0; 5_000], Some("\"v1\""));
    world.succeeds();
    assert_eq!(world.ranges(), [range(5_000), None]);
}

#[test]
fn a_wrong_digest_is_not_fetched_again_and_leaves_nothing() {
    let world = World::new();
    world.serve([Reply::file(&vec![0; SIZE])]);
    world.fails(Code::HashMismatch);
    assert_eq!(world.ranges(), [None]);
    assert!(world.names().is_empty(), "{:?}", world.names());

    world.left(&[0; 5_000], None);
    world.fails(Code::HashMismatch);
    assert_eq!(world.ranges()[1..], [range(5_000), None]);
    assert!(world.names().is_empty(), "{:?}", world.names());
}

#[test]
fn an_html_page_with_200_is_named_as_such_and_costs_no_part() {
    for page in [
        Reply::html("<h1>Log in</h1>"),
        Reply::html("<h1>Log in</h1>").chunked(),
        Reply::html(&"<p>Log in</p>".repeat(100_000)).chunked(),
        Reply::html(&"<p>Log in</p>".repeat(100_000)),
    ] {
        let world = World::new();
        world.serve([page]);
        let error = world.fails(Code::SizeMismatch);
        assert!(error.to_string().contains("text/html"), "{error}");
        assert_eq!(world.server.requests().len(), 1);
    }
    let mut world = World::new();
    world.package.size = None;
    world.serve([Reply::html("<h1>Log in</h1>")]);
    let error = world.fails(Code::HashMismatch);
    assert!(error.to_string().contains("text/html"), "{error}");

    let world = World::new();
    world
        .serve([Reply::html("<h1>Log in</h1>")])
        .left(&world.bytes[..5_000], None);
    world.fails(Code::SizeMismatch);
    assert_eq!(fs::read(world.part()).unwrap(), world.bytes[..5_000]);
}

#[test]
fn an_endless_body_is_cut_off_where_the_announced_size_ends() {
    let world = World::new();
    world.serve([world.good().endless()]);
    world.fails(Code::SizeMismatch);
    assert!(world.names().is_empty(), "{:?}", world.names());
}

#[test]
fn an_endless_body_of_unknown_size_is_cut_off_at_the_limit() {
    let mut world = World::new();
    world.package.size = None;
    world.network.max_package_size = 1 << 20;
    world.serve([world.good().endless()]);
    world.fails(Code::TooLarge);
    assert!(world.names().is_empty(), "{:?}", world.names());
}

#[test]
fn a_package_that_says_it_is_too_large_is_not_begun() {
    let mut world = World::new();
    world.network.max_package_size = 1_000;
    world.serve([world.good()]);
    world.fails(Code::TooLarge);
    assert!(world.server.requests().is_empty());
    world.package.size = None;
    world.fails(Code::TooLarge);
    assert_eq!(fs::metadata(world.part()).unwrap().len(), 0);
}

#[test]
fn a_server_that_stalls_or_trickles_is_given_up_and_its_bytes_are_kept() {
    let trickle = Duration::from_millis(10);
    let world = World::new();
    for (reply, kept) in [
        (world.good().silent(), 0),
        (world.good().stall_after(0), 0),
        (world.good().stall_after(30_000), 30_000),
        (world.good().chunked().stall_after(30_000), 30_000),
        (world.good().trickle(1, trickle), 1),
        (world.good().chunked().trickle(1, trickle), 1),
    ] {
        let mut world = World::new();
        world.network.stall_timeout = SHORT;
        world.network.retries = 0;
        world.serve([reply]);
        let begun = Instant::now();
        let error = world.fails(Code::DownloadStalled);
        assert!(
            begun.elapsed() < PATIENT / 2,
            "the stall was noticed too late"
        );
        let length = fs::metadata(world.part()).unwrap().len();
        assert!(length >= kept, "{length} bytes kept of {kept}");
        let Error::DownloadStalled { received, .. } = error else {
            unreachable!()
        };
        assert_eq!(received, length);
    }
}

#[test]
fn one_byte_at_a_time_within_tls_is_a_stall_too() {
    let mut world = World::on(Server::start_tls(&Tls::new()));
    world.network.verify_certificates = false;
    world.network.stall_timeout = SHORT;
    world.network.retries = 0;
    world.serve([world.good().trickle(1, Duration::from_millis(10))]);
    world.fails(Code::DownloadStalled);
}

#[test]
fn a_stall_is_repeated_and_resumed() {
    let mut world = World::new();
    world.network.stall_timeout = Duration::from_secs(1);
    world.serve([world.good().stall_after(30_000).times(1), world.good()]);
    world.succeeds();
    assert_eq!(world.ranges(), [None, range(30_000)]);
}

#[test]
fn a_slow_but_steady_server_is_no_stall() {
    let mut world = World::new();
    world.network.stall_timeout = Duration::from_secs(1);
    world.serve([world.good().trickle(10_000, Duration::from_millis(50))]);
    world.succeeds();
}

#[test]
fn over_tls_a_break_is_resumed() {
    let mut world = World::on(Server::start_tls(&Tls::new()));
    world.network.verify_certificates = false;
    world.serve([
        world.good().reset_after(50_000).times(1),
        world.good().cut_after(50_000).times(1),
        world.good(),
    ]);
    world.succeeds();
    assert_eq!(world.ranges(), [None, range(50_000), range(100_000)]);
}

#[test]
fn a_certificate_that_is_refused_is_not_tried_again() {
    let world = World::on(Server::start_tls(&Tls::new()));
    world.serve([world.good()]);
    let watcher = Watcher::default();
    let error = world.fetch_watched(&watcher).unwrap_err();
    assert_eq!(error.code(), Code::Unreachable);
    assert!(watcher.take().is_empty(), "it was tried again");
}

#[test]
fn statuses_that_may_pass_are_repeated_and_others_are_not() {
    for (status, requests) in [
        (400, 1),
        (401, 1),
        (403, 1),
        (404, 1),
        (408, 4),
        (410, 1),
        (425, 4),
        (429, 4),
        (500, 4),
        (503, 4),
    ] {
        let world = World::new();
        world.serve([Reply::status(status)]);
        world.fails(Code::HttpStatus);
        assert_eq!(world.server.requests().len(), requests, "{status}");
    }
}

#[test]
fn a_429_and_a_503_with_retry_after_are_waited_for() {
    let world = World::new();
    let wait = |status| Reply::status(status).header("Retry-After", "1").times(1);
    world.serve([wait(429), wait(503), world.good()]);
    let begun = Instant::now();
    let watcher = Watcher::default();
    world.fetch_watched(&watcher).unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(2));
    let seen = watcher.take();
    assert_eq!(
        seen[..2],
        ["retry 2 of 4 after 1s", "retry 3 of 4 after 1s"]
    );
}

#[test]
fn a_retry_after_beyond_patience_is_left_to_the_next_start() {
    let world = World::new();
    world.serve([Reply::status(503).header("Retry-After", "3600")]);
    let begun = Instant::now();
    let Error::HttpStatus { retry_after, .. } = world.fails(Code::HttpStatus) else {
        unreachable!()
    };
    assert_eq!(retry_after, Some(Duration::from_hours(1)));
    assert!(begun.elapsed() < PATIENT);
    assert_eq!(world.server.requests().len(), 1);
}

#[test]
fn a_redirected_package_is_resumed_through_the_redirect() {
    let world = World::new();
    world.serve([Reply::redirect(302, "/cdn/a.zip?signature=1")]);
    world
        .server
        .route("/cdn/a.zip", world.good().cut_after(9_000).times(1));
    world.server.route("/cdn/a.zip", world.good());
    world.succeeds();
    assert_eq!(world.ranges(), [None, None, range(9_000), range(9_000)]);
}

#[test]
fn progress_tells_the_whole_what_was_there_and_each_position() {
    let world = World::new();
    world
        .serve([world.good()])
        .left(&world.bytes[..5_000], None);
    let watcher = Watcher::default();
    world.fetch_watched(&watcher).unwrap();
    let seen = watcher.take();
    assert_eq!(seen[0], "total Some(300000) done 5000");
    assert_eq!(seen.last().unwrap(), "position 300000");
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error_of_the_disk() {
    let mut world = World::new();
    world.serve([world.good()]);
    let file = world.folder.path().join("file");
    fs::write(&file, "").unwrap();
    let client = client(&world.network, &source(&world.package.url));
    world.package.size = None;
    let error = download(&client, &world.package, &file.join("downloads"), &Silent).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error:?}");
}

#[derive(Default)]
struct Watcher(Mutex<Vec<String>>);

impl Watcher {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Observer for Watcher {
    fn event(&self, event: &Event<'_>) {
        let said = match event {
            Event::Total { bytes, done } => format!("total {bytes:?} done {done}"),
            Event::Position(position) => format!("position {position}"),
            Event::Retry {
                attempt, of, wait, ..
            } => format!("retry {attempt} of {of} after {wait:?}"),
            other => format!("{other:?}"),
        };
        self.0.lock().unwrap().push(said);
    }
}
