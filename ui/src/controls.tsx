// What all pages share: the range of time, the query field, loading and errors.

import type { ComponentChildren } from "preact";
import { Suspense, lazy } from "preact/compat";
import { useEffect, useState } from "preact/hooks";
import { ApiError } from "./api";
import type { Language } from "./editor";
import { local } from "./format";
import { range, route, update, type Range } from "./route";

const CodeEditor = lazy(() => import("./editor"));

const RANGES: [string, string][] = [["-5m", "5 minutes"], ["-15m", "15 minutes"], ["-1h", "hour"], ["-3h", "3 hours"], ["-12h", "12 hours"], ["-1d", "day"], ["-7d", "7 days"], ["-30d", "30 days"]];

export function TimeRange() {
  const params = route.value.params;
  const from = params.get("from") ?? "-1h";
  const relative = RANGES.some(([value]) => value === from) && !/^\d/.test(params.get("to") ?? "");
  const shown = range(params);
  return (
    <span class="range">
      <select aria-label="Range of time" value={relative ? from : "custom"} onChange={({ currentTarget: { value } }) => update(value === "custom" ? fixed(shown) : { from: value, to: undefined })}>
        {RANGES.map(([value, name]) => (
          <option key={value} value={value}>{`Last ${name}`}</option>
        ))}
        <option value="custom">From … to …</option>
      </select>
      {!relative && <Moment name="from" millis={shown.from} />}
      {!relative && <Moment name="to" millis={shown.to} />}
    </span>
  );
}

/** As the URL has a range that does not move on. */
const fixed = ({ from, to }: Range) => ({ from: String(from), to: String(to) });

/** One end of a fixed range. */
function Moment({ name, millis }: { name: "from" | "to"; millis: number }) {
  const shown = range();
  const set = (event: Event) => {
    const at = new Date((event.currentTarget as HTMLInputElement).value).getTime();
    if (Number.isFinite(at) && at > 0) update({ ...fixed(shown), [name]: String(at) });
  };
  return <input type="datetime-local" step="1" aria-label={name} value={local(millis)} onChange={set} />;
}

interface QueryProps {
  language: Language;
  hint: string;
  examples: string[];
  /** Asks for no range of time. */
  timeless?: boolean;
  children?: ComponentChildren;
}

/** The query lives in `q` of the URL. */
export function Query({ language, hint, examples, timeless, children }: QueryProps) {
  const value = route.value.params.get("q") ?? "";
  const run = (q: string) => update({ q });
  return (
    <section class="query">
      <div class="query-row">
        <Suspense fallback={<div class="code code-loading">{value || hint}</div>}>
          <CodeEditor language={language} value={value} hint={hint} onRun={run} />
        </Suspense>
        <div class="query-tools">
          {children}
          {!timeless && <TimeRange />}
          <button class="primary" onClick={() => update({})} title="Run the query again (Enter in the field runs what is typed)">
            Run
          </button>
        </div>
      </div>
      {!value && (
        <p class="examples">
          Try{" "}
          {examples.map((example) => (
            <button key={example} class="example" onClick={() => run(example)}>
              {example}
            </button>
          ))}
        </p>
      )}
    </section>
  );
}

/** A table that may be wider than the screen, which has to be reachable by keyboard then. */
export function Scroll({ label, class: name = "", children }: { label: string; class?: string; children: ComponentChildren }) {
  return (
    <div class={`scroll ${name}`} tabIndex={0} role="region" aria-label={label}>
      {children}
    </div>
  );
}

export interface Loaded<T> {
  value?: T;
  error?: string;
  loading: boolean;
}

/** Asks again when `key` changes, and drops the answer to a question that is no longer the present one. */
export function useAnswer<T>(key: unknown, ask: ((signal: AbortSignal) => Promise<T>) | undefined): Loaded<T> {
  const [state, setState] = useState<Loaded<T>>({ loading: !!ask });
  useEffect(() => {
    if (!ask) {
      setState({ loading: false });
      return;
    }
    const abort = new AbortController();
    setState((before) => ({ ...before, error: undefined, loading: true }));
    ask(abort.signal).then(
      (value) => !abort.signal.aborted && setState({ value, loading: false }),
      (error) => {
        if (abort.signal.aborted) return;
        if (!(error instanceof ApiError)) console.warn(error);
        setState({ error: error.message, loading: false });
      },
    );
    return () => abort.abort();
  }, [key]);
  return state;
}

export function Answer<T>({ answer, children, empty }: { answer: Loaded<T>; children: (value: T) => ComponentChildren; empty?: ComponentChildren }) {
  if (answer.error) {
    return (
      <p class="error" role="alert">
        {answer.error}
      </p>
    );
  }
  return (
    <div class={answer.loading && answer.value !== undefined ? "answer stale" : "answer"} aria-busy={answer.loading}>
      {answer.value !== undefined ? children(answer.value) : (answer.loading ? <p class="muted">Loading…</p> : empty)}
    </div>
  );
}

/** Warnings of an answer, such as a bucket that is down. */
export function Warnings({ texts }: { texts?: string[] }) {
  if (!texts?.length) return null;
  return (
    <ul class="warnings">
      {texts.map((text) => (
        <li key={text}>{text}</li>
      ))}
    </ul>
  );
}
