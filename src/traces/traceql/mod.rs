//! TraceQL: text to tokens, to a tree, checked, and evaluated over whole traces (contracts/tempo.md 4).

pub mod ast;
mod check;
pub mod eval;
mod judge;
mod lex;
pub mod metrics;
mod parse;
mod print;
mod token;

pub use check::{CheckError, check};
pub use judge::{Inspected, Judge};
pub use parse::{parse, parse_field};
pub use token::ParseError;

#[cfg(test)]
mod tests;
