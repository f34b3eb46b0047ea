//! A running server, and a client for it.
//!
//! The database is SQLite, or, with the feature `postgres`, one of its own in the PostgreSQL whose address
//! `CASTOFF_TEST_POSTGRES` says, such as `postgres://postgres@127.0.0.1:5432`.

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use castoff_server::config::Config;
use castoff_server::registry::{App, Role};
use castoff_server::{Server, listen, publishing, secret};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use ureq::Agent;
use ureq::http::{HeaderMap, Request, Response};

/// How long an answer may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// A server on a port of its own. Dropped, it ends.
pub(crate) struct Site {
    /// What runs, for what is not to be asked over HTTP.
    pub(crate) server: Arc<Server>,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    place: Arc<Place>,
    agent: Agent,
    runtime: Runtime,
    end: Option<oneshot::Sender<()>>,
    served: Option<JoinHandle<()>>,
}

/// What a server leaves behind: its folder and its database.
struct Place {
    folder: TempDir,
    #[cfg(feature = "postgres")]
    database: Option<postgres::Database>,
}

impl Site {
    /// A server as it is unless told otherwise.
    pub(crate) fn start() -> Self {
        Self::with(|_| {})
    }

    /// A server whose configuration is changed so.
    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let place = Place {
            folder: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap(),
            #[cfg(feature = "postgres")]
            database: postgres::Database::new(),
        };
        let mut config = Config {
            data: place.folder.path().join("data"),
            request_log: false,
            ..Config::default()
        };
        #[cfg(feature = "postgres")]
        if let Some(database) = &place.database {
            config.database = Some(database.address());
        }
        change(&mut config);
        Self::serve(config, Arc::new(place))
    }

    /// A further server over the same database and store, whose configuration is changed so.
    pub(crate) fn beside(&self, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = self.server.config.clone();
        change(&mut config);
        Self::serve(config, Arc::clone(&self.place))
    }

    /// Ends it, and starts it again over what it has left.
    pub(crate) fn restart(self) -> Self {
        let (config, place) = (self.server.config.clone(), Arc::clone(&self.place));
        drop(self);
        Self::serve(config, place)
    }

    fn serve(config: Config, place: Arc<Place>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let (server, listener) = runtime.block_on(async {
            let server = Server::open(config).await.unwrap();
            (server, TcpListener::bind("127.0.0.1:0").await.unwrap())
        });
        let address = listener.local_addr().unwrap();
        let (end, ended) = oneshot::channel();
        let serving = listen::serve(Arc::clone(&server), listener, async {
            // Whoever forgets the sender ends it too.
            let _ = ended.await;
        });
        let task = runtime.spawn(async { serving.await.unwrap() });
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .timeout_global(Some(PATIENCE))
            .build()
            .into();
        Self {
            server,
            address,
            place,
            agent,
            runtime,
            end: Some(end),
            served: Some(task),
        }
    }

    /// Waits for something that the server does.
    pub(crate) fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// A folder beside the server's own, which goes with it.
    pub(crate) fn folder(&self) -> &Path {
        self.place.folder.path()
    }

    /// The full address of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Registers an app of this key, which is its name too.
    pub(crate) fn app(&self, key: &str) -> App {
        let app = App::new(key.to_owned(), None, format!("{key} app"));
        self.wait(publishing::add_app(&self.server, "a test", &app))
            .unwrap();
        app
    }

    /// A new token.
    pub(crate) fn token(&self, role: Role) -> String {
        let token = secret::token();
        let name = secret::hex(4);
        self.wait(async {
            let mut change = self.server.registry.change("a test").await.unwrap();
            let digest = secret::digest(&token);
            change.add_token(&name, &digest, role).await.unwrap();
            change.commit().await.unwrap();
        });
        token
    }

    /// `GET` without a token.
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], b"")
    }

    /// `POST` of JSON with a token.
    pub(crate) fn post(&self, path: &str, token: &str, body: &Value) -> Answer {
        let bearer = format!("Bearer {token}");
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-type", "application/json"),
        ];
        self.ask("POST", path, &headers, body.to_string().as_bytes())
    }

    /// `POST` of a form with a token.
    pub(crate) fn post_form(&self, path: &str, token: &str, form: &Form) -> Answer {
        let (bearer, kind) = (format!("Bearer {token}"), Form::kind());
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-type", kind.as_str()),
        ];
        self.ask("POST", path, &headers, &form.body())
    }

    /// Any request. Redirects are answers, and so are errors.
    pub(crate) fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(self.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = if matches!(method, "GET" | "HEAD" | "DELETE") && body.is_empty() {
            self.agent.run(request.body(()).unwrap())
        } else {
            self.agent.run(request.body(body).unwrap())
        };
        Answer::of(response.unwrap())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(end) = self.end.take() {
            let _ = end.send(());
        }
        if let Some(served) = self.served.take() {
            // Connections that a test has left open are not waited for.
            let ended = async {
                tokio::time::timeout(Duration::from_secs(2), served)
                    .await
                    .is_ok()
            };
            self.runtime.block_on(ended);
        }
    }
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    fn of(response: Response<ureq::Body>) -> Self {
        let (parts, mut body) = response.into_parts();
        Self {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: body.with_config().limit(u64::MAX).read_to_vec().unwrap(),
        }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.text()))
    }

    /// A header, which is there.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value
            .unwrap_or_else(|| panic!("no {name}: {self:?}"))
            .to_str()
            .unwrap()
    }

    /// Checks the status, and gives the answer back.
    #[track_caller]
    pub(crate) fn assert(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }

    /// Checks status and JSON, the order of whose keys counts as well.
    #[track_caller]
    pub(crate) fn assert_text(&self, status: u16, text: &str) {
        assert_eq!((self.status, self.text().as_str()), (status, text));
    }
}

/// A form of several parts, as browsers and Python's requests send it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Form(Vec<u8>);

/// What no part has in it.
const BOUNDARY: &str = "----a-boundary-of-the-tests-9f2c";

impl Form {
    /// Its content type.
    pub(crate) fn kind() -> String {
        format!("multipart/form-data; boundary={BOUNDARY}")
    }

    pub(crate) fn text(mut self, name: &str, value: &str) -> Self {
        let head =
            format!("--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n");
        self.0.extend([&head, value, "\r\n"].concat().into_bytes());
        self
    }

    pub(crate) fn file(mut self, name: &str, file: &str, content: &[u8]) -> Self {
        let head = format!(
            "--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"{name}\"; filename=\"{file}\"\r\n\
             content-type: application/octet-stream\r\n\r\n"
        );
        self.0.extend([head.as_bytes(), content, b"\r\n"].concat());
        self
    }

    /// Its bytes.
    pub(crate) fn body(&self) -> Vec<u8> {
        let end = format!("--{BOUNDARY}--\r\n");
        [self.0.as_slice(), end.as_bytes()].concat()
    }
}

#[cfg(feature = "postgres")]
mod postgres {
    use castoff_server::secret;
    use sqlx::{AnyConnection, AssertSqlSafe, Connection as _};

    /// A database of a test, which goes with it.
    pub(super) struct Database {
        server: String,
        name: String,
    }

    impl Database {
        /// Makes one, if the environment says where.
        pub(super) fn new() -> Option<Self> {
            let server = std::env::var("CASTOFF_TEST_POSTGRES").ok()?;
            let server = server.trim_end_matches('/').to_owned();
            let name = format!("castoff_{}", secret::hex(6));
            let database = Self { server, name };
            database.tell(&format!("CREATE DATABASE {}", database.name));
            Some(database)
        }

        pub(super) fn address(&self) -> String {
            format!("{}/{}", self.server, self.name)
        }

        fn tell(&self, statement: &str) {
            sqlx::any::install_default_drivers();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let address = format!("{}/postgres", self.server);
                let mut connection = AnyConnection::connect(&address).await.unwrap();
                sqlx::query(AssertSqlSafe(statement.to_owned()))
                    .execute(&mut connection)
                    .await
                    .unwrap();
            });
        }
    }

    impl Drop for Database {
        fn drop(&mut self) {
            // A server that was cut off may be connected still.
            self.tell(&format!("DROP DATABASE {} WITH (FORCE)", self.name));
        }
    }
}
