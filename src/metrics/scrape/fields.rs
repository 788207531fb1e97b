//! Reads one table of the configuration key by key, and tells every mistake in it: a wrong type, a key that is not known.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

pub(super) struct Fields<'m> {
    /// Where the table stands, for messages.
    place: String,
    table: Map<String, Value>,
    mistakes: &'m mut Vec<String>,
}

impl<'m> Fields<'m> {
    pub(super) fn of(place: impl Into<String>, value: Value, mistakes: &'m mut Vec<String>) -> Fields<'m> {
        let place = place.into();
        let table = match value {
            Value::Object(table) => table,
            _ => {
                mistakes.push(format!("{place}: expected a table"));
                Map::new()
            }
        };
        Fields { place, table, mistakes }
    }

    pub(super) fn mistake(&mut self, message: String) {
        self.mistakes.push(format!("{}: {message}", self.place));
    }

    /// The value of a key; a key that is missing, or whose value cannot be read, gives `None`.
    pub(super) fn take<T: DeserializeOwned>(&mut self, key: &str) -> Option<T> {
        let value = self.table.remove(key)?;
        match T::deserialize(value) {
            Ok(value) => Some(value),
            Err(error) => {
                self.mistake(format!("{key}: {error}"));
                None
            }
        }
    }

    pub(super) fn flag(&mut self, key: &str, default: bool) -> bool {
        self.take(key).unwrap_or(default)
    }

    /// The table below a key, to be read in its turn.
    pub(super) fn table(&mut self, key: &str) -> Option<Fields<'_>> {
        let value = self.table.remove(key)?;
        Some(Fields::of(format!("{}: {key}", self.place), value, self.mistakes))
    }

    /// The tables of the list below a key.
    pub(super) fn tables<T>(&mut self, key: &str, mut read: impl FnMut(Fields<'_>) -> T) -> Vec<T> {
        let values: Vec<Value> = self.take(key).unwrap_or_default();
        let place = &self.place;
        let numbered = values.into_iter().enumerate();
        numbered.map(|(at, value)| read(Fields::of(format!("{place}: {key}[{at}]"), value, self.mistakes))).collect()
    }

    /// One of a few words; the first is the default.
    pub(super) fn word<T: Copy>(&mut self, key: &str, choices: &[(&str, T)]) -> T {
        let Some(said) = self.take::<String>(key) else { return choices[0].1 };
        match choices.iter().find(|(word, _)| *word == said) {
            Some((_, chosen)) => *chosen,
            None => {
                let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
                self.mistake(format!("{key}: expected one of {}, got {said:?}", words.join(", ")));
                choices[0].1
            }
        }
    }

    /// Whatever was not taken is not known.
    pub(super) fn finish(self) {
        for key in self.table.keys() {
            self.mistakes.push(format!("{}: unknown key {key:?}", self.place));
        }
    }
}
