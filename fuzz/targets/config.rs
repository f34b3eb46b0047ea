//! Configuration: up to three parts with a line `----` between them. One is launcher.toml; of two,
//! the first was baked in; the third is the environment, a `NAME=VALUE` a line.
//!
//! What was baked in is never loosened by what comes over it, and what was taken can be used.

#![no_main]

use std::collections::HashMap;
use std::fs;

use castoff::config::keys::KEYS;
use castoff::config::{Config, Downgrade, FILE_NAME, FILE_VARIABLE, Rules, dialogs_despite_errors};
use castoff::fetch::resolve;
use castoff_fuzz::{origin, scratch, trust};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mut parts = text.splitn(3, "\n----\n");
    let first = parts.next().unwrap_or_default();
    let (baked, file) = match parts.next() {
        Some(file) => (Some(first), file),
        None => (None, first),
    };
    let variables: HashMap<&str, &str> = parts
        .next()
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.split_once('='))
        // Another file would be one of this machine.
        .filter(|(name, _)| *name != FILE_VARIABLE)
        .collect();
    let env = |name: &str| variables.get(name).map(ToString::to_string);
    let folder = scratch();
    fs::write(folder.join(FILE_NAME), file).unwrap();

    let dialogs = dialogs_despite_errors(folder, baked, &env);
    let Some(config) = trust(Config::load(folder, baked, &env)) else {
        return;
    };
    assert_eq!(config.dialogs, dialogs);
    check(&config);
    if let Some(baked) = baked
        && let Ok(publisher) = Config::load(&folder.join("none"), Some(baked), &|_| None)
    {
        compare(&publisher, &config);
    }
});

/// Checks that whoever needs a value can use it.
fn check(config: &Config) {
    assert!(config.run.attempts >= 1);
    assert!(!config.source.fields.url.is_empty());
    assert!(!config.version_file.contains(['/', '\\']));
    if let Some(path) = &config.entry_point {
        let mut components = path.split(['/', '\\']);
        assert!(components.all(|component| component != ".."), "{path:?}");
    }
    for (name, _) in config.origins.iter() {
        assert!(KEYS.iter().any(|key| key.name == name));
    }
    let rules = Rules::of(&config.update).expect("the patterns were checked");
    for path in [
        "a",
        "lib/b.py",
        "data/shop.db",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ] {
        for patterns in [&rules.preserve, &rules.mutable, &rules.backup_excludes] {
            patterns.matches(path, false);
            patterns.matches(path, true);
        }
    }
    // No secret in what a log may hold.
    let shown = format!("{:?}", config.source);
    for value in config.source.headers.values() {
        let alone = value.len() > 8 && !config.source.url.contains(value);
        let fields = format!(
            "{:?}{:?}",
            config.source.fields,
            config.source.headers.keys()
        );
        assert!(
            !alone || fields.contains(value) || !shown.contains(value),
            "{shown}"
        );
    }
}

/// Checks that the layers above have loosened nothing.
fn compare(baked: &Config, config: &Config) {
    let (before, after) = (&baked.network, &config.network);
    assert!(after.verify_certificates || !before.verify_certificates);
    assert!(!after.allow_http || before.allow_http);
    assert!(after.max_package_size <= before.max_package_size);
    assert!(!config.update.launcher || baked.update.launcher);
    assert!(!config.dialogs || baked.dialogs);
    if baked.update.downgrade == Downgrade::Refuse {
        assert_eq!(config.update.downgrade, Downgrade::Refuse);
    }
    // As the client will read both.
    if let (Ok(before), Ok(after)) = (
        resolve(&baked.source.url, "/"),
        resolve(&config.source.url, "/"),
    ) {
        let (before, after) = (origin(&before), origin(&after));
        assert_eq!(before.1, after.1, "another host");
        assert!(before.0 == "http" || after.0 == "https", "no longer https");
    }
}
