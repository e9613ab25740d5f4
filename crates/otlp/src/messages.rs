//! The small messages inside a request, and the field keys of all of them.

use std::borrow::Cow;

use crate::attributes::Role;
use crate::batch::Batch;
use crate::context::Scope;
use crate::record::Record;
use crate::value::{self, PAIR_KEY, PAIR_KEY_STRINDEX, PAIR_KNOWN, PAIR_VALUE, Shape, Text};
use crate::wire::{BYTES, FIXED32, FIXED64, Fault, Reader, Room, VARINT, key, known};

/// A fault inside a context whose parts were joined lies, as far as the sender can tell, at its group.
#[expect(clippy::ptr_arg, reason = "borrowed or joined is what it asks")]
pub(crate) fn relocate(fault: Fault, context: &Cow<'_, [u8]>, group: &[u8]) -> Fault {
    match context {
        Cow::Borrowed(_) => fault,
        Cow::Owned(_) => Fault::new(fault.what(), group),
    }
}

/// Reads a `Resource` into the attributes of `record`.
pub(crate) fn read_resource<'a>(
    bytes: &'a [u8],
    record: &mut Record<'a>,
    batch: &mut Batch<'_>,
    room: Room,
) -> Result<(), Fault> {
    let mut reader = Reader::new(bytes);
    while let Some(field) = reader.key()? {
        match field {
            RESOURCE_ATTRIBUTE => {
                let pair = reader.bytes()?;
                context_attribute(pair, record, batch, room.enter(pair)?)?;
            }
            RESOURCE_DROPPED => reader.varint().map(drop)?,
            RESOURCE_ENTITY => {
                let entity = reader.bytes()?;
                check_entity(entity, room.enter(entity)?)?;
            }
            _ => reader.other(field, known(&[1, 2, 3]), room)?,
        }
    }
    Ok(())
}

/// Reads an `InstrumentationScope`, by way of the attributes of `record`.
pub(crate) fn read_scope<'a>(
    bytes: &'a [u8],
    record: &mut Record<'a>,
    batch: &mut Batch<'_>,
    room: Room,
) -> Result<Scope, Fault> {
    let (mut name, mut version) = ("", "");
    let mut reader = Reader::new(bytes);
    while let Some(field) = reader.key()? {
        match field {
            SCOPE_NAME => name = reader.text()?,
            SCOPE_VERSION => version = reader.text()?,
            SCOPE_ATTRIBUTE => {
                let pair = reader.bytes()?;
                context_attribute(pair, record, batch, room.enter(pair)?)?;
            }
            SCOPE_DROPPED => reader.varint().map(drop)?,
            _ => reader.other(field, known(&[1, 2, 3, 4]), room)?,
        }
    }
    let mut cut = |text| match cut(Text::Plain(text), "", batch) {
        Text::Plain(text) => text,
        Text::Rendered { .. } => "",
    };
    Ok(Scope::new(cut(name), cut(version), record))
}

fn context_attribute<'a>(
    pair: &'a [u8],
    record: &mut Record<'a>,
    batch: &mut Batch<'_>,
    room: Room,
) -> Result<(), Fault> {
    let (name, text) = read_pair(pair, &mut record.arena, batch.limits.max_nesting, room)?;
    if record.len() >= batch.limits.max_attributes_per_record {
        batch.stats().attributes_dropped += 1;
        return Ok(());
    }
    let (name, text) = (cut(Text::Plain(name), "", batch), cut(text, &record.arena, batch));
    record.push(name, text, Role::Other);
    Ok(())
}

/// Reads a `KeyValue`.
pub(crate) fn read_pair<'a>(
    bytes: &'a [u8],
    arena: &mut String,
    nesting: usize,
    room: Room,
) -> Result<(&'a str, Text<'a>), Fault> {
    let (mut name, mut shape) = ("", Shape::Empty);
    let mut reader = Reader::new(bytes);
    while let Some(field) = reader.key()? {
        match field {
            PAIR_KEY => name = reader.text()?,
            PAIR_VALUE => {
                let part = reader.bytes()?;
                value::read(part, &mut shape, arena, nesting, room.enter(part)?)?;
            }
            PAIR_KEY_STRINDEX => reader.varint().map(drop)?,
            _ => reader.other(field, PAIR_KNOWN, room)?,
        }
    }
    Ok((name, value::finish(shape, arena)))
}

/// Reads a span's `Status`.
pub(crate) fn read_status<'a>(
    bytes: &'a [u8],
    code: &mut i32,
    message: &mut &'a str,
    room: Room,
) -> Result<(), Fault> {
    let mut reader = Reader::new(bytes);
    while let Some(field) = reader.key()? {
        match field {
            STATUS_MESSAGE => *message = reader.text()?,
            STATUS_CODE => *code = reader.varint()? as i32,
            _ => reader.other(field, known(&[2, 3]), room)?,
        }
    }
    Ok(())
}

fn check_entity(bytes: &[u8], room: Room) -> Result<(), Fault> {
    let mut reader = Reader::new(bytes);
    while let Some(field) = reader.key()? {
        match field {
            ENTITY_SCHEMA_URL | ENTITY_TYPE | ENTITY_ID_KEY | ENTITY_DESCRIPTION_KEY => {
                reader.text().map(drop)?;
            }
            _ => reader.other(field, known(&[1, 2, 3, 4]), room)?,
        }
    }
    Ok(())
}

/// Shortens a name or value that is longer than the limit, at a character's end, and counts it.
#[inline]
pub(crate) fn cut<'a>(text: Text<'a>, arena: &str, batch: &mut Batch<'_>) -> Text<'a> {
    if text.len() <= batch.limits.max_value_bytes { text } else { cut_long(text, arena, batch) }
}

#[cold]
fn cut_long<'a>(text: Text<'a>, arena: &str, batch: &mut Batch<'_>) -> Text<'a> {
    batch.stats().values_cut += 1;
    let end = text.get(arena).floor_char_boundary(batch.limits.max_value_bytes);
    match text {
        Text::Plain(text) => Text::Plain(&text[..end]),
        Text::Rendered { start, .. } => Text::Rendered { start, end: start + end as u32 },
    }
}

/// The low half: a `uint32` is read from a varint of up to 64 bits.
pub(crate) const U32: u64 = u32::MAX as u64;

pub(crate) const FIRST: u32 = key(1, BYTES);
pub(crate) const SECOND: u32 = key(2, BYTES);
pub(crate) const THIRD: u32 = key(3, BYTES);

const RESOURCE_ATTRIBUTE: u32 = key(1, BYTES);
const RESOURCE_DROPPED: u32 = key(2, VARINT);
const RESOURCE_ENTITY: u32 = key(3, BYTES);
const ENTITY_SCHEMA_URL: u32 = key(1, BYTES);
const ENTITY_TYPE: u32 = key(2, BYTES);
const ENTITY_ID_KEY: u32 = key(3, BYTES);
const ENTITY_DESCRIPTION_KEY: u32 = key(4, BYTES);
const SCOPE_NAME: u32 = key(1, BYTES);
const SCOPE_VERSION: u32 = key(2, BYTES);
const SCOPE_ATTRIBUTE: u32 = key(3, BYTES);
const SCOPE_DROPPED: u32 = key(4, VARINT);

pub(crate) const SPAN_TRACE_ID: u32 = key(1, BYTES);
pub(crate) const SPAN_ID: u32 = key(2, BYTES);
pub(crate) const SPAN_TRACE_STATE: u32 = key(3, BYTES);
pub(crate) const SPAN_PARENT_ID: u32 = key(4, BYTES);
pub(crate) const SPAN_NAME: u32 = key(5, BYTES);
pub(crate) const SPAN_KIND: u32 = key(6, VARINT);
pub(crate) const SPAN_START: u32 = key(7, FIXED64);
pub(crate) const SPAN_END: u32 = key(8, FIXED64);
pub(crate) const SPAN_ATTRIBUTE: u32 = key(9, BYTES);
pub(crate) const SPAN_DROPPED_ATTRIBUTES: u32 = key(10, VARINT);
pub(crate) const SPAN_EVENT: u32 = key(11, BYTES);
pub(crate) const SPAN_DROPPED_EVENTS: u32 = key(12, VARINT);
pub(crate) const SPAN_LINK: u32 = key(13, BYTES);
pub(crate) const SPAN_DROPPED_LINKS: u32 = key(14, VARINT);
pub(crate) const SPAN_STATUS: u32 = key(15, BYTES);
pub(crate) const SPAN_FLAGS: u32 = key(16, FIXED32);
const STATUS_MESSAGE: u32 = key(2, BYTES);
const STATUS_CODE: u32 = key(3, VARINT);

pub(crate) const EVENT_TIME: u32 = key(1, FIXED64);
pub(crate) const EVENT_NAME: u32 = key(2, BYTES);
pub(crate) const EVENT_ATTRIBUTE: u32 = key(3, BYTES);
pub(crate) const EVENT_DROPPED: u32 = key(4, VARINT);
pub(crate) const EVENT_KNOWN: u32 = known(&[1, 2, 3, 4]);
pub(crate) const LINK_TRACE_ID: u32 = key(1, BYTES);
pub(crate) const LINK_SPAN_ID: u32 = key(2, BYTES);
pub(crate) const LINK_TRACE_STATE: u32 = key(3, BYTES);
pub(crate) const LINK_ATTRIBUTE: u32 = key(4, BYTES);
pub(crate) const LINK_DROPPED: u32 = key(5, VARINT);
pub(crate) const LINK_FLAGS: u32 = key(6, FIXED32);
pub(crate) const LINK_KNOWN: u32 = known(&[1, 2, 3, 4, 5, 6]);

pub(crate) const LOG_TIME: u32 = key(1, FIXED64);
pub(crate) const LOG_SEVERITY: u32 = key(2, VARINT);
pub(crate) const LOG_SEVERITY_TEXT: u32 = key(3, BYTES);
pub(crate) const LOG_BODY: u32 = key(5, BYTES);
pub(crate) const LOG_ATTRIBUTE: u32 = key(6, BYTES);
pub(crate) const LOG_DROPPED_ATTRIBUTES: u32 = key(7, VARINT);
pub(crate) const LOG_FLAGS: u32 = key(8, FIXED32);
pub(crate) const LOG_TRACE_ID: u32 = key(9, BYTES);
pub(crate) const LOG_SPAN_ID: u32 = key(10, BYTES);
pub(crate) const LOG_OBSERVED_TIME: u32 = key(11, FIXED64);
pub(crate) const LOG_EVENT_NAME: u32 = key(12, BYTES);
