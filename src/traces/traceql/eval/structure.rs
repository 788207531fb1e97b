//! Structural operators, by nested-set numbers (contracts/tempo.md 4.7). All are near-linear in the spans of the trace.

use crate::traces::trace::Nested;
use crate::traces::traceql::ast::{Form, Relation};
use std::collections::{BTreeSet, HashMap, HashSet};

/// Positions of the spans that `left op right` gives, ascending. Both sides are positions in `nested`, ascending.
pub fn apply(relation: Relation, form: Form, nested: &[Nested], left: &[usize], right: &[usize]) -> Vec<usize> {
    let related = matches(relation, nested, left, right);
    match form {
        Form::Plain => related.into_iter().collect(),
        Form::Negated => right.iter().copied().filter(|i| !related.contains(i)).collect(),
        Form::Union => {
            let others = matches(inverse(relation), nested, right, left);
            related.union(&others).copied().collect()
        }
    }
}

/// Spans of a trace that are judged pair by pair.
pub const BITS: usize = 64;

/// As [`apply`], for at most [`BITS`] spans, which are bits: without allocation, since most traces are small.
pub fn apply_bits(relation: Relation, form: Form, nested: &[Nested], left: u64, right: u64) -> u64 {
    match form {
        Form::Plain => matches_bits(relation, nested, left, right),
        Form::Negated => right & !matches_bits(relation, nested, left, right),
        Form::Union => matches_bits(relation, nested, left, right) | matches_bits(inverse(relation), nested, right, left),
    }
}

fn bits(mut set: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lowest = set.trailing_zeros() as usize;
        set &= set.wrapping_sub(1);
        (lowest < BITS).then_some(lowest)
    })
}

fn matches_bits(relation: Relation, nested: &[Nested], left: u64, right: u64) -> u64 {
    let holds = |i: usize, j: usize| {
        let (a, b) = (&nested[i], &nested[j]);
        a.left != 0
            && b.left != 0
            && match relation {
                Relation::Child => b.parent == a.left,
                Relation::Parent => a.parent == b.left,
                Relation::Descendant => a.left < b.left && b.left < a.right,
                Relation::Ancestor => b.left < a.left && a.left < b.right,
                Relation::Sibling => a.parent == b.parent && i != j,
            }
    };
    bits(right).filter(|j| bits(left).any(|i| holds(i, *j))).fold(0, |all, j| all | 1 << j)
}

const fn inverse(relation: Relation) -> Relation {
    match relation {
        Relation::Child => Relation::Parent,
        Relation::Parent => Relation::Child,
        Relation::Descendant => Relation::Ancestor,
        Relation::Ancestor => Relation::Descendant,
        Relation::Sibling => Relation::Sibling,
    }
}

/// Those of `right` that stand in the relation to some of `left`. Zero, the number of spans that hang from no root, never
/// matches.
fn matches(relation: Relation, nested: &[Nested], left: &[usize], right: &[usize]) -> BTreeSet<usize> {
    let connected = |i: &usize| nested[*i].left != 0;
    let (left, right) = (left.iter().copied().filter(connected), right.iter().copied().filter(connected));
    match relation {
        Relation::Child => {
            let parents: HashSet<i32> = left.map(|i| nested[i].left).collect();
            right.filter(|i| parents.contains(&nested[*i].parent)).collect()
        }
        Relation::Parent => {
            let parents: HashSet<i32> = left.map(|i| nested[i].parent).collect();
            right.filter(|i| parents.contains(&nested[*i].left)).collect()
        }
        Relation::Descendant => {
            let mut outer: Vec<(i32, i32)> = left.map(|i| (nested[i].left, nested[i].right)).collect();
            outer.sort_unstable();
            // The furthest right end of all that begin no later: intervals are nested or apart.
            let mut furthest = 0;
            for (_, right) in &mut outer {
                furthest = furthest.max(*right);
                *right = furthest;
            }
            let within = |i: &usize| {
                let before = outer.partition_point(|(l, _)| *l < nested[*i].left);
                before > 0 && outer[before - 1].1 > nested[*i].left
            };
            right.filter(within).collect()
        }
        Relation::Ancestor => {
            let mut inner: Vec<i32> = left.map(|i| nested[i].left).collect();
            inner.sort_unstable();
            let above = |i: &usize| {
                let first = inner.partition_point(|l| *l <= nested[*i].left);
                inner.get(first).is_some_and(|l| *l < nested[*i].right)
            };
            right.filter(above).collect()
        }
        Relation::Sibling => {
            let mut under: HashMap<i32, usize> = HashMap::new();
            let left: HashSet<usize> = left.collect();
            for i in &left {
                *under.entry(nested[*i].parent).or_default() += 1;
            }
            let beside = |i: &usize| under.get(&nested[*i].parent).is_some_and(|n| *n > usize::from(left.contains(i)));
            right.filter(beside).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SpanId;
    use crate::traces::span::Span;
    use crate::traces::trace::nested_sets;
    use proptest::prelude::*;

    /// A(B(C), D), E, and F apart from all.
    fn tree() -> Vec<Nested> {
        let n = |left, right, parent| Nested { left, right, parent, child_count: 0 };
        vec![n(1, 8, -1), n(2, 5, 1), n(3, 4, 2), n(6, 7, 1), n(9, 10, -1), n(0, 0, 0)]
    }

    #[test]
    fn every_relation_and_form() {
        let all: Vec<usize> = (0..6).collect();
        let run = |relation, form, left: &[usize], right: &[usize]| apply(relation, form, &tree(), left, right);
        assert_eq!(run(Relation::Child, Form::Plain, &[0], &all), [1, 3]);
        assert_eq!(run(Relation::Child, Form::Negated, &[0], &all), [0, 2, 4, 5]);
        assert_eq!(run(Relation::Child, Form::Union, &[0, 4], &all), [0, 1, 3]);
        assert_eq!(run(Relation::Descendant, Form::Plain, &[0, 1], &all), [1, 2, 3]);
        assert_eq!(run(Relation::Parent, Form::Plain, &[2, 4, 5], &all), [1]);
        assert_eq!(run(Relation::Ancestor, Form::Plain, &[2], &all), [0, 1]);
        assert_eq!(run(Relation::Ancestor, Form::Union, &[2], &[0, 3]), [0, 2]);
        assert_eq!(run(Relation::Sibling, Form::Plain, &[1], &all), [3]);
        assert_eq!(run(Relation::Sibling, Form::Plain, &[0, 4, 5], &all), [0, 4]);
        assert_eq!(run(Relation::Sibling, Form::Negated, &[], &[0, 5]), [0, 5]);
    }

    /// The definitions of the contract, pair by pair.
    fn holds(relation: Relation, a: Nested, b: Nested, same: bool) -> bool {
        a.left != 0
            && b.left != 0
            && match relation {
                Relation::Child => b.parent == a.left,
                Relation::Parent => a.parent == b.left,
                Relation::Descendant => a.left < b.left && b.left < a.right,
                Relation::Ancestor => b.left < a.left && a.left < b.right,
                Relation::Sibling => a.parent == b.parent && !same,
            }
    }

    /// Whether `ancestor` is above `index`, step by step along the ids.
    fn is_above(spans: &[Span], ancestor: usize, index: usize) -> bool {
        let parent = |i: usize| spans[i].parent_span_id.and_then(|id| spans.iter().position(|s| s.span_id == id));
        let mut at = parent(index);
        for _ in 0..spans.len() {
            match at {
                Some(i) if i == ancestor => return true,
                Some(i) => at = parent(i),
                None => return false,
            }
        }
        false
    }

    /// Whether the span hangs from a root: what does not, never matches.
    fn is_rooted(spans: &[Span], index: usize) -> bool {
        (0..spans.len()).any(|root| spans[root].parent_span_id.is_none() && (root == index || is_above(spans, root, index)))
    }

    fn naive(relation: Relation, spans: &[Span], a: usize, b: usize) -> bool {
        let child = |above: usize, below: usize| spans[below].parent_span_id == Some(spans[above].span_id);
        is_rooted(spans, a)
            && is_rooted(spans, b)
            && match relation {
                Relation::Child => child(a, b),
                Relation::Parent => child(b, a),
                Relation::Descendant => is_above(spans, a, b),
                Relation::Ancestor => is_above(spans, b, a),
                Relation::Sibling => a != b && spans[a].parent_span_id == spans[b].parent_span_id,
            }
    }

    proptest! {
        #[test]
        fn operators_are_walks_along_the_ids_of_any_tree(
            parents in proptest::collection::vec(0u8..14, 1..12),
            (left, right) in (any::<u16>(), any::<u16>()),
        ) {
            // Parents may come later, be missing, or make loops.
            let span = |(i, parent): (usize, &u8)| Span {
                span_id: SpanId([i as u8 + 1; 8]),
                parent_span_id: (*parent > 0 && usize::from(*parent) != i + 1).then_some(SpanId([*parent; 8])),
                ..Span::default()
            };
            let spans: Vec<Span> = parents.iter().enumerate().map(span).collect();
            let nested = nested_sets(&spans);
            let of = |set: u16| -> Vec<usize> { (0..spans.len()).filter(|i| set >> i & 1 == 1).collect() };
            let (left, right) = (of(left), of(right));
            for relation in [Relation::Child, Relation::Parent, Relation::Descendant, Relation::Ancestor, Relation::Sibling] {
                let plain: Vec<usize> = right.iter().copied().filter(|b| left.iter().any(|a| naive(relation, &spans, *a, *b))).collect();
                let others: Vec<usize> = left.iter().copied().filter(|a| right.iter().any(|b| naive(relation, &spans, *a, *b))).collect();
                prop_assert_eq!(&apply(relation, Form::Plain, &nested, &left, &right), &plain, "{:?}", relation);
                let negated: Vec<usize> = right.iter().copied().filter(|b| !plain.contains(b)).collect();
                prop_assert_eq!(apply(relation, Form::Negated, &nested, &left, &right), negated, "{:?}", relation);
                let mut both = [plain, others].concat();
                both.sort_unstable();
                both.dedup();
                prop_assert_eq!(apply(relation, Form::Union, &nested, &left, &right), both, "{:?}", relation);
            }
        }

        #[test]
        fn the_fast_way_is_the_definition(left in proptest::collection::btree_set(0usize..6, 0..6), right in proptest::collection::btree_set(0usize..6, 0..6)) {
            let (left, right): (Vec<_>, Vec<_>) = (left.into_iter().collect(), right.into_iter().collect());
            let tree = tree();
            for relation in [Relation::Child, Relation::Parent, Relation::Descendant, Relation::Ancestor, Relation::Sibling] {
                let expected: Vec<usize> =
                    right.iter().copied().filter(|b| left.iter().any(|a| holds(relation, tree[*a], tree[*b], a == b))).collect();
                prop_assert_eq!(apply(relation, Form::Plain, &tree, &left, &right), expected, "{:?}", relation);
                let set = |side: &[usize]| side.iter().fold(0u64, |all, i| all | 1 << i);
                for form in [Form::Plain, Form::Negated, Form::Union] {
                    let wanted = set(&apply(relation, form, &tree, &left, &right));
                    prop_assert_eq!(apply_bits(relation, form, &tree, set(&left), set(&right)), wanted, "{:?} {:?}", relation, form);
                }
            }
        }
    }
}
