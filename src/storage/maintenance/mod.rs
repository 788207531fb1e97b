//! One background loop a store: cut heads into blocks, expire what is too old, collect what nothing lists. Each step
//! is a pure plan and a run that ends in one `CatalogEdit`; upload and compaction join here.

mod collect;
mod compact;
mod cut;
mod erase;
mod expire;
mod room;

use super::block::WriteError;
use super::catalog::CatalogError;
use super::{MergeError, Spec, Store};
use crate::runtime::{Behind, Shutdown};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use collect::{CollectError, collect_orphans, find_blocks};
pub use compact::CompactConfig;
pub use erase::DeleteError;
pub use room::{DiskRoom, HeldBlock, Holder, OnDisk};

#[derive(Debug, thiserror::Error)]
pub enum MaintenanceError {
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error(transparent)]
    Merge(#[from] MergeError),
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
    pub compact: CompactConfig,
}

const TICK: Duration = Duration::from_millis(500);

/// How often expiry is considered.
const EXPIRE_EVERY: Duration = Duration::from_secs(60);

/// How often compaction is considered when there was nothing to do.
const COMPACT_EVERY: Duration = Duration::from_secs(5);

/// One merge at a time in the whole process: of whichever store takes it.
pub type Turn = Arc<tokio::sync::Mutex<()>>;

/// Runs until shutdown. Failures are counted, logged, and tried again at the next tick. Merges take long, so that they have
/// a loop of their own.
pub async fn run<S: Spec>(store: Arc<Store<S>>, config: MaintenanceConfig, turn: Turn, shutdown: Shutdown) {
    let merging = async {
        tokio::select! {
            () = merge(store.clone(), config.compact, turn, shutdown.clone()) => {}
            // What is under way ends at its next step.
            () = shutdown.requested() => store.stop_merging(),
        }
    };
    tokio::join!(tend(store.clone(), config, shutdown.clone()), merging);
}

async fn tend<S: Spec>(store: Arc<Store<S>>, config: MaintenanceConfig, shutdown: Shutdown) {
    let mut expired_at = None;
    let mut has_failed = false;
    loop {
        let goes_on = tokio::select! {
            // What cannot be cut now is tried again, but not for every append.
            () = store.cut_is_wanted(), if !has_failed => !shutdown.is_requested(),
            goes_on = sleep(&shutdown, TICK) => goes_on,
        };
        if !goes_on {
            return;
        }
        if !store.is_ready() {
            continue;
        }
        let expire = expired_at.is_none_or(|at: Instant| at.elapsed() >= EXPIRE_EVERY);
        if expire {
            expired_at = Some(Instant::now());
        }
        has_failed = step(&store, move |store| store.maintain(&config, expire)).await.is_none();
    }
}

async fn merge<S: Spec>(store: Arc<Store<S>>, config: CompactConfig, turn: Turn, shutdown: Shutdown) {
    let mut merged = false;
    while sleep(&shutdown, if merged { TICK } else { COMPACT_EVERY }).await {
        if store.is_ready() {
            let _alone = turn.lock().await;
            merged = step(&store, move |store| store.compact_once(&config, false)).await.unwrap_or(false);
        }
    }
}

/// `false` when the process is to stop.
async fn sleep(shutdown: &Shutdown, time: Duration) -> bool {
    tokio::select! {
        () = shutdown.requested() => false,
        () = tokio::time::sleep(time) => true,
    }
}

/// Does some work on a thread that may block. `None` if it failed.
async fn step<S: Spec, T: Send + 'static>(
    store: &Arc<Store<S>>,
    work: impl FnOnce(&Store<S>) -> Result<T, MaintenanceError> + Send + 'static,
) -> Option<T> {
    let worker = store.clone();
    let failure = match tokio::task::spawn_blocking(move || work(&worker)).await {
        Ok(Ok(done)) => return Some(done),
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    store.metrics().maintenance_failed(store.signal_of());
    tracing::error!(signal = %store.signal_of(), error = failure, "maintenance failed, will be tried again");
    None
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
            let alone = self.cut_lock();
            self.cut_under(&alone, Behind::Little)?;
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
