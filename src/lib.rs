//! monocle: metrics, logs and traces through one lens.
//!
//! The rooms, from the bottom up (ARCHITECTURE.md has the map and the rules; `tests/tidy.rs` checks them):
//! `model`, `runtime`, `telemetry` know nothing of each other's users; `storage` is the engine; `ingest`, `query` and
//! `web` are the doors; `metrics`, `logs` and `traces` are one room a signal; `derive` makes metrics of spans, `forward` sends on
//! what came; `server`, `config` and `cli` put all
//! together.

#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

/// As in the binary: what bounds memory is measured by it.
#[cfg(test)]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

pub mod cli;
pub mod config;
pub mod derive;
pub mod forward;
pub mod ingest;
pub mod logs;
pub mod metrics;
pub mod model;
pub mod query;
pub mod runtime;
pub mod server;
pub mod storage;
pub mod telemetry;
pub mod traces;
pub mod web;
