//! Many who connect at once, and say little or nothing.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use castoff_testkit::http::Tls;
use castoff_testkit::until;
use serde_json::json;

use crate::world::World;

/// How long a client has for the head of a request.
const HEAD: Duration = Duration::from_secs(10);

/// How much longer something may take on a busy machine.
const LITTLE: Duration = Duration::from_secs(20);

/// More than there are places for.
const CROWD: usize = 100;

/// A connection over which so much is said.
fn say(world: &World, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(world.address()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_mins(1)))
        .unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    stream
}

fn half(world: &World) -> TcpStream {
    say(world, "GET /api/v1.0/progress HTTP/1.1\r\nHost: loc")
}

/// Waits until the other end has closed a connection.
#[track_caller]
fn assert_closed(mut stream: TcpStream) {
    match stream.read_to_end(&mut Vec::new()) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
}

/// How many sockets the updater has open.
fn sockets(world: &World) -> usize {
    let open = std::fs::read_dir(format!("/proc/{}/fd", world.id())).unwrap();
    let targets = open.filter_map(|it| std::fs::read_link(it.ok()?.path()).ok());
    targets
        .filter(|it| it.to_string_lossy().starts_with("socket:"))
        .count()
}

#[test]
fn who_says_half_a_word_gives_way_to_others() {
    let mut world = World::new();
    world.start();
    let before = sockets(&world);
    let begun = Instant::now();
    let crowd: Vec<_> = (0..CROWD).map(|_| half(&world)).collect();
    until(|| sockets(&world) >= before + 60, || sockets(&world));
    assert!(sockets(&world) <= before + 64, "{}", sockets(&world));
    assert_eq!(world.progress()["data"]["stage"], "idle");
    let waited = begun.elapsed();
    assert!(waited < HEAD + LITTLE, "{waited:?}");
    crowd.into_iter().for_each(assert_closed);
    let waited = begun.elapsed();
    assert!(waited < HEAD * 2 + LITTLE, "{waited:?}");
    until(|| sockets(&world) <= before, || sockets(&world));
}

#[test]
fn who_asks_nothing_more_is_not_kept() {
    let mut world = World::new();
    world.start();
    let address = world.address();
    let whole = format!("GET /api/v1.0/progress HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let mut kept = say(&world, &whole);
    let mut silent = say(&world, "");
    let begun = Instant::now();
    let mut answer = String::new();
    kept.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(begun.elapsed() > HEAD / 2, "it was kept for a while");
    silent.read_to_string(&mut answer).unwrap();
    assert!(begun.elapsed() < HEAD + LITTLE);
}

#[test]
fn while_others_wait_nobody_asks_twice_over_one_connection() {
    let mut world = World::new();
    world.start();
    let before = sockets(&world);
    let crowd: Vec<_> = (0..63).map(|_| half(&world)).collect();
    until(|| sockets(&world) >= before + 63, || sockets(&world));
    let address = world.address();
    let whole = format!("GET /api/v1.0/progress HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let mut answer = String::new();
    let begun = Instant::now();
    say(&world, &whole).read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    // It was not kept.
    assert!(begun.elapsed() < HEAD);
    drop(crowd);
}

#[test]
fn who_does_not_begin_tls_gives_way_too() {
    let tls = Tls::new();
    let files = json!([tls.certificate_pem_path, tls.key_pem_path]);
    let agent = format!("tls = {{ certificate = {}, key = {} }}", files[0], files[1]);
    let mut world = World::with("", &agent);
    world.start();
    let begun = Instant::now();
    let crowd: Vec<_> = (0..CROWD).map(|_| say(&world, "\x16\x03\x01")).collect();
    let asked = world.progress_by_tls(&tls);
    let answer = String::from_utf8_lossy(&asked.stdout);
    assert!(answer.contains("idle"), "{asked:?}");
    let waited = begun.elapsed();
    assert!(waited < HEAD + LITTLE, "{waited:?}");
    crowd.into_iter().for_each(assert_closed);
}

#[test]
fn pages_that_watch_leave_room_for_others() {
    let mut world = World::with("", "web.upgrade = true");
    world.start();
    let watch = || {
        let mut stream = world.begin("GET", "/upgrade/events", &[], "");
        let mut first = [0; 12];
        stream.read_exact(&mut first).unwrap();
        (stream, String::from_utf8_lossy(&first).into_owned())
    };
    let mut watching: Vec<_> = (0..16).map(|_| watch()).collect();
    for (_, first) in &watching {
        assert_eq!(first, "HTTP/1.1 200");
    }
    let refused = world.send("GET", "/upgrade/events", &[], "");
    assert_eq!(
        (refused.status, &*refused.body),
        (503, "Too many pages watch already\n")
    );
    assert_eq!(world.progress()["data"]["stage"], "idle");
    // One that leaves makes room.
    watching.pop();
    until(
        || {
            let (stream, first) = watch();
            let is_in = first == "HTTP/1.1 200";
            watching.push((stream, first));
            is_in
        },
        || "a place",
    );
    let begun = Instant::now();
    world.terminate();
    assert!(begun.elapsed() < LITTLE);
}

#[test]
fn half_a_request_keeps_nobody_from_ending() {
    let mut world = World::new();
    world.start();
    let _head = half(&world);
    let address = world.address();
    let _body = say(
        &world,
        &format!(
            "POST /api/v1.0/download HTTP/1.1\r\nHost: {address}\r\nContent-Length: 9\r\n\r\n{{"
        ),
    );
    assert_eq!(world.progress()["data"]["stage"], "idle");
    let begun = Instant::now();
    world.terminate();
    assert!(begun.elapsed() < LITTLE);
}

#[test]
fn an_order_in_small_pieces_costs_no_more_than_a_whole_one() {
    let mut world = World::new();
    world.start();
    let resident = |world: &World| -> usize {
        let path = format!("/proc/{}/status", world.id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        line.unwrap()
            .split_whitespace()
            .nth(1)
            .unwrap()
            .parse()
            .unwrap()
    };
    let address = world.address();
    let head = "POST /api/v1.0/download HTTP/1.1\r\nConnection: close\r\n";
    let length = 20_000;
    let mut order = say(
        &world,
        &format!("{head}Host: {address}\r\nContent-Length: {length}\r\n\r\n"),
    );
    order.set_nodelay(true).unwrap();
    let before = resident(&world);
    for sent in 1..length {
        order.write_all(b" ").unwrap();
        if sent % 20 == 0 {
            // They would come as one piece else.
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    let after = resident(&world);
    assert!(after < before + 8 * 1024, "{before} KiB, then {after} KiB");
    order.write_all(b"{").unwrap();
    let mut answer = String::new();
    order.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("Invalid request: EOF"), "{answer}");
    // One that is too large is refused, and so is one whose end does not come.
    let length = 5 << 20;
    let head = format!("{head}Host: {address}\r\nContent-Length: {length}\r\n\r\n");
    let mut large = say(&world, &head);
    // It may be refused before all of it was sent.
    let _ = large.write_all(&vec![b' '; length]);
    let mut late = say(&world, &head);
    let begun = Instant::now();
    answer.clear();
    late.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("Invalid request: "), "{answer}");
    assert!(begun.elapsed() < Duration::from_secs(30) + LITTLE);
    assert_closed(large);
}
