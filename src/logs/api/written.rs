//! Answers of queries, written as the client takes them (contracts/loki.md 1.1, 1.6, 1.7).

use super::answer::{push_entry, push_object, push_sample, push_strings, shown_in_stream};
use crate::logs::logql::eval::{FoundEntry, Series, Steps};
use crate::model::Labels;
use crate::query::Context;
use crate::web::{Pieces, streamed};
use axum::response::Response;
use http::HeaderValue;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::mem;

/// Points of a series that are written at a time.
const PIECE_POINTS: usize = 256;

/// Appends a piece, and says whether there is more.
type Part = Box<dyn FnMut(&mut String) -> bool + Send>;

/// A success whose data is a list.
struct Written {
    /// Up to the bracket that opens the list.
    head: String,
    list: Part,
    stats: String,
    warnings: Vec<String>,
    /// What follows the last brace.
    end: &'static str,
    /// The memory that the list takes is the query's until it is written.
    _query: Context,
}

impl Pieces for Written {
    fn write(&mut self, out: &mut String, notes: &[String]) -> bool {
        out.push_str(&mem::take(&mut self.head));
        if (self.list)(out) {
            return true;
        }
        let _ = write!(out, "],\"stats\":{}}}", self.stats);
        let mut warnings = self.warnings.iter().chain(notes).map(String::as_str).peekable();
        if warnings.peek().is_some() {
            out.push_str(",\"warnings\":");
            push_strings(out, warnings);
        }
        out.push('}');
        out.push_str(self.end);
        false
    }
}

impl Written {
    fn into_response(self) -> Response {
        streamed(HeaderValue::from_static("application/json; charset=UTF-8"), self)
    }
}

/// `flags`: the encoding flags as they came, if `categorize-labels` is among them.
pub fn streams(entries: Vec<FoundEntry>, flags: Option<Vec<String>>, stats: String, query: &Context) -> Response {
    let mut groups: BTreeMap<String, Vec<FoundEntry>> = BTreeMap::new();
    for entry in entries {
        groups.entry(Labels::from_sorted(shown_in_stream(&entry, flags.as_deref())).to_string()).or_default().push(entry);
    }
    let mut head = String::from(r#"{"status":"success","data":{"resultType":"streams","#);
    if let Some(flags) = &flags {
        head.push_str(r#""encodingFlags":"#);
        push_strings(&mut head, flags.iter().map(String::as_str));
        head.push(',');
    }
    head.push_str(r#""result":["#);
    let (mut groups, mut separator) = (groups.into_values(), "{");
    let mut begun: Option<std::vec::IntoIter<FoundEntry>> = None;
    let list = move |out: &mut String| {
        let flags = flags.as_deref();
        if let Some(entries) = &mut begun {
            match entries.next() {
                Some(entry) => {
                    out.push(',');
                    push_entry(out, &entry, flags);
                }
                None => {
                    out.push_str("]}");
                    begun = None;
                }
            }
            return true;
        }
        let Some(mut entries) = groups.next().map(Vec::into_iter) else { return false };
        if let Some(first) = entries.next() {
            out.push_str(mem::replace(&mut separator, ",{"));
            out.push_str(r#""stream":"#);
            push_object(out, shown_in_stream(&first, flags));
            out.push_str(r#","values":["#);
            push_entry(out, &first, flags);
            begun = Some(entries);
        }
        true
    };
    Written { head, list: Box::new(list), stats, warnings: Vec::new(), end: "\n", _query: query.clone() }.into_response()
}

/// A matrix, or for an instant query a vector, of series that have points.
pub fn series(series: Vec<Series>, steps: Steps, warnings: Vec<String>, stats: String, query: &Context) -> Response {
    let kind = if steps.instant { "vector" } else { "matrix" };
    let head = format!(r#"{{"status":"success","data":{{"resultType":"{kind}","result":["#);
    let (mut series, mut separator) = (series.into_iter(), "{");
    let mut begun: Option<(Series, usize)> = None;
    let list = move |out: &mut String| {
        if let Some((one, next)) = &mut begun {
            let to = one.points.len().min(*next + PIECE_POINTS);
            for (number, value) in &one.points[*next..to] {
                out.push(',');
                push_sample(out, steps.time(*number), *value);
            }
            *next = to;
            if to == one.points.len() {
                out.push_str("]}");
                begun = None;
            }
            return true;
        }
        let Some(one) = series.next() else { return false };
        out.push_str(mem::replace(&mut separator, ",{"));
        out.push_str(r#""metric":"#);
        push_object(out, one.labels.iter());
        out.push_str(if steps.instant { r#","value":"# } else { r#","values":["# });
        if let Some((number, value)) = one.points.first() {
            push_sample(out, steps.time(*number), *value);
        }
        if steps.instant {
            out.push('}');
        } else {
            begun = Some((one, 1));
        }
        true
    };
    Written { head, list: Box::new(list), stats, warnings, end: "", _query: query.clone() }.into_response()
}
