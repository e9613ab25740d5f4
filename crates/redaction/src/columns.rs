//! Redacts a batch: each distinct value once, columns without a change shared.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, DictionaryArray, MapArray, RecordBatch, StringArray, StringBuilder, StructArray,
    UInt32Array,
};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, UInt32Type};
use lapwing_telemetry::{Calls, RawCalls};

use crate::cache::Outcome;
use crate::fields::FieldClass;
use crate::redactor::Redactor;

/// Columns that decode fills from a service-name alphabet, or with its own words.
const LEFT_ALONE: &[&str] = &["signal", "cluster", "source", "destination", "outcome"];
/// Columns that hold verified identities.
const IDENTITIES: &[&str] = &["source_identity", "destination_identity"];

impl Redactor {
    /// Redacts a batch: the only road from raw calls to calls.
    pub fn redact(&mut self, raw: RawCalls) -> Calls {
        let batch = raw.into_batch();
        let schema = batch.schema();
        let columns: Vec<ArrayRef> = schema
            .fields()
            .iter()
            .zip(batch.columns())
            .map(|(field, column)| match field.data_type() {
                DataType::Dictionary(..) if !LEFT_ALONE.contains(&field.name().as_str()) => {
                    self.words(field.name(), column)
                }
                DataType::Map(..) => self.attributes(column),
                _ => column.clone(),
            })
            .collect();
        let batch = RecordBatch::try_new(schema, columns).expect("columns keep their type and length");
        #[expect(
            clippy::disallowed_methods,
            reason = "this is redaction: every text of the batch was just scanned"
        )]
        Calls::redacted(batch).expect("the schema is that of raw calls")
    }

    /// A column of words: its distinct values are scanned as text.
    fn words(&mut self, name: &str, column: &ArrayRef) -> ArrayRef {
        let dictionary = dictionary(column);
        let values = strings(dictionary.values());
        let mut changes: Vec<(usize, Outcome)> = Vec::new();
        for (id, value) in values.iter().enumerate() {
            let value = value.unwrap_or_default();
            if is_left_as_identity(name, value) {
                continue;
            }
            let outcome = self.decide(FieldClass::default(), value);
            if outcome != Outcome::Clean {
                changes.push((id, outcome));
            }
        }
        if changes.is_empty() {
            return column.clone();
        }
        let keys = dictionary.keys();
        let mut uses = vec![0u64; values.len()];
        keys.iter().flatten().for_each(|id| uses[id as usize] += 1);
        let mut texts: Vec<&str> = values.iter().map(Option::unwrap_or_default).collect();
        for (id, outcome) in &changes {
            if let Outcome::Replaced { text, hits } = outcome {
                self.counts.add(hits, uses[*id]);
                texts[*id] = text;
            }
        }
        Arc::new(DictionaryArray::new(keys.clone(), built(&texts)))
    }

    /// The attributes: a value is judged under the name it stands under.
    fn attributes(&mut self, column: &ArrayRef) -> ArrayRef {
        let map = column.as_any().downcast_ref::<MapArray>().expect("the schema says so");
        let (names, values) = (dictionary(map.keys()), dictionary(map.values()));
        let (new_names, classes) = self.names(names);
        let mut decisions = Decisions::new(strings(values.values()));
        let (name_ids, value_ids) = (names.keys().values(), values.keys().values());
        for (name, id) in name_ids.iter().zip(value_ids) {
            let decision = decisions.of(self, classes[*name as usize], *id);
            if decision != KEPT {
                decisions.replaced[decision as usize].uses += 1;
            }
        }
        for replaced in &decisions.replaced {
            self.counts.add(&replaced.hits, replaced.uses);
        }
        let new_values: Option<ArrayRef> = if decisions.all_kept() {
            None
        } else if decisions.several {
            // Some value stays under one name and goes under another: entries are renumbered.
            let ids = name_ids.iter().zip(value_ids).map(|(name, id)| {
                let decision = decisions.known(classes[*name as usize], *id);
                if decision == KEPT { *id } else { decisions.values.len() as u32 + decision }
            });
            let ids = UInt32Array::new(ids.collect(), None);
            Some(Arc::new(DictionaryArray::new(ids, decisions.both())))
        } else {
            Some(Arc::new(DictionaryArray::new(values.keys().clone(), decisions.in_place())))
        };
        if new_names.is_none() && new_values.is_none() {
            return column.clone();
        }
        let new_names = new_names.unwrap_or_else(|| map.keys().clone());
        let new_values = new_values.unwrap_or_else(|| map.values().clone());
        let DataType::Map(field, sorted) = map.data_type() else { return column.clone() };
        let DataType::Struct(entry_fields) = field.data_type() else { return column.clone() };
        let entries = StructArray::new(entry_fields.clone(), vec![new_names, new_values], None);
        Arc::new(MapArray::new(field.clone(), map.offsets().clone(), entries, map.nulls().cloned(), *sorted))
    }

    /// The classes of the names, and the names without the personal data that they may hold: a map may be
    /// keyed by e-mail address. `None` if there is none.
    fn names(&mut self, names: &DictionaryArray<UInt32Type>) -> (Option<ArrayRef>, Vec<FieldClass>) {
        let texts = strings(names.values());
        let decisions: Vec<(FieldClass, Outcome)> =
            texts.iter().map(|name| self.name(name.unwrap_or_default())).collect();
        let classes = decisions.iter().map(|(class, _)| *class).collect();
        if decisions.iter().all(|(_, outcome)| *outcome == Outcome::Clean) {
            return (None, classes);
        }
        let mut uses = vec![0u64; texts.len()];
        names.keys().values().iter().for_each(|id| uses[*id as usize] += 1);
        let mut new: Vec<&str> = texts.iter().map(Option::unwrap_or_default).collect();
        for (id, (_, outcome)) in decisions.iter().enumerate() {
            if let Outcome::Replaced { text, hits } = outcome {
                self.counts.add(hits, uses[id]);
                new[id] = text;
            }
        }
        (Some(Arc::new(DictionaryArray::new(names.keys().clone(), built(&new)))), classes)
    }
}

/// What stands for "the value stays", where the number of a replacement would stand.
const KEPT: u32 = u32::MAX;
/// What stands for "not judged yet".
const UNKNOWN: u32 = u32::MAX - 1;

/// What was decided about the values of one batch.
struct Decisions<'a> {
    values: &'a StringArray,
    /// For each value the class it was first judged under, and what was decided.
    first: Vec<(u32, u32)>,
    /// Decisions under further classes; few values stand under names of different classes.
    more: HashMap<(u32, u32), u32, foldhash::fast::RandomState>,
    /// Whether about any value several things were decided.
    several: bool,
    replaced: Vec<Replaced>,
}

struct Replaced {
    text: Box<str>,
    hits: Box<[u16]>,
    uses: u64,
}

impl<'a> Decisions<'a> {
    fn new(values: &'a StringArray) -> Decisions<'a> {
        Decisions {
            values,
            first: vec![(0, UNKNOWN); values.len()],
            more: HashMap::default(),
            several: false,
            replaced: Vec::new(),
        }
    }

    fn of(&mut self, redactor: &mut Redactor, class: FieldClass, id: u32) -> u32 {
        let code = class.code();
        let (first_code, first) = self.first[id as usize];
        if first_code == code && first != UNKNOWN {
            return first;
        }
        if first != UNKNOWN
            && let Some(decision) = self.more.get(&(code, id))
        {
            return *decision;
        }
        let decision = match redactor.decide(class, self.values.value(id as usize)) {
            Outcome::Clean => KEPT,
            Outcome::Replaced { text, hits } => {
                self.replaced.push(Replaced { text, hits, uses: 0 });
                self.replaced.len() as u32 - 1
            }
        };
        if first == UNKNOWN {
            self.first[id as usize] = (code, decision);
        } else {
            self.several |= first != KEPT || decision != KEPT;
            self.more.insert((code, id), decision);
        }
        decision
    }

    /// What was decided; every entry has been judged before.
    fn known(&self, class: FieldClass, id: u32) -> u32 {
        let code = class.code();
        let (first_code, first) = self.first[id as usize];
        if first_code == code { first } else { self.more.get(&(code, id)).copied().unwrap_or(first) }
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
                replaced => texts.put(&self.replaced[replaced as usize].text),
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
        self.replaced.iter().for_each(|r| texts.put(&r.text));
        texts.finish()
    }
}

/// Builds a dictionary from another one: neighbours that stay are copied together.
struct Texts<'a> {
    values: &'a StringArray,
    bytes: Vec<u8>,
    ends: Vec<i32>,
    /// Values that stay and are not copied yet.
    pending: std::ops::Range<usize>,
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

fn built(texts: &[&str]) -> ArrayRef {
    let mut builder = StringBuilder::with_capacity(texts.len(), texts.iter().map(|t| t.len()).sum());
    texts.iter().for_each(|text| builder.append_value(text));
    Arc::new(builder.finish())
}

fn dictionary(column: &ArrayRef) -> &DictionaryArray<UInt32Type> {
    column.as_any().downcast_ref().expect("the schema says so")
}

fn strings(values: &ArrayRef) -> &StringArray {
    values.as_any().downcast_ref().expect("the schema says so")
}

/// Whether a value of a column is a verified identity that stays as it is.
pub(crate) fn is_left_as_identity(column: &str, value: &str) -> bool {
    IDENTITIES.contains(&column) && is_spiffe(value)
}

/// Whether a value is a SPIFFE id as its standard allows it: no character that e-mail addresses or queries need.
fn is_spiffe(value: &str) -> bool {
    let Some(rest) = value.strip_prefix("spiffe://") else { return false };
    rest.len() <= 2_048
        && rest.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'.' | b'-' | b'_'))
}
