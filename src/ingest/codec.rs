use super::Buffers;
use crate::model::{Failure, FailureKind};
use bytes::Bytes;
use std::io::Read;
use std::sync::Arc;

/// Bounds of one request, for every door alike (decisions 8).
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub wire_max_bytes: usize,
    pub decoded_max_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { wire_max_bytes: 32 << 20, decoded_max_bytes: 128 << 20 }
    }
}

/// How a body is compressed. The numbers are stored in WAL frames, so they never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Encoding {
    Identity = 0,
    Gzip = 1,
    Zstd = 2,
    /// zlib, as HTTP's `deflate` is defined, or the raw DEFLATE that many clients send under that name.
    Deflate = 3,
    /// An LZ4 frame; only Loki's OTLP route takes it, so [`Encoding::parse`] does not know it.
    Lz4 = 4,
    /// One raw snappy block, which is part of the protocol in Prometheus's remote write and not a content encoding, so
    /// [`Encoding::parse`] does not know it, either.
    SnappyBlock = 5,
}

impl Encoding {
    /// From `Content-Encoding` or `grpc-encoding`; absent or empty is identity.
    pub fn parse(name: Option<&str>) -> Result<Encoding, Failure> {
        match name.unwrap_or("").trim().to_ascii_lowercase().as_str() {
            "" | "identity" | "none" => Ok(Encoding::Identity),
            "gzip" | "x-gzip" => Ok(Encoding::Gzip),
            "zstd" => Ok(Encoding::Zstd),
            "deflate" => Ok(Encoding::Deflate),
            other => Err(Failure::new(
                FailureKind::UnsupportedMedia,
                format!("unsupported content encoding {other:?}: identity, gzip, zstd and deflate are supported"),
            )),
        }
    }

    pub fn from_stored(number: u8) -> Option<Encoding> {
        use Encoding::{Deflate, Gzip, Identity, Lz4, SnappyBlock, Zstd};
        [Identity, Gzip, Zstd, Deflate, Lz4, SnappyBlock].into_iter().find(|e| *e as u8 == number)
    }

    /// The body decompressed. Fails with `TooLarge` as soon as more than `max` bytes come out, and with `Invalid` for
    /// damaged data; never allocates more than `max` and a buffer.
    pub fn decode(self, body: &Bytes, max: usize) -> Result<Bytes, Failure> {
        self.decode_within(body, max, |_| Ok(()))
    }

    /// As [`Encoding::decode`], and asks `reserve` for room before it takes more memory: its argument is in bytes.
    pub fn decode_within(self, body: &Bytes, max: usize, reserve: impl FnMut(usize) -> Result<(), Failure>) -> Result<Bytes, Failure> {
        self.decode_pooled(body, max, &Arc::default(), reserve)
    }

    /// As [`Encoding::decode_within`], into one of the `buffers`.
    pub fn decode_pooled(
        self,
        body: &Bytes,
        max: usize,
        buffers: &Arc<Buffers>,
        reserve: impl FnMut(usize) -> Result<(), Failure>,
    ) -> Result<Bytes, Failure> {
        if self == Encoding::Identity {
            return if body.len() <= max { Ok(body.clone()) } else { Err(too_large(max)) };
        }
        let mut buffer = buffers.take();
        let decoded = self.decode_into(body, max, &mut buffer, reserve);
        // After a failure, too, since it comes back.
        let bytes = buffers.lend(buffer);
        decoded.map(|()| bytes)
    }

    fn decode_into(
        self,
        input: &[u8],
        max: usize,
        out: &mut Vec<u8>,
        reserve: impl FnMut(usize) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        match self {
            Encoding::Identity => out.extend_from_slice(input),
            Encoding::Gzip => read_bounded(flate2::bufread::MultiGzDecoder::new(input), max, out, reserve)?,
            Encoding::Deflate if is_zlib(input) => read_bounded(flate2::bufread::ZlibDecoder::new(input), max, out, reserve)?,
            Encoding::Deflate => read_bounded(flate2::bufread::DeflateDecoder::new(input), max, out, reserve)?,
            Encoding::SnappyBlock => snappy_bounded(input, max, out, reserve)?,
            Encoding::Lz4 => read_bounded(lz4_flex::frame::FrameDecoder::new(input), max, out, reserve)?,
            Encoding::Zstd => {
                let bad = |e: std::io::Error| Failure::invalid(format!("cannot decompress body: {e}"));
                let mut decoder = zstd::stream::read::Decoder::with_buffer(input).map_err(bad)?;
                // A frame may ask for a window of gigabytes; 2^27 is what senders use at most.
                decoder.window_log_max(27).map_err(bad)?;
                read_bounded(decoder, max, out, reserve)?;
            }
        }
        Ok(())
    }
}

/// The first two bytes of a zlib stream: method 8 and a checksum.
fn is_zlib(input: &[u8]) -> bool {
    input.len() >= 2 && input[0] & 0x0f == 8 && u16::from_be_bytes([input[0], input[1]]).is_multiple_of(31)
}

fn too_large(max: usize) -> Failure {
    Failure::new(FailureKind::TooLarge, format!("request body is larger than {max} bytes after decompression"))
}

/// A block says how long it is, so all the room is asked for at once.
fn snappy_bounded(
    input: &[u8],
    max: usize,
    out: &mut Vec<u8>,
    mut reserve: impl FnMut(usize) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let bad = |e: snap::Error| Failure::invalid(format!("cannot decompress body: {e}"));
    let length = snap::raw::decompress_len(input).map_err(bad)?;
    if length > max {
        return Err(too_large(max));
    }
    reserve(length)?;
    out.resize(length, 0);
    let written = snap::raw::Decoder::new().decompress(input, out).map_err(bad)?;
    out.truncate(written);
    Ok(())
}

/// Room is asked for in steps of this many bytes.
const STEP: usize = 1 << 20;

/// `out` is empty.
fn read_bounded(
    mut reader: impl Read,
    max: usize,
    out: &mut Vec<u8>,
    mut reserve: impl FnMut(usize) -> Result<(), Failure>,
) -> Result<(), Failure> {
    loop {
        reserve(STEP)?;
        let step = reader.by_ref().take(STEP.min(max + 1 - out.len()) as u64);
        let read = { step }.read_to_end(out).map_err(|e| Failure::invalid(format!("cannot decompress body: {e}")))?;
        if out.len() > max {
            return Err(too_large(max));
        }
        if read < STEP {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(data: &[u8]) -> Bytes {
        let mut e = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        e.write_all(data).unwrap();
        e.finish().unwrap().into()
    }

    #[test]
    fn every_encoding_round_trips_and_is_bounded() {
        let data = vec![7u8; 100_000];
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        zlib.write_all(&data).unwrap();
        let mut raw = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
        raw.write_all(&data).unwrap();
        let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
        lz4.write_all(&data).unwrap();
        let bodies = [
            (Encoding::Lz4, lz4.finish().unwrap().into()),
            (Encoding::SnappyBlock, snap::raw::Encoder::new().compress_vec(&data).unwrap().into()),
            (Encoding::Identity, Bytes::from(data.clone())),
            (Encoding::Gzip, gzip(&data)),
            (Encoding::Zstd, zstd::encode_all(&data[..], 1).unwrap().into()),
            (Encoding::Deflate, zlib.finish().unwrap().into()),
            (Encoding::Deflate, raw.finish().unwrap().into()),
        ];
        let buffers = Arc::new(Buffers::default());
        for (encoding, body) in bodies {
            assert_eq!(encoding.decode(&body, 100_000).unwrap(), data, "{encoding:?}");
            for _ in 0..2 {
                assert_eq!(encoding.decode_pooled(&body, 100_000, &buffers, |_| Ok(())).unwrap(), data, "{encoding:?}");
                assert!(encoding.decode_pooled(&body, 99_999, &buffers, |_| Ok(())).is_err(), "{encoding:?}");
            }
            assert_eq!(encoding.decode(&body, 99_999).unwrap_err().kind, FailureKind::TooLarge, "{encoding:?}");
            assert_eq!(Encoding::from_stored(encoding as u8), Some(encoding));
        }
    }

    #[test]
    fn room_is_asked_for_before_memory_is_taken() {
        let body = gzip(&vec![7u8; 3 * STEP + 5]);
        let mut left = 4 * STEP;
        let mut take = |bytes| {
            left = usize::checked_sub(left, bytes).ok_or_else(|| Failure::unavailable("full"))?;
            Ok(())
        };
        assert_eq!(Encoding::Gzip.decode_within(&body, 10 * STEP, &mut take).unwrap().len(), 3 * STEP + 5);
        assert_eq!(Encoding::Gzip.decode_within(&body, 10 * STEP, &mut take).unwrap_err().kind, FailureKind::Unavailable);
    }

    #[test]
    fn damage_is_invalid_and_unknown_names_are_unsupported() {
        let mut body = gzip(b"hello").to_vec();
        body.truncate(12);
        for encoding in [Encoding::Gzip, Encoding::Zstd, Encoding::Deflate, Encoding::Lz4, Encoding::SnappyBlock] {
            assert_eq!(encoding.decode(&body.clone().into(), 100).unwrap_err().kind, FailureKind::Invalid, "{encoding:?}");
        }
        assert_eq!(Encoding::parse(Some("br")).unwrap_err().kind, FailureKind::UnsupportedMedia);
    }
}
