use super::filter::Filter;
use super::{Entry, errors};
use crate::logs::logql::ast::{Conversion, Unwrap};
use crate::logs::logql::convert;
use crate::logs::logql::parse::ParseError;

/// Takes an entry's value out of a label (contracts/loki.md 3.7).
pub struct Unwrapper {
    pub label: String,
    conversion: Conversion,
    filters: Vec<Filter>,
}

impl Unwrapper {
    pub fn compile(unwrap: &Unwrap) -> Result<Unwrapper, ParseError> {
        let filters = unwrap.filters.iter().map(Filter::compile).collect::<Result<_, _>>()?;
        Ok(Unwrapper { label: unwrap.label.clone(), conversion: unwrap.conversion, filters })
    }

    /// `None` drops the entry. A value that cannot be converted is 0 and marks the entry.
    pub fn value(&self, entry: &mut Entry<'_>) -> Option<f64> {
        let text = entry.labels.get(&self.label).filter(|v| !v.is_empty())?;
        let value = match self.conversion {
            Conversion::None => convert::parse_float(text),
            Conversion::Bytes => convert::parse_bytes(text).map(|n| n as f64),
            Conversion::Duration(_) => convert::parse_duration(text).map(|n| n as f64 / 1e9),
        };
        let value = value.unwrap_or_else(|details| {
            entry.labels.set_error(errors::SAMPLE, details);
            0.0
        });
        self.filters.iter().all(|f| f.keeps(entry)).then_some(value)
    }
}
