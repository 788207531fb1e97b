//! One background loop a store: cut heads into blocks, expire what is too old, collect what nothing lists. Each step
//! is a pure plan and a run that ends in one `CatalogEdit`; upload and compaction join here.

mod collect;
mod cut;
mod erase;
mod expire;

use super::block::WriteError;
use super::catalog::CatalogError;
use super::{Spec, Store};
use crate::runtime::Shutdown;
use std::io;
use std::sync::Arc;
use std::time::Duration;

pub use collect::{CollectError, collect_orphans};
pub use erase::DeleteError;

#[derive(Debug, thiserror::Error)]
pub enum MaintenanceError {
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error("maintenance: {0}")]
    Io(#[from] io::Error),
    #[error("cut: {0}")]
    Arrow(#[from] arrow_schema::ArrowError),
}

#[derive(Debug, Clone, Copy)]
pub struct MaintenanceConfig {
    /// Age at which unflushed rows are cut even if there are few.
    pub cut_after: Duration,
    /// Age of a block's newest row at which the block goes; `None` keeps everything.
    pub retention: Option<Duration>,
}

const TICK: Duration = Duration::from_millis(500);

/// How often expiry is considered.
const EXPIRE_EVERY: Duration = Duration::from_secs(60);

/// Runs until shutdown. Failures are counted, logged, and tried again at the next tick.
pub async fn run<S: Spec>(store: Arc<Store<S>>, config: MaintenanceConfig, shutdown: Shutdown) {
    let mut since_expiry = EXPIRE_EVERY;
    loop {
        tokio::select! {
            () = shutdown.requested() => return,
            () = tokio::time::sleep(TICK) => {}
        }
        if !store.is_ready() {
            continue;
        }
        let expire = since_expiry >= EXPIRE_EVERY;
        since_expiry = if expire { Duration::ZERO } else { since_expiry + TICK };
        let worker = store.clone();
        let step = tokio::task::spawn_blocking(move || worker.maintain(&config, expire)).await;
        let failure = match step {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        store.metrics().maintenance_failed(store.signal_of());
        tracing::error!(signal = %store.signal_of(), error = failure, "maintenance failed, will be tried again");
    }
}

impl<S: Spec> Store<S> {
    fn maintain(&self, config: &MaintenanceConfig, expire: bool) -> Result<(), MaintenanceError> {
        let state = cut::State {
            head_bytes: self.head_stats().bytes,
            head_max_bytes: self.config().head_max_bytes,
            wal_bytes: self.wal_bytes(),
            wal_max_bytes: self.config().lane.size_max_bytes,
            oldest: self.oldest_unflushed(),
        };
        if cut::plan(&state, self.world().clock.now(), config.cut_after) {
            self.cut()?;
        }
        if expire {
            self.expire(config.retention)?;
            self.settle_tombstones()?;
        }
        self.account();
        Ok(())
    }

    fn account(&self) {
        let (signal, head, (blocks, bytes)) = (self.signal_of(), self.head_stats(), self.block_totals());
        self.metrics().head(signal, head.rows, head.bytes);
        self.metrics().wal_size(signal, self.wal_bytes());
        self.metrics().blocks(signal, blocks, bytes);
    }
}
