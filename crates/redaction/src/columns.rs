//! Redacts a batch: each distinct value once, columns without a change shared.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, DictionaryArray, MapArray, RecordBatch, StringArray, StringBuilder, StructArray,
    UInt32Array,
};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::{DataType, UInt32Type};
use lapwing_telemetry::{Calls, RawCalls};

use crate::cache::Outcome;
use crate::fields::{FieldClass, looks_technical};
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
        let is_identity = IDENTITIES.contains(&name);
        let mut changes: Vec<(usize, Outcome)> = Vec::new();
        for (id, value) in values.iter().enumerate() {
            let value = value.unwrap_or_default();
            if is_identity && is_spiffe(value) {
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
        let (name_texts, value_texts) = (strings(names.values()), strings(values.values()));
        let new_names = self.names(names);

        let classes: Vec<FieldClass> = {
            let (fields, keys) = (&self.rules.fields, &self.rules.scanner.keys);
            name_texts.iter().map(|name| fields.class(name.unwrap_or_default(), keys)).collect()
        };
        let mut decisions = Decisions::new(value_texts.len());
        let mut new_ids: Vec<u32> = Vec::new();
        let entries = names.keys().values().iter().zip(values.keys().values());
        for (entry, (name, id)) in entries.enumerate() {
            let decision = decisions.of(self, classes[*name as usize], *id, value_texts);
            if decision == UNCHANGED {
                if !new_ids.is_empty() {
                    new_ids.push(*id);
                }
                continue;
            }
            if new_ids.is_empty() {
                new_ids.reserve(values.len());
                new_ids.extend_from_slice(&values.keys().values()[..entry]);
            }
            new_ids.push(value_texts.len() as u32 + decision);
            decisions.replaced[decision as usize].uses += 1;
        }
        for replaced in &decisions.replaced {
            self.counts.add(&replaced.hits, replaced.uses);
        }
        if new_ids.is_empty() && new_names.is_none() && decisions.all_used() {
            return column.clone();
        }
        let new_values: ArrayRef = if new_ids.is_empty() && decisions.all_used() {
            map.values().clone()
        } else {
            let keys = if new_ids.is_empty() {
                values.keys().clone()
            } else {
                UInt32Array::new(ScalarBuffer::from(new_ids), None)
            };
            decisions.compact(&keys, value_texts)
        };
        let new_names = new_names.unwrap_or_else(|| map.keys().clone());
        let DataType::Map(field, sorted) = map.data_type() else { return column.clone() };
        let DataType::Struct(entry_fields) = field.data_type() else { return column.clone() };
        let entries = StructArray::new(entry_fields.clone(), vec![new_names, new_values], None);
        Arc::new(MapArray::new(field.clone(), map.offsets().clone(), entries, map.nulls().cloned(), *sorted))
    }

    /// Names of attributes can hold personal data too: a map keyed by e-mail address.
    fn names(&mut self, names: &DictionaryArray<UInt32Type>) -> Option<ArrayRef> {
        let texts = strings(names.values());
        let outcomes: Vec<Outcome> =
            texts.iter().map(|name| self.decide(FieldClass::default(), name.unwrap_or_default())).collect();
        if outcomes.iter().all(|o| *o == Outcome::Clean) {
            return None;
        }
        let mut uses = vec![0u64; texts.len()];
        names.keys().values().iter().for_each(|id| uses[*id as usize] += 1);
        let mut new: Vec<&str> = texts.iter().map(Option::unwrap_or_default).collect();
        for (id, outcome) in outcomes.iter().enumerate() {
            if let Outcome::Replaced { text, hits } = outcome {
                self.counts.add(hits, uses[id]);
                new[id] = text;
            }
        }
        Some(Arc::new(DictionaryArray::new(names.keys().clone(), built(&new))))
    }
}

/// What stands for "the value stays", where the number of a replacement would stand.
const UNCHANGED: u32 = u32::MAX;
/// What stands for "not judged yet".
const UNKNOWN: u32 = u32::MAX - 1;

/// What was decided about the values of one batch.
struct Decisions {
    /// For each value the class it was first judged under, and what was decided.
    first: Vec<(u32, u32)>,
    /// Decisions under further classes; few values stand under names of different classes.
    more: std::collections::HashMap<(u32, u32), u32>,
    /// Values that stand somewhere unchanged.
    kept: Vec<bool>,
    replaced: Vec<Replaced>,
}

struct Replaced {
    text: Box<str>,
    hits: Box<[u16]>,
    uses: u64,
}

impl Decisions {
    fn new(values: usize) -> Decisions {
        Decisions {
            first: vec![(0, UNKNOWN); values],
            more: std::collections::HashMap::new(),
            kept: vec![false; values],
            replaced: Vec::new(),
        }
    }

    fn of(&mut self, redactor: &mut Redactor, class: FieldClass, id: u32, values: &StringArray) -> u32 {
        let code = class.code();
        let (first_code, first) = self.first[id as usize];
        if first != UNKNOWN {
            if first_code == code {
                return first;
            }
            if let Some(decision) = self.more.get(&(code, id)) {
                return *decision;
            }
        }
        let decision = self.judge(redactor, class, id, values.value(id as usize));
        if first == UNKNOWN {
            self.first[id as usize] = (code, decision);
        } else {
            self.more.insert((code, id), decision);
        }
        decision
    }

    fn judge(&mut self, redactor: &mut Redactor, class: FieldClass, id: u32, value: &str) -> u32 {
        let outcome =
            if class.skip && looks_technical(value) { Outcome::Clean } else { redactor.decide(class, value) };
        match outcome {
            Outcome::Clean => {
                self.kept[id as usize] = true;
                UNCHANGED
            }
            Outcome::Replaced { text, hits } => {
                self.replaced.push(Replaced { text, hits, uses: 0 });
                self.replaced.len() as u32 - 1
            }
        }
    }

    /// Whether every value of the dictionary stands somewhere unchanged. One that does not must go: it may
    /// be what was replaced, or belong to a call that was rolled back and never looked at.
    fn all_used(&self) -> bool {
        self.kept.iter().all(|k| *k)
    }

    /// A dictionary of the values that stay and the replacements; `keys` number the old values and behind
    /// them the replacements.
    fn compact(&self, keys: &UInt32Array, values: &StringArray) -> ArrayRef {
        let mut numbers = Vec::with_capacity(values.len() + self.replaced.len());
        let mut texts: Vec<&str> = Vec::with_capacity(values.len());
        for (id, kept) in self.kept.iter().enumerate() {
            numbers.push(texts.len() as u32);
            if *kept {
                texts.push(values.value(id));
            }
        }
        for replaced in &self.replaced {
            numbers.push(texts.len() as u32);
            texts.push(&replaced.text);
        }
        let keys: Vec<u32> = keys.values().iter().map(|id| numbers[*id as usize]).collect();
        let keys = UInt32Array::new(ScalarBuffer::from(keys), None);
        Arc::new(DictionaryArray::<UInt32Type>::new(keys, built(&texts)))
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

/// Whether a value is a SPIFFE id as its standard allows it: no character that e-mail addresses or queries need.
fn is_spiffe(value: &str) -> bool {
    let Some(rest) = value.strip_prefix("spiffe://") else { return false };
    rest.len() <= 2_048
        && rest.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'.' | b'-' | b'_'))
}
