//! Answers as Loki writes them (contracts/loki.md 1.1, 1.6, 1.7).

use super::{json, written};
use crate::logs::logql::eval::{FoundEntry, Stats, Steps, Value};
use crate::logs::logql::pipeline::Category;
use crate::model::{number, time};
use crate::query::{Context, QueryError};
use crate::web::text_response;
use axum::response::Response;
use http::StatusCode;
use std::fmt::Write as _;
use std::time::Duration;

const TIMED_OUT: &str = "request timed out, decrease the duration of the request or add more label matchers (prefer exact match over regex match) \
     to reduce the amount of data processed";

pub fn failure(error: &QueryError) -> Response {
    let (status, text) = match error {
        QueryError::Parse(text) | QueryError::Invalid(text) | QueryError::Execution(text) | QueryError::TooMuch(text) => {
            (StatusCode::BAD_REQUEST, text.as_str())
        }
        QueryError::Timeout => (StatusCode::GATEWAY_TIMEOUT, TIMED_OUT),
        QueryError::Canceled => (StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST), "the request was cancelled by the client"),
        QueryError::QueueFull => (StatusCode::TOO_MANY_REQUESTS, "too many outstanding requests"),
        QueryError::NotReady => (StatusCode::SERVICE_UNAVAILABLE, "starting: replay of the write-ahead log is not finished"),
        QueryError::Storage(text) => (StatusCode::INTERNAL_SERVER_ERROR, text.as_str()),
    };
    text_response(status, format!("{text}\n"))
}

/// The word under which a failure is counted.
pub fn outcome(error: &QueryError) -> &'static str {
    match error {
        QueryError::Parse(_) => "parse",
        QueryError::Invalid(_) => "invalid",
        QueryError::Execution(_) => "execution",
        QueryError::TooMuch(_) => "too_much",
        QueryError::Timeout => "timeout",
        QueryError::Canceled => "canceled",
        QueryError::QueueFull => "queue_full",
        QueryError::NotReady => "not_ready",
        QueryError::Storage(_) => "storage",
    }
}

/// JSON with the escapes that Go's encoder adds for HTML.
pub fn push_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => drop(write!(out, "\\u{:04x}", c as u32)),
            c if (c as u32) < 0x20 => drop(write!(out, "\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
}

pub fn push_object<'a>(out: &mut String, pairs: impl Iterator<Item = (&'a str, &'a str)>) {
    out.push('{');
    for (i, (name, value)) in pairs.enumerate() {
        if i > 0 {
            out.push(',');
        }
        push_string(out, name);
        out.push(':');
        push_string(out, value);
    }
    out.push('}');
}

pub fn push_strings<'a>(out: &mut String, texts: impl Iterator<Item = &'a str>) {
    out.push('[');
    for (i, text) in texts.enumerate() {
        if i > 0 {
            out.push(',');
        }
        push_string(out, text);
    }
    out.push(']');
}

/// Seconds with up to three decimals.
pub fn push_seconds(out: &mut String, nanos: i64) {
    let ms = nanos.div_euclid(time::MILLI);
    let _ = write!(out, "{}", ms.div_euclid(1000));
    let fraction = format!("{:03}", ms.rem_euclid(1000));
    let fraction = fraction.trim_end_matches('0');
    if !fraction.is_empty() {
        out.push('.');
        out.push_str(fraction);
    }
}

pub fn push_sample(out: &mut String, nanos: i64, value: f64) {
    out.push('[');
    push_seconds(out, nanos);
    let _ = write!(out, ",\"{}\"]", number::plain_float(value));
}

/// The labels of an entry that stand in its stream: all of them, unless they are shown by category.
pub fn shown_in_stream<'a>(entry: &'a FoundEntry, flags: Option<&[String]>) -> impl Iterator<Item = (&'a str, &'a str)> {
    let all = flags.is_none();
    entry.labels.iter().filter(move |(_, _, c)| all || *c == Category::Stream).map(|(n, v, _)| (n.as_str(), v.as_str()))
}

/// Time, line, and by category the labels that do not stand in the stream.
pub fn push_entry(out: &mut String, entry: &FoundEntry, flags: Option<&[String]>) {
    let _ = write!(out, "[\"{}\",", entry.ts);
    push_string(out, &entry.line);
    if flags.is_some() {
        out.push(',');
        push_categories(out, entry);
    }
    out.push(']');
}

fn push_categories(out: &mut String, entry: &FoundEntry) {
    out.push('{');
    let mut first = true;
    for (key, category) in [("structuredMetadata", Category::Metadata), ("parsed", Category::Parsed)] {
        let pairs = || entry.labels.iter().filter(|(_, _, c)| *c == category).map(|(n, v, _)| (n.as_str(), v.as_str()));
        if pairs().next().is_some() {
            let _ = write!(out, "{}\"{key}\":", if first { "" } else { "," });
            push_object(out, pairs());
            first = false;
        }
    }
    out.push('}');
}

/// The time of a scalar as Loki answers it, seen in its recorded answers: the milliseconds are taken for seconds, become
/// nanoseconds that wrap at 64 bits, and the milliseconds of these are printed where seconds belong. Clients read the value.
fn scalar_time(nanos: i64) -> i64 {
    nanos.div_euclid(time::MILLI).wrapping_mul(time::SECOND) / time::MILLI
}

/// A matrix, or for an instant query a vector or scalar. `in_order` keeps the order of the engine; only `series_max`
/// series are shown, with a warning if there are more.
pub fn metric(value: Value, steps: Steps, in_order: bool, series_max: usize, stats: String, query: &Context) -> Response {
    if let (Value::Scalar(scalar), true) = (&value, steps.instant) {
        let mut out = String::from(r#"{"status":"success","data":{"resultType":"scalar","result":"#);
        let _ = write!(out, "[{},\"{}\"]", scalar_time(steps.start), number::plain_float(*scalar));
        let _ = write!(out, r#","stats":{stats}}}}}"#);
        return json(out);
    }
    let mut series = value.into_series(&steps);
    series.retain(|s| !s.points.is_empty());
    if !in_order {
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
    }
    let mut warnings = Vec::new();
    if series.len() > series_max {
        series.truncate(series_max);
        warnings.push(format!("maximum number of series ({series_max}) reached for a single query; returning partial results"));
    }
    written::series(series, steps, warnings, stats, query)
}

const STORE: &str = r#"{"totalChunksRef":0,"totalChunksDownloaded":0,"chunksDownloadTime":0,"queryReferencedStructuredMetadata":false,"queryUsedV2Engine":false,"chunk":{"headChunkBytes":0,"headChunkLines":0,"decompressedBytes":0,"decompressedLines":0,"compressedBytes":0,"totalDuplicates":0,"postFilterLines":0,"headChunkStructuredMetadataBytes":0,"decompressedStructuredMetadataBytes":0},"chunkRefsFetchTime":0,"congestionControlLatency":0,"pipelineWrapperFilteredLines":0,"dataobj":{"prePredicateDecompressedRows":0,"prePredicateDecompressedBytes":0,"postPredicateRows":0}}"#;
const CACHES: [&str; 10] = [
    "chunk",
    "index",
    "result",
    "statsResult",
    "volumeResult",
    "seriesResult",
    "labelResult",
    "instantMetricResult",
    "logResult",
    "taskResult",
];
const CACHE: &str = r#"{"entriesFound":0,"entriesRequested":0,"entriesStored":0,"bytesReceived":0,"bytesSent":0,"requests":0,"downloadTime":0,"queryLengthServed":0}"#;
const INDEX: &str = r#"{"totalChunks":0,"postFilterChunks":0,"shardsDuration":0,"usedBloomFilters":false,"totalStreams":0,"chunkRefsLookupTime":0,"bloomFilterTime":0}"#;

/// The `stats` object; what monocle does not have is 0.
pub fn stats(read: &Stats, returned: usize, took: Duration) -> String {
    let seconds = took.as_secs_f64();
    let per_second = |n: u64| if seconds > 0.0 { (n as f64 / seconds) as u64 } else { 0 };
    let caches: Vec<String> = CACHES.iter().map(|name| format!("\"{name}\":{CACHE}")).collect();
    format!(
        r#"{{"summary":{{"bytesProcessedPerSecond":{},"linesProcessedPerSecond":{},"totalBytesProcessed":{},"totalLinesProcessed":{},"execTime":{seconds},"queueTime":0,"subqueries":0,"totalEntriesReturned":{returned},"splits":0,"shards":0,"totalPostFilterLines":{},"totalStructuredMetadataBytesProcessed":0}},"querier":{{"store":{STORE},"querierExecTime":0}},"ingester":{{"totalReached":0,"totalChunksMatched":0,"totalBatches":0,"totalLinesSent":0,"store":{STORE}}},"cache":{{{}}},"index":{INDEX}}}"#,
        per_second(read.bytes),
        per_second(read.lines),
        read.bytes,
        read.lines,
        read.kept,
        caches.join(",")
    )
}
