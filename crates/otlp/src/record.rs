//! One span or log record while it is being read.

use lapwing_telemetry::same;

use crate::attributes::{ROLES, Role};
use crate::known_names::NameId;
use crate::tail::Tail;
use crate::value::Text;
use crate::wire::{Fault, string_attribute};

/// An attribute as it was read.
#[derive(Clone, Copy)]
pub(crate) struct Attribute<'a> {
    pub(crate) key: Text<'a>,
    pub(crate) value: Text<'a>,
    pub(crate) role: Role,
    pub(crate) id: NameId,
    /// Where [`crate::known_names::Names`] has its name.
    pub(crate) name_place: u32,
    /// The bytes that it was read from, field key and all, if those bytes say nothing else; else empty.
    pub(crate) field: &'a [u8],
}

impl<'a> Attribute<'a> {
    /// One that is not kept by its bytes.
    pub(crate) fn new(key: Text<'a>, value: Text<'a>, role: Role) -> Attribute<'a> {
        Attribute { key, value, role, id: NameId::NONE, name_place: 0, field: &[] }
    }

    fn has_name_of(&self, other: &Attribute<'_>) -> bool {
        match (self.key, other.key) {
            _ if self.id != other.id || self.role != other.role => false,
            _ if self.id != NameId::NONE => true,
            (Text::Plain(one), Text::Plain(other)) => one == other,
            _ => false,
        }
    }

    fn has_value_of(&self, other: &Attribute<'_>) -> bool {
        matches!((self.value, other.value), (Text::Plain(one), Text::Plain(other)) if one == other)
    }
}

/// Whether a record is a span, and of which kind, or a log record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// With the number of its `SpanKind`.
    Span(i32),
    Log,
}

/// A record's fields, borrowed from the request; reused from record to record.
///
/// Records of one proxy are alike: the same attributes in the same order, most with the value that they had
/// before. So a record keeps the attributes of the one before, each is compared with what now stands in its
/// place, and what is known afterwards is what *changed*.
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
    /// Holds the text of values that are not a piece of the request.
    pub(crate) arena: String,
    /// Those of this record, and behind the first `len` what is left of the record before.
    attributes: Vec<Attribute<'a>>,
    len: usize,
    /// Place of the first attribute of each role, counted from 1; 0 if there is none.
    places: [u16; ROLES],
    /// Whether each of the first 64 attributes says nothing (`-`), as bits.
    silent: u64,
    changes: Changes,
    /// Whether there was a record before.
    has_before: bool,
}

/// How a record's attributes differ from those of the record before it in the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Changes {
    /// Whether they have the same names in the same order; if not, nothing else is known.
    pub(crate) same_names: bool,
    /// Places of those with another value, as bits.
    pub(crate) values: u64,
    /// Their roles, as bits.
    pub(crate) roles: u64,
}

impl Changes {
    const NONE: Changes = Changes { same_names: true, values: 0, roles: 0 };
    const UNKNOWN: Changes = Changes { same_names: false, values: !0, roles: !0 };
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
            arena: String::new(),
            attributes: Vec::new(),
            len: 0,
            places: [0; ROLES],
            silent: 0,
            changes: Changes::UNKNOWN,
            has_before: false,
        }
    }
}

impl<'a> Record<'a> {
    /// Begins another record.
    pub(crate) fn begin(&mut self, kind: Kind) {
        self.kind = kind;
        (self.start_ns, self.end_ns, self.observed_ns) = (0, 0, 0);
        (self.trace_id, self.span_id, self.parent_span_id) = (&[], &[], &[]);
        self.status_code = 0;
        self.body = None;
        self.arena.clear();
        self.len = 0;
        self.changes = if self.has_before { Changes::NONE } else { Changes::UNKNOWN };
        self.has_before = true;
    }

    /// Ends it: what is left of the record before goes.
    pub(crate) fn end(&mut self) {
        if self.attributes.len() > self.len {
            self.truncate(self.len);
        }
    }

    /// Takes over attributes from the record before, or changes their values, as long as `rest` goes on with
    /// fields of this one-byte `key` that are strings of the same names in the same places, up to the `max`-th
    /// attribute. A field longer than `max_bytes` is left to others. Says where the name of the last one is kept.
    #[inline]
    pub(crate) fn take_alike(
        &mut self,
        rest: &mut &'a [u8],
        key: u8,
        (max, max_bytes): (usize, usize),
        tail: &mut Tail<'a>,
    ) -> Result<Option<u32>, Fault> {
        let (mut left, mut name_place) = (*rest, None);
        let (mut changes, mut silent) = (self.changes, self.silent);
        let end = self.attributes.len().min(max).min(64);
        let alike = self.attributes.get_mut(self.len..end).unwrap_or_default();
        let (mut bit, mut taken) = (1 << (self.len & 63), 0);
        for attribute in alike {
            let field = attribute.field;
            match left.split_at_checked(field.len()) {
                Some((bytes, after)) if !field.is_empty() && same(bytes, field) => left = after,
                _ if left.first() != Some(&key) => break,
                _ => {
                    let Some((name, value, len)) = string_attribute(left) else { break };
                    let Text::Plain(known) = attribute.key else { break };
                    if attribute.id == NameId::NONE || len > max_bytes || !same(known.as_bytes(), name) {
                        break;
                    }
                    tail.reach(left);
                    let value = tail.text(value)?;
                    attribute.value = Text::Plain(value);
                    (attribute.field, left) = left.split_at(len);
                    changes.values |= bit;
                    changes.roles |= 1 << attribute.role as u32;
                    silent = if value == "-" { silent | bit } else { silent & !bit };
                }
            }
            name_place = Some(attribute.name_place);
            taken += 1;
            bit <<= 1;
        }
        self.len += taken;
        (self.changes, self.silent) = (changes, silent);
        *rest = left;
        Ok(name_place)
    }

    pub(crate) fn push(&mut self, key: Text<'a>, value: Text<'a>, role: Role) {
        self.put(Attribute::new(key, value, role));
    }

    /// Adds an attribute.
    #[inline]
    pub(crate) fn put(&mut self, attribute: Attribute<'a>) {
        let (place, role) = (self.len, attribute.role);
        self.len += 1;
        match self.attributes.get_mut(place) {
            Some(known) if place < 64 && known.has_name_of(&attribute) => {
                if known.has_value_of(&attribute) {
                    return;
                }
                *known = attribute;
                self.changes.values |= 1 << place;
                self.changes.roles |= 1 << role as u32;
            }
            _ => {
                self.truncate(place);
                self.len += 1;
                self.attributes.push(attribute);
                let first = &mut self.places[role as usize];
                if *first == 0 {
                    // Beyond 65 535 attributes (the limit is far lower) a role is not found any more.
                    *first = u16::try_from(place + 1).unwrap_or(0);
                }
            }
        }
        if place < 64 {
            let is_silent = attribute.value.get(&self.arena) == "-";
            self.silent = self.silent & !(1 << place) | u64::from(is_silent) << place;
        }
    }

    /// Takes back the attributes from the `len`-th on.
    pub(crate) fn truncate(&mut self, len: usize) {
        if self.attributes.len() > len {
            self.attributes.truncate(len);
            self.places.iter_mut().filter(|place| usize::from(**place) > len).for_each(|place| *place = 0);
            self.silent &= first_bits(len);
        }
        self.len = len;
        self.changes = Changes::UNKNOWN;
    }

    /// How many attributes it has so far.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// How its attributes differ from those of the record before.
    pub(crate) fn changes(&self) -> Changes {
        self.changes
    }

    /// The attributes, in order of arrival.
    pub(crate) fn attributes(&self) -> &[Attribute<'a>] {
        &self.attributes[..self.len]
    }

    /// Places of the attributes that say nothing (`-`), as bits, as far as the 64th.
    pub(crate) fn silent_places(&self) -> u64 {
        self.silent & first_bits(self.len)
    }

    /// Whether there is an attribute of this role, even one that says nothing.
    pub(crate) fn has(&self, role: Role) -> bool {
        self.place(role as usize).is_some()
    }

    /// What the first attribute of this role says; `None` if there is none, or it says nothing (`-`).
    #[inline]
    pub(crate) fn get(&self, role: Role) -> Option<&str> {
        let text = self.attributes[self.place(role as usize)?].value.get(&self.arena);
        (text != "-" && !text.is_empty()).then_some(text)
    }

    /// The place of the attribute that [`Record::get`] reads for a role.
    #[inline]
    pub(crate) fn place(&self, role: usize) -> Option<usize> {
        usize::from(self.places[role]).checked_sub(1).filter(|place| *place < self.len)
    }

    /// The attributes' names and values.
    pub(crate) fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.attributes().iter().map(|a| (a.key.get(&self.arena), a.value.get(&self.arena)))
    }
}

/// The lowest `len` bits; all if there are not so many.
pub(crate) fn first_bits(len: usize) -> u64 {
    if len < 64 { (1 << len) - 1 } else { !0 }
}
