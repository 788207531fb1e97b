//! The HTTP kit: reading parameters, tenants and OTLP requests, and the one place where a failure becomes an HTTP or
//! gRPC status.

mod body;
mod cors;
mod notes;
mod origin;
mod otlp;
mod params;
mod slow;
mod status;
mod stream;
mod tap;
mod tenancy;
mod tls;

pub use body::{hold_bodies, json_response, read_body, text_response};
pub use cors::{Origins, share_with};
pub use notes::{as_partial, note, noting, with_warnings};
pub use origin::{is_own_page, own_pages_only};
pub use otlp::{OtlpFormat, OtlpRequest, Rejected, framed, retry_delay, rpc_status};
pub use params::Params;
pub use slow::{SlowQueries, SlowQuery, name_query, note_slow_queries};
pub use status::{grpc_code, http_status};
pub use stream::{Pieces, streamed};
pub use tap::{Export, Tap, tapped};
pub use tenancy::Tenancy;
pub use tls::{HttpClient, HttpVersion, Tls, cause, http_client};
