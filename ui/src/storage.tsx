// How full it is, what was refused, what takes the room.

import { get, type PromAnswer, type Series } from "./api";
import { Answer, Scroll, useAnswer } from "./controls";
import { ago, bytes, count, duration, percent } from "./format";
import { link } from "./route";
import { useStatus, type SignalStatus, type Status } from "./status";

export default function Storage() {
  const { status, error } = useStatus(5000);
  return (
    <>
      <h1>Storage</h1>
      {error && (
        <p class="error" role="alert">
          {error}
        </p>
      )}
      {status ? <Shown status={status} /> : <p class="muted">Loading…</p>}
    </>
  );
}

const blockBytes = (signal: SignalStatus) => signal.blocks.reduce((sum, block) => sum + block.bytes, 0);

function Shown({ status }: { status: Status }) {
  const used = status.signals.reduce((sum, signal) => sum + blockBytes(signal) + signal.wal_bytes, 0);
  const share = (100 * used) / status.disk_budget_bytes;
  return (
    <>
      <p class="facts">
        <span>{`monocle ${status.version}`}</span>
        <span>{status.ready ? "ready" : "starting: replaying the write-ahead log"}</span>
        <span>{`started ${ago(status.started_at)}`}</span>
        <span>{`memory budget ${bytes(status.memory_budget_bytes)}`}</span>
        <span>{status.bucket ? `bucket ${status.bucket}` : "local disk only"}</span>
      </p>
      <section>
        <h2>{`Disk: ${bytes(used)} of ${bytes(status.disk_budget_bytes)}`}</h2>
        <div class="meter" role="img" aria-label={`${share.toFixed(1)} percent of the disk budget`}>
          {status.signals.map((signal, index) => (
            <span key={signal.signal} class={`part part-${index}`} style={{ width: `${(100 * (blockBytes(signal) + signal.wal_bytes)) / status.disk_budget_bytes}%` }} />
          ))}
        </div>
        <Scroll label="Signals">
          <table>
            <thead>
              <tr>
                <th>Signal</th>
                <th class="number">Blocks</th>
                <th class="number">Size</th>
                <th class="number">Items</th>
                <th class="number">Bytes an item</th>
                <th class="number">Not yet in blocks</th>
                <th class="number">Write-ahead log</th>
                <th class="number">Kept for</th>
              </tr>
            </thead>
            <tbody>
              {status.signals.map((signal, index) => {
                const items = signal.blocks.reduce((sum, block) => sum + block.items, 0);
                return (
                  <tr key={signal.signal}>
                    <td>
                      <span class={`swatch part-${index}`} />
                      {signal.signal}
                    </td>
                    <td class="number">{signal.blocks.reduce((sum, block) => sum + block.blocks, 0)}</td>
                    <td class="number">{bytes(blockBytes(signal))}</td>
                    <td class="number">{count(items)}</td>
                    <td class="number">{items ? (blockBytes(signal) / items).toFixed(1) : ""}</td>
                    <td class="number">{`${count(signal.head.items)} (${bytes(signal.head.bytes)})`}</td>
                    <td class="number">{bytes(signal.wal_bytes)}</td>
                    <td class="number">{signal.retention_seconds === null ? "ever" : duration(signal.retention_seconds * 1e9)}</td>
                  </tr>
                );
              })}
            </tbody>
          </table>
        </Scroll>
      </section>
      <Refused status={status} />
      <Slow status={status} />
      <div class="columns top">
        <TopMetrics />
        <TopStreams />
      </div>
      <Blocks status={status} />
    </>
  );
}

function Refused({ status }: { status: Status }) {
  const rows = status.signals.flatMap(({ signal, refused }) => refused.map((one) => ({ signal, ...one }))).filter(({ items }) => items > 0);
  return (
    <section>
      <h2>Refused since the start</h2>
      {rows.length === 0 ? (
        <p class="muted">Nothing.</p>
      ) : (
        <table>
          <tbody>
            {rows.map(({ signal, reason, items }) => (
              <tr key={`${signal} ${reason}`}>
                <td>{signal}</td>
                <td>{reason}</td>
                <td class="number">{count(items)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </section>
  );
}

const PAGE_OF: Record<string, string> = { prometheus: "metrics", loki: "logs", tempo: "traces", sql: "sql" };

function Slow({ status }: { status: Status }) {
  return (
    <section>
      <h2>Slowest queries of the last hour</h2>
      {status.slow_queries.length === 0 ? (
        <p class="muted">None took long.</p>
      ) : (
        <Scroll label="Slowest queries">
          <table>
            <tbody>
              {status.slow_queries.map(({ api, query, took_ms, at, outcome }) => (
                <tr key={`${at} ${query}`}>
                  <td class="number">{duration(took_ms * 1e6)}</td>
                  <td>{outcome}</td>
                  <td>{ago(at)}</td>
                  <td>
                    <a href={link(PAGE_OF[api] ?? "metrics", { q: query })}>
                      <code>{query}</code>
                    </a>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
    </section>
  );
}

interface TsdbStatus {
  headStats: { numSeries: number };
  seriesCountByMetricName: { name: string; value: number }[];
}

function TopMetrics() {
  const answer = useAnswer("tsdb", async (signal) => {
    const { data } = await get<PromAnswer<TsdbStatus>>("/api/v1/status/tsdb", { limit: 10 }, signal);
    const names = data.seriesCountByMetricName.map(({ name }) => name);
    const query = `count by (__name__) ({__name__=~${JSON.stringify(names.join("|"))}} offset 1d)`;
    const yesterday = names.length ? get<PromAnswer<{ result: Series[] }>>("/api/v1/query", { query }, signal) : undefined;
    // Without it, the list is still of use.
    const then = new Map((await yesterday?.catch(() => undefined))?.data.result.map(({ metric, value }) => [metric.__name__, Number(value?.[1])]));
    return data.seriesCountByMetricName.map(({ name, value }) => ({ name, value, before: then.get(name) }));
  });
  return (
    <section>
      <h2>Metrics with the most series, and since yesterday</h2>
      <Answer answer={answer}>
        {(rows) => (
          <table>
            <tbody>
              {rows.map(({ name, value, before }) => (
                <tr key={name}>
                  <td>
                    <a href={link("metrics", { q: name })}>{name}</a>
                  </td>
                  <td class="number">{count(value)}</td>
                  <td class="number muted">{growth(value, before)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        )}
      </Answer>
    </section>
  );
}

/** Against a day ago. */
function growth(now: number, before?: number): string {
  return before ? `${now >= before ? "+" : ""}${percent((now - before) / before)}` : "new";
}

interface Volume {
  data: { result: { metric: Record<string, string>; value: [number, string] }[] };
}

/** Of the last day and the day before it. */
function TopStreams() {
  const now = Date.now();
  const day = 86_400_000;
  const ask = (from: number, to: number, signal: AbortSignal) =>
    get<Volume>("/loki/api/v1/index/volume", { query: '{service_name=~".+"}', start: `${from}000000`, end: `${to}000000`, targetLabels: "service_name", limit: 10 }, signal);
  const answer = useAnswer("volume", async (signal) => {
    const [today, before] = await Promise.all([ask(now - day, now, signal), ask(now - 2 * day, now - day, signal)]);
    const then = new Map(before.data.result.map(({ metric, value }) => [metric.service_name, Number(value[1])]));
    return today.data.result.map(({ metric, value }) => ({ name: metric.service_name, size: Number(value[1]), before: then.get(metric.service_name) }));
  });
  return (
    <section>
      <h2>Services with the most log bytes, last day</h2>
      <Answer answer={answer}>
        {(rows) => (
          <table>
            <tbody>
              {rows.map(({ name, size, before }) => (
                <tr key={name}>
                  <td>
                    <a href={link("logs", { q: `{service_name=${JSON.stringify(name)}}` })}>{name}</a>
                  </td>
                  <td class="number">{bytes(size)}</td>
                  <td class="number muted">{growth(size, before)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        )}
      </Answer>
    </section>
  );
}

/** Days shown; older ones are added up. */
const DAYS = 60;

function Blocks({ status }: { status: Status }) {
  const rows = status.signals.flatMap(({ signal, blocks }) => blocks.map((block) => ({ signal, ...block }))).sort((a, b) => (a.day < b.day ? 1 : a.day > b.day ? -1 : a.level - b.level));
  return (
    <section>
      <h2>Blocks by day and level</h2>
      <Scroll label="Blocks">
        <table>
          <thead>
            <tr>
              <th>Day (UTC)</th>
              <th>Signal</th>
              <th>Tenant</th>
              <th class="number">Level</th>
              <th class="number">Blocks</th>
              <th class="number">Size</th>
              <th class="number">Items</th>
            </tr>
          </thead>
          <tbody>
            {rows.slice(0, DAYS * 3).map((row) => (
              <tr key={`${row.day} ${row.signal} ${row.tenant} ${row.level}`}>
                <td>{row.day}</td>
                <td>{row.signal}</td>
                <td>{row.tenant}</td>
                <td class="number">{row.level}</td>
                <td class="number">{row.blocks}</td>
                <td class="number">{bytes(row.bytes)}</td>
                <td class="number">{count(row.items)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
    </section>
  );
}
