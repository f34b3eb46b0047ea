//! Against a real server on loopback. Limits of time are short only where the server is told to
//! be silent, so that a busy machine changes nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Client;
use super::proxy::Proxies;
use crate::config::{FieldNames, NetworkConfig, SourceConfig, SourceKind};

mod client;
mod download;

/// Long enough for the busiest machine.
pub(crate) const PATIENT: Duration = Duration::from_secs(20);

/// What a test waits for a server that says nothing.
pub(crate) const SHORT: Duration = Duration::from_millis(if cfg!(emulated) { 2000 } else { 300 });

pub(crate) fn network() -> NetworkConfig {
    NetworkConfig {
        connect_timeout: PATIENT,
        stall_timeout: PATIENT,
        check_timeout: PATIENT,
        retries: 3,
        chunk_size: 16 * 1024,
        verify_certificates: true,
        allow_http: false,
        tokens_by_http: false,
        max_package_size: 1 << 30,
    }
}

pub(crate) fn source(url: &str) -> SourceConfig {
    SourceConfig {
        kind: SourceKind::Check,
        url: url.to_owned(),
        headers: BTreeMap::new(),
        repo: String::new(),
        token: None,
        asset: None,
        documents: None,
        history: None,
        fields: FieldNames {
            version: "version".to_owned(),
            url: vec!["download_url".to_owned(), "file".to_owned()],
            sha256: "file_hash".to_owned(),
            size: "file_size".to_owned(),
            entry_point: "entry_point".to_owned(),
            notes: "changelog".to_owned(),
            launchers: "launchers".to_owned(),
            critical_below: "critical_below".to_owned(),
            rollout: "rollout".to_owned(),
            release: "release".to_owned(),
            keys: "keys".to_owned(),
        },
    }
}

/// A client for `source`, whatever proxy the machine has, that hardly waits before a repetition.
pub(crate) fn client(network: &NetworkConfig, source: &SourceConfig) -> Client {
    let mut client = Client::new(network, source)
        .unwrap()
        .with_first_wait(Duration::from_millis(2));
    client.proxies = Proxies::default();
    client
}
