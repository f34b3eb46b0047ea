//! The pages for people, as a browser without scripts asks for them.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use castoff_server::registry::{App, Role};
use castoff_testkit::package::{Built, Package};

use crate::site::{Answer, Form, Site};

/// What may not do anything in a page.
const HOSTILE: &str = "<script>alert(1)</script>\" onload='x' & \u{202e}<u>";

/// What [`HOSTILE`] looks like in a page.
const HARMLESS: &str =
    "&lt;script&gt;alert(1)&lt;/script&gt;&quot; onload='x' &amp; \u{202e}&lt;u&gt;";

/// A browser that has signed in.
struct Browser<'a> {
    site: &'a Site,
    cookie: String,
    csrf: String,
}

impl<'a> Browser<'a> {
    /// Signs in with a new token of this role.
    fn sign_in(site: &'a Site, role: Role) -> Self {
        let token = site.token(role);
        let answer = sign_in(site, &token, "/admin/").assert(303);
        assert_eq!(answer.header("location"), "/admin/");
        let cookie = answer.header("set-cookie").split(';').next().unwrap();
        let mut browser = Self {
            site,
            cookie: cookie.to_owned(),
            csrf: String::new(),
        };
        let page = browser.get("/admin/").assert(200).text();
        let (_, rest) = page.split_once("name=\"csrf\" value=\"").unwrap();
        browser.csrf.extend(rest.split('"').next());
        browser
    }

    fn get(&self, path: &str) -> Answer {
        self.site.ask("GET", path, &[("cookie", &self.cookie)], b"")
    }

    /// Sends a form of a page of this site.
    fn post(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let mut fields = fields.to_vec();
        fields.push(("csrf", &self.csrf));
        self.post_as("same-origin", path, &fields)
    }

    fn post_as(&self, site: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
        let headers = [
            ("cookie", self.cookie.as_str()),
            ("sec-fetch-site", site),
            ("content-type", "application/x-www-form-urlencoded"),
        ];
        let body = encoded(fields);
        self.site.ask("POST", path, &headers, body.as_bytes())
    }

    /// Sends a form that leads to a page which says this. Gives that page.
    #[track_caller]
    fn done(&self, path: &str, fields: &[(&str, &str)], text: &str) -> String {
        let answer = self.post(path, fields).assert(303);
        let page = self.get(answer.header("location")).assert(200).text();
        assert!(page.contains(text), "{text}: {page}");
        page
    }

    fn upload(&self, app: &str, form: &Form) -> Answer {
        let headers = [
            ("cookie", self.cookie.as_str()),
            ("origin", &self.site.url("")),
            ("content-type", &Form::kind()),
        ];
        let path = format!("/admin/apps/{app}/upload");
        self.site.ask("POST", &path, &headers, &form.body())
    }

    /// Uploads a package of this version. Says the address of its release.
    fn publish(&self, app: &str, version: &str) -> String {
        let name = format!("client-{version}.zip");
        let form =
            self.form()
                .text("version", version)
                .file("file", &name, &package(version).bytes);
        let answer = self.upload(app, &form).assert(303);
        let (page, done) = answer.header("location").split_once('?').unwrap();
        assert_eq!(done, "done=published");
        page.to_owned()
    }

    /// A form with the secret in it.
    fn form(&self) -> Form {
        Form::default().text("csrf", &self.csrf)
    }
}

fn package(version: &str) -> Built {
    Package::new(version)
        .file("client.txt", format!("this is {version}"))
        .build()
}

fn encoded(fields: &[(&str, &str)]) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(fields).finish()
}

fn sign_in(site: &Site, token: &str, next: &str) -> Answer {
    let headers = [("origin", site.url(""))];
    sign_in_as(site, &headers, token, next)
}

fn sign_in_as(site: &Site, headers: &[(&str, String)], token: &str, next: &str) -> Answer {
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, it)| (*name, it.as_str()))
        .collect();
    let body = encoded(&[("token", token), ("next", next)]);
    site.ask("POST", "/admin/sign-in", &headers, body.as_bytes())
}

/// Checks that a page shows this error.
#[track_caller]
fn refused(answer: Answer, status: u16, code: &str) -> String {
    let page = answer.assert(status).text();
    assert!(page.starts_with("<!DOCTYPE html>"), "{page}");
    assert!(page.contains(&format!("<code>{code}</code>")), "{page}");
    page
}

fn site_with_app() -> (Site, App) {
    let site = Site::start();
    let app = site.app("com.example.client");
    (site, app)
}

#[test]
fn who_has_not_signed_in_is_asked_to_and_led_back() {
    let (site, _) = site_with_app();
    for path in ["/", "/admin"] {
        assert_eq!(site.get(path).assert(303).header("location"), "/admin/");
    }
    let asked = "/admin/apps/com.example.client";
    let page = site.get(asked).assert(401);
    assert!(page.headers.get("set-cookie").is_none());
    let text = page.text();
    assert!(
        text.contains(&format!("name=\"next\" value=\"{asked}\"")),
        "{text}"
    );
    assert!(!text.contains("example.client app"), "{text}");

    let token = site.token(Role::Publish);
    let answer = sign_in(&site, &format!(" {token} "), asked).assert(303);
    assert_eq!(answer.header("location"), asked);
    let cookie = answer.header("set-cookie").to_owned();
    let (pair, flags) = cookie.split_once("; ").unwrap();
    assert_eq!(
        flags,
        "Path=/admin; Max-Age=43200; HttpOnly; SameSite=Strict"
    );
    let page = site.ask("GET", asked, &[("cookie", &format!("a=b; {pair}"))], b"");
    assert!(page.assert(200).text().contains("example.client app"));

    for next in [
        "https://evil.example/",
        "//evil.example/admin/",
        "/admin",
        "/adminx",
        "",
    ] {
        let answer = sign_in(&site, &token, next).assert(303);
        assert_eq!(answer.header("location"), "/admin/", "{next}");
    }
}

#[test]
fn the_cookie_goes_by_tls_alone_where_there_is_tls() {
    let site = Site::with(|config| {
        config.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
        config.public_url = Some("https://example.org/updates".to_owned());
    });
    let token = site.token(Role::Admin);
    let headers = [
        ("x-forwarded-proto", "https".to_owned()),
        ("origin", "https://example.org".to_owned()),
    ];
    let answer = sign_in_as(&site, &headers, &token, "/updates/admin/tokens").assert(303);
    // The proxy shows this server below a path.
    assert_eq!(answer.header("location"), "/updates/admin/tokens");
    let cookie = answer.header("set-cookie");
    assert!(
        cookie.ends_with("; Path=/updates/admin; Max-Age=43200; HttpOnly; SameSite=Strict; Secure")
    );
    let cookie = cookie.split(';').next().unwrap();
    let page = site
        .ask("GET", "/admin/", &[("cookie", cookie)], b"")
        .assert(200)
        .text();
    assert!(page.contains("href=\"/updates/admin/audit\""), "{page}");
    assert!(!page.contains("\"/admin/"), "{page}");
    let page = site.get("/").assert(303);
    assert_eq!(page.header("location"), "/updates/admin/");
}

#[test]
fn wrong_tokens_are_refused_and_then_put_off() {
    let site = Site::start();
    let reader = site.token(Role::Read);
    refused(sign_in(&site, &reader, ""), 403, "ROLE_MISSING");
    for _ in 0..10 {
        let page = refused(
            sign_in(&site, "ct_wrong", "/admin/audit"),
            401,
            "TOKEN_INVALID",
        );
        assert!(
            page.contains("name=\"next\" value=\"/admin/audit\""),
            "{page}"
        );
    }
    let answer = sign_in(&site, &site.token(Role::Admin), "");
    assert!(answer.header("retry-after").parse::<u64>().unwrap() <= 60);
    assert!(answer.headers.get("set-cookie").is_none());
    refused(answer, 429, "TOO_MANY");
}

#[test]
fn nobody_is_signed_in_by_another_site() {
    let site = Site::start();
    let token = site.token(Role::Admin);
    for headers in [
        vec![],
        vec![("origin", "https://evil.example".to_owned())],
        vec![("origin", "null".to_owned())],
        vec![("origin", format!("http://evil.example/{}", site.address))],
        vec![("sec-fetch-site", "cross-site".to_owned())],
        vec![("sec-fetch-site", "same-site".to_owned())],
        vec![
            ("sec-fetch-site", "cross-site".to_owned()),
            ("origin", site.url("")),
        ],
    ] {
        let answer = sign_in_as(&site, &headers, &token, "");
        assert!(answer.headers.get("set-cookie").is_none());
        refused(answer, 403, "FORM_INVALID");
    }
    let headers = [("sec-fetch-site", "same-origin".to_owned())];
    sign_in_as(&site, &headers, &token, "").assert(303);
}

#[test]
fn a_form_without_the_secret_or_from_elsewhere_changes_nothing() {
    let (site, app) = site_with_app();
    let browser = Browser::sign_in(&site, Role::Admin);
    let other = Browser::sign_in(&site, Role::Admin);
    let release = browser.publish(&app.key, "1.0.0");
    let activate = format!("{release}/activate");
    let fields = [("channel", "stable"), ("rollout", "100")];
    let with = |csrf| [fields[0], fields[1], ("csrf", csrf)];
    let longer = format!("{}0", browser.csrf);
    let answers = [
        browser.post_as("same-origin", &activate, &fields),
        browser.post_as("same-origin", &activate, &with("")),
        browser.post_as("same-origin", &activate, &with(&longer)),
        browser.post_as("same-origin", &activate, &with(&other.csrf)),
        browser.post_as("cross-site", &activate, &with(&browser.csrf)),
        browser.post_as("same-site", &activate, &with(&browser.csrf)),
        browser.upload(
            &app.key,
            &Form::default().file("file", "client-2.0.0.zip", &package("2.0.0").bytes),
        ),
        browser.post_as("same-origin", "/admin/sign-out", &[]),
    ];
    for answer in answers {
        refused(answer, 403, "FORM_INVALID");
    }
    let page = browser
        .get("/admin/apps/com.example.client")
        .assert(200)
        .text();
    assert!(page.contains("No release is current"), "{page}");
    assert!(!page.contains("2.0.0"), "{page}");
    browser.post(&activate, &fields).assert(303);
    let spool = std::fs::read_dir(site.server.config.spool()).unwrap();
    assert_eq!(spool.count(), 0);
}

#[test]
fn every_page_says_what_it_may_load() {
    let (site, _) = site_with_app();
    let browser = Browser::sign_in(&site, Role::Admin);
    let answers = [
        site.get("/admin/"),
        browser.get("/admin/"),
        browser.get("/admin/nowhere"),
        browser.post_as("cross-site", "/admin/tokens", &[]),
    ];
    for answer in answers {
        let policy = answer.header("content-security-policy");
        for rule in [
            "default-src 'none'",
            "style-src 'self'",
            "script-src 'self'",
            "img-src 'self'",
            "connect-src 'self'",
            "form-action 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        ] {
            assert!(policy.contains(rule), "{policy}");
        }
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("referrer-policy"), "same-origin");
        assert_eq!(answer.header("cache-control"), "no-store");
        let page = answer.text();
        // Nothing that the policy would refuse.
        for word in [" style=\"", "<style", "javascript:", " onclick"] {
            assert!(!page.contains(word), "{page}");
        }
        for part in page.split("/admin/files/").skip(1) {
            let name = part.split('"').next().unwrap();
            let file = site.get(&format!("/admin/files/{name}")).assert(200);
            assert!(file.header("cache-control").contains("immutable"));
            assert_eq!(file.header("x-content-type-options"), "nosniff");
        }
        assert_eq!(page.matches("/admin/files/").count(), 4, "{page}");
    }
    site.get("/admin/files/mod.rs").assert(404);
}

#[test]
fn roles_are_kept_apart() {
    let (site, app) = site_with_app();
    let publisher = Browser::sign_in(&site, Role::Publish);
    let page = publisher.get("/admin/").assert(200).text();
    assert!(page.contains("com.example.client"), "{page}");
    for hidden in ["/admin/tokens", "/admin/audit", "/admin/new-app"] {
        assert!(!page.contains(hidden), "{page}");
    }
    publisher.publish(&app.key, "1.0.0");
    for path in [
        "/admin/tokens",
        "/admin/tokens/revoke?name=a",
        "/admin/audit",
        "/admin/new-app",
        "/admin/apps/com.example.client/change",
    ] {
        refused(publisher.get(path), 403, "ROLE_MISSING");
    }
    for (path, fields) in [
        ("/admin/tokens", vec![("name", "a"), ("role", "admin")]),
        ("/admin/tokens/revoke", vec![("name", "a")]),
        ("/admin/new-app", vec![("key", "a"), ("name", "A")]),
        ("/admin/apps/com.example.client/change", vec![("name", "A")]),
    ] {
        refused(publisher.post(path, &fields), 403, "ROLE_MISSING");
    }
    assert!(site.wait(site.server.registry.app("a")).unwrap().is_none());
}

#[test]
fn a_session_ends_by_signing_out_and_with_its_token() {
    let site = Site::start();
    let browser = Browser::sign_in(&site, Role::Admin);
    let other = Browser::sign_in(&site, Role::Admin);
    let answer = browser.post("/admin/sign-out", &[]).assert(303);
    assert!(
        answer
            .header("set-cookie")
            .contains("castoff_session=; Path=/admin; Max-Age=0")
    );
    browser.get("/admin/").assert(401);
    refused(
        browser.post("/admin/tokens", &[("name", "a")]),
        401,
        "TOKEN_MISSING",
    );

    let tokens = site.wait(site.server.registry.tokens()).unwrap();
    for token in tokens {
        let name = token.name.as_str();
        let page = other
            .get(&format!("/admin/tokens/revoke?name={name}"))
            .assert(200)
            .text();
        assert!(
            page.contains(&format!("name=\"name\" value=\"{name}\"")),
            "{page}"
        );
    }
    let page = other.get("/admin/").text();
    let (_, rest) = page.split_once("<bdi>").unwrap();
    let own = rest.split('<').next().unwrap();
    let page = other
        .get(&format!("/admin/tokens/revoke?name={own}"))
        .text();
    assert!(
        page.contains("the token that you have signed in with"),
        "{page}"
    );
    other
        .post("/admin/tokens/revoke", &[("name", own)])
        .assert(303);
    other.get("/admin/tokens").assert(401);
}

#[test]
fn apps_are_added_and_changed() {
    let site = Site::start();
    let browser = Browser::sign_in(&site, Role::Admin);
    assert!(
        browser
            .get("/admin/")
            .text()
            .contains("There is no app yet.")
    );
    browser.get("/admin/new-app").assert(200);
    let fields = [
        ("key", "com.example.first"),
        ("name", "First"),
        ("description", "one\r\ntwo"),
        ("enable_time", "2026-01-01T00:00"),
        ("disable_time", ""),
    ];
    let answer = browser.post("/admin/new-app", &fields).assert(303);
    let address = "/admin/apps/com.example.first";
    assert_eq!(
        answer.header("location"),
        format!("{address}?done=app_added")
    );
    let page = browser.get(answer.header("location")).assert(200).text();
    assert!(
        page.contains("The app was added.") && page.contains("one\ntwo"),
        "{page}"
    );
    let added = site.wait(site.server.app("com.example.first")).unwrap();
    assert!(added.is_available("2026-01-01T00:00:00Z".parse().unwrap()));

    // What was entered is there again.
    let page = refused(browser.post("/admin/new-app", &fields), 409, "CONFLICT");
    assert!(
        page.contains("value=\"First\"") && page.contains("one\r\ntwo"),
        "{page}"
    );
    for (field, value) in [
        ("key", ""),
        ("key", "../x"),
        ("key", "a b"),
        ("name", " "),
        ("name", &"x".repeat(201)),
        ("enable_time", "yesterday"),
        ("disable_time", "2026-13-01T00:00"),
    ] {
        let changed = fields.map(|(name, it)| match name {
            "key" if field != "key" => (name, "com.example.second"),
            _ if name == field => (name, value),
            _ => (name, it),
        });
        refused(
            browser.post("/admin/new-app", &changed),
            400,
            "REQUEST_INVALID",
        );
    }

    let change = format!("{address}/change");
    let page = browser.get(&change).assert(200).text();
    assert!(page.contains("value=\"2026-01-01T00:00\""), "{page}");
    let fields = [
        ("name", "Other"),
        ("description", ""),
        ("enable_time", "2026-01-01T00:00"),
        ("disable_time", "2026-01-02T12:30"),
    ];
    let answer = browser.post(&change, &fields).assert(303);
    let page = browser.get(answer.header("location")).assert(200).text();
    assert!(
        page.contains("The app was changed.") && page.contains("not available"),
        "{page}"
    );
    let changed = site.wait(site.server.app("com.example.first")).unwrap();
    assert_eq!(
        (changed.name.as_str(), changed.enable_time),
        ("Other", added.enable_time)
    );
    assert_eq!(
        changed.disable_time,
        Some("2026-01-02T12:30:00Z".parse().unwrap())
    );
    refused(
        browser.post(&change, &[("name", "")]),
        400,
        "REQUEST_INVALID",
    );
    refused(browser.get("/admin/apps/none/change"), 404, "NOT_FOUND");
}

#[test]
fn times_that_were_left_alone_stay_exact() {
    let (site, app) = site_with_app();
    let browser = Browser::sign_in(&site, Role::Admin);
    let text = app
        .enable_time
        .unwrap()
        .format("%Y-%m-%dT%H:%M")
        .to_string();
    let fields = [("name", "Other"), ("enable_time", text.as_str())];
    browser
        .post("/admin/apps/com.example.client/change", &fields)
        .assert(303);
    let changed = site.wait(site.server.app(&app.key)).unwrap();
    let micros = |time: Option<chrono::DateTime<chrono::Utc>>| time.unwrap().timestamp_micros();
    assert_eq!(micros(changed.enable_time), micros(app.enable_time));
}

#[test]
fn a_package_is_uploaded_with_all_that_is_said_of_it() {
    let (site, app) = site_with_app();
    let browser = Browser::sign_in(&site, Role::Publish);
    browser
        .get("/admin/apps/com.example.client/upload")
        .assert(200);
    let built = package("1.0.0");
    let form = browser
        .form()
        .text("version", " 1.0.0 ")
        .text("target", "linux-x86_64")
        .text("entry_point", "client.txt")
        .text("notes", "first\r\nsecond")
        .text("critical_below", "0.9")
        .text("activate", "yes")
        .text("channel", "beta")
        .text("rollout", "25")
        .file("file", "C:\\packages\\client-1.0.0.zip", &built.bytes);
    let answer = browser.upload(&app.key, &form).assert(303);
    let page = browser.get(answer.header("location")).assert(200).text();
    for text in [
        "The package was published.",
        "current in beta, 25 %",
        "linux-x86_64",
        "client-1.0.0.zip",
        built.sha256.as_str(),
        "first\nsecond",
        "value=\"client.txt\"",
        "value=\"0.9\"",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
    let page = browser
        .get("/admin/apps/com.example.client")
        .assert(200)
        .text();
    assert!(
        page.contains(&format!("title=\"{}\"", built.sha256)),
        "{page}"
    );
    assert!(
        page.contains("<td class=\"number\" data-label=\"Rollout\">25 %"),
        "{page}"
    );
    let page = browser.get("/admin/").assert(200).text();
    assert!(page.contains("1.0.0 (beta)"), "{page}");
    let page = browser.get(answer.header("location")).text();
    let (_, place) = page.split_once("href=\"/media/").unwrap();
    let place = place.split('"').next().unwrap();
    let package = site.get(&format!("/media/{place}")).assert(200);
    assert_eq!(package.body, built.bytes);

    let again = browser.upload(&app.key, &form).assert(303);
    assert!(
        again
            .header("location")
            .ends_with("?done=published_already")
    );
    let spool = std::fs::read_dir(site.server.config.spool()).unwrap();
    assert_eq!(spool.count(), 0);
}

#[test]
fn a_package_that_cannot_be_taken_leaves_the_form_filled_in() {
    let site = Site::with(|config| config.max_upload = 4096);
    let app = site.app("com.example.client");
    let browser = Browser::sign_in(&site, Role::Publish);
    let built = package("1.0.0");
    let filled = |version: &str| {
        let form = browser.form().text("notes", "what I wrote");
        form.text("version", version)
    };
    let with = |form: Form| form.file("file", "client-1.0.0.zip", &built.bytes);
    for (form, status, code) in [
        (filled("1.0.0"), 400, "REQUEST_INVALID"),
        (
            filled("1.0.0").file("file", "", b""),
            400,
            "REQUEST_INVALID",
        ),
        (with(filled("none")), 400, "REQUEST_INVALID"),
        (with(filled("")), 400, "REQUEST_INVALID"),
        (
            with(filled("1.0.0").text("rollout", "x")),
            400,
            "REQUEST_INVALID",
        ),
        (
            with(filled("1.0.0").text("target", "../x")),
            400,
            "REQUEST_INVALID",
        ),
        (
            with(filled("1.0.0").text("critical_below", "?")),
            400,
            "REQUEST_INVALID",
        ),
        (
            filled("1.0.0").file("file", "stable.json", &built.bytes),
            400,
            "REQUEST_INVALID",
        ),
        (
            filled("1.0.0").file("file", "a.zip", b"no package"),
            422,
            "PACKAGE_INVALID",
        ),
    ] {
        let page = refused(browser.upload(&app.key, &form), status, code);
        assert!(page.contains("what I wrote"), "{page}");
        assert!(!page.contains("spool"), "{page}");
    }
    let two = with(with(filled("1.0.0")));
    refused(browser.upload(&app.key, &two), 400, "REQUEST_INVALID");
    let large = filled("1.0.0").file("file", "a.zip", &[0; 5000]);
    refused(browser.upload(&app.key, &large), 413, "TOO_LARGE");
    let long = with(filled("1.0.0").text("entry_point", &"x".repeat(1 << 20)));
    refused(browser.upload(&app.key, &long), 413, "TOO_LARGE");
    let headers = [
        ("cookie", browser.cookie.as_str()),
        ("sec-fetch-site", "same-origin"),
        ("content-type", "text/plain"),
    ];
    let path = "/admin/apps/com.example.client/upload";
    refused(
        site.ask("POST", path, &headers, b"x"),
        400,
        "REQUEST_INVALID",
    );
    let headers = [headers[0], headers[1], ("content-type", &*Form::kind())];
    refused(
        site.ask("POST", path, &headers, b"--nothing"),
        400,
        "REQUEST_INVALID",
    );

    browser.upload(&app.key, &with(filled("1.0.0"))).assert(303);
    let other = filled("1.0.0").file("file", "client-1.0.0.zip", &package("1.0.0-other").bytes);
    refused(browser.upload(&app.key, &other), 409, "VERSION_EXISTS");
    let spool = std::fs::read_dir(site.server.config.spool()).unwrap();
    assert_eq!(spool.count(), 0);
}

#[test]
fn what_is_published_but_not_activated_is_told_on_its_page() {
    let (site, app) = site_with_app();
    let browser = Browser::sign_in(&site, Role::Publish);
    let form = browser
        .form()
        .text("version", "1.0.0")
        .text("activate", "yes")
        .text("channel", "not a channel")
        .file("file", "client-1.0.0.zip", &package("1.0.0").bytes);
    let page = refused(browser.upload(&app.key, &form), 400, "REQUEST_INVALID");
    assert!(page.contains("value=\"not a channel\""), "{page}");
    assert!(page.contains("/withdraw\""), "{page}");
    let releases = site.wait(site.server.registry.releases(&app.id)).unwrap();
    assert_eq!(releases.len(), 1);
}

#[test]
fn what_is_said_of_a_release_is_changed() {
    let (site, app) = site_with_app();
    let browser = Browser::sign_in(&site, Role::Publish);
    let release = browser.publish(&app.key, "1.0.0");
    let said = [
        ("notes", "a\r\nb"),
        ("entry_point", "x"),
        ("critical_below", "1.0"),
    ];
    let page = browser.done(&release, &said, "It was saved.");
    for text in ["a\nb", "value=\"x\"", "value=\"1.0\""] {
        assert!(page.contains(text), "{page}");
    }
    let wrong = [("notes", "kept"), ("critical_below", "?")];
    let page = refused(browser.post(&release, &wrong), 400, "REQUEST_INVALID");
    assert!(page.contains("kept"), "{page}");
    for wrong in [
        "/admin/apps/com.example.client/releases/x",
        "/admin/apps/none/releases/1",
    ] {
        refused(browser.get(wrong), 404, "NOT_FOUND");
    }
}

#[test]
fn a_release_becomes_current_and_is_withdrawn() {
    let (site, app) = site_with_app();
    let browser = Browser::sign_in(&site, Role::Publish);
    let first = browser.publish(&app.key, "1.0.0");
    let second = browser.publish(&app.key, "1.1.0");
    let current = || {
        let current = site.wait(site.server.registry.current(&app.id, "stable"));
        let (release, channel) = current.unwrap().unwrap();
        (release.version.to_string(), channel.rollout)
    };
    let activate = |release: &str| format!("{release}/activate");
    for (release, channel, rollout, text) in [
        (&first, "stable", "100", "current in stable"),
        (&second, "stable", "10", "current in stable, 10 %"),
        (&first, "beta", "100", "current in beta"),
    ] {
        let fields = [("channel", channel), ("rollout", rollout)];
        browser.done(&activate(release), &fields, text);
    }
    assert_eq!(current(), ("1.1.0".to_owned(), 10));
    for (channel, rollout) in [
        ("stable", "101"),
        ("stable", "-1"),
        ("a b", "10"),
        ("stable", "1e1"),
    ] {
        let fields = [("channel", channel), ("rollout", rollout)];
        let answer = browser.post(&activate(&second), &fields);
        let page = refused(answer, 400, "REQUEST_INVALID");
        assert!(page.contains(&format!("value=\"{rollout}\"")), "{page}");
    }
    // The addresses of forms are pages too, for who changes the language there.
    browser.get(&activate(&second)).assert(200);

    let withdraw = format!("{second}/withdraw");
    let page = browser.get(&withdraw).assert(200).text();
    assert!(page.contains("It is current in stable."), "{page}");
    assert_eq!(current(), ("1.1.0".to_owned(), 10));
    let page = browser.done(&withdraw, &[], "It was withdrawn.");
    assert!(page.contains("never becomes current again"), "{page}");
    assert_eq!(current(), ("1.0.0".to_owned(), 100));
    let fields = [("channel", "stable"), ("rollout", "100")];
    refused(browser.post(&activate(&second), &fields), 409, "CONFLICT");
}

#[test]
fn a_release_that_is_current_nowhere_is_deactivated_and_deleted() {
    let (site, app) = site_with_app();
    let browser = Browser::sign_in(&site, Role::Publish);
    let release = browser.publish(&app.key, "1.0.0");
    let [activate, enable, deactivate, delete] =
        ["activate", "enable", "deactivate", "delete"].map(|page| format!("{release}/{page}"));
    let stable = [("channel", "stable"), ("rollout", "100")];
    let page = browser.done(&deactivate, &[], "It is deactivated.");
    assert!(page.contains(">Enable<"), "{page}");
    refused(browser.post(&activate, &stable), 409, "CONFLICT");
    browser.done(&enable, &[], "It is enabled.");

    let page = browser.done(&activate, &stable, "It is current now.");
    assert!(page.contains("/withdraw\""), "{page}");
    assert!(
        !page.contains("/delete\"") && !page.contains("/deactivate\""),
        "{page}"
    );
    refused(browser.post(&deactivate, &[]), 409, "CONFLICT");
    let page = refused(browser.post(&delete, &[]), 409, "CONFLICT");
    assert!(page.contains("Delete 1.0.0?"), "{page}");

    let other = browser.publish(&app.key, "1.1.0");
    browser.done(&format!("{other}/activate"), &stable, "It is current now.");
    let page = browser.get(&delete).assert(200).text();
    assert!(page.contains("Delete 1.0.0?"), "{page}");
    browser.done(&delete, &[], "It was deleted.");
    refused(browser.get(&release), 404, "NOT_FOUND");
}

#[test]
fn an_upload_that_breaks_off_leaves_nothing() {
    let (site, _) = site_with_app();
    let browser = Browser::sign_in(&site, Role::Publish);
    let form = browser.form().file("file", "a.zip", &vec![7; 100_000]);
    let head = format!(
        "POST /admin/apps/com.example.client/upload HTTP/1.1\r\nhost: {0}\r\norigin: http://{0}\r\n\
         cookie: {1}\r\ncontent-type: {2}\r\ncontent-length: 1000000\r\n\r\n",
        site.address,
        browser.cookie,
        Form::kind()
    );
    let mut connection = TcpStream::connect(site.address).unwrap();
    connection.write_all(head.as_bytes()).unwrap();
    connection.write_all(&form.body()[..50_000]).unwrap();
    await_files(&site, 1);
    drop(connection);
    await_files(&site, 0);
}

/// Waits until so many files are in the spool.
fn await_files(site: &Site, count: usize) {
    let begun = Instant::now();
    while std::fs::read_dir(site.server.config.spool())
        .unwrap()
        .count()
        != count
    {
        assert!(begun.elapsed() < Duration::from_mins(1));
        std::thread::yield_now();
    }
}

#[test]
fn tokens_are_made_once_shown_and_revoked() {
    let site = Site::start();
    let browser = Browser::sign_in(&site, Role::Admin);
    let page = browser.post(
        "/admin/tokens",
        &[("name", "the builder"), ("role", "publish")],
    );
    let page = page.assert(200).text();
    let (_, rest) = page.split_once("<code class=\"secret\">").unwrap();
    let token = rest.split('<').next().unwrap().to_owned();
    sign_in(&site, &token, "").assert(303);
    let page = browser.get("/admin/tokens").assert(200).text();
    assert!(
        page.contains("the builder") && !page.contains(&token),
        "{page}"
    );

    refused(
        browser.post(
            "/admin/tokens",
            &[("name", "the builder"), ("role", "read")],
        ),
        409,
        "CONFLICT",
    );
    for (name, role) in [
        ("", "read"),
        ("a\nb", "read"),
        (&"x".repeat(65), "read"),
        ("a", "king"),
    ] {
        let fields = [("name", name), ("role", role)];
        refused(
            browser.post("/admin/tokens", &fields),
            400,
            "REQUEST_INVALID",
        );
    }

    let page = browser
        .get("/admin/tokens/revoke?name=the+builder")
        .assert(200)
        .text();
    assert!(page.contains("Revoke the token of the builder?"), "{page}");
    let answer = browser
        .post("/admin/tokens/revoke", &[("name", "the builder")])
        .assert(303);
    let page = browser.get(answer.header("location")).assert(200).text();
    assert!(
        page.contains("The token was revoked.") && page.contains("revoked 20"),
        "{page}"
    );
    refused(sign_in(&site, &token, ""), 401, "TOKEN_INVALID");
    refused(
        browser.post("/admin/tokens/revoke", &[("name", "the builder")]),
        404,
        "NOT_FOUND",
    );

    let page = browser.get("/admin/audit").assert(200).text();
    assert!(
        page.contains("add token") && page.contains("revoke token"),
        "{page}"
    );
}

#[test]
fn hostile_texts_are_shown_as_texts() {
    let site = Site::start();
    let browser = Browser::sign_in(&site, Role::Admin);
    let fields = [("key", "app"), ("name", HOSTILE), ("description", HOSTILE)];
    browser.post("/admin/new-app", &fields).assert(303);
    browser
        .post("/admin/tokens", &[("name", HOSTILE), ("role", "read")])
        .assert(200);
    let form = browser.form().text("version", "release/1.0+<u>").file(
        "file",
        "<u>.zip",
        &package("1.0").bytes,
    );
    let page = refused(browser.upload("app", &form), 400, "REQUEST_INVALID");
    assert!(
        page.contains("release/1.0+&lt;u&gt;") && !page.contains("<u>"),
        "{page}"
    );
    let form = browser
        .form()
        .text("version", "release/1.0")
        .text("notes", HOSTILE)
        .text("entry_point", HOSTILE)
        .file("file", "a.zip", &package("1.0").bytes);
    let answer = browser.upload("app", &form).assert(303);
    let release = answer.header("location").split('?').next().unwrap();
    let revoke = format!(
        "/admin/tokens/revoke?name={}",
        encoded(&[("", HOSTILE)]).split_off(1)
    );
    for path in [
        "/admin/",
        "/admin/apps/app",
        "/admin/apps/app/change",
        "/admin/apps/app/upload",
        release,
        &format!("{release}/withdraw"),
        "/admin/tokens",
        &revoke,
        "/admin/audit",
    ] {
        let page = browser.get(path).assert(200).text();
        assert!(page.contains(HARMLESS), "{path}: {page}");
        assert!(
            !page.contains("<script>") && !page.contains("onload='x' &amp; \u{202e}<u>"),
            "{page}"
        );
    }
    // Also what an address says, and what is not there.
    for path in [
        "/admin/apps/%3Cscript%3E",
        "/admin/apps/app/releases/%22%3E%3Cscript%3E",
        "/admin/%3Cscript%3E",
        "/admin/?done=%3Cscript%3E",
        "/admin/?%22%3E%3Cscript%3E=%22%3E%3Cscript%3E",
    ] {
        let page = browser.get(path).text();
        assert!(!page.contains("<script>"), "{page}");
    }
}

#[test]
fn pages_speak_the_language_that_is_asked_for() {
    let (site, app) = site_with_app();
    let browser = Browser::sign_in(&site, Role::Admin);
    let release = browser.publish(&app.key, "1.0.0");
    let ask = |path: &str, cookie: &str, accept: &str| {
        let cookie = format!("{}; {cookie}", browser.cookie);
        let headers = [("cookie", cookie.as_str()), ("accept-language", accept)];
        site.ask("GET", path, &headers, b"")
    };
    let is_chinese = |answer: &Answer| answer.text().contains("<html lang=\"zh-CN\">");
    assert!(!is_chinese(&ask("/admin/", "", "")));
    assert!(is_chinese(&ask("/admin/", "", "zh-CN,zh;q=0.9,en;q=0.8")));
    assert!(!is_chinese(&ask("/admin/", "castoff_lang=en", "zh-CN")));
    assert!(is_chinese(&ask("/admin/", "castoff_lang=zh", "en")));
    let answer = ask("/admin/?lang=zh", "castoff_lang=en", "en");
    assert!(is_chinese(&answer));
    assert_eq!(
        answer.header("set-cookie"),
        "castoff_lang=zh; Path=/admin; Max-Age=31536000; HttpOnly; SameSite=Strict"
    );
    let answer = ask("/admin/?lang=%3Cb%3E", "", "");
    assert!(!is_chinese(&answer) && answer.headers.get("set-cookie").is_none());

    // Page by page: the other language is one step away, on the same page.
    for (path, en, zh) in [
        ("/admin/", "Add an app", "添加应用"),
        ("/admin/new-app", "Identifier", "标识"),
        (
            "/admin/apps/com.example.client",
            "Upload a package",
            "上传安装包",
        ),
        (
            "/admin/apps/com.example.client/change",
            "Change this app",
            "修改应用",
        ),
        (
            "/admin/apps/com.example.client/upload",
            "Make it current at once",
            "上传后立即设为当前版本",
        ),
        (release.as_str(), "Make it current", "设为当前版本"),
        (
            &format!("{release}/withdraw"),
            "Withdraw 1.0.0?",
            "撤回 1.0.0？",
        ),
        (
            &format!("{release}/delete"),
            "Delete 1.0.0?",
            "删除 1.0.0？",
        ),
        ("/admin/tokens", "Make a token", "生成令牌"),
        (
            "/admin/tokens/revoke?name=a",
            "Revoke the token of a?",
            "吊销 a 的令牌？",
        ),
        ("/admin/audit", "The last 200 changes", "最近的 200 次更改"),
    ] {
        let page = ask(path, "castoff_lang=en", "").assert(200).text();
        assert!(page.contains(en) && !page.contains(zh), "{path}: {page}");
        let mark = if path.contains('?') { "&amp;" } else { "?" };
        assert!(
            page.contains(&format!("href=\"{path}{mark}lang=zh\"")),
            "{path}: {page}"
        );
        let page = ask(path, "castoff_lang=zh", "").assert(200).text();
        assert!(page.contains(zh) && !page.contains(en), "{path}: {page}");
    }
    let page = ask("/admin/nowhere", "castoff_lang=zh", "")
        .assert(404)
        .text();
    assert!(
        page.contains("这里没有内容。") && page.contains("NOT_FOUND"),
        "{page}"
    );
    let answer = site.ask("GET", "/admin/", &[("accept-language", "zh")], b"");
    assert!(answer.assert(401).text().contains("登录"));
}
