use super::*;
use crate::logs::logql::ast::{LabelFilter, RangeOp, Stage};
use proptest::prelude::*;

fn error(query: &str) -> String {
    parse(query).map_or_else(|e| e.to_string(), |_| "no error".into())
}

fn log(query: &str) -> LogExpr {
    match parse(query) {
        Ok(Expr::Log(log)) => log,
        other => panic!("{query}: {other:?}"),
    }
}

fn metric(query: &str) -> MetricExpr {
    match parse(query) {
        Ok(Expr::Metric(metric)) => metric,
        other => panic!("{query}: {other:?}"),
    }
}

/// contracts/loki.md 3.12
#[test]
fn errors_have_lokis_places_and_words() {
    for (query, want) in [
        (r#"{foo="bar""#, "parse error at line 1, col 11: syntax error: unexpected $end, expecting } or ,"),
        (r#"{foo="bar}"#, "parse error at line 1, col 6: literal not terminated"),
        (r#"{foo="bar"} |~"#, "parse error at line 1, col 15: syntax error: unexpected $end, expecting STRING or ip"),
        (r#"{foo="bar"} "foo""#, "parse error at line 1, col 13: syntax error: unexpected STRING"),
        (r#"{foo="bar"} foo"#, "parse error at line 1, col 13: syntax error: unexpected IDENTIFIER"),
        (r#"unk({foo="bar"}[5m])"#, "parse error at line 1, col 1: syntax error: unexpected IDENTIFIER"),
        (r#"rate({ foo = "bar" }[5)"#, "parse error at line 0, col 21: missing closing ']' in duration"),
        (r#"rate({ foo = "bar" }[5minutes])"#, r#"parse error at line 0, col 21: unknown unit "minutes" in duration "5minutes""#),
        (r#"min({ foo = "bar" }[5m])"#, "parse error at line 0, col 20: syntax error: unexpected RANGE"),
        (r#"stddev({ foo = "bar" })"#, "parse error at line 1, col 23: syntax error: unexpected )"),
        (r#"sum_over_time({foo="bar"} | json [5m])"#, "parse error : invalid aggregation sum_over_time without unwrap"),
        (
            r#"count without (rate({namespace="apps"}[15s]))"#,
            "parse error at line 1, col 16: syntax error: unexpected RATE, expecting IDENTIFIER or )",
        ),
        ("", "parse error : syntax error: unexpected $end"),
        ("  # nothing", "parse error : syntax error: unexpected $end"),
        (r#"{app="a"} | status >"#, "parse error at line 1, col 21: syntax error: unexpected $end"),
        (r#"sum by (app (count_over_time({app="a"}[5m])))"#, "parse error at line 1, col 13: syntax error: unexpected (, expecting , or )"),
    ] {
        assert_eq!(error(query), want, "{query}");
    }
    assert!(
        error(r#"count_over_time({foo="bar"} |~ "(" [1m])"#)
            .starts_with(r#"parse error : stage '|~ "("' : error parsing regexp: missing closing )"#)
    );
}

#[test]
fn errors_of_meaning() {
    for (query, part) in [
        ("{}", "at least one regexp or equality matcher"),
        (r#"{a=~".*"}"#, "at least one regexp or equality matcher"),
        (r#"sum(rate({a!="b"}[1m]))"#, "at least one regexp or equality matcher"),
        ("0x10", "unable to parse literal as a float"),
        (r#"topk(rate({a="b"}[1m]))"#, "parameter required for operation topk"),
        (r#"topk(1.5, rate({a="b"}[1m]))"#, "invalid parameter topk(1.5,"),
        (r#"topk(0, rate({a="b"}[1m]))"#, "invalid parameter (must be greater than 0) topk(0"),
        (r#"sum(2, rate({a="b"}[1m]))"#, "unsupported parameter for operation sum(2,"),
        (r#"quantile_over_time({a="b"} | unwrap x [1m])"#, "parameter required for operation quantile_over_time"),
        (r#"rate(2, {a="b"}[1m])"#, "parameter 2 not supported for operation rate"),
        (r#"sort(rate({a="b"}[1m])) by (a)"#, "sort and sort_desc doesn't allow grouping by "),
        (r#"1 and rate({a="b"}[1m])"#, "unexpected literal for left leg of logical/set binary operation (and): 1.000000"),
        (r#"{a="b"} + rate({a="b"}[1m])"#, "unexpected type for left leg of binary operation (+): *syntax.MatchersExpr"),
        (r#"rate({a="b"}[1m]) + {a="b"} | json"#, "*syntax.PipelineExpr"),
        (r#"{a="b"} | label_format __error__="x""#, "__error__ cannot be formatted"),
        (r#"{a="b"} | label_format x="1", x="2""#, "multiple label name 'x' not allowed"),
        (r#"{a="b"} | json x="a[""#, "cannot parse expression [a[]"),
        (r#"-count_over_time({a="b"}[1m])"#, "expecting NUMBER"),
        (r#"{a="b"} | drop"#, "expecting IDENTIFIER"),
        (r#"rate({a="b"}[1m]) + bool 1"#, "unexpected bool"),
    ] {
        assert!(error(query).contains(part), "{query}: {}", error(query));
    }
}

#[test]
fn words_are_functions_only_where_they_are_called() {
    assert_eq!(log(r#"{sum="a", rate="b", duration="c", ip="d"} | bytes > 5 | ip = ip("::1")"#).matchers.len(), 4);
    assert!(matches!(metric(r#"SUM BY (Rate) (COUNT_over_time({a="b"}[1m]))"#), MetricExpr::Vector(_)));
    assert_eq!(error(r#"{json="a"}"#), "parse error at line 1, col 2: syntax error: unexpected json, expecting IDENTIFIER or }");
}

#[test]
fn operators_bind_as_in_the_grammar() {
    for (query, value) in
        [("-2^2", 4.0), ("2^3^2", 512.0), ("1+2*3", 7.0), ("(1+2)*3", 9.0), ("1+1--1", 3.0), ("7%4-1", 2.0), ("1 < 2", 1.0)]
    {
        assert_eq!(metric(query), MetricExpr::Literal(value), "{query}");
    }
    let LabelFilter::Or(_, right) = (match &log(r#"{a="b"} | a="1" or b="2" and c="3""#).stages[0] {
        Stage::Label(f) => f.clone(),
        other => panic!("{other:?}"),
    }) else {
        panic!("`or` binds loosest")
    };
    assert!(matches!(*right, LabelFilter::And(_, _)));
}

#[test]
fn the_range_may_stand_in_several_places() {
    for query in [
        r#"count_over_time({a="b"} | json [5m] offset 1m)"#,
        r#"count_over_time({a="b"}[5m] offset 1m | json)"#,
        r#"count_over_time(({a="b"} | json) [5m] offset 1m)"#,
        r#"count_over_time(({a="b"} | json [5m] offset 1m))"#,
    ] {
        let MetricExpr::Range(range) = metric(query) else { panic!("{query}") };
        assert_eq!((range.op, range.range.range, range.range.offset), (RangeOp::Count, 300_000_000_000, 60_000_000_000), "{query}");
        assert_eq!(range.range.log.stages.len(), 1, "{query}");
    }
}

#[test]
fn selectors_alone() {
    assert_eq!(parse_selector("{}").unwrap().len(), 0);
    assert_eq!(parse_selector(r#"{a=~".*"}"#).unwrap().len(), 1);
    assert!(parse_selector(r#"{a="b"} |= "x""#).unwrap_err().to_string().contains("only label matchers are supported"));
}

#[test]
fn depth_and_length_are_bounded() {
    for query in [
        format!("{}1{}", "(".repeat(20_000), ")".repeat(20_000)),
        format!("{{a=\"b\"}} | {}x=\"1\"{}", "(".repeat(20_000), ")".repeat(20_000)),
        format!("count_over_time({}{{a=\"b\"}}[1m]{})", "(".repeat(20_000), ")".repeat(20_000)),
        format!("1{}", "^1".repeat(20_000)),
        format!("{}rate({{a=\"b\"}}[1m]){}", "sum(".repeat(10_000), ")".repeat(10_000)),
        vec!["vector(1)"; 13_000].join("+"),
    ] {
        assert!(error(&query).contains("nested too deeply"), "{}", error(&query));
    }
    assert_eq!(error(&vec!["vector(1)"; 200].join("+")), "no error");
    for query in [
        format!("{{a=\"b\"}}{}", r#" |~ "x.*y""#.repeat(10_000)),
        format!("{{a=\"b\"}}{}", "| decolorize".repeat(10_000)),
        format!("{{a=\"b\"{}}}", r#",c=~"x+""#.repeat(10_000)),
        format!("{{a=\"b\"}}{}", r#" |~ "\\pL{900}""#.repeat(20)),
        format!("sum(count_over_time({{a=\"b\"}}{} [1m]))", r#" | regexp "(?P<x>.{900})""#.repeat(3_000)),
    ] {
        assert!(error(&query).contains("too many or too large regular expressions"), "{}", error(&query));
    }
    assert_eq!(error(&format!("{{a=\"b\"}}{}", r#" |~ "x.*y""#.repeat(200))), "no error");
    assert!(error(&"x".repeat(131_072)).contains("input size too long (131072 > 131072)"));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(query in ".{0,48}") {
        let _ = parse(&query);
    }

    #[test]
    fn no_tokens_make_it_panic(query in r#"(\{|\}|a="b"|a=~"\("|\||\|=|\|~|!=|\[5m\]|\[|\(|\)|,|json|logfmt|unwrap|by|on|or|and|x|"s"|`t`|5m|1|2KB|rate|sum|topk|offset|line_format|label_format|drop|ip|pattern|regexp|"<a>"|--strict|=|>|-|\^|vector|label_replace| |é|#){0,24}"#) {
        let _ = parse(&query);
        let _ = parse_selector(&query);
    }
}
