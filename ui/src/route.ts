// All state that is worth a bookmark lives in the URL's fragment: `#/logs?q={…}&from=-1h&to=now`.

import { signal } from "@preact/signals";

export interface Route {
  page: string;
  params: URLSearchParams;
}

function parse(hash: string): Route {
  const [path, query] = hash.replace(/^#\/?/, "").split("?", 2);
  return { page: path || "start", params: new URLSearchParams(query ?? "") };
}

export const route = signal<Route>(parse(location.hash));

addEventListener("hashchange", () => (route.value = parse(location.hash)));

/** The fragment for a page; empty values are left out. */
export function link(page: string, params: Record<string, string | undefined> = {}): string {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(params)) {
    if (value) query.set(key, value);
  }
  const text = query.toString();
  return `#/${page}${text ? `?${text}` : ""}`;
}

/** Changes some parameters of the present page. */
export function update(changes: Record<string, string | undefined>): void {
  const params = Object.fromEntries(route.value.params);
  const next = link(route.value.page, { ...params, ...changes });
  if (next === location.hash) {
    // The same question again is asked again.
    route.value = parse(next);
  } else {
    location.hash = next;
  }
}

// ---- the range of time ----------------------------------------------------------------------------------------------

export interface Range {
  /** Milliseconds since 1970. */
  from: number;
  to: number;
}

const UNITS: Record<string, number> = { s: 1e3, m: 60e3, h: 3600e3, d: 86400e3 };

/** `-15m`, `now`, or milliseconds since 1970. */
function instant(text: string, now: number): number {
  const relative = /^-(\d+)([smhd])$/.exec(text);
  if (relative) return now - Number(relative[1]) * UNITS[relative[2]];
  const absolute = Number(text);
  return text !== "" && Number.isFinite(absolute) ? absolute : now;
}

export function range(params: URLSearchParams = route.value.params): Range {
  const now = Date.now();
  const to = instant(params.get("to") ?? "now", now);
  return { from: Math.min(instant(params.get("from") ?? "-1h", now), to - 1000), to };
}

/** A step of a round number of seconds that gives at most `points` of them. */
export function stepSeconds({ from, to }: Range, points: number): number {
  const least = (to - from) / 1000 / points;
  const round = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 43200, 86400];
  return round.find((step) => step >= least) ?? Math.ceil(least / 86400) * 86400;
}
