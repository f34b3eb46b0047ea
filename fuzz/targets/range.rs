//! The answer to a request for the rest of a package. The first line holds how much of it is there,
//! its size or `-`, the ETag that is known or `-`, and the status; the others are headers.
//!
//! An answer that is taken for the rest says by RFC 9110, to the letter, that it is: a reader that
//! is more generous takes other bytes for it.

#![no_main]

use castoff::fuzzing::resume;
use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(|text: &str| -> Corpus {
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    let [length, size, etag, status] = first.split(' ').collect::<Vec<_>>()[..] else {
        return Corpus::Reject;
    };
    let (Ok(length), Ok(status)) = (length.parse::<u64>(), status.parse::<u16>()) else {
        return Corpus::Reject;
    };
    let size = size.parse::<u64>().ok();
    let etag = Some(etag).filter(|etag| *etag != "-");
    let headers: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(": ")).collect();
    let Some(answer) = resume(status, &headers, length, size, etag) else {
        return Corpus::Reject;
    };
    let Some(total) = answer.total else {
        return Corpus::Keep;
    };
    assert_eq!(status, 206);
    assert!(length < total);
    assert!(size.is_none_or(|size| size == total));
    // Of several headers of one name, the first is read.
    let header = |name: &str| {
        let mut named = headers
            .iter()
            .filter(|(key, _)| key.eq_ignore_ascii_case(name));
        named.next().map(|(_, value)| value.trim())
    };
    let range = header("content-range").expect("it has a range");
    let numbers = range.strip_prefix("bytes ").expect("it counts bytes");
    let (first, rest) = numbers.split_once('-').expect("it has two ends");
    let (last, whole) = rest.split_once('/').expect("it has a size");
    let number = |text: &str| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        assert!(digits && !text.is_empty(), "{range:?}");
        text.parse::<u64>().expect("it fits")
    };
    assert_eq!((number(first), number(whole)), (length, total));
    assert!((length..total).contains(&number(last)), "{range:?}");
    assert!(header("content-encoding").is_none_or(|it| it.eq_ignore_ascii_case("identity")));
    if let (Some(known), Some(now)) = (etag, header("etag")) {
        assert_eq!(known, now);
    }
    Corpus::Keep
});
