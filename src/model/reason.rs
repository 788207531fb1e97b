/// Why an item of a write request is refused. One set of words for all signals: counters carry them as a label, so that
/// `too_old` means the same for a sample, a line and a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Another value is stored for the same series and time.
    Duplicate,
    /// The stable id of the label set belongs to another one (decisions 17).
    IdCollision,
    InvalidHistogram,
    /// A label or a pair of structured metadata that the signal does not take, or too many of them.
    InvalidLabel,
    InvalidName,
    InvalidSpanId,
    InvalidTemporality,
    /// A time that does not fit into 63 bits of nanoseconds.
    InvalidTime,
    InvalidTraceId,
    /// Older than the newest sample of its series by more than the out-of-order window.
    OutOfOrder,
    /// Further ahead of the clock than is accepted.
    TooFarAhead,
    /// A line or a value above its limit.
    TooLarge,
    /// Beyond the number of items that one request may have.
    TooMany,
    /// Of a new series, by a tenant that has as many as it may have.
    TooManySeries,
    /// Of a new stream, by a tenant that has as many as it may have.
    TooManyStreams,
    /// Older than the retention.
    TooOld,
    /// Of a trace that has as many spans or bytes as a trace may have.
    TraceTooLarge,
}

impl Reason {
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::Duplicate => "duplicate",
            Reason::IdCollision => "id_collision",
            Reason::InvalidHistogram => "invalid_histogram",
            Reason::InvalidLabel => "invalid_label",
            Reason::InvalidName => "invalid_name",
            Reason::InvalidSpanId => "invalid_span_id",
            Reason::InvalidTemporality => "invalid_temporality",
            Reason::InvalidTime => "invalid_time",
            Reason::InvalidTraceId => "invalid_trace_id",
            Reason::OutOfOrder => "out_of_order",
            Reason::TooFarAhead => "too_far_ahead",
            Reason::TooLarge => "too_large",
            Reason::TooMany => "too_many",
            Reason::TooManySeries => "too_many_series",
            Reason::TooManyStreams => "too_many_streams",
            Reason::TooOld => "too_old",
            Reason::TraceTooLarge => "trace_too_large",
        }
    }
}
