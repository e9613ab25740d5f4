//! The texts of Arrow columns.

use std::fs::File;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};

use super::{Place, Taker, Text};

/// Rows read at a time.
const ROWS: usize = 1_024;

pub(super) fn parquet(file: File, taker: &mut dyn Taker) -> Result<(), Box<dyn std::error::Error>> {
    let size = file.metadata()?.len();
    // The types are read off the file itself: dictionaries of another writer need not fit its values.
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let metadata = ArrowReaderMetadata::load(&file, options)?;
    let rows = metadata.metadata().file_metadata().num_rows().max(1) as u64;
    let mut notes = metadata.metadata().file_metadata().key_value_metadata().into_iter().flatten();
    let of_calls = notes.any(|n| n.key == "lapwing.schema_version");
    let mut first = 0;
    for rows_read in
        ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata).with_batch_size(ROWS).build()?
    {
        let rows_read = rows_read?;
        batch(&rows_read, first, of_calls, taker);
        first += rows_read.num_rows() as u64;
        taker.progress(size * first / rows);
    }
    Ok(())
}

/// Gives the texts of a batch whose first row is the file's row `first`.
pub(super) fn batch(batch: &RecordBatch, first: u64, of_calls: bool, taker: &mut dyn Taker) {
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        for row in 0..batch.num_rows() {
            let place = Place::Row(first + row as u64);
            Visit { place, column: field.name(), of_calls, taker }.cell(column.as_ref(), row, field.name());
        }
    }
}

struct Visit<'a> {
    place: Place,
    column: &'a str,
    of_calls: bool,
    taker: &'a mut dyn Taker,
}

impl Visit<'_> {
    /// Gives the texts in one place of an array, whatever it is made of.
    fn cell(&mut self, array: &dyn Array, at: usize, key: &str) {
        if array.is_null(at) {
            return;
        }
        match array.data_type() {
            DataType::Utf8 => self.take(array.as_string::<i32>().value(at), key),
            DataType::LargeUtf8 => self.take(array.as_string::<i64>().value(at), key),
            DataType::Utf8View => self.take(array.as_string_view().value(at), key),
            DataType::Binary => self.bytes(array.as_binary::<i32>().value(at), key),
            DataType::LargeBinary => self.bytes(array.as_binary::<i64>().value(at), key),
            DataType::BinaryView => self.bytes(array.as_binary_view().value(at), key),
            DataType::Dictionary(..) => self.dictionary(array, at, key),
            DataType::Struct(fields) => {
                let parts = array.as_struct();
                for (field, part) in fields.iter().zip(parts.columns()) {
                    self.cell(part.as_ref(), at, field.name());
                }
            }
            DataType::List(_) => self.cells(array.as_list::<i32>().value(at).as_ref(), key),
            DataType::LargeList(_) => self.cells(array.as_list::<i64>().value(at).as_ref(), key),
            DataType::FixedSizeList(..) => self.cells(array.as_fixed_size_list().value(at).as_ref(), key),
            DataType::Map(..) => {
                let entries = array.as_map().value(at);
                let (keys, values) = (entries.column(0), entries.column(1));
                for entry in 0..entries.len() {
                    let name = word(keys.as_ref(), entry).unwrap_or_default();
                    self.taker.text(Text {
                        place: self.place,
                        column: self.column,
                        key: None,
                        text: &name,
                        of_calls: self.of_calls,
                    });
                    self.cell(values.as_ref(), entry, &name);
                }
            }
            DataType::Int64 if !self.of_calls => {
                self.take(&array.as_primitive::<Int64Type>().value(at).to_string(), key);
            }
            _ => {}
        }
    }

    fn cells(&mut self, array: &dyn Array, key: &str) {
        (0..array.len()).for_each(|at| self.cell(array, at, key));
    }

    fn dictionary(&mut self, array: &dyn Array, at: usize, key: &str) {
        let values = array.as_any_dictionary().values();
        if let Some(value) = place(array, at).filter(|value| *value < values.len()) {
            self.cell(values.as_ref(), value, key);
        }
    }

    /// Bytes are a text if they are UTF-8.
    fn bytes(&mut self, bytes: &[u8], key: &str) {
        if let Ok(text) = std::str::from_utf8(bytes) {
            self.take(text, key);
        }
    }

    fn take(&mut self, text: &str, key: &str) {
        let (place, column, of_calls) = (self.place, self.column, self.of_calls);
        // The columns of calls are judged as redaction judges them: by content alone.
        let key = (!of_calls || key != column).then_some(key);
        self.taker.text(Text { place, column, key, text, of_calls });
    }
}

/// The text of a map's key.
fn word(array: &dyn Array, at: usize) -> Option<String> {
    match array.data_type() {
        DataType::Utf8 => Some(array.as_string::<i32>().value(at).to_owned()),
        DataType::LargeUtf8 => Some(array.as_string::<i64>().value(at).to_owned()),
        DataType::Dictionary(..) => word(array.as_any_dictionary().values().as_ref(), place(array, at)?),
        _ => None,
    }
}

/// Which value of a dictionary stands at a place.
fn place(array: &dyn Array, at: usize) -> Option<usize> {
    let keys = array.as_any_dictionary().keys();
    let key = match keys.data_type() {
        DataType::Int8 => i64::from(keys.as_primitive::<Int8Type>().value(at)),
        DataType::Int16 => i64::from(keys.as_primitive::<Int16Type>().value(at)),
        DataType::Int32 => i64::from(keys.as_primitive::<Int32Type>().value(at)),
        DataType::Int64 => keys.as_primitive::<Int64Type>().value(at),
        DataType::UInt8 => i64::from(keys.as_primitive::<UInt8Type>().value(at)),
        DataType::UInt16 => i64::from(keys.as_primitive::<UInt16Type>().value(at)),
        DataType::UInt32 => i64::from(keys.as_primitive::<UInt32Type>().value(at)),
        DataType::UInt64 => keys.as_primitive::<UInt64Type>().value(at) as i64,
        _ => return None,
    };
    usize::try_from(key).ok()
}
