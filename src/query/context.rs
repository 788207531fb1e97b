use crate::model::TenantId;
use crate::runtime::{Budget, Short};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Why a query gave no answer. Each API has its own status for each kind (decisions 24).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// The query cannot be parsed or typed: the text is the language's own.
    #[error("{0}")]
    Parse(String),
    /// A parameter, or a bound on what may be asked.
    #[error("{0}")]
    Invalid(String),
    /// Evaluation failed because of the data it met.
    #[error("{0}")]
    Execution(String),
    #[error("{0}")]
    TooMuch(String),
    #[error("query timed out")]
    Timeout,
    #[error("query was canceled")]
    Canceled,
    #[error("too many outstanding requests")]
    QueueFull,
    #[error("starting: replay of the write-ahead log is not finished")]
    NotReady,
    /// A block or the bucket cannot be read.
    #[error("{0}")]
    Storage(String),
}

/// Rows and their bytes between two looks at whether the query goes on.
const CHECK_BYTES: usize = 64 << 10;
const ROW_BYTES: usize = 256;

/// A query waits so long for memory that others than queries hold: heads are cut and requests end meanwhile.
const MEMORY_PATIENCE: Duration = Duration::from_secs(5);
const MEMORY_LOOK_EVERY: Duration = Duration::from_millis(10);

/// One query's identity and budget. Cheap to clone; the clones share the budget.
#[derive(Debug, Clone)]
pub struct Context {
    pub tenant: TenantId,
    deadline: Instant,
    canceled: Arc<AtomicBool>,
    memory: Arc<Memory>,
}

/// What one query holds, in bytes.
struct Memory {
    used: AtomicU64,
    max: u64,
    from: Source,
}

enum Source {
    /// What all queries may use together.
    All(Arc<Budget>),
    /// The query that this is a part of.
    Whole(Arc<Memory>),
}

/// Why memory was not granted.
enum Refusal {
    /// The query's own bound.
    Own(u64),
    /// What all queries may use together.
    All(u64),
    /// What others than queries leave of it.
    Now(u64),
}

impl From<Refusal> for QueryError {
    fn from(refusal: Refusal) -> QueryError {
        QueryError::TooMuch(match refusal {
            Refusal::Own(max) => {
                format!("query needs more memory than one query may use ({max} bytes); narrow the time range or the selector")
            }
            Refusal::All(max) | Refusal::Now(max) => {
                format!("no memory is left for queries, which may use {max} bytes together; try again later")
            }
        })
    }
}

impl Memory {
    fn take(&self, bytes: u64) -> Result<(), Refusal> {
        let sum = self.used.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let taken = if sum > self.max {
            Err(Refusal::Own(self.max))
        } else {
            match &self.from {
                Source::All(all) => all.take(bytes).map_err(|short| match short {
                    Short::Share => Refusal::All(all.max()),
                    Short::Whole => Refusal::Now(all.max()),
                }),
                Source::Whole(whole) => whole.take(bytes),
            }
        };
        taken.inspect_err(|_| self.forget(bytes))
    }

    fn forget(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn give(&self, bytes: u64) {
        self.forget(bytes);
        self.give_back(bytes);
    }

    fn give_back(&self, bytes: u64) {
        match &self.from {
            Source::All(all) => all.give(bytes),
            Source::Whole(whole) => whole.give(bytes),
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.give_back(self.used.load(Ordering::Relaxed));
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} bytes", self.used.load(Ordering::Relaxed), self.max)
    }
}

impl Context {
    /// `memory_max` in bytes bounds what [`Context::reserve`] grants at the same time.
    pub fn new(tenant: TenantId, timeout: Duration, memory_max: u64) -> Context {
        Context::sharing(tenant, timeout, memory_max, Budget::new(memory_max))
    }

    /// As [`Context::new`]; `all` bounds what all queries that share it are granted.
    pub fn sharing(tenant: TenantId, timeout: Duration, memory_max: u64, all: Arc<Budget>) -> Context {
        let memory = Arc::new(Memory { used: AtomicU64::new(0), max: memory_max, from: Source::All(all) });
        Context { tenant, deadline: Instant::now() + timeout, canceled: Arc::default(), memory }
    }

    /// The same query with less time.
    pub fn shortened(mut self, timeout: Duration) -> Context {
        self.deadline = self.deadline.min(Instant::now() + timeout);
        self
    }

    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    pub(super) fn cancel(&self) {
        self.canceled.store(true, Ordering::Relaxed);
    }

    /// To be asked once per batch, series or trace.
    pub fn check(&self) -> Result<(), QueryError> {
        if self.canceled.load(Ordering::Relaxed) {
            Err(QueryError::Canceled)
        } else if Instant::now() >= self.deadline {
            Err(QueryError::Timeout)
        } else {
            Ok(())
        }
    }

    /// Bytes that are reserved now.
    pub fn used(&self) -> u64 {
        self.memory.used.load(Ordering::Relaxed)
    }

    /// As [`Context::check`], but only once so much was done: for what is asked for every row, of so many bytes. `since` is
    /// kept by the caller.
    pub fn check_every(&self, since: &mut usize, bytes: usize) -> Result<(), QueryError> {
        *since += ROW_BYTES + bytes;
        if *since < CHECK_BYTES {
            return Ok(());
        }
        *since = 0;
        self.check()
    }

    /// A part of the same query: what it reserves is given back when the last clone of the part is gone.
    pub fn part(&self) -> Context {
        let memory = Memory { used: AtomicU64::new(0), max: self.memory.max, from: Source::Whole(self.memory.clone()) };
        Context { memory: Arc::new(memory), ..self.clone() }
    }

    /// Gives back what [`Context::reserve`] granted, when it is no longer held.
    pub fn release(&self, bytes: u64) {
        self.memory.give(bytes);
    }

    /// Accounts for so many bytes, whatever was reserved before.
    pub fn hold(&self, bytes: u64) -> Result<(), QueryError> {
        let used = self.used();
        if bytes > used {
            return self.reserve(bytes - used);
        }
        self.release(used - bytes);
        Ok(())
    }

    /// Accounts for memory that the query will hold until its end, or until it is released. Blocks for a while when there is
    /// no memory at the moment.
    pub fn reserve(&self, bytes: u64) -> Result<(), QueryError> {
        let asked = Instant::now();
        loop {
            match self.memory.take(bytes) {
                Err(Refusal::Now(_)) if asked.elapsed() < MEMORY_PATIENCE => {
                    self.check()?;
                    std::thread::sleep(MEMORY_LOOK_EVERY);
                }
                taken => return Ok(taken?),
            }
        }
    }
}
