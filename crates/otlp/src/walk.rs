//! Walks the fields of a request and hands each span or log record to the batch, borrowing everything.
//!
//! Field numbers are those of opentelemetry-proto 1.x
//! (<https://github.com/open-telemetry/opentelemetry-proto/tree/main/opentelemetry/proto>).
//! Whatever order the fields come in, and in how many parts, the result is what protobuf says: repeated
//! fields grow, the last scalar wins, parts of a message merge.

use std::borrow::Cow;

use lapwing_telemetry::same;

use crate::access_log;
use crate::attributes::{Role, role_of};
use crate::batch::{Batch, has_access_log_attributes};
use crate::context::Resource;
use crate::known_names::Names;
use crate::messages::*;
use crate::payload::Payload;
use crate::record::{Attribute, Kind, Record};
use crate::tail::Tail;
use crate::value::{self, Shape, Text};
use crate::wire::{self, Fault, Reader, Room, known, string_attribute};

/// Where a group's context (its resource or scope) stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contexts {
    /// Before the records, in one part, if there is one: as every encoder writes it.
    First,
    /// Anywhere, in any number of parts, which are sought before the records are read.
    Scattered,
}

const SCATTERED: &str = "a resource or scope after what belongs to it";

/// Whether the request is right but must be read with [`Contexts::Scattered`].
pub(crate) fn is_scattered(fault: &Fault) -> bool {
    fault.what() == SCATTERED
}

/// Reads a whole request.
pub(crate) fn request(
    payload: Payload,
    body: &[u8],
    batch: &mut Batch<'_>,
    contexts: Contexts,
) -> Result<(), Fault> {
    let mut walk = Walk {
        payload,
        contexts,
        batch,
        record: Record::default(),
        names: Names::default(),
        tail: Tail::default(),
        name: "",
        records: 0,
    };
    let mut reader = Reader::new(body);
    while let Some(field) = reader.key()? {
        if field == FIRST {
            let resource = reader.bytes()?;
            walk.resource_records(resource, Room::REQUEST.enter(resource)?)?;
        } else {
            reader.other(field, known(&[1]), Room::REQUEST)?;
        }
    }
    Ok(())
}

struct Walk<'a, 'b, 'd> {
    payload: Payload,
    contexts: Contexts,
    batch: &'b mut Batch<'d>,
    record: Record<'a>,
    names: Names<'a>,
    tail: Tail<'a>,
    /// Of the last span.
    name: &'a str,
    records: usize,
}

/// The context in a group's first field, if it is there.
fn first_context(bytes: &[u8]) -> Cow<'_, [u8]> {
    let mut reader = Reader::new(bytes);
    let is_context = matches!(reader.key(), Ok(Some(FIRST)));
    Cow::Borrowed(if is_context { reader.bytes().unwrap_or_default() } else { &[] })
}

/// The context of a group, wherever it stands. Parts of a message merge when their bytes are joined.
fn scattered_context(bytes: &[u8], room: Room) -> Result<Cow<'_, [u8]>, Fault> {
    let mut context: Option<Cow<'_, [u8]>> = None;
    let mut reader = Reader::new(bytes);
    while let Some(field) = reader.key()? {
        match field {
            FIRST => {
                let part = reader.bytes()?;
                context = Some(match context {
                    None => Cow::Borrowed(part),
                    Some(before) => Cow::Owned([before.as_ref(), part].concat()),
                });
            }
            SECOND => reader.bytes().map(drop)?,
            _ => reader.other(field, known(&[1, 2]), room)?,
        }
    }
    Ok(context.unwrap_or_default())
}

impl<'a> Walk<'a, '_, '_> {
    fn context(&self, bytes: &'a [u8], room: Room) -> Result<Cow<'a, [u8]>, Fault> {
        match self.contexts {
            Contexts::First => Ok(first_context(bytes)),
            Contexts::Scattered => scattered_context(bytes, room),
        }
    }

    /// Hands each element of a group's list (field 2) to `visit`, and checks the rest: the context (field 1),
    /// which was read before, and a schema URL (field 3).
    #[inline]
    fn each(
        &mut self,
        bytes: &'a [u8],
        room: Room,
        mut visit: impl FnMut(&mut Self, &'a [u8]) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut reader = Reader::new(bytes);
        let mut is_first = true;
        while let Some(field) = reader.key()? {
            match field {
                SECOND => visit(self, reader.bytes()?)?,
                FIRST if is_first || self.contexts == Contexts::Scattered => reader.bytes().map(drop)?,
                FIRST => return Err(Fault::new(SCATTERED, reader.bytes()?)),
                THIRD => reader.text().map(drop)?,
                _ => reader.other(field, known(&[1, 2, 3]), room)?,
            }
            is_first = false;
        }
        Ok(())
    }

    /// `ResourceSpans` or `ResourceLogs`.
    fn resource_records(&mut self, bytes: &'a [u8], room: Room) -> Result<(), Fault> {
        let context = self.context(bytes, room)?;
        let resource = match self.batch.known_resource(&context) {
            Some(resource) => resource,
            None => {
                let mut record = Record::default();
                read_resource(&context, &mut record, self.batch, room.enter(bytes)?)
                    .map_err(|fault| relocate(fault, &context, bytes))?;
                self.batch.resource(&context, &record)
            }
        };
        self.each(bytes, room, |walk, scope| walk.scope_records(scope, &resource, room.enter(scope)?))
    }

    /// `ScopeSpans` or `ScopeLogs`.
    fn scope_records(&mut self, bytes: &'a [u8], resource: &Resource, room: Room) -> Result<(), Fault> {
        let context = self.context(bytes, room)?;
        let scope = match self.batch.known_scope(&context) {
            Some(scope) => scope,
            None => {
                let mut record = Record::default();
                let scope = read_scope(&context, &mut record, self.batch, room.enter(bytes)?)
                    .map_err(|fault| relocate(fault, &context, bytes))?;
                self.batch.scope(&context, scope)
            }
        };
        self.each(bytes, room, |walk, bytes| {
            walk.records += 1;
            if walk.records > walk.batch.limits.max_records {
                return Err(Fault::new("more spans or log records than the limit", bytes));
            }
            match walk.payload {
                Payload::Traces => walk.span(bytes, room.enter(bytes)?)?,
                Payload::Logs => walk.log_record(bytes, room.enter(bytes)?)?,
            }
            walk.batch.append(&walk.record, resource, &scope);
            Ok(())
        })
    }

    fn span(&mut self, bytes: &'a [u8], room: Room) -> Result<(), Fault> {
        const KNOWN: u32 = known(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
        self.record.begin(Kind::Span(0));
        self.tail = Tail::default();
        self.names.begin();
        let (mut name, mut trace_state, mut message) = ("", "", "");
        let (mut events, mut links, mut dropped) = (0, 0, [0_u64; 3]);
        let mut reader = Reader::new(bytes);
        loop {
            self.string_attributes(&mut reader, SPAN_ATTRIBUTE)?;
            let Some(field) = reader.key()? else { break };
            match field {
                SPAN_TRACE_ID => self.record.trace_id = reader.bytes()?,
                SPAN_ID => self.record.span_id = reader.bytes()?,
                SPAN_TRACE_STATE => trace_state = reader.text()?,
                SPAN_PARENT_ID => self.record.parent_span_id = reader.bytes()?,
                SPAN_NAME => {
                    let bytes = reader.bytes()?;
                    name = if same(bytes, self.name.as_bytes()) { self.name } else { wire::text(bytes)? };
                    self.name = name;
                }
                SPAN_KIND => self.record.kind = Kind::Span(reader.varint()? as i32),
                SPAN_START => self.record.start_ns = reader.fixed64()?,
                SPAN_END => self.record.end_ns = reader.fixed64()?,
                SPAN_ATTRIBUTE => {
                    let pair = reader.bytes()?;
                    self.attribute(pair, room.enter(pair)?)?;
                }
                SPAN_EVENT => {
                    let event = reader.bytes()?;
                    self.moment("event", events, event, EVENT_KNOWN, room.enter(event)?)?;
                    events += 1;
                }
                SPAN_LINK => {
                    let link = reader.bytes()?;
                    self.moment("link", links, link, LINK_KNOWN, room.enter(link)?)?;
                    links += 1;
                }
                SPAN_DROPPED_ATTRIBUTES => dropped[0] = reader.varint()? & U32,
                SPAN_DROPPED_EVENTS => dropped[1] = reader.varint()? & U32,
                SPAN_DROPPED_LINKS => dropped[2] = reader.varint()? & U32,
                SPAN_STATUS => {
                    let status = reader.bytes()?;
                    let code = &mut self.record.status_code;
                    read_status(status, code, &mut message, room.enter(status)?)?;
                }
                SPAN_FLAGS => reader.fixed32().map(drop)?,
                _ => reader.other(field, KNOWN, room)?,
            }
        }
        self.say("name", name);
        self.say("trace_state", trace_state);
        self.say("status.message", message);
        match self.record.status_code {
            0 => {}
            1 => self.say("status.code", "ok"),
            2 => self.say("status.code", "error"),
            code => self.say_number("status.code", i64::from(code)),
        }
        let names = ["dropped_attributes_count", "dropped_events_count", "dropped_links_count"];
        names.into_iter().zip(dropped).for_each(|(name, count)| self.say_count(name, count));
        self.record.end();
        Ok(())
    }

    fn log_record(&mut self, bytes: &'a [u8], room: Room) -> Result<(), Fault> {
        const KNOWN: u32 = known(&[1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12]);
        self.record.begin(Kind::Log);
        // Its ids come after its attributes, and are not text.
        self.tail = Tail::NONE;
        self.names.begin();
        let (mut severity, mut severity_text, mut event_name, mut dropped) = (0, "", "", 0);
        // The attributes come after the body in every encoder; to be read in one pass whatever the order,
        // the body is read last.
        let mut body = Vec::new();
        let mut reader = Reader::new(bytes);
        loop {
            self.string_attributes(&mut reader, LOG_ATTRIBUTE)?;
            let Some(field) = reader.key()? else { break };
            match field {
                LOG_TIME => self.record.start_ns = reader.fixed64()?,
                LOG_OBSERVED_TIME => self.record.observed_ns = reader.fixed64()?,
                LOG_SEVERITY => severity = reader.varint()? as i32,
                LOG_SEVERITY_TEXT => severity_text = reader.text()?,
                LOG_BODY => body.push(reader.bytes()?),
                LOG_ATTRIBUTE => {
                    let pair = reader.bytes()?;
                    self.attribute(pair, room.enter(pair)?)?;
                }
                LOG_DROPPED_ATTRIBUTES => dropped = reader.varint()? & U32,
                LOG_FLAGS => reader.fixed32().map(drop)?,
                LOG_TRACE_ID => self.record.trace_id = reader.bytes()?,
                LOG_SPAN_ID => self.record.span_id = reader.bytes()?,
                LOG_EVENT_NAME => event_name = reader.text()?,
                _ => reader.other(field, KNOWN, room)?,
            }
        }
        let mut shape = Shape::Empty;
        for part in &body {
            value::read(
                part,
                &mut shape,
                &mut self.record.arena,
                self.batch.limits.max_nesting,
                room.enter(part)?,
            )?;
        }
        if !body.is_empty() {
            self.record.body = Some(value::finish(shape, &mut self.record.arena));
            self.read_body();
        }
        self.say("severity_text", severity_text);
        if severity != 0 {
            self.say_number("severity_number", i64::from(severity));
        }
        self.say("event_name", event_name);
        self.say_count("dropped_attributes_count", dropped);
        self.record.end();
        Ok(())
    }

    /// As many attributes as are strings in the form that every encoder writes; most are. Says nothing about
    /// what comes then.
    #[inline]
    fn string_attributes(&mut self, reader: &mut Reader<'a>, field: u32) -> Result<(), Fault> {
        let Walk { batch, record, names, tail, .. } = self;
        let (max, max_bytes) = (batch.limits.max_attributes_per_record, batch.limits.max_value_bytes);
        let (key, mut rest) = (field as u8, reader.rest());
        while rest.first() == Some(&key) && record.len() < max {
            if let Some(place) = record.take_alike(&mut rest, key, (max, max_bytes), tail)? {
                names.go_on(place);
                continue;
            }
            let Some((name, value, len)) = string_attribute(rest) else { break };
            if len > max_bytes {
                break;
            }
            tail.reach(rest);
            let text = tail.text(value)?;
            let (field, after) = rest.split_at(len);
            rest = after;
            let name = *names.find(name, batch.names())?;
            record.put(Attribute {
                key: Text::Plain(name.text),
                value: Text::Plain(text),
                role: name.role,
                id: name.id,
                name_place: names.place(),
                field,
            });
        }
        reader.go_on(rest);
        Ok(())
    }

    /// One `KeyValue` of a span or log record, in whatever form.
    fn attribute(&mut self, bytes: &'a [u8], room: Room) -> Result<(), Fault> {
        let arena = &mut self.record.arena;
        let (name, text) = read_pair(bytes, arena, self.batch.limits.max_nesting, room)?;
        self.add(Text::Plain(name), text, role_of(name));
        Ok(())
    }

    /// A span event or link, flattened into attributes `PREFIX.N.…`.
    fn moment(
        &mut self,
        prefix: &str,
        n: usize,
        bytes: &'a [u8],
        known: u32,
        room: Room,
    ) -> Result<(), Fault> {
        let is_event = prefix == "event";
        let mut reader = Reader::new(bytes);
        while let Some(field) = reader.key()? {
            match (field, is_event) {
                (EVENT_TIME, true) => {
                    let time = reader.fixed64()?;
                    let text = self.render(format_args!("{time}"));
                    self.flattened(prefix, n, "time_unix_nano", text);
                }
                (EVENT_NAME, true) => {
                    let name = Text::Plain(reader.text()?);
                    self.flattened(prefix, n, "name", name);
                }
                (LINK_TRACE_ID | LINK_SPAN_ID, false) => {
                    let id = reader.bytes()?;
                    let start = self.record.arena.len();
                    for byte in id {
                        value::write(&mut self.record.arena, format_args!("{byte:02x}"));
                    }
                    let text = Text::rendered(&self.record.arena, start);
                    self.flattened(
                        prefix,
                        n,
                        if field == LINK_TRACE_ID { "trace_id" } else { "span_id" },
                        text,
                    );
                }
                (LINK_TRACE_STATE, false) => {
                    let text = Text::Plain(reader.text()?);
                    self.flattened(prefix, n, "trace_state", text);
                }
                (EVENT_ATTRIBUTE, true) | (LINK_ATTRIBUTE, false) => {
                    let pair = reader.bytes()?;
                    let arena = &mut self.record.arena;
                    let (name, text) =
                        read_pair(pair, arena, self.batch.limits.max_nesting, room.enter(pair)?)?;
                    self.flattened(prefix, n, name, text);
                }
                (EVENT_DROPPED, true) | (LINK_DROPPED, false) => reader.varint().map(drop)?,
                (LINK_FLAGS, false) => reader.fixed32().map(drop)?,
                _ => reader.other(field, known, room)?,
            }
        }
        Ok(())
    }

    fn flattened(&mut self, prefix: &str, n: usize, name: &str, text: Text<'a>) {
        if self.record.len() >= self.batch.limits.max_attributes_per_record {
            self.batch.stats().attributes_dropped += 1;
            return;
        }
        let key = self.render(format_args!("{prefix}.{n}.{name}"));
        let (key, text) = (self.cut(key), self.cut(text));
        self.record.push(key, text, Role::Other);
    }

    /// Reads an access log out of the body where the attributes are not one, and makes the body an
    /// attribute where it says more than was read.
    fn read_body(&mut self) {
        let Some(body) = self.record.body.take() else { return };
        let said = !has_access_log_attributes(&self.record) && self.read_access_log(body);
        if !said && !body.get(&self.record.arena).is_empty() {
            let body = self.cut(body);
            self.record.push(Text::Plain("body"), body, Role::Other);
        }
    }

    /// Returns whether the attributes now say all that the body says.
    fn read_access_log(&mut self, body: Text<'a>) -> bool {
        let (before, dropped_before) = (self.record.len(), self.batch.stats().attributes_dropped);
        let is_whole = match body {
            Text::Plain(text) if text.starts_with('[') => access_log::read_text(text, |name, value| {
                self.add(Text::Plain(name), Text::Plain(value), role_of(name));
            }),
            Text::Plain(text) if text.starts_with('{') => access_log::read_json(text, |name, value| {
                let role = role_of(&name);
                let (name, value) = (self.keep(name), self.keep(value));
                self.add(name, value, role);
            })
            .map(|()| true),
            Text::Rendered { .. } if body.get(&self.record.arena).starts_with('{') => {
                let text = body.get(&self.record.arena).to_owned();
                access_log::read_json(&text, |name, value| {
                    let role = role_of(&name);
                    let name = self.render(format_args!("{name}"));
                    let value = self.render(format_args!("{value}"));
                    self.add(name, value, role);
                })
                .map(|()| true)
            }
            _ => None,
        };
        if is_whole.is_none() || !has_access_log_attributes(&self.record) {
            self.record.truncate(before);
            self.batch.stats().attributes_dropped = dropped_before;
            return false;
        }
        is_whole == Some(true) && self.batch.stats().attributes_dropped == dropped_before
    }

    fn add(&mut self, name: Text<'a>, value: Text<'a>, role: Role) {
        if self.record.len() >= self.batch.limits.max_attributes_per_record {
            self.batch.stats().attributes_dropped += 1;
            return;
        }
        let (name, value) = (self.cut(name), self.cut(value));
        self.record.push(name, value, role);
    }

    fn keep(&mut self, text: Cow<'a, str>) -> Text<'a> {
        match text {
            Cow::Borrowed(text) => Text::Plain(text),
            Cow::Owned(text) => self.render(format_args!("{text}")),
        }
    }

    fn cut(&mut self, text: Text<'a>) -> Text<'a> {
        cut(text, &self.record.arena, self.batch)
    }

    /// A field of the record that no column holds, as an attribute, if it says anything.
    fn say(&mut self, name: &'static str, text: &'a str) {
        if !text.is_empty() {
            let text = self.cut(Text::Plain(text));
            self.record.push(Text::Plain(name), text, Role::Other);
        }
    }

    fn say_number(&mut self, name: &'static str, number: i64) {
        let text = self.render(format_args!("{number}"));
        self.record.push(Text::Plain(name), text, Role::Other);
    }

    fn say_count(&mut self, name: &'static str, count: u64) {
        if count > 0 {
            self.say_number(name, count as i64);
        }
    }

    fn render(&mut self, arguments: std::fmt::Arguments<'_>) -> Text<'a> {
        let start = self.record.arena.len();
        value::write(&mut self.record.arena, arguments);
        Text::rendered(&self.record.arena, start)
    }
}
