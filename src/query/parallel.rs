use super::{Context, QueryError};
use crate::runtime::cores;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Takes every item into an accumulator, on as many threads as there are cores, and gives the accumulators, one a thread.
/// Items are begun in order. After a failure no further item is begun; of several failures, any is given.
pub fn fold<T: Sync, A: Send>(
    ctx: &Context,
    items: &[T],
    start: impl Fn() -> A + Sync,
    step: impl Fn(&mut A, &T) -> Result<(), QueryError> + Sync,
) -> Result<Vec<A>, QueryError> {
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let work = || {
        let mut accumulator = start();
        while !failed.load(Ordering::Relaxed) {
            let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
            let done = ctx.check().and_then(|()| step(&mut accumulator, item));
            if let Err(error) = done {
                failed.store(true, Ordering::Relaxed);
                return Err(error);
            }
        }
        Ok(accumulator)
    };
    let threads = cores().min(items.len());
    if threads < 2 {
        return Ok(vec![work()?]);
    }
    std::thread::scope(|scope| {
        let handles: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut out = vec![work()];
        // A panic goes on in the thread of the query, where the pool catches it.
        out.extend(handles.into_iter().map(|h| h.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))));
        out.into_iter().collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TenantId;
    use std::time::Duration;

    #[test]
    fn every_item_is_taken_once_and_a_failure_ends_it() {
        let ctx = Context::new(TenantId::default_tenant(), Duration::from_secs(60), 1 << 20);
        let items: Vec<u64> = (0..1000).collect();
        let add = |sum: &mut u64, item: &u64| {
            *sum += item;
            Ok(())
        };
        assert_eq!(fold(&ctx, &items, || 0, add).unwrap().into_iter().sum::<u64>(), 499_500);
        assert_eq!(fold(&ctx, &[], || 7, add), Ok(vec![7]));
        let fail = |_: &mut u64, item: &u64| if *item == 3 { Err(QueryError::Invalid("three".into())) } else { Ok(()) };
        assert_eq!(fold(&ctx, &items, || 0, fail), Err(QueryError::Invalid("three".into())));
    }
}
