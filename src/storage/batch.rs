use super::Spec;
use crate::model::{Reason, TenantId};
use bytes::Bytes;
use std::collections::BTreeMap;

/// A request's bytes as they came, which is what the WAL keeps and what replay translates again.
#[derive(Debug, Clone)]
pub struct Payload {
    /// What the body is, in the numbers of the signal's own room; storage does not look at it.
    pub kind: u8,
    /// How the body is compressed, in the numbers of `ingest::Encoding`; storage does not look at it.
    pub encoding: u8,
    /// When the request arrived, nanoseconds since the epoch. Replay uses it in place of the clock.
    pub received_at: i64,
    pub body: Bytes,
}

/// Items of one request that were not accepted: replay skips exactly these, and the client is told their number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusals {
    /// Positions of refused items in the order in which translation meets them; sorted, unique.
    indexes: Vec<u32>,
    reasons: BTreeMap<Reason, (u64, String)>,
}

impl Refusals {
    /// The first `message` of a reason is kept for the client.
    pub fn refuse(&mut self, index: u32, reason: Reason, message: impl FnOnce() -> String) {
        match self.indexes.binary_search(&index) {
            Ok(_) => return,
            Err(at) => self.indexes.insert(at, index),
        }
        let entry = self.reasons.entry(reason).or_insert_with(|| (0, message()));
        entry.0 += 1;
    }

    pub fn indexes(&self) -> &[u32] {
        &self.indexes
    }

    pub fn len(&self) -> usize {
        self.indexes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.indexes.is_empty()
    }

    /// (reason, count, first message) in order of reason.
    pub fn reasons(&self) -> impl Iterator<Item = (&'static str, u64, &str)> {
        self.reasons.iter().map(|(reason, (count, message))| (reason.as_str(), *count, message.as_str()))
    }

    /// The first message of each reason, joined by `; `: for `partial_success` and its like.
    pub fn message(&self) -> String {
        self.reasons.values().map(|(_, m)| m.as_str()).collect::<Vec<_>>().join("; ")
    }
}

/// Rows of one tenant and signal that satisfy their spec, with the bytes they were translated from. Made by translate
/// (live) and by replay, and by nothing else.
pub struct Batch<S: Spec> {
    pub tenant: TenantId,
    pub payload: Payload,
    pub rows: S::Rows,
    pub refusals: Refusals,
}

/// Called with the accepted rows when they are durable, before the head takes them; what it returns is called when they
/// are visible. Both run on the lane's committer in the order of frames, so neither may wait; replay calls neither.
pub type Watch<S> = Box<dyn FnOnce(&TenantId, &<S as Spec>::Rows) -> Option<Notice> + Send>;

/// See [`Watch`].
pub type Notice = Box<dyn FnOnce() + Send>;

/// A batch that passed admission (rate, size, memory, disk) in `ingest`, and may be appended.
pub struct Admitted<S: Spec> {
    pub(super) batch: Batch<S>,
    pub(super) watch: Option<Watch<S>>,
}

impl<S: Spec> Admitted<S> {
    pub fn new(batch: Batch<S>) -> Admitted<S> {
        Admitted { batch, watch: None }
    }

    pub fn watched_by(self, watch: Option<Watch<S>>) -> Admitted<S> {
        Admitted { watch, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::Refusals;
    use crate::model::Reason;

    #[test]
    fn an_item_is_refused_once_and_the_first_message_stays() {
        let mut r = Refusals::default();
        r.refuse(5, Reason::TooOld, || "too old: 5".into());
        r.refuse(2, Reason::TooOld, || "too old: 2".into());
        r.refuse(5, Reason::InvalidName, || "never".into());
        assert_eq!(r.indexes(), [2, 5]);
        assert_eq!(r.reasons().collect::<Vec<_>>(), [("too_old", 2, "too old: 5")]);
    }
}
