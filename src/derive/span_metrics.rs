//! Calls, latency and size by service, span name, kind and status (contracts/tempo.md 6.1).

use super::histogram::{Histogram, SPAN_BOUNDS};
use super::label_text;
use super::output::{Family, Life, Output};
use crate::metrics::MetricType;
use crate::model::time::SECOND;
use crate::traces::span::{Span, attribute};
use std::collections::HashMap;

const CALLS: Family =
    Family { name: "traces_spanmetrics_calls_total", kind: MetricType::Counter, help: "Spans by service, name, kind and status" };
const LATENCY: Family = Family { name: "traces_spanmetrics_latency", kind: MetricType::Histogram, help: "Durations of spans in seconds" };
const SIZE: Family = Family { name: "traces_spanmetrics_size_total", kind: MetricType::Counter, help: "Bytes of spans as protobuf" };

const BUILT_IN: [&str; 4] = ["service", "span_name", "span_kind", "status_code"];

/// Series of one combination of labels.
pub const SERIES: usize = 2 + Histogram::series(&SPAN_BOUNDS);

/// The label that an attribute becomes: what a label's name may not hold becomes `_`, and a built-in one is kept apart.
fn label_name(attribute: &str) -> String {
    let name: String = attribute.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
    let taken = BUILT_IN.contains(&name.as_str()) || name == "status_message";
    // A label's name may not begin with a digit.
    if taken || name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) { format!("__{name}") } else { name }
}

struct Entry {
    /// Values of the built-in labels, then of the dimensions.
    values: Box<[Box<str>]>,
    calls: u64,
    size: u64,
    latency: Histogram,
    life: Life,
}

/// One tenant's span metrics.
#[derive(Default)]
pub struct SpanMetrics {
    entries: HashMap<Box<[u8]>, Entry>,
    /// When groups ended that might come back within the minute in which they did; milliseconds.
    ended: HashMap<Box<[u8]>, i64>,
    /// Of the span at hand, kept for its memory.
    key: Vec<u8>,
}

/// What attributes become labels.
pub struct Dimensions {
    attributes: Vec<String>,
    names: Vec<String>,
}

impl Dimensions {
    pub fn new(attributes: Vec<String>) -> Dimensions {
        let names = attributes.iter().map(|a| label_name(a)).collect();
        Dimensions { attributes, names }
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        BUILT_IN.into_iter().chain(self.names.iter().map(String::as_str))
    }
}

fn kind_name(kind: i32) -> &'static str {
    match kind {
        1 => "SPAN_KIND_INTERNAL",
        2 => "SPAN_KIND_SERVER",
        3 => "SPAN_KIND_CLIENT",
        4 => "SPAN_KIND_PRODUCER",
        5 => "SPAN_KIND_CONSUMER",
        _ => "SPAN_KIND_UNSPECIFIED",
    }
}

fn status_name(code: i32) -> &'static str {
    match code {
        1 => "STATUS_CODE_OK",
        2 => "STATUS_CODE_ERROR",
        _ => "STATUS_CODE_UNSET",
    }
}

/// Seconds; a clock that went back makes no negative ones.
pub fn seconds(span: &Span) -> f64 {
    span.duration.max(0) as f64 / SECOND as f64
}

fn push(key: &mut Vec<u8>, value: &str) {
    let value = label_text(value);
    // Bounded by the length of a label.
    key.extend_from_slice(&(value.len() as u32).to_le_bytes());
    key.extend_from_slice(value.as_bytes());
}

/// The parts of a key, in order.
fn values_of(mut key: &[u8]) -> Box<[Box<str>]> {
    let mut values = Vec::new();
    while let Some((length, rest)) = key.split_first_chunk::<4>() {
        let Some((value, rest)) = rest.split_at_checked(u32::from_le_bytes(*length) as usize) else { break };
        values.push(String::from_utf8_lossy(value).into());
        key = rest;
    }
    values.into()
}

impl SpanMetrics {
    /// Series now.
    pub fn series(&self) -> usize {
        self.entries.len() * SERIES
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.ended.is_empty()
    }

    /// Counts a span, unless it needs new series and there is no `room` for them: then it returns false. `floor` as of
    /// [`Life::new`].
    pub fn count(&mut self, span: &Span, size: u64, dimensions: &Dimensions, now: i64, floor: i64, room: bool) -> bool {
        let key = &mut self.key;
        key.clear();
        push(key, span.resource.service_name().unwrap_or_default());
        push(key, &span.name);
        push(key, kind_name(span.kind));
        push(key, status_name(span.status_code));
        for name in &dimensions.attributes {
            match attribute(&span.resource.attributes, name).or_else(|| attribute(&span.attributes, name)) {
                Some(value) => push(key, &value.to_text()),
                None => push(key, ""),
            }
        }
        if !self.entries.contains_key(&key[..]) {
            if !room {
                return false;
            }
            let floor = self.ended.remove(&key[..]).map_or(floor, |ended| floor.max(ended + 1));
            let entry =
                Entry { values: values_of(key), calls: 0, size: 0, latency: Histogram::new(&SPAN_BOUNDS), life: Life::new(now, floor) };
            self.entries.insert(key.clone().into(), entry);
        }
        if let Some(entry) = self.entries.get_mut(&key[..]) {
            entry.calls += 1;
            entry.size += size;
            entry.latency.observe(seconds(span), span.trace_id);
            entry.life.touched = now;
        }
        true
    }

    /// Writes every series, and ends those that are idle.
    pub fn collect(&mut self, dimensions: &Dimensions, now: i64, out: &mut Output) {
        let names: Vec<&str> = dimensions.names().collect();
        let ended = &mut self.ended;
        ended.retain(|_, at| out.now_ms - *at < 120_000);
        self.entries.retain(|key, entry| {
            let pairs: Vec<(&str, &str)> = names.iter().copied().zip(entry.values.iter().map(|v| &**v)).collect();
            if entry.life.is_idle(now) {
                out.end_counter(&CALLS, &pairs);
                out.end_histogram(&LATENCY, &pairs, &entry.latency);
                out.end_counter(&SIZE, &pairs);
                ended.insert(key.clone(), out.now_ms);
                return false;
            }
            out.counter(&CALLS, &pairs, &mut entry.life, entry.calls);
            out.histogram(&LATENCY, &pairs, &mut entry.life, &mut entry.latency);
            out.counter(&SIZE, &pairs, &mut entry.life, entry.size);
            true
        });
    }

    pub fn confirm(&mut self) {
        self.entries.values_mut().for_each(|entry| entry.life.confirm());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_become_names_of_labels() {
        let names = ["http.method", "service", "span.name", "1st", "k8s.pod-name", "é"].map(label_name);
        assert_eq!(names, ["http_method", "__service", "__span_name", "__1st", "k8s_pod_name", "_"]);
    }

    #[test]
    fn keys_give_their_values_back() {
        let mut key = Vec::new();
        for value in ["a", "", "b\u{e9}"] {
            push(&mut key, value);
        }
        assert_eq!(values_of(&key).iter().map(|v| &**v).collect::<Vec<_>>(), ["a", "", "b\u{e9}"]);
        push(&mut key, &"é".repeat(2000));
        assert!(values_of(&key)[3].len() <= super::super::LABEL_MAX_BYTES);
    }
}
