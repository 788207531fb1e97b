use crate::model::regexp::Anchored;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use std::sync::Arc;

/// Origins whose pages may read answers: a pattern that must match the whole of one.
#[derive(Debug, Clone)]
pub struct Origins(Arc<Anchored>);

const TOLD: [(HeaderName, &str); 3] = [
    (header::ACCESS_CONTROL_ALLOW_HEADERS, "Accept, Authorization, Content-Type, Origin"),
    (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"),
    (header::ACCESS_CONTROL_EXPOSE_HEADERS, "Date"),
];

impl Origins {
    /// Fails with the text of the regular-expression error.
    pub fn new(pattern: &str) -> Result<Origins, String> {
        Anchored::new(pattern).map(|pattern| Origins(Arc::new(pattern))).map_err(|e| e.to_string())
    }
}

/// Middleware: a page of a listed origin may read the answer, and is told so before it asks, too.
pub async fn share_with(State(origins): State<Origins>, request: Request, next: Next) -> Response {
    let listed = |origin: &&HeaderValue| origin.to_str().is_ok_and(|text| origins.0.is_match(text));
    let origin = request.headers().get(header::ORIGIN).filter(listed).cloned();
    let Some(origin) = origin else { return next.run(request).await };
    let mut response = if request.method() == Method::OPTIONS { StatusCode::NO_CONTENT.into_response() } else { next.run(request).await };
    let headers = response.headers_mut();
    for (name, value) in TOLD {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::body::Body;
    use axum::middleware::from_fn_with_state;
    use axum::routing::get;
    use tower::ServiceExt;

    #[tokio::test]
    async fn only_pages_of_listed_origins_may_read() {
        let origins = Origins::new("https?://(a|b)\\.example").unwrap();
        let router = Router::new().route("/", get(|| async { "x" })).layer(from_fn_with_state(origins, share_with));
        let ask = async |method: &str, origin: Option<&str>| {
            let request = origin.into_iter().fold(Request::builder().method(method).uri("/"), |r, origin| r.header("origin", origin));
            let response = router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
            let allowed = response.headers().get("access-control-allow-origin").map(|v| v.to_str().unwrap().to_owned());
            (response.status().as_u16(), allowed)
        };
        assert_eq!(ask("GET", Some("http://a.example")).await, (200, Some("http://a.example".into())));
        assert_eq!(ask("OPTIONS", Some("https://b.example")).await, (204, Some("https://b.example".into())));
        for foreign in [None, Some("http://a.example.org"), Some("http://c.example"), Some("null")] {
            assert_eq!(ask("GET", foreign).await, (200, None), "{foreign:?}");
        }
        assert!(Origins::new("(").is_err());
    }
}
