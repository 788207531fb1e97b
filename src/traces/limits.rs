//! How large traces, values and requests may be. What is beyond is refused span by span, before anything is stored.

use super::otlp::Translated;
use crate::model::{Reason, TenantId, TraceId};
use parking_lot::Mutex;
use std::collections::HashMap;

#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of one trace as protobuf. A trace that has reached it takes no further spans, and is answered up to it.
    pub trace_max_bytes: u64,
    pub trace_max_spans: u64,
    /// Bytes that one attribute value may have (decisions 10).
    pub value_max_bytes: usize,
    pub request_max_spans: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { trace_max_bytes: 5_000_000, trace_max_spans: 100_000, value_max_bytes: 256 << 10, request_max_spans: 500_000 }
    }
}

/// Traces whose size is known at the same time, twice over: those of the last stretch of arrivals and of the one before.
/// About 10 MB at most. A trace of which nothing came for so long begins to
/// count anew, and so do all after a restart.
const TRACES_MAX: usize = 1 << 16;

#[derive(Debug, Clone, Copy, Default)]
struct Size {
    bytes: u64,
    spans: u64,
}

#[derive(Default)]
struct Known {
    now: HashMap<(TenantId, TraceId), Size>,
    before: HashMap<(TenantId, TraceId), Size>,
}

impl Known {
    fn size(&mut self, key: (TenantId, TraceId)) -> &mut Size {
        if self.now.len() >= TRACES_MAX && !self.now.contains_key(&key) {
            self.before = std::mem::take(&mut self.now);
        }
        let before = self.before.remove(&key).unwrap_or_default();
        self.now.entry(key).or_insert(before)
    }
}

/// How large the traces are that spans come for.
#[derive(Default)]
pub struct TraceSizes(Mutex<Known>);

impl TraceSizes {
    /// Refuses spans beyond the request's limit, and those of traces that are full. The span that fills a trace is still
    /// taken, so that a trace that lost some is larger than what is answered of it, and answered as partial.
    pub fn judge(&self, tenant: &TenantId, translated: &mut Translated<'_>, limits: &Limits) {
        let mut known = self.0.lock();
        let refusals = &mut translated.refusals;
        let mut taken = Vec::with_capacity(translated.spans.len());
        // Spans of a trace mostly come one after the other.
        for run in translated.spans.chunk_by(|a, b| a.row.trace_id == b.row.trace_id) {
            let trace_id = run[0].row.trace_id;
            // Positions ascend: where the first is beyond the limit, all are.
            let mut size = (run[0].index < limits.request_max_spans).then(|| known.size((tenant.clone(), trace_id)));
            for span in run {
                let Some(size) = size.as_mut().filter(|_| span.index < limits.request_max_spans) else {
                    refusals
                        .refuse(span.index, Reason::TooMany, || format!("a request may have at most {} spans", limits.request_max_spans));
                    taken.push(false);
                    continue;
                };
                let is_full = size.bytes > limits.trace_max_bytes || size.spans > limits.trace_max_spans;
                if is_full {
                    refusals.refuse(span.index, Reason::TraceTooLarge, || {
                        let (spans, bytes) = (limits.trace_max_spans, limits.trace_max_bytes);
                        format!("trace {trace_id} exceeds the maximum size of {bytes} bytes or {spans} spans")
                    });
                } else {
                    size.bytes += span.bytes.len() as u64;
                    size.spans += 1;
                }
                taken.push(!is_full);
            }
        }
        let mut taken = taken.into_iter();
        translated.spans.retain(|_| taken.next().unwrap_or(true));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traces::head::Row;
    use crate::traces::otlp::Incoming;
    use crate::traces::span_ref::SpanRef;

    fn request(spans: impl IntoIterator<Item = (u8, u32)>) -> Translated<'static> {
        let row = |trace| Row::of(&SpanRef { trace_id: TraceId([trace; 16]), ..SpanRef::default() }, 0);
        let span = |(trace, index)| Incoming { index, row: row(trace), bytes: b"" };
        Translated { spans: spans.into_iter().map(span).collect(), ..Translated::default() }
    }

    #[test]
    fn a_full_trace_takes_nothing_more_and_others_do() {
        let sizes = TraceSizes::default();
        let tenant = TenantId::default_tenant();
        let limits = Limits { trace_max_spans: 2, request_max_spans: 6, ..Limits::default() };
        let kept = |spans: Vec<(u8, u32)>| {
            let mut translated = request(spans);
            sizes.judge(&tenant, &mut translated, &limits);
            let kept: Vec<u32> = translated.spans.iter().map(|span| span.index).collect();
            (kept, translated.refusals.reasons().map(|(reason, count, _)| (reason, count)).collect::<Vec<_>>())
        };
        assert_eq!(kept(vec![(1, 0), (1, 1), (2, 2)]), (vec![0, 1, 2], vec![]));
        assert_eq!(kept(vec![(1, 0), (1, 1), (2, 2), (2, 6)]), (vec![0, 2], vec![("too_many", 1), ("trace_too_large", 1)]));
        let other = TenantId::parse("other").unwrap();
        let mut translated = request([(1, 0)]);
        sizes.judge(&other, &mut translated, &limits);
        assert_eq!(translated.spans.len(), 1);
    }

    #[test]
    fn what_is_known_is_bounded_and_active_traces_stay() {
        let mut known = Known::default();
        let key = |n: usize| (TenantId::default_tenant(), TraceId((n as u128).to_be_bytes()));
        for n in 0..5 * TRACES_MAX {
            known.size(key(n)).spans += 1;
            known.size(key(0)).spans += 1;
        }
        assert!(known.now.len() <= TRACES_MAX && known.before.len() <= TRACES_MAX);
        assert_eq!(known.size(key(0)).spans, 5 * TRACES_MAX as u64 + 1);
    }
}
