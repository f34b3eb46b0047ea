use std::net::TcpListener;
use std::time::{Duration, Instant};

use castoff_testkit::http::{Reply, Server, Tls};

use super::{PATIENT, SHORT, client, network, source};
use crate::fetch::proxy::Proxies;
use crate::fetch::{Answer, Client};
use crate::{Code, Error, Result};

fn plain() -> Client {
    client(&network(), &source("http://127.0.0.1:1/"))
}

fn get(server: &Server) -> Result<Answer> {
    plain().get(&server.url("/check"), PATIENT, 1 << 20)
}

fn code(outcome: Result<Answer>) -> Code {
    outcome.unwrap_err().code()
}

fn server(reply: Reply) -> Server {
    let server = Server::start();
    server.route("/check", reply);
    server
}

/// Whose certificate nobody knows.
fn unchecked() -> Client {
    let mut network = network();
    network.verify_certificates = false;
    client(&network, &source("https://127.0.0.1:1/"))
}

#[test]
fn a_check_is_asked_plainly_and_answered_whole() {
    let server = server(Reply::json("{}"));
    let answer = get(&server).unwrap();
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"{}"[..]));
    assert_eq!(answer.url, server.url("/check"));
    assert_eq!(answer.content_type.as_deref(), Some("application/json"));

    let request = &server.requests()[0];
    assert_eq!(request.header("accept-encoding"), Some("identity"));
    let agent = request.header("user-agent").unwrap();
    assert_eq!(agent, concat!("castoff/", env!("CARGO_PKG_VERSION")));
}

#[test]
fn an_error_status_is_an_answer_with_its_body_and_retry_after() {
    for (value, expected) in [
        ("120", Some(Duration::from_mins(2))),
        ("Wed, 21 Oct 2015 07:28:00 GMT", Some(Duration::ZERO)),
        ("soon", None),
    ] {
        let reply = Reply::status(503).header("Retry-After", value).body("no");
        let answer = get(&server(reply)).unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (503, &b"no"[..]));
        assert_eq!(answer.retry_after, expected, "{value}");
    }
}

#[test]
fn a_chunked_answer_and_one_until_the_end_of_the_connection_are_read() {
    for reply in [Reply::json("{}").chunked(), Reply::json("{}").until_close()] {
        assert_eq!(get(&server(reply)).unwrap().body, b"{}");
    }
}

#[test]
fn an_endless_answer_is_too_large() {
    let reply = Reply::json(&" ".repeat(100_000)).endless();
    assert_eq!(code(get(&server(reply))), Code::TooLarge);
}

#[test]
fn an_answer_may_be_as_large_as_the_limit_and_no_larger() {
    let server = server(Reply::json("12345"));
    let ask = |limit| plain().get(&server.url("/check"), PATIENT, limit);
    assert_eq!(ask(5).unwrap().body, b"12345");
    assert_eq!(code(ask(4)), Code::TooLarge);
}

#[test]
fn a_server_that_says_nothing_or_too_little_in_time_is_unreachable() {
    for reply in [
        Reply::json("{}").silent(),
        Reply::json("{\"a\": 1}").stall_after(3),
        Reply::json(&" ".repeat(100_000)).trickle(1, Duration::from_millis(5)),
        Reply::json(&" ".repeat(100_000))
            .trickle(1, Duration::from_millis(5))
            .chunked(),
    ] {
        let server = server(reply);
        let begun = Instant::now();
        let outcome = plain().get(&server.url("/check"), SHORT, 1 << 20);
        assert_eq!(code(outcome), Code::Unreachable);
        assert!(
            begun.elapsed() < PATIENT / 2,
            "the limit of time was not kept"
        );
    }
}

#[test]
fn a_reset_at_every_stage_and_a_short_answer_are_unreachable() {
    for reply in [
        Reply::json("{}").reset_at_once(),
        Reply::json("{}").reset_in_head(),
        Reply::json("{}").reset_after(0),
        Reply::json("{}").reset_after(1),
        Reply::json("{}").cut_after(1),
        Reply::json("{}").chunked().cut_after(1),
        Reply::raw(""),
        Reply::raw("SSH-2.0-OpenSSH_9.6\r\n"),
        Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"),
        Reply::raw(format!(
            "HTTP/1.1 200 OK\r\nX: {}\r\n\r\n",
            "x".repeat(200_000)
        )),
    ] {
        let said = format!("{reply:.60?}");
        assert_eq!(code(get(&server(reply))), Code::Unreachable, "{said}");
    }
}

#[test]
fn a_port_where_nobody_listens_and_a_name_that_is_none_are_unreachable() {
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let closed = plain().get(&format!("http://{free}/"), PATIENT, 1);
    assert_eq!(code(closed), Code::Unreachable);
    let unknown = plain().get("https://updates.invalid/", SHORT, 1);
    assert_eq!(code(unknown), Code::Unreachable);
}

#[test]
fn plain_http_to_another_host_is_refused_unless_allowed() {
    let outcome = plain().get("http://updates.invalid/", PATIENT, 1);
    assert_eq!(code(outcome), Code::InsecureUrl);
    let to = "http://updates.invalid/";
    assert_eq!(
        code(get(&server(Reply::redirect(302, to)))),
        Code::InsecureUrl
    );

    let mut network = network();
    network.allow_http = true;
    let allowed = client(&network, &source(to)).get(to, SHORT, 1);
    assert_eq!(code(allowed), Code::Unreachable);
}

#[test]
fn a_missing_slash_that_is_answered_301_is_followed() {
    let server = server(Reply::redirect(301, "/check/"));
    server.route("/check/", Reply::json("{}"));
    assert_eq!(get(&server).unwrap().url, server.url("/check/"));
}

#[test]
fn ten_redirects_are_followed_and_eleven_are_not() {
    let server = Server::start();
    for hop in 0..11 {
        let to = format!("/{}", hop + 1);
        server.route(&format!("/{hop}"), Reply::redirect(302, &to));
    }
    server.route("/11", Reply::json("{}"));
    let ask = |path| plain().get(&server.url(path), PATIENT, 100);
    assert_eq!(ask("/1").unwrap().status, 200);
    assert_eq!(code(ask("/0")), Code::RedirectRefused);
}

#[test]
fn a_redirect_loop_ends_when_it_closes() {
    let server = Server::start();
    server.route("/check", Reply::redirect(302, "/b"));
    server.route("/b", Reply::redirect(307, "/check#again"));
    server.route("/self", Reply::redirect(308, ""));
    assert_eq!(code(get(&server)), Code::RedirectRefused);
    assert_eq!(server.requests().len(), 2);
    let own = plain().get(&server.url("/self"), PATIENT, 100);
    assert_eq!(code(own), Code::RedirectRefused);
}

#[test]
fn a_redirect_to_another_scheme_to_credentials_or_to_nonsense_is_refused() {
    for to in [
        "file:///etc/passwd",
        "ftp://127.0.0.1/",
        "//user:secret@127.0.0.1/",
        "http://127.0.0.1\\@updates.invalid/",
        "/a\tb",
    ] {
        let outcome = get(&server(Reply::redirect(302, to)));
        assert_eq!(code(outcome), Code::RedirectRefused, "{to}");
    }
}

#[test]
fn a_redirect_from_https_to_http_is_refused_and_not_followed() {
    let tls = Tls::new();
    let (secure, open) = (Server::start_tls(&tls), Server::start());
    secure.route("/check", Reply::redirect(302, &open.url("/check")));
    open.route("/check", Reply::json("{}"));
    let outcome = unchecked().get(&secure.url("/check"), PATIENT, 100);
    assert_eq!(code(outcome), Code::RedirectRefused);
    assert!(open.requests().is_empty());
}

#[test]
fn a_redirect_from_https_to_http_of_the_same_host_and_port_is_read_as_https() {
    let secure = Server::start_tls(&Tls::new());
    let to = secure.url("/check/").replace("https://", "http://");
    secure.route("/check", Reply::redirect(301, &to));
    secure.route("/check/", Reply::json("{}"));
    let answer = unchecked()
        .get(&secure.url("/check"), PATIENT, 100)
        .unwrap();
    assert_eq!(answer.url, secure.url("/check/"));
}

#[test]
fn a_token_of_any_name_and_case_goes_to_its_origin_and_to_no_other() {
    let (home, away) = (Server::start(), Server::start());
    home.route("/check", Reply::redirect(302, &away.url("/away")));
    away.route("/away", Reply::redirect(302, &home.url("/back")));
    home.route("/back", Reply::json("{}"));
    let mut source = source(&home.url("/check"));
    for name in ["authorization", "PRIVATE-TOKEN", "x-Api-Key", "Cookie"] {
        source.headers.insert(name.to_owned(), "secret".to_owned());
    }
    let client = client(&network(), &source);
    client.get(&home.url("/check"), PATIENT, 100).unwrap();

    for name in source.headers.keys() {
        for request in home.requests() {
            assert_eq!(request.header(name), Some("secret"), "{name}");
        }
        assert_eq!(away.requests()[0].header(name), None, "{name}");
    }
    // A link in an answer is no redirect, and fares no better.
    client.get(&away.url("/other"), PATIENT, 100).unwrap();
    let said = format!("{:?}", away.requests());
    assert!(!said.contains("secret"), "{said}");
}

#[test]
fn a_header_that_cannot_be_sent_is_a_configuration_error_that_keeps_the_secret() {
    for (name, value) in [("bad name", "secret"), ("Token", "secret\r\nHost: evil")] {
        let mut source = source("https://updates.invalid/");
        source.headers.insert(name.to_owned(), value.to_owned());
        let error = Client::new(&network(), &source).unwrap_err();
        assert_eq!(error.code(), Code::ConfigInvalid);
        assert!(!error.chain().contains("secret"), "{error}");
    }
}

#[test]
fn a_certificate_of_an_unknown_authority_is_refused_with_checks_on_and_taken_with_checks_off() {
    let server = Server::start_tls(&Tls::new());
    server.route("/check", Reply::json("{}"));
    let url = server.url("/check");
    let Err(Error::Unreachable { .. }) = plain().get(&url, PATIENT, 100) else {
        panic!("the certificate was taken");
    };
    assert!(server.requests().is_empty());
    assert_eq!(unchecked().get(&url, PATIENT, 100).unwrap().body, b"{}");
}

/// The platform's certificates are read once a process, and from its environment: so this runs
/// [`asks_the_server_of_the_environment`] in another one.
#[cfg(target_os = "linux")]
#[test]
fn a_certificate_of_an_authority_that_the_system_trusts_is_taken() {
    let tls = Tls::new();
    let server = Server::start_tls(&tls);
    server.route("/check", Reply::json("{}"));
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored"])
        .arg("fetch::tests::client::asks_the_server_of_the_environment")
        .env("SSL_CERT_FILE", &tls.ca_pem_path)
        .env("CASTOFF_TEST_URL", server.url("/check"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(server.requests().len(), 1);
}

#[test]
#[ignore = "started by the test above"]
fn asks_the_server_of_the_environment() {
    let url = std::env::var("CASTOFF_TEST_URL").unwrap();
    assert_eq!(plain().get(&url, PATIENT, 100).unwrap().body, b"{}");
}

#[test]
fn a_proxy_that_refuses_makes_the_source_unreachable() {
    let proxy = Server::start();
    proxy.fallback(Reply::status(403).body("blocked"));
    let outcome = through(&proxy).get("http://updates.invalid/check", PATIENT, 100);
    let error = outcome.unwrap_err();
    assert_eq!(error.code(), Code::Unreachable);
    assert!(error.chain().contains("403"), "{}", error.chain());
    let request = &proxy.requests()[0];
    assert_eq!(
        (&*request.method, &*request.target),
        ("CONNECT", "updates.invalid:80")
    );
}

#[test]
fn a_proxy_leads_to_hosts_that_this_machine_cannot_name() {
    let (proxy, target) = (Server::start(), server(Reply::json("{}")));
    proxy.fallback(Reply::tunnel_to(target.address()));
    let answer = through(&proxy).get("http://updates.invalid/check", PATIENT, 100);
    assert_eq!(answer.unwrap().body, b"{}");
    assert_eq!(target.requests()[0].header("host"), Some("updates.invalid"));
}

fn through(proxy: &Server) -> Client {
    let mut network = network();
    network.allow_http = true;
    let mut client = client(&network, &source("http://updates.invalid/"));
    let address = proxy.url("");
    client.proxies = Proxies::from_variables(|name| (name == "ALL_PROXY").then(|| address.clone()));
    client
}

#[test]
fn a_client_is_made_in_no_time() {
    let begun = Instant::now();
    for _ in 0..10 {
        plain();
    }
    // Ten times reading a system's certificates, unoptimised, would take longer than this.
    assert!(begun.elapsed() < SHORT);
}
