//! Everything at once for minutes: all signals as fast as they are taken, with questions in three languages, and at the end a
//! count of what was acknowledged. Fails when anything of it is missing, or a budget was not kept.

use crate::connection::{Connection, Export, Outcome};
use crate::process::Target;
use crate::template::{MILLI, Template, Templates};
use crate::watch::{Seen, Watch};
use crate::{Result, Transport};
use http::{Method, Uri};
use monocle::runtime::{Clock, SystemClock};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Write;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Items are counted by their times, in buckets of so many milliseconds.
const BUCKET: u64 = 5_000;

/// A request that is not taken is sent again, as an SDK does: after the time that it was told, or this.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Requests that were not taken so long after the end are given up.
const GIVE_UP: Duration = Duration::from_secs(60);

/// Between two questions.
const QUESTION_EVERY: Duration = Duration::from_millis(200);

/// Items by bucket.
type Buckets = BTreeMap<u64, u64>;

/// What became of the requests of one signal.
#[derive(Default)]
struct Tally {
    acknowledged: Buckets,
    took: Vec<Duration>,
    later: u64,
    partly_refused: u64,
    given_up: u64,
}

impl Tally {
    fn add(&mut self, other: Tally) {
        other.acknowledged.into_iter().for_each(|(bucket, items)| *self.acknowledged.entry(bucket).or_default() += items);
        self.took.extend(other.took);
        self.later += other.later;
        self.partly_refused += other.partly_refused;
        self.given_up += other.given_up;
    }

    fn items(&self) -> u64 {
        self.acknowledged.values().sum()
    }
}

fn quantile(sorted: &[Duration], share: f64) -> f64 {
    let at = (sorted.len().saturating_sub(1) as f64 * share).round() as usize;
    sorted.get(at).copied().unwrap_or_default().as_secs_f64() * 1e3
}

fn now_millis() -> Result<u64> {
    Ok(u64::try_from(SystemClock.now())? / MILLI)
}

/// One connection until `deadline`.
struct Line {
    url: Uri,
    transport: Transport,
    export: Export,
    templates: Vec<Template>,
    number: u64,
    next: Arc<AtomicU64>,
    deadline: Instant,
}

impl Line {
    async fn run(self) -> Result<Tally> {
        let mut connection = Connection::open(&self.url, self.transport).await?;
        let (mut tally, mut last) = (Tally::default(), 0);
        for template in self.templates.iter().cycle() {
            if Instant::now() >= self.deadline {
                break;
            }
            // No two requests of a connection in a millisecond, and none at the border of two buckets.
            let mut millis = now_millis()?.max(last + 1);
            millis += u64::from(millis.is_multiple_of(BUCKET));
            last = millis;
            let body = template.at(millis, self.number, self.next.fetch_add(1, Ordering::Relaxed));
            loop {
                let sent = Instant::now();
                match connection.export(self.export, &body).await? {
                    Outcome::Taken => {
                        *tally.acknowledged.entry(millis / BUCKET).or_default() += template.items;
                        tally.took.push(sent.elapsed());
                        break;
                    }
                    Outcome::PartlyRefused => {
                        tally.partly_refused += 1;
                        break;
                    }
                    Outcome::Later(_) if Instant::now() >= self.deadline + GIVE_UP => {
                        tally.given_up += 1;
                        break;
                    }
                    Outcome::Later(after) => {
                        tally.later += 1;
                        sleep(after.unwrap_or(RETRY_AFTER)).await;
                    }
                }
            }
        }
        Ok(tally)
    }
}

/// A question and how it is asked: the listener, and the path for the time in milliseconds.
struct Question {
    listener: &'static str,
    path: Box<dyn Fn(u64) -> String + Send + Sync>,
}

fn encoded(query: &str) -> String {
    utf8_percent_encode(query, NON_ALPHANUMERIC).to_string()
}

fn questions() -> Vec<Question> {
    let of = |listener, path: Box<dyn Fn(u64) -> String + Send + Sync>| Question { listener, path };
    let rate = encoded("sum by (http_route) (rate({__name__=~\"app_metric_0.*\"}[1m]))");
    let lines = encoded("{service_namespace=\"shop\"} |= \"user=user-77 \"");
    let errors = encoded("sum by (service_name) (count_over_time({service_namespace=\"shop\"} |= \"level=ERROR\" [30s]))");
    let spans = encoded("{ span.http.response.status_code = 500 && span.user.id = \"user-77\" }");
    vec![
        of("prometheus", Box::new(move |t| format!("/api/v1/query_range?query={rate}&start={}&end={}&step=15", t / 1000 - 300, t / 1000))),
        of("loki", Box::new(move |t| format!("/loki/api/v1/query_range?query={lines}&start={}&end={}", (t - 300_000) * MILLI, t * MILLI))),
        of("loki", Box::new(move |t| format!("/loki/api/v1/query?query={errors}&time={}", t * MILLI))),
        of("tempo", Box::new(move |t| format!("/api/search?q={spans}&start={}&end={}", t / 1000 - 300, t / 1000))),
    ]
}

#[derive(Default)]
struct Asked {
    took: Vec<Duration>,
    failed: BTreeMap<String, u64>,
}

/// Asks one question after the other until `deadline`. Each over a connection of its own, since a failure may end it.
async fn ask_on(urls: BTreeMap<&'static str, Uri>, deadline: Instant) -> Result<Asked> {
    let mut asked = Asked::default();
    let questions = questions();
    for question in questions.iter().cycle() {
        if Instant::now() >= deadline {
            break;
        }
        sleep(QUESTION_EVERY).await;
        let sent = Instant::now();
        let answer = get(&urls, question.listener, &(question.path)(now_millis()?)).await?;
        asked.took.push(sent.elapsed());
        if answer.0 != 200 {
            let text: String = String::from_utf8_lossy(&answer.1).chars().take(120).collect();
            *asked.failed.entry(format!("{} {} {text}", question.listener, answer.0)).or_default() += 1;
        }
    }
    Ok(asked)
}

async fn get(urls: &BTreeMap<&'static str, Uri>, listener: &str, path: &str) -> Result<(u16, Vec<u8>)> {
    let url = urls.get(listener).ok_or("no such listener")?;
    let answer = Connection::open(url, Transport::Http).await?.ask(Method::GET, path).await?;
    Ok((answer.status.as_u16(), answer.body.to_vec()))
}

/// Those that are sent here.
async fn metric_names(urls: &BTreeMap<&'static str, Uri>) -> Result<Vec<String>> {
    let (_, body) = get(urls, "prometheus", "/api/v1/label/__name__/values").await?;
    let answer: Value = serde_json::from_slice(&body)?;
    let names = answer["data"].as_array().into_iter().flatten().filter_map(Value::as_str);
    Ok(names.filter(|name| name.starts_with("app_metric_")).map(str::to_owned).collect())
}

/// Buckets that are counted by one query.
const BUCKETS_AT_ONCE: u64 = 60;

/// Items of a signal in the buckets of a range, as its own query API counts them: a step of each API is the time up to its own,
/// with it and without the one before, and no item is at the border of two buckets.
async fn count(urls: &BTreeMap<&'static str, Uri>, signal: &str, buckets: Range<u64>) -> Result<Buckets> {
    let seconds = |bucket| bucket * BUCKET / 1000;
    let (range, from, to) = (BUCKET / 1000, seconds(buckets.start + 1), seconds(buckets.end));
    let (listener, path, query) = match signal {
        "metrics" => {
            // By name: series of different names may have the same labels.
            let names = metric_names(urls).await?;
            let sums: Vec<String> = names.iter().map(|name| format!("sum(count_over_time({name}[{range}s]))")).collect();
            ("prometheus", "/api/v1/query_range?query", sums.join(" + "))
        }
        "logs" => {
            let query = format!("sum(count_over_time({{service_namespace=\"shop\"}}[{range}s]))");
            ("loki", "/loki/api/v1/query_range?query", query)
        }
        _ => {
            let query = "{ resource.service.namespace = \"shop\" } | count_over_time()".to_owned();
            ("tempo", "/api/metrics/query_range?q", query)
        }
    };
    let path = format!("{path}={}&start={from}&end={to}&step={range}s", encoded(&query));
    let (status, body) = get(urls, listener, &path).await?;
    if status != 200 {
        return Err(format!("{path}: {status} {}", String::from_utf8_lossy(&body)).into());
    }
    let answer: Value = serde_json::from_slice(&body)?;
    let samples = match listener {
        "tempo" => &answer["series"][0]["samples"],
        _ => &answer["data"]["result"][0]["values"],
    };
    let text = |value: &Value| value.as_str().and_then(|text| text.parse::<u64>().ok());
    let counted = samples.as_array().into_iter().flatten().filter_map(|sample| match listener {
        "tempo" => Some((text(&sample["timestampMs"])?, sample["value"].as_f64().unwrap_or_default() as u64)),
        _ => Some((sample[0].as_u64()? * 1000, text(&sample[1])?)),
    });
    Ok(counted.map(|(millis, items)| (millis / BUCKET - 1, items)).collect())
}

/// What was acknowledged and is not there.
#[derive(Default)]
struct Counted {
    expected: u64,
    missing: u64,
    buckets: u64,
    more: u64,
}

/// Counts the buckets whose items are all newer than what was let go, which is given in nanoseconds.
async fn count_all(urls: &BTreeMap<&'static str, Uri>, signal: &str, tally: &Tally, dropped: u64) -> Result<Counted> {
    let mut counted = Counted::default();
    let expected: Buckets = tally.acknowledged.iter().filter(|(b, _)| **b * BUCKET * MILLI > dropped).map(|(b, n)| (*b, *n)).collect();
    let Some(end) = expected.last_key_value().map(|(bucket, _)| bucket + 1) else { return Ok(counted) };
    let mut found = Buckets::new();
    let mut from = expected.first_key_value().map_or(end, |(bucket, _)| *bucket);
    while from < end {
        let to = end.min(from + BUCKETS_AT_ONCE);
        found.extend(count(urls, signal, from..to).await?);
        from = to;
    }
    for (bucket, expected) in expected {
        let found = found.get(&bucket).copied().unwrap_or_default();
        counted.buckets += 1;
        counted.expected += expected;
        counted.missing += expected.saturating_sub(found);
        counted.more += found.saturating_sub(expected);
    }
    Ok(counted)
}

pub fn run(runtime: &tokio::runtime::Runtime, transport: Transport, connections: usize, minutes: f64, flags: &[String]) -> Result<()> {
    let target = Target::start(transport, flags)?;
    let (pid, data) = target.own().ok_or("the server is not our own")?;
    let urls: BTreeMap<&'static str, Uri> = ["prometheus", "loki", "tempo"]
        .into_iter()
        .map(|listener| Ok((listener, target.listener(listener).ok_or("no such listener")?.parse()?)))
        .collect::<Result<_>>()?;
    let before = target.usage()?;
    let watch = Watch::start(pid, data);
    let (tallies, asked) = runtime.block_on(load(&target, transport, connections, minutes, &urls))?;
    let loaded = target.usage()?;
    let (status, text) = runtime.block_on(get(&urls, "prometheus", "/-/status"))?;
    let status: Value = if status == 200 { serde_json::from_slice(&text)? } else { return Err("no status".into()) };
    let mut counted = Vec::new();
    // What goes while it is counted is not known before the end, so its buckets are counted again then.
    for (signal, tally) in &tallies {
        counted.push((signal_of(signal), tally, runtime.block_on(count_all(&urls, signal_of(signal), tally, 0))));
    }
    let seen = watch.end()?;
    let dropped = seen.dropped();
    let mut kept = Vec::new();
    for (signal, tally, result) in counted {
        let until = dropped.get(signal).copied().unwrap_or(0);
        let result = if until == 0 { result? } else { runtime.block_on(count_all(&urls, signal, tally, until))? };
        kept.push((signal, tally, result));
    }
    report(&seen, &kept, asked, (loaded.cpu - before.cpu).as_secs_f64(), &status)
}

fn signal_of(items: &str) -> &'static str {
    match items {
        "samples" => "metrics",
        "log records" => "logs",
        _ => "traces",
    }
}

type Tallies = Vec<(&'static str, Tally)>;

async fn load(
    target: &Target,
    transport: Transport,
    connections: usize,
    minutes: f64,
    urls: &BTreeMap<&'static str, Uri>,
) -> Result<(Tallies, Asked)> {
    let deadline = Instant::now() + Duration::from_secs_f64(minutes * 60.0);
    let next = Arc::new(AtomicU64::new(1));
    let mut lines = Vec::new();
    for signal in Templates::all(connections as u64, now_millis()? * MILLI)? {
        let export = Export::to(signal.path)?;
        for (number, templates) in (0u64..).zip(signal.of) {
            let line = Line { url: target.url.parse()?, transport, export, templates, number, next: next.clone(), deadline };
            lines.push((signal.signal, tokio::spawn(line.run())));
        }
    }
    let asking = tokio::spawn(ask_on(urls.clone(), deadline));
    let mut tallies: Tallies = Vec::new();
    for (signal, line) in lines {
        let tally = line.await??;
        match tallies.iter_mut().find(|(of, _)| *of == signal) {
            Some((_, all)) => all.add(tally),
            None => tallies.push((signal, tally)),
        }
    }
    Ok((tallies, asking.await??))
}

fn report(seen: &Seen, kept: &[(&str, &Tally, Counted)], mut asked: Asked, cpu: f64, status: &Value) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "| signal | acknowledged | items/s | p50 ms | p99 ms | worst ms | told to come later | partly refused | given up | counted in | items there | missing | more |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|---|---|---|---|---|---|---|")?;
    for (signal, tally, counted) in kept {
        let mut took = tally.took.clone();
        took.sort_unstable();
        let seconds = tally.acknowledged.len() as f64 * BUCKET as f64 / 1e3;
        writeln!(
            out,
            "| {signal} | {} | {:.0} | {:.1} | {:.1} | {:.1} | {} | {} | {} | {} of {} buckets | {} | {} | {} |",
            tally.items(),
            tally.items() as f64 / seconds,
            quantile(&took, 0.5),
            quantile(&took, 0.99),
            quantile(&took, 1.0),
            tally.later,
            tally.partly_refused,
            tally.given_up,
            counted.buckets,
            tally.acknowledged.len(),
            counted.expected - counted.missing,
            counted.missing,
            counted.more,
        )?;
    }
    asked.took.sort_unstable();
    let failed: u64 = asked.failed.values().sum();
    writeln!(
        out,
        "{} questions: p50 {:.0} ms, p99 {:.0} ms, {failed} failed",
        asked.took.len(),
        quantile(&asked.took, 0.5),
        quantile(&asked.took, 0.99)
    )?;
    for (why, times) in &asked.failed {
        writeln!(out, "  {times} times {}", why.trim())?;
    }
    let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let budget = |name: &str| status[name].as_u64().unwrap_or(0);
    let (memory, disk) = (budget("memory_budget_bytes"), budget("disk_budget_bytes"));
    writeln!(
        out,
        "server: CPU {cpu:.1} s; resident {:.0} MiB at most, {:.0} on average, of {:.0}; directory {:.0} MiB at most, of {:.0}",
        mebibytes(seen.resident_peak),
        mebibytes(seen.resident_mean()),
        mebibytes(memory),
        mebibytes(seen.disk_peak),
        mebibytes(disk),
    )?;
    let missing: u64 = kept.iter().map(|(_, _, counted)| counted.missing).sum();
    let broken = [
        (missing > 0, format!("{missing} acknowledged items are missing")),
        (seen.resident_peak > memory, "more memory than --memory".to_owned()),
        (seen.disk_peak > disk, "more disk than --disk".to_owned()),
    ];
    let broken: Vec<String> = broken.into_iter().filter(|(is, _)| *is).map(|(_, what)| what).collect();
    if broken.is_empty() { Ok(()) } else { Err(broken.join("; ").into()) }
}
