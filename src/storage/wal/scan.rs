//! Reads a lane as it lies on disk and changes nothing: for whoever wants to know what is in it.

use super::frame::{Frame, Parsed};
use super::segment::{HEADER_BYTES, MAGIC};
use crate::model::Signal;
use crate::runtime::World;
use crate::storage::layout::Layout;
use bytes::Bytes;
use std::io;
use std::path::Path;

/// What stands somewhere in a segment.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// A whole frame, at this offset.
    Frame(u64, Frame),
    /// Neither magic nor the number in the file's name stand at its start: nothing of it can be read.
    Foreign,
    /// A frame whose checksum is wrong, between these offsets; others follow.
    Damaged(u64, u64),
    /// From here on nothing can be read. In the last segment, and there only, a write that was interrupted looks like this.
    Unreadable(u64),
}

/// LSNs of the first frames of a lane's segments, ascending.
pub fn segments(world: &World, layout: &Layout, signal: Signal) -> io::Result<Vec<u64>> {
    Ok(world.disk.list(&layout.wal(signal))?.iter().filter_map(|name| Layout::segment_first(name)).collect())
}

/// Gives everything in the segment at `path`, whose first frame has LSN `first`, to `visit`; returns its length without the
/// zeros that were reserved behind it.
pub fn scan(world: &World, path: &Path, first: u64, mut visit: impl FnMut(Found)) -> io::Result<u64> {
    let bytes = Bytes::from(world.disk.read(path)?);
    if !(bytes.starts_with(MAGIC) && bytes.get(8..HEADER_BYTES) == Some(&first.to_le_bytes()[..])) {
        visit(Found::Foreign);
        return Ok(bytes.len() as u64);
    }
    let mut at = HEADER_BYTES;
    loop {
        match Frame::parse(&bytes.slice(at..)) {
            Parsed::End => return Ok(at as u64),
            Parsed::Frame { frame, length } => {
                visit(Found::Frame(at as u64, frame));
                at += length;
            }
            Parsed::Damaged { length } => match length.filter(|l| is_frame(&bytes.slice(at + l..))) {
                Some(length) => {
                    visit(Found::Damaged(at as u64, (at + length) as u64));
                    at += length;
                }
                None => {
                    visit(Found::Unreadable(at as u64));
                    return Ok(at as u64);
                }
            },
        }
    }
}

fn is_frame(bytes: &Bytes) -> bool {
    matches!(Frame::parse(bytes), Parsed::Frame { .. } | Parsed::Damaged { length: Some(_) })
}
