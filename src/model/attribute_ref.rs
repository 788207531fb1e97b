use super::{Attribute, AttributeValue};
use base64::Engine as _;
use std::borrow::Cow;

/// An [`AttributeValue`] that borrows its text.
#[derive(Debug, Clone, PartialEq)]
pub enum ValueRef<'a> {
    Empty,
    String(&'a str),
    Bool(bool),
    Int(i64),
    Double(f64),
    Bytes(&'a [u8]),
    /// An array or a map, or a text that had to be put together.
    Nested(Cow<'a, AttributeValue>),
}

/// An [`Attribute`] that borrows its text.
#[derive(Debug, Clone, PartialEq)]
pub struct AttributeRef<'a> {
    pub key: &'a str,
    pub value: ValueRef<'a>,
}

impl ValueRef<'_> {
    /// As [`AttributeValue::to_text`].
    pub fn to_text(&self) -> Cow<'_, str> {
        match self {
            ValueRef::Empty => Cow::Borrowed(""),
            ValueRef::String(text) => Cow::Borrowed(text),
            ValueRef::Bool(b) => Cow::Borrowed(if *b { "true" } else { "false" }),
            ValueRef::Int(n) => Cow::Owned(n.to_string()),
            ValueRef::Double(d) => Cow::Owned(AttributeValue::Double(*d).to_text()),
            ValueRef::Bytes(bytes) => Cow::Owned(base64::engine::general_purpose::STANDARD.encode(bytes)),
            ValueRef::Nested(value) => Cow::Owned(value.to_text()),
        }
    }
}

impl<'a> From<&'a AttributeValue> for ValueRef<'a> {
    fn from(value: &'a AttributeValue) -> ValueRef<'a> {
        match value {
            AttributeValue::Empty => ValueRef::Empty,
            AttributeValue::String(text) => ValueRef::String(text),
            AttributeValue::Bool(b) => ValueRef::Bool(*b),
            AttributeValue::Int(n) => ValueRef::Int(*n),
            AttributeValue::Double(d) => ValueRef::Double(*d),
            AttributeValue::Bytes(bytes) => ValueRef::Bytes(bytes),
            AttributeValue::Array(_) | AttributeValue::Map(_) => ValueRef::Nested(Cow::Borrowed(value)),
        }
    }
}

impl<'a> From<&'a Attribute> for AttributeRef<'a> {
    fn from(attribute: &'a Attribute) -> AttributeRef<'a> {
        AttributeRef { key: &attribute.key, value: (&attribute.value).into() }
    }
}

impl From<ValueRef<'_>> for AttributeValue {
    fn from(value: ValueRef<'_>) -> AttributeValue {
        match value {
            ValueRef::Empty => AttributeValue::Empty,
            ValueRef::String(text) => AttributeValue::String(text.to_owned()),
            ValueRef::Bool(b) => AttributeValue::Bool(b),
            ValueRef::Int(n) => AttributeValue::Int(n),
            ValueRef::Double(d) => AttributeValue::Double(d),
            ValueRef::Bytes(bytes) => AttributeValue::Bytes(bytes.to_vec()),
            ValueRef::Nested(value) => value.into_owned(),
        }
    }
}

impl From<AttributeRef<'_>> for Attribute {
    fn from(attribute: AttributeRef<'_>) -> Attribute {
        Attribute { key: attribute.key.to_owned(), value: attribute.value.into() }
    }
}
