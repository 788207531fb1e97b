//! Very many lines and streams: merged blocks with their token index, and tables of streams that are not kept decoded.

use super::*;
use crate::storage::maintenance::CompactConfig;
use std::fmt::Write as _;

const MERGE: CompactConfig = CompactConfig { bytes_max: 1 << 30, inputs_max: 16 };

fn lines(range: std::ops::Range<i64>, line: impl Fn(i64) -> String) -> String {
    let mut body = String::from(r#"{"streams":["#);
    for (at, app) in ["a", "b", "c"].iter().enumerate() {
        let _ = write!(body, r#"{}{{"stream":{{"app":"{app}"}},"values":["#, if at > 0 { "," } else { "" });
        for n in range.clone() {
            let comma = if n > range.start { "," } else { "" };
            let _ = write!(body, r#"{comma}["{}",{}]"#, BASE + n * 1_000_000, serde_json::json!(format!("{} in {app}", line(n))));
        }
        body.push_str("]}");
    }
    body.push_str("]}");
    body
}

/// The answer without statistics, and the lines that were read for it.
async fn read(house: &House, query: &str) -> (Value, u64) {
    let params = [("query", query), ("start", &at(-60)), ("end", &at(600)), ("limit", "5000"), ("step", "60")];
    let (status, body) = ask(house, RANGE, &params).await;
    assert_eq!(status, 200, "{query}: {body}");
    let mut value: Value = serde_json::from_str(&body).unwrap();
    let stats = value["data"].as_object_mut().unwrap().remove("stats").unwrap();
    (value, stats["summary"]["totalLinesProcessed"].as_u64().unwrap())
}

#[tokio::test]
async fn merged_blocks_answer_alike_and_are_read_where_a_text_can_be() {
    let directory = tempfile::tempdir().unwrap();
    let house = open(directory.path(), Config::default());
    let line = |n: i64| {
        let id = (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        match n {
            17_003 => format!("thread main panicked: id={id:016x} user=Ünal"),
            _ => format!("GET /items/{} took {n}ms id={id:016x} host-{}", n % 97, n % 7),
        }
    };
    let of = |n: i64| format!("{:016x}", (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let (first, last) = (of(3), of(19_999));
    // A query, and whether it can be answered from few granules.
    let needle = [
        (r#"{app=~".+"} |= "panicked""#.to_owned(), true),
        (r#"{app=~".+"} |= "anick" |= "Ünal""#.to_owned(), true),
        (r#"{app="b"} |~ "main (pan|x).*user=""#.to_owned(), false),
        (r#"{app="b"} |~ "thread \\w+ panicked""#.to_owned(), true),
        (r#"{app=~"a|b"} |> "thread <_> id=<_>""#.to_owned(), true),
        (format!(r#"{{app="a"}} |= "{first}""#), true),
        (format!(r#"{{app="a"}} |= "id={last} ""#), true),
        (format!(r#"{{app="a"}} |= "{first}" or "{last}""#), true),
        (format!(r#"{{app="a"}} |= "{}""#, &first[..12]), false),
        (r#"{app="a"} |~ "(?i)PANICKED""#.to_owned(), false),
        (r#"{app="c"} != "took""#.to_owned(), false),
        (r#"{app="c"} | line_format "{{.app}} {{.app}}" |= "c c" |= "nothing""#.to_owned(), false),
        (r#"sum by (app) (count_over_time({app=~".+"} |= "panicked" [1m]))"#.to_owned(), true),
        (r#"{app=~".+"} |= "nowhere to be found""#.to_owned(), true),
    ];
    for half in [0..10_000, 10_000..20_000] {
        assert_eq!(push(&house, &lines(half, line)).await.0, 204);
        house.store.cut().unwrap();
    }
    let mut before = Vec::new();
    for (query, _) in &needle {
        before.push(read(&house, query).await);
    }
    house.store.compact(&MERGE).unwrap();
    let view = house.store.view(&TenantId::default_tenant());
    assert!(view.blocks.len() == 1 && view.blocks[0].meta().table("tokens").is_some(), "{}", view.blocks.len());
    for ((query, few), (answer, all)) in needle.iter().zip(before) {
        let (merged, lines) = read(&house, query).await;
        assert_eq!(merged, answer, "{query}");
        assert!(!few || lines <= 3 * 8_192 && lines < all, "{query}: {lines} of {all} lines were read");
    }
    assert_eq!(read(&house, r#"{app=~".+"} |= "nowhere to be found""#).await.1, 0);
}

fn streams(range: std::ops::Range<u32>) -> String {
    let stream = |n: u32| {
        let rare = if n.is_multiple_of(5_000) { r#","rare":"yes""# } else { "" };
        let (t, zone) = (BASE + i64::from(n) * 10_000_000, n % 3);
        format!(r#"{{"stream":{{"app":"x","pod":"p{n:05}","zone":"z{zone}"{rare}}},"values":[["{t}","line {n}",{{"request":"r{n}"}}]]}}"#)
    };
    format!(r#"{{"streams":[{}]}}"#, range.map(stream).collect::<Vec<_>>().join(","))
}

#[tokio::test]
async fn tables_of_many_streams_answer_as_the_head_does() {
    let directory = tempfile::tempdir().unwrap();
    let house = open(directory.path(), Config { label_values_max: 100, ..Config::default() });
    for from in (0..20_000).step_by(5_000) {
        assert_eq!(push(&house, &streams(from..from + 5_000)).await.0, 204);
    }
    let (start, end) = (at(-60), at(600));
    let with = |path: &'static str, more: &[(&'static str, &'static str)]| (path, more.to_vec());
    let questions = [
        with("labels", &[]),
        with("labels", &[("query", r#"{pod="p00001"}"#)]),
        with("label/pod/values", &[]),
        with("label/pod/values", &[("query", r#"{zone!="z1",pod=~"p1.*"}"#)]),
        with("label/rare/values", &[]),
        with("series", &[]),
        with("series", &[("match[]", r#"{rare="yes"}"#), ("match[]", r#"{pod="p00007"}"#)]),
        with("series", &[("match[]", r#"{rare="",pod=~".+9999"}"#)]),
        with("index/stats", &[("query", r#"{zone="z2"}"#)]),
        with("index/volume", &[("query", r#"{zone=~".+"}"#)]),
        with("index/volume", &[("query", r#"{zone=~".+"}"#), ("targetLabels", "pod")]),
        with("index/volume_range", &[("query", r#"{zone=~".+"}"#), ("step", "60")]),
        with("detected_labels", &[]),
        with("query_range", &[("query", r#"{pod="p12345"}"#)]),
        with("query_range", &[("query", r#"{app="x"} | request="r777""#)]),
        with("query_range", &[("query", r#"{app="x"} | request="nobody""#)]),
        with("query_range", &[("query", r#"sum by (zone) (count_over_time({app="x"}[1m]))"#)]),
    ];
    let ask_all = async || {
        let mut answers = Vec::new();
        for (path, more) in &questions {
            let params: Vec<(&str, &str)> = [("start", &*start), ("end", &*end)].into_iter().chain(more.iter().copied()).collect();
            let (status, body) = ask(&house, &format!("/loki/api/v1/{path}"), &params).await;
            // Statistics tell how it was done, and how many chunks there are.
            let mut value: Value = serde_json::from_str(&body).unwrap_or(Value::String(body));
            value.as_object_mut().map(|v| v.remove("chunks"));
            value.get_mut("data").and_then(Value::as_object_mut).map(|v| v.remove("stats"));
            answers.push((path, more, status, value));
        }
        answers
    };
    let head = ask_all().await;
    let of = |name: &str| &head.iter().find(|a| *a.0 == name).unwrap().3;
    assert_eq!(of("label/pod/values")["data"].as_array().unwrap().len(), 100);
    assert_eq!(of("label/pod/values")["warnings"][0], "there are more than 100 values: only the first 100 are listed");
    assert_eq!(of("series")["data"].as_array().unwrap().len(), 100);
    assert_eq!(of("series")["warnings"][0], "there are more than 100 series: only the first 100 are listed");
    assert_eq!(head.iter().find(|a| a.1.contains(&("targetLabels", "pod"))).unwrap().2, 400);
    assert_eq!(of("index/stats")["streams"], 6_666);
    let pods = of("detected_labels")["detectedLabels"].as_array().unwrap().iter().find(|l| l["label"] == "pod").unwrap();
    assert!((19_000..21_000).contains(&pods["cardinality"].as_u64().unwrap()), "{pods}");
    house.store.cut().unwrap();
    assert_eq!(ask_all().await, head);
    assert_eq!(push(&house, &streams(0..10)).await.0, 204);
    house.store.cut().unwrap();
    house.store.compact(&MERGE).unwrap();
    let view = house.store.view(&TenantId::default_tenant());
    assert_eq!((view.blocks.len(), view.blocks[0].meta().table("streams").unwrap().rows), (1, 20_000));
    assert_eq!(ask_all().await, head);
}
