//! The publisher's side of the demo: a release server on loopback, and what is published there.
//!
//! All of it is this executable once more, as people run it: `castoff serve`, `castoff publish`.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::{APP, ENTRY, Result, tool};

/// A running release server. Dropped, it is ended, and its address refuses connections from then on.
pub(super) struct Site {
    home: PathBuf,
    address: String,
    token: String,
    server: Child,
}

impl Site {
    /// Starts a server in a folder of the demo's own.
    pub(super) fn start(home: &Path) -> Result<Self> {
        let data = home.join("server");
        let serve = || -> Result<Command> {
            let mut command = Command::new(std::env::current_exe()?);
            command
                .args(["serve", "--data"])
                .arg(&data)
                .env("RUST_LOG", "warn");
            // The demo's server is its own, whatever the environment says.
            command.env_remove("DATABASE_URL").current_dir(home);
            Ok(command)
        };
        let output = serve()?
            .args(["token", "add", "publisher"])
            .stderr(Stdio::null())
            .output()?;
        let token = String::from_utf8(output.stdout)?.trim().to_owned();
        let added = serve()?
            .args(["app", "add", APP, "--name", "Demo"])
            .stdout(Stdio::null())
            .status()?;
        if token.is_empty() || !added.success() {
            return Err("the release server cannot be set up".into());
        }
        let mut server = serve()?
            .args(["--listen", "127.0.0.1:0"])
            .stderr(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(server.stderr.take().ok_or("no stderr")?).lines();
        let address = lines.find_map(|line| {
            let line = line.ok()?;
            line.strip_prefix("Listening on ").map(str::to_owned)
        });
        // What it says later is read, so that it can say it.
        std::thread::spawn(move || lines.for_each(drop));
        let Some(address) = address else {
            let _ = server.kill();
            return Err("the release server did not start".into());
        };
        Ok(Self {
            home: home.to_path_buf(),
            address,
            token,
            server,
        })
    }

    /// Where it is.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Publishes a package of the unsigned app, and makes it current.
    pub(super) fn publish(&self, version: &str, package: &[u8]) -> Result {
        let name = self.write("packages", version, package)?;
        self.castoff(&[
            "publish",
            &name,
            "--version",
            version,
            "--notes",
            &format!("* What is new in {version}"),
            "--entry-point",
            ENTRY.0,
            "--activate",
        ])
    }

    /// Publishes a package signed with somebody's key, `known` being one that signed before.
    pub(super) fn publish_signed(
        &self,
        key: &str,
        known: &str,
        version: &str,
        package: &[u8],
    ) -> Result {
        let name = self.write(&format!("{key}-releases"), version, package)?;
        self.castoff(&[
            "publish",
            &name,
            "--version",
            version,
            "--entry-point",
            ENTRY.0,
            "--activate",
            "--key",
            &format!("{key}.key"),
            "--signed-by",
            &format!("{known}.pub"),
        ])
    }

    /// Changes one bit of the package of a version, where it lies on the server's disk.
    pub(super) fn damage(&self, version: &str) -> Result {
        let packages = self.home.join("server").join("media").join("nuitkal_packs");
        for year in fs::read_dir(packages)? {
            for month in fs::read_dir(year?.path())? {
                for package in fs::read_dir(month?.path())? {
                    let path = package?.path();
                    if path.to_string_lossy().contains(version) {
                        let mut bytes = fs::read(&path)?;
                        bytes[100] ^= 1;
                        fs::write(&path, bytes)?;
                        return Ok(());
                    }
                }
            }
        }
        Err(format!("no package of {version} lies on the server").into())
    }

    fn write(&self, folder: &str, version: &str, package: &[u8]) -> Result<String> {
        let name = format!("{folder}/demo-{version}.zip");
        let path = self.home.join(folder);
        fs::create_dir_all(&path)?;
        fs::write(path.join(format!("demo-{version}.zip")), package)?;
        Ok(name)
    }

    fn castoff(&self, command: &[&str]) -> Result {
        let environment = [("CASTOFF_TOKEN", self.token.as_str())];
        let mut command = command.to_vec();
        command.extend(["--to", &self.address]);
        tool(&self.home, &command, &environment)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
