//! The write-ahead log: one lane a signal, each a directory of segments of frames. A frame is on disk before its
//! request is acknowledged (invariant 1); replay reads it back.

mod committer;
mod frame;
mod lane;
mod replay;
mod scan;
mod segment;

pub use frame::{FRAME_MAX_BYTES, Frame};
pub use lane::{Commit, Lane, LaneConfig, LaneRefusal, NotCommitted, SyncMode};
pub use replay::{ReplayReport, replay};
pub use scan::{Found, scan, segments};
