//! Each method: its request as parameters of the HTTP API, which has the rules, and the result as messages.

use super::messages::*;
use super::packets::packets;
use crate::model::quote::quote;
use crate::model::time::MILLI;
use crate::traces::api::error::ApiError;
use crate::traces::api::metrics::{Measured, measure_instant, measure_range};
use crate::traces::api::search::{found, root_of};
use crate::traces::api::tags::{plain_names, plain_values, scoped_names, typed_values};
use crate::traces::api::{Api, proto};
use crate::traces::find::{FoundSet, FoundSpan, FoundTrace};
use crate::traces::traceql::Inspected;
use crate::traces::traceql::eval::{Value, trimmed};
use crate::traces::traceql::metrics::{self, Series};
use crate::web::Params;
use http::HeaderMap;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use prost::Message;

/// The parameters that are given; 0 and an empty text are not.
fn params<const N: usize>(headers: HeaderMap, pairs: [(&str, String); N]) -> Params {
    Params::from_pairs(pairs.into_iter().filter(|(_, value)| !value.is_empty())).with_headers(headers)
}

fn given(n: u32) -> String {
    if n == 0 { String::new() } else { n.to_string() }
}

fn millis(n: u32) -> String {
    if n == 0 { String::new() } else { format!("{n}ms") }
}

/// Longer than seconds are, whatever its value; see `time::metrics_range`.
fn nanos(n: u64) -> String {
    if n == 0 { String::new() } else { format!("{n:020}") }
}

fn step(n: u64) -> String {
    if n == 0 { String::new() } else { format!("{n}ns") }
}

pub async fn search(api: Api, asked: SearchRequest, headers: HeaderMap) -> Result<Vec<SearchResponse>, ApiError> {
    let mut tags: Vec<String> = asked.tags.iter().map(|(key, value)| format!("{key}={}", quote(value))).collect();
    tags.sort();
    let pairs = [
        ("q", asked.query),
        ("tags", tags.join(" ")),
        ("minDuration", millis(asked.min_duration_ms)),
        ("maxDuration", millis(asked.max_duration_ms)),
        ("limit", given(asked.limit)),
        ("spss", given(asked.spans_per_span_set)),
        ("start", given(asked.start)),
        ("end", given(asked.end)),
    ];
    let (traces, inspected) = found(&api, &params(headers, pairs)).await?;
    let metrics = search_metrics(inspected);
    let traces = packets(traces.iter().map(trace).collect(), Message::encoded_len);
    Ok(traces.into_iter().map(|traces| SearchResponse { traces, metrics: Some(metrics.clone()) }).collect())
}

fn small(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn search_metrics(inspected: Inspected) -> SearchMetrics {
    SearchMetrics {
        inspected_traces: small(inspected.traces),
        inspected_spans: inspected.spans,
        completed_jobs: 1,
        total_jobs: 1,
        ..SearchMetrics::default()
    }
}

fn trace(found: &FoundTrace) -> TraceSearchMetadata {
    let (service, name) = root_of(found);
    let span_sets: Vec<SpanSet> = found.sets.iter().map(span_set).collect();
    let stats = found.services.iter().map(|(service, counts)| {
        let stats = ServiceStats { span_count: small(counts.spans), error_count: small(counts.errors) };
        (service.clone(), stats)
    });
    TraceSearchMetadata {
        trace_id: trimmed(found.trace_id.to_hex()),
        root_service_name: service.to_owned(),
        root_trace_name: name.to_owned(),
        start_time_unix_nano: found.start.cast_unsigned(),
        duration_ms: u32::try_from(found.duration / MILLI).unwrap_or(0),
        span_set: span_sets.first().cloned(),
        span_sets,
        service_stats: stats.collect(),
    }
}

fn span_set(found: &FoundSet) -> SpanSet {
    SpanSet {
        spans: found.spans.iter().map(span).collect(),
        matched: small(found.matched as u64),
        attributes: attributes(&found.attributes),
    }
}

fn span(found: &FoundSpan) -> Span {
    Span {
        span_id: found.span_id.to_hex(),
        name: found.name.clone().unwrap_or_default(),
        start_time_unix_nano: found.start.cast_unsigned(),
        duration_nanos: found.duration.cast_unsigned(),
        attributes: attributes(&found.attributes),
    }
}

fn attributes(pairs: &[(String, Value<'static>)]) -> Vec<KeyValue> {
    pairs.iter().map(|(key, value)| proto::found_attribute(key, value)).collect()
}

fn tags_params(asked: SearchTagsRequest, headers: HeaderMap) -> Params {
    let pairs = [
        ("scope", asked.scope),
        ("q", asked.query),
        ("start", given(asked.start)),
        ("end", given(asked.end)),
        ("limit", given(asked.max_tags_per_scope)),
    ];
    params(headers, pairs)
}

pub async fn tags(api: Api, asked: SearchTagsRequest, headers: HeaderMap) -> Result<Vec<SearchTagsResponse>, ApiError> {
    let names = plain_names(&api, &tags_params(asked, headers)).await?;
    let of = |tag_names| SearchTagsResponse { tag_names, metrics: Some(MetadataMetrics::default()) };
    Ok(packets(names, String::len).into_iter().map(of).collect())
}

pub async fn tags_v2(api: Api, asked: SearchTagsRequest, headers: HeaderMap) -> Result<Vec<SearchTagsV2Response>, ApiError> {
    let scopes = scoped_names(&api, &tags_params(asked, headers)).await?;
    let scopes = scopes.into_iter().map(|(name, tags)| SearchTagsV2Scope { name: name.to_owned(), tags }).collect();
    let of = |scopes| SearchTagsV2Response { scopes, metrics: Some(MetadataMetrics::default()) };
    Ok(packets(scopes, Message::encoded_len).into_iter().map(of).collect())
}

fn values_params(asked: &SearchTagValuesRequest, headers: HeaderMap) -> Params {
    let pairs =
        [("q", asked.query.clone()), ("start", given(asked.start)), ("end", given(asked.end)), ("limit", given(asked.max_tag_values))];
    params(headers, pairs)
}

pub async fn values(api: Api, asked: SearchTagValuesRequest, headers: HeaderMap) -> Result<Vec<SearchTagValuesResponse>, ApiError> {
    let values = plain_values(&api, &asked.tag_name, &values_params(&asked, headers)).await?;
    let of = |tag_values| SearchTagValuesResponse { tag_values, metrics: Some(MetadataMetrics::default()) };
    Ok(packets(values, String::len).into_iter().map(of).collect())
}

pub async fn values_v2(api: Api, asked: SearchTagValuesRequest, headers: HeaderMap) -> Result<Vec<SearchTagValuesV2Response>, ApiError> {
    let values = typed_values(&api, &asked.tag_name, &values_params(&asked, headers)).await?;
    let values = values.into_iter().map(|(kind, value)| TagValue { kind: kind.to_owned(), value }).collect();
    let of = |tag_values| SearchTagValuesV2Response { tag_values, metrics: Some(MetadataMetrics::default()) };
    Ok(packets(values, Message::encoded_len).into_iter().map(of).collect())
}

pub async fn query_range(api: Api, asked: QueryRangeRequest, headers: HeaderMap) -> Result<Vec<QueryRangeResponse>, ApiError> {
    let pairs = [
        ("q", asked.query),
        ("start", nanos(asked.start)),
        ("end", nanos(asked.end)),
        ("step", step(asked.step)),
        ("exemplars", given(asked.exemplars)),
        ("maxSeries", given(asked.max_series)),
    ];
    let measured = measure_range(&api, &params(headers, pairs)).await?;
    let series = measured.series.iter().map(|series| time_series(&measured, series)).collect();
    let metrics = search_metrics(measured.inspected);
    let of = |series| QueryRangeResponse { series, metrics: Some(metrics.clone()), ..QueryRangeResponse::default() };
    let mut messages: Vec<QueryRangeResponse> = packets(series, Message::encoded_len).into_iter().map(of).collect();
    if let (Some(last), Some(partial)) = (messages.last_mut(), measured.partial) {
        (last.status, last.message) = (PARTIAL, partial);
    }
    Ok(messages)
}

/// `PartialStatus` of Tempo.
const PARTIAL: i32 = 1;

fn time_series(measured: &Measured, series: &Series) -> TimeSeries {
    let samples = series.samples.iter().enumerate();
    let samples = samples.filter_map(|(i, v)| Some(Sample { value: (*v)?, timestamp_ms: measured.grid.stamp(i) / MILLI }));
    let exemplar = |e: &metrics::Exemplar| Exemplar { labels: attributes(&e.labels), value: e.value, timestamp_ms: e.time / MILLI };
    TimeSeries {
        labels: attributes(&series.labels),
        samples: samples.collect(),
        exemplars: series.exemplars.iter().map(exemplar).collect(),
    }
}

pub async fn query_instant(api: Api, asked: QueryInstantRequest, headers: HeaderMap) -> Result<Vec<QueryInstantResponse>, ApiError> {
    let pairs = [("q", asked.query), ("start", nanos(asked.start)), ("end", nanos(asked.end))];
    let measured = measure_instant(&api, &params(headers, pairs)).await?;
    let value = |series: &Series| series.samples.first().copied().flatten().unwrap_or_default();
    let series = measured.series.iter().map(|s| InstantSeries { labels: attributes(&s.labels), value: value(s) }).collect();
    let metrics = search_metrics(measured.inspected);
    // Each message replaces the one before, so there can be only one.
    let status = if measured.partial.is_some() { PARTIAL } else { 0 };
    Ok(vec![QueryInstantResponse { series, metrics: Some(metrics), status, message: measured.partial.unwrap_or_default() }])
}
