//! Parts of a query as text again, for error messages.

use super::ast::{LineFilter, LineOperand};
use crate::model::quote::quote;

/// Go's `%f`.
pub fn six_decimals(value: f64) -> String {
    if value.is_finite() { format!("{value:.6}") } else { crate::model::number::plain_float(value) }
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
