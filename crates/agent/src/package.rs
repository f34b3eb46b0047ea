//! A package of the TOP.E updater: `manifest.json` at its root says which of its files goes where, and
//! which services belong to them.
//!
//! ```json
//! {"version": "1.1.0", "modules": [{"name": "device-api", "src": "modules/device-api",
//!  "dst": "/opt/tope/bin/device-api", "process_name": "device-api", "restart_order": 2,
//!  "post_cmds": ["…"]}]}
//! ```
//!
//! Promises: every field is checked before anything is stopped; a destination lies below a configured
//! folder, and in a version; commands are run only as configured. A package without a manifest is taken as
//! it is, as everywhere in Castoff.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use castoff::archive::{Archive, SafePath};
use castoff::release::Release;
use castoff::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::config::{Commands, is_service};
use crate::services::Service;

/// The manifest's name.
pub const MANIFEST: &str = "manifest.json";

/// The largest manifest that is read: room for ten thousand modules.
const MANIFEST_LIMIT: u64 = 4 << 20;

/// More modules than that are no device's.
const MOST_MODULES: usize = 10_000;

#[derive(Debug, Deserialize)]
struct Manifest {
    version: String,
    modules: Vec<Module>,
}

#[derive(Debug, Deserialize)]
struct Module {
    name: String,
    src: String,
    dst: String,
    #[serde(default)]
    process_name: Option<String>,
    #[serde(default)]
    restart_order: Option<i64>,
    #[serde(default)]
    post_cmds: Option<Vec<String>>,
}

/// What a package asks for beside its files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wishes {
    /// The services that belong to what it changes.
    pub services: Vec<Service>,
    /// Commands to run when the new version is in place.
    pub commands: Vec<String>,
    /// Names of the modules, and how many bytes each has.
    pub modules: Vec<(String, u64)>,
}

/// What packages may do.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// Folders below which a destination may lie.
    pub roots: &'a [PathBuf],
    /// Whether commands are run.
    pub commands: Commands,
    /// Whether this package is signed.
    pub signed: bool,
    /// Where what is arranged will lie.
    pub tree: &'a Path,
    /// Files that are no destination, whatever lies around them.
    pub forbidden: &'a [PathBuf],
}

/// Makes of a package with a manifest the tree of a version, and says what else it asks for.
///
/// Fails with `ARCHIVE_INVALID` where the manifest is wrong, with `ARCHIVE_UNSAFE` where a destination
/// is, and with `PACKAGE_COMMANDS`.
pub fn arrange(
    archive: Archive,
    release: &mut Release,
    rules: Rules<'_>,
) -> Result<(Archive, Wishes)> {
    let Some(bytes) = archive.read(MANIFEST, MANIFEST_LIMIT)? else {
        let mut paths = archive.entries().iter().map(|entry| &entry.path);
        if let Some(path) = paths.find(|path| is_forbidden(path, rules)) {
            return Err(Error::ArchiveUnsafe {
                entry: path.to_string(),
                problem: "it is the configuration of this updater".into(),
            });
        }
        return Ok((archive, Wishes::default()));
    };
    // The list that is announced has the names of the package.
    archive.file_list(release.package.files)?;
    release.package.files = None;
    let manifest: Manifest =
        serde_json::from_slice(&bytes).map_err(|error| wrong(&error.to_string()))?;
    if manifest.version.parse().ok().as_ref() != Some(&release.version) {
        return Err(wrong(&format!(
            "it is of version {:?}, and {} was asked for",
            manifest.version, release.version
        )));
    }
    if manifest.modules.is_empty() || manifest.modules.len() > MOST_MODULES {
        return Err(wrong(&format!("it has {} modules", manifest.modules.len())));
    }
    let mut wishes = Wishes::default();
    let mut moves = Vec::with_capacity(manifest.modules.len());
    let mut names = BTreeSet::new();
    let sizes = archive
        .entries()
        .iter()
        .map(|entry| (&entry.path, entry.size));
    let sizes: BTreeMap<_, _> = sizes.collect();
    for module in manifest.modules {
        let name = module.name;
        let of = |what: &str, problem: &str| wrong(&format!("module {name:?}: {what} {problem}"));
        if name.trim().is_empty() || name.len() > 255 || name.chars().any(char::is_control) {
            return Err(of("name", "is none"));
        }
        if !names.insert(name.clone()) {
            return Err(of("name", "is there twice"));
        }
        let from = SafePath::try_from(module.src.as_str())
            .map_err(|error| of("src", &error.to_string()))?;
        let to = destination(&module.dst, rules.roots).map_err(|problem| of("dst", &problem))?;
        let Some(size) = sizes.get(&from) else {
            return Err(of("src", &format!("{from} is not in the package")));
        };
        if is_forbidden(&to, rules) {
            return Err(of("dst", "is the configuration of this updater"));
        }
        wishes.modules.push((name.clone(), *size));
        moves.push((from, to));
        if let Some(process) = module.process_name.filter(|process| !process.is_empty()) {
            if !is_service(&process) {
                return Err(of("process_name", &format!("{process:?} is no service")));
            }
            let known = wishes.services.iter_mut().find(|it| it.name == process);
            let order = module.restart_order.unwrap_or(0);
            match known {
                Some(known) => known.order = known.order.min(order),
                None => wishes.services.push(Service {
                    order,
                    name: process,
                }),
            }
        }
        wishes.commands.extend(module.post_cmds.unwrap_or_default());
    }
    wishes.services.sort();
    let allowed = match rules.commands {
        Commands::Signed => rules.signed,
        Commands::Always => true,
        Commands::Never => false,
    };
    if !wishes.commands.is_empty() && !allowed {
        return Err(Error::PackageCommands {
            hooks: "post_cmds".to_owned(),
        });
    }
    Ok((archive.rearranged(&moves)?, wishes))
}

/// Whether a path would be one of the files that say what this updater does.
fn is_forbidden(path: &SafePath, rules: Rules<'_>) -> bool {
    let place = rules.tree.join(path.as_str());
    rules.forbidden.contains(&place)
}

/// The path in a version of an absolute destination.
fn destination(dst: &str, roots: &[PathBuf]) -> Result<SafePath, String> {
    if !dst.starts_with('/') {
        return Err(format!("{dst:?} is no absolute path"));
    }
    let inside = roots
        .iter()
        .filter_map(|root| Path::new(dst).strip_prefix(root).ok())
        .filter_map(Path::to_str)
        .min_by_key(|inside| inside.len());
    let Some(inside) = inside else {
        return Err(format!("{dst:?} lies below no folder that is configured"));
    };
    let path = SafePath::try_from(inside).map_err(|error| error.to_string())?;
    let first = path.as_str().split('/').next().unwrap_or_default();
    if matches!(
        first,
        "versions" | "shared" | "services" | ".castoff" | ".backup"
    ) && !is_in_version(&path)
    {
        return Err(format!("{dst:?} is no place of an app"));
    }
    Ok(path)
}

/// `services/NAME` is a version's own; the folders of the layout are not.
fn is_in_version(path: &SafePath) -> bool {
    path.as_str().starts_with("services/")
}

fn wrong(problem: &str) -> Error {
    Error::ArchiveInvalid {
        subject: MANIFEST.to_owned(),
        problem: problem.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations() {
        let roots = [PathBuf::from("/opt/tope"), PathBuf::from("/srv/app/")];
        let good = |dst: &str| destination(dst, &roots).map(String::from);
        assert_eq!(good("/opt/tope/bin/a").unwrap(), "bin/a");
        assert_eq!(good("/srv/app/x").unwrap(), "x");
        assert_eq!(
            good("/opt/tope/services/a.service").unwrap(),
            "services/a.service"
        );
        for bad in [
            "bin/a",
            "",
            "/opt/tope",
            "/opt/tope/",
            "/opt/topex/a",
            "/etc/passwd",
            "/opt/tope/../../etc/passwd",
            "/opt/tope/versions/v1/a",
            "/opt/tope/versions",
            "/opt/tope/shared/x",
            "/opt/tope/.castoff/state.json",
            "/opt/tope/a\nb",
        ] {
            assert!(good(bad).is_err(), "{bad:?}");
        }
    }
}
