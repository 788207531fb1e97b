//! `/federate`: the newest sample of each selected series as text for another server to scrape
//! (contracts/prometheus.md 1.11). Form: Prometheus text format 0.0.4, or OpenMetrics 1.0.0 if the request prefers it.

use super::Api;
use super::error::ApiError;
use crate::metrics::promql::{Interval, Storage, parse_selector};
use crate::metrics::{METRIC_NAME, is_stale};
use crate::model::Labels;
use crate::model::number::general_float;
use crate::model::time::MILLI;
use crate::web::{Params, Pieces, streamed};
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, HeaderValue, header};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::vec;

/// Which text the client takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Form {
    open_metrics: bool,
    /// Names that are not `[a-zA-Z_:][a-zA-Z0-9_:]*` are quoted; else underscores stand for what does not fit.
    utf8: bool,
}

impl Form {
    /// The text of the highest weight in `Accept`, 0.0.4 if none is known.
    fn accepted(headers: &HeaderMap) -> Form {
        let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or("");
        let mut best = (0.0, Form { open_metrics: false, utf8: false });
        for clause in accept.split(',') {
            let mut parts = clause.split(';').map(str::trim);
            let open_metrics = match parts.next() {
                Some("application/openmetrics-text") => true,
                Some("text/plain" | "text/*" | "*/*") => false,
                _ => continue,
            };
            let (mut weight, mut utf8) = (1.0, false);
            for part in parts {
                match part.split_once('=') {
                    Some(("q", q)) => weight = q.parse().unwrap_or(0.0),
                    Some(("escaping", escaping)) => utf8 = escaping == "allow-utf-8",
                    _ => {}
                }
            }
            if weight > best.0 {
                best = (weight, Form { open_metrics, utf8 });
            }
        }
        best.1
    }

    fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match (self.open_metrics, self.utf8) {
            (false, false) => "text/plain; version=0.0.4; charset=utf-8; escaping=underscores",
            (false, true) => "text/plain; version=0.0.4; charset=utf-8; escaping=allow-utf-8",
            (true, false) => "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores",
            (true, true) => "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
        })
    }

    /// The name as it is written, and whether it must be quoted.
    fn name(self, name: &str, colons: bool) -> (Cow<'_, str>, bool) {
        let fits = |(at, c): (usize, char)| c == '_' || c.is_ascii_alphabetic() || (colons && c == ':') || (at > 0 && c.is_ascii_digit());
        if name.chars().enumerate().all(fits) {
            return (name.into(), false);
        }
        if self.utf8 {
            return (name.into(), true);
        }
        (name.chars().enumerate().map(|(at, c)| if fits((at, c)) { c } else { '_' }).collect::<String>().into(), false)
    }

    fn float(self, value: f64) -> String {
        let mut text = general_float(value);
        // OpenMetrics tells floats from integers.
        if self.open_metrics && value.is_finite() && !text.contains(['.', 'e']) {
            text.push_str(".0");
        }
        text
    }

    fn push_label(self, out: &mut String, first: &mut bool, name: &str, value: &str) {
        out.push(if std::mem::take(first) { '{' } else { ',' });
        match self.name(name, false) {
            (name, true) => push_quoted(out, &name),
            (name, false) => out.push_str(&name),
        }
        out.push('=');
        push_quoted(out, value);
    }

    fn push_sample(self, out: &mut String, sample: &Newest) {
        let mut first = true;
        match self.name(sample.labels.value(METRIC_NAME), true) {
            (name, true) => {
                out.push('{');
                push_quoted(out, &name);
                first = false;
            }
            (name, false) => out.push_str(&name),
        }
        for (name, value) in sample.labels.iter().filter(|(n, _)| *n != METRIC_NAME) {
            self.push_label(out, &mut first, name, value);
        }
        // Without it the scraping server would put its own.
        if sample.labels.get("instance").is_none() {
            self.push_label(out, &mut first, "instance", "");
        }
        let _ = write!(out, "}} {} ", self.float(sample.value));
        let _ = if self.open_metrics { writeln!(out, "{}", self.float(sample.ts as f64 / 1000.0)) } else { writeln!(out, "{}", sample.ts) };
    }

    fn push_type(self, out: &mut String, name: &str) {
        out.push_str("# TYPE ");
        match self.name(name, true) {
            (name, true) => push_quoted(out, &name),
            (name, false) => out.push_str(&name),
        }
        out.push_str(if self.open_metrics { " unknown\n" } else { " untyped\n" });
    }
}

/// The text, written as the client takes it.
struct Exposition {
    form: Form,
    samples: vec::IntoIter<Newest>,
    /// Metric name of the sample before.
    family: Option<String>,
}

impl Pieces for Exposition {
    fn write(&mut self, out: &mut String, _: &[String]) -> bool {
        let Some(sample) = self.samples.next() else {
            out.push_str(if self.form.open_metrics { "# EOF\n" } else { "" });
            return false;
        };
        let name = sample.labels.value(METRIC_NAME);
        if self.family.as_deref() != Some(name) {
            self.family = Some(name.to_owned());
            self.form.push_type(out, name);
        }
        self.form.push_sample(out, &sample);
        true
    }
}

/// Both forms escape backslash, quote and newline, and nothing else.
fn push_quoted(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// The newest sample of a series, milliseconds since the epoch.
struct Newest {
    labels: Labels,
    ts: i64,
    value: f64,
}

pub async fn federate(State(api): State<Api>, params: Params) -> Response {
    let work = async {
        let parse = |text: &str| parse_selector(text).map_err(|e| ApiError::BadData(e.render(text)));
        let selectors = params.all("match[]").map(parse).collect::<Result<Vec<_>, _>>()?;
        let now = api.clock.now().div_euclid(MILLI);
        let lookback = i64::try_from(api.door.store().spec().config().lookback.as_millis()).unwrap_or(i64::MAX);
        let interval = Interval { from: now.saturating_sub(lookback).saturating_add(1), to: now };
        let form = Form::accepted(&params.headers);
        let samples = api.read(&params, None, move |querier| {
            let mut found: BTreeMap<(String, Labels), Newest> = BTreeMap::new();
            for selector in &selectors {
                for series in querier.select(&selector.matchers, interval)? {
                    // A native histogram has no text form.
                    let (Some(ts), Some(value)) = (series.ts.last().copied(), series.values.last().copied()) else { continue };
                    if series.last_time() == Some(ts) && !is_stale(value) {
                        let key = (series.labels.value(METRIC_NAME).to_owned(), series.labels.clone());
                        found.insert(key, Newest { labels: series.labels, ts, value });
                    }
                }
            }
            Ok(found.into_values().collect::<Vec<_>>())
        });
        let samples = samples.await?.into_iter();
        let mut response = streamed(form.content_type(), Exposition { form, samples, family: None });
        response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        Ok(response)
    };
    api.answer_text(work).await
}
