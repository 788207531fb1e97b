//! What may be allocated while a request is translated. An empty part of a message takes two bytes on the wire and hundreds in
//! memory, and the bytes of one label may come to be in a million series: neither the size of a body nor the number of its items
//! bounds that. So whatever reads a body, or makes rows of it, looks at the allocator's own count at every part.

use crate::model::{Failure, FailureKind};
use crate::runtime::{Allocations, Reservation};
use bytes::{Buf, Bytes};
use serde::de::DeserializeOwned;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{self, Read};

/// So many bytes are asked for beyond what is needed at once.
const STEP: u64 = 256 << 10;

/// There is not that much memory for requests; [`Room::close`] says why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it takes more memory than there is for requests")]
pub struct NoRoom;

/// The memory in which one request is translated, on the thread that made it.
pub struct Room {
    allocations: Allocations,
    reserved: RefCell<Reservation>,
    /// Bytes that may be allocated before more must be asked for.
    allowed: Cell<u64>,
    full: Cell<Option<FailureKind>>,
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room").field("allocated", &self.allocations.bytes()).finish_non_exhaustive()
    }
}

impl Room {
    /// Of `reserved`, `spare` bytes are for what the translation allocates from now on.
    pub fn new(reserved: Reservation, spare: u64) -> Room {
        let (allocations, reserved) = (Allocations::from_now(), RefCell::new(reserved));
        Room { allocations, reserved, allowed: Cell::new(spare), full: Cell::default() }
    }

    /// Asked at every part that is read or made.
    #[inline]
    pub fn check(&self) -> Result<(), NoRoom> {
        self.check_for(0)
    }

    /// The same, before `bytes` more are allocated.
    #[inline]
    pub fn check_for(&self, bytes: u64) -> Result<(), NoRoom> {
        let needed = self.allocations.bytes().saturating_add(bytes);
        if needed <= self.allowed.get() { Ok(()) } else { self.grow_to(needed) }
    }

    #[cold]
    fn grow_to(&self, needed: u64) -> Result<(), NoRoom> {
        let mut reserved = self.reserved.borrow_mut();
        let step = (needed - self.allowed.get()).saturating_add(STEP);
        if self.full.get().is_none() && reserved.grow(step).is_some() {
            self.allowed.set(self.allowed.get() + step);
            return Ok(());
        }
        // Whatever is freed meanwhile, the request stays refused.
        self.allowed.set(0);
        let alone = reserved.bytes().saturating_add(step) > reserved.max();
        self.full.set(self.full.get().or(Some(if alone { FailureKind::TooLarge } else { FailureKind::Unavailable })));
        Err(NoRoom)
    }

    /// What was reserved and is allocated still, bytes. Fails if the room was too small, whatever has become of the
    /// translation: with `Unavailable` if others have taken the memory, with `TooLarge` if it would not suffice for this request
    /// alone.
    pub fn close(self) -> Result<(Reservation, u64), Failure> {
        let allocated = self.allocations.bytes();
        let reserved = self.reserved.into_inner();
        match self.full.get() {
            None => Ok((reserved, allocated)),
            Some(FailureKind::TooLarge) => {
                let message =
                    format!("the request takes more than the {} bytes of memory that requests may, send less at once", reserved.max());
                Err(Failure::new(FailureKind::TooLarge, message))
            }
            Some(_) => Err(Failure::unavailable("memory for requests is used up").because("memory")),
        }
    }
}

/// A decompressed body, and the room in which it is read: none where it was taken before, or is our own.
#[derive(Debug, Clone, Copy)]
pub struct Plain<'a> {
    bytes: &'a [u8],
    room: Option<&'a Room>,
}

impl<'a> Plain<'a> {
    pub fn new(bytes: &'a [u8], room: Option<&'a Room>) -> Plain<'a> {
        Plain { bytes, room }
    }

    pub fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    pub fn room(self) -> Option<&'a Room> {
        self.room
    }

    /// Other bytes that are made of these, in the same room.
    pub fn with<'b>(self, bytes: &'b [u8]) -> Plain<'b>
    where
        'a: 'b,
    {
        Plain { bytes, room: self.room }
    }

    /// Before `bytes` more are allocated at once.
    pub fn check_for(self, bytes: usize) -> Result<(), NoRoom> {
        self.room.map_or(Ok(()), |room| room.check_for(bytes as u64))
    }

    /// Before `times` what is allocated already is allocated again at once.
    pub fn check_for_multiple(self, times: u64) -> Result<(), NoRoom> {
        self.room.map_or(Ok(()), |room| room.check_for(room.allocations.bytes().saturating_mul(times)))
    }

    /// From JSON.
    pub fn json<T: DeserializeOwned>(self) -> serde_json::Result<T> {
        serde_json::from_reader(self)
    }
}

impl<'a> From<&'a [u8]> for Plain<'a> {
    fn from(bytes: &'a [u8]) -> Plain<'a> {
        Plain::new(bytes, None)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Plain<'a> {
    fn from(bytes: &'a [u8; N]) -> Plain<'a> {
        Plain::new(bytes, None)
    }
}

impl<'a> From<&'a Vec<u8>> for Plain<'a> {
    fn from(bytes: &'a Vec<u8>) -> Plain<'a> {
        Plain::new(bytes, None)
    }
}

impl<'a> From<&'a Bytes> for Plain<'a> {
    fn from(bytes: &'a Bytes) -> Plain<'a> {
        Plain::new(bytes, None)
    }
}

/// Decoders of other crates read through this and the next: it ends early when the room is full.
impl Read for Plain<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.check_for(0).is_err() {
            return Err(io::Error::new(io::ErrorKind::OutOfMemory, NoRoom));
        }
        self.bytes.read(out)
    }
}

impl Buf for Plain<'_> {
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes
    }

    fn advance(&mut self, count: usize) {
        let rest = self.bytes.get(count..).filter(|_| self.check_for(0).is_ok());
        self.bytes = rest.unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::Budget;
    use std::sync::Arc;

    const MIB: u64 = 1 << 20;

    fn room(budget: &Arc<Budget>) -> Room {
        Room::new(budget.clone().reserve(MIB).unwrap(), MIB)
    }

    #[test]
    fn a_request_gets_more_while_there_is_more() {
        let budget = Budget::new(16 * MIB);
        let room = room(&budget);
        let mut kept = Vec::new();
        for _ in 0..80 {
            kept.push(vec![0u8; 100 << 10]);
            room.check().unwrap();
        }
        assert!((8 * MIB..12 * MIB).contains(&budget.used()), "{}", budget.used());
        let (reserved, allocated) = room.close().unwrap();
        assert!((8_000_000..9_000_000).contains(&allocated));
        drop(reserved);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn what_never_fits_is_too_large_and_what_others_take_is_to_come_later() {
        let budget = Budget::new(16 * MIB);
        let alone = room(&budget);
        assert_eq!(alone.check_for(15 * MIB), Ok(()));
        assert_eq!(alone.check_for(16 * MIB), Err(NoRoom));
        assert_eq!(alone.close().err().unwrap().kind, FailureKind::TooLarge);
        let other = budget.clone().reserve(8 * MIB).unwrap();
        let beside = room(&budget);
        assert_eq!(beside.check_for(10 * MIB), Err(NoRoom));
        assert_eq!(beside.check_for(9 * MIB), Err(NoRoom), "what was refused once stays refused");
        assert_eq!(beside.close().err().unwrap().kind, FailureKind::Unavailable);
        drop(other);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn foreign_decoders_stop_when_the_room_is_full() {
        let budget = Budget::new(8 * MIB);
        let json = format!("[{}[]]", "[],".repeat(1 << 20));
        let room_of_json = room(&budget);
        let error = Plain::new(json.as_bytes(), Some(&room_of_json)).json::<Vec<Vec<u8>>>().unwrap_err();
        assert!(error.is_io(), "{error}");
        assert_eq!(room_of_json.close().err().unwrap().kind, FailureKind::TooLarge);
        let room_of_bytes = room(&budget);
        let list = [0x0a, 0].repeat(1 << 20);
        let decoded: Result<Value, _> = prost::Message::decode(Plain::new(&list, Some(&room_of_bytes)));
        assert!(decoded.map_or(true, |value| value.0.len() < 1 << 20));
        assert_eq!(room_of_bytes.close().err().unwrap().kind, FailureKind::TooLarge);
    }

    #[derive(Clone, PartialEq, prost::Message)]
    struct Value(#[prost(message, repeated, tag = "1")] Vec<Value>);
}
