// LogQL: volume by level, lines (newest first, or live), what one line holds, which fields the lines have.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { get, lokiStreams, type Labels, type LokiAnswer, type LokiStream, type Series } from "./api";
import { Answer, Query, Warnings, useAnswer } from "./controls";
import { clock, count, seriesName, time } from "./format";
import { LEVELS, Lines, levelColor, linesOf, type LogLine } from "./lines";
import Plot, { Legend, type Line } from "./plot";
import { link, range, route, stepSeconds, update, type Range } from "./route";

const EXAMPLES = ['{service_name=~".+"}', '{service_name=~".+"} | detected_level="error"', 'sum by (service_name) (count_over_time({service_name=~".+"}[1m]))'];

/** Lines that one question brings. */
const LIMIT = 2000;
/** Lines that live tail keeps. */
const LIVE_MAX = 10_000;

/** The part of a query that selects lines; `undefined` when it is a query of metrics. */
function selects(query: string): boolean {
  return query.trimStart().startsWith("{");
}

interface Result {
  asked: Range;
  lines?: LogLine[];
  series?: Line[];
  warnings: string[];
}

async function ask(query: string, signal: AbortSignal): Promise<Result> {
  const asked = range();
  const times = { start: `${asked.from}000000`, end: `${asked.to}000000` };
  if (selects(query)) {
    const answer = await lokiStreams({ query, ...times, limit: LIMIT, direction: "backward" }, signal);
    return { asked, lines: linesOf(answer.data.result as LokiStream[]), warnings: answer.warnings ?? [] };
  }
  const answer = await get<LokiAnswer>("/loki/api/v1/query_range", { query, ...times, step: stepSeconds(asked, 200) }, signal);
  const series = (answer.data.result as Series[]).map(({ metric, values, value }) => ({
    name: seriesName(metric),
    points: (values ?? (value ? [value] : [])).map(([at, text]): [number, number] => [at, Number(text)]),
  }));
  return { asked, series, warnings: answer.warnings ?? [] };
}

async function volume(query: string, signal: AbortSignal): Promise<{ asked: Range; lines: Line[] }> {
  const asked = range();
  const step = stepSeconds(asked, 60);
  const counted = `sum by (detected_level) (count_over_time(${query}[${step}s]))`;
  const answer = await get<LokiAnswer>("/loki/api/v1/query_range", { query: counted, start: `${asked.from}000000`, end: `${asked.to}000000`, step }, signal);
  const lines = (answer.data.result as Series[]).map(({ metric, values }) => {
    const name = metric.detected_level || "unknown";
    return { name, color: levelColor(name), points: (values ?? []).map(([at, text]): [number, number] => [at, Number(text)]) };
  });
  const place = (name: string) => LEVELS.findIndex(([level]) => name.startsWith(level));
  return { asked, lines: lines.sort((a, b) => place(b.name) - place(a.name)) };
}

export default function Logs() {
  const { params } = route.value;
  const query = params.get("q") ?? "";
  const live = params.get("live") === "1" && selects(query);
  const answer = useAnswer(route.value, query && !live ? (signal) => ask(query, signal) : undefined);
  const levels = useAnswer(route.value, query && !live && selects(query) ? (signal) => volume(query, signal) : undefined);
  const zoom = ({ from, to }: Range) => update({ from: String(from), to: String(to) });
  return (
    <>
      <h1 class="visually-hidden">Logs</h1>
      <Query language="logql" hint='LogQL, such as {service_name="cart"} |= "timeout"' examples={EXAMPLES}>
        <button aria-pressed={live} onClick={() => update({ live: live ? undefined : "1" })} disabled={!selects(query)} title="Show lines as they come">
          {live ? "■ Stop" : "● Live"}
        </button>
      </Query>
      {live ? (
        <Live query={query} />
      ) : (
        <>
          {query && selects(query) && !levels.error && (
            <div class="volume">
              <Answer answer={levels}>
                {({ asked, lines }) => (
                  <>
                    <Plot lines={lines} range={asked} height={110} kind="bars" onZoom={zoom} />
                    <Legend lines={lines} />
                  </>
                )}
              </Answer>
            </div>
          )}
          <Answer answer={answer}>
            {(result) => (
              <>
                <Warnings texts={result.warnings} />
                {result.series && <Plot lines={result.series} range={result.asked} onZoom={zoom} />}
                {result.series && (result.series.length ? <Legend lines={result.series} /> : <p class="muted">No series in this range of time.</p>)}
                {result.lines && <Found key={`${query} ${result.asked.to}`} query={query} asked={result.asked} newest={result.lines} />}
              </>
            )}
          </Answer>
        </>
      )}
    </>
  );
}

/** The next lines before `oldest`. Of its own nanosecond, those that are there already are left out. */
async function before(query: string, asked: Range, shown: LogLine[]): Promise<LogLine[]> {
  const { nanos } = shown[shown.length - 1];
  const end = String(BigInt(nanos) + 1n);
  const answer = await lokiStreams({ query, start: `${asked.from}000000`, end, limit: LIMIT, direction: "backward" });
  const name = (line: LogLine) => `${line.text} ${seriesName(line.stream)}`;
  const known = new Set(shown.filter((line) => line.nanos === nanos).map(name));
  return linesOf(answer.data.result as LokiStream[]).filter((line) => line.nanos !== nanos || !known.has(name(line)));
}

function Found({ query, asked, newest }: { query: string; asked: Range; newest: LogLine[] }) {
  const [lines, setLines] = useState(newest);
  const [more, setMore] = useState(newest.length >= LIMIT ? "yes" : "no");
  const older = async () => {
    setMore("asked");
    try {
      const found = await before(query, asked, lines);
      setLines([...lines, ...found]);
      setMore(found.length ? "yes" : "no");
    } catch (error) {
      setMore(String(error instanceof Error ? error.message : error));
    }
  };
  if (lines.length === 0) return <p class="muted">No lines in this range of time.</p>;
  return (
    <div class="split">
      <div>
        <p class="muted" role="status">
          {more === "no" ? `${count(lines.length)} lines` : `The newest ${count(lines.length)} lines`}{" "}
          {more !== "no" && (
            <button class="small" onClick={older} disabled={more === "asked"}>
              Older lines
            </button>
          )}
          {!["yes", "no", "asked"].includes(more) && <span class="bad"> {more}</span>}
        </p>
        <Lines lines={lines} detail={(line) => <Detail line={line} />} />
      </div>
      <Fields lines={lines} />
    </div>
  );
}

/** Which labels and fields the lines have, and their commonest values; a click filters by one. */
function Fields({ lines }: { lines: LogLine[] }) {
  const fields = useMemo(() => {
    const found = new Map<string, Map<string, number>>();
    for (const line of lines) {
      for (const [key, value] of [...Object.entries(line.stream), ...Object.entries(line.fields)]) {
        if (key === "trace_id" || key === "span_id") continue;
        const values = found.get(key) ?? new Map<string, number>();
        values.set(value, (values.get(value) ?? 0) + 1);
        found.set(key, values);
      }
    }
    return Array.from(found).filter(([, values]) => values.size > 1).map(([key, values]) => ({ key, total: values.size, top: Array.from(values).sort((a, b) => b[1] - a[1]).slice(0, 5) }));
  }, [lines]);
  const add = (key: string, value: string) => update({ q: `${route.value.params.get("q")} | ${key}=${JSON.stringify(value)}` });
  return (
    <details class="fields" open={innerWidth > 900}>
      <summary>Fields</summary>
      {fields.map(({ key, total, top }) => (
        <section key={key}>
          <h2>
            {key} <span class="muted">{count(total)}</span>
          </h2>
          {top.map(([value, times]) => (
            <button key={value} class="bar" onClick={() => add(key, value)} title={`Only lines with ${key} = ${value}`} style={{ "--share": `${(100 * times) / lines.length}%` }}>
              <span>{value}</span>
              <span>{count(times)}</span>
            </button>
          ))}
        </section>
      ))}
    </details>
  );
}

export function Detail({ line }: { line: LogLine }) {
  const trace = line.fields.trace_id ?? line.stream.trace_id;
  const rows = (labels: Labels) => Object.entries(labels).map(([key, value]) => (
    <tr key={key}>
      <th>{key}</th>
      <td>
        <code>{value}</code>
      </td>
    </tr>
  ));
  return (
    <div class="detail">
      <p>
        {time(line.millis)} {trace && <a href={link("trace", { id: trace })}>Open trace {trace.slice(0, 8)}…</a>}
      </p>
      <pre>{line.text}</pre>
      <table>
        <tbody>
          {rows(line.stream)}
          {rows(line.fields)}
        </tbody>
      </table>
    </div>
  );
}

/** Lines as they come, over a WebSocket. */
function Live({ query }: { query: string }) {
  const [lines, setLines] = useState<LogLine[]>([]);
  const [state, setState] = useState("Connecting…");
  const dropped = useRef(0);
  useEffect(() => {
    setLines([]);
    const url = new URL("/loki/api/v1/tail", location.href);
    url.protocol = url.protocol.replace("http", "ws");
    url.search = new URLSearchParams({ query, limit: "100" }).toString();
    const socket = new WebSocket(url);
    let waiting: LogLine[] = [];
    // Many messages, one change of the page.
    const flush = setInterval(() => {
      if (waiting.length === 0) return;
      const fresh = waiting;
      waiting = [];
      setLines((before) => [...fresh.reverse(), ...before].slice(0, LIVE_MAX));
    }, 200);
    socket.onopen = () => setState("Live");
    socket.onclose = (event) => setState(event.reason || "The connection was closed.");
    socket.onmessage = ({ data }) => {
      const message = JSON.parse(data) as { streams: LokiStream[]; dropped_entries?: unknown[] };
      dropped.current += message.dropped_entries?.length ?? 0;
      waiting.push(...linesOf(message.streams ?? []).reverse());
    };
    return () => {
      clearInterval(flush);
      socket.close();
    };
  }, [query]);
  return (
    <>
      <p class="muted" role="status">
        {state}
        {lines.length > 0 && `, ${count(lines.length)} lines, newest ${clock(lines[0].millis)}`}
        {dropped.current > 0 && `, ${count(dropped.current)} lines dropped`}
      </p>
      <Lines lines={lines} detail={(line) => <Detail line={line} />} />
    </>
  );
}
