use crate::model::TenantId;
use bytes::Bytes;

/// One append: a request of one tenant, as it came, and which of its items were refused.
///
/// On disk: `length u32`, `crc32c u32` of what follows, `lsn u64`, `received_at i64`, `kind u8`, `encoding u8`,
/// `tenant length u8`, `refused count u32`, tenant, refused indexes as `u32` each, body. Little-endian throughout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Log sequence number: consecutive within a lane, from 1.
    pub lsn: u64,
    /// Nanoseconds since the epoch.
    pub received_at: i64,
    pub kind: u8,
    pub encoding: u8,
    pub tenant: TenantId,
    /// Sorted positions of items that replay must skip.
    pub refused: Vec<u32>,
    pub body: Bytes,
}

const PREFIX: usize = 8;
const FIXED: usize = 8 + 8 + 1 + 1 + 1 + 4;

/// Largest frame that is written and believed: a body may have 32 MiB, and each refused item takes four bytes.
pub const FRAME_MAX_BYTES: usize = 256 << 20;

/// What stands at some position of a segment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    Frame {
        frame: Frame,
        length: usize,
    },
    /// Zeros, as a reserved but unwritten tail has, or the end of the file.
    End,
    /// The checksum or the contents are wrong; `length` is what the frame claims to occupy, if that is credible.
    Damaged {
        length: Option<usize>,
    },
}

impl Frame {
    /// Bound of a frame's bytes, before it is known which of its items are refused. An item may have a second one that is
    /// numbered, such as an exemplar.
    pub fn bytes_at_most(items: usize, body: usize) -> usize {
        PREFIX + FIXED + usize::from(u8::MAX) + items.saturating_mul(8) + body
    }

    /// Everything before the body; the body follows unchanged, so that it need not be copied.
    pub(super) fn head_bytes(&self) -> Vec<u8> {
        let tenant = self.tenant.as_str().as_bytes();
        let rest = FIXED + tenant.len() + 4 * self.refused.len();
        let mut out = Vec::with_capacity(PREFIX + rest);
        out.extend_from_slice(&((rest + self.body.len()) as u32).to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.lsn.to_le_bytes());
        out.extend_from_slice(&self.received_at.to_le_bytes());
        out.extend_from_slice(&[self.kind, self.encoding, tenant.len() as u8]);
        out.extend_from_slice(&(self.refused.len() as u32).to_le_bytes());
        out.extend_from_slice(tenant);
        for index in &self.refused {
            out.extend_from_slice(&index.to_le_bytes());
        }
        let crc = crc32c::crc32c_append(crc32c::crc32c(&out[PREFIX..]), &self.body);
        out[4..PREFIX].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads the frame at the start of `bytes`.
    pub(super) fn parse(bytes: &Bytes) -> Parsed {
        let Some((prefix, _)) = bytes.split_at_checked(PREFIX) else { return Parsed::End };
        let length = u32_at(prefix, 0) as usize;
        if length == 0 && prefix.iter().all(|b| *b == 0) {
            return Parsed::End;
        }
        if !(FIXED..=FRAME_MAX_BYTES).contains(&length) || PREFIX + length > bytes.len() {
            return Parsed::Damaged { length: None };
        }
        let content = bytes.slice(PREFIX..PREFIX + length);
        let damaged = Parsed::Damaged { length: Some(PREFIX + length) };
        if crc32c::crc32c(&content) != u32_at(prefix, 4) {
            return damaged;
        }
        match Frame::parse_content(&content) {
            Some(frame) => Parsed::Frame { frame, length: PREFIX + length },
            None => damaged,
        }
    }

    /// The offset of the next whole frame behind `from` whose number is in `lsns`: where damage has hidden where frames end.
    pub(super) fn find(bytes: &Bytes, from: usize, lsns: std::ops::Range<u64>) -> Option<usize> {
        let last = bytes.len().checked_sub(PREFIX + FIXED)?;
        let is_likely = |at: &usize| {
            let length = u32_at(bytes, *at) as usize;
            (FIXED..=FRAME_MAX_BYTES).contains(&length) && u64_at(bytes, at + PREFIX).is_some_and(|lsn| lsns.contains(&lsn))
        };
        (from..=last).filter(is_likely).find(|at| matches!(Frame::parse(&bytes.slice(*at..)), Parsed::Frame { .. }))
    }

    fn parse_content(content: &Bytes) -> Option<Frame> {
        let lsn = u64_at(content, 0)?;
        let received_at = i64::from_le_bytes(content.get(8..16)?.try_into().ok()?);
        let (kind, encoding, tenant_length) = (content[16], content[17], usize::from(content[18]));
        let refused_count = u32_at(content, 19) as usize;
        let tenant_end = FIXED + tenant_length;
        let body_start = tenant_end.checked_add(refused_count.checked_mul(4)?)?;
        let tenant = TenantId::parse(std::str::from_utf8(content.get(FIXED..tenant_end)?).ok()?).ok()?;
        let refused = content.get(tenant_end..body_start)?.chunks_exact(4).map(|c| u32_at(c, 0)).collect();
        Some(Frame { lsn, received_at, kind, encoding, tenant, refused, body: content.slice(body_start..) })
    }
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// The caller has checked that four bytes are there.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> Frame {
        let tenant = TenantId::default_tenant();
        Frame { lsn: 7, received_at: -5, kind: 2, encoding: 1, tenant, refused: vec![0, 9], body: Bytes::from_static(b"hello") }
    }

    fn bytes(frame: &Frame) -> Vec<u8> {
        [frame.head_bytes(), frame.body.to_vec()].concat()
    }

    #[test]
    fn a_frame_round_trips() {
        let encoded = bytes(&frame());
        let length = encoded.len();
        assert_eq!(Frame::parse(&encoded.into()), Parsed::Frame { frame: frame(), length });
        assert_eq!(Frame::parse(&vec![0; 64].into()), Parsed::End);
        assert_eq!(Frame::parse(&Bytes::new()), Parsed::End);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let good = bytes(&frame());
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(Frame::parse(&bad.into()), Parsed::Damaged { .. }), "bit {bit}");
        }
        for cut in 8..good.len() {
            assert!(matches!(Frame::parse(&good[..cut].to_vec().into()), Parsed::Damaged { .. }), "cut {cut}");
        }
    }
}
