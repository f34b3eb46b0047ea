//! The layers of configuration, one laid over the other: defaults, what was baked into the
//! executable, the file, the environment.
//!
//! Once anything is baked in, the file and the environment are held to it: a key that can loosen
//! what protects the user ([`Tighten`](super::keys::Tighten)) moves in one direction only. That
//! holds for a default too, which is what the publisher relied on by not mentioning the key.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::SourceKind;
use super::keys::{self, KEYS, Key};
use super::value::{Problem, Value, article};
use crate::{Error, Result, order};

/// Where a value came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    #[default]
    Default,
    /// The executable.
    Baked,
    /// A line of the file.
    #[expect(missing_docs, reason = "the file, and the line, from 1")]
    File { path: PathBuf, line: usize },
    /// The environment variable of that name.
    Environment(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Baked => f.write_str("baked in"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment(variable) => f.write_str(variable),
        }
    }
}

/// Where the value of every key came from.
#[derive(Clone, Debug, Default)]
pub struct Origins(BTreeMap<&'static str, Origin>);

impl Origins {
    /// Where a key's value came from.
    pub fn of(&self, key: &str) -> Origin {
        self.0.get(key).cloned().unwrap_or_default()
    }

    /// Whether nobody set the key.
    pub fn is_default(&self, key: &str) -> bool {
        !self.0.contains_key(key)
    }

    /// Every key with its origin, in the order of the table of keys.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, Origin)> {
        KEYS.iter().map(|key| (key.name, self.of(key.name)))
    }
}

/// A document that is a layer.
#[derive(Clone, Copy)]
pub(super) enum Document<'a> {
    Baked,
    File(&'a Path),
}

impl Document<'_> {
    fn place(self, line: usize, column: usize) -> String {
        match self {
            Self::Baked => format!("the configuration in the executable:{line}:{column}"),
            Self::File(path) => format!("{}:{line}:{column}", path.display()),
        }
    }

    fn origin(self, line: usize) -> Origin {
        match self {
            Self::Baked => Origin::Baked,
            Self::File(path) => Origin::File {
                path: path.to_owned(),
                line,
            },
        }
    }
}

/// What all layers together say so far.
pub(super) struct Layers {
    pub(super) values: BTreeMap<&'static str, Value>,
    pub(super) origins: Origins,
    /// What held when the baked layer was complete.
    pinned: Option<BTreeMap<&'static str, Value>>,
}

impl Layers {
    /// The lowest layer.
    pub(super) fn defaults() -> Self {
        let default = |key: &Key| {
            let value = key.kind.read_text(key.default?);
            Some((key.name, value.expect("the table's defaults are tested")))
        };
        Self {
            values: order::map(KEYS.iter().filter_map(default)),
            origins: Origins::default(),
            pinned: None,
        }
    }

    /// Makes the usual address of the kind of source what was said, where nothing else was: whoever
    /// bakes in a forge without its address means that one.
    pub(super) fn settle_address(&mut self) {
        let Some(Value::Text(kind)) = self.values.get("source.kind") else {
            return;
        };
        if let Some(usual) = SourceKind::of(kind).usual_address() {
            let usual = Value::Text(usual.to_owned());
            self.values.entry("source.url").or_insert(usual);
        }
    }

    /// From here on, nothing is loosened any more.
    pub(super) fn pin(&mut self) {
        self.pinned = Some(self.values.clone());
    }

    /// Whether what a key says may make less of another one: where nothing is baked in, or the key is.
    pub(super) fn may_relax(&self, key: &str) -> bool {
        self.pinned.is_none() || self.origins.of(key) == Origin::Baked
    }

    /// Lays a TOML document over what is there.
    pub(super) fn lay_document(&mut self, text: &str, document: Document<'_>) -> Result<()> {
        let table = DeTable::parse(text).map_err(|error| {
            let (line, column) = position(text, error.span().map_or(0, |span| span.start));
            Error::ConfigInvalid {
                place: document.place(line, column),
                problem: error.message().to_owned(),
                nearest: None,
            }
        })?;
        self.lay_table("", table.get_ref(), text, document)
    }

    fn lay_table(
        &mut self,
        prefix: &str,
        table: &DeTable<'_>,
        text: &str,
        document: Document<'_>,
    ) -> Result<()> {
        for (key, value) in table {
            let name = format!("{prefix}{}", key.get_ref());
            let (line, column) = position(text, key.span().start);
            let place = || document.place(line, column);
            let value = value.get_ref();
            if let Some(key) = keys::find(&name) {
                let value = key
                    .kind
                    .read_toml(value)
                    .map_err(|problem| invalid(place(), key.name, problem))?;
                self.set(key, value, place, document.origin(line))?;
            } else if !keys::is_table(&name) {
                return Err(Error::ConfigInvalid {
                    place: place(),
                    problem: format!("there is no key `{name}`"),
                    nearest: nearest(&name, value),
                });
            } else if let DeValue::Table(table) = value {
                self.lay_table(&format!("{name}."), table, text, document)?;
            } else {
                let problem = format!("must be a table, not {}", article(value));
                return Err(invalid(place(), &name, problem.into()));
            }
        }
        Ok(())
    }

    /// Lays the environment over what is there. An empty variable is as good as none.
    pub(super) fn lay_environment(&mut self, env: &dyn Fn(&str) -> Option<String>) -> Result<()> {
        for key in KEYS {
            let variable = key.variable();
            let Some(text) = env(&variable).filter(|text| !text.trim().is_empty()) else {
                continue;
            };
            self.set_text(key, &text, &variable)?;
        }
        Ok(())
    }

    /// Lays what a variable of another name says over what is there.
    pub(super) fn lay_text(&mut self, name: &str, text: &str, variable: &str) -> Result<()> {
        match keys::find(name) {
            Some(key) => self.set_text(key, text, variable),
            None => unreachable!("there is no key {name}"),
        }
    }

    fn set_text(&mut self, key: &'static Key, text: &str, variable: &str) -> Result<()> {
        let value = key
            .kind
            .read_text(text)
            .map_err(|problem| invalid(variable.to_owned(), key.name, problem))?;
        let origin = Origin::Environment(variable.to_owned());
        self.set(key, value, || variable.to_owned(), origin)
    }

    fn set(
        &mut self,
        key: &'static Key,
        value: Value,
        place: impl FnOnce() -> String,
        origin: Origin,
    ) -> Result<()> {
        if let Some(pinned) = &self.pinned {
            let baked = pinned.get(key.name);
            if !key.tighten.allows(baked, &value) {
                return Err(Error::ConfigLoosened {
                    place: place(),
                    key: key.name.to_owned(),
                    value: value.to_string(),
                    baked: baked.map(ToString::to_string).unwrap_or_default(),
                });
            }
        }
        match (self.values.get_mut(key.name), value) {
            // Headers add up, so that a token can be given apart from the file.
            (Some(Value::Headers(below)), Value::Headers(above)) => {
                let before = std::mem::take(below).into_iter();
                let kept = before
                    .filter(|(name, _)| !above.keys().any(|new| new.eq_ignore_ascii_case(name)));
                let kept: Vec<_> = kept.collect();
                *below = order::map(kept.into_iter().chain(above));
            }
            (_, value) => {
                self.values.insert(key.name, value);
            }
        }
        self.origins.0.insert(key.name, origin);
        Ok(())
    }
}

/// Whether a document has a table, whatever else is wrong with it.
pub(super) fn has_table(text: &str, name: &str) -> bool {
    let (table, _) = DeTable::parse_recoverable(text);
    table.get_ref().keys().any(|key| key.get_ref() == name)
}

/// What a document says of a flag that is in no table, whatever else is wrong with it.
pub(super) fn flag_in(text: &str, key: &str) -> Option<bool> {
    let (table, _) = DeTable::parse_recoverable(text);
    let mut entries = table.get_ref().iter();
    let (_, value) = entries.find(|(name, _)| name.get_ref() == key)?;
    match value.get_ref() {
        DeValue::Boolean(flag) => Some(*flag),
        _ => None,
    }
}

/// The nearest key, or for a table whose name is wrong the right table.
fn nearest(name: &str, value: &DeValue<'_>) -> Option<String> {
    let DeValue::Table(table) = value else {
        return keys::nearest(name).map(str::to_owned);
    };
    let first = table.iter().next()?.0.get_ref();
    let key = keys::nearest(&format!("{name}.{first}"))?;
    Some(
        key.rsplit_once('.')
            .map_or(key, |(table, _)| table)
            .to_owned(),
    )
}

/// What is wrong with the value of a key.
pub(super) fn invalid(place: String, key: &str, problem: Problem) -> Error {
    let Problem { text, nearest } = problem;
    Error::ConfigInvalid {
        place,
        problem: format!("`{key}` {text}"),
        nearest: nearest.map(str::to_owned),
    }
}

/// Line and column of a byte, both from 1, in characters.
pub(super) fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or_default();
    (before.matches('\n').count() + 1, line.chars().count() + 1)
}
