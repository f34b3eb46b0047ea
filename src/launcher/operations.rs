//! The commands of `castoff` alone, for operators of servers and devices. The launcher, which is
//! small, has none of them.

use std::fmt::Write as _;

use serde_json::json;

use crate::Result;
use crate::launcher::Session;
use crate::launcher::commands::{Told, kept_json, kept_line};
use crate::launcher::messages::Text;
use crate::layout;
use crate::layout::links::Finding;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Say which version is installed, and which are kept.
    Versions,
    /// Make a version the factory version.
    SetFactory {
        /// Which; `None`: the current one.
        version: Option<String>,
        /// Also when there is another one already.
        replace: bool,
    },
    /// Make the links to services and programs.
    SetUpLinks,
    /// Look at the links between versions, and at those.
    CheckLinks,
    /// Try whether those follow a switch.
    TestLinks,
}

impl Session {
    /// Does what an operation says and gives the exit code.
    pub fn operate(&self, operation: &Operation, as_json: bool) -> u8 {
        let told = match operation {
            Operation::Versions => self.versions(),
            Operation::SetFactory { version, replace } => {
                self.set_factory(version.as_deref(), *replace)
            }
            Operation::SetUpLinks => self.links(|updater| updater.set_up_links()),
            Operation::CheckLinks => self.links(|updater| updater.check_links()),
            Operation::TestLinks => self.links(|updater| updater.test_links()),
        };
        self.tell(told, as_json)
    }

    fn versions(&self) -> Result<Told> {
        let updater = self.updater()?;
        let folder = updater.folder();
        let current = updater.installed().map(|version| version.to_string());
        let kept = layout::list(folder);
        let trial = folder.load_state().trial;
        let on_trial =
            trial.is_some_and(|trial| Some(trial.version.as_str()) == current.as_deref());
        let mut text = String::new();
        let shown = current.as_deref().unwrap_or(self.say(Text::LabelNone));
        let mark = if on_trial {
            self.say(Text::LabelOnTrial)
        } else {
            self.say(Text::LabelCurrent)
        };
        let _ = writeln!(text, "{shown:<16} {mark}");
        for one in &kept {
            text.push_str(&kept_line(one));
        }
        let json = json!({
            "current": current, "on_trial": on_trial,
            "kept": kept.iter().map(kept_json).collect::<Vec<_>>(),
        });
        Ok(Told::good(text, json))
    }

    fn set_factory(&self, version: Option<&str>, replace: bool) -> Result<Told> {
        let name = self.updater()?.set_factory(version, replace)?;
        let text = self
            .terminal
            .text(Text::OutcomeFactorySet, &[("kept", name.clone())]);
        let json = json!({"outcome": "factory-set", "name": name});
        Ok(Told::good(text, json))
    }

    /// The exit code is 1 when something is not as it should be.
    fn links(
        &self,
        look: impl FnOnce(&crate::updater::Updater<'_>) -> Result<Vec<Finding>>,
    ) -> Result<Told> {
        let findings = look(&self.updater()?)?;
        let mut text = String::new();
        for finding in &findings {
            let path = finding.path.display();
            let _ = match &finding.fault {
                None => writeln!(text, "{}  {path}", self.say(Text::LabelFine)),
                Some(fault) => writeln!(text, "{}  {path}: {fault}", self.say(Text::LabelWrong)),
            };
        }
        let rows = findings
            .iter()
            .map(|finding| json!({"path": finding.path, "fault": finding.fault}));
        let json = rows.collect();
        let code = u8::from(findings.iter().any(|finding| finding.fault.is_some()));
        Ok(Told { text, json, code })
    }
}
