use super::{Mistakes, Settings};
use crate::ingest::{AllLimits, TenantLimits};
use crate::metrics::scrape;
use crate::model::TenantId;
use crate::model::number::{format_size, parse_size};
use crate::model::time::parse_prometheus_duration;
use crate::runtime::memory_total_bytes;
use crate::storage::tier::BucketConfig;
use crate::storage::wal::SyncMode;
use crate::web::{Origins, Tenancy};
use crate::{derive, forward, traces};
use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What the program needs, from what the user said.
#[derive(Debug, Clone)]
pub struct Config {
    pub data: PathBuf,
    pub listeners: Listeners,
    /// `None` keeps everything.
    pub retention_metrics: Option<Duration>,
    pub retention_logs: Option<Duration>,
    pub retention_traces: Option<Duration>,
    pub memory_bytes: u64,
    pub disk_bytes: u64,
    /// Where blocks are kept besides the disk.
    pub bucket: Option<BucketConfig>,
    pub wal_sync: SyncMode,
    pub cut_after: Duration,
    pub traces: traces::Limits,
    pub derive: derive::Config,
    pub scrape: scrape::Config,
    pub forward: forward::Config,
    pub tails_max: usize,
    pub delete_cancel_within: Duration,
    pub tenancy: Tenancy,
    pub tenants: Arc<AllLimits>,
    /// Whose pages may read answers.
    pub cors: Option<Origins>,
    pub query_timeout: Duration,
    /// Whether operators' paths are answered; `None`: where every query listener is this machine's own.
    pub admin: Option<bool>,
    pub log_json: bool,
    pub log_filter: String,
    /// Every knob with its value, in words, in the order of the definition.
    pub effective: Vec<(String, String)>,
    /// What is allowed, and probably not meant.
    pub warnings: Vec<String>,
}

/// Where a listener binds; `None` is off.
#[derive(Debug, Clone)]
pub struct Listeners {
    pub otlp_grpc: Option<Endpoint>,
    pub otlp_http: Option<Endpoint>,
    pub prometheus: Option<Endpoint>,
    pub loki: Option<Endpoint>,
    pub tempo: Option<Endpoint>,
    pub web: Option<Endpoint>,
    pub otel_health: Option<Endpoint>,
    pub zipkin: Option<Endpoint>,
    pub jaeger_http: Option<Endpoint>,
    pub jaeger_grpc: Option<Endpoint>,
}

/// An address to bind, with the knob it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub knob: &'static str,
    pub host: String,
    pub port: u16,
}

impl Endpoint {
    /// Only this machine can reach it.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') { write!(f, "[{}]:{}", self.host, self.port) } else { write!(f, "{}:{}", self.host, self.port) }
    }
}

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

impl Config {
    pub fn resolve(settings: &Settings) -> Result<Config, Mistakes> {
        let mut r = Resolver::default();
        let data = r.text("data", &settings.data, "./monocle-data");
        let host = r.text("listen", &settings.listen, "127.0.0.1");
        let mut at = |knob, said: &Option<String>, default: &str| r.endpoint(knob, said.as_deref().unwrap_or(default), &host);
        let listeners = Listeners {
            otlp_grpc: at("otlp-grpc", &settings.otlp_grpc, "4317"),
            otlp_http: at("otlp-http", &settings.otlp_http, "4318"),
            prometheus: at("prometheus", &settings.prometheus, "9090"),
            loki: at("loki", &settings.loki, "3100"),
            tempo: at("tempo", &settings.tempo, "3200"),
            web: at("web", &settings.web, "3000"),
            otel_health: at("otel-health", &settings.otel_health, "off"),
            zipkin: at("zipkin", &settings.zipkin, "off"),
            jaeger_http: at("jaeger-http", &settings.jaeger_http, "off"),
            jaeger_grpc: at("jaeger-grpc", &settings.jaeger_grpc, "off"),
        };
        r.no_port_twice(&listeners);
        let tenancy = r.word("tenancy", &settings.tenancy, &[("off", Tenancy::Off), ("header", Tenancy::Header)]);
        let scrape = scraped(&mut r, settings, &listeners, tenancy);
        let forward = forwarded(&mut r, settings);
        let mut keep = |knob, said: &Option<String>, default: &str| r.retention(knob, said, &settings.retention, default);
        let mut config = Config {
            retention_metrics: keep("retention-metrics", &settings.retention_metrics, "395d"),
            retention_logs: keep("retention-logs", &settings.retention_logs, "30d"),
            retention_traces: keep("retention-traces", &settings.retention_traces, "30d"),
            data: data.into(),
            listeners,
            memory_bytes: r.size("memory", &settings.memory, (memory_total_bytes() / 4).clamp(256 * MIB, 2 * GIB), 64 * MIB),
            disk_bytes: r.size("disk", &settings.disk, 20 * GIB, 256 * MIB),
            bucket: r.bucket(settings),
            wal_sync: r.word("wal-sync", &settings.wal_sync, &[("group", SyncMode::Group), ("os", SyncMode::Os), ("none", SyncMode::None)]),
            cut_after: r.duration("cut-after", &settings.cut_after, "5m"),
            traces: trace_limits(&mut r, settings),
            derive: derived(&mut r, settings),
            scrape,
            forward,
            tails_max: usize::try_from(r.count("tails-max", &settings.tails_max, 10)).unwrap_or(usize::MAX),
            delete_cancel_within: r.duration("delete-cancel-within", &settings.delete_cancel_within, "1d"),
            tenancy,
            tenants: Arc::new(tenant_limits(&mut r, settings)),
            cors: r.origins(&settings.web_cors_origin),
            query_timeout: r.duration("query-timeout", &settings.query_timeout, "2m"),
            admin: r.word("admin", &settings.admin, &[("auto", None), ("true", Some(true)), ("false", Some(false))]),
            log_json: r.word("log-format", &settings.log_format, &[("text", false), ("json", true)]),
            log_filter: r.text("log", &settings.log, "info,object_store=warn"),
            effective: Vec::new(),
            warnings: Vec::new(),
        };
        config.effective = r.effective;
        config.warnings = r.warnings;
        if r.mistakes.is_empty() { Ok(config) } else { Err(Mistakes(r.mistakes)) }
    }
}

fn trace_limits(r: &mut Resolver, settings: &Settings) -> traces::Limits {
    let default = traces::Limits::default();
    let value_max = r.size("attribute-max-bytes", &settings.attribute_max_bytes, default.value_max_bytes as u64, 1);
    let spans = r.count("request-max-spans", &settings.request_max_spans, default.request_max_spans.into());
    traces::Limits {
        trace_max_bytes: r.size("trace-max-bytes", &settings.trace_max_bytes, default.trace_max_bytes, 1),
        trace_max_spans: r.count("trace-max-spans", &settings.trace_max_spans, default.trace_max_spans),
        value_max_bytes: usize::try_from(value_max).unwrap_or(usize::MAX),
        request_max_spans: u32::try_from(spans).unwrap_or(u32::MAX),
    }
}

fn tenant_limits(r: &mut Resolver, settings: &Settings) -> AllLimits {
    let limit = |r: &mut Resolver, knob: &str, said: Option<&String>, others: Option<u64>| match said.map(String::as_str) {
        None | Some("off") => {
            let limit = if said.is_some() { None } else { others };
            r.note(knob, limit.map_or_else(|| "off".to_owned(), |limit| limit.to_string()));
            limit
        }
        Some(_) if knob.ends_with("rate") => Some(r.size(knob, &said.cloned(), 1, 1)),
        Some(_) => Some(r.count(knob, &said.cloned(), 1)),
    };
    let others = TenantLimits {
        rate: limit(r, "tenant-rate", settings.tenant_rate.as_ref(), None),
        series: limit(r, "tenant-series", settings.tenant_series.as_ref(), None),
        streams: limit(r, "tenant-streams", settings.tenant_streams.as_ref(), None),
    };
    let mut named = HashMap::new();
    for (name, said) in settings.tenants.iter().flatten() {
        let knob = |word: &str| format!("tenants.{name}.{word}");
        let limits = TenantLimits {
            rate: limit(r, &knob("rate"), said.rate.as_ref(), others.rate),
            series: limit(r, &knob("series"), said.series.as_ref(), others.series),
            streams: limit(r, &knob("streams"), said.streams.as_ref(), others.streams),
        };
        match TenantId::parse(name) {
            Ok(tenant) => drop(named.insert(tenant, limits)),
            Err(error) => r.mistakes.push(format!("[tenants.{name}]: {error}")),
        }
    }
    AllLimits { others, named }
}

fn derived(r: &mut Resolver, settings: &Settings) -> derive::Config {
    let default = derive::Config::default();
    let names = r.text("derive-dimensions", &settings.derive_dimensions, "");
    let names = names.split(',').map(str::trim);
    let series = r.count("derive-max-series", &settings.derive_max_series, default.series_max as u64);
    derive::Config {
        enabled: r.word("derive", &settings.derive, &[("on", true), ("off", false)]),
        interval: r.duration("derive-interval", &settings.derive_interval, "15s"),
        dimensions: names.filter(|name| !name.is_empty()).map(str::to_owned).collect(),
        series_max: usize::try_from(series).unwrap_or(usize::MAX),
    }
}

fn scraped(r: &mut Resolver, settings: &Settings, listeners: &Listeners, tenancy: Tenancy) -> scrape::Config {
    let interval = r.duration("scrape-interval", &settings.scrape_interval, "1m");
    let own = r.word("self-scrape", &settings.self_scrape, &[("off", false), ("on", true)]);
    let l = listeners;
    let address =
        [&l.prometheus, &l.loki, &l.tempo, &l.web].into_iter().flatten().next().map_or("localhost".to_owned(), Endpoint::to_string);
    let tables = settings.scrape.as_deref().unwrap_or_default();
    scrape::Config::read(tables, interval, tenancy == Tenancy::Header, own.then_some(address), &mut r.mistakes)
}

fn forwarded(r: &mut Resolver, settings: &Settings) -> forward::Config {
    let wanted = r.word("forward", &settings.forward, &[("", None), ("on", Some(true)), ("off", Some(false))]);
    if wanted == Some(false) {
        return forward::Config::default();
    }
    let config = forward::Config::read(&settings.exporter, &mut r.mistakes, &mut r.warnings);
    if wanted == Some(true) && config.targets.is_empty() {
        r.mistakes.push("--forward on: OTEL_EXPORTER_OTLP_ENDPOINT (or that of one signal) has to say where to".into());
    }
    config
}

/// Collects mistakes while it reads values, and what the values are; a value with a mistake is replaced by any valid one, and
/// never used.
#[derive(Default)]
struct Resolver {
    mistakes: Vec<String>,
    warnings: Vec<String>,
    effective: Vec<(String, String)>,
}

impl Resolver {
    fn note(&mut self, knob: &str, value: String) {
        self.effective.push((knob.to_owned(), value));
    }

    fn text(&mut self, knob: &str, said: &Option<String>, default: &str) -> String {
        let text = said.clone().unwrap_or_else(|| default.to_owned());
        self.note(knob, text.clone());
        text
    }

    /// Two listeners cannot have one port, but for 0, which is a free one.
    fn no_port_twice(&mut self, listeners: &Listeners) {
        let l = listeners;
        let all = [
            &l.otlp_grpc,
            &l.otlp_http,
            &l.prometheus,
            &l.loki,
            &l.tempo,
            &l.web,
            &l.otel_health,
            &l.zipkin,
            &l.jaeger_http,
            &l.jaeger_grpc,
        ];
        let bound: Vec<&Endpoint> = all.into_iter().flatten().filter(|endpoint| endpoint.port != 0).collect();
        for (at, endpoint) in bound.iter().enumerate() {
            if let Some(other) = bound[..at].iter().find(|other| (&other.host, other.port) == (&endpoint.host, endpoint.port)) {
                let (knob, other) = (endpoint.knob, other.knob);
                self.mistakes.push(format!("--{knob}: {endpoint} is what --{other} has; give it another port, or off"));
            }
        }
    }

    fn endpoint(&mut self, knob: &'static str, said: &str, host: &str) -> Option<Endpoint> {
        self.note(knob, said.to_owned());
        if said == "off" {
            return None;
        }
        let (host, port) = said.rsplit_once(':').unwrap_or((host, said));
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        match port.parse() {
            Ok(port) if !host.is_empty() => Some(Endpoint { knob, host, port }),
            _ => {
                self.mistakes.push(format!("--{knob}: expected PORT, HOST:PORT or off, got {said:?}"));
                None
            }
        }
    }

    fn bucket(&mut self, settings: &Settings) -> Option<BucketConfig> {
        let path_style = self.word("s3-path-style", &settings.s3_path_style, &[("", None), ("true", Some(true)), ("false", Some(false))]);
        let endpoint = settings.s3_endpoint.clone();
        self.text("s3", &settings.s3, "");
        self.text("s3-endpoint", &settings.s3_endpoint, "");
        self.text("s3-region", &settings.s3_region, "");
        if let Some(endpoint) = endpoint.as_ref().filter(|url| !url.starts_with("http://") && !url.starts_with("https://")) {
            self.mistakes.push(format!("--s3-endpoint: expected http://… or https://…, got {endpoint:?}"));
        }
        let Some(url) = &settings.s3 else {
            if settings.s3_endpoint.is_some() || settings.s3_region.is_some() || settings.s3_path_style.is_some() {
                self.mistakes.push("--s3-endpoint, --s3-region and --s3-path-style need --s3".into());
            }
            return None;
        };
        let found = BucketConfig::parse(url);
        if found.is_none() {
            self.mistakes.push(format!("--s3: expected s3://BUCKET or s3://BUCKET/PREFIX, got {url:?}"));
        }
        found.map(|bucket| BucketConfig { endpoint, region: settings.s3_region.clone(), path_style, ..bucket })
    }

    fn origins(&mut self, said: &Option<String>) -> Option<Origins> {
        let text = self.text("web-cors-origin", said, "");
        let read = Origins::new(said.as_ref().map(|_| text.as_str())?);
        if let Err(error) = &read {
            self.mistakes.push(format!("--web-cors-origin: {error}"));
        }
        read.ok()
    }

    /// The signal's own knob, or the one for all.
    fn retention(&mut self, knob: &str, own: &Option<String>, all: &Option<String>, default: &str) -> Option<Duration> {
        let (named, said) = match (own, all) {
            (Some(said), _) => (knob, said.as_str()),
            (None, Some(said)) => ("retention", said.as_str()),
            (None, None) => (knob, default),
        };
        self.note(knob, said.to_owned());
        if said == "off" { None } else { Some(self.positive(named, said, " or off")) }
    }

    fn duration(&mut self, knob: &str, said: &Option<String>, default: &str) -> Duration {
        let said = self.text(knob, said, default);
        self.positive(knob, &said, "")
    }

    fn positive(&mut self, knob: &str, said: &str, or: &str) -> Duration {
        match parse_prometheus_duration(said) {
            Some(nanos) if nanos > 0 => Duration::from_nanos(nanos.unsigned_abs()),
            _ => {
                let mistake = format!("--{knob}: expected a duration such as 30d or 1h30m{or}, got {said:?}");
                // One knob may stand for three.
                if !self.mistakes.contains(&mistake) {
                    self.mistakes.push(mistake);
                }
                Duration::from_secs(1)
            }
        }
    }

    fn size(&mut self, knob: &str, said: &Option<String>, default: u64, min: u64) -> u64 {
        self.note(knob, said.clone().unwrap_or_else(|| format_size(default)));
        let Some(said) = said else { return default };
        match parse_size(said) {
            Some(bytes) if bytes >= min => bytes,
            Some(_) => {
                self.mistakes.push(format!("--{knob}: at least {} is needed, got {said:?}", format_size(min)));
                default
            }
            None => {
                self.mistakes.push(format!("--{knob}: expected a size such as 512MiB or 20GiB, got {said:?}"));
                default
            }
        }
    }

    /// A whole number above zero.
    fn count(&mut self, knob: &str, said: &Option<String>, default: u64) -> u64 {
        self.note(knob, said.clone().unwrap_or_else(|| default.to_string()));
        let Some(said) = said else { return default };
        said.parse().ok().filter(|n| *n > 0).unwrap_or_else(|| {
            self.mistakes.push(format!("--{knob}: expected a whole number above zero, got {said:?}"));
            default
        })
    }

    /// The first choice is the default.
    fn word<T: Copy>(&mut self, knob: &str, said: &Option<String>, choices: &[(&str, T)]) -> T {
        self.text(knob, said, choices[0].0);
        let chosen = match said {
            Some(said) => choices.iter().find(|(word, _)| word == said),
            None => choices.first(),
        };
        if chosen.is_none() {
            let words: Vec<&str> = choices.iter().map(|(word, _)| *word).filter(|word| !word.is_empty()).collect();
            let said = said.as_deref().unwrap_or_default();
            self.mistakes.push(format!("--{knob}: expected one of {}, got {said:?}", words.join(", ")));
        }
        chosen.unwrap_or(&choices[0]).1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::TenantSettings;

    #[test]
    fn defaults_are_those_of_the_decisions() {
        let config = Config::resolve(&Settings::default()).unwrap();
        assert_eq!(config.retention_logs, Some(Duration::from_secs(30 * 86_400)));
        assert_eq!(config.retention_metrics, Some(Duration::from_secs(395 * 86_400)));
        assert_eq!(config.listeners.otlp_grpc.unwrap().to_string(), "127.0.0.1:4317");
        assert_eq!(config.disk_bytes, 20 << 30);
        assert!((256 << 20..=2 << 30).contains(&config.memory_bytes));
    }

    #[test]
    fn one_retention_sets_all_and_each_signal_may_differ() {
        let said = Settings { retention: Some("off".into()), retention_logs: Some("1d".into()), ..Settings::default() };
        let config = Config::resolve(&said).unwrap();
        assert_eq!((config.retention_metrics, config.retention_traces), (None, None));
        assert_eq!(config.retention_logs, Some(Duration::from_secs(86_400)));
    }

    #[test]
    fn all_mistakes_are_reported_at_once() {
        let said = Settings {
            retention: Some("soon".into()),
            memory: Some("1MiB".into()),
            wal_sync: Some("maybe".into()),
            loki: Some("host:port".into()),
            ..Settings::default()
        };
        let text = Config::resolve(&said).unwrap_err().to_string();
        for word in ["--retention:", "--memory", "--wal-sync", "--loki"] {
            assert_eq!(text.matches(word).count(), 1, "{word} in {text}");
        }
    }

    #[test]
    fn two_listeners_do_not_share_a_port() {
        let at = |loki: &str, tempo: &str| {
            Config::resolve(&Settings { loki: Some(loki.into()), tempo: Some(tempo.into()), ..Settings::default() })
        };
        let text = at("9090", "3200").unwrap_err().to_string();
        assert!(text.contains("--loki: 127.0.0.1:9090 is what --prometheus has"), "{text}");
        assert!(at("0", "0").is_ok() && at("[::1]:9090", "3200").is_ok());
    }

    #[test]
    fn every_knob_has_its_value() {
        let config = Config::resolve(&Settings { retention: Some("7d".into()), ..Settings::default() }).unwrap();
        let of = |knob: &str| config.effective.iter().find(|(of, _)| *of == knob).map(|(_, value)| value.as_str());
        // Told by what they set, or in the file only.
        let told = Settings::names().into_iter().filter(|name| !["retention", "scrape", "tenants"].contains(&name.as_str()));
        let missing: Vec<String> = told.filter(|name| of(name).is_none()).collect();
        assert!(missing.is_empty(), "{missing:?}");
        assert_eq!((of("retention-logs"), of("disk"), of("otlp-http")), (Some("7d"), Some("20GiB"), Some("4318")));
        let twice = config.effective.iter().enumerate().find(|(at, (knob, _))| config.effective[..*at].iter().any(|(k, _)| k == knob));
        assert_eq!(twice, None);
    }

    #[test]
    fn forwarding_can_be_asked_for_and_forbidden() {
        let with = |forward: Option<&str>, endpoint: Option<&str>| {
            let exporter = endpoint.map(|url| ("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), url.to_owned())).into_iter().collect();
            let config = Config::resolve(&Settings { forward: forward.map(str::to_owned), exporter, ..Settings::default() });
            config.map(|c| c.forward.targets.len()).map_err(|e| e.to_string())
        };
        assert_eq!((with(None, None), with(None, Some("http://v:4318")), with(Some("off"), Some("nonsense"))), (Ok(0), Ok(3), Ok(0)));
        assert!(with(Some("on"), None).unwrap_err().contains("OTEL_EXPORTER_OTLP_ENDPOINT"));
        assert!(with(None, Some("v:4318")).unwrap_err().contains("http://HOST:PORT"));
    }

    #[test]
    fn a_tenant_has_its_own_limits_or_those_of_all() {
        let own = |rate: &str| TenantSettings { rate: Some(rate.into()), ..TenantSettings::default() };
        let said = Settings {
            tenant_rate: Some("4MiB".into()),
            tenant_series: Some("1000".into()),
            tenants: Some([("big".to_owned(), own("1GiB")), ("free".to_owned(), own("off"))].into()),
            ..Settings::default()
        };
        let limits = Config::resolve(&said).unwrap().tenants;
        let of = |name: &str| limits.of(&TenantId::parse(name).unwrap());
        assert_eq!((of("x").rate, of("x").series, of("x").streams), (Some(4 << 20), Some(1000), None));
        assert_eq!((of("big").rate, of("big").series), (Some(1 << 30), Some(1000)));
        assert_eq!(of("free").rate, None);
        let wrong = Settings { tenants: Some([("a/b".to_owned(), own("often"))].into()), ..Settings::default() };
        let text = Config::resolve(&wrong).unwrap_err().to_string();
        assert!(text.contains("[tenants.a/b]") && text.contains("tenants.a/b.rate: expected a size"), "{text}");
    }

    #[test]
    fn a_bucket_has_a_name_and_perhaps_a_prefix() {
        let said = |s3: &str| Settings { s3: Some(s3.into()), s3_path_style: Some("false".into()), ..Settings::default() };
        let bucket = Config::resolve(&said("s3://data/a/b/")).unwrap().bucket.unwrap();
        assert_eq!((bucket.bucket.as_str(), bucket.prefix.as_str(), bucket.path_style), ("data", "a/b", Some(false)));
        assert_eq!(bucket.url(), "s3://data/a/b");
        assert_eq!(Config::resolve(&said("s3://data")).unwrap().bucket.unwrap().prefix, "");
        for bad in ["data", "s3://", "s3:///x", "s3://a b", "http://data/x", "s3://data/a//b"] {
            assert!(Config::resolve(&said(bad)).unwrap_err().to_string().contains("--s3:"), "{bad}");
        }
        let alone = Settings { s3_endpoint: Some("minio:9000".into()), ..Settings::default() };
        let text = Config::resolve(&alone).unwrap_err().to_string();
        assert!(text.contains("https://") && text.contains("need --s3"), "{text}");
    }
}
