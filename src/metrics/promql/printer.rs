//! The canonical text of a query (contracts/prometheus.md 4.7).

use super::ast::{Aggregation, At, Binary, Duration, DurationExpr, DurationKind, Expr, Kind, Selector};
use crate::metrics::METRIC_NAME;
use crate::model::number::plain_float;
use crate::model::quote::quote;
use crate::model::time::{MILLI, format_prometheus_duration};
use crate::model::{MatchOp, Matcher};
use crate::query::Cardinality;
use std::fmt;

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Number { value, duration } => f.write_str(&number(*value, *duration)),
            Kind::Text(text) => f.write_str(&quote(text)),
            Kind::Selector(selector) => f.write_str(&selector_text(selector)),
            Kind::Range { selector, range } => write!(
                f,
                "{}[{}]{}{}{}",
                matchers_text(selector),
                duration_text(range),
                extension(selector),
                at_text(selector.at),
                offset_text(selector.offset.as_ref())
            ),
            Kind::Subquery(s) => {
                let step = s.step.as_ref().map_or(String::new(), duration_text);
                write!(f, "{}[{}:{step}]{}{}", s.expr, duration_text(&s.range), at_text(s.at), offset_text(s.offset.as_ref()))
            }
            Kind::Call { function, args } => {
                let args: Vec<String> = args.iter().map(ToString::to_string).collect();
                write!(f, "{}({})", function.name, args.join(", "))
            }
            Kind::Aggregation(a) => {
                let param = a.param.as_ref().map_or(String::new(), |p| format!("{p}, "));
                write!(f, "{}({param}{})", aggregation_head(a), a.expr)
            }
            Kind::Binary(b) => write!(f, "{} {} {}", b.left, operator_text(b), b.right),
            Kind::Unary { negative, expr } => write!(f, "{}{expr}", if *negative { "-" } else { "+" }),
            Kind::Paren(inner) => write!(f, "({inner})"),
        }
    }
}

fn number(value: f64, duration: bool) -> String {
    if !duration {
        return plain_float(value);
    }
    let sign = if value < 0.0 { "-" } else { "" };
    format!("{sign}{}", format_prometheus_duration((value.abs() * 1e9).round() as i64))
}

fn is_plain_label(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_') && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn is_plain_metric(name: &str) -> bool {
    let mut bytes = name.bytes();
    let belongs = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b':';
    bytes.next().is_some_and(|b| belongs(b) && !b.is_ascii_digit()) && bytes.all(belongs)
}

fn label_text(name: &str) -> String {
    if is_plain_label(name) { name.to_owned() } else { quote(name) }
}

fn labels_text(names: &[String]) -> String {
    names.iter().map(|n| label_text(n)).collect::<Vec<_>>().join(", ")
}

/// Matchers as text, sorted, without the one that the name stands for.
fn matchers_text(selector: &Selector) -> String {
    let stands_for_name =
        |m: &Matcher| selector.name.as_ref().is_some_and(|n| m.name == METRIC_NAME && m.op == MatchOp::Equal && m.value == *n);
    let text = |m: &Matcher| format!("{}{}{}", label_text(&m.name), m.op.as_str(), quote(&m.value));
    let mut texts: Vec<String> = selector.matchers.iter().filter(|m| !stands_for_name(m)).map(text).collect();
    texts.sort();
    let name = match &selector.name {
        Some(name) if is_plain_metric(name) => name.as_str(),
        Some(name) => {
            texts.insert(0, quote(name));
            ""
        }
        None => "",
    };
    match texts.is_empty() {
        true if !name.is_empty() => name.to_owned(),
        _ => format!("{name}{{{}}}", texts.join(",")),
    }
}

pub(super) fn selector_text(selector: &Selector) -> String {
    let (at, offset) = (at_text(selector.at), offset_text(selector.offset.as_ref()));
    format!("{}{at}{}{offset}", matchers_text(selector), extension(selector))
}

fn extension(selector: &Selector) -> &'static str {
    match (selector.anchored, selector.smoothed) {
        (true, _) => " anchored",
        (_, true) => " smoothed",
        _ => "",
    }
}

fn at_text(at: Option<At>) -> String {
    match at {
        None => String::new(),
        Some(At::Start) => " @ start()".to_owned(),
        Some(At::End) => " @ end()".to_owned(),
        Some(At::Time(ms)) => {
            let (sign, ms) = (if ms < 0 { "-" } else { "" }, ms.unsigned_abs());
            format!(" @ {sign}{}.{:03}", ms / 1000, ms % 1000)
        }
    }
}

fn offset_text(offset: Option<&Duration>) -> String {
    match offset {
        None | Some(Duration::Fixed(0)) => String::new(),
        Some(offset) => format!(" offset {}", duration_text(offset)),
    }
}

pub(super) fn duration_text(duration: &Duration) -> String {
    match duration {
        Duration::Fixed(ms) => format_prometheus_duration(ms.saturating_mul(MILLI)),
        Duration::Expr(expr) => duration_expr_text(expr),
    }
}

pub(super) fn duration_expr_text(expr: &DurationExpr) -> String {
    match &expr.kind {
        DurationKind::Number { value, written } => number(*value, *written),
        DurationKind::Step => "step()".to_owned(),
        DurationKind::Range => "range()".to_owned(),
        DurationKind::Negative(inner) => format!("-{}", duration_expr_text(inner)),
        DurationKind::Positive(inner) => format!("+{}", duration_expr_text(inner)),
        DurationKind::Paren(inner) => format!("({})", duration_expr_text(inner)),
        DurationKind::Binary { op, left, right } => format!("{} {} {}", duration_expr_text(left), op.as_str(), duration_expr_text(right)),
        DurationKind::Min(a, b) => format!("min_of({}, {})", duration_expr_text(a), duration_expr_text(b)),
        DurationKind::Max(a, b) => format!("max_of({}, {})", duration_expr_text(a), duration_expr_text(b)),
    }
}

/// `sum`, or `sum by (a, b) `.
pub(super) fn aggregation_head(a: &Aggregation) -> String {
    match (a.grouping.without, a.grouping.names.is_empty()) {
        (true, _) => format!("{} without ({}) ", a.op.as_str(), labels_text(&a.grouping.names)),
        (false, false) => format!("{} by ({}) ", a.op.as_str(), labels_text(&a.grouping.names)),
        (false, true) => a.op.as_str().to_owned(),
    }
}

/// The operator with its modifiers.
pub(super) fn operator_text(b: &Binary) -> String {
    let mut out = b.op.as_str().to_owned();
    if b.returns_bool {
        out.push_str(" bool");
    }
    let group = match b.matching.cardinality {
        Cardinality::ManyToOne => Some("group_left"),
        Cardinality::OneToMany => Some("group_right"),
        Cardinality::OneToOne | Cardinality::ManyToMany => None,
    };
    if b.matching.on || !b.matching.names.is_empty() || (b.matched && group.is_some()) {
        let word = if b.matching.on { "on" } else { "ignoring" };
        out.push_str(&format!(" {word} ({})", labels_text(&b.matching.names)));
    }
    if let Some(word) = group {
        out.push_str(&format!(" {word} ({})", labels_text(&b.matching.include)));
    }
    match (b.fill_left, b.fill_right) {
        (Some(left), Some(right)) if left == right => out.push_str(&format!(" fill ({})", plain_float(left))),
        (left, right) => {
            for (word, value) in [("fill_left", left), ("fill_right", right)] {
                if let Some(value) = value {
                    out.push_str(&format!(" {word} ({})", plain_float(value)));
                }
            }
        }
    }
    out
}
