use std::time::Duration;

/// Why a request was not served, in no protocol's words yet: `web` turns it into an HTTP or gRPC status, and each API
/// into its own body. A kind exists only where a client would act differently.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    pub kind: FailureKind,
    pub message: String,
    /// When a retry may succeed; only for kinds that can be retried.
    pub retry_after: Option<Duration>,
    /// What was short, in a word that is counted; the kind says enough where there is none.
    pub reason: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// The request can never succeed as it is: 400, INVALID_ARGUMENT.
    Invalid,
    /// No tenant was named: 401, UNAUTHENTICATED.
    Unauthenticated,
    /// 404, NOT_FOUND.
    NotFound,
    /// Larger than a bound; never succeeds: 413, RESOURCE_EXHAUSTED without RetryInfo.
    TooLarge,
    /// Content type or encoding: 415, UNIMPLEMENTED.
    UnsupportedMedia,
    /// Over a rate; the same request succeeds later: 429, RESOURCE_EXHAUSTED with RetryInfo.
    RateLimited,
    /// Not ready, or no room at present: 503 with Retry-After, UNAVAILABLE.
    Unavailable,
    /// Our fault: 500, INTERNAL.
    Internal,
}

impl Failure {
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Failure {
        Failure { kind, message: message.into(), retry_after: None, reason: None }
    }

    /// For a reason of its own.
    pub fn because(self, reason: &'static str) -> Failure {
        Failure { reason: Some(reason), ..self }
    }

    pub fn invalid(message: impl Into<String>) -> Failure {
        Failure::new(FailureKind::Invalid, message)
    }

    pub fn internal(message: impl Into<String>) -> Failure {
        Failure::new(FailureKind::Internal, message)
    }

    /// Retryable in a second: replay is still running, a queue is full, memory or disk is short.
    pub fn unavailable(message: impl Into<String>) -> Failure {
        Failure { retry_after: Some(Duration::from_secs(1)), ..Failure::new(FailureKind::Unavailable, message) }
    }
}
