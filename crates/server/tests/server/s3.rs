//! Packages in a bucket, which several servers share. Where a store is, and with which credentials, the
//! environment says: `CASTOFF_TEST_S3`, as ci/services.sh sets it.

use castoff_server::secret;

use crate::native::{APP, Publisher, package};
use crate::site::Site;

/// A site whose packages lie in a bucket under a prefix of its own; `None`, and said: there is no store.
#[expect(clippy::print_stderr, reason = "what is left out is said")]
fn site() -> Option<Site> {
    let Ok(endpoint) = std::env::var("CASTOFF_TEST_S3") else {
        eprintln!("left out: CASTOFF_TEST_S3 says no store");
        return None;
    };
    let prefix = secret::hex(6);
    Some(Site::with(|config| {
        config.object_store = Some(format!(
            "s3://castoff-test/{prefix}?endpoint={endpoint}&region=us-east-1"
        ));
    }))
}

#[test]
fn packages_lie_in_the_bucket_and_any_server_sends_them() {
    let Some(site) = site() else { return };
    let publisher = Publisher::new(&site);
    publisher.publish("1.0.0").assert(201);
    publisher.activate("1.0.0").assert(200);
    let second = site.beside(|config| config.data = config.data.join("second"));
    let path = format!("/apps/{APP}/client-1.0.0.zip");
    let whole = package("1.0.0");
    for site in [&site, &second] {
        let answer = site.get(&path).assert(200);
        assert_eq!(answer.body, whole);
        let part = site
            .ask("GET", &path, &[("range", "bytes=5-9")], b"")
            .assert(206);
        assert_eq!(part.body, whole[5..10]);
        site.get("/healthz").assert(200);
    }
    // Nothing lies on the server's own disk.
    assert!(!site.server.config.media().exists());
}

#[test]
fn a_large_package_goes_in_parts() {
    let Some(site) = site() else { return };
    let publisher = Publisher::new(&site);
    // Noise, so that the package is as large.
    let noise: String = (0..300_000).map(|_| secret::hex(16)).collect();
    let large = crate::native::zip(&[("run.sh", "echo\n"), ("noise.txt", &noise)]);
    publisher
        .publish_as("2.0.0", &large, &serde_json::json!({}))
        .assert(201);
    let answer = site
        .get(&format!("/apps/{APP}/client-2.0.0.zip"))
        .assert(200);
    assert!(
        answer.body == large,
        "{} of {} bytes",
        answer.body.len(),
        large.len()
    );
}

#[test]
fn what_is_deleted_leaves_the_bucket() {
    let Some(site) = site() else { return };
    let publisher = Publisher::new(&site);
    publisher.publish("1.0.0").assert(201);
    let app = site.wait(site.server.app(APP)).unwrap();
    let version = "1.0.0".parse().unwrap();
    let release = site
        .wait(site.server.registry.release(&app.id, &version))
        .unwrap()
        .unwrap();
    let place = release.packages[0].place.clone();
    assert!(site.wait(site.server.store.look(&place)).unwrap().is_some());
    site.wait(castoff_server::publishing::delete(
        &site.server,
        "ann",
        &app,
        &version,
    ))
    .unwrap();
    assert!(site.wait(site.server.store.look(&place)).unwrap().is_none());
}
