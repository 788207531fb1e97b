use std::collections::BTreeMap;

/// Notes on a query's answer, each with the byte at which the expression it is about starts. Equal texts are one note.
#[derive(Debug, Clone, Default)]
pub struct Annotations {
    warnings: BTreeMap<String, usize>,
    infos: BTreeMap<String, usize>,
}

/// Notes of a kind that are told.
const TOLD_MAX: usize = 10;

impl Annotations {
    pub fn warn(&mut self, position: usize, message: impl Into<String>) {
        self.warnings.insert(message.into(), position);
    }

    pub fn info(&mut self, position: usize, message: impl Into<String>) {
        self.infos.insert(message.into(), position);
    }

    pub fn add(&mut self, other: Annotations) {
        self.warnings.extend(other.warnings);
        self.infos.extend(other.infos);
    }

    /// All warnings as the API gives them, with line and column in `query`.
    pub fn warnings(&self, query: &str) -> Vec<String> {
        told("PromQL warning: ", &self.warnings, query)
    }

    pub fn infos(&self, query: &str) -> Vec<String> {
        told("PromQL info: ", &self.infos, query)
    }

    /// At most ten of `notes`, and a line that counts the others (contracts/prometheus.md 1.1).
    pub fn limited(mut notes: Vec<String>, kind: &str) -> Vec<String> {
        let omitted = notes.len().saturating_sub(TOLD_MAX);
        if omitted > 0 {
            notes.truncate(TOLD_MAX);
            notes.push(format!("{omitted} more {kind} annotations omitted"));
        }
        notes
    }
}

fn told(prefix: &str, notes: &BTreeMap<String, usize>, query: &str) -> Vec<String> {
    notes.iter().map(|(text, position)| format!("{prefix}{text} ({})", line_and_column(query, *position))).collect()
}

/// `line:column`, both from 1; the column counts bytes after the last newline.
pub fn line_and_column(query: &str, position: usize) -> String {
    let before = &query.as_bytes()[..position.min(query.len())];
    let line = before.iter().filter(|b| **b == b'\n').count() + 1;
    let column = before.iter().rev().take_while(|b| **b != b'\n').count() + 1;
    format!("{line}:{column}")
}
