//! How a Parquet file is encoded, and where its bytes wait.

use std::io::{self, Write};

use arrow::array::RecordBatch;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

/// How each column is encoded.
pub(super) fn properties(zstd_level: i32) -> Result<WriterProperties, ParquetError> {
    let mut builder = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(zstd_level)?))
        .set_max_row_group_row_count(None)
        // The specification's names in the map: `key_value`, `key`, `value`.
        .set_coerce_types(true)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_created_by(format!("lapwing version {}", env!("CARGO_PKG_VERSION")))
        .set_sorting_columns(Some(
            [4, 5, 6, 1]
                .map(|column_idx| SortingColumn { column_idx, descending: false, nulls_first: false })
                .to_vec(),
        ));
    for time in ["received_at", "started_at"] {
        let column = ColumnPath::from(time);
        builder = builder
            .set_column_dictionary_enabled(column.clone(), false)
            .set_column_encoding(column, Encoding::DELTA_BINARY_PACKED);
    }
    for id in ["trace_id", "span_id", "parent_span_id"] {
        // Identifiers hardly repeat: a dictionary of them is built only to be thrown away.
        let column = ColumnPath::from(id);
        builder = builder
            .set_column_dictionary_enabled(column.clone(), false)
            .set_column_statistics_enabled(column, EnabledStatistics::None);
    }
    for part in ["key", "value"] {
        let column = ColumnPath::from(vec!["attributes".into(), "key_value".into(), part.into()]);
        builder = builder.set_column_statistics_enabled(column, EnabledStatistics::None);
    }
    Ok(builder.build())
}

/// Bytes of a batch's values. Not `get_array_memory_size`: in a batch that was read from the journal all
/// buffers lie in one piece of memory, and it counts the whole piece for each of them, forty times too much.
pub(super) fn payload_bytes(batch: &RecordBatch) -> u64 {
    batch.columns().iter().map(|c| c.to_data().get_slice_memory_size().unwrap_or(0) as u64).sum()
}

/// A file's bytes in memory, in pieces, so that growing never copies them.
#[derive(Default)]
pub(super) struct Pieces(Vec<Vec<u8>>);

const PIECE_BYTES: usize = 1 << 20;

impl Pieces {
    pub(super) fn bytes(&self) -> u64 {
        self.0.iter().map(|piece| piece.len() as u64).sum()
    }

    pub(super) fn write_to(&self, file: &mut impl Write) -> io::Result<()> {
        self.0.iter().try_for_each(|piece| file.write_all(piece))
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.last_mut() {
            Some(last) if last.capacity() - last.len() >= bytes.len() => last.extend_from_slice(bytes),
            _ => {
                let mut piece = Vec::with_capacity(bytes.len().max(PIECE_BYTES));
                piece.extend_from_slice(bytes);
                self.0.push(piece);
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
