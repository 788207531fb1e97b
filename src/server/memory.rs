//! Keeps the process within `--memory`: long before it is used up the largest head is cut, then caches shrink, and at last
//! writes are refused until there is room, which the budget of requests does when it is asked.

use super::rooms::Room;
use crate::runtime::{Memory, MemoryUse, Pressure, Shutdown, give_back_freed};
use crate::telemetry::MemoryMetrics;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

const TICK: Duration = Duration::from_millis(50);

/// Ticks between two looks while most of the memory is free: each look is tens of times the work of a tick, and an idle process
/// should be idle.
const TICKS_WHEN_FAR: u32 = 10;

/// Caches are halved at most so often: what was let go is freed when its last reader is done.
const SHRINK_EVERY: Duration = Duration::from_secs(1);

/// Under full load writes are refused and let in again every second or so: that is told at most so often.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// A head is not cut for less than this part of the memory, since small blocks cost more than they free.
const CUT_SHARE: u64 = 64;

/// Runs until shutdown, on a thread of its own: it must not wait for those that take the memory.
pub(super) fn keep(memory: &Arc<Memory>, rooms: &Arc<[Room]>, metrics: &MemoryMetrics, shutdown: &Shutdown) {
    let mut cutting: Option<JoinHandle<()>> = None;
    let mut shrunk_at: Option<Instant> = None;
    let mut told_at: Option<Instant> = None;
    let mut ticks = 1;
    while !shutdown.is_requested() {
        std::thread::sleep(TICK);
        ticks -= 1;
        if ticks > 0 {
            continue;
        }
        let mut now = MemoryUse::now();
        if memory.should_give_back(now) {
            give_back_freed();
            metrics.gave_back();
            now = MemoryUse::now();
        }
        metrics.uses(now.allocated, now.resident);
        let pressure = memory.pressure(now);
        ticks = if memory.is_far_from_full(now) { TICKS_WHEN_FAR } else { 1 };
        if pressure >= Pressure::Heads && cutting.as_ref().is_none_or(JoinHandle::is_finished) {
            cutting = cut_largest(memory, rooms);
            if cutting.is_some() {
                metrics.cut_early();
            }
        }
        if pressure >= Pressure::Caches && shrunk_at.is_none_or(|at| at.elapsed() >= SHRINK_EVERY) {
            memory.shrink_caches();
            metrics.shrank();
            shrunk_at = Some(Instant::now());
        }
        if pressure == Pressure::Writes && told_at.is_none_or(|at| at.elapsed() >= TELL_EVERY) {
            let (allocated, resident, max) = (now.allocated, now.resident, memory.max());
            tracing::warn!(allocated, resident, max, "memory is used up: writes are refused until there is room");
            told_at = Some(Instant::now());
        }
    }
}

/// Begins to cut the largest head, if one is worth it.
fn cut_largest(memory: &Memory, rooms: &Arc<[Room]>) -> Option<JoinHandle<()>> {
    let ready = rooms.iter().filter(|room| room.engine.is_ready());
    let (bytes, engine) = ready.map(|room| (room.engine.head_bytes(), room.engine.clone())).max_by_key(|(bytes, _)| *bytes)?;
    if bytes < memory.max() / CUT_SHARE {
        return None;
    }
    Some(tokio::task::spawn_blocking(move || {
        if let Err(error) = engine.flush() {
            tracing::error!(%error, "a head cannot be cut to free memory, will be tried again");
        }
    }))
}
