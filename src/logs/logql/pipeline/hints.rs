use crate::logs::logql::ast::{FormatSource, LabelFilter, Stage, Unwrap};
use crate::logs::logql::template::Template;
use crate::query::Grouping;

/// Which labels of a line anybody will look at. Parsers extract only these and stop when they have them all, so that a
/// mistake later in the line goes unnoticed; when nobody looks at any, lines are not parsed at all. This is visible
/// behaviour of Loki that dashboards depend on (contracts/loki.md 3.7).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hints {
    /// `None`: all labels are looked at.
    wanted: Option<Vec<String>>,
}

/// Wanted labels are counted in the bits of a word; with more of them nothing is left out.
const WANTED_MAX: usize = 64;

impl Hints {
    /// For entries that are grouped by `grouping`, if at all.
    pub fn of(stages: &[Stage], unwrap: Option<&Unwrap>, grouping: Option<&Grouping>) -> Hints {
        let Some(grouping) = grouping.filter(|g| !g.without) else { return Hints::default() };
        let mut wanted: Vec<String> = grouping.names.clone();
        let known = stages.iter().all(|s| of_stage(s, &mut wanted));
        if let Some(unwrap) = unwrap {
            wanted.push(unwrap.label.clone());
            unwrap.filters.iter().for_each(|f| of_filter(f, &mut wanted));
        }
        wanted.sort();
        wanted.dedup();
        Hints { wanted: (known && wanted.len() <= WANTED_MAX).then_some(wanted) }
    }

    /// No parser needs to run, or the entry has all that is wanted.
    pub fn satisfied(&self, found: u64) -> bool {
        self.wanted.as_ref().is_some_and(|w| found.count_ones() as usize == w.len())
    }

    /// Whether nobody looks at any label.
    pub fn nothing(&self) -> bool {
        self.satisfied(0)
    }

    /// The bits of the wanted labels that `name` gives; `None` if it need not be extracted.
    pub fn bits(&self, name: &str) -> Option<u64> {
        let Some(wanted) = &self.wanted else { return Some(0) };
        let asked = |w: &String| w == name || w.strip_suffix("_extracted").is_some_and(|base| base == name);
        let bits = wanted.iter().enumerate().filter(|(_, w)| asked(w)).fold(0u64, |bits, (at, _)| bits | 1 << at);
        (bits != 0).then_some(bits)
    }
}

/// Adds the labels that a stage reads; `false` if that may be any.
fn of_stage(stage: &Stage, wanted: &mut Vec<String>) -> bool {
    let mut template = |text: &str| match Template::parse(text, "hints").ok().and_then(|t| t.fields()) {
        Some(fields) => {
            wanted.extend(fields);
            true
        }
        None => false,
    };
    match stage {
        Stage::LineFormat(text) => template(text),
        Stage::LabelFormat(formats) => {
            formats.iter().all(|(_, source)| match source {
                FormatSource::Template(text) => template(text),
                FormatSource::Rename(_) => true,
            }) && {
                let renamed =
                    formats.iter().filter_map(|(_, s)| if let FormatSource::Rename(from) = s { Some(from.clone()) } else { None });
                wanted.extend(renamed);
                true
            }
        }
        Stage::Label(filter) => {
            of_filter(filter, wanted);
            true
        }
        _ => true,
    }
}

fn of_filter(filter: &LabelFilter, wanted: &mut Vec<String>) {
    match filter {
        LabelFilter::Matcher(m) => wanted.push(m.name.clone()),
        LabelFilter::Ip { name, .. }
        | LabelFilter::Number { name, .. }
        | LabelFilter::Duration { name, .. }
        | LabelFilter::Bytes { name, .. } => wanted.push(name.clone()),
        LabelFilter::And(a, b) | LabelFilter::Or(a, b) => {
            of_filter(a, wanted);
            of_filter(b, wanted);
        }
    }
}
