//! Go's `text/template` as far as `line_format` and `label_format` need it, with Loki's functions
//! (contracts/loki.md 3.6). The data is a map of all labels; a missing one is `""`. Source: documentation of Go's
//! `text/template`, `fmt` and `time`.

mod dates;
mod execute;
mod functions;
mod parse;
mod printf;
mod text;
mod value;

pub use execute::{STEPS_MAX, spend};

use super::pipeline::LabelSet;
use parse::Node;
use std::collections::HashMap;

pub struct Template {
    body: Vec<Node>,
    /// By name: `{{define "x"}}`.
    defined: HashMap<String, Vec<Node>>,
}

/// What a template may look at.
pub struct Input<'a> {
    pub labels: &'a LabelSet<'a>,
    pub line: &'a str,
    /// Nanoseconds since the epoch: of the entry, and of the query.
    pub ts: i64,
    pub now: i64,
}

impl Template {
    /// `name` stands in error messages.
    pub fn parse(text: &str, name: &str) -> Result<Template, String> {
        parse::parse(text).map_err(|e| format!("template: {name}:1: {e}"))
    }

    /// The labels that the template reads; `None` if it may read any.
    pub fn fields(&self) -> Option<Vec<String>> {
        let mut out = Vec::new();
        parse::fields(&self.body, &mut out).then_some(out)
    }

    /// `steps` are those that are left to the entry, of [`STEPS_MAX`].
    pub fn execute(&self, input: &Input<'_>, steps: &mut u64) -> Result<String, String> {
        execute::execute(self, input, steps)
    }
}

#[cfg(test)]
mod tests;
