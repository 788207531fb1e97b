use super::*;
use crate::model::Labels;
use crate::query::Context;
use proptest::prelude::*;
use std::time::Duration;

fn error(query: &str) -> String {
    parse(query).map(|_| String::new()).unwrap_or_else(|e| e.render(query))
}

#[test]
fn errors_have_positions_and_prometheus_words() {
    for (query, want) in [
        ("", "unknown position: parse error: no expression found in input"),
        ("sum(", "1:5: parse error: unclosed left parenthesis"),
        ("rate(x)", "1:6: parse error: expected type range vector in call to function \"rate\", got instant vector"),
        ("x[5m] + 1", "1:1: parse error: binary expression must contain only scalar and instant vector types"),
        ("unknown_function(foo)", "1:1: parse error: unknown function with name \"unknown_function\""),
        ("topk(\"x\", foo)", "1:6: parse error: expected type scalar in aggregation parameter, got string"),
        ("atan2(a, 3)", "1:1: parse error: unexpected <op:atan2>"),
        ("deg(pi())", "1:5: parse error: expected type instant vector in call to function \"deg\", got scalar"),
        ("a + on (x) group_left (b offset 5m)", "1:26: parse error: unexpected <offset> in grouping opts, expected \",\" or \")\""),
        ("1 == 1", "1:1: parse error: comparisons between scalars must use BOOL modifier"),
        ("{}", "1:1: parse error: vector selector must contain at least one non-empty matcher"),
        ("a\n  + )", "2:5: parse error: unexpected \")\""),
        ("x offset 1m offset 2m", "1:1: parse error: offset may not be set multiple times"),
        ("x{a=~\"(\"}", "1:3: parse error: error parsing regexp: missing closing )"),
    ] {
        assert_eq!(error(query), want, "{query}");
    }
}

#[test]
fn what_is_valid_parses() {
    for query in [
        "sum by (by, on, \"utf-8 x\") (rate(x{le=\"1\",}[5m:1m] offset -5m)) without_x",
        "a:b:c{x=~`\\d+`} @ end() offset 1h",
        "{\"http.requests\", job=\"x\"}[5m]",
        "rate(x[2*step()]) + rate(y[max_of(1m, 5)] offset (1h/2))",
        "a * on(x) group_left(y) b",
        "a * ignoring(x) group_right b",
        "a + fill_left(0) fill_right(-1) b",
        "a </ 5 >/ 2",
        "sum(x) by (a) > bool 0x1F",
        "info(x, {a=~\".*\"})",
        "rate(x[1m] anchored) + x smoothed # comment",
        "offset + by + fill + inf",
        "-x ^ 2 atan2 1_000.5e-3",
        "avg_over_time(x[5m])",
        "topk(5, x) or vector(0)",
    ] {
        let query = query.replace(" without_x", "");
        assert_eq!(error(&query), "", "{query}");
    }
}

#[test]
fn precedence_is_prometheuss() {
    let shape = |query: &str| {
        fn print(e: &Expr) -> String {
            match &e.kind {
                Kind::Binary(b) => format!("({} {} {})", print(&b.left), b.op.as_str(), print(&b.right)),
                Kind::Unary { negative, expr } => format!("({}{})", if *negative { "-" } else { "+" }, print(expr)),
                Kind::Number { value, .. } => value.to_string(),
                Kind::Selector(s) => s.name.clone().unwrap_or_default(),
                _ => "?".to_owned(),
            }
        }
        print(&parse(query).unwrap())
    };
    assert_eq!(shape("2 ^ 3 ^ 2"), "(2 ^ (3 ^ 2))");
    assert_eq!(shape("-a ^ 2 * b"), "((-(a ^ 2)) * b)");
    assert_eq!(shape("a or b and c > d + e % f"), "(a or (b and (c > (d + (e % f)))))");
    assert_eq!(shape("a - b - c"), "((a - b) - c)");
}

#[test]
fn the_canonical_text_is_prometheuss() {
    for (query, want) in [
        ("sum(rate(foo{a=\"b\"}[5m]))by(x,y)", "sum by (x, y) (rate(foo{a=\"b\"}[5m]))"),
        ("sum(x)", "sum(x)"),
        ("sum without() (x)", "sum without () (x)"),
        ("topk by (a) (3,x)", "topk by (a) (3, x)"),
        ("a*on(x)group_left(y)b", "a * on (x) group_left (y) b"),
        ("a + ignoring() b", "a + b"),
        ("a>bool 1", "a > bool 1"),
        ("x{c=~\"d\",a!=\"b\"} @ 1.5 offset -1h30m", "x{a!=\"b\",c=~\"d\"} @ 1.500 offset -1h30m"),
        ("{\"utf 8\",__name__=~\"x\"}", "{\"utf 8\",__name__=~\"x\"}"),
        ("rate(x[5m:1m]@ end())", "rate(x[5m:1m] @ end())"),
        ("x[5m] anchored offset 1m", "x[5m] anchored offset 1m"),
        ("a + fill(1) b", "a + fill (1) b"),
        ("avg_over_time(x[2*step()+1m])", "avg_over_time(x[2 * step() + 1m])"),
        ("-(1e3) + 5m", "-(1000) + 5m"),
    ] {
        let printed = parse(query).unwrap().to_string();
        assert_eq!(printed, want);
        assert_eq!(parse(&printed).unwrap().to_string(), want);
    }
}

#[test]
fn long_queries_are_split_at_arguments_and_operators() {
    let long = format!("sum by (a) (rate({}[5m])) / b", "x".repeat(100));
    let want = format!("  sum by (a) (\n    rate(\n      {}[5m]\n    )\n  )\n/\n  b", "x".repeat(100));
    assert_eq!(pretty(&parse(&long).unwrap()), want);
    assert_eq!(pretty(&parse("a+b").unwrap()), "a + b");
}

#[test]
fn depth_is_bounded() {
    let deep = format!("{}1{}", "(".repeat(100_000), ")".repeat(100_000));
    assert!(error(&deep).contains("nested too deeply"));
    let chain = vec!["a"; 100_000].join("+");
    assert!(error(&chain).contains("nested too deeply"));
    let subqueries = format!("x{}", "[1m:1m]".repeat(100_000));
    assert!(error(&subqueries).contains("nested too deeply"));
    let signs = format!("{}1", "-".repeat(100_000));
    assert!(error(&signs).contains("nested too deeply"));
    let durations = format!("x[{}1{}]", "(".repeat(100_000), ")".repeat(100_000));
    assert!(error(&durations).contains("nested too deeply"));
    assert_eq!(error(&vec!["a"; 100].join("+")), "");
}

/// One series in memory.
struct One(SeriesData, Context);

impl One {
    fn new(data: SeriesData) -> One {
        One(data, Context::new(crate::model::TenantId::default_tenant(), Duration::from_secs(60), 1 << 30))
    }
}

impl Storage for One {
    fn select(&self, matchers: &[crate::model::Matcher], _: Interval) -> Result<Vec<SeriesData>, crate::query::QueryError> {
        let hit = matchers.iter().all(|m| m.matches(self.0.labels.value(&m.name)));
        Ok(if hit { vec![self.0.clone()] } else { Vec::new() })
    }

    fn context(&self) -> &Context {
        &self.1
    }
}

#[test]
fn windows_are_open_to_the_left_and_staleness_ends_a_series() {
    let mut data = SeriesData::new(Labels::from_pairs([("__name__", "x_total")]));
    data.ts = vec![0, 60_000, 120_000, 180_000].into();
    data.values = vec![1.0, 2.0, 3.0, f64::from_bits(crate::metrics::STALE_NAN)].into();
    let storage = One::new(data);
    let engine = Engine::new(&storage, Options::default());
    let at = |query: &str, ms: i64| match engine.instant(&parse(query).unwrap(), ms).unwrap().value {
        QueryValue::Vector(v) => v
            .iter()
            .map(|e| match e.point {
                Point::Float(_, value) => value,
                Point::Histogram(..) => f64::NAN,
            })
            .collect::<Vec<_>>(),
        _ => panic!("no vector"),
    };
    assert_eq!(at("count_over_time(x_total[1m])", 60_000), [1.0]);
    assert_eq!(at("x_total", 179_999), [3.0]);
    assert_eq!(at("x_total", 180_000), [] as [f64; 0]);
    assert_eq!(at("x_total", 120_000 + 299_999), [] as [f64; 0]);
    assert_eq!(at("sum(x_total offset 1m)", 180_000), [3.0]);
    assert_eq!(at("increase(x_total[2m])", 120_000), [2.0]);
}

#[test]
fn what_is_absent_has_the_labels_that_were_asked_for() {
    let storage = One::new(SeriesData::new(Labels::empty()));
    let engine = Engine::new(&storage, Options::default());
    for (query, want) in [
        ("absent(y{a=\"1\", b=~\"2\"})", "{a=\"1\"}"),
        ("absent(((y{a=\"1\"} @ end())))", "{a=\"1\"}"),
        ("absent_over_time((y{a=\"1\", c=\"2\", c!=\"3\"}[5m]))", "{a=\"1\"}"),
        ("absent(-y{a=\"1\"})", "{}"),
    ] {
        match engine.instant(&parse(query).unwrap(), 0).unwrap().value {
            QueryValue::Vector(found) => assert_eq!(found[0].labels.to_string(), want, "{query}"),
            other => panic!("{query}: {other:?}"),
        }
    }
}

#[test]
fn a_budget_of_samples_is_kept() {
    let mut data = SeriesData::new(Labels::from_pairs([("__name__", "x")]));
    data.ts = (0..1_000).collect();
    data.values = vec![1.0; 1_000].into();
    let storage = One::new(data);
    let engine = Engine::new(&storage, Options { samples_max: 999, ..Options::default() });
    let failure = engine.instant(&parse("x").unwrap(), 1_000).unwrap_err();
    assert_eq!(failure.to_string(), "query processing would load too many samples into memory in query execution");
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,60}") {
        let _ = parse(&text);
        let _ = parse_selector(&text);
    }

    #[test]
    fn texts_of_tokens_never_panic(tokens in proptest::collection::vec(prop::sample::select(vec![
        "sum", "rate", "(", ")", "{", "}", "[", "]", "5m", "1", "x", "a", "=", "=~", "\"v\"", ",", ":", "offset", "@", "by", "on", "-", "+",
        "^", "or", "bool", "group_left", "start()", "step()", "anchored", "fill", "0x", "1e", ".", "'", "`", "#", "\n", "</",
    ]), 0..24)) {
        let text = tokens.join(" ");
        if let Ok(expr) = parse(&text) {
            let printed = expr.to_string();
            prop_assert_eq!(parse(&printed).map(|e| e.to_string()), Ok(printed));
            let storage = One::new(SeriesData::new(Labels::empty()));
            let engine = Engine::new(&storage, Options::default());
            let _ = engine.instant(&expr, 1_000);
            if matches!(expr.value_type(), ValueType::Scalar | ValueType::Vector) {
                let _ = engine.range(&expr, 0, 10_000, 1_000);
            }
        }
    }
}
