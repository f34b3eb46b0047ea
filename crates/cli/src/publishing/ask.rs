//! Passphrases: from the environment, or asked for on the terminal, where nobody sees them typed.

use std::io::{self, IsTerminal as _};
use std::path::Path;

use castoff_publish::{Error, Result};

/// For scripts: the passphrase of every key that has one.
const VARIABLE: &str = "CASTOFF_PASSPHRASE";

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
