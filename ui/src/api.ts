// The three query APIs, as any other client of them sees them, and monocle's own status.

export class ApiError extends Error {}

/** Prometheus and Loki say it in `error`, Tempo in plain text. */
function messageOf(body: string, status: number): string {
  try {
    const parsed = JSON.parse(body);
    return parsed.error ?? parsed.message ?? body;
  } catch {
    return body.trim() || `the server answered ${status}`;
  }
}

async function request(path: string, init: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, init);
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new ApiError("monocle does not answer; is it running?");
  }
  if (!response.ok) throw new ApiError(messageOf(await response.text(), response.status));
  return response;
}

export type Params = Record<string, string | number | undefined>;

export async function get<T>(path: string, params: Params = {}, signal?: AbortSignal): Promise<T> {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(params)) {
    if (value !== undefined) query.set(key, String(value));
  }
  const text = query.toString();
  return (await request(text ? `${path}?${text}` : path, { signal })).json();
}

export async function post(path: string, body: unknown): Promise<void> {
  await request(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
}

// ---- Prometheus -----------------------------------------------------------------------------------------------------

export type Labels = Record<string, string>;

export interface Series {
  metric: Labels;
  values?: [number, string][];
  value?: [number, string];
  histograms?: [number, { count: string; sum: string }][];
  histogram?: [number, { count: string; sum: string }];
}

export interface PromData {
  resultType: "matrix" | "vector" | "scalar" | "string";
  result: Series[] | [number, string];
}

export interface PromAnswer<T> {
  data: T;
  warnings?: string[];
  infos?: string[];
}

export interface Exemplars {
  seriesLabels: Labels;
  exemplars: { labels: Labels; value: string; timestamp: number }[];
}

// ---- Loki -----------------------------------------------------------------------------------------------------------

export interface LokiStream {
  stream: Labels;
  /** Nanoseconds since 1970, and the line; labels of the line alone in `structuredMetadata` and `parsed`. */
  values: [string, string, { structuredMetadata?: Labels; parsed?: Labels }?][];
}

export interface LokiAnswer {
  data: { resultType: "streams" | "matrix" | "vector"; result: (LokiStream | Series)[] };
  warnings?: string[];
}

/** Asks Loki's API to tell the labels of a stream from those of a line. */
export const CATEGORIZE = { headers: { "X-Loki-Response-Encoding-Flags": "categorize-labels" } };

export async function lokiStreams(params: Params, signal?: AbortSignal): Promise<LokiAnswer> {
  const query = new URLSearchParams(Object.entries(params).map(([key, value]) => [key, String(value)]));
  return (await request(`/loki/api/v1/query_range?${query}`, { signal, ...CATEGORIZE })).json();
}

// ---- Tempo ----------------------------------------------------------------------------------------------------------

export interface TraceSummary {
  traceID: string;
  rootServiceName: string;
  rootTraceName: string;
  startTimeUnixNano: string;
  durationMs?: number;
  serviceStats?: Record<string, { spanCount: number; errorCount?: number }>;
  spanSets?: { matched: number; spans: { spanID: string; name?: string; durationNanos: string }[] }[];
}

export type AnyValue = {
  stringValue?: string;
  intValue?: string | number;
  doubleValue?: number;
  boolValue?: boolean;
  bytesValue?: string;
  arrayValue?: { values?: AnyValue[] };
  kvlistValue?: { values?: KeyValue[] };
};

export interface KeyValue {
  key: string;
  value?: AnyValue;
}

export interface OtlpSpan {
  traceId: string;
  spanId: string;
  parentSpanId?: string;
  name: string;
  kind?: string | number;
  startTimeUnixNano: string;
  endTimeUnixNano: string;
  attributes?: KeyValue[];
  events?: { timeUnixNano: string; name: string; attributes?: KeyValue[] }[];
  links?: { traceId: string; spanId: string; attributes?: KeyValue[] }[];
  status?: { code?: string | number; message?: string };
}

export interface OtlpTrace {
  resourceSpans?: {
    resource?: { attributes?: KeyValue[] };
    scopeSpans?: { scope?: { name?: string; version?: string }; spans?: OtlpSpan[] }[];
  }[];
}

/** An attribute's value as text. */
export function textOf(value: AnyValue | undefined): string {
  if (!value) return "";
  if (value.arrayValue) return `[${(value.arrayValue.values ?? []).map(textOf).join(", ")}]`;
  if (value.kvlistValue) return `{${(value.kvlistValue.values ?? []).map((kv) => `${kv.key}: ${textOf(kv.value)}`).join(", ")}}`;
  return String(value.stringValue ?? value.intValue ?? value.doubleValue ?? value.boolValue ?? value.bytesValue ?? "");
}

/** Ids come as base64 in the JSON of protobuf, and as hex in that of OTLP. */
export function hexId(id: string | undefined): string {
  if (!id) return "";
  if (/^[0-9a-f]{16}$|^[0-9a-f]{32}$/i.test(id)) return id.toLowerCase();
  return Array.from(atob(id), (char) => char.charCodeAt(0).toString(16).padStart(2, "0")).join("");
}

// ---- SQL ------------------------------------------------------------------------------------------------------------

export type Row = Record<string, unknown>;

export interface Rows {
  rows: Row[];
  /** Whether the answer ended here. */
  whole: boolean;
  warnings: string[];
}

/** Integers beyond those that a number holds exactly stay texts, where the browser tells how they were written. */
function rowOf(line: string): Row {
  return JSON.parse(line, function (_key: string, value: unknown, written?: { source?: string }) {
    return typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value) ? (written?.source ?? value) : value;
  });
}

/** Reads no more than `most` rows or `bytes` of the answer, which may be far larger than a page can hold. */
export async function sqlRows(text: string, most: number, bytes: number, signal: AbortSignal): Promise<Rows> {
  const response = await request("/sql", { method: "POST", headers: { accept: "application/x-ndjson" }, body: text, signal });
  const warnings = [response.headers.get("x-monocle-warning")].filter((warning) => warning !== null);
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  const rows: Row[] = [];
  let [pending, taken] = ["", 0];
  while (rows.length < most && taken < bytes) {
    const { value, done } = await reader.read().catch((error) => {
      if (signal.aborted) throw error;
      throw new ApiError("the answer ends early: what went wrong is in monocle's log");
    });
    if (done) {
      if (pending) rows.push(rowOf(pending));
      return { rows, whole: true, warnings };
    }
    taken += value.length;
    const lines = (pending + value).split("\n");
    pending = lines.pop()!;
    for (const line of lines) if (line) rows.push(rowOf(line));
  }
  // What is left may be nothing: only then was it the whole.
  const whole = taken < bytes && rows.length === most && pending === "" && (await reader.read()).done;
  await reader.cancel().catch(() => {});
  return { rows: rows.slice(0, most), whole, warnings };
}

export interface Table {
  name: string;
  columns: string[];
}

export async function sqlTables(signal: AbortSignal): Promise<Table[]> {
  const text = "select table_name, column_name from information_schema.columns where table_schema = 'public' order by table_name, ordinal_position";
  const found = new Map<string, string[]>();
  for (const { table_name, column_name } of (await sqlRows(text, 10_000, 1 << 20, signal)).rows) {
    found.set(String(table_name), [...(found.get(String(table_name)) ?? []), String(column_name)]);
  }
  return Array.from(found, ([name, columns]) => ({ name, columns }));
}
