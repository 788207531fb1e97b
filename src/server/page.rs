//! The web page: the files that `ui/` builds, embedded in the binary.

use axum::Router;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "ui/dist/"]
struct Files;

const INDEX: &str = "monocle: metrics, logs and traces through one lens

/                      a page for browsers
/api/v1/query          Prometheus API
/loki/api/v1/query     Loki API
/api/search            Tempo API
/sql                   SQL over everything
/metrics               monocle's own metrics
/-/status              what it holds, as JSON
/ready                 health
OTLP is taken on ports of its own, 4317 (gRPC) and 4318 (HTTP) unless configured otherwise.
";

/// Nothing from elsewhere; the editor puts its styles into the page by script.
const POLICY: &str = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'";

pub(super) fn routes() -> Router {
    Router::new().route("/", get(index)).route("/assets/{name}", get(asset))
}

/// The page for browsers, a few lines for `curl`.
async fn index(headers: HeaderMap) -> Response {
    let wanted = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or("");
    match Files::get("index.html").filter(|_| wanted.contains("text/html")) {
        Some(file) => {
            let policy = (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
            ([kind("index.html"), caching("no-cache"), policy], file.data).into_response()
        }
        None => ([kind(".txt"), caching("no-cache")], INDEX).into_response(),
    }
}

/// Names of assets hold a hash of their contents, so they may be kept for ever.
async fn asset(Path(name): Path<String>) -> Response {
    match Files::get(&format!("assets/{name}")) {
        Some(file) => ([kind(&name), caching("public, max-age=31536000, immutable")], file.data).into_response(),
        None => (StatusCode::NOT_FOUND, "404 page not found\n").into_response(),
    }
}

fn kind(name: &str) -> (header::HeaderName, HeaderValue) {
    let kind = match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    };
    (header::CONTENT_TYPE, HeaderValue::from_static(kind))
}

fn caching(rule: &'static str) -> (header::HeaderName, HeaderValue) {
    (header::CACHE_CONTROL, HeaderValue::from_static(rule))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use http::Request;
    use tower::ServiceExt;

    async fn ask(path: &str, accept: &str) -> (StatusCode, HeaderMap, String) {
        let request = Request::get(path).header("accept", accept).body(Body::empty()).unwrap();
        let (parts, body) = routes().oneshot(request).await.unwrap().into_parts();
        let body = axum::body::to_bytes(body, 8 << 20).await.unwrap();
        (parts.status, parts.headers, String::from_utf8_lossy(&body).into_owned())
    }

    #[tokio::test]
    async fn the_page_refers_to_files_that_are_there() {
        let (status, headers, html) = ask("/", "text/html,application/xhtml+xml").await;
        assert_eq!((status, headers["content-type"].as_bytes()), (StatusCode::OK, &b"text/html; charset=utf-8"[..]));
        let files: Vec<&str> = html.split('"').filter_map(|part| part.strip_prefix("./")).collect();
        assert!(files.len() >= 2, "{html}");
        for file in files {
            let (status, headers, _) = ask(&format!("/{file}"), "*/*").await;
            assert_eq!(status, StatusCode::OK, "{file}");
            assert!(headers["cache-control"].to_str().unwrap().contains("immutable"));
        }
    }

    #[tokio::test]
    async fn curl_gets_text_and_strange_names_nothing() {
        assert!(ask("/", "*/*").await.2.starts_with("monocle:"));
        assert_eq!(ask("/assets/..%2Findex.html", "*/*").await.0, StatusCode::NOT_FOUND);
        assert_eq!(ask("/assets/none.js", "*/*").await.0, StatusCode::NOT_FOUND);
    }
}
