//! Samples of range aggregations, series by series, while entries come in.

use super::range::Windows;
use crate::model::Labels;
use crate::query::{Context, QueryError};
use std::collections::HashMap;
use xxhash_rust::xxh3::xxh3_128;

/// Memory of one sample, and of one series with its labels.
const SAMPLE_BYTES: u64 = 16;
const SERIES_BYTES: u64 = 280;

/// A series has at least so many samples before they are counted by step.
const LISTED_MIN: usize = 64;

/// The samples of one series.
pub enum Samples {
    /// Time and value, in order of arrival.
    Listed(Vec<(i64, f64)>),
    /// For operators that add up whole numbers: differences from step to step of the number of samples and of their sum, so
    /// that a long range takes no more memory than its steps.
    Counted(Vec<(i64, i64)>),
}

/// All series that one thread has met.
pub struct SeriesSet<'a> {
    windows: &'a Windows,
    ctx: &'a Context,
    /// The operator adds up whole numbers.
    adds: bool,
    index: HashMap<Labels, usize>,
    /// By fingerprints of labels in the order in which they come: a look that needs no label set.
    by_print: HashMap<u128, usize>,
    pub samples: Vec<Samples>,
    /// The text of which the fingerprint is taken.
    text: Vec<u8>,
}

/// Fingerprints that are kept at most; beyond that, label sets are compared.
const PRINTS_MAX: usize = 1 << 16;

impl<'a> SeriesSet<'a> {
    pub fn new(windows: &'a Windows, ctx: &'a Context, adds: bool) -> SeriesSet<'a> {
        SeriesSet { windows, ctx, adds, index: HashMap::new(), by_print: HashMap::new(), samples: Vec::new(), text: Vec::new() }
    }

    /// The series with these labels, whose names are unique and in any order.
    pub fn series<'l>(&mut self, labels: impl Iterator<Item = (&'l str, &'l str)> + Clone) -> Result<usize, QueryError> {
        self.text.clear();
        for (name, value) in labels.clone() {
            for text in [name, value] {
                self.text.extend((text.len() as u64).to_le_bytes());
                self.text.extend(text.as_bytes());
            }
        }
        let print = xxh3_128(&self.text);
        if let Some(at) = self.by_print.get(&print) {
            return Ok(*at);
        }
        let mut pairs: Vec<(&str, &str)> = labels.collect();
        pairs.sort_unstable();
        let at = self.series_of(Labels::from_sorted(pairs))?;
        if self.by_print.len() < PRINTS_MAX {
            self.by_print.insert(print, at);
        }
        Ok(at)
    }

    fn series_of(&mut self, labels: Labels) -> Result<usize, QueryError> {
        if let Some(at) = self.index.get(&labels) {
            return Ok(*at);
        }
        self.ctx.reserve(SERIES_BYTES + labels.heap_bytes() as u64)?;
        self.index.insert(labels, self.samples.len());
        self.samples.push(Samples::Listed(Vec::new()));
        Ok(self.samples.len() - 1)
    }

    pub fn push(&mut self, series: usize, ts: i64, value: f64) -> Result<(), QueryError> {
        let (windows, steps) = (self.windows, self.windows.steps.count() as usize);
        let Some(samples) = self.samples.get_mut(series) else { return Ok(()) };
        match samples {
            Samples::Counted(steps) => windows.count(steps, ts, value as i64),
            Samples::Listed(list) => {
                self.ctx.reserve(SAMPLE_BYTES)?;
                list.push((ts, value));
                if self.adds && list.len() > steps.max(LISTED_MIN) {
                    self.ctx.reserve((steps as u64 + 1) * SAMPLE_BYTES)?;
                    let listed = list.len() as u64;
                    *samples = Samples::Counted(windows.counted(list));
                    self.ctx.release(listed * SAMPLE_BYTES);
                }
            }
        }
        Ok(())
    }

    /// Takes over the series of another thread.
    fn absorb(&mut self, mut other: SeriesSet<'_>) -> Result<(), QueryError> {
        for (labels, at) in std::mem::take(&mut other.index) {
            self.ctx.check()?;
            let own = self.series_of(labels)?;
            let theirs = std::mem::replace(&mut other.samples[at], Samples::Listed(Vec::new()));
            let ours = std::mem::replace(&mut self.samples[own], Samples::Listed(Vec::new()));
            self.samples[own] = match (ours, theirs) {
                (Samples::Listed(mut a), Samples::Listed(b)) => {
                    a.extend(b);
                    Samples::Listed(a)
                }
                (Samples::Counted(mut a), Samples::Counted(b)) => {
                    a.iter_mut().zip(b).for_each(|(a, b)| *a = (a.0 + b.0, a.1 + b.1));
                    Samples::Counted(a)
                }
                (Samples::Counted(mut steps), Samples::Listed(list)) | (Samples::Listed(list), Samples::Counted(mut steps)) => {
                    list.into_iter().for_each(|(ts, value)| self.windows.count(&mut steps, ts, value as i64));
                    Samples::Counted(steps)
                }
            };
        }
        Ok(())
    }

    /// Those of all threads as one.
    pub fn joined(mut sets: Vec<SeriesSet<'a>>) -> Result<Vec<(Labels, Samples)>, QueryError> {
        let Some(mut all) = sets.pop() else { return Ok(Vec::new()) };
        for set in sets {
            all.absorb(set)?;
        }
        let mut samples: Vec<Option<Samples>> = all.samples.into_iter().map(Some).collect();
        Ok(all.index.into_iter().filter_map(|(labels, at)| samples[at].take().map(|s| (labels, s))).collect())
    }
}
