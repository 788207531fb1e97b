//! Which targets a job has, once relabelled.

use super::config::Job;
use super::fields::Fields;
use super::relabel::relabel;
use crate::model::time::{format_prometheus_duration, parse_prometheus_duration};
use crate::model::{Labels, LabelsBuilder};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// Targets that share labels, as the user listed them.
#[derive(Debug, Clone)]
pub struct Group {
    pub targets: Vec<String>,
    pub labels: BTreeMap<String, String>,
}

/// The targets of one job.
#[derive(Debug, Clone)]
pub struct Pool {
    pub job: Arc<Job>,
    /// Its one target is monocle itself.
    pub is_own: bool,
    pub active: Vec<Target>,
    /// The labels of those that relabelling dropped, as they were before it.
    pub dropped: Vec<Labels>,
    /// Why others are none.
    pub mistakes: Vec<String>,
}

#[derive(Debug, Clone)]
pub struct Target {
    pub job: Arc<Job>,
    /// Before relabelling.
    pub discovered: Labels,
    /// What every sample gets.
    pub labels: Labels,
    pub url: Url,
    pub interval: Duration,
    pub timeout: Duration,
}

/// `targets` and `labels` of the job itself, and of its `static_configs`.
pub(super) fn groups(fields: &mut Fields<'_>) -> Vec<Group> {
    let group = |fields: &mut Fields<'_>| Group {
        targets: fields.take("targets").unwrap_or_default(),
        labels: fields.take("labels").unwrap_or_default(),
    };
    let own = group(fields);
    let mut groups = fields.tables("static_configs", |mut fields| {
        let read = group(&mut fields);
        fields.finish();
        read
    });
    groups.push(own);
    groups.retain(|group| !group.targets.is_empty());
    if groups.is_empty() {
        fields.mistake("there are no targets".to_owned());
    }
    groups
}

impl Pool {
    pub fn new(job: &Arc<Job>, groups: &[Group]) -> Pool {
        let mut pool = Pool { job: job.clone(), is_own: false, active: Vec::new(), dropped: Vec::new(), mistakes: Vec::new() };
        let mut seen = HashSet::new();
        for group in groups {
            for address in &group.targets {
                let discovered = discovered(job, address, &group.labels);
                match Target::new(job, discovered.clone()) {
                    // The same twice is one.
                    Ok(Some(target)) => {
                        if seen.insert((target.labels.clone(), target.url.clone())) {
                            pool.active.push(target);
                        }
                    }
                    Ok(None) => pool.dropped.push(discovered),
                    Err(mistake) => pool.mistakes.push(format!("target {address:?}: {mistake}")),
                }
            }
        }
        pool
    }
}

const PARAM: &str = "__param_";

fn discovered(job: &Job, address: &str, group: &BTreeMap<String, String>) -> Labels {
    let text = |duration: Duration| format_prometheus_duration(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX));
    let mut labels = LabelsBuilder::default();
    labels.set("job", &job.name).set("__metrics_path__", &job.path).set("__scheme__", job.scheme);
    labels.set("__scrape_interval__", &text(job.interval)).set("__scrape_timeout__", &text(job.timeout));
    for (name, values) in &job.params {
        labels.set(&format!("{PARAM}{name}"), values.first().map_or("", String::as_str));
    }
    for (name, value) in group {
        labels.set(name, value);
    }
    labels.set("__address__", address);
    labels.build()
}

impl Target {
    /// `None` if relabelling drops it.
    pub fn new(job: &Arc<Job>, discovered: Labels) -> Result<Option<Target>, String> {
        let mut labels = discovered.to_builder();
        if !relabel(&job.relabel, &mut labels) {
            return Ok(None);
        }
        let get = |name: &str| labels.get(name).unwrap_or("");
        let address = get("__address__").to_owned();
        if address.is_empty() {
            return Err("no address".to_owned());
        }
        if address.contains('/') {
            return Err(format!("{address:?} is not a valid hostname"));
        }
        let time = |name: &str| {
            let nanos = parse_prometheus_duration(get(name)).filter(|nanos| *nanos > 0);
            nanos.map(|nanos| Duration::from_nanos(nanos.unsigned_abs())).ok_or_else(|| format!("{name} is {:?}", get(name)))
        };
        let (interval, timeout) = (time("__scrape_interval__")?, time("__scrape_timeout__")?);
        if timeout > interval {
            return Err("scrape timeout cannot be greater than scrape interval".to_owned());
        }
        let url = url(job, &labels, &address)?;
        if labels.get("instance").is_none() {
            labels.set("instance", &address);
        }
        let labels = labels.build().filtered(|name| !name.starts_with("__"));
        Ok(Some(Target { job: job.clone(), discovered, labels, url, interval, timeout }))
    }

    /// When within every interval it is scraped, so that targets do not all come at once. Nanoseconds.
    pub fn offset(&self) -> i64 {
        let text = format!("{}\u{ff}{}", self.labels, self.url);
        let hash = xxhash_rust::xxh3::xxh3_64(text.as_bytes());
        let interval = u64::try_from(self.interval.as_nanos()).unwrap_or(u64::MAX).max(1);
        i64::try_from(hash % interval).unwrap_or(0)
    }
}

fn url(job: &Job, labels: &LabelsBuilder, address: &str) -> Result<Url, String> {
    let get = |name: &str| labels.get(name).unwrap_or("");
    let scheme = get("__scheme__");
    if scheme != "http" && scheme != "https" {
        return Err(format!("scheme {scheme:?} is neither http nor https"));
    }
    let path = get("__metrics_path__");
    let slash = if path.starts_with('/') { "" } else { "/" };
    let mut url = Url::parse(&format!("{scheme}://{address}{slash}{path}")).map_err(|error| error.to_string())?;
    let mut params = job.params.clone();
    for (name, value) in labels.iter().filter_map(|(name, value)| Some((name.strip_prefix(PARAM)?, value))) {
        let values = params.entry(name.to_owned()).or_default();
        match values.first_mut() {
            Some(first) => value.clone_into(first),
            None => values.push(value.to_owned()),
        }
    }
    if !params.is_empty() {
        let mut pairs = url.query_pairs_mut();
        for (name, values) in &params {
            values.iter().for_each(|value| {
                pairs.append_pair(name, value);
            });
        }
    }
    Ok(url)
}
