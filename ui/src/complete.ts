// Completion of LogQL, TraceQL and SQL from what the server knows. PromQL's comes with its own package.

import type { Completion, CompletionContext, CompletionResult } from "@codemirror/autocomplete";
import { PostgreSQL, schemaCompletionSource } from "@codemirror/lang-sql";
import { get, sqlTables } from "./api";
import { range } from "./route";

const nanos = () => {
  const { from, to } = range();
  return { start: `${from}000000`, end: `${to}000000` };
};

const seconds = () => {
  const { from, to } = range();
  return { start: Math.floor(from / 1000), end: Math.ceil(to / 1000) };
};

/** An answer that cannot be had completes nothing; the query itself will tell what is wrong. */
async function names(path: string, params: Record<string, string | number>): Promise<string[]> {
  try {
    return (await get<{ data?: string[] }>(path, params)).data ?? [];
  } catch {
    return [];
  }
}

const options = (labels: string[], type: string): Completion[] => labels.map((label) => ({ label, type }));

const STAGES = ["json", "logfmt", "pattern", "regexp", "unpack", "line_format", "label_format", "decolorize", "drop", "keep", "unwrap"];
const RANGE_FUNCTIONS = ["count_over_time", "rate", "bytes_over_time", "bytes_rate", "avg_over_time", "sum_over_time", "min_over_time", "max_over_time", "quantile_over_time", "first_over_time", "last_over_time", "absent_over_time"];
const AGGREGATIONS = ["sum", "avg", "count", "max", "min", "topk", "bottomk", "stddev", "stdvar", "sort", "sort_desc"];

export async function completeLogql(context: CompletionContext): Promise<CompletionResult | null> {
  const before = context.state.sliceDoc(0, context.pos);
  const value = /[{,]\s*(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)$/.exec(before);
  if (value) {
    const values = await names(`/loki/api/v1/label/${encodeURIComponent(value[1])}/values`, nanos());
    return { from: context.pos - value[2].length, options: options(values, "text"), validFor: /^[^"]*$/ };
  }
  const label = /[{,]\s*(\w*)$/.exec(before);
  if (label && before.lastIndexOf("{") > before.lastIndexOf("}")) {
    return { from: context.pos - label[1].length, options: options(await names("/loki/api/v1/labels", nanos()), "property"), validFor: /^\w*$/ };
  }
  const stage = /\|\s*(\w*)$/.exec(before);
  if (stage && before.includes("}")) return { from: context.pos - stage[1].length, options: options(STAGES, "keyword"), validFor: /^\w*$/ };
  const word = context.matchBefore(/\w+/);
  if (!word && !context.explicit) return null;
  return {
    from: word?.from ?? context.pos,
    options: [...options(RANGE_FUNCTIONS, "function"), ...options(AGGREGATIONS, "function"), ...options(["by", "without"], "keyword")],
    validFor: /^\w*$/,
  };
}

const INTRINSICS = ["name", "duration", "status", "statusMessage", "kind", "rootName", "rootServiceName", "traceDuration", "nestedSetParent"];
const TRACE_STAGES = ["rate()", "count_over_time()", "quantile_over_time(duration, .95)", "histogram_over_time(duration)", "count()", "avg(duration)", "max(duration)", "min(duration)", "sum(duration)", "by()", "select()", "coalesce()", "compare({})"];

interface TagScopes {
  scopes?: { name: string; tags: string[] }[];
}

interface TagValues {
  tagValues?: { type: string; value: string }[];
}

async function attributes(): Promise<string[]> {
  try {
    const { scopes = [] } = await get<TagScopes>("/api/v2/search/tags", seconds());
    return scopes.flatMap(({ name, tags }) => (name === "intrinsic" ? [] : tags.map((tag) => `${name}.${tag}`)));
  } catch {
    return [];
  }
}

async function valuesOf(attribute: string): Promise<{ type: string; value: string }[]> {
  try {
    return (await get<TagValues>(`/api/v2/search/tag/${encodeURIComponent(attribute)}/values`, seconds())).tagValues ?? [];
  } catch {
    return [];
  }
}

export async function completeTraceql(context: CompletionContext): Promise<CompletionResult | null> {
  const before = context.state.sliceDoc(0, context.pos);
  const value = /([\w.:/-]+)\s*(?:=~|!~|!=|>=|<=|=|>|<)\s*("?)([^"\s}]*)$/.exec(before);
  if (value) {
    const [, attribute, quote, typed] = value;
    const found = await valuesOf(attribute);
    const labels = found.map(({ type, value }) => (type === "string" && !quote ? JSON.stringify(value) : value));
    return { from: context.pos - typed.length, options: options(labels, "text"), validFor: /^[^\s}]*$/ };
  }
  const word = context.matchBefore(/[\w.:/-]+/);
  if (before.lastIndexOf("{") > before.lastIndexOf("}")) {
    const labels = [...INTRINSICS, ...(await attributes())];
    return { from: word?.from ?? context.pos, options: options(labels, "property"), validFor: /^[\w.:/-]*$/ };
  }
  if (/\|\s*[\w]*$/.test(before)) return { from: word?.from ?? context.pos, options: options(TRACE_STAGES, "function"), validFor: /^[\w.]*$/ };
  return null;
}

/** Tables and their columns do not change while monocle runs. */
let known: ReturnType<typeof sqlTables> | undefined;

export async function completeSql(context: CompletionContext): Promise<CompletionResult | null> {
  known ??= sqlTables(new AbortController().signal).catch(() => ((known = undefined), []));
  const tables = await known;
  // Columns of the tables that the statement names come without their names, too.
  const named = tables.filter(({ name }) => new RegExp(`\\b${name}\\b`, "i").test(context.state.doc.toString()));
  const schema = Object.fromEntries(tables.map(({ name, columns }) => [name, columns]));
  const found = await schemaCompletionSource({ dialect: PostgreSQL, schema })(context);
  const columns = Array.from(new Set(named.flatMap(({ columns }) => columns)));
  if (!found || /\.\w*$/.test(context.state.sliceDoc(0, context.pos))) return found;
  return { ...found, options: [...found.options, ...options(columns, "property")] };
}
