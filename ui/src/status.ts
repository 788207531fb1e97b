// What monocle says of itself, at `/-/status`.

import { useEffect, useState } from "preact/hooks";
import { get } from "./api";

export interface SignalStatus {
  signal: "metrics" | "logs" | "traces";
  retention_seconds: number | null;
  acknowledged_items: number;
  received_bytes: number;
  refused: { reason: string; items: number }[];
  wal_bytes: number;
  head: { items: number; bytes: number };
  blocks: { tenant: string; level: number; day: string; blocks: number; bytes: number; items: number }[];
}

export interface Status {
  version: string;
  ready: boolean;
  started_at: number;
  memory_budget_bytes: number;
  disk_budget_bytes: number;
  bucket: string | null;
  listeners: Record<string, string>;
  signals: SignalStatus[];
  slow_queries: { api: string; query: string; took_ms: number; at: number; outcome: string }[];
}

export interface Watched {
  status?: Status;
  error?: string;
  /** Items a second since the reading before, by signal. */
  rates: Record<string, number>;
}

/** Reads the status again and again. */
export function useStatus(everyMillis = 2000): Watched {
  const [state, setState] = useState<Watched>({ rates: {} });
  useEffect(() => {
    let before: { at: number; status: Status } | undefined;
    const abort = new AbortController();
    const read = async () => {
      try {
        const status = await get<Status>("/-/status", {}, abort.signal);
        const at = performance.now();
        const rates = Object.fromEntries(
          status.signals.map(({ signal, acknowledged_items: items }) => {
            const then = before?.status.signals.find((one) => one.signal === signal)?.acknowledged_items ?? items;
            return [signal, before ? Math.max(0, (items - then) / ((at - before.at) / 1000)) : 0];
          }),
        );
        before = { at, status };
        setState({ status, rates });
      } catch (error) {
        if (!abort.signal.aborted) setState((last) => ({ ...last, error: (error as Error).message }));
      }
    };
    read();
    const timer = setInterval(read, everyMillis);
    return () => {
      clearInterval(timer);
      abort.abort();
    };
  }, [everyMillis]);
  return state;
}
