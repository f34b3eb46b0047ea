//! The JSON answer of a check endpoint: the first byte chooses the status, the rest is the body.
//!
//! What is announced is a release that may be asked for: a version, an address that every parser
//! reads alike, a digest, an entry point that does not lead upwards.

#![no_main]

use castoff::fetch::Answer;
use castoff_fuzz::{assert_address, config, judge};
use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(|data: &[u8]| -> Corpus {
    let Some((first, body)) = data.split_first() else {
        return Corpus::Reject;
    };
    let source = &config().source;
    let answer = Answer {
        url: source.url.clone(),
        status: match first {
            b'4' => 404,
            b'5' => 500,
            _ => 200,
        },
        content_type: None,
        retry_after: None,
        headers: http::HeaderMap::new(),
        body: body.to_vec(),
    };
    let release = castoff::fuzzing::check_answer(&answer, &source.fields);
    let Some(release) = judge(release) else {
        return Corpus::Keep;
    };
    assert_eq!(answer.status, 200);
    assert!(!release.version.as_str().is_empty());
    for package in [Some(&release.package), release.launcher.as_ref()]
        .into_iter()
        .flatten()
    {
        assert_address(&package.url);
    }
    if let Some(path) = &release.entry_point {
        assert!(
            !path.is_empty() && !path.starts_with(['/', '\\']),
            "{path:?}"
        );
        let mut components = path.split(['/', '\\']);
        assert!(components.all(|component| component != ".."), "{path:?}");
        assert!(!path.contains(char::is_control), "{path:?}");
    }
    // As it waits in state.json for the app to be closed.
    let text = serde_json::to_vec(&release).unwrap();
    let again: castoff::release::Release = serde_json::from_slice(&text).unwrap();
    assert_eq!(again, release);
    assert_eq!(again.version.as_str(), release.version.as_str());
    Corpus::Keep
});
