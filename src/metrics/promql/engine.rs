use super::annotations::Annotations;
use super::ast::{Expr, Kind, ValueType};
use super::duration::{self, Times};
use super::eval::{Cell, Evaluator, Extension, Grid, Series, Value, Window};
use super::storage::Storage;
use crate::metrics::histogram::Histogram;
use crate::model::Labels;
use crate::query::QueryError;
use std::sync::Arc;

/// Switches and bounds of the engine. Times in milliseconds.
#[derive(Debug, Clone)]
pub struct Options {
    /// How far back an instant selector looks.
    pub lookback: i64,
    /// Step of a subquery without one.
    pub default_step: i64,
    /// Samples one query may read.
    pub samples_max: u64,
    /// Metric names are dropped at the end of the query, not by each function.
    pub delayed_name_removal: bool,
    /// Start times tell resets and the beginning of counters.
    pub use_start_timestamps: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            lookback: 300_000,
            default_step: 60_000,
            samples_max: 50_000_000,
            delayed_name_removal: false,
            use_start_timestamps: false,
        }
    }
}

/// A value at a time (milliseconds since the epoch).
#[derive(Debug, Clone)]
pub enum Point {
    Float(i64, f64),
    Histogram(i64, Arc<Histogram>),
}

impl Point {
    fn new(ts: i64, cell: Cell) -> Point {
        match cell {
            Cell::Float(value) => Point::Float(ts, value),
            Cell::Histogram(histogram) => Point::Histogram(ts, histogram),
        }
    }
}

#[derive(Debug, Clone)]
pub struct VectorElement {
    pub labels: Labels,
    pub point: Point,
}

/// Values by time, floats and histograms apart.
#[derive(Debug, Clone)]
pub struct MatrixSeries {
    pub labels: Labels,
    pub floats: Vec<(i64, f64)>,
    pub histograms: Vec<(i64, Arc<Histogram>)>,
}

#[derive(Debug, Clone)]
pub enum QueryValue {
    Scalar(i64, f64),
    Text(i64, String),
    /// In the order of the evaluation.
    Vector(Vec<VectorElement>),
    /// Sorted by labels.
    Matrix(Vec<MatrixSeries>),
}

/// The answer of a query.
#[derive(Debug, Clone)]
pub struct Answer {
    pub value: QueryValue,
    pub notes: Annotations,
    /// Whether the order of a vector says something: that of values, or of the sorting function.
    pub ordered: bool,
    /// Samples read.
    pub samples: u64,
}

/// Runs parsed queries over a storage.
pub struct Engine<'a> {
    storage: &'a dyn Storage,
    options: Options,
}

impl<'a> Engine<'a> {
    pub fn new(storage: &'a dyn Storage, options: Options) -> Engine<'a> {
        Engine { storage, options }
    }

    fn prepared(&self, expr: &Expr, times: Times) -> Result<(Expr, Evaluator<'_>), QueryError> {
        let mut expr = expr.clone();
        duration::resolve(&mut expr, times).map_err(QueryError::Execution)?;
        Ok((expr, Evaluator::new(self.storage, &self.options, times)))
    }

    /// The value of `expr` at `at` (milliseconds since the epoch).
    pub fn instant(&self, expr: &Expr, at: i64) -> Result<Answer, QueryError> {
        let (expr, evaluator) = self.prepared(expr, Times { start: at, end: at, step: 0 })?;
        let grid = Grid::one(at);
        let value = match expr.value_type() {
            ValueType::Matrix => QueryValue::Matrix(range_result(&evaluator, &expr, grid)?),
            _ => match evaluator.eval(&expr, grid)? {
                Value::Scalar(values) => QueryValue::Scalar(at, values[0]),
                Value::Text(text) => QueryValue::Text(at, text),
                Value::Vector(mut series) => {
                    series = Evaluator::drop_marked_names(series)?;
                    let element = |s: Series| s.get(0).map(|cell| VectorElement { labels: s.labels.clone(), point: Point::new(at, cell) });
                    QueryValue::Vector(series.into_iter().filter_map(element).collect())
                }
            },
        };
        Ok(answer(value, keeps_order(&expr), evaluator))
    }

    /// The values of `expr` at `start`, `start + step`, .. up to `end` (milliseconds).
    pub fn range(&self, expr: &Expr, start: i64, end: i64, step: i64) -> Result<Answer, QueryError> {
        let (expr, evaluator) = self.prepared(expr, Times { start, end, step })?;
        let step = step.max(1);
        let count = usize::try_from((end - start) / step).unwrap_or(0) + 1;
        let grid = Grid { start, step, count };
        let series = match evaluator.eval(&expr, grid)? {
            Value::Scalar(values) => vec![Series::with_values(Labels::empty(), values)],
            Value::Text(_) => return Err(QueryError::Invalid("a string has no range".to_owned())),
            Value::Vector(series) => Evaluator::drop_marked_names(series)?,
        };
        // What it takes as a matrix and as text.
        self.storage.context().reserve((series.len() * count) as u64 * POINT_BYTES)?;
        let mut matrix: Vec<MatrixSeries> = series.into_iter().map(|s| matrix_series(&s, grid)).collect();
        matrix.retain(|s| !s.floats.is_empty() || !s.histograms.is_empty());
        matrix.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(answer(QueryValue::Matrix(matrix), true, evaluator))
    }
}

/// A time and a value, and their digits.
const POINT_BYTES: u64 = 16 + 32;

fn answer(value: QueryValue, ordered: bool, evaluator: Evaluator<'_>) -> Answer {
    Answer { value, ordered, samples: evaluator.samples_read(), notes: evaluator.notes.into_inner() }
}

fn matrix_series(series: &Series, grid: Grid) -> MatrixSeries {
    let mut result = MatrixSeries { labels: series.labels.clone(), floats: Vec::new(), histograms: Vec::new() };
    for (step, ts) in grid.times().enumerate() {
        match series.get(step) {
            Some(Cell::Float(value)) => result.floats.push((ts, value)),
            Some(Cell::Histogram(histogram)) => result.histograms.push((ts, histogram)),
            None => {}
        }
    }
    result
}

/// The samples in the window of an expression that is a range vector itself.
fn range_result(evaluator: &Evaluator<'_>, expr: &Expr, grid: Grid) -> Result<Vec<MatrixSeries>, QueryError> {
    let range = evaluator.range_vector(expr, grid)?;
    if range.extension != Extension::None {
        return Err(QueryError::Execution("anchored and smoothed modifiers need a function around them".to_owned()));
    }
    let mut result = Vec::with_capacity(range.series.len());
    let context = evaluator.storage.context();
    for (at, data) in range.series.iter().enumerate() {
        context.reserve(data.bytes())?;
        range.map(context, (at, grid), &mut Series::new(Labels::empty(), grid.count), |window: &Window<'_>| {
            result.push(MatrixSeries {
                labels: data.labels.clone(),
                floats: window.ts.iter().copied().zip(window.values.iter().copied()).collect(),
                histograms: window.histograms.iter().map(|h| (h.ts, h.histogram.clone())).collect(),
            });
            None
        })?;
    }
    result.sort_by(|a: &MatrixSeries, b| a.labels.cmp(&b.labels));
    Ok(result)
}

/// Whether the order of an instant vector is that of its values, or of the sorting function.
fn keeps_order(expr: &Expr) -> bool {
    use super::ast::AggregateOp;
    match &expr.bare().kind {
        Kind::Call { function, .. } => function.name.starts_with("sort"),
        Kind::Aggregation(a) => matches!(a.op, AggregateOp::Topk | AggregateOp::Bottomk),
        _ => false,
    }
}
