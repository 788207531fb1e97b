//! The connections of one listener: a bounded number, of which those that only wait give way when others want in.

use axum::Router;
use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// While there is no place, the idlest connection is closed so often.
const MAKE_ROOM_EVERY: Duration = Duration::from_millis(50);

/// A connection that was used more recently is not closed: its next request may be on its way.
const IDLE_MIN: Duration = Duration::from_secs(1);

pub(super) struct Connections {
    places: Arc<Semaphore>,
    open: Mutex<HashMap<u64, Arc<State>>>,
    next: AtomicU64,
}

/// What is known of a connection.
struct State {
    uses: Mutex<Uses>,
    /// Told when it is to end.
    closed: Notify,
}

struct Uses {
    /// Requests whose answers are not sent yet.
    under_way: usize,
    /// When the last of them ended, or the connection began.
    since: Instant,
}

/// A place for a connection; given back when it is dropped.
pub(super) struct Place {
    state: Arc<State>,
    connections: Arc<Connections>,
    number: u64,
    _permit: OwnedSemaphorePermit,
}

impl Connections {
    pub fn new(max: usize) -> Arc<Connections> {
        Arc::new(Connections { places: Arc::new(Semaphore::new(max)), open: Mutex::default(), next: AtomicU64::new(0) })
    }

    /// Waits for a place, and closes connections without a request for it, the longest unused first.
    pub async fn place(self: &Arc<Connections>) -> Place {
        loop {
            if let Ok(permit) = tokio::time::timeout(MAKE_ROOM_EVERY, self.places.clone().acquire_owned()).await
                && let Ok(permit) = permit
            {
                let state = Arc::new(State { uses: Mutex::new(Uses { under_way: 0, since: Instant::now() }), closed: Notify::new() });
                let number = self.next.fetch_add(1, Ordering::Relaxed);
                self.open.lock().insert(number, state.clone());
                return Place { state, connections: self.clone(), number, _permit: permit };
            }
            self.close_idlest();
        }
    }

    fn close_idlest(&self) {
        let open = self.open.lock();
        let idle = open.values().filter_map(|state| {
            let uses = state.uses.lock();
            (uses.under_way == 0 && uses.since.elapsed() >= IDLE_MIN).then_some((uses.since, state))
        });
        if let Some((_, idlest)) = idle.min_by_key(|(since, _)| *since) {
            idlest.closed.notify_one();
        }
    }
}

impl Place {
    /// Answers the requests of this connection.
    pub fn service(&self, router: Router) -> Counted {
        Counted { inner: TowerToHyperService::new(router), state: self.state.clone() }
    }

    /// Returns when the connection is to end at once.
    pub async fn closed(&self) {
        self.state.closed.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.open.lock().remove(&self.number);
    }
}

/// A request that is under way, until its answer is sent.
struct Use(Arc<State>);

impl Use {
    fn begin(state: &Arc<State>) -> Use {
        state.uses.lock().under_way += 1;
        Use(state.clone())
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        let mut uses = self.0.uses.lock();
        uses.under_way -= 1;
        uses.since = Instant::now();
    }
}

pub(super) struct Counted {
    inner: TowerToHyperService<Router>,
    state: Arc<State>,
}

impl Service<Request<Incoming>> for Counted {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let (answer, used) = (self.inner.call(request), Use::begin(&self.state));
        Box::pin(async move { Ok(answer.await?.map(|body| Body::new(Using { body, _used: used }))) })
    }
}

/// The body of an answer, which counts as under way until it is sent.
struct Using {
    body: Body,
    _used: Use,
}

impl HttpBody for Using {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_idlest_gives_way_and_who_is_busy_does_not() {
        let connections = Connections::new(2);
        let (busy, idle) = (connections.place().await, connections.place().await);
        let used = Use::begin(&busy.state);
        let old = Instant::now().checked_sub(2 * IDLE_MIN).unwrap();
        busy.state.uses.lock().since = old;
        let waiting = tokio::spawn({
            let connections = connections.clone();
            async move { connections.place().await }
        });
        assert!(tokio::time::timeout(3 * MAKE_ROOM_EVERY, idle.closed()).await.is_err(), "it was just used");
        idle.state.uses.lock().since = old;
        idle.closed().await;
        drop(idle);
        let third = waiting.await.unwrap();
        assert!(tokio::time::timeout(MAKE_ROOM_EVERY, busy.closed()).await.is_err());
        drop((used, third));
        assert!(busy.state.uses.lock().since > old);
        drop(busy);
        assert!(connections.open.lock().is_empty());
    }
}
