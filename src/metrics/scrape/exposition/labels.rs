//! A series as both text formats write it: `name{label="value"}` or `{"name",label="value"}`.

use super::cursor::Cursor;
use super::{Malformed, Names, normal_float};
use crate::metrics::METRIC_NAME;
use crate::metrics::rows::MetricType;
use crate::model::Labels;
use std::borrow::Cow;

/// Names and values.
pub type Pairs<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

pub(super) fn is_metric_name_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_' || b == b':'
}

fn is_label_name_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_'
}

/// Whether a name is one of the old form; those of labels have no colon.
pub(super) fn is_legacy(name: &str, is_label: bool) -> bool {
    let fits = if is_label { is_label_name_byte } else { is_metric_name_byte };
    name.bytes().all(fits) && !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit())
}

impl Names {
    pub fn take(self, name: &str, is_label: bool) -> bool {
        match self {
            Names::Utf8 => !name.is_empty(),
            Names::Legacy => is_legacy(name, is_label),
        }
    }
}

/// Backslash, newline and, with `quotes`, the quote are escaped; any other backslash stands for itself. The texts of help in
/// 0.0.4 do not escape quotes.
pub(super) fn unescaped(raw: &str, quotes: bool) -> Cow<'_, str> {
    if !raw.contains('\\') {
        return raw.into();
    }
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match rest.next() {
            Some('n') => out.push('\n'),
            Some('\\') => out.push('\\'),
            Some('"') if quotes => out.push('"'),
            Some(c) => out.extend(['\\', c]),
            None => out.push('\\'),
        }
    }
    out.into()
}

/// Passes over a series and returns it as it stands; whether its labels are well-formed is seen when they are parsed.
pub(super) fn series_text<'a>(cursor: &mut Cursor<'a>, open: bool) -> Result<&'a str, Malformed> {
    let start = cursor.at();
    let name = cursor.run(is_metric_name_byte);
    let mut end = *cursor;
    if !open {
        cursor.blanks();
    }
    if cursor.peek() == Some(b'{') {
        loop {
            cursor.run(|b| b != b'"' && b != b'}' && b != b'\n');
            match cursor.peek() {
                Some(b'"') => {
                    cursor.quoted()?;
                }
                Some(b'}') => break,
                _ => return Err(cursor.malformed("expected }")),
            }
        }
        cursor.skip(b'}');
        end = *cursor;
    } else if name.is_empty() {
        return Err(cursor.malformed("expected a metric"));
    }
    *cursor = end;
    Ok(cursor.since(start))
}

/// The labels of a series whose text [`series_text`] found. `kind` is its family's: bounds and quantiles are written alike
/// whatever the target writes.
pub(super) fn parse_series(text: &str, kind: MetricType) -> Result<Pairs<'_>, Malformed> {
    let mut cursor = Cursor::new(text);
    let mut pairs = Pairs::new();
    let name = cursor.run(is_metric_name_byte);
    if !name.is_empty() {
        if name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(Cursor::new(text).malformed("a metric's name begins with a digit"));
        }
        pairs.push((METRIC_NAME.into(), name.into()));
    }
    cursor.blanks();
    if cursor.skip(b'{') {
        label_list(&mut cursor, &mut pairs, true)?;
    }
    let bound = match kind {
        MetricType::Histogram | MetricType::GaugeHistogram => "le",
        MetricType::Summary => "quantile",
        _ => "",
    };
    for (_, value) in pairs.iter_mut().filter(|(name, _)| name == bound) {
        if let Some(number) = float(value) {
            *value = normal_float(number).into();
        }
    }
    if !pairs.iter().any(|(name, value)| name == METRIC_NAME && !value.is_empty()) {
        return Err(Cursor::new(text).malformed("a series has no metric name"));
    }
    Ok(pairs)
}

/// The labels of an exemplar; the next byte is behind its `{`.
pub(super) fn exemplar_labels(cursor: &mut Cursor<'_>) -> Result<Labels, Malformed> {
    let mut pairs = Pairs::new();
    label_list(cursor, &mut pairs, false)?;
    Ok(Labels::from_pairs(pairs))
}

/// Labels that a series may have.
const LABELS_MAX: usize = 1_000;

fn label_list<'a>(cursor: &mut Cursor<'a>, pairs: &mut Pairs<'a>, may_name: bool) -> Result<(), Malformed> {
    let start = *cursor;
    loop {
        cursor.blanks();
        if cursor.skip(b'}') {
            return match twice(pairs) {
                Some(name) => Err(start.malformed(&format!("label name {name:?} is not unique"))),
                None => Ok(()),
            };
        }
        if pairs.len() > LABELS_MAX {
            return Err(start.malformed(&format!("a series has more than {LABELS_MAX} labels")));
        }
        let quoted = cursor.peek() == Some(b'"');
        let before = *cursor;
        let name = if quoted { unescaped(cursor.quoted()?, true) } else { cursor.run(is_label_name_byte).into() };
        cursor.blanks();
        if cursor.skip(b'=') {
            if name.is_empty() || !quoted && !is_legacy(&name, true) {
                return Err(before.malformed("expected a label name"));
            }
            cursor.blanks();
            if cursor.peek() != Some(b'"') {
                return Err(cursor.malformed("expected a label value in quotes"));
            }
            let value = unescaped(cursor.quoted()?, true);
            pairs.push((name, value));
        } else if quoted && may_name && !name.is_empty() {
            pairs.push((METRIC_NAME.into(), name));
        } else {
            return Err(before.malformed("expected a label name"));
        }
        cursor.blanks();
        if !cursor.skip(b',') && cursor.peek() != Some(b'}') {
            return Err(cursor.malformed("expected , or }"));
        }
    }
}

fn twice<'a>(pairs: &'a Pairs<'_>) -> Option<&'a str> {
    let mut names: Vec<&str> = pairs.iter().map(|(name, _)| &**name).collect();
    names.sort_unstable();
    names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
}

/// A float as Go reads it, but without its hexadecimal and underscored forms; every NaN is the same.
pub(super) fn float(text: &str) -> Option<f64> {
    if text.contains(['_', 'p', 'P', 'x', 'X']) {
        return None;
    }
    let value: f64 = text.parse().ok()?;
    Some(if value.is_nan() { f64::from_bits(NORMAL_NAN) } else { value })
}

/// The NaN that is data, and no staleness marker (contracts/prometheus.md 0).
pub(super) const NORMAL_NAN: u64 = 0x7ff8_0000_0000_0001;
