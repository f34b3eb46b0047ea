//! JSON as strictly as hostile input asks for: serde_json's own limit of 128 levels, and no key
//! twice, since of two `file_hash` one parser takes the first and the next one the last.
//!
//! [`Object`] takes fields out of what was read, and names the field in what it finds wrong. A field
//! of the wrong type is an error, never a guess; a field that nobody asks for is passed over.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::error::in_short;

/// Reads one JSON document, which may begin with a byte order mark.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    serde_json::from_slice::<Strict>(bytes).map(|strict| strict.0)
}

struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value")
            }

            fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_str<E>(self, value: &str) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
                let mut list = Vec::new();
                while let Some(Strict(item)) = items.next_element()? {
                    list.push(item);
                }
                Ok(list.into())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
                let mut map = Map::new();
                while let Some((key, Strict(value))) = entries.next_entry::<String, _>()? {
                    if map.contains_key(&key) {
                        let key = in_short(&key);
                        return Err(de::Error::custom(format!("the key {key:?} is there twice")));
                    }
                    map.insert(key, value);
                }
                Ok(map.into())
            }
        }

        deserializer.deserialize_any(Any).map(Strict)
    }
}

/// How much of a strange value is quoted: enough to recognise a login page by.
const EXCERPT: usize = 120;

/// An object, and where it lies.
pub(crate) struct Object<'a> {
    /// What leads to it, as in `launchers.linux-x86_64.`; empty for the document itself.
    place: String,
    fields: &'a Map<String, Value>,
}

impl<'a> Object<'a> {
    /// The document itself.
    pub(crate) fn of(document: &'a Value) -> Result<Self, String> {
        match document {
            Value::Object(fields) => Ok(Self {
                place: String::new(),
                fields,
            }),
            other => Err(format!("{}, no object", kind(other))),
        }
    }

    /// The objects of a document that is a list of them.
    pub(crate) fn list_of(document: &'a Value) -> Result<Vec<Self>, String> {
        match document {
            Value::Array(items) => objects(items, ""),
            other => Err(format!("{}, no list", kind(other))),
        }
    }

    /// What is wrong with a field.
    pub(crate) fn wrong(&self, field: &str, problem: &str) -> String {
        format!("field {}{}: {problem}", self.place, in_short(field))
    }

    /// The names of the fields.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'a str> {
        self.fields.keys().map(String::as_str)
    }

    /// A field that is there and not null.
    pub(crate) fn get(&self, name: &str) -> Option<&'a Value> {
        self.fields.get(name).filter(|value| !value.is_null())
    }

    fn read<T>(
        &self,
        name: &str,
        wanted: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, String> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let problem = || self.wrong(name, &format!("is {}, {wanted}", kind(value)));
        read(value).map(Some).ok_or_else(problem)
    }

    pub(crate) fn inner(&self, name: &str) -> Result<Option<Self>, String> {
        let fields = self.read(name, "no object", Value::as_object)?;
        Ok(fields.map(|fields| Self {
            place: format!("{}{}.", self.place, in_short(name)),
            fields,
        }))
    }

    pub(crate) fn text(&self, name: &str) -> Result<Option<&'a str>, String> {
        self.read(name, "not text", Value::as_str)
    }

    /// A whole number from 0.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, String> {
        self.read(name, "not a whole number", Value::as_u64)
    }

    pub(crate) fn list(&self, name: &str) -> Result<Option<&'a [Value]>, String> {
        let list = self.read(name, "no list", Value::as_array)?;
        Ok(list.map(Vec::as_slice))
    }

    /// A truth value; absent, it is false.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, String> {
        let value = self.read(name, "neither true nor false", Value::as_bool)?;
        Ok(value.unwrap_or_default())
    }

    /// A list of objects; absent, it is empty.
    pub(crate) fn objects(&self, name: &str) -> Result<Vec<Self>, String> {
        let list = self.list(name)?.unwrap_or_default();
        let place = format!("{}{}", self.place, in_short(name));
        objects(list, &place)
    }

    /// The item of the list `name` with this number, which must be an object.
    pub(crate) fn item(&self, name: &str, number: usize, item: &'a Value) -> Result<Self, String> {
        object(&format!("{}{}", self.place, in_short(name)), number, item)
    }

    /// A list of texts; absent, it is empty.
    pub(crate) fn texts(&self, name: &str) -> Result<Vec<&'a str>, String> {
        let list = self.list(name)?.unwrap_or_default();
        let text = |value: &'a Value| {
            let problem = || self.wrong(name, &format!("holds {}, not text", kind(value)));
            value.as_str().ok_or_else(problem)
        };
        list.iter().map(text).collect()
    }

    /// What a text says, if it is there.
    pub(crate) fn parsed<T>(&self, name: &str) -> Result<Option<T>, String>
    where
        T: std::str::FromStr,
        T::Err: fmt::Display,
    {
        let text = self.text(name)?;
        text.map(|text| {
            text.parse()
                .map_err(|error: T::Err| self.wrong(name, &error.to_string()))
        })
        .transpose()
    }

    /// What must be there.
    pub(crate) fn required<T>(
        &self,
        name: &str,
        value: Result<Option<T>, String>,
    ) -> Result<T, String> {
        value?.ok_or_else(|| self.wrong(name, "is missing"))
    }
}

/// The objects of a list, each with its place in it.
fn objects<'a>(items: &'a [Value], place: &str) -> Result<Vec<Object<'a>>, String> {
    let items = items.iter().enumerate();
    items
        .map(|(number, item)| object(place, number, item))
        .collect()
}

fn object<'a>(place: &str, number: usize, item: &'a Value) -> Result<Object<'a>, String> {
    match item {
        Value::Object(fields) => Ok(Object {
            place: format!("{place}[{number}]."),
            fields,
        }),
        other => Err(format!(
            "field {place}[{number}]: is {}, no object",
            kind(other)
        )),
    }
}

/// What a value is, in a sentence.
pub(crate) fn kind(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "a truth value".to_owned(),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => format!("the text {:?}", excerpt(text.as_bytes())),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

/// The beginning of what somebody sent, in one line that is safe to show.
pub(crate) fn excerpt(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * EXCERPT)]);
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect();
    let line = words.join(" ");
    match line.char_indices().nth(EXCERPT) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
