//! What is decided about the distinct values of one column, and the column made of it.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, DictionaryArray, StringArray, UInt32Array};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::UInt32Type;

use crate::cache::Outcome;
use crate::kinds::{FieldKind, KINDS};

/// What stands for "the value stays", where the number of a replacement would stand.
pub(crate) const KEPT: u32 = u32::MAX;
/// What stands for "not judged yet".
const UNKNOWN: u32 = u32::MAX - 1;

/// What was decided about the values of one column of a batch.
pub(crate) struct Decisions<'a> {
    values: &'a StringArray,
    /// For each value the class it was first judged under, and what was decided.
    first: Vec<(u64, u32)>,
    /// Decisions under further classes; few values stand under names of different classes.
    more: HashMap<(u64, u32), u32, foldhash::fast::RandomState>,
    /// Whether about any value several things were decided.
    several: bool,
    pub(crate) replaced: Vec<Replaced>,
}

/// A value that does not stay.
pub(crate) struct Replaced {
    /// `None`: the entry disappears.
    pub(crate) text: Option<Box<str>>,
    pub(crate) hits: Box<[u16]>,
    /// How often it stands in fields of each kind.
    pub(crate) uses: [u32; KINDS],
    /// The number of what held there.
    pub(crate) scope: u16,
}

impl<'a> Decisions<'a> {
    pub(crate) fn new(values: &'a StringArray) -> Decisions<'a> {
        Decisions {
            values,
            first: vec![(0, UNKNOWN); values.len()],
            more: HashMap::default(),
            several: false,
            replaced: Vec::new(),
        }
    }

    /// What is decided about the value `id` under a class; `decide` is asked once for each class.
    pub(crate) fn of(
        &mut self,
        code: u64,
        scope: u16,
        id: u32,
        decide: impl FnOnce(&'a str) -> Outcome,
    ) -> u32 {
        let (first_code, first) = self.first[id as usize];
        if first_code == code && first != UNKNOWN {
            return first;
        }
        if first != UNKNOWN
            && let Some(decision) = self.more.get(&(code, id))
        {
            return *decision;
        }
        let (text, hits) = match decide(self.values.value(id as usize)) {
            Outcome::Clean => (None, None),
            Outcome::Replaced { text, hits } => (Some(text), Some(hits)),
            Outcome::Dropped { hits } => (None, Some(hits)),
        };
        let decision = hits.map_or(KEPT, |hits| {
            self.replaced.push(Replaced { text, hits, uses: [0; KINDS], scope });
            self.replaced.len() as u32 - 1
        });
        if first == UNKNOWN {
            self.first[id as usize] = (code, decision);
        } else {
            self.several |= first != KEPT || decision != KEPT;
            self.more.insert((code, id), decision);
        }
        decision
    }

    /// Counts one more place where a decision applies.
    pub(crate) fn used(&mut self, decision: u32, kind: FieldKind) {
        if decision != KEPT {
            self.replaced[decision as usize].uses[kind as usize] += 1;
        }
    }

    /// What was decided; every entry has been judged before.
    pub(crate) fn known(&self, code: u64, id: u32) -> u32 {
        let (first_code, first) = self.first[id as usize];
        if first_code == code { first } else { self.more.get(&(code, id)).copied().unwrap_or(first) }
    }

    /// Whether anything disappears.
    pub(crate) fn any_dropped(&self) -> bool {
        self.replaced.iter().any(|r| r.text.is_none())
    }

    /// Whether what was decided is that the entry disappears.
    pub(crate) fn is_dropped(&self, decision: u32) -> bool {
        self.replaced.get(decision as usize).is_some_and(|r| r.text.is_none())
    }

    /// The column with what was decided; `None` if it stays as it is. `entries`: class and value of each,
    /// without a value where there is none.
    pub(crate) fn column(
        &self,
        keys: &UInt32Array,
        entries: impl Iterator<Item = (u64, Option<u32>)>,
    ) -> Option<ArrayRef> {
        if self.all_kept() {
            return None;
        }
        if !self.several {
            return Some(Arc::new(DictionaryArray::new(keys.clone(), self.in_place())));
        }
        // Some value stays under one name and goes under another: entries are renumbered.
        let ids = entries.map(|(code, id)| {
            id.map(|id| {
                let decision = self.known(code, id);
                if decision == KEPT { id } else { self.values.len() as u32 + decision }
            })
        });
        let ids: UInt32Array = ids.collect();
        Some(Arc::new(DictionaryArray::<UInt32Type>::new(ids, self.both())))
    }

    /// Whether every value of the dictionary stays. One that stands nowhere must go: it belongs to a call
    /// that was rolled back, and was never looked at.
    fn all_kept(&self) -> bool {
        !self.several && self.first.iter().all(|(_, decision)| *decision == KEPT)
    }

    /// The dictionary with replacements in the places of what they replace.
    fn in_place(&self) -> ArrayRef {
        let mut texts = Texts::new(self.values);
        for (id, (_, decision)) in self.first.iter().enumerate() {
            match *decision {
                KEPT => texts.keep(id),
                UNKNOWN => texts.put(""),
                replaced => texts.put(self.replaced[replaced as usize].text.as_deref().unwrap_or_default()),
            }
        }
        texts.finish()
    }

    /// The dictionary of what stays anywhere, and behind it all replacements.
    fn both(&self) -> ArrayRef {
        let mut kept: Vec<bool> = self.first.iter().map(|(_, decision)| *decision == KEPT).collect();
        let mut also: Vec<u32> =
            self.more.iter().filter(|(_, d)| **d == KEPT).map(|((_, id), _)| *id).collect();
        also.drain(..).for_each(|id| kept[id as usize] = true);
        let mut texts = Texts::new(self.values);
        for (id, kept) in kept.iter().enumerate() {
            if *kept { texts.keep(id) } else { texts.put("") }
        }
        self.replaced.iter().for_each(|r| texts.put(r.text.as_deref().unwrap_or_default()));
        texts.finish()
    }
}

/// Builds a dictionary from another one: neighbours that stay are copied together.
struct Texts<'a> {
    values: &'a StringArray,
    bytes: Vec<u8>,
    ends: Vec<i32>,
    /// Values that stay and are not copied yet.
    pending: Range<usize>,
}

impl<'a> Texts<'a> {
    fn new(values: &'a StringArray) -> Texts<'a> {
        let (bytes, ends) =
            (Vec::with_capacity(values.value_data().len()), Vec::with_capacity(values.len() + 1));
        let mut texts = Texts { values, bytes, ends, pending: 0..0 };
        texts.ends.push(0);
        texts
    }

    fn keep(&mut self, id: usize) {
        if self.pending.end != id {
            self.flush();
            self.pending.start = id;
        }
        self.pending.end = id + 1;
    }

    fn put(&mut self, text: &str) {
        self.flush();
        self.bytes.extend_from_slice(text.as_bytes());
        self.ends.push(self.bytes.len() as i32);
    }

    fn flush(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        if pending.is_empty() {
            return;
        }
        let offsets = &self.values.value_offsets()[pending.start..=pending.end];
        let shift = self.bytes.len() as i32 - offsets[0];
        let range = offsets[0] as usize..offsets[offsets.len() - 1] as usize;
        self.bytes.extend_from_slice(&self.values.value_data()[range]);
        self.ends.extend(offsets[1..].iter().map(|o| o + shift));
    }

    fn finish(mut self) -> ArrayRef {
        self.flush();
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.ends));
        Arc::new(StringArray::new(offsets, Buffer::from_vec(self.bytes), None))
    }
}
