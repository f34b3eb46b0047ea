//! Keys, signatures and signed documents, written from the description of the formats alone, and
//! what an attacker would make of them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minisign::{KeyPair, PublicKey, SecretKey};
use serde_json::{Value, json};

/// A key pair that signs whatever it is asked to.
#[derive(Clone)]
pub struct Signer {
    public: PublicKey,
    secret: SecretKey,
    /// The name that it gives itself in place of its own.
    name: Option<[u8; 8]>,
}

/// Where the name of the key is in a public key and in a signature.
const NAME: std::ops::Range<usize> = 2..10;

/// Where the seed of the key is in a secret key of minisign.
const SEED: std::ops::Range<usize> = 62..94;

impl Default for Signer {
    fn default() -> Self {
        Self::new()
    }
}

impl Signer {
    /// A new pair.
    ///
    /// # Panics
    ///
    /// When the system has no random numbers.
    pub fn new() -> Self {
        let pair = KeyPair::generate_unencrypted_keypair().expect("random numbers");
        Self {
            public: pair.pk,
            secret: pair.sk,
            name: None,
        }
    }

    /// The same key under another name, for those who count names.
    #[must_use]
    pub fn alias(&self) -> Self {
        let name = Some(*b"an alias");
        Self {
            name,
            ..self.clone()
        }
    }

    /// The public key, as the last line of a `.pub` file has it.
    pub fn public(&self) -> String {
        let bytes = self.named(self.public.to_bytes());
        STANDARD.encode(bytes)
    }

    /// The secret key, not encrypted, as a file of minisign.
    ///
    /// # Panics
    ///
    /// Never.
    pub fn secret(&self) -> String {
        let text = self.secret.to_box(None).expect("a key can be written");
        text.into_string()
    }

    /// A signature as minisign makes it.
    ///
    /// # Panics
    ///
    /// When the system has no random numbers.
    pub fn sign(&self, bytes: &[u8]) -> String {
        let signed = minisign::sign(None, &self.secret, bytes, None, None);
        let text = signed.expect("the key signs").into_string();
        let mut lines: Vec<&str> = text.lines().collect();
        let signature = STANDARD.decode(lines[1]).expect("base64");
        let signature = STANDARD.encode(self.named(signature));
        lines[1] = &signature;
        lines.join("\n")
    }

    /// A signature as minisign made them before it hashed what it signs.
    ///
    /// # Panics
    ///
    /// Never.
    pub fn sign_legacy(&self, bytes: &[u8]) -> String {
        let secret = self.secret.to_bytes();
        let pair = ring::signature::Ed25519KeyPair::from_seed_unchecked(&secret[SEED])
            .expect("a seed of 32 bytes");
        let signature = pair.sign(bytes);
        let mut first = b"Ed".to_vec();
        first.extend(&self.public.to_bytes()[NAME]);
        first.extend(signature.as_ref());
        let comment = "timestamp:1";
        let second = pair.sign(&[signature.as_ref(), comment.as_bytes()].concat());
        format!(
            "untrusted comment: x\n{}\ntrusted comment: {comment}\n{}",
            STANDARD.encode(first),
            STANDARD.encode(second.as_ref())
        )
    }

    fn named(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        if let Some(name) = self.name {
            bytes[NAME].copy_from_slice(&name);
        }
        bytes
    }
}

/// A document in its envelope.
pub fn envelope(payload: &[u8], signers: &[&Signer]) -> String {
    let sigs: Vec<String> = signers.iter().map(|signer| signer.sign(payload)).collect();
    json!({"payload": STANDARD.encode(payload), "sigs": sigs}).to_string()
}

/// A role as keys documents have it.
pub fn role(signers: &[&Signer], threshold: usize) -> Value {
    let keys: Vec<String> = signers.iter().map(|signer| signer.public()).collect();
    json!({"threshold": threshold, "keys": keys})
}

/// A document that can be changed before it is signed.
#[derive(Clone, Debug)]
pub struct Document(pub Value);

impl Document {
    /// `keys.N.json` for the app of the tests.
    pub fn keys(version: u64, root: &Value, release: &Value, index: &Value) -> Self {
        Self(json!({
            "type": "keys", "spec": 1, "app": APP, "version": version,
            "expires": "2096-01-01T00:00:00Z",
            "roles": {"root": root, "release": release, "index": index},
        }))
    }

    /// `release-VERSION.json`, of one package for every kind of machine.
    pub fn release(version: &str, url: &str, package: &[u8]) -> Self {
        Self(json!({
            "type": "release", "spec": 1, "app": APP, "version": version,
            "notes": format!("what is new in {version}"),
            "packages": {"any": {
                "size": package.len(), "sha256": crate::package::sha256(package), "urls": [url],
            }},
        }))
    }

    /// `stable.json`, which points to a release.
    pub fn index(seq: u64, version: &str, release: &Self) -> Self {
        Self(json!({
            "type": "index", "spec": 1, "app": APP, "channel": "stable", "seq": seq,
            "issued": "2026-01-01T00:00:00Z", "expires": "2096-01-01T00:00:00Z",
            "current": {"version": version, "sha256": crate::package::sha256(&release.bytes())},
        }))
    }

    /// The same with another field, or another value of one; null removes it.
    ///
    /// # Panics
    ///
    /// When the path leads to nothing that has fields.
    #[must_use]
    pub fn with(mut self, path: &str, value: Value) -> Self {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let place = if folder.is_empty() {
            Some(&mut self.0)
        } else {
            self.0.pointer_mut(&format!("/{folder}"))
        };
        let fields = place.and_then(Value::as_object_mut).expect("an object");
        if value.is_null() {
            fields.remove(name);
        } else {
            fields.insert(name.to_owned(), value);
        }
        self
    }

    /// The bytes that are signed.
    pub fn bytes(&self) -> Vec<u8> {
        self.0.to_string().into_bytes()
    }

    /// The document in its envelope.
    pub fn signed(&self, signers: &[&Signer]) -> String {
        envelope(&self.bytes(), signers)
    }
}

/// The app of all signed documents of tests.
pub const APP: &str = "org.castoff.test";
