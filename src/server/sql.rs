//! `/sql`: a read in SQL, its answer as JSON, lines of JSON, CSV or an Arrow stream. docs/sql.md tells it to users.

use crate::model::{Failure, FailureKind};
use crate::query::QueryError;
use crate::query::sql::{Chunk, Format, Parameters, Question, Sql, SqlError};
use crate::telemetry::QueryMetrics;
use crate::web::{Tenancy, http_status, json_response, name_query, read_body};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use futures_util::future::{BoxFuture, ready};
use futures_util::stream::{Stream, StreamExt, once, unfold};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::mpsc;

/// Of a request.
const BODY_MAX_BYTES: usize = 1 << 20;

/// Pieces of an answer (64 KiB, or a row) that wait for a slow client before the query waits, too.
const CHUNKS_MAX: usize = 64;

/// What the user should know beside an answer, which may have no place for it.
const WARNING: &str = "x-monocle-warning";

#[derive(Clone)]
pub(super) struct Api {
    pub sql: Arc<Sql>,
    pub tenancy: Tenancy,
    pub telemetry: QueryMetrics,
}

pub(super) fn routes(api: Api) -> Router {
    Router::new().route("/sql", get(ask).post(ask)).with_state(api)
}

enum Refused {
    Request(Failure),
    NotAcceptable,
    Sql(SqlError),
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Refused {
        Refused::Request(failure)
    }
}

impl Refused {
    fn status(&self) -> StatusCode {
        let query = match self {
            Refused::Request(failure) => return http_status(failure.kind),
            Refused::NotAcceptable => return StatusCode::NOT_ACCEPTABLE,
            Refused::Sql(SqlError::Statement { .. }) => return StatusCode::BAD_REQUEST,
            Refused::Sql(SqlError::NotARead(_)) => return StatusCode::FORBIDDEN,
            Refused::Sql(SqlError::Query(error)) => error,
        };
        match query {
            QueryError::Parse(_) | QueryError::Invalid(_) => StatusCode::BAD_REQUEST,
            QueryError::Execution(_) | QueryError::TooMuch(_) => StatusCode::UNPROCESSABLE_ENTITY,
            QueryError::Timeout | QueryError::NotReady => StatusCode::SERVICE_UNAVAILABLE,
            QueryError::QueueFull => StatusCode::TOO_MANY_REQUESTS,
            QueryError::Canceled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
            QueryError::Storage(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// A word for counters.
    fn outcome(&self) -> &'static str {
        match self {
            Refused::Request(failure) if failure.kind == FailureKind::Unauthenticated => "tenant",
            Refused::Request(_) | Refused::NotAcceptable => "bad_data",
            Refused::Sql(SqlError::Statement { .. }) => "bad_data",
            Refused::Sql(SqlError::NotARead(_)) => "forbidden",
            Refused::Sql(SqlError::Query(error)) => match error {
                QueryError::Parse(_) | QueryError::Invalid(_) => "bad_data",
                QueryError::Execution(_) | QueryError::TooMuch(_) => "execution",
                QueryError::Timeout => "timeout",
                QueryError::Canceled => "canceled",
                QueryError::QueueFull | QueryError::NotReady => "unavailable",
                QueryError::Storage(_) => "internal",
            },
        }
    }

    fn into_response(self) -> Response {
        let status = self.status();
        let mut told = serde_json::Map::new();
        let message = match self {
            Refused::Request(failure) => failure.message,
            Refused::NotAcceptable => {
                "answers are application/json, application/x-ndjson, text/csv or application/vnd.apache.arrow.stream".to_owned()
            }
            Refused::Sql(error) => {
                if let SqlError::Statement { position: Some((line, column)), .. } = error {
                    told.insert("line".into(), line.into());
                    told.insert("column".into(), column.into());
                }
                error.to_string()
            }
        };
        told.insert("error".into(), message.into());
        json_response(status, serde_json::Value::Object(told).to_string())
    }
}

async fn ask(State(api): State<Api>, request: Request) -> Response {
    let started = Instant::now();
    let answer = answer(&api, request).await;
    let outcome = answer.as_ref().map_or_else(Refused::outcome, |_| "ok");
    // Until the answer begins: how long it takes to be taken is the client's.
    api.telemetry.answered("sql", outcome, started.elapsed());
    answer.unwrap_or_else(Refused::into_response)
}

async fn answer(api: &Api, request: Request) -> Result<Response, Refused> {
    let tenant = api.tenancy.tenant(request.headers())?;
    let (head, body) = request.into_parts();
    let url: Vec<(String, String)> = form_urlencoded::parse(head.uri.query().unwrap_or("").as_bytes()).into_owned().collect();
    let format = match url.iter().find(|(name, _)| name == "format") {
        Some((_, word)) => named(word).ok_or_else(|| Failure::invalid(format!("unknown format {word:?}: json, jsonl, csv or arrow")))?,
        None => accepted(&head.headers).ok_or(Refused::NotAcceptable)?,
    };
    let body = read_body(body, BODY_MAX_BYTES).await?;
    let (text, parameters) = match asked(&url) {
        Some(text) if body.is_empty() => (text, Parameters::None),
        _ => statement(&head.headers, &body)?,
    };
    name_query(&head.extensions, &text);
    let context = api.sql.context(tenant);
    let (to, chunks) = mpsc::channel(CHUNKS_MAX);
    let query = Box::pin(api.sql.clone().answer(context, Question { text, parameters, format }, to));
    let mut running = Running { chunks, query: Some(query) };
    // A failure before the first piece has a status of its own.
    let first = running.next().await.unwrap_or(Err(QueryError::Canceled.into())).map_err(Refused::Sql)?;
    let mut response = Response::new(Body::empty());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type(format)));
    if let Ok(warning) = HeaderValue::from_str(&first.warnings.join("; "))
        && !first.warnings.is_empty()
    {
        response.headers_mut().insert(WARNING, warning);
    }
    *response.body_mut() = Body::from_stream(running.rest(first.bytes));
    Ok(response)
}

/// A query and what it has answered so far. It ends when this is dropped.
struct Running {
    chunks: mpsc::Receiver<Chunk>,
    /// Until it is done.
    query: Option<BoxFuture<'static, Result<(), SqlError>>>,
}

impl Running {
    /// Nothing comes after a failure.
    async fn next(&mut self) -> Option<Result<Chunk, SqlError>> {
        while let Some(query) = &mut self.query {
            tokio::select! {
                biased;
                Some(chunk) = self.chunks.recv() => return Some(Ok(chunk)),
                done = query => {
                    self.query = None;
                    if let Err(error) = done {
                        return Some(Err(error));
                    }
                }
            }
        }
        self.chunks.recv().await.map(Ok)
    }

    /// The pieces as they come. The connection is cut at a failure, so that nobody takes a part for the whole.
    fn rest(self, first: Bytes) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        let later = unfold(Some(self), |running| async move {
            let mut running = running?;
            match running.next().await? {
                Ok(chunk) => Some((Ok(chunk.bytes), Some(running))),
                Err(error) => {
                    tracing::warn!(%error, "an answer to SQL ends early");
                    Some((Err(io::Error::other(error.to_string())), None))
                }
            }
        });
        // Whoever compresses it asks again after the end.
        once(ready(Ok(first))).chain(later.fuse())
    }
}

fn asked(pairs: &[(String, String)]) -> Option<String> {
    pairs.iter().find(|(name, value)| ["q", "query"].contains(&name.as_str()) && !value.is_empty()).map(|(_, value)| value.clone())
}

#[derive(Deserialize)]
struct Asked {
    #[serde(alias = "q", alias = "sql")]
    query: String,
    #[serde(default)]
    params: Option<Params>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Params {
    Listed(Vec<serde_json::Value>),
    Named(BTreeMap<String, serde_json::Value>),
}

fn statement(headers: &HeaderMap, body: &Bytes) -> Result<(String, Parameters), Failure> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    let text = || std::str::from_utf8(body).map(str::to_owned).map_err(|_| Failure::invalid("the statement is not UTF-8"));
    let (text, parameters) = match content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase().as_str() {
        "" | "text/plain" | "application/sql" | "text/sql" => (text()?, Parameters::None),
        // What curl says of any text.
        "application/x-www-form-urlencoded" => {
            let pairs: Vec<(String, String)> = form_urlencoded::parse(body).into_owned().collect();
            (asked(&pairs).map_or_else(text, Ok)?, Parameters::None)
        }
        "application/json" => {
            let asked: Asked = serde_json::from_slice(body).map_err(|e| Failure::invalid(format!("cannot read the request: {e}")))?;
            let parameters = match asked.params {
                None => Parameters::None,
                Some(Params::Listed(list)) => Parameters::Listed(list),
                Some(Params::Named(named)) => Parameters::Named(named),
            };
            (asked.query, parameters)
        }
        other => {
            let message = format!("a statement comes as text/plain, application/sql or application/json, not as {other}");
            return Err(Failure::new(FailureKind::UnsupportedMedia, message));
        }
    };
    if text.trim().is_empty() { Err(Failure::invalid("the request has no statement")) } else { Ok((text, parameters)) }
}

fn named(word: &str) -> Option<Format> {
    Some(match word {
        "json" => Format::Json,
        "jsonl" | "ndjson" => Format::JsonLines,
        "csv" => Format::Csv,
        "arrow" => Format::Arrow,
        _ => return None,
    })
}

fn content_type(format: Format) -> &'static str {
    match format {
        Format::Json => "application/json",
        Format::JsonLines => "application/x-ndjson",
        Format::Csv => "text/csv; charset=utf-8; header=present",
        Format::Arrow => "application/vnd.apache.arrow.stream",
    }
}

/// What the client likes best; JSON if it does not say.
fn accepted(headers: &HeaderMap) -> Option<Format> {
    let lists = headers.get_all(header::ACCEPT).iter().filter_map(|v| v.to_str().ok()).collect::<Vec<_>>();
    if lists.is_empty() {
        return Some(Format::default());
    }
    let mut best: Option<(f32, Format)> = None;
    for range in lists.iter().flat_map(|list| list.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let format = match parts.next().unwrap_or("").to_ascii_lowercase().as_str() {
            "*/*" | "application/*" | "application/json" => Format::Json,
            "application/x-ndjson" | "application/jsonl" | "application/x-jsonlines" => Format::JsonLines,
            "text/*" | "text/csv" => Format::Csv,
            "application/vnd.apache.arrow.stream" => Format::Arrow,
            _ => continue,
        };
        let quality = parts.find_map(|part| part.strip_prefix("q=")).map_or(1.0, |q| q.parse().unwrap_or(0.0));
        if quality > 0.0 && best.is_none_or(|(known, _)| quality > known) {
            best = Some((quality, format));
        }
    }
    best.map(|(_, format)| format)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(text: &'static str) -> Option<Format> {
        accepted(&HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(text))]))
    }

    #[test]
    fn the_format_is_what_the_client_likes_best() {
        assert_eq!(accepted(&HeaderMap::new()), Some(Format::Json));
        assert_eq!(accept("*/*"), Some(Format::Json));
        assert_eq!(accept("text/csv"), Some(Format::Csv));
        assert_eq!(accept("text/html, application/x-ndjson;q=0.5, text/csv;q=0.9"), Some(Format::Csv));
        assert_eq!(accept("application/vnd.apache.arrow.stream, */*;q=0.1"), Some(Format::Arrow));
        assert_eq!(accept("text/html"), None);
        assert_eq!(accept("application/json;q=0"), None);
    }

    #[test]
    fn a_statement_comes_in_several_forms() {
        let read = |kind: &'static str, body: &'static str| {
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(kind))]);
            statement(&headers, &Bytes::from_static(body.as_bytes())).map_err(|failure| http_status(failure.kind).as_u16())
        };
        let plain = |text: &str| Ok((text.to_owned(), Parameters::None));
        assert_eq!(read("text/plain; charset=utf-8", "select 1"), plain("select 1"));
        assert_eq!(read("application/x-www-form-urlencoded", "select 1 where 'a=b' = 'a&b'"), plain("select 1 where 'a=b' = 'a&b'"));
        assert_eq!(read("application/x-www-form-urlencoded", "q=select+1"), plain("select 1"));
        assert_eq!(read("application/json", r#"{"query":"select 1"}"#), plain("select 1"));
        let listed = Parameters::Listed(vec![serde_json::json!(1), serde_json::json!("a")]);
        assert_eq!(read("application/json", r#"{"q":"select $1, $2","params":[1,"a"]}"#), Ok(("select $1, $2".to_owned(), listed)));
        assert_eq!(read("application/json", "select 1"), Err(400));
        assert_eq!(read("text/plain", "  "), Err(400));
        assert_eq!(read("image/png", "x"), Err(415));
    }
}
