//! Measures what it costs to go through the three signed documents: keys, index, release.
//!
//! ```sh
//! cargo run --profile launcher -p castoff-publish --example verification
//! ```
//!
//! As the launcher is built, so that the figures are its own. The documents are in memory: what is
//! measured is parsing and verifying, four signatures of three documents, and no disk.

#![expect(clippy::print_stdout, reason = "it is run for what it prints")]

use std::time::{Duration, Instant};

use castoff::config::TrustConfig;
use castoff::trust::{Anchor, Role, Trust};
use castoff_testkit::sign::{APP, Document, Signer, role};
use chrono::Utc;

/// Enough for a median that stays the same from run to run.
const ROUNDS: usize = 2_000;

fn main() -> castoff::Result<()> {
    let signers = [Signer::new(), Signer::new(), Signer::new()];
    let [root, release, index] = &signers;
    let one = |signer: &Signer| role(&[signer], 1);
    let keys = Document::keys(1, &one(root), &one(release), &one(index)).signed(&[root]);
    let document = Document::release("1.1.0", "1.1.0.zip", b"a package");
    let current = Document::index(1, "1.1.0", &document).signed(&[index]);
    let document = document.signed(&[release]);
    let public = root.public().parse().expect("a public key");
    let pinned = TrustConfig {
        role: Role::new(vec![public], 1).expect("a role"),
        first: 1,
    };
    let anchor = Anchor {
        app: APP,
        channel: "stable",
        indexed: true,
        pinned: Some(&pinned),
    };
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        let mut trust = Trust::new(&anchor, Utc::now());
        trust.follow(keys.as_bytes())?;
        let named = trust.index(current.as_bytes(), "stable.json")?;
        trust.release(document.as_bytes(), Some(&named), None, &|link| {
            Ok(link.to_owned())
        })?;
        times.push(begun.elapsed());
    }
    times.sort();
    let at = |share: usize| micros(times[(ROUNDS - 1) * share / 100]);
    println!(
        "{ROUNDS} rounds: least {} µs, median {} µs, 99 % below {} µs",
        at(0),
        at(50),
        at(99)
    );
    Ok(())
}

fn micros(time: Duration) -> u128 {
    time.as_micros()
}
