//! Patterns of what was pushed.

use super::*;

const PATTERNS: &str = "/loki/api/v1/patterns";

#[tokio::test]
async fn patterns_are_found_and_select_their_lines() {
    let directory = tempfile::tempdir().unwrap();
    let house = open(directory.path(), Config::default());
    let values: Vec<Value> = (0..40)
        .map(|i| serde_json::json!([at(i), format!("{} GET /cart/{i} from 10.0.0.{i}", if i < 5 { "error" } else { "info" })]))
        .collect();
    let body = serde_json::json!({ "streams": [{ "stream": { "app": "x" }, "values": values }] });
    assert_eq!(push(&house, &body.to_string()).await.0, 204);
    let (start, end) = (at(0), at(60));
    let params = [("query", r#"{app="x"}"#), ("start", start.as_str()), ("end", &end), ("step", "60s")];
    let found = loop {
        let value = data(&house, PATTERNS, &params).await;
        if value["data"].as_array().is_some_and(|p| !p.is_empty() && p[0]["samples"][0][1] == 35) {
            break value;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let pattern = "info GET <_> from <_>";
    let want = serde_json::json!({ "pattern": pattern, "level": "info", "samples": [[BASE / 1_000_000_000, 35]] });
    assert_eq!(found, serde_json::json!({ "status": "success", "data": [want] }));
    let query = format!(r#"sum(count_over_time({{app="x"}} |> "{pattern}" [5m]))"#);
    let count = data(&house, "/loki/api/v1/query", &[("query", query.as_str()), ("time", &end)]).await;
    assert_eq!(count["data"]["result"][0]["value"][1], "35");
    let none = data(&house, PATTERNS, &[("query", r#"{app="y"}"#)]).await;
    assert_eq!(none, serde_json::json!({ "status": "success", "data": [] }));
    for (query, step) in [("", "1m"), (r#"{app="x"} |= "x""#, "1m"), (r#"{app="x""#, "1m"), (r#"{app="x"}"#, "0"), (r#"{app="x"}"#, "x")] {
        let (status, text) = ask(&house, PATTERNS, &[("query", query), ("step", step)]).await;
        assert_eq!(status, 400, "{query} {step}: {text}");
    }
    assert!(ask(&house, "/loki/api/v1/drilldown-limits", &[]).await.1.contains(r#""pattern_ingester_enabled":true"#));
}
