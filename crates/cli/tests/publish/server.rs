//! At a release server, which is the real one.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use castoff_publish::steps;
use serde_json::json;
use tempfile::TempDir;

use crate::common::{app, command, document};
use crate::line::{Line, noise};
use crate::world::{APP, Publisher, update};

/// `castoff serve`, until it is dropped.
struct Server {
    process: Child,
    folder: TempDir,
    address: String,
}

impl Server {
    /// With nothing configured.
    fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), "")
    }

    /// In a folder that has what is configured.
    fn start_in(folder: TempDir, config: &str) -> Self {
        fs::write(folder.path().join("serve.toml"), config).unwrap();
        let mut token = castoff(
            folder.path(),
            &["token", "add", "publisher", "--role", "admin"],
        );
        let token = token.stderr(Stdio::null()).output().unwrap();
        assert!(token.status.success(), "{token:?}");
        fs::write(folder.path().join("token"), token.stdout).unwrap();
        let mut process = castoff(folder.path(), &["--listen", "127.0.0.1:0"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let address = lines
            .find_map(|line| Some(line.unwrap().strip_prefix("Listening on ")?.to_owned()))
            .unwrap();
        // What it says is read to the end, or it would have to wait.
        thread::spawn(move || lines.for_each(drop));
        Self {
            process,
            folder,
            address,
        }
    }

    fn token_file(&self) -> String {
        let path = self.folder.path().join("token");
        format!("token_file = {}\n", json!(path))
    }

    /// One who publishes at it, at another address perhaps.
    fn publisher_by(&self, address: &str, kind: &'static str) -> Publisher {
        let mut publisher = Publisher::at(address, kind, &self.token_file());
        publisher.source.1 = format!("{}/apps/{APP}/", self.address);
        if kind == "check" {
            publisher.source.1.push_str("check");
        }
        publisher
    }

    fn publisher(&self, kind: &'static str) -> Publisher {
        self.publisher_by(&self.address, kind)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn castoff(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_castoff"));
    command
        .args(["serve", "--data", "data"])
        .args(args)
        .current_dir(folder)
        .env_remove("DATABASE_URL")
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command
}

#[test]
fn a_signed_version_is_published_made_current_and_taken_back() {
    let server = Server::start();
    let publisher = server.publisher("index");
    let home = publisher.launcher();
    let package = publisher.package("1.0.0");
    let said = publisher.said(&["publish", &package]);
    assert!(said.contains("The app is new there."), "{said}");
    assert!(said.contains("kind = \"index\""), "{said}");
    assert!(said.contains(&publisher.source.1), "{said}");
    assert_eq!(update(&home)["error"], "TRUST_UNSIGNED");
    // The server has no key of the app: the index is signed here.
    publisher.done(&["activate", "1.0.0"]);
    assert_eq!(update(&home)["version"], "1.0.0");
    publisher.publish("1.1.0");
    assert_eq!(update(&home)["version"], "1.1.0");
    let again = publisher.done(&["publish", "app-1.1.0.zip", "--activate"]);
    assert!(again.ends_with(", as before"), "{again}");
    publisher.publish("1.2.0b1");
    let list = publisher.published();
    assert_eq!(list["releases"][0]["current"], json!(["stable"]));
    assert_eq!(list["channels"]["stable"]["seq"], 3);
    assert_eq!(list["releases"][2]["packages"][0]["name"], package);
    let said = publisher.said(&["withdraw", "1.2.0b1"]);
    assert!(said.contains("gets 1.1.0"), "{said}");
    assert_eq!(update(&home)["version"], "1.1.0");
    assert_eq!(publisher.published()["releases"][0]["withdrawn"], true);
    // For some at first.
    publisher.done(&["activate", "1.1.0", "--rollout", "5"]);
    assert_eq!(publisher.published()["channels"]["stable"]["rollout"], 5);

    let other = app("1.0.0").file("another", "x").build().bytes;
    fs::write(publisher.own().join(&package), other).unwrap();
    publisher.refused(&["publish", &package], "PACKAGE_DIFFERS");
    publisher.refused(&["activate", "9.0.0"], "NOT_PUBLISHED");
}

#[test]
fn an_unsigned_version_is_published_made_current_and_taken_back() {
    let server = Server::start();
    let publisher = server.publisher("check");
    fs::remove_file(publisher.own().join("castoff.key")).unwrap();
    let home = publisher.launcher();
    let package = publisher.package("1.0.0");
    let said = publisher.said(&["publish", &package, "--notes", "new", "--activate"]);
    assert!(said.contains("kind = \"check\""), "{said}");
    assert!(said.contains(&publisher.source.1), "{said}");
    assert_eq!(update(&home)["version"], "1.0.0");
    publisher.publish("1.1.0");
    assert_eq!(update(&home)["version"], "1.1.0");
    let again = publisher.done(&["publish", "app-1.1.0.zip", "--activate"]);
    assert!(again.ends_with(", as before"), "{again}");
    publisher.done(&["activate", "1.1.0", "--rollout", "10"]);
    let list = publisher.published();
    assert_eq!(list["channels"]["stable"]["rollout"], 10);
    assert_eq!(list["releases"][0]["signed"], false);
    let said = publisher.said(&["withdraw", "1.1.0"]);
    assert!(said.contains("gets 1.0.0"), "{said}");
    assert_eq!(update(&home)["version"], "1.0.0");
    let other = app("1.0.0").file("another", "x").build().bytes;
    fs::write(publisher.own().join(&package), other).unwrap();
    publisher.refused(&["publish", &package], "PACKAGE_DIFFERS");
}

/// A server that holds the app's index key signs indexes by itself, and nobody else has to.
#[test]
fn a_server_with_an_index_key_signs_what_is_current() {
    let folder = tempfile::tempdir().unwrap();
    let keygen = command(folder.path(), &["keygen", "index", "--no-passphrase"])
        .output()
        .unwrap();
    assert!(keygen.status.success(), "{keygen:?}");
    let index = folder.path().join("index.pub");
    let config = format!("[index_keys]\n\"{APP}\" = \"index.key\"\n");
    let server = Server::start_in(folder, &config);
    let publisher = server.publisher("index");
    let index = index.to_str().unwrap();
    publisher.done(&["keys", "init", "--index", index]);
    let package = publisher.package("1.0.0");
    publisher.done(&["publish", &package]);
    fs::remove_file(publisher.own().join("castoff.key")).unwrap();
    publisher.done(&["activate", "1.0.0"]);
    let home = publisher.launcher();
    assert_eq!(update(&home)["version"], "1.0.0");
}

#[test]
fn what_has_changed_is_packed_against_a_server_that_wants_a_token() {
    let server = Server::start_in(tempfile::tempdir().unwrap(), "read = \"token\"\n");
    let publisher = server.publisher("check");
    fs::remove_file(publisher.own().join("castoff.key")).unwrap();
    publisher.publish("1.0.0");
    let dist = publisher.own().join("dist");
    fs::create_dir(&dist).unwrap();
    fs::write(dist.join("only-1.0.0"), "x").unwrap();
    fs::write(dist.join("new"), "new").unwrap();
    let active = format!("{}/api/v1/nuitkal_pack/apps/{APP}/active/", server.address);
    let pack = ["pack", "dist", "--version", "1.1.0", "--against", &active];
    let said = publisher.refused(&pack, "REQUEST_INVALID");
    assert!(said.contains("--token-file"), "{said}");
    let token = server.folder.path().join("token");
    let pack = [&pack[..], &["--token-file", token.to_str().unwrap()]].concat();
    let said = publisher.said(&pack);
    assert!(said.contains("1 file"), "{said}");
}

#[test]
#[cfg_attr(
    windows,
    ignore = "windows: its trusted authorities are the machine's, not a test's"
)]
fn over_tls_whoever_trusts_the_certificate_publishes_and_updates() {
    let tls = castoff_testkit::http::Tls::new();
    let config = format!(
        "[tls]\ncertificate = {}\nkey = {}\n",
        json!(tls.certificate_pem_path),
        json!(tls.key_pem_path)
    );
    let server = Server::start_in(tempfile::tempdir().unwrap(), &config);
    assert!(server.address.starts_with("https://"), "{}", server.address);
    let publisher = server.publisher("index");
    let package = publisher.package("1.0.0");
    let args = ["publish", &package, "--activate"];
    publisher.refused(&args, "PLACE_UNREACHABLE");
    let trusting = |mut command: Command| {
        let output = command.env("SSL_CERT_FILE", &tls.ca_pem_path).output();
        output.unwrap()
    };
    let output = trusting(publisher.command(&args));
    assert!(output.status.success(), "{output:?}");
    let home = publisher.launcher();
    assert_eq!(update(&home)["error"], "SOURCE_UNREACHABLE");
    let update = trusting(command(home.path(), &["update", "--json"]));
    assert_eq!(document(&update)["version"], "1.0.0");
}

#[test]
fn a_server_does_not_start_with_what_is_no_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let tls = castoff_testkit::http::Tls::new();
    for (certificate, key) in [
        (&tls.key_pem_path, &tls.key_pem_path),
        (&tls.certificate_pem_path, &tls.certificate_pem_path),
        (&tls.ca_pem_path, &tls.key_pem_path),
        (&folder.path().join("none.pem"), &tls.key_pem_path),
    ] {
        let config = format!(
            "[tls]\ncertificate = {}\nkey = {}\n",
            json!(certificate),
            json!(key)
        );
        fs::write(folder.path().join("serve.toml"), config).unwrap();
        let mut command = castoff(folder.path(), &["--listen", "127.0.0.1:0"]);
        let output = command.stderr(Stdio::piped()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success() && said.contains(".pem") && said.contains("[REQUEST_INVALID]"),
            "{said}"
        );
    }
}

#[test]
fn an_upload_goes_on_where_it_broke_off() {
    let server = Server::start();
    let line = Line::to(&server.address);
    let publisher = server.publisher_by(&line.address(), "index");
    let package = app("1.0.0").file("big", noise(8 << 20)).build().bytes;
    let size = package.len() as u64;
    fs::write(publisher.own().join("app-1.0.0.zip"), package).unwrap();
    let args = ["publish", "app-1.0.0.zip", "--activate"];

    // The whole command is ended in the middle.
    line.break_at(3 << 20, true);
    let mut process = publisher.command(&args).spawn().unwrap();
    while line.sent() < 3 << 20 {
        assert_eq!(process.try_wait().unwrap(), None, "it has ended");
        thread::sleep(Duration::from_millis(5));
    }
    process.kill().unwrap();
    process.wait().unwrap();
    assert!(publisher.own().join("app-1.0.0.zip.upload").exists());
    // And the connection breaks once.
    let before = line.sent();
    line.break_at(before + (2 << 20), false);
    let said = publisher.said(&args);
    assert!(said.contains("from an earlier attempt"), "{said}");
    assert!(line.sent() < size + (1 << 20), "{} of {size}", line.sent());
    assert!(line.sent() - before < size, "{} of {size}", line.sent());
    assert!(!publisher.own().join("app-1.0.0.zip.upload").exists());
    assert_eq!(update(&publisher.launcher())["version"], "1.0.0");
}

#[test]
fn who_may_not_publish_is_told_so() {
    let server = Server::start();
    let publisher = server.publisher("index");
    let package = publisher.package("1.0.0");
    let settings = fs::read_to_string(publisher.own().join("publish.toml")).unwrap();
    let lines = settings.lines();
    let kept: Vec<&str> = lines
        .filter(|line| !line.starts_with("token_file"))
        .collect();
    let without = kept.join("\n");
    fs::write(publisher.own().join("publish.toml"), without).unwrap();
    let said = publisher.refused(&["publish", &package], "PLACE_REFUSED");
    assert!(said.contains("TOKEN_MISSING"), "{said}");
    let mut wrong = publisher.command(&["publish", &package]);
    let wrong = wrong.env("CASTOFF_TOKEN", "guess").output().unwrap();
    let said = String::from_utf8(wrong.stderr).unwrap();
    assert!(
        said.contains("TOKEN_INVALID") && !said.contains("guess"),
        "{said}"
    );
    let with_token = format!("{}/t/secret/", server.address);
    publisher.refused(
        &["publish", &package, "--to", &with_token],
        "REQUEST_INVALID",
    );
    let said = publisher.refused(
        &["published", "--to", "http://updates.example.invalid/"],
        "REQUEST_INVALID",
    );
    assert!(said.contains("--allow-http"), "{said}");
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("http://{}/", free.local_addr().unwrap());
    drop(free);
    publisher.refused(&["published", "--to", &nobody], "PLACE_UNREACHABLE");
}

#[test]
fn a_publication_can_be_killed_anywhere_and_repeated() {
    let server = Server::start();
    for (number, step) in steps::ALL.into_iter().enumerate() {
        let publisher = server.publisher("index");
        let name = format!("com.example.app{number}");
        let rename = |path: &Path| {
            let text = fs::read_to_string(path).unwrap();
            fs::write(path, text.replace(APP, &name)).unwrap();
        };
        rename(&publisher.own().join("launcher.toml"));
        let home = publisher.launcher();
        rename(&home.path().join("launcher.toml"));
        publisher.outlives(step, &[home]);
    }
}
