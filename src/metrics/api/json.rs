//! Results as JSON text (contracts/prometheus.md 1.4).

use crate::metrics::histogram::Histogram;
use crate::metrics::promql::{MatrixSeries, Point, QueryValue};
use crate::model::Labels;
use crate::model::number::{plain_float, sample_float};
use crate::web::json_response;
use axum::response::Response;
use http::StatusCode;
use std::fmt::Write as _;

pub fn push_string(out: &mut String, text: &str) {
    // A string always serialises.
    out.push_str(&serde_json::Value::from(text).to_string());
}

fn push_strings(out: &mut String, texts: &[String]) {
    out.push('[');
    for (i, text) in texts.iter().enumerate() {
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

fn push_sample(out: &mut String, ts: i64, value: f64) {
    out.push('[');
    push_time(out, ts);
    let _ = write!(out, ",\"{}\"]", sample_float(value));
}

fn push_histogram(out: &mut String, ts: i64, histogram: &Histogram) {
    out.push('[');
    push_time(out, ts);
    out.push(',');
    histogram.write_json(out);
    out.push(']');
}

fn push_matrix_series(out: &mut String, series: &MatrixSeries) {
    out.push_str("{\"metric\":");
    push_labels(out, &series.labels);
    if !series.floats.is_empty() {
        out.push_str(",\"values\":[");
        for (i, (ts, value)) in series.floats.iter().enumerate() {
            if i > 0 {
                out.push(',');
            }
            push_sample(out, *ts, *value);
        }
        out.push(']');
    }
    if !series.histograms.is_empty() {
        out.push_str(",\"histograms\":[");
        for (i, (ts, histogram)) in series.histograms.iter().enumerate() {
            if i > 0 {
                out.push(',');
            }
            push_histogram(out, *ts, histogram);
        }
        out.push(']');
    }
    out.push('}');
}

/// `"resultType":..,"result":..` without the braces around it.
pub fn push_value(out: &mut String, value: &QueryValue) {
    match value {
        QueryValue::Scalar(ts, value) => {
            out.push_str("\"resultType\":\"scalar\",\"result\":[");
            push_time(out, *ts);
            let _ = write!(out, ",\"{}\"]", plain_float(*value));
        }
        QueryValue::Text(ts, text) => {
            out.push_str("\"resultType\":\"string\",\"result\":[");
            push_time(out, *ts);
            out.push(',');
            push_string(out, text);
            out.push(']');
        }
        QueryValue::Vector(elements) => {
            out.push_str("\"resultType\":\"vector\",\"result\":[");
            for (i, element) in elements.iter().enumerate() {
                out.push_str(if i > 0 { ",{\"metric\":" } else { "{\"metric\":" });
                push_labels(out, &element.labels);
                match &element.point {
                    Point::Float(ts, value) => {
                        out.push_str(",\"value\":");
                        push_sample(out, *ts, *value);
                    }
                    Point::Histogram(ts, histogram) => {
                        out.push_str(",\"histogram\":");
                        push_histogram(out, *ts, histogram);
                    }
                }
                out.push('}');
            }
            out.push(']');
        }
        QueryValue::Matrix(series) => {
            out.push_str("\"resultType\":\"matrix\",\"result\":[");
            for (i, one) in series.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                push_matrix_series(out, one);
            }
            out.push(']');
        }
    }
}

/// `{"status":"success","data":..}` with what notes there are.
pub fn success(data: &str, warnings: &[String], infos: &[String]) -> Response {
    let mut out = String::with_capacity(data.len() + 64);
    out.push_str("{\"status\":\"success\",\"data\":");
    out.push_str(data);
    for (name, notes) in [("warnings", warnings), ("infos", infos)] {
        if !notes.is_empty() {
            let _ = write!(out, ",\"{name}\":");
            push_strings(&mut out, notes);
        }
    }
    out.push('}');
    json_response(StatusCode::OK, out)
}

/// A list of strings as the data.
pub fn string_list(texts: &[String]) -> String {
    let mut out = String::new();
    push_strings(&mut out, texts);
    out
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
