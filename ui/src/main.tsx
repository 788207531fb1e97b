import { render } from "preact";
import { Suspense, lazy } from "preact/compat";
import { useEffect } from "preact/hooks";
import { link, route } from "./route";
import Start from "./start";
import "./style.css";

const PAGES = [
  { page: "start", title: "Start", key: "s", view: Start },
  { page: "metrics", title: "Metrics", key: "m", view: lazy(() => import("./metrics")) },
  { page: "logs", title: "Logs", key: "l", view: lazy(() => import("./logs")) },
  { page: "traces", title: "Traces", key: "t", view: lazy(() => import("./traces")) },
  { page: "map", title: "Map", key: "p", view: lazy(() => import("./map")) },
  { page: "sql", title: "SQL", key: "q", view: lazy(() => import("./sql")) },
  { page: "storage", title: "Storage", key: "o", view: lazy(() => import("./storage")) },
];

const TRACE = { page: "trace", title: "Trace", view: lazy(() => import("./trace")) };

/** A letter opens a page, `/` goes to the query; not while somebody types. */
function onKey(event: KeyboardEvent) {
  const target = event.target as HTMLElement;
  if (event.ctrlKey || event.metaKey || event.altKey || target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName)) return;
  if (event.key === "/") {
    document.querySelector<HTMLElement>(".cm-content")?.focus();
    event.preventDefault();
    return;
  }
  const page = PAGES.find(({ key }) => key === event.key);
  if (page) location.hash = link(page.page, kept());
}

/** The range of time goes along to the next page. */
function kept(): Record<string, string | undefined> {
  const params = route.value.params;
  return { from: params.get("from") ?? undefined, to: params.get("to") ?? undefined };
}

/** A title with the letter underlined that opens its page. */
function Lettered({ title, letter }: { title: string; letter: string }) {
  const at = title.toLowerCase().indexOf(letter);
  return (
    <>
      {title.slice(0, at)}
      <u>{title[at]}</u>
      {title.slice(at + 1)}
    </>
  );
}

function App() {
  const { page } = route.value;
  const { view: View, title } = [...PAGES, TRACE].find((candidate) => candidate.page === page) ?? PAGES[0];
  useEffect(() => {
    document.title = `${title} · monocle`;
  }, [title]);
  useEffect(() => {
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, []);
  return (
    <>
      <header>
        <a class="brand" href={link("start")} aria-label="monocle, start page">
          <svg viewBox="0 0 32 32" width="22" height="22" aria-hidden="true">
            <circle cx="14" cy="14" r="10" fill="none" stroke="currentColor" stroke-width="4" />
            <path d="M22 22l8 8" stroke="currentColor" stroke-width="4" />
          </svg>
          monocle
        </a>
        <nav aria-label="Pages">
          {PAGES.map((entry) => (
            <a key={entry.page} href={link(entry.page, kept())} aria-current={entry.page === page ? "page" : undefined} aria-keyshortcuts={entry.key} title={`Key ${entry.key}; key / goes to the query`}>
              <Lettered title={entry.title} letter={entry.key} />
            </a>
          ))}
        </nav>
      </header>
      <main>
        <Suspense fallback={<p class="muted">Loading…</p>}>
          <View key={page} />
        </Suspense>
      </main>
    </>
  );
}

render(<App />, document.getElementById("app")!);
