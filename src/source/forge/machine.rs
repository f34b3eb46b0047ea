//! Which file of a release is meant for this kind of machine, by the words in its name.
//!
//! Promises: a file whose name has the words of other machines only is never chosen, nor one of several
//! that fit alike.
//!
//! Not promised: that a name tells the truth. `source.asset` says it where names do not.

use super::{Asset, Candidate, Choice, asset_names};
use crate::Result;

/// What packages end with; the ones that this system's own tools make come first.
const ENDINGS: [&str; 4] = if cfg!(windows) {
    [".zip", ".tar.gz", ".tgz", ".tar.zst"]
} else {
    [".tar.gz", ".tgz", ".zip", ".tar.zst"]
};

/// Words for operating systems, as `std::env::consts::OS` calls them.
const SYSTEMS: [(&str, &[&str]); 10] = [
    ("linux", &["linux", "linux32", "linux64"]),
    ("windows", &["windows", "win", "win32", "win64"]),
    ("macos", &["macos", "darwin", "osx", "mac"]),
    ("freebsd", &["freebsd"]),
    ("android", &["android"]),
    ("ios", &["ios"]),
    ("openbsd", &["openbsd"]),
    ("netbsd", &["netbsd"]),
    ("solaris", &["solaris", "sunos"]),
    ("illumos", &["illumos"]),
];

/// Words for processors, as `std::env::consts::ARCH` calls them. `win32` is none: it is also said of
/// Windows with 64 bits.
const PROCESSORS: [(&str, &[&str]); 10] = [
    ("x86_64", &["amd64", "x64", "linux64", "win64"]),
    ("aarch64", &["aarch64", "arm64"]),
    (
        "x86",
        &["x86", "i386", "i586", "i686", "386", "ia32", "linux32"],
    ),
    (
        "arm",
        &[
            "arm", "armel", "armhf", "armv5", "armv6", "armv6l", "armv6hf", "armv7", "armv7l",
            "armv7hf",
        ],
    ),
    ("s390x", &["s390x"]),
    ("mips", &["mips", "mipsel", "mipsle"]),
    ("mips64", &["mips64", "mips64el", "mips64le"]),
    ("riscv64", &["riscv64", "riscv64gc"]),
    ("loongarch64", &["loongarch64", "loong64"]),
    (
        "powerpc64",
        &["ppc64", "ppc64le", "ppc64el", "powerpc64", "powerpc64le"],
    ),
];

/// Words of archives that hold what a package is built from.
const SOURCES: [&str; 4] = ["source", "sources", "src", "sourcecode"];

/// What files beside packages end with: documents, signatures, digests, what somebody has attested.
const BESIDE: [&str; 14] = [
    ".json", ".jsonl", ".minisig", ".sig", ".asc", ".pem", ".crt", ".md5", ".sha1", ".sha256",
    ".sha512", ".txt", ".md", ".yml",
];

/// The file for this machine: the one whose name says so, in most words; else the only one, if its name
/// names no other machine; where there are no files but sources and what lies beside packages, the
/// archive of the tag. Where there are others (installers, packages of a kind that is not known), an
/// archive of sources would not be what is meant.
pub(super) fn choose<'a>(candidate: &Candidate, assets: &'a [Asset]) -> Result<Choice<'a>> {
    let packages: Vec<&Asset> = assets.iter().filter(|it| is_built(&it.name)).collect();
    if packages.is_empty() {
        if assets.iter().all(|it| is_beside(&it.name)) {
            return Ok(Choice::Archive { zip: cfg!(windows) });
        }
        let problem = format!("none of its files is a package: {}", asset_names(assets));
        return Err(candidate.unavailable(problem));
    }
    let fits = |asset: &&'a Asset| fit(&asset.name, std::env::consts::OS, std::env::consts::ARCH);
    if let [only] = packages[..]
        && fits(&only).is_some()
    {
        return Ok(Choice::Asset(only));
    }
    // Which of two formats it is decides last.
    let rank = |asset: &&'a Asset| {
        let words = fits(asset).filter(|words| *words > 0)?;
        Some((words, ENDINGS.len() - ending(&asset.name)?))
    };
    let best = packages.iter().filter_map(rank).max();
    let fitting: Vec<&Asset> = packages
        .iter()
        .filter(|asset| best.is_some() && rank(asset) == best)
        .copied()
        .collect();
    let problem = match fitting[..] {
        [asset] => return Ok(Choice::Asset(asset)),
        [] => "it has ",
        _ => "which of these is for it is not clear, source.asset can say it: ",
    };
    let listed = if fitting.is_empty() {
        packages
    } else {
        fitting
    };
    Err(candidate.unavailable(format!("{problem}{}", asset_names(listed))))
}

/// Whether a file is a package, by its name.
pub(in crate::source) fn is_package(name: &str) -> bool {
    ending(name).is_some()
}

/// Which of the endings a name has.
fn ending(name: &str) -> Option<usize> {
    let name = name.to_ascii_lowercase();
    ENDINGS.iter().position(|ending| name.ends_with(ending))
}

fn is_built(name: &str) -> bool {
    is_package(name) && !words(name).iter().any(|word| SOURCES.contains(&&**word))
}

/// Whether a file is no app's, by its name.
fn is_beside(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    BESIDE.iter().any(|ending| lower.ends_with(ending)) || (is_package(name) && !is_built(name))
}

/// The words of a name, in lower case.
fn words(name: &str) -> Vec<String> {
    // The one word that has a divider in it.
    let name = name.to_ascii_lowercase().replace("x86-64", "x86_64");
    let bare = name.replace("x86_64", "x64");
    let divided = bare.split(|c: char| !c.is_ascii_alphanumeric());
    divided.map(str::to_owned).collect()
}

/// How many words speak for this machine, the system's before the processor's; `None` where those of
/// others alone are there.
fn fit(name: &str, system: &str, processor: &str) -> Option<usize> {
    let words = words(name);
    let system = named(&words, &SYSTEMS, system)?;
    // One file for both processors of Macs.
    let both = words.iter().any(|word| word.starts_with("universal"));
    let processor = if both {
        1
    } else {
        named(&words, &PROCESSORS, processor)?
    };
    Some(2 * system + processor)
}

/// Whether words name what is wanted (1) or nothing of the kind (0); `None` where they name another.
fn named(words: &[String], table: &[(&str, &[&str])], wanted: &str) -> Option<usize> {
    let mut others = false;
    for (name, known) in table {
        if words.iter().any(|word| known.contains(&&**word)) {
            if *name == wanted {
                return Some(1);
            }
            others = true;
        }
    }
    (!others).then_some(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_say_whom_a_file_is_for() {
        for (name, expected) in [
            ("app-1.2-linux-x86_64.tar.gz", Some(3)),
            ("app-1.2-Linux-x86-64.tar.gz", Some(3)),
            ("app_1.2_linux_amd64.zip", Some(3)),
            ("app-x86_64-unknown-linux-gnu.tar.zst", Some(3)),
            ("app-linux64.zip", Some(3)),
            ("app-linux.zip", Some(2)),
            ("app-x64.zip", Some(1)),
            ("app-1.2.zip", Some(0)),
            ("win-tool-linux-x64.zip", Some(3)),
            ("app-darwin-universal2.zip", None),
            ("app-linux-arm64.zip", None),
            ("app-windows.zip", None),
            ("app-win64.zip", None),
            ("app-aarch64.zip", None),
            ("app-linux-s390x.tar.gz", None),
            ("app-openbsd.tar.gz", None),
        ] {
            assert_eq!(fit(name, "linux", "x86_64"), expected, "{name}");
        }
        assert_eq!(fit("app-win32-x64.zip", "windows", "x86_64"), Some(3));
        assert_eq!(fit("app-win32-ia32.zip", "windows", "x86_64"), None);
        assert_eq!(fit("app-macos-universal2.zip", "macos", "aarch64"), Some(3));
        assert_eq!(fit("app-osx.zip", "macos", "aarch64"), Some(2));
    }

    #[test]
    fn sources_and_what_lies_beside_a_package_are_no_packages() {
        for name in [
            "a.zip",
            "A-linux.TAR.GZ",
            "a.tgz",
            "a.tar.zst",
            "resource.zip",
        ] {
            assert!(is_built(name), "{name}");
        }
        for name in [
            "a.zip.sha256",
            "a.tar.gz.minisig",
            "release-1.0.json",
            "a-src.zip",
            "source-code.tar.gz",
            "a.deb",
        ] {
            assert!(!is_built(name), "{name}");
        }
    }
}
