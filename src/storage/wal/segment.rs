use super::frame::Frame;
use crate::model::Signal;
use crate::runtime::{World, WriteFile};
use crate::storage::layout::Layout;
use std::io::{self, Write};
use std::path::PathBuf;

/// First bytes of a segment: magic and version, then the LSN of its first frame.
pub(super) const MAGIC: &[u8; 8] = b"MNCLWAL1";
pub(super) const HEADER_BYTES: usize = 16;

/// Segments grow in steps of this many zeroed bytes, so that most syncs need not write the file's size.
const STEP_BYTES: u64 = 1 << 20;

/// The segment that is being appended to.
pub(super) struct Segment {
    file: Box<dyn WriteFile>,
    pub path: PathBuf,
    pub first: u64,
    pub bytes: u64,
    reserved: u64,
    /// What of it counts as written, whatever becomes of the rest: bytes, and the LSN after its last frame.
    pub kept: (u64, u64),
}

impl Segment {
    /// Creates the segment whose first frame will be `first`, and makes its name durable. One of that name is what a full
    /// disk has left of another attempt.
    pub fn create(world: &World, layout: &Layout, signal: Signal, first: u64) -> io::Result<Segment> {
        let path = layout.segment(signal, first);
        if world.disk.exists(&path) {
            world.disk.remove_file(&path)?;
        }
        let mut file = world.disk.create(&path)?;
        file.write_all(&[&MAGIC[..], &first.to_le_bytes()].concat())?;
        world.disk.sync_dir(&layout.wal(signal))?;
        Ok(Segment { file, path, first, bytes: HEADER_BYTES as u64, reserved: 0, kept: (0, first) })
    }

    pub fn append(&mut self, head: &[u8], frame: &Frame) -> io::Result<()> {
        let end = self.bytes + (head.len() + frame.body.len()) as u64;
        if end > self.reserved {
            let reserved = end.next_multiple_of(STEP_BYTES);
            self.file.reserve(reserved)?;
            self.reserved = reserved;
        }
        self.file.write_all(head)?;
        self.file.write_all(&frame.body)?;
        self.bytes = end;
        Ok(())
    }

    pub fn sync(&mut self) -> io::Result<()> {
        self.file.sync()
    }

    /// Frames before `next` count from now on.
    pub fn keep(&mut self, next: u64) {
        self.kept = (self.bytes, next);
    }
}
