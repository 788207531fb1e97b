// A plot of time series, with exemplars as points on it.

import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { color, count } from "./format";
import type { Range } from "./route";

export interface Line {
  name: string;
  /** Seconds since 1970 and value. */
  points: [number, number][];
  color?: string;
}

export interface Dot {
  /** Seconds since 1970. */
  time: number;
  value: number;
  title: string;
  onPick: () => void;
}

interface Props {
  lines: Line[];
  dots?: Dot[];
  range: Range;
  height?: number;
  /** `bars` stacks the lines. */
  kind?: "lines" | "bars";
  unit?: (value: number) => string;
  onZoom?: (range: Range) => void;
}

/** All lines on one axis of time; where a line has no point and others have, there is a gap (`null`), but not at a dot (`undefined`). */
function align(lines: Line[], dots: Dot[], stacked: boolean): uPlot.AlignedData {
  const times = Array.from(new Set([...lines.flatMap((line) => line.points.map(([time]) => time)), ...dots.map((dot) => dot.time)])).sort((a, b) => a - b);
  const at = new Map(times.map((time, index) => [time, index]));
  const base = new Array<number>(times.length).fill(0);
  const steps = new Set(lines.flatMap((line) => line.points.map(([time]) => time)));
  const nothing: (number | null | undefined)[] = times.map((time) => (stacked ? 0 : steps.has(time) ? null : undefined));
  const columns = lines.map((line) => {
    const column = [...nothing];
    for (const [time, value] of line.points) column[at.get(time)!] = Number.isFinite(value) ? value : null;
    return stacked ? column.map((value, index) => (base[index] += value ?? 0)) : column;
  });
  const values = new Array<number | null>(times.length).fill(null);
  for (const dot of dots) values[at.get(dot.time)!] = dot.value;
  return [times, ...columns, ...(dots.length ? [values] : [])] as uPlot.AlignedData;
}

/** uPlot's steps of an axis of time, by the least distance of its ticks in seconds, with a clock of 24 hours. */
const TIMES: uPlot.Axis.DynamicValues | (string | number | null)[][] = [
  [86400, "{YYYY}-{MM}-{DD}", null, null, null, null, null, null, 1],
  [60, "{HH}:{mm}", "\n{YYYY}-{MM}-{DD}", null, "\n{MM}-{DD}", null, null, null, 1],
  [1, "{HH}:{mm}:{ss}", "\n{YYYY}-{MM}-{DD}", null, "\n{MM}-{DD}", null, null, null, 1],
  [0.001, ":{ss}.{fff}", "\n{YYYY}-{MM}-{DD} {HH}:{mm}", null, "\n{MM}-{DD} {HH}:{mm}", null, "\n{HH}:{mm}", null, 1],
];

/** Names of the lines, with their colours. */
export function Legend({ lines }: { lines: Line[] }) {
  return (
    <ul class="legend">
      {lines.slice(0, 50).map((line, index) => (
        <li key={line.name}>
          <span class="swatch" style={{ background: line.color ?? color(index) }} />
          {line.name}
        </li>
      ))}
    </ul>
  );
}

function css(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

export default function Plot({ lines, dots = [], range, height = 260, kind = "lines", unit = count, onZoom }: Props) {
  const parent = useRef<HTMLDivElement>(null);

  useEffect(() => {
    const box = parent.current!;
    const stacked = kind === "bars";
    const data = align(lines, dots, stacked);
    const bars = uPlot.paths.bars!({ size: [0.9, 40] });
    const axis = { stroke: css("--muted"), grid: { stroke: css("--grid"), width: 1 }, ticks: { stroke: css("--grid") }, font: "12px system-ui" };
    const series: uPlot.Series[] = lines.map((line, index) => {
      const stroke = line.color ?? color(index);
      return stacked
        ? { label: line.name, stroke, fill: stroke, width: 0, paths: bars, points: { show: false } }
        : { label: line.name, stroke, width: 1.5, spanGaps: false, points: { size: 4 } };
    });
    if (dots.length) series.push({ label: "exemplars", stroke: css("--exemplar"), paths: () => null, points: { show: true, size: 7, fill: css("--exemplar"), width: 1 } });
    // What is drawn last is on top: a bar's lower parts, and lines above their exemplars.
    const order = series.map((_, index) => index).reverse();
    const nearest = (plot: uPlot): Dot | undefined => {
      const { left = -1, top = -1 } = plot.cursor;
      let found: Dot | undefined;
      let best = 12 ** 2;
      for (const dot of dots) {
        const distance = (plot.valToPos(dot.time, "x") - left) ** 2 + (plot.valToPos(dot.value, "y") - top) ** 2;
        if (distance < best) [best, found] = [distance, dot];
      }
      return found;
    };
    const plot = new uPlot(
      {
        width: Math.max(box.clientWidth, 200),
        height,
        legend: { show: false },
        cursor: { drag: { x: !!onZoom, y: false }, points: { size: 7 } },
        scales: { x: { time: true, range: () => [range.from / 1000, range.to / 1000] }, y: { range: (_, min, max) => (min === max ? [Math.min(0, min), max || 1] : uPlot.rangeNum(Math.min(min, stacked ? 0 : min), max, 0.1, true)) } },
        // A date has to fit between two ticks.
        axes: [{ ...axis, space: 84, values: TIMES }, { ...axis, size: 64, values: (_, ticks) => ticks.map((tick) => unit(tick)) }],
        series: [{}, ...order.map((index) => series[index])],
        hooks: {
          setSelect: [
            (plot) => {
              if (plot.select.width < 4) return;
              const [from, to] = [plot.select.left, plot.select.left + plot.select.width].map((x) => Math.round(plot.posToVal(x, "x") * 1000));
              plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
              onZoom?.({ from, to });
            },
          ],
          setCursor: [
            (plot) => {
              const dot = nearest(plot);
              plot.over.style.cursor = dot ? "pointer" : "crosshair";
              plot.over.title = dot?.title ?? "";
            },
          ],
        },
      },
      [data[0], ...order.map((index) => data[index + 1])] as uPlot.AlignedData,
      box,
    );
    const pick = () => nearest(plot)?.onPick();
    plot.over.addEventListener("click", pick);
    const resized = new ResizeObserver(() => plot.setSize({ width: Math.max(box.clientWidth, 200), height }));
    resized.observe(box);
    return () => {
      resized.disconnect();
      plot.destroy();
    };
  }, [lines, dots, range, kind]);

  // The height is there before the data, so nothing moves when they come.
  return <div class="plot" ref={parent} role="img" aria-label={`Plot over time of ${lines.length || dots.length} ${lines.length ? "series" : "points"}`} style={{ height: `${height}px` }} />;
}
