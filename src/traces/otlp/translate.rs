//! The spans of a request, from its bytes: each is read once to see that it is whole, and what is kept of it are its bytes
//! and what order, time and identity depend on.

use super::span::{blank, fits, read_again};
use crate::ingest::{self, Message, Plain, WireError, merge_resource, merge_scope};
use crate::model::{Attribute, Reason};
use crate::storage::Refusals;
use crate::traces::head::{Group, Row};
use crate::traces::span::{Resource, Scope};
use crate::traces::span_ref::SpanRef;
use std::rc::Rc;
use std::sync::Arc;

/// A span that can be stored.
#[derive(Debug)]
pub struct Incoming<'a> {
    /// Position among all spans of the request.
    pub index: u32,
    pub row: Row,
    /// Its message.
    pub bytes: &'a [u8],
}

/// The spans of a request that can be stored, and the others.
#[derive(Debug, Default)]
pub struct Translated<'a> {
    pub spans: Vec<Incoming<'a>>,
    /// What sent and what made them, which [`Row::group`] is an index into.
    pub groups: Vec<Group>,
    pub refusals: Refusals,
}

/// Positions count every span in the order in which it stands in the request. A span with an attribute value of more than
/// `value_max` bytes is refused. Fails for bytes that are no `ExportTraceServiceRequest`.
pub fn translate(body: Plain<'_>, value_max: usize) -> Result<Translated<'_>, WireError> {
    let mut translation = Translation { out: Translated::default(), next: 0, value_max };
    let mut request = Message::new(body);
    while let Some(field) = request.field()? {
        match field.tag {
            1 => translation.resource_spans(field.message()?)?,
            _ => field.unknown()?,
        }
    }
    Ok(translation.out)
}

struct Translation<'a> {
    out: Translated<'a>,
    next: u32,
    value_max: usize,
}

impl<'a> Translation<'a> {
    /// Fields come in any order, so the resource is looked for before the spans are read.
    fn resource_spans(&mut self, message: Message<'a>) -> Result<(), WireError> {
        let (mut resource, mut schema_url) = (ingest::ResourceRef::default(), "");
        let mut fields = message;
        while let Some(field) = fields.field()? {
            match field.tag {
                1 => merge_resource(&mut resource, field.message()?)?,
                2 => drop(field.message()?),
                3 => schema_url = field.text()?,
                _ => field.unknown()?,
            }
        }
        let resource = Arc::new(Resource {
            attributes: sorted(resource.attributes),
            dropped_attributes_count: resource.dropped_attributes_count,
            schema_url: schema_url.to_owned(),
        });
        let resource_fits = resource.attributes.iter().all(|a| fits(&(&a.value).into(), self.value_max));
        let mut fields = message;
        while let Some(field) = fields.field()? {
            if field.tag == 2 {
                self.scope_spans(field.message()?, &resource, resource_fits)?;
            }
        }
        Ok(())
    }

    fn scope_spans(&mut self, message: Message<'a>, resource: &Arc<Resource>, resource_fits: bool) -> Result<(), WireError> {
        let (mut scope, mut schema_url) = (ingest::ScopeRef::default(), "");
        let mut fields = message;
        while let Some(field) = fields.field()? {
            match field.tag {
                1 => merge_scope(&mut scope, field.message()?)?,
                2 => drop(field.message()?),
                3 => schema_url = field.text()?,
                _ => field.unknown()?,
            }
        }
        let scope = Arc::new(Scope {
            name: scope.name.to_owned(),
            version: scope.version.to_owned(),
            attributes: sorted(scope.attributes),
            dropped_attributes_count: scope.dropped_attributes_count,
            schema_url: schema_url.to_owned(),
        });
        let fits = resource_fits && scope.attributes.iter().all(|a| fits(&(&a.value).into(), self.value_max));
        let group = u32::try_from(self.out.groups.len()).unwrap_or(u32::MAX);
        self.out.groups.push(Group { resource: resource.clone(), scope });
        let mut span = blank(&Rc::default(), &Rc::default());
        let mut fields = message;
        while let Some(field) = fields.field()? {
            if field.tag == 2 {
                self.span(field.message()?, group, fits, &mut span)?;
            }
        }
        Ok(())
    }

    /// `span` is room for what is read.
    fn span(&mut self, message: Message<'a>, group: u32, group_fits: bool, span: &mut SpanRef<'a>) -> Result<(), WireError> {
        let bytes = message.bytes();
        let read = read_again(span, message)?;
        let (index, value_max) = (self.next, self.value_max);
        self.next = index.saturating_add(1);
        let refusals = &mut self.out.refusals;
        match read {
            Ok(()) if group_fits && span.attributes_of_all().all(|a| fits(&a.value, value_max)) => {
                self.out.spans.push(Incoming { index, row: Row::of(span, group), bytes });
            }
            Ok(()) => refusals.refuse(index, Reason::TooLarge, || format!("attribute values may have at most {value_max} bytes")),
            Err(refused) => refusals.refuse(index, refused.reason(), || refused.to_string()),
        }
        Ok(())
    }
}

/// In order of key, which is how columns give them back; equal keys keep their order.
fn sorted(attributes: Vec<crate::model::AttributeRef<'_>>) -> Vec<Attribute> {
    let mut attributes: Vec<Attribute> = attributes.into_iter().map(Attribute::from).collect();
    attributes.sort_by(|a, b| a.key.cmp(&b.key));
    attributes
}
