//! A document and its signatures, which cannot part:
//! `{"payload": "<base64 of its exact bytes>", "sigs": ["<minisign signature>", ...]}`.
//!
//! Promises: what a role has [signed](Envelope::signed_by) are the exact bytes that are handed on,
//! and nothing of them is read before. Distinct keys are counted, not signatures. Signatures by
//! others, and what is no signature of these bytes, count for nothing and do no harm.
//!
//! Every signature is one that the ordinary `minisign -V` verifies, over the payload's bytes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minisign_verify::Signature;
use serde_json::{Value, json};

use super::key::{MOST_KEYS, PublicKey, Role};
use crate::json::{self, Object};
use crate::{Error, Result};

/// A signature has some 350 bytes; minisign's comments may make it longer.
const LONGEST_SIGNATURE: usize = 4 * 1024;

/// A document and its signatures. Whoever reads the payload without asking who has signed it has
/// read what anybody may have written.
#[derive(Clone)]
pub struct Envelope {
    subject: String,
    payload: Vec<u8>,
    texts: Vec<String>,
    signatures: Vec<Signature>,
}

impl Envelope {
    /// Reads an envelope of at most `limit` bytes; errors call it `subject`.
    ///
    /// Fails with `TRUST_INVALID`, and with `TRUST_UNSIGNED` where there is no signature at all.
    pub fn parse(bytes: &[u8], limit: u64, subject: &str) -> Result<Self> {
        let invalid = |problem: String| Error::TrustInvalid {
            subject: subject.to_owned(),
            problem,
        };
        if bytes.len() as u64 > limit {
            return Err(Error::TooLarge {
                subject: subject.to_owned(),
                limit: format!("{limit} bytes"),
            });
        }
        let document = json::parse(bytes)
            .map_err(|error| invalid(format!("{error}; it begins {:?}", json::excerpt(bytes))))?;
        let read = || -> Result<(Vec<u8>, Vec<String>), String> {
            let fields = Object::of(&document)?;
            if let Some(other) = fields
                .names()
                .find(|name| !["payload", "sigs"].contains(name))
            {
                return Err(fields.wrong(other, "does not belong into an envelope"));
            }
            let payload = fields.required("payload", fields.text("payload"))?;
            let payload = STANDARD
                .decode(payload)
                .map_err(|error| fields.wrong("payload", &error.to_string()))?;
            let texts = fields.texts("sigs")?;
            if texts.len() > MOST_KEYS {
                let problem = format!("holds {} signatures, more than {MOST_KEYS}", texts.len());
                return Err(fields.wrong("sigs", &problem));
            }
            if texts.iter().any(|text| text.len() > LONGEST_SIGNATURE) {
                return Err(fields.wrong("sigs", "holds what is too long for a signature"));
            }
            Ok((payload, texts.into_iter().map(str::to_owned).collect()))
        };
        let (payload, texts) = read().map_err(invalid)?;
        if texts.is_empty() {
            return Err(Error::TrustUnsigned {
                subject: subject.to_owned(),
                problem: "it holds no signature",
            });
        }
        let signatures = texts
            .iter()
            .map(|text| Signature::decode(text))
            .collect::<Result<_, _>>()
            .map_err(|error| invalid(format!("field sigs: {error}")))?;
        Ok(Self {
            subject: subject.to_owned(),
            payload,
            texts,
            signatures,
        })
    }

    /// What errors call it.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The bytes of the document, whoever has written them.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The signatures, as minisign wrote them.
    pub fn signatures(&self) -> &[String] {
        &self.texts
    }

    /// The keys of a role that have signed it.
    pub fn signers<'a>(&self, role: &'a Role) -> Vec<&'a PublicKey> {
        let signed = |key: &&PublicKey| {
            let mut signatures = self.signatures.iter();
            signatures.any(|signature| key.has_signed(&self.payload, signature))
        };
        // A role has no key twice, so each of these is another key.
        role.keys().iter().filter(signed).collect()
    }

    /// The bytes of the document, if as many keys of the role have signed them as it takes.
    ///
    /// Fails with `TRUST_SIGNATURE`; `name` is the role's.
    pub fn signed_by(&self, role: &Role, name: &'static str) -> Result<&[u8]> {
        let signed = self.signers(role).len();
        if signed < role.threshold() {
            return Err(Error::TrustSignature {
                subject: self.subject.clone(),
                role: name,
                signed,
                needed: role.threshold(),
            });
        }
        Ok(&self.payload)
    }
}

/// The text of an envelope.
pub fn seal(payload: &[u8], signatures: &[String]) -> String {
    enclose(payload, signatures).to_string()
}

/// An envelope as a JSON value, to be put into another document.
pub fn enclose(payload: &[u8], signatures: &[String]) -> Value {
    json!({"payload": STANDARD.encode(payload), "sigs": signatures})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Code;
    use castoff_testkit::sign::{Signer, envelope};

    const LIMIT: u64 = 64 * 1024;

    fn role(signers: &[&Signer], threshold: usize) -> Role {
        let keys = signers
            .iter()
            .map(|signer| signer.public().parse().unwrap());
        Role::new(keys.collect(), threshold).unwrap()
    }

    fn code(text: &str) -> Code {
        Envelope::parse(text.as_bytes(), LIMIT, "it")
            .err()
            .unwrap()
            .code()
    }

    #[test]
    fn what_enough_keys_have_signed_is_handed_on() {
        let (a, b, c) = (Signer::new(), Signer::new(), Signer::new());
        let text = envelope(b"bytes", &[&a, &b]);
        let sealed = Envelope::parse(text.as_bytes(), LIMIT, "it").unwrap();
        assert_eq!(
            sealed.signed_by(&role(&[&a, &b, &c], 2), "root").unwrap(),
            b"bytes"
        );
        for (keys, threshold) in [(vec![&a, &c], 2), (vec![&c], 1), (vec![&a, &b, &c], 3)] {
            let error = sealed
                .signed_by(&role(&keys, threshold), "root")
                .unwrap_err();
            assert_eq!(error.code(), Code::TrustSignature);
        }
        let again = seal(sealed.payload(), sealed.signatures());
        let again = Envelope::parse(again.as_bytes(), LIMIT, "it").unwrap();
        assert_eq!(again.signers(&role(&[&a, &b], 1)).len(), 2);
    }

    #[test]
    fn keys_are_counted_and_not_signatures() {
        let (a, b) = (Signer::new(), Signer::new());
        // The same key three times, once under another name.
        let text = envelope(b"bytes", &[&a, &a, &a.alias()]);
        let sealed = Envelope::parse(text.as_bytes(), LIMIT, "it").unwrap();
        assert_eq!(sealed.signers(&role(&[&a, &b], 2)).len(), 1);
    }

    #[test]
    fn a_signature_of_other_bytes_or_of_the_legacy_kind_counts_for_nothing() {
        let a = Signer::new();
        let signed = |signature: String| {
            let text = json!({"payload": STANDARD.encode(b"bytes"), "sigs": [signature]});
            let text = text.to_string();
            let sealed = Envelope::parse(text.as_bytes(), LIMIT, "it").unwrap();
            sealed.signers(&role(&[&a], 1)).len()
        };
        assert_eq!(signed(a.sign(b"bytes")), 1);
        assert_eq!(signed(a.sign(b"other")), 0);
        assert_eq!(signed(a.sign_legacy(b"bytes")), 0);
        let commented = a
            .sign(b"bytes")
            .replace("trusted comment: ", "trusted comment: x");
        assert_eq!(signed(commented), 0);
    }

    #[test]
    fn what_is_no_envelope_is_refused_before_anything_is_verified() {
        let a = Signer::new();
        let good = envelope(b"bytes", &[&a]);
        let with = |from: &str, to: &str| good.replacen(from, to, 1);
        for text in [
            "",
            "[]",
            "<html>",
            &good[..good.len() / 2],
            &with("{", r#"{"more": 1, "#),
            &with("{", r#"{"payload": "", "#),
            &with(r#""payload":""#, r#""payload":"!"#),
            &with(r#""payload""#, r#""load""#),
            &with(r"\ntrusted comment", r"\ncomment"),
            r#"{"payload": "", "sigs": [1]}"#,
            r#"{"payload": "", "sigs": "x"}"#,
            r#"{"payload": "", "sigs": ["x"]}"#,
        ] {
            assert_eq!(code(text), Code::TrustInvalid, "{text}");
        }
        let long = "x".repeat(LONGEST_SIGNATURE);
        let long = with("untrusted comment: ", &format!("untrusted comment: {long}"));
        assert_eq!(code(&long), Code::TrustInvalid);
        let many: Vec<&Signer> = vec![&a; 17];
        assert_eq!(code(&envelope(b"bytes", &many)), Code::TrustInvalid);
        assert_eq!(code(r#"{"payload": "", "sigs": []}"#), Code::TrustUnsigned);
        assert_eq!(code(r#"{"payload": ""}"#), Code::TrustUnsigned);
        let large = envelope(&vec![0; 100_000], &[&a]);
        assert_eq!(code(&large), Code::TooLarge);
    }
}
