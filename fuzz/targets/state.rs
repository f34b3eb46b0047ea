//! What Castoff remembers, as it lies on the disk. The first byte says which file the rest is: `s`
//! state.json, `i` installed.json, `l` local_version.json, `b` backup.json.
//!
//! What cannot be used counts as empty; what can is written and read again as what it is, and
//! whatever is asked of it gives an answer.

#![no_main]

use std::fs;
use std::path::Path;

use castoff::Code;
use castoff::layout::backup::Backup;
use castoff::state::{State, WayBack};
use castoff_fuzz::{assert_inside, client_folder, trust};
use chrono::{DateTime, TimeDelta, Utc};
use libfuzzer_sys::{Corpus, fuzz_target};
use serde_json::{from_slice, to_vec};

fuzz_target!(|data: &[u8]| -> Corpus {
    let Some((which, json)) = data.split_first() else {
        return Corpus::Reject;
    };
    match which {
        b's' => state(json),
        b'i' => installed(json),
        b'l' => local_version(json),
        b'b' => backup(json),
        _ => return Corpus::Reject,
    }
    Corpus::Keep
});

fn lay(path: &Path, json: &[u8]) {
    fs::write(path, json).unwrap();
}

fn state(json: &[u8]) {
    let folder = client_folder();
    let path = folder.root().join(".castoff/state.json");
    lay(&path, json);
    let mut state = folder.load_state();
    let Ok(read) = from_slice::<State>(json) else {
        assert_eq!(state, State::default());
        return;
    };
    assert_eq!(state, read);
    lay(&path, &to_vec(&state).unwrap());
    assert_eq!(folder.load_state(), state);

    let now: DateTime<Utc> = "2026-11-21T02:28:25Z".parse().unwrap();
    let known = state.bad.iter().map(|bad| bad.digest);
    let known = known.chain(state.backing_off.iter().map(|entry| entry.digest));
    let known = known.chain(state.trial.iter().map(|trial| trial.digest));
    for digest in known.collect::<Vec<_>>() {
        let [before, after] = castoff::fuzzing::use_state(&mut state, digest, now);
        // Neither a clock that was wrong nor a count that was puts an update off for longer.
        for until in before.into_iter().chain(after) {
            assert!(
                until > now && until - now <= TimeDelta::hours(24),
                "{until}"
            );
        }
        assert!(after.is_some());
    }
    lay(&path, &to_vec(&state).unwrap());
    assert_eq!(folder.load_state(), state);
    if let Some(WayBack { name, .. }) = state.trial.and_then(|trial| trial.back) {
        // A name from there is as little to be trusted as any.
        trust(Backup::load(folder, &name));
    }
}

fn installed(json: &[u8]) {
    let folder = client_folder();
    let path = folder.root().join(".castoff/installed.json");
    lay(&path, json);
    let Some(installed) = folder.load_installed() else {
        return;
    };
    installed.files.keys().for_each(assert_inside);
    lay(&path, &to_vec(&installed).unwrap());
    assert_eq!(folder.load_installed(), Some(installed));
}

fn local_version(json: &[u8]) {
    let folder = client_folder();
    let path = folder.version_file();
    lay(&path, json);
    let Some(local) = folder.local_version() else {
        return;
    };
    lay(&path, &to_vec(&local).unwrap());
    let again = folder.local_version().expect("what is written is read");
    assert_eq!(again.version, local.version);
    assert_eq!(again.version.as_str(), local.version.as_str());
    assert_eq!(again.update_time, local.update_time);
}

fn backup(json: &[u8]) {
    let folder = client_folder();
    let home = folder.backups().join("1.0.0");
    fs::create_dir_all(&home).unwrap();
    let path = home.join("backup.json");
    lay(&path, json);
    let Some(backup) = trust(Backup::load(folder, "1.0.0")) else {
        return;
    };
    let installed = backup.installed.files.keys();
    installed
        .chain(backup.displaced.keys())
        .chain(&backup.overwritten)
        .for_each(assert_inside);
    lay(&path, &to_vec(&backup).unwrap());
    let again = Backup::load(folder, "1.0.0").expect("what is written is read");
    assert_eq!(again.created, backup.created);
    assert_eq!(again.installed, backup.installed);
    assert_eq!(again.displaced, backup.displaced);
    fs::remove_file(&path).unwrap();
    let none = Backup::load(folder, "1.0.0").unwrap_err();
    assert_eq!(none.code(), Code::BackupNotFound);
}
