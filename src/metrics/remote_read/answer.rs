//! The two forms of an answer: `prometheus.ReadResponse`, and frames of `prometheus.ChunkedReadResponse`.

use super::chunk::{Chunk, chunks};
use crate::metrics::promql::SeriesData;
use crate::metrics::remote_write::body::{histogram, push_bytes, push_double, push_varint, push_varint_field};
use crate::metrics::rows::HistogramSample;
use crate::model::Labels;

fn labels(labels: &Labels) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in labels.iter() {
        let mut pair = Vec::with_capacity(name.len() + value.len() + 4);
        push_bytes(&mut pair, 1, name.as_bytes());
        push_bytes(&mut pair, 2, value.as_bytes());
        push_bytes(&mut out, 1, &pair);
    }
    out
}

/// A `ReadResponse` under way: one result a query, in their order.
#[derive(Debug, Default)]
pub struct Samples {
    body: Vec<u8>,
    result: Vec<u8>,
}

impl Samples {
    pub fn series(&mut self, series: &SeriesData) {
        let mut message = labels(&series.labels);
        for (ts, value) in series.ts.iter().zip(series.values.iter()) {
            let mut sample = Vec::with_capacity(20);
            push_double(&mut sample, 1, *value);
            push_varint_field(&mut sample, 2, ts.cast_unsigned());
            push_bytes(&mut message, 2, &sample);
        }
        for sample in &series.histograms {
            // The message of version 1.0 has no start time.
            push_bytes(&mut message, 4, &histogram(&HistogramSample { start: 0, ..sample.clone() }));
        }
        push_bytes(&mut self.result, 1, &message);
    }

    /// Ends the result of one query.
    pub fn end_query(&mut self) {
        push_bytes(&mut self.body, 1, &std::mem::take(&mut self.result));
    }

    /// Bytes of the message as it is now.
    pub fn bytes(&self) -> usize {
        self.body.len() + self.result.len()
    }

    pub fn finish(self) -> Vec<u8> {
        self.body
    }
}

/// Bytes after which a frame ends. Clients refuse frames of more than 50 MB.
const FRAME_BYTES: usize = 1 << 20;

/// Frames under way: length, CRC-32C and bytes of a message, which holds one series or a part of it.
#[derive(Debug, Default)]
pub struct Stream {
    body: Vec<u8>,
    query: u64,
}

impl Stream {
    /// A series without samples is told, too: the client may only want to know that it is there.
    pub fn series(&mut self, series: &SeriesData) {
        let labels = labels(&series.labels);
        let mut message = labels.clone();
        let mut is_told = false;
        for chunk in chunks(series) {
            push_chunk(&mut message, &chunk);
            is_told = message.len() >= FRAME_BYTES;
            if is_told {
                self.frame(&std::mem::replace(&mut message, labels.clone()));
            }
        }
        if !is_told {
            self.frame(&message);
        }
    }

    fn frame(&mut self, series: &[u8]) {
        let mut message = Vec::with_capacity(series.len() + 16);
        push_bytes(&mut message, 1, series);
        push_varint_field(&mut message, 2, self.query);
        push_varint(&mut self.body, message.len() as u64);
        self.body.extend_from_slice(&crc32c::crc32c(&message).to_be_bytes());
        self.body.extend_from_slice(&message);
    }

    /// What follows belongs to the next query.
    pub fn end_query(&mut self) {
        self.query += 1;
    }

    /// Bytes of the body as it is now.
    pub fn bytes(&self) -> usize {
        self.body.len()
    }

    pub fn finish(self) -> Vec<u8> {
        self.body
    }
}

fn push_chunk(out: &mut Vec<u8>, chunk: &Chunk) {
    let mut message = Vec::with_capacity(chunk.data.len() + 32);
    push_varint_field(&mut message, 1, chunk.min.cast_unsigned());
    push_varint_field(&mut message, 2, chunk.max.cast_unsigned());
    push_varint_field(&mut message, 3, chunk.encoding as u64);
    push_bytes(&mut message, 4, &chunk.data);
    push_bytes(out, 2, &message);
}
