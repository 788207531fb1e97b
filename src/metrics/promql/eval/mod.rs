//! The evaluator: every expression becomes its values at all steps of a grid at once.

mod aggregate;
mod binary;
mod call;
mod flow;
mod info;
mod labels;
mod order;
mod quantiles;
mod selector;
mod series;
mod tally;
mod top;
mod window;

use super::annotations::Annotations;
use super::ast::{At, Expr, Kind, ValueType};
use super::duration::Times;
use super::engine::Options;
use super::storage::Storage;
use crate::query::QueryError;
use flow::Flow;
use std::cell::{Cell as Counter, RefCell};

pub use series::{Cell, Grid, Series, is_absent, merge_equal, without_name};
pub use window::{Extension, RangeVector, Timed, Window};

/// What an expression is at the steps of a grid.
pub enum Value {
    Scalar(Vec<f64>),
    Text(String),
    Vector(Vec<Series>),
}

impl Value {
    /// Memory it takes.
    fn bytes(&self) -> u64 {
        match self {
            Value::Scalar(values) => 8 * values.len() as u64,
            Value::Text(text) => text.len() as u64,
            Value::Vector(series) => series.iter().map(Series::bytes).sum(),
        }
    }
}

pub type Result<T> = std::result::Result<T, QueryError>;

/// How selectors read histograms (contracts/prometheus.md 4.2, "Statistics reading").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// As they are stored.
    Whole,
    /// Only counts and sums matter, so unknown resets are told while reading.
    Statistics,
    /// As `Whole`, whatever stands below.
    Buckets,
}

pub struct Evaluator<'a> {
    pub storage: &'a dyn Storage,
    pub options: &'a Options,
    pub notes: RefCell<Annotations>,
    /// Start, end and step of the whole query, which `@ start()` and the like refer to.
    pub times: Times,
    /// Samples read so far.
    samples: Counter<u64>,
    reading: Counter<Reading>,
}

impl<'a> Evaluator<'a> {
    pub fn new(storage: &'a dyn Storage, options: &'a Options, times: Times) -> Evaluator<'a> {
        Evaluator { storage, options, notes: RefCell::default(), times, samples: Counter::new(0), reading: Counter::new(Reading::Whole) }
    }

    pub fn warn(&self, at: &Expr, message: impl Into<String>) {
        self.notes.borrow_mut().warn(at.span.start, message);
    }

    pub fn info(&self, at: &Expr, message: impl Into<String>) {
        self.notes.borrow_mut().info(at.span.start, message);
    }

    pub fn samples_read(&self) -> u64 {
        self.samples.get()
    }

    /// Counts samples against the budget of the query.
    fn count_samples(&self, samples: u64) -> Result<()> {
        self.samples.set(self.samples.get() + samples);
        if self.samples.get() > self.options.samples_max {
            let message = "query processing would load too many samples into memory in query execution";
            return Err(QueryError::TooMuch(message.to_owned()));
        }
        Ok(())
    }

    /// Evaluates in another way of reading; once buckets are needed, they are needed below, too.
    fn reading<T>(&self, reading: Reading, evaluate: impl FnOnce() -> Result<T>) -> Result<T> {
        let before = self.reading.get();
        if before != Reading::Buckets {
            self.reading.set(reading);
        }
        let result = evaluate();
        self.reading.set(before);
        result
    }

    pub fn eval(&self, expr: &Expr, grid: Grid) -> Result<Value> {
        let context = self.storage.context();
        context.check()?;
        let before = context.used();
        let value = self.eval_once(expr, grid)?;
        // What its parts took is gone; what it takes itself is held by whoever asked for it.
        context.hold(before.saturating_add(value.bytes()))?;
        Ok(value)
    }

    fn eval_once(&self, expr: &Expr, grid: Grid) -> Result<Value> {
        if grid.count > 1 && self.is_invariant(expr) {
            return Ok(match self.eval_steps(expr, Grid { count: 1, ..grid })? {
                Value::Scalar(values) => Value::Scalar(vec![values[0]; grid.count]),
                Value::Text(text) => Value::Text(text),
                Value::Vector(series) => Value::Vector(series.into_iter().map(|s| s.repeated(grid.count)).collect()),
            });
        }
        self.eval_steps(expr, grid)
    }

    fn eval_steps(&self, expr: &Expr, grid: Grid) -> Result<Value> {
        if let Some(flow) = self.own_flow(expr, grid)? {
            return flow.collect(self).map(Value::Vector);
        }
        match &expr.kind {
            Kind::Number { value, .. } => Ok(Value::Scalar(vec![*value; grid.count])),
            Kind::Text(text) => Ok(Value::Text(text.clone())),
            Kind::Paren(inner) => self.eval(inner, grid),
            Kind::Unary { negative, expr: inner } => self.unary(*negative, inner, grid),
            Kind::Binary(binary) => self.reading(self.reading_of(expr), || self.binary(expr, binary, grid)),
            Kind::Aggregation(aggregation) => self.aggregation(expr, aggregation, grid).map(Value::Vector),
            Kind::Call { function, args } => self.reading(self.reading_of(expr), || self.call(expr, function, args, grid)),
            Kind::Selector(_) | Kind::Range { .. } | Kind::Subquery(_) => {
                Err(QueryError::Execution("a range vector stands where none can".to_owned()))
            }
        }
    }

    /// How the parts of an expression are read.
    fn reading_of(&self, expr: &Expr) -> Reading {
        match &expr.kind {
            Kind::Binary(binary) if binary.op.is_trim() => Reading::Buckets,
            Kind::Call { function, .. } => match function.name {
                "histogram_count" | "histogram_sum" | "histogram_avg" => Reading::Statistics,
                "histogram_quantile" | "histogram_quantiles" | "histogram_fraction" => Reading::Buckets,
                _ => self.reading.get(),
            },
            _ => self.reading.get(),
        }
    }

    /// The vector's series as they are made, if it is made of each series by itself, else all of them.
    fn flow<'e>(&self, expr: &'e Expr, grid: Grid) -> Result<Flow<'e>> {
        self.storage.context().check()?;
        // What does not change from step to step is better made once.
        if (grid.count == 1 || !self.is_invariant(expr))
            && let Some(flow) = self.own_flow(expr, grid)?
        {
            return Ok(flow);
        }
        Ok(Flow::ready(self.vector(expr, grid)?, grid))
    }

    /// `None` for what is no vector, or is not made of each series by itself.
    fn own_flow<'e>(&self, expr: &'e Expr, grid: Grid) -> Result<Option<Flow<'e>>> {
        match &expr.kind {
            Kind::Selector(selector) => self.instant_selector(expr, selector, grid).map(Some),
            Kind::Paren(inner) => self.own_flow(inner, grid),
            Kind::Unary { negative, expr: inner } if inner.value_type() == ValueType::Vector => {
                let flow = self.flow(inner, grid)?;
                if *negative { flow.then(Box::new(|one, _| one.negate())).drop_names(self).map(Some) } else { Ok(Some(flow)) }
            }
            Kind::Binary(binary) => self.reading(self.reading_of(expr), || self.with_scalar(expr, binary, grid)),
            Kind::Call { function, args } => self.reading(self.reading_of(expr), || self.call_flow(function, args, grid)),
            _ => Ok(None),
        }
    }

    pub fn scalar(&self, expr: &Expr, grid: Grid) -> Result<Vec<f64>> {
        match self.eval(expr, grid)? {
            Value::Scalar(values) => Ok(values),
            Value::Text(_) | Value::Vector(_) => Err(QueryError::Execution("a scalar was expected".to_owned())),
        }
    }

    pub fn vector(&self, expr: &Expr, grid: Grid) -> Result<Vec<Series>> {
        match self.eval(expr, grid)? {
            Value::Vector(series) => Ok(series),
            Value::Text(_) | Value::Scalar(_) => Err(QueryError::Execution("a vector was expected".to_owned())),
        }
    }

    /// Series whose names are gone, or marked for the end of the query.
    pub fn drop_names(&self, series: Vec<Series>) -> Result<Vec<Series>> {
        if self.options.delayed_name_removal {
            return Ok(series.into_iter().map(|s| Series { drop_name: true, ..s }).collect());
        }
        merge_equal(series.into_iter().map(|s| Series { labels: without_name(&s.labels), ..s }).collect())
    }

    /// Applies the marks of delayed name removal.
    pub fn drop_marked_names(series: Vec<Series>) -> Result<Vec<Series>> {
        if !series.iter().any(|s| s.drop_name) {
            return Ok(series);
        }
        let dropped = |s: Series| if s.drop_name { Series { labels: without_name(&s.labels), drop_name: false, ..s } } else { s };
        merge_equal(series.into_iter().map(dropped).collect())
    }

    /// Of what is no vector.
    fn unary(&self, negative: bool, inner: &Expr, grid: Grid) -> Result<Value> {
        Ok(match self.eval(inner, grid)? {
            Value::Scalar(values) if negative => Value::Scalar(values.into_iter().map(|v| -v).collect()),
            value => value,
        })
    }

    /// The time an `@` modifier names, milliseconds.
    pub fn at_time(&self, at: At) -> i64 {
        match at {
            At::Time(ms) => ms,
            At::Start => self.times.start,
            At::End => self.times.end,
        }
    }

    /// Whether the value is the same at every step: every selector is pinned by `@`, and no function looks at the time.
    fn is_invariant(&self, expr: &Expr) -> bool {
        match &expr.kind {
            Kind::Number { .. } | Kind::Text(_) => true,
            Kind::Selector(selector) | Kind::Range { selector, .. } => selector.at.is_some(),
            // Which of its own steps a window has depends on the step, even if they are all the same.
            Kind::Subquery(subquery) => subquery.at.is_some(),
            Kind::Call { function, args } => !depends_on_time(function.name) && args.iter().all(|a| self.is_invariant(a)),
            _ => {
                let mut invariant = true;
                expr.for_each_child(&mut |child| invariant &= self.is_invariant(child));
                invariant
            }
        }
    }
}

/// Functions whose result at a step depends on the step's time even if their arguments do not.
fn depends_on_time(name: &str) -> bool {
    matches!(
        name,
        "days_in_month"
            | "day_of_month"
            | "day_of_week"
            | "day_of_year"
            | "hour"
            | "minute"
            | "month"
            | "year"
            | "predict_linear"
            | "time"
            | "timestamp"
    )
}
