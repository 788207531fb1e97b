//! The door in: admit (rate, size, memory, readiness), append, account. What a body means is the business of each signal's
//! own room, which passes its translation in.

mod admission;
mod buffers;
mod codec;
mod door;
mod observer;
mod otlp_json;
mod otlp_wire;
mod room;
mod wire;
#[cfg(test)]
pub mod wire_cases;

pub use admission::{AllLimits, TenantLimits};
pub use buffers::Buffers;
pub use codec::{Encoding, Limits};
pub use door::{Door, Outcome};
pub use observer::{Fed, Feed, Observer, feed};
pub use otlp_json::otlp_json_to_protobuf;
pub use otlp_wire::{ResourceRef, ScopeRef, merge_resource, merge_scope, merge_value, read_attribute};
pub use room::{NoRoom, Plain, Room};
pub use wire::{Field, Message, WireError, zigzag};
