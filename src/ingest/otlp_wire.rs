//! What the messages of all OTLP signals share, read from their bytes. A field that may stand once is merged if it stands
//! twice, as protobuf has it.

use super::wire::{Message, WireError};
use crate::model::{Attribute, AttributeRef, AttributeValue, ValueRef};
use std::borrow::Cow;

/// A `KeyValue`.
#[inline]
pub fn read_attribute(mut message: Message<'_>) -> Result<AttributeRef<'_>, WireError> {
    let mut attribute = AttributeRef { key: "", value: ValueRef::Empty };
    while let Some(field) = message.field()? {
        match field.tag {
            1 => attribute.key = field.text()?,
            2 => merge_value(&mut attribute.value, field.message()?)?,
            // An index into a table of strings that only profiles have.
            3 => drop(field.int32()?),
            _ => field.unknown()?,
        }
    }
    Ok(attribute)
}

/// Merges an `AnyValue` into what came before it. Recursion is bounded by the depth of messages.
#[inline]
pub fn merge_value<'a>(value: &mut ValueRef<'a>, mut message: Message<'a>) -> Result<(), WireError> {
    while let Some(field) = message.field()? {
        *value = match field.tag {
            1 => ValueRef::String(field.text()?),
            2 => ValueRef::Bool(field.bool()?),
            3 => ValueRef::Int(field.int64()?),
            4 => ValueRef::Double(field.double()?),
            5 | 6 => ValueRef::Nested(Cow::Owned(merged(value, field.tag == 6, field.message()?)?)),
            7 => ValueRef::Bytes(field.bytes()?),
            8 => {
                field.int32()?;
                ValueRef::Empty
            }
            _ => {
                field.unknown()?;
                continue;
            }
        };
    }
    Ok(())
}

/// The array or map that `message` says, behind what is there of the same kind.
fn merged(before: &mut ValueRef<'_>, is_map: bool, mut message: Message<'_>) -> Result<AttributeValue, WireError> {
    let before = match std::mem::replace(before, ValueRef::Empty) {
        ValueRef::Nested(value) => Some(value.into_owned()),
        _ => None,
    };
    if is_map {
        let mut pairs = if let Some(AttributeValue::Map(pairs)) = before { pairs } else { Vec::new() };
        while let Some(field) = message.field()? {
            match field.tag {
                1 => pairs.push(Attribute::from(read_attribute(field.message()?)?)),
                _ => field.unknown()?,
            }
        }
        return Ok(AttributeValue::Map(pairs));
    }
    let mut values = if let Some(AttributeValue::Array(values)) = before { values } else { Vec::new() };
    while let Some(field) = message.field()? {
        match field.tag {
            1 => {
                let mut value = ValueRef::Empty;
                merge_value(&mut value, field.message()?)?;
                values.push(value.into());
            }
            _ => field.unknown()?,
        }
    }
    Ok(AttributeValue::Array(values))
}

/// A `Resource`, merged into what is there.
pub fn merge_resource<'a>(resource: &mut ResourceRef<'a>, mut message: Message<'a>) -> Result<(), WireError> {
    while let Some(field) = message.field()? {
        match field.tag {
            1 => resource.attributes.push(read_attribute(field.message()?)?),
            2 => resource.dropped_attributes_count = field.uint32()?,
            3 => check_entity(field.message()?)?,
            _ => field.unknown()?,
        }
    }
    Ok(())
}

/// An `EntityRef`, of which nothing is kept.
fn check_entity(mut message: Message<'_>) -> Result<(), WireError> {
    while let Some(field) = message.field()? {
        match field.tag {
            1..=4 => drop(field.text()?),
            _ => field.unknown()?,
        }
    }
    Ok(())
}

/// An `InstrumentationScope`, merged into what is there.
pub fn merge_scope<'a>(scope: &mut ScopeRef<'a>, mut message: Message<'a>) -> Result<(), WireError> {
    while let Some(field) = message.field()? {
        match field.tag {
            1 => scope.name = field.text()?,
            2 => scope.version = field.text()?,
            3 => scope.attributes.push(read_attribute(field.message()?)?),
            4 => scope.dropped_attributes_count = field.uint32()?,
            _ => field.unknown()?,
        }
    }
    Ok(())
}

/// `Resource`, with attributes in the order in which they came.
#[derive(Debug, Default)]
pub struct ResourceRef<'a> {
    pub attributes: Vec<AttributeRef<'a>>,
    pub dropped_attributes_count: u32,
}

/// `InstrumentationScope`, with attributes in the order in which they came.
#[derive(Debug, Default)]
pub struct ScopeRef<'a> {
    pub name: &'a str,
    pub version: &'a str,
    pub attributes: Vec<AttributeRef<'a>>,
    pub dropped_attributes_count: u32,
}
