//! Whatever can be printed is read as the same again.

use super::*;
use crate::logs::logql::ast::{
    Binary, BinaryOp, Comparison, Conversion, FormatSource, LabelFilter, LabelReplace, LabelTest, LineFilter, LineOp, LineOperand,
    RangeAggregation, RangeOp, Stage, Unwrap, VectorAggregation, VectorOp,
};
use crate::logs::logql::pretty;
use crate::query::{Cardinality, Grouping, Matching};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn name() -> impl Strategy<Value = String> {
    "x_[a-z0-9_]{0,3}"
}

fn names() -> impl Strategy<Value = Vec<String>> {
    vec(name(), 0..3)
}

/// Anything a string may hold.
fn text() -> impl Strategy<Value = String> {
    "[ -~\\té\n]{1,6}"
}

fn pattern() -> impl Strategy<Value = String> {
    prop_oneof![Just("a.*b|c".to_owned()), Just(r"\d+\s".to_owned()), Just("(?i)x\"y`".to_owned()), Just("é+".to_owned())]
}

fn a_matcher() -> impl Strategy<Value = Matcher> {
    let equal = (name(), any::<bool>(), text())
        .prop_map(|(n, not, v)| Matcher::new(n, if not { MatchOp::NotEqual } else { MatchOp::Equal }, v).unwrap());
    let regex = (name(), any::<bool>(), pattern())
        .prop_map(|(n, not, v)| Matcher::new(n, if not { MatchOp::NotRegex } else { MatchOp::Regex }, v).unwrap());
    prop_oneof![equal, regex]
}

fn comparison() -> impl Strategy<Value = Comparison> {
    use Comparison::{Equal, Greater, GreaterEqual, Less, LessEqual, NotEqual};
    prop::sample::select(vec![Equal, NotEqual, Greater, GreaterEqual, Less, LessEqual])
}

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![(-1_000_000i64..1_000_000).prop_map(|n| n as f64 / 64.0), Just(0.0), Just(1e15), Just(-2.5)]
}

fn label_filter() -> impl Strategy<Value = LabelFilter> {
    let leaf = prop_oneof![
        a_matcher().prop_map(LabelFilter::Matcher),
        (name(), comparison(), number()).prop_map(|(name, op, value)| LabelFilter::Number { name, op, value }),
        (name(), comparison(), 1i64..1 << 50).prop_map(|(name, op, value)| LabelFilter::Duration { name, op, value }),
        (name(), comparison(), 0u64..1 << 40).prop_map(|(name, op, value)| LabelFilter::Bytes { name, op, value }),
        (name(), any::<bool>()).prop_map(|(name, negative)| LabelFilter::Ip { name, negative, pattern: "10.0.0.0/8".into() }),
    ];
    leaf.prop_recursive(3, 8, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| LabelFilter::And(Box::new(a), Box::new(b))),
            (inner.clone(), inner).prop_map(|(a, b)| LabelFilter::Or(Box::new(a), Box::new(b))),
        ]
    })
}

fn line_filter() -> impl Strategy<Value = LineFilter> {
    let texts = (any::<bool>(), vec(text(), 1..3)).prop_map(|(not, texts)| LineFilter {
        op: if not { LineOp::NotContains } else { LineOp::Contains },
        operands: texts.into_iter().map(LineOperand::Text).collect(),
    });
    let regex = (any::<bool>(), pattern()).prop_map(|(not, text)| LineFilter {
        op: if not { LineOp::NotRegex } else { LineOp::Regex },
        operands: vec![LineOperand::Text(text)],
    });
    let of_pattern = any::<bool>().prop_map(|not| LineFilter {
        op: if not { LineOp::NotPattern } else { LineOp::Pattern },
        operands: vec![LineOperand::Text("a <_> \"b\"".into())],
    });
    let ip = Just(LineFilter { op: LineOp::Contains, operands: vec![LineOperand::Ip("192.168.4.5-192.168.4.20".into())] });
    prop_oneof![4 => texts, 2 => regex, 1 => of_pattern, 1 => ip]
}

fn fields() -> impl Strategy<Value = Vec<(String, String)>> {
    vec((name(), prop_oneof![Just("a".to_owned()), Just(r#"a.b[0]["c d"]"#.to_owned())]), 0..3)
}

fn tests() -> impl Strategy<Value = Vec<LabelTest>> {
    vec(prop_oneof![name().prop_map(LabelTest::Name), a_matcher().prop_map(LabelTest::Matcher)], 1..3)
}

fn stage() -> impl Strategy<Value = Stage> {
    let template = prop_oneof![Just("{{.a}} \"{{ .b | ToUpper }}\"".to_owned()), Just("plain `text`\n".to_owned())];
    let source = prop_oneof![name().prop_map(FormatSource::Rename), template.clone().prop_map(FormatSource::Template)];
    let flags = (any::<bool>(), any::<bool>(), vec((name(), name()), 0..3));
    prop_oneof![
        4 => line_filter().prop_map(Stage::Line),
        4 => label_filter().prop_map(Stage::Label),
        1 => fields().prop_map(Stage::Json),
        1 => flags.prop_map(|(strict, keep_empty, fields)| Stage::Logfmt { strict, keep_empty, fields }),
        1 => Just(Stage::Regexp("(?P<a>.*) \"(?P<b>x)\"".into())),
        1 => Just(Stage::Pattern("<a> - \"<_>\" <b>".into())),
        1 => Just(Stage::Unpack),
        1 => Just(Stage::Decolorize),
        1 => template.prop_map(Stage::LineFormat),
        1 => (name(), source).prop_map(|format| Stage::LabelFormat(vec![format])),
        1 => tests().prop_map(Stage::Drop),
        1 => tests().prop_map(Stage::Keep),
    ]
}

fn log_expr() -> impl Strategy<Value = LogExpr> {
    let matchers = vec(a_matcher(), 0..3).prop_map(|mut matchers| {
        matchers.insert(0, Matcher::equal("x", "selective"));
        matchers
    });
    (matchers, vec(stage(), 0..5)).prop_map(|(matchers, mut stages)| {
        // `| drop a != "b"` drops by a matcher, so a name is never followed by such a line filter.
        let ends_with_name = |s: &Stage| matches!(s, Stage::Drop(t) | Stage::Keep(t) if matches!(t.last(), Some(LabelTest::Name(_))));
        let mut after_name = false;
        stages.retain(|stage| {
            let taken = !(after_name && matches!(stage, Stage::Line(f) if matches!(f.op, LineOp::NotContains | LineOp::NotRegex)));
            after_name = if taken { ends_with_name(stage) } else { after_name };
            taken
        });
        LogExpr { matchers, stages }
    })
}

fn grouping() -> impl Strategy<Value = Grouping> {
    (any::<bool>(), names()).prop_map(|(without, names)| Grouping { without, names })
}

fn range() -> impl Strategy<Value = MetricExpr> {
    let conversion = prop::sample::select(vec![Conversion::None, Conversion::Bytes, Conversion::Duration("duration_seconds")]);
    let unwrap =
        (name(), conversion, vec(label_filter(), 0..2)).prop_map(|(label, conversion, filters)| Unwrap { label, conversion, filters });
    let op = prop::sample::select(RangeOp::ALL.map(|(_, op)| op).to_vec());
    // Whole milliseconds: there is no shorter unit.
    let times = (1i64..1 << 40, prop_oneof![Just(0i64), -(1i64 << 35)..1 << 35]).prop_map(|(a, b)| (a * 1_000_000, b * 1_000_000));
    (op, number(), log_expr(), unwrap, times, option::of(grouping())).prop_map(|(op, q, log, unwrap, (range, offset), grouping)| {
        let unwrap = op.needs_unwrap().then_some(unwrap);
        let parameter = (op == RangeOp::Quantile).then_some(q.abs());
        let grouping = grouping.filter(|_| op.groups());
        MetricExpr::Range(RangeAggregation { op, parameter, range: LogRange { log, unwrap, range, offset }, grouping })
    })
}

fn binary(op: BinaryOp, flags: (bool, bool), lists: (Vec<String>, Vec<String>), left: MetricExpr, right: MetricExpr) -> MetricExpr {
    let (return_bool, on) = (flags.0 && matches!(op, BinaryOp::Compare(_)), flags.1);
    let names = lists.0;
    let grouped = !op.is_set() && (on || !names.is_empty()) && !lists.1.is_empty();
    let cardinality = match (op.is_set(), grouped) {
        (true, _) => Cardinality::ManyToMany,
        (_, true) => Cardinality::ManyToOne,
        _ => Cardinality::OneToOne,
    };
    let include = if grouped { lists.1 } else { Vec::new() };
    MetricExpr::Binary(Box::new(Binary { op, return_bool, matching: Matching { cardinality, on, names, include }, left, right }))
}

fn metric_expr() -> impl Strategy<Value = MetricExpr> {
    let constant = number().prop_map(|n| MetricExpr::Constant(n.abs()));
    prop_oneof![4 => range(), 1 => constant].prop_recursive(3, 8, 2, |inner| {
        let op = prop::sample::select(VectorOp::ALL.map(|(_, op)| op).to_vec());
        let aggregation = (op, 1usize..9, option::of(grouping()), inner.clone()).prop_map(|(op, k, grouping, inner)| {
            let k = if op.takes_parameter() { k } else { 0 };
            // These take no clause.
            let plain = matches!(op, VectorOp::Sort | VectorOp::SortDesc | VectorOp::ApproxTopK);
            MetricExpr::Vector(VectorAggregation { op, k, grouping: grouping.filter(|_| !plain), inner: Box::new(inner) })
        });
        let replace = (inner.clone(), text(), text(), text(), pattern()).prop_map(|(inner, destination, replacement, source, regex)| {
            MetricExpr::LabelReplace(Box::new(LabelReplace { inner, destination, replacement, source, regex }))
        });
        let compare = comparison().prop_map(BinaryOp::Compare);
        let others = prop::sample::select(vec![
            BinaryOp::Or,
            BinaryOp::And,
            BinaryOp::Unless,
            BinaryOp::Add,
            BinaryOp::Sub,
            BinaryOp::Mul,
            BinaryOp::Div,
            BinaryOp::Mod,
            BinaryOp::Pow,
        ]);
        let op = prop_oneof![compare, others];
        let pair = (op, any::<(bool, bool)>(), (names(), names()), inner.clone(), inner)
            .prop_map(|(op, flags, lists, left, right)| binary(op, flags, lists, left, right));
        prop_oneof![aggregation, replace, pair]
    })
}

proptest! {
    #[test]
    fn a_log_query_is_read_as_it_was_printed(log in log_expr()) {
        let expr = Expr::Log(log);
        let text = pretty(&expr);
        let read = parse(&text);
        prop_assert_eq!(read.as_ref(), Ok(&expr), "{}", text);
    }

    #[test]
    fn a_metric_query_is_read_as_it_was_printed(metric in metric_expr()) {
        let expr = Expr::Metric(metric);
        let text = pretty(&expr);
        let read = parse(&text);
        prop_assert_eq!(read.as_ref(), Ok(&expr), "{}", text);
    }
}
