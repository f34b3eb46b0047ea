//! A world with 1.0.0 installed that is watched from all sides: what is refused leaves nothing, in
//! the client folder, beside it, or beside the launcher.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::SystemTime;

use castoff_testkit::package::Tree;

use crate::world::{Run, World};

/// What is in a besieged world's folder of Castoff's own that may change though nothing comes of an
/// offer: how it ended, and what was learnt of keys and indexes. Who must not have learnt anything is
/// asked about that apart.
const MEMORY: &[&str] = &["state.json", "trust.json"];

/// A world with 1.0.0 installed and past its trial, alone in a folder that is watched as well.
pub(crate) struct Besieged {
    pub(crate) world: World,
    tree: BTreeMap<String, String>,
    around: [Tree; 3],
    launcher: (u64, SystemTime),
    parent: tempfile::TempDir,
}

impl Besieged {
    /// The world that `settle` makes in the folder it is given, with 1.0.0 installed.
    pub(crate) fn new(settle: impl FnOnce(&Path) -> World) -> Self {
        let parent = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let world = settle(parent.path());
        let mut besieged = Self {
            launcher: look_at_launcher(&world),
            world,
            tree: BTreeMap::new(),
            around: Default::default(),
            parent,
        };
        besieged.watch();
        besieged
    }

    /// From here on, nothing may change.
    pub(crate) fn watch(&mut self) {
        self.tree = self.world.tree();
        self.around = self.look_around();
        self.launcher = look_at_launcher(&self.world);
    }

    /// What lies beside the launcher's folder, in it, and in Castoff's own folder.
    fn look_around(&self) -> [Tree; 3] {
        let home = self.world.home();
        let name = home.file_name().unwrap().to_str().unwrap();
        let launcher = self.world.launcher();
        let launcher = launcher.file_name().unwrap().to_string_lossy();
        [
            Tree::read(self.parent.path(), &[name]),
            Tree::read(home, &["client", "logs", &launcher]),
            Tree::read(&self.world.path(".castoff"), MEMORY),
        ]
    }

    /// Everything that is wrong with a run that should have refused what is offered, with this code.
    /// No assertions, so that one test finds the faults of all offers.
    pub(crate) fn faults(&self, run: &Run, name: &str, code: &str) -> Vec<String> {
        let world = &self.world;
        let mut faults = Vec::new();
        let mut expect = |fine: bool, what: String| {
            if !fine {
                faults.push(format!("{name}: {what}"));
            }
        };
        // That an older version is offered is said by the commands alone: a server may offer it at
        // every start.
        expect(
            run.stderr.contains(code) || code == "DOWNGRADE_REFUSED",
            format!("{code} not told: {run:#?}"),
        );
        let outcome = &world.state()["last"]["outcome"];
        expect(
            outcome == code,
            format!("remembered as {outcome}, not {code}"),
        );
        expect(
            run.code == Some(0) && run.stdout.contains("app 1.0.0 "),
            format!("1.0.0 did not start: {run:#?}"),
        );
        expect(world.version() == "1.0.0", "another version".to_owned());
        expect(
            world.tree() == self.tree,
            format!("changed: {:#?}", world.tree()),
        );
        expect(
            world.backups().is_empty(),
            format!("a backup: {:?}", world.backups()),
        );
        expect(
            look_at_launcher(world) == self.launcher,
            "another launcher".to_owned(),
        );
        for (before, now) in self.around.iter().zip(self.look_around()) {
            let differences = before.differences(&now);
            expect(
                differences.is_empty(),
                format!("around it: {differences:#?}"),
            );
        }
        faults
    }
}

/// By what another launcher is found out: to read one takes longer than all the rest.
fn look_at_launcher(world: &World) -> (u64, SystemTime) {
    let metadata = fs::metadata(world.launcher()).unwrap();
    (metadata.len(), metadata.modified().unwrap())
}
