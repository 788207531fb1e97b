// One trace: a waterfall, what a span holds, and the span's logs.

import { useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { get, hexId, lokiStreams, textOf, type KeyValue, type LokiStream, type OtlpSpan, type OtlpTrace } from "./api";
import { Answer, Warnings, useAnswer } from "./controls";
import { colorOf, count, duration, time } from "./format";
import { Lines, linesOf, stepOf } from "./lines";
import { Detail } from "./logs";
import { link, route } from "./route";

interface Span {
  id: string;
  parent: string;
  service: string;
  name: string;
  kind: string;
  /** Nanoseconds from the start of the trace. */
  start: number;
  length: number;
  depth: number;
  children: number;
  error: boolean;
  raw: OtlpSpan;
  resource: KeyValue[];
  scope: string;
}

interface Trace {
  id: string;
  /** Nanoseconds since 1970. */
  start: bigint;
  length: number;
  spans: Span[];
  message?: string;
}

interface TraceAnswer {
  trace?: OtlpTrace;
  status?: string;
  message?: string;
}

const isError = (code: string | number | undefined) => code === "STATUS_CODE_ERROR" || code === 2;

/** Spans in the order of the tree, children by time; those whose parent is missing are roots. */
function read(id: string, { trace, status, message }: TraceAnswer): Trace {
  const flat = (trace?.resourceSpans ?? []).flatMap(({ resource, scopeSpans = [] }) =>
    scopeSpans.flatMap(({ scope, spans = [] }) => spans.map((raw) => ({ raw, resource: resource?.attributes ?? [], scope: [scope?.name, scope?.version].filter(Boolean).join(" ") }))),
  );
  const start = flat.reduce((least, { raw }) => (BigInt(raw.startTimeUnixNano) < least ? BigInt(raw.startTimeUnixNano) : least), BigInt(flat[0]?.raw.startTimeUnixNano ?? 0));
  const spans = flat.map(({ raw, resource, scope }): Span => ({
    id: hexId(raw.spanId),
    parent: hexId(raw.parentSpanId),
    service: textOf(resource.find(({ key }) => key === "service.name")?.value),
    name: raw.name,
    kind: String(raw.kind ?? "").replace("SPAN_KIND_", "").toLowerCase(),
    start: Number(BigInt(raw.startTimeUnixNano) - start),
    length: Math.max(0, Number(BigInt(raw.endTimeUnixNano) - BigInt(raw.startTimeUnixNano))),
    depth: 0,
    children: 0,
    error: isError(raw.status?.code),
    raw,
    resource,
    scope,
  }));
  const ids = new Set(spans.map((span) => span.id));
  const below = Map.groupBy(spans, (span) => (ids.has(span.parent) && span.parent !== span.id ? span.parent : ""));
  const ordered: Span[] = [];
  const seen = new Set<Span>();
  // Not recursive: a trace may be a chain of a hundred thousand spans.
  const waiting = (below.get("") ?? []).sort((a, b) => b.start - a.start).map((span) => ({ span, depth: 0 }));
  for (let next = waiting.pop(); next; next = waiting.pop()) {
    const { span, depth } = next;
    if (seen.has(span)) continue;
    seen.add(span);
    const children = (below.get(span.id) ?? []).sort((a, b) => b.start - a.start);
    ordered.push({ ...span, depth, children: children.length });
    waiting.push(...children.map((child) => ({ span: child, depth: depth + 1 })));
  }
  const length = spans.reduce((end, span) => Math.max(end, span.start + span.length), 0);
  return { id, start, length, spans: ordered, message: status === "PARTIAL" || message ? (message ?? "The trace is not whole.") : undefined };
}

export default function TracePage() {
  const id = route.value.params.get("id") ?? "";
  const answer = useAnswer(id, id ? async (signal) => read(id, await get<TraceAnswer>(`/api/v2/traces/${encodeURIComponent(id)}`, {}, signal)) : undefined);
  return (
    <>
      <h1>Trace {id}</h1>
      <Answer answer={answer}>{(trace) => (trace.spans.length ? <Waterfall trace={trace} /> : <p class="muted">There is no such trace.</p>)}</Answer>
    </>
  );
}

/** Rows drawn at once; the rest follows on demand. */
const ROWS = 500;

function Waterfall({ trace }: { trace: Trace }) {
  const [picked, setPicked] = useState<Span>();
  const [rows, setRows] = useState(ROWS);
  const services = useMemo(() => Array.from(Map.groupBy(trace.spans, (span) => span.service)), [trace]);
  const errors = trace.spans.filter((span) => span.error).length;
  const place = picked ? trace.spans.indexOf(picked) : -1;
  const list = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    list.current?.querySelector('[aria-selected="true"]')?.scrollIntoView({ block: "nearest" });
  }, [picked]);
  const move = (event: KeyboardEvent) => {
    if (event.key === "Escape") setPicked(undefined);
    const to = stepOf(event.key, place, trace.spans.length, 10);
    if (to === undefined) return;
    event.preventDefault();
    if (to >= rows) setRows(to + ROWS);
    setPicked(trace.spans[to]);
  };
  return (
    <>
      <Warnings texts={trace.message ? [trace.message] : []} />
      <p class="facts">
        <span>{time(Number(trace.start / 1_000_000n))}</span>
        <span>{duration(trace.length)}</span>
        <span>{`${count(trace.spans.length)} spans`}</span>
        {errors > 0 && <span class="bad">{`${errors} with errors`}</span>}
        {services.map(([service, spans]) => (
          <span key={service}>
            <span class="swatch" style={{ background: colorOf(service) }} />
            {service} <span class="muted">{spans.length}</span>
          </span>
        ))}
      </p>
      <div class="waterfall" ref={list} role="listbox" aria-label="Spans" tabIndex={0} onKeyDown={move} aria-activedescendant={picked && `span-${picked.id}`}>
        <div class="ruler" aria-hidden="true">
          {[0, 0.25, 0.5, 0.75, 1].map((share) => (
            <span key={share} style={{ left: `${share * 100}%` }}>
              {duration(trace.length * share)}
            </span>
          ))}
        </div>
        {trace.spans.slice(0, rows).map((span) => (
          <div key={span.id} id={`span-${span.id}`} role="option" aria-selected={span.id === picked?.id} class="span" onClick={() => setPicked(span.id === picked?.id ? undefined : span)}>
            <span class="name" style={{ paddingLeft: `${Math.min(span.depth, 20) * 12}px` }}>
              {span.error && (
                <span class="bad" title="error">
                  ●{" "}
                </span>
              )}
              <b>{span.service}</b> {span.name}
            </span>
            <span class="track">
              <span
                class="extent"
                style={{ left: `${trace.length ? (100 * span.start) / trace.length : 0}%`, width: `${trace.length ? Math.max((100 * span.length) / trace.length, 0.2) : 100}%`, background: colorOf(span.service) }}
              />
              <Length start={trace.length ? (100 * span.start) / trace.length : 0} end={trace.length ? (100 * (span.start + span.length)) / trace.length : 100}>
                {duration(span.length)}
              </Length>
            </span>
          </div>
        ))}
      </div>
      {trace.spans.length > rows && <button onClick={() => setRows(rows + ROWS)}>{`Show ${count(Math.min(ROWS, trace.spans.length - rows))} more spans`}</button>}
      {picked && <SpanDetail key={picked.id} trace={trace} span={picked} />}
    </>
  );
}

/** Behind the bar; where there is no room behind it, on it, or before a short one. Percent of the width. */
function Length({ start, end, children }: { start: number; end: number; children: string }) {
  const [place, style] = end <= 72 ? ["length", { left: `${end}%` }] : end - start >= 30 ? ["length inside", { right: `${100 - end}%` }] : ["length before", { right: `${100 - start}%` }];
  return (
    <span class={place} style={style}>
      {children}
    </span>
  );
}

function Attributes({ title, attributes }: { title: string; attributes: KeyValue[] | undefined }) {
  if (!attributes?.length) return null;
  return (
    <section>
      <h3>{title}</h3>
      <table>
        <tbody>
          {attributes.map(({ key, value }) => (
            <tr key={key}>
              <th>{key}</th>
              <td>
                <code>{textOf(value)}</code>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

function SpanDetail({ trace, span }: { trace: Trace; span: Span }) {
  const events = span.raw.events ?? [];
  return (
    <div class="detail">
      <h2>
        {span.service}: {span.name}
      </h2>
      <p class="facts">
        <span>{span.kind}</span>
        <span>{duration(span.length)}</span>
        <span>{`after ${duration(span.start)}`}</span>
        <span>{`span ${span.id}`}</span>
        {span.scope && <span>{span.scope}</span>}
      </p>
      {span.error && <p class="error">{span.raw.status?.message || "The span has failed."}</p>}
      {events.map((event, index) => (
        <Attributes
          key={index}
          title={`${event.name} after ${duration(Number(BigInt(event.timeUnixNano) - trace.start))}`}
          attributes={event.attributes?.length ? event.attributes : [{ key: "time", value: { stringValue: time(Number(BigInt(event.timeUnixNano) / 1_000_000n)) } }]}
        />
      ))}
      <Attributes title="Span" attributes={span.raw.attributes} />
      <Attributes title="Resource" attributes={span.resource} />
      {span.raw.links?.map((to) => (
        <p key={to.spanId}>
          Links to <a href={link("trace", { id: hexId(to.traceId) })}>trace {hexId(to.traceId)}</a>
        </p>
      ))}
      <SpanLogs trace={trace} span={span} />
    </div>
  );
}

/** Lines of the trace around the span, a minute on both sides. */
function SpanLogs({ trace, span }: { trace: Trace; span: Span }) {
  const around = 60_000_000_000n;
  const from = trace.start + BigInt(span.start) - around;
  const to = trace.start + BigInt(span.start + span.length) + around;
  const query = `{service_name=${JSON.stringify(span.service)}} | trace_id=${JSON.stringify(trace.id)}`;
  const [whole, setWhole] = useState(false);
  const answer = useAnswer(query, async (signal) => {
    const found = await lokiStreams({ query, start: String(from), end: String(to), limit: 1000, direction: "forward" }, signal);
    return linesOf(found.data.result as LokiStream[]).reverse();
  });
  return (
    <section>
      <h3>Logs</h3>
      <Answer answer={answer}>
        {(lines) => {
          const own = lines.filter((line) => line.fields.span_id === span.id);
          const shown = whole ? lines : own;
          return (
            <>
              <p>
                {`${own.length} of this span, ${lines.length} of its service in this trace `}
                {lines.length > own.length && <button onClick={() => setWhole(!whole)}>{whole ? "Only this span's" : "Show all"}</button>}{" "}
                <a href={link("logs", { q: query, from: String(from / 1_000_000n), to: String(to / 1_000_000n) })}>Open in Logs</a>
              </p>
              {shown.length > 0 && <Lines lines={shown} detail={(line) => <Detail line={line} />} />}
            </>
          );
        }}
      </Answer>
    </section>
  );
}
