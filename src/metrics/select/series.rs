//! The `series` table of a block, decoded once and kept while the block is live.

use crate::metrics::METRIC_NAME;
use crate::metrics::rows::{Metadata, MetricType};
use crate::metrics::schema;
use crate::model::{Labels, LabelsBuilder, MatchOp, Matcher};
use crate::storage::Scan;
use crate::storage::block::{Block, Kept, ReadError};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMillisecondType};
use arrow_array::{Array, RecordBatch, StringArray};
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

/// One series of a block. Times in milliseconds since the epoch, both inclusive.
#[derive(Debug, Clone)]
pub struct SeriesRow {
    pub id: i64,
    /// Orders series by their creation.
    pub created: i64,
    /// Number of the piece in which its rows of `samples` are decoded and kept; none if it has none, or too many.
    pub piece: Option<u32>,
    pub labels: Labels,
    /// Its rows of `samples` and of `hist`.
    pub rows: Range<u64>,
    pub hist_rows: Range<u64>,
    pub min_ts: i64,
    pub max_ts: i64,
    pub metadata: Option<Arc<Metadata>>,
}

/// Sorted by metric name, then labels.
#[derive(Debug, Default)]
pub struct SeriesTable {
    pub rows: Vec<SeriesRow>,
    /// Rows of `samples` that each piece holds.
    pub pieces: Vec<Range<u64>>,
}

/// Rows of samples that are decoded together: whole series, at least so many unless the block ends.
const PIECE_ROWS: u64 = 16_384;

/// Rows of one series that are decoded whole: a day at one a second. Of a series with more, a query reads what it needs.
const PIECE_ROWS_MAX: u64 = 90_000;

impl Kept for SeriesTable {
    fn bytes(&self) -> u64 {
        let rows = self.rows.iter().map(|row| size_of::<SeriesRow>() + row.labels.heap_bytes()).sum::<usize>();
        (rows + self.pieces.len() * size_of::<Range<u64>>()) as u64
    }
}

/// Where a series ends in its block: its last rows of `samples` and of `hist`.
#[derive(Debug, Clone, Copy)]
pub struct End {
    pub id: i64,
    pub row: Option<u64>,
    pub hist_row: Option<u64>,
}

/// The ends of all series of a block, sorted by id. Read without labels: a write that names new series asks every block.
pub struct Ends(Vec<End>);

impl Kept for Ends {
    fn bytes(&self) -> u64 {
        (self.0.len() * size_of::<End>()) as u64
    }
}

impl Ends {
    pub fn of(block: &Arc<Block>) -> Result<Arc<Ends>, ReadError> {
        block.derived("metrics.series_ends", || Ends::read(block))
    }

    fn read(block: &Arc<Block>) -> Result<Ends, ReadError> {
        const COLUMNS: [&str; 5] = ["series_id", "row_start", "row_count", "hist_start", "hist_count"];
        let mut ends = Vec::new();
        if let Some(table) = block.table(schema::SERIES)? {
            for batch in table.scan(&Scan::columns(COLUMNS))? {
                let batch = batch?;
                let column = |name: &str| batch.column_by_name(name).and_then(|c| c.as_primitive_opt::<Int64Type>());
                let [Some(ids), Some(start), Some(count), Some(hist_start), Some(hist_count)] = COLUMNS.map(column) else { continue };
                let last = |start: i64, count: i64| (count > 0).then(|| start.saturating_add(count - 1).cast_unsigned());
                ends.extend((0..batch.num_rows()).map(|row| End {
                    id: ids.value(row),
                    row: last(start.value(row), count.value(row)),
                    hist_row: last(hist_start.value(row), hist_count.value(row)),
                }));
            }
        }
        ends.sort_unstable_by_key(|end| end.id);
        Ok(Ends(ends))
    }

    pub fn get(&self, id: i64) -> Option<End> {
        self.0.binary_search_by_key(&id, |end| end.id).ok().map(|at| self.0[at])
    }
}

impl SeriesTable {
    pub fn of(block: &Arc<Block>) -> Result<Arc<SeriesTable>, ReadError> {
        block.derived("metrics.series", || SeriesTable::read(block))
    }

    fn read(block: &Arc<Block>) -> Result<SeriesTable, ReadError> {
        let mut rows = Vec::new();
        let mut known: HashSet<Arc<Metadata>> = HashSet::new();
        if let Some(table) = block.table(schema::SERIES)? {
            for batch in table.scan(&Scan::default())? {
                decode(&batch?, &mut known, &mut rows);
            }
        }
        let pieces = into_pieces(&mut rows);
        Ok(SeriesTable { rows, pieces })
    }

    /// Series that satisfy all matchers, in order.
    pub fn select<'a>(&'a self, matchers: &'a [Matcher]) -> impl Iterator<Item = &'a SeriesRow> {
        let name = matchers.iter().find(|m| m.name == METRIC_NAME && m.op == MatchOp::Equal).map(|m| m.value.as_str());
        let range = match name {
            Some(name) => {
                let from = self.rows.partition_point(|r| r.labels.value(METRIC_NAME) < name);
                let length = self.rows[from..].partition_point(|r| r.labels.value(METRIC_NAME) == name);
                from..from + length
            }
            None => 0..self.rows.len(),
        };
        // Rows are sorted by name, so that a pattern on it is tried once a name.
        let (of_name, others): (Vec<&Matcher>, Vec<&Matcher>) = matchers.iter().partition(|m| m.name == METRIC_NAME);
        let mut last: Option<(&str, bool)> = None;
        self.rows[range].iter().filter(move |r| {
            let name = r.labels.value(METRIC_NAME);
            let hit = match last {
                Some((known, hit)) if known == name => hit,
                _ => of_name.iter().all(|m| m.matches(name)),
            };
            last = Some((name, hit));
            hit && others.iter().all(|m| m.matches(r.labels.value(&m.name)))
        })
    }
}

/// Groups neighbouring series, and tells each of its group.
fn into_pieces(rows: &mut [SeriesRow]) -> Vec<Range<u64>> {
    let mut pieces: Vec<Range<u64>> = Vec::new();
    for row in rows.iter_mut() {
        let count = row.rows.end - row.rows.start;
        if count == 0 || count > PIECE_ROWS_MAX {
            continue;
        }
        match pieces.last_mut() {
            Some(piece) if piece.end == row.rows.start && piece.end - piece.start < PIECE_ROWS => piece.end = row.rows.end,
            _ => pieces.push(row.rows.clone()),
        }
        row.piece = u32::try_from(pieces.len() - 1).ok();
    }
    pieces
}

/// Rows of the table `series`, in order.
pub fn decode(batch: &RecordBatch, known: &mut HashSet<Arc<Metadata>>, rows: &mut Vec<SeriesRow>) {
    let integers = |name: &str| batch.column_by_name(name).and_then(|c| c.as_primitive_opt::<Int64Type>());
    let times = |name: &str| batch.column_by_name(name).and_then(|c| c.as_primitive_opt::<TimestampMillisecondType>());
    let (Some(ids), Some(start), Some(count)) = (integers("series_id"), integers("row_start"), integers("row_count")) else { return };
    let (Some(hist_start), Some(hist_count)) = (integers("hist_start"), integers("hist_count")) else { return };
    let created = integers("created");
    let (Some(min), Some(max)) = (times("min_ts"), times("max_ts")) else { return };
    let texts = |name: &str| batch.column_by_name(name).and_then(|c| c.as_string_opt::<i32>());
    let words = [texts("family"), texts("type"), texts("unit"), texts("help")];
    let schema = batch.schema();
    let label_columns: Vec<(&str, &StringArray)> =
        schema.fields().iter().filter_map(|f| Some((f.name().strip_prefix(schema::LABEL_PREFIX)?, texts(f.name())?))).collect();
    for row in 0..batch.num_rows() {
        let mut labels = LabelsBuilder::default();
        for (name, column) in &label_columns {
            if column.is_valid(row) {
                labels.set(name, column.value(row));
            }
        }
        map_entries(batch, "labels_rest", row, |name, value| {
            labels.set(name, value);
        });
        let range = |start: i64, count: i64| start.cast_unsigned()..(start + count).cast_unsigned();
        rows.push(SeriesRow {
            id: ids.value(row),
            // Blocks that do not tell are older than those that do.
            created: created.map_or(0, |c| c.value(row)),
            piece: None,
            labels: labels.build(),
            rows: range(start.value(row), count.value(row)),
            hist_rows: range(hist_start.value(row), hist_count.value(row)),
            min_ts: min.value(row),
            max_ts: max.value(row),
            metadata: metadata(words, row, known),
        });
    }
}

fn metadata(words: [Option<&StringArray>; 4], row: usize, known: &mut HashSet<Arc<Metadata>>) -> Option<Arc<Metadata>> {
    let word = |at: usize| words[at].filter(|c| c.is_valid(row)).map(|c| c.value(row));
    let metadata = Metadata {
        family: word(0)?.to_owned(),
        kind: MetricType::parse(word(1).unwrap_or("")),
        unit: word(2).unwrap_or("").to_owned(),
        help: word(3).unwrap_or("").to_owned(),
    };
    if let Some(shared) = known.get(&metadata) {
        return Some(shared.clone());
    }
    let shared = Arc::new(metadata);
    known.insert(shared.clone());
    Some(shared)
}

/// Calls `visit` with each pair of a map column in one row.
pub(super) fn map_entries(batch: &RecordBatch, column: &str, row: usize, mut visit: impl FnMut(&str, &str)) {
    let Some(map) = batch.column_by_name(column).and_then(|c| c.as_map_opt()) else { return };
    let (Some(keys), Some(values)) = (map.keys().as_string_opt::<i32>(), map.values().as_string_opt::<i32>()) else { return };
    let offsets = map.value_offsets();
    let (from, to) = (offsets[row] as usize, offsets[row + 1] as usize);
    for at in from..to {
        visit(keys.value(at), if values.is_valid(at) { values.value(at) } else { "" });
    }
}
