use crate::model::TenantId;
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

/// One query's identity and budget. Cheap to clone; the clones share the budget.
#[derive(Debug, Clone)]
pub struct Context {
    pub tenant: TenantId,
    deadline: Instant,
    canceled: Arc<AtomicBool>,
    memory_used: Arc<AtomicU64>,
    memory_max: u64,
}

impl Context {
    /// `memory_max` in bytes bounds what [`Context::reserve`] grants over the life of the query.
    pub fn new(tenant: TenantId, timeout: Duration, memory_max: u64) -> Context {
        Context { tenant, deadline: Instant::now() + timeout, canceled: Arc::default(), memory_used: Arc::default(), memory_max }
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
        self.memory_used.load(Ordering::Relaxed)
    }

    /// Gives back what [`Context::reserve`] granted, when it is no longer held.
    pub fn release(&self, bytes: u64) {
        self.memory_used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Accounts for memory that the query will hold until its end, or until it is released.
    pub fn reserve(&self, bytes: u64) -> Result<(), QueryError> {
        let used = self.memory_used.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if used <= self.memory_max {
            return Ok(());
        }
        let max = self.memory_max;
        Err(QueryError::TooMuch(format!(
            "query needs more memory than one query may use ({max} bytes); narrow the time range or the selector"
        )))
    }
}
