//! `castoff demo`: the life of an app on loopback, from nothing, in a temporary folder.
//!
//! Every start is a real one: this executable runs itself as `castoff run`, which does what the
//! launcher does on a double-click, and publishes to `castoff serve`.

mod site;

use std::error::Error;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use castoff::release::{Commands, FILE_LIST_NAME, FileList, Listed};
use castoff::trust::Sha256;
use site::Site;
use zip::write::SimpleFileOptions;

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

/// The demo's app.
const APP: &str = "org.castoff.demo";

/// It is a script, so that it needs nothing but the system.
const ENTRY: (&str, &str) = if cfg!(windows) {
    ("run.bat", include_str!("../../../../assets/demo/run.bat"))
} else {
    ("run.sh", include_str!("../../../../assets/demo/run.sh"))
};

/// With this file beside it, the app crashes at its start.
const CRASH: (&str, &str) = ("crash", "");

/// Plays the demo and tells it on standard output.
pub(crate) fn run() -> ExitCode {
    match play() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            drop(writeln!(io::stderr(), "The demo could not go on: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn play() -> Result {
    let folder = tempfile::tempdir()?;
    let home = folder.path();
    let client = home.join("client");
    let site = Site::start(home)?;
    let config = format!(
        "app = \"{APP}\"\nname = \"Demo\"\nlog_dir = \"logs\"\n\n[source]\nurl = \"{}/apps/{APP}/check\"\n\n\
         [run]\ntrial = 1\n",
        site.address()
    );
    std::fs::write(home.join("launcher.toml"), &config)?;
    say(&format!(
        "A release server listens on {}.\nThe launcher's folder holds one file, launcher.toml:\n\n{}",
        site.address(),
        indent(config.trim_end(), "    "),
    ))?;

    step(
        1,
        "First install",
        "Version 1.0.0 is published. Nothing is installed yet.",
    )?;
    publish(
        &site,
        "1.0.0",
        &[
            ("help.txt", "Help of 1.0.0\n"),
            ("old.txt", "Only in 1.0.0\n"),
        ],
    )?;
    start(home)?;
    show(&client)?;

    step(
        2,
        "Update",
        "The user writes a file of their own. Version 1.1.0 is published: help.txt is new, \
         old.txt is gone.",
    )?;
    std::fs::write(client.join("my-notes.txt"), "mine\n")?;
    publish(&site, "1.1.0", &[("help.txt", "Help of 1.1.0\n")])?;
    start(home)?;
    show(&client)?;

    step(
        3,
        "A broken update",
        "Version 1.2.0 is published, but on the server's disk one bit of its package changes.",
    )?;
    publish(&site, "1.2.0", &[("help.txt", "Help of 1.2.0\n")])?;
    site.damage("1.2.0")?;
    start(home)?;
    show(&client)?;

    step(
        4,
        "An update that cannot start",
        "Version 1.3.0 is published, but its entry point is not in the package.",
    )?;
    let package = package("1.3.0", &[("help.txt", "Help of 1.3.0\n")], false)?;
    site.publish("1.3.0", &package)?;
    start(home)?;
    show(&client)?;

    step(
        5,
        "A crash loop, healed",
        "Version 1.4.0 is published, which crashes at every start. It has two attempts; then the \
         version before comes back by itself.",
    )?;
    publish(&site, "1.4.0", &[("help.txt", "Help of 1.4.0\n"), CRASH])?;
    start(home)?;
    say("\n  And stays, although the server still offers 1.4.0:\n")?;
    start(home)?;
    show(&client)?;

    step(6, "Corrected", "Version 1.4.1 is published.")?;
    publish(&site, "1.4.1", &[("help.txt", "Help of 1.4.1\n")])?;
    start(home)?;

    step(
        7,
        "The way back by hand",
        "The user liked 1.1.0 better, and says `castoff rollback`.",
    )?;
    castoff(home, &["rollback"], &[])?;
    start(home)?;
    show(&client)?;

    in_the_background(&site, home, &config)?;
    show(&client)?;

    signed(&site, home, &config)?;
    show(&client)?;

    step(12, "Offline", "The server is switched off.")?;
    drop(site);
    start(home)?;

    say("\nThat was all. The temporary folder is removed again.")?;
    folder.close()?;
    Ok(())
}

/// How long the worker of the demo may take on a busy machine.
const WORKER_PATIENCE: Duration = Duration::from_mins(1);

/// The steps in which the app does not wait for its update.
fn in_the_background(site: &Site, home: &Path, config: &str) -> Result {
    step(
        8,
        "In the background",
        "Updates are looked for while the app runs: launcher.toml says update.when = \"background\". \
         Version 1.4.2 is published. The app starts at once, and 1.4.2 is fetched meanwhile.",
    )?;
    let background = format!("{config}\n[update]\nwhen = \"background\"\n");
    std::fs::write(home.join("launcher.toml"), background)?;
    publish(site, "1.4.2", &[("help.txt", "Help of 1.4.2\n")])?;
    start(home)?;
    let state = home.join("client/.castoff/state.json");
    let deadline = Instant::now() + WORKER_PATIENCE;
    loop {
        // It is replaced at once, so that there is always a whole one.
        let text = std::fs::read(&state)?;
        let state: serde_json::Value = serde_json::from_slice(&text)?;
        if state["pending"]["version"] == "1.4.2" {
            break;
        }
        if Instant::now() > deadline {
            return Err("1.4.2 was not fetched in time".into());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    say("\n  1.4.2 is fetched and verified, and waits.")?;
    step(
        9,
        "And installed at the next start",
        "Nobody is asked: update.when = \"manual\". What waits is installed before the app starts.",
    )?;
    std::fs::write(
        home.join("launcher.toml"),
        format!("{config}\n[update]\nwhen = \"manual\"\n"),
    )?;
    start(home)?;
    std::fs::write(home.join("launcher.toml"), config)?;
    Ok(())
}

/// The steps in which releases are signed, by the publisher and by somebody else.
fn signed(site: &Site, home: &Path, config: &str) -> Result {
    step(
        10,
        "Signed",
        "The publisher makes a key, pins it in launcher.toml, signs 1.5.0, and says that it is \
         current. The launcher asks for the documents from now on.",
    )?;
    tool(home, &["keygen", "publisher", "--no-passphrase"], &[])?;
    let public = std::fs::read_to_string(home.join("publisher.pub"))?;
    let pin = format!(
        "[source]\nkind = \"index\"\nurl = \"{}/apps/{APP}/\"\n\n[trust]\nkeys = [\"{}\"]\n",
        site.address(),
        public.lines().last().unwrap_or_default()
    );
    let (before, _) = config.split_once("[source]").ok_or("no source")?;
    let (_, run) = config.split_once("[run]").ok_or("no run")?;
    std::fs::write(
        home.join("launcher.toml"),
        format!("{before}{pin}\n[run]{run}"),
    )?;
    sign(site, "publisher", "1.5.0")?;
    say(&format!(
        "\n{}\n",
        indent(pin.trim_end(), "    ").replace("    \n", "\n")
    ))?;
    start(home)?;

    step(
        11,
        "A thief has the server",
        "Whoever has broken into it offers 6.6.6, signed with a key of their own.",
    )?;
    tool(home, &["keygen", "thief", "--no-passphrase"], &[])?;
    sign(site, "thief", "6.6.6")?;
    start(home)
}

/// Packs a version, signs it with a key and makes it current.
fn sign(site: &Site, key: &str, version: &str) -> Result {
    let files = [("help.txt", &*format!("Help of {version}\n"))];
    site.publish_signed(key, "publisher", version, &package(version, &files, true)?)
}

/// Runs this executable as a publisher does, in a folder.
fn tool(home: &Path, command: &[&str], environment: &[(&str, &str)]) -> Result {
    say(&format!("    $ castoff {}", command.join(" ")))?;
    let status = Command::new(std::env::current_exe()?)
        .args(command)
        .envs(environment.iter().copied())
        .current_dir(home)
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("castoff {} ended with {status}", command[0]).into())
    }
}

/// Does what a double-click on the launcher does.
fn start(home: &Path) -> Result {
    castoff(home, &["run"], &["--", "--greet", "you"])
}

/// Runs this executable with a command on the launcher's folder.
fn castoff(home: &Path, command: &[&str], args: &[&str]) -> Result {
    let status = Command::new(std::env::current_exe()?)
        .args(command)
        .arg("--dir")
        .arg(home)
        .args(args)
        .status()?;
    say(&format!("    (exit code {})", status.code().unwrap_or(-1)))
}

fn publish(site: &Site, version: &str, files: &[(&str, &str)]) -> Result {
    site.publish(version, &package(version, files, true)?)
}

/// A package with its file list; with the entry point, or without.
fn package(version: &str, files: &[(&str, &str)], with_entry: bool) -> Result<Vec<u8>> {
    let mut files = files.to_vec();
    if with_entry {
        files.push(ENTRY);
    }
    let listed = files.iter().map(|(path, text)| {
        let listed = Listed::File {
            size: text.len() as u64,
            sha256: Sha256::of(text.as_bytes()),
            executable: *path == ENTRY.0,
        };
        Ok(((*path).to_owned().try_into()?, listed))
    });
    let list = FileList {
        castoff: 1,
        version: version.to_owned(),
        whole: true,
        fits: Vec::new(),
        files: listed.collect::<castoff::Result<_>>()?,
        hooks: Commands::default(),
        gone: std::collections::BTreeSet::new(),
    };
    let list = serde_json::to_string(&list)?;
    let mut zip = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
    for (path, text) in files
        .iter()
        .copied()
        .chain([(FILE_LIST_NAME, list.as_str())])
    {
        let mode = if path == ENTRY.0 { 0o755 } else { 0o644 };
        zip.start_file(path, SimpleFileOptions::default().unix_permissions(mode))?;
        zip.write_all(text.as_bytes())?;
    }
    Ok(zip.finish()?.into_inner())
}

/// Shows what is in the client folder.
fn show(client: &Path) -> Result {
    let mut lines = vec!["  The client folder now:".to_owned()];
    list(client, "", &mut lines)?;
    say(&lines.join("\n"))
}

fn list(folder: &Path, prefix: &str, lines: &mut Vec<String>) -> Result {
    let mut entries = std::fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let name = format!("{prefix}{}", entry.file_name().display());
        if name == ".castoff" {
            lines.push(format!("    {:<22} Castoff's own", ".castoff/"));
        } else if prefix == ".backup/" {
            let files = std::fs::read_dir(entry.path())?.count() - 1;
            lines.push(format!(
                "    {:<22} a whole backup: {files} files",
                format!("{name}/")
            ));
        } else if entry.file_type()?.is_dir() {
            list(&entry.path(), &format!("{name}/"), lines)?;
        } else {
            let bytes = std::fs::read(entry.path())?;
            let content = match std::str::from_utf8(&bytes) {
                Ok(text) if text.lines().count() == 1 => text.trim_end().to_owned(),
                Ok(text) if name == "local_version.json" => text.lines().map(str::trim).collect(),
                _ => format!("({} bytes)", bytes.len()),
            };
            let short: String = content.chars().take(72).collect();
            lines.push(format!("    {name:<22} {short}"));
        }
    }
    Ok(())
}

fn step(number: u32, title: &str, text: &str) -> Result {
    say(&format!("\n{number}. {title}\n{}\n", indent(text, "  ")))
}

fn indent(text: &str, by: &str) -> String {
    text.lines()
        .map(|line| format!("{by}{line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn say(text: &str) -> Result {
    writeln!(io::stdout(), "{text}")?;
    Ok(())
}
