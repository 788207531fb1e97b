//! A trace put together from all places where its spans are.

use super::span::{KIND_SERVER, STATUS_ERROR, Span};
use super::span_ref::Node;
use crate::model::{SpanId, TraceId};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;

/// Where the rows of one trace are in one chunk or block, and the time they cover.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub trace_id: TraceId,
    /// Smallest start and largest end of its spans, both inclusive.
    pub start: i64,
    pub end: i64,
    /// Rows in `spans`, `events` and `links`.
    pub spans: Range<u64>,
    pub events: Range<u64>,
    pub links: Range<u64>,
}

/// The parts of a table whose rows are these spans, which are sorted by trace; `rows`, `events` and `links` are where the
/// first of each stands.
pub fn parts_of<N: Node>(spans: &[N], rows: u64, events: u64, links: u64) -> Vec<Part> {
    let (mut row, mut event, mut link) = (rows, events, links);
    let parts = spans.chunk_by(|a, b| a.trace_id() == b.trace_id()).map(|trace| {
        let part = Part {
            trace_id: trace[0].trace_id(),
            start: trace.iter().map(Node::start).min().unwrap_or(0),
            end: trace.iter().map(Node::end).max().unwrap_or(0),
            spans: row..row + trace.len() as u64,
            events: event..event + trace.iter().map(|s| s.attached().0 as u64).sum::<u64>(),
            links: link..link + trace.iter().map(|s| s.attached().1 as u64).sum::<u64>(),
        };
        (row, event, link) = (part.spans.end, part.events.end, part.links.end);
        part
    });
    parts.collect()
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServiceCounts {
    pub spans: u64,
    pub errors: u64,
}

/// A row of `traces`.
#[derive(Debug, Clone, PartialEq)]
pub struct TraceRow {
    pub part: Part,
    pub root_service: Option<String>,
    pub root_name: Option<String>,
    pub services: BTreeMap<String, ServiceCounts>,
}

impl TraceRow {
    /// `spans` are those of the part.
    pub fn new<N: Node>(part: Part, spans: &[N]) -> TraceRow {
        let root = root_of(spans);
        TraceRow {
            part,
            root_service: root.map(|r| r.service_name().unwrap_or_default().to_owned()),
            root_name: root.map(|r| r.name().to_owned()),
            services: services_of(spans),
        }
    }
}

/// Spans without duplicates, sorted by start and span id.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    pub trace_id: TraceId,
    pub spans: Vec<Span>,
}

impl Trace {
    /// `spans` come in the order in which they were accepted: of duplicates, the earlier one stays (decisions 16).
    pub fn assemble(trace_id: TraceId, mut spans: Vec<Span>) -> Trace {
        assemble(&mut spans);
        Trace { trace_id, spans }
    }

    pub fn start(&self) -> i64 {
        self.spans.first().map_or(0, |s| s.start)
    }

    pub fn end(&self) -> i64 {
        self.spans.iter().map(Span::end).max().unwrap_or(0)
    }

    pub fn duration(&self) -> i64 {
        self.end().saturating_sub(self.start())
    }

    pub fn root(&self) -> Option<&Span> {
        root_of(&self.spans)
    }

    /// The trace as a client shows it that knows spans by their ids alone: where a client and its server share an id, as
    /// Zipkin's do, the server gets one of its own, below the client, and takes along what hangs from it
    /// (contracts/tempo.md 1.3).
    pub fn with_unique_ids(mut self) -> Trace {
        let mut used: HashSet<SpanId> = self.spans.iter().map(|s| s.span_id).collect();
        if used.len() == self.spans.len() {
            return self;
        }
        let of_clients: HashSet<SpanId> = self.spans.iter().filter(|s| s.kind != KIND_SERVER).map(|s| s.span_id).collect();
        let mut renamed: HashMap<SpanId, SpanId> = HashMap::new();
        for span in self.spans.iter_mut().filter(|s| s.kind == KIND_SERVER && of_clients.contains(&s.span_id)) {
            let mut number = u64::from_be_bytes(span.span_id.0);
            while number == 0 || used.contains(&SpanId(number.to_be_bytes())) {
                number = number.wrapping_add(1);
            }
            let fresh = SpanId(number.to_be_bytes());
            used.insert(fresh);
            renamed.insert(span.span_id, fresh);
            span.parent_span_id = Some(span.span_id);
            span.span_id = fresh;
        }
        for span in self.spans.iter_mut().filter(|s| s.kind != KIND_SERVER) {
            span.parent_span_id = span.parent_span_id.map(|parent| renamed.get(&parent).copied().unwrap_or(parent));
        }
        self
    }

    pub fn services(&self) -> BTreeMap<String, ServiceCounts> {
        services_of(&self.spans)
    }
}

/// Spans up to which each is compared with each, which is cheaper than a table of them.
pub const FEW: usize = 16;

/// The spans of one trace, in the order in which they were accepted, become those of [`Trace::assemble`].
pub fn assemble<N: Node>(spans: &mut Vec<N>) {
    if spans.len() > FEW {
        let mut seen = HashSet::with_capacity(spans.len());
        spans.retain(|s| seen.insert((s.span_id(), s.kind())));
    } else {
        let mut at = 1;
        while at < spans.len() {
            let (before, own) = (&spans[..at], &spans[at]);
            if before.iter().any(|s| s.span_id() == own.span_id() && s.kind() == own.kind()) {
                spans.remove(at);
            } else {
                at += 1;
            }
        }
    }
    spans.sort_by_key(|s| (s.start(), s.span_id()));
}

/// The earliest span without a parent; `spans` are sorted by start.
fn root_of<N: Node>(spans: &[N]) -> Option<&N> {
    spans.iter().find(|s| s.parent_span_id().is_none())
}

fn services_of<N: Node>(spans: &[N]) -> BTreeMap<String, ServiceCounts> {
    let mut services: BTreeMap<String, ServiceCounts> = BTreeMap::new();
    for span in spans {
        let name = span.service_name().unwrap_or_default();
        let counts = match services.get_mut(name) {
            Some(counts) => counts,
            None => services.entry(name.to_owned()).or_default(),
        };
        counts.spans += 1;
        counts.errors += u64::from(span.status_code() == STATUS_ERROR);
    }
    services
}

/// A span's place in the tree of its trace (contracts/tempo.md 4.8). All zero where the span does not hang from a root.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Nested {
    pub left: i32,
    pub right: i32,
    /// The parent's `left`; -1 for a root.
    pub parent: i32,
    pub child_count: i32,
}

/// The positions of spans, by their ids as numbers.
struct ById(Vec<(u64, usize)>);

fn number_of(id: SpanId) -> u64 {
    u64::from_be_bytes(id.0)
}

impl ById {
    fn new<N: Node>(spans: &[N]) -> ById {
        let mut ids: Vec<(u64, usize)> = spans.iter().enumerate().map(|(index, span)| (number_of(span.span_id()), index)).collect();
        ids.sort_unstable();
        ById(ids)
    }

    fn get(&self, id: SpanId) -> &[(u64, usize)] {
        let id = number_of(id);
        let first = self.0.partition_point(|(own, _)| *own < id);
        let count = self.0[first..].iter().take_while(|(own, _)| *own == id).count();
        &self.0[first..first + count]
    }
}

/// A span's neighbours in the tree, by their positions.
#[derive(Clone, Copy, Default)]
struct Branch {
    parent: Option<usize>,
    first_child: Option<usize>,
    /// The next child of its parent, or the next root.
    next: Option<usize>,
}

/// The nested-set numbers of a whole trace, in the order of `spans`, which are sorted as [`Trace`] has them.
pub fn nested_sets<N: Node>(spans: &[N]) -> Vec<Nested> {
    let mut nested = vec![Nested::default(); spans.len()];
    let by_id = ById::new(spans);
    if by_id.0.windows(3).any(|w| w[0].0 == w[2].0) {
        return nested;
    }
    let mut tree = vec![Branch::default(); spans.len()];
    let mut first_root = None;
    // From the last on, so that children stand in the order of spans.
    for index in (0..spans.len()).rev() {
        match parent_of(spans, &by_id, index) {
            Parent::Root => tree[index].next = first_root.replace(index),
            Parent::Span(parent) => {
                tree[index].parent = Some(parent);
                tree[index].next = tree[parent].first_child.replace(index);
            }
            Parent::Missing => {}
        }
    }
    let Some(first_root) = first_root else { return nested };
    for parent in tree.iter().filter_map(|branch| branch.parent) {
        nested[parent].child_count = nested[parent].child_count.saturating_add(1);
    }
    number(first_root, &tree, &mut nested);
    nested
}

/// The position of the parent of each span, where it is there and not a loop of one.
pub fn parents_of(spans: &[Span]) -> Vec<Option<usize>> {
    let by_id = ById::new(spans);
    let parent = |index| match parent_of(spans, &by_id, index) {
        Parent::Span(parent) => Some(parent),
        Parent::Root | Parent::Missing => None,
    };
    (0..spans.len()).map(parent).collect()
}

enum Parent {
    Root,
    Span(usize),
    Missing,
}

/// An id that two spans share is a client and a server of Zipkin's: the server hangs from the client, and what hangs from
/// the id hangs from the server, unless it is itself a server.
fn parent_of<N: Node>(spans: &[N], by_id: &ById, index: usize) -> Parent {
    let span = &spans[index];
    let is_server = |i: usize| spans[i].kind() == KIND_SERVER;
    if let [(_, a), (_, b)] = by_id.get(span.span_id()) {
        let other = if *a == index { *b } else { *a };
        if is_server(index) && !is_server(other) {
            return Parent::Span(other);
        }
    }
    let Some(parent) = span.parent_span_id() else { return Parent::Root };
    match by_id.get(parent) {
        [(_, one)] if *one != index => Parent::Span(*one),
        [(_, a), (_, b)] => {
            let wanted = if is_server(*a) == is_server(index) { *b } else { *a };
            if wanted == index { Parent::Missing } else { Parent::Span(wanted) }
        }
        _ => Parent::Missing,
    }
}

/// Depth first, without recursion: a trace may be a chain of any length.
fn number(first_root: usize, tree: &[Branch], nested: &mut [Nested]) {
    let mut counter = 0;
    let mut down = Some(first_root);
    while let Some(index) = down {
        counter += 1;
        nested[index].left = counter;
        nested[index].parent = tree[index].parent.map_or(-1, |parent| nested[parent].left);
        down = tree[index].first_child;
        // Up, until there is a next one to go down to.
        let mut up = Some(index).filter(|_| down.is_none());
        while let Some(index) = up {
            counter += 1;
            nested[index].right = counter;
            down = tree[index].next;
            up = tree[index].parent.filter(|_| down.is_none());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(id: u8, parent: u8, kind: i32) -> Span {
        let parent_span_id = (parent != 0).then_some(SpanId([parent; 8]));
        Span { span_id: SpanId([id; 8]), parent_span_id, kind, start: i64::from(id), ..Span::default() }
    }

    fn numbers(spans: &[Span]) -> Vec<(i32, i32, i32, i32)> {
        nested_sets(spans).iter().map(|n| (n.left, n.right, n.parent, n.child_count)).collect()
    }

    #[test]
    fn a_tree_is_numbered_depth_first_and_roots_share_the_numbers() {
        let spans = [span(1, 0, 0), span(2, 1, 0), span(3, 2, 0), span(4, 1, 0), span(5, 0, 0)];
        assert_eq!(numbers(&spans), [(1, 8, -1, 2), (2, 5, 1, 1), (3, 4, 2, 0), (6, 7, 1, 0), (9, 10, -1, 0)]);
    }

    #[test]
    fn spans_that_hang_from_nothing_have_no_numbers() {
        assert_eq!(numbers(&[span(1, 0, 0), span(2, 9, 0), span(3, 2, 0)]), [(1, 2, -1, 0), (0, 0, 0, 1), (0, 0, 0, 0)]);
        assert_eq!(numbers(&[span(2, 9, 0), span(3, 2, 0)]), [(0, 0, 0, 0); 2]);
        assert_eq!(numbers(&[span(1, 0, 0), span(2, 3, 0), span(3, 2, 0)])[1..], [(0, 0, 0, 1); 2]);
        assert_eq!(numbers(&[span(1, 0, 0), span(2, 2, 0)])[1], (0, 0, 0, 0));
    }

    #[test]
    fn a_shared_id_is_a_client_and_its_server() {
        let spans = [span(1, 0, 3), span(1, 0, 2), span(2, 1, 1), span(3, 1, 2)];
        assert_eq!(numbers(&spans), [(1, 8, -1, 2), (2, 5, 1, 1), (3, 4, 2, 0), (6, 7, 1, 0)]);
        let thrice = [span(1, 0, 1), span(1, 0, 2), span(1, 0, 3)];
        assert_eq!(numbers(&thrice), [(0, 0, 0, 0); 3]);
    }

    #[test]
    fn a_long_chain_does_not_recurse() {
        let id = |n: u64| SpanId(n.to_be_bytes());
        let chain: Vec<Span> =
            (1..=200_000).map(|n| Span { span_id: id(n), parent_span_id: (n > 1).then(|| id(n - 1)), ..Span::default() }).collect();
        assert_eq!(nested_sets(&chain)[199_999].left, 200_000);
    }

    #[test]
    fn of_duplicates_the_earlier_stays() {
        let named = |name: &str, start| Span { name: name.into(), start, ..span(7, 0, 1) };
        let trace = Trace::assemble(TraceId::default(), vec![named("first", 5), named("second", 1), span(3, 7, 1)]);
        assert_eq!(trace.spans.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["", "first"]);
        assert_eq!((trace.root().unwrap().name.as_str(), trace.start()), ("first", 3));
    }

    #[test]
    fn a_server_that_shares_its_clients_id_gets_one_of_its_own() {
        let spans = vec![span(1, 0, 2), span(2, 1, 3), span(2, 1, 2), span(3, 2, 1), span(4, 2, 2)];
        let before = nested_sets(&spans);
        let trace = Trace { trace_id: TraceId::default(), spans }.with_unique_ids();
        let fresh = SpanId([2, 2, 2, 2, 2, 2, 2, 3]);
        assert_eq!((trace.spans[2].span_id, trace.spans[2].parent_span_id), (fresh, Some(SpanId([2; 8]))));
        assert_eq!((trace.spans[3].parent_span_id, trace.spans[4].parent_span_id), (Some(fresh), Some(SpanId([2; 8]))));
        assert_eq!(nested_sets(&trace.spans), before, "the tree is the same");
        assert_eq!(trace.clone().with_unique_ids(), trace);
    }

    #[test]
    fn parts_cover_all_rows() {
        let of = |t: u8, events| Span { trace_id: TraceId([t; 16]), events: vec![Default::default(); events], start: 4, ..Span::default() };
        let parts = parts_of(&[of(1, 2), of(1, 0), of(2, 3)], 10, 5, 0);
        assert_eq!(parts.iter().map(|p| (p.spans.clone(), p.events.clone())).collect::<Vec<_>>(), [(10..12, 5..7), (12..13, 7..10)]);
    }
}
