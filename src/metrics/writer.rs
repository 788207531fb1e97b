//! The door for remote write: what comes over HTTP, and what monocle itself writes (decisions 13).

use super::remote_write::{self, Tally, WriteBody, Written};
use super::spec::{FrameKind, MetricsSpec};
use crate::ingest::{Door, Encoding, Outcome, Plain};
use crate::model::{Failure, TenantId};
use bytes::Bytes;
use std::sync::{Arc, OnceLock};

/// Writes series through the same door as everyone else: into the WAL, then into the head.
#[derive(Clone)]
pub struct Writer {
    door: Arc<Door<MetricsSpec>>,
}

impl Writer {
    pub fn new(door: Arc<Door<MetricsSpec>>) -> Writer {
        Writer { door }
    }

    /// Whether writes are taken: everything that was there is known again.
    pub fn is_ready(&self) -> bool {
        self.door.store().is_ready()
    }

    /// Returns when the body is durable and visible. What is refused is in the outcome; a failure means that nothing was
    /// stored, and that a retry may help if it says when.
    pub async fn write(&self, tenant: TenantId, body: WriteBody) -> Result<Outcome, Failure> {
        if body.is_empty() {
            return Ok(Outcome::default());
        }
        let plain = body.finish();
        let packed = snap::raw::Encoder::new().compress_vec(&plain).map_err(|e| Failure::internal(format!("cannot compress: {e}")))?;
        self.version_2(tenant, packed.into()).await.0
    }

    /// A `prometheus.WriteRequest` in a snappy block.
    pub async fn version_1(&self, tenant: TenantId, body: Bytes) -> Result<Outcome, Failure> {
        let translate = |body: Plain<'_>, _: i64| remote_write::translate_1(body);
        self.door.accept(tenant, FrameKind::RemoteWrite1 as u8, Encoding::SnappyBlock, body, translate).await
    }

    /// An `io.prometheus.write.v2.Request` in a snappy block, and what of it was written.
    pub async fn version_2(&self, tenant: TenantId, body: Bytes) -> (Result<Outcome, Failure>, Written) {
        let tally: Arc<OnceLock<Tally>> = Arc::default();
        let told = tally.clone();
        let translate = move |body: Plain<'_>, _: i64| {
            let (rows, refusals, tally) = remote_write::translate_2(body)?;
            let _ = told.set(tally);
            Ok((rows, refusals))
        };
        let outcome = self.door.accept(tenant, FrameKind::RemoteWrite2 as u8, Encoding::SnappyBlock, body, translate).await;
        let written = match (&outcome, tally.get()) {
            (Ok(outcome), Some(tally)) => tally.written(&outcome.refusals),
            _ => Written::default(),
        };
        (outcome, written)
    }
}
