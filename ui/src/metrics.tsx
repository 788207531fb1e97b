// PromQL: a plot of a range, a table of an instant, exemplars that open their traces.

import { useMemo, useState } from "preact/hooks";
import { get, type Exemplars, type Labels, type PromAnswer, type PromData, type Series } from "./api";
import { Answer, Query, Warnings, useAnswer } from "./controls";
import { color, count, seriesName, time } from "./format";
import Plot, { type Dot, type Line } from "./plot";
import { link, range, route, stepSeconds, update, type Range } from "./route";

const EXAMPLES = ["sum by (service) (rate(traces_spanmetrics_calls_total[5m]))", 'topk(10, count by (__name__) ({__name__=~".+"}))', "up"];

/** Lines beyond these are in the table only. */
const LINES_MAX = 50;
/** Rows of the table. */
const ROWS_MAX = 500;
const POINTS = 300;
/** Exemplars that are drawn: more of them hide the lines and each other. */
const DOTS_MAX = 200;

interface Result {
  asked: Range;
  data: PromData;
  warnings: string[];
  exemplars: Exemplars[];
}

async function ask(query: string, instant: boolean, signal: AbortSignal): Promise<Result> {
  const asked = range();
  if (instant) {
    const answer = await get<PromAnswer<PromData>>("/api/v1/query", { query, time: asked.to / 1000 }, signal);
    return { asked, data: answer.data, warnings: [...(answer.warnings ?? []), ...(answer.infos ?? [])], exemplars: [] };
  }
  const times = { query, start: asked.from / 1000, end: asked.to / 1000 };
  const [answer, exemplars] = await Promise.all([
    get<PromAnswer<PromData>>("/api/v1/query_range", { ...times, step: stepSeconds(asked, POINTS) }, signal),
    // A query without exemplars, or that has none to ask for, is still plotted.
    get<PromAnswer<Exemplars[]>>("/api/v1/query_exemplars", times, signal).then((a) => a.data, () => []),
  ]);
  return { asked, data: answer.data, warnings: [...(answer.warnings ?? []), ...(answer.infos ?? [])], exemplars };
}

const traceOf = (labels: Labels): string | undefined => labels.trace_id ?? labels.traceID;

/** Exemplars are put on the line when they lie within its values; otherwise, as with the rate of a counter, at mid-height. */
function dotsOf(exemplars: Exemplars[], lines: Line[]): Dot[] {
  const top = Math.max(0, ...lines.flatMap((line) => line.points.map(([, value]) => (Number.isFinite(value) ? value : 0))));
  const total = exemplars.reduce((sum, { exemplars }) => sum + exemplars.length, 0);
  const every = Math.max(1, Math.ceil(total / DOTS_MAX));
  return exemplars.flatMap(({ exemplars }) =>
    // The slowest of its neighbours is the one that is asked for.
    Array.from({ length: Math.ceil(exemplars.length / every) }, (_, at) => exemplars.slice(at * every, (at + 1) * every).reduce((most, one) => (Number(one.value) > Number(most.value) ? one : most))).flatMap(({ labels, value, timestamp }) => {
      const trace = traceOf(labels);
      if (!trace) return [];
      const height = Number(value);
      return [{ time: timestamp, value: height <= top ? height : top / 2, title: `exemplar ${value}\ntrace ${trace}`, onPick: () => (location.hash = link("trace", { id: trace })) }];
    }),
  );
}

function linesOf(series: Series[]): Line[] {
  return series.map(({ metric, values, histograms }, index) => ({
    name: seriesName(metric),
    color: color(index),
    points: values ? values.map(([at, value]) => [at, Number(value)]) : (histograms ?? []).map(([at, histogram]) => [at, Number(histogram.count)]),
  }));
}

function last(series: Series): string {
  const sample = series.value ?? series.values?.at(-1);
  if (sample) return Number.isFinite(Number(sample[1])) ? String(Number(Number(sample[1]).toPrecision(12))) : sample[1];
  const histogram = series.histogram ?? series.histograms?.at(-1);
  return histogram ? `count ${histogram[1].count}, sum ${histogram[1].sum}` : "";
}

export default function Metrics() {
  const params = route.value.params;
  const query = params.get("q") ?? "";
  const instant = params.get("kind") === "instant";
  const answer = useAnswer(route.value, query ? (signal) => ask(query, instant, signal) : undefined);
  return (
    <>
      <h1 class="visually-hidden">Metrics</h1>
      <Query language="promql" hint="PromQL, such as rate(http_requests_total[5m])" examples={EXAMPLES}>
        <label>
          <span class="visually-hidden">Kind of query</span>
          <select value={instant ? "instant" : "range"} onChange={(event) => update({ kind: event.currentTarget.value === "instant" ? "instant" : undefined })}>
            <option value="range">Range</option>
            <option value="instant">Instant</option>
          </select>
        </label>
      </Query>
      <Answer answer={answer}>{(result) => <Shown result={result} />}</Answer>
    </>
  );
}

/** Exemplars that are listed. */
const LISTED_MAX = 20;

/** Those with the largest values: what the plot shows as points, for the keyboard. */
function Slowest({ exemplars }: { exemplars: Exemplars[] }) {
  const all = useMemo(() => exemplars.flatMap(({ exemplars }) => exemplars.flatMap((one) => (traceOf(one.labels) ? [one] : []))).sort((a, b) => Number(b.value) - Number(a.value)), [exemplars]);
  if (all.length === 0) return null;
  return (
    <details>
      <summary>{`${count(all.length)} ${all.length === 1 ? "exemplar" : "exemplars"}`}</summary>
      <table>
        <tbody>
          {all.slice(0, LISTED_MAX).map(({ labels, value, timestamp }) => (
            <tr key={`${timestamp} ${traceOf(labels)} ${labels.span_id}`}>
              <td class="number">{value}</td>
              <td>{time(timestamp * 1000)}</td>
              <td>
                <a href={link("trace", { id: traceOf(labels) })}>
                  <code>{traceOf(labels)}</code>
                </a>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </details>
  );
}

function Shown({ result }: { result: Result }) {
  const { data } = result;
  const [only, setOnly] = useState<string>();
  const all = useMemo(() => (data.resultType === "matrix" || data.resultType === "vector" ? (data.result as Series[]) : []), [data]);
  const lines = useMemo(() => linesOf(all.slice(0, LINES_MAX)), [all]);
  const shown = useMemo(() => (only ? lines.filter((line) => line.name === only) : lines), [lines, only]);
  const dots = useMemo(() => dotsOf(result.exemplars, lines), [result, lines]);
  if (data.resultType === "scalar" || data.resultType === "string") {
    return <p class="scalar">{String((data.result as [number, string])[1])}</p>;
  }
  const zoom = ({ from, to }: Range) => update({ from: String(from), to: String(to) });
  return (
    <>
      <Warnings texts={result.warnings} />
      {data.resultType === "matrix" && <Plot lines={shown} dots={dots} range={result.asked} onZoom={zoom} />}
      <Slowest exemplars={result.exemplars} />
      {all.length === 0 ? (
        <p class="muted">No series in this range of time.</p>
      ) : (
        <div class="scroll">
          <table>
            <thead>
              <tr>
                <th>Series ({count(all.length)})</th>
                <th class="number">{data.resultType === "matrix" ? "Last value" : `At ${time(result.asked.to)}`}</th>
              </tr>
            </thead>
            <tbody>
              {all.slice(0, ROWS_MAX).map((series, index) => {
                const name = seriesName(series.metric);
                return (
                  <tr key={name} class={only === name ? "selected" : ""}>
                    <td>
                      <button class="plain" onClick={() => setOnly(only === name ? undefined : name)} title="Show this line alone">
                        <span class="swatch" style={{ background: index < LINES_MAX ? color(index) : "transparent" }} />
                        <code>{name}</code>
                      </button>
                    </td>
                    <td class="number">{last(series)}</td>
                  </tr>
                );
              })}
            </tbody>
          </table>
          {all.length > ROWS_MAX && <p class="muted">{`${count(all.length - ROWS_MAX)} more series are not shown.`}</p>}
        </div>
      )}
    </>
  );
}
