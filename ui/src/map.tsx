// The service map, from the metrics that are derived from spans.

import { useMemo } from "preact/hooks";
import { get, type PromAnswer, type Series } from "./api";
import { Answer, Scroll, TimeRange, useAnswer } from "./controls";
import { colorOf, duration, percent, rate as perTime } from "./format";
import { link, range, route } from "./route";

interface Edge {
  client: string;
  server: string;
  kind: string;
  rate: number;
  failed: number;
  /** Seconds. */
  p95?: number;
}

async function ask(signal: AbortSignal): Promise<Edge[]> {
  const { from, to } = range();
  const span = `${Math.max(60, Math.round((to - from) / 1000))}s`;
  const run = async (query: string) => (await get<PromAnswer<{ result: Series[] }>>("/api/v1/query", { query, time: to / 1000 }, signal)).data.result;
  const by = "sum by (client, server, connection_type)";
  const [total, failed, p95] = await Promise.all([
    run(`${by} (rate(traces_service_graph_request_total[${span}]))`),
    run(`${by} (rate(traces_service_graph_request_failed_total[${span}]))`),
    run(`histogram_quantile(.95, sum by (le, client, server) (rate(traces_service_graph_request_server_seconds_bucket[${span}])))`),
  ]);
  const find = (series: Series[], client: string, server: string) => {
    const found = series.find(({ metric }) => metric.client === client && metric.server === server);
    return found?.value ? Number(found.value[1]) : undefined;
  };
  return total.map(({ metric: { client, server, connection_type: kind }, value }) => ({
    client,
    server,
    kind: kind ?? "",
    rate: Number(value?.[1] ?? 0),
    failed: find(failed, client, server) ?? 0,
    p95: find(p95, client, server),
  }));
}

const WIDTH = 190;
const HEIGHT = 74;

/** Columns by the longest way from a service that nobody calls; a circle does not move its members on for ever. */
function place(edges: Edge[]): Map<string, { x: number; y: number }> {
  const names = Array.from(new Set(edges.flatMap(({ client, server }) => [client, server])));
  const column = new Map(names.map((name) => [name, 0]));
  for (let round = 0; round < names.length; round++) {
    let moved = false;
    for (const { client, server } of edges) {
      const next = Math.min(column.get(client)! + 1, names.length - 1);
      if (client !== server && column.get(server)! < next && round < 12) {
        column.set(server, next);
        moved = true;
      }
    }
    if (!moved) break;
  }
  const used = Array.from(new Set(column.values())).sort((a, b) => a - b);
  const rows = new Map<number, number>();
  return new Map(
    names.map((name) => {
      const x = used.indexOf(column.get(name)!);
      const y = rows.get(x) ?? 0;
      rows.set(x, y + 1);
      return [name, { x: x * (WIDTH + 90), y: y * (HEIGHT + 26) }];
    }),
  );
}

export default function ServiceMap() {
  const answer = useAnswer(route.value, ask);
  return (
    <>
      <div class="title-row">
        <h1>Service map</h1>
        <TimeRange />
      </div>
      <Answer answer={answer}>{(edges) => (edges.length ? <Drawn edges={edges} /> : <p class="muted">No service has called another in this range of time. The map is made from client and server spans of the same request.</p>)}</Answer>
    </>
  );
}

function Drawn({ edges }: { edges: Edge[] }) {
  const places = useMemo(() => place(edges), [edges]);
  const width = Math.max(...Array.from(places.values(), ({ x }) => x)) + WIDTH;
  const height = Math.max(...Array.from(places.values(), ({ y }) => y)) + HEIGHT;
  return (
    <>
      <div class="map scroll">
        <svg viewBox={`-4 -4 ${width + 8} ${height + 8}`} width={width + 8} height={height + 8} role="group" aria-label="Services and their calls">
          {edges.map(({ client, server, failed, rate }) => {
            const [a, b] = [places.get(client)!, places.get(server)!];
            const [x1, y1, x2, y2] = [a.x + WIDTH, a.y + HEIGHT / 2, b.x, b.y + HEIGHT / 2];
            const bend = Math.max(50, Math.abs(x2 - x1) / 2);
            return <path key={`${client} ${server}`} d={`M${x1} ${y1} C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`} class={failed > 0 ? "edge failing" : "edge"} stroke-width={1 + Math.min(4, Math.log10(1 + rate * 10))} />;
          })}
          {Array.from(places, ([name, { x, y }]) => {
            const incoming = edges.filter((edge) => edge.server === name);
            const rate = incoming.reduce((sum, edge) => sum + edge.rate, 0);
            const failed = incoming.reduce((sum, edge) => sum + edge.failed, 0);
            return (
              <a key={name} href={link("traces", { q: `{ resource.service.name = ${JSON.stringify(name)} }`, from: route.value.params.get("from") ?? undefined })}>
                <g transform={`translate(${x} ${y})`} class="node">
                  <rect width={WIDTH} height={HEIGHT} rx="8" style={{ stroke: colorOf(name) }} />
                  <text x="12" y="26" class="node-name">
                    {name.length > 22 ? `${name.slice(0, 21)}…` : name}
                  </text>
                  <text x="12" y="46">{rate ? `${perTime(rate)} requests` : "no callers"}</text>
                  {failed > 0 && (
                    <text x="12" y="64" class="bad">
                      {`${percent(failed / rate)} fail`}
                    </text>
                  )}
                </g>
              </a>
            );
          })}
        </svg>
      </div>
      <Scroll label="Calls between services">
        <table>
          <thead>
            <tr>
              <th>From</th>
              <th>To</th>
              <th>Kind</th>
              <th class="number">Requests</th>
              <th class="number">Failed</th>
              <th class="number">p95</th>
            </tr>
          </thead>
          <tbody>
            {edges.map(({ client, server, kind, rate, failed, p95 }) => (
              <tr key={`${client} ${server} ${kind}`}>
                <td>{client}</td>
                <td>{server}</td>
                <td>{kind}</td>
                <td class="number">{perTime(rate)}</td>
                <td class={failed ? "number bad" : "number"}>{failed ? percent(failed / rate) : ""}</td>
                <td class="number">{p95 === undefined || Number.isNaN(p95) ? "" : duration(p95 * 1e9)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
    </>
  );
}
