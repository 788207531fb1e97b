//! Words without I/O that every room shares: who (tenant), what (signal), when (time), and the names and values that
//! identify data (labels, matchers, attributes, ids). Nothing here reads a clock, a disk or a socket.

mod attribute_ref;
mod attributes;
mod failure;
mod ids;
mod labels;
mod matcher;
pub mod number;
pub mod quote;
mod reason;
pub mod regexp;
mod signal;
mod tenant;
pub mod time;

pub use attribute_ref::{AttributeRef, ValueRef};
pub use attributes::{Attribute, AttributeValue, json_text};
pub use failure::{Failure, FailureKind};
pub use ids::{SpanId, TraceId};
pub use labels::{Labels, LabelsBuilder};
pub use matcher::{MatchOp, Matcher};
pub use reason::Reason;
pub use signal::Signal;
pub use tenant::{TenantError, TenantId};
pub use time::TimeRange;
