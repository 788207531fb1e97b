//! The write-ahead log: one lane a signal, each a directory of segments of frames. A frame is on disk before its
//! request is acknowledged (invariant 1); replay reads it back.

mod frame;
mod lane;
mod replay;
mod scan;
mod segment;

pub use frame::Frame;
pub use lane::{Commit, Lane, LaneConfig, LaneFull, SyncMode};
pub use replay::{ReplayReport, replay};
pub use scan::{Found, scan, segments};
