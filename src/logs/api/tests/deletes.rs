//! Deletes: made, listed, taken back, carried out.

use super::*;
use crate::storage::maintenance::CompactConfig;

const MERGE: CompactConfig = CompactConfig { bytes_max: 1 << 30, inputs_max: 8 };
const DELETE: &str = "/loki/api/v1/delete";
const QUERY: &str = r#"{app="x"} |= "secret""#;

async fn call(router: &Router, verb: &str, params: &[(&str, &str)]) -> (u16, String, Option<String>) {
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(params).finish();
    let request = Request::builder().method(verb).uri(format!("{DELETE}?{query}")).body(Body::empty()).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let id = response.headers().get("x-delete-request-id").map(|id| id.to_str().unwrap().to_owned());
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap(), id)
}

/// A house with two lines in one stream, one of which holds the word.
async fn with_lines(directory: &Path, config: Config) -> House {
    let house = open(directory, config);
    let line = |t: i64, text: &str| format!(r#"["{}","{text}"]"#, at(t));
    let body = format!(r#"{{"streams":[{{"stream":{{"app":"x"}},"values":[{},{}]}}]}}"#, line(10, "a secret"), line(11, "no harm"));
    assert_eq!(push(&house, &body).await.0, 204);
    house
}

async fn lines(house: &House) -> Vec<String> {
    let (start, end) = (at(0), at(60));
    let params = [("query", r#"{app="x"}"#), ("start", start.as_str()), ("end", &end), ("direction", "forward")];
    let value = data(house, RANGE, &params).await;
    let streams = value["data"]["result"].as_array().unwrap();
    streams.iter().flat_map(|s| s["values"].as_array().unwrap()).map(|v| v[1].as_str().unwrap().to_owned()).collect()
}

async fn listed(house: &House) -> Vec<Value> {
    let (status, body, _) = call(&house.query, "GET", &[]).await;
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

#[tokio::test]
async fn a_delete_hides_lines_at_once_and_can_be_taken_back() {
    let directory = tempfile::tempdir().unwrap();
    let house = with_lines(directory.path(), Config::default()).await;
    assert!(listed(&house).await.is_empty());
    let start = (BASE / 1_000_000_000).to_string();
    let end = crate::model::time::format_rfc3339(BASE + 60_500_000_000);
    let (status, body, id) = call(&house.query, "POST", &[("query", QUERY), ("start", &start), ("end", &end)]).await;
    assert_eq!((status, body.as_str()), (204, ""));
    let id = id.unwrap();
    assert_eq!(lines(&house).await, ["no harm"]);
    let now = BASE / 1_000_000_000 + 3600;
    let want = serde_json::json!([{
        "request_id": id, "start_time": BASE / 1_000_000_000, "end_time": (BASE / 1_000_000_000) as f64 + 60.5,
        "query": QUERY, "status": "received", "created_at": now, "user_id": "fake",
    }]);
    assert_eq!(Value::from(listed(&house).await), want);
    house.store.compact(&MERGE).unwrap();
    assert_eq!(listed(&house).await[0]["status"], "received", "it can still be taken back");
    let unknown = (404, "could not find delete request with given id\n".to_owned(), None);
    for bad in ["", "x", "01ARZ3NDEKTSV4RRFFQ69G5FAV"] {
        assert_eq!(call(&house.query, "DELETE", &[("request_id", bad)]).await, unknown, "{bad}");
    }
    assert_eq!(call(&house.query, "DELETE", &[("request_id", &id)]).await, (204, String::new(), None));
    assert_eq!(lines(&house).await, ["a secret", "no harm"]);
    assert!(listed(&house).await.is_empty());
    assert_eq!(call(&house.query, "DELETE", &[("request_id", &id)]).await, unknown);
}

#[tokio::test]
async fn a_form_and_put_make_deletes_and_what_is_processed_stays_so() {
    let directory = tempfile::tempdir().unwrap();
    let house = with_lines(directory.path(), Config { delete_cancel_within: Duration::ZERO, ..Config::default() }).await;
    let form = form_urlencoded::Serializer::new(String::new()).extend_pairs([("query", QUERY), ("start", "1000000000")]).finish();
    assert_eq!(post(&house.query, DELETE, "application/x-www-form-urlencoded", form).await, (204, String::new()));
    let id = listed(&house).await[0]["request_id"].as_str().unwrap().to_owned();
    let processed = (400, "deletion of request which is in process or already processed is not allowed\n".to_owned(), None);
    assert_eq!(call(&house.query, "DELETE", &[("request_id", &id)]).await, processed, "its time is over");
    assert_eq!(call(&house.query, "DELETE", &[("request_id", &id), ("force", "true")]).await.0, 204);
    assert_eq!(lines(&house).await, ["a secret", "no harm"]);
    let params = [("query", r#"{app=~".*"} | detected_level!="x" |= "secret""#), ("start", "1000000000"), ("max_interval", "1h30m")];
    let (status, _, id) = call(&house.query, "PUT", &params).await;
    assert_eq!(status, 204);
    house.store.compact(&MERGE).unwrap();
    assert_eq!(listed(&house).await[0]["status"], "processed");
    assert_eq!(call(&house.query, "DELETE", &[("request_id", &id.unwrap()), ("force", "true")]).await, processed);
    drop(house);
    let house = open(directory.path(), Config::default());
    assert_eq!(lines(&house).await, ["no harm"]);
}

#[tokio::test]
async fn bad_deletes_are_told_why() {
    let directory = tempfile::tempdir().unwrap();
    let house = with_lines(directory.path(), Config::default()).await;
    let future = (BASE / 1_000_000_000 + 3601).to_string();
    let bad_start = "invalid start time: require unix seconds or RFC3339 format";
    let (query, start) = (("query", r#"{app="x"}"#), ("start", "1000000000"));
    let asked: [(&[(&str, &str)], &str); 14] = [
        (&[start], "query not set"),
        (&[("query", "{app=x}"), start], "invalid query expression"),
        (&[("query", r#"{app="x"} | json"#), start], "invalid query expression"),
        (&[("query", r#"{app="x"} |~ "(""#), start], "invalid query expression"),
        (&[("query", r#"rate({app="x"}[1m])"#), start], "invalid query expression"),
        (&[query], "start time not set"),
        (&[query, ("start", "1000000000000")], bad_start),
        (&[query, ("start", "yesterday")], bad_start),
        (&[query, start, ("end", "+100000000")], "invalid end time: require unix seconds or RFC3339 format"),
        (&[query, start, ("end", &future)], "deletes in the future are not allowed"),
        (&[query, start, ("end", "1000000000")], "start time can't be greater than or equal to end time"),
        (&[query, start, ("end", "0999999999")], "start time can't be greater than or equal to end time"),
        (&[query, start, ("max_interval", "1d")], "invalid max_interval: valid time units are 's', 'm', 'h'"),
        (&[query, start, ("max_interval", "-1h")], "invalid max_interval: valid time units are 's', 'm', 'h'"),
    ];
    for (params, text) in asked {
        assert_eq!(call(&house.query, "POST", params).await, (400, format!("{text}\n"), None), "{params:?}");
    }
    assert!(listed(&house).await.is_empty());
    for verb in ["GET", "POST", "PUT", "DELETE"] {
        assert_eq!(call(&house.closed, verb, &[query, start]).await, (400, "Retention is not enabled\n".into(), None), "{verb}");
    }
    assert_eq!(lines(&house).await.len(), 2);
}
