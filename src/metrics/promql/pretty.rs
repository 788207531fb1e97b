//! The canonical text over several lines (contracts/prometheus.md 4.7): what does not fit on one is split at its
//! arguments or its operator.

use super::ast::{Expr, Kind};
use super::printer::{aggregation_head, operator_text};

/// Longest text of a node that stays on one line, bytes.
const LINE_MAX: usize = 100;

/// Formats a query as `format_query` does.
pub fn pretty(expr: &Expr) -> String {
    node(expr, 0)
}

fn indent(level: usize) -> String {
    "  ".repeat(level)
}

fn node(expr: &Expr, level: usize) -> String {
    let line = expr.to_string();
    if line.len() <= LINE_MAX {
        return format!("{}{line}", indent(level));
    }
    let start = indent(level);
    match &expr.kind {
        Kind::Call { function, args } => list(&start, function.name, args.iter(), level),
        Kind::Aggregation(a) => list(&start, &aggregation_head(a), a.param.iter().chain([&a.expr]), level),
        Kind::Paren(inner) => format!("{start}(\n{}\n{start})", node(inner, level + 1)),
        Kind::Binary(b) => format!("{}\n{start}{}\n{}", node(&b.left, level + 1), operator_text(b), node(&b.right, level + 1)),
        Kind::Unary { negative, expr } => {
            let sign = if *negative { "-" } else { "+" };
            format!("{start}{sign}{}", node(expr, level).trim_start())
        }
        Kind::Subquery(s) => {
            let suffix = line[s.expr.to_string().len()..].to_owned();
            format!("{}{suffix}", node(&s.expr, level))
        }
        Kind::Number { .. } | Kind::Text(_) | Kind::Selector(_) | Kind::Range { .. } => format!("{start}{line}"),
    }
}

fn list<'a>(start: &str, head: &str, args: impl Iterator<Item = &'a Expr>, level: usize) -> String {
    let args: Vec<String> = args.map(|a| node(a, level + 1)).collect();
    format!("{start}{head}(\n{}\n{start})", args.join(",\n"))
}
