use super::frame::{Frame, Parsed};
use super::segment::{HEADER_BYTES, MAGIC};
use crate::model::Signal;
use crate::runtime::World;
use crate::storage::layout::Layout;
use bytes::Bytes;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What replay found in a lane.
#[derive(Debug, Default)]
pub struct ReplayReport {
    /// Frames given to `visit`.
    pub frames: u64,
    /// Frames set aside because their checksum was wrong in the middle of the log.
    pub damaged: u64,
    /// Bytes cut from the end of the last segment: a write that was never acknowledged.
    pub torn_bytes: u64,
    /// LSN of the next frame.
    pub next: u64,
    /// Segments that still hold frames at or above the floor, oldest first: path, LSN after the last frame, bytes.
    pub segments: Vec<(PathBuf, u64, u64)>,
}

/// Gives every whole frame at or above `floor` to `visit`, in order. Segments wholly below the floor are deleted.
/// A torn tail is cut; damage elsewhere is copied to a `.damaged` file beside the segment and skipped.
pub fn replay(world: &World, layout: &Layout, signal: Signal, floor: u64, mut visit: impl FnMut(Frame)) -> io::Result<ReplayReport> {
    let directory = layout.wal(signal);
    world.create_dir_durable(layout.root(), &directory)?;
    let mut report = ReplayReport { next: floor.max(1), ..ReplayReport::default() };
    let names = world.disk.list(&directory)?;
    let firsts: Vec<u64> = names.iter().filter_map(|n| Layout::segment_first(n)).collect();
    for (index, first) in firsts.iter().enumerate() {
        let path = layout.segment(signal, *first);
        let last = index + 1 == firsts.len();
        // A segment ends where the next one begins.
        if firsts.get(index + 1).is_some_and(|next| *next <= floor) {
            world.disk.remove_file(&path)?;
            continue;
        }
        let bytes = Bytes::from(world.disk.read(&path)?);
        let mut reader = SegmentReader { world, path: &path, bytes, first: *first, last, report: &mut report };
        let (end, length) = reader.read(floor, &mut visit)?;
        report.next = report.next.max(end);
        // One without a whole frame goes, too: a crash has interrupted its first write, and what was damaged is set
        // aside by now. The next frame's segment will have its name.
        if end <= floor || end == *first {
            world.disk.remove_file(&path)?;
        } else {
            report.segments.push((path, end, length));
        }
    }
    Ok(report)
}

struct SegmentReader<'a> {
    world: &'a World,
    path: &'a Path,
    bytes: Bytes,
    first: u64,
    last: bool,
    report: &'a mut ReplayReport,
}

impl SegmentReader<'_> {
    /// Returns the LSN after the last frame, and the length of the segment without its torn tail.
    fn read(&mut self, floor: u64, visit: &mut impl FnMut(Frame)) -> io::Result<(u64, u64)> {
        let mut next = self.first;
        let header_is_good = self.bytes.starts_with(MAGIC) && self.bytes.get(8..HEADER_BYTES) == Some(&self.first.to_le_bytes()[..]);
        if !header_is_good {
            let whole = self.bytes.len();
            self.damaged(0, whole)?;
            return Ok((next, whole as u64));
        }
        let mut at = HEADER_BYTES;
        loop {
            match Frame::parse(&self.bytes.slice(at..)) {
                Parsed::End => break,
                Parsed::Frame { frame, length } => {
                    at += length;
                    next = frame.lsn + 1;
                    if frame.lsn >= floor {
                        self.report.frames += 1;
                        visit(frame);
                    }
                }
                Parsed::Damaged { length } => {
                    let Some(resume) = length.map(|l| at + l).filter(|r| self.frame_follows(*r, next)) else {
                        self.end_of_readable(at)?;
                        break;
                    };
                    self.damaged(at, resume)?;
                    at = resume;
                }
            }
        }
        Ok((next, at as u64))
    }

    /// Whether the damage before `at` is in the middle: a good, later frame stands behind it, perhaps after further
    /// damaged ones.
    fn frame_follows(&self, mut at: usize, after: u64) -> bool {
        while at < self.bytes.len() {
            match Frame::parse(&self.bytes.slice(at..)) {
                Parsed::Frame { frame, .. } => return frame.lsn > after,
                Parsed::Damaged { length: Some(length) } => at += length,
                Parsed::Damaged { length: None } | Parsed::End => return false,
            }
        }
        false
    }

    /// Nothing can be read behind `at`. In the last segment that is the write that the crash interrupted, which nobody
    /// was told of; in another one it is damage.
    fn end_of_readable(&mut self, at: usize) -> io::Result<()> {
        if !self.last {
            let whole = self.bytes.len();
            return self.damaged(at, whole);
        }
        self.report.torn_bytes += (self.bytes.len() - at) as u64;
        self.world.disk.truncate(self.path, at as u64)
    }

    fn damaged(&mut self, from: usize, to: usize) -> io::Result<()> {
        self.report.damaged += 1;
        tracing::error!(segment = %self.path.display(), from, to, "damaged part of the write-ahead log is set aside");
        let copy = self.path.with_extension(format!("{from}.damaged"));
        if self.world.disk.exists(&copy) {
            return Ok(());
        }
        let mut file = self.world.disk.create(&copy)?;
        file.write_all(&self.bytes[from..to])?;
        file.sync()
    }
}
