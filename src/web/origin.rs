use super::text_response;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, StatusCode, header};

/// Whether a request may come from a page of ours, or from no page at all. A browser says which page sends a POST, and sends
/// it unasked: what deletes, on a port that only this machine reaches, would be open to every web page otherwise.
pub fn is_own_page(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let origin = origin.to_str().ok().and_then(|o| o.split_once("://")).map(|(_, authority)| authority);
    origin.is_some() && origin == headers.get(header::HOST).and_then(|h| h.to_str().ok())
}

/// Middleware: what changes something is refused to pages of another origin with 403.
pub async fn own_pages_only(request: Request, next: Next) -> Response {
    if request.method().is_safe() || is_own_page(request.headers()) {
        return next.run(request).await;
    }
    text_response(StatusCode::FORBIDDEN, "pages of another origin may not do this\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::body::Body;
    use axum::routing::post;
    use tower::ServiceExt;

    #[tokio::test]
    async fn pages_from_elsewhere_change_nothing() {
        let router = Router::new().route("/", post(|| async {}).get(|| async {})).layer(axum::middleware::from_fn(own_pages_only));
        let ask = async |method: &str, origin: Option<&str>| {
            let request = Request::builder().method(method).uri("/").header("host", "localhost:3100");
            let request = origin.into_iter().fold(request, |r, origin| r.header("origin", origin));
            router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap().status().as_u16()
        };
        assert_eq!((ask("POST", None).await, ask("POST", Some("http://localhost:3100")).await), (200, 200));
        for foreign in ["http://elsewhere.example", "null", "http://localhost:8000", "localhost:3100"] {
            assert_eq!((ask("POST", Some(foreign)).await, ask("GET", Some(foreign)).await), (403, 200), "{foreign}");
        }
    }
}
