// SQL over everything: the first rows of an answer as a table, all of it as a file.

import { useMemo } from "preact/hooks";
import { sqlRows, sqlTables, type Row, type Rows } from "./api";
import { Answer, Query, Scroll, Warnings, useAnswer } from "./controls";
import { count } from "./format";
import { link, route } from "./route";

const EXAMPLES = [
  "select service_name, name, count(*), approx_percentile_cont(duration_ns / 1e6, 0.95) as p95_ms from spans group by 1, 2 order by 3 desc limit 20",
  "select date_bin(interval '1 minute', ts) as minute, count(*) from logs where ts > now() - interval '1 hour' group by 1 order by 1",
  "select trace_id, root_service, root_name, duration_ns from traces where errors > 0 order by duration_ns desc limit 10",
  "select name, count(*) from metrics group by 1 order by 2 desc limit 20",
];

/** The answer is read no further than this. */
const ROWS_MAX = 1000;
const BYTES_MAX = 8 << 20;

export default function SqlPage() {
  const query = route.value.params.get("q") ?? "";
  const answer = useAnswer(route.value, query ? (signal) => sqlRows(query, ROWS_MAX, BYTES_MAX, signal) : undefined);
  return (
    <>
      <h1 class="visually-hidden">SQL</h1>
      <Query language="sql" hint="SQL, such as select count(*) from spans (Shift-Enter for a new line)" examples={EXAMPLES} timeless />
      <Answer answer={answer}>{(result) => <Shown result={result} query={query} />}</Answer>
      {!query && <Tables />}
    </>
  );
}

function Shown({ result, query }: { result: Rows; query: string }) {
  const columns = useMemo(() => Object.keys(result.rows[0] ?? {}), [result]);
  const file = `/sql?${new URLSearchParams({ q: query, format: "csv" })}`;
  return (
    <>
      <Warnings texts={result.warnings} />
      <p class="muted">
        {result.whole ? `${count(result.rows.length)} ${result.rows.length === 1 ? "row" : "rows"}` : `The first ${count(result.rows.length)} rows; there are more`}
        {result.rows.length > 0 && (
          <>
            {" · "}
            <a href={file} download="monocle.csv">
              All as CSV
            </a>
          </>
        )}
      </p>
      {columns.length > 0 && (
        <Scroll label="Rows of the answer" class="rows">
          <table>
            <thead>
              <tr>
                {columns.map((name) => (
                  <th key={name} class={isNumber(result.rows, name) ? "number" : ""}>
                    {name}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {result.rows.map((row, index) => (
                <tr key={index}>
                  {columns.map((name) => (
                    <Cell key={name} name={name} value={row[name]} />
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
    </>
  );
}

/** By the first row that has a value. */
function isNumber(rows: Row[], name: string): boolean {
  return typeof rows.find((row) => row[name] !== null)?.[name] === "number";
}

function Cell({ name, value }: { name: string; value: unknown }) {
  if (value === null || value === undefined) return <td class="muted">null</td>;
  if (typeof value === "number") return <td class="number">{Number(value.toPrecision(12))}</td>;
  const text = typeof value === "string" ? value : JSON.stringify(value);
  if (/(^|_)trace_id$/.test(name) && /^[0-9a-f]{32}$/.test(text)) {
    return (
      <td>
        <a href={link("trace", { id: text })}>
          <code>{text}</code>
        </a>
      </td>
    );
  }
  return (
    <td>
      <code>{text}</code>
    </td>
  );
}

function Tables() {
  const answer = useAnswer("tables", sqlTables);
  return (
    <section class="tables">
      <h2>Tables</h2>
      <Answer answer={answer}>
        {(found) => (
          <>
            <dl>
              {found.map(({ name, columns }) => (
                <div key={name}>
                  <dt>
                    <a href={link("sql", { q: `select * from ${name} limit 20` })}>
                      <code>{name}</code>
                    </a>
                  </dt>
                  <dd>
                    <code>{columns.join(", ")}</code>
                  </dd>
                </div>
              ))}
            </dl>
            <p class="muted">
              A key of a map is a column of its own, too: <code>attributes['http.route']</code> and <code>"span.http.route"</code>, <code>"res.service.name"</code>,{" "}
              <code>"label.job"</code>, <code>"md.…"</code>. The same is answered to <code>curl {location.origin}/sql -d '…'</code>, as JSON, CSV or Arrow.
            </p>
          </>
        )}
      </Answer>
    </section>
  );
}
