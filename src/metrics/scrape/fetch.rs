//! Asks a target for what it exposes: HTTP/1.1 over hyper, with a bound for time, size and redirects.

use super::config::{Auth, Client as Settings, Secret};
use super::target::Target;
use crate::ingest::Encoding;
use crate::runtime::{Budget, Reservation, read_text};
use crate::web::{HttpClient, HttpVersion, cause, http_client};
use base64::Engine;
use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, LOCATION, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use std::sync::Arc;
use std::time::Duration;
use url::Url;

const REDIRECTS_MAX: usize = 10;

/// What a target answered.
pub struct Fetched {
    pub content_type: Option<String>,
    /// Decompressed.
    pub body: Bytes,
    /// Memory for it, of the budget of all scrapes.
    _room: Option<Reservation>,
}

impl Fetched {
    /// What needed no network.
    pub fn own(text: String, content_type: &str) -> Fetched {
        Fetched { content_type: Some(content_type.to_owned()), body: text.into(), _room: None }
    }
}

/// The client of one job's targets.
pub struct Fetcher {
    client: HttpClient<Empty<Bytes>>,
    settings: Settings,
    headers: HeaderMap,
    body_max_bytes: u64,
    budget: Arc<Budget>,
}

impl Fetcher {
    /// Fails for certificates that cannot be read.
    pub fn new(settings: &Settings, accepted: &str, body_max_bytes: u64, budget: Arc<Budget>) -> Result<Fetcher, String> {
        let client = http_client(&settings.tls, HttpVersion::Http1)?;
        let mut headers = HeaderMap::new();
        let value = |text: &str| HeaderValue::from_str(text).map_err(|e| format!("{text:?}: {e}"));
        headers.insert(ACCEPT, value(accepted)?);
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(if settings.compression { "gzip" } else { "identity" }));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("monocle/", env!("CARGO_PKG_VERSION"))));
        for (name, said) in &settings.headers {
            let name: http::HeaderName = name.parse().map_err(|e| format!("{name:?}: {e}"))?;
            headers.insert(name, value(said)?);
        }
        Ok(Fetcher { client, settings: settings.clone(), headers, body_max_bytes, budget })
    }

    /// Within the target's timeout.
    pub async fn fetch(&self, target: &Target) -> Result<Fetched, String> {
        let said = tokio::time::timeout(target.timeout, self.fetch_at_length(target)).await;
        said.unwrap_or_else(|_| Err(format!("Get {:?}: context deadline exceeded", target.url.as_str())))
    }

    async fn fetch_at_length(&self, target: &Target) -> Result<Fetched, String> {
        let response = self.follow(target).await?;
        let status = response.status();
        if status != http::StatusCode::OK {
            return Err(format!("server returned HTTP status {status}"));
        }
        let text = |name| response.headers().get(name).and_then(|v: &HeaderValue| v.to_str().ok()).map(str::to_owned);
        let (content_type, encoding) = (text(CONTENT_TYPE), text(CONTENT_ENCODING));
        let encoding = Encoding::parse(encoding.as_deref()).map_err(|failure| failure.message)?;
        let no_memory = || "memory for scrapes is used up".to_owned();
        let mut room = self.budget.clone().reserve(0).ok_or_else(no_memory)?;
        let wire = self.read(response, &mut room).await?;
        let max = usize::try_from(self.body_max_bytes).unwrap_or(usize::MAX);
        let decode = move || {
            let reserve = |bytes: usize| room.grow(bytes as u64).ok_or_else(|| crate::model::Failure::unavailable(no_memory()));
            let body = encoding.decode_within(&wire, max, reserve);
            (body, room)
        };
        let (body, room) = match encoding {
            Encoding::Identity => decode(),
            _ => tokio::task::spawn_blocking(decode).await.map_err(|e| e.to_string())?,
        };
        let body = body.map_err(|failure| match failure.kind {
            crate::model::FailureKind::TooLarge => TOO_LARGE.to_owned(),
            _ => failure.message,
        })?;
        Ok(Fetched { content_type, body, _room: Some(room) })
    }

    /// The answer at the end of redirects.
    async fn follow(&self, target: &Target) -> Result<Response<Incoming>, String> {
        let mut url = target.url.clone();
        for _ in 0..=REDIRECTS_MAX {
            let response = self.get(&url, target).await?;
            let location = response.headers().get(LOCATION).and_then(|l| l.to_str().ok());
            let is_redirect = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
            let Some(location) = location.filter(|_| is_redirect && self.settings.follow_redirects) else { return Ok(response) };
            let next = url.join(location).map_err(|e| format!("Get {:?}: redirect to {location:?}: {e}", url.as_str()))?;
            if !matches!(next.scheme(), "http" | "https") {
                return Err(format!("Get {:?}: redirect to {location:?}: neither http nor https", url.as_str()));
            }
            url = next;
        }
        Err(format!("Get {:?}: stopped after {REDIRECTS_MAX} redirects", target.url.as_str()))
    }

    async fn get(&self, url: &Url, target: &Target) -> Result<Response<Incoming>, String> {
        let mut request = Request::get(url.as_str()).body(Empty::new()).map_err(|e| format!("Get {:?}: {e}", url.as_str()))?;
        let headers = request.headers_mut();
        headers.extend(self.headers.clone());
        headers.insert("x-prometheus-scrape-timeout-seconds", seconds(target.timeout));
        // A redirect elsewhere does not get the password.
        if url.origin() == target.url.origin()
            && let Some(auth) = &self.settings.auth
        {
            headers.insert(AUTHORIZATION, authorization(auth).await?);
        }
        self.client.request(request).await.map_err(|e| format!("Get {:?}: {}", url.as_str(), cause(&e)))
    }

    async fn read(&self, response: Response<Incoming>, room: &mut Reservation) -> Result<Bytes, String> {
        let mut body = response.into_body();
        let mut read = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|e| format!("reading the answer: {e}"))?;
            let Some(data) = frame.data_ref() else { continue };
            if read.len() as u64 + data.len() as u64 > self.body_max_bytes {
                return Err(TOO_LARGE.to_owned());
            }
            // A buffer that grows is up to twice as large as what is in it.
            room.grow(2 * data.len() as u64).ok_or("memory for scrapes is used up")?;
            read.extend_from_slice(data);
        }
        Ok(read.freeze())
    }
}

const TOO_LARGE: &str = "body size limit exceeded";

fn seconds(timeout: Duration) -> HeaderValue {
    HeaderValue::from_str(&timeout.as_secs_f64().to_string()).unwrap_or_else(|_| HeaderValue::from_static("10"))
}

async fn authorization(auth: &Auth) -> Result<HeaderValue, String> {
    let text = match auth {
        Auth::Basic { username, password } => {
            let pair = format!("{username}:{}", reveal(password).await?);
            format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
        }
        Auth::Header { scheme, credentials } => format!("{scheme} {}", reveal(credentials).await?),
    };
    let mut value = HeaderValue::from_str(&text).map_err(|_| "the credentials do not fit into a header".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

async fn reveal(secret: &Secret) -> Result<String, String> {
    match secret {
        Secret::Text(text) => Ok(text.clone()),
        Secret::File(path) => {
            let (path, shown) = (path.clone(), path.display().to_string());
            let read = tokio::task::spawn_blocking(move || read_text(&path)).await.map_err(|e| e.to_string())?;
            let text = read.map_err(|e| format!("unable to read authorization credentials file: {e}"))?;
            text.map(|t| t.trim().to_owned())
                .ok_or_else(|| format!("unable to read authorization credentials file {shown}: it does not exist"))
        }
    }
}

/// Whether a client can be made of these settings: certificates can be read, headers can be sent.
pub fn check(settings: &Settings) -> Result<(), String> {
    Fetcher::new(settings, "*/*", 0, Budget::new(0)).map(drop)
}
