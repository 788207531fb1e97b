use super::head::{TraceHead, TraceRows, Window};
use super::limits::{Limits, TraceSizes};
use super::otlp::{self, Kind};
use super::source::{deleted_trace, has_trace};
use super::{compact, schema};
use crate::ingest::{self, Encoding, Plain};
use crate::model::{Failure, Signal, TenantId};
use crate::runtime::Clock;
use crate::storage::block::{Block, BlockWriter};
use crate::storage::wal::Frame;
use crate::storage::{Merge, MergeError, Merged, Refusals, ReplayError, Spec, Tombstone};
use std::sync::Arc;
use std::time::Duration;

/// The room's own knobs.
#[derive(Debug, Clone)]
pub struct Config {
    /// Spans that started longer ago are refused; `None` takes spans of any age.
    pub retention: Option<Duration>,
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Config {
        Config { retention: Some(Duration::from_secs(30 * 24 * 3600)), limits: Limits::default() }
    }
}

pub struct TracesSpec {
    window: Window,
    limits: Limits,
    sizes: TraceSizes,
}

impl TracesSpec {
    /// Traces need no clock: what is refused for its time is decided by the time of receipt.
    pub fn new(config: Config, _: Arc<dyn Clock>) -> TracesSpec {
        let retention = config.retention.map(|r| i64::try_from(r.as_nanos()).unwrap_or(i64::MAX));
        TracesSpec { window: Window { retention }, limits: config.limits, sizes: TraceSizes::default() }
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Translates a request that arrives now.
    pub fn accept(&self, tenant: &TenantId, kind: Kind, body: Plain<'_>, received_at: i64) -> Result<(TraceRows, Refusals), Failure> {
        let otlp = otlp::otlp_bytes(kind, body)?;
        let mut translated = otlp::translate(body.with(&otlp), self.limits.value_max_bytes)?;
        self.window.judge(&mut translated, received_at);
        self.sizes.judge(tenant, &mut translated, &self.limits);
        let refusals = std::mem::take(&mut translated.refusals);
        Ok((TraceRows::new(translated), refusals))
    }
}

impl Spec for TracesSpec {
    type Rows = TraceRows;
    type Head = TraceHead;

    fn signal(&self) -> Signal {
        Signal::Traces
    }

    fn new_head(&self, _: &TenantId) -> TraceHead {
        TraceHead::default()
    }

    fn time_columns(&self) -> &'static [(&'static str, &'static str)] {
        &[(schema::SPANS, "start")]
    }

    fn merge(&self, merge: Merge<'_>, out: &mut BlockWriter<'_>) -> Result<Option<Merged>, MergeError> {
        compact::merge(merge, out)
    }

    fn may_erase(&self, tombstone: &Tombstone, block: &Arc<Block>) -> bool {
        deleted_trace(tombstone).is_some_and(|id| has_trace(block, id))
    }

    fn replay(&self, frame: &Frame) -> Result<TraceRows, ReplayError> {
        let error = |e: &dyn std::fmt::Display| ReplayError(e.to_string());
        let kind = Kind::from_stored(frame.kind).ok_or_else(|| error(&format!("unknown kind {}", frame.kind)))?;
        let encoding = Encoding::from_stored(frame.encoding).ok_or_else(|| error(&format!("unknown encoding {}", frame.encoding)))?;
        let body = encoding.decode(&frame.body, ingest::Limits::default().decoded_max_bytes).map_err(|e| error(&e))?;
        // A limit that was lowered since refuses nothing that was acknowledged.
        let otlp = otlp::otlp_bytes(kind, &body).map_err(|e| error(&e))?;
        let mut translated = otlp::translate(&*otlp, usize::MAX).map_err(|e| error(&e))?;
        translated.spans.retain(|span| frame.refused.binary_search(&span.index).is_err());
        Ok(TraceRows::new(translated))
    }
}
