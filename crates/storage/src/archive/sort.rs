//! The rows of many batches in one, sorted.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, DictionaryArray, MapArray, RecordBatch, StructArray, UInt32Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::{concat, interleave};
use arrow::datatypes::{DataType, FieldRef, UInt32Type};
use arrow::error::ArrowError;
use lapwing_telemetry::Columns;
use lapwing_telemetry::calls::{Words, schema};

/// The rows of all batches, sorted by pair and then by time: neighbours are alike, so they compress, and a
/// query for one pair reads one run.
///
/// Each column is gathered in its final order at once, the distinct values of the batches one after another:
/// to put the batches together first and sort them then moves every value twice.
pub(super) fn sorted(batches: &[RecordBatch]) -> Result<RecordBatch, ArrowError> {
    let order = order(batches);
    let mut columns = Vec::with_capacity(schema().fields().len());
    for (i, field) in schema().fields().iter().enumerate() {
        let parts: Vec<&ArrayRef> = batches.iter().map(|batch| batch.column(i)).collect();
        columns.push(match field.data_type() {
            DataType::Dictionary(..) => gather_words(&parts, &order)?,
            DataType::Map(entries, _) => gather_maps(&parts, &order, entries)?,
            _ => interleave(&parts.iter().map(AsRef::as_ref).collect::<Vec<_>>(), &order)?,
        });
    }
    RecordBatch::try_new(schema(), columns)
}

/// Batch and row of each row, in the order of cluster, source, destination (absent last) and start.
fn order(batches: &[RecordBatch]) -> Vec<(usize, usize)> {
    let columns: Vec<Columns<'_>> = batches.iter().map(Columns::of).collect();
    let ranks = [Columns::cluster, Columns::source, Columns::destination].map(|column| {
        let words: Vec<Words<'_>> = columns.iter().map(column).collect();
        let mut distinct: Vec<&str> = words.iter().flat_map(|w| w.values.iter().flatten()).collect();
        distinct.sort_unstable();
        distinct.dedup();
        let rank = |value: Option<&str>| {
            value.and_then(|v| distinct.binary_search(&v).ok()).map_or(u32::MAX, |rank| rank as u32)
        };
        let ranks: Vec<Vec<u32>> = words.iter().map(|w| w.values.iter().map(rank).collect()).collect();
        (words, ranks)
    });
    let mut rows = Vec::with_capacity(batches.iter().map(RecordBatch::num_rows).sum());
    for (batch, columns) in columns.iter().enumerate() {
        let started = columns.started_at();
        for (row, started) in started.iter().enumerate() {
            let key = ranks
                .each_ref()
                .map(|(words, ranks)| words[batch].id(row).map_or(u32::MAX, |id| ranks[batch][id as usize]));
            rows.push((key, *started, batch, row));
        }
    }
    rows.sort_unstable();
    rows.into_iter().map(|(_, _, batch, row)| (batch, row)).collect()
}

/// Dictionaries put one after another.
struct Dictionaries<'a> {
    values: ArrayRef,
    /// Of each: where its values begin, its keys, its nulls.
    parts: Vec<(u32, &'a [u32], Option<&'a NullBuffer>)>,
}

impl<'a> Dictionaries<'a> {
    fn new(parts: impl Iterator<Item = &'a ArrayRef>) -> Result<Dictionaries<'a>, ArrowError> {
        let parts: Vec<&DictionaryArray<UInt32Type>> = parts.map(AsArray::as_dictionary).collect();
        let values: Vec<&dyn Array> = parts.iter().map(|part| part.values().as_ref()).collect();
        let values = concat(&values)?;
        let begins = parts.iter().scan(0, |end, part| {
            let begin = *end;
            *end += part.values().len() as u32;
            Some(begin)
        });
        let parts = begins
            .zip(parts.iter().copied())
            .map(|(begin, part)| (begin, part.keys().values().as_ref(), part.nulls()))
            .collect();
        Ok(Dictionaries { values, parts })
    }

    fn finish(self, keys: Vec<u32>, nulls: Option<NullBuffer>) -> Result<ArrayRef, ArrowError> {
        let keys = UInt32Array::new(ScalarBuffer::from(keys), nulls);
        Ok(Arc::new(DictionaryArray::try_new(keys, self.values)?))
    }
}

/// The words at (part, row) of dictionaries.
fn gather_words(parts: &[&ArrayRef], rows: &[(usize, usize)]) -> Result<ArrayRef, ArrowError> {
    let words = Dictionaries::new(parts.iter().copied())?;
    if words.parts.iter().all(|(_, _, nulls)| nulls.is_none()) {
        let key = |&(part, row): &(usize, usize)| words.parts[part].0 + words.parts[part].1[row];
        let keys = rows.iter().map(key).collect();
        return words.finish(keys, None);
    }
    let mut keys = Vec::with_capacity(rows.len());
    let mut valid = Vec::with_capacity(rows.len());
    for &(part, row) in rows {
        let (begin, part, nulls) = words.parts[part];
        let is_valid = nulls.is_none_or(|nulls| nulls.is_valid(row));
        valid.push(is_valid);
        keys.push(if is_valid { begin + part[row] } else { 0 });
    }
    words.finish(keys, Some(NullBuffer::from(valid)))
}

/// The maps at (part, row), whose entries are dictionaries without nulls.
fn gather_maps(
    parts: &[&ArrayRef],
    rows: &[(usize, usize)],
    entries: &FieldRef,
) -> Result<ArrayRef, ArrowError> {
    let parts: Vec<&MapArray> = parts.iter().map(|part| part.as_map()).collect();
    let lengths = rows.iter().map(|&(part, row)| parts[part].value_length(row) as usize);
    let offsets = OffsetBuffer::<i32>::from_lengths(lengths);
    let total = offsets.last().copied().unwrap_or(0) as usize;
    let gather = |column: fn(&MapArray) -> &ArrayRef| {
        let words = Dictionaries::new(parts.iter().map(|part| column(part)))?;
        let mut keys = Vec::with_capacity(total);
        for &(part, row) in rows {
            let offsets = parts[part].value_offsets();
            let (begin, part, _) = words.parts[part];
            keys.extend(part[offsets[row] as usize..offsets[row + 1] as usize].iter().map(|key| begin + key));
        }
        words.finish(keys, None)
    };
    let DataType::Struct(fields) = entries.data_type() else {
        return Err(ArrowError::SchemaError("entries of a map are pairs".into()));
    };
    let pairs = vec![gather(MapArray::keys)?, gather(MapArray::values)?];
    let pairs = StructArray::try_new(fields.clone(), pairs, None)?;
    Ok(Arc::new(MapArray::try_new(entries.clone(), offsets, pairs, None, false)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::tests::calls;
    use arrow::compute::{concat_batches, take_record_batch};

    #[test]
    fn gathering_gives_what_putting_together_and_sorting_gives() {
        let batches: Vec<RecordBatch> =
            [(7, 30), (1, 1), (500, 9), (3, 64)].map(|(seed, n)| calls(seed, n).batch().clone()).to_vec();
        let whole = concat_batches(&schema(), &batches).unwrap();
        let mut begins = vec![0];
        begins.extend(batches.iter().scan(0, |sum, b| {
            *sum += b.num_rows();
            Some(*sum)
        }));
        let order: Vec<u32> = order(&batches).iter().map(|(b, r)| (begins[*b] + r) as u32).collect();
        let wanted = take_record_batch(&whole, &UInt32Array::from(order)).unwrap();
        assert_eq!(sorted(&batches).unwrap(), wanted);
        let columns = Columns::of(&wanted);
        let keys: Vec<_> = (0..wanted.num_rows())
            .map(|r| {
                let (source, destination) = (columns.source().get(r), columns.destination().get(r));
                (source.is_none(), source, destination, columns.started_at()[r])
            })
            .collect();
        assert!(keys.is_sorted(), "{keys:?}");
    }
}
