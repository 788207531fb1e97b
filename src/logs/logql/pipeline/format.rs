use super::{Entry, LabelSet, errors};
use crate::logs::logql::ast::FormatSource;
use crate::logs::logql::parse::ParseError;
use crate::logs::logql::template::{Input, Template, spend};
use std::borrow::Cow;

/// `line_format` (contracts/loki.md 3.6).
pub struct LineFormat(Template);

impl LineFormat {
    pub fn compile(text: &str) -> Result<LineFormat, ParseError> {
        let template = Template::parse(text, "line").map_err(|e| ParseError::new(format!("invalid line template: {e}")))?;
        Ok(LineFormat(template))
    }

    pub fn process(&self, entry: &mut Entry<'_>) {
        let input = Input { labels: &entry.labels, line: &entry.line, ts: entry.ts, now: entry.now };
        match self.0.execute(&input, &mut entry.steps) {
            Ok(text) => entry.line = Cow::Owned(text),
            Err(details) => entry.labels.set_error(errors::TEMPLATE, details),
        }
    }
}

pub struct LabelFormats(Vec<(String, Source)>);

enum Source {
    Rename(String),
    Template(Template),
}

impl LabelFormats {
    pub fn compile(formats: &[(String, FormatSource)]) -> Result<LabelFormats, ParseError> {
        let compile = |(name, source): &(String, FormatSource)| {
            let source = match source {
                FormatSource::Rename(from) => Source::Rename(from.clone()),
                FormatSource::Template(text) => {
                    let error = |e: String| ParseError::new(format!("invalid template for label '{name}': {e}"));
                    Source::Template(Template::parse(text, "label").map_err(error)?)
                }
            };
            Ok((name.clone(), source))
        };
        formats.iter().map(compile).collect::<Result<_, _>>().map(LabelFormats)
    }

    /// Templates see the labels as they are when the first one runs.
    pub fn process(&self, entry: &mut Entry<'_>) {
        let mut seen: Option<LabelSet<'_>> = None;
        for (name, source) in &self.0 {
            match source {
                Source::Rename(from) => {
                    if let Some(value) = entry.labels.remove(from) {
                        entry.labels.replace(name, value);
                    }
                }
                Source::Template(template) => {
                    if seen.is_none()
                        && let Err(details) = spend(&mut entry.steps, entry.labels.bytes())
                    {
                        entry.labels.set_error(errors::TEMPLATE, details);
                        return;
                    }
                    let labels = seen.get_or_insert_with(|| entry.labels.clone());
                    let input = Input { labels, line: &entry.line, ts: entry.ts, now: entry.now };
                    match template.execute(&input, &mut entry.steps) {
                        Ok(text) => entry.labels.replace(name, Cow::Owned(text)),
                        Err(details) => entry.labels.set_error(errors::TEMPLATE, details),
                    }
                }
            }
        }
    }
}
