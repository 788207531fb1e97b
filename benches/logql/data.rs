//! Log lines such as a small platform writes: JSON, logfmt, an access log and plain text, with ids that do not repeat.

use monocle::logs::{Group, LogRows, Metadata, RowsBuilder};
use monocle::model::Labels;
use std::fmt::Write;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

const SECOND: i64 = 1_000_000_000;

/// 2026-03-10 00:00 UTC. The lines lie evenly on the hours behind it.
pub const START: i64 = 1_773_100_800 * SECOND;
pub const HOURS: i64 = 6;

/// One line in so many is of the service that is asked for by its name alone.
const STREAMS: [(&str, &str, Kind); 16] = [
    ("frontend", "frontend-0", Kind::Json),
    ("frontend", "frontend-1", Kind::Json),
    ("frontend", "frontend-2", Kind::Json),
    ("cart", "cart-0", Kind::Json),
    ("cart", "cart-1", Kind::Json),
    ("search", "search-0", Kind::Json),
    ("checkout", "checkout-0", Kind::Logfmt),
    ("checkout", "checkout-1", Kind::Logfmt),
    ("payment", "payment-0", Kind::Logfmt),
    ("loki", "loki-0", Kind::Logfmt),
    ("ingress", "nginx-0", Kind::Access),
    ("ingress", "nginx-1", Kind::Access),
    ("ingress", "nginx-2", Kind::Access),
    ("billing", "billing-0", Kind::Plain),
    ("billing", "billing-1", Kind::Plain),
    ("node", "node-0", Kind::Plain),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Json,
    Logfmt,
    Access,
    Plain,
}

/// Numbers that look random and are the same in each run.
struct Scatter(u64);

impl Scatter {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        xxh3_64(&self.0.to_le_bytes())
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len() as u64) as usize]
    }
}

const ROUTES: [&str; 7] = ["/", "/api/cart", "/api/products", "/api/checkout", "/api/recommendations", "/static/app.js", "/healthz"];
const METHODS: [&str; 4] = ["GET", "GET", "GET", "POST"];
const AGENTS: [&str; 4] = [
    "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Safari/605.1.15",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/127.0.0.0 Safari/537.36",
    "kube-probe/1.30",
];
const DOINGS: [&str; 6] =
    ["order placed", "stock reserved", "payment authorised", "cache refreshed", "session renewed", "retrying after a timeout"];

fn level(status: u64) -> &'static str {
    match status {
        500.. => "error",
        400.. => "warn",
        _ => "info",
    }
}

fn json(out: &mut String, r: &mut Scatter, time: &str) -> &'static str {
    let status = [200, 200, 200, 200, 200, 201, 204, 304, 404, if r.below(10) == 0 { 503 } else { 200 }][r.below(10) as usize];
    let level = level(status);
    let (method, route, id, user) = (r.of(&METHODS), r.of(&ROUTES), r.below(100_000), r.below(20_000));
    let (duration, bytes, trace, agent) = (r.below(900_000), r.below(40_000), r.next(), r.of(&AGENTS));
    let _ = write!(
        out,
        r#"{{"ts":"{time}","level":"{level}","logger":"http","msg":"request completed","method":"{method}","path":"{route}/{id}","status":{status},"duration_ms":{}.{:03},"bytes":{bytes},"user":{{"id":"u{user}","tier":"gold"}},"trace_id":"{trace:032x}","user_agent":"{agent}"}}"#,
        duration / 1000,
        duration % 1000,
    );
    level
}

fn logfmt(out: &mut String, r: &mut Scatter, time: &str) -> &'static str {
    let level = ["info", "info", "info", "debug", "warn", "error"][if r.below(20) == 0 { 5 } else { r.below(5) as usize }];
    let (line, doing, order, amount, duration, trace) =
        (r.below(400), r.of(&DOINGS), r.next() % 10_000_000, r.below(50_000), r.below(2_000), r.next());
    let _ = write!(
        out,
        r#"ts={time} level={level} caller=service/order.go:{line} msg="{doing}" order_id=o{order} amount={}.{:02} currency=EUR duration={duration}ms traceID={trace:016x}"#,
        amount / 100,
        amount % 100,
    );
    level
}

fn access(out: &mut String, r: &mut Scatter, time: &str) -> &'static str {
    let (ip, status, bytes) = (r.next(), if r.below(50) == 0 { 502 } else { 200 }, r.below(100_000));
    let (method, route, id, agent, took) = (r.of(&METHODS), r.of(&ROUTES), r.below(10_000), r.of(&AGENTS), r.below(2_000));
    let _ = write!(
        out,
        r#"10.{}.{}.{} - - [{time}] "{method} {route}?id={id} HTTP/1.1" {status} {bytes} "https://shop.example/" "{agent}" 0.{took:03}"#,
        ip & 255,
        (ip >> 8) & 255,
        (ip >> 16) & 255,
    );
    "unknown"
}

fn plain(out: &mut String, r: &mut Scatter, time: &str) -> &'static str {
    let (thread, job, rows, took) = (r.below(32), r.next() % 1_000_000, r.below(5_000), r.below(10_000));
    if r.below(40) == 0 {
        let _ = write!(
            out,
            "{time} [worker-{thread}] ERROR c.s.billing.Ledger - job {job} failed: java.sql.SQLException: deadlock detected\n\tat \
             c.s.billing.Ledger.post(Ledger.java:{rows})\n\tat c.s.billing.Worker.run(Worker.java:88)\n\tat java.base/java.lang.Thread.run"
        );
        return "error";
    }
    let doing = r.of(&DOINGS);
    let _ = write!(out, "{time} [worker-{thread}] INFO  c.s.billing.Ledger - job {job}: {doing}, {rows} rows in {took} us");
    "info"
}

/// Requests of lines, until there are `bytes` of them. Each has the lines of a second or so.
pub struct Requests {
    next: u64,
    lines: u64,
    pub raw_bytes: u64,
    bytes: u64,
    text: String,
}

/// The mean of the kinds above, to spread the lines over the hours.
const LINE_BYTES: u64 = 235;
const REQUEST_LINES: u64 = 2_000;

impl Requests {
    pub fn of(bytes: u64) -> Requests {
        Requests { next: 0, lines: bytes / LINE_BYTES, raw_bytes: 0, bytes, text: String::new() }
    }
}

impl Iterator for Requests {
    type Item = LogRows;

    fn next(&mut self) -> Option<LogRows> {
        if self.raw_bytes >= self.bytes {
            return None;
        }
        let step = HOURS * 3_600 * SECOND / self.lines as i64;
        type Entry = (i64, String, Vec<(&'static str, String)>);
        let mut entries: Vec<Vec<Entry>> = vec![Vec::new(); STREAMS.len()];
        for number in self.next..self.next + REQUEST_LINES {
            let mut r = Scatter(number << 8);
            let at = r.below(STREAMS.len() as u64) as usize;
            let ts = START + number as i64 * step + r.below(step as u64) as i64;
            let time = monocle::model::time::format_rfc3339(ts);
            self.text.clear();
            let level = match STREAMS[at].2 {
                Kind::Json => json(&mut self.text, &mut r, &time),
                Kind::Logfmt => logfmt(&mut self.text, &mut r, &time),
                Kind::Access => access(&mut self.text, &mut r, &time),
                Kind::Plain => plain(&mut self.text, &mut r, &time),
            };
            let node = ["node-0", "node-1", "node-2"][at % 3];
            let mut metadata = vec![("detected_level", level.to_owned()), ("k8s_node_name", node.to_owned())];
            if r.below(3) == 0 {
                metadata.push(("trace_id", format!("{:016x}{:016x}", r.next(), r.next())));
            }
            self.raw_bytes += self.text.len() as u64;
            entries[at].push((ts, self.text.clone(), metadata));
        }
        self.next += REQUEST_LINES;
        let labels = |(service, pod, _): &(&str, &str, Kind)| {
            Labels::from_pairs([("service_name", *service), ("pod", *pod), ("namespace", "shop"), ("env", "production")])
        };
        let mut rows = RowsBuilder::default();
        for (stream, entries) in STREAMS.iter().zip(entries) {
            rows.begin(&Arc::new(Group::new(labels(stream), Metadata::default())));
            for (ts, line, metadata) in entries {
                for (name, value) in metadata {
                    let name = rows.name(name);
                    rows.set(name, &value);
                }
                rows.entry(0, ts, &line).ok()?;
            }
        }
        Some(rows.finish())
    }
}
