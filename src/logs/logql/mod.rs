//! LogQL (contracts/loki.md 3): text to tokens (`lex`) to a tree (`ast`, `parse`), which is checked and compiled into a
//! pipeline over entries (`pipeline`), and evaluated (`eval`).

pub mod ast;
pub mod convert;
pub mod eval;
mod lex;
mod parse;
pub mod pipeline;
mod print;
mod template;

pub use parse::{ParseError, parse, parse_delete, parse_selector};
pub use print::pretty;
