//! Public keys, and roles: which keys speak for what, and how many of them it takes.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minisign_verify::Signature;

/// As many keys as a role may have, and signatures an envelope: more people than sign for any
/// project, and few enough that checking them all takes no time.
pub const MOST_KEYS: usize = 16;

/// Where the Ed25519 key begins in minisign's 42 bytes: two name the algorithm, eight the key.
const NAME: std::ops::Range<usize> = 2..10;

/// A minisign public key.
///
/// Two of them are the same when they are the same Ed25519 key: the name that minisign gives a key
/// is the publisher's to choose, and must not make two keys of one.
#[derive(Clone)]
pub struct PublicKey {
    text: String,
    bytes: [u8; 42],
    verifier: minisign_verify::PublicKey,
}

impl PublicKey {
    /// The key's name, as minisign prints it: 16 hex digits.
    pub fn id(&self) -> String {
        let mut name = [0; 8];
        name.copy_from_slice(&self.bytes[NAME]);
        format!("{:016X}", u64::from_le_bytes(name))
    }

    /// The Ed25519 key itself.
    fn key(&self) -> &[u8] {
        &self.bytes[NAME.end..]
    }

    /// Whether a signature of `bytes` is this key's. Only prehashed ones count: what minisign made
    /// before can be of any size, and hashes nothing.
    pub(super) fn has_signed(&self, bytes: &[u8], signature: &Signature) -> bool {
        self.verifier.verify(bytes, signature, false).is_ok()
    }
}

impl FromStr for PublicKey {
    type Err = &'static str;

    /// Reads the line of base64 that a `.pub` file holds, or the whole file.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const NONE: &str =
            "is no minisign public key, such as RWQ... in the last line of a .pub file";
        let line = text.lines().rfind(|line| !line.trim().is_empty());
        let text = line.unwrap_or_default().trim();
        let decoded = STANDARD.decode(text).map_err(|_| NONE)?;
        Ok(Self {
            text: text.to_owned(),
            bytes: decoded.try_into().map_err(|_| NONE)?,
            verifier: minisign_verify::PublicKey::from_base64(text).map_err(|_| NONE)?,
        })
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for PublicKey {}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Who may sign something: the keys, and how many of them have to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    keys: Vec<PublicKey>,
    threshold: usize,
}

impl Role {
    /// Fails where nobody, too many, or fewer keys than the threshold are named, or one key twice,
    /// whatever its name.
    pub fn new(keys: Vec<PublicKey>, threshold: usize) -> Result<Self, String> {
        if keys.is_empty() || keys.len() > MOST_KEYS {
            return Err(format!("names {} keys, not 1 to {MOST_KEYS}", keys.len()));
        }
        for (index, key) in keys.iter().enumerate() {
            if keys[..index].contains(key) {
                return Err(format!("names the key {} twice", key.id()));
            }
        }
        if threshold == 0 || threshold > keys.len() {
            return Err(format!(
                "asks for {threshold} signatures of {} keys",
                keys.len()
            ));
        }
        Ok(Self { keys, threshold })
    }

    /// The keys.
    pub fn keys(&self) -> &[PublicKey] {
        &self.keys
    }

    /// How many of them have to sign.
    pub fn threshold(&self) -> usize {
        self.threshold
    }

    /// Whether it is the same keys, in whatever order, and as many of them.
    pub fn is_same(&self, other: &Self) -> bool {
        self.threshold == other.threshold
            && self.keys.len() == other.keys.len()
            && self.keys.iter().all(|key| other.keys.contains(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use castoff_testkit::sign::Signer;

    fn key(signer: &Signer) -> PublicKey {
        signer.public().parse().unwrap()
    }

    #[test]
    fn a_key_is_read_from_its_line_and_from_its_file() {
        let line = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
        let key: PublicKey = line.parse().unwrap();
        assert_eq!(key.id(), "E7620F1842B4E81F");
        let file = format!("untrusted comment: minisign public key E7620F1842B4E81F\n{line}\n");
        assert_eq!(file.parse::<PublicKey>().unwrap(), key);
        for wrong in [
            "",
            "RWQ",
            &line[1..],
            &line.replace("RWQ", "RXQ"),
            &format!("{line}AAAA"),
        ] {
            assert!(wrong.parse::<PublicKey>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn one_key_under_two_names_is_one_key() {
        let signer = Signer::new();
        let (key, alias) = (key(&signer), signer.alias().public().parse().unwrap());
        assert_eq!(key, alias);
        assert_ne!(key.id(), alias.id());
        let error = Role::new(vec![key, alias], 2).unwrap_err();
        assert!(error.contains("twice"), "{error}");
    }

    #[test]
    fn a_role_can_be_fulfilled_and_not_by_nobody() {
        let keys: Vec<_> = (0..3).map(|_| key(&Signer::new())).collect();
        assert!(Role::new(keys.clone(), 3).is_ok());
        for threshold in [0, 4] {
            assert!(Role::new(keys.clone(), threshold).is_err(), "{threshold}");
        }
        assert!(Role::new(Vec::new(), 0).is_err());
        assert!(Role::new((0..17).map(|_| key(&Signer::new())).collect(), 1).is_err());
    }
}
