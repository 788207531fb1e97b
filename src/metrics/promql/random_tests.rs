//! Random queries over random samples: what is printed reads as it was, and a range is its steps one by one.

use super::*;
use crate::metrics::STALE_NAN;
use crate::model::{Labels, Matcher, TenantId};
use crate::query::{Context, QueryError};
use proptest::prelude::*;
use std::sync::Arc;
use std::time;

const END: i64 = 600_000;
const STEP: i64 = 37_000;

struct Many(Vec<SeriesData>, Context);

impl Many {
    fn new(series: Vec<SeriesData>) -> Many {
        Many(series, Context::new(TenantId::default_tenant(), time::Duration::from_secs(60), 1 << 30))
    }

    /// Texts of all values by time, as a range query gives them or an instant query a step.
    fn range(&self, query: &str) -> Result<Vec<String>, QueryError> {
        let answer = Engine::new(self, Options::default()).range(&parse(query).unwrap(), 0, END, STEP)?;
        let QueryValue::Matrix(series) = answer.value else { return Ok(Vec::new()) };
        let mut all = Vec::new();
        for one in series {
            all.extend(one.floats().map(|(ts, v)| format!("{ts} {} {:016x}", one.labels, canonical(v))));
            all.extend(one.histograms.iter().map(|(ts, h)| format!("{ts} {} {h}", one.labels)));
        }
        all.sort();
        Ok(all)
    }

    fn steps(&self, query: &str) -> Result<Vec<String>, QueryError> {
        let (expr, engine) = (parse(query).unwrap(), Engine::new(self, Options::default()));
        let mut all = Vec::new();
        for ts in (0..=END).step_by(STEP as usize) {
            if let QueryValue::Vector(elements) = engine.instant(&expr, ts)?.value {
                all.extend(elements.iter().map(|e| match &e.point {
                    Point::Float(_, v) => format!("{ts} {} {:016x}", e.labels, canonical(*v)),
                    Point::Histogram(_, h) => format!("{ts} {} {h}", e.labels),
                }));
            }
        }
        all.sort();
        Ok(all)
    }
}

/// One NaN for all.
fn canonical(value: f64) -> u64 {
    if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() }
}

impl Storage for Many {
    fn select(&self, matchers: &[Matcher], interval: Interval) -> Result<Vec<SeriesData>, QueryError> {
        let hit = |s: &&SeriesData| matchers.iter().all(|m| m.matches(s.labels.value(&m.name)));
        let mut found: Vec<SeriesData> = self.0.iter().filter(hit).cloned().collect();
        found.iter_mut().for_each(|s| s.retain(|ts| interval.contains(ts)));
        found.retain(|s| !s.is_empty());
        Ok(found)
    }

    fn context(&self) -> &Context {
        &self.1
    }
}

fn value() -> impl Strategy<Value = f64> {
    let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, f64::from_bits(STALE_NAN), 1e300, -1e300];
    prop_oneof![12 => (0..40u32).prop_map(f64::from), 2 => any::<f64>(), 2 => prop::sample::select(odd.to_vec())]
}

fn histogram() -> impl Strategy<Value = Histogram> {
    let buckets = || proptest::collection::btree_map(-3i32..4, (0..9u32).prop_map(f64::from), 0..4);
    (buckets(), buckets(), 0..9u32, -2i32..3, 0..3u8).prop_map(|(positive, negative, zero, schema, hint)| {
        let count = positive.values().chain(negative.values()).sum::<f64>() + f64::from(zero);
        Histogram {
            hint: [ResetHint::Unknown, ResetHint::NotReset, ResetHint::Gauge][hint as usize],
            schema,
            zero_threshold: 0.001,
            zero_count: zero.into(),
            count,
            sum: count * 2.0,
            positive: positive.into_iter().collect(),
            negative: negative.into_iter().collect(),
            custom: Vec::new().into(),
        }
    })
}

/// Samples with gaps up to a quarter of all time.
fn series(name: &'static str, a: &'static str, histograms: usize) -> impl Strategy<Value = SeriesData> {
    let floats = proptest::collection::vec((prop_oneof![9 => 1..40_000i64, 1 => 1..150_000i64], value()), 0..40);
    let histograms = proptest::collection::vec((1..90_000i64, histogram()), 0..=histograms);
    (floats, histograms).prop_map(move |(floats, histograms)| {
        let mut data = SeriesData::new(Labels::from_pairs([("__name__", name), ("a", a)]));
        let mut ts = -100_000;
        for (gap, value) in floats {
            ts += gap;
            data.ts.push(ts);
            data.values.push(value);
        }
        let mut ts = -100_000;
        for (gap, histogram) in histograms {
            ts += gap;
            data.histograms.push(HistogramSample { ts, start: 0, histogram: Arc::new(histogram) });
        }
        data
    })
}

/// As many samples as make windows long, without a pause.
fn dense() -> impl Strategy<Value = SeriesData> {
    proptest::collection::vec((1..4_000i64, value()), 0..600).prop_map(|samples| {
        let mut data = SeriesData::new(Labels::from_pairs([("__name__", "x"), ("a", "1")]));
        let mut ts = -100_000;
        for (gap, value) in samples {
            ts += gap;
            data.ts.push(ts);
            data.values.push(value);
        }
        data
    })
}

fn storage() -> impl Strategy<Value = Vec<SeriesData>> {
    (series("x", "1", 0), series("x", "2", 0), series("y", "1", 0), series("y", "3", 6), series("h", "1", 12))
        .prop_map(|(a, b, c, d, e)| vec![a, b, c, d, e])
}

fn pick(all: &[&'static str]) -> impl Strategy<Value = &'static str> + Clone + use<> {
    prop::sample::select(all.to_vec())
}

/// A query that gives a vector.
fn query() -> impl Strategy<Value = String> {
    let selector = (
        pick(&["x", "y", "h", "{__name__=~\"x|y\"}", "x{a=\"1\"}", "y{a!~\"2|\"}", "{\"x\", a!=`2`}", "{'quoted name'}"]),
        pick(&["", "", "", " offset 1m", " offset -30s", " @ 123.456", " @ end()", " @ start() offset 45s", " offset (10 + step())"]),
    );
    let selector = || selector.clone().prop_map(|(s, m)| (s.to_owned(), m.to_owned()));
    let range = pick(&["[1m]", "[90s]", "[5m]", "[1m + 30s]", "[2 * step()]"]);
    let window = (pick(WINDOWED), selector(), range).prop_map(|(f, (s, m), r)| windowed(f, &format!("{s}{r}{m}")));
    let leaf = prop_oneof![2 => selector().prop_map(|(s, m)| s + &m), 3 => window];
    leaf.prop_recursive(4, 20, 3, |inner| {
        let binary = pick(&[
            "+",
            "-",
            "*",
            "/",
            "%",
            "^",
            "atan2",
            "==",
            "> bool",
            "<",
            "and",
            "or",
            "unless",
            "* on (a)",
            "- ignoring (b)",
            "* on (a) group_left ()",
            "and on (a)",
            "or ignoring (a)",
            "+ fill (0)",
            "< bool on (a) group_right ()",
        ]);
        let grouping = pick(&["", " by (a)", " without (a)", " by (__name__, a)"]);
        let plain = pick(&["sum", "avg", "min", "max", "count", "group", "stddev", "stdvar"]);
        let call = pick(&[
            "abs(#)",
            "-#",
            "ceil(#)",
            "timestamp(#)",
            "clamp(#, 1, 1e2)",
            "round(#, 0x4)",
            "label_replace(#, 'b', '$1-', `a`, \"(.*)\")",
            "histogram_quantile(.5, #)",
            "histogram_count(#)",
            "absent(#)",
            "(#)",
            "# > 3",
            "1 - #",
            "sort_by_label(#, 'a')",
            "+#",
            "topk by (a) (1, #)",
            "quantile(0.3, #)",
            "count_values without () ('v', #)",
            "bottomk(2, #)",
            "limitk(2, #)",
            "scalar(#) + #",
        ]);
        let subquery = (pick(WINDOWED), inner.clone(), pick(&["[2m:30s]", "[3m:]", "[5m:45s] offset 1m", "[2m:10s] @ 200"]));
        prop_oneof![
            (inner.clone(), binary, inner.clone()).prop_map(|(l, op, r)| format!("({l}) {op} ({r})")),
            (plain, grouping, inner.clone()).prop_map(|(f, g, i)| format!("{f}{g} ({i})")),
            (call, inner.clone()).prop_map(|(call, i)| call.replace('#', &i)),
            subquery.prop_map(|(f, i, s)| windowed(f, &format!("({i}){s}"))),
        ]
    })
}

const WINDOWED: &[&str] = &[
    "rate",
    "increase",
    "delta",
    "irate",
    "idelta",
    "deriv",
    "changes",
    "resets",
    "sum_over_time",
    "avg_over_time",
    "min_over_time",
    "max_over_time",
    "count_over_time",
    "last_over_time",
    "first_over_time",
    "present_over_time",
    "stddev_over_time",
    "stdvar_over_time",
    "mad_over_time",
    "absent_over_time",
    "ts_of_max_over_time",
    "ts_of_last_over_time",
    "quantile_over_time",
    "predict_linear",
    "double_exponential_smoothing",
];

fn windowed(function: &str, range: &str) -> String {
    match function {
        "quantile_over_time" => format!("{function}(0.7, {range})"),
        "predict_linear" => format!("{function}({range}, 60)"),
        "double_exponential_smoothing" => format!("{function}({range}, 0.3, 0.6)"),
        _ => format!("{function}({range})"),
    }
}

/// Whether the query asks for something that a step alone does not know.
fn knows_its_range(query: &str) -> bool {
    let says = |words: &[&str]| words.iter().any(|word| query.contains(word));
    // A union has its series in the order in which they come up, at a step as in a range, and at a step alone the best come
    // in the order of their values: sums add up in that order.
    let adds_in_order = says(&[") or ", "topk", "bottomk"]) && says(&["sum", "avg", "stddev", "stdvar"]);
    adds_in_order || says(&["step()", "start()", "end()", "limitk", "sort"])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_printed_reads_as_it_was(query in query(), data in storage()) {
        let expr = parse(&query).map_err(|e| TestCaseError::fail(format!("{query}: {}", e.render(&query))))?;
        let printed = expr.to_string();
        let again = parse(&printed).map_err(|e| TestCaseError::fail(format!("{printed}: {}", e.render(&printed))))?;
        prop_assert_eq!(&again.to_string(), &printed);
        let spread = pretty(&expr);
        prop_assert_eq!(parse(&spread).map(|e| e.to_string()), Ok(printed.clone()), "{}", spread);
        prop_assert_eq!(Many::new(data.clone()).range(&query), Many::new(data).range(&printed), "{}", query);
    }

    #[test]
    fn a_range_is_its_steps_one_by_one(query in query().prop_filter("a step knows", |q| !knows_its_range(q)), data in storage()) {
        let storage = Many::new(data);
        // Series that only join at different steps are an error of a range alone.
        if let (Ok(range), Ok(steps)) = (storage.range(&query), storage.steps(&query)) {
            prop_assert_eq!(range, steps, "{}", query);
        }
    }

    #[test]
    fn windows_are_what_they_are_by_definition(data in prop_oneof![series("x", "1", 0), dense()], seconds in 20..200i64) {
        let storage = Many::new(vec![data.clone()]);
        let samples: Vec<(i64, f64)> = data.ts.iter().copied().zip(data.values.iter().copied()).filter(|s| s.1.to_bits() != STALE_NAN).collect();
        for (function, naive) in NAIVE {
            let mut want = Vec::new();
            for ts in (0..=END).step_by(STEP as usize) {
                let from = ts - seconds * 1000;
                let window: Vec<(i64, f64)> = samples.iter().copied().filter(|s| from < s.0 && s.0 <= ts).collect();
                if !window.is_empty() && let Some(value) = naive(&window, from, ts) {
                    want.push((ts, value));
                }
            }
            let expr = parse(&format!("{function}(x[{seconds}s])")).unwrap();
            let answer = Engine::new(&storage, Options::default()).range(&expr, 0, END, STEP).unwrap();
            let QueryValue::Matrix(got) = answer.value else { panic!("no matrix") };
            let got: Vec<(i64, f64)> = got.first().map_or_else(Vec::new, |s| s.floats().collect());
            prop_assert_eq!(got.iter().map(|s| s.0).collect::<Vec<_>>(), want.iter().map(|s| s.0).collect::<Vec<_>>(), "{}", function);
            for ((ts, a), (_, b)) in got.iter().zip(&want) {
                let near = a.to_bits() == b.to_bits() || a == b || a.is_nan() && b.is_nan() || ((a - b) / b).abs() < 1e-9;
                prop_assert!(near, "{} at {}: {} and not {}", function, ts, a, b);
            }
        }
    }
}

/// What an aggregation gives of series as they are made, and of all of them together: what `or` gives is together.
fn both_ways(storage: &Many, aggregation: &str, inner: &str) -> [Result<[Vec<String>; 3], QueryError>; 2] {
    [inner.to_owned(), format!("({inner}) or ({inner})")].map(|inner| {
        let query = aggregation.replace('#', &inner);
        let (engine, expr) = (Engine::new(storage, Options::default()), parse(&query).unwrap());
        let answer = engine.range(&expr, 0, END, STEP)?;
        let in_order = match engine.instant(&expr, END / 2)?.value {
            QueryValue::Vector(elements) => elements.iter().map(|e| e.labels.to_string()).collect(),
            _ => Vec::new(),
        };
        let untold = |notes: Vec<String>| notes.iter().map(|n| n[..n.rfind(" (").unwrap_or(n.len())].to_owned()).collect::<Vec<_>>();
        let notes = [untold(answer.notes.warnings(&query)), untold(answer.notes.infos(&query))].concat();
        Ok([storage.range(&query)?, notes, in_order])
    })
}

const AGGREGATIONS: &[&str] = &[
    "sum (#)",
    "sum by (a) (#)",
    "sum without (a) (#)",
    "sum by (__name__, a) (#)",
    "avg (#)",
    "avg by (a) (#)",
    "min (#)",
    "min by (a) (#)",
    "max (#)",
    "max without (a) (#)",
    "count (#)",
    "count by (a) (#)",
    "group by (a) (#)",
    "stddev (#)",
    "stdvar by (a) (#)",
    "topk (1, #)",
    "topk by (a) (2, #)",
    "bottomk (1, #)",
    "quantile (0.3, #)",
    "absent(#)",
    "scalar(#) + vector(1)",
    "limitk (2, #)",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_is_added_up_as_it_is_made_is_what_is_added_up_together(
        aggregation in pick(AGGREGATIONS),
        inner in query().prop_filter("errors have positions", |q| !q.contains("step()")),
        data in storage(),
    ) {
        let [made, together] = both_ways(&Many::new(data), aggregation, &inner);
        prop_assert_eq!(made, together, "{} of {}", aggregation, inner);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn series_on_many_threads_are_added_up_in_their_order(aggregation in pick(AGGREGATIONS), values in prop::collection::vec(value(), 400..900)) {
        let series = |n: usize| {
            let mut data = SeriesData::new(Labels::from_pairs([("__name__", "x"), ("a", ["1", "2", "3"][n % 3]), ("n", &n.to_string())]));
            for (at, value) in values.iter().enumerate().skip(n % 5).step_by(1 + n % 7) {
                data.ts.push(at as i64 * 1_000 - 60_000 + n as i64);
                data.values.push(value * (n + 1) as f64);
            }
            data
        };
        let storage = Many::new((0..1_000).map(series).collect());
        let [made, together] = both_ways(&storage, aggregation, "-sum_over_time(x[90s])");
        prop_assert_eq!(made, together, "{}", aggregation);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_long_window_is_the_same_whatever_was_before_it(data in dense(), seconds in 20..300i64) {
        let storage = Many::new(vec![data]);
        for function in WINDOWED.iter().chain(&["ts_of_min_over_time"]) {
            let query = windowed(function, &format!("x[{seconds}s]"));
            prop_assert_eq!(storage.range(&query), storage.steps(&query), "{}", query);
        }
    }
}

type Naive = fn(&[(i64, f64)], i64, i64) -> Option<f64>;

/// Of the samples of a window that is not empty, and its edges.
const NAIVE: [(&str, Naive); 9] = [
    ("count_over_time", |w, _, _| Some(w.len() as f64)),
    ("last_over_time", |w, _, _| Some(w[w.len() - 1].1)),
    ("min_over_time", |w, _, _| Some(w.iter().map(|s| s.1).fold(f64::NAN, f64::min))),
    ("max_over_time", |w, _, _| Some(w.iter().map(|s| s.1).fold(f64::NAN, f64::max))),
    ("changes", |w, _, _| Some(w.windows(2).filter(|p| p[0].1 != p[1].1 && !(p[0].1.is_nan() && p[1].1.is_nan())).count() as f64)),
    ("resets", |w, _, _| Some(w.windows(2).filter(|p| p[1].1 < p[0].1).count() as f64)),
    ("increase", |w, from, to| extrapolated(w, from, to, true, 1.0)),
    ("delta", |w, from, to| extrapolated(w, from, to, false, 1.0)),
    ("rate", |w, from, to| extrapolated(w, from, to, true, (to - from) as f64 / 1000.0)),
];

fn extrapolated(w: &[(i64, f64)], from: i64, to: i64, counter: bool, per: f64) -> Option<f64> {
    let (first, last) = (w[0], w[w.len() - 1]);
    let mut result = last.1 - first.1;
    if counter {
        w.windows(2).filter(|p| p[1].1 < p[0].1).for_each(|p| result += p[0].1);
    }
    let between = |a: i64, b: i64| (b - a) as f64 / 1000.0;
    let sampled = between(first.0, last.0);
    let mean = sampled / (w.len() as f64 - 1.0);
    let edge = |gap: f64| if gap >= mean * 1.1 { mean / 2.0 } else { gap };
    let (mut start, end) = (edge(between(from, first.0)), edge(between(last.0, to)));
    if counter && result > 0.0 && first.1 >= 0.0 {
        start = start.min(sampled * (first.1 / result));
    }
    (w.len() > 1).then_some(result * ((sampled + start + end) / sampled / per))
}
