use super::body::{json_response, read_body};
use super::slow::name_query;
use super::status::http_status;
use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, header};

/// Parameters of a query request: those of a form body first, then those of the URL. Grafana sends some in one place
/// and some in the other, so the two are merged.
#[derive(Debug, Clone, Default)]
pub struct Params {
    pairs: Vec<(String, String)>,
    pub headers: HeaderMap,
}

/// A form with a query may be long (queries are bounded by each language), but not unbounded.
const FORM_MAX_BYTES: usize = 10 << 20;

impl Params {
    pub fn from_pairs<N: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (N, V)>) -> Params {
        Params { pairs: pairs.into_iter().map(|(n, v)| (n.into(), v.into())).collect(), headers: HeaderMap::new() }
    }

    /// As if the parameters had come with these headers.
    pub fn with_headers(self, headers: HeaderMap) -> Params {
        Params { headers, ..self }
    }

    /// The first value of the parameter; an empty one counts as given.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The first value that is not empty.
    pub fn non_empty(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(n, v)| n == name && !v.is_empty()).map(|(_, v)| v.as_str())
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }
}

fn is_form(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    content_type.split(';').next().unwrap_or("").trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

impl<S: Send + Sync> FromRequest<S> for Params {
    type Rejection = Response;

    async fn from_request(request: Request, _: &S) -> Result<Params, Response> {
        let (parts, body) = request.into_parts();
        let mut pairs = Vec::new();
        if is_form(&parts.headers) {
            let body = read_body(body, FORM_MAX_BYTES).await.map_err(|f| json_response(http_status(f.kind), f.message).into_response())?;
            pairs.extend(form_urlencoded::parse(&body).into_owned());
        }
        pairs.extend(form_urlencoded::parse(parts.uri.query().unwrap_or("").as_bytes()).into_owned());
        let params = Params { pairs, headers: parts.headers };
        if let Some(text) = params.get("query").or_else(|| params.get("q")) {
            name_query(&parts.extensions, text);
        }
        Ok(params)
    }
}
