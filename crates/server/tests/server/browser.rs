//! The pages for people, in a real browser, with scripts and without, on a screen and on a phone.
//!
//! With `CASTOFF_SCREENSHOTS=DIR` in the environment they are drawn into that folder.

use std::path::PathBuf;

use castoff_server::publishing;
use castoff_server::registry::{App, Role};
use castoff_testkit::browser::Browser;
use castoff_testkit::package::Package;

use crate::site::Site;

/// Bytes of a package that takes a while to upload.
const LARGE: usize = 6 << 20;

/// A screen, and the narrowest phone that is in use, in CSS pixels.
const WIDTHS: [u32; 2] = [1280, 320];

fn site_with_app() -> (Site, App) {
    let site = Site::start();
    let app = site.app("com.example.client");
    (site, app)
}

/// A file with a package of this version, which no compression makes smaller.
fn package(site: &Site, version: &str, bytes: usize) -> PathBuf {
    let mut state = 1_u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    })
    .take(bytes)
    .collect();
    let built = Package::new(version)
        .file("version.txt", version)
        .file("noise.bin", noise)
        .build();
    let path = site.folder().join(format!("client-{version}.zip"));
    std::fs::write(&path, built.bytes).unwrap();
    path
}

fn sign_in(site: &Site, browser: &Browser, role: Role) {
    browser.open(&site.url("/"));
    browser.enter("input[name=token]", &site.token(role));
    browser.click("button.main");
    browser.await_shown("h1", |text| text == "Apps");
}

/// Clicks it, and waits until the page shows something else: who goes on before has left the form unsent.
fn follow(browser: &Browser, selector: &str) {
    let before = browser.await_shown("main", |_| true);
    browser.click(selector);
    browser.await_shown("main", |now| now != before);
}

/// Fills in the form on which one uploads.
fn fill_in(site: &Site, browser: &Browser, version: &str, file: &str) {
    browser.open(&site.url("/admin/apps/com.example.client/upload"));
    browser.enter("input[name=version]", version);
    browser.enter("input[type=file]", file);
    browser.enter("textarea[name=notes]", "one\ntwo");
    browser.click("input[name=activate]");
}

/// From the page of a release that is current: takes it back.
fn withdraw(browser: &Browser) {
    browser.click("a[href$='/withdraw']");
    browser.await_shown("h1", |text| text == "Withdraw 1.1.0?");
    browser.click("a.button[href*='/releases/']");
    browser.await_shown("h1", |text| text == "1.1.0");
    browser.click("a[href$='/withdraw']");
    browser.click("button.danger");
    browser.await_shown(".done", |text| text == "It was withdrawn.");
    browser.click(".trail a:last-child");
    let table = browser.await_shown("table", |table| table.contains("1.0.0"));
    assert!(!table.contains("1.1.0"), "{table}");
}

#[test]
fn a_package_is_uploaded_activated_and_withdrawn_with_scripts() {
    let Some(browser) = Browser::start(true) else {
        return;
    };
    let (site, _) = site_with_app();
    sign_in(&site, &browser, Role::Publish);
    let first = package(&site, "1.0.0", 1000);
    fill_in(&site, &browser, "1.0.0", first.to_str().unwrap());
    browser.click("button.main");
    browser.await_text("h1", "1.0.0");
    browser.await_shown(".done", |text| text == "The package was published.");
    browser.await_shown("main .badge", |text| text == "current in stable");
    browser.await_shown("main .text", |text| text == "one\ntwo");

    // What is wrong is said on the form, in which everything stays, the file too.
    let broken = site.folder().join("broken.zip");
    std::fs::write(&broken, "no package").unwrap();
    fill_in(&site, &browser, "1.1.0", broken.to_str().unwrap());
    browser.click("button.main");
    browser.await_shown(".error", |text| text.contains("PACKAGE_INVALID"));
    assert_eq!(
        browser.run("return upload.file.files[0].name"),
        "broken.zip"
    );
    assert_eq!(browser.run("return upload.version.value"), "1.1.0");
    assert_eq!(browser.run("return upload.activate.checked"), true);

    // How far it is is shown, and it can be broken off.
    let large = package(&site, "1.1.0", LARGE);
    browser.enter("input[type=file]", large.to_str().unwrap());
    browser.slow_uploads(LARGE as u64 / 20);
    browser.click("button.main");
    browser.await_text("output", " % ");
    browser.draw("uploading");
    browser.click("[data-cancel]");
    browser.await_text("output", "The upload was cancelled.");
    browser.slow_uploads(LARGE as u64 * 2);
    browser.run(
        "sessionStorage.seen = ''; \
         const seen = () => { sessionStorage.seen += document.querySelector('output').textContent + '\\n' }; \
         new MutationObserver(seen).observe(document.querySelector('output'), {childList: true})",
    );
    browser.click("button.main");
    browser.await_text("h1", "1.1.0");
    let seen = browser.run("return sessionStorage.seen");
    let seen = seen.as_str().unwrap();
    let parts = seen.lines().filter_map(|line| line.split_once(" % "));
    let parts: Vec<u32> = parts
        .map(|(number, _)| number.trim().parse().unwrap())
        .collect();
    assert!(parts.is_sorted() && parts.last() == Some(&100), "{seen}");
    assert!(parts.iter().any(|part| (1..100).contains(part)), "{seen}");
    assert!(seen.contains("It is being unpacked and checked."), "{seen}");
    withdraw(&browser);
}

#[test]
fn a_package_is_uploaded_activated_and_withdrawn_without_scripts() {
    let Some(browser) = Browser::start(false) else {
        return;
    };
    let (site, _) = site_with_app();
    sign_in(&site, &browser, Role::Publish);
    for version in ["1.0.0", "1.1.0"] {
        let file = package(&site, version, 1000);
        fill_in(&site, &browser, version, file.to_str().unwrap());
        browser.click("button.main");
        browser.await_shown("h1", |text| text == version);
        browser.await_shown("main .badge", |text| text == "current in stable");
    }
    withdraw(&browser);
    browser.click(".languages a");
    browser.await_shown("h1", |text| text == "com.example.client");
    browser.await_shown("h2", |text| text.contains("各渠道的当前版本"));
    browser.click(".person button");
    browser.await_shown("h1", |text| text == "登录");
    browser.await_shown(".done", |text| text == "已退出登录。");
}

#[test]
fn a_package_that_is_too_large_is_told_of_as_such() {
    let site = Site::with(|config| config.max_upload = 1 << 20);
    site.app("com.example.client");
    let file = package(&site, "1.0.0", LARGE / 4);
    for with_scripts in [true, false] {
        let Some(browser) = Browser::start(with_scripts) else {
            return;
        };
        sign_in(&site, &browser, Role::Publish);
        fill_in(&site, &browser, "1.0.0", file.to_str().unwrap());
        browser.click("button.main");
        if with_scripts {
            browser.await_text("output", "This file is larger than this server takes.");
        } else {
            browser.await_shown(".error", |said| said.contains("TOO_LARGE"));
        }
    }
}

#[test]
fn every_page_fits_on_a_phone() {
    let Some(browser) = Browser::start(true) else {
        return;
    };
    let site = Site::start();
    browser.resize(1280);
    for page in ["sign-in", "sign-in?lang=zh"] {
        browser.open(&site.url(&format!("/admin/{page}")));
        browser.look(page, WIDTHS);
    }
    browser.open(&site.url("/admin/?lang=en"));
    sign_in(&site, &browser, Role::Admin);
    browser.open(&site.url("/admin/new-app"));
    browser.enter("input[name=key]", "com.example.client");
    browser.enter("input[name=name]", "Example Client 示例客户端");
    browser.enter("textarea[name=description]", "For everybody.");
    follow(&browser, "button.main");
    let long = "a".repeat(100);
    site.wait(publishing::add_app(
        &site.server,
        "a test",
        &App {
            enable_time: None,
            ..App::new(long.clone(), Some("W".repeat(200)), long.clone())
        },
    ))
    .unwrap();
    for version in ["1.0.0", "1.1.0", "2.0.0-beta.1"] {
        let file = package(&site, version, 20_000);
        fill_in(&site, &browser, version, file.to_str().unwrap());
        browser.click("button.main");
        browser.await_text("h1", version);
    }
    browser.enter("input[name=channel]", "-long-and-longer-and-longer-still");
    follow(&browser, "form[action$='/activate'] button");
    follow(&browser, "a[href$='/withdraw']");
    follow(&browser, "button.danger");
    let wrong = site.url("/admin/apps/com.example.client/releases/2/activate");
    let release = "apps/com.example.client/releases";
    for lang in ["en", "zh"] {
        for page in [
            "",
            "new-app",
            "apps/com.example.client",
            "apps/com.example.client/change",
            "apps/com.example.client/upload",
            &format!("{release}/1"),
            &format!("{release}/2"),
            &format!("{release}/3"),
            &format!("{release}/2/withdraw"),
            &format!("{release}/1/delete"),
            &format!("apps/{long}"),
            "tokens",
            "tokens/revoke?name=somebody",
            "audit",
            "nowhere",
        ] {
            let mark = if page.contains('?') { '&' } else { '?' };
            browser.open(&site.url(&format!("/admin/{page}{mark}lang={lang}")));
            browser.look(&format!("{page}-{lang}"), WIDTHS);
        }
        // Errors, and the token that is shown once.
        browser.open(&wrong);
        browser.run("document.querySelector('[name=channel]').value = 'not a channel'");
        browser.click("form[action$='/activate'] button");
        browser.await_shown(".error", |text| text.contains("REQUEST_INVALID"));
        browser.look(&format!("error-{lang}"), WIDTHS);
        browser.open(&site.url("/admin/tokens"));
        browser.enter("input[name=name]", &format!("the builder {lang}"));
        browser.click("button.main");
        browser.await_shown(".secret", |text| text.starts_with("ct_"));
        browser.look(&format!("token-{lang}"), WIDTHS);
    }
}
