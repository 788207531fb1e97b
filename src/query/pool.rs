use super::{Context, QueryError};
use crate::model::TenantId;
use crate::runtime::{Budget, Memory, Purpose};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;

/// Runs the CPU work of queries on threads of their own, so that the I/O threads stay free: as many queries at a time
/// as there are cores less one (at least one), and a bounded number that wait.
#[derive(Clone)]
pub struct Pool {
    slots: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    memory: Arc<Budget>,
    config: PoolConfig,
}

#[derive(Debug, Clone, Copy)]
pub struct PoolConfig {
    /// Queries that run at the same time.
    pub parallel: usize,
    /// Queries that may wait for a slot.
    pub waiting_max: usize,
    /// The longest a query may take, waiting included.
    pub timeout: Duration,
    /// Memory that all queries together may hold. One may hold all of it where one runs at a time, else half of it.
    pub memory_max_bytes: u64,
}

impl Pool {
    pub fn new(config: PoolConfig) -> Pool {
        let slots = Arc::new(Semaphore::new(config.parallel.max(1)));
        Pool { slots, waiting: Arc::default(), memory: Budget::new(config.memory_max_bytes), config }
    }

    /// What queries hold is a share of `memory`: they fail when others leave too little.
    pub fn within(self, memory: &Arc<Memory>) -> Pool {
        Pool { memory: Budget::share(memory, Purpose::Query, self.config.memory_max_bytes), ..self }
    }

    /// Memory that all queries together may hold.
    pub fn memory_max_bytes(&self) -> u64 {
        self.config.memory_max_bytes
    }

    /// The budget of a new query.
    pub fn context(&self, tenant: TenantId) -> Context {
        let share = if self.config.parallel > 1 { 2 } else { 1 };
        Context::sharing(tenant, self.config.timeout, self.config.memory_max_bytes / share, self.memory.clone())
    }

    /// Runs `work` when there is a slot. `work` is expected to call [`Context::check`] often; if the caller goes away or
    /// the deadline passes, the next such call fails.
    pub async fn run<T: Send + 'static>(
        &self,
        context: &Context,
        work: impl FnOnce() -> Result<T, QueryError> + Send + 'static,
    ) -> Result<T, QueryError> {
        let guard = CancelOnDrop(context.clone());
        let slot = {
            let _place = Place::take(&self.waiting, self.config.waiting_max)?;
            let slot = tokio::time::timeout(context.remaining(), self.slots.clone().acquire_owned()).await;
            slot.map_err(|_| QueryError::Timeout)?.map_err(|_| QueryError::Canceled)?
        };
        let work = move || {
            let _slot = slot;
            work()
        };
        let result = tokio::task::spawn_blocking(work).await;
        std::mem::drop(guard);
        result.map_err(|error| {
            tracing::error!(%error, "a query panicked");
            QueryError::Storage("query failed: internal error".into())
        })?
    }
}

/// A place in the queue of waiting queries.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(waiting: &Arc<AtomicUsize>, max: usize) -> Result<Place, QueryError> {
        let before = waiting.fetch_add(1, Ordering::Relaxed);
        let place = Place(waiting.clone());
        if before >= max { Err(QueryError::QueueFull) } else { Ok(place) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The HTTP server drops the handler's future when the client goes away.
struct CancelOnDrop(Context);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(waiting_max: usize) -> Pool {
        Pool::new(PoolConfig { parallel: 1, waiting_max, timeout: Duration::from_secs(60), memory_max_bytes: 1 << 20 })
    }

    #[tokio::test]
    async fn a_query_whose_caller_goes_away_is_canceled() {
        let pool = pool(8);
        let ctx = pool.context(TenantId::default_tenant());
        let (tx, rx) = tokio::sync::oneshot::channel();
        let inner = ctx.clone();
        let query = pool.run(&ctx, move || {
            while inner.check().is_ok() {
                std::thread::yield_now();
            }
            let _ = tx.send(inner.check());
            Ok(())
        });
        assert!(tokio::time::timeout(Duration::from_millis(50), query).await.is_err());
        assert_eq!(rx.await.unwrap(), Err(QueryError::Canceled));
    }

    #[tokio::test]
    async fn a_query_that_panics_fails_alone_and_does_not_tell_how() {
        let pool = pool(8);
        let ctx = pool.context(TenantId::default_tenant());
        let failed = pool.run(&ctx, || -> Result<(), QueryError> { panic!("a secret") }).await;
        assert_eq!(failed, Err(QueryError::Storage("query failed: internal error".into())));
        assert_eq!(pool.run(&pool.context(TenantId::default_tenant()), || Ok(1)).await, Ok(1));
    }

    #[tokio::test]
    async fn the_queue_is_bounded_and_memory_is_accounted() {
        let pool = pool(0);
        let ctx = pool.context(TenantId::default_tenant());
        assert_eq!(pool.run(&ctx, || Ok(())).await, Err(QueryError::QueueFull));
        assert!(ctx.reserve(1 << 20).is_ok());
        assert!(matches!(ctx.reserve(1), Err(QueryError::TooMuch(_))));
    }

    #[tokio::test]
    async fn what_one_query_holds_another_cannot_have_until_it_ends() {
        let pool = Pool::new(PoolConfig { parallel: 2, ..pool(8).config });
        let context = || pool.context(TenantId::default_tenant());
        let (one, other, third) = (context(), context(), context());
        assert!(matches!(one.reserve((1 << 19) + 1), Err(QueryError::TooMuch(_))), "half of it is for others");
        assert!(one.reserve(1 << 19).is_ok() && other.reserve(1 << 19).is_ok());
        assert!(matches!(third.reserve(1), Err(QueryError::TooMuch(_))));
        other.release(10);
        assert!(third.reserve(10).is_ok());
        drop((one, other));
        assert!(third.reserve((1 << 19) - 10).is_ok());
    }

    #[tokio::test]
    async fn what_a_part_holds_its_query_holds_until_the_part_is_gone() {
        let whole = pool(8).context(TenantId::default_tenant());
        let part = whole.part();
        assert!(part.reserve(1000).is_ok() && part.clone().part().reserve(24).is_ok());
        assert_eq!((whole.used(), part.used()), (1000, 1000));
        assert!(whole.reserve((1 << 20) - 1000).is_ok());
        assert!(matches!(part.reserve(1), Err(QueryError::TooMuch(_))));
        part.release(400);
        assert_eq!((whole.used(), part.used()), ((1 << 20) - 400, 600));
        drop(part);
        assert_eq!(whole.used(), (1 << 20) - 1000);
    }
}
