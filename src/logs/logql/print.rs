//! A query as text again: for error messages, and formatted for people (contracts/loki.md 1.13).

use super::ast::{
    Binary, Conversion, Expr, FormatSource, LabelFilter, LabelTest, LineFilter, LineOperand, LogExpr, LogRange, MetricExpr,
    RangeAggregation, Stage, VectorAggregation,
};
use crate::model::quote::quote;
use crate::model::{number, time};
use crate::query::{Cardinality, Grouping};

/// Longer ones are broken into several lines.
const LINE_MAX: usize = 100;

/// Go's `%f`.
pub fn six_decimals(value: f64) -> String {
    if value.is_finite() { format!("{value:.6}") } else { number::plain_float(value) }
}

/// On one line if it fits, else a line for each stage, and aggregations opened.
pub fn pretty(expr: &Expr) -> String {
    match expr {
        Expr::Log(log) => pretty_log(log, 0),
        Expr::Metric(metric) => pretty_metric(metric, 0),
    }
}

fn fits(text: &str, level: usize) -> Option<String> {
    (text.len() <= LINE_MAX).then(|| format!("{}{text}", indent(level)))
}

fn indent(level: usize) -> String {
    "  ".repeat(level)
}

fn pretty_log(expr: &LogExpr, level: usize) -> String {
    fits(&log(expr), level).unwrap_or_else(|| {
        let mut out = format!("{}{}", indent(level), selector(expr));
        for one in &expr.stages {
            out.push_str(&format!("\n{}{}", indent(level + 1), stage(one)));
        }
        out
    })
}

fn pretty_metric(expr: &MetricExpr, level: usize) -> String {
    let pad = indent(level);
    fits(&metric(expr), level).unwrap_or_else(|| match expr {
        MetricExpr::Literal(_) | MetricExpr::Constant(_) => format!("{pad}{}", metric(expr)),
        MetricExpr::Range(r) => {
            let parameter = r.parameter.map_or_else(String::new, |p| format!("{}{},\n", indent(level + 1), number::plain_float(p)));
            let unwrap = if r.range.unwrap.is_some() {
                format!("\n{}{}", indent(level + 2), unwrapped(&r.range).trim_start())
            } else {
                String::new()
            };
            let inner = format!("{}{unwrap} {}", pretty_log(&r.range.log, level + 1), range(&r.range));
            format!("{pad}{}(\n{parameter}{inner}\n{pad}){}", r.op.as_str(), trailing(r.grouping.as_ref()))
        }
        MetricExpr::Vector(v) => {
            let parameter = if v.op.takes_parameter() { format!("{}{},\n", indent(level + 1), v.k) } else { String::new() };
            format!("{pad}{}(\n{parameter}{}\n{pad})", opening(v), pretty_metric(&v.inner, level + 1))
        }
        MetricExpr::Binary(b) => {
            // An operand that is an operation again keeps its parentheses when it is broken up.
            let operand = |side: &MetricExpr| match side {
                MetricExpr::Binary(_) if fits(&metric(side), level).is_none() => {
                    format!("{}(\n{}\n{})", indent(level + 1), pretty_metric(side, level + 2), indent(level + 1))
                }
                side => pretty_metric(side, level + 1),
            };
            format!("{}\n{pad}{}\n{}", operand(&b.left), operator(b), operand(&b.right))
        }
        MetricExpr::LabelReplace(l) => {
            let texts = [&l.destination, &l.replacement, &l.source, &l.regex].map(|t| format!("{}{}", indent(level + 1), quote(t)));
            format!("{pad}label_replace(\n{},\n{}\n{pad})", pretty_metric(&l.inner, level + 1), texts.join(",\n"))
        }
    })
}

fn selector(expr: &LogExpr) -> String {
    let matchers: Vec<String> = expr.matchers.iter().map(ToString::to_string).collect();
    format!("{{{}}}", matchers.join(", "))
}

fn log(expr: &LogExpr) -> String {
    let stages: String = expr.stages.iter().map(|s| format!(" {}", stage(s))).collect();
    format!("{}{stages}", selector(expr))
}

fn metric(expr: &MetricExpr) -> String {
    match expr {
        MetricExpr::Literal(value) => number::plain_float(*value),
        MetricExpr::Constant(value) => format!("vector({})", number::plain_float(*value)),
        MetricExpr::Range(r) => range_aggregation(r),
        MetricExpr::Vector(v) => {
            let parameter = if v.op.takes_parameter() { format!("{},", v.k) } else { String::new() };
            format!("{}({parameter}{})", opening(v), metric(&v.inner))
        }
        MetricExpr::Binary(b) => format!("({} {} {})", metric(&b.left), operator(b), metric(&b.right)),
        MetricExpr::LabelReplace(l) => {
            let texts = [&l.destination, &l.replacement, &l.source, &l.regex].map(|t| quote(t));
            format!("label_replace({},{})", metric(&l.inner), texts.join(","))
        }
    }
}

fn range_aggregation(r: &RangeAggregation) -> String {
    let parameter = r.parameter.map_or_else(String::new, |p| format!("{},", number::plain_float(p)));
    let inner = format!("{}{}{}", log(&r.range.log), unwrapped(&r.range), range(&r.range));
    format!("{}({parameter}{inner}){}", r.op.as_str(), trailing(r.grouping.as_ref()))
}

/// `sum by (a)`
fn opening(v: &VectorAggregation) -> String {
    format!("{}{}", v.op.as_str(), trailing(v.grouping.as_ref()))
}

fn trailing(grouping: Option<&Grouping>) -> String {
    grouping.map_or_else(String::new, |g| format!(" {} ({})", if g.without { "without" } else { "by" }, g.names.join(", ")))
}

fn operator(b: &Binary) -> String {
    let mut out = b.op.as_str().to_owned();
    if b.return_bool {
        out.push_str(" bool");
    }
    let m = &b.matching;
    if m.on || !m.names.is_empty() {
        out.push_str(&format!(" {} ({})", if m.on { "on" } else { "ignoring" }, m.names.join(", ")));
        let group = match m.cardinality {
            Cardinality::ManyToOne => "group_left",
            Cardinality::OneToMany => "group_right",
            Cardinality::OneToOne | Cardinality::ManyToMany => return out,
        };
        out.push_str(&format!(" {group} ({})", m.include.join(", ")));
    }
    out
}

fn range(r: &LogRange) -> String {
    let offset = if r.offset == 0 { String::new() } else { format!(" offset {}", duration(r.offset)) };
    format!("[{}]{offset}", duration(r.range))
}

fn duration(nanos: i64) -> String {
    if nanos % time::MILLI == 0 && nanos > 0 { time::format_prometheus_duration(nanos) } else { time::format_go_duration(nanos) }
}

fn unwrapped(r: &LogRange) -> String {
    let Some(unwrap) = &r.unwrap else { return String::new() };
    let label = match unwrap.conversion {
        Conversion::None => unwrap.label.clone(),
        Conversion::Bytes => format!("bytes({})", unwrap.label),
        Conversion::Duration(name) => format!("{name}({})", unwrap.label),
    };
    let filters: String = unwrap.filters.iter().map(|f| format!(" | {}", label_filter(f))).collect();
    format!(" | unwrap {label}{filters}")
}

/// `|= "a" or ip("b")`
pub fn line_filter(filter: &LineFilter) -> String {
    let operand = |o: &LineOperand| match o {
        LineOperand::Text(text) => quote(text),
        LineOperand::Ip(pattern) => format!("ip({})", quote(pattern)),
    };
    let operands: Vec<String> = filter.operands.iter().map(operand).collect();
    format!("{} {}", filter.op.as_str(), operands.join(" or "))
}

fn stage(stage: &Stage) -> String {
    let fields = |fields: &[(String, String)]| {
        let texts: Vec<String> = fields.iter().map(|(name, path)| format!("{name}={}", quote(path))).collect();
        if texts.is_empty() { String::new() } else { format!(" {}", texts.join(", ")) }
    };
    let tests = |tests: &[LabelTest]| {
        let test = |t: &LabelTest| match t {
            LabelTest::Name(name) => name.clone(),
            LabelTest::Matcher(m) => m.to_string(),
        };
        tests.iter().map(test).collect::<Vec<_>>().join(", ")
    };
    match stage {
        Stage::Line(filter) => line_filter(filter),
        Stage::Json(f) => format!("| json{}", fields(f)),
        Stage::Logfmt { strict, keep_empty, fields: f } => {
            let (strict, keep) = (if *strict { " --strict" } else { "" }, if *keep_empty { " --keep-empty" } else { "" });
            format!("| logfmt{strict}{keep}{}", fields(f))
        }
        Stage::Regexp(text) => format!("| regexp {}", quote(text)),
        Stage::Pattern(text) => format!("| pattern {}", quote(text)),
        Stage::Unpack => "| unpack".into(),
        Stage::Label(filter) => format!("| {}", label_filter(filter)),
        Stage::LineFormat(text) => format!("| line_format {}", quote(text)),
        Stage::LabelFormat(formats) => {
            let format = |(name, source): &(String, FormatSource)| match source {
                FormatSource::Rename(from) => format!("{name}={from}"),
                FormatSource::Template(text) => format!("{name}={}", quote(text)),
            };
            format!("| label_format {}", formats.iter().map(format).collect::<Vec<_>>().join(", "))
        }
        Stage::Decolorize => "| decolorize".into(),
        Stage::Drop(t) => format!("| drop {}", tests(t)),
        Stage::Keep(t) => format!("| keep {}", tests(t)),
    }
}

fn label_filter(filter: &LabelFilter) -> String {
    match filter {
        LabelFilter::Matcher(m) => m.to_string(),
        LabelFilter::Ip { name, negative, pattern } => format!("{name}{}ip({})", if *negative { "!=" } else { "=" }, quote(pattern)),
        LabelFilter::Number { name, op, value } => format!("{name}{}{}", op.as_str(), number::plain_float(*value)),
        LabelFilter::Duration { name, op, value } => format!("{name}{}{}", op.as_str(), duration(*value)),
        LabelFilter::Bytes { name, op, value } => format!("{name}{}{value}B", op.as_str()),
        LabelFilter::And(a, b) => format!("({} and {})", label_filter(a), label_filter(b)),
        LabelFilter::Or(a, b) => format!("({} or {})", label_filter(a), label_filter(b)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::logql::parse;

    fn formatted(query: &str) -> String {
        let expr = parse(query).unwrap();
        let text = pretty(&expr);
        assert_eq!(parse(&text).as_ref(), Ok(&expr), "{text}");
        text
    }

    #[test]
    fn short_queries_stay_on_one_line() {
        for (query, want) in [
            (r#"{ b = "x",a=~"y" }|="z"  | json|level="error""#, r#"{b="x", a=~"y"} |= "z" | json | level="error""#),
            (r#"sum(rate({a="b"}[60s] offset 90s)) by (c,d)"#, r#"sum by (c, d)(rate({a="b"}[1m] offset 1m30s))"#),
            (
                r#"{a="b"}| logfmt --strict x, y="z" | x > 5KB or x < 1m , y != 2 | label_format a=b, c="{{.x}}" | drop a, b="c""#,
                "{a=\"b\"}\n  | logfmt --strict x=\"x\", y=\"z\"\n  | (x>5000B or (x<1m and y!=2))\n  | label_format a=b, c=\"{{.x}}\"\n  | drop a, b=\"c\"",
            ),
            (
                r#"topk(2, quantile_over_time(0.5, {a="b"} | unwrap duration(x) | __error__="" [5m]) by (c))"#,
                r#"topk(2,quantile_over_time(0.5,{a="b"} | unwrap duration(x) | __error__=""[5m]) by (c))"#,
            ),
            (
                r#"vector(1) / on(a) group_left(b) rate({a="b"}[1m]) > bool 0"#,
                r#"((vector(1) / on (a) group_left (b) rate({a="b"}[1m])) > bool 0)"#,
            ),
            (r#"label_replace(vector(1),"a","$1","b","(.*)")"#, r#"label_replace(vector(1),"a","$1","b","(.*)")"#),
        ] {
            assert_eq!(formatted(query), want, "{query}");
        }
    }

    #[test]
    fn long_queries_are_opened() {
        let query = r#"sum by (namespace) (count_over_time({cluster="a-long-name-of-a-cluster", namespace=~".+"} |= "an error" | json | level="error" [5m]))"#;
        let want = r#"sum by (namespace)(
  count_over_time(
    {cluster="a-long-name-of-a-cluster", namespace=~".+"} |= "an error" | json | level="error" [5m]
  )
)"#;
        assert_eq!(formatted(query), want);
        let both = format!("{query} / {query}");
        assert_eq!(formatted(&both).lines().count(), 11);
        let nested = format!("({both} - {query}) * ({both})");
        assert!(formatted(&nested).lines().count() > 22);
    }
}
