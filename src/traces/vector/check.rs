use super::column::Layer;
use crate::traces::traceql::ast::{Op, Static};
use crate::traces::traceql::eval::{EvalError, Value, compare};
use arrow_array::{Array, Int64Array};
use regex::Regex;

/// A test of one value.
#[derive(Debug)]
pub enum Check {
    Compare(Op, Static),
    Regex { regex: Regex, negated: bool },
    Exists,
    Absent,
}

impl Check {
    pub fn holds(&self, value: &Value<'_>) -> Result<bool, EvalError> {
        match (self, value) {
            (Check::Compare(op, wanted), value) => compare(*op, value, &Value::of_static(wanted)),
            (Check::Regex { regex, negated }, Value::String(text)) => Ok(regex.is_match(text) != *negated),
            (Check::Regex { regex, negated }, Value::Array(values)) => {
                let hit = |v: &Value<'_>| matches!(v, Value::String(text) if regex.is_match(text));
                let text = |v: &Value<'_>| matches!(v, Value::String(_));
                Ok(if *negated { values.iter().all(|v| text(v) && !hit(v)) } else { values.iter().any(hit) })
            }
            (Check::Regex { .. }, _) => Ok(false),
            (Check::Exists, value) => Ok(*value != Value::Nil),
            (Check::Absent, value) => Ok(*value == Value::Nil),
        }
    }

    /// Whether a missing value satisfies it.
    pub fn holds_for_nil(&self) -> bool {
        matches!(self, Check::Absent)
    }

    /// Whether some text satisfies it; a test that fails on one leaves that open.
    pub fn may_hold_for_text(&self, text: &str) -> bool {
        self.holds(&Value::String(text.into())).unwrap_or(true)
    }

    /// Judges every row that the layer has a value for.
    pub fn fill(&self, layer: &Layer, mask: &mut [bool]) -> Result<(), EvalError> {
        match layer {
            Layer::Text { keys, values } => {
                let hits: Result<Vec<bool>, EvalError> =
                    values.iter().map(|v| v.map_or(Ok(self.holds_for_nil()), |v| self.holds(&Value::String(v.into())))).collect();
                let (hits, keys_of) = (hits?, keys.values());
                each(keys, mask, |i| hits.get(keys_of[i] as usize).copied().unwrap_or(false));
                Ok(())
            }
            Layer::Int(array) => self.integers(array, mask),
            Layer::Duration(array) => match self {
                // A negative duration counts as none.
                Check::Compare(op, Static::Int(n) | Static::Duration(n)) => {
                    let values = array.values();
                    compare_integers(*op, *n, array, mask, |i| values[i].max(0));
                    Ok(())
                }
                _ => self.one_by_one(layer, mask),
            },
            Layer::Small(array, word) => {
                let values = array.values();
                let wanted = match (self, word) {
                    (Check::Compare(op, Static::Int(n) | Static::Duration(n)), super::column::Word::Int) => Some((*op, *n)),
                    (Check::Compare(op @ (Op::Eq | Op::NotEq), Static::Status(n)), super::column::Word::Status)
                    | (Check::Compare(op @ (Op::Eq | Op::NotEq), Static::Kind(n)), super::column::Word::Kind) => Some((*op, i64::from(*n))),
                    _ => None,
                };
                match wanted {
                    Some((op, n)) => {
                        compare_integers(op, n, array, mask, |i| i64::from(values[i]));
                        Ok(())
                    }
                    None => self.one_by_one(layer, mask),
                }
            }
            Layer::Rest(values) => {
                for (row, value) in values {
                    mask[*row as usize] = self.holds(value)?;
                }
                Ok(())
            }
            Layer::Traces { values, bounds } => {
                for (value, rows) in values.iter().zip(bounds) {
                    let holds = self.holds(value)?;
                    mask[rows.clone()].fill(holds);
                }
                Ok(())
            }
            Layer::Double(_) | Layer::Bool(_) | Layer::Id(_) => self.one_by_one(layer, mask),
        }
    }

    fn integers(&self, array: &Int64Array, mask: &mut [bool]) -> Result<(), EvalError> {
        let values = array.values();
        if let Check::Compare(op, Static::Int(n) | Static::Duration(n)) = self {
            compare_integers(*op, *n, array, mask, |i| values[i]);
            return Ok(());
        }
        for (i, out) in mask.iter_mut().enumerate().filter(|(i, _)| array.is_valid(*i)) {
            *out = self.holds(&Value::Int(values[i]))?;
        }
        Ok(())
    }

    fn one_by_one(&self, layer: &Layer, mask: &mut [bool]) -> Result<(), EvalError> {
        for (i, out) in mask.iter_mut().enumerate() {
            if let Some(value) = layer.value(i) {
                *out = self.holds(&value)?;
            }
        }
        Ok(())
    }
}

fn compare_integers(op: Op, wanted: i64, array: &dyn Array, mask: &mut [bool], value: impl Fn(usize) -> i64) {
    match op {
        Op::Eq => each(array, mask, |i| value(i) == wanted),
        Op::NotEq => each(array, mask, |i| value(i) != wanted),
        Op::Less => each(array, mask, |i| value(i) < wanted),
        Op::LessEq => each(array, mask, |i| value(i) <= wanted),
        Op::Greater => each(array, mask, |i| value(i) > wanted),
        Op::GreaterEq => each(array, mask, |i| value(i) >= wanted),
        _ => each(array, mask, |_| false),
    }
}

fn each(array: &dyn Array, mask: &mut [bool], holds: impl Fn(usize) -> bool) {
    match array.nulls() {
        None => mask.iter_mut().enumerate().for_each(|(i, out)| *out = holds(i)),
        Some(nulls) => nulls.valid_indices().for_each(|i| mask[i] = holds(i)),
    }
}
