use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;

/// Limits of one tenant, in the words of `--tenant-rate` and its like; `off` is no limit.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct TenantSettings {
    #[serde(deserialize_with = "text")]
    pub rate: Option<String>,
    #[serde(deserialize_with = "text")]
    pub series: Option<String>,
    #[serde(deserialize_with = "text")]
    pub streams: Option<String>,
}

/// Text, or a number as its text.
fn text<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Said {
        Number(u64),
        Text(String),
    }
    Ok(match Said::deserialize(from)? {
        Said::Number(number) => Some(number.to_string()),
        Said::Text(text) => Some(text),
    })
}

/// What the user says, as text: flags, environment and file have the same names. `None` where nothing was said.
#[derive(Debug, Clone, Default, clap::Args, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Settings {
    /// Directory for everything that is stored [default: ./monocle-data]
    #[arg(long, env = "MONOCLE_DATA", help_heading = "Where", value_name = "DIR")]
    pub data: Option<String>,

    /// Host or address of every listener that does not name its own [default: 127.0.0.1]
    #[arg(long, env = "MONOCLE_LISTEN", help_heading = "Where", value_name = "HOST")]
    pub listen: Option<String>,

    /// OTLP over gRPC: PORT, HOST:PORT or off; port 0 picks a free one [default: 4317]
    #[arg(long, env = "MONOCLE_OTLP_GRPC", help_heading = "Listeners", value_name = "ADDR")]
    pub otlp_grpc: Option<String>,

    /// OTLP over HTTP [default: 4318]
    #[arg(long, env = "MONOCLE_OTLP_HTTP", help_heading = "Listeners", value_name = "ADDR")]
    pub otlp_http: Option<String>,

    /// All query APIs, at Prometheus's usual port [default: 9090]
    #[arg(long, env = "MONOCLE_PROMETHEUS", help_heading = "Listeners", value_name = "ADDR")]
    pub prometheus: Option<String>,

    /// All query APIs, at Loki's usual port [default: 3100]
    #[arg(long, env = "MONOCLE_LOKI", help_heading = "Listeners", value_name = "ADDR")]
    pub loki: Option<String>,

    /// All query APIs, at Tempo's usual port [default: 3200]
    #[arg(long, env = "MONOCLE_TEMPO", help_heading = "Listeners", value_name = "ADDR")]
    pub tempo: Option<String>,

    /// The web page; if this port is taken, monocle goes on without it [default: 3000]
    #[arg(long, env = "MONOCLE_WEB", help_heading = "Listeners", value_name = "ADDR")]
    pub web: Option<String>,

    /// Also answer health checks of the OpenTelemetry Collector's kind here [default: off]
    #[arg(long, env = "MONOCLE_OTEL_HEALTH", help_heading = "Listeners", value_name = "ADDR")]
    pub otel_health: Option<String>,

    /// Take Zipkin's spans, version 2, here; usually 9411 [default: off]
    #[arg(long, env = "MONOCLE_ZIPKIN", help_heading = "Listeners", value_name = "ADDR")]
    pub zipkin: Option<String>,

    /// Take Jaeger's spans as Thrift over HTTP here; usually 14268 [default: off]
    #[arg(long, env = "MONOCLE_JAEGER_HTTP", help_heading = "Listeners", value_name = "ADDR")]
    pub jaeger_http: Option<String>,

    /// Take Jaeger's spans over gRPC here; usually 14250 [default: off]
    #[arg(long, env = "MONOCLE_JAEGER_GRPC", help_heading = "Listeners", value_name = "ADDR")]
    pub jaeger_grpc: Option<String>,

    /// How long data is kept, by its own time: 30d, 12h, or off to keep everything
    /// [default: 30d for logs and traces, 395d for metrics]
    #[arg(long, env = "MONOCLE_RETENTION", help_heading = "What is kept", value_name = "AGE")]
    pub retention: Option<String>,

    /// Overrides --retention for metrics
    #[arg(long, env = "MONOCLE_RETENTION_METRICS", help_heading = "What is kept", value_name = "AGE")]
    pub retention_metrics: Option<String>,

    /// Overrides --retention for logs
    #[arg(long, env = "MONOCLE_RETENTION_LOGS", help_heading = "What is kept", value_name = "AGE")]
    pub retention_logs: Option<String>,

    /// Overrides --retention for traces
    #[arg(long, env = "MONOCLE_RETENTION_TRACES", help_heading = "What is kept", value_name = "AGE")]
    pub retention_traces: Option<String>,

    /// Memory to plan with, such as 512MiB [default: a quarter of RAM or of the cgroup, within 256MiB and 2GiB]
    #[arg(long, env = "MONOCLE_MEMORY", help_heading = "What is kept", value_name = "SIZE")]
    pub memory: Option<String>,

    /// Everything that is stored here, at most: the oldest goes first; with --s3 the copies of blocks that are kept here
    /// [default: 20GiB]
    #[arg(long, env = "MONOCLE_DISK", help_heading = "What is kept", value_name = "SIZE")]
    pub disk: Option<String>,

    /// Keep blocks in this bucket as well: s3://BUCKET/PREFIX. --retention then counts for the bucket, and --disk for the
    /// copies here. Keys come from the usual AWS_… variables [default: none]
    #[arg(long, env = "MONOCLE_S3", help_heading = "Bucket", value_name = "URL")]
    pub s3: Option<String>,

    /// Another server than Amazon's, such as http://minio:9000 [default: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL]
    #[arg(long, env = "MONOCLE_S3_ENDPOINT", help_heading = "Bucket", value_name = "URL")]
    pub s3_endpoint: Option<String>,

    /// Region of the bucket [default: AWS_REGION, AWS_DEFAULT_REGION, us-east-1]
    #[arg(long, env = "MONOCLE_S3_REGION", help_heading = "Bucket", value_name = "REGION")]
    pub s3_region: Option<String>,

    /// Name the bucket in the path instead of the host: true or false [default: true with an endpoint]
    #[arg(long, env = "MONOCLE_S3_PATH_STYLE", help_heading = "Bucket", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub s3_path_style: Option<String>,

    /// When a write counts as durable: group (fdatasync), os (survives the process, not the machine), none
    /// [default: group]
    #[arg(long, env = "MONOCLE_WAL_SYNC", help_heading = "What is kept", value_name = "MODE")]
    pub wal_sync: Option<String>,

    /// How long rows may stay in memory and write-ahead log before they are cut into blocks [default: 5m]
    #[arg(long, env = "MONOCLE_CUT_AFTER", help_heading = "What is kept", value_name = "AGE")]
    pub cut_after: Option<String>,

    /// Bytes of one trace; further spans are refused, and answers go up to it [default: 5000000]
    #[arg(long, env = "MONOCLE_TRACE_MAX_BYTES", help_heading = "Bounds", value_name = "SIZE")]
    pub trace_max_bytes: Option<String>,

    /// Spans of one trace [default: 100000]
    #[arg(long, env = "MONOCLE_TRACE_MAX_SPANS", help_heading = "Bounds", value_name = "COUNT")]
    pub trace_max_spans: Option<String>,

    /// Spans of one request [default: 500000]
    #[arg(long, env = "MONOCLE_REQUEST_MAX_SPANS", help_heading = "Bounds", value_name = "COUNT")]
    pub request_max_spans: Option<String>,

    /// Bytes of one attribute value of a span; a span with a longer one is refused [default: 256KiB]
    #[arg(long, env = "MONOCLE_ATTRIBUTE_MAX_BYTES", help_heading = "Bounds", value_name = "SIZE")]
    pub attribute_max_bytes: Option<String>,

    /// Clients of one tenant that may follow log lines at the same time [default: 10]
    #[arg(long, env = "MONOCLE_TAILS_MAX", help_heading = "Bounds", value_name = "COUNT")]
    pub tails_max: Option<String>,

    /// How long a delete of log lines can be taken back; they are hidden at once, and go out of the files after it [default: 1d]
    #[arg(long, env = "MONOCLE_DELETE_CANCEL_WITHIN", help_heading = "What is kept", value_name = "AGE")]
    pub delete_cancel_within: Option<String>,

    /// Whether span metrics and the service graph are derived from spans: on or off [default: on]
    #[arg(long, env = "MONOCLE_DERIVE", help_heading = "From traces to metrics", value_name = "MODE")]
    pub derive: Option<String>,

    /// How often derived metrics are written [default: 15s]
    #[arg(long, env = "MONOCLE_DERIVE_INTERVAL", help_heading = "From traces to metrics", value_name = "DURATION")]
    pub derive_interval: Option<String>,

    /// Attributes that become labels of span metrics, with commas between them [default: none]
    #[arg(long, env = "MONOCLE_DERIVE_DIMENSIONS", help_heading = "From traces to metrics", value_name = "NAMES")]
    pub derive_dimensions: Option<String>,

    /// Series that derived metrics may have; spans that would need more are not counted in them [default: 100000]
    #[arg(long, env = "MONOCLE_DERIVE_MAX_SERIES", help_heading = "From traces to metrics", value_name = "COUNT")]
    pub derive_max_series: Option<String>,

    /// What to scrape, one table a job with the names of Prometheus's scrape_config; in the file only
    #[arg(skip)]
    pub scrape: Option<Vec<serde_json::Value>>,

    /// How often targets are scraped that do not say so themselves [default: 1m]
    #[arg(long, env = "MONOCLE_SCRAPE_INTERVAL", help_heading = "Scraping and forwarding", value_name = "DURATION")]
    pub scrape_interval: Option<String>,

    /// Also store monocle's own metrics, those of /metrics: on or off [default: off]
    #[arg(long, env = "MONOCLE_SELF_SCRAPE", help_heading = "Scraping and forwarding", value_name = "MODE", num_args = 0..=1, default_missing_value = "on")]
    pub self_scrape: Option<String>,

    /// Whether what OTLP brings is also sent on, over HTTP or gRPC, to where OTEL_EXPORTER_OTLP_ENDPOINT and its kin say: on or off
    /// [default: on where they say so]
    #[arg(long, env = "MONOCLE_FORWARD", help_heading = "Scraping and forwarding", value_name = "MODE")]
    pub forward: Option<String>,

    /// The variables of OpenTelemetry's exporters, by name.
    #[arg(skip)]
    #[serde(skip)]
    pub exporter: BTreeMap<String, String>,

    /// off: one tenant; header: X-Scope-OrgID names it [default: off]
    #[arg(long, env = "MONOCLE_TENANCY", help_heading = "Who, and what is said", value_name = "MODE")]
    pub tenancy: Option<String>,

    /// Decompressed bytes of one signal that one tenant may send in a second, such as 4MiB; more is refused until later
    /// [default: no limit]
    #[arg(long, env = "MONOCLE_TENANT_RATE", help_heading = "Bounds", value_name = "SIZE")]
    pub tenant_rate: Option<String>,

    /// Series of metrics that one tenant may have written within an hour; samples of further ones are refused
    /// [default: no limit]
    #[arg(long, env = "MONOCLE_TENANT_SERIES", help_heading = "Bounds", value_name = "COUNT")]
    pub tenant_series: Option<String>,

    /// Streams of logs that one tenant may have in memory; lines of further ones are refused [default: no limit]
    #[arg(long, env = "MONOCLE_TENANT_STREAMS", help_heading = "Bounds", value_name = "COUNT")]
    pub tenant_streams: Option<String>,

    /// Tables named after tenants that have limits of their own: rate, series, streams; in the file only
    #[arg(skip)]
    pub tenants: Option<BTreeMap<String, TenantSettings>>,

    /// Pages of which origins may read answers of the query APIs: a regular expression for the whole of an origin [default: none]
    #[arg(long, env = "MONOCLE_WEB_CORS_ORIGIN", help_heading = "Who, and what is said", value_name = "REGEXP")]
    pub web_cors_origin: Option<String>,

    /// The longest a query may take [default: 2m]
    #[arg(long, env = "MONOCLE_QUERY_TIMEOUT", help_heading = "Bounds", value_name = "DURATION")]
    pub query_timeout: Option<String>,

    /// Whether /-/flush, deletes and the like are answered: true, false, or auto: where only this machine reaches the query ports
    /// [default: auto]
    #[arg(long, env = "MONOCLE_ADMIN", help_heading = "Who, and what is said", value_name = "MODE", num_args = 0..=1, default_missing_value = "true")]
    pub admin: Option<String>,

    /// Form of the log lines on standard error: text or json [default: text]
    #[arg(long, env = "MONOCLE_LOG_FORMAT", help_heading = "Who, and what is said", value_name = "FORM")]
    pub log_format: Option<String>,

    /// Which log lines: error, warn, info, debug, or a filter such as monocle::storage=debug [default: info]
    #[arg(long, env = "MONOCLE_LOG", help_heading = "Who, and what is said", value_name = "FILTER")]
    pub log: Option<String>,
}

macro_rules! fill {
    ($target:ident, $other:ident, $($field:ident),* $(,)?) => {
        $($target.$field = $target.$field.or($other.$field);)*
    };
}

impl Settings {
    /// What `self` leaves open is taken from `other`.
    pub fn or(mut self, other: Settings) -> Settings {
        fill!(
            self,
            other,
            data,
            listen,
            otlp_grpc,
            otlp_http,
            prometheus,
            loki,
            tempo,
            web,
            otel_health,
            zipkin,
            jaeger_http,
            jaeger_grpc,
            retention,
            retention_metrics,
            retention_logs,
            retention_traces,
            memory,
            disk,
            s3,
            s3_endpoint,
            s3_region,
            s3_path_style,
            wal_sync,
            cut_after,
            trace_max_bytes,
            trace_max_spans,
            request_max_spans,
            attribute_max_bytes,
            tails_max,
            delete_cancel_within,
            derive,
            derive_interval,
            derive_dimensions,
            derive_max_series,
            scrape,
            scrape_interval,
            self_scrape,
            forward,
            tenancy,
            tenant_rate,
            tenant_series,
            tenant_streams,
            tenants,
            web_cors_origin,
            query_timeout,
            admin,
            log_format,
            log,
        );
        self
    }

    /// Whether the knob (the flag without its dashes) is set here.
    pub fn says(&self, knob: &str) -> bool {
        let said = serde_json::to_value(self).unwrap_or_default();
        said.get(knob).is_some_and(|value| !value.is_null())
    }

    /// All knobs, as they are called in the file.
    pub fn names() -> Vec<String> {
        match serde_json::to_value(Settings::default()) {
            Ok(serde_json::Value::Object(fields)) => fields.into_iter().map(|(name, _)| name).collect(),
            _ => Vec::new(),
        }
    }
}
