//! Key pairs, in the files of minisign, and signatures by them.
//!
//! Promises: a file that is there is never overwritten; a secret key is written with a mode that
//! lets nobody else read it (Unix; on Windows the folder's own rights count), and is on the disk
//! when its public key is shown. What is written here is read by the ordinary `minisign`, and the
//! other way round.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use castoff::trust::PublicKey;
use minisign::{KeyPair, SecretKey, SecretKeyBox};

use crate::{Error, Result};

/// How the file of a secret key ends.
pub const SECRET: &str = "key";
/// How the file of a public key ends.
pub const PUBLIC: &str = "pub";

/// A real one has some 300 bytes.
const LARGEST_KEY: u64 = 16 * 1024;

/// Where minisign's secret key says how it is encrypted: `Sc`, or two zeros when it is not.
const ENCRYPTION: std::ops::Range<usize> = 2..4;

/// How many bytes minisign's secret key has.
const SECRET_BYTES: usize = 158;

/// minisign takes no longer ones.
const LONGEST_PASSPHRASE: usize = 1024;

/// The files of a key pair that does not exist yet.
#[derive(Debug)]
pub struct NewPair {
    /// The secret key's.
    pub secret: PathBuf,
    /// The public key's.
    pub public: PathBuf,
}

impl NewPair {
    /// Fails with `FILE_EXISTS` where one of them is there: before anybody is asked for a passphrase.
    pub fn named(folder: &Path, name: &str) -> Result<Self> {
        if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\', ':']) {
            let problem = format!("{name:?} is no name for a file; --dir names the folder");
            return Err(Error::Request { problem });
        }
        let pair = Self {
            secret: join(folder, &format!("{name}.{SECRET}")),
            public: join(folder, &format!("{name}.{PUBLIC}")),
        };
        for path in [&pair.secret, &pair.public] {
            if path.symlink_metadata().is_ok() {
                return Err(Error::Exists { path: path.clone() });
            }
        }
        Ok(pair)
    }

    /// Makes the pair; without a passphrase, whoever has the file has the key.
    pub fn make(&self, passphrase: Option<String>) -> Result<PublicKey> {
        if let Some(text) = &passphrase
            && (text.is_empty() || text.len() > LONGEST_PASSPHRASE)
        {
            let problem = format!("a passphrase has 1 to {LONGEST_PASSPHRASE} bytes");
            return Err(Error::Request { problem });
        }
        let (pair, kind) = match passphrase {
            Some(passphrase) => (
                KeyPair::generate_encrypted_keypair(Some(passphrase)),
                "minisign encrypted secret key",
            ),
            None => (
                KeyPair::generate_unencrypted_keypair(),
                "minisign unencrypted secret key",
            ),
        };
        let failed = |error: minisign::PError| Error::KeyInvalid {
            subject: self.secret.display().to_string(),
            problem: error.to_string(),
        };
        let pair = pair.map_err(failed)?;
        let public = own(&pair.pk, &self.public)?;
        let secret = pair.sk.to_box(Some(kind)).map_err(failed)?;
        write_new(&self.secret, &secret.to_bytes(), 0o600)?;
        let text = format!(
            "untrusted comment: minisign public key {}\n{public}\n",
            public.id()
        );
        if let Err(error) = write_new(&self.public, text.as_bytes(), 0o644) {
            // Half a pair would be in the way of the next attempt. It was made here just now, and
            // nobody has seen its public key.
            drop(fs::remove_file(&self.secret));
            return Err(error);
        }
        Ok(public)
    }
}

/// A file in a folder, without `./` before every name that people read.
pub(crate) fn join(folder: &Path, name: &str) -> PathBuf {
    if folder == Path::new(".") {
        PathBuf::from(name)
    } else {
        folder.join(name)
    }
}

/// Writes what must not be there, and syncs it: a key that a power cut takes away is lost for good.
pub(crate) fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(mode);
    }
    #[cfg(not(unix))]
    let _ = mode;
    let mut file = options.open(path).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => Error::Exists {
            path: path.to_path_buf(),
        },
        _ => Error::io("create", path)(error),
    })?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(Error::io("write", path))?;
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    Ok(castoff::disk::sync_folder(
        folder.unwrap_or(Path::new(".")),
    )?)
}

fn own(public: &minisign::PublicKey, subject: &Path) -> Result<PublicKey> {
    let key = public.to_base64().parse();
    key.map_err(|problem: &str| Error::KeyInvalid {
        subject: subject.display().to_string(),
        problem: problem.to_owned(),
    })
}

/// A public key: the text of one, or the path of its file.
pub fn public_key(named: &str) -> Result<PublicKey> {
    if let Ok(key) = named.parse() {
        return Ok(key);
    }
    let path = Path::new(named);
    let invalid = |problem: String| Error::KeyInvalid {
        subject: named.to_owned(),
        problem,
    };
    if !path.exists() {
        return Err(invalid(
            "is neither a file nor the text of a public key".to_owned(),
        ));
    }
    read(path)?
        .parse()
        .map_err(|problem: &str| invalid(problem.to_owned()))
}

fn read(path: &Path) -> Result<String> {
    let size = fs::metadata(path).map_err(Error::io("read", path))?.len();
    if size > LARGEST_KEY {
        return Err(Error::KeyInvalid {
            subject: path.display().to_string(),
            problem: "is too large for a key".to_owned(),
        });
    }
    fs::read_to_string(path).map_err(Error::io("read", path))
}

/// Asks for the passphrase of the key in this file.
pub type Ask<'a> = dyn FnMut(&Path) -> Result<String> + 'a;

/// A secret key that is open, and signs.
pub struct Signer {
    path: PathBuf,
    secret: SecretKey,
    public: PublicKey,
}

impl Signer {
    /// Opens the key in a file; one that is encrypted with the passphrase that `ask` gives.
    ///
    /// Fails with `KEY_INVALID`, `PASSPHRASE_WRONG`, or as `ask` and reading a file do.
    pub fn open(path: &Path, ask: &mut Ask<'_>) -> Result<Self> {
        let invalid = |problem: &str| Error::KeyInvalid {
            subject: path.display().to_string(),
            problem: problem.to_owned(),
        };
        let text = read(path)?;
        let line = text.lines().nth(1).unwrap_or_default();
        let bytes = STANDARD.decode(line.trim()).unwrap_or_default();
        let Some(encryption) = bytes
            .get(ENCRYPTION)
            .filter(|_| bytes.len() == SECRET_BYTES)
        else {
            return Err(invalid("is no secret key of minisign"));
        };
        let secret = if encryption == [0, 0] {
            // minisign itself writes no checksum into such a file.
            SecretKey::from_bytes(&bytes).map_err(|error| invalid(&error.to_string()))?
        } else {
            let opened = SecretKeyBox::from(text).into_secret_key(Some(ask(path)?));
            opened.map_err(|error| match error.kind() {
                minisign::ErrorKind::Verify => Error::PassphraseWrong {
                    path: path.to_path_buf(),
                },
                _ => invalid(&error.to_string()),
            })?
        };
        let public = minisign::PublicKey::from_secret_key(&secret)
            .map_err(|error| invalid(&error.to_string()))?;
        // Both halves of it belong together, or what it signs would be worth nothing.
        minisign::sign(Some(&public), &secret, &b""[..], None, None)
            .map_err(|_| invalid("is damaged"))?;
        Ok(Self {
            path: path.to_path_buf(),
            public: own(&public, path)?,
            secret,
        })
    }

    /// The file that it came from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its public key.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// A signature of these bytes, prehashed, as the text of a `.minisig` file.
    pub(crate) fn sign(&self, bytes: &[u8]) -> Result<String> {
        let comment = format!("signature by the key {}", self.public.id());
        let signed = minisign::sign(None, &self.secret, bytes, None, Some(&comment));
        let signed = signed.map_err(|error| Error::KeyInvalid {
            subject: self.path.display().to_string(),
            problem: error.to_string(),
        })?;
        Ok(signed.into_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none(_: &Path) -> Result<String> {
        panic!("nobody is to be asked")
    }

    #[test]
    fn a_pair_is_made_once_and_signs() {
        let folder = tempfile::tempdir().unwrap();
        let pair = NewPair::named(folder.path(), "a").unwrap();
        let public = pair.make(None).unwrap();
        let before = fs::read(&pair.secret).unwrap();
        assert_eq!(
            NewPair::named(folder.path(), "a").unwrap_err().code(),
            "FILE_EXISTS"
        );
        // It has come meanwhile.
        assert_eq!(pair.make(None).unwrap_err().code(), "FILE_EXISTS");
        assert_eq!(fs::read(&pair.secret).unwrap(), before);
        fs::remove_file(&pair.secret).unwrap();
        assert_eq!(pair.make(None).unwrap_err().code(), "FILE_EXISTS");
        assert!(!pair.secret.exists(), "half a pair does not stay");
        fs::write(&pair.secret, before).unwrap();
        let signer = Signer::open(&pair.secret, &mut none).unwrap();
        assert_eq!(signer.public(), &public);
        let file = pair.public.display().to_string();
        assert_eq!(public_key(&file).unwrap(), public);
        assert_eq!(public_key(&public.to_string()).unwrap(), public);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let fresh = NewPair::named(folder.path(), "b").unwrap();
            fresh.make(None).unwrap();
            let mode = fs::metadata(&fresh.secret).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_passphrase_opens_its_key_and_no_other_does() {
        let folder = tempfile::tempdir().unwrap();
        let pair = NewPair::named(folder.path(), "a").unwrap();
        let public = pair.make(Some("right".to_owned())).unwrap();
        let open = |text: &str| Signer::open(&pair.secret, &mut |_: &Path| Ok(text.to_owned()));
        assert_eq!(open("right").unwrap().public(), &public);
        for wrong in ["wrong", "", "right "] {
            assert_eq!(open(wrong).err().unwrap().code(), "PASSPHRASE_WRONG");
        }
        // A letter that a careless hand has changed is no matter of passphrases.
        let text = fs::read_to_string(&pair.secret).unwrap();
        fs::write(&pair.secret, &text[..text.len() / 2]).unwrap();
        assert_eq!(open("right").err().unwrap().code(), "KEY_INVALID");
    }

    #[test]
    fn a_key_without_a_checksum_is_tried_before_it_signs() {
        let folder = tempfile::tempdir().unwrap();
        let pair = NewPair::named(folder.path(), "a").unwrap();
        let public = pair.make(None).unwrap();
        let text = fs::read_to_string(&pair.secret).unwrap();
        let line = text.lines().nth(1).unwrap();
        let write = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = STANDARD.decode(line).unwrap();
            change(&mut bytes);
            let text = format!("untrusted comment: x\n{}\n", STANDARD.encode(bytes));
            fs::write(&pair.secret, text).unwrap();
            Signer::open(&pair.secret, &mut none)
        };
        // As minisign writes it.
        let opened = write(&|bytes| bytes[126..].fill(0)).unwrap();
        assert_eq!(opened.public(), &public);
        for damaged in [70, 100] {
            let opened = write(&|bytes| bytes[damaged] ^= 1);
            assert_eq!(opened.err().unwrap().code(), "KEY_INVALID", "{damaged}");
        }
    }

    #[test]
    fn what_is_no_key_is_said_to_be_none() {
        let folder = tempfile::tempdir().unwrap();
        let pair = NewPair::named(folder.path(), "a").unwrap();
        pair.make(None).unwrap();
        let secret = pair.secret.display().to_string();
        for wrong in [&secret, "nothing", "RWQ", ""] {
            assert_eq!(
                public_key(wrong).err().unwrap().code(),
                "KEY_INVALID",
                "{wrong}"
            );
        }
        let opened = Signer::open(&pair.public, &mut none);
        assert_eq!(opened.err().unwrap().code(), "KEY_INVALID");
        for name in ["", ".a", "a/b", "a\\b", "c:a"] {
            assert_eq!(
                NewPair::named(folder.path(), name).unwrap_err().code(),
                "REQUEST_INVALID"
            );
        }
    }
}
