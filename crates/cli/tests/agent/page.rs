//! The page of OTRS Web's upgrade in a real browser, with scripts and without, on a screen and on a phone.

use std::fs;
use std::time::Duration;

use castoff_testkit::browser::Browser;
use castoff_testkit::http::Reply;

use crate::otrs::{assert_app, installation, offer, release, tarball};
use crate::world::World;

/// A screen and a phone, in CSS pixels.
const WIDTHS: [u32; 2] = [1280, 390];

fn open(browser: &Browser, world: &World, lang: &str) {
    browser.open(&format!("http://{}/upgrade?lang={lang}", world.address()));
}

#[test]
fn an_upgrade_is_begun_and_seen_to_its_end_in_both_languages() {
    let Some(browser) = Browser::start(true) else {
        return;
    };
    let mut world = installation("");
    offer(&world, &["1.1.0", "1.0.0", "0.9.5", "0.9.0"]);
    world.start();
    for (lang, begin, end) in [
        (
            "en",
            "Upgrade to 1.1.0",
            "Successfully installed version v1.1.0",
        ),
        ("zh-CN", "升级到 1.1.0", "版本 v1.1.0 已安装并正常运行"),
    ] {
        open(&browser, &world, lang);
        browser.await_shown("button.main", |text| text == begin);
        browser.look(&format!("offered-{lang}"), WIDTHS);
        // Slow enough to be looked at.
        let (path, package) = tarball("1.1.0");
        world.server.unroute(&path);
        let part = package.len() / 10;
        let slow = Reply::file(&package).trickle(part, Duration::from_millis(300));
        world.server.route(&path, slow);
        browser.click("button.main");
        browser.await_shown(".steps .now", |text| !text.is_empty());
        browser.look(&format!("under-way-{lang}"), WIDTHS);
        browser.await_shown(".notice.done", |text| text == end);
        assert_app(&world, "1.1.0");
        browser.click(".log summary");
        browser.look(&format!("done-{lang}"), WIDTHS);

        // And back, after a question.
        browser.click("td.action a.button");
        let question = if lang == "en" {
            "Restore 1.0.0?"
        } else {
            "恢复 1.0.0？"
        };
        browser.await_shown("h1", |text| text == question);
        browser.look(&format!("restore-{lang}"), WIDTHS);
        browser.click("button.danger");
        browser.await_shown(".notice.done", |text| text.contains("1.0.0"));
        assert_app(&world, "1.0.0");
    }

    // What goes wrong is said, and that the version before is back.
    world.faults(&["dies otrs 1.1.0"]);
    browser.click("button.main");
    browser.await_shown(".notice.error", |text| text.contains("已恢复版本 1.0.0"));
    browser.look("failed-zh-CN", WIDTHS);
    browser.click(".languages a");
    browser.await_shown(".notice.error", |text| {
        text.contains("version 1.0.0 is back")
    });
    browser.look("failed-en", WIDTHS);
    assert_app(&world, "1.0.0");
}

#[test]
fn without_scripts_the_page_is_loaded_again_until_the_end() {
    let Some(browser) = Browser::start(false) else {
        return;
    };
    let mut world = installation("");
    offer(&world, &["1.1.0"]);
    let (path, package) = tarball("1.1.0");
    world.server.unroute(&path);
    let part = package.len() / 4;
    let slow = Reply::file(&package).trickle(part, Duration::from_millis(500));
    world.server.route(&path, slow);
    world.start();
    open(&browser, &world, "en");
    browser.click("button.main");
    browser.await_shown(".notice.done", |text| text.contains("v1.1.0"));
    assert_app(&world, "1.1.0");
}

#[test]
fn what_cannot_be_asked_for_is_said_and_fits_too() {
    let Some(browser) = Browser::start(true) else {
        return;
    };
    let mut world = installation("");
    world
        .server
        .route("/repos/owner/otrs/releases/latest", Reply::status(503));
    world.start();
    for (lang, said) in [("en", "does not answer"), ("zh", "无法获取")] {
        open(&browser, &world, lang);
        browser.await_shown(".offer .badge", |text| text.contains(said));
        browser.look(&format!("unreachable-{lang}"), WIDTHS);
    }
}

#[test]
fn a_click_that_begins_nothing_says_why_and_leads_back() {
    let Some(browser) = Browser::start(true) else {
        return;
    };
    let mut world = installation("update.when = \"manual\"");
    offer(&world, &["1.1.0"]);
    let own = world.opt().join(".castoff");
    fs::create_dir_all(&own).unwrap();
    let lock = fs::File::create(own.join("operation.lock")).unwrap();
    lock.lock().unwrap();
    world.start();
    for (lang, said) in [("en", "Another process"), ("zh-CN", "另一个进程")] {
        open(&browser, &world, lang);
        browser.click("button.main");
        browser.await_shown("h1", |text| text.contains(said));
        browser.look(&format!("refused-{lang}"), WIDTHS);
        browser.click("main a");
        browser.await_shown("button.main", |text| text.contains("1.1.0"));
    }
    drop(lock);
    browser.click("button.main");
    browser.await_shown(".notice.done", |text| text.contains("v1.1.0"));
    assert_app(&world, "1.1.0");
}

#[test]
fn a_page_that_is_shown_before_the_source_has_answered_is_shown_again() {
    let Some(browser) = Browser::start(true) else {
        return;
    };
    let mut world = installation("update.when = \"manual\"\nnetwork.check_timeout = 6");
    // The page has waited for long enough when half of what it shows is there.
    let latest = Reply::json(&release(&world, "1.1.0").to_string());
    let list = "/repos/owner/otrs/releases";
    let slow = latest.delay(Duration::from_secs(3));
    world.server.route(&format!("{list}/latest"), slow);
    world.server.route(list, Reply::status(200).silent());
    world.start();
    open(&browser, &world, "en");
    browser.await_shown(".state small", |text| text.contains("being asked"));
    browser.await_shown(".offer .badge", |text| text.contains("available"));
    browser.await_shown("p.empty", |text| text.contains("tells of no versions"));
}
