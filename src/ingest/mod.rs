//! The door in: admit (size, memory, readiness), append, account. What a body means is the business of each signal's
//! own room, which passes its translation in.

mod codec;
mod door;
mod observer;
mod otlp_json;

pub use codec::{Encoding, Limits};
pub use door::{Door, Outcome};
pub use observer::{Fed, Feed, Observer, feed};
pub use otlp_json::otlp_json_to_protobuf;
