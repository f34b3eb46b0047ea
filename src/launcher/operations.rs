//! The commands of `castoff` alone, for operators of servers and devices. The launcher, which is
//! small, has none of them.

use std::fmt::Write as _;

use serde_json::json;

use crate::Result;
use crate::launcher::Session;
use crate::launcher::commands::{Told, kept_json, kept_line};
use crate::launcher::messages::{Text, sanitise};
use crate::layout;
use crate::layout::links::{Fault, Finding};
use crate::state::Link;

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
            Operation::SetUpLinks => {
                self.links(self.updater().and_then(|updater| updater.set_up_links()))
            }
            Operation::CheckLinks => {
                self.links(self.updater().and_then(|updater| updater.check_links()))
            }
            Operation::TestLinks => {
                self.links(self.updater().and_then(|updater| updater.test_links()))
            }
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
        let factory = folder.linked(Link::Factory);
        let mut text = String::new();
        if let Some(current) = &current {
            let mark = if on_trial {
                Text::LabelCurrentOnTrial
            } else {
                Text::LabelCurrent
            };
            let _ = write!(text, "{current:<16} {}", self.say(mark));
            if factory.is_some() && factory == folder.linked(Link::Current) {
                let _ = write!(text, ", {}", Link::Factory.as_str());
            }
            text.push('\n');
        } else {
            let _ = writeln!(text, "{}", self.say(Text::LabelNoneInstalled));
        }
        for one in &kept {
            text.push_str(&kept_line(one));
        }
        let json = json!({
            "current": current, "on_trial": on_trial, "factory": factory,
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
    fn links(&self, findings: Result<Vec<Finding>>) -> Result<Told> {
        let findings = findings?;
        let mut text = String::new();
        for Finding { path, fault } in &findings {
            let path = sanitise(&path.display().to_string());
            let _ = match fault {
                None => writeln!(text, "{:<6} {path}", self.say(Text::LabelFine)),
                Some(fault) => {
                    let fault = self.fault(fault);
                    writeln!(text, "{:<6} {path}: {fault}", self.say(Text::LabelWrong))
                }
            };
        }
        let faults = findings.iter().filter(|it| it.fault.is_some()).count();
        if faults == 0 {
            text.push_str(self.say(Text::LabelAllGood));
        } else {
            let count = [("count", faults.to_string())];
            text.push_str(&Text::LabelSomeFaults.render(self.lang, &count));
        }
        let rows = findings.iter().map(|Finding { path, fault }| {
            let place = fault.as_ref().and_then(Fault::place);
            json!({"path": path, "fault": fault.as_ref().map(Fault::as_str), "place": place})
        });
        let json = rows.collect();
        let code = u8::from(faults > 0);
        Ok(Told { text, json, code })
    }

    fn fault(&self, fault: &Fault) -> String {
        let text = match fault {
            Fault::Missing => Text::FaultMissing,
            Fault::InTheWay => Text::FaultInTheWay,
            Fault::Astray(_) => Text::FaultAstray,
            Fault::Dead(_) => Text::FaultDead,
            Fault::Stale => Text::FaultStale,
            Fault::Unprotected(_) => Text::FaultUnprotected,
        };
        let place = fault.place().map(|place| place.display().to_string());
        text.render(self.lang, &[("place", place.unwrap_or_default())])
    }
}
