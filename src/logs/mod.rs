//! Logs: OTLP and Loki push in, Loki's HTTP API with LogQL out.
//!
//! `rows` is what a request becomes, whatever protocol it spoke; `schema` what a chunk of the head and a block hold;
//! `tokens` says where in a merged block a text can be;
//! `source` reads both alike; `logql` is the language; `api` the routes. `otlp` and `push` only translate.

pub mod api;
mod compact;
mod config;
mod erase;
mod head;
mod json;
mod level;
mod logfmt;
pub mod logql;
mod names;
mod otlp;
mod patterns;
mod push;
#[cfg(test)]
mod reference;
mod rows;
mod schema;
mod source;
mod spec;
mod sql;
mod tail;
mod tokens;

pub use config::Config;
pub use rows::{Group, KnownGroups, LogRows, Metadata, RowsBuilder};
pub use spec::LogsSpec;
