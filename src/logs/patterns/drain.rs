use super::tokenize::{Format, Token, WILD};
use std::collections::{BTreeMap, HashMap};

/// Share of tokens that are equal where a line belongs to a cluster.
const SIMILARITY: f64 = 0.3;
const CLUSTERS_MAX: usize = 300;
/// Counts are kept for this many nanoseconds together.
pub const BUCKET: i64 = 10 * crate::model::time::SECOND;
/// Three hours of them.
const BUCKETS_MAX: usize = 1_080;

/// Lines that are alike but for what stands at the placeholders.
struct Cluster {
    tokens: Vec<(Box<str>, u32)>,
    /// Number of lines, by the number of the bucket.
    counts: BTreeMap<i64, u64>,
    last_use: u64,
}

/// The clusters of one stream and level: a tree of fixed depth (length of the line, its spaces, its first word) whose
/// leaves hold the clusters that are compared token by token (He et al., Drain, ICWS 2017).
pub struct Drain {
    format: Format,
    clusters: HashMap<u32, Cluster>,
    leaves: HashMap<u64, Vec<u32>>,
    next: u32,
    uses: u64,
    bytes: usize,
}

impl Cluster {
    fn bytes(&self) -> usize {
        96 + self.tokens.iter().map(|(t, _)| t.len() + 24).sum::<usize>() + 24 * self.counts.len()
    }

    /// Equal tokens, placeholders not counted.
    fn equal(&self, tokens: &[Token<'_>]) -> usize {
        self.tokens.iter().zip(tokens).filter(|((own, _), other)| &**own != WILD && **own == *other.text).count()
    }

    fn pattern(&self) -> String {
        let mut out = String::new();
        for (text, spaces) in &self.tokens {
            // `<x>` would be read as a named capture.
            let text: &str = if text.contains('<') { WILD } else { text };
            // Adjacent ones are one.
            if !(text == WILD && out.ends_with(WILD)) {
                out.push_str(text);
            }
            out.extend(std::iter::repeat_n(' ', *spaces as usize));
        }
        out
    }
}

impl Drain {
    pub fn new(first_line: &str) -> Drain {
        Drain { format: Format::of(first_line), clusters: HashMap::new(), leaves: HashMap::new(), next: 0, uses: 0, bytes: 0 }
    }

    /// Estimated memory.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Counts `line`, at `ts` in nanoseconds, as `weight` lines.
    pub fn learn(&mut self, line: &str, ts: i64, weight: u64) {
        let Some(tokens) = self.format.tokens(line) else { return };
        self.uses += 1;
        let leaf = leaf_of(&tokens);
        let candidates = self.leaves.get(&leaf).map_or(&[][..], |l| l);
        let best =
            candidates.iter().filter_map(|id| self.clusters.get(id).map(|c| (c.equal(&tokens), *id))).max_by_key(|(equal, _)| *equal);
        let id = match best.filter(|(equal, _)| *equal as f64 >= SIMILARITY * tokens.len() as f64) {
            Some((_, id)) => id,
            None => self.insert(leaf, &tokens),
        };
        let Some(cluster) = self.clusters.get_mut(&id) else { return };
        let before = cluster.bytes();
        for ((own, _), other) in cluster.tokens.iter_mut().zip(&tokens) {
            if **own != *other.text {
                *own = WILD.into();
            }
        }
        *cluster.counts.entry(ts.div_euclid(BUCKET)).or_insert(0) += weight;
        if cluster.counts.len() > BUCKETS_MAX {
            cluster.counts.pop_first();
        }
        cluster.last_use = self.uses;
        self.bytes = self.bytes + cluster.bytes() - before;
    }

    fn insert(&mut self, leaf: u64, tokens: &[Token<'_>]) -> u32 {
        if self.clusters.len() >= CLUSTERS_MAX {
            self.forget_oldest();
        }
        let id = self.next;
        self.next = self.next.wrapping_add(1);
        let tokens = tokens.iter().map(|t| (t.text.into(), t.spaces)).collect();
        let cluster = Cluster { tokens, counts: BTreeMap::new(), last_use: self.uses };
        self.bytes += cluster.bytes();
        self.clusters.insert(id, cluster);
        self.leaves.entry(leaf).or_default().push(id);
        id
    }

    /// Drops the cluster that was not used for longest.
    pub fn forget_oldest(&mut self) {
        let Some(id) = self.clusters.iter().min_by_key(|(_, c)| c.last_use).map(|(id, _)| *id) else { return };
        if let Some(cluster) = self.clusters.remove(&id) {
            self.bytes -= cluster.bytes();
        }
        self.leaves.retain(|_, ids| {
            ids.retain(|other| *other != id);
            !ids.is_empty()
        });
    }

    /// Patterns, and their counts by time in nanoseconds.
    pub fn patterns(&self) -> impl Iterator<Item = (String, impl Iterator<Item = (i64, u64)> + '_)> {
        self.clusters.values().map(|c| (c.pattern(), c.counts.iter().map(|(bucket, count)| (bucket * BUCKET, *count))))
    }
}

/// Where in the tree a line belongs. A first word with a digit in it is taken for a variable.
fn leaf_of(tokens: &[Token<'_>]) -> u64 {
    let mut hash = xxhash_rust::xxh3::Xxh3::new();
    for token in tokens {
        hash.update(&token.spaces.to_le_bytes());
    }
    let first = tokens.iter().map(|t| t.text).find(|t| *t != WILD).unwrap_or("");
    hash.update(if first.bytes().any(|b| b.is_ascii_digit()) { WILD } else { first }.as_bytes());
    hash.digest()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::logql::parse;

    fn learned(lines: &[String]) -> Vec<(String, u64)> {
        let mut drain = Drain::new(&lines[0]);
        for line in lines {
            drain.learn(line, 0, 1);
        }
        let mut patterns: Vec<(String, u64)> = drain.patterns().map(|(p, counts)| (p, counts.map(|(_, n)| n).sum())).collect();
        patterns.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
        patterns
    }

    #[test]
    fn variables_become_placeholders_in_every_format() {
        let plain: Vec<String> = (0..50).map(|i| format!("user u{i} logged in  from 10.0.0.{i} (<tag{i}>)")).collect();
        assert_eq!(learned(&plain), [("user <_> logged in  from <_> (<_>>)".to_owned(), 50)]);
        let logfmt: Vec<String> = (0..9).map(|i| format!("ts=2026-01-0{i} level=info msg=\"took {i} s\" path=/a")).collect();
        assert_eq!(learned(&logfmt), [("ts=<_> level=info msg=<_> path=/a".to_owned(), 9)]);
        let json: Vec<String> = (0..9).map(|i| format!(r#"{{"n":{i},"msg":"order {i} was paid with card"}}"#)).collect();
        assert_eq!(learned(&json), [("<_>order <_> was paid with card<_>".to_owned(), 9)]);
    }

    #[test]
    fn patterns_can_be_asked_for_and_clusters_are_bounded() {
        let lines: Vec<String> = (0..2_000).map(|i| format!("{}{i} a{i} b{i} c{i} <x> \"q\" `{i}`", "w".repeat(1 + i % 7))).collect();
        let mut drain = Drain::new(&lines[0]);
        for (i, line) in lines.iter().enumerate() {
            drain.learn(&"z ".repeat(4 + i % 70), 0, 1);
            drain.learn(&format!("k{} {line}", "y".repeat(i)), 0, 1);
        }
        assert!(drain.clusters.len() <= CLUSTERS_MAX);
        let bytes: usize = drain.clusters.values().map(Cluster::bytes).sum();
        assert_eq!(drain.bytes(), bytes);
        for (pattern, _) in drain.patterns() {
            let query = format!("{{a=\"b\"}} |> {}", crate::model::quote::quote(&pattern));
            assert!(parse(&query).is_ok(), "{query}");
        }
    }
}
