//! label_replace, label_join and the sorts.

use super::flow::Flow;
use super::{Evaluator, Grid, Result, Series, Value, order};
use crate::metrics::METRIC_NAME;
use crate::metrics::promql::ast::Expr;
use crate::model::{Labels, regexp};
use crate::query::{Context, QueryError};
use std::cmp::Ordering;

impl Evaluator<'_> {
    fn text(&self, expr: &Expr, grid: Grid) -> Result<String> {
        match self.eval(expr, grid)? {
            Value::Text(text) => Ok(text),
            Value::Scalar(_) | Value::Vector(_) => Err(QueryError::Execution("a string was expected".to_owned())),
        }
    }

    pub(super) fn label_replace<'e>(&self, args: &'e [Expr], grid: Grid) -> Result<Flow<'e>> {
        let target = self.text(&args[1], grid)?;
        let replacement = self.text(&args[2], grid)?;
        let source = self.text(&args[3], grid)?;
        let pattern = self.text(&args[4], grid)?;
        let regex = regexp::compile_anchored(&pattern)
            .map_err(|_| QueryError::Execution(format!("invalid regular expression in label_replace(): {pattern}")))?;
        if target.is_empty() || target.contains(char::REPLACEMENT_CHARACTER) {
            return Err(QueryError::Execution(format!("invalid destination label name in label_replace(): {target}")));
        }
        let context = self.storage.context();
        self.flow(&args[0], grid)?.relabel(self, |labels, drop_name| {
            context.check()?;
            let value = labels.value(&source);
            let longest = replacement.len() + replacement.matches('$').count() * value.len();
            reserve_label(context, labels, longest)?;
            let Some(captures) = regex.captures(value) else { return Ok(labels.clone()) };
            let mut expanded = String::new();
            captures.expand(&replacement, &mut expanded);
            *drop_name &= target != METRIC_NAME;
            Ok(labels.to_builder().set(&target, &expanded).build())
        })
    }

    pub(super) fn label_join<'e>(&self, args: &'e [Expr], grid: Grid) -> Result<Flow<'e>> {
        let target = self.text(&args[1], grid)?;
        let separator = self.text(&args[2], grid)?;
        let sources = args[3..].iter().map(|a| self.text(a, grid)).collect::<Result<Vec<String>>>()?;
        if target.is_empty() || target.contains(char::REPLACEMENT_CHARACTER) {
            return Err(QueryError::Execution(format!("invalid destination label name in label_join(): {target}")));
        }
        let context = self.storage.context();
        self.flow(&args[0], grid)?.relabel(self, |labels, drop_name| {
            context.check()?;
            let values: Vec<&str> = sources.iter().map(|s| labels.value(s)).collect();
            let longest = values.iter().map(|v| v.len() + separator.len()).sum();
            reserve_label(context, labels, longest)?;
            *drop_name &= target != METRIC_NAME;
            Ok(labels.to_builder().set(&target, &values.join(&separator)).build())
        })
    }

    pub(super) fn sort(&self, expr: &Expr, name: &str, args: &[Expr], grid: Grid) -> Result<Vec<Series>> {
        let mut series = self.vector(&args[0], grid)?;
        if self.times.start != self.times.end {
            self.warn(expr, "sort is ineffective for range queries since results are always ordered by labels");
        }
        let names = args[1..].iter().map(|a| self.text(a, grid)).collect::<Result<Vec<String>>>()?;
        match name {
            "sort" | "sort_desc" => {
                // Histograms have no order.
                for one in &mut series {
                    one.histograms.clear();
                }
                series.retain(|s| !s.is_empty());
                let value = |s: &Series| s.values.first().copied().unwrap_or(f64::NAN);
                // NaN comes last in either direction.
                let less: fn(f64, f64) -> bool = if name == "sort" { |a, b| b.is_nan() || a < b } else { |a, b| b.is_nan() || a > b };
                order::sort(&mut series, |a, b| less(value(a), value(b)));
            }
            _ => {
                let by_labels = |a: &Series, b: &Series| {
                    let first = names.iter().map(|n| natural(a.labels.value(n), b.labels.value(n))).find(|o| o.is_ne());
                    first.unwrap_or_else(|| a.labels.cmp(&b.labels))
                };
                series.sort_by(by_labels);
                if name.ends_with("_desc") {
                    series.reverse();
                }
            }
        }
        Ok(series)
    }
}

/// Bytes of a label that a function makes.
const LABEL_MAX_BYTES: usize = 16 << 20;

/// Accounts for a label set to which a value of at most so many bytes is added: nested calls double what they are given.
fn reserve_label(context: &Context, labels: &Labels, longest: usize) -> Result<()> {
    if longest > LABEL_MAX_BYTES {
        return Err(QueryError::TooMuch(format!("a label value may become longer than {LABEL_MAX_BYTES} bytes")));
    }
    context.reserve((labels.heap_bytes() + longest) as u64)
}

/// Runs of digits compare as numbers, everything else bytewise.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let digits = |s: &str| s.bytes().take_while(u8::is_ascii_digit).count();
        let (na, nb) = (digits(a), digits(b));
        if na > 0 && nb > 0 {
            let (ta, tb) = (a[..na].trim_start_matches('0'), b[..nb].trim_start_matches('0'));
            let order = ta.len().cmp(&tb.len()).then_with(|| ta.cmp(tb)).then_with(|| na.cmp(&nb));
            if order.is_ne() {
                return order;
            }
            (a, b) = (&a[na..], &b[nb..]);
            continue;
        }
        let (ca, cb) = (a.chars().next(), b.chars().next());
        match (ca, cb) {
            (Some(x), Some(y)) if x == y => (a, b) = (&a[x.len_utf8()..], &b[y.len_utf8()..]),
            (x, y) => return x.cmp(&y),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::natural;
    use std::cmp::Ordering::{Equal, Less};

    #[test]
    fn natural_order() {
        assert_eq!(natural("node9", "node10"), Less);
        assert_eq!(natural("a", "b"), Less);
        assert_eq!(natural("", "a"), Less);
        assert_eq!(natural("x1y2", "x1y2"), Equal);
    }
}
