//! Results as JSON text (contracts/prometheus.md 1.4).

use crate::metrics::histogram::Histogram;
use crate::model::Labels;
use crate::model::number::sample_float;
use crate::web::{Pieces, json_response, streamed};
use axum::response::Response;
use http::{HeaderValue, StatusCode};
use std::fmt::Write as _;

pub fn push_string(out: &mut String, text: &str) {
    // A string always serialises.
    out.push_str(&serde_json::Value::from(text).to_string());
}

fn push_strings<'a>(out: &mut String, texts: impl Iterator<Item = &'a String>) {
    out.push('[');
    for (i, text) in texts.enumerate() {
        if i > 0 {
            out.push(',');
        }
        push_string(out, text);
    }
    out.push(']');
}

pub fn push_labels(out: &mut String, labels: &Labels) {
    out.push('{');
    for (i, (name, value)) in labels.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        push_string(out, name);
        out.push(':');
        push_string(out, value);
    }
    out.push('}');
}

/// Whole seconds, with three decimals only if there are milliseconds.
pub fn push_time(out: &mut String, ms: i64) {
    let (sign, ms) = (if ms < 0 { "-" } else { "" }, ms.unsigned_abs());
    let _ = match ms % 1000 {
        0 => write!(out, "{sign}{}", ms / 1000),
        rest => write!(out, "{sign}{}.{rest:03}", ms / 1000),
    };
}

pub fn push_sample(out: &mut String, ts: i64, value: f64) {
    out.push('[');
    push_time(out, ts);
    let _ = write!(out, ",\"{}\"]", sample_float(value));
}

pub fn push_histogram(out: &mut String, ts: i64, histogram: &Histogram) {
    out.push('[');
    push_time(out, ts);
    out.push(',');
    histogram.write_json(out);
    out.push(']');
}

const HEAD: &str = "{\"status\":\"success\",\"data\":";

/// What follows the data.
fn push_tail<'a>(out: &mut String, warnings: impl Iterator<Item = &'a String> + Clone, infos: &[String]) {
    if warnings.clone().next().is_some() {
        out.push_str(",\"warnings\":");
        push_strings(out, warnings);
    }
    if !infos.is_empty() {
        out.push_str(",\"infos\":");
        push_strings(out, infos.iter());
    }
    out.push('}');
}

/// `{"status":"success","data":..}` with what notes there are.
pub fn success(data: &str, warnings: &[String], infos: &[String]) -> Response {
    let mut out = String::with_capacity(data.len() + 64);
    out.push_str(HEAD);
    out.push_str(data);
    push_tail(&mut out, warnings.iter(), infos);
    json_response(StatusCode::OK, out)
}

/// The same, written as the client takes it. `data` appends a piece of the data and says whether there is more.
pub fn success_in_pieces(data: impl FnMut(&mut String) -> bool + Send + 'static, warnings: Vec<String>, infos: Vec<String>) -> Response {
    streamed(HeaderValue::from_static("application/json"), Success { begins: true, data, warnings, infos })
}

struct Success<D> {
    begins: bool,
    data: D,
    warnings: Vec<String>,
    infos: Vec<String>,
}

impl<D: FnMut(&mut String) -> bool + Send + 'static> Pieces for Success<D> {
    fn write(&mut self, out: &mut String, notes: &[String]) -> bool {
        if std::mem::take(&mut self.begins) {
            out.push_str(HEAD);
        }
        if (self.data)(out) {
            return true;
        }
        push_tail(out, self.warnings.iter().chain(notes), &self.infos);
        false
    }
}

/// An array as data in pieces.
pub fn list<T: Send + 'static>(
    items: Vec<T>,
    push: impl Fn(&mut String, &T) + Send + 'static,
) -> impl FnMut(&mut String) -> bool + Send + 'static {
    let (mut items, mut separator) = (items.into_iter(), "[");
    move |out| match items.next() {
        Some(item) => {
            out.push_str(std::mem::replace(&mut separator, ","));
            push(out, &item);
            true
        }
        None => {
            out.push_str(if separator == "[" { "[]" } else { "]" });
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_decimals_or_none() {
        let text = |ms| {
            let mut out = String::new();
            push_time(&mut out, ms);
            out
        };
        assert_eq!([text(10_000), text(1_435_781_451_781), text(-1), text(-1_500)], ["10", "1435781451.781", "-0.001", "-1.500"]);
    }
}
