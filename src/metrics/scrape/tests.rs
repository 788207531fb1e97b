use super::config::Config;
use super::exposition::Form;
use super::output::{Output, Report};
use super::session::{Counts, Session};
use super::target::Target;
use super::*;
use crate::metrics::remote_write::translate_2;
use crate::metrics::rows::Value;
use serde_json::{Value as Json, json};

fn config(tables: Json) -> Result<Config, String> {
    let mut mistakes = Vec::new();
    let tables = tables.as_array().unwrap();
    let config = Config::read(tables, Duration::from_secs(60), false, None, &mut mistakes);
    if mistakes.is_empty() { Ok(config) } else { Err(mistakes.join("\n")) }
}

fn target(table: Json) -> Target {
    config(json!([table])).unwrap().pools[0].active[0].clone()
}

fn node(more: Json) -> Target {
    let mut table = json!({"job_name": "node", "targets": ["h:1"]});
    table.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    target(table)
}

/// What was put out, a line a sample, in order.
fn lines(output: Output) -> Vec<String> {
    let mut lines = Vec::new();
    for body in output.bodies {
        let (rows, refusals, _) = translate_2(&body.finish()).unwrap();
        assert!(refusals.is_empty(), "{}", refusals.message());
        for sample in &rows.samples {
            let labels = &rows.series[sample.series as usize].labels;
            let value = match &sample.value {
                Value::Float(value) if crate::metrics::is_stale(*value) => "stale".to_owned(),
                Value::Float(value) => format!("{value}"),
                Value::Histogram(histogram) => histogram.to_string(),
            };
            lines.push(format!("{labels} {value} @{}", sample.ts));
        }
        for exemplar in &rows.exemplars {
            lines.push(format!("exemplar {} {} @{}", exemplar.exemplar.labels, exemplar.exemplar.value, exemplar.exemplar.ts));
        }
    }
    lines
}

fn scrape(session: &mut Session, target: &Target, text: &str, now: i64) -> (Vec<String>, Counts, Result<(), String>) {
    let mut output = Output::default();
    let (counts, read) = session.take(target, Form::Text, text.as_bytes(), now, &mut output);
    (lines(output), counts, read.map_err(|error| error.to_string()))
}

#[test]
fn a_table_of_prometheus_is_taken_as_it_is() {
    let target = target(json!({
        "job_name": "api", "scrape_interval": "15s", "scheme": "https", "metrics_path": "/m", "honor_labels": true,
        "params": {"module": ["a b", "c"], "x": ["y"]},
        "static_configs": [{"targets": ["h:443"], "labels": {"env": "dev", "__meta_x": "m"}}],
        "relabel_configs": [
            {"source_labels": ["__meta_x"], "target_label": "meta"},
            {"source_labels": ["__address__"], "regex": "(.*):.*", "target_label": "host"},
            {"target_label": "__param_module", "replacement": "z"},
        ],
        "basic_auth": {"username": "u", "password": "p"},
        "tls_config": {"insecure_skip_verify": true, "server_name": "other"},
    }));
    assert_eq!(target.labels.to_string(), r#"{env="dev", host="h", instance="h:443", job="api", meta="m"}"#);
    // Names of parameters in their order, as Go writes them.
    assert_eq!(target.url.as_str(), "https://h/m?module=z&module=c&x=y");
    assert_eq!((target.interval, target.timeout), (Duration::from_secs(15), Duration::from_secs(10)));
    assert_eq!(
        target.discovered.to_string(),
        r#"{__address__="h:443", __meta_x="m", __metrics_path__="/m", __param_module="a b", __param_x="y", __scheme__="https", __scrape_interval__="15s", __scrape_timeout__="10s", env="dev", job="api"}"#
    );
    assert!(!format!("{:?}", target.job).contains("\"p\""), "no password is printed");
}

#[test]
fn relabelling_drops_targets_and_the_same_twice_is_one() {
    let read = config(json!([{
        "job_name": "j", "targets": ["a:1", "b:1", "a:1", "c:1"], "scrape_interval": "5s",
        "relabel_configs": [
            {"source_labels": ["__address__"], "regex": "b:1", "action": "drop"},
            {"source_labels": ["__address__"], "regex": "c:1", "target_label": "__scrape_timeout__", "replacement": "2s"},
        ],
    }]));
    let pool = &read.unwrap().pools[0];
    assert_eq!(pool.active.iter().map(|t| t.labels.value("instance")).collect::<Vec<_>>(), ["a:1", "c:1"]);
    assert_eq!(pool.active.iter().map(|t| t.timeout.as_secs()).collect::<Vec<_>>(), [5, 2]);
    assert_eq!(pool.dropped[0].value("__address__"), "b:1");
}

#[test]
fn all_mistakes_of_all_tables_are_told_at_once() {
    let error = config(json!([
        {"job_name": "a", "scrape_interval": "5", "targets": ["http://h/"], "typo": 1, "scheme": "ftp"},
        {"job_name": "a", "targets": ["h:1"], "scrape_interval": "5s", "scrape_timeout": "6s", "bearer_token": "x", "basic_auth": {"user": "u"}},
        {"static_configs": [{"targets": "h:1"}], "body_size_limit": "big", "fallback_scrape_protocol": "XML", "tenant": "t"},
        {"job_name": "d", "targets": ["h:1"], "relabel_configs": [{"action": "no"}, {"target_label": "__address__", "replacement": ""}],
            "tls_config": {"ca_file": "/does/not/exist"}, "password_file": "x"},
    ]))
    .unwrap_err();
    for word in [
        "scrape \"a\": scrape_interval: expected a duration such as 15s or 1m30s, got \"5\"",
        "scrape \"a\": target \"http://h/\": \"http://h/\" is not a valid hostname",
        "scrape \"a\": unknown key \"typo\"",
        "scrape \"a\": scheme: expected one of http, https, got \"ftp\"",
        "found multiple scrape configs with job name \"a\"",
        "scrape_timeout is greater than scrape_interval",
        "at most one of basic_auth, authorization & bearer_token must be configured",
        "scrape \"a\": basic_auth: unknown key \"user\"",
        "scrape[2]: job_name is empty",
        "scrape[2]: static_configs[0]: targets: invalid type: string",
        "scrape[2]: there are no targets",
        "body_size_limit: expected a size such as 16MiB, got \"big\"",
        "fallback_scrape_protocol: unknown scrape protocol \"XML\"",
        "tenant needs --tenancy header",
        "relabel_configs[0]: unknown relabel action \"no\"",
        "target \"h:1\": no address",
        "ca_file",
        "scrape \"d\": unknown key \"password_file\"",
    ] {
        assert!(error.contains(word), "{word} in\n{error}");
    }
}

#[test]
fn the_targets_labels_win_unless_those_of_the_series_are_honoured() {
    let labels = json!({"labels": {"a": "target", "exported_b": "target"}});
    let text = "x{a=\"1\",b=\"2\",exported_a=\"3\",exported_b=\"4\",instance=\"\"} 1\n";
    let (lines, ..) = scrape(&mut Session::default(), &node(labels.clone()), text, 1_000);
    let want = r#"{__name__="x", a="target", b="2", exported_a="3", exported_b="target", exported_exported_a="1", exported_exported_b="4", instance="h:1", job="node"} 1 @1000"#;
    assert_eq!(lines, [want]);
    let mut honoured = labels;
    honoured["honor_labels"] = true.into();
    let (lines, ..) = scrape(&mut Session::default(), &node(honoured), text, 1_000);
    // An empty label of the series counts: it keeps the target's away.
    let want = r#"{__name__="x", a="1", b="2", exported_a="3", exported_b="4", job="node"} 1 @1000"#;
    assert_eq!(lines, [want]);
}

fn short(lines: &[String]) -> Vec<String> {
    lines.iter().map(|line| line.replace(r#", instance="h:1", job="node""#, "").replace(r#"__name__="#, "")).collect()
}

#[test]
fn series_that_are_missing_end_and_count_as_added_when_they_are_back() {
    let (target, mut session) = (node(json!({})), Session::default());
    let (lines, counts, _) = scrape(&mut session, &target, "a 1\nb 2\nc 3 500\n", 1_000);
    assert_eq!(short(&lines), [r#"{"a"} 1 @1000"#, r#"{"b"} 2 @1000"#, r#"{"c"} 3 @500"#]);
    assert_eq!(counts, Counts { scraped: 3, kept: 3, added: 3 });
    // One that brings its own time does not end.
    let (lines, counts, _) = scrape(&mut session, &target, "a 1\n", 2_000);
    assert_eq!(short(&lines), [r#"{"a"} 1 @2000"#, r#"{"b"} stale @2000"#]);
    assert_eq!(counts, Counts { scraped: 1, kept: 1, added: 0 });
    let (lines, counts, _) = scrape(&mut session, &target, "a 1\nb 2\n", 3_000);
    assert_eq!((short(&lines).len(), counts.added), (2, 1));
    let mut output = Output::default();
    session.end_all(4_000, &mut output);
    let mut ended = short(&super::tests::lines(output));
    ended.sort();
    assert_eq!(ended, [r#"{"a"} stale @4000"#, r#"{"b"} stale @4000"#]);
    let mut output = Output::default();
    session.end_all(5_000, &mut output);
    assert!(output.bodies.is_empty(), "a series ends once");
    let (lines, counts, _) = scrape(&mut session, &target, "a 1\nb 2\n", 6_000);
    assert_eq!((lines.len(), counts.added), (2, 0), "what failed was remembered");
}

#[test]
fn times_of_the_target_may_be_ignored_or_tracked() {
    let (target, mut session) = (node(json!({"honor_timestamps": false})), Session::default());
    assert_eq!(short(&scrape(&mut session, &target, "a 1 500\n", 1_000).0), [r#"{"a"} 1 @1000"#]);
    assert_eq!(short(&scrape(&mut session, &target, "", 2_000).0), [r#"{"a"} stale @2000"#]);
    let (target, mut session) = (node(json!({"track_timestamps_staleness": true})), Session::default());
    assert_eq!(short(&scrape(&mut session, &target, "a 1 500\n", 1_000).0), [r#"{"a"} 1 @500"#]);
    assert_eq!(short(&scrape(&mut session, &target, "", 2_000).0), [r#"{"a"} stale @2000"#]);
}

#[test]
fn metrics_are_relabelled_and_limited() {
    let rules = json!([
        {"source_labels": ["__name__"], "regex": "go_.*", "action": "drop"},
        {"regex": "secret", "action": "labeldrop"},
        {"source_labels": ["__name__"], "regex": "old", "target_label": "__name__", "replacement": "new"},
    ]);
    let target = node(json!({"metric_relabel_configs": rules, "sample_limit": 2, "label_limit": 4, "label_value_length_limit": 4}));
    let mut session = Session::default();
    let (lines, counts, read) = scrape(&mut session, &target, "go_x 1\nold{secret=\"1\"} 2\nb 3\n", 1_000);
    assert_eq!((short(&lines), read), (vec![r#"{"new"} 2 @1000"#.to_owned(), r#"{"b"} 3 @1000"#.to_owned()], Ok(())));
    assert_eq!(counts, Counts { scraped: 3, kept: 2, added: 2 });
    let (_, counts, read) = scrape(&mut session, &target, "a 1\nb 2\nc 3\n", 2_000);
    assert_eq!((counts.kept, read.unwrap_err().as_str()), (3, "sample limit exceeded"));
    let (.., read) = scrape(&mut session, &target, "a{b=\"1\",c=\"1\"} 1\n", 2_000);
    assert_eq!(read.unwrap_err(), "label_limit exceeded (metric: a, number of labels: 5, limit: 4)");
    let (.., read) = scrape(&mut session, &target, "a{b=\"12345\"} 1\n", 2_000);
    assert!(read.unwrap_err().starts_with("label_value_length_limit exceeded (metric: a, label: b, length: 5"));
    let nameless = node(json!({"metric_relabel_configs": [{"regex": "__name__", "action": "labeldrop"}]}));
    let (.., read) = scrape(&mut session, &nameless, "z 1\n", 2_000);
    assert_eq!(read.unwrap_err(), "missing metric name (__name__ label)");
    let legacy = node(json!({"metric_name_validation_scheme": "legacy"}));
    let (.., read) = scrape(&mut Session::default(), &legacy, "{\"a.b\"} 1\n", 2_000);
    assert!(read.unwrap_err().contains("invalid metric name"));
}

#[test]
fn families_are_told_once_and_exemplars_without_a_time_when_they_are_new() {
    let (target, mut session) = (node(json!({})), Session::default());
    let mut taken = |text: &str, now| {
        let mut output = Output::default();
        session.take(&target, Form::OpenMetrics, text.as_bytes(), now, &mut output).1.unwrap();
        let (rows, ..) = translate_2(&output.bodies.pop().unwrap().finish()).unwrap();
        let described: Vec<_> = rows.series.iter().filter_map(|s| s.metadata.as_ref()).map(|m| m.as_ref().clone()).collect();
        (described, rows.exemplars.iter().map(|e| e.exemplar.ts).collect::<Vec<_>>())
    };
    let text = "# TYPE c counter\n# HELP c Some help.\nc_total 1 # {id=\"x\"} 1\n# EOF\n";
    let (described, exemplars) = taken(text, 1_000);
    assert_eq!(
        (described[0].family.as_str(), described[0].kind.as_str(), described[0].help.as_str()),
        ("c_total", "counter", "Some help.")
    );
    assert_eq!(exemplars, [1_000]);
    assert_eq!(taken(text, 2_000), (Vec::new(), Vec::new()));
    let (described, exemplars) = taken(&text.replace("Some", "Other").replace("=\"x\"", "=\"y\""), 3_000);
    assert_eq!((described[0].help.as_str(), exemplars), ("Other help.", vec![3_000]));
}

#[test]
fn a_target_that_sends_other_series_with_every_failure_is_not_remembered_without_end() {
    let (target, mut session) = (node(json!({})), Session::default());
    for round in 0..20 {
        let text: String = (0..500).map(|n| format!("s{round}_{n} 1\n")).collect();
        assert!(scrape(&mut session, &target, &format!("{text}broken\n"), round).2.is_err());
        session.end_all(round, &mut Output::default());
        assert!(session.remembered() <= 1_500);
    }
}

#[test]
fn scrapes_report_on_themselves() {
    let mut output = Output::default();
    let counts = Counts { scraped: 5, kept: 4, added: 3 };
    let report = Report { up: true, took: Duration::from_millis(250), counts, body_bytes: 77 };
    output.report(&node(json!({"extra_scrape_metrics": true, "sample_limit": 9})), 1_000, &report);
    assert_eq!(
        short(&lines(output)),
        [
            r#"{"up"} 1 @1000"#,
            r#"{"scrape_duration_seconds"} 0.25 @1000"#,
            r#"{"scrape_samples_scraped"} 5 @1000"#,
            r#"{"scrape_samples_post_metric_relabeling"} 4 @1000"#,
            r#"{"scrape_series_added"} 3 @1000"#,
            r#"{"scrape_timeout_seconds"} 10 @1000"#,
            r#"{"scrape_sample_limit"} 9 @1000"#,
            r#"{"scrape_body_size_bytes"} 77 @1000"#,
        ]
    );
}

#[test]
fn scrapes_come_at_the_same_place_of_every_interval() {
    let interval = 15_000;
    for now in [0, 1, 14_999, 15_000, 1_773_145_500_123] {
        let due = next_due(now, interval, 4_000);
        assert!(due > now && due - now <= interval && (due - 4_000) % interval == 0, "{now}: {due}");
    }
    assert_eq!((aligned(1_100, 1_000, 15_000), aligned(1_200, 1_000, 15_000), aligned(950, 1_000, 15_000)), (1_000, 1_200, 1_000));
    let offsets: std::collections::HashSet<i64> =
        (0..50).map(|n| target(json!({"job_name": "j", "targets": [format!("h{n}:1")]})).offset() / 2_000_000_000).collect();
    assert!(offsets.len() > 10, "targets are spread over the interval");
}
