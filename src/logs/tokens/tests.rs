use super::build::TokensSidecar;
use super::prune::{Search, Text};
use super::{Clause, SEGMENT_GRANULES};
use proptest::prelude::*;

/// Granules are small here, so that few lines make several segments.
const ROWS: u64 = 3;

fn clauses_of(texts: &[&str]) -> Vec<Clause> {
    texts.iter().map(|t| vec![vec![Text::of(t)]]).collect()
}

/// The granules that are left for all clauses.
fn left(lines: &[String], clauses: &[Clause]) -> Vec<u64> {
    let mut sidecar = TokensSidecar::new(ROWS);
    let mut batches: Vec<_> = lines.iter().filter_map(|line| sidecar.line(line).unwrap()).collect();
    batches.extend(sidecar.end().unwrap());
    let granules = (lines.len() as u64).div_ceil(ROWS);
    let mut search = Search::new(clauses, granules);
    for batch in &batches {
        search.batch(batch).unwrap();
    }
    let found = search.result(clauses);
    (0..granules).filter(|g| found[(g / SEGMENT_GRANULES) as usize] >> (g % SEGMENT_GRANULES) & 1 == 1).collect()
}

fn held(lines: &[String], text: &str) -> Vec<u64> {
    let mut granules: Vec<u64> = (0..).zip(lines).filter(|(_, line)| line.contains(text)).map(|(row, _): (u64, _)| row / ROWS).collect();
    granules.dedup();
    granules
}

/// Lines of words and ids of several kinds, some of which are parts of others.
fn line() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        4 => "(time|timeout|out|panic|panicked|_id|ünï|E)",
        2 => "[0-9a-f]{6,9}",
        1 => "[0-9]{1,7}",
        1 => "[a-cX0-2]{1,7}",
        1 => "[a-z]{60,70}",
    ];
    proptest::collection::vec((word, "[ =:/.\"-]{0,2}"), 0..6).prop_map(|parts| parts.into_iter().map(|(w, s)| w + &s).collect())
}

proptest! {
    #[test]
    fn no_granule_with_the_text_is_left_out(
        lines in proptest::collection::vec(line(), 1..150),
        at in any::<prop::sample::Index>(),
        cut in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
        foreign in line(),
    ) {
        // A part of a line that is there, cut anywhere, and a text that hardly is.
        let of = at.get(&lines);
        let ends: Vec<usize> = of.char_indices().map(|(i, _)| i).chain([of.len()]).collect();
        let (a, b) = (*cut.0.get(&ends), *cut.1.get(&ends));
        for text in [&of[a.min(b)..a.max(b)], foreign.as_str()] {
            let left = left(&lines, &clauses_of(&[text]));
            for granule in held(&lines, text) {
                prop_assert!(left.contains(&granule), "{text:?} is in granule {granule}, and {left:?} are left");
            }
        }
    }

    #[test]
    fn alternatives_and_clauses_are_joined_rightly(lines in proptest::collection::vec(line(), 1..60), a in line(), b in line(), c in line()) {
        let clauses = vec![vec![vec![Text::of(&a)], vec![Text::of(&b)]], vec![vec![Text::of(&c)]]];
        let left = left(&lines, &clauses);
        for (row, line) in (0..).zip(&lines) {
            if (line.contains(&a) || line.contains(&b)) && line.contains(&c) {
                prop_assert!(left.contains(&(row / ROWS)));
            }
        }
    }
}

#[test]
fn a_needle_leaves_the_granules_that_hold_it() {
    let line = |n: u64| match n {
        700 => "thread main panicked: id=00c0ffee00c0ffee user=alice".to_owned(),
        _ => format!("request {:016x} served in {n}ms by host-{}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15), n % 7),
    };
    let lines: Vec<String> = (0..1_000).map(line).collect();
    let at = [700 / ROWS];
    let one = |text: &str| left(&lines, &clauses_of(&[text]));
    // A word, parts of it, an id alone (whole, since no longer one is there) and one between other characters.
    for text in ["panicked", "anick", "thread main pan", "00c0ffee00c0ffee", "id=00c0ffee00c0ffee ", "user=alice", "alice"] {
        assert_eq!(one(text), at, "{text}");
    }
    assert_eq!(one("nowhere"), Vec::<u64>::new());
    assert_eq!(one("id=00c0ffee00c0ffe0 "), Vec::<u64>::new());
    assert_eq!(one("served in").len(), 1_000usize.div_ceil(ROWS as usize));
    // A part of an id may be in any: only hashes of them are known.
    assert!(one("c0ffee00c0f").len() > 100);
    assert!(!Text::of(": --").tells() && !Text::of("ab").tells() && Text::of(" ab ").tells());
}
