// The page in a real browser, against a running monocle: `node browser.mjs BASE_URL SCREENSHOTS [CHROMIUM]`.
// Empty at first: it is asked what it shows then, and filled through the page's own button and by `load` below.
// Every check that fails is told; so is every error on the console, and what axe-core finds serious for people who do not see
// or do not point.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { chromium } from "playwright-core";

const [base, shots, executablePath = "/usr/bin/chromium"] = process.argv.slice(2);
const load = process.env.MONOCLE_LOAD;
mkdirSync(shots, { recursive: true });

const assets = new URL("../dist/assets/", import.meta.url);
const compressed = readdirSync(assets).reduce((sum, name) => sum + gzipSync(readFileSync(new URL(name, assets))).length, 0);
console.log(`# the page's files take ${Math.round(compressed / 1000)} kB compressed`);
assert.ok(compressed < 400_000);

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, colorScheme: "light" });
const page = await context.newPage();
page.setDefaultTimeout(20_000);

/** What the browser complains of. A request that is refused on purpose is named by `refused`. */
const complaints = [];
let refused = false;
page.on("console", (message) => {
  if (message.type() === "error" && !(refused && message.text().includes("400"))) complaints.push(message.text());
});
page.on("pageerror", (error) => complaints.push(String(error)));
page.on("request", (request) => {
  if (!request.url().startsWith(base) && !/^(data|ws):/.test(request.url())) complaints.push(`a request to ${request.url()}`);
});

/** What is serious for WCAG 2.1 AA, in one line each. */
async function barriers() {
  // What is being replaced is faint.
  await page.waitForFunction(() => !document.querySelector('[aria-busy="true"]'));
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"], resultTypes: ["violations"] }));
  const serious = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
  return serious.flatMap(({ id, nodes }) => nodes.slice(0, 3).map(({ html, any, all }) => `${id}: ${html.slice(0, 120)} (${(any[0] ?? all[0])?.message})`));
}

let failed = 0;
async function check(name, body) {
  const before = complaints.length;
  try {
    await body();
    await page.screenshot({ path: join(shots, `${name.replaceAll(/\W+/g, "-")}.png`) });
    assert.deepEqual(await barriers(), [], "nothing stands in the way of keyboards and screen readers");
    assert.deepEqual(complaints.slice(before), [], "the console is clean");
    console.log(`ok - ${name}`);
  } catch (error) {
    failed += 1;
    await page.screenshot({ path: join(shots, `FAILED-${name.replaceAll(/\W+/g, "-")}.png`) }).catch(() => {});
    console.log(`not ok - ${name}: ${error.stack}`);
  }
}

const open = async (fragment) => {
  await page.goto("about:blank");
  await page.goto(`${base}/#/${fragment}`);
};
const query = (parts) => new URLSearchParams(parts).toString();
const gone = (text) => page.getByText(text).first().waitFor({ state: "detached" });
/** The plot is a canvas: something other than its background must have been drawn. */
const drawn = () =>
  page.waitForFunction(() => {
    const canvas = document.querySelector(".uplot canvas");
    if (!canvas?.width) return false;
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    let inked = 0;
    for (let at = 3; at < data.length; at += 4) inked += data[at] ? 1 : 0;
    return inked > 500;
  });

await check("start, empty", async () => {
  await open("start");
  await page.getByText("OTEL_EXPORTER_OTLP_ENDPOINT").waitFor();
  await page.getByText("none refused").first().waitFor();
});

await check("first paint", async () => {
  await open("start");
  await page.waitForSelector("h1");
  const paint = await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime);
  console.log(`# first contentful paint after ${Math.round(paint)} ms`);
  assert.ok(paint < 300, `first paint after ${paint} ms`);
});

/** How much has moved since the page was opened without anybody having asked for it, and what. */
async function shifts() {
  return page.evaluate(async () => {
    const entries = await new Promise((resolve) => {
      new PerformanceObserver((list) => resolve(list.getEntries())).observe({ type: "layout-shift", buffered: true });
      setTimeout(() => resolve([]), 500);
    });
    const moved = entries.filter((entry) => !entry.hadRecentInput && entry.value > 0.0005);
    return moved.map((entry) => `${entry.value.toFixed(4)}: ${entry.sources.map(({ node }) => node?.outerHTML?.slice(0, 80) ?? node?.textContent)}`);
  });
}

await check("nothing moves when the first data arrive", async () => {
  await open("start");
  await page.getByText("0 stored").first().waitFor();
  const body = { resourceLogs: [{ resource: { attributes: [{ key: "service.name", value: { stringValue: "first" } }] }, scopeLogs: [{ logRecords: [{ body: { stringValue: "hello" } }] }] }] };
  assert.equal((await page.request.post(`${base}/v1/logs`, { data: body })).status(), 200);
  await page.getByText("1 stored").waitFor();
  await page.getByRole("cell", { name: "first" }).waitFor();
  assert.ok(await page.getByText("OTEL_EXPORTER_OTLP_ENDPOINT").isVisible(), "what is being copied stays in sight");
  assert.deepEqual(await shifts(), []);
});

await check("the sample request", async () => {
  await open("start");
  await page.getByRole("button", { name: "Send a sample request" }).click();
  await page.getByRole("link", { name: "its trace" }).click();
  await page.getByText("card service timed out after 300 ms").first().waitFor({ state: "attached" }).catch(() => {});
  await page.locator(".span").nth(5).waitFor();
  assert.equal(await page.locator(".span").count(), 6);
});

await check("a span and its logs", async () => {
  await page.locator(".span", { hasText: "sample-payment" }).click();
  await page.getByText("exception.message").waitFor();
  await page.getByText("2 of this span").waitFor();
  await page.locator(".line").first().waitFor();
});

if (load) execFileSync("sh", ["-c", load], { stdio: "inherit" });

await check("start, busy", async () => {
  await open("start");
  await page.getByRole("cell", { name: "frontend", exact: true }).first().waitFor();
});

await check("metrics over a range", async () => {
  await open(`metrics?${query({ q: "sum by (service_name) (rate(http_server_request_duration_seconds_count[5m]))" })}`);
  await drawn();
  assert.ok((await page.locator("tbody tr").count()) >= 1);
});

await check("metrics at an instant, dark", async () => {
  await page.emulateMedia({ colorScheme: "dark" });
  await page.getByLabel("Kind of query").selectOption("instant");
  await page.getByText("At ").first().waitFor();
  const [red] = await page.evaluate(() => getComputedStyle(document.body).backgroundColor.match(/\d+/g).map(Number));
  assert.ok(red < 80, "the background is dark");
});
await page.emulateMedia({ colorScheme: "light" });

await check("typing a query with completion", async () => {
  await open("metrics");
  await page.locator(".cm-content").click();
  await page.keyboard.type("http_server_request_dur");
  await page.locator(".cm-tooltip-autocomplete li").first().waitFor();
  await page.keyboard.press("Enter");
  await page.keyboard.press("Escape");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => location.hash.includes("q=http_server_request_dur"));
  await page.locator("table, .muted, .error").first().waitFor();
});

await check("from a metric by its exemplar to the trace and the logs", async () => {
  await open(`metrics?${query({ q: "histogram_quantile(.95, sum by (le) (rate(http_server_request_duration_seconds_bucket[5m])))" })}`);
  await drawn();
  const box = await page.locator(".u-over").boundingBox();
  let found = false;
  // A click where the pointer says that there is an exemplar.
  for (let x = 4; x < box.width && !found; x += 6) {
    for (let y = 4; y < box.height && !found; y += 8) {
      await page.mouse.move(box.x + x, box.y + y);
      found = (await page.locator(".u-over").evaluate((over) => over.style.cursor)) === "pointer";
      if (found) await page.mouse.click(box.x + x, box.y + y);
    }
  }
  assert.ok(found, "an exemplar under the pointer");
  await page.locator(".span").first().waitFor();
  await page.locator(".span").first().click();
  await page.getByRole("link", { name: "Open in Logs" }).click();
  await page.waitForFunction(() => location.hash.startsWith("#/logs"));
  await page.locator(".line, .muted").first().waitFor();
});

await check("logs with volume and fields", async () => {
  await open(`logs?${query({ q: '{service_name=~".+"}' })}`);
  await page.locator(".line").nth(20).waitFor();
  await drawn();
  assert.ok((await page.locator(".line").count()) < 200, "only lines in sight are in the page");
  await page.locator(".line").nth(3).click();
  await page.locator(".detail pre").waitFor();
});

await check("ten thousand lines scroll smoothly", async () => {
  await open(`logs?${query({ q: '{service_name=~".+"}' })}`);
  const older = page.getByRole("button", { name: "Older lines" });
  const rows = () => page.locator(".lines > div").evaluate((all) => Math.round(all.clientHeight / 22));
  await page.locator(".line").first().waitFor();
  for (let shown = await rows(); shown < 10_000; ) {
    await older.click();
    const before = shown;
    while ((shown = await rows()) === before) await page.waitForTimeout(20);
  }
  const { still, gaps, most } = await page.locator(".lines").evaluate(async (box) => {
    let most = 0;
    const frames = async (count, each) => {
      const gaps = [];
      let last = await new Promise(requestAnimationFrame);
      for (let frame = 0; frame < count; frame++) {
        each();
        const now = await new Promise(requestAnimationFrame);
        gaps.push(now - last);
        last = now;
        most = Math.max(most, box.querySelectorAll(".line").length);
      }
      return gaps.sort((a, b) => a - b);
    };
    // What the machine has left for frames that change nothing.
    const still = await frames(60, () => {});
    return { still, gaps: await frames(120, () => (box.scrollTop += 1_500)), most };
  });
  const [idle, median, late] = [still[30], gaps[60], gaps[114]];
  console.log(`# scrolling 10,000 lines: a frame takes ${median.toFixed(1)} ms (median; ${idle.toFixed(1)} without scrolling), ${late.toFixed(1)} ms (p95), at most ${most} lines in the page`);
  assert.ok(most < 200, "only lines in sight are in the page");
  assert.ok(median < idle + 34, `a frame takes ${median} ms, ${idle} without scrolling`);
});

await check("a log line leads to its trace", async () => {
  await open(`logs?${query({ q: '{service_name=~".+"} | trace_id != ""' })}`);
  await page.locator(".line").first().click();
  await page.getByRole("link", { name: /Open trace/ }).click();
  await page.locator(".span").first().waitFor();
});

await check("lines as they come", async () => {
  await open(`logs?${query({ q: '{service_name="live"}', live: "1" })}`);
  await page.getByText("Live").nth(0).waitFor();
  await page.getByRole("status").filter({ hasText: "Live" }).waitFor();
  const line = `it is ${Date.now()}`;
  const body = { streams: [{ stream: { service_name: "live" }, values: [[`${Date.now()}000000`, line]] }] };
  const answer = await page.request.post(`${base}/loki/api/v1/push`, { data: body });
  assert.equal(answer.status(), 204);
  await page.getByText(line).waitFor();
});

await check("traces as scatter and list", async () => {
  await open(`traces?${query({ q: "{ status = error }" })}`);
  await page.locator("tbody tr").nth(3).waitFor();
  await drawn();
});

await check("traces as a metric", async () => {
  await open(`traces?${query({ q: "{ } | rate() by (resource.service.name)" })}`);
  await drawn();
});

await check("a wrong query says where", async () => {
  refused = true;
  await open(`traces?${query({ q: "{ status = " })}`);
  await page.getByRole("alert").waitFor();
  await open(`metrics?${query({ q: "sum(" })}`);
  await page.getByRole("alert").waitFor();
  await open(`logs?${query({ q: "{" })}`);
  await page.getByRole("alert").waitFor();
  refused = false;
});

await check("SQL", async () => {
  await open("sql");
  await page.locator("dt", { hasText: "spans" }).waitFor();
  await page.locator(".cm-content").click();
  await page.keyboard.type("select trace_id, name, duration_ns from spans where status = 'error' limit 5");
  await page.keyboard.press("Escape");
  await page.keyboard.press("Enter");
  await page.getByText("5 rows").waitFor();
  assert.equal(await page.locator("tbody tr").count(), 5);
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: "All as CSV" }).click()]);
  const lines = readFileSync(await download.path(), "utf8").trim().split("\n");
  assert.deepEqual([lines[0], lines.length], ["trace_id,name,duration_ns", 6]);
  await page.locator("tbody a").first().click();
  await page.locator(".span").first().waitFor();
});

await check("SQL, more rows than a page holds", async () => {
  await open(`sql?${query({ q: "select trace_id, start, duration_ns from spans" })}`);
  await page.getByText("The first 1000 rows; there are more").waitFor();
  assert.equal(await page.locator("tbody tr").count(), 1000);
});

await check("SQL, completion of columns and a mistake", async () => {
  refused = true;
  await open("sql");
  await page.locator(".cm-content").click();
  await page.keyboard.type("select count(*) from traces where root_serv");
  await page.locator(".cm-tooltip-autocomplete li", { hasText: "root_service" }).first().waitFor();
  await open(`sql?${query({ q: "select * from nothing" })}`);
  await page.getByRole("alert").filter({ hasText: "not found" }).waitFor();
  refused = false;
});

await check("service map", async () => {
  await open("map");
  await page.locator(".map .node, main .muted").first().waitFor();
});

await check("storage", async () => {
  await open("storage");
  await page.getByText(/^Disk: /).waitFor();
  await gone("Loading…").catch(() => {});
});

for (const [name, fragment] of [
  ["start", "start"],
  ["metrics", `metrics?${query({ q: "sum by (service_name) (rate(http_server_request_duration_seconds_count[5m]))" })}`],
  ["logs", `logs?${query({ q: '{service_name=~".+"}' })}`],
  ["traces", `traces?${query({ q: "{ }" })}`],
  ["map", "map"],
  ["sql", `sql?${query({ q: "select * from spans limit 3" })}`],
  ["storage", "storage"],
]) {
  await check(`nothing moves when answers come: ${name}`, async () => {
    for (const width of [1280, 360]) {
      await page.setViewportSize({ width, height: 800 });
      await open(fragment);
      await page.waitForLoadState("networkidle").catch(() => {});
      await page.waitForTimeout(500);
      assert.deepEqual(await shifts(), [], `${width} pixels wide`);
    }
    await page.setViewportSize({ width: 1280, height: 900 });
  });
}

const isFocused = (locator) => locator.evaluate((element) => element === document.activeElement);
/** Until the keyboard is at an element and one sees it: an editor draws its focus a moment after it has it. */
async function focused(locator) {
  const element = await locator.elementHandle();
  await page.waitForFunction(
    (element) => element === document.activeElement && (element.closest(".cm-focused") !== null || getComputedStyle(element).outlineStyle !== "none"),
    element,
  );
}
/** Presses Tab until the keyboard is there. */
async function tabTo(locator, most = 60) {
  for (let pressed = 0; pressed < most; pressed++) {
    await page.keyboard.press("Tab");
    if (await isFocused(locator)) return focused(locator);
  }
  assert.fail(`${most} times Tab do not lead to ${locator}`);
}

await check("keys, from the start to a line and its trace", async () => {
  await open("start");
  await page.waitForSelector("h1");
  await page.keyboard.press("l");
  await page.waitForFunction(() => location.hash.startsWith("#/logs"));
  const field = page.locator(".cm-content");
  await field.waitFor();
  await page.keyboard.press("/");
  await focused(field);
  await page.keyboard.insertText('{service_name=~"sample-.+"}');
  await page.keyboard.press("Escape");
  await page.keyboard.press("Enter");
  await page.locator(".line").first().waitFor();
  await page.keyboard.press("Tab");
  assert.ok(!(await isFocused(field)));
  const list = page.getByRole("listbox", { name: "Log lines" });
  await tabTo(list);
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("End");
  const picked = page.locator('.line[aria-selected="true"]');
  const [row, drawer] = [await picked.boundingBox(), await page.locator(".drawer").boundingBox()];
  assert.ok(row.y + row.height <= drawer.y + 1 && drawer.y < 900, "the last line and its detail are in sight");
  assert.equal(await list.getAttribute("aria-activedescendant"), await picked.getAttribute("id"));
  await tabTo(page.getByRole("link", { name: /Open trace/ }));
  await page.keyboard.press("Enter");
  await page.locator(".span").first().waitFor();
  await tabTo(page.getByRole("listbox", { name: "Spans" }));
  await page.keyboard.press("End");
  await page.getByText("card service timed out after 300 ms").first().waitFor();
  await page.keyboard.press("Escape");
  await page.locator(".detail").waitFor({ state: "detached" });
});

await check("keys, from a metric by its exemplar to the trace", async () => {
  await open(`metrics?${query({ q: "sample_checkout_requests_total" })}`);
  const list = page.locator("summary");
  await list.waitFor();
  await tabTo(list);
  await page.keyboard.press("Enter");
  await tabTo(page.locator("details a").first());
  await page.keyboard.press("Enter");
  await page.locator(".span").nth(5).waitFor();
});

await check("a range from one moment to another", async () => {
  await open(`metrics?${query({ q: "up" })}`);
  await page.getByLabel("Range of time").selectOption("custom");
  await page.getByLabel("from", { exact: true }).fill("2026-01-02T03:04:05");
  await page.waitForFunction(() => location.hash.includes(`from=${new Date("2026-01-02T03:04:05").getTime()}`));
  assert.equal(await page.getByLabel("from", { exact: true }).inputValue(), "2026-01-02T03:04:05");
});

await page.setViewportSize({ width: 360, height: 740 });
for (const [name, fragment] of [
  ["start", "start"],
  ["metrics", `metrics?${query({ q: "up" })}`],
  ["logs", `logs?${query({ q: '{service_name=~".+"}' })}`],
  ["traces", `traces?${query({ q: "{ }" })}`],
  ["map", "map"],
  ["sql", `sql?${query({ q: "select * from spans limit 3" })}`],
  ["storage", "storage"],
]) {
  await check(`narrow ${name}`, async () => {
    await open(fragment);
    await page.waitForLoadState("networkidle");
    const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(over <= 0, `${over} pixels wider than the screen`);
  });
}

await browser.close();
console.log(failed ? `${failed} checks failed` : "all checks passed");
process.exit(failed ? 1 : 0);
