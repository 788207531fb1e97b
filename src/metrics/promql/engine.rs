use super::annotations::Annotations;
use super::ast::{Expr, Kind, ValueType};
use super::duration::{self, Times};
use super::eval::{Cell, Evaluator, Extension, Grid, Series, Value, Window};
use super::matrix::MatrixSeries;
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

impl VectorElement {
    /// Memory it takes.
    pub fn bytes(&self) -> u64 {
        let histogram = match &self.point {
            Point::Float(..) => 0,
            Point::Histogram(_, histogram) => histogram.heap_bytes(),
        };
        (size_of::<VectorElement>() + self.labels.heap_bytes() + histogram) as u64
    }
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

impl QueryValue {
    /// Memory it takes.
    fn bytes(&self) -> u64 {
        match self {
            QueryValue::Scalar(..) => 0,
            QueryValue::Text(_, text) => text.len() as u64,
            QueryValue::Vector(elements) => elements.iter().map(VectorElement::bytes).sum(),
            QueryValue::Matrix(series) => series.iter().map(MatrixSeries::bytes).sum(),
        }
    }
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
        answer(value, keeps_order(&expr), evaluator)
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
        let mut matrix: Vec<MatrixSeries> = series.into_iter().map(|s| MatrixSeries::of_steps(s, grid)).collect();
        matrix.retain(|s| !s.is_empty());
        matrix.sort_by(|a, b| a.labels.cmp(&b.labels));
        answer(QueryValue::Matrix(matrix), true, evaluator)
    }
}

/// The answer holds what it takes of the query's memory, and nothing else of the query does.
fn answer(value: QueryValue, ordered: bool, evaluator: Evaluator<'_>) -> Result<Answer, QueryError> {
    evaluator.storage.context().hold(value.bytes())?;
    Ok(Answer { value, ordered, samples: evaluator.samples_read(), notes: evaluator.notes.into_inner() })
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
            result.push(MatrixSeries::of_window(window));
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
