//! What is scraped and how it went, for those who ask.

use super::config::{Config, Job};
use super::session::Families;
use super::target::Target;
use crate::model::{Labels, TenantId};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

/// All pools, by name.
#[derive(Default)]
pub struct Board {
    pools: Vec<Listed>,
}

/// The targets of a job.
pub struct Listed {
    pub job: Arc<Job>,
    pub active: Vec<Arc<Watched>>,
    /// Labels, before relabelling, of those that it dropped.
    pub dropped: Vec<Labels>,
}

/// A target, and how its last scrape went.
pub struct Watched {
    pub target: Target,
    /// Monocle itself.
    pub is_own: bool,
    status: Mutex<Status>,
    pub families: Families,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Health {
    #[default]
    Unknown,
    Up,
    Down,
}

impl Health {
    pub const fn as_str(self) -> &'static str {
        match self {
            Health::Unknown => "unknown",
            Health::Up => "up",
            Health::Down => "down",
        }
    }
}

#[derive(Debug, Clone, Default)]
pub struct Status {
    pub health: Health,
    /// Empty if there was none.
    pub error: String,
    /// Nanoseconds since the epoch; `None` before the first.
    pub at: Option<i64>,
    pub took: Duration,
}

impl Board {
    pub fn new(config: Config) -> Board {
        let watched = |target, is_own| Arc::new(Watched { target, is_own, status: Mutex::default(), families: Families::default() });
        let listed = config.pools.into_iter().map(|pool| Listed {
            job: pool.job,
            active: pool.active.into_iter().map(|target| watched(target, pool.is_own)).collect(),
            dropped: pool.dropped,
        });
        let mut pools: Vec<Listed> = listed.collect();
        pools.sort_by(|a, b| a.job.name.cmp(&b.job.name));
        Board { pools }
    }

    /// Those whose samples go to `tenant`.
    pub fn pools(&self, tenant: &TenantId) -> impl Iterator<Item = &Listed> {
        self.pools.iter().filter(move |pool| pool.job.tenant == *tenant)
    }

    pub(super) fn active(&self) -> impl Iterator<Item = &Arc<Watched>> {
        self.pools.iter().flat_map(|pool| &pool.active)
    }
}

impl Watched {
    pub fn status(&self) -> Status {
        self.status.lock().clone()
    }

    /// A scrape that began at `at`, nanoseconds since the epoch.
    pub(super) fn report(&self, at: i64, took: Duration, error: Option<String>) {
        let health = if error.is_none() { Health::Up } else { Health::Down };
        *self.status.lock() = Status { health, error: error.unwrap_or_default(), at: Some(at), took };
    }
}
