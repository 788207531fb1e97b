// TraceQL: traces as a scatter of duration over time and as a list; queries of metrics as a plot.

import { useMemo } from "preact/hooks";
import { get, type Labels, type TraceSummary } from "./api";
import { Answer, Query, useAnswer } from "./controls";
import { colorOf, count, duration, seriesName, time } from "./format";
import Plot, { Legend, type Line } from "./plot";
import { link, range, route, stepSeconds, update, type Range } from "./route";

const EXAMPLES = ["{ }", "{ status = error }", "{ duration > 500ms }", "{ } | rate() by (resource.service.name)"];

const LIMIT = 200;

interface MetricsSeries {
  labels: { key: string; value: { stringValue?: string; intValue?: string; doubleValue?: number; boolValue?: boolean } }[];
  samples: { timestampMs: string; value?: number }[];
}

interface Result {
  asked: Range;
  traces?: TraceSummary[];
  series?: Line[];
}

/** Whether the last stage of the pipeline gives series instead of traces. */
function measures(query: string): boolean {
  return /\|\s*(rate|count_over_time|min_over_time|max_over_time|avg_over_time|sum_over_time|quantile_over_time|histogram_over_time|compare)\s*\(/.test(query);
}

async function ask(query: string, signal: AbortSignal): Promise<Result> {
  const asked = range();
  const times = { start: Math.floor(asked.from / 1000), end: Math.ceil(asked.to / 1000) };
  if (!measures(query)) {
    const answer = await get<{ traces?: TraceSummary[] }>("/api/search", { q: query, ...times, limit: LIMIT }, signal);
    return { asked, traces: answer.traces ?? [] };
  }
  const answer = await get<{ series?: MetricsSeries[] }>("/api/metrics/query_range", { q: query, ...times, step: `${stepSeconds(asked, 120)}s` }, signal);
  const series = (answer.series ?? []).map(({ labels, samples }): Line => {
    const named: Labels = Object.fromEntries(labels.map(({ key, value }) => [key, String(value.stringValue ?? value.intValue ?? value.doubleValue ?? value.boolValue)]));
    return { name: seriesName(named), points: samples.map(({ timestampMs, value }) => [Number(timestampMs) / 1000, value ?? 0]) };
  });
  return { asked, series };
}

export default function Traces() {
  const query = route.value.params.get("q") ?? "";
  const answer = useAnswer(route.value, query ? (signal) => ask(query, signal) : undefined);
  const zoom = ({ from, to }: Range) => update({ from: String(from), to: String(to) });
  return (
    <>
      <h1 class="visually-hidden">Traces</h1>
      <Query language="traceql" hint='TraceQL, such as { resource.service.name = "cart" && status = error }' examples={EXAMPLES}>
        <TraceId />
      </Query>
      <Answer answer={answer}>
        {(result) => (
          <>
            {result.series && <Plot lines={result.series} range={result.asked} onZoom={zoom} />}
            {result.series && <Legend lines={result.series} />}
            {result.traces && <Found traces={result.traces} asked={result.asked} />}
          </>
        )}
      </Answer>
    </>
  );
}

function TraceId() {
  const open = (event: SubmitEvent) => {
    event.preventDefault();
    const id = new FormData(event.currentTarget as HTMLFormElement).get("id")?.toString().trim();
    if (id) location.hash = link("trace", { id });
  };
  return (
    <form onSubmit={open}>
      <input name="id" placeholder="Trace ID" aria-label="Open a trace by its ID" size={16} />
    </form>
  );
}

const startOf = (trace: TraceSummary) => Number(trace.startTimeUnixNano.slice(0, -6));

function Found({ traces, asked }: { traces: TraceSummary[]; asked: Range }) {
  const dots = useMemo(
    () =>
      traces.map((trace) => ({
        time: startOf(trace) / 1000,
        value: Math.max(trace.durationMs ?? 0, 0.5),
        title: `${trace.rootServiceName}: ${trace.rootTraceName}\n${duration((trace.durationMs ?? 0) * 1e6)}`,
        onPick: () => (location.hash = link("trace", { id: trace.traceID })),
      })),
    [traces],
  );
  const lines = useMemo(() => [], []);
  if (traces.length === 0) return <p class="muted">No traces in this range of time.</p>;
  return (
    <>
      <Plot lines={lines} dots={dots} range={asked} height={180} unit={(millis) => duration(millis * 1e6)} />
      <p class="muted">{traces.length === LIMIT ? `The newest ${LIMIT} traces` : `${traces.length} traces`}</p>
      <div class="scroll">
        <table>
          <thead>
            <tr>
              <th>Trace</th>
              <th>Start</th>
              <th class="number">Duration</th>
              <th class="number">Spans</th>
              <th class="number">Errors</th>
            </tr>
          </thead>
          <tbody>
            {traces.map((trace) => {
              const stats = Object.values(trace.serviceStats ?? {});
              const errors = stats.reduce((sum, one) => sum + (one.errorCount ?? 0), 0);
              return (
                <tr key={trace.traceID}>
                  <td>
                    <a href={link("trace", { id: trace.traceID })}>
                      <span class="swatch" style={{ background: colorOf(trace.rootServiceName) }} />
                      {trace.rootServiceName || "root span not yet received"}: {trace.rootTraceName}
                    </a>
                  </td>
                  <td>{time(startOf(trace))}</td>
                  <td class="number">{duration((trace.durationMs ?? 0) * 1e6)}</td>
                  <td class="number">{count(stats.reduce((sum, one) => sum + one.spanCount, 0))}</td>
                  <td class={errors ? "number bad" : "number"}>{errors || ""}</td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
    </>
  );
}
