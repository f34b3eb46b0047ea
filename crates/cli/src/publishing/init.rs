//! `castoff init`.

use std::path::PathBuf;

use castoff_publish::Result;
use castoff_publish::init::{Answers, Beginning};
use clap::Args;

use super::{ask, say};

/// Asks for what was not said, on a terminal.
#[derive(Args)]
pub(crate) struct Init {
    /// The folder for the files
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// The app, such as com.example.client
    #[arg(long, value_name = "ID")]
    app: Option<String>,
    /// The app's name as people know it; else the app
    #[arg(long)]
    name: Option<String>,
    /// Where launchers find updates: an address (https://...), or a folder
    #[arg(long, value_name = "URL|FOLDER")]
    source: Option<String>,
    /// What to start, in the package
    #[arg(long, value_name = "PATH")]
    entry_point: Option<String>,
    /// Where `castoff publish` is to publish: a folder, s3://BUCKET/FOLDER, or https://HOST of a release
    /// server
    #[arg(long, value_name = "PLACE")]
    to: Option<String>,
    /// Make a key pair, and have launchers take only what is signed
    #[arg(long, conflicts_with = "no_sign")]
    sign: bool,
    /// Make no key pair: updates are as safe as the server and the connection to it
    #[arg(long)]
    no_sign: bool,
    /// Do not encrypt the secret key
    #[arg(long)]
    no_passphrase: bool,
}

impl Init {
    pub(super) fn run(self) -> Result<()> {
        let app = ask::text(
            self.app,
            "The app's identity, such as com.example.client",
            "--app",
        )?;
        let source = ask::text(
            self.source,
            "Where launchers find updates: an address (https://...), or a folder",
            "--source",
        )?;
        let entry_point = ask::text(
            self.entry_point,
            "What to start, in the app's folder, such as main.bin",
            "--entry-point",
        )?;
        let sign = match (self.sign, self.no_sign) {
            (false, false) => ask::yes(
                "Sign releases, so that launchers take nobody else's",
                "--sign or --no-sign",
            )?,
            (sign, _) => sign,
        };
        let answers = Answers {
            app,
            name: self.name,
            source,
            entry_point,
            to: self.to,
            sign,
        };
        let beginning = Beginning::new(&self.dir, answers.clone())?;
        let passphrase = match &beginning.pair {
            Some(pair) if !self.no_passphrase => Some(ask::new_passphrase(&pair.secret)?),
            _ => None,
        };
        let written = beginning.write(passphrase)?;
        let pair = beginning.pair.as_ref();
        say::begun(&written, pair, self.no_passphrase, &answers, &self.dir);
        Ok(())
    }
}
