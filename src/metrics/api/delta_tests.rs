use super::tests::{NOW, Server, json};
use crate::model::time::SECOND;
use axum::body::Body;
use http::Request;

impl Server {
    /// Delta points of a counter, a histogram and an exponential histogram `ago` seconds back, over ten seconds each.
    async fn deltas(&self, ago: i64, added: u64) -> String {
        let times = format!(r#""timeUnixNano":"{}","startTimeUnixNano":"{}""#, (NOW - ago) * SECOND, (NOW - ago - 10) * SECOND);
        let metrics = format!(
            r#"{{"name":"c","sum":{{"aggregationTemporality":1,"isMonotonic":true,"dataPoints":[{{{times},"asInt":"{added}"}}]}}}},
               {{"name":"h","histogram":{{"aggregationTemporality":1,"dataPoints":[{{{times},"count":"{added}","sum":{added},
                    "explicitBounds":[1],"bucketCounts":["{added}","0"]}}]}}}},
               {{"name":"e","exponentialHistogram":{{"aggregationTemporality":1,"dataPoints":[{{{times},"count":"{added}","sum":{added},
                    "scale":1,"positive":{{"offset":{added},"bucketCounts":["{added}"]}}}}]}}}}"#
        );
        let body = format!(r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{metrics}]}}]}}]}}"#);
        let request = Request::post("/v1/metrics").header("content-type", "application/json").body(Body::from(body)).unwrap();
        let (status, answer) = self.send(request).await;
        assert_eq!(status, 200, "{answer}");
        answer["partialSuccess"]["rejectedDataPoints"].as_str().unwrap_or("0").to_owned()
    }

    async fn sums(&self) -> Vec<String> {
        let mut sums = Vec::new();
        for query in ["c_total", "h_sum", "h_count", "h_bucket{le=\"1\"}", "histogram_count(e)", "histogram_sum(e)"] {
            sums.push(self.values(query).await[0]["value"][1].as_str().unwrap_or("none").to_owned());
        }
        sums
    }
}

#[tokio::test]
async fn deltas_add_up_across_cuts_and_kills() {
    let mut server = Server::new();
    assert_eq!(server.deltas(50, 3).await, "0");
    assert_eq!(server.deltas(40, 4).await, "0");
    assert_eq!(server.sums().await, ["7"; 6]);
    // Sent again, as after an answer that was lost: all three points are told to be refused, and nothing is counted twice.
    assert_eq!(server.deltas(40, 4).await, "3");
    server = server.killed();
    assert_eq!(server.sums().await, ["7"; 6]);
    assert_eq!(server.deltas(30, 5).await, "0");
    server.store.cut().unwrap();
    assert_eq!(server.deltas(20, 6).await, "0");
    assert_eq!(server.sums().await, ["18"; 6]);
    // What the log holds goes on from what the blocks hold.
    server = server.killed();
    assert_eq!(server.sums().await, ["18"; 6]);
    server.store.cut().unwrap();
    server = server.killed();
    assert_eq!(server.deltas(10, 7).await, "0");
    assert_eq!(server.deltas(45, 9).await, "3");
    assert_eq!(server.sums().await, ["25"; 6]);
    let all = server.values("c_total[2m]").await;
    let want = format!(r#"[[{},"3"],[{},"7"],[{},"12"],[{},"18"],[{},"25"]]"#, NOW - 50, NOW - 40, NOW - 30, NOW - 20, NOW - 10);
    assert_eq!(all[0]["values"], json(&want));
}
