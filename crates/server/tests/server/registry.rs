//! What the server knows, on whichever database.

use std::thread;
use std::time::{Duration, Instant};

use castoff_server::registry::{Role, STABLE};
use castoff_server::{Error, publishing};
use serde_json::json;

use crate::native::{APP, Publisher};
use crate::site::Site;

#[test]
fn what_is_activated_at_one_server_is_answered_by_all_at_once() {
    let site = Site::start();
    let publisher = Publisher::new(&site);
    for version in ["1.0.0", "1.1.0"] {
        publisher.publish(version).assert(201);
    }
    let second = site.beside(|_| {});
    for round in 0..20 {
        let version = ["1.0.0", "1.1.0"][round % 2];
        publisher.activate(version).assert(200);
        let answer = second.get(&format!("/apps/{APP}/check")).assert(200).json();
        assert_eq!(answer["version"], version, "round {round}");
    }
}

#[test]
fn there_is_always_exactly_one_current_release() {
    let site = Site::start();
    let publisher = Publisher::new(&site);
    for version in ["1.0.0", "1.1.0"] {
        publisher.publish(version).assert(201);
    }
    publisher.activate("1.0.0").assert(200);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let publisher = &publisher;
                scope.spawn(move || {
                    for round in 0..15 {
                        publisher
                            .activate(["1.0.0", "1.1.0"][(writer + round) % 2])
                            .assert(200);
                    }
                })
            })
            .collect();
        while !writers.iter().all(thread::ScopedJoinHandle::is_finished) {
            site.get(&format!("/apps/{APP}/check")).assert(200);
            let app = site.wait(site.server.app(APP)).unwrap();
            let releases = site.wait(site.server.registry.releases(&app.id)).unwrap();
            let active = releases.iter().filter(|release| !release.active.is_empty());
            assert_eq!(active.count(), 1);
        }
    });
}

#[test]
fn what_was_answered_is_there_after_a_restart() {
    let site = Site::start();
    let publisher = Publisher::new(&site);
    publisher.publish("1.0.0").assert(201);
    publisher.activate("1.0.0").assert(200);
    let token = publisher.token.clone();
    let site = site.restart();
    assert_eq!(
        site.get(&format!("/apps/{APP}/check")).assert(200).json()["version"],
        "1.0.0"
    );
    let path = format!("/api/v1/apps/{APP}/channels/beta/activate");
    site.post(&path, &token, &json!({"version": "1.0.0", "rollout": 10}))
        .assert(200);
    let answer = site
        .get(&format!("/apps/{APP}/check?channel=beta"))
        .assert(200)
        .json();
    assert_eq!(answer["rollout"], 10);
}

#[test]
fn the_audit_says_who_did_what_and_nothing_of_what_failed() {
    let site = Site::start();
    let publisher = Publisher::new(&site);
    publisher.publish("1.0.0").assert(201);
    publisher.activate("1.0.0").assert(200);
    publisher.activate("2.0.0").assert(404);
    let app = site.wait(site.server.app(APP)).unwrap();
    let version = "1.0.0".parse().unwrap();
    let error = site
        .wait(publishing::delete(&site.server, "eve", &app, &version))
        .unwrap_err();
    assert_eq!(error.code(), "CONFLICT");
    let audit = site.wait(site.server.registry.audit(100)).unwrap();
    let actions: Vec<_> = audit
        .iter()
        .rev()
        .map(|entry| entry.action.as_str())
        .collect();
    assert_eq!(actions, ["add app", "publish", "activate"]);
    assert!(audit.iter().all(|entry| entry.who != "eve"));
}

#[test]
fn what_is_current_is_neither_deleted_nor_disabled() {
    let site = Site::start();
    let publisher = Publisher::new(&site);
    for version in ["1.0.0", "1.1.0"] {
        publisher.publish(version).assert(201);
    }
    publisher.activate("1.0.0").assert(200);
    let app = site.wait(site.server.app(APP)).unwrap();
    let (one, other) = ("1.0.0".parse().unwrap(), "1.1.0".parse().unwrap());
    let server = &site.server;
    let disable = |version| publishing::edit(server, "ann", &app, version, |it| it.enabled = false);
    assert!(matches!(site.wait(disable(&one)), Err(Error::Conflict(_))));
    site.wait(disable(&other)).unwrap();
    publisher.activate("1.1.0").assert(409);
    let package = site
        .wait(server.registry.release(&app.id, &other))
        .unwrap()
        .unwrap();
    let place = package.packages[0].place.clone();
    site.wait(publishing::delete(server, "ann", &app, &other))
        .unwrap();
    assert!(site.wait(server.store.look(&place)).unwrap().is_none());
    // The version is free again.
    publisher.publish("1.1.0").assert(201);
}

#[test]
fn a_name_has_one_valid_token() {
    let site = Site::start();
    let registry = &site.server.registry;
    site.wait(async {
        let mut change = registry.change("x").await.unwrap();
        change
            .add_token("ann", "digest 1", Role::Admin)
            .await
            .unwrap();
        assert!(
            change
                .add_token("ann", "digest 2", Role::Read)
                .await
                .is_err()
        );
        assert!(change.revoke_token("ann").await.unwrap());
        assert!(!change.revoke_token("ann").await.unwrap());
        change
            .add_token("ann", "digest 2", Role::Read)
            .await
            .unwrap();
        change.commit().await.unwrap();
        assert!(registry.bearer("digest 1").await.unwrap().is_none());
        assert_eq!(
            registry.bearer("digest 2").await.unwrap().unwrap().role,
            Role::Read
        );
    });
}

#[test]
fn an_app_is_answered_for_in_its_time() {
    let site = Site::start();
    let publisher = Publisher::new(&site);
    publisher.publish("1.0.0").assert(201);
    publisher.activate("1.0.0").assert(200);
    let check = format!("/apps/{APP}/check");
    site.get(&check).assert(200);
    let mut app = site.wait(site.server.app(APP)).unwrap();
    app.disable_time = Some(chrono::Utc::now() + Duration::from_secs(2));
    site.wait(publishing::change_app(&site.server, "ann", &app))
        .unwrap();
    site.get(&check).assert(200);
    // By the clock alone: nothing changes meanwhile.
    let begun = Instant::now();
    while site.get(&check).status == 200 {
        assert!(begun.elapsed() < Duration::from_mins(1));
        thread::yield_now();
    }
    site.get(&check).assert(404);
    let current = site
        .wait(site.server.registry.current(&app.id, STABLE))
        .unwrap();
    assert!(current.is_some());
}
