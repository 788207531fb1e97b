use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::Extensions;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

use crate::runtime::Clock;

/// Queries that are remembered.
const KEPT_MAX: usize = 20;

/// How long one is remembered.
const KEPT_FOR: Duration = Duration::from_secs(3_600);

/// Anything quicker is not worth a look.
const SLOW: Duration = Duration::from_millis(100);

/// Of a query's text.
const TEXT_MAX_BYTES: usize = 1_024;

/// The slowest queries of the last hour, for the person who asks what the process was busy with.
#[derive(Clone)]
pub struct SlowQueries {
    kept: Arc<Mutex<Vec<SlowQuery>>>,
    clock: Arc<dyn Clock>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlowQuery {
    /// Path of the request.
    pub path: String,
    pub query: String,
    pub took: Duration,
    /// When it was answered, nanoseconds since the epoch.
    pub at: i64,
    pub status: u16,
}

/// Where [`Params`](super::Params) leaves the text of a query, which may have come in the body, for who asks afterwards.
#[derive(Clone, Default)]
pub(super) struct QueryText(Arc<Mutex<Option<String>>>);

impl QueryText {
    pub fn set(&self, text: &str) {
        let mut end = text.len().min(TEXT_MAX_BYTES);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        *self.0.lock() = Some(text[..end].to_owned());
    }
}

impl SlowQueries {
    pub fn new(clock: Arc<dyn Clock>) -> SlowQueries {
        SlowQueries { kept: Arc::default(), clock }
    }

    /// The slowest first.
    pub fn list(&self) -> Vec<SlowQuery> {
        let mut kept = self.kept.lock();
        self.forget(&mut kept);
        kept.clone()
    }

    fn forget(&self, kept: &mut Vec<SlowQuery>) {
        let oldest = self.clock.now().saturating_sub(KEPT_FOR.as_nanos() as i64);
        kept.retain(|query| query.at >= oldest);
    }

    fn note(&self, query: SlowQuery) {
        let mut kept = self.kept.lock();
        self.forget(&mut kept);
        let place = kept.partition_point(|other| other.took >= query.took);
        kept.insert(place, query);
        kept.truncate(KEPT_MAX);
    }
}

/// Says what the text of the request's query is, for endpoints that do not take it from [`Params`](super::Params).
pub fn name_query(extensions: &Extensions, text: &str) {
    if let Some(slot) = extensions.get::<QueryText>() {
        slot.set(text);
    }
}

/// Middleware that notes requests with a query that took long until their answer began.
pub async fn note_slow_queries(State(slow): State<SlowQueries>, mut request: Request, next: Next) -> Response {
    let (text, path) = (QueryText::default(), request.uri().path().to_owned());
    request.extensions_mut().insert(text.clone());
    let started = slow.clock.now();
    let response = next.run(request).await;
    let at = slow.clock.now();
    let took = Duration::from_nanos(at.saturating_sub(started).try_into().unwrap_or(0));
    let query = text.0.lock().take();
    if let Some(query) = query.filter(|_| took >= SLOW) {
        slow.note(SlowQuery { path, query, took, at, status: response.status().as_u16() });
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::ManualClock;
    use crate::web::Params;
    use axum::Router;
    use axum::body::Body;
    use axum::routing::post;
    use tower::ServiceExt;

    const SECOND: i64 = 1_000_000_000;

    #[tokio::test]
    async fn the_slowest_of_the_last_hour_are_kept_with_their_text() {
        let clock = Arc::new(ManualClock::at(0));
        let slow = SlowQueries::new(clock.clone());
        let busy = clock.clone();
        let handler = move |params: Params| async move {
            let seconds: i64 = params.get("take").unwrap().parse().unwrap();
            busy.set(busy.now() + seconds * SECOND);
        };
        let layer = axum::middleware::from_fn_with_state(slow.clone(), note_slow_queries);
        let router = Router::new().route("/q", post(handler)).layer(layer);
        let ask = async |body: &str| {
            let form = "application/x-www-form-urlencoded";
            let request = Request::post("/q").header("content-type", form).body(Body::from(body.to_owned())).unwrap();
            router.clone().oneshot(request).await.unwrap();
        };
        ask("query=quick&take=0").await;
        ask("take=9").await;
        ask("query=up&take=3").await;
        ask("q=%7B%7D&take=5").await;
        let listed = || slow.list().into_iter().map(|q| (q.query, q.took.as_secs())).collect::<Vec<_>>();
        assert_eq!(listed(), [("{}".to_owned(), 5), ("up".to_owned(), 3)]);
        for _ in 0..2 * KEPT_MAX {
            ask("query=again&take=4").await;
        }
        assert_eq!((listed().len(), listed()[0].1, listed()[KEPT_MAX - 1].1), (KEPT_MAX, 5, 4));
        clock.set(clock.now() + 2 * KEPT_FOR.as_nanos() as i64);
        assert_eq!(listed(), []);
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let text = QueryText::default();
        text.set(&"ä".repeat(TEXT_MAX_BYTES));
        assert_eq!(text.0.lock().as_ref().unwrap().len(), TEXT_MAX_BYTES);
        text.set(&format!("x{}", "ä".repeat(TEXT_MAX_BYTES)));
        assert_eq!(text.0.lock().as_ref().unwrap().len(), TEXT_MAX_BYTES - 1);
    }
}
