//! Entries as objects: what the readers of bytes are compared with.

use super::level::{self, DETECTED_LEVEL, LEVEL_NAMES};
use super::rows::{Group, LogRows, Metadata, Pair, RowsBuilder};
use super::schema::SEVERITY_NUMBER;
use crate::model::Labels;
use std::sync::Arc;

pub struct Entry {
    pub index: u32,
    pub ts: i64,
    pub line: String,
    pub metadata: Vec<Pair>,
}

/// Of one request; a stream may occur more than once.
pub type Streams = Vec<(Labels, Vec<Entry>)>;

/// Makes sure that `metadata` has a `detected_level`.
pub fn detect(labels: &Labels, metadata: &mut Vec<Pair>, line: &str) {
    let value = |name: &str| metadata.iter().find(|(n, _)| &**n == name).map(|(_, v)| v.clone());
    let named = || LEVEL_NAMES.iter().find_map(|n| labels.get(n).map(Arc::from)).or_else(|| LEVEL_NAMES.iter().find_map(|n| value(n)));
    let level: Arc<str> = match value(DETECTED_LEVEL).or_else(named) {
        Some(given) => level::known(&given).map_or(given.clone(), Arc::from),
        None => match value(SEVERITY_NUMBER) {
            Some(number) => level::of_pair(LEVEL_NAMES.len() as u8, &number).into(),
            None => level::of_line(line).into(),
        },
    };
    let mut all = Metadata::default();
    metadata.drain(..).for_each(|(name, value)| all.set(&name, &value));
    all.set(&Arc::from(DETECTED_LEVEL), &level);
    *metadata = all.into_pairs();
}

/// In one form for both: labels, and of each entry position, time, line and sorted metadata, in order of position.
pub type Shown = Vec<(u32, String, i64, String, Vec<String>)>;

pub fn shown(streams: &Streams) -> Shown {
    let mut all = Shown::new();
    for (labels, entries) in streams {
        for entry in entries {
            let mut pairs: Vec<String> = entry.metadata.iter().map(|(n, v)| format!("{n}={v}")).collect();
            pairs.sort();
            all.push((entry.index, labels.to_string(), entry.ts, entry.line.clone(), pairs));
        }
    }
    all
}

pub fn shown_rows(rows: &LogRows) -> Shown {
    let mut all = Shown::new();
    for (labels, entries) in rows.shown() {
        for (index, ts, line, mut pairs) in entries {
            pairs.sort();
            all.push((index, labels.clone(), ts, line, pairs));
        }
    }
    all
}

/// Time, line and metadata.
pub type Given<'a> = (i64, &'a str, &'a [(&'a str, &'a str)]);

/// Rows with nothing but what is given, at positions counted for each stream.
pub fn rows_of<'a>(streams: impl IntoIterator<Item = (Labels, &'a [Given<'a>])>) -> LogRows {
    let mut rows = RowsBuilder::default();
    for (labels, entries) in streams {
        rows.begin(&Arc::new(Group::new(labels, Metadata::default())));
        for ((ts, line, metadata), index) in entries.iter().zip(0..) {
            for (name, value) in *metadata {
                let name = rows.name(name);
                rows.set(name, value);
            }
            rows.entry(index, *ts, line).unwrap();
        }
    }
    rows.finish()
}
