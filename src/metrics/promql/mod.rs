//! PromQL: lexer, parser with byte positions, type check, printer, and an evaluator that takes all steps of a range in
//! one pass. Source of all rules: contracts/prometheus.md 4.

mod annotations;
mod ast;
mod check;
mod duration;
mod engine;
mod eval;
mod functions;
mod lexer;
mod matrix;
#[cfg(test)]
mod memory_tests;
mod parser;
mod pretty;
mod printer;
#[cfg(test)]
mod random_tests;
mod run;
mod storage;
#[cfg(test)]
mod tests;

pub use crate::metrics::histogram::{Histogram, ResetHint};
pub use crate::metrics::rows::HistogramSample;
pub use annotations::Annotations;
pub use ast::{
    AggregateOp, Aggregation, At, Binary, BinaryOp, Duration, DurationExpr, DurationKind, DurationOp, Expr, Kind, Selector, Span, Subquery,
    ValueType,
};
pub use engine::{Answer, Engine, Options, Point, QueryValue, VectorElement};
pub use functions::{FUNCTIONS, Function};
pub use matrix::MatrixSeries;
pub use parser::{ParseError, parse, parse_selector};
pub use pretty::pretty;
pub use run::Run;
pub use storage::{Interval, SeriesData, Storage};
