//! Appends calls to the batch of their partition.

mod call;
mod column;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Int16Array, Int64Array, MapArray, RecordBatch, StructArray, TimestampMicrosecondArray,
};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::Field;

pub use self::call::{AttributeName, Call, Entry, Key, Same, SharedAttributes};
use self::column::{Ids, NULL, Nullable, Word, dictionary};
use crate::calls::{MAX_ENTRIES, MAX_ROWS, RawCalls, entry_fields, schema};
use crate::interner::{Interner, replace};
use crate::{Partition, partition_of};

/// One builder per partition, so that no batch is ever split after it is built: a slice would drag the
/// whole dictionary along (measured: 2 048 rows cut into 16 slices cost 1 811 B a row, built apart 408 B).
pub struct Builders {
    parts: Vec<CallBuilder>,
    rows: usize,
}

/// How far each builder had got; see [`Builders::rollback`].
pub struct Checkpoint(Vec<(usize, usize)>);

impl Builders {
    /// Makes empty builders for `partitions` partitions (at least one).
    pub fn new(partitions: u16) -> Builders {
        Builders { parts: (0..partitions.max(1)).map(|_| CallBuilder::default()).collect(), rows: 0 }
    }

    /// Rows appended over all partitions since the last [`Builders::finish`].
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Whether any partition's batch is at one of its limits and must be finished before more is appended.
    pub fn is_full(&self) -> bool {
        self.parts.iter().any(CallBuilder::is_full)
    }

    /// Appends one call to the batch of its partition. `attributes` are (name, value) in order of arrival.
    pub fn append<'a>(&mut self, call: &Call<'_>, attributes: impl Iterator<Item = (&'a str, &'a str)>) {
        let entries = attributes.map(|(key, value)| Entry { key: Key::Text(key), value });
        self.append_with(call, 0, &[], entries);
    }

    /// Appends one call whose attributes are those in `shared` and then `attributes`. `number` is the call's,
    /// for [`Builders::append_like`]; 0 if none is to be like it.
    pub fn append_with<'a>(
        &mut self,
        call: &Call<'_>,
        number: u64,
        shared: &[&SharedAttributes],
        attributes: impl Iterator<Item = Entry<'a>>,
    ) {
        self.part(call).append(call, number, shared, attributes);
        self.rows += 1;
    }

    /// Appends one call that has the attributes of the call with the number before `number`, except for the
    /// values in `changed`: by their place among the attributes that were not shared; with other `shared` ones, if
    /// there are any; and the fields that are the `same`. Returns whether it did; it does not if that call is not
    /// the last one of the same batch.
    pub fn append_like<'a>(
        &mut self,
        call: &Call<'_>,
        number: u64,
        same: Same,
        shared: Option<&[&SharedAttributes]>,
        changed: impl Iterator<Item = (usize, &'a str)>,
    ) -> bool {
        let appended = self.part(call).append_like(call, number, same, shared, changed);
        self.rows += usize::from(appended);
        appended
    }

    /// The builder of the call's partition.
    fn part(&mut self, call: &Call<'_>) -> &mut CallBuilder {
        let count = self.parts.len() as u16;
        let partition =
            if count == 1 { 0 } else { partition_of(call.cluster, call.source, call.destination, count).0 };
        &mut self.parts[usize::from(partition)]
    }

    /// Remembers how far the builders have got, so that a request found to be malformed half-way leaves nothing.
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint(self.parts.iter().map(|p| (p.received_at.len(), p.entry_keys.len())).collect())
    }

    /// Forgets every call appended since `checkpoint`, which must be younger than the last [`Builders::finish`].
    pub fn rollback(&mut self, checkpoint: &Checkpoint) {
        for (part, &(rows, entries)) in self.parts.iter_mut().zip(&checkpoint.0) {
            part.truncate(rows, entries);
        }
        self.rows = self.parts.iter().map(|p| p.received_at.len()).sum();
    }

    /// Hands out the batches of all partitions that have rows, and starts again.
    pub fn finish(&mut self) -> Vec<(Partition, RawCalls)> {
        self.rows = 0;
        let parts = self.parts.iter_mut().enumerate();
        parts
            .filter(|(_, b)| !b.received_at.is_empty())
            .map(|(i, b)| (Partition(i as u16), b.finish()))
            .collect()
    }
}

/// Builds one partition's batch, column by column.
#[derive(Default)]
pub struct CallBuilder {
    received_at: Vec<i64>,
    started_at: Vec<i64>,
    duration_ns: Nullable<i64>,
    words: [Word; WORDS],
    status: Nullable<i16>,
    bytes_in: Nullable<i64>,
    bytes_out: Nullable<i64>,
    trace_id: Ids,
    span_id: Ids,
    parent_span_id: Ids,
    keys: Interner,
    values: Interner,
    entry_keys: Vec<u32>,
    entry_values: Vec<u32>,
    entry_ends: Vec<i32>,
    /// By the number of a name, what came with it last: proxies send the same attributes in the same order,
    /// so most names, and many values, are found by one comparison and no hashing.
    predicted: Vec<Predicted>,
    /// The name with which rows began last.
    first_key: u32,
    /// Numbers of the known names that this batch has, by their id; [`NULL`] for the others.
    names: Vec<u32>,
    /// Entries of the shared attributes that this batch has, by their id.
    shared: HashMap<u64, Vec<(u32, u32)>, foldhash::fast::FixedState>,
    last: Last,
}

/// The last row, for the next one to be like it.
#[derive(Clone, Copy, Default)]
struct Last {
    /// Its call's number; 0 if it has none.
    number: u64,
    /// How many of its entries are shared.
    shared: usize,
}

#[derive(Clone, Copy)]
struct Predicted {
    value: u32,
    /// The name that followed.
    next_key: u32,
}

impl Default for Predicted {
    fn default() -> Predicted {
        Predicted { value: NULL, next_key: NULL }
    }
}

// Places of the string columns in `CallBuilder::words`.
const SIGNAL: usize = 0;
const CLUSTER: usize = 1;
const SOURCE: usize = 2;
const DESTINATION: usize = 3;
const SOURCE_IDENTITY: usize = 4;
const DESTINATION_IDENTITY: usize = 5;
const OPERATION: usize = 6;
const METHOD: usize = 7;
const PATH: usize = 8;
const OUTCOME: usize = 9;
const AUTHN: usize = 10;
const AUTHZ: usize = 11;
const TLS: usize = 12;
const FLAGS: usize = 13;
const WORDS: usize = 14;

impl CallBuilder {
    /// Whether the batch is at one of its limits.
    pub fn is_full(&self) -> bool {
        // A tenth of the entries is kept free for the row that is being appended.
        self.received_at.len() >= MAX_ROWS
            || self.entry_keys.len() >= MAX_ENTRIES / 10 * 9
            || self.values.bytes() > (i32::MAX / 4) as usize
    }

    fn append<'a>(
        &mut self,
        call: &Call<'_>,
        number: u64,
        shared: &[&SharedAttributes],
        attributes: impl Iterator<Item = Entry<'a>>,
    ) {
        self.append_fields(call, Same::default());
        let start = self.entry_keys.len();
        shared.iter().for_each(|run| self.append_shared(run));
        self.last = Last { number, shared: self.entry_keys.len() - start };
        self.append_entries(attributes);
        self.entry_ends.push(self.entry_keys.len() as i32);
    }

    fn append_like<'a>(
        &mut self,
        call: &Call<'_>,
        number: u64,
        same: Same,
        shared: Option<&[&SharedAttributes]>,
        changed: impl Iterator<Item = (usize, &'a str)>,
    ) -> bool {
        if self.last.number == 0 || self.last.number != number - 1 {
            return false;
        }
        self.append_fields(call, same);
        let start = self.entry_ends.len().checked_sub(2).map_or(0, |before| self.entry_ends[before] as usize);
        let (end, own) = (self.entry_keys.len(), start + self.last.shared);
        match shared {
            None => self.repeat_entries(start..end),
            Some(shared) => {
                shared.iter().for_each(|run| self.append_shared(run));
                self.last.shared = self.entry_keys.len() - end;
                self.repeat_entries(own..end);
            }
        }
        let first = end + self.last.shared;
        for (place, value) in changed {
            self.entry_values[first + place] = self.value(self.entry_keys[first + place], value);
        }
        self.entry_ends.push(self.entry_keys.len() as i32);
        self.last.number = number;
        true
    }

    fn repeat_entries(&mut self, entries: Range<usize>) {
        self.entry_keys.extend_from_within(entries.clone());
        self.entry_values.extend_from_within(entries);
    }

    fn append_fields(&mut self, call: &Call<'_>, same: Same) {
        self.received_at.push(call.received_at.0);
        self.started_at.push(call.started_at.0);
        self.duration_ns.push(call.duration_ns);
        self.words[SOURCE].push(call.source);
        if same.pair {
            let kept = [SIGNAL, CLUSTER, DESTINATION, SOURCE_IDENTITY, DESTINATION_IDENTITY];
            kept.into_iter().for_each(|word| self.words[word].push_again());
        } else {
            self.words[SIGNAL].push(Some(call.signal.as_str()));
            self.words[CLUSTER].push(Some(call.cluster));
            self.words[DESTINATION].push(call.destination);
            self.words[SOURCE_IDENTITY].push(call.source_identity);
            self.words[DESTINATION_IDENTITY].push(call.destination_identity);
        }
        if same.request {
            [OPERATION, METHOD, PATH].into_iter().for_each(|word| self.words[word].push_again());
        } else {
            self.words[OPERATION].push(call.operation);
            self.words[METHOD].push(call.method);
            self.words[PATH].push(call.path);
        }
        if same.response {
            [OUTCOME, AUTHN, AUTHZ, TLS, FLAGS].into_iter().for_each(|word| self.words[word].push_again());
        } else {
            self.words[OUTCOME].push(Some(call.outcome.as_str()));
            self.words[AUTHN].push(call.authn);
            self.words[AUTHZ].push(call.authz);
            self.words[TLS].push(call.tls);
            self.words[FLAGS].push(call.flags);
        }
        self.status.push(call.status);
        self.bytes_in.push(call.bytes_in);
        self.bytes_out.push(call.bytes_out);
        self.trace_id.push(call.trace_id.map(<[u8; 16]>::as_slice), 16);
        self.span_id.push(call.span_id.map(<[u8; 8]>::as_slice), 8);
        self.parent_span_id.push(call.parent_span_id.map(<[u8; 8]>::as_slice), 8);
    }

    fn append_shared(&mut self, run: &SharedAttributes) {
        let (keys, values) = (&mut self.keys, &mut self.values);
        let entries = self.shared.entry(run.id()).or_insert_with(|| {
            run.entries.iter().map(|(key, value)| (keys.id(key), values.id(value))).collect()
        });
        self.entry_keys.extend(entries.iter().map(|(key, _)| key));
        self.entry_values.extend(entries.iter().map(|(_, value)| value));
    }

    fn append_entries<'a>(&mut self, attributes: impl Iterator<Item = Entry<'a>>) {
        self.predicted.resize(self.keys.len(), Predicted::default());
        let (mut expected, mut before) = (self.first_key, None);
        // Not a `for` loop: iterating from within lets the compiler join this body with the iterator's.
        attributes.for_each(|entry| {
            let key_id = match entry.key {
                Key::Known(name) => match self.names.get(name.id as usize) {
                    Some(&id) if id != NULL => id,
                    _ => self.learn(name),
                },
                Key::Text(key) if self.keys.is_at(expected, key) => expected,
                Key::Text(key) => self.unexpected(key, before),
            };
            expected = self.predicted[key_id as usize].next_key;
            self.entry_keys.push(key_id);
            let value_id = self.value(key_id, entry.value);
            self.entry_values.push(value_id);
            before = Some(key_id);
        });
    }

    /// The number of a value under the name with this number.
    #[inline]
    fn value(&mut self, key_id: u32, value: &str) -> u32 {
        let predicted = &mut self.predicted[key_id as usize];
        if !self.values.is_at(predicted.value, value) {
            predicted.value = self.values.id(value);
        }
        predicted.value
    }

    #[cold]
    fn learn(&mut self, name: &AttributeName) -> u32 {
        let (id, place) = (self.keys.id(&name.text), name.id as usize);
        if self.names.len() <= place {
            self.names.resize(place + 1, NULL);
        }
        self.names[place] = id;
        self.predicted.resize(self.keys.len(), Predicted::default());
        id
    }

    /// The number of a name that did not follow `before` the last time, but does now.
    fn unexpected(&mut self, key: &str, before: Option<u32>) -> u32 {
        let key_id = self.keys.id(key);
        self.predicted.resize(self.keys.len(), Predicted::default());
        match before {
            Some(before) => self.predicted[before as usize].next_key = key_id,
            None => self.first_key = key_id,
        }
        key_id
    }

    fn truncate(&mut self, rows: usize, entries: usize) {
        self.received_at.truncate(rows);
        self.started_at.truncate(rows);
        self.duration_ns.truncate(rows);
        self.words.iter_mut().for_each(|w| w.keys.truncate(rows));
        self.status.truncate(rows);
        self.bytes_in.truncate(rows);
        self.bytes_out.truncate(rows);
        self.trace_id.truncate(rows, 16);
        self.span_id.truncate(rows, 8);
        self.parent_span_id.truncate(rows, 8);
        self.entry_keys.truncate(entries);
        self.entry_values.truncate(entries);
        self.entry_ends.truncate(rows);
        self.last = Last::default();
    }

    fn finish(&mut self) -> RawCalls {
        self.predicted.clear();
        self.first_key = 0;
        self.names.clear();
        self.shared.clear();
        self.last = Last::default();
        let time = |values: Vec<i64>| -> ArrayRef {
            Arc::new(TimestampMicrosecondArray::from(values).with_timezone("UTC"))
        };
        let [
            signal,
            cluster,
            source,
            destination,
            source_identity,
            destination_identity,
            operation,
            method,
            path,
            outcome,
            authn,
            authz,
            tls,
            flags,
        ] = self.words.each_mut().map(Word::finish);
        let columns: Vec<ArrayRef> = vec![
            time(replace(&mut self.received_at)),
            time(replace(&mut self.started_at)),
            self.duration_ns.finish(|v, n| Arc::new(Int64Array::new(v, n))),
            signal,
            cluster,
            source,
            destination,
            source_identity,
            destination_identity,
            operation,
            method,
            path,
            self.status.finish(|v, n| Arc::new(Int16Array::new(v, n))),
            outcome,
            self.bytes_in.finish(|v, n| Arc::new(Int64Array::new(v, n))),
            self.bytes_out.finish(|v, n| Arc::new(Int64Array::new(v, n))),
            authn,
            authz,
            tls,
            self.trace_id.finish(16),
            self.span_id.finish(8),
            self.parent_span_id.finish(8),
            flags,
            self.finish_attributes(),
        ];
        RawCalls::new(RecordBatch::try_new(schema(), columns).expect("every column has one value per row"))
    }

    fn finish_attributes(&mut self) -> ArrayRef {
        let keys = dictionary(replace(&mut self.entry_keys), None, self.keys.finish());
        let values = dictionary(replace(&mut self.entry_values), None, self.values.finish());
        let entries = StructArray::new(entry_fields(), vec![keys, values], None);
        let ends = replace(&mut self.entry_ends);
        let offsets: Vec<i32> = std::iter::once(0).chain(ends).collect();
        let field =
            Arc::new(Field::new("entries", arrow::datatypes::DataType::Struct(entry_fields()), false));
        Arc::new(MapArray::new(field, OffsetBuffer::new(ScalarBuffer::from(offsets)), entries, None, false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EventTime, Signal};
    use proptest::prelude::*;

    fn append(builders: &mut Builders, n: u32) {
        let source = format!("ns/s{}", n % 3);
        let mut call =
            Call::new(EventTime(i64::from(n)), EventTime(i64::from(n) - 5), Signal::LogServer, "prod");
        call.source = (!n.is_multiple_of(4)).then_some(source.as_str());
        call.destination = Some("ns/d");
        call.status = (!n.is_multiple_of(5)).then_some(200);
        call.trace_id = n.is_multiple_of(2).then_some(&[7; 16]);
        let value = format!("v{}", n % 7);
        let attributes = [("a", "1"), ("b", value.as_str())];
        builders.append(&call, attributes.into_iter().take((n % 3) as usize));
    }

    #[test]
    fn what_calls_share_reads_back_in_every_row_of_every_batch() {
        let mut builders = Builders::new(1);
        let pairs = |name: &str| vec![(name.to_owned(), "x".to_owned()), ("b".to_owned(), name.to_owned())];
        let name = AttributeName::new("a");
        let (one, two) = (SharedAttributes::new(pairs("one")), SharedAttributes::new(pairs("two")));
        let call = Call::new(EventTime(9), EventTime(5), Signal::LogServer, "prod");
        for _batch in 0..2 {
            let entry = |key, value| Entry { key, value };
            let attributes =
                [entry(Key::Known(&name), "1"), entry(Key::Text("b"), "2"), entry(Key::Known(&name), "2")];
            builders.append_with(&call, 0, &[&one, &two], attributes.into_iter());
            builders.append(&call, [("one", "own"), ("b", "one")].into_iter());
            builders.append_with(&call, 0, &[&two], std::iter::empty());
            let attributes = [entry(Key::Text("c"), "1"), entry(Key::Text("a"), "1")];
            builders.append_with(&call, 0, &[&one], attributes.into_iter());
            let raw = builders.finish().remove(0).1;
            let attributes = raw.columns().attributes();
            let row = |row| attributes.row(row).collect::<Vec<_>>();
            assert_eq!(
                row(0),
                [("one", "x"), ("b", "one"), ("two", "x"), ("b", "two"), ("a", "1"), ("b", "2"), ("a", "2")]
            );
            assert_eq!(row(1), [("one", "own"), ("b", "one")]);
            assert_eq!(row(2), [("two", "x"), ("b", "two")]);
            assert_eq!(row(3), [("one", "x"), ("b", "one"), ("c", "1"), ("a", "1")]);
        }
    }

    #[test]
    fn what_is_appended_reads_back_in_order() {
        let mut builders = Builders::new(1);
        (0..50).for_each(|n| append(&mut builders, n));
        let raw = builders.finish().remove(0).1;
        let columns = raw.columns();
        let (source, status, attributes) = (columns.source(), columns.status(), columns.attributes());
        for n in 0..50usize {
            assert_eq!(columns.received_at()[n], n as i64);
            assert_eq!(source.get(n), (n % 4 != 0).then_some(["ns/s0", "ns/s1", "ns/s2"][n % 3]));
            assert_eq!(arrow::array::Array::is_null(status, n), n % 5 == 0);
            let want = format!("v{}", n % 7);
            assert_eq!(attributes.get(n, "b"), (n % 3 == 2).then_some(want.as_str()));
            assert_eq!(attributes.row(n).count(), n % 3);
        }
        assert!(builders.finish().is_empty(), "a finished builder is empty");
    }

    proptest! {
        #[test]
        fn a_rolled_back_request_leaves_nothing(before in 0u32..40, torn in 0u32..40, after in 0u32..40) {
            let (mut a, mut b) = (Builders::new(3), Builders::new(3));
            for n in 0..before { append(&mut a, n); append(&mut b, n); }
            let checkpoint = a.checkpoint();
            for n in 500..500 + torn { append(&mut a, n); }
            a.rollback(&checkpoint);
            for n in 100..100 + after { append(&mut a, n); append(&mut b, n); }
            prop_assert_eq!(a.rows(), (before + after) as usize);
            let rows = |builders: &mut Builders| -> Vec<Vec<String>> {
                builders.finish().iter().map(|(p, raw)| {
                    let c = raw.columns();
                    (0..raw.len()).map(|r| format!("{p:?} {} {:?} {:?}", c.received_at()[r], c.source().get(r),
                        c.attributes().row(r).collect::<Vec<_>>())).collect()
                }).collect()
            };
            prop_assert_eq!(rows(&mut a), rows(&mut b));
        }
    }
}
