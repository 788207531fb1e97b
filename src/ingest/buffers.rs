//! Buffers that bodies are decompressed into, used again: what a request needs is there already, and its pages are in memory.

use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::Arc;

/// Buffers that are kept at most, and bytes of each: larger ones are given back.
const KEPT: usize = 4;
const KEPT_MAX_BYTES: usize = 2 << 20;

/// Buffers that nobody uses.
#[derive(Debug, Default)]
pub struct Buffers(Mutex<Vec<Vec<u8>>>);

impl Buffers {
    /// An empty buffer.
    pub fn take(&self) -> Vec<u8> {
        self.0.lock().pop().unwrap_or_default()
    }

    /// The bytes of `buffer`, which comes back when the last user lets go of them.
    pub fn lend(self: &Arc<Buffers>, buffer: Vec<u8>) -> Bytes {
        Bytes::from_owner(Lent { buffer, home: self.clone() })
    }

    fn put_back(&self, mut buffer: Vec<u8>) {
        let mut kept = self.0.lock();
        if kept.len() < KEPT && buffer.capacity() <= KEPT_MAX_BYTES {
            buffer.clear();
            kept.push(buffer);
        }
    }
}

struct Lent {
    buffer: Vec<u8>,
    home: Arc<Buffers>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.home.put_back(std::mem::take(&mut self.buffer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_empty_when_nobody_reads_it_any_more() {
        let buffers = Arc::new(Buffers::default());
        let mut buffer = buffers.take();
        buffer.extend_from_slice(b"one");
        let capacity = buffer.capacity();
        let bytes = buffers.lend(buffer);
        let part = bytes.slice(1..);
        drop(bytes);
        assert_eq!((&part[..], buffers.take().capacity()), (&b"ne"[..], 0));
        drop(part);
        let again = buffers.take();
        assert_eq!((again.len(), again.capacity()), (0, capacity));
    }

    #[test]
    fn few_buffers_are_kept_and_no_large_ones() {
        let buffers = Arc::new(Buffers::default());
        drop(buffers.lend(Vec::with_capacity(KEPT_MAX_BYTES + 1)));
        assert_eq!(buffers.0.lock().len(), 0);
        let lent: Vec<Bytes> = (0..2 * KEPT).map(|_| buffers.lend(vec![1])).collect();
        drop(lent);
        assert_eq!(buffers.0.lock().len(), KEPT);
    }
}
