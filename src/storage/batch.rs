use super::Spec;
use crate::model::{Reason, TenantId};
use crate::runtime::Reservation;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Range;

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
    /// Positions of refused items in the order in which translation meets them: a bit each, in words of 64 by their number.
    marked: BTreeMap<u32, u64>,
    reasons: BTreeMap<Reason, (u64, String)>,
    /// Of what was left out without a word.
    unsaid: BTreeMap<Reason, u64>,
    /// In the order of refusal, at most [`MESSAGES_MAX`].
    messages: Vec<String>,
}

/// Messages of one request that are kept for protocols that tell more than one a reason.
const MESSAGES_MAX: usize = 32;

impl Refusals {
    /// The first `message` of a reason is kept for the client.
    pub fn refuse(&mut self, index: u32, reason: Reason, message: impl FnOnce() -> String) {
        self.refuse_all(index..index.saturating_add(1), reason, message);
    }

    /// Refuses several items for one and the same cause, which is told once.
    pub fn refuse_all(&mut self, items: Range<u32>, reason: Reason, message: impl FnOnce() -> String) {
        let count = items.filter(|index| self.mark(*index)).count() as u64;
        if count == 0 {
            return;
        }
        let has_room = self.messages.len() < MESSAGES_MAX;
        if let Some(known) = self.reasons.get_mut(&reason) {
            known.0 += count;
            if has_room {
                self.messages.push(message());
            }
            return;
        }
        let message = message();
        if has_room {
            self.messages.push(message.clone());
        }
        self.reasons.insert(reason, (count, message));
    }

    /// Leaves an item out without telling the sender: what a protocol drops in silence, or what translation made up and
    /// nobody sent. Replay skips it, and counters know it.
    pub fn pass_over(&mut self, index: u32, reason: Reason) {
        if self.mark(index) {
            *self.unsaid.entry(reason).or_default() += 1;
        }
    }

    /// Whether the item was not refused before.
    fn mark(&mut self, index: u32) -> bool {
        let word = self.marked.entry(index / 64).or_default();
        let bit = 1 << (index % 64);
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    /// Sorted.
    pub fn indexes(&self) -> Vec<u32> {
        let bits = |(word, bits): (&u32, &u64)| (0..64).filter(|bit| bits >> bit & 1 == 1).map(|bit| word * 64 + bit).collect::<Vec<_>>();
        self.marked.iter().flat_map(bits).collect()
    }

    pub fn contains(&self, index: u32) -> bool {
        self.marked.get(&(index / 64)).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    /// Items that replay skips.
    pub fn skipped(&self) -> usize {
        self.marked.values().map(|word| word.count_ones() as usize).sum()
    }

    /// Items whose sender is told.
    pub fn len(&self) -> usize {
        self.reasons.values().map(|(count, _)| usize::try_from(*count).unwrap_or(usize::MAX)).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.reasons.is_empty()
    }

    /// Whether anything was refused for another reason.
    pub fn are_other_than(&self, reason: Reason) -> bool {
        self.reasons.keys().any(|r| *r != reason)
    }

    /// (reason, count, first message) in order of reason.
    pub fn reasons(&self) -> impl Iterator<Item = (&'static str, u64, &str)> {
        self.reasons.iter().map(|(reason, (count, message))| (reason.as_str(), *count, message.as_str()))
    }

    /// (reason, count) of what was passed over, in order of reason.
    pub fn unsaid(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.unsaid.iter().map(|(reason, count)| (reason.as_str(), *count))
    }

    /// Each reason with its count and its first message, joined by `; `: for `partial_success`.
    pub fn summary(&self) -> String {
        let part = |(reason, count, message)| format!("{count} {reason}: {message}");
        self.reasons().map(part).collect::<Vec<_>>().join("; ")
    }

    /// The first message of each reason, joined by `; `.
    pub fn message(&self) -> String {
        self.reasons.values().map(|(_, m)| m.as_str()).collect::<Vec<_>>().join("; ")
    }

    /// What was told, item by item in the order of refusal: the first 32.
    pub fn messages(&self) -> &[String] {
        &self.messages
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
    pub(super) memory: Option<Reservation>,
}

impl<S: Spec> Admitted<S> {
    pub fn new(batch: Batch<S>) -> Admitted<S> {
        Admitted { batch, watch: None, memory: None }
    }

    /// Memory for the request, which is given back when the head has its rows.
    pub fn holding(self, memory: Reservation) -> Admitted<S> {
        Admitted { memory: Some(memory), ..self }
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
        assert_eq!(r.messages(), ["too old: 5", "too old: 2"]);
        assert_eq!(r.summary(), "2 too_old: too old: 5");
        assert!(r.are_other_than(Reason::Duplicate) && !r.are_other_than(Reason::TooOld));
    }

    #[test]
    fn what_is_passed_over_is_skipped_by_replay_and_told_to_nobody() {
        let mut r = Refusals::default();
        r.pass_over(3, Reason::TooOld);
        assert!(r.is_empty() && r.contains(3) && r.message().is_empty());
        r.refuse_all(2..5, Reason::InvalidLabel, || "bad label".into());
        assert_eq!((r.len(), r.indexes()), (2, vec![2, 3, 4]));
        assert_eq!(r.messages(), ["bad label"]);
        assert_eq!(r.unsaid().collect::<Vec<_>>(), [("too_old", 1)]);
    }
    /// From the back it was quadratic: minutes for what a request may hold.
    #[test]
    fn the_order_of_refusals_costs_nothing() {
        let mut r = Refusals::default();
        for index in (0..2_000_000).rev() {
            r.pass_over(index, Reason::TooOld);
        }
        assert_eq!((r.skipped(), r.indexes().len()), (2_000_000, 2_000_000));
        assert!(r.indexes().is_sorted() && r.contains(77) && !r.contains(2_000_000));
    }
}
