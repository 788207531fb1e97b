use super::erase::{Eraser, Hidden};
use super::series::{SeriesTable, map_entries};
use super::{Querier, nanos};
use crate::metrics::promql::Interval;
use crate::metrics::rows::Exemplar;
use crate::metrics::schema;
use crate::model::{Labels, LabelsBuilder, Matcher, SpanId, TraceId};
use crate::query::QueryError;
use crate::storage::block::Block;
use crate::storage::{Predicate, Scan, Value};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, TimestampMillisecondType};
use arrow_array::{Array, RecordBatch};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Series with their exemplars in order of time.
pub type SeriesExemplars = BTreeMap<Labels, Vec<Exemplar>>;

impl Querier {
    /// Exemplars in the interval of all series that satisfy the matchers. Equal ones are given once.
    pub fn exemplars(&self, matchers: &[Matcher], interval: Interval) -> Result<SeriesExemplars, QueryError> {
        let mut all = SeriesExemplars::new();
        for block in self.view.blocks_in(nanos(interval)) {
            self.context.check()?;
            read_block(block, &self.erasers(block), (matchers, interval), &mut all)?;
        }
        for head in &self.view.heads {
            self.context.check()?;
            head.exemplars::<QueryError>(matchers, |labels, exemplars| {
                let inside = exemplars.into_iter().filter(|e| interval.contains(e.ts));
                all.entry(labels).or_default().extend(inside);
                Ok(())
            })?;
        }
        all.retain(|_, exemplars| {
            exemplars.sort_by_key(|e| e.ts);
            exemplars.dedup();
            !exemplars.is_empty()
        });
        Ok(all)
    }
}

fn read_block(
    block: &Arc<Block>,
    erasers: &[Eraser],
    (matchers, interval): (&[Matcher], Interval),
    all: &mut SeriesExemplars,
) -> Result<(), QueryError> {
    let Some(table) = block.table(schema::EXEMPLARS)? else { return Ok(()) };
    let series = SeriesTable::of(block)?;
    let labels: HashMap<i64, (&Labels, Hidden)> =
        series.select(matchers).map(|s| (s.id, (&s.labels, Hidden::of(erasers, &s.labels)))).collect();
    if labels.is_empty() {
        return Ok(());
    }
    let time = Predicate::Between { column: "ts".to_owned(), min: interval.from, max: interval.to };
    let mut scan = Scan::default().with(time);
    if labels.len() <= 64 {
        let values = labels.keys().map(|id| Value::Int(*id)).collect();
        scan = scan.with(Predicate::OneOf { column: "series_id".to_owned(), values });
    }
    for batch in table.scan(&scan)? {
        let batch = batch?;
        for row in 0..batch.num_rows() {
            let Some((id, exemplar)) = exemplar(&batch, row) else { continue };
            if let Some((labels, hidden)) = labels.get(&id)
                && !hidden.hides(exemplar.ts)
            {
                all.entry((*labels).clone()).or_default().push(exemplar);
            }
        }
    }
    Ok(())
}

/// The id of its series, and the exemplar.
pub fn exemplar(batch: &RecordBatch, row: usize) -> Option<(i64, Exemplar)> {
    let column = |name: &str| batch.column_by_name(name);
    let bytes = |name: &str| {
        let values = column(name)?.as_fixed_size_binary_opt()?;
        values.is_valid(row).then(|| values.value(row).to_vec())
    };
    let mut labels = LabelsBuilder::default();
    map_entries(batch, "labels", row, |name, value| {
        labels.set(name, value);
    });
    if let Some(id) = bytes("trace_id").and_then(|b| TraceId::from_slice(&b)) {
        labels.set("trace_id", &id.to_hex());
    }
    if let Some(id) = bytes("span_id").and_then(|b| SpanId::from_slice(&b)) {
        labels.set("span_id", &id.to_hex());
    }
    let id = column("series_id")?.as_primitive_opt::<Int64Type>()?.value(row);
    let ts = column("ts")?.as_primitive_opt::<TimestampMillisecondType>()?.value(row);
    let value = column("value")?.as_primitive_opt::<Float64Type>()?.value(row);
    Some((id, Exemplar { ts, value, labels: labels.build() }))
}
