// A list of any number of log lines, of which only those in sight are in the page.

import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
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

export function Lines({ lines, detail }: { lines: LogLine[]; detail: (line: LogLine) => ComponentChildren }) {
  const box = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  const [height, setHeight] = useState(600);
  const [open, setOpen] = useState<LogLine>();

  useEffect(() => {
    const shown = box.current!;
    const resized = new ResizeObserver(() => setHeight(shown.clientHeight));
    resized.observe(shown);
    return () => resized.disconnect();
  }, []);

  const first = Math.max(0, Math.floor(top / ROW) - MARGIN);
  const last = Math.min(lines.length, Math.ceil((top + height) / ROW) + MARGIN);
  const move = (event: KeyboardEvent) => {
    if (event.key === "Escape") setOpen(undefined);
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    event.preventDefault();
    const at = open ? lines.indexOf(open) + (event.key === "ArrowDown" ? 1 : -1) : 0;
    const next = lines[Math.min(Math.max(at, 0), lines.length - 1)];
    setOpen(next);
    const offset = lines.indexOf(next) * ROW;
    if (offset < top || offset > top + height - ROW) box.current!.scrollTop = offset - height / 2;
  };
  return (
    <>
      <div class="lines" style={{ height: `${lines.length * ROW + 2}px` }} ref={box} tabIndex={0} role="listbox" aria-label="Log lines" onScroll={(event) => setTop(event.currentTarget.scrollTop)} onKeyDown={move}>
        <div style={{ height: `${lines.length * ROW}px`, position: "relative" }}>
          {lines.slice(first, last).map((line, index) => (
            <div
              key={first + index}
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
      {open && detail(open)}
    </>
  );
}
