//! `/sql` of the real binary: the counts of the three languages, wherever the rows lie; what is refused; budgets; every example of
//! docs/sql.md.

mod support;

use serde_json::{Value, json};
use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};
use support::Server;

const SECOND: u64 = 1_000_000_000;

/// 2026-03-10 12:00:00, seconds since the epoch.
const START: u64 = 1_773_144_000;

/// Traces, of three spans each.
const TRACES: u64 = 40;
/// Of each trace.
const LINES: u64 = 25;

fn text(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

fn trace_id(n: u64) -> String {
    format!("{:032x}", n + 0xabc)
}

fn span(n: u64, id: u64) -> Value {
    let start = (START + n) * SECOND + id;
    let mut span = json!({
        "traceId": trace_id(n), "spanId": format!("{:016x}", 16 * n + id), "name": format!("step {id}"), "kind": 2,
        "parentSpanId": if id == 1 { String::new() } else { format!("{:016x}", 16 * n + 1) },
        "startTimeUnixNano": start.to_string(), "endTimeUnixNano": (start + id * 1_000_000).to_string(),
        "attributes": [text("http.route", "/cart"), {"key": "http.response.status_code", "value": {"intValue": 200 + 100 * id}}],
        "status": {"code": if id == 3 { 2 } else { 0 }},
    });
    if id == 2 {
        span["events"] =
            json!([{"timeUnixNano": (start + 5).to_string(), "name": "exception", "attributes": [text("exception.type", "E")]}]);
        span["links"] = json!([{"traceId": trace_id(n + 1), "spanId": "00000000000000ff", "attributes": [text("why", "retry")]}]);
    }
    span
}

fn export(server: &Server, signal: &str, body: &Value, headers: &str) {
    let kind = format!("application/json{headers}");
    let answer = server.post("otlp_http", &format!("/v1/{signal}"), &kind, body.to_string().as_bytes());
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
}

/// Traces of these numbers, their lines and one sample each.
fn send(server: &Server, numbers: std::ops::Range<u64>, headers: &str) {
    let resource = |n: u64| json!({"attributes": [text("service.name", if n.is_multiple_of(2) { "cart" } else { "check-out" })]});
    let spans = numbers.clone().map(|n| json!({"resource": resource(n), "scopeSpans": [{"spans": [span(n, 1), span(n, 2), span(n, 3)]}]}));
    export(server, "traces", &json!({"resourceSpans": spans.collect::<Vec<_>>()}), headers);
    let line = |n: u64, at: u64| {
        json!({"timeUnixNano": ((START + n) * SECOND + at).to_string(), "severityNumber": 9, "traceId": trace_id(n), "spanId": format!("{:016x}", 16 * n + 1),
            "body": {"stringValue": format!("order {n} item {at} booked")}, "attributes": [text("http.route", "/cart")]})
    };
    let logs = numbers
        .clone()
        .map(|n| json!({"resource": resource(n), "scopeLogs": [{"logRecords": (0..LINES).map(|at| line(n, at)).collect::<Vec<_>>()}]}));
    export(server, "logs", &json!({"resourceLogs": logs.collect::<Vec<_>>()}), headers);
    let points = numbers.map(|n| {
        json!({"resource": resource(n % 2), "scopeMetrics": [{"metrics": [{"name": "orders", "gauge": {"dataPoints": [
            {"timeUnixNano": ((START + n) * SECOND).to_string(), "asDouble": n as f64}]}}]}]})
    });
    export(server, "metrics", &json!({"resourceMetrics": points.collect::<Vec<_>>()}), headers);
}

/// Status and JSON of an answer.
fn try_sql(server: &Server, statement: &str) -> (u16, Value) {
    let answer = server.post("prometheus", "/sql", "text/plain", statement.as_bytes());
    (answer.status, serde_json::from_slice(&answer.body).unwrap_or_default())
}

fn sql(server: &Server, statement: &str) -> Value {
    let (status, answer) = try_sql(server, statement);
    assert_eq!(status, 200, "{statement}: {answer}; monocle said:\n{}", server.log());
    answer
}

fn ask(server: &Server, listener: &str, path: &str, parameters: &[(&str, String)]) -> Value {
    let mut query = form_urlencoded::Serializer::new(String::new());
    let answer = server.get(listener, &format!("{path}?{}", query.extend_pairs(parameters).finish()));
    assert_eq!(answer.status, 200, "{path} {parameters:?}: {}", String::from_utf8_lossy(&answer.body));
    answer.json()
}

/// What the three languages count: samples of `orders`, lines and spans.
fn counted(server: &Server) -> [u64; 3] {
    let end = (START + 600).to_string();
    let prometheus =
        ask(server, "prometheus", "/api/v1/query", &[("query", "sum(count_over_time(orders[20m]))".into()), ("time", end.clone())]);
    let count = r#"sum(count_over_time({service_name=~".+"}[20m]))"#;
    let loki = ask(server, "loki", "/loki/api/v1/query", &[("query", count.into()), ("time", end.clone())]);
    let tempo = [("q", "{} | count_over_time()".into()), ("start", (START - 60).to_string()), ("end", end)];
    let tempo = ask(server, "tempo", "/api/metrics/query", &tempo);
    let number = |answer: &Value| answer["data"]["result"][0]["value"][1].as_str().unwrap_or("0").parse().unwrap();
    [number(&prometheus), number(&loki), tempo["series"][0]["value"].as_f64().unwrap_or(0.0) as u64]
}

fn checked(server: &Server, traces: u64, place: &str) {
    let counts =
        "select (select count(*) from metrics where name = 'orders') m, (select count(*) from logs) l, (select count(*) from spans) s";
    let got = sql(server, counts);
    assert_eq!(got, json!([{"m": traces, "l": traces * LINES, "s": traces * 3}]), "{place}");
    assert_eq!(counted(server), [traces, traces * LINES, traces * 3], "{place}");
    let whole = "select sum(value) v from metrics where name = 'orders' and \"label.job\" in ('cart', 'check-out')";
    assert_eq!(sql(server, whole), json!([{"v": (traces * (traces - 1) / 2) as f64}]), "{place}");
    let attached = "select (select count(*) from events) e, (select count(*) from links) l, (select count(*) from traces) t,
        (select sum(spans) from traces) s, (select sum(errors) from traces) x";
    assert_eq!(sql(server, attached), json!([{"e": traces, "l": traces, "t": traces, "s": traces * 3, "x": traces}]), "{place}");
    let by_service = r#"select "res.service.name" as service, count(*) n, sum("span.http.response.status_code:int") c, max(attributes['http.response.status_code']) t
        from spans where "res.service.name" = 'check-out' group by 1"#;
    let half = traces / 2;
    assert_eq!(sql(server, by_service), json!([{"service": "check-out", "n": half * 3, "c": half * 1200, "t": "500"}]), "{place}");
    let joined = "select s.service_name, count(*) n from logs l join spans s on l.trace_id = s.trace_id and l.span_id = s.span_id
        where l.metadata['http_route'] = '/cart' and l.line like '%item 3 %' group by 1 order by 1";
    assert_eq!(sql(server, joined), json!([{"service_name": "cart", "n": half}, {"service_name": "check-out", "n": half}]), "{place}");
    let ids = format!("select count(*) n from spans where trace_id in ('{}', '{}', '{}')", trace_id(3), trace_id(4), "f".repeat(32));
    assert_eq!(sql(server, &ids), json!([{"n": 6}]), "{place}");
    let times = "select count(*) n from spans where start >= '2026-03-10T12:00:05Z' and start < '2026-03-10T12:00:07Z'";
    assert_eq!(sql(server, times), json!([{"n": 6}]), "{place}");
    let times =
        "select date_bin(interval '10 seconds', ts) t, count(*) n from logs where ts < '2026-03-10T12:00:20Z' group by 1 order by 1";
    let bins = json!([{"t": "2026-03-10T12:00:00Z", "n": 10 * LINES}, {"t": "2026-03-10T12:00:10Z", "n": 10 * LINES}]);
    assert_eq!(sql(server, times), bins, "{place}");
}

fn done(server: &Server, path: &str) {
    assert_eq!(server.post("prometheus", path, "text/plain", b"").status, 204);
}

#[test]
fn rows_count_once_wherever_they_lie() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(home.path(), &[]);
    send(&server, 0..TRACES / 2, "");
    checked(&server, TRACES / 2, "in the head");
    done(&server, "/-/flush");
    checked(&server, TRACES / 2, "in a block");
    // The first half once more.
    send(&server, 0..TRACES, "");
    checked(&server, TRACES, "in a block and the head, some twice");
    done(&server, "/-/flush");
    checked(&server, TRACES, "in two blocks, some twice");
    done(&server, "/-/compact");
    checked(&server, TRACES, "merged");
    send(&server, 0..TRACES, "");
    server.kill9();
    let server = Server::start(home.path(), &[]);
    checked(&server, TRACES, "after a kill, all twice");
    let deleted = server.try_ask("DELETE", "tempo", &format!("/api/traces/{}", trace_id(4)), None).unwrap();
    assert!(deleted.status < 300, "{}", deleted.status);
    assert_eq!(sql(&server, "select count(*) n, count(distinct trace_id) t from spans"), json!([{"n": (TRACES - 1) * 3, "t": TRACES - 1}]));
    assert_eq!(sql(&server, "select count(*) n from events"), json!([{"n": TRACES - 1}]));
}

#[test]
fn a_tenant_sees_its_own() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(home.path(), &["--tenancy", "header"]);
    send(&server, 0..2, "\r\nX-Scope-OrgID: a");
    let count = |headers: &str| server.post("loki", "/sql", &format!("text/plain{headers}"), b"select count(*) n from spans");
    assert_eq!(count("\r\nX-Scope-OrgID: a").json(), json!([{"n": 6}]));
    assert_eq!(count("\r\nX-Scope-OrgID: b").json(), json!([{"n": 0}]));
    assert_eq!(count("").status, 401);
}

#[test]
fn only_reads_are_taken_and_mistakes_are_told() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(home.path(), &[]);
    for statement in [
        "create table t as select 1",
        "create external table t stored as csv location '/etc/passwd'",
        "insert into logs select * from logs",
        "delete from logs",
        "drop table logs",
        "copy (select 1) to '/tmp/monocle-was-here.csv'",
        "set datafusion.execution.batch_size = 1",
        "explain insert into logs select * from logs",
    ] {
        let (status, answer) = try_sql(&server, statement);
        assert_eq!(status, 403, "{statement}: {answer}");
    }
    for (statement, place) in [
        ("select * from '/etc/passwd'", None),
        ("select * from generate_series(1, 10)", None),
        ("select * from read_csv('/etc/passwd')", None),
        ("select repeat('x', 1000000000)", Some((1, 8))),
        ("select * into t from logs", None),
        ("select 1; select 2", None),
        ("selec 1", Some((1, 1))),
        ("select ts\nfrom logs where nope = 1", Some((2, 17))),
        ("", None),
    ] {
        let (status, answer) = try_sql(&server, statement);
        assert_eq!(status, 400, "{statement}: {answer}");
        assert!(answer["error"].as_str().is_some_and(|e| !e.is_empty()), "{statement}: {answer}");
        let place = place.map_or((Value::Null, Value::Null), |(line, column)| (json!(line), json!(column)));
        assert_eq!((answer["line"].clone(), answer["column"].clone()), place, "{statement}: {answer}");
    }
    let deep = [format!("select {}1", "1+".repeat(1_900)), format!("select 1 where {}true", "1 = 1 or ".repeat(900)), "(".repeat(1_900)];
    for statement in deep.iter().map(String::as_str).chain(["with recursive t as (select 1 as x union all select x from t) select 1"]) {
        let (status, answer) = try_sql(&server, statement);
        assert!([200, 400].contains(&status), "{status} {answer}");
    }
    assert_eq!(sql(&server, "select 1 as a"), json!([{"a": 1}]));
    assert_eq!(server.post("tempo", "/sql", "image/png", b"select 1").status, 415);
    let asked = json!({"query": "select $1 + 1 as a, $2 as b, $3 as c", "params": [1, "x", null]}).to_string();
    assert_eq!(server.post("tempo", "/sql", "application/json", asked.as_bytes()).json(), json!([{"a": 2, "b": "x", "c": null}]));
    let asked = json!({"query": "select $a as a", "params": {"a": true}}).to_string();
    assert_eq!(server.post("tempo", "/sql", "application/json", asked.as_bytes()).json(), json!([{"a": true}]));
    assert_eq!(server.get("web", "/sql?q=select%201%20as%20a").json(), json!([{"a": 1}]));
}

#[test]
fn answers_come_in_four_forms() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(home.path(), &[]);
    send(&server, 0..2, "");
    let statement = b"select name, duration_ns, resource from spans where span_id = '0000000000000001'";
    let ask = |format: &str| server.post("prometheus", &format!("/sql?format={format}"), "text/plain", statement).body;
    let row = r#"{"name":"step 1","duration_ns":1000000,"resource":{"service.name":"cart"}}"#;
    assert_eq!(String::from_utf8_lossy(&ask("json")), format!("[{row}]"));
    assert_eq!(String::from_utf8_lossy(&ask("jsonl")), format!("{row}\n"));
    assert_eq!(String::from_utf8_lossy(&ask("csv")), "name,duration_ns,resource\nstep 1,1000000,\"{\"\"service.name\"\":\"\"cart\"\"}\"\n");
    // The continuation mark and the end of a stream.
    let arrow = ask("arrow");
    assert_eq!((&arrow[..4], &arrow[arrow.len() - 8..]), (&[0xff; 4][..], &[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0][..]));
    let accept = server.post("prometheus", "/sql", "text/plain\r\nAccept: text/csv", b"select 1 as a where false");
    assert_eq!(String::from_utf8_lossy(&accept.body), "a\n");
    assert_eq!(server.post("prometheus", "/sql", "text/plain\r\nAccept: image/png", b"select 1").status, 406);
    let none = server.post("prometheus", "/sql", "text/plain", b"select 1 as a where false");
    assert_eq!(String::from_utf8_lossy(&none.body), "[]");
}

#[test]
fn a_query_that_is_too_much_fails_alone_and_one_that_nobody_waits_for_ends() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(home.path(), &["--memory", "160MiB", "--query-timeout", "10s"]);
    send(&server, 0..TRACES, "");
    let (status, answer) = try_sql(&server, "select a.line, b.line from logs a cross join logs b order by a.line || b.line");
    assert_eq!(status, 422, "{answer}");
    assert!(answer["error"].as_str().unwrap().contains("memory"), "{answer}");
    let endless = "with recursive t as (select 1 as x union all select x + 1 from t) select count(*) from t";
    let long = "select count(*) from logs a, logs b, logs c where a.ts + (b.ts - c.ts) > a.ts";
    let address = server.address("prometheus").to_owned();
    for endless in [endless, long, endless] {
        let mut stream = TcpStream::connect(&address).unwrap();
        let head =
            format!("POST /sql HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{endless}", endless.len());
        stream.write_all(head.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(700));
        // Gone.
        drop(stream);
    }
    let asked = Instant::now();
    assert_eq!(sql(&server, "select count(*) n from spans"), json!([{"n": TRACES * 3}]));
    assert!(asked.elapsed() < Duration::from_secs(5), "those before still had the slot after {:?}", asked.elapsed());
    let (status, answer) = try_sql(&server, endless);
    assert_eq!((status, answer["error"].as_str()), (503, Some("query timed out")));
    let metrics = String::from_utf8_lossy(&server.get("prometheus", "/metrics").body).into_owned();
    let counted = |outcome: &str| metrics.contains(&format!("monocle_query_duration_seconds_count{{api=\"sql\",outcome=\"{outcome}\"}}"));
    assert!(counted("ok") && counted("execution") && counted("timeout"), "{metrics}");
}

#[test]
fn the_examples_of_the_documentation_run() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(home.path(), &[]);
    send(&server, 0..TRACES, "");
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/sql.md");
    let text = std::fs::read_to_string(path).unwrap();
    let examples: Vec<&str> = text.split("```sql\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(examples.len() >= 10);
    let rows = examples.iter().map(|example| sql(&server, example).as_array().unwrap().len());
    assert!(rows.filter(|rows| *rows > 0).count() * 4 >= examples.len() * 3, "most have an answer");
}

/// As browsers and most libraries ask: an answer that is compressed ends as it should.
#[test]
fn an_answer_may_be_compressed() {
    use std::io::{Read as _, Write as _};
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(home.path(), &[]);
    let mut stream = std::net::TcpStream::connect(server.address("prometheus")).unwrap();
    let request = "GET /sql?q=select+1+as+one HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let head = String::from_utf8_lossy(&answer).to_ascii_lowercase();
    assert!(head.contains("content-encoding: gzip"), "{head}");
    assert!(answer.ends_with(b"\r\n0\r\n\r\n"), "the last chunk is there: {head}; {}", server.log());
    assert!(!server.log().contains("panicked"), "{}", server.log());
    assert!(server.stop().success());
}
