use super::tests::{NOW, Server};
use crate::storage::maintenance::CompactConfig;

/// A series, its samples (seconds before now, value), and whether the head is cut after them.
type Batch = (String, Vec<(i64, f64)>, bool);

/// The same for the same seed.
fn batches(mut seed: u64) -> Vec<Batch> {
    let mut next = |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    let mut all = Vec::new();
    for _ in 0..40 {
        let series = ["a", "b", "c"][next(3) as usize];
        // Late ones and repeated ones, too: of those with equal times the first stays, wherever it lies.
        let times = (0..next(6)).map(|_| (next(590) as i64, next(50) as f64 - 5.0));
        let samples = times.collect::<Vec<_>>();
        all.push((series.to_owned(), samples, next(5) == 0));
    }
    all
}

const QUERIES: [&str; 8] = [
    "x_seconds[10m]",
    "x_seconds",
    "sum(rate(x_seconds[5m]))",
    "avg without (n) (x_seconds offset 2m)",
    "increase(x_seconds{n=~'a|c'}[400s])",
    "max_over_time((x_seconds - 3)[9m:7s])",
    "count_over_time({__name__=~'x.+', n!='b'}[10m])",
    "changes(x_seconds[8m]) + on (n) resets(x_seconds[8m])",
];

async fn answers(server: &Server) -> Vec<serde_json::Value> {
    let mut all = Vec::new();
    for query in QUERIES {
        all.push(server.values(query).await);
        let text = percent_encoding::utf8_percent_encode(query, percent_encoding::NON_ALPHANUMERIC);
        if !query.ends_with("[10m]") {
            all.push(server.get(&format!("/api/v1/query_range?query={text}&start={}&end={NOW}&step=13", NOW - 700)).await.1);
        }
    }
    for path in ["series", "label/n/values"] {
        all.push(server.get(&format!("/api/v1/{path}?match[]=x_seconds&start={}&end={NOW}", NOW - 600)).await.1);
    }
    all
}

#[tokio::test]
async fn head_blocks_and_both_give_the_same_answers() {
    for seed in 1..8u64 {
        let (head, both) = (Server::new(), Server::new());
        for (series, samples, cut) in batches(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)) {
            let said = head.write(&series, &samples).await;
            assert_eq!(both.write(&series, &samples).await, said);
            if cut {
                both.store.cut().unwrap();
            }
        }
        let want = answers(&head).await;
        assert!(want[0].as_array().is_some_and(|series| series.len() == 3), "{seed}");
        assert_eq!(answers(&both).await, want, "{seed}");
        both.store.cut().unwrap();
        assert_eq!(answers(&both).await, want, "{seed}");
        both.store.compact(&CompactConfig { bytes_max: 1 << 30, inputs_max: 24 }).unwrap();
        assert_eq!(answers(&both).await, want, "{seed}");
        head.store.cut().unwrap();
        assert_eq!(answers(&head).await, want, "{seed}");
        assert_eq!(answers(&head.killed()).await, want, "{seed}");
    }
}
