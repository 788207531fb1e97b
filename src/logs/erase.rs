//! Deletes of log lines: a tombstone's selector is a log query, and hides the lines that it would return in its times.

use super::logql::ast::{LogExpr, Stage};
use super::logql::parse_delete;
use super::logql::pipeline::{LabelSet, Pipeline};
use super::source::{Columns, Run, each_stream, matches};
use crate::model::{Labels, Matcher, TimeRange};
use crate::storage::Tombstone;
use crate::storage::block::Block;
use std::sync::Arc;

struct Selector {
    matchers: Vec<Matcher>,
    pipeline: Pipeline,
    /// Matchers alone: whole streams.
    is_plain: bool,
}

/// One delete, as it concerns the rows of a block.
#[derive(Clone)]
pub struct Eraser {
    tombstone: Arc<Tombstone>,
    selector: Arc<Option<Selector>>,
}

fn compile(text: &str) -> Option<Selector> {
    let selector = |log: LogExpr| {
        let pipeline = Pipeline::compile(&log.stages, None)?;
        let is_plain = log.stages.is_empty();
        Ok(Selector { matchers: log.matchers, pipeline, is_plain })
    };
    match parse_delete(text).and_then(selector) {
        Ok(selector) => Some(selector),
        Err(error) => {
            // The API has excluded this.
            tracing::error!(selector = text, %error, "a delete that cannot be read hides nothing");
            None
        }
    }
}

/// Only what looks at the line and its labels may decide what is deleted.
pub fn may_delete_by(stage: &Stage) -> bool {
    matches!(stage, Stage::Line(_) | Stage::Label(_))
}

impl Eraser {
    pub fn new(tombstone: Arc<Tombstone>) -> Eraser {
        let selector = tombstone.compiled(compile);
        Eraser { tombstone, selector }
    }

    fn selector_of(&self, labels: &Labels) -> Option<&Selector> {
        (*self.selector).as_ref().filter(|s| matches(labels, &s.matchers))
    }

    pub fn selects(&self, labels: &Labels) -> bool {
        self.selector_of(labels).is_some()
    }

    /// Whether it looks at more than the stream and the time.
    pub fn reads_rows(&self) -> bool {
        (*self.selector).as_ref().is_some_and(|s| !s.is_plain)
    }

    /// Whether all entries of the run are hidden for sure.
    pub fn hides_run(&self, run: &Run) -> bool {
        self.tombstone.covers(run.min_ts) && self.tombstone.covers(run.max_ts) && self.selector_of(&run.labels).is_some_and(|s| s.is_plain)
    }

    pub fn hides(&self, labels: &Labels, columns: &Columns, row: usize) -> bool {
        let ts = columns.ts(row);
        if !self.tombstone.covers(ts) {
            return false;
        }
        let Some(selector) = self.selector_of(labels) else { return false };
        let line = columns.line(row);
        if selector.is_plain || !selector.pipeline.admits(line) {
            return selector.is_plain;
        }
        let labels = LabelSet::of_row(labels, columns, row, None, false);
        selector.pipeline.process(&mut selector.pipeline.entry(line, (ts, ts), labels))
    }
}

/// Whether the block has a stream that the tombstone selects, with entries in its times; its lines are not read. A block
/// that cannot be read may.
pub fn may_erase(tombstone: &Tombstone, block: &Arc<Block>) -> bool {
    let eraser = Eraser::new(Arc::new(tombstone.clone()));
    let Some(selector) = &*eraser.selector else { return false };
    let times = TimeRange::new(tombstone.min_time, tombstone.max_time.saturating_add(1));
    let mut any = false;
    let read = each_stream(block, times, &selector.matchers, |_| {
        any = true;
        Ok(())
    });
    any || read.is_err()
}
