use super::frame::{Frame, Parsed};
use super::segment::{HEADER_BYTES, MAGIC};
use crate::model::Signal;
use crate::runtime::World;
use crate::storage::layout::Layout;
use bytes::Bytes;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Frames in a row that damage may hide: numbers further on are not taken for those of a frame.
const FRAMES_LOST_MAX: u64 = 1 << 20;

const TORN: &str = "torn";

/// What replay found in a lane.
#[derive(Debug, Default)]
pub struct ReplayReport {
    /// Frames given to `visit`.
    pub frames: u64,
    /// Parts of the log that were set aside: their checksum was wrong in the middle of it, or `visit` could not use them.
    pub damaged: u64,
    /// Bytes cut from the end of the last segment: a write that was never acknowledged, unless the disk has lost it.
    pub torn_bytes: u64,
    /// LSN of the next frame.
    pub next: u64,
    /// Segments that still hold frames at or above the floor, oldest first: path, LSN after the last frame, bytes.
    pub segments: Vec<(PathBuf, u64, u64)>,
}

/// Gives every whole frame at or above `floor` to `visit`, in order, which says whether it could use it. Segments wholly
/// below the floor are deleted. A torn tail is cut, and its newest copy kept as `.torn`; damage elsewhere, and a frame of no
/// use, is copied to a `.damaged` file beside the segment and skipped.
pub fn replay(
    world: &World,
    layout: &Layout,
    signal: Signal,
    floor: u64,
    mut visit: impl FnMut(Frame) -> bool,
) -> io::Result<ReplayReport> {
    let directory = layout.wal(signal);
    world.create_dir_durable(layout.root(), &directory)?;
    let mut report = ReplayReport { next: floor.max(1), ..ReplayReport::default() };
    let names = world.disk.list(&directory)?;
    let firsts: Vec<u64> = names.iter().filter_map(|n| Layout::segment_first(n)).collect();
    for (index, first) in firsts.iter().enumerate() {
        let path = layout.segment(signal, *first);
        // A segment ends where the next one begins: what it has beyond was taken back and written again.
        let next_first = firsts.get(index + 1).copied();
        if next_first.is_some_and(|next| next <= floor) {
            world.disk.remove_file(&path)?;
            continue;
        }
        let bytes = Bytes::from(world.disk.read(&path)?);
        let mut reader = SegmentReader { world, path: &path, bytes, first: *first, next_first, report: &mut report };
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
    /// Of the next segment, unless this is the last one.
    next_first: Option<u64>,
    report: &'a mut ReplayReport,
}

impl SegmentReader<'_> {
    /// Returns the LSN after the last frame, and the length of the segment without its torn tail.
    fn read(&mut self, floor: u64, visit: &mut impl FnMut(Frame) -> bool) -> io::Result<(u64, u64)> {
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
                Parsed::Frame { frame, .. } if self.next_first.is_some_and(|first| frame.lsn >= first) => break,
                Parsed::Frame { frame, length } => {
                    next = frame.lsn + 1;
                    if frame.lsn >= floor {
                        self.report.frames += 1;
                        if !visit(frame) {
                            self.damaged(at, at + length)?;
                        }
                    }
                    at += length;
                }
                Parsed::Damaged { length } => {
                    let Some(resume) = self.resume(at, length, next) else {
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

    /// Where reading goes on behind the damage at `at`, if a good, later frame stands there: behind the length that the damaged
    /// frame claims to have, or, since just that may be damaged, anywhere.
    fn resume(&self, at: usize, length: Option<usize>, next: u64) -> Option<usize> {
        if let Some(resume) = length.map(|l| at + l).filter(|r| self.frame_follows(*r, next)) {
            return Some(resume);
        }
        let end = self.next_first.unwrap_or(next.saturating_add(FRAMES_LOST_MAX));
        Frame::find(&self.bytes, at + 1, next + 1..end)
    }

    /// Whether a good frame later than `after` stands at `at`, perhaps behind further damaged ones.
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

    /// Nothing can be read behind `at`. In the last segment that is most likely the write that the crash interrupted, which
    /// nobody was told of; in another one it is damage.
    fn end_of_readable(&mut self, at: usize) -> io::Result<()> {
        let end = self.bytes.iter().rposition(|b| *b != 0).map_or(at, |last| last + 1);
        if self.next_first.is_some() {
            return self.damaged(at, end);
        }
        self.report.torn_bytes += (end - at) as u64;
        tracing::warn!(segment = %self.path.display(), from = at, to = end, "the end of the write-ahead log was not whole and is cut");
        self.forget_torn()?;
        self.set_aside(at, end, TORN)?;
        self.world.disk.truncate(self.path, at as u64)
    }

    /// Only the newest is kept: every crash may leave one.
    fn forget_torn(&self) -> io::Result<()> {
        let Some(lane) = self.path.parent() else { return Ok(()) };
        for name in self.world.disk.list(lane)?.iter().filter(|name| name.ends_with(TORN)) {
            self.world.disk.remove_file(&lane.join(name))?;
        }
        Ok(())
    }

    fn damaged(&mut self, from: usize, to: usize) -> io::Result<()> {
        self.report.damaged += 1;
        tracing::error!(segment = %self.path.display(), from, to, "damaged part of the write-ahead log is set aside");
        self.set_aside(from, to, "damaged")
    }

    fn set_aside(&self, from: usize, to: usize, kind: &str) -> io::Result<()> {
        let copy = self.path.with_extension(format!("{from}.{kind}"));
        if self.world.disk.exists(&copy) {
            return Ok(());
        }
        let mut file = self.world.disk.create(&copy)?;
        file.write_all(&self.bytes[from..to])?;
        file.sync()
    }
}
