//! `castoff agent`: the resident updater.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use castoff::config::{self, Config, Places};
use castoff::launcher::logfile;
use castoff::{Error, Result};
use castoff_agent::config::Config as AgentConfig;
use clap::Args;

#[derive(Args)]
pub(crate) struct Agent {
    /// The folder with launcher.toml and agent.toml
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// Where to listen, instead of what is configured
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
}

impl Agent {
    /// Does it, and says so.
    pub(crate) fn run(self) -> ExitCode {
        match self.work() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                line(&format!("{} [{}]", error.chain(), error.code()));
                ExitCode::FAILURE
            }
        }
    }

    fn work(self) -> Result<()> {
        // As it was named, links and all: so do packages name their destinations.
        let home = std::path::absolute(&self.dir).map_err(Error::io("find", &self.dir))?;
        let env = |name: &str| std::env::var(name).ok();
        let engine = Config::load(&home, config::baked(), &env)?;
        let mut own = AgentConfig::read(&home)?;
        if let Some(listen) = self.listen {
            own.listen = listen;
        }
        let scheme = if own.tls.is_some() { "https" } else { "http" };
        let places = Places::find(&engine, &home);
        let log = logfile::install(&places.log_dir, engine.log_level);
        let client = std::path::absolute(&places.client).unwrap_or(places.client);
        castoff_agent::run(own, engine, &client, &|address| {
            line(&format!(
                "Listening on {scheme}://{address}; the log is {}",
                log.display()
            ));
        })?;
        line("The end: nothing is under way.");
        Ok(())
    }
}

/// What people read.
fn line(text: &str) {
    drop(writeln!(io::stderr(), "{text}"));
}
