//! `castoff serve`: the release server, and what its operator does with it.
//!
//! `castoff serve` alone serves until it is told to end; its subcommands work on the same configuration,
//! also while a server runs.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use castoff_server::config::Config;
use castoff_server::registry::{App, Registry, Role};
use castoff_server::{Error, Result, Server, import, listen, publishing};
use clap::{Args, Subcommand};
use tokio::net::TcpListener;

/// The configuration that is read when it is there and no other is named.
const CONFIG: &str = "serve.toml";

/// Who did what an operator does here, in the audit.
const OPERATOR: &str = "the operator";

/// What is logged unless `RUST_LOG` says otherwise: not what PostgreSQL remarks on tables that are there.
const LOG: &str = "info,sqlx::postgres::notice=warn";

#[derive(Args)]
pub(crate) struct Serve {
    /// The configuration; else serve.toml, where that is there
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to listen, instead of what is configured
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// The folder of the server, instead of what is configured
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Subcommand)]
enum Action {
    /// Apps
    App {
        #[command(subcommand)]
        action: Apps,
    },
    /// Tokens
    Token {
        #[command(subcommand)]
        action: Tokens,
    },
    /// Takes over the apps, versions and files of an installation of the Django server
    ImportDjango {
        /// Its database, a file of SQLite
        #[arg(long, value_name = "FILE")]
        database: PathBuf,
        /// Its MEDIA folder
        #[arg(long, value_name = "DIR")]
        media: PathBuf,
    },
}

#[derive(Subcommand)]
enum Apps {
    /// Registers one
    Add {
        /// The app of launcher.toml, such as com.example.client
        key: String,
        /// Its name for people
        #[arg(long)]
        name: Option<String>,
        /// What it is
        #[arg(long, default_value = "")]
        description: String,
    },
    /// Lists them
    List,
}

#[derive(Subcommand)]
enum Tokens {
    /// Makes one, and prints it: this once
    Add {
        /// Whose it is
        name: String,
        /// What it allows: read, publish or admin
        #[arg(long, default_value = "publish")]
        role: Role,
    },
    /// Lists them
    List,
    /// Makes one void
    Revoke {
        /// Its name
        name: String,
    },
}

impl Serve {
    /// Does it, and says so.
    pub(crate) fn run(self) -> ExitCode {
        match self.work() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                line(&format!("{error} [{}]", error.code()));
                ExitCode::FAILURE
            }
        }
    }

    fn work(self) -> Result<()> {
        let filter = env_logger::Env::default().default_filter_or(LOG);
        // It fails when there is a logger already, which is as good.
        let _ = env_logger::Builder::from_env(filter).try_init();
        let mut config = self.config()?;
        if let Some(listen) = self.listen {
            config.listen = listen;
        }
        if let Some(data) = self.data {
            config.data = data;
        }
        let runtime = tokio::runtime::Runtime::new()
            .map_err(|error| Error::Internal(format!("no threads: {error}")))?;
        runtime.block_on(async {
            match self.action {
                None => serve(config).await,
                Some(action) => operate(config, action).await,
            }
        })
    }

    fn config(&self) -> Result<Config> {
        match &self.config {
            Some(path) => Config::read(path),
            None if Path::new(CONFIG).exists() => Config::read(Path::new(CONFIG)),
            None => Ok(Config::default()),
        }
    }
}

async fn serve(config: Config) -> Result<()> {
    let mut end = std::pin::pin!(castoff_web::end());
    let address = config.listen;
    let scheme = if config.tls.is_some() {
        "https"
    } else {
        "http"
    };
    let server = tokio::select! {
        server = Server::open(config) => server?,
        // A database may be long in coming.
        () = &mut end => return Ok(()),
    };
    let listener = TcpListener::bind(address).await.map_err(|error| {
        Error::request(format!(
            "cannot listen on {address}: {error}; say with --listen, or as `listen` in the configuration, where to"
        ))
    })?;
    let address = listener
        .local_addr()
        .map_err(|error| Error::Internal(error.to_string()))?;
    if server.registry.tokens().await?.is_empty() {
        line("Nobody can publish yet: `castoff serve token add NAME` makes a token.");
    }
    line(&format!("Listening on {scheme}://{address}"));
    listen::serve(server, listener, end).await?;
    line("The end: what was under way has been answered.");
    Ok(())
}

async fn operate(config: Config, action: Action) -> Result<()> {
    match action {
        Action::App { action } => apps(&*Server::open(config).await?, action).await,
        Action::Token { action } => {
            castoff_server::prepare(&config)?;
            tokens(&Registry::open(&config.database()).await?, action).await
        }
        Action::ImportDjango { database, media } => {
            let server = Server::open(config).await?;
            let report = import::django(&server, &database, &media).await?;
            print(&report.to_string());
            Ok(())
        }
    }
}

async fn apps(server: &Server, action: Apps) -> Result<()> {
    match action {
        Apps::Add {
            key,
            name,
            description,
        } => {
            let app = App::new(key, name, description);
            publishing::add_app(server, OPERATOR, &app).await?;
            print(&app.id);
        }
        Apps::List => {
            for app in server.registry.apps().await? {
                print(&format!("{}  {}  {}", app.id, app.key, app.name));
            }
        }
    }
    Ok(())
}

async fn tokens(registry: &Registry, action: Tokens) -> Result<()> {
    match action {
        Tokens::Add { name, role } => {
            let token = publishing::add_token(registry, OPERATOR, &name, role).await?;
            line(&format!(
                "The token of {name} ({}). It is shown this once; keep it like a password:",
                role.as_str()
            ));
            print(&token);
        }
        Tokens::List => {
            for token in registry.tokens().await? {
                let state = if token.revoked.is_some() {
                    "revoked"
                } else {
                    "valid"
                };
                print(&format!(
                    "{}  {}  {state}  since {}",
                    token.name,
                    token.role.as_str(),
                    token.created.format("%Y-%m-%d")
                ));
            }
        }
        Tokens::Revoke { name } => {
            publishing::revoke_token(registry, OPERATOR, &name).await?;
            line(&format!("The token of {name} is void."));
        }
    }
    Ok(())
}

/// What programs read.
fn print(text: &str) {
    drop(writeln!(io::stdout(), "{text}"));
}

/// What people read.
fn line(text: &str) {
    drop(writeln!(io::stderr(), "{text}"));
}
