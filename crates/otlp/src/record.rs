//! One span or log record while it is being read.

use crate::attributes::{ROLES, Role};
use crate::known_names::NameId;
use crate::value::Text;

/// An attribute as it was read.
#[derive(Clone, Copy)]
pub(crate) struct Attribute<'a> {
    pub(crate) key: Text<'a>,
    pub(crate) value: Text<'a>,
    pub(crate) id: NameId,
    /// See [`lapwing_telemetry::Entry`].
    pub(crate) known_as: u64,
}

/// Whether a record is a span, and of which kind, or a log record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// With the number of its `SpanKind`.
    Span(i32),
    Log,
}

/// A record's fields, borrowed from the request; reused from record to record.
pub(crate) struct Record<'a> {
    pub(crate) kind: Kind,
    /// Nanoseconds since the epoch; 0 if absent.
    pub(crate) start_ns: u64,
    /// A span's end; 0 if absent.
    pub(crate) end_ns: u64,
    /// When a log record was collected; 0 if absent.
    pub(crate) observed_ns: u64,
    pub(crate) trace_id: &'a [u8],
    pub(crate) span_id: &'a [u8],
    pub(crate) parent_span_id: &'a [u8],
    /// Number of the span's `StatusCode`.
    pub(crate) status_code: i32,
    /// The body of a log record, as long as it is not among the attributes.
    pub(crate) body: Option<Text<'a>>,
    pub(crate) attributes: Vec<Attribute<'a>>,
    /// Holds the text of values that are not a piece of the request.
    pub(crate) arena: String,
    /// Place of the first attribute of each role, counted from 1; 0 if there is none.
    places: [u16; ROLES],
}

impl Default for Record<'_> {
    fn default() -> Self {
        Record {
            kind: Kind::Log,
            start_ns: 0,
            end_ns: 0,
            observed_ns: 0,
            trace_id: &[],
            span_id: &[],
            parent_span_id: &[],
            status_code: 0,
            body: None,
            attributes: Vec::new(),
            arena: String::new(),
            places: [0; ROLES],
        }
    }
}

impl<'a> Record<'a> {
    /// Makes it as good as new, keeping the memory.
    pub(crate) fn reset(&mut self, kind: Kind) {
        let (mut attributes, mut arena) =
            (std::mem::take(&mut self.attributes), std::mem::take(&mut self.arena));
        attributes.clear();
        arena.clear();
        *self = Record { kind, attributes, arena, ..Record::default() };
    }

    pub(crate) fn push(&mut self, key: Text<'a>, value: Text<'a>, role: Role) {
        self.push_named(key, value, role, NameId::NONE, 0);
    }

    #[inline]
    pub(crate) fn push_named(
        &mut self,
        key: Text<'a>,
        value: Text<'a>,
        role: Role,
        id: NameId,
        known_as: u64,
    ) {
        self.attributes.push(Attribute { key, value, id, known_as });
        let place = &mut self.places[role as usize];
        if *place == 0 {
            // Beyond 65 535 attributes (the limit is far lower) a role is not found any more.
            *place = u16::try_from(self.attributes.len()).unwrap_or(0);
        }
    }

    /// Takes back the attributes from the `len`-th on.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.attributes.truncate(len);
        for place in &mut self.places {
            if usize::from(*place) > len {
                *place = 0;
            }
        }
    }

    /// Whether there is an attribute of this role, even one that says nothing.
    pub(crate) fn has(&self, role: Role) -> bool {
        self.places[role as usize] != 0
    }

    /// What the first attribute of this role says; `None` if there is none, or it says nothing (`-`).
    #[inline]
    pub(crate) fn get(&self, role: Role) -> Option<&str> {
        let place = usize::from(self.places[role as usize]).checked_sub(1)?;
        let text = self.attributes[place].value.get(&self.arena);
        (text != "-" && !text.is_empty()).then_some(text)
    }

    /// The place of the attribute that [`Record::get`] reads for a role.
    pub(crate) fn place(&self, role: usize) -> Option<usize> {
        usize::from(self.places[role]).checked_sub(1)
    }

    /// The attributes' names and values.
    pub(crate) fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.attributes.iter().map(|a| (a.key.get(&self.arena), a.value.get(&self.arena)))
    }
}
