//! What a target exposes: Prometheus's text format 0.0.4 (and 1.0.0, which adds quoted names), OpenMetrics 1.0, and
//! Prometheus's protobuf. Each is read item by item, and no tree of it is ever built.
//! Sources: prometheus.io "Exposition formats", the OpenMetrics specification, `io/prometheus/client/metrics.proto`.

mod cursor;
mod labels;
mod protobuf;
#[cfg(test)]
mod tests;
mod text;

use crate::metrics::rows::{MetricType, Value};
use crate::model::Labels;
use std::borrow::Cow;

pub(super) use labels::Pairs;

/// Which names are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// Any UTF-8.
    Utf8,
    /// `[a-zA-Z_:][a-zA-Z0-9_:]*`, and without colons for labels.
    Legacy,
}

/// A form of exposition, as it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Protobuf,
    OpenMetrics1,
    OpenMetrics0,
    Text1,
    Text0,
}

/// How a body is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Text,
    OpenMetrics,
    Protobuf,
}

impl Protocol {
    pub const ALL: [Protocol; 5] = [Protocol::Protobuf, Protocol::OpenMetrics1, Protocol::OpenMetrics0, Protocol::Text1, Protocol::Text0];

    /// As `scrape_protocols` names it.
    pub const fn name(self) -> &'static str {
        match self {
            Protocol::Protobuf => "PrometheusProto",
            Protocol::OpenMetrics1 => "OpenMetricsText1.0.0",
            Protocol::OpenMetrics0 => "OpenMetricsText0.0.1",
            Protocol::Text1 => "PrometheusText1.0.0",
            Protocol::Text0 => "PrometheusText0.0.4",
        }
    }

    pub fn named(name: &str) -> Option<Protocol> {
        Protocol::ALL.into_iter().find(|p| p.name() == name)
    }

    const fn media_type(self) -> &'static str {
        match self {
            Protocol::Protobuf => "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
            Protocol::OpenMetrics1 => "application/openmetrics-text;version=1.0.0",
            Protocol::OpenMetrics0 => "application/openmetrics-text;version=0.0.1",
            Protocol::Text1 => "text/plain;version=1.0.0",
            Protocol::Text0 => "text/plain;version=0.0.4",
        }
    }

    pub const fn form(self) -> Form {
        match self {
            Protocol::Protobuf => Form::Protobuf,
            Protocol::OpenMetrics1 | Protocol::OpenMetrics0 => Form::OpenMetrics,
            Protocol::Text1 | Protocol::Text0 => Form::Text,
        }
    }
}

/// The `Accept` header, as Prometheus 3 sends it: falling weights, and the escaping with those that know one.
pub fn accept(protocols: &[Protocol], escaping: &str) -> String {
    let mut weight = Protocol::ALL.len() + 1;
    let mut clauses = Vec::new();
    for protocol in protocols {
        let escaped = match protocol {
            Protocol::OpenMetrics1 | Protocol::Text1 => format!(";escaping={escaping}"),
            _ => String::new(),
        };
        clauses.push(format!("{}{escaped};q=0.{weight}", protocol.media_type()));
        weight = weight.saturating_sub(1);
    }
    clauses.push(format!("*/*;q=0.{weight}"));
    clauses.join(",")
}

/// What a body is, by its content type, else by what the user said of such targets.
pub fn form(content_type: Option<&str>, fallback: Option<Protocol>) -> Result<Form, String> {
    let content_type = content_type.unwrap_or("").trim();
    let mut parts = content_type.split(';').map(str::trim);
    let media = parts.next().unwrap_or("").to_ascii_lowercase();
    let parameter = |name: &str| parts.clone().filter_map(|part| part.split_once('=')).find(|(n, _)| n.eq_ignore_ascii_case(name));
    let known = match media.as_str() {
        "application/openmetrics-text" => Some(Form::OpenMetrics),
        "text/plain" => Some(Form::Text),
        "application/vnd.google.protobuf" => {
            let says = |name, value| parameter(name).is_some_and(|(_, v)| v.trim_matches('"') == value);
            (says("proto", "io.prometheus.client.MetricFamily") && says("encoding", "delimited")).then_some(Form::Protobuf)
        }
        _ => None,
    };
    if let Some(form) = known.or(fallback.map(Protocol::form)) {
        return Ok(form);
    }
    let what = if content_type.is_empty() { "blank Content-Type".to_owned() } else { format!("unsupported Content-Type {content_type:?}") };
    Err(format!("non-compliant scrape target sending {what} and no fallback_scrape_protocol specified for target"))
}

/// Why a body cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub String);

/// One thing that an exposition says.
#[derive(Debug)]
pub enum Item<'a> {
    Type(Cow<'a, str>, MetricType),
    Help(Cow<'a, str>, Cow<'a, str>),
    Unit(Cow<'a, str>, Cow<'a, str>),
    Point(Point<'a>),
}

/// One sample of one series.
#[derive(Debug)]
pub struct Point<'a> {
    pub series: Series<'a>,
    /// Milliseconds since the epoch, if the target says so.
    pub ts: Option<i64>,
    /// Milliseconds since the epoch; 0 is unknown.
    pub start: i64,
    pub value: Value,
    pub exemplars: Vec<Exposed>,
}

/// An exemplar, which need not have a time.
#[derive(Debug, Clone, PartialEq)]
pub struct Exposed {
    pub labels: Labels,
    pub value: f64,
    /// Milliseconds since the epoch.
    pub ts: Option<i64>,
}

/// Whose sample it is.
#[derive(Debug)]
pub enum Series<'a> {
    /// As it stands in a text, of a family of this type.
    Text(&'a str, MetricType),
    /// The key, which tells series apart as a text does, and the labels.
    Pairs(String, Pairs<'a>),
}

impl Series<'_> {
    /// The same for the same series of one exposition after the other.
    pub fn key(&self) -> &str {
        match self {
            Series::Text(text, _) => text,
            Series::Pairs(key, _) => key,
        }
    }

    /// Names and values in no order, the metric's name among them; each name once. Empty values stay.
    pub fn pairs(&self) -> Result<Pairs<'_>, Malformed> {
        match self {
            Series::Text(text, kind) => labels::parse_series(text, *kind),
            Series::Pairs(_, pairs) => Ok(pairs.clone()),
        }
    }
}

/// What of histograms is wanted of a form that can have both kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Histograms {
    pub native: bool,
    /// Classic buckets also of those that are native.
    pub always_classic: bool,
}

/// Gives `take` all items in turn, until it or the body is at fault.
pub fn read<E: From<Malformed>>(
    form: Form,
    body: &[u8],
    histograms: Histograms,
    take: &mut dyn FnMut(Item<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let text = || std::str::from_utf8(body).map_err(|_| Malformed("the exposition is not UTF-8".to_owned()));
    match form {
        Form::Text => text::read(text()?, false, take),
        Form::OpenMetrics => text::read(text()?, true, take),
        Form::Protobuf => protobuf::read(body, histograms, take),
    }
}

/// A float as OpenMetrics writes it, which is how `le` and `quantile` are stored whatever the form: `1` is `1.0`.
pub fn normal_float(value: f64) -> String {
    let mut text = crate::model::number::general_float(value);
    if value.is_finite() && !text.contains(['.', 'e']) {
        text.push_str(".0");
    }
    text
}
