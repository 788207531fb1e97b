use std::collections::BTreeSet;

/// How many different hashes there are among those that were added: exact up to `max` of them; of more, an estimate from the
/// smallest ones, with a standard error of 1/√max (the k minimum values sketch of Bar-Yossef and others, 2002).
pub struct Distinct {
    smallest: BTreeSet<u64>,
    max: usize,
}

impl Distinct {
    /// `max` is at least 2.
    pub fn new(max: usize) -> Distinct {
        Distinct { smallest: BTreeSet::new(), max }
    }

    /// Whether the hash is surely new.
    pub fn add(&mut self, hash: u64) -> bool {
        if self.smallest.len() < self.max {
            return self.smallest.insert(hash);
        }
        if self.smallest.last().is_none_or(|last| *last <= hash) || !self.smallest.insert(hash) {
            return false;
        }
        self.smallest.pop_last();
        true
    }

    pub fn is_exact(&self) -> bool {
        self.smallest.len() < self.max
    }

    pub fn count(&self) -> u64 {
        match self.smallest.last() {
            Some(largest) if !self.is_exact() => ((self.max - 1) as f64 * 2f64.powi(64) / (*largest as f64 + 1.0)).round() as u64,
            _ => self.smallest.len() as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Distinct;

    #[test]
    fn few_are_counted_and_many_estimated() {
        let mut distinct = Distinct::new(4_096);
        for n in 0..4_000u64 {
            for _ in 0..2 {
                distinct.add(xxhash_rust::xxh3::xxh3_64(&n.to_le_bytes()));
            }
        }
        assert_eq!(distinct.count(), 4_000);
        for n in 0..300_000u64 {
            distinct.add(xxhash_rust::xxh3::xxh3_64(&n.to_le_bytes()));
        }
        let count = distinct.count();
        assert!((270_000..330_000).contains(&count) && !distinct.is_exact(), "{count}");
    }
}
