use super::config::Config;
use super::head::LogsHead;
use super::rows::{KnownGroups, LogRows};
use super::tokens::TokensSidecar;
use super::{compact, erase, otlp, push, schema};
use crate::ingest::{Encoding, Limits, Plain};
use crate::model::{Failure, Reason, Signal, TenantId, time};
use crate::runtime::Clock;
use crate::storage::block::{Block, BlockWriter, Sidecar};
use crate::storage::wal::Frame;
use crate::storage::{Merge, MergeError, Merged, Refusals, ReplayError, Rows as _, Spec, Tombstone};
use std::sync::Arc;

/// What a frame's body is. The numbers are in WAL files and never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameKind {
    OtlpProtobuf = 1,
    OtlpJson = 2,
    PushJson = 3,
    PushProtobuf = 4,
    /// JSON as Loki's first API took it.
    PushLegacyJson = 5,
}

impl FrameKind {
    fn from_stored(number: u8) -> Option<FrameKind> {
        use FrameKind::{OtlpJson, OtlpProtobuf, PushJson, PushLegacyJson, PushProtobuf};
        [OtlpProtobuf, OtlpJson, PushJson, PushProtobuf, PushLegacyJson].into_iter().find(|k| *k as u8 == number)
    }
}

/// What storage is told of logs.
pub struct LogsSpec {
    translator: Arc<Translator>,
    clock: Arc<dyn Clock>,
}

impl LogsSpec {
    pub fn new(config: Config, clock: Arc<dyn Clock>) -> LogsSpec {
        LogsSpec { translator: Arc::new(Translator { config: Arc::new(config), known: Arc::default() }), clock }
    }

    pub fn config(&self) -> &Arc<Config> {
        &self.translator.config
    }

    pub fn translator(&self) -> &Arc<Translator> {
        &self.translator
    }

    /// What is known of streams by the bytes that say them.
    pub fn known_groups(&self) -> &Arc<KnownGroups> {
        &self.translator.known
    }

    /// Nanoseconds since the epoch.
    pub fn now(&self) -> i64 {
        self.clock.now()
    }
}

/// Makes rows of requests.
#[derive(Debug)]
pub struct Translator {
    config: Arc<Config>,
    known: Arc<KnownGroups>,
}

impl Translator {
    /// The same for the same bytes, time of receipt and configuration, whenever it is called: replay depends on it.
    fn translate(&self, kind: FrameKind, body: Plain<'_>, received_at: i64) -> Result<(LogRows, Refusals), Failure> {
        let (config, known) = (&self.config, &self.known);
        match kind {
            FrameKind::OtlpProtobuf => otlp::translate_protobuf(body, received_at, config, known),
            FrameKind::OtlpJson => otlp::translate_json(body, received_at, config, known),
            FrameKind::PushJson => push::translate_json(body, config),
            FrameKind::PushLegacyJson => push::translate_legacy_json(body, config),
            FrameKind::PushProtobuf => push::translate_protobuf(body, Limits::default().decoded_max_bytes, config, known),
        }
    }

    /// Translates a request that has just come in, and refuses what is too old, too new or too long (decisions 9 and 11).
    pub fn live(&self, kind: FrameKind, body: Plain<'_>, received_at: i64) -> Result<(LogRows, Refusals), Failure> {
        let (mut rows, mut refusals) = self.translate(kind, body, received_at)?;
        let config = &self.config;
        let nanos = |d: std::time::Duration| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX);
        let oldest = config.retention.map_or(i64::MIN, |r| received_at.saturating_sub(nanos(r)));
        let newest = received_at.saturating_add(nanos(config.future_max));
        rows.retain(|entry| {
            let labels = entry.labels;
            let at = || time::format_rfc3339(entry.ts());
            if entry.ts() < oldest {
                refusals.refuse(entry.index, Reason::TooOld, || {
                    let oldest = time::format_rfc3339(oldest);
                    format!("entry for stream '{labels}' has timestamp too old: {}, oldest acceptable timestamp is: {oldest}", at())
                });
            } else if entry.ts() > newest {
                refusals
                    .refuse(entry.index, Reason::TooFarAhead, || format!("entry for stream '{labels}' has timestamp too new: {}", at()));
            } else if entry.line().len() > config.line_max_bytes {
                refusals.refuse(entry.index, Reason::TooLarge, || {
                    let (max, length) = (config.line_max_bytes, entry.line().len());
                    format!(
                        "max entry size '{max}' bytes exceeded for stream '{labels}' while adding an entry with length '{length}' bytes"
                    )
                });
            } else {
                return true;
            }
            false
        });
        Ok((rows, refusals))
    }
}

impl Spec for LogsSpec {
    type Rows = LogRows;
    type Head = LogsHead;

    fn signal(&self) -> Signal {
        Signal::Logs
    }

    fn new_head(&self, tenant: &TenantId) -> LogsHead {
        LogsHead::bounded(self.translator.config.limits.of(tenant).streams)
    }

    fn time_columns(&self) -> &'static [(&'static str, &'static str)] {
        &[(schema::LOGS, schema::TS)]
    }

    fn merge(&self, merge: Merge<'_>, out: &mut BlockWriter<'_>) -> Result<Option<Merged>, MergeError> {
        compact::merge(merge, out)
    }

    fn sidecars(&self, level: u8) -> Vec<Box<dyn Sidecar>> {
        if level == 0 { Vec::new() } else { vec![Box::new(TokensSidecar::default())] }
    }

    fn may_erase(&self, tombstone: &Tombstone, block: &Arc<Block>) -> bool {
        erase::may_erase(tombstone, block)
    }

    fn replay(&self, frame: &Frame) -> Result<LogRows, ReplayError> {
        let kind = FrameKind::from_stored(frame.kind).ok_or_else(|| ReplayError(format!("unknown kind {}", frame.kind)))?;
        let encoding = Encoding::from_stored(frame.encoding).ok_or_else(|| ReplayError(format!("unknown encoding {}", frame.encoding)))?;
        let error = |f: Failure| ReplayError(f.message);
        let body = encoding.decode(&frame.body, Limits::default().decoded_max_bytes).map_err(error)?;
        let (mut rows, _) = self.translator.translate(kind, (&body).into(), frame.received_at).map_err(error)?;
        rows.retain(|entry| frame.refused.binary_search(&entry.index).is_err());
        tracing::trace!(lsn = frame.lsn, rows = rows.len(), "frame of logs replayed");
        Ok(rows)
    }
}
