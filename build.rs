//! What is decided when Castoff is built: the texts, and the configuration baked into a launcher.
//!
//! Leaves the tables for unwinding out of the launcher that is shipped, and writes files for the sources
//! to include. What is large and seldom needed is packed (`src/packed.rs`).
//!
//! - `messages.rs` and `messages.bin`, from `assets/messages`. A key or a placeholder that one language lacks fails
//!   the build, so that no person meets a text in the wrong language or with a hole in it.
//! - `baked.rs`: the content of the file that `CASTOFF_CONFIG` names (relative to this folder), or
//!   `None`. It must be TOML; whether its keys and values are right is for the configuration's own
//!   tests and for `castoff doctor`, which know them.
//! - `built.txt`: when this was: `SOURCE_DATE_EPOCH` (seconds since 1970), or the clock.
//! - `gbk.rs` and `gbk.bin`: the tables of `src/archive/zip/gbk.rs`.
//!
//! A launcher for Windows gets its manifest, its icon (the one that `CASTOFF_EXE_ICON` names, if any)
//! and its version, under the name that the baked configuration gives the app.

#![expect(
    clippy::disallowed_methods,
    reason = "a build writes where Cargo tells it to, not to an installation"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use encoding_rs::GBK;
use flate2::Compression;
use flate2::write::DeflateEncoder;
use toml::de::{DeTable, DeValue};
use winresource::WindowsResource;

/// In the order of `Lang`'s variants. The first is what the others are compared with.
const CATALOGUES: [&str; 2] = ["assets/messages/en.toml", "assets/messages/zh-CN.toml"];

/// The names of an error's two texts, in the order in which they are generated.
const ERROR_TEXTS: [&str; 2] = ["what", "hint"];

/// The binary that is shipped; it alone gets what is for Windows.
const LAUNCHER: &str = "castoff-launcher";

/// The texts of one language, by their dotted keys.
type Catalogue = BTreeMap<String, String>;

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    unwinding();
    let named = baked(&out).and_then(|name| windows(name.as_deref()));
    for step in [messages(&out), gbk(&out), built(&out), named] {
        if let Err(problem) = step {
            for line in problem.lines() {
                println!("cargo::error={line}");
            }
        }
    }
}

/// Leaves the tables for unwinding out of the launcher as it is shipped. Cargo does not tell a
/// build script how panics end; the profile that is for size is the one in which they abort. On
/// Windows they stay, 0.1 MB: the system itself walks the stack by them when it handles a crash.
fn unwinding() {
    const SCRIPT: &str = "assets/no-unwind.ld";
    println!("cargo::rerun-if-changed={SCRIPT}");
    if variable("CARGO_CFG_TARGET_OS") == "linux" && variable("OPT_LEVEL") == "z" {
        let script = Path::new(&variable("CARGO_MANIFEST_DIR")).join(SCRIPT);
        println!("cargo::rustc-link-arg-bins=-Wl,--no-eh-frame-hdr");
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{}", script.display());
    }
}

/// Gives the launcher what Windows shows of it, and the manifest, which says how Windows treats it.
fn windows(name: Option<&str>) -> Result<(), String> {
    const ICON: &str = "assets/windows/castoff.ico";
    const MANIFEST: &str = "assets/windows/castoff.manifest";
    println!("cargo::rerun-if-env-changed=CASTOFF_EXE_ICON");
    if variable("CARGO_CFG_TARGET_OS") != "windows" {
        return Ok(());
    }
    if variable("CARGO_CFG_TARGET_ENV") == "msvc" {
        // What is imported comes from System32 alone. Other linkers lack this; the manifest says so
        // too, by name.
        println!("cargo::rustc-link-arg-bin={LAUNCHER}=/DEPENDENTLOADFLAG:0x800");
    }
    let here = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    let icon = match env::var_os("CASTOFF_EXE_ICON") {
        Some(own) if !own.is_empty() => icon(here.join(own))?,
        _ => here.join(ICON),
    };
    let manifest = here.join(MANIFEST);
    for file in [&icon, &manifest] {
        println!("cargo::rerun-if-changed={}", file.display());
    }
    // An apostrophe would get a backslash, which windres takes for a part of the name.
    let name = name.map(|name| name.replace('\'', "\u{2019}"));
    WindowsResource::new()
        .set_icon(&icon.to_string_lossy())
        .set_manifest_file(&manifest.to_string_lossy())
        .set("ProductName", name.as_deref().unwrap_or("Castoff"))
        .set("FileDescription", name.as_deref().unwrap_or("Castoff launcher"))
        .set("InternalName", LAUNCHER)
        .set("OriginalFilename", &format!("{LAUNCHER}.exe"))
        .set("LegalCopyright", &variable("CARGO_PKG_LICENSE"))
        .compile_for(LAUNCHER)
        .map_err(|error| {
            format!(
                "icon, version and manifest cannot be made: {error}. A launcher for Windows needs a \
                 resource compiler: windres (of binutils for MinGW; WINDRES names another) or, for \
                 MSVC, rc.exe of the Windows SDK (RC_PATH names another)"
            )
        })
}

/// The publisher's icon. The resource compilers say little of a file that is none.
fn icon(file: PathBuf) -> Result<PathBuf, String> {
    let problem = |what: &str| format!("CASTOFF_EXE_ICON: {}: {what}", file.display());
    let bytes = fs::read(&file).map_err(|error| problem(&error.to_string()))?;
    if !bytes.starts_with(&[0, 0, 1, 0]) {
        return Err(problem("not an icon (.ico)"));
    }
    Ok(file)
}

fn messages(out: &Path) -> Result<(), String> {
    let mut catalogues = Vec::new();
    for file in CATALOGUES {
        println!("cargo::rerun-if-changed={file}");
        catalogues.push(catalogue(file)?);
    }
    let problems = differences(&catalogues)?;
    if !problems.is_empty() {
        return Err(problems.join("\n"));
    }
    let (source, texts) = generated(&catalogues)?;
    write(&out.join("messages.bin"), pack(texts.as_bytes()))?;
    write(&out.join("messages.rs"), source)
}

fn catalogue(file: &str) -> Result<Catalogue, String> {
    let text = read(Path::new(file))?;
    let table = DeTable::parse(&text).map_err(|error| format!("{file}: {error}"))?;
    let mut texts = Catalogue::new();
    flatten(file, "", table.get_ref(), &mut texts)?;
    Ok(texts)
}

fn flatten(
    file: &str,
    prefix: &str,
    table: &DeTable<'_>,
    texts: &mut Catalogue,
) -> Result<(), String> {
    for (key, value) in table {
        let key = format!("{prefix}{}", key.get_ref());
        match value.get_ref() {
            DeValue::String(text) => {
                texts.insert(key, text.to_string());
            }
            DeValue::Table(inner) => flatten(file, &format!("{key}."), inner, texts)?,
            other => return Err(format!("{file}: {key} is {}, not a text", other.type_str())),
        }
    }
    Ok(())
}

/// Every way in which the catalogues are no equals.
fn differences(catalogues: &[Catalogue]) -> Result<Vec<String>, String> {
    let keys: BTreeSet<&String> = catalogues.iter().flat_map(BTreeMap::keys).collect();
    let mut problems = Vec::new();
    for key in keys {
        let mut expected = None;
        for (file, texts) in CATALOGUES.iter().zip(catalogues) {
            let Some(text) = texts.get(key) else {
                problems.push(format!("{file} lacks {key}"));
                continue;
            };
            let found =
                placeholders(text).map_err(|problem| format!("{file}: {key}: {problem}"))?;
            let expected = expected.get_or_insert_with(|| found.clone());
            if *expected != found {
                problems.push(format!(
                    "{file}: {key} has the placeholders {found:?}, another language {expected:?}"
                ));
            }
        }
    }
    Ok(problems)
}

/// When this is being built. No machine that runs it can have an earlier clock.
fn built(out: &Path) -> Result<(), String> {
    const EPOCH: &str = "SOURCE_DATE_EPOCH";
    println!("cargo::rerun-if-env-changed={EPOCH}");
    let seconds = match env::var(EPOCH) {
        Ok(text) => text
            .parse()
            .map_err(|_| format!("{EPOCH}: {text:?} is no number of seconds"))?,
        Err(_) => SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs()),
    };
    write(&out.join("built.txt"), seconds.to_string())
}

/// What encoding_rs knows of GBK, without the tables of the other encodings.
fn gbk(out: &Path) -> Result<(), String> {
    /// How many numbers the characters of four bytes below U+10000 have.
    const BELOW_10000: u32 = 39_420;
    let code = |bytes: &[u8]| {
        let text = GBK.decode_without_bom_handling_and_without_replacement(bytes);
        text.and_then(|text| text.chars().next()).map(u32::from)
    };
    let row = |a| (0x40..=0xFE).map(move |b| code(&[a, b]).unwrap_or(0));
    // Each as what it is more than the one before, low bytes and high bytes apart: a third of the table
    // lies in Unicode's order, and packs to nearly nothing so.
    let mut before = 0;
    let mut steps = Vec::new();
    for code in (0x81..=0xFE).flat_map(row) {
        let code = u16::try_from(code).map_err(|_| format!("GBK: U+{code:X} has two bytes"))?;
        steps.push(code.wrapping_sub(before).to_le_bytes());
        before = code;
    }
    let plane = |which: usize| steps.iter().map(move |step| step[which]);
    let pairs: Vec<u8> = plane(0).chain(plane(1)).collect();
    write(&out.join("gbk.bin"), pack(&pairs))?;
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for number in 0..BELOW_10000 {
        let digits = [
            number / 12_600,
            number / 1_260 % 10,
            number / 10 % 126,
            number % 10,
        ];
        let [a, b, c, d] = digits.map(|digit| u8::try_from(digit).expect("a digit is below 126"));
        let bytes = [0x81 + a, b'0' + b, 0x81 + c, b'0' + d];
        let code = code(&bytes).ok_or_else(|| format!("GBK: {bytes:x?} is no character"))?;
        if runs
            .last()
            .is_none_or(|(start, first)| code != first + (number - start))
        {
            runs.push((number, code));
        }
    }
    write(
        &out.join("gbk.rs"),
        format!(
            "const BELOW_10000: u32 = {BELOW_10000};\n\
             static RUNS: [(u32, u32); {}] = {runs:?};\n",
            runs.len()
        ),
    )
}

/// Deflated, as small as it gets.
fn pack(bytes: &[u8]) -> Vec<u8> {
    let mut packed = DeflateEncoder::new(Vec::new(), Compression::best());
    packed
        .write_all(bytes)
        .and_then(|()| packed.finish())
        .expect("a Vec takes what is written to it")
}

/// The names in braces. `render` in `src/launcher/messages.rs` reads them by the same rule.
fn placeholders(text: &str) -> Result<BTreeSet<&str>, String> {
    let mut names = BTreeSet::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let name = rest[at..]
            .strip_prefix('{')
            .and_then(|inner| inner.split_once('}'))
            .filter(|(name, _)| is_name(name));
        let Some((name, after)) = name else {
            return Err(format!("a brace without its name in {text:?}"));
        };
        names.insert(name);
        rest = after;
    }
    Ok(names)
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

/// The Rust source, `Text` and where each text ends, and the texts themselves: those of `Text` in the
/// order of its variants, then the errors', sorted by code. Of each, the languages in their order.
fn generated(catalogues: &[Catalogue]) -> Result<(String, String), String> {
    let mut variants = String::new();
    let mut names = String::new();
    let mut all = Vec::new();
    let mut errors = Vec::new();
    let mut codes = String::new();
    for (key, first) in &catalogues[0] {
        if let Some(code) = key.strip_prefix("error.") {
            let (code, which) = code.split_once('.').ok_or_else(|| no_error_text(key))?;
            match which {
                "what" => errors.push(code),
                "hint" => {}
                _ => return Err(no_error_text(key)),
            }
        } else {
            let name = camel_case(key);
            writeln!(variants, "    /// {first:?}\n    {name},")
                .and_then(|()| writeln!(names, "        Self::{name},"))
                .expect("a String takes what is written to it");
            all.extend(catalogues.iter().map(|texts| &texts[key]));
        }
    }
    let first_error = all.len();
    for code in errors {
        codes.push_str(code);
        codes.push(' ');
        all.extend(error(catalogues, code)?);
    }
    let mut texts = String::new();
    let mut ends = Vec::new();
    for text in all {
        texts.push_str(text);
        ends.push(texts.len());
    }
    let source = format!(
        "/// Every text that is not an error's, named after its group and key.\n\
         #[derive(Clone, Copy, Debug, PartialEq, Eq)]\n\
         pub enum Text {{\n{variants}}}\n\n\
         impl Text {{\n    /// Every text, in the order of the enum.\n    \
         pub const ALL: &[Self] = &[\n{names}    ];\n}}\n\n\
         /// Where each text ends.\n\
         static ENDS: [u32; {}] = {ends:?};\n\n\
         /// The number of the first text of an error.\n\
         const FIRST_ERROR: usize = {first_error};\n\n\
         /// The codes, sorted. Each has what happened and what to do, by language.\n\
         const CODES: &str = {:?};\n",
        ends.len(),
        codes.trim_end()
    );
    Ok((source, texts))
}

/// The texts of one code: what happened and what to do, by language.
fn error<'a>(catalogues: &'a [Catalogue], code: &str) -> Result<Vec<&'a String>, String> {
    let mut texts = Vec::new();
    for catalogue in catalogues {
        for which in ERROR_TEXTS {
            let key = format!("error.{code}.{which}");
            texts.push(catalogue.get(&key).ok_or(format!("{key} is missing"))?);
        }
    }
    Ok(texts)
}

fn no_error_text(key: &str) -> String {
    format!("{key}: an error has the texts {ERROR_TEXTS:?} and no others")
}

/// `outcome.up_to_date` becomes `OutcomeUpToDate`.
fn camel_case(key: &str) -> String {
    key.split(['.', '_'])
        .flat_map(|word| {
            let (first, rest) = word.split_at(word.len().min(1));
            [first.to_ascii_uppercase(), rest.to_owned()]
        })
        .collect()
}

/// Bakes the configuration in, and gives the app's name that it has, if any.
fn baked(out: &Path) -> Result<Option<String>, String> {
    println!("cargo::rerun-if-env-changed=CASTOFF_CONFIG");
    let mut name = None;
    let source = match env::var_os("CASTOFF_CONFIG") {
        Some(file) if !file.is_empty() => {
            let file = PathBuf::from(file);
            println!("cargo::rerun-if-changed={}", file.display());
            let text = read(&file)?;
            let table = DeTable::parse(&text)
                .map_err(|error| format!("CASTOFF_CONFIG: {}: {error}", file.display()))?;
            name = table
                .get_ref()
                .get("name")
                .and_then(|name| match name.get_ref() {
                    DeValue::String(name) => Some(name.to_string()),
                    _ => None,
                });
            write(&out.join("baked.toml"), &text)?;
            r#"Some(include_str!(concat!(env!("OUT_DIR"), "/baked.toml")))"#
        }
        _ => "None",
    };
    write(
        &out.join("baked.rs"),
        format!(
            "/// The configuration that was baked in when this was built.\n\
             pub(crate) const BAKED: Option<&str> = {source};\n"
        ),
    )?;
    Ok(name)
}

/// A variable of the build, empty when there is none.
fn variable(name: &str) -> String {
    env::var(name).unwrap_or_default()
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

fn write(path: &Path, content: impl AsRef<[u8]>) -> Result<(), String> {
    fs::write(path, content).map_err(|error| format!("cannot write {}: {error}", path.display()))
}
