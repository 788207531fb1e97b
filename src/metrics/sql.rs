//! The tables `metrics` and `exemplars` of SQL. A metric is read at a time, and one with many samples in slices of time.

use super::METRIC_NAME;
use super::is_stale;
use super::promql::{Interval, SeriesData, Storage};
use super::rows::{Exemplar, HistogramSample};
use super::select::{Extent, Querier};
use super::spec::MetricsSpec;
use crate::model::time::MILLI;
use crate::model::{Labels, Matcher, TenantId, TimeRange};
use crate::query::sql::{Cell, ColumnType, Family, Output, Reader, Request, TableSpec, Tables};
use crate::query::{Context, QueryError};
use crate::storage::{Store, View};
use std::sync::Arc;

const METRICS: &str = "metrics";
const EXEMPLARS: &str = "exemplars";

const LABELS: Family = Family { map: "labels", prefix: "label.", is_typed: false };

const SPECS: &[TableSpec] = &[
    TableSpec {
        name: METRICS,
        columns: &[
            ("ts", ColumnType::Time),
            ("name", ColumnType::Text),
            ("labels", ColumnType::Map),
            ("value", ColumnType::Double),
            ("start_ts", ColumnType::Time),
            ("hist_count", ColumnType::Double),
            ("hist_sum", ColumnType::Double),
            ("histogram", ColumnType::Text),
        ],
        time: "ts",
        families: &[LABELS],
    },
    TableSpec {
        name: EXEMPLARS,
        columns: &[
            ("ts", ColumnType::Time),
            ("name", ColumnType::Text),
            ("labels", ColumnType::Map),
            ("value", ColumnType::Double),
            ("trace_id", ColumnType::Text),
            ("span_id", ColumnType::Text),
            ("exemplar_labels", ColumnType::Map),
        ],
        time: "ts",
        families: &[LABELS],
    },
];

/// Samples that are read at a time, about: 24 MiB.
const SLICE_SAMPLES: u64 = 1 << 20;

/// Bytes of an exemplar in memory, about.
const EXEMPLAR_BYTES: u64 = 512;

/// The metrics of a store.
pub struct MetricTables(pub Arc<Store<MetricsSpec>>);

impl Tables for MetricTables {
    fn specs(&self) -> &'static [TableSpec] {
        SPECS
    }

    fn open(&self, tenant: &TenantId) -> Result<Arc<dyn Reader>, QueryError> {
        if !self.0.is_ready() {
            return Err(QueryError::NotReady);
        }
        Ok(Arc::new(Opened { view: Arc::new(self.0.view(tenant)), store: self.0.clone() }))
    }
}

struct Opened {
    view: Arc<View<MetricsSpec>>,
    store: Arc<Store<MetricsSpec>>,
}

enum Column<'a> {
    Ts,
    Name,
    Labels,
    Label(&'a str),
    Value,
    Start,
    Count,
    Sum,
    Histogram,
    Trace,
    Span,
    OwnLabels,
}

impl<'a> Column<'a> {
    fn of(name: &'a str) -> Option<Column<'a>> {
        Some(match name {
            "ts" => Column::Ts,
            "name" => Column::Name,
            "labels" => Column::Labels,
            "value" => Column::Value,
            "start_ts" => Column::Start,
            "hist_count" => Column::Count,
            "hist_sum" => Column::Sum,
            "histogram" => Column::Histogram,
            "trace_id" => Column::Trace,
            "span_id" => Column::Span,
            "exemplar_labels" => Column::OwnLabels,
            other => Column::Label(LABELS.parse(other)?.0),
        })
    }

    /// What a series has the same for all of its samples.
    fn of_series<'b>(&self, labels: &'b Labels) -> Cell<'b> {
        match self {
            Column::Name => Cell::text(labels.value(METRIC_NAME)),
            Column::Labels => pairs(labels, METRIC_NAME),
            Column::Label(name) => Cell::text_or_null(labels.get(name)),
            _ => Cell::Null,
        }
    }
}

fn pairs<'a>(labels: &'a Labels, without: &str) -> Cell<'a> {
    Cell::Map(labels.iter().filter(|(name, _)| *name != without).map(|(name, value)| (name.into(), value.into())).collect())
}

fn matchers(request: &Request) -> Result<Vec<Matcher>, QueryError> {
    let label = |column: &str| if column == "name" { Some(METRIC_NAME.to_owned()) } else { Some(LABELS.parse(column)?.0.to_owned()) };
    let tested = request.equal.iter().filter_map(|(column, values)| Some(Matcher::one_of(label(column)?, values)));
    tested.collect::<Result<_, _>>().map_err(|e| QueryError::Invalid(e.to_string()))
}

/// The whole milliseconds of a range; `None` if there are none.
fn interval(range: TimeRange) -> Option<Interval> {
    let from =
        if range.start == i64::MIN { i64::MIN } else { range.start.div_euclid(MILLI) + i64::from(range.start.rem_euclid(MILLI) != 0) };
    let to = if range.end == i64::MAX { i64::MAX } else { range.end.saturating_sub(1).div_euclid(MILLI) };
    (from <= to).then_some(Interval { from, to })
}

/// Parts of the interval with few enough samples each, as far as blocks tell.
fn slices(interval: Interval, extent: Extent) -> Vec<Interval> {
    let (from, to) = (extent.times.from.max(interval.from), extent.times.to.min(interval.to));
    let count = i64::try_from(extent.samples / SLICE_SAMPLES + 1).unwrap_or(i64::MAX);
    let width = (to.saturating_sub(from) / count + 1).max(1);
    if count < 2 || from >= to {
        return vec![interval];
    }
    let mut slices = Vec::new();
    let mut next = interval.from;
    let mut end = from.saturating_add(width);
    while end <= to {
        slices.push(Interval { from: next, to: end - 1 });
        (next, end) = (end, end.saturating_add(width));
    }
    slices.push(Interval { from: next, to: interval.to });
    slices
}

impl Reader for Opened {
    fn read(&self, request: &Request, context: &Context, out: &mut Output<'_>) -> Result<(), QueryError> {
        let querier = Querier::new(self.view.clone(), context.clone(), self.store.spec().samples().clone());
        let Some(interval) = interval(request.range) else { return Ok(()) };
        let matchers = matchers(request)?;
        let columns: Vec<Column<'_>> = request.columns.iter().filter_map(|name| Column::of(name)).collect();
        // A series has exemplars of times at which it may have no sample.
        let known = if request.table == EXEMPLARS { Interval::ALL } else { interval };
        for (name, extent) in querier.extents(&matchers, known)? {
            let mut matchers = matchers.clone();
            matchers.push(Matcher::equal(METRIC_NAME, &name));
            if request.table == EXEMPLARS {
                exemplars(&querier.part(), &matchers, interval, &columns, out)?;
                continue;
            }
            for slice in slices(interval, extent) {
                for series in querier.part().select(&matchers, slice)? {
                    samples(&series, &columns, out)?;
                }
            }
        }
        Ok(())
    }

    fn warning(&self) -> Option<String> {
        self.view.missing.warning()
    }
}

fn nanos(ms: i64) -> Cell<'static> {
    Cell::Int(ms.saturating_mul(MILLI))
}

/// Staleness markers are no samples.
fn samples(series: &SeriesData, columns: &[Column<'_>], out: &mut Output<'_>) -> Result<(), QueryError> {
    for (at, (ts, value)) in series.ts.iter().zip(series.values.iter()).enumerate().filter(|(_, (_, value))| !is_stale(**value)) {
        out.row(columns.iter().map(|column| match column {
            Column::Ts => nanos(*ts),
            Column::Value => Cell::Double(*value),
            Column::Start => start(series.starts.get(at).copied().unwrap_or(0)),
            other => other.of_series(&series.labels),
        }))?;
    }
    let is_stale_histogram = |sample: &&HistogramSample| is_stale(sample.histogram.sum);
    for sample in series.histograms.iter().filter(|sample| !is_stale_histogram(sample)) {
        out.row(columns.iter().map(|column| match column {
            Column::Ts => nanos(sample.ts),
            Column::Start => start(sample.start),
            Column::Count => Cell::Double(sample.histogram.count),
            Column::Sum => Cell::Double(sample.histogram.sum),
            Column::Histogram => Cell::text(sample.histogram.to_string()),
            other => other.of_series(&series.labels),
        }))?;
    }
    Ok(())
}

fn start(ms: i64) -> Cell<'static> {
    if ms == 0 { Cell::Null } else { nanos(ms) }
}

fn exemplars(
    querier: &Querier,
    matchers: &[Matcher],
    interval: Interval,
    columns: &[Column<'_>],
    out: &mut Output<'_>,
) -> Result<(), QueryError> {
    let found = querier.exemplars(matchers, interval)?;
    querier.context().reserve(found.values().map(|exemplars| exemplars.len() as u64 * EXEMPLAR_BYTES).sum())?;
    for (labels, exemplars) in &found {
        for Exemplar { ts, value, labels: own } in exemplars {
            out.row(columns.iter().map(|column| match column {
                Column::Ts => nanos(*ts),
                Column::Value => Cell::Double(*value),
                Column::Trace => Cell::text_or_null(own.get("trace_id")),
                Column::Span => Cell::text_or_null(own.get("span_id")),
                Column::OwnLabels => pairs(own, ""),
                other => other.of_series(labels),
            }))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_cover_the_interval_once() {
        let extent = |samples, from, to| Extent { samples, times: Interval { from, to } };
        let all = Interval::ALL;
        assert_eq!(slices(all, extent(100, 0, 10)), [all]);
        assert_eq!(slices(all, Extent { samples: 10 * SLICE_SAMPLES, ..Extent::default() }), [all]);
        for (interval, extent) in
            [(all, extent(5 * SLICE_SAMPLES, -7, 1000)), (Interval { from: 3, to: 9 }, extent(100 * SLICE_SAMPLES, 0, 100))]
        {
            let slices = slices(interval, extent);
            assert!(slices.len() > 3);
            assert_eq!((slices[0].from, slices[slices.len() - 1].to), (interval.from, interval.to));
            assert!(slices.windows(2).all(|w| w[0].to + 1 == w[1].from && w[0].from <= w[0].to));
        }
    }

    #[test]
    fn ranges_are_whole_milliseconds() {
        let of = |start, end| interval(TimeRange::new(start, end)).map(|i| (i.from, i.to));
        assert_eq!(of(i64::MIN, i64::MAX), Some((i64::MIN, i64::MAX)));
        assert_eq!(of(1, 3 * MILLI), Some((1, 2)));
        assert_eq!(of(MILLI, MILLI + 1), Some((1, 1)));
        assert_eq!(of(MILLI + 1, 2 * MILLI), None);
    }
}
