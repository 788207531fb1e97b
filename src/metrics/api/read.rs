//! `read`: another server takes samples as they are stored (contracts/prometheus.md 1.11).

use super::Api;
use super::error::ApiError;
use crate::metrics::promql::{SeriesData, Storage};
use crate::metrics::remote_read::{Form, Query, ReadRequest, Samples, Stream};
use crate::metrics::select::Querier;
use crate::model::Labels;
use crate::query::QueryError;
use crate::web::{Params, read_body};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderValue, header};
use std::collections::BTreeSet;

pub async fn read(State(api): State<Api>, request: Request) -> Response {
    let work = async {
        let (parts, body) = request.into_parts();
        let packed = read_body(body, api.door.limits().wire_max_bytes).await.map_err(ApiError::Refused)?;
        let ReadRequest { queries, form } = ReadRequest::decode(&packed).map_err(ApiError::Refused)?;
        let samples_max = api.door.store().spec().config().query_samples_max;
        let params = Params::default().with_headers(parts.headers);
        let body = api.read(&params, None, move |querier| match form {
            Form::Samples => samples(querier, &queries, samples_max),
            Form::Chunks => stream(querier, &queries),
        });
        let mut response = Response::new(Body::from(body.await?));
        let (kind, encoding) = match form {
            Form::Samples => ("application/x-protobuf", Some("snappy")),
            Form::Chunks => ("application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse", None),
        };
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        if let Some(encoding) = encoding {
            response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        Ok(response)
    };
    api.answer_text(work).await
}

/// Series in the order of their labels, which clients merge by.
fn selected(querier: &Querier, query: &Query) -> Result<Vec<SeriesData>, QueryError> {
    if query.interval.from > query.interval.to {
        return Ok(Vec::new());
    }
    if query.only_series {
        let mut found: BTreeSet<Labels> = BTreeSet::new();
        querier.series(&query.matchers, query.interval, |labels, _| {
            if !found.contains(labels) {
                found.insert(labels.clone());
            }
        })?;
        return Ok(found.into_iter().map(SeriesData::new).collect());
    }
    let mut series = querier.select(&query.matchers, query.interval)?;
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    Ok(series)
}

/// A snappy block.
fn samples(querier: &Querier, queries: &[Query], samples_max: u64) -> Result<Vec<u8>, QueryError> {
    let mut out = Samples::default();
    let mut count = 0u64;
    for query in queries {
        for series in selected(querier, query)? {
            querier.context().check()?;
            count += (series.ts.len() + series.histograms.len()) as u64;
            if count > samples_max {
                return Err(QueryError::Invalid(format!("exceeded sample limit ({samples_max})")));
            }
            let before = out.bytes();
            out.series(&series);
            querier.context().reserve((out.bytes() - before) as u64)?;
        }
        out.end_query();
    }
    let plain = out.finish();
    querier.context().reserve(snap::raw::max_compress_len(plain.len()) as u64)?;
    snap::raw::Encoder::new().compress_vec(&plain).map_err(|e| QueryError::TooMuch(format!("cannot compress: {e}")))
}

fn stream(querier: &Querier, queries: &[Query]) -> Result<Vec<u8>, QueryError> {
    let mut out = Stream::default();
    for query in queries {
        for series in selected(querier, query)? {
            querier.context().check()?;
            let before = out.bytes();
            out.series(&series);
            querier.context().reserve((out.bytes() - before) as u64)?;
        }
        out.end_query();
    }
    Ok(out.finish())
}
