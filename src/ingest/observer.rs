//! Seeing what was accepted, as it comes: for live tail, and for what is derived from one signal for another.

use crate::model::TenantId;
use crate::runtime::{Budget, Reservation};
use crate::storage::{Notice, Spec};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Sees every accepted request of one signal, in the order of the WAL. What replay reads was seen by the process before,
/// so it is not shown again; what a crash cuts off between the acknowledgement and the observer's own work is not either.
pub trait Observer<S: Spec>: Send + Sync + 'static {
    /// `rows` are durable, and go to the head when this returns; the notice is called when queries see them. Both run on
    /// the thread that commits the lane, so neither may block, fail or do much: take what is needed (clones of shared
    /// columns, lines that somebody waits for) and offer it to a [`Feed`].
    fn accepted(&self, tenant: &TenantId, rows: &S::Rows) -> Option<Notice>;
}

/// A queue from an observer to whoever does the work, bounded in bytes: what does not fit is not queued, since ingest waits
/// for nobody.
pub struct Feed<T> {
    sender: mpsc::UnboundedSender<(T, Reservation)>,
    room: Arc<Budget>,
}

/// The other end of a [`Feed`].
pub struct Fed<T>(mpsc::UnboundedReceiver<(T, Reservation)>);

/// A queue of at most `max_bytes`.
pub fn feed<T>(max_bytes: u64) -> (Feed<T>, Fed<T>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Feed { sender, room: Budget::new(max_bytes) }, Fed(receiver))
}

impl<T> Clone for Feed<T> {
    fn clone(&self) -> Feed<T> {
        Feed { sender: self.sender.clone(), room: self.room.clone() }
    }
}

impl<T> Feed<T> {
    /// Whether there was room for `item`, which holds `bytes`, and somebody to take it.
    pub fn offer(&self, item: T, bytes: u64) -> bool {
        self.room.clone().reserve(bytes).is_some_and(|reserved| self.sender.send((item, reserved)).is_ok())
    }
}

impl<T> Fed<T> {
    /// The next item; its bytes count until the reservation is dropped. `None` when the other end is gone.
    pub async fn next(&mut self) -> Option<(T, Reservation)> {
        self.0.recv().await
    }

    /// As [`Fed::next`], without waiting.
    pub fn try_next(&mut self) -> Option<(T, Reservation)> {
        self.0.try_recv().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::{Door, Encoding, Limits, Plain};
    use crate::runtime::SystemClock;
    use crate::storage::tests::{WordSpec, word_store, words_of};
    use crate::storage::{Rows, Store};
    use crate::telemetry::Telemetry;
    use bytes::Bytes;

    /// Hands over how many rows came, and how many queries see when it is told.
    struct Counting {
        feed: Feed<(usize, usize)>,
        store: Arc<Store<WordSpec>>,
    }

    impl Observer<WordSpec> for Counting {
        fn accepted(&self, tenant: &TenantId, rows: &<WordSpec as Spec>::Rows) -> Option<Notice> {
            let (feed, store, tenant, count) = (self.feed.clone(), self.store.clone(), tenant.clone(), rows.len());
            Some(Box::new(move || {
                feed.offer((count, store.view(&tenant).heads.iter().map(Vec::len).sum()), 1);
            }))
        }
    }

    #[tokio::test]
    async fn what_is_accepted_is_seen_in_order_once_queries_see_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = word_store(dir.path());
        let door = Door::new(store.clone(), Arc::new(SystemClock), Telemetry::default().ingest, Limits::default(), Budget::new(1 << 20));
        let send = async |text: &str| {
            let translate = |body: Plain<'_>, _| Ok((words_of(body.bytes()), Default::default()));
            let body = Bytes::copy_from_slice(text.as_bytes());
            door.accept(TenantId::default_tenant(), 1, Encoding::Identity, body, translate).await.unwrap();
        };
        send("1 before").await;
        let (feed, mut fed) = feed(2);
        door.observe(Arc::new(Counting { feed, store }));
        for text in ["1 a", "1 b\n2 bad\n3 c", "1 again", "1 no-room"] {
            send(text).await;
        }
        let (first, second) = (fed.next().await.unwrap(), fed.next().await.unwrap());
        assert_eq!((first.0, second.0), ((1, 2), (2, 4)));
        assert!(fed.try_next().is_none());
        drop(first);
        send("1 d").await;
        assert_eq!(fed.next().await.unwrap().0, (1, 6));
    }
}
