//! An app that is the updater's own child.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use castoff_testkit::http::Reply;
use castoff_testkit::package::Package;
use castoff_testkit::tar::gzip;
use castoff_testkit::until;
use serde_json::{Value, json};

use crate::forge;
use crate::world::World;

const REPO: &str = "owner/web";

/// An app that says its version to whoever asks. What it needs lies beside it.
fn app(version: &str) -> String {
    format!(
        "import http.server, os, sys\n\
         if '{version}' in open('bad').read(): sys.exit(3)\n\
         open('pids', 'a').write('%d\\n' % os.getpid())\n\
         class Answer(http.server.BaseHTTPRequestHandler):\n\
         \x20   def do_GET(self):\n\
         \x20       self.send_response(200)\n\
         \x20       self.end_headers()\n\
         \x20       self.wfile.write(b'{version}')\n\
         \x20   def log_message(self, *args): pass\n\
         http.server.HTTPServer.allow_reuse_address = True\n\
         http.server.HTTPServer(('127.0.0.1', int(sys.argv[1])), Answer).serve_forever()\n"
    )
}

struct App {
    world: World,
    port: u16,
}

impl App {
    fn new() -> Self {
        let world = World::bare();
        // Nobody else gets it meanwhile, as far as that can be had.
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let launcher = format!(
            "app = \"org.castoff.web\"\nlayout = \"in-place\"\ninstalled_version = \"1.0.0\"\n\
             update.when = \"manual\"\nupdate.preserve = [\"bad\", \"pids\"]\n\
             [source]\nkind = \"github\"\nurl = \"{}\"\nrepo = \"owner/web\"",
            world.server.url("")
        );
        let services = format!(
            "control = \"child\"\nstart = \"exec python3 app.py {port}\"\n\
             health_url = \"http://127.0.0.1:{port}/\""
        );
        world.configure(&launcher, "web = { upgrade = true }", &services);
        fs::write(world.opt().join("app.py"), app("1.0.0")).unwrap();
        fs::write(world.opt().join("bad"), "").unwrap();
        Self { world, port }
    }

    fn offer(&self, version: &str) {
        let built = Package::new(version)
            .file("app.py", app(version))
            .build_tar("owner-web-0123abc/", gzip);
        let release = forge::release(&self.world, REPO, version, &built.bytes);
        forge::announce(&self.world, REPO, &[release]);
    }

    fn upgrade(&self, version: &str) -> Value {
        let url = self.world.server.url(&forge::tarball(REPO, version));
        let order = json!({"download_url": url});
        self.world.post("/upgrade/api/start-upgrade", &order)
    }

    /// Which version answers; `None`: none does.
    fn answers(&self) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let (_, body) = text.split_once("\r\n\r\n")?;
        Some(body.to_owned())
    }

    #[track_caller]
    fn wait_for(&self, version: Option<&str>) {
        let answers = || self.answers().as_deref() == version;
        let instead = || {
            format!(
                "{version:?} instead of {:?}\n{}",
                self.answers(),
                self.world.log()
            )
        };
        until(answers, instead);
    }

    /// The process that has started last.
    fn last(&self) -> String {
        let pids = fs::read_to_string(self.world.opt().join("pids")).unwrap();
        pids.lines().next_back().unwrap().to_owned()
    }

    fn kill(pid: &str) {
        let killed = std::process::Command::new("kill")
            .args(["-KILL", pid])
            .status();
        assert!(killed.unwrap().success());
    }
}

impl Drop for App {
    /// What a test that has failed leaves running would keep its output open.
    fn drop(&mut self) {
        let pids = fs::read_to_string(self.world.opt().join("pids")).unwrap_or_default();
        let _ = std::process::Command::new("kill")
            .arg("-KILL")
            .args(pids.lines())
            .stderr(std::process::Stdio::null())
            .status();
    }
}

#[test]
fn it_starts_with_the_updater_is_upgraded_led_back_and_ends_with_it() {
    let mut app = App::new();
    app.offer("1.1.0");
    app.world.start();
    app.wait_for(Some("1.0.0"));
    fs::write(app.world.opt().join("bad"), "1.1.0").unwrap();
    let failed = app.upgrade("1.1.0");
    assert_eq!(failed["success"], false, "{failed}");
    let message = failed["message"].as_str().unwrap();
    assert!(message.contains("app has failed"), "{message}");
    assert_eq!(app.answers().as_deref(), Some("1.0.0"));
    fs::write(app.world.opt().join("bad"), "").unwrap();
    let done = app.upgrade("1.1.0");
    assert_eq!(done["success"], true, "{done}");
    assert_eq!(app.answers().as_deref(), Some("1.1.0"));
    // It is started again when it dies.
    let last = app.last();
    App::kill(&last);
    app.wait_for(None);
    app.wait_for(Some("1.1.0"));
    assert_ne!(app.last(), last);
    // Also while something is fetched, here by an updater that goes on with it.
    app.offer("1.2.0");
    let path = &forge::tarball(REPO, "1.2.0");
    app.world.server.replace(path, Reply::status(200).silent());
    let origin = format!("Origin: http://{}", app.world.address());
    app.world.send("POST", "/upgrade/start", &[&origin], "");
    app.world.wait_for("downloading");
    let last = app.last();
    App::kill(&last);
    app.wait_for(None);
    app.wait_for(Some("1.1.0"));
    app.world.terminate();
    assert_eq!(app.answers(), None);
    app.world.start();
    app.wait_for(Some("1.1.0"));
    assert_eq!(app.world.progress()["data"]["stage"], "downloading");
    app.world.terminate();
    assert_eq!(app.answers(), None);
}

#[test]
fn one_that_a_killed_updater_has_left_is_taken_over() {
    let mut app = App::new();
    app.offer("1.1.0");
    app.world.start();
    app.wait_for(Some("1.0.0"));
    let left = app.last();
    app.world.kill();
    assert_eq!(app.answers().as_deref(), Some("1.0.0"));
    app.world.start();
    until(|| app.last() != left, || app.world.log());
    app.wait_for(Some("1.0.0"));
    // Killed in the middle: the version before is back, and runs.
    app.world.terminate();
    app.world
        .start_with(&[("CASTOFF_FAIL", "commit.rename=kill")]);
    app.wait_for(Some("1.0.0"));
    let origin = format!("Origin: http://{}", app.world.address());
    let _answer = app.world.begin("POST", "/upgrade/start", &[&origin], "");
    app.world.wait_for_end();
    app.world.start();
    app.world.wait_for("failed");
    app.wait_for(Some("1.0.0"));
    // From a shell it cannot be upgraded: it is not the shell's child.
    let refused = app.world.command(&["update"]).output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("UPDATE_RUNNING"));
    app.world.terminate();
    // Without the updater it can; nothing is left running.
    let done = app.world.command(&["update"]).output().unwrap();
    assert!(done.status.success(), "{done:?}");
    assert_eq!(app.answers(), None);
    app.world.start();
    app.wait_for(Some("1.1.0"));
}
