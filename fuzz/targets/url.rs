//! Links of documents: the first line is the address of the document, the second is the link.
//!
//! What comes out may be asked: http or https, no credentials, nothing that ends a line, the same
//! for another parser. It is read again as what it is, dots are removed as RFC 3986 says, and https
//! does not become http by itself.

#![no_main]

use castoff::fetch::resolve;
use castoff_fuzz::{assert_address, judge, origin, trust};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (base, link) = text.split_once('\n').unwrap_or((text, "/"));
    let resolved = resolve(base, link);
    // The base is an address that was asked: it is repeated whole.
    let judged = if base.len() < 512 {
        judge(resolved)
    } else {
        trust(resolved)
    };
    let Some(url) = judged else {
        return;
    };
    assert_address(&url);
    assert_eq!(
        resolve(base, &url).as_ref().ok(),
        Some(&url),
        "not the same twice"
    );
    assert_eq!(
        resolve(&url, &url).as_ref().ok(),
        Some(&url),
        "not the same from there"
    );

    let root = resolve(base, "/").expect("a base of one link is a base of another");
    let (from, to) = (origin(&root), origin(&url));
    let first = link.split(['/', '?', '#']).next().unwrap_or_default();
    if !first.contains(':') && !link.starts_with("//") {
        assert_eq!(from, to, "a path stays on its server");
    }
    if link.starts_with('/') && !link.starts_with("//") {
        let path = link.split(['?', '#']).next().unwrap_or_default();
        if path
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"/.".contains(&byte))
        {
            let start = url.find("://").unwrap() + 3;
            let start = start + url[start..].find('/').unwrap();
            let got = url[start..].split('?').next().unwrap_or_default();
            assert_eq!(got, without_dots(path), "{link:?}");
        }
    }
});

/// RFC 3986, section 5.2.4, as it stands there.
fn without_dots(path: &str) -> String {
    let mut input = path.to_owned();
    let mut output = String::new();
    while !input.is_empty() {
        if input.starts_with("../") || input.starts_with("./") {
            input = input.split_once('/').unwrap().1.to_owned();
        } else if input.starts_with("/./") || input == "/." {
            input = format!("/{}", input.get(3..).unwrap_or_default());
        } else if input.starts_with("/../") || input == "/.." {
            input = format!("/{}", input.get(4..).unwrap_or_default());
            output.truncate(output.rfind('/').unwrap_or(0));
        } else if input == "." || input == ".." {
            input.clear();
        } else {
            let end = input[1..].find('/').map_or(input.len(), |at| at + 1);
            output.push_str(&input[..end]);
            input.drain(..end);
        }
    }
    output
}
