//! Where to send, from the variables that OpenTelemetry's exporters are configured by.
//! Source: opentelemetry.io "OTLP Exporter Configuration".

use crate::model::Signal;
use crate::web::Tls;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::collections::BTreeMap;
use std::time::Duration;
use url::Url;

/// What all these variables begin with.
pub const PREFIX: &str = "OTEL_EXPORTER_OTLP_";

/// The longest wait for an answer, where nothing else is said; the exporters' own default.
const TIMEOUT: Duration = Duration::from_secs(10);

/// All that is sent on: at most one target a signal.
#[derive(Debug, Clone, Default)]
pub struct Config {
    pub targets: Vec<Target>,
}

/// What a target speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// OTLP/HTTP, protobuf or JSON, as it came.
    Http,
    HttpProtobuf,
    Grpc,
}

impl Protocol {
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Http | Protocol::HttpProtobuf => "OTLP/HTTP",
            Protocol::Grpc => "OTLP/gRPC",
        }
    }
}

/// How bodies are compressed for a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
}

/// Where one signal goes.
#[derive(Clone)]
pub struct Target {
    pub signal: Signal,
    pub protocol: Protocol,
    pub url: Url,
    /// As it came, if nothing is said.
    pub compression: Option<Compression>,
    pub headers: HeaderMap,
    pub timeout: Duration,
    pub tls: Tls,
}

impl std::fmt::Debug for Target {
    /// Without the headers, which hold keys.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} to {}", self.signal, self.place())
    }
}

impl Target {
    /// The address as it may be shown: without credentials and query.
    pub fn place(&self) -> String {
        let mut url = self.url.clone();
        // Fails only for addresses without a host, which are refused.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url.set_query(None);
        url.to_string()
    }
}

impl Config {
    /// From the variables whose names begin with [`PREFIX`]. Those of one signal go before the common ones, as a whole; an
    /// empty one counts as none.
    pub fn read(variables: &BTreeMap<String, String>, mistakes: &mut Vec<String>, warnings: &mut Vec<String>) -> Config {
        let mut reader = Reader { variables, mistakes, warnings };
        Config { targets: Signal::ALL.into_iter().filter_map(|signal| reader.target(signal)).collect() }
    }
}

struct Reader<'a> {
    variables: &'a BTreeMap<String, String>,
    mistakes: &'a mut Vec<String>,
    warnings: &'a mut Vec<String>,
}

impl<'a> Reader<'a> {
    fn variable(&self, name: String) -> Option<(String, &'a str)> {
        let said = self.variables.get(&name).map(|said| said.trim()).filter(|said| !said.is_empty())?;
        Some((name, said))
    }

    /// The signal's own variable or the common one, with its name.
    fn said(&self, signal: Signal, what: &str) -> Option<(String, &'a str)> {
        let own = format!("{PREFIX}{}_{what}", signal.as_str().to_ascii_uppercase());
        self.variable(own).or_else(|| self.variable(format!("{PREFIX}{what}")))
    }

    fn target(&mut self, signal: Signal) -> Option<Target> {
        let (name, said) = self.said(signal, "ENDPOINT")?;
        let protocol = self.protocol(signal);
        let url = match protocol {
            Protocol::Grpc => self.grpc_url(signal, &name, said)?,
            _ => signal_url(self.url(&name, said)?, signal, name == format!("{PREFIX}ENDPOINT")),
        };
        self.doubt_port(&name, &url, protocol);
        let mut headers = self.headers(signal);
        if let Some(credentials) = credentials(&url) {
            headers.entry(http::header::AUTHORIZATION).or_insert(credentials);
        }
        let (timeout, compression) = (self.timeout(signal), self.compression(signal));
        let file = |what: &str| self.said(signal, what).map(|(_, path)| path.into());
        let tls =
            Tls { ca_file: file("CERTIFICATE"), cert_file: file("CLIENT_CERTIFICATE"), key_file: file("CLIENT_KEY"), ..Tls::default() };
        if tls.cert_file.is_some() != tls.key_file.is_some() {
            self.mistake(format!("{PREFIX}CLIENT_CERTIFICATE and {PREFIX}CLIENT_KEY need each other"));
        }
        Some(Target { signal, protocol, url, compression, headers, timeout, tls })
    }

    fn protocol(&mut self, signal: Signal) -> Protocol {
        match self.said(signal, "PROTOCOL") {
            // Whoever takes JSON over HTTP has to take protobuf, too.
            None | Some((_, "http/json")) => Protocol::Http,
            Some((_, "http/protobuf")) => Protocol::HttpProtobuf,
            Some((_, "grpc")) => Protocol::Grpc,
            Some((name, other)) => {
                self.mistake(format!("{name}: expected grpc, http/protobuf or http/json, got {other:?}"));
                Protocol::Http
            }
        }
    }

    fn url(&mut self, name: &str, said: &str) -> Option<Url> {
        match Url::parse(said) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Some(url),
            _ => {
                self.mistake(format!("{name}: expected http://HOST:PORT or https://…, got {said:?}"));
                None
            }
        }
    }

    /// Exporters over gRPC take `HOST:PORT`, too: with TLS, unless `INSECURE` says otherwise. A path means nothing to them.
    fn grpc_url(&mut self, signal: Signal, name: &str, said: &str) -> Option<Url> {
        let mut url = if said.contains("://") {
            self.url(name, said)?
        } else {
            let insecure = self.said(signal, "INSECURE").is_some_and(|(_, said)| said.eq_ignore_ascii_case("true"));
            self.url(name, &format!("{}://{said}", if insecure { "http" } else { "https" }))?
        };
        if !matches!(url.path(), "" | "/") {
            self.warning(format!("{name}: the path {:?} is not used, since gRPC has its own", url.path()));
        }
        let (package, service) = match signal {
            Signal::Metrics => ("metrics", "Metrics"),
            Signal::Logs => ("logs", "Logs"),
            Signal::Traces => ("trace", "Trace"),
        };
        url.set_path(&format!("/opentelemetry.proto.collector.{package}.v1.{service}Service/Export"));
        Some(url)
    }

    /// The commonest mistake with these variables.
    fn doubt_port(&mut self, name: &str, url: &Url, protocol: Protocol) {
        match (url.port(), protocol) {
            (Some(4317), Protocol::Http | Protocol::HttpProtobuf) => self.warning(format!(
                "{name}: OTLP/HTTP is sent to port 4317, which usually is the one for gRPC: set {PREFIX}PROTOCOL=grpc, or the port to 4318"
            )),
            (Some(4318), Protocol::Grpc) => self.warning(format!(
                "{name}: OTLP/gRPC is sent to port 4318, which usually is the one for HTTP: set {PREFIX}PROTOCOL=http/protobuf, or the port to 4317"
            )),
            _ => {}
        }
    }

    fn compression(&mut self, signal: Signal) -> Option<Compression> {
        match self.said(signal, "COMPRESSION")? {
            (_, "gzip") => Some(Compression::Gzip),
            (_, "none") => Some(Compression::None),
            (name, other) => {
                self.mistake(format!("{name}: expected gzip or none, got {other:?}"));
                None
            }
        }
    }

    /// `name=value,name=value`, values percent-encoded. A value is never shown: it is a key, most likely.
    fn headers(&mut self, signal: Signal) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let Some((variable, said)) = self.said(signal, "HEADERS") else { return headers };
        for pair in said.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let Some((name, value)) = pair.split_once('=') else {
                self.mistake(format!("{variable}: expected name=value,name=value; one of them has no \"=\""));
                continue;
            };
            let decoded = percent_encoding::percent_decode_str(value.trim()).decode_utf8_lossy();
            match (name.trim().parse::<HeaderName>(), HeaderValue::from_str(&decoded)) {
                (Ok(name), Ok(mut value)) => {
                    value.set_sensitive(true);
                    headers.insert(name, value);
                }
                (Err(_), _) => self.mistake(format!("{variable}: {:?} is no name of a header", name.trim())),
                (_, Err(_)) => self.mistake(format!("{variable}: the value of {:?} cannot stand in a header", name.trim())),
            }
        }
        headers
    }

    /// In milliseconds, as the exporters have it.
    fn timeout(&mut self, signal: Signal) -> Duration {
        let Some((name, said)) = self.said(signal, "TIMEOUT") else { return TIMEOUT };
        match said.parse::<u64>() {
            Ok(milliseconds) if milliseconds > 0 => Duration::from_millis(milliseconds),
            _ => {
                self.mistake(format!("{name}: expected milliseconds, such as 10000, got {said:?}"));
                TIMEOUT
            }
        }
    }

    /// Said once, though three signals may share the variable.
    fn mistake(&mut self, text: String) {
        if !self.mistakes.contains(&text) {
            self.mistakes.push(text);
        }
    }

    fn warning(&mut self, text: String) {
        if !self.warnings.contains(&text) {
            self.warnings.push(text);
        }
    }
}

/// A common endpoint is the base of the signal's path. One of a signal's own is taken as it is, but for one without a path:
/// otel-lgtm gives that a path, too, and nobody takes OTLP at `/`.
fn signal_url(mut url: Url, signal: Signal, common: bool) -> Url {
    if common || matches!(url.path(), "" | "/") {
        let path = format!("{}/v1/{signal}", url.path().trim_end_matches('/'));
        url.set_path(&path);
    }
    url
}

/// `user:password@` of an address, as the header it stands for.
fn credentials(url: &Url) -> Option<HeaderValue> {
    use base64::Engine;
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let decode = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    let pair = format!("{}:{}", decode(url.username()), decode(url.password().unwrap_or_default()));
    let mut value = HeaderValue::from_str(&format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(variables: &[(&str, &str)]) -> (Config, Vec<String>, Vec<String>) {
        let variables = variables.iter().map(|(name, said)| (format!("{PREFIX}{name}"), (*said).to_owned())).collect();
        let (mut mistakes, mut warnings) = (Vec::new(), Vec::new());
        let config = Config::read(&variables, &mut mistakes, &mut warnings);
        (config, mistakes, warnings)
    }

    fn urls(variables: &[(&str, &str)]) -> Vec<String> {
        let (config, mistakes, _) = read(variables);
        assert!(mistakes.is_empty(), "{mistakes:?}");
        config.targets.iter().map(|t| t.url.to_string()).collect()
    }

    #[test]
    fn paths_are_those_of_the_exporters() {
        let all = |base: &str| ["metrics", "logs", "traces"].map(|signal| format!("{base}/v1/{signal}"));
        assert_eq!(urls(&[("ENDPOINT", "http://vendor:4318")]), all("http://vendor:4318"));
        assert_eq!(urls(&[("ENDPOINT", " https://vendor/otlp/ ")]), all("https://vendor/otlp"));
        assert_eq!(urls(&[("LOGS_ENDPOINT", "https://vendor/in/logs")]), ["https://vendor/in/logs"]);
        assert_eq!(urls(&[("TRACES_ENDPOINT", "http://vendor:4318")]), ["http://vendor:4318/v1/traces"]);
        let mixed = urls(&[("ENDPOINT", "http://a"), ("METRICS_ENDPOINT", "http://b/v1/metrics")]);
        assert_eq!(mixed, ["http://b/v1/metrics", "http://a/v1/logs", "http://a/v1/traces"]);
        assert!(urls(&[("ENDPOINT", ""), ("HEADERS", "a=b")]).is_empty());
    }

    #[test]
    fn headers_are_decoded_and_never_shown() {
        let (config, mistakes, _) = read(&[
            ("ENDPOINT", "http://me:p%40ss@vendor"),
            ("HEADERS", "Authorization=Basic%20c2VjcmV0==, x-team = a b"),
            ("LOGS_HEADERS", "api-key=k"),
            ("TIMEOUT", "2500"),
        ]);
        assert!(mistakes.is_empty());
        let by = |signal: Signal| config.targets.iter().find(|t| t.signal == signal).unwrap();
        assert_eq!(by(Signal::Traces).headers["authorization"], "Basic c2VjcmV0==");
        assert_eq!(by(Signal::Traces).headers["x-team"], "a b");
        assert_eq!(by(Signal::Traces).timeout, Duration::from_millis(2_500));
        let own = by(Signal::Logs);
        assert_eq!((own.headers["api-key"].to_str().unwrap(), own.headers.get("x-team")), ("k", None));
        assert_eq!(own.headers["authorization"], "Basic bWU6cEBzcw==");
        let shown = format!("{config:?}");
        assert!(shown.contains("http://vendor/v1/logs") && !shown.contains("p%40ss") && !shown.contains("c2Vj"), "{shown}");
    }

    #[test]
    fn mistakes_are_said_once_with_the_variable_and_without_keys() {
        let (_, mistakes, _) = read(&[
            ("ENDPOINT", "http://v"),
            ("HEADERS", "s3cret"),
            ("LOGS_ENDPOINT", "vendor:4317"),
            ("TIMEOUT", "10s"),
            ("CLIENT_KEY", "k"),
        ]);
        let text = mistakes.join("\n");
        assert_eq!(mistakes.len(), 4, "{text}");
        for word in ["OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "milliseconds", "CLIENT_CERTIFICATE"] {
            assert!(text.contains(word), "{word} in {text}");
        }
        assert!(!text.contains("s3cret"));
        let (_, mistakes, _) = read(&[("ENDPOINT", "http://v"), ("PROTOCOL", "http"), ("LOGS_COMPRESSION", "zstd")]);
        assert!(mistakes.len() == 2 && mistakes[0].contains("got \"http\"") && mistakes[1].contains("gzip or none"), "{mistakes:?}");
    }

    #[test]
    fn a_port_that_usually_speaks_the_other_protocol_is_doubted_once() {
        let warnings = |variables: &[(&str, &str)]| read(variables).2;
        let [http, grpc] = [("ENDPOINT", "http://v:4317"), ("ENDPOINT", "http://v:4318")].map(|endpoint| {
            let protocol = if endpoint.1.ends_with('7') { "http/protobuf" } else { "grpc" };
            warnings(&[endpoint, ("PROTOCOL", protocol)])
        });
        assert!(http.len() == 1 && http[0].contains("OTEL_EXPORTER_OTLP_PROTOCOL=grpc"), "{http:?}");
        assert!(grpc.len() == 1 && grpc[0].contains("OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"), "{grpc:?}");
        assert!(warnings(&[("ENDPOINT", "http://v:4318")]).is_empty());
        assert!(warnings(&[("ENDPOINT", "http://v:4317"), ("PROTOCOL", "grpc")]).is_empty());
    }

    #[test]
    fn grpc_has_paths_of_its_own_and_needs_no_scheme() {
        let all = |base: &str| {
            [("metrics", "Metrics"), ("logs", "Logs"), ("trace", "Trace")]
                .map(|(package, name)| format!("{base}/opentelemetry.proto.collector.{package}.v1.{name}Service/Export"))
        };
        let grpc = ("PROTOCOL", "grpc");
        assert_eq!(urls(&[grpc, ("ENDPOINT", "http://vendor:4317")]), all("http://vendor:4317"));
        assert_eq!(urls(&[grpc, ("ENDPOINT", "vendor:443")]), all("https://vendor"));
        assert_eq!(urls(&[grpc, ("ENDPOINT", "[::1]:4317"), ("INSECURE", "true")]), all("http://[::1]:4317"));
        let (config, _, warnings) =
            read(&[("ENDPOINT", "https://vendor/otlp"), ("TRACES_PROTOCOL", "grpc"), ("TRACES_COMPRESSION", "gzip")]);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        let spoken: Vec<_> = config.targets.iter().map(|t| (t.protocol, t.compression, t.url.path())).collect();
        assert_eq!(spoken[..2], [(Protocol::Http, None, "/otlp/v1/metrics"), (Protocol::Http, None, "/otlp/v1/logs")]);
        assert_eq!((spoken[2].0, spoken[2].1), (Protocol::Grpc, Some(Compression::Gzip)));
        let (_, mistakes, _) = read(&[grpc, ("ENDPOINT", "ftp://vendor:1")]);
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(endpoint in ".{0,40}", headers in ".{0,40}", timeout in ".{0,8}") {
            let (config, _, _) = read(&[("ENDPOINT", &format!("http://{endpoint}")), ("HEADERS", &headers), ("TIMEOUT", &timeout)]);
            let (_, _, _) = read(&[("ENDPOINT", &endpoint), ("PROTOCOL", "grpc")]);
            for target in config.targets {
                let is_signals = target.url.path().ends_with(&format!("/v1/{}", target.signal));
                prop_assert!(is_signals);
            }
        }
    }
}
