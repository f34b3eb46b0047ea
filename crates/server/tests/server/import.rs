//! What a Django server has, taken over: databases with the tables that Django makes of the models of both.

use std::fs;
use std::path::{Path, PathBuf};

use castoff_server::import::{self, Report};
use castoff_server::{Error, registry};
use castoff_testkit::package::{Package, sha256};
use serde_json::json;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection as _};

use crate::site::Site;

/// The tables of the first server, in a Django app of that label.
fn first_tables(label: &str) -> String {
    format!(
        "CREATE TABLE \"{label}_app\" (\"id\" varchar(32) NOT NULL PRIMARY KEY, \"name\" varchar(100) NOT NULL \
         UNIQUE, \"description\" text NULL, \"enable_time\" datetime NULL, \"disable_time\" datetime NULL);
         CREATE TABLE \"{label}_clientversion\" (\"id\" integer NOT NULL PRIMARY KEY AUTOINCREMENT, \"version\" \
         varchar(50) NOT NULL, \"file\" varchar(255) NOT NULL, \"entry_point\" varchar(255) NOT NULL, \
         \"file_size\" integer NULL, \"file_hash\" varchar(64) NOT NULL, \"upload_time\" datetime NOT NULL, \
         \"changelog\" text NOT NULL, \"is_active\" bool NOT NULL, \"app_id\" varchar(32) NOT NULL REFERENCES \
         \"{label}_app\" (\"id\") DEFERRABLE INITIALLY DEFERRED);"
    )
}

/// The tables of the later server.
const LATER_TABLES: &str = "
    CREATE TABLE \"nuitkal_pack_server_app\" (\"id\" char(32) NOT NULL PRIMARY KEY, \"name\" varchar(100) NOT \
    NULL UNIQUE, \"description\" text NULL, \"enable_time\" datetime NULL, \"disable_time\" datetime NULL, \
    \"created_at\" datetime NOT NULL, \"updated_at\" datetime NOT NULL);
    CREATE TABLE \"nuitkal_pack_server_versionfile\" (\"id\" varchar(64) NOT NULL PRIMARY KEY, \"file\" \
    varchar(100) NOT NULL, \"name\" varchar(255) NOT NULL, \"size\" bigint NOT NULL, \"created_at\" datetime NOT \
    NULL);
    CREATE TABLE \"nuitkal_pack_server_appversion\" (\"id\" integer NOT NULL PRIMARY KEY AUTOINCREMENT, \
    \"version\" varchar(50) NOT NULL, \"entry_point\" varchar(255) NOT NULL, \"upload_time\" datetime NOT NULL, \
    \"changelog\" text NULL, \"is_active\" bool NOT NULL, \"file_manifest\" text NOT NULL CHECK \
    ((JSON_VALID(\"file_manifest\") OR \"file_manifest\" IS NULL)), \"created_at\" datetime NOT NULL, \"app_id\" \
    char(32) NOT NULL REFERENCES \"nuitkal_pack_server_app\" (\"id\") DEFERRABLE INITIALLY DEFERRED);";

/// What every project of Django's has besides.
const OTHERS: &str = "
    CREATE TABLE \"django_migrations\" (\"id\" integer NOT NULL PRIMARY KEY AUTOINCREMENT, \"app\" varchar(255) \
    NOT NULL, \"name\" varchar(255) NOT NULL, \"applied\" datetime NOT NULL);
    CREATE TABLE \"auth_user\" (\"id\" integer NOT NULL PRIMARY KEY, \"password\" varchar(128) NOT NULL);";

const ID: &str = "0d87e6d0a0cb4f6a9d2b2f9b7a3c1e55";
const UUID: &str = "0d87e6d0-a0cb-4f6a-9d2b-2f9b7a3c1e55";

/// An installation of Django's, beside a server of ours.
struct Django<'a> {
    site: &'a Site,
    database: PathBuf,
    media: PathBuf,
}

impl<'a> Django<'a> {
    fn new(site: &'a Site, tables: &str) -> Self {
        let folder = site.folder().join("django project");
        let media = folder.join("media");
        fs::create_dir_all(&media).unwrap();
        let django = Self {
            site,
            database: folder.join("db.sqlite3"),
            media,
        };
        django.run(OTHERS);
        django.run(tables);
        django
    }

    fn run(&self, statements: &str) {
        let options = SqliteConnectOptions::new()
            .filename(&self.database)
            .create_if_missing(true)
            // So that rows can be there which Django would not have let be.
            .foreign_keys(false);
        self.site.wait(async {
            let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
            sqlx::raw_sql(AssertSqlSafe(statements.to_owned()))
                .execute(&mut connection)
                .await
                .unwrap();
            connection.close().await.unwrap();
        });
    }

    fn media(&self, path: &str, content: &[u8]) {
        let path = path
            .split('/')
            .fold(self.media.clone(), |at, name| at.join(name));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Puts a version of the first server there, with the digest that is given or else its own.
    fn version(&self, label: &str, version: &str, day: u32, active: bool, digest: Option<&str>) {
        let built = package(version).build();
        let file = format!("nuitkal_packs/2026/11/a{version}.zip");
        self.media(&file, &built.bytes);
        let (size, digest) = (built.size, digest.unwrap_or(&built.sha256));
        self.run(&format!(
            "INSERT INTO \"{label}_clientversion\" (version, file, entry_point, file_size, file_hash, upload_time, \
             changelog, is_active, app_id) VALUES ('{version}', '{file}', 'main.py', {size}, '{digest}', \
             '2026-11-{day:02} 02:28:25.475039', 'log {version}', {active}, '{ID}');"
        ));
    }

    /// Puts a file of the later server there.
    fn file(&self, name: &str, content: &[u8]) {
        let (hash, place) = (sha256(content), format!("nuitkal-pack/{name}"));
        self.media(&place, content);
        self.run(&format!(
            "INSERT INTO nuitkal_pack_server_versionfile VALUES ('{hash}', '{place}', '{name}', {}, \
             '2026-11-21 00:00:00');",
            content.len()
        ));
    }

    fn take_over(&self) -> Report {
        self.try_to().unwrap()
    }

    fn try_to(&self) -> Result<Report, Error> {
        let taken = import::django(&self.site.server, &self.database, &self.media);
        self.site.wait(taken)
    }
}

fn package(version: &str) -> Package {
    Package::new(version)
        .file("main.py", format!("print('{version}')"))
        .file("sub/stays.txt", b"the same")
}

fn assert_tidy(site: &Site) {
    let spool = site.server.config.spool();
    let left: Vec<_> = spool
        .read_dir()
        .unwrap()
        .map(|it| it.unwrap().path())
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Everything in a folder, to be compared.
fn contents(folder: &Path) -> castoff_testkit::package::Tree {
    castoff_testkit::package::Tree::read(folder, &[])
}

#[test]
fn the_first_servers_apps_versions_and_files_are_taken_over() {
    let site = Site::start();
    let django = Django::new(&site, &first_tables("client_update"));
    django.run(&format!(
        "INSERT INTO client_update_app VALUES ('{ID}', 'demo', 'demo app', '2026-11-21 02:27:16.722994', NULL);
         INSERT INTO client_update_app VALUES ('{}', '\u{5e94}\u{7528}', NULL, NULL, '2026-11-22 00:00:00');
         INSERT INTO client_update_app VALUES ('by.hand', 'third', '', '2026-11-21 02:27:16', NULL);",
        "ab".repeat(16)
    ));
    // The order in which they were uploaded is that of the times.
    django.version("client_update", "2.0.0", 22, true, None);
    django.version("client_update", "1.0.0", 21, false, None);
    django.version("client_update", "2.1.0", 23, false, Some(&"0".repeat(64)));
    django.version("client_update", "2.2.0", 24, false, None);
    fs::remove_file(django.media.join("nuitkal_packs/2026/11/a2.2.0.zip")).unwrap();
    django.version("client_update", "not a version", 25, false, None);
    django.version("client_update", "2.3.0", 26, false, Some(""));
    django.media("nuitkal_packs/2026/11/evil.zip", b"no zip");
    django.run(&format!(
        "INSERT INTO client_update_clientversion (version, file, entry_point, file_hash, upload_time, changelog, \
         is_active, app_id) VALUES ('3.0.0', 'nuitkal_packs/2026/11/evil.zip', 'main.py', '', \
         '2026-11-27 02:28:25', '', 0, '{ID}'), ('3.1.0', '../../secret.zip', 'main.py', '', \
         '2026-11-28 02:28:25', '', 0, '{ID}'), ('3.2.0', 'nuitkal_packs/2026/11/a1.0.0.zip', '/bin/sh', '', \
         '2026-11-28 02:28:25', '', 0, '{ID}'), ('1.0.0', 'nuitkal_packs/2026/11/a1.0.0.zip', 'main.py', '', \
         '2026-11-21 02:28:25', '', 1, 'gone');"
    ));
    let before = contents(django.database.parent().unwrap());
    let report = django.take_over();
    assert_eq!(report.apps.len(), 3, "{report}");
    assert_eq!(report.versions, ["demo 1.0.0", "demo 2.0.0", "demo 2.3.0"]);
    assert_eq!(report.active, ["demo 2.0.0"]);
    assert_eq!(report.known, 0);
    for (what, why) in [
        ("demo 2.1.0: ", "has the digest"),
        ("demo 2.2.0: ", "is missing"),
        ("demo not a version: ", "version"),
        ("demo 3.0.0: ", "zip"),
        ("demo 3.1.0: ", "no path inside the MEDIA folder"),
        ("demo 3.2.0: ", "no path inside the client folder"),
        ("version 1.0.0 of an app gone: ", "not taken over"),
    ] {
        let line = report.left.iter().find(|line| line.starts_with(what));
        let line = line.unwrap_or_else(|| panic!("{what}: {report}"));
        assert!(line.contains(why), "{line}");
    }
    assert_eq!(report.left.len(), 7, "{report}");
    let text = report.to_string();
    assert!(text.contains("\nNot taken over:\n  "), "{text}");
    // The originals stay as they are.
    let after = contents(django.database.parent().unwrap());
    assert_eq!(after.differences(&before), Vec::<String>::new());

    // Clients go on with the addresses that they know.
    let base = format!("/api/nuitkal_pack/apps/{ID}");
    let app = site.get(&format!("{base}/")).assert(200).json();
    assert_eq!(app["enable_time"], "2026-11-21T02:27:16.722994Z");
    let built = package("2.0.0").build();
    let active = site.get(&format!("{base}/active/")).assert(200).json();
    assert_eq!(active["version"], "2.0.0");
    assert_eq!(active["upload_time"], "2026-11-22T02:28:25.475039Z");
    assert_eq!(active["changelog"], "log 2.0.0");
    assert_eq!(active["entry_point"], "main.py");
    assert_eq!(active["file_hash"], built.sha256);
    let file = active["file"].as_str().unwrap();
    assert_eq!(site.get(file).assert(200).body, built.bytes);
    let list = site.get(&format!("{base}/list/")).assert(200).json();
    let versions: Vec<_> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["version"].as_str().unwrap())
        .collect();
    assert_eq!(versions, ["2.3.0", "2.0.0", "1.0.0"]);
    // Those that are not available are not, and the one that was named by hand keeps its name.
    site.get(&format!("/api/nuitkal_pack/apps/{}/", "ab".repeat(16)))
        .assert(404);
    site.get("/api/nuitkal_pack/apps/by.hand/").assert(200);
    let unavailable = site.get(&format!(
        "/api/nuitkal_pack/apps/{}/?is_available=",
        "ab".repeat(16)
    ));
    assert_eq!(unavailable.json()["name"], "\u{5e94}\u{7528}");
    assert_tidy(&site);
}

#[test]
fn a_second_time_only_what_is_new_is_taken_over() {
    let site = Site::start();
    let django = Django::new(&site, &first_tables("nuitkal_pack_server"));
    django.run(&format!(
        "INSERT INTO nuitkal_pack_server_app VALUES ('{ID}', 'demo', '', '2026-11-21 02:27:16.722994', NULL);"
    ));
    django.version("nuitkal_pack_server", "1.0.0", 21, true, None);
    assert_eq!(django.take_over().versions, ["demo 1.0.0"]);
    let generation = site.wait(site.server.registry.generation()).unwrap();
    let again = django.take_over();
    assert_eq!((again.known, again.left.len()), (2, 0), "{again}");
    assert!(again.to_string().contains("Nothing was added."), "{again}");
    assert_eq!(
        site.wait(site.server.registry.generation()).unwrap(),
        generation
    );

    django.run("UPDATE nuitkal_pack_server_clientversion SET is_active = 0;");
    django.version("nuitkal_pack_server", "1.1.0", 22, true, None);
    let more = django.take_over();
    assert_eq!((more.apps.len(), more.known), (0, 2));
    assert_eq!(more.versions, ["demo 1.1.0"]);
    // What is current here is decided here.
    assert!(more.active.is_empty() && more.left.len() == 1, "{more}");
    assert!(more.left[0].contains("1.0.0 is active here"), "{more}");
    let active = site
        .get(&format!("/api/nuitkal_pack/apps/{ID}/active/"))
        .json();
    assert_eq!(active["version"], "1.0.0");
    // Another package of a version that is here is told of.
    django.run(&format!(
        "UPDATE nuitkal_pack_server_clientversion SET file_hash = '{}' WHERE version = '1.0.0';",
        "1".repeat(64)
    ));
    let other = django.take_over();
    assert!(other.left[0].contains("with another package"), "{other}");
    assert_tidy(&site);
}

#[test]
fn the_later_servers_versions_become_packages_for_all_clients() {
    let site = Site::start();
    let django = Django::new(&site, LATER_TABLES);
    django.run(&format!(
        "INSERT INTO nuitkal_pack_server_app VALUES ('{ID}', 'demo', 'd', '2026-11-21 02:27:16', NULL, \
         '2026-11-20 00:00:00', '2026-11-23 00:00:00');"
    ));
    let files: &[(&str, &[u8])] = &[
        ("main.py", b"print(1)"),
        ("main_H6T0pnq.py", b"print(2)"),
        ("empty file", b""),
        ("lost", b"lost"),
        ("damaged", b"damaged"),
    ];
    for (name, content) in files {
        django.file(name, content);
    }
    django.media("nuitkal-pack/damaged", b"something else");
    fs::remove_file(django.media.join("nuitkal-pack").join("lost")).unwrap();
    let hash = |index: usize| sha256(files[index].1);
    let versions = [
        // With the folder, as the later server lists what a zip has entries for.
        (
            "1.0.0",
            json!({"main.py": hash(0), "sub": hash(2), "sub/empty": hash(2)}),
            0,
        ),
        (
            "2.0.0",
            json!([{"path": "main.py", "hash": hash(1)}, {"path": "new.py", "hash": hash(0)}]),
            1,
        ),
        (
            "2.1.0",
            json!({"main.py": hash(3), "other.py": hash(4), "no.py": "00"}),
            0,
        ),
        ("2.2.0", json!({"../main.py": hash(0)}), 0),
        ("2.3.0", json!("nothing"), 0),
    ];
    for (index, (version, manifest, active)) in versions.iter().enumerate() {
        django.run(&format!(
            "INSERT INTO nuitkal_pack_server_appversion (version, entry_point, upload_time, changelog, is_active, \
             file_manifest, created_at, app_id) VALUES ('{version}', 'main.py', '2026-11-2{index} 10:00:00', NULL, \
             {active}, '{manifest}', '2026-11-2{index} 10:00:00', '{ID}');"
        ));
    }
    let report = django.take_over();
    assert_eq!(report.versions, ["demo 1.0.0", "demo 2.0.0"], "{report}");
    assert_eq!(report.active, ["demo 2.0.0"]);
    assert_eq!(report.left.len(), 3, "{report}");
    let left = |version: &str| {
        let name = format!("demo {version}: ");
        report.left.iter().find(|it| it.starts_with(&name)).unwrap()
    };
    assert!(
        left("2.1.0").contains("main.py: ") && left("2.1.0").contains("is missing"),
        "{report}"
    );
    assert!(
        left("2.1.0").contains("other.py: ") && left("2.1.0").contains("damaged"),
        "{report}"
    );
    assert!(left("2.1.0").contains("no.py: "), "{report}");
    assert!(left("2.3.0").contains("list of files"), "{report}");

    let base = format!("/api/v1/nuitkal_pack/apps/{UUID}");
    let app = site.get(&format!("{base}/")).assert(200).json();
    assert_eq!(
        (&app["id"], &app["created_at"]),
        (&json!(UUID), &json!("2026-11-20T00:00:00.000000Z"))
    );
    let check = site
        .get(&format!("{base}/check-update/?version=1.0.0"))
        .assert(200)
        .json();
    let paths = |list: &str| -> Vec<String> {
        let files = check[list].as_array().unwrap();
        files
            .iter()
            .map(|it| it["path"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        (paths("add"), paths("keep"), paths("delete")),
        (
            vec!["new.py".to_owned()],
            vec!["main.py".to_owned()],
            vec!["sub/empty".to_owned()]
        )
    );
    let url = check["keep"][0]["url"].as_str().unwrap();
    assert_eq!(site.get(url).assert(200).body, b"print(2)");
    let active = site
        .get(&format!("/api/nuitkal_pack/apps/{ID}/active/"))
        .assert(200)
        .json();
    let zip = site.get(active["file"].as_str().unwrap()).assert(200).body;
    assert_eq!(sha256(&zip), active["file_hash"]);
    assert_eq!(active["upload_time"], "2026-11-21T10:00:00.000000Z");
    assert_eq!(django.take_over().known, 3);
    assert_tidy(&site);
}

#[test]
fn what_is_no_such_database_is_told_with_what_was_looked_for() {
    let site = Site::start();
    let django = Django::new(&site, "");
    let told = |expected: &[&str]| {
        let error = django.try_to().unwrap_err();
        assert_eq!(error.code(), "REQUEST_INVALID");
        for text in expected {
            assert!(error.to_string().contains(text), "{text}: {error}");
        }
    };
    told(&[
        "file_manifest",
        "file_hash",
        "enable_time",
        "auth_user, django_migrations",
    ]);
    fs::write(
        &django.database,
        "no database at all, but longer than its head is",
    )
    .unwrap();
    told(&["cannot be read as a database"]);
    fs::remove_file(&django.database).unwrap();
    told(&["cannot be read as a database"]);
    assert!(!django.database.exists(), "it was made");
    assert!(site.wait(site.server.registry.apps()).unwrap().is_empty());
}

#[test]
fn a_name_that_is_taken_here_is_no_hindrance_and_a_long_description_neither() {
    let site = Site::start();
    let here: registry::App = site.app("demo");
    let django = Django::new(&site, &first_tables("a"));
    django.run(&format!(
        "INSERT INTO a_app VALUES ('{ID}', 'demo', '{}', '2026-11-21 02:27:16.722994', NULL);",
        "\u{8bf4}".repeat(2001)
    ));
    django.version("a", "1.0.0", 21, true, None);
    let report = django.take_over();
    assert_eq!(report.active, ["demo 1.0.0"], "{report}");
    assert!(
        report.left[0].starts_with("the end of the description of demo"),
        "{report}"
    );
    let app = site.wait(site.server.app(ID)).unwrap();
    assert_eq!((app.key.as_str(), app.name.as_str()), (ID, "demo"));
    assert_eq!(site.wait(site.server.app("demo")).unwrap().id, here.id);
}
