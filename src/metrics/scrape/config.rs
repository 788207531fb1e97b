//! What is scraped: a `[[scrape]]` table each, with the names of Prometheus's `scrape_config`, so that one can be copied.
//! Source: prometheus.io "Configuration", scrape_config.

use super::exposition::{Names, Protocol};
use super::fetch;
use super::fields::Fields;
use super::relabel::Rule;
use super::target::{self, Pool};
use crate::model::TenantId;
use crate::model::time::parse_prometheus_duration;
use crate::web::Tls;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The longest wait for a target, where nothing else is said and the interval is not shorter.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The largest exposition, decompressed, where nothing else is said: some 500,000 samples.
const BODY_MAX_BYTES: u64 = 64 << 20;

/// All that is scraped.
#[derive(Debug, Clone, Default)]
pub struct Config {
    pub pools: Vec<Pool>,
}

/// The job under which monocle stores its own metrics.
const OWN_JOB: &str = "monocle";

/// What the targets of one job have in common.
#[derive(Debug, Clone)]
pub struct Job {
    pub name: String,
    pub tenant: TenantId,
    pub interval: Duration,
    pub timeout: Duration,
    pub scheme: &'static str,
    pub path: String,
    pub params: BTreeMap<String, Vec<String>>,
    pub honor_labels: bool,
    pub honor_timestamps: bool,
    /// Whether series whose samples bring their own times end when they are missing.
    pub track_timestamps_staleness: bool,
    pub relabel: Vec<Rule>,
    pub metric_relabel: Vec<Rule>,
    pub limits: Limits,
    pub exposition: Exposition,
    pub client: Client,
    /// Also write the series about the scrape's own limits.
    pub extra_metrics: bool,
}

/// Of one scrape; 0 is none.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    pub samples: u64,
    pub labels: u64,
    pub label_name_bytes: u64,
    pub label_value_bytes: u64,
    pub body_bytes: u64,
}

/// What is asked for, and how it is understood.
#[derive(Debug, Clone)]
pub struct Exposition {
    /// In order of preference.
    pub protocols: Vec<Protocol>,
    /// For answers whose content type says nothing.
    pub fallback: Option<Protocol>,
    pub names: Names,
    /// How names that are not of the old form are to be written by the target.
    pub escaping: &'static str,
    pub native_histograms: bool,
    pub always_classic: bool,
}

/// How a target is asked.
#[derive(Debug, Clone)]
pub struct Client {
    pub follow_redirects: bool,
    pub compression: bool,
    pub auth: Option<Auth>,
    pub headers: Vec<(String, String)>,
    pub tls: Tls,
}

#[derive(Clone, Debug)]
pub enum Auth {
    Basic {
        username: String,
        password: Secret,
    },
    /// The scheme, such as `Bearer`, and what follows it.
    Header {
        scheme: String,
        credentials: Secret,
    },
}

/// Never printed.
#[derive(Clone)]
pub enum Secret {
    Text(String),
    /// Read anew for every scrape.
    File(PathBuf),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Secret::Text(_) => f.write_str("<secret>"),
            Secret::File(path) => write!(f, "{path:?}"),
        }
    }
}

impl Config {
    /// From the `[[scrape]]` tables. `interval` is for jobs that name none; `tenants` is whether they may name a tenant;
    /// `own` is the address under which monocle stores what it exposes of itself, if it does.
    pub fn read(tables: &[Value], interval: Duration, tenants: bool, own: Option<String>, mistakes: &mut Vec<String>) -> Config {
        let mut names = HashSet::new();
        let mut pools = Vec::new();
        let own = own.map(|address| json!({ "job_name": OWN_JOB, "targets": [address] }));
        for (at, table) in tables.iter().chain(&own).enumerate() {
            let name = table.get("job_name").and_then(Value::as_str);
            let place = name.map_or_else(|| format!("scrape[{at}]"), |name| format!("scrape {name:?}"));
            let mut fields = Fields::of(place, table.clone(), mistakes);
            let groups = target::groups(&mut fields);
            let job = Arc::new(job(&mut fields, interval, tenants));
            if !names.insert(job.name.clone()) {
                fields.mistake(format!("found multiple scrape configs with job name {:?}", job.name));
            }
            if let Err(error) = fetch::check(&job.client) {
                fields.mistake(error);
            }
            let pool = Pool { is_own: at == tables.len(), ..Pool::new(&job, &groups) };
            pool.mistakes.iter().for_each(|mistake| fields.mistake(mistake.clone()));
            fields.finish();
            pools.push(pool);
        }
        Config { pools }
    }

    pub fn is_empty(&self) -> bool {
        self.pools.is_empty()
    }
}

fn job(fields: &mut Fields<'_>, default_interval: Duration, tenants: bool) -> Job {
    let name: String = fields.take("job_name").unwrap_or_default();
    if name.is_empty() {
        fields.mistake("job_name is empty".to_owned());
    }
    let interval = duration(fields, "scrape_interval").unwrap_or(default_interval);
    let timeout = duration(fields, "scrape_timeout");
    if timeout.is_some_and(|timeout| timeout > interval) {
        fields.mistake("scrape_timeout is greater than scrape_interval".to_owned());
    }
    let tenant: Option<String> = fields.take("tenant");
    if tenant.is_some() && !tenants {
        fields.mistake("tenant needs --tenancy header".to_owned());
    }
    let tenant = tenant.map(|text| TenantId::parse(&text).map_err(|error| fields.mistake(format!("tenant: {error}"))));
    Job {
        name,
        tenant: tenant.and_then(Result::ok).unwrap_or_else(TenantId::default_tenant),
        interval,
        timeout: timeout.unwrap_or(TIMEOUT.min(interval)),
        scheme: fields.word("scheme", &[("http", "http"), ("https", "https")]),
        path: fields.take("metrics_path").unwrap_or_else(|| "/metrics".to_owned()),
        params: fields.take("params").unwrap_or_default(),
        honor_labels: fields.flag("honor_labels", false),
        honor_timestamps: fields.flag("honor_timestamps", true),
        track_timestamps_staleness: fields.flag("track_timestamps_staleness", false),
        relabel: fields.tables("relabel_configs", Rule::read).into_iter().flatten().collect(),
        metric_relabel: fields.tables("metric_relabel_configs", Rule::read).into_iter().flatten().collect(),
        limits: limits(fields),
        exposition: exposition(fields),
        client: client(fields),
        extra_metrics: fields.flag("extra_scrape_metrics", false),
    }
}

fn duration(fields: &mut Fields<'_>, key: &str) -> Option<Duration> {
    let text: String = fields.take(key)?;
    match parse_prometheus_duration(&text) {
        Some(nanos) if nanos >= 1_000_000 => Some(Duration::from_nanos(nanos.unsigned_abs())),
        _ => {
            fields.mistake(format!("{key}: expected a duration such as 15s or 1m30s, got {text:?}"));
            None
        }
    }
}

fn limits(fields: &mut Fields<'_>) -> Limits {
    let mut count = |key| fields.take::<u64>(key).unwrap_or(0);
    let (samples, labels) = (count("sample_limit"), count("label_limit"));
    let (label_name_bytes, label_value_bytes) = (count("label_name_length_limit"), count("label_value_length_limit"));
    let body = fields.take::<Value>("body_size_limit");
    let body_bytes = match body {
        None => BODY_MAX_BYTES,
        Some(said) => {
            let bytes = said.as_u64().or_else(|| crate::model::number::parse_size(said.as_str()?)).filter(|bytes| *bytes > 0);
            if bytes.is_none() {
                fields.mistake(format!("body_size_limit: expected a size such as 16MiB, got {said}"));
            }
            bytes.unwrap_or(BODY_MAX_BYTES)
        }
    };
    Limits { samples, labels, label_name_bytes, label_value_bytes, body_bytes }
}

fn exposition(fields: &mut Fields<'_>) -> Exposition {
    let native_histograms = fields.flag("scrape_native_histograms", false);
    let protocols: Option<Vec<String>> = fields.take("scrape_protocols");
    let mut read = |key: &str, name: &str| {
        let protocol = Protocol::named(name);
        if protocol.is_none() {
            let known: Vec<&str> = Protocol::ALL.iter().map(|p| p.name()).collect();
            fields.mistake(format!("{key}: unknown scrape protocol {name:?}, supported: {}", known.join(", ")));
        }
        protocol
    };
    let protocols = match protocols {
        Some(names) => names.iter().filter_map(|name| read("scrape_protocols", name)).collect(),
        // Native histograms have no text form.
        None if native_histograms => Protocol::ALL.to_vec(),
        None => Protocol::ALL[1..].to_vec(),
    };
    let fallback: Option<String> = fields.take("fallback_scrape_protocol");
    let fallback = fallback.and_then(|name| {
        let protocol = Protocol::named(&name);
        if protocol.is_none() {
            fields.mistake(format!("fallback_scrape_protocol: unknown scrape protocol {name:?}"));
        }
        protocol
    });
    let names = fields.word("metric_name_validation_scheme", &[("utf8", Names::Utf8), ("legacy", Names::Legacy)]);
    let escapings = ["allow-utf-8", "underscores", "dots", "values"].map(|word| (word, word));
    // The first is the default: a target must not send what is not taken.
    let escapings = if names == Names::Legacy { &escapings[1..] } else { &escapings[..] };
    if fields.flag("convert_classic_histograms_to_nhcb", false) {
        fields.mistake("convert_classic_histograms_to_nhcb: can only be false: classic histograms are kept as they come".to_owned());
    }
    Exposition {
        protocols,
        fallback,
        names,
        escaping: fields.word("metric_name_escaping_scheme", escapings),
        native_histograms,
        always_classic: fields.flag("always_scrape_classic_histograms", false),
    }
}

fn client(fields: &mut Fields<'_>) -> Client {
    let headers: BTreeMap<String, String> = fields.take("http_headers").unwrap_or_default();
    Client {
        follow_redirects: fields.flag("follow_redirects", true),
        compression: fields.flag("enable_compression", true),
        auth: auth(fields),
        headers: headers.into_iter().collect(),
        tls: tls(fields),
    }
}

fn secret(fields: &mut Fields<'_>, key: &str) -> Option<Secret> {
    let file_key = format!("{key}_file");
    let (text, file): (Option<String>, Option<PathBuf>) = (fields.take(key), fields.take(&file_key));
    match (text, file) {
        (Some(_), Some(_)) => {
            fields.mistake(format!("at most one of {key} & {file_key} must be configured"));
            None
        }
        (Some(text), None) => Some(Secret::Text(text)),
        (None, file) => file.map(Secret::File),
    }
}

fn auth(fields: &mut Fields<'_>) -> Option<Auth> {
    let mut found = Vec::new();
    if let Some(mut basic) = fields.table("basic_auth") {
        let username = basic.take("username").unwrap_or_default();
        let password = secret(&mut basic, "password").unwrap_or_else(|| Secret::Text(String::new()));
        basic.finish();
        found.push(Auth::Basic { username, password });
    }
    if let Some(mut header) = fields.table("authorization") {
        let scheme: String = header.take("type").unwrap_or_else(|| "Bearer".to_owned());
        match secret(&mut header, "credentials") {
            Some(_) if scheme.eq_ignore_ascii_case("basic") => {
                header.mistake("authorization type cannot be set to \"basic\", use \"basic_auth\" instead".to_owned());
            }
            Some(credentials) => found.push(Auth::Header { scheme, credentials }),
            None => header.mistake("needs credentials or credentials_file".to_owned()),
        }
        header.finish();
    }
    if let Some(credentials) = secret(fields, "bearer_token") {
        found.push(Auth::Header { scheme: "Bearer".to_owned(), credentials });
    }
    if found.len() > 1 {
        fields.mistake("at most one of basic_auth, authorization & bearer_token must be configured".to_owned());
    }
    found.pop()
}

fn tls(fields: &mut Fields<'_>) -> Tls {
    let Some(mut table) = fields.table("tls_config") else { return Tls::default() };
    let tls = Tls {
        ca_file: table.take("ca_file"),
        cert_file: table.take("cert_file"),
        key_file: table.take("key_file"),
        server_name: table.take("server_name"),
        insecure_skip_verify: table.flag("insecure_skip_verify", false),
    };
    if tls.cert_file.is_some() != tls.key_file.is_some() {
        table.mistake("cert_file and key_file need each other".to_owned());
    }
    table.finish();
    tls
}
