use crate::ingest::Message;
use crate::model::{SpanId, TraceId};
use crate::traces::columns::{Keys, Projection};
use crate::traces::otlp::{Translated, read_as_sent, read_span};
use crate::traces::schema::AttributeScope;
use crate::traces::span::{Resource, Scope, Span};
use crate::traces::span_ref::{ResourceRef, ScopeRef, SpanRef};
use crate::traces::trace::{FEW, Part};
use std::collections::HashSet;
use std::ops::{Range, RangeInclusive};
use std::rc::Rc;
use std::sync::Arc;

/// What sent spans, and what made them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Group {
    pub resource: Arc<Resource>,
    pub scope: Arc<Scope>,
}

/// What order, duplicates and times of a span depend on, and where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Row {
    pub trace_id: TraceId,
    pub span_id: SpanId,
    pub kind: i32,
    /// Position among the groups.
    pub group: u32,
    pub start: i64,
    pub duration: i64,
    /// Where its message begins in the chunk, and its length in bytes.
    at: u64,
    length: u32,
}

impl Row {
    /// Without its place.
    pub fn of(span: &SpanRef<'_>, group: u32) -> Row {
        Row {
            trace_id: span.trace_id,
            span_id: span.span_id,
            kind: span.kind,
            group,
            start: span.start,
            duration: span.duration,
            at: 0,
            length: 0,
        }
    }

    fn end(&self) -> i64 {
        self.start.saturating_add(self.duration.max(0))
    }
}

/// Spans that arrived together, sorted by trace id, start and span id, without duplicates among them. They stay in the bytes
/// of their messages, which take a third of what columns take and are decoded as fast as those; resource and scope are
/// there once. Every message was read when it came, so that each can be read again.
#[derive(Debug)]
pub struct Chunk {
    rows: Vec<Row>,
    messages: Vec<u8>,
    groups: Vec<Group>,
    /// In order of trace id. Events and links are within their spans, so their ranges are empty.
    pub parts: Vec<Part>,
}

impl Chunk {
    pub fn new(translated: Translated<'_>) -> Chunk {
        Chunk::assemble(translated.spans.iter().map(|span| (span.row, span.bytes)).collect(), translated.groups)
    }

    /// One chunk with the rows of all, which are in the order in which they were accepted: of duplicates the earlier stays.
    pub fn merge(chunks: &[Arc<Chunk>]) -> Chunk {
        let mut groups: Vec<Group> = Vec::new();
        let mut spans = Vec::with_capacity(chunks.iter().map(|c| c.rows.len()).sum());
        for chunk in chunks {
            let places: Vec<u32> = chunk.groups.iter().map(|group| place(&mut groups, group)).collect();
            spans.extend(chunk.rows.iter().map(|row| {
                let group = places.get(row.group as usize).copied().unwrap_or_default();
                (Row { group, ..*row }, chunk.message(row))
            }));
        }
        Chunk::assemble(spans, groups)
    }

    /// `spans` in the order in which they came; an earlier one wins over its duplicates.
    fn assemble(mut spans: Vec<(Row, &[u8])>, groups: Vec<Group>) -> Chunk {
        spans.sort_by_key(|(row, _)| row.trace_id);
        let mut chunk = Chunk { rows: Vec::with_capacity(spans.len()), messages: Vec::new(), groups, parts: Vec::new() };
        chunk.messages.reserve_exact(spans.iter().map(|(_, message)| message.len()).sum());
        for trace in spans.chunk_by_mut(|a, b| a.0.trace_id == b.0.trace_id) {
            let count = without_duplicates(trace);
            let trace = &mut trace[..count];
            trace.sort_by_key(|(row, _)| (row.start, row.span_id));
            let first = chunk.rows.len() as u64;
            for (row, message) in trace.iter() {
                let at = chunk.messages.len() as u64;
                chunk.rows.push(Row { at, length: u32::try_from(message.len()).unwrap_or(u32::MAX), ..*row });
                chunk.messages.extend_from_slice(message);
            }
            chunk.parts.push(Part {
                trace_id: trace[0].0.trace_id,
                start: trace[0].0.start,
                end: trace.iter().map(|(row, _)| row.end()).max().unwrap_or(0),
                spans: first..first + count as u64,
                events: 0..0,
                links: 0..0,
            });
        }
        chunk.parts.shrink_to_fit();
        chunk.rows.shrink_to_fit();
        chunk.messages.shrink_to_fit();
        chunk
    }

    fn message(&self, row: &Row) -> &[u8] {
        let from = usize::try_from(row.at).unwrap_or(usize::MAX);
        self.messages.get(from..from.saturating_add(row.length as usize)).unwrap_or_default()
    }

    pub fn part(&self, trace_id: TraceId) -> Option<&Part> {
        self.parts.binary_search_by_key(&trace_id, |p| p.trace_id).ok().map(|i| &self.parts[i])
    }

    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The resources and scopes of its spans.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        let group = |g: &Group| g.resource.bytes() + g.scope.bytes();
        self.messages.len()
            + self.rows.len() * size_of::<Row>()
            + self.parts.len() * size_of::<Part>()
            + self.groups.iter().map(group).sum::<usize>()
    }

    /// For reading many of its spans.
    pub fn reader(&self) -> ChunkReader<'_> {
        let groups = self.groups.iter().map(|g| (Rc::new((&*g.resource).into()), Rc::new((&*g.scope).into()))).collect();
        ChunkReader { chunk: self, groups }
    }

    /// Whole spans that end in `times`.
    pub fn spans_that_end(&self, times: RangeInclusive<i64>) -> Vec<Span> {
        let everything = Projection::all();
        let chosen = (0u64..).zip(&self.rows).filter(|(_, row)| times.contains(&row.end()));
        chosen.flat_map(|(at, _)| self.read_rows(at..at + 1, &everything)).collect()
    }

    /// The spans of a part, with what the projection has of them.
    pub fn read(&self, part: &Part, projection: &Projection) -> Vec<Span> {
        self.read_rows(part.spans.clone(), projection)
    }

    fn read_rows(&self, range: Range<u64>, projection: &Projection) -> Vec<Span> {
        let rows = self.rows.get(range.start as usize..range.end as usize).unwrap_or_default();
        let blank = (Rc::default(), Rc::default());
        let mut groups: Vec<(u32, Group)> = Vec::new();
        let mut spans = Vec::with_capacity(rows.len());
        for row in rows {
            // It was read before, when it came.
            let Ok(Ok(span)) = read_span(Message::new(self.message(row)), &blank.0, &blank.1) else { continue };
            let group = match groups.iter().find(|(number, _)| *number == row.group) {
                Some((_, group)) => group.clone(),
                None => {
                    let group = self.groups.get(row.group as usize).map(|g| projected_group(g, projection)).unwrap_or_default();
                    groups.push((row.group, group.clone()));
                    group
                }
            };
            spans.push(span.projected(projection, group));
        }
        spans
    }
}

/// The position of a group that is equal to one of the last few, or of its own.
fn place(groups: &mut Vec<Group>, group: &Group) -> u32 {
    const LAST: usize = 16;
    let first = groups.len().saturating_sub(LAST);
    let at = groups[first..].iter().position(|g| g == group).map_or(groups.len(), |at| first + at);
    if at == groups.len() {
        groups.push(group.clone());
    }
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// Brings the spans that stay to the front, in their order, and says how many they are.
fn without_duplicates(trace: &mut [(Row, &[u8])]) -> usize {
    let mut seen = HashSet::new();
    let mut kept = 0;
    for at in 0..trace.len() {
        let own = (trace[at].0.span_id, trace[at].0.kind);
        let is_new = match trace.len() <= FEW {
            true => trace[..kept].iter().all(|(row, _)| (row.span_id, row.kind) != own),
            false => seen.insert(own),
        };
        if is_new {
            trace.swap(kept, at);
            kept += 1;
        }
    }
    kept
}

fn projected_group(group: &Group, projection: &Projection) -> Group {
    let reads = |column: &str| projection.reads(column);
    let all = *projection.keys(AttributeScope::Resource) == Keys::All && reads("res_schema_url") && reads("service_name");
    let resource = match all && reads("res_dropped_attributes_count") {
        true => group.resource.clone(),
        false => Arc::new(group.resource.projected(projection)),
    };
    Group { resource, scope: Arc::new(group.scope.projected(projection)) }
}

type Shared<'a> = (Rc<ResourceRef<'a>>, Rc<ScopeRef<'a>>);

/// Spans of a chunk, decoded one by one.
pub struct ChunkReader<'a> {
    chunk: &'a Chunk,
    groups: Vec<Shared<'a>>,
}

impl<'a> ChunkReader<'a> {
    /// With its attributes in the order in which they came. `None` only beyond the rows of the chunk.
    pub fn span(&self, row: usize) -> Option<SpanRef<'a>> {
        let row = self.chunk.rows.get(row)?;
        let (resource, scope) = self.groups.get(row.group as usize)?;
        read_as_sent(Message::new(self.chunk.message(row)), resource, scope).ok()?.ok()
    }
}

#[cfg(test)]
impl Chunk {
    /// The chunk of a request with these spans, each in a message of its own resource.
    pub fn of(spans: &[Span]) -> Chunk {
        use crate::traces::{api::proto::message, trace::Trace};
        use prost::Message as _;
        let one = |span: &Span| message(&Trace { trace_id: span.trace_id, spans: vec![span.clone()] }).encode_to_vec();
        let body: Vec<u8> = spans.iter().flat_map(one).collect();
        Chunk::new(crate::traces::otlp::translate(&body, usize::MAX).unwrap())
    }
}
