use crate::metrics::rows::{Exemplar, Metadata, MetricRows, RowSeries, Sample, Value};
use crate::model::{Labels, Reason};
use crate::storage::Refusals;
use std::collections::HashMap;
use std::sync::Arc;

/// Collects one request's rows; a label set is stored once.
#[derive(Default)]
pub(super) struct RowsBuilder {
    rows: MetricRows,
    known: HashMap<Labels, u32>,
    refusals: Refusals,
    next_item: u32,
}

impl RowsBuilder {
    /// Numbers the next data point.
    pub(super) fn next_item(&mut self) -> u32 {
        let item = self.next_item;
        self.next_item += 1;
        item
    }

    pub(super) fn series(&mut self, labels: Labels, metadata: &Arc<Metadata>) -> u32 {
        if let Some(at) = self.known.get(&labels) {
            return *at;
        }
        let at = u32::try_from(self.rows.series.len()).unwrap_or(u32::MAX);
        self.rows.series.push(RowSeries { id: labels.stable_id(), labels: labels.clone(), metadata: Some(metadata.clone()) });
        self.known.insert(labels, at);
        at
    }

    pub(super) fn sample(&mut self, series: u32, item: u32, (ts, start): (i64, i64), value: Value) {
        self.rows.samples.push(Sample { series, item, ts, start, value });
    }

    pub(super) fn exemplar(&mut self, series: u32, item: u32, exemplar: Exemplar) {
        self.rows.exemplars.push((series, item, exemplar));
    }

    pub(super) fn refuse(&mut self, item: u32, reason: Reason, message: impl FnOnce() -> String) {
        self.refusals.refuse(item, reason, message);
    }

    pub(super) fn finish(self) -> (MetricRows, Refusals) {
        (self.rows, self.refusals)
    }
}
