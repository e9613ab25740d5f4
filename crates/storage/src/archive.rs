//! Redacted calls in Parquet: one directory per hour in which they were received, files that appear whole.
//!
//! `received=2026-11-22T09/calls-<first>-<last>.parquet`, where the numbers are the log offsets that the file
//! holds. They, and nothing else, say where to go on after a restart, so each call is archived exactly once:
//! a file is renamed into place after it is synced, and a temporary file left by a crash is deleted. Temporary
//! files have hidden names, because pandas and Spark read every other file of a directory.
//!
//! The files carry no Arrow schema of ours, so that every reader sees plain strings, numbers, timestamps and
//! maps (see `docs/archive.md`).

mod encode;
mod sort;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use lapwing_telemetry::calls::{SCHEMA_VERSION, schema};
use lapwing_telemetry::{Calls, EventTime, Offset, Position};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;

use self::encode::{Pieces, payload_bytes, properties};
use self::sort::sorted;
use crate::disk::{is_full, sync_directory_of};
use crate::retention::hour_name;

/// What the archive is told once.
#[derive(Clone, Debug)]
pub struct ArchiveSettings {
    /// Its directory; made if it is not there.
    pub dir: PathBuf,
    /// Bytes held in memory at which a file is due to be closed: what is encoded of it, and one row group that
    /// is not yet. About the size of the file.
    pub buffer_bytes: u64,
    /// Calls that are sorted together, and read back together.
    pub row_group_rows: usize,
    /// zstd level, 1 to 19.
    pub zstd_level: i32,
}

/// The archive cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The file system refused. *Busy* if the disk is full or a directory has just been deleted, else *broken*.
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
        /// The archive's directory.
        path: PathBuf,
        /// What the encoder said.
        source: ParquetError,
    },
    /// There is a file of that name: offsets were given twice, by two logs that write to one archive.
    /// *Broken*; nothing is overwritten.
    #[error("archive `{}` is there already, written from another log; choose an empty directory", path.display())]
    Taken {
        /// The file.
        path: PathBuf,
    },
    /// Another process has the archive open. *Broken*.
    #[error("archive `{}` is in use by another process; stop it, or choose another directory", path.display())]
    InUse {
        /// The archive's directory.
        path: PathBuf,
    },
}

impl ArchiveError {
    /// Whether trying again later makes sense.
    pub fn is_busy(&self) -> bool {
        match self {
            // Retention may delete an expired hour while a late file is written into it.
            ArchiveError::Disk { source, .. } => is_full(source) || source.kind() == io::ErrorKind::NotFound,
            ArchiveError::Encode { .. } | ArchiveError::Taken { .. } | ArchiveError::InUse { .. } => false,
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
/// Calls are encoded in memory, row group by row group, and written when the file is closed: when the disk is
/// full, the file is written again from there, and nothing is lost. The caller bounds that memory by closing
/// when [`Archive::is_due`].
pub struct Archive {
    settings: ArchiveSettings,
    open: Option<Open>,
    /// A file that could not be put into its place yet.
    encoded: Option<Encoded>,
    closed: Vec<ClosedFile>,
    resume_after: Option<Offset>,
    /// Keeps a second process from taking our temporary files for what a crash left.
    _lock: Option<File>,
}

/// A file that is being encoded.
struct Open {
    hour: String,
    writer: ArrowWriter<Pieces>,
    /// Batches of the row group that is being gathered, with their rows and bytes.
    gathered: Vec<RecordBatch>,
    gathered_rows: usize,
    gathered_bytes: u64,
    rows: u64,
    first: Offset,
    last: Offset,
    received: (i64, i64),
}

struct Encoded {
    hour: String,
    pieces: Pieces,
    rows: u64,
    first: Offset,
    last: Offset,
}

impl Archive {
    /// Opens an archive, deletes what a crash left half-written, and finds out where to go on.
    ///
    /// # Errors
    /// [`ArchiveError::Disk`] if its directories cannot be read or made; [`ArchiveError::InUse`].
    pub fn open(settings: ArchiveSettings) -> Result<Archive, ArchiveError> {
        fs::create_dir_all(&settings.dir).map_err(disk(&settings.dir))?;
        let lock = lock(&settings.dir)?;
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
        Ok(Archive { settings, open: None, encoded: None, closed: Vec::new(), resume_after, _lock: lock })
    }

    /// The last log offset that the archive holds; frames up to it must not be appended again.
    pub fn resume_after(&self) -> Option<Offset> {
        self.resume_after
    }

    /// Takes in one frame; it belongs to the hour of its first call, also if its last ones came in the next:
    /// a frame is gathered in some milliseconds, and only whole frames can be archived exactly once. Frames
    /// come in order of offset.
    ///
    /// # Errors
    /// [`ArchiveError`] if the file of the hour before could not be closed; the frame is not taken then, and
    /// may be appended again.
    pub fn append(&mut self, position: Position, calls: &Calls) -> Result<(), ArchiveError> {
        let times = calls.columns().received_at();
        let (Some(&first), Some(&last)) = (times.first(), times.last()) else { return Ok(()) };
        let hour = hour_name(EventTime(first));
        if self.encoded.is_some() || self.open.as_ref().is_some_and(|open| open.hour != hour) {
            self.close_open()?;
        }
        let open = match &mut self.open {
            Some(open) => open,
            None => self.open.insert(Open::new(&self.settings, hour, position.offset, first)?),
        };
        open.rows += calls.len() as u64;
        open.gathered_rows += calls.len();
        open.gathered_bytes += BATCH_BYTES + payload_bytes(calls.batch());
        open.gathered.push(calls.batch().clone());
        open.last = position.offset;
        open.received.1 = open.received.1.max(last);
        if open.gathered_rows >= self.settings.row_group_rows || open.gathered_bytes >= ROW_GROUP_BYTES {
            open.end_row_group().map_err(encoding(&self.settings.dir))?;
        }
        Ok(())
    }

    /// Whether so much waits that files should be closed now.
    pub fn is_due(&self) -> bool {
        let held = |open: &Open| open.writer.bytes_written() as u64 + open.gathered_bytes;
        self.encoded.is_some() || self.open.as_ref().is_some_and(|o| held(o) >= self.settings.buffer_bytes)
    }

    /// Writes, syncs and renames what is open; returns every file closed since the last call.
    ///
    /// # Errors
    /// [`ArchiveError`]; if it is *busy*, nothing is lost and the call may be repeated.
    pub fn close_files(&mut self) -> Result<Vec<ClosedFile>, ArchiveError> {
        self.close_open()?;
        Ok(std::mem::take(&mut self.closed))
    }

    fn close_open(&mut self) -> Result<(), ArchiveError> {
        self.put_encoded()?; // What a full disk left over comes first.
        if let Some(open) = self.open.take() {
            self.encoded = Some(open.finish().map_err(encoding(&self.settings.dir))?);
        }
        self.put_encoded()
    }

    fn put_encoded(&mut self) -> Result<(), ArchiveError> {
        if let Some(encoded) = &self.encoded {
            let closed = encoded.put(&self.settings.dir)?;
            self.resume_after = Some(closed.last);
            self.closed.push(closed);
            self.encoded = None;
        }
        Ok(())
    }
}

impl Open {
    fn new(
        settings: &ArchiveSettings,
        hour: String,
        first: Offset,
        received: i64,
    ) -> Result<Open, ArchiveError> {
        let options = properties(settings.zstd_level).map(|properties| {
            ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true)
        });
        let writer = options
            .and_then(|options| ArrowWriter::try_new_with_options(Pieces::default(), schema(), options))
            .map_err(encoding(&settings.dir))?;
        Ok(Open {
            hour,
            writer,
            gathered: Vec::new(),
            gathered_rows: 0,
            gathered_bytes: 0,
            rows: 0,
            first,
            last: first,
            received: (received, received),
        })
    }

    /// Sorts and encodes what is gathered.
    fn end_row_group(&mut self) -> Result<(), ParquetError> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        self.writer.write(&sorted(&self.gathered)?)?;
        self.writer.flush()?;
        self.gathered.clear();
        (self.gathered_rows, self.gathered_bytes) = (0, 0);
        Ok(())
    }

    fn finish(mut self) -> Result<Encoded, ParquetError> {
        self.end_row_group()?;
        let note = |key: &str, value: String| KeyValue::new(format!("lapwing.{key}"), value);
        for note in [
            note("schema_version", SCHEMA_VERSION.to_string()),
            note("offsets", format!("{}-{}", self.first.0, self.last.0)),
            note("received_first", EventTime(self.received.0).to_string()),
            note("received_last", EventTime(self.received.1).to_string()),
        ] {
            self.writer.append_key_value_metadata(note);
        }
        let Open { hour, rows, first, last, .. } = self;
        Ok(Encoded { hour, pieces: self.writer.into_inner()?, rows, first, last })
    }
}

impl Encoded {
    /// Writes the file beside its place, syncs and renames it.
    fn put(&self, archive: &Path) -> Result<ClosedFile, ArchiveError> {
        let directory = archive.join(&self.hour);
        let name = format!("calls-{:020}-{:020}.parquet", self.first.0, self.last.0);
        let path = directory.join(&name);
        if path.exists() {
            return Err(ArchiveError::Taken { path });
        }
        fs::create_dir_all(&directory).map_err(disk(&directory))?;
        sync_directory_of(&directory).map_err(disk(&directory))?;
        let temporary = directory.join(format!(".{name}.tmp"));
        let written = File::create(&temporary).and_then(|mut file| {
            self.pieces.write_to(&mut file)?;
            file.sync_all()?;
            fs::rename(&temporary, &path)?;
            sync_directory_of(&path)
        });
        if let Err(error) = written {
            drop(fs::remove_file(&temporary)); // Best effort: the first error is the one to tell.
            return Err(disk(&path)(error));
        }
        let bytes = self.pieces.bytes();
        Ok(ClosedFile { path, rows: self.rows, bytes, first: self.first, last: self.last })
    }
}

/// Bytes of calls at which a row group ends, however few they are: it is held thrice while it is sorted and
/// encoded. At the usual 400 bytes a call, 65 536 calls take 26 MB.
const ROW_GROUP_BYTES: u64 = 64 << 20;

/// Bytes that a batch takes besides its values: some sixty arrays with their buffers.
const BATCH_BYTES: u64 = 16 << 10;

/// Locks the archive; `None` where the file system knows no locks.
fn lock(dir: &Path) -> Result<Option<File>, ArchiveError> {
    let path = dir.join(".lock");
    let file =
        OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(disk(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(ArchiveError::InUse { path: dir.to_owned() }),
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(None),
        Err(TryLockError::Error(error)) => Err(disk(&path)(error)),
    }
}

/// The files of an archive with the last offset in each, in the order of offsets; none if it does not exist.
pub fn files(dir: &Path) -> Vec<(PathBuf, Offset)> {
    let entries = |dir: &Path| fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let hours = entries(dir).filter(|path| path.is_dir());
    let mut files: Vec<(PathBuf, Offset)> = hours
        .flat_map(|hour| entries(&hour))
        .filter_map(|path| Some((path.clone(), last_offset(&path)?)))
        .collect();
    files.sort_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
    files
}

/// The last offset in a file's name; `None` if it is no file of an archive.
fn last_offset(path: &Path) -> Option<Offset> {
    let name = path.file_name()?.to_str()?.strip_prefix("calls-")?.strip_suffix(".parquet")?;
    name.split_once('-')?.1.parse().ok().map(Offset)
}

fn encoding(archive: &Path) -> impl Fn(ParquetError) -> ArchiveError + use<> {
    let path = archive.to_owned();
    move |source| ArchiveError::Encode { path: path.clone(), source }
}

fn disk(path: &Path) -> impl Fn(io::Error) -> ArchiveError + use<> {
    let path = path.to_owned();
    move |source| ArchiveError::Disk { path: path.clone(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::tests::{calls, position};
    use arrow::datatypes::DataType;
    use lapwing_telemetry::calls::COLUMN_DOCS;
    use parquet::file::reader::{FileReader, SerializedFileReader};

    fn open(dir: &Path) -> Archive {
        let dir = dir.to_owned();
        let settings = ArchiveSettings { dir, buffer_bytes: 1 << 20, row_group_rows: 40, zstd_level: 1 };
        Archive::open(settings).unwrap()
    }

    /// A file of 30 frames, written and read back without any hint to its types.
    fn a_file(dir: &Path) -> SerializedFileReader<File> {
        let mut archive = open(dir);
        for offset in 0..30 {
            archive.append(position(offset), &calls(1_000 * offset as i64, 9)).unwrap();
        }
        SerializedFileReader::new(File::open(&archive.close_files().unwrap()[0].path).unwrap()).unwrap()
    }

    #[test]
    fn the_stored_schema_has_only_types_that_every_reader_knows() {
        let dir = tempfile::tempdir().unwrap();
        let file = a_file(dir.path());
        let mut printed = Vec::new();
        parquet::schema::printer::print_schema(&mut printed, file.metadata().file_metadata().schema());
        assert_eq!(
            String::from_utf8(printed).unwrap().trim(),
            "\
message arrow_schema {
  REQUIRED INT64 received_at (TIMESTAMP(MICROS,true));
  REQUIRED INT64 started_at (TIMESTAMP(MICROS,true));
  OPTIONAL INT64 duration_ns;
  REQUIRED BYTE_ARRAY signal (STRING);
  REQUIRED BYTE_ARRAY cluster (STRING);
  OPTIONAL BYTE_ARRAY source (STRING);
  OPTIONAL BYTE_ARRAY destination (STRING);
  OPTIONAL BYTE_ARRAY source_identity (STRING);
  OPTIONAL BYTE_ARRAY destination_identity (STRING);
  OPTIONAL BYTE_ARRAY operation (STRING);
  OPTIONAL BYTE_ARRAY method (STRING);
  OPTIONAL BYTE_ARRAY path (STRING);
  OPTIONAL INT32 status (INTEGER(16,true));
  REQUIRED BYTE_ARRAY outcome (STRING);
  OPTIONAL INT64 bytes_in;
  OPTIONAL INT64 bytes_out;
  OPTIONAL BYTE_ARRAY authn (STRING);
  OPTIONAL BYTE_ARRAY authz (STRING);
  OPTIONAL BYTE_ARRAY tls (STRING);
  OPTIONAL FIXED_LEN_BYTE_ARRAY (16) trace_id;
  OPTIONAL FIXED_LEN_BYTE_ARRAY (8) span_id;
  OPTIONAL FIXED_LEN_BYTE_ARRAY (8) parent_span_id;
  OPTIONAL BYTE_ARRAY flags (STRING);
  REQUIRED group attributes (MAP) {
    REPEATED group key_value {
      REQUIRED BYTE_ARRAY key (STRING);
      REQUIRED BYTE_ARRAY value (STRING);
    }
  }
}"
        );
        let mut notes: Vec<_> = file.metadata().file_metadata().key_value_metadata().unwrap().clone();
        notes.sort_by(|a, b| a.key.cmp(&b.key));
        let notes: Vec<_> = notes.into_iter().map(|n| format!("{}={}", n.key, n.value.unwrap())).collect();
        assert_eq!(
            notes,
            [
                "lapwing.offsets=0-29",
                "lapwing.received_first=1970-01-01T00:00:00.000000Z",
                "lapwing.received_last=1970-01-01T00:00:00.029008Z",
                "lapwing.schema_version=1",
            ]
        );
    }

    #[test]
    fn every_row_group_is_sorted_as_its_metadata_says() {
        let dir = tempfile::tempdir().unwrap();
        let file = a_file(dir.path());
        assert_eq!(file.num_row_groups(), 6);
        for i in 0..file.num_row_groups() {
            let group = file.get_row_group(i).unwrap();
            let order: Vec<usize> =
                group.metadata().sorting_columns().unwrap().iter().map(|c| c.column_idx as usize).collect();
            let rows: Vec<Vec<(bool, String)>> = group
                .get_row_iter(None)
                .unwrap()
                .map(|row| {
                    let fields: Vec<_> = row.unwrap().into_columns();
                    // Absent last, then by the text: all these times have the same number of digits.
                    order
                        .iter()
                        .map(|c| (fields[*c].1 == parquet::record::Field::Null, fields[*c].1.to_string()))
                        .collect()
                })
                .collect();
            assert!(rows.is_sorted() && !rows.is_empty(), "{rows:?}");
            assert_eq!(order, [4, 5, 6, 1]);
        }
    }

    #[test]
    fn a_full_disk_is_busy_leaves_no_file_and_loses_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut archive = open(dir.path());
        archive.append(position(3), &calls(1, 5)).unwrap();
        archive.append(position(4), &calls(9, 5)).unwrap();
        let hour = dir.path().join("received=1970-01-01T00");
        fs::create_dir(&hour).unwrap();
        // Writing to this device says that there is no space left.
        let temporary = hour.join(format!(".calls-{:020}-{:020}.parquet.tmp", 3, 4));
        std::os::unix::fs::symlink("/dev/full", &temporary).unwrap();
        let error = archive.close_files().unwrap_err();
        assert!(error.is_busy(), "{error}");
        assert_eq!(fs::read_dir(&hour).unwrap().count(), 0);
        let closed = archive.close_files().unwrap();
        assert_eq!((closed[0].rows, closed[0].first, closed[0].last), (10, Offset(3), Offset(4)));
        assert_eq!(archive.resume_after(), Some(Offset(4)));
    }

    #[test]
    fn a_second_log_cannot_overwrite_what_a_first_one_archived() {
        let dir = tempfile::tempdir().unwrap();
        let mut archive = open(dir.path());
        archive.append(position(0), &calls(1, 3)).unwrap();
        let path = archive.close_files().unwrap().remove(0).path;
        let before = fs::read(&path).unwrap();
        archive.append(position(0), &calls(5, 2)).unwrap();
        let error = archive.close_files().unwrap_err();
        assert!(matches!(&error, ArchiveError::Taken { path: p } if *p == path), "{error}");
        assert_eq!(fs::read(&path).unwrap(), before);
    }

    #[test]
    fn two_processes_cannot_write_one_archive() {
        let dir = tempfile::tempdir().unwrap();
        let archive = open(dir.path());
        let settings = archive.settings.clone();
        assert!(matches!(Archive::open(settings.clone()), Err(ArchiveError::InUse { .. })));
        drop(archive);
        Archive::open(settings).unwrap();
    }

    #[test]
    fn calls_from_the_journal_fill_the_buffer_by_what_they_take() {
        let dir = tempfile::tempdir().unwrap();
        let settings = ArchiveSettings { row_group_rows: 1 << 20, ..open(dir.path()).settings.clone() };
        let mut archive = Archive::open(settings).unwrap();
        let mut frame = Vec::new();
        crate::frame::encode(position(1), &calls(1, 2_048), &mut frame);
        let (_, read) = crate::frame::decode(&frame).unwrap();
        let mut frames = 0;
        while !archive.is_due() {
            archive.append(position(frames), &read).unwrap();
            frames += 1;
        }
        assert_eq!(frames, 4, "frames of {} bytes fill 1 MiB", frame.len());
        archive.close_files().unwrap();
        assert!(!archive.is_due());
    }

    #[test]
    fn the_documented_columns_are_those_of_the_code() {
        let documentation = include_str!("../../../docs/archive.md");
        let documented: Vec<&str> = documentation.lines().filter(|l| l.starts_with("| `")).collect();
        let columns: Vec<String> = schema()
            .fields()
            .iter()
            .zip(COLUMN_DOCS)
            .map(|(field, (name, meaning))| {
                let kind = match field.data_type() {
                    DataType::Timestamp(..) => "TIMESTAMP(MICROS, UTC)".to_owned(),
                    DataType::Dictionary(..) => "STRING".to_owned(),
                    DataType::FixedSizeBinary(bytes) => format!("FIXED[{bytes}]"),
                    DataType::Map(..) => "MAP<STRING, STRING>".to_owned(),
                    number => number.to_string().to_uppercase(),
                };
                let null = if field.is_nullable() { "yes" } else { "no" };
                format!("| `{name}` | {kind} | {null} | {meaning} |")
            })
            .collect();
        assert_eq!(documented, columns, "the table in docs/archive.md is stale");
    }
}
