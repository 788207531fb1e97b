use super::*;
use crate::logs::logql::ast::Expr;
use crate::logs::logql::parse::parse;
use crate::model::Labels;
use crate::query::Grouping;
use proptest::prelude::*;

/// Labels but the stream's own, and the line, after `stages`; `None` if the entry is dropped.
fn run_with(stages: &str, line: &str, grouping: Option<&Grouping>) -> Option<(String, String)> {
    let stream = Labels::from_pairs([("app", "a"), ("env", "prod")]);
    let Ok(Expr::Log(log)) = parse(&format!(r#"{{app="a"}} {stages}"#)) else { panic!("{stages}") };
    let pipeline = Pipeline::compile(&log.stages, None).unwrap().hinted(Hints::of(&log.stages, None, grouping));
    if !pipeline.admits(line) {
        return None;
    }
    let mut entry = pipeline.entry(line, (1, 2), LabelSet::of_stream(&stream, None));
    if !pipeline.process(&mut entry) {
        return None;
    }
    let mut labels: Vec<String> = entry
        .labels
        .output()
        .filter(|(n, v, c)| *c != Category::Stream && !(*n == ERROR_DETAILS && v.is_empty()))
        .map(|(n, v, _)| format!("{n}={v}"))
        .collect();
    labels.sort();
    Some((labels.join(" "), entry.line.into_owned()))
}

use super::labels::ERROR_DETAILS;

fn labels(stages: &str, line: &str) -> String {
    run_with(stages, line, None).map_or_else(|| "dropped".into(), |(labels, _)| labels)
}

const JSON_END: &str = "__error_details__=Value looks like object, but can't find closing '}' symbol";

#[test]
fn json() {
    assert_eq!(labels("| json", r#"{"a":1.0,"b":{"c d":"x","9":true},"e":[1],"n":null,"a":2}"#), "a=1.0 b_9=true b_c_d=x");
    assert_eq!(labels("| json", r#"{"1a":"x","app":"b"}"#), "_1a=x app_extracted=b");
    assert_eq!(labels("| json", "text"), format!("__error__=JSONParserErr {JSON_END}"));
    assert_eq!(labels("| json", ""), format!("__error__=JSONParserErr {JSON_END}"));
    assert_eq!(labels("| json", r#"{"a":"1","b":"#), "__error__=JSONParserErr __error_details__=Malformed JSON error a=1");
    assert_eq!(labels(r#"| json x="b.c[1]", y="b[\"c\"]", z, a"#, r#"{"b":{"c":[1,"two"]},"a":null}"#), r#"a= x=two y=[1,"two"] z="#);
    assert_eq!(labels(r#"| json x="a""#, ""), "x=");
    assert!(labels(r#"| json x="a""#, " {}").starts_with("__error__=JSONParserErr"));
}

#[test]
fn logfmt() {
    assert_eq!(labels("| logfmt", r#"a=1 b="x y" c= d a=2 x"y e.f=3"#), "a=1 b=x y e_f=3");
    assert_eq!(labels("| logfmt --keep-empty", "a=1 c= d"), "a=1 c= d=");
    assert!(
        labels("| logfmt --strict", r#"a=1 x"y b=2"#)
            .starts_with("__error__=LogfmtParserErr __error_details__=logfmt syntax error at pos 6")
    );
    assert_eq!(labels(r#"| logfmt x="b", nosuch"#, "a=1 b=2"), "nosuch= x=2");
}

#[test]
fn regexp_pattern_and_unpack() {
    assert_eq!(labels(r#"| regexp "(?P<m>[A-Z]+) (?P<p>\\S*)""#, "x GET /a"), "m=GET p=/a");
    assert_eq!(labels(r#"| regexp "(?P<m>[A-Z]+)""#, "lower"), "");
    assert_eq!(labels(r#"| pattern "<ip> - <_> <path>""#, "1.2.3.4 - - /a b"), "ip=1.2.3.4 path=/a b");
    assert_eq!(labels(r#"| pattern "[<x>] <y>""#, "none"), "");
    assert_eq!(labels(r#"| pattern "<x>, <y>""#, "only"), "x=only");
    assert_eq!(run_with("| unpack", r#"{"a":"1","b":2,"_entry":"the line"}"#, None).unwrap(), ("a=1".into(), "the line".into()));
    assert_eq!(labels("| unpack", r#"{"a":"1"}"#), "");
    assert!(labels("| unpack", "x").starts_with("__error__=JSONParserErr"));
}

#[test]
fn filters_of_labels() {
    let line = "took=1.5s size=20KB n=5 ip=10.0.0.7:80 bad=x";
    for (filter, kept) in [
        ("took > 1s", true),
        ("took > 1m", false),
        ("size >= 20.5KB", false),
        ("size < 21KB", true),
        ("n == 5", true),
        ("n != 5", false),
        ("nosuch != 5", false),
        (r#"nosuch="""#, true),
        (r#"nosuch!="""#, false),
        (r#"nosuch=~".*""#, true),
        (r#"ip = ip("10.0.0.0/8")"#, true),
        (r#"ip != ip("10.0.0.0/8")"#, false),
        (r#"n=~"5|6", took > 1s"#, true),
        (r#"n="6" or took > 1s and size > 1KB"#, true),
        (r#"(n="6" or took > 1s) and size < 1KB"#, false),
    ] {
        assert_eq!(run_with(&format!("| logfmt | {filter}"), line, None).is_some(), kept, "{filter}");
    }
    assert!(
        labels("| logfmt | bad > 5", line)
            .starts_with(r#"__error__=LabelFilterErr __error_details__=strconv.ParseFloat: parsing "x": invalid syntax"#)
    );
    assert!(!labels(r#"| logfmt | bad > 5 | __error__="""#, line).contains("LabelFilterErr"));
    assert_eq!(labels(r#"| logfmt | bad > 5s | __error__!="LabelFilterErr""#, line), "dropped");
}

#[test]
fn lines() {
    for (filter, line, kept) in [
        (r#"|= "a" |= "b""#, "ba", true),
        (r#"|= "a" or "b""#, "b", true),
        (r#"!= "a" or "b""#, "b", false),
        (r#"|= "" or "b""#, "a", false),
        (r#"!= """#, "a", false),
        (r#"|= """#, "a", true),
        (r#"|~ "^a.c$""#, "abc", true),
        (r#"!~ "b""#, "abc", false),
        (r#"|> "a<_>c""#, "abc", true),
        (r#"!> "a<_>c""#, "abc", false),
        (r#"|= ip("10.0.0.0/8")"#, "from 10.1.1.1", true),
        (r#"!= ip("10.0.0.0/8")"#, "no address", true),
        (r#"| line_format "x" |= "x""#, "a", true),
    ] {
        assert_eq!(run_with(filter, line, None).is_some(), kept, "{filter} {line}");
    }
}

#[test]
fn formats_drops_and_keeps() {
    let line = r#"{"a":"1","b":"2"}"#;
    assert_eq!(labels(r#"| json | label_format c=a, d="{{.a}}{{.b}}{{.c}}""#, line), "b=2 c=1 d=21");
    assert_eq!(labels(r#"| json | label_format d=nosuch"#, line), "a=1 b=2");
    assert_eq!(labels(r#"| json | drop a, b="x""#, line), "b=2");
    assert_eq!(labels(r#"| json | keep a, b="x""#, line), "a=1");
    assert_eq!(labels("| json | drop __error__, __error_details__", "text"), "");
    assert!(labels("| json | keep a", "text").contains("JSONParserErr"));
    assert_eq!(run_with(r#"| line_format """#, line, None).unwrap().1, "");
    assert!(labels(r#"| line_format "{{ div 1 0 }}""#, "x").starts_with("__error__=TemplateFormatErr"));
    assert_eq!(run_with("| decolorize", "\u{1b}[31mred\u{1b}[0m", None).unwrap().1, "red");
}

#[test]
fn parsers_stop_when_nobody_looks_further() {
    let by = |names: &[&str]| Grouping::by(names.iter().copied());
    let broken = r#"{"a":"1","b":"2","c""#;
    let run = |stages: &str, grouping: &Grouping| run_with(stages, broken, Some(grouping)).unwrap().0;
    assert_eq!(run("| json", &by(&[])), "");
    assert_eq!(run("| json", &by(&["a"])), "a=1");
    assert!(run("| json", &by(&["app"])).contains("JSONParserErr"));
    assert!(run("| json", &Grouping::without(["a"])).contains("JSONParserErr"));
    assert!(run(r#"| json | __error__!="x""#, &by(&["a"])).contains("JSONParserErr"));
    assert_eq!(run(r#"| json | b="2""#, &by(&["a"])), "a=1 b=2");
    assert_eq!(run(r#"| json | line_format "{{.b}}""#, &by(&[])), "b=2");
    assert!(run(r#"| json | line_format "{{.}}""#, &by(&[])).contains("JSONParserErr"));
}

proptest! {
    #[test]
    fn no_line_makes_it_panic(line in r#"([{}\[\]":,=\\ <>.é]|[a-c]|[0-9]|null|\\u00e9|10\.0\.0\.1){0,40}"#) {
        for stages in ["| json", r#"| json x="a[0].b""#, "| logfmt", "| logfmt --strict --keep-empty", "| unpack", r#"| pattern "<x>=<y> ""#,
            r#"|> "<_>a<_>""#, r#"|= ip("10.0.0.0/8")"#, "| decolorize", r#"| regexp "(?P<x>.*)=""#] {
            let _ = run_with(stages, &line, None);
        }
    }
}
