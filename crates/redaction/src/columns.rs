//! Redacts a batch: each distinct value once, columns without a change shared.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, DictionaryArray, MapArray, RecordBatch, StringArray, StructArray, UInt32Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, UInt32Type};
use lapwing_telemetry::calls::Words;
use lapwing_telemetry::{Calls, EventTime, RawCalls};

use crate::cache::Outcome;
use crate::decisions::Decisions;
use crate::fields::FieldClass;
use crate::kinds::FieldKind;
use crate::policy::Matched;
use crate::redactor::Redactor;

/// Columns that decode fills from a service-name alphabet, or with its own words.
const LEFT_ALONE: &[&str] = &["signal", "cluster", "source", "destination", "outcome"];
/// Columns that hold verified identities.
const IDENTITIES: &[&str] = &["source_identity", "destination_identity"];

/// Rows, or entries of a map, for which the same holds: the number of the variant, and where they stand.
type Runs = Vec<(u16, Range<usize>)>;

/// What is known of the names of attributes for calls of one variant.
struct Names {
    /// By number of name: the class, and its code.
    classes: Vec<(u64, FieldClass)>,
    outcomes: Vec<Outcome>,
    class_of_names: FieldClass,
}

impl Redactor {
    /// Redacts a batch: the only road from raw calls to calls.
    pub fn redact(&mut self, raw: RawCalls) -> Calls {
        self.forget_if_full();
        let runs = self.runs(&raw);
        let batch = raw.into_batch();
        let schema = batch.schema();
        let columns: Vec<ArrayRef> = schema
            .fields()
            .iter()
            .zip(batch.columns())
            .map(|(field, column)| match field.data_type() {
                DataType::Dictionary(..) if !LEFT_ALONE.contains(&field.name().as_str()) => {
                    self.words(field.name(), column, &runs)
                }
                DataType::Map(..) => self.attributes(column, &runs),
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

    /// What holds for which rows: by the services at both ends, and by the time of arrival.
    fn runs(&mut self, raw: &RawCalls) -> Runs {
        let rows = raw.len();
        let columns = raw.columns();
        let received = columns.received_at();
        let rules = self.rules.clone();
        let epoch = |at: &i64| rules.keys.epoch(EventTime(*at));
        let (earliest, latest) = (received.iter().min().map(epoch), received.iter().max().map(epoch));
        if !rules.policies.by_service() && earliest == latest {
            return vec![(self.variant((None, None), earliest.unwrap_or(0)), 0..rows)];
        }
        let matched = |words: Words<'_>| -> Vec<Matched> {
            words
                .values
                .iter()
                .map(|service| rules.policies.of_service(service.unwrap_or_default()))
                .collect()
        };
        let (source, destination) = (columns.source(), columns.destination());
        let (by_source, by_destination) = (matched(source), matched(destination));
        let mut runs = Runs::new();
        let mut last = None;
        for (row, at) in received.iter().enumerate() {
            let one = source.id(row).map(|id| by_source[id as usize]);
            let other = destination.id(row).map(|id| by_destination[id as usize]);
            let this = ((one, other), epoch(at));
            match runs.last_mut() {
                Some((_, range)) if last == Some(this) => range.end = row + 1,
                _ => runs.push((self.variant(this.0, this.1), row..row + 1)),
            }
            last = Some(this);
        }
        runs
    }

    /// A column of words: its distinct values are scanned as text.
    fn words(&mut self, name: &str, column: &ArrayRef, runs: &Runs) -> ArrayRef {
        let dictionary = dictionary(column);
        let kind = FieldKind::of_column(name);
        let mut decisions = Decisions::new(strings(dictionary.values()));
        let keys = dictionary.keys();
        let mut codes = Vec::with_capacity(runs.len());
        for (variant, rows) in runs {
            let class = self.class_of_text(*variant, kind);
            let code = class.code();
            codes.push((code, rows.clone()));
            let mut judge = |decisions: &mut Decisions<'_>, id| {
                decisions.of(code, class.scope, id, |value| {
                    if is_left_as_identity(name, value) { Outcome::Clean } else { self.decide(class, value) }
                })
            };
            if runs.len() == 1 {
                // Each value once, and rows only if one of them has to be counted.
                for id in 0..dictionary.values().len() as u32 {
                    judge(&mut decisions, id);
                }
                if decisions.replaced.is_empty() {
                    return column.clone();
                }
            }
            for id in rows.clone().filter(|row| keys.is_valid(*row)).map(|row| keys.value(row)) {
                let decision = judge(&mut decisions, id);
                decisions.used(decision, kind);
            }
        }
        self.count(&decisions);
        let entries = codes.into_iter().flat_map(|(code, rows)| {
            rows.map(move |row| (code, keys.is_valid(row).then(|| keys.value(row))))
        });
        decisions.column(keys, entries).unwrap_or_else(|| column.clone())
    }

    /// The attributes: a value is judged under the name it stands under.
    fn attributes(&mut self, column: &ArrayRef, runs: &Runs) -> ArrayRef {
        let map = column.as_any().downcast_ref::<MapArray>().expect("the schema says so");
        let (names, values) = (dictionary(map.keys()), dictionary(map.values()));
        let runs = entries_of(runs, map);
        let (tables, runs) = self.tables(runs, strings(names.values()));
        let (name_ids, value_ids) = (names.keys().values(), values.keys().values());
        let mut decisions = Decisions::new(strings(values.values()));
        for (table, range) in &runs {
            let classes = &tables[usize::from(*table)].classes;
            for (name, id) in name_ids[range.clone()].iter().zip(&value_ids[range.clone()]) {
                let (code, class) = classes[*name as usize];
                let decision = decisions.of(code, class.scope, *id, |value| self.decide(class, value));
                decisions.used(decision, class.kind);
            }
        }
        self.count(&decisions);
        let of_names = self.judged_names(names, &tables, &runs);
        let class_of = |table: u16, name: u32| tables[usize::from(table)].classes[name as usize].0;
        let entries =
            || runs.iter().flat_map(|(table, range)| range.clone().map(move |entry| (*table, entry)));
        let new_values = decisions.column(
            values.keys(),
            entries().map(|(table, entry)| (class_of(table, name_ids[entry]), Some(value_ids[entry]))),
        );
        let new_names = of_names.as_ref().and_then(|d| {
            d.column(names.keys(), entries().map(|(table, entry)| (u64::from(table), Some(name_ids[entry]))))
        });
        if new_names.is_none() && new_values.is_none() {
            return column.clone();
        }
        let dropped = (decisions.any_dropped() || of_names.as_ref().is_some_and(Decisions::any_dropped))
            .then(|| {
                let is_dropped = |(table, entry): (u16, usize)| {
                    let (name, value) = (name_ids[entry], value_ids[entry]);
                    let of_name =
                        of_names.as_ref().is_some_and(|d| d.is_dropped(d.known(u64::from(table), name)));
                    of_name || decisions.is_dropped(decisions.known(class_of(table, name), value))
                };
                entries().map(is_dropped).collect::<Vec<bool>>()
            });
        let new_names = new_names.unwrap_or_else(|| map.keys().clone());
        let new_values = new_values.unwrap_or_else(|| map.values().clone());
        rebuilt(map, new_names, new_values, dropped.as_deref())
    }

    /// What holds for the names of attributes, once for each variant; the runs then name these tables.
    fn tables(&mut self, mut runs: Runs, names: &StringArray) -> (Vec<Names>, Runs) {
        let mut tables: Vec<Names> = Vec::new();
        let mut of_variant: Vec<(u16, u16)> = Vec::new();
        for (variant, _) in &mut runs {
            let known = of_variant.iter().find(|(v, _)| v == variant).map(|(_, table)| *table);
            *variant = known.unwrap_or_else(|| {
                let judged: Vec<(FieldClass, Outcome)> =
                    names.iter().map(|name| self.name(*variant, name.unwrap_or_default())).collect();
                let classes = judged.iter().map(|(class, _)| (class.code(), *class)).collect();
                let outcomes = judged.into_iter().map(|(_, outcome)| outcome).collect();
                let class_of_names = self.class_of_text(*variant, FieldKind::Name);
                tables.push(Names { classes, outcomes, class_of_names });
                of_variant.push((*variant, tables.len() as u16 - 1));
                tables.len() as u16 - 1
            });
        }
        (tables, runs)
    }

    /// Decisions about names: a map may be keyed by e-mail address. `None` if every name stays.
    fn judged_names<'a>(
        &mut self,
        names: &'a DictionaryArray<UInt32Type>,
        tables: &[Names],
        runs: &Runs,
    ) -> Option<Decisions<'a>> {
        let changes = |table: &Names| table.outcomes.iter().any(|outcome| *outcome != Outcome::Clean);
        if !tables.iter().any(changes) {
            return None;
        }
        let mut decisions = Decisions::new(strings(names.values()));
        for (number, range) in runs {
            let table = &tables[usize::from(*number)];
            for id in &names.keys().values()[range.clone()] {
                let outcome = |_: &str| table.outcomes[*id as usize].clone();
                let decision = decisions.of(u64::from(*number), table.class_of_names.scope, *id, outcome);
                decisions.used(decision, FieldKind::Name);
            }
        }
        self.count(&decisions);
        Some(decisions)
    }

    fn count(&mut self, decisions: &Decisions<'_>) {
        for replaced in &decisions.replaced {
            for (kind, uses) in FieldKind::ALL.iter().zip(replaced.uses).filter(|(_, uses)| *uses > 0) {
                let actions = &self.scopes[usize::from(replaced.scope)].actions;
                self.counts.add(&replaced.hits, actions, *kind, u64::from(uses));
            }
        }
    }
}

/// The entries of the rows of each run. Every entry belongs to a row: decode builds maps without holes.
fn entries_of(runs: &Runs, map: &MapArray) -> Runs {
    let offsets = map.offsets();
    let at = |row: usize| offsets.get(row).map_or(0, |offset| *offset as usize);
    let mut entries: Runs = runs.iter().map(|(v, rows)| (*v, at(rows.start)..at(rows.end))).collect();
    // An entry outside every row is nobody's, and is judged all the same.
    if let Some((_, first)) = entries.first_mut() {
        first.start = 0;
    }
    if let Some((_, last)) = entries.last_mut() {
        last.end = map.keys().len();
    }
    entries
}

/// The map with other names and values, and without the entries that are dropped.
fn rebuilt(map: &MapArray, names: ArrayRef, values: ArrayRef, dropped: Option<&[bool]>) -> ArrayRef {
    let DataType::Map(field, sorted) = map.data_type() else { unreachable!("a map has a map's type") };
    let DataType::Struct(entry_fields) = field.data_type() else { unreachable!("entries are structs") };
    let Some(dropped) = dropped else {
        let entries = StructArray::new(entry_fields.clone(), vec![names, values], None);
        return Arc::new(MapArray::new(
            field.clone(),
            map.offsets().clone(),
            entries,
            map.nulls().cloned(),
            *sorted,
        ));
    };
    let kept = |column: &ArrayRef| -> ArrayRef {
        let column = dictionary(column);
        let ids = column.keys().values().iter().zip(dropped).filter(|(_, dropped)| !**dropped);
        let ids = UInt32Array::from_iter_values(ids.map(|(id, _)| *id));
        Arc::new(DictionaryArray::new(ids, column.values().clone()))
    };
    let entries = StructArray::new(entry_fields.clone(), vec![kept(&names), kept(&values)], None);
    let lengths = map.offsets().windows(2).map(|row| {
        let row = &dropped[row[0] as usize..row[1] as usize];
        row.iter().filter(|dropped| !**dropped).count()
    });
    let offsets = OffsetBuffer::from_lengths(lengths);
    Arc::new(MapArray::new(field.clone(), offsets, entries, map.nulls().cloned(), *sorted))
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
