//! Redacted calls in Parquet: one directory per hour in which they were received, files that appear whole.
//!
//! `received=2026-11-22T09/calls-<first>-<last>.parquet`, where the numbers are the log offsets that the file
//! holds. They, and nothing else, say where to go on after a restart, so each call is archived exactly once:
//! a file is renamed into place after it is synced, and a temporary file left by a crash is deleted.
//!
//! The files carry no Arrow schema of ours, so that every reader sees plain strings, numbers, timestamps and
//! maps (see `docs/archive.md`).

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use lapwing_telemetry::calls::{SCHEMA_VERSION, schema};
use lapwing_telemetry::{Calls, Columns, EventTime, Offset, Position};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use crate::disk::{is_full, sync_directory_of};
use crate::retention::hour_name;

/// What the archive is told once.
#[derive(Clone, Debug)]
pub struct ArchiveSettings {
    /// Its directory; made if it is not there.
    pub dir: PathBuf,
    /// Bytes of calls held in memory at which a file is due to be closed; the file takes about a tenth.
    pub buffer_bytes: u64,
    /// Calls that are sorted together, and read back together.
    pub row_group_rows: usize,
    /// zstd level, 1 to 19.
    pub zstd_level: i32,
}

/// The archive cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The file system refused. *Busy* if the disk is full, else *broken*.
    #[error("archive `{}`: {source}", path.display())]
    Disk {
        /// The file or directory.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// Parquet could not encode. *Broken*.
    #[error("archive `{}`: {source}", path.display())]
    Encode {
        /// The file.
        path: PathBuf,
        /// What the encoder said.
        source: parquet::errors::ParquetError,
    },
}

impl ArchiveError {
    /// Whether trying again later makes sense.
    pub fn is_busy(&self) -> bool {
        match self {
            ArchiveError::Disk { source, .. } => is_full(source),
            ArchiveError::Encode { source: parquet::errors::ParquetError::External(source), .. } => {
                source.downcast_ref::<io::Error>().is_some_and(is_full)
            }
            ArchiveError::Encode { .. } => false,
        }
    }
}

/// A file that is closed, synced and in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosedFile {
    /// Where it is.
    pub path: PathBuf,
    /// Calls in it.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// First log offset in it.
    pub first: Offset,
    /// Last log offset in it.
    pub last: Offset,
}

/// Writes the archive.
///
/// What has been appended and not closed is kept in memory as it came, besides being encoded, until the file
/// is in its place: when the disk is full the file is begun again from there, and nothing is lost. The caller
/// bounds that by closing when [`Archive::is_due`].
pub struct Archive {
    settings: ArchiveSettings,
    open: Option<Open>,
    closed: Vec<ClosedFile>,
    resume_after: Option<Offset>,
}

struct Open {
    hour: String,
    batches: Vec<RecordBatch>,
    rows: usize,
    bytes: u64,
    first: Offset,
    last: Offset,
    received: (i64, i64),
}

impl Archive {
    /// Opens an archive, deletes what a crash left half-written, and finds out where to go on.
    ///
    /// # Errors
    /// [`ArchiveError::Disk`] if its directories cannot be read or made.
    pub fn open(settings: ArchiveSettings) -> Result<Archive, ArchiveError> {
        fs::create_dir_all(&settings.dir).map_err(disk(&settings.dir))?;
        let mut resume_after = None;
        for hour in fs::read_dir(&settings.dir).map_err(disk(&settings.dir))? {
            let hour = hour.map_err(disk(&settings.dir))?.path();
            if !hour.file_name().is_some_and(|n| n.to_string_lossy().starts_with("received=")) {
                continue;
            }
            for file in fs::read_dir(&hour).map_err(disk(&hour))? {
                let file = file.map_err(disk(&hour))?.path();
                if file.extension().is_some_and(|e| e == "tmp") {
                    fs::remove_file(&file).map_err(disk(&file))?;
                }
                resume_after = resume_after.max(last_offset(&file));
            }
        }
        Ok(Archive { settings, open: None, closed: Vec::new(), resume_after })
    }

    /// The last log offset that the archive holds; frames up to it must not be appended again.
    pub fn resume_after(&self) -> Option<Offset> {
        self.resume_after
    }

    /// Takes in one frame; it belongs to the hour of its first call. Frames come in order of offset.
    ///
    /// # Errors
    /// [`ArchiveError`] if the file of the hour before could not be closed; the frame is not taken then, and
    /// may be appended again.
    pub fn append(&mut self, position: Position, calls: &Calls) -> Result<(), ArchiveError> {
        let times = calls.columns().received_at();
        let (Some(&first), Some(&last)) = (times.first(), times.last()) else { return Ok(()) };
        let hour = hour_name(EventTime(first));
        if self.open.as_ref().is_some_and(|open| open.hour != hour) {
            self.close_open()?;
        }
        let open = self.open.get_or_insert_with(|| Open {
            hour,
            batches: Vec::new(),
            rows: 0,
            bytes: 0,
            first: position.offset,
            last: position.offset,
            received: (first, last),
        });
        open.rows += calls.len();
        open.bytes += calls.batch().get_array_memory_size() as u64;
        open.batches.push(calls.batch().clone());
        open.last = position.offset;
        open.received.1 = open.received.1.max(last);
        Ok(())
    }

    /// Whether so much waits that files should be closed now.
    pub fn is_due(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.bytes >= self.settings.buffer_bytes)
    }

    /// Writes, syncs and renames what is open; returns every file closed since the last call.
    ///
    /// # Errors
    /// [`ArchiveError`]; what was open still is, and the call may be repeated.
    pub fn close_files(&mut self) -> Result<Vec<ClosedFile>, ArchiveError> {
        self.close_open()?;
        Ok(std::mem::take(&mut self.closed))
    }

    fn close_open(&mut self) -> Result<(), ArchiveError> {
        let Some(open) = &self.open else { return Ok(()) };
        let directory = self.settings.dir.join(&open.hour);
        let name = format!("calls-{:020}-{:020}.parquet", open.first.0, open.last.0);
        let path = directory.join(&name);
        let temporary = directory.join(format!("{name}.tmp"));
        let bytes = write(&self.settings, open, &directory, &temporary).inspect_err(|_| {
            drop(fs::remove_file(&temporary)); // Best effort: the first error is the one to tell.
        })?;
        fs::rename(&temporary, &path).map_err(disk(&path))?;
        sync_directory_of(&path).map_err(disk(&path))?;
        let closed = ClosedFile { path, rows: open.rows as u64, bytes, first: open.first, last: open.last };
        self.resume_after = Some(open.last);
        self.closed.push(closed);
        self.open = None;
        Ok(())
    }
}

fn write(
    settings: &ArchiveSettings,
    open: &Open,
    directory: &Path,
    path: &Path,
) -> Result<u64, ArchiveError> {
    let encode = |source| ArchiveError::Encode { path: path.to_owned(), source };
    fs::create_dir_all(directory).map_err(disk(directory))?;
    sync_directory_of(directory).map_err(disk(directory))?;
    let file = File::create(path).map_err(disk(path))?;
    let options = ArrowWriterOptions::new()
        .with_properties(properties(settings, open).map_err(encode)?)
        .with_skip_arrow_metadata(true);
    let mut writer = ArrowWriter::try_new_with_options(file, schema(), options).map_err(encode)?;
    let mut group: Vec<&RecordBatch> = Vec::new();
    let mut rows = 0;
    for (i, batch) in open.batches.iter().enumerate() {
        rows += batch.num_rows();
        group.push(batch);
        if rows >= settings.row_group_rows || i + 1 == open.batches.len() {
            let sorted = sorted(&group).map_err(|e| encode(e.into()))?;
            writer.write(&sorted).map_err(encode)?;
            writer.flush().map_err(encode)?;
            group.clear();
            rows = 0;
        }
    }
    let file = writer.into_inner().map_err(encode)?;
    file.sync_all().map_err(disk(path))?;
    file.metadata().map(|m| m.len()).map_err(disk(path))
}

/// The rows of all batches in one, sorted by pair and then by time: neighbours are alike, so they compress,
/// and a query for one pair reads one run.
fn sorted(batches: &[&RecordBatch]) -> Result<RecordBatch, arrow::error::ArrowError> {
    let whole = concat_batches(&schema(), batches.iter().copied())?;
    let keys = sort_keys(&whole);
    let mut order: Vec<u32> = (0..whole.num_rows() as u32).collect();
    order.sort_unstable_by_key(|&row| (keys[row as usize], row));
    take_record_batch(&whole, &UInt32Array::from(order))
}

/// For each row the ranks of its cluster, source and destination (absent last), and its start.
fn sort_keys(batch: &RecordBatch) -> Vec<(u32, u32, u32, i64)> {
    let columns = Columns::of(batch);
    let [cluster, source, destination] =
        [columns.cluster(), columns.source(), columns.destination()].map(|words| {
            let mut distinct: Vec<&str> = words.values.iter().flatten().collect();
            distinct.sort_unstable();
            distinct.dedup();
            let ranks: Vec<u32> = words
                .values
                .iter()
                .map(|v| v.and_then(|v| distinct.binary_search(&v).ok()).map_or(u32::MAX, |r| r as u32))
                .collect();
            (0..batch.num_rows())
                .map(|row| words.id(row).map_or(u32::MAX, |id| ranks[id as usize]))
                .collect::<Vec<u32>>()
        });
    let started = columns.started_at();
    (0..batch.num_rows()).map(|row| (cluster[row], source[row], destination[row], started[row])).collect()
}

fn properties(
    settings: &ArchiveSettings,
    open: &Open,
) -> Result<WriterProperties, parquet::errors::ParquetError> {
    let note = |key: &str, value: String| KeyValue::new(format!("lapwing.{key}"), value);
    let mut builder = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(settings.zstd_level)?))
        .set_max_row_group_row_count(None)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_created_by(format!("lapwing version {}", env!("CARGO_PKG_VERSION")))
        .set_sorting_columns(Some(
            [4, 5, 6, 1]
                .map(|column_idx| SortingColumn { column_idx, descending: false, nulls_first: false })
                .to_vec(),
        ))
        .set_key_value_metadata(Some(vec![
            note("schema_version", SCHEMA_VERSION.to_string()),
            note("offsets", format!("{}-{}", open.first.0, open.last.0)),
            note("received_first", EventTime(open.received.0).to_string()),
            note("received_last", EventTime(open.received.1).to_string()),
        ]));
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
    for part in ["key", "value", "keys", "values"] {
        let column = ColumnPath::from(vec!["attributes".into(), "entries".into(), part.into()]);
        builder = builder.set_column_statistics_enabled(column, EnabledStatistics::None);
    }
    Ok(builder.build())
}

/// The last offset in a file's name; `None` if it is no file of an archive.
fn last_offset(path: &Path) -> Option<Offset> {
    let name = path.file_name()?.to_str()?.strip_prefix("calls-")?.strip_suffix(".parquet")?;
    name.split_once('-')?.1.parse().ok().map(Offset)
}

fn disk(path: &Path) -> impl Fn(io::Error) -> ArchiveError + use<> {
    let path = path.to_owned();
    move |source| ArchiveError::Disk { path: path.clone(), source }
}

#[cfg(test)]
mod tests {
    use lapwing_telemetry::calls::COLUMN_DOCS;

    #[test]
    fn the_documented_columns_are_those_of_the_code() {
        let documentation = include_str!("../../../docs/archive.md");
        let rows: Vec<(&str, &str)> = documentation
            .lines()
            .filter_map(|line| line.strip_prefix("| `"))
            .filter_map(|line| Some((line.split_once('`')?.0, line.rsplit_once("| ").map(|_| line)?)))
            .collect();
        assert_eq!(rows.len(), COLUMN_DOCS.len());
        for ((name, text), (column, doc)) in rows.into_iter().zip(COLUMN_DOCS) {
            assert_eq!(name, *column);
            assert!(text.ends_with(&format!("| {doc} |")), "docs/archive.md is stale at `{column}`");
        }
    }
}
