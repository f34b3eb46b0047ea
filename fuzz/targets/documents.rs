//! Signed documents: the envelope, and what is in it.
//!
//! An envelope is sealed again as what it is, and nothing that was made up is signed by anybody. What
//! is read of a payload keeps the rules, whoever has signed it.

#![no_main]

use std::sync::LazyLock;

use castoff::config::TrustConfig;
use castoff::trust::document::{Index, Keys, ReleaseDocument};
use castoff::trust::{Anchor, Envelope, MOST_KEYS, PublicKey, Role, Trust, seal};
use castoff_fuzz::judge;
use chrono::{DateTime, Utc};
use libfuzzer_sys::fuzz_target;

const APP: &str = "org.castoff.test";

/// A public key whose secret one nobody has kept.
static PINNED: LazyLock<TrustConfig> = LazyLock::new(|| {
    let key: PublicKey = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3"
        .parse()
        .expect("a public key");
    TrustConfig {
        role: Role::new(vec![key], 1).expect("a role"),
        first: 1,
    }
});

fuzz_target!(|data: &[u8]| {
    if let Some(envelope) = judge(Envelope::parse(data, 1 << 20, "it")) {
        assert!(!envelope.signatures().is_empty() && envelope.signatures().len() <= MOST_KEYS);
        assert!(envelope.signers(&PINNED.role).is_empty());
        let text = seal(envelope.payload(), envelope.signatures());
        let again = Envelope::parse(text.as_bytes(), 1 << 22, "it").expect("it was sealed here");
        assert_eq!(again.payload(), envelope.payload());
        assert_eq!(again.signatures(), envelope.signatures());
        read(envelope.payload());
    }
    read(data);

    let anchor = Anchor {
        app: APP,
        channel: "stable",
        indexed: true,
        pinned: Some(&PINNED),
    };
    let mut trust = Trust::new(&anchor, DateTime::<Utc>::UNIX_EPOCH);
    assert!(judge(trust.follow(data)).is_none());
    assert!(judge(trust.index(data, "it")).is_none());
    assert!(trust.last_index().is_none() && trust.next_keys() == Some(1));
    let resolve = |link: &str| Ok(link.to_owned());
    assert!(judge(trust.release(data, None, None, &resolve)).is_none());
});

/// Reads a payload as each of the documents.
fn read(payload: &[u8]) {
    if let Some(keys) = judge(Keys::read(payload, APP, "it")) {
        assert!(keys.expires.is_some());
        for role in [&keys.root, &keys.release, &keys.index] {
            let known = role.keys();
            assert!((1..=known.len()).contains(&role.threshold()) && known.len() <= MOST_KEYS);
            for (at, key) in known.iter().enumerate() {
                assert!(!known[..at].contains(key), "{key} is there twice");
                assert_eq!(key.to_string().parse().as_ref(), Ok(key));
            }
        }
    }
    if let Some(index) = judge(Index::read(payload, APP, "it")) {
        assert!(!index.current.version.as_str().is_empty());
    }
    if let Some(release) = judge(ReleaseDocument::read(payload, APP, "linux-x86_64", "it")) {
        let package = release.package.iter().chain(&release.launcher);
        for entry in package.filter_map(|package| package.entry_point.as_deref()) {
            assert!(!entry.is_empty() && !entry.starts_with(['/', '\\']));
            assert!(entry.split(['/', '\\']).all(|part| part != ".."));
        }
    }
}
