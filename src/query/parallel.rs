use super::{Context, QueryError};
use crate::runtime::cores;
use parking_lot::{Condvar, Mutex};
use std::collections::BTreeMap;
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

/// Results of [`in_order`] that wait to be taken, for each thread.
const WAITING_PER_THREAD: usize = 2;

/// Hands what `work` makes of the numbers up to `count` to `take`, in their order and in the calling thread, which works,
/// too. At most [`WAITING_PER_THREAD`] results a thread are made and not taken. Ends early once `take` says false.
pub fn in_order<R: Send>(
    ctx: &Context,
    count: usize,
    work: impl Fn(usize) -> Result<R, QueryError> + Sync,
    mut take: impl FnMut(R) -> Result<bool, QueryError>,
) -> Result<(), QueryError> {
    let threads = cores().min(count);
    if threads < 2 {
        for number in 0..count {
            ctx.check()?;
            if !take(work(number)?)? {
                break;
            }
        }
        return Ok(());
    }
    let line = Line { state: Mutex::default(), changed: Condvar::new(), count, ahead: WAITING_PER_THREAD * threads };
    let work = |number: usize| ctx.check().and_then(|()| work(number));
    std::thread::scope(|scope| {
        let handles: Vec<_> = (1..threads).map(|_| scope.spawn(|| line.work(&work))).collect();
        let result = line.work_and_take(&work, &mut take);
        for handle in handles {
            // A panic goes on in the thread of the query, where the pool catches it.
            handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
        result
    })
}

/// Numbers that are worked on, in order, and the results that wait for their turn.
struct Line<R> {
    state: Mutex<LineState<R>>,
    changed: Condvar,
    count: usize,
    /// How far the work may be ahead of what is taken.
    ahead: usize,
}

struct LineState<R> {
    next: usize,
    taken: usize,
    waiting: BTreeMap<usize, Result<R, QueryError>>,
    ended: bool,
}

impl<R> Default for LineState<R> {
    fn default() -> LineState<R> {
        LineState { next: 0, taken: 0, waiting: BTreeMap::new(), ended: false }
    }
}

/// What there is to do for the thread that takes.
enum Turn<R> {
    Take(Result<R, QueryError>),
    Work(usize),
    Done,
}

/// Ends the line when the thread that takes leaves it, and when any thread panics, so that none waits for ever.
struct EndOnDrop<'a, R> {
    line: &'a Line<R>,
    takes: bool,
}

impl<R> Drop for EndOnDrop<'_, R> {
    fn drop(&mut self) {
        if self.takes || std::thread::panicking() {
            self.line.state.lock().ended = true;
            self.line.changed.notify_all();
        }
    }
}

impl<R> Line<R> {
    fn begin(&self, state: &mut LineState<R>) -> Option<usize> {
        let free = state.next < self.count && state.next < state.taken + self.ahead;
        free.then(|| {
            state.next += 1;
            state.next - 1
        })
    }

    fn work(&self, work: &impl Fn(usize) -> Result<R, QueryError>) {
        let _guard = EndOnDrop { line: self, takes: false };
        loop {
            let mut state = self.state.lock();
            let number = loop {
                if state.ended || state.next >= self.count {
                    return;
                }
                match self.begin(&mut state) {
                    Some(number) => break number,
                    None => self.changed.wait(&mut state),
                }
            };
            std::mem::drop(state);
            let result = work(number);
            self.state.lock().waiting.insert(number, result);
            self.changed.notify_all();
        }
    }

    fn turn(&self) -> Turn<R> {
        let mut state = self.state.lock();
        loop {
            if state.ended || state.taken >= self.count {
                return Turn::Done;
            }
            let due = state.taken;
            if let Some(result) = state.waiting.remove(&due) {
                state.taken += 1;
                self.changed.notify_all();
                return Turn::Take(result);
            }
            match self.begin(&mut state) {
                Some(number) => return Turn::Work(number),
                None => self.changed.wait(&mut state),
            }
        }
    }

    fn work_and_take(
        &self,
        work: &impl Fn(usize) -> Result<R, QueryError>,
        take: &mut impl FnMut(R) -> Result<bool, QueryError>,
    ) -> Result<(), QueryError> {
        let _guard = EndOnDrop { line: self, takes: true };
        loop {
            match self.turn() {
                Turn::Done => return Ok(()),
                Turn::Take(result) => {
                    if !take(result?)? {
                        return Ok(());
                    }
                }
                Turn::Work(number) => {
                    let result = work(number);
                    self.state.lock().waiting.insert(number, result);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TenantId;
    use std::time::Duration;

    fn context() -> Context {
        Context::new(TenantId::default_tenant(), Duration::from_secs(60), 1 << 20)
    }

    #[test]
    fn every_item_is_taken_once_and_a_failure_ends_it() {
        let ctx = context();
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

    #[test]
    fn results_come_in_order_and_few_wait() {
        let (ctx, ahead) = (context(), AtomicUsize::new(0));
        let most = AtomicUsize::new(0);
        let work = |number: usize| {
            most.fetch_max(ahead.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            if number.is_multiple_of(7) {
                std::thread::sleep(Duration::from_micros(300));
            }
            Ok(number)
        };
        let mut taken = Vec::new();
        let take = |number: usize| {
            ahead.fetch_sub(1, Ordering::SeqCst);
            taken.push(number);
            Ok(true)
        };
        in_order(&ctx, 500, work, take).unwrap();
        assert_eq!(taken, (0..500).collect::<Vec<_>>());
        assert!(most.into_inner() <= WAITING_PER_THREAD * cores() + 1);
    }

    #[test]
    fn what_was_taken_before_a_failure_or_an_end_is_all_before_it() {
        let ctx = context();
        let work = |number: usize| if number == 40 { Err(QueryError::Invalid("forty".into())) } else { Ok(number) };
        let mut taken = 0;
        let failed = in_order(&ctx, 500, work, |_| {
            taken += 1;
            Ok(true)
        });
        assert_eq!((failed, taken), (Err(QueryError::Invalid("forty".into())), 40));
        let mut taken = 0;
        let ended = in_order(&ctx, 500, Ok, |number| {
            taken += 1;
            Ok(number < 9)
        });
        assert_eq!((ended, taken), (Ok(()), 10));
        let panics = || in_order(&ctx, 500, |n| if n == 77 { panic!("77") } else { Ok(n) }, |_| Ok(true));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics)).is_err());
    }
}
