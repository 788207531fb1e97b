//! A pipeline, compiled: what happens to each entry between its stream and the result.

mod filter;
mod format;
mod hints;
mod ip;
mod labels;
mod line;
mod parsers;
mod pattern;
mod unwrap;

pub use hints::Hints;
pub use labels::{Category, Label, LabelSet};
pub use parsers::sanitise;
pub use unwrap::Unwrapper;

use super::ast::{LabelTest, Stage, Unwrap};
use super::parse::ParseError;
use super::template::STEPS_MAX;
use crate::logs::source::Needs;
use crate::logs::tokens::Clause;
use filter::Filter;
use format::{LabelFormats, LineFormat};
use line::LineFilter;
use parsers::{Json, Logfmt, RegexpParser};
use pattern::Pattern;
use std::borrow::Cow;

/// An entry on its way through a pipeline.
pub struct Entry<'a> {
    /// Nanoseconds since the epoch.
    pub ts: i64,
    /// When the query was asked.
    pub now: i64,
    pub line: Cow<'a, str>,
    pub labels: LabelSet<'a>,
    hints: &'a Hints,
    /// The wanted labels that parsers have found.
    found: u64,
    /// Steps that are left to templates.
    steps: u64,
}

impl<'a> Entry<'a> {
    /// A label that a parser found, unless nobody looks at it.
    fn extract(&mut self, name: &str, value: impl Into<Cow<'a, str>>, overwrite: bool) {
        if let Some(bits) = self.hints.bits(name) {
            self.found |= bits;
            self.labels.set_parsed(name, value.into(), overwrite);
        }
    }

    /// Parsers need not go on.
    fn is_satisfied(&self) -> bool {
        self.hints.satisfied(self.found)
    }

    /// Somebody looks at a label of that name.
    fn is_wanted(&self, name: &str) -> bool {
        self.hints.bits(name).is_some()
    }
}

/// The errors that an entry may carry as `__error__`.
pub mod errors {
    pub const JSON: &str = "JSONParserErr";
    pub const LOGFMT: &str = "LogfmtParserErr";
    pub const LABEL_FILTER: &str = "LabelFilterErr";
    pub const TEMPLATE: &str = "TemplateFormatErr";
    pub const SAMPLE: &str = "SampleExtractionErr";
}

pub struct Pipeline {
    /// Line filters in front of everything else: they need no labels.
    prefilters: Vec<LineFilter>,
    steps: Vec<Step>,
    unwrap: Option<Unwrapper>,
    hints: Hints,
}

enum Step {
    Line(LineFilter),
    Json(Json),
    Logfmt(Logfmt),
    Regexp(RegexpParser),
    Pattern(Pattern),
    Unpack,
    Filter(Filter),
    LineFormat(LineFormat),
    LabelFormat(LabelFormats),
    Decolorize(regex::Regex),
    Drop(Vec<LabelTest>),
    Keep(Vec<LabelTest>),
}

/// Escape sequences that colour a terminal: CSI sequences and single escapes.
const COLOURS: &str = r"\x1b(?:\[[0-9;:?]*[ -/]*[@-~]|[@-Z\\-_])";

impl Pipeline {
    pub fn compile(stages: &[Stage], unwrap: Option<&Unwrap>) -> Result<Pipeline, ParseError> {
        let mut prefilters = Vec::new();
        let mut steps = Vec::new();
        for stage in stages {
            match stage {
                Stage::Line(f) if steps.is_empty() => prefilters.push(LineFilter::compile(f)?),
                stage => steps.push(Step::compile(stage)?),
            }
        }
        let unwrap = unwrap.map(Unwrapper::compile).transpose()?;
        Ok(Pipeline { prefilters, steps, unwrap, hints: Hints::default() })
    }

    pub fn hinted(self, hints: Hints) -> Pipeline {
        Pipeline { hints, ..self }
    }

    /// What the pipeline looks at, if nobody behind it looks at more than hinted; `reads_line` says whether the line is
    /// among that.
    pub fn needs(&self, reads_line: bool) -> Needs {
        let labels_only = |s: &Step| matches!(s, Step::Filter(_) | Step::Drop(_) | Step::Keep(_));
        let without_line = !reads_line && self.prefilters.is_empty() && self.steps.iter().all(labels_only);
        Needs { without_line, metadata: self.hints.metadata(), equal: self.required(), texts: self.texts() }
    }

    /// Labels and values without which no entry passes; not behind a parser, which might set the label.
    fn required(&self) -> Vec<(String, String)> {
        let mut required = Vec::new();
        for step in self.steps.iter().take_while(|s| matches!(s, Step::Filter(_) | Step::Line(_))) {
            if let Step::Filter(filter) = step {
                filter.required(&mut required);
            }
        }
        required
    }

    /// What the stored line of an entry that passes must contain.
    fn texts(&self) -> Vec<Clause> {
        let same_line = |s: &&Step| !matches!(s, Step::LineFormat(_) | Step::Unpack | Step::Decolorize(_));
        let later = self.steps.iter().take_while(same_line).filter_map(|s| if let Step::Line(f) = s { Some(f) } else { None });
        self.prefilters.iter().chain(later).filter_map(LineFilter::texts).collect()
    }

    /// An entry for [`Pipeline::process`].
    pub fn entry<'a>(&'a self, line: &'a str, (ts, now): (i64, i64), labels: LabelSet<'a>) -> Entry<'a> {
        Entry { ts, now, line: Cow::Borrowed(line), labels, hints: &self.hints, found: 0, steps: STEPS_MAX }
    }

    /// The filters that need nothing but the line.
    pub fn admits(&self, line: &str) -> bool {
        self.prefilters.iter().all(|f| f.keeps(line))
    }

    /// Runs the steps on an entry that was admitted; `false` drops it.
    pub fn process(&self, entry: &mut Entry<'_>) -> bool {
        self.steps.iter().all(|step| step.process(entry))
    }

    /// Entries leave it with the labels with which they come.
    pub fn is_bare(&self) -> bool {
        self.steps.is_empty() && self.unwrap.is_none()
    }

    pub fn unwrapper(&self) -> Option<&Unwrapper> {
        self.unwrap.as_ref()
    }
}

impl Step {
    fn compile(stage: &Stage) -> Result<Step, ParseError> {
        Ok(match stage {
            Stage::Line(f) => Step::Line(LineFilter::compile(f)?),
            Stage::Json(fields) => Step::Json(Json::compile(fields)?),
            Stage::Logfmt { strict, keep_empty, fields } => Step::Logfmt(Logfmt::new(*strict, *keep_empty, fields)),
            Stage::Regexp(re) => Step::Regexp(RegexpParser::compile(re)?),
            Stage::Pattern(text) => Step::Pattern(Pattern::parser(text)?),
            Stage::Unpack => Step::Unpack,
            Stage::Label(f) => Step::Filter(Filter::compile(f)?),
            Stage::LineFormat(template) => Step::LineFormat(LineFormat::compile(template)?),
            Stage::LabelFormat(formats) => Step::LabelFormat(LabelFormats::compile(formats)?),
            Stage::Decolorize => Step::Decolorize(crate::model::regexp::compile(COLOURS).map_err(|e| ParseError::new(e.to_string()))?),
            Stage::Drop(tests) => Step::Drop(tests.clone()),
            Stage::Keep(tests) => Step::Keep(tests.clone()),
        })
    }

    fn process(&self, entry: &mut Entry<'_>) -> bool {
        match self {
            Step::Line(f) => return f.keeps(&entry.line),
            Step::Filter(f) => return f.keeps(entry),
            Step::Json(p) => p.process(entry),
            Step::Logfmt(p) => p.process(entry),
            Step::Regexp(p) => p.process(entry),
            Step::Pattern(p) => p.process(entry),
            Step::Unpack => parsers::unpack(entry),
            Step::LineFormat(f) => f.process(entry),
            Step::LabelFormat(f) => f.process(entry),
            Step::Decolorize(re) => {
                if let Cow::Owned(plain) = re.replace_all(&entry.line, "") {
                    entry.line = Cow::Owned(plain);
                }
            }
            Step::Drop(tests) => {
                for test in tests {
                    match test {
                        LabelTest::Name(name) => drop(entry.labels.remove(name)),
                        LabelTest::Matcher(m) => {
                            if entry.labels.get(&m.name).is_some_and(|v| m.matches(v)) {
                                entry.labels.remove(&m.name);
                            }
                        }
                    }
                }
            }
            Step::Keep(tests) => entry.labels.retain(|name, value| {
                tests.iter().any(|t| match t {
                    LabelTest::Name(n) => n == name,
                    LabelTest::Matcher(m) => m.name == name && m.matches(value),
                })
            }),
        }
        true
    }
}

#[cfg(test)]
mod tests;
