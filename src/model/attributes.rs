use base64::Engine as _;
use std::fmt::Write as _;

/// A value as OpenTelemetry's `AnyValue` has it: typed and unbounded, unlike a label.
#[derive(Debug, Clone, PartialEq)]
pub enum AttributeValue {
    /// An `AnyValue` with no field set.
    Empty,
    String(String),
    Bool(bool),
    Int(i64),
    Double(f64),
    Bytes(Vec<u8>),
    Array(Vec<AttributeValue>),
    Map(Vec<Attribute>),
}

/// A named value of a resource, scope, span, event, link or log record.
#[derive(Debug, Clone, PartialEq)]
pub struct Attribute {
    pub key: String,
    pub value: AttributeValue,
}

impl Attribute {
    pub fn new(key: impl Into<String>, value: AttributeValue) -> Attribute {
        Attribute { key: key.into(), value }
    }
}

impl AttributeValue {
    /// The one-string form that labels and structured metadata use (contracts/prometheus.md 3.4, loki.md 2.5): strings
    /// as they are, numbers in their JSON form, bytes in base64, arrays and maps as JSON without HTML escapes.
    pub fn to_text(&self) -> String {
        match self {
            AttributeValue::Empty => String::new(),
            AttributeValue::String(s) => s.clone(),
            AttributeValue::Bytes(b) => base64::engine::general_purpose::STANDARD.encode(b),
            other => json_text(other),
        }
    }
}

/// `value` as JSON text with the keys of every map sorted, and no HTML escapes.
/// Infinities and NaN, which JSON lacks, are the words that proto3 JSON uses, without quotes at the top level.
pub fn json_text(value: &AttributeValue) -> String {
    let mut out = String::new();
    write_json(&mut out, value, true);
    out
}

fn write_json(out: &mut String, value: &AttributeValue, top: bool) {
    match value {
        AttributeValue::Empty => out.push_str("null"),
        AttributeValue::String(s) => write_json_string(out, s),
        AttributeValue::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        AttributeValue::Int(i) => {
            let _ = write!(out, "{i}");
        }
        AttributeValue::Double(d) => {
            let text = super::number::json_float(*d);
            if d.is_finite() || top { out.push_str(&text) } else { write_json_string(out, &text) }
        }
        AttributeValue::Bytes(b) => write_json_string(out, &base64::engine::general_purpose::STANDARD.encode(b)),
        AttributeValue::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_json(out, item, false);
            }
            out.push(']');
        }
        AttributeValue::Map(pairs) => {
            let mut sorted: Vec<&Attribute> = pairs.iter().collect();
            sorted.sort_by(|a, b| a.key.cmp(&b.key));
            out.push('{');
            for (i, pair) in sorted.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_json_string(out, &pair.key);
                out.push(':');
                write_json(out, &pair.value, false);
            }
            out.push('}');
        }
    }
}

fn write_json_string(out: &mut String, text: &str) {
    // serde_json writes exactly the escapes JSON needs; a string has no value that can fail to serialise.
    out.push_str(&serde_json::Value::from(text).to_string());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_forms_follow_the_contracts() {
        let map = AttributeValue::Map(vec![
            Attribute::new("b", AttributeValue::Double(1e21)),
            Attribute::new("a", AttributeValue::Array(vec![AttributeValue::Int(1), AttributeValue::Bool(true)])),
        ]);
        assert_eq!(map.to_text(), r#"{"a":[1,true],"b":1e+21}"#);
        assert_eq!(AttributeValue::Double(0.1).to_text(), "0.1");
        assert_eq!(AttributeValue::Double(f64::NEG_INFINITY).to_text(), "-Infinity");
        assert_eq!(AttributeValue::Bytes(vec![1, 2]).to_text(), "AQI=");
        assert_eq!(AttributeValue::String("a<b".into()).to_text(), "a<b");
    }
}
