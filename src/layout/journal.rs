//! The journal: the record that leads an interrupted commit or undo back to the version before.
//!
//! It is written and synced before the first file is changed and removed when the last one is
//! durable, so that its presence alone says "what lies here may be a mixture". It names for every
//! path what was there and what was to come, by digest; an undo compares before it acts and can
//! therefore be repeated, and begun again at any point.

use std::collections::BTreeMap;

use chrono::{SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

use crate::archive::SafePath;
use crate::archive::guard::check_tree;
use crate::disk;
use crate::state::{self, Bad, ClientFolder, Content};
use crate::version::Version;
use crate::{Error, Result};

/// `journal.json`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Journal {
    /// The format's number: 1.
    pub castoff: u32,
    /// Names the transaction in the log.
    pub id: String,
    /// The version that was installed before; what an undo leads to.
    pub before: Option<Version>,
    /// The version that was to be installed.
    pub after: Option<Version>,
    /// The backup of the version before; `None` when nothing was installed.
    pub backup: Option<String>,
    /// Folders that the commit makes, those above before those below.
    pub made: Vec<SafePath>,
    /// Every path that changes.
    pub paths: BTreeMap<SafePath, Change>,
    /// In the snapshot layout: the links that change, instead of paths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switch: Option<Switch>,
    /// The copy of the databases as they are before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Data>,
    /// The package to leave alone once this is undone: of a version that is left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<Mark>,
}

/// What the links of the snapshot layout are, and what they are to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Switch {
    /// Before; what an undo leads to.
    pub before: Links,
    /// After.
    pub after: Links,
    /// The folder of a version that comes with the switch, and goes with its undo.
    pub made: Option<String>,
}

/// Where the links lead: to the folder of a version, or nowhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each is the link that it is called")]
pub struct Links {
    pub current: Option<String>,
    pub previous: Option<String>,
}

/// What an undo does about databases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// The copy's name.
    pub name: String,
    /// Something may have changed the databases since, so that they are to be put back.
    pub touched: bool,
}

/// A package that is left for an older version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// The package, and why it is left.
    pub package: Bad,
    /// It failed its trial, so that the version before is to show that it fares better.
    pub failed: bool,
}

/// What a path held, and what it is to hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Before; `None` for nothing.
    pub before: Option<Content>,
    /// After; `None` for nothing.
    pub after: Option<Content>,
}

impl Switch {
    /// Every folder that is named.
    fn names(&self) -> impl Iterator<Item = &String> {
        let links = [&self.before, &self.after].into_iter();
        links
            .flat_map(|links| [&links.current, &links.previous])
            .chain([&self.made])
            .flatten()
    }
}

impl Journal {
    /// A journal of this moment.
    pub(crate) fn new(
        before: Option<Version>,
        after: Option<Version>,
        backup: Option<String>,
    ) -> Self {
        let moment = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
        let moment = moment.replace(['-', ':'], "");
        Self {
            castoff: 1,
            id: format!("{moment}-{}", std::process::id()),
            before,
            after,
            backup,
            made: Vec::new(),
            paths: BTreeMap::new(),
            switch: None,
            mark: None,
            data: None,
        }
    }

    /// The journal that lies in a folder, if one does.
    ///
    /// One that cannot be read is an error and not "none": a mixture may lie there.
    pub fn load(folder: &ClientFolder) -> Result<Option<Self>> {
        let journal: Option<Self> = state::read_json(&folder.journal())?;
        if let Some(journal) = &journal {
            let invalid = |problem| Error::StateInvalid {
                path: folder.journal(),
                problem,
            };
            if journal.castoff != 1 {
                let problem = format!("format {} is not known to this version", journal.castoff);
                return Err(invalid(problem));
            }
            let before = journal
                .paths
                .iter()
                .filter_map(|(path, change)| Some((path, change.before.as_ref()?.node())));
            check_tree(before).map_err(|error| invalid(error.chain()))?;
            if let Some(name) = journal.switch.iter().flat_map(Switch::names).find(|name| {
                SafePath::try_from(name.as_str()).map_or(true, |path| path.parent().is_some())
            }) {
                return Err(invalid(format!("{name} is no name of a version's folder")));
            }
        }
        Ok(journal)
    }

    /// Whether a journal lies in a folder.
    pub fn lies_in(folder: &ClientFolder) -> bool {
        // What cannot be told is taken for a journal: a mixture must not be started.
        folder.journal().try_exists().unwrap_or(true)
    }

    pub(crate) fn write(&self, folder: &ClientFolder) -> Result<()> {
        disk::write_atomic(&folder.journal(), &state::compact(self)?)
    }

    pub(crate) fn remove(folder: &ClientFolder) -> Result<()> {
        disk::remove_durably(&folder.journal())
    }
}
