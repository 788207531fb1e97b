use std::future::Future;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Asks every task to stop, and lets each wait for that.
#[derive(Clone, Default)]
pub struct Shutdown(CancellationToken);

impl Shutdown {
    pub fn request(&self) {
        self.0.cancel();
    }

    pub fn is_requested(&self) -> bool {
        self.0.is_cancelled()
    }

    pub async fn requested(&self) {
        self.0.cancelled().await;
    }
}

/// Background tasks with names, all of which end before the process does.
#[derive(Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    pub shutdown: Shutdown,
}

impl Tasks {
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.tracker.spawn(async move {
            task.await;
            tracing::debug!(task = name, "task ended");
        });
    }

    /// As [`Tasks::spawn`], for work that waits for no I/O thread: `work` has a thread to itself.
    pub fn spawn_blocking(&self, name: &'static str, work: impl FnOnce() + Send + 'static) {
        self.tracker.spawn_blocking(move || {
            work();
            tracing::debug!(task = name, "task ended");
        });
    }

    /// Requests shutdown and waits for every task, at most `limit`. Returns whether all ended.
    pub async fn stop(&self, limit: Duration) -> bool {
        self.shutdown.request();
        self.tracker.close();
        tokio::time::timeout(limit, self.tracker.wait()).await.is_ok()
    }
}
