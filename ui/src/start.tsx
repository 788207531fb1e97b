// What arrives now; and when nothing does, what to do about it.

import { useEffect, useRef, useState } from "preact/hooks";
import { get, type LokiAnswer, type PromAnswer, type Series } from "./api";
import { colorOf, count, rate } from "./format";
import { link } from "./route";
import { sendSample } from "./sample";
import { useStatus, type SignalStatus, type Status } from "./status";

const TITLES = { metrics: "Samples", logs: "Log lines", traces: "Spans" };
/** What came last; for metrics, their page has questions to try. */
const NEWEST = {
  metrics: undefined,
  logs: { q: '{service_name=~".+"}', from: "-15m" },
  traces: { q: "{ }", from: "-15m" },
};

export default function Start() {
  const { status, rates, error } = useStatus();
  // As it was when the page was opened: whoever copies from the instructions keeps them in sight when data arrive.
  const empty = useRef<boolean | undefined>(undefined);
  if (status) empty.current ??= status.signals.every((signal) => signal.acknowledged_items === 0 && stored(signal) === 0);
  return (
    <>
      <h1>What is arriving</h1>
      {error && (
        <p class="error" role="alert">
          {error}
        </p>
      )}
      <div class="cards">
        {(["metrics", "logs", "traces"] as const).map((name) => (
          <Arriving key={name} name={name} status={status?.signals.find(({ signal }) => signal === name)} rate={rates[name] ?? 0} />
        ))}
      </div>
      <Sample />
      {status && (
        <details open={empty.current}>
          <summary>How to send telemetry here</summary>
          <Instructions status={status} />
        </details>
      )}
      {status && <Services />}
    </>
  );
}

function stored(status: SignalStatus): number {
  return status.head.items + status.blocks.reduce((sum, { items }) => sum + items, 0);
}

function Arriving({ name, status, rate }: { name: keyof typeof TITLES; status?: SignalStatus; rate: number }) {
  const items = status ? stored(status) : 0;
  const refused = status?.refused.reduce((sum, { items }) => sum + items, 0) ?? 0;
  return (
    <a class="card" href={link(name, items ? NEWEST[name] : undefined)}>
      <h2>{TITLES[name]}</h2>
      <p class="big">{status ? `${count(Math.round(rate * 10) / 10)}/s` : "–"}</p>
      <p class="muted">{status ? `${count(items)} stored` : "…"}</p>
      <p class={refused ? "bad" : "muted"}>{refused ? `${count(refused)} refused since the start` : "none refused"}</p>
    </a>
  );
}

function Sample() {
  const [sent, setSent] = useState<{ trace?: string; error?: string; busy?: boolean }>({});
  const send = async () => {
    setSent({ busy: true });
    try {
      setSent({ trace: await sendSample() });
    } catch (error) {
      setSent({ error: (error as Error).message });
    }
  };
  return (
    <p class="sample">
      <button class="primary" onClick={send} disabled={sent.busy}>
        Send a sample request
      </button>{" "}
      {sent.trace && (
        <span role="status">
          Sent: <a href={link("trace", { id: sent.trace })}>its trace</a>,{" "}
          <a href={link("logs", { q: '{service_name=~"sample-.+"}', from: "-15m" })}>its logs</a>,{" "}
          <a href={link("metrics", { q: "sum by (service_name) (sample_checkout_requests_total)", from: "-15m" })}>its metric</a>
        </span>
      )}
      {sent.error && <span class="bad">{sent.error}</span>}
      {!sent.trace && !sent.error && <span class="muted">a trace with an error in it, its logs, and a metric with an exemplar</span>}
    </p>
  );
}

interface Service {
  name: string;
  spans?: number;
  lines?: number;
}

/** Rates of the last five minutes by service. What cannot be asked now is left out and asked again later. */
async function services(): Promise<Service[]> {
  const now = Date.now();
  const found = new Map<string, Service>();
  const service = (name: string) => found.get(name) ?? found.set(name, { name }).get(name)!;
  const lines = get<LokiAnswer>("/loki/api/v1/query", { query: 'sum by (service_name) (rate({service_name=~".+"}[5m]))', time: `${now}000000` });
  const spans = get<PromAnswer<{ result: Series[] }>>("/api/v1/query", { query: "sum by (service) (rate(traces_spanmetrics_calls_total[5m]))", time: now / 1000 });
  for (const { metric, value } of ((await lines.catch(() => undefined))?.data.result ?? []) as Series[]) service(metric.service_name).lines = Number(value?.[1]);
  for (const { metric, value } of (await spans.catch(() => undefined))?.data.result ?? []) service(metric.service ?? "").spans = Number(value?.[1]);
  return Array.from(found.values()).sort((a, b) => (b.lines ?? 0) + (b.spans ?? 0) - (a.lines ?? 0) - (a.spans ?? 0));
}

function Services() {
  const [found, setFound] = useState<Service[]>([]);
  useEffect(() => {
    const ask = () => services().then(setFound);
    ask();
    const timer = setInterval(ask, 10_000);
    return () => clearInterval(timer);
  }, []);
  return (
    <section>
      <h2>Services, last five minutes</h2>
      <div class="scroll services">
        <table>
          <thead>
            <tr>
              <th>Service</th>
              <th class="number">Spans</th>
              <th class="number">Lines</th>
              <th>
                <span class="visually-hidden">Open</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {found.slice(0, 100).map(({ name, spans, lines }) => (
              <tr key={name}>
                <td>
                  <span class="swatch" style={{ background: colorOf(name) }} />
                  {name}
                </td>
                <td class="number">{spans === undefined ? "" : rate(spans)}</td>
                <td class="number">{lines === undefined ? "" : rate(lines)}</td>
                <td>
                  <a href={link("logs", { q: `{service_name=${JSON.stringify(name)}}` })}>Logs</a>{" "}
                  <a href={link("traces", { q: `{ resource.service.name = ${JSON.stringify(name)} }` })}>Traces</a>{" "}
                  <a href={link("traces", { q: `{ resource.service.name = ${JSON.stringify(name)} && status = error }` })}>Errors</a>
                </td>
              </tr>
            ))}
            {found.length === 0 && (
              <tr>
                <td class="muted" colSpan={4}>
                  Nothing in the last five minutes.
                </td>
              </tr>
            )}
          </tbody>
        </table>
      </div>
    </section>
  );
}

const HOST = location.hostname || "127.0.0.1";

function Instructions({ status }: { status: Status }) {
  const port = (listener: string, usual: number) => status.listeners[listener]?.split(":").at(-1) ?? String(usual);
  const [http, grpc] = [`http://${HOST}:${port("otlp_http", 4318)}`, `${HOST}:${port("otlp_grpc", 4317)}`];
  const loki = `http://${HOST}:${port("loki", 3100)}`;
  const prometheus = `http://${HOST}:${port("prometheus", 9090)}`;
  const body = '{"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"curl"}}]},"scopeLogs":[{"logRecords":[{"body":{"stringValue":"hello"}}]}]}]}';
  const ways: [string, string][] = [
    [
      "Any OpenTelemetry SDK",
      `export OTEL_EXPORTER_OTLP_ENDPOINT=${http}
export OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf
export OTEL_TRACES_EXPORTER=otlp OTEL_METRICS_EXPORTER=otlp OTEL_LOGS_EXPORTER=otlp
export OTEL_SERVICE_NAME=my-service
# Then start the application as its SDK wants it, for example:
#   java -javaagent:opentelemetry-javaagent.jar -jar app.jar
#   node --require @opentelemetry/auto-instrumentations-node/register app.js
#   opentelemetry-instrument python app.py`,
    ],
    ["curl, a log line", `curl ${http}/v1/logs -H 'Content-Type: application/json' -d '${body}'`],
    [
      "OpenTelemetry Collector",
      `# Beside what it has. On this machine, its own receivers need other ports than 4317 and 4318.
exporters:
  otlp/monocle:
    endpoint: ${grpc}
    tls:
      insecure: true

service:
  pipelines:
    metrics: { receivers: [otlp], exporters: [otlp/monocle] }
    logs: { receivers: [otlp], exporters: [otlp/monocle] }
    traces: { receivers: [otlp], exporters: [otlp/monocle] }`,
    ],
    [
      "Grafana Alloy",
      `otelcol.exporter.otlp "monocle" {
  client {
    endpoint = "${grpc}"
    tls { insecure = true }
  }
}

loki.write "monocle" {
  endpoint { url = "${loki}/loki/api/v1/push" }
}

prometheus.remote_write "monocle" {
  endpoint { url = "${prometheus}/api/v1/write" }
}`,
    ],
    ["Prometheus", `remote_write:\n  - url: ${prometheus}/api/v1/write`],
    ["Docker's logs", `docker plugin install grafana/loki-docker-driver:latest --alias loki --grant-all-permissions\ndocker run --log-driver=loki --log-opt loki-url="${loki}/loki/api/v1/push" …`],
    ["curl, a question in SQL", `curl ${prometheus}/sql -d "select ts, line from logs order by ts desc limit 10"`],
    ["Grafana data sources", `Prometheus  ${prometheus}\nLoki        ${loki}\nTempo       http://${HOST}:${port("tempo", 3200)}`],
  ];
  return (
    <div class="ways">
      {ways.map(([title, text]) => (
        <section key={title}>
          <h3>
            {title} <Copy text={text} />
          </h3>
          <pre>{text}</pre>
        </section>
      ))}
    </div>
  );
}

function Copy({ text }: { text: string }) {
  const [done, setDone] = useState(false);
  // Only offered where the browser allows it.
  if (!navigator.clipboard) return null;
  const copy = async () => {
    await navigator.clipboard.writeText(text);
    setDone(true);
    setTimeout(() => setDone(false), 1500);
  };
  return (
    <button class="small" onClick={copy}>
      {done ? "Copied" : "Copy"}
    </button>
  );
}
