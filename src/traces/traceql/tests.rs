use super::ast::{Body, Expr, Op, Query, Spanset, Stage};
use super::{CheckError, check, parse};
use proptest::prelude::*;

fn parsed(text: &str) -> Query {
    let query = parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
    let printed = query.to_string();
    let again = parse(&printed).unwrap_or_else(|e| panic!("{text} printed as {printed}: {e}"));
    assert_eq!(again, query, "{text} printed as {printed}");
    query
}

fn filter(text: &str) -> Expr {
    match parsed(text).body {
        Body::Spansets(mut pipeline) => match pipeline.stages.remove(0) {
            Stage::Spanset(Spanset::Filter(expr)) => expr,
            other => panic!("{text}: {other:?}"),
        },
        other => panic!("{text}: {other:?}"),
    }
}

const VALID: &[&str] = &[
    "{}",
    "{ !span.cached }",
    "{ -span.delta < 3 }",
    "{ 5 <= 2m }",
    r#"{ span."odd name" = "x" }"#,
    r#"{ resource."a\"b" != "x" }"#,
    r#"{ trace:id = "4bf9" }"#,
    r#"{ kind != server && statusMessage =~ "time.*" }"#,
    r#"({ kind = client } | count() > 2 | { duration > 1s }) >> ({ name = "db" } | max(duration) > 1s)"#,
    "avg(span.size) > 7 | { status = ok }",
    "{ status = error } | by(span.size * 2 + 1) | min(duration) < 5ms",
    "select(span.user, name)",
    "{ } | by(name) | coalesce() | count() >= 2",
    "{ kind = server } | count_over_time() by (name) >= 3 with(exemplars=false)",
    "{} | rate() | bottomk(2) > 1 | topk(1) <= 9",
    "({} | rate()) - 4 * 5",
    "7 - 10 / ({} | count_over_time())",
    "({ status = error } | rate()) / ({} | rate()) > 0.1",
    "{ span.x = nil || nil != span.y }",
    "{ kind != nil }",
    "{ nil != nil }",
    "{ (-1) * .a = -(2 * .b) }",
    "{ .a ^ .b ^ 2 = 1.0 && .c = 1e21 && .d != minInt }",
    "{} | quantile_over_time(duration, 0, .5, 1) by (span.a, name)",
    "{} | compare({ status = error }, 5, 1, 2)",
    "(({} | rate()) * 100) + ({} | count_over_time()) | topk(5) > 10",
    "-1.5 / ({} | rate())",
    "max(duration) > -1 * 2s",
    "{ `back\\tick` = \"a`b\" }",
];

const PARSE_FAILS: &[&str] = &[
    "",
    "false",
    "{ span. }",
    "{ resource }",
    "{ .k == 1 }",
    "{ bare = 1 }",
    "{ .k < }",
    "{ .k = 1",
    "{} * {}",
    "{} <= {}",
    "coalesce()",
    "count() > 1 || {}",
    "{} | max(duration)",
    "{} | by()",
    "select()",
    "select(.a + 1)",
    "{} | rate() * 2",
    "({} | rate()) ^ 2",
    "{} | bottomk(3)",
    "{} | rate() | topk(-2)",
    "4 + 4",
    "1 = 1",
    "({} | rate()) / 5s",
    "({} | rate()) < (1m + 1m)",
    "({} | rate()) + 1 2",
    "{ trace:status = ok }",
    r#"{ span:rootName = "x" }"#,
    r#"min(name) = "x""#,
    "{} | 1 < 2",
    "5 < ({} | count())",
    "{ .a > nil }",
    "{ nil }",
    "{ -nil = .a }",
    "{} && ({} | count() > 1)",
    "({} | count() > 1) | {}",
];

const CHECK_FAILS: &[&str] = &[
    "{ name }",
    "{ 2 * 3 }",
    "{ 2m }",
    r#"{ "x" = 4 }"#,
    "{ kind > server }",
    "{ true < false }",
    "{ rootName = 7 }",
    r#"{ duration = "x" }"#,
    "{ name = nil }",
    "{ nil = kind }",
    "{ resource.service.name = nil }",
    r#"{ span.k =~ "(" }"#,
    "{ name !~ 3 }",
    "{ !duration = 1 }",
    r#"{ -"x" = "y" }"#,
    "max(4) = 4",
    "sum(2 > 1) = 1",
    r#"{} | by("x")"#,
    "{ nestedSetParent = true }",
    "{} | rate() | bottomk(0)",
    "{} | compare({ kind = server }) | topk(3)",
    "{} | quantile_over_time(duration, 1.5)",
    "{} | compare({ true }, 0)",
];

const UNSUPPORTED: &[&str] = &[
    "{ parent.k = 1 }",
    "{ parent.span.k < 2 }",
    "{ 3 > parent }",
    "max(.k) < min(duration)",
    "sum(.k) - avg(.k) > 0",
    "({} | count()) * ({ .k = 1 } | count()) >= 4",
    "({ .k } | count()) < ({ .j } | count())",
    "{} | rate() by (.a, .b, .c, .d, .e, .f)",
];

#[test]
fn valid_queries_parse_check_and_print_as_themselves() {
    for text in VALID {
        let query = parsed(text);
        assert_eq!(check(&query), Ok(()), "{text}");
    }
}

#[test]
fn what_is_not_traceql_is_refused() {
    for text in PARSE_FAILS {
        assert!(parse(text).is_err(), "{text} parsed as {:?}", parse(text));
    }
}

#[test]
fn what_has_no_meaning_is_refused_after_parsing() {
    for text in CHECK_FAILS {
        assert!(matches!(check(&parsed(text)), Err(CheckError::Invalid(_))), "{text}: {:?}", check(&parsed(text)));
    }
    for text in UNSUPPORTED {
        let error = check(&parsed(text)).unwrap_err();
        assert!(matches!(error, CheckError::Unsupported(_)), "{text}: {error:?}");
        assert!(error.to_string().ends_with("not yet supported"), "{error}");
    }
}

#[test]
fn errors_say_where() {
    for (text, message) in [
        ("{ span.http.url =", "parse error at line 1, col 18: syntax error: unexpected $end"),
        ("{ resource.service.name = payment }", "parse error at line 1, col 27: unknown identifier: payment"),
        ("name = \"x\"", "parse error at line 1, col 1: syntax error: unexpected name"),
        ("({ .x } | { .y }", "parse error at line 1, col 17: syntax error: unexpected $end, expecting )"),
        ("{ } | rate(", "parse error at line 1, col 12: syntax error: unexpected $end, expecting )"),
        ("{\n .a = }", "parse error at line 2, col 7: syntax error: unexpected }"),
    ] {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.starts_with(message), "{text}: {error}");
    }
    for (text, message) in [
        ("{ status = \"error\" }", "binary operations must operate on the same type: status = `error`"),
        ("{ status > ok }", "illegal operation for the given types: status > ok"),
        ("{ name =~ \"(\" }", "invalid regex: `(`"),
        ("{ name = nil }", "name=nil is not valid because intrinsics cannot be nil"),
        ("{ parent.name = \"x\" }", "parent not yet supported"),
    ] {
        assert_eq!(check(&parse(text).unwrap()).unwrap_err().to_string(), message);
    }
}

#[test]
fn logical_operators_have_one_precedence_and_powers_bind_to_the_right() {
    let Expr::Binary { op, left, .. } = filter("{ .a || .b && .c }") else { panic!() };
    assert_eq!((op, left.to_string()), (Op::And, ".a || .b".to_owned()));
    for (text, printed) in [
        ("{ -2 * .a = 1 }", "(-(2 * .a)) = 1"),
        ("{ !.a = 1 }", "(!.a) = 1"),
        ("{ .a ^ .b ^ .c = 1 }", "(.a ^ (.b ^ .c)) = 1"),
        ("{ .a + 1 * 2 > 3 }", "(.a + (1 * 2)) > 3"),
    ] {
        assert_eq!(filter(text).to_string(), printed);
    }
    let query = parsed("{ .a } && { .b } > { .c }");
    assert_eq!(query.to_string(), "({ .a }) && (({ .b }) > ({ .c }))");
}

#[test]
fn depth_and_size_are_bounded() {
    let deep = format!("{{ {}true{} }}", "(".repeat(5000), ")".repeat(5000));
    assert!(parse(&deep).unwrap_err().to_string().contains("nested deeper"));
    assert!(parse(&"(".repeat(100_000)).is_err());
    let wide = format!("{{ {} }}", vec![".a = 1"; 5000].join(" || "));
    assert!(parse(&wide).unwrap_err().to_string().contains("operators"));
    assert!(parse(&format!("{{ {} }}", vec![".a = 1"; 400].join(" || "))).is_ok());
    assert!(parse(&format!("{{ {}1 }}", "-".repeat(100_000))).is_err());
    assert!(parse(&"-".repeat(100_000)).is_err());
}

proptest! {
    #[test]
    fn no_text_panics(text in ".{0,60}") {
        let _ = parse(&text);
    }

    #[test]
    fn no_sequence_of_words_panics_and_what_parses_is_printed_as_itself(
        words in proptest::collection::vec(proptest::sample::select(vec![
            "{", "}", "(", ")", "|", "&&", "||", "=", "!=", ">", ">>", "!>", "&~", "<", "~", "=~", "+", "-", "*", "^", "!", ".a", "span.b", "name",
            "nil", "1", "2.5", "3s", "\"x\"", "error", "server", "count()", "max(duration)", "by(.a)", "select(name)", "coalesce()", "rate()", "by (.a)",
            "topk(2)", "{ .a }", "({} | rate())", "quantile_over_time(duration, .5)", "with(a=1)", "true", "minInt",
        ]), 0..14)
    ) {
        let text = words.join(" ");
        if let Ok(query) = parse(&text) {
            let printed = query.to_string();
            prop_assert_eq!(parse(&printed).map_err(|e| format!("{text} as {printed}: {e}")), Ok(query.clone()));
            let _ = check(&query);
        }
    }
}
