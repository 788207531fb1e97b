//! The text of a value in a rest map: JSON that keeps OTLP's types apart.
//!
//! A string, a boolean and an array are JSON's own; a number with a point or an exponent is a double and one without is
//! an integer; `null` is an `AnyValue` with no field set. JSON has no form for the others, so they are objects of one
//! key: `{"bytes":"base64"}`, `{"double":"NaN"}` (also `Infinity`, `-Infinity`), `{"kvlist":["key",value,…]}` (a flat
//! list, because keys may repeat and their order counts).

use crate::model::{Attribute, AttributeValue, ValueRef};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::borrow::Cow;
use std::fmt::Write as _;

/// Nesting that is read back. OTLP decoding admits at most 100 nested messages, which is half as many values.
const DEPTH_MAX: usize = 128;

pub fn write(out: &mut String, value: &ValueRef<'_>) {
    match value {
        ValueRef::Empty => out.push_str("null"),
        ValueRef::String(text) => write_string(out, text),
        ValueRef::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        ValueRef::Int(n) => {
            let _ = write!(out, "{n}");
        }
        ValueRef::Double(d) if d.is_finite() => {
            let _ = write!(out, "{d:?}");
        }
        ValueRef::Double(d) => {
            let word = if d.is_nan() {
                "NaN"
            } else if *d > 0.0 {
                "Infinity"
            } else {
                "-Infinity"
            };
            let _ = write!(out, "{{\"double\":\"{word}\"}}");
        }
        ValueRef::Bytes(bytes) => {
            let _ = write!(out, "{{\"bytes\":\"{}\"}}", STANDARD.encode(bytes));
        }
        ValueRef::Nested(value) => match &**value {
            AttributeValue::Array(values) => {
                out.push('[');
                for (i, value) in values.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    write(out, &value.into());
                }
                out.push(']');
            }
            AttributeValue::Map(pairs) => {
                out.push_str("{\"kvlist\":[");
                for (i, pair) in pairs.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    write_string(out, &pair.key);
                    out.push(',');
                    write(out, &(&pair.value).into());
                }
                out.push_str("]}");
            }
            scalar => write(out, &scalar.into()),
        },
    }
}

fn write_string(out: &mut String, text: &str) {
    if text.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\') {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        // A string has no value that can fail to serialise.
        out.push_str(&serde_json::Value::from(text).to_string());
    }
}

/// `None` for text that [`write`] does not produce: a damaged file.
pub fn read(text: &str) -> Option<ValueRef<'_>> {
    if let Some(inside) = text.strip_prefix('"').and_then(|t| t.strip_suffix('"'))
        && !inside.contains(['"', '\\'])
    {
        return Some(ValueRef::String(inside));
    }
    let mut reader = Reader { rest: text };
    let value = match reader.value(0)? {
        AttributeValue::Empty => ValueRef::Empty,
        AttributeValue::Bool(b) => ValueRef::Bool(b),
        AttributeValue::Int(n) => ValueRef::Int(n),
        AttributeValue::Double(d) => ValueRef::Double(d),
        other => ValueRef::Nested(Cow::Owned(other)),
    };
    reader.rest.is_empty().then_some(value)
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Option<AttributeValue> {
        if depth > DEPTH_MAX {
            return None;
        }
        match self.rest.as_bytes().first()? {
            b'"' => self.string().map(|s| AttributeValue::String(s.into_owned())),
            b'[' => {
                let mut values = Vec::new();
                self.list(|reader| {
                    values.push(reader.value(depth + 1)?);
                    Some(())
                })?;
                Some(AttributeValue::Array(values))
            }
            b'{' => self.tagged(depth),
            b't' => self.word("true", AttributeValue::Bool(true)),
            b'f' => self.word("false", AttributeValue::Bool(false)),
            b'n' => self.word("null", AttributeValue::Empty),
            _ => self.number(),
        }
    }

    fn eat(&mut self, text: &str) -> Option<()> {
        self.rest = self.rest.strip_prefix(text)?;
        Some(())
    }

    fn word(&mut self, word: &str, value: AttributeValue) -> Option<AttributeValue> {
        self.eat(word).map(|()| value)
    }

    fn number(&mut self) -> Option<AttributeValue> {
        let end = self.rest.find([',', ']', '}']).unwrap_or(self.rest.len());
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest;
        if text.contains(['.', 'e']) { text.parse().ok().map(AttributeValue::Double) } else { text.parse().ok().map(AttributeValue::Int) }
    }

    fn string(&mut self) -> Option<Cow<'a, str>> {
        let inside = self.rest.strip_prefix('"')?;
        let plain = inside.find(['"', '\\'])?;
        if inside.as_bytes()[plain] == b'"' {
            self.rest = &inside[plain + 1..];
            return Some(Cow::Borrowed(&inside[..plain]));
        }
        let mut end = plain;
        while inside.as_bytes().get(end)? != &b'"' {
            end += if inside.as_bytes()[end] == b'\\' { 2 } else { 1 };
        }
        let (text, rest) = self.rest.split_at_checked(end + 2)?;
        self.rest = rest;
        serde_json::from_str(text).ok().map(Cow::Owned)
    }

    fn list(&mut self, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.eat("[")?;
        if self.eat("]").is_some() {
            return Some(());
        }
        loop {
            item(self)?;
            if self.eat(",").is_none() {
                return self.eat("]");
            }
        }
    }

    fn tagged(&mut self, depth: usize) -> Option<AttributeValue> {
        self.eat("{")?;
        let tag = self.string()?;
        self.eat(":")?;
        let value = match &*tag {
            "bytes" => AttributeValue::Bytes(STANDARD.decode(self.string()?.as_bytes()).ok()?),
            "double" => AttributeValue::Double(match &*self.string()? {
                "NaN" => f64::NAN,
                "Infinity" => f64::INFINITY,
                "-Infinity" => f64::NEG_INFINITY,
                _ => return None,
            }),
            "kvlist" => {
                let mut pairs = Vec::new();
                self.list(|reader| {
                    let key = reader.string()?.into_owned();
                    reader.eat(",")?;
                    pairs.push(Attribute { key, value: reader.value(depth + 1)? });
                    Some(())
                })?;
                AttributeValue::Map(pairs)
            }
            _ => return None,
        };
        self.eat("}")?;
        Some(value)
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(value: &AttributeValue) -> String {
        let mut out = String::new();
        write(&mut out, &value.into());
        out
    }

    #[test]
    fn types_stay_apart() {
        assert_eq!(text(&AttributeValue::Int(1)), "1");
        assert_eq!(text(&AttributeValue::Double(1.0)), "1.0");
        assert_eq!(text(&AttributeValue::Double(1e300)), "1e300");
        assert_eq!(text(&AttributeValue::String("a\"b\u{1}".into())), r#""a\"b\u0001""#);
        let map =
            AttributeValue::Map(vec![Attribute::new("k", AttributeValue::Bytes(vec![1, 2])), Attribute::new("k", AttributeValue::Empty)]);
        assert_eq!(text(&map), r#"{"kvlist":["k",{"bytes":"AQI="},"k",null]}"#);
        for bad in ["", "{", "[1", "\"", "\"\\", "{\"x\":1}", "1 ", "nul", "{\"bytes\":\"?\"}"] {
            assert_eq!(read(bad), None, "{bad}");
        }
        assert_eq!(read(&("[".repeat(1000) + &"]".repeat(1000))), None);
    }

    pub fn any_value() -> impl Strategy<Value = AttributeValue> {
        let leaf = prop_oneof![
            Just(AttributeValue::Empty),
            ".*".prop_map(AttributeValue::String),
            any::<bool>().prop_map(AttributeValue::Bool),
            any::<i64>().prop_map(AttributeValue::Int),
            any::<f64>().prop_filter("NaN is not equal to itself", |d| !d.is_nan()).prop_map(AttributeValue::Double),
            proptest::collection::vec(any::<u8>(), 0..8).prop_map(AttributeValue::Bytes),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            let pair = (".{0,4}", inner.clone()).prop_map(|(key, value)| Attribute { key, value });
            prop_oneof![
                proptest::collection::vec(inner, 0..4).prop_map(AttributeValue::Array),
                proptest::collection::vec(pair, 0..4).prop_map(AttributeValue::Map),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(value in any_value()) {
            prop_assert_eq!(read(&text(&value)).map(AttributeValue::from), Some(value));
        }

        #[test]
        fn no_text_panics(text in r#"[\[\]{}",:\\0-9eE.a-z é-]{0,40}"#) {
            let _ = read(&text);
        }
    }
}
