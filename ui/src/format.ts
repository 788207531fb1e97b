// Numbers and times for people.

export function bytes(count: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (count >= 1024 && at < units.length - 1) {
    count /= 1024;
    at += 1;
  }
  return `${count >= 100 || at === 0 ? count.toFixed(0) : count.toFixed(1)} ${units[at]}`;
}

export function count(value: number): string {
  if (!Number.isFinite(value)) return "–";
  const [scale, unit] = Math.abs(value) >= 1e9 ? [1e9, "G"] : Math.abs(value) >= 1e6 ? [1e6, "M"] : Math.abs(value) >= 1e4 ? [1e3, "k"] : [1, ""];
  const scaled = value / scale;
  return `${Number.isInteger(scaled) ? scaled : Number(scaled.toPrecision(3))}${unit}`;
}

/** A part of one, in percent. */
export function percent(share: number): string {
  return Number.isFinite(share) ? `${Number((100 * share).toPrecision(3))} %` : "–";
}

/** A number of things a second; a minute or an hour where they are rare. */
export function rate(perSecond: number): string {
  if (perSecond > 0 && perSecond < 0.1 / 60) return `${Number((3600 * perSecond).toPrecision(2))}/h`;
  return perSecond === 0 || perSecond >= 0.1 ? `${count(perSecond)}/s` : `${Number((60 * perSecond).toPrecision(2))}/min`;
}

/** Nanoseconds as the nearest unit. */
export function duration(nanos: number, digits = 3): string {
  const units: [number, string][] = [[86400e9, "d"], [3600e9, "h"], [60e9, "m"], [1e9, "s"], [1e6, "ms"], [1e3, "µs"]];
  for (const [size, unit] of units) {
    if (nanos >= size) return `${Number((nanos / size).toPrecision(digits))} ${unit}`;
  }
  return nanos === 0 ? "0" : `${Math.round(nanos)} ns`;
}

const two = (n: number) => String(n).padStart(2, "0");

/** Local date and time to the millisecond. */
export function time(millis: number): string {
  const at = new Date(millis);
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${clock(millis)}`;
}

/** Local date and time to the second, as a field for it takes them. */
export function local(millis: number): string {
  return time(millis).slice(0, 19).replace(" ", "T");
}

export function clock(millis: number): string {
  const at = new Date(millis);
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${String(at.getMilliseconds()).padStart(3, "0")}`;
}

/** How long ago, in the largest unit. */
export function ago(millis: number): string {
  return `${duration(Math.max(0, Date.now() - millis) * 1e6, 2)} ago`;
}

/** `name{a="b"}` as the language writes it. */
export function seriesName(labels: Record<string, string>): string {
  const { __name__: name = "", ...rest } = labels;
  const pairs = Object.entries(rest).map(([key, value]) => `${key}=${JSON.stringify(value)}`);
  return pairs.length ? `${name}{${pairs.join(", ")}}` : name || "{}";
}

/** Palette of eight that people with colour blindness can tell apart (Okabe and Ito), shifted for both themes. */
const COLORS = ["#2f7fc1", "#d55e00", "#1a9e77", "#c276a4", "#b8860b", "#56a4d9", "#7a5cc4", "#7f8c8d"];

export function color(index: number): string {
  return COLORS[index % COLORS.length];
}

/** The same colour for the same name on every page. */
export function colorOf(name: string): string {
  let hash = 2166136261;
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 16777619);
  return color((hash >>> 0) % COLORS.length);
}
