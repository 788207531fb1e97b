//! The value of a query as JSON, piece by piece (contracts/prometheus.md 1.4). What it takes of the query's memory is given
//! back as it is written.

use super::json::{push_histogram, push_labels, push_sample, push_string, push_time};
use crate::metrics::promql::{MatrixSeries, Point, QueryValue, VectorElement};
use crate::model::number::plain_float;
use crate::query::Context;
use std::fmt::Write as _;
use std::{mem, vec};

/// Values of a series that are written at a time.
const PIECE_VALUES: usize = 256;

/// `{"resultType":..,"result":..}`, and what else is in it.
pub struct QueryData {
    value: Value,
    /// What stands before the next element.
    separator: &'static str,
    /// What stands beside the result, with the comma before it.
    rest: String,
    context: Context,
}

enum Value {
    Vector(vec::IntoIter<VectorElement>),
    Matrix(vec::IntoIter<MatrixSeries>, Option<Begun>),
    /// A scalar or a string.
    One(QueryValue),
}

impl QueryData {
    pub fn new(value: QueryValue, rest: String, context: Context) -> QueryData {
        let (value, separator) = match value {
            QueryValue::Vector(elements) => (Value::Vector(elements.into_iter()), r#"{"resultType":"vector","result":["#),
            QueryValue::Matrix(series) => (Value::Matrix(series.into_iter(), None), r#"{"resultType":"matrix","result":["#),
            one => (Value::One(one), ""),
        };
        QueryData { value, separator, rest, context }
    }

    /// Appends a piece. Whether there is more.
    pub fn write(&mut self, out: &mut String) -> bool {
        match &mut self.value {
            Value::Vector(elements) => {
                if let Some(element) = elements.next() {
                    out.push_str(mem::replace(&mut self.separator, ","));
                    push_element(out, &element);
                    self.context.release(element.bytes());
                    return true;
                }
            }
            Value::Matrix(series, begun) => {
                if begun.is_none() {
                    *begun = series.next().map(|one| {
                        out.push_str(mem::replace(&mut self.separator, ","));
                        Begun::new(out, one)
                    });
                }
                if let Some(one) = begun {
                    if !one.write(out) {
                        self.context.release(one.series.bytes());
                        *begun = None;
                    }
                    return true;
                }
            }
            Value::One(value) => push_one(out, value),
        }
        if !matches!(self.value, Value::One(_)) {
            // What stands before the first element stands there if there is none, too.
            out.push_str(if self.separator == "," { "" } else { self.separator });
        }
        out.push(']');
        out.push_str(&self.rest);
        out.push('}');
        false
    }
}

/// Up to the bracket at the end.
fn push_one(out: &mut String, value: &QueryValue) {
    match value {
        QueryValue::Scalar(ts, value) => {
            out.push_str(r#"{"resultType":"scalar","result":["#);
            push_time(out, *ts);
            let _ = write!(out, ",\"{}\"", plain_float(*value));
        }
        QueryValue::Text(ts, text) => {
            out.push_str(r#"{"resultType":"string","result":["#);
            push_time(out, *ts);
            out.push(',');
            push_string(out, text);
        }
        QueryValue::Vector(_) | QueryValue::Matrix(_) => {}
    }
}

fn push_element(out: &mut String, element: &VectorElement) {
    out.push_str("{\"metric\":");
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

/// A series of a matrix that is being written.
struct Begun {
    series: MatrixSeries,
    /// The next place of a float, or after all of them of a histogram.
    next: usize,
    /// What stands before the next value.
    separator: &'static str,
}

const HISTOGRAMS: &str = ",\"histograms\":[";

impl Begun {
    fn new(out: &mut String, series: MatrixSeries) -> Begun {
        out.push_str("{\"metric\":");
        push_labels(out, &series.labels);
        let separator = if series.places() > 0 { ",\"values\":[" } else { HISTOGRAMS };
        Begun { series, next: 0, separator }
    }

    /// Appends some values. Whether there are more.
    fn write(&mut self, out: &mut String) -> bool {
        let places = self.series.places();
        let end = places + self.series.histograms.len();
        let to = end.min(self.next + PIECE_VALUES);
        for at in self.next..to {
            if at < places {
                let Some((ts, value)) = self.series.float(at) else { continue };
                out.push_str(mem::replace(&mut self.separator, ","));
                push_sample(out, ts, value);
            } else {
                if at == places && places > 0 {
                    out.push(']');
                    self.separator = HISTOGRAMS;
                }
                let (ts, histogram) = &self.series.histograms[at - places];
                out.push_str(mem::replace(&mut self.separator, ","));
                push_histogram(out, *ts, histogram);
            }
        }
        self.next = to;
        if to == end {
            out.push_str("]}");
        }
        to < end
    }
}
