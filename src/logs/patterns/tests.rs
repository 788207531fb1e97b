use super::*;
use crate::logs::reference::rows_of;
use crate::model::MatchOp;
use crate::model::time::SECOND;

fn rows(app: &str, level: &str, lines: impl Iterator<Item = (i64, String)>) -> LogRows {
    let metadata = [(DETECTED_LEVEL, level)];
    let lines: Vec<(i64, String)> = lines.collect();
    let entries: Vec<_> = lines.iter().map(|(ts, line)| (*ts, line.as_str(), &metadata[..])).collect();
    rows_of([(Labels::from_pairs([("app", app)]), &entries[..])])
}

fn app(name: &str) -> Vec<Matcher> {
    vec![Matcher::new("app", MatchOp::Equal, name).unwrap()]
}

fn wait_for(patterns: &Patterns, name: &str, range: TimeRange, step: i64, total: u64) -> Vec<Found> {
    let started = Instant::now();
    loop {
        let found = patterns.find(&TenantId::default_tenant(), &app(name), range, step);
        if found.iter().flat_map(|f| &f.samples).map(|(_, n)| n).sum::<u64>() >= total {
            return found;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "{found:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn patterns_are_counted_by_level_and_step() {
    let patterns = Patterns::start();
    let tenant = TenantId::default_tenant();
    let line = |i: i64| (i * SECOND, format!("GET /users/{i} took {i} ms"));
    patterns.accepted(&tenant, &rows("x", "info", (0..100).map(line)));
    patterns.accepted(&tenant, &rows("x", "error", (0..40).map(line)));
    patterns.accepted(&tenant, &rows("x", "warn", (0..29).map(line)));
    patterns.accepted(&tenant, &rows("y", "info", (0..100).map(line)));
    let found = wait_for(&patterns, "x", TimeRange::new(0, 100 * SECOND), 30 * SECOND, 140);
    let samples = |list: &[(i64, u64)]| list.to_vec();
    let pattern = || "GET <_> took <_> ms".to_owned();
    let info = Found { pattern: pattern(), level: "info".into(), samples: samples(&[(0, 30), (30, 30), (60, 30), (90, 10)]) };
    let error = Found { pattern: pattern(), level: "error".into(), samples: samples(&[(0, 30), (30, 10)]) };
    assert_eq!(found, [info, error]);
    assert!(patterns.find(&TenantId::parse("other").unwrap(), &app("x"), TimeRange::new(0, SECOND), SECOND).is_empty());
}

#[test]
fn a_sample_counts_for_all() {
    let patterns = Patterns::start();
    let lines = 100_000;
    patterns.accepted(&TenantId::default_tenant(), &rows("x", "info", (0..lines).map(|i| (1, format!("one two three {i}")))));
    let found = wait_for(&patterns, "x", TimeRange::new(0, SECOND), SECOND, lines as u64);
    assert_eq!(found.iter().flat_map(|f| &f.samples).map(|(_, n)| n).sum::<u64>(), lines as u64);
    assert!(patterns.allowance.lock().lines < LINES_AT_ONCE / 2.0);
}

#[test]
fn what_is_known_is_bounded() {
    let mut known = Known::default();
    for stream in 0..DRAINS_MAX + 10 {
        let labels = Labels::from_pairs([("app", format!("a{stream}"))]);
        let key = Key { tenant: TenantId::default_tenant(), labels, level: "info".into() };
        known.learn(key, &Line { ts: 0, level: "info".into(), text: "a line of five words".into(), weight: 1 });
    }
    assert!(known.drains.len() <= DRAINS_MAX && known.drains.len() > DRAINS_MAX / 2, "{}", known.drains.len());
    assert_eq!(known.bytes, known.drained_bytes());
}
