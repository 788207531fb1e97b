use crate::model::{AttributeValue, time::format_go_duration};
use crate::traces::traceql::ast::{KIND_WORDS, Op, STATUS_WORDS, Static, word};
use std::borrow::Cow;
use std::cmp::Ordering;

/// What an expression gives on one span (contracts/tempo.md 4.4).
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// Absent, or of a type that TraceQL does not see: a mixed list, a map, bytes.
    Nil,
    String(Cow<'a, str>),
    Int(i64),
    Float(f64),
    Bool(bool),
    /// Nanoseconds.
    Duration(i64),
    Status(i32),
    Kind(i32),
    /// Two or more values of one type.
    Array(Vec<Value<'a>>),
}

/// A query that fails on the data it meets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    #[error("division by zero")]
    DivisionByZero,
    #[error("array operators must consist of a scalar and an array operand")]
    TwoArrays,
    #[error("spanset operators are not supported for multiple spansets per trace. consider using coalesce()")]
    ManySpansets,
}

impl<'a> Value<'a> {
    pub fn of_attribute(value: &'a AttributeValue) -> Value<'a> {
        match value {
            AttributeValue::String(s) => Value::String(Cow::Borrowed(s)),
            AttributeValue::Bool(b) => Value::Bool(*b),
            AttributeValue::Int(n) => Value::Int(*n),
            AttributeValue::Double(d) => Value::Float(*d),
            AttributeValue::Array(values) => Value::of_list(values),
            AttributeValue::Empty | AttributeValue::Bytes(_) | AttributeValue::Map(_) => Value::Nil,
        }
    }

    /// A list of one is its value; lists of several types or of lists are not seen.
    fn of_list(list: &'a [AttributeValue]) -> Value<'a> {
        let mut values: Vec<Value<'a>> = list.iter().map(Value::of_attribute).collect();
        let simple = |v: &Value<'_>| !matches!(v, Value::Nil | Value::Array(_));
        let one_type = values.iter().all(|v| simple(v) && std::mem::discriminant(v) == std::mem::discriminant(&values[0]));
        match values.len() {
            0 => Value::Nil,
            _ if !one_type => Value::Nil,
            1 => values.remove(0),
            _ => Value::Array(values),
        }
    }

    pub fn of_static(value: &'a Static) -> Value<'a> {
        match value {
            Static::Nil => Value::Nil,
            Static::Int(n) => Value::Int(*n),
            Static::Float(f) => Value::Float(*f),
            Static::Duration(d) => Value::Duration(*d),
            Static::String(s) => Value::String(Cow::Borrowed(s)),
            Static::Bool(b) => Value::Bool(*b),
            Static::Status(n) => Value::Status(*n),
            Static::Kind(n) => Value::Kind(*n),
        }
    }

    pub fn into_owned(self) -> Value<'static> {
        match self {
            Value::Nil => Value::Nil,
            Value::String(s) => Value::String(Cow::Owned(s.into_owned())),
            Value::Int(n) => Value::Int(n),
            Value::Float(f) => Value::Float(f),
            Value::Bool(b) => Value::Bool(b),
            Value::Duration(d) => Value::Duration(d),
            Value::Status(n) => Value::Status(n),
            Value::Kind(n) => Value::Kind(n),
            Value::Array(values) => Value::Array(values.into_iter().map(Value::into_owned).collect()),
        }
    }

    pub fn as_float(&self) -> Option<f64> {
        match self {
            Value::Int(n) | Value::Duration(n) => Some(*n as f64),
            Value::Float(f) => Some(*f),
            _ => None,
        }
    }

    /// One text for values that are the same label: the type counts.
    pub fn key(&self) -> String {
        match self {
            Value::Nil => "n".into(),
            Value::String(s) => format!("s{s}"),
            Value::Int(n) => format!("i{n}"),
            Value::Float(f) => format!("f{f:?}"),
            Value::Bool(b) => format!("b{b}"),
            Value::Duration(_) | Value::Status(_) | Value::Kind(_) => format!("s{}", self.text()),
            Value::Array(values) => values.iter().fold("a".into(), |all, v| format!("{all}\u{0}{}", v.key())),
        }
    }

    /// The value alone, as a tag value or a label shows it.
    pub fn text(&self) -> String {
        match self {
            Value::Nil => "nil".into(),
            Value::String(s) => s.to_string(),
            Value::Int(n) => n.to_string(),
            Value::Float(f) => crate::model::number::json_float(*f),
            Value::Bool(b) => b.to_string(),
            Value::Duration(d) => format_go_duration(*d),
            Value::Status(n) => word(&STATUS_WORDS, *n),
            Value::Kind(n) => word(&KIND_WORDS, *n),
            Value::Array(values) => values.iter().map(Value::text).collect::<Vec<_>>().join(", "),
        }
    }
}

/// A comparison, true for no value that is absent or of another type. Of an array, one element must satisfy it, or all for
/// `!=`.
pub fn compare(op: Op, left: &Value<'_>, right: &Value<'_>) -> Result<bool, EvalError> {
    match (left, right) {
        (Value::Array(_), Value::Array(_)) => Err(EvalError::TwoArrays),
        (Value::Array(values), scalar) if op == Op::NotEq => Ok(values.iter().all(|v| compare_scalars(op, v, scalar))),
        (Value::Array(values), scalar) => Ok(values.iter().any(|v| compare_scalars(op, v, scalar))),
        (scalar, Value::Array(values)) if op == Op::NotEq => Ok(values.iter().all(|v| compare_scalars(op, scalar, v))),
        (scalar, Value::Array(values)) => Ok(values.iter().any(|v| compare_scalars(op, scalar, v))),
        (left, right) => Ok(compare_scalars(op, left, right)),
    }
}

fn compare_scalars(op: Op, left: &Value<'_>, right: &Value<'_>) -> bool {
    let (ordering, ordered) = match (left, right) {
        (Value::String(a), Value::String(b)) => (Some(a.as_bytes().cmp(b.as_bytes())), true),
        (Value::Bool(a), Value::Bool(b)) => (Some(a.cmp(b)), false),
        (Value::Status(a), Value::Status(b)) | (Value::Kind(a), Value::Kind(b)) => (Some(a.cmp(b)), false),
        (Value::Int(a) | Value::Duration(a), Value::Int(b) | Value::Duration(b)) => (Some(a.cmp(b)), true),
        (a, b) => match (a.as_float(), b.as_float()) {
            (Some(a), Some(b)) => (a.partial_cmp(&b), true),
            _ => return false,
        },
    };
    match op {
        Op::Eq => ordering == Some(Ordering::Equal),
        Op::NotEq => ordering != Some(Ordering::Equal),
        Op::Less => ordered && ordering == Some(Ordering::Less),
        Op::LessEq => ordered && matches!(ordering, Some(Ordering::Less | Ordering::Equal)),
        Op::Greater => ordered && ordering == Some(Ordering::Greater),
        Op::GreaterEq => ordered && matches!(ordering, Some(Ordering::Greater | Ordering::Equal)),
        _ => false,
    }
}

/// Arithmetic on numbers; anything else gives nil. Integers stay integers and wrap; with a duration the result is
/// nanoseconds as a float.
pub fn calculate(op: Op, left: &Value<'_>, right: &Value<'_>) -> Result<Value<'static>, EvalError> {
    if let (Value::Int(a), Value::Int(b)) = (left, right) {
        let (a, b) = (*a, *b);
        return Ok(Value::Int(match op {
            Op::Add => a.wrapping_add(b),
            Op::Sub => a.wrapping_sub(b),
            Op::Mul => a.wrapping_mul(b),
            Op::Div | Op::Mod if b == 0 => return Err(EvalError::DivisionByZero),
            Op::Div => a.wrapping_div(b),
            Op::Mod => a.wrapping_rem(b),
            Op::Pow => match u32::try_from(b).ok().and_then(|b| a.checked_pow(b)) {
                Some(power) => power,
                None => (a as f64).powf(b as f64) as i64,
            },
            _ => return Ok(Value::Nil),
        }));
    }
    let (Some(a), Some(b)) = (left.as_float(), right.as_float()) else { return Ok(Value::Nil) };
    Ok(Value::Float(match op {
        Op::Add => a + b,
        Op::Sub => a - b,
        Op::Mul => a * b,
        Op::Div => a / b,
        Op::Mod => a % b,
        Op::Pow => a.powf(b),
        _ => return Ok(Value::Nil),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(s: &str) -> Value<'_> {
        Value::String(Cow::Borrowed(s))
    }

    #[test]
    fn numbers_compare_across_types_and_others_do_not() {
        let holds = |op, l: &Value<'_>, r: &Value<'_>| compare(op, l, r).unwrap();
        assert!(holds(Op::Less, &Value::Int(1), &Value::Duration(3_600_000_000_000)));
        assert!(holds(Op::Eq, &Value::Int(1), &Value::Float(1.0)));
        assert!(holds(Op::Less, &text("10"), &text("9")));
        for op in [Op::Eq, Op::NotEq, Op::Less, Op::GreaterEq] {
            assert!(!holds(op, &text("1"), &Value::Int(1)), "{op:?}");
            assert!(!holds(op, &Value::Nil, &Value::Nil), "{op:?}");
        }
        assert!(!holds(Op::Less, &Value::Bool(false), &Value::Bool(true)));
    }

    #[test]
    fn one_element_satisfies_and_all_must_differ() {
        let list = Value::Array(vec![text("a"), text("b")]);
        assert_eq!(compare(Op::Eq, &list, &text("b")), Ok(true));
        assert_eq!(compare(Op::NotEq, &list, &text("b")), Ok(false));
        assert_eq!(compare(Op::NotEq, &text("c"), &list), Ok(true));
        assert_eq!(compare(Op::Eq, &list, &list), Err(EvalError::TwoArrays));
    }

    #[test]
    fn lists_are_seen_if_they_are_of_one_simple_type() {
        let of = |values: Vec<AttributeValue>| Value::of_attribute(&AttributeValue::Array(values)).into_owned();
        assert_eq!(of(vec![AttributeValue::Int(1)]), Value::Int(1));
        assert_eq!(of(vec![AttributeValue::Int(1), AttributeValue::Bool(true)]), Value::Nil);
        assert_eq!(of(vec![]), Value::Nil);
        assert_eq!(of(vec![AttributeValue::Int(1), AttributeValue::Int(2)]), Value::Array(vec![Value::Int(1), Value::Int(2)]));
    }

    #[test]
    fn integers_stay_integers() {
        let calculated = |op, l, r| calculate(op, &l, &r);
        assert_eq!(calculated(Op::Div, Value::Int(7), Value::Int(2)), Ok(Value::Int(3)));
        assert_eq!(calculated(Op::Pow, Value::Int(2), Value::Int(3)), Ok(Value::Int(8)));
        assert_eq!(calculated(Op::Mod, Value::Int(7), Value::Int(0)), Err(EvalError::DivisionByZero));
        assert_eq!(calculated(Op::Div, Value::Int(7), Value::Float(2.0)), Ok(Value::Float(3.5)));
        assert_eq!(calculated(Op::Mul, Value::Duration(5), Value::Int(2)), Ok(Value::Float(10.0)));
        assert_eq!(calculated(Op::Add, Value::Nil, Value::Int(2)), Ok(Value::Nil));
        assert_eq!(calculated(Op::Div, Value::Int(i64::MIN), Value::Int(-1)), Ok(Value::Int(i64::MIN)));
    }
}
