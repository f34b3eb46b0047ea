//! Releases that have no archive: what differs is fetched file by file, and becomes one that holds no
//! more than that.

use super::{Archive, Client, Error, Event, Phase, Result, Trusted, Updater, disk, fetch};
use crate::archive::{Loose, SafePath};
use crate::layout::tree;
use crate::plan;
use crate::release::{Manifest, Package, Remote};
use crate::state::Content;

/// What the files are kept in, beside them.
const MANIFEST_NAME: &str = "files.json";

impl Updater<'_> {
    /// Fetches, file by file, what is not installed already. An archive is made of it that holds what
    /// has changed.
    pub(super) fn fetch_files(&self, release: &Trusted) -> Result<Archive> {
        let folder = &self.folder;
        let manifest = self.manifest(release)?;
        let wanted = self.wanted(&manifest)?;
        let size = wanted.iter().map(|(_, file)| file.size).sum();
        disk::need_space(folder.root(), size)?;
        let client = Client::new(&self.config.network, &self.config.source)?;
        let loose = fetch::download_files(
            &client,
            &wanted,
            &folder.downloads(),
            MANIFEST_NAME,
            self.observer,
        )?;
        self.archive_of(release, &manifest, loose)
    }

    /// The same of a release that waits, without asking anybody; `None` where a file is not there.
    pub(super) fn files_at_hand(&self, release: &Trusted) -> Result<Option<Archive>> {
        if !self.lies_by(&release.package) {
            return Ok(None);
        }
        let manifest = self.manifest(release)?;
        let wanted = self.wanted(&manifest)?;
        let loose = fetch::files_at_hand(&wanted, &self.folder.downloads())?;
        loose
            .map(|loose| self.archive_of(release, &manifest, loose))
            .transpose()
    }

    fn archive_of(
        &self,
        release: &Trusted,
        manifest: &Manifest,
        loose: Vec<Loose>,
    ) -> Result<Archive> {
        self.observer.event(&Event::Phase(Phase::Verify));
        // What is Castoff's own, as the version file in many packages, is nobody's to install.
        let list = manifest.list(&release.version, &|path| !self.folder.is_own(path.as_str()));
        Archive::of_files(&self.folder.downloads(), loose, list)
    }

    /// What is not installed as it should be.
    fn wanted<'a>(&self, manifest: &'a Manifest) -> Result<Vec<(&'a SafePath, &'a Remote)>> {
        let folder = &self.folder;
        let installed = plan::installed(folder, &self.rules)?;
        let mut wanted = Vec::new();
        for (path, file) in &manifest.files {
            let known = installed.files.get(path).filter(|known| {
                matches!(&known.content, Content::File { sha256, .. } if *sha256 == file.sha256)
            });
            let there = match known {
                Some(known) => known.looks_like(&tree::look(&path.below(&folder.tree()))?),
                None => false,
            };
            if !there && !folder.is_own(path.as_str()) {
                wanted.push((path, file));
            }
        }
        Ok(wanted)
    }

    /// The files of a release that has no archive: as they were announced just now, or when it was
    /// fetched. Kept beside what is fetched.
    fn manifest(&self, release: &Trusted) -> Result<Manifest> {
        let path = self.folder.downloads().join(MANIFEST_NAME);
        if let Some(manifest) = &release.manifest {
            let text = serde_json::to_vec(manifest).map_err(|error| Error::Internal {
                what: error.to_string(),
            })?;
            disk::write_atomic(&path, &text)?;
            return Ok((**manifest).clone());
        }
        let bytes = disk::in_use::read(&path)?;
        let manifest: Manifest =
            serde_json::from_slice(&bytes).map_err(|error| Error::FileListInvalid {
                problem: error.to_string(),
            })?;
        let got = manifest.id(&release.version);
        if got != release.package.id() {
            return Err(Error::HashMismatch {
                subject: path.display().to_string(),
                expected: release.package.id().to_string(),
                got: got.to_string(),
            });
        }
        Ok(manifest)
    }

    /// Whether something is there of a release that waits.
    pub(super) fn lies_by(&self, package: &Package) -> bool {
        let downloads = self.folder.downloads();
        if package.by_file {
            return downloads.join(MANIFEST_NAME).is_file();
        }
        fetch::lies_in(&downloads, package)
    }
}
