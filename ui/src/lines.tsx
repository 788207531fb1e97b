// A list of any number of log lines, of which only those in sight are in the page.

import type { ComponentChildren } from "preact";
import { useEffect, useId, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Labels, LokiStream } from "./api";
import { clock } from "./format";

export interface LogLine {
  nanos: string;
  millis: number;
  text: string;
  stream: Labels;
  fields: Labels;
  level: string;
}

/** The worst first. */
export const LEVELS: [string, string][] = [["critical", "#8e3b8a"], ["fatal", "#8e3b8a"], ["error", "#d64545"], ["warn", "#d99a1c"], ["info", "#3f8f5f"], ["debug", "#4a86c5"], ["trace", "#79a8d8"], ["unknown", "#8a8f98"]];

export function levelColor(level: string): string {
  return LEVELS.find(([name]) => level.startsWith(name))?.[1] ?? "#8a8f98";
}

/** Newest first. */
export function linesOf(streams: LokiStream[]): LogLine[] {
  const lines = streams.flatMap(({ stream, values }) =>
    values.map(([nanos, text, own]) => {
      const fields = { ...own?.structuredMetadata, ...own?.parsed };
      return { nanos, millis: Number(nanos.slice(0, -6)), text, stream, fields, level: fields.detected_level ?? stream.detected_level ?? stream.level ?? "unknown" };
    }),
  );
  return lines.sort((a, b) => (a.nanos.length === b.nanos.length ? (a.nanos < b.nanos ? 1 : -1) : b.nanos.length - a.nanos.length));
}

const ROW = 22;
/** Rows above and below what is in sight. */
const MARGIN = 20;

/** Where a key leads in a list of `length`, from the place that is picked (-1: none); `page` is how many are in sight. */
export function stepOf(key: string, at: number, length: number, page: number): number | undefined {
  const to = {
    ArrowDown: at + 1,
    ArrowUp: at - 1,
    PageDown: at + page,
    PageUp: at - page,
    Home: 0,
    End: length - 1,
  }[key];
  return to === undefined || length === 0 ? undefined : Math.min(Math.max(to, 0), length - 1);
}

export function Lines({ lines, detail }: { lines: LogLine[]; detail: (line: LogLine) => ComponentChildren }) {
  const box = useRef<HTMLDivElement>(null);
  const drawer = useRef<HTMLDivElement>(null);
  const id = useId();
  const [top, setTop] = useState(0);
  const [height, setHeight] = useState(600);
  const [open, setOpen] = useState<LogLine>();

  useEffect(() => {
    const shown = box.current!;
    const resized = new ResizeObserver(() => setHeight(shown.clientHeight));
    resized.observe(shown);
    return () => resized.disconnect();
  }, []);

  const picked = open ? lines.indexOf(open) : -1;
  // What is picked stays in sight, and is not behind its own detail.
  useLayoutEffect(() => {
    const [shown, below] = [box.current!, drawer.current];
    if (picked < 0 || !below) return;
    const covered = () => Math.max(0, shown.getBoundingClientRect().bottom - below.getBoundingClientRect().top);
    const [from, to] = [picked * ROW, (picked + 1) * ROW];
    if (from < shown.scrollTop) shown.scrollTop = from;
    const room = shown.clientHeight - covered();
    if (to > shown.scrollTop + room) shown.scrollTop = to - room;
    // The last lines cannot go up in the list: the page does.
    const left = to - shown.scrollTop - (shown.clientHeight - covered());
    if (left > 0) scrollBy(0, left);
  }, [open]);

  const first = Math.max(0, Math.floor(top / ROW) - MARGIN);
  const last = Math.min(lines.length, Math.ceil((top + height) / ROW) + MARGIN);
  const close = () => {
    setOpen(undefined);
    box.current!.focus();
  };
  const move = (event: KeyboardEvent) => {
    const to = stepOf(event.key, picked, lines.length, Math.floor(height / ROW) - 1);
    if (to === undefined) return;
    event.preventDefault();
    setOpen(lines[to]);
  };
  return (
    <div onKeyDown={(event) => event.key === "Escape" && open && close()}>
      <div
        class="lines"
        style={{ height: `${lines.length * ROW + 2}px` }}
        ref={box}
        tabIndex={0}
        role="listbox"
        aria-label="Log lines"
        aria-activedescendant={picked >= first && picked < last ? `${id}-${picked}` : undefined}
        onScroll={(event) => setTop(event.currentTarget.scrollTop)}
        onKeyDown={move}
      >
        <div style={{ height: `${lines.length * ROW}px`, position: "relative" }}>
          {lines.slice(first, last).map((line, index) => (
            <div
              key={first + index}
              id={`${id}-${first + index}`}
              role="option"
              aria-selected={line === open}
              class="line"
              style={{ top: `${(first + index) * ROW}px`, height: `${ROW}px`, "--level": levelColor(line.level) }}
              onClick={() => setOpen(line === open ? undefined : line)}
            >
              <time>{clock(line.millis)}</time>
              <span class="service">{line.stream.service_name}</span>
              <span class="text">{line.text}</span>
            </div>
          ))}
        </div>
      </div>
      {open && (
        <div class="drawer" ref={drawer} tabIndex={0} role="region" aria-label="The line">
          <button class="small close" onClick={close} title="Key Escape">
            Close
          </button>
          {detail(open)}
        </div>
      )}
    </div>
  );
}
