use std::collections::BTreeSet;

use toml::de::{DeTable, DeValue};

use super::keys::{KEYS, Key, find};
use super::*;

const URL: &str = "source.url = 'https://updates.example.com/api/'\n";

const PUBLIC_KEY: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
const OTHER_KEY: &str = "RWS+hQ+RNzFO7qhmf3lLfGfaxiNt5kK1W6nrsafaeKVhcAxgk5h1/asG";

/// Loads from a launcher.toml with that text.
fn load(text: &str) -> Result<Config> {
    load_with(Some(text), None, &[])
}

fn load_with(file: Option<&str>, baked: Option<&str>, env: &[(&str, &str)]) -> Result<Config> {
    let folder = tempfile::tempdir().unwrap();
    if let Some(text) = file {
        fs::write(folder.path().join(FILE_NAME), text).unwrap();
    }
    Config::load(folder.path(), baked, &|name| {
        let found = env.iter().find(|(variable, _)| *variable == name);
        found.map(|(_, value)| (*value).to_owned())
    })
}

/// Place (after the folder), problem and nearest of a text that is refused.
fn refused(text: &str) -> (String, String, Option<String>) {
    match load(text) {
        Err(Error::ConfigInvalid {
            place,
            problem,
            nearest,
        }) => {
            let place = place.rsplit(['/', '\\']).next().unwrap().to_owned();
            (place, problem, nearest)
        }
        other => panic!("{text:?}: {other:?}"),
    }
}

#[test]
fn the_defaults() {
    let config = load(URL).unwrap();
    assert_eq!(config.client_dir, Path::new("client"));
    assert_eq!(config.version_file, "local_version.json");
    assert_eq!(config.entry_point, None);
    assert_eq!(config.log_level, log::LevelFilter::Info);
    assert_eq!(config.source.fields.url, ["download_url", "file"]);
    assert_eq!(config.source.fields.sha256, "file_hash");
    assert_eq!(config.network.connect_timeout, Duration::from_secs(5));
    assert_eq!(config.network.stall_timeout, Duration::from_secs(30));
    assert_eq!(config.network.retries, 3);
    assert_eq!(config.network.chunk_size, 65_536);
    assert!(config.network.verify_certificates);
    assert!(!config.network.allow_http);
    assert_eq!(config.network.max_package_size, 4 << 30);
    assert_eq!(config.update.downgrade, Downgrade::Follow);
    assert!(config.update.preserve.is_empty());
    assert_eq!(
        config.update.backup_excludes,
        ["__pycache__/", "*.pyc", ".git/", "*.zip"]
    );
    assert_eq!(config.update.keep, 3);
    assert_eq!(config.run.python, None);
    assert!(config.run.wait);
    assert_eq!(config.run.confirm, Confirm::Alive);
    assert_eq!(config.run.trial, Duration::from_secs(10));
    assert_eq!(config.run.confirm_within, Duration::from_mins(1));
    assert_eq!(config.run.attempts, 2);
    assert!(config.run.ok_codes.is_empty() && config.run.fail_codes.is_empty());
    assert!(config.hooks.after_commit.is_empty() && config.databases.sqlite.is_empty());
    assert_eq!(config.hooks.timeout, Duration::from_mins(5));
    assert!(config.databases.other.is_none() && config.python.requirements.is_none());
    assert_eq!(config.python.environment, EnvironmentKind::Own);
}

#[test]
fn a_dump_needs_its_restore() {
    for (there, missing) in [("dump", "restore"), ("restore", "dump")] {
        let (_, problem, _) = refused(&format!("{URL}[databases]\n{there} = 'x'"));
        assert!(
            problem.contains(&format!("`databases.{missing}` is missing")),
            "{problem}"
        );
    }
}

#[test]
fn commands_come_one_a_line_from_the_environment() {
    let env = [(
        "CASTOFF_HOOKS_AFTER_COMMIT",
        "echo a, b\nflask db upgrade\n",
    )];
    let config = load_with(Some(URL), None, &env).unwrap();
    assert_eq!(config.hooks.after_commit, ["echo a, b", "flask db upgrade"]);
}

#[test]
fn the_name_falls_back_to_the_app_and_to_the_folder() {
    let name = |text: &str| {
        let text = format!("{text}\n{URL}");
        Config::load(Path::new("/opt/Example"), Some(&text), &|_| None)
            .unwrap()
            .name
    };
    assert_eq!(name("app = 'a.b'\nname = 'Client'"), "Client");
    assert_eq!(name("app = 'a.b'"), "a.b");
    assert_eq!(name(""), "Example");
}

#[test]
fn layers_and_origins() {
    let baked = format!("app = 'baked'\nname = 'baked'\nchannel = 'baked'\n{URL}");
    let file = "\nname = 'file'\n\n[update]\nkeep = 7\n";
    let env = [
        ("CASTOFF_CHANNEL", "env"),
        ("CASTOFF_UPDATE_KEEP", ""),
        ("CASTOFF_RUN_WAIT", "false"),
    ];
    let config = load_with(Some(file), Some(&baked), &env).unwrap();
    assert_eq!(config.app, "baked");
    assert_eq!(config.name, "file");
    assert_eq!(config.channel, "env");
    assert_eq!(config.update.keep, 7, "an empty variable says nothing");
    assert!(!config.run.wait);

    let origin = |key| config.origins.of(key).to_string();
    assert_eq!(origin("app"), "baked in");
    assert!(
        origin("name").ends_with("launcher.toml:2"),
        "{}",
        origin("name")
    );
    assert!(origin("update.keep").ends_with("launcher.toml:5"));
    assert_eq!(origin("channel"), "CASTOFF_CHANNEL");
    assert_eq!(origin("run.trial"), "default");
    assert_eq!(config.origins.iter().count(), KEYS.len());
}

#[test]
fn every_key_can_be_set_by_its_variable() {
    let value = |key: &Key| match key.kind {
        Kind::Url | Kind::Place => "https://example.com/",
        Kind::Keys => PUBLIC_KEY,
        Kind::Headers => "X-Token: secret",
        Kind::Codes if key.name == "run.ok_codes" => "1, 2",
        Kind::Codes => "3",
        _ if matches!(key.name, "update.skip" | "update.pin" | "installed_version") => "1.2.3",
        _ if key.name == "update.quiet_hours" => "22:00-06:00",
        _ => key
            .default
            .filter(|text| !text.is_empty())
            .unwrap_or("word"),
    };
    let config = Config::load(Path::new("/none"), None, &|name| {
        let key = KEYS.iter().find(|key| key.variable() == name)?;
        Some(value(key).to_owned())
    })
    .unwrap();
    for (name, origin) in config.origins.iter() {
        let variable = find(name).unwrap().variable();
        assert_eq!(origin, Origin::Environment(variable), "{name}");
    }
}

#[test]
fn unknown_keys_are_named_with_the_nearest() {
    let unknown = |text| {
        let (place, problem, nearest) = refused(text);
        (place, problem, nearest.unwrap_or_default())
    };
    let row = |place: &str, key: &str, nearest: &str| {
        (
            place.to_owned(),
            format!("there is no key `{key}`"),
            nearest.to_owned(),
        )
    };
    assert_eq!(
        unknown("\n[update]\n  downgrad = 'refuse'\n"),
        row("launcher.toml:3:3", "update.downgrad", "update.downgrade")
    );
    assert_eq!(
        unknown("downgrade = 'refuse'"),
        row("launcher.toml:1:1", "downgrade", "update.downgrade")
    );
    assert_eq!(
        unknown("[updates]\nkeep = 1"),
        row("launcher.toml:1:2", "updates", "update")
    );
    assert_eq!(unknown("[source.field]\nurl = ['x']").2, "source.fields");
    assert_eq!(
        unknown("colour = 'red'"),
        row("launcher.toml:1:1", "colour", "")
    );
}

#[test]
fn wrong_values_are_named_with_their_line() {
    for (text, place, problem) in [
        (
            "app = 3",
            "launcher.toml:1:1",
            "`app` must be letters, digits, `.`, `-` and `_`, as in `com.example.client`, not an integer",
        ),
        (
            "\n\nname = true",
            "launcher.toml:3:1",
            "`name` must be a string, not a boolean",
        ),
        (
            "[update]\nkeep = '3'",
            "launcher.toml:2:1",
            "`update.keep` must be a whole number, not a string",
        ),
        (
            "[update]\nkeep = -1",
            "launcher.toml:2:1",
            "`update.keep` must be a whole number, not -1",
        ),
        (
            "[update]\nkeep = 5000",
            "launcher.toml:2:1",
            "`update.keep` must be from 0 to 1000, not 5000",
        ),
        (
            "[update]\npreserve = 'x'",
            "launcher.toml:2:1",
            "`update.preserve` must be a list of strings, not a string",
        ),
        (
            "[update]\npreserve = ['x', 3]",
            "launcher.toml:2:1",
            "`update.preserve` must be a list of strings, not one with an integer",
        ),
        (
            "update = 3",
            "launcher.toml:1:1",
            "`update` must be a table, not an integer",
        ),
        (
            "[[update]]\nkeep = 3",
            "launcher.toml:1:3",
            "`update` must be a table, not an array",
        ),
        (
            "[run]\nwait = 'yes'",
            "launcher.toml:2:1",
            "`run.wait` must be true or false, not a string",
        ),
        (
            "[run]\ntrial = -1",
            "launcher.toml:2:1",
            "`run.trial` must be a number of seconds, or a time such as \"500 ms\", not -1",
        ),
        (
            "[network]\nchunk_size = 1",
            "launcher.toml:2:1",
            "`network.chunk_size` must be from 1024 to 16777216, not 1",
        ),
        (
            "[source]\nurl = 'example.com/x'",
            "launcher.toml:2:1",
            "`source.url` must be an address such as https://updates.example.com/, or the path of a folder such as /media/releases or ./releases, not \"example.com/x\"",
        ),
        (
            "entry_point = '../x'",
            "launcher.toml:1:1",
            "`entry_point` must stay in the client folder, unlike \"../x\"",
        ),
        (
            "[source]\nheaders = { A = 1 }",
            "launcher.toml:2:1",
            "`source.headers` needs a string for `A`, not an integer",
        ),
    ] {
        let found = refused(text);
        assert_eq!(
            (found.0.as_str(), found.1.as_str()),
            (place, problem),
            "{text:?}"
        );
    }
    assert_eq!(
        refused("update.downgrade = 'refsue'").2.as_deref(),
        Some("refuse")
    );
}

#[test]
fn values_that_do_not_go_together_are_named_with_their_line() {
    for (text, place, problem) in [
        (
            "[source]\nkind = 'github'",
            "launcher.toml",
            "`source.repo` is missing: a forge has many",
        ),
        (
            "[source]\nkind = 'github'\nrepo = 'name'",
            "launcher.toml:3",
            "`source.repo` must be a repository such as owner/name, not \"name\"",
        ),
        (
            "source.url = 'https://a.example/'\nupdate.pin = 'newest'",
            "launcher.toml:2",
            "`update.pin` must hold versions: \"newest\" is no version: it is neither a PEP 440 nor a semantic version",
        ),
        (
            "source.url = 'https://a.example/'\nupdate.quiet_hours = '22-6'",
            "launcher.toml:2",
            "`update.quiet_hours` must be hours of the day such as 22:00-06:00, not \"22-6\"",
        ),
    ] {
        let found = refused(text);
        assert_eq!((found.0.as_str(), found.1.as_str()), (place, problem));
    }
}

#[test]
fn the_trial_has_all_that_it_needs() {
    let confirm = |text: &str| load(&format!("{URL}{text}")).map(|config| config.run.confirm);
    for (text, expected) in [
        ("run.confirm = 'ready'", Confirm::Ready),
        ("run.confirm = 'none'", Confirm::Nothing),
        (
            "run.confirm = 'http'\nrun.confirm_url = 'http://127.0.0.1:1/x'",
            Confirm::Http("http://127.0.0.1:1/x".into()),
        ),
        (
            "run.confirm = 'http'\nrun.confirm_url = 'http://a.example/'\nnetwork.allow_http = true",
            Confirm::Http("http://a.example/".into()),
        ),
        (
            "run.confirm = 'command'\nrun.confirm_command = 'test -e x'",
            Confirm::Command("test -e x".into()),
        ),
    ] {
        assert_eq!(confirm(text).unwrap(), expected, "{text}");
    }
    for (text, place, problem) in [
        (
            "run.attempts = 0",
            "launcher.toml:2:5",
            "`run.attempts` must be from 1 to 100, not 0",
        ),
        (
            "run.fail_codes = [1, 'two']",
            "launcher.toml:2:5",
            "`run.fail_codes` must be a list of exit codes, not one with a string",
        ),
        (
            "run.confirm = 'http'",
            "launcher.toml:2",
            "`run.confirm` needs `run.confirm_url`, which is missing",
        ),
        (
            "run.confirm = 'command'",
            "launcher.toml:2",
            "`run.confirm` needs `run.confirm_command`, which is missing",
        ),
        (
            "run.confirm = 'http'\nrun.confirm_url = 'http://a.example/'",
            "launcher.toml:3",
            "`run.confirm_url` must begin with https:// or lead to this machine, unless \
             `network.allow_http` is set",
        ),
        (
            "run.ok_codes = [0, 3]\nrun.fail_codes = [1, 3]",
            "launcher.toml:3",
            "`run.fail_codes` must not hold 3, which `run.ok_codes` holds too",
        ),
    ] {
        let found = refused(&format!("{URL}{text}"));
        assert_eq!((found.0.as_str(), found.1.as_str()), (place, problem));
    }
}

#[test]
fn what_is_no_toml_is_named_with_its_line() {
    for (text, place) in [
        ("app = 'a'\nname = \n", "launcher.toml:2:8"),
        ("app = 'a'\napp = 'b'\n", "launcher.toml:2:1"),
        ("app", "launcher.toml:1:4"),
    ] {
        assert_eq!(refused(text).0, place, "{text:?}");
    }
    let deep = format!("app = {}", "[".repeat(100_000));
    assert!(refused(&deep).0.starts_with("launcher.toml:1:"));
}

#[test]
fn what_is_no_text_is_refused_and_what_notepad_writes_is_not() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(FILE_NAME), b"app = 'a'\nname = '\xff'").unwrap();
    let error = Config::load(folder.path(), None, &|_| None).unwrap_err();
    assert!(
        error.to_string().contains("launcher.toml:2:9: not UTF-8"),
        "{error}"
    );

    let config = load(&format!("\u{feff}app = 'a'\r\n{URL}")).unwrap();
    assert_eq!(config.app, "a");
}

#[test]
fn a_wrong_variable_is_named() {
    let error = load_with(Some(URL), None, &[("CASTOFF_UPDATE_KEEP", "many")]).unwrap_err();
    assert!(
        matches!(&error, Error::ConfigInvalid { place, problem, .. }
            if place == "CASTOFF_UPDATE_KEEP" && problem.contains("`update.keep`")),
        "{error}"
    );
}

#[test]
fn a_missing_file_matters_only_when_nothing_else_is_said() {
    let missing = load_with(None, None, &[]).unwrap_err();
    assert!(matches!(&missing, Error::ConfigMissing { path } if path.ends_with(FILE_NAME)));
    let missing = load_with(None, None, &[("CASTOFF_UPDATE_KEEP", "3")]).unwrap_err();
    assert!(matches!(missing, Error::ConfigMissing { .. }));

    let env = [("CASTOFF_SOURCE_URL", "https://example.com/")];
    assert!(load_with(None, None, &env).is_ok());
    assert!(load_with(None, Some(URL), &[]).is_ok());

    let (place, problem, _) = refused("app = 'a'");
    assert_eq!(place, "launcher.toml");
    assert!(problem.contains("`source.url` is missing"), "{problem}");
}

#[test]
fn a_file_that_cannot_be_read_is_never_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join(FILE_NAME)).unwrap();
    let error = Config::load(folder.path(), Some(URL), &|_| None).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
}

#[test]
fn another_file_can_be_named() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other.toml");
    let env = [(FILE_VARIABLE, other.to_str().unwrap())];

    let missing = load_with(Some(URL), None, &env).unwrap_err();
    assert!(matches!(&missing, Error::ConfigMissing { path } if *path == other));
    let missing = load_with(None, Some(URL), &env).unwrap_err();
    assert!(
        matches!(missing, Error::Io { .. }),
        "named, so not optional"
    );

    fs::write(&other, format!("app = 'other'\n{URL}")).unwrap();
    assert_eq!(
        load_with(Some("app = 'beside'"), None, &env).unwrap().app,
        "other"
    );
}

#[test]
fn what_was_baked_in_cannot_be_loosened() {
    // Key, baked, tighter, looser, as TOML says them.
    for (key, baked, tighter, looser) in [
        ("network.verify_certificates", "true", "true", "false"),
        ("network.allow_http", "true", "false", ""),
        ("network.allow_http", "false", "false", "true"),
        ("network.max_package_size", "'1 MiB'", "'1 KiB'", "'2 MiB'"),
        ("update.downgrade", "'refuse'", "'refuse'", "'follow'"),
        (
            "source.url",
            "'https://a.example/x'",
            "'https://a.example/y'",
            "'https://b.example/x'",
        ),
    ] {
        let line = |value: &str| format!("{key} = {value}\n");
        let mut text = line(baked);
        if key != "source.url" {
            text.push_str(URL);
        }
        assert!(
            load_with(Some(&line(tighter)), Some(&text), &[]).is_ok(),
            "{key}"
        );
        if looser.is_empty() {
            continue;
        }
        let by_file = load_with(Some(&line(looser)), Some(&text), &[]).unwrap_err();
        let variable = find(key).unwrap().variable();
        let env = [(variable.as_str(), looser.trim_matches('\''))];
        let by_env = load_with(None, Some(&text), &env).unwrap_err();
        for (error, at) in [(by_file, "launcher.toml:1:"), (by_env, variable.as_str())] {
            assert!(
                matches!(&error, Error::ConfigLoosened { key: named, place, .. }
                    if named == key && place.contains(at)),
                "{key}: {error}"
            );
        }
    }
}

#[test]
fn a_default_that_the_publisher_relied_on_is_not_loosened_either() {
    for text in [
        "network.verify_certificates = false",
        "network.allow_http = true",
    ] {
        let error = load_with(Some(text), Some(URL), &[]).unwrap_err();
        assert!(matches!(error, Error::ConfigLoosened { .. }), "{error}");
    }
    let text = format!("network.verify_certificates = false\n{URL}");
    assert!(
        !load(&text).unwrap().network.verify_certificates,
        "nothing was baked in"
    );
}

#[test]
fn a_tightened_file_still_yields_to_the_environment() {
    let env = [("CASTOFF_NETWORK_MAX_PACKAGE_SIZE", "2 MiB")];
    let config = load_with(Some("network.max_package_size = 1024"), Some(URL), &env).unwrap();
    assert_eq!(
        config.network.max_package_size,
        2 << 20,
        "held to what was baked in only"
    );
}

#[test]
fn headers_add_up_and_stay_secret() {
    let baked = format!("{URL}[source.headers]\nX-App = 'a'\nAuthorization = 'old'\n");
    let env = [("CASTOFF_SOURCE_HEADERS", "authorization: Bearer secret")];
    let config = load_with(None, Some(&baked), &env).unwrap();
    let headers: Vec<_> = config.source.headers.iter().collect();
    assert_eq!(
        format!("{headers:?}"),
        r#"[("X-App", "a"), ("authorization", "Bearer secret")]"#
    );
    assert!(!format!("{config:?}").contains("secret"));
}

#[test]
fn keys_are_pinned_for_an_app_and_make_plain_http_safe() {
    let of = |rest: &str| {
        load(&format!(
            "app = 'a.b'\n{URL}[trust]\nkeys = ['{PUBLIC_KEY}']\n{rest}"
        ))
    };
    let config = of("").unwrap();
    let trust = config.trust.unwrap();
    assert_eq!(
        (trust.role.keys().len(), trust.role.threshold(), trust.first),
        (1, 1, 1)
    );
    assert!(config.network.allow_http);
    let plain = load(URL).unwrap();
    assert!(plain.trust.is_none() && !plain.network.allow_http);

    for (text, problem) in [
        (
            format!("{URL}trust.keys = ['{PUBLIC_KEY}']"),
            "`app` is missing",
        ),
        (format!("app = 'a'\n{URL}trust.keys = []"), "names 0 keys"),
        (
            format!("app = 'a'\n{URL}trust.keys = ['']"),
            "must be a list of public keys",
        ),
        (
            format!("app = 'a'\n{URL}trust.keys = ['{PUBLIC_KEY}', '{PUBLIC_KEY}']"),
            "twice",
        ),
        (
            format!("app = 'a'\n{URL}[trust]\nkeys = ['{PUBLIC_KEY}']\nthreshold = 2"),
            "2 signatures of 1",
        ),
        (
            format!("app = 'a'\n{URL}trust.threshold = 1"),
            "needs `trust.keys`",
        ),
        (
            format!("app = 'a'\n{URL}trust.first = 2"),
            "needs `trust.keys`",
        ),
        (format!("{URL}source.kind = 'index'"), "needs `trust.keys`"),
        (
            format!("{URL}channel = '../x'"),
            "`channel` must be letters",
        ),
    ] {
        let refused = refused(&text);
        assert!(refused.1.contains(problem), "{text}: {}", refused.1);
    }
}

#[test]
fn a_folder_is_a_path_and_everything_else_an_address() {
    let of = |kind: &str, url: &str| {
        load(&format!(
            "app = 'a'\n[source]\nkind = '{kind}'\nurl = '{url}'\n[trust]\nkeys = ['{PUBLIC_KEY}']"
        ))
        .map(|config| config.source.url)
    };
    assert!(Path::new(&of("folder", "./releases").unwrap()).is_absolute());
    assert!(of("folder", "./releases").unwrap().ends_with("releases"));
    assert!(of("index", "https://a.example/x").is_ok());
    for (kind, url) in [
        ("folder", "https://a.example/x"),
        ("folder", "releases"),
        ("index", "./releases"),
        ("index", "file:///releases"),
        ("check", "/releases"),
    ] {
        assert!(of(kind, url).is_err(), "{kind} {url}");
    }
}

#[test]
fn pinned_trust_is_not_loosened() {
    let baked = format!(
        "app = 'a'\n{URL}source.kind = 'index'\n[trust]\nkeys = ['{PUBLIC_KEY}', '{OTHER_KEY}']\n"
    );
    let loosened = |text: &str| {
        let loaded = load_with(Some(text), Some(&baked), &[]);
        matches!(loaded, Err(Error::ConfigLoosened { .. }))
    };
    for text in [
        "app = 'b'".to_owned(),
        "source.kind = 'check'".to_owned(),
        "source.kind = 'folder'".to_owned(),
        "trust.first = 2".to_owned(),
        format!("trust.keys = ['{PUBLIC_KEY}']"),
        "source.url = 'https://b.example/'".to_owned(),
    ] {
        assert!(loosened(&text), "{text}");
    }
    let tightened = load_with(Some("trust.threshold = 2"), Some(&baked), &[]).unwrap();
    assert_eq!(tightened.trust.unwrap().role.threshold(), 2);
    let twice = baked.replace("keys =", "threshold = 2\nkeys =");
    let refused = load_with(Some("trust.threshold = 1"), Some(&twice), &[]);
    assert!(matches!(refused, Err(Error::ConfigLoosened { .. })));
    // Where none are baked in, they can be added.
    let none = format!("app = 'a'\n{URL}");
    let keys = format!("trust.keys = ['{PUBLIC_KEY}']");
    assert!(
        load_with(Some(&keys), Some(&none), &[])
            .unwrap()
            .trust
            .is_some()
    );
}

/// Every key of a document, with its value as the engine reads it.
fn entries(prefix: &str, table: &DeTable<'_>, found: &mut Vec<(&'static str, Value)>) {
    for (name, value) in table {
        let name = format!("{prefix}{}", name.get_ref());
        if let Some(key) = find(&name) {
            found.push((key.name, key.kind.read_toml(value.get_ref()).unwrap()));
        } else if let DeValue::Table(table) = value.get_ref() {
            entries(&format!("{name}."), table, found);
        } else {
            panic!("{name} is no key");
        }
    }
}

#[test]
fn the_sample_shows_every_key_with_its_default() {
    let sample = include_str!("../../assets/launcher.toml");
    assert!(load(sample).is_ok(), "as it is");

    // A comment is `# words`, a key that is commented out `#key = value`.
    let all: Vec<_> = sample
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(key) if !key.is_empty() && !key.starts_with([' ', '#']) => key,
            _ => line,
        })
        .collect();
    let all = all.join("\n");
    load(&all).unwrap();
    let mut found = Vec::new();
    entries("", DeTable::parse(&all).unwrap().get_ref(), &mut found);
    for (name, value) in &found {
        if let Some(default) = find(name).unwrap().default {
            let default = find(name).unwrap().kind.read_text(default).unwrap();
            assert_eq!(*value, default, "{name}");
        }
    }
    let found: BTreeSet<_> = found.iter().map(|(name, _)| *name).collect();
    for key in KEYS {
        assert!(
            found.contains(key.name),
            "{} is not in the sample",
            key.name
        );
    }
}

#[test]
fn the_documentation_has_the_row_of_every_key() {
    let page = include_str!("../../docs/configuration.md");
    for key in KEYS {
        let default = match key.default {
            None => "-".to_owned(),
            Some("") => "none".to_owned(),
            Some(text) => format!("`{text}`"),
        };
        let row = format!(
            "| `{}` | `{}` | {default} | {} |",
            key.name,
            key.variable(),
            key.help
        );
        assert!(
            page.contains(&row),
            "docs/configuration.md should have\n{row}"
        );
    }
}

#[test]
fn what_is_baked_into_this_build_can_be_loaded() {
    if let Some(text) = baked() {
        load_with(None, Some(text), &[]).unwrap();
    }
}

#[test]
fn what_is_said_of_dialogs_holds_whatever_else_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let dialogs = |baked: Option<&str>, file: &str, said: Option<&str>| {
        fs::write(folder.path().join(FILE_NAME), file).unwrap();
        let env = |name: &str| {
            said.filter(|_| name == "CASTOFF_DIALOGS")
                .map(str::to_owned)
        };
        assert!(Config::load(folder.path(), baked, &env).is_err(), "{file}");
        dialogs_despite_errors(folder.path(), baked, &env)
    };
    for wrong in ["colour = 'red'", "[source", "app = ", "run = 1", ""] {
        let no = format!("dialogs = false\n{wrong}");
        assert!(dialogs(None, wrong, None), "{wrong}");
        assert!(!dialogs(None, &no, None), "{wrong}");
        assert!(dialogs(None, &no, Some("true")), "{wrong}");
        assert!(!dialogs(None, wrong, Some("false")), "{wrong}");
        assert!(!dialogs(Some("dialogs = false"), wrong, Some("true")));
    }
}
