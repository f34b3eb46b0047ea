//! Versions, up to three, a line each: read, written, compared, made into names.

#![no_main]

use std::cmp::Ordering;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};

use castoff::archive::SafePath;
use castoff::version::Version;
use castoff_fuzz::judge;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let versions: Vec<Version> = text
        .lines()
        .take(3)
        .filter_map(|line| judge(line.parse()))
        .collect();
    for version in &versions {
        let again: Version = version
            .to_string()
            .parse()
            .expect("what is printed is read");
        assert_eq!(&again, version);
        assert_eq!(again.as_str(), version.as_str());
        let json = serde_json::to_string(version).unwrap();
        assert_eq!(&serde_json::from_str::<Version>(&json).unwrap(), version);

        let name = version.file_name();
        let path = SafePath::try_from(name.as_str()).expect("a version's name can be written");
        assert_eq!(path.parent(), None);
        assert_eq!(path.folded(), name);
    }
    for a in &versions {
        for b in &versions {
            let order = a.cmp(b);
            assert_eq!(b.cmp(a), order.reverse(), "{a} {b}");
            assert_eq!(a.partial_cmp(b), Some(order));
            assert_eq!(a == b, order == Ordering::Equal, "{a} {b}");
            if a == b {
                assert_eq!(hash(a), hash(b), "{a} {b}");
            }
            if a.file_name() == b.file_name() {
                assert_eq!(a, b);
            }
            for c in &versions {
                if a <= b && b <= c {
                    assert!(a <= c, "{a} {b} {c}");
                }
            }
        }
    }
});

fn hash(version: &Version) -> u64 {
    let mut hasher = DefaultHasher::new();
    version.hash(&mut hasher);
    hasher.finish()
}
