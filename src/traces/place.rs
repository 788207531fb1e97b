//! Where the rows of one trace are in one source, small: queries keep many of them.

use super::trace::Part;
use crate::model::TraceId;
use std::ops::Range;

/// A trace in a source. In order of ids, then of sources.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub trace_id: TraceId,
    /// The number of the source, and the position in its index.
    source: u32,
    at: u32,
    /// Smallest start and largest end, both inclusive.
    pub start: i64,
    pub end: i64,
    spans: (u32, u32),
    events: (u32, u32),
    links: (u32, u32),
}

/// Sources, traces and rows are counted in 32 bits by blocks and by chunks.
fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl Place {
    pub fn new((source, at): (usize, usize), part: &Part) -> Place {
        let rows = |range: &Range<u64>| (u32::try_from(range.start).unwrap_or(u32::MAX), u32::try_from(range.end).unwrap_or(u32::MAX));
        Place {
            trace_id: part.trace_id,
            source: small(source),
            at: small(at),
            start: part.start,
            end: part.end,
            spans: rows(&part.spans),
            events: rows(&part.events),
            links: rows(&part.links),
        }
    }

    /// Of a trace that is not looked up yet.
    pub fn waiting(trace_id: TraceId) -> Place {
        Place { trace_id, ..Place::default() }
    }

    pub fn source(&self) -> usize {
        self.source as usize
    }

    pub fn at(&self) -> usize {
        self.at as usize
    }

    /// The same rows, where the source has another number.
    pub fn of_source(self, source: usize) -> Place {
        Place { source: small(source), ..self }
    }

    pub fn part(&self) -> Part {
        let rows = |(start, end): (u32, u32)| u64::from(start)..u64::from(end);
        Part {
            trace_id: self.trace_id,
            start: self.start,
            end: self.end,
            spans: rows(self.spans),
            events: rows(self.events),
            links: rows(self.links),
        }
    }
}

/// Bytes of so many.
pub fn bytes_of(places: usize) -> u64 {
    (places * size_of::<Place>()) as u64
}
