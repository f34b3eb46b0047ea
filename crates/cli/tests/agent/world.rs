//! A device: its folder, its services, and the updater that runs there.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use castoff_testkit::http::{Reply, Server, Tls};
use castoff_testkit::package::RawEntry;
use castoff_testkit::package::RawZip;
use castoff_testkit::until;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Where reports go.
const REPORTS: &str = "/api/v1.0/ota/report";

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// A `systemctl` that keeps its services in files: `run/NAME` holds how one is, `calls` what was asked.
/// `faults` holds lines of `WHAT NAME VERSION`: what goes wrong with which service in which version. As with
/// the real one, a service that has failed is not started before that is forgiven.
const SYSTEMCTL: &str = r#"#!/bin/sh
home=$(dirname "$0")
echo "$1 $2" >> "$home/calls"
now=$(readlink "$home/opt/versions/current" || cat "$home/opt/VERSION" 2>/dev/null ||
    sed -n 's/.*"version": *"v\{0,1\}\([^"]*\)".*/v\1/p' "$home/opt/local_version.json" 2>/dev/null)
does() { grep -q -x -e "$1 $2 $now" -e "$1 $2 any" "$home/faults" 2>/dev/null; }
state() { cat "$home/run/$1" 2>/dev/null || echo inactive; }
case $1 in
    stop)
        does hang "$2" && sleep 60
        does stays "$2" || [ "$(state "$2")" = failed ] || echo inactive > "$home/run/$2" ;;
    reset-failed)
        [ "$(state "$2")" != failed ] || echo inactive > "$home/run/$2" ;;
    start)
        [ "$(state "$2")" != failed ] || { echo "$2 is started too often" >&2; exit 1; }
        does refuses "$2" && { echo "Job for $2 failed" >&2; exit 1; }
        if does dies "$2"; then echo failed > "$home/run/$2"; else echo active > "$home/run/$2"; fi ;;
    is-active)
        echo "$(state "$2")"
        [ "$(state "$2")" = active ] ;;
    is-system-running)
        cat "$home/system" 2>/dev/null || echo running ;;
    show)
        if does unknown "$2"; then echo LoadState=not-found; else echo LoadState=loaded; fi
        echo UnitFileState=enabled ;;
esac
"#;

pub(crate) struct World {
    pub(crate) server: Server,
    folder: TempDir,
    agent: Option<Running>,
}

struct Running {
    child: Child,
    address: String,
}

/// An answer as it came; the names of its headers in lower case.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// A module of a package: name, where it goes, content, service and order.
pub(crate) struct Module<'a> {
    pub(crate) name: &'a str,
    pub(crate) dst: &'a str,
    pub(crate) content: String,
    pub(crate) service: Option<(&'a str, i64)>,
    pub(crate) commands: Vec<String>,
}

impl World {
    /// A device on which nothing is installed.
    pub(crate) fn new() -> Self {
        Self::with("", "")
    }

    /// The same with more in launcher.toml and agent.toml.
    pub(crate) fn with(launcher: &str, agent: &str) -> Self {
        let world = Self::bare();
        let device =
            "app = \"org.castoff.device\"\nlayout = \"snapshot\"\nsource.kind = \"pushed\"";
        world.configure(&format!("{device}\n{launcher}"), agent, "");
        world
    }

    /// One without a configuration.
    pub(crate) fn bare() -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let server = Server::start();
        server.route(REPORTS, Reply::json("{}"));
        let world = Self {
            server,
            folder,
            agent: None,
        };
        fs::create_dir_all(world.opt()).unwrap();
        fs::create_dir_all(world.home().join("run")).unwrap();
        let systemctl = world.home().join("systemctl");
        fs::write(&systemctl, SYSTEMCTL).unwrap();
        fs::set_permissions(&systemctl, fs::Permissions::from_mode(0o755)).unwrap();
        world
    }

    /// Writes launcher.toml, with what every device of the tests has, and agent.toml.
    pub(crate) fn configure(&self, launcher: &str, agent: &str, services: &str) {
        let text = format!(
            "client_dir = \".\"\nlog_dir = \"../logs\"\nlog_level = \"debug\"\nnetwork.retries = 1\n{launcher}\n"
        );
        self.write(&text, agent, services);
    }

    /// Writes launcher.toml, and agent.toml with more for it and its services.
    pub(crate) fn write(&self, launcher: &str, agent: &str, services: &str) {
        fs::write(self.opt().join("launcher.toml"), launcher).unwrap();
        let text = format!(
            "listen = \"127.0.0.1:0\"\nreport_url = \"{}\"\n{agent}\n[services]\nsystemctl = \"{}\"\n\
             stop_timeout = 2\nstart_timeout = 5\nsteady = 50\nalarm = \"echo $CASTOFF_REASON > {}\"\n{services}\n",
            self.server.url(REPORTS),
            self.home().join("systemctl").display(),
            self.home().join("alarm").display(),
        );
        fs::write(self.opt().join("agent.toml"), text).unwrap();
    }

    /// Has the configuration name the services too, which packages do otherwise.
    pub(crate) fn name_services(&self) {
        self.reconfigure(
            "[services]\n",
            "[services]\nunits = [\"worker\", \"device-api\"]\n",
        );
    }

    /// Has the configuration name an address to listen at.
    pub(crate) fn listen_at(&self, address: &str) {
        self.reconfigure("127.0.0.1:0", address);
    }

    fn reconfigure(&self, from: &str, to: &str) {
        let path = self.opt().join("agent.toml");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(&path, text.replace(from, to)).unwrap();
    }

    pub(crate) fn home(&self) -> &Path {
        self.folder.path()
    }

    /// The folder of the app, as /opt/tope is.
    pub(crate) fn opt(&self) -> PathBuf {
        self.home().join("opt")
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_castoff"));
        command
            .args(args)
            .current_dir(self.opt())
            .env("HOME", self.home())
            .env("LC_ALL", "C")
            .env_remove("http_proxy")
            .env_remove("HTTP_PROXY");
        command
    }

    /// Starts the updater.
    pub(crate) fn start(&mut self) -> &mut Self {
        self.start_with(&[])
    }

    /// The same with more in its environment.
    pub(crate) fn start_with(&mut self, environment: &[(&str, &str)]) -> &mut Self {
        let mut child = self
            .command(&["agent"])
            .envs(environment.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let first = lines.next().unwrap().unwrap();
        let address = first.split("://").nth(1);
        let address = address.unwrap_or_else(|| panic!("{first}"));
        let address = address.split(';').next().unwrap().to_owned();
        // What it says at the end has to go somewhere.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        self.agent = Some(Running { child, address });
        self
    }

    pub(crate) fn address(&self) -> &str {
        &self.agent.as_ref().unwrap().address
    }

    pub(crate) fn id(&self) -> u32 {
        self.agent.as_ref().unwrap().child.id()
    }

    /// Kills the updater.
    pub(crate) fn kill(&mut self) {
        let mut running = self.agent.take().unwrap();
        running.child.kill().unwrap();
        running.child.wait().unwrap();
    }

    /// Waits until the updater has ended by itself.
    #[track_caller]
    pub(crate) fn wait_for_end(&mut self) {
        self.ended();
    }

    fn ended(&mut self) -> ExitStatus {
        let mut running = self.agent.take().unwrap();
        let mut status = None;
        let mut ended = || {
            status = running.child.try_wait().unwrap();
            status.is_some()
        };
        until(&mut ended, || format!("the end\n{}", self.log()));
        status.unwrap()
    }

    /// Tells it to end, and waits for that.
    #[track_caller]
    pub(crate) fn terminate(&mut self) {
        let id = self.id().to_string();
        let told = Command::new("kill").args(["-TERM", &id]).status().unwrap();
        assert!(told.success());
        let ended = self.ended();
        assert!(ended.success(), "{ended}\n{}", self.log());
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        self.call("GET", path, None).1
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Value {
        self.call("POST", path, Some(&body.to_string())).1
    }

    /// Sends a request and does not wait for its answer, which comes by what is returned.
    pub(crate) fn begin(
        &self,
        method: &str,
        path: &str,
        headers: &[&str],
        body: &str,
    ) -> TcpStream {
        let address = self.address();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let headers = headers
            .iter()
            .fold(String::new(), |all, it| all + it + "\r\n");
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\n{headers}Content-Length: {length}\r\n\
             Connection: close\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).unwrap();
        stream
    }

    /// Sends a request, and gives what is answered until the connection ends.
    pub(crate) fn send(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
        let mut answer = String::new();
        let mut stream = self.begin(method, path, headers, body);
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        Answer {
            status,
            head: head.to_ascii_lowercase(),
            body: body.to_owned(),
        }
    }

    /// Status and document of an answer.
    pub(crate) fn call(&self, method: &str, path: &str, body: Option<&str>) -> (u16, Value) {
        self.call_as(method, path, body, "none")
    }

    /// The same with a word of who calls.
    pub(crate) fn call_as(
        &self,
        method: &str,
        path: &str,
        body: Option<&str>,
        authorization: &str,
    ) -> (u16, Value) {
        let authorization = format!("Authorization: {authorization}");
        let headers = ["Content-Type: application/json", &authorization];
        let answer = self.send(method, path, &headers, body.unwrap_or_default());
        let document = serde_json::from_str(&answer.body);
        let document = document.unwrap_or_else(|error| panic!("{error}: {answer:?}"));
        (answer.status, document)
    }

    /// What curl makes of the answer over TLS.
    pub(crate) fn progress_by_tls(&self, tls: &Tls) -> Output {
        let url = format!("https://{}/api/v1.0/progress", self.address());
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--noproxy", "*", "--cacert"]);
        curl.args([tls.ca_pem_path.as_os_str(), url.as_ref()]);
        curl.output().unwrap()
    }

    pub(crate) fn progress(&self) -> Value {
        self.get("/api/v1.0/progress")
    }

    /// Waits for a stage, and returns the progress.
    #[track_caller]
    pub(crate) fn wait_for(&self, stage: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let now = self.progress();
            let at = now["data"]["stage"].as_str().unwrap();
            if at == stage {
                return now;
            }
            let ended = matches!(at, "failed" | "success" | "idle" | "toInstall");
            assert!(
                Instant::now() < deadline && !(ended && stage != at && at == "failed"),
                "{now} while waiting for {stage}\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A package with a manifest.
    pub(crate) fn package(&self, version: &str, modules: &[Module<'_>]) -> Vec<u8> {
        let mut list = Vec::new();
        let mut entries = Vec::new();
        for module in modules {
            let src = format!("modules/{}", module.name);
            let mut entry = json!({
                "name": module.name, "src": src, "dst": self.opt().join(module.dst),
            });
            if let Some((service, order)) = module.service {
                entry["process_name"] = service.into();
                entry["restart_order"] = order.into();
            }
            if !module.commands.is_empty() {
                entry["post_cmds"] = module.commands.clone().into();
            }
            list.push(entry);
            entries.push(RawEntry::deflated(&src, &module.content).mode(0o755));
        }
        let manifest = json!({"version": version, "modules": list}).to_string();
        entries.push(RawEntry::deflated("manifest.json", manifest));
        RawZip::of(entries).build()
    }

    /// Serves a package, and says how it is ordered.
    pub(crate) fn order(&self, version: &str, package: &[u8]) -> Value {
        let path = format!("/{version}.zip");
        self.server
            .replace(&path, Reply::file(package).etag(&format!("\"{version}\"")));
        json!({
            "version": version, "package_url": self.server.url(&path),
            "package_name": format!("{version}.zip"), "package_size": package.len(),
            "package_md5": md5(package),
        })
    }

    /// The app in a version: a program and its service, and one that few versions bring.
    pub(crate) fn app(&self, version: &str) -> Vec<u8> {
        self.package(version, &[api(version), worker(version)])
    }

    /// Has a version fetched, and waits.
    pub(crate) fn fetch(&self, version: &str, package: &[u8]) {
        let order = self.order(version, package);
        let answer = self.post("/api/v1.0/download", &order);
        assert_eq!(answer, json!({"code": 200, "msg": "success", "data": null}));
        self.wait_for("toInstall");
    }

    /// Has it installed; returns the answer at once.
    pub(crate) fn install(&self, version: &str) {
        let answer = self.post("/api/v1.0/update", &json!({"version": version}));
        assert_eq!(answer, json!({"code": 200, "msg": "success", "data": null}));
    }

    /// A version that is installed and runs.
    pub(crate) fn bring(&self, version: &str) {
        self.fetch(version, &self.app(version));
        self.install(version);
        self.wait_for("success");
    }

    pub(crate) fn link(&self, name: &str) -> Option<String> {
        let target = fs::read_link(self.opt().join("versions").join(name)).ok()?;
        Some(target.to_string_lossy().into_owned())
    }

    /// What a file of the current version holds.
    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.opt().join("versions/current").join(path)).unwrap_or_default()
    }

    /// How a service is.
    pub(crate) fn state(&self, service: &str) -> String {
        let text = fs::read_to_string(self.home().join("run").join(service));
        text.unwrap_or_default().trim().to_owned()
    }

    /// What goes wrong from now on.
    pub(crate) fn faults(&self, lines: &[&str]) {
        fs::write(self.home().join("faults"), lines.join("\n") + "\n").unwrap();
    }

    /// How the whole system is, as systemd would say it.
    pub(crate) fn system(&self, word: &str) {
        fs::write(self.home().join("system"), word).unwrap();
    }

    /// What `systemctl` was told to stop and to start; forgotten then.
    pub(crate) fn calls(&self) -> Vec<String> {
        let path = self.home().join("calls");
        let text = fs::read_to_string(&path).unwrap_or_default();
        let _ = fs::remove_file(path);
        let changes = |line: &&str| line.starts_with("stop ") || line.starts_with("start ");
        let told = text.lines().filter(changes);
        told.map(str::to_owned).collect()
    }

    /// The reports until now.
    pub(crate) fn reports(&self) -> Vec<Value> {
        let requests = self.server.requests();
        let reports = requests.iter().filter(|it| it.path() == REPORTS);
        reports
            .map(|it| serde_json::from_slice(&it.body).unwrap())
            .collect()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.home().join("logs/castoff.log")).unwrap_or_default()
    }

    pub(crate) fn alarm(&self) -> Option<String> {
        fs::read_to_string(self.home().join("alarm")).ok()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn api(version: &str) -> Module<'static> {
    Module {
        name: "device-api",
        dst: "bin/device-api",
        content: format!("api {version}"),
        service: Some(("device-api", 2)),
        commands: Vec::new(),
    }
}

pub(crate) fn worker(version: &str) -> Module<'static> {
    Module {
        name: "worker",
        dst: "bin/worker",
        content: format!("worker {version}"),
        service: Some(("worker", 1)),
        commands: Vec::new(),
    }
}

/// MD5 in hexadecimal, by a program that everybody has.
pub(crate) fn md5(bytes: &[u8]) -> String {
    use std::io::Write as _;
    let mut child = Command::new("md5sum")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap()[..32].to_owned()
}
