//! Work that nobody waits for, behind other threads: what comes in and is asked keeps its latency.

use std::io;
use std::thread::{Builder, scope};

/// How far behind: as for `nice`, where five less is three times the share of a busy processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behind {
    /// Someone waits for it.
    Nobody = 0,
    /// Only for what ingest does not need: cuts that fall behind stop it.
    Far = 10,
}

/// Does the work and waits for it; what is behind others has a thread of its own, since a thread cannot come forward again.
/// Fails where there is no thread to be had.
pub fn in_background<T: Send>(behind: Behind, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    if behind == Behind::Nobody {
        return Ok(work());
    }
    scope(|threads| {
        let work = move || {
            yield_to_others(behind);
            work()
        };
        let thread = Builder::new().name("background".to_owned()).spawn_scoped(threads, work)?;
        Ok(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

/// From now on, and for good: elsewhere than on Linux a priority is that of the whole process.
#[cfg(target_os = "linux")]
fn yield_to_others(behind: Behind) {
    // Where it fails, the thread stays as it was.
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), behind as i32);
}

#[cfg(not(target_os = "linux"))]
fn yield_to_others(_: Behind) {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn work_is_done_and_a_panic_is_the_callers() {
        let words = ["a".to_owned(), "b".to_owned()];
        assert_eq!(in_background(Behind::Far, || words.len()).unwrap(), 2);
        let failed = catch_unwind(AssertUnwindSafe(|| in_background(Behind::Far, || assert!(words.is_empty(), "words"))));
        assert!(failed.is_err());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn only_the_work_is_behind() {
        let nice = || {
            std::fs::read_to_string("/proc/thread-self/stat").unwrap().rsplit(')').next().unwrap().split(' ').nth(17).unwrap().to_owned()
        };
        let before = nice();
        let of = |behind| in_background(behind, nice).unwrap();
        assert_eq!((of(Behind::Far).as_str(), of(Behind::Nobody), nice()), ("10", before.clone(), before));
    }
}
