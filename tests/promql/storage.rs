//! Samples in memory, as a storage hands them to the engine.

use crate::series::{Value, labels, starts, values};
use monocle::metrics::METRIC_NAME;
use monocle::metrics::promql::{Histogram, HistogramSample, Interval, ResetHint, SeriesData, Storage};
use monocle::model::{Labels, Matcher, TenantId};
use monocle::query::{Context, QueryError};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub struct Memory {
    series: BTreeMap<Labels, SeriesData>,
    context: Context,
}

impl Default for Memory {
    fn default() -> Memory {
        let context = Context::new(TenantId::default_tenant(), Duration::from_secs(3600), u64::MAX / 2);
        Memory { series: BTreeMap::new(), context }
    }
}

impl Memory {
    /// Appends the lines of a `load` block; `gap` in milliseconds.
    pub fn load(&mut self, gap: i64, with_nhcb: bool, lines: &[String]) -> Result<(), String> {
        let mut block: BTreeMap<Labels, SeriesData> = BTreeMap::new();
        let mut pending: Vec<Option<i64>> = Vec::new();
        for line in lines {
            let first = line.split_whitespace().next().unwrap_or("");
            if let Some(name) = first.strip_suffix("@st") {
                pending = starts(&line[name.len() + 3..])?;
                continue;
            }
            let (labels, rest) = labels(line)?;
            let mut data = SeriesData::new(labels.clone());
            let mut used = false;
            for (at, value) in values(rest)?.into_iter().enumerate() {
                let ts = at as i64 * gap;
                let start = pending.get(at).copied().flatten().map_or(0, |relative| ts + relative);
                used |= start != 0;
                match value {
                    Value::Gap => {}
                    Value::Float(value) => {
                        data.ts.push(ts);
                        data.values.push(value);
                        data.starts.push(start);
                    }
                    Value::Histogram(histogram, _) => data.histograms.push(HistogramSample { ts, start, histogram: Arc::new(histogram) }),
                }
            }
            if !used {
                data.starts.clear();
            }
            pending.clear();
            block.insert(labels, data);
        }
        if with_nhcb {
            let made = custom_histograms(&block);
            block.extend(made);
        }
        for (labels, data) in block {
            match self.series.get_mut(&labels) {
                Some(known) => known.append_later(data),
                None => {
                    self.series.insert(labels, data);
                }
            }
        }
        Ok(())
    }

    /// Gives histograms the hints that a storage in chunks would.
    pub fn with_hints(&self) -> Memory {
        Memory { series: self.series.iter().map(|(l, d)| (l.clone(), hinted(d))).collect(), ..Memory::default() }
    }
}

fn hinted(data: &SeriesData) -> SeriesData {
    let mut data = data.clone();
    let floats = data.ts.clone();
    let mut before: Option<(i64, Histogram)> = None;
    for sample in &mut data.histograms {
        let original = (*sample.histogram).clone();
        if original.hint == ResetHint::Gauge {
            before = Some((sample.ts, original));
            continue;
        }
        let same_run = before.as_ref().is_some_and(|(ts, b)| {
            let float_between = floats.iter().any(|f| f > ts && *f < sample.ts);
            let layout = b.schema == original.schema && b.zero_threshold == original.zero_threshold && b.custom == original.custom;
            !float_between
                && layout
                && b.hint != ResetHint::Gauge
                && !b.is_stale()
                && !original.is_stale()
                && original.hint != ResetHint::Reset
                && !Histogram { hint: ResetHint::Unknown, ..original.clone() }.is_reset_after(b)
        });
        let hint = if same_run { ResetHint::NotReset } else { ResetHint::Unknown };
        sample.histogram = Arc::new(Histogram { hint, ..original.clone() });
        before = Some((sample.ts, original));
    }
    data
}

/// Custom-bucket histograms from classic ones (`load_with_nhcb`).
fn custom_histograms(block: &BTreeMap<Labels, SeriesData>) -> BTreeMap<Labels, SeriesData> {
    #[derive(Default)]
    struct Parts {
        buckets: Vec<(f64, f64)>,
        sum: Option<f64>,
        count: Option<f64>,
    }
    let mut parts: BTreeMap<Labels, BTreeMap<i64, Parts>> = BTreeMap::new();
    for (labels, data) in block {
        let name = labels.value(METRIC_NAME);
        let Some((base, kind)) = ["_bucket", "_sum", "_count"].iter().find_map(|s| Some((name.strip_suffix(s)?, *s))) else { continue };
        let bound = match labels.get("le") {
            Some(text) if kind == "_bucket" => crate::series::number(text),
            Some(_) => continue,
            None if kind == "_bucket" => continue,
            None => None,
        };
        if kind == "_bucket" && bound.is_none_or(f64::is_nan) {
            continue;
        }
        let mut builder = labels.to_builder();
        let labels = builder.remove("le").set(METRIC_NAME, base).build();
        let times = parts.entry(labels).or_default();
        for (ts, value) in data.ts.iter().zip(data.values.iter()) {
            let part = times.entry(*ts).or_default();
            match kind {
                "_bucket" => part.buckets.push((bound.unwrap_or(f64::NAN), *value)),
                "_sum" => part.sum = Some(*value),
                _ => part.count = Some(*value),
            }
        }
    }
    let mut made = BTreeMap::new();
    for (labels, times) in parts {
        let mut data = SeriesData::new(labels.clone());
        for (ts, mut part) in times {
            part.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
            let last = part.buckets.last().copied();
            let count = part.count.or(last.map(|b| b.1)).unwrap_or(0.0);
            if last.is_none_or(|b| b.0 != f64::INFINITY) {
                part.buckets.push((f64::INFINITY, count));
            }
            let custom: Arc<[f64]> = part.buckets.iter().map(|b| b.0).filter(|b| b.is_finite()).collect();
            let mut before = 0.0;
            let mut positive = Vec::new();
            for (at, (_, cumulative)) in part.buckets.iter().enumerate() {
                positive.push((at as i32, cumulative - before));
                before = *cumulative;
            }
            positive.retain(|b| b.1 != 0.0);
            let histogram = Histogram { schema: -53, count, sum: part.sum.unwrap_or(0.0), positive, custom, ..Histogram::default() };
            data.histograms.push(HistogramSample { ts, start: 0, histogram: Arc::new(histogram) });
        }
        made.insert(labels, data);
    }
    made
}

impl Storage for Memory {
    fn select(&self, matchers: &[Matcher], interval: Interval) -> Result<Vec<SeriesData>, QueryError> {
        let selected = self.series.values().filter(|d| matchers.iter().all(|m| m.matches(d.labels.value(&m.name))));
        let mut result = Vec::new();
        for data in selected {
            let mut part = SeriesData::new(data.labels.clone());
            for (at, ts) in data.ts.iter().enumerate().filter(|(_, ts)| interval.contains(**ts)) {
                part.ts.push(*ts);
                part.values.push(data.values[at]);
                if let Some(start) = data.starts.get(at) {
                    part.starts.push(*start);
                }
            }
            part.histograms = data.histograms.iter().filter(|h| interval.contains(h.ts)).cloned().collect();
            if !part.is_empty() {
                result.push(part);
            }
        }
        Ok(result)
    }

    fn context(&self) -> &Context {
        &self.context
    }
}
