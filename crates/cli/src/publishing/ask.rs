//! Questions, on a terminal and never elsewhere; and passphrases: from the environment, or asked for
//! where nobody sees them typed.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;

use castoff_publish::{Error, Result};

/// For scripts: the passphrase of every key that has one.
const VARIABLE: &str = "CASTOFF_PASSPHRASE";

/// What was said, or else what a person answers. `flag` says it too.
pub(super) fn text(said: Option<String>, question: &str, flag: &str) -> Result<String> {
    let text = match said {
        Some(text) => text,
        None => answer(&format!("{question}: "), flag)?,
    };
    if text.is_empty() {
        return Err(unanswered(question, flag));
    }
    Ok(text)
}

/// What a person answers; without a word, yes.
pub(super) fn yes(question: &str, flag: &str) -> Result<bool> {
    match answer(&format!("{question} [Y/n]? "), flag)?
        .to_lowercase()
        .as_str()
    {
        "" | "y" | "yes" => Ok(true),
        "n" | "no" => Ok(false),
        _ => Err(unanswered(question, flag)),
    }
}

fn answer(prompt: &str, flag: &str) -> Result<String> {
    if !io::stdin().is_terminal() {
        return Err(unanswered(prompt, flag));
    }
    let io = |source| {
        Error::Engine(castoff::Error::Io {
            operation: "ask on",
            path: "the terminal".into(),
            source,
        })
    };
    write!(io::stderr(), "{prompt}").map_err(io)?;
    let mut line = String::new();
    io::stdin().read_line(&mut line).map_err(io)?;
    Ok(line.trim().to_owned())
}

fn unanswered(question: &str, flag: &str) -> Error {
    super::request(format!("say with {flag}: {question}"))
}

/// The passphrase of a key.
pub(super) fn passphrase(key: &Path) -> Result<String> {
    match from_environment() {
        Some(passphrase) => Ok(passphrase),
        None => prompt(&format!("Passphrase of {}: ", key.display()), key, ""),
    }
}

/// A passphrase for a key that is being made, typed twice.
pub(super) fn new_passphrase(key: &Path) -> Result<String> {
    const WITHOUT: &str = ", or say --no-passphrase to have the key in a file that anybody can use";
    if let Some(passphrase) = from_environment() {
        return Ok(passphrase);
    }
    let first = prompt(&format!("Passphrase for {}: ", key.display()), key, WITHOUT)?;
    if first.is_empty() {
        return Err(needed(key, WITHOUT));
    }
    if prompt("The same again: ", key, WITHOUT)? != first {
        return Err(Error::PassphraseNeeded {
            problem: "these were two different passphrases".to_owned(),
        });
    }
    Ok(first)
}

/// An empty variable is as good as none.
fn from_environment() -> Option<String> {
    std::env::var(VARIABLE).ok().filter(|text| !text.is_empty())
}

fn prompt(text: &str, key: &Path, or: &str) -> Result<String> {
    if !io::stdin().is_terminal() {
        return Err(needed(key, or));
    }
    rpassword::prompt_password(text).map_err(|source| {
        Error::Engine(castoff::Error::Io {
            operation: "ask on the terminal for",
            path: key.to_path_buf(),
            source,
        })
    })
}

fn needed(key: &Path, or: &str) -> Error {
    Error::PassphraseNeeded {
        problem: format!(
            "{} needs a passphrase: type it on a terminal, or put it into {VARIABLE}{or}",
            key.display()
        ),
    }
}
