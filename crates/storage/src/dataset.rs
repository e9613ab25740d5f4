//! An archive read back as a log.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use arrow::array::{AsArray, MapArray, RecordBatch, StructArray, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use lapwing_telemetry::calls::{MAX_ROWS, SCHEMA_VERSION, schema, word_type};
use lapwing_telemetry::{
    Calls, Columns, LogEvent, LogReader, Offset, Partition, Position, ReadError, partition_of,
};
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::statistics::Statistics;

/// An archive cannot be read. *Rejected*: the files are wrong and always will be.
#[derive(Debug, thiserror::Error)]
#[error("archive file `{}`: {reason}", path.display())]
pub struct DatasetError {
    /// The file or directory.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// Parquet files of one archive or several, merged in order of arrival, as one log. The partition of each
/// call is computed anew, so an archive can be replayed with any number of partitions.
///
/// Holds only the row groups that overlap in time: one, or two at their border, of each archive (65 536
/// calls by default, some 60 MB decoded at twenty attributes a call).
pub struct Dataset {
    /// Row groups not loaded yet, by their first arrival.
    groups: VecDeque<Group>,
    loaded: Vec<Loaded>,
    /// The file that was loaded last.
    latest: PathBuf,
    partitions: u16,
    rows: u64,
    read: u64,
    next: u64,
    ready: VecDeque<(Partition, Calls)>,
}

struct Group {
    path: PathBuf,
    group: usize,
    /// Its first `received_at`.
    first: i64,
}

/// A row group in memory, in order of arrival.
struct Loaded {
    batch: RecordBatch,
    /// Rows that have been handed out.
    used: usize,
}

impl Dataset {
    /// Opens files, or folders with all Parquet files below them.
    ///
    /// # Errors
    /// [`DatasetError`] names the first file that is not part of an archive of this version.
    pub fn open(paths: &[PathBuf], partitions: u16) -> Result<Dataset, DatasetError> {
        let mut files = Vec::new();
        for path in paths {
            find(path, &mut files)?;
        }
        let mut groups = Vec::new();
        let mut rows = 0;
        for path in files {
            let (metadata, _) = open(&path)?;
            rows += metadata.metadata().file_metadata().num_rows() as u64;
            for (group, found) in metadata.metadata().row_groups().iter().enumerate() {
                let first =
                    first_arrival(found).ok_or_else(|| wrong(&path, "has no statistics of `received_at`"))?;
                groups.push(Group { path: path.clone(), group, first });
            }
        }
        groups.sort_by(|a, b| (a.first, &a.path, a.group).cmp(&(b.first, &b.path, b.group)));
        Ok(Dataset {
            groups: groups.into(),
            loaded: Vec::new(),
            latest: PathBuf::new(),
            partitions: partitions.max(1),
            rows,
            read: 0,
            next: 0,
            ready: VecDeque::new(),
        })
    }

    /// Calls in all files.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Calls handed out so far.
    pub fn rows_read(&self) -> u64 {
        self.read
    }

    /// The next batch of calls; `None` at the end.
    ///
    /// # Errors
    /// [`DatasetError`] if a file is damaged.
    pub fn read(&mut self) -> Result<Option<(Position, Calls)>, DatasetError> {
        while self.ready.is_empty() {
            if self.loaded.is_empty() && self.groups.is_empty() {
                return Ok(None);
            }
            self.merge()?;
        }
        let Some((partition, calls)) = self.ready.pop_front() else { return Ok(None) };
        let position = Position { partition, offset: Offset(self.next) };
        self.next += 1;
        self.read += calls.len() as u64;
        Ok(Some((position, calls)))
    }

    /// Makes ready what arrived before the first call of the next row group, and if that is nothing, loads it.
    fn merge(&mut self) -> Result<(), DatasetError> {
        let border = self.groups.front().map_or(i64::MAX, |group| group.first);
        let mut parts = Vec::new();
        for loaded in &mut self.loaded {
            let end = if self.groups.is_empty() {
                loaded.batch.num_rows()
            } else {
                Columns::of(&loaded.batch).received_at().partition_point(|t| *t < border)
            };
            if end > loaded.used {
                parts.push(loaded.batch.slice(loaded.used, end - loaded.used));
                loaded.used = end;
            }
        }
        self.loaded.retain(|loaded| loaded.used < loaded.batch.num_rows());
        if parts.is_empty() {
            let Some(group) = self.groups.pop_front() else { return Ok(()) };
            let batch = load(&group)?;
            self.latest = group.path;
            self.loaded.push(Loaded { batch, used: 0 });
            return Ok(());
        }
        self.split(parts).map_err(|error| wrong(&self.latest, &error.to_string()))
    }

    /// Cuts calls into frames: runs in order of arrival, and each run by partition.
    fn split(&mut self, mut parts: Vec<RecordBatch>) -> Result<(), Box<dyn std::error::Error>> {
        let batch = match parts.len() {
            1 => parts.remove(0),
            _ => in_order_of_arrival(&concat_batches(&schema(), &parts)?)?,
        };
        let partitions = partition_of_rows(&batch, self.partitions);
        for (run, start) in partitions.chunks(MAX_ROWS).zip((0..).step_by(MAX_ROWS)) {
            let mut frames: Vec<(Partition, Vec<u32>)> = Vec::new();
            for (partition, row) in run.iter().zip(start..) {
                match frames.iter_mut().find(|(known, _)| known == partition) {
                    Some((_, rows)) => rows.push(row),
                    None => frames.push((*partition, vec![row])),
                }
            }
            // In ascending order, as receive writes them: a lower partition begins another run.
            frames.sort_unstable_by_key(|(partition, _)| *partition);
            for (partition, rows) in frames {
                let calls = Calls::from_log(take_record_batch(&batch, &UInt32Array::from(rows))?)?;
                self.ready.push_back((partition, calls));
            }
        }
        Ok(())
    }
}

impl LogReader for Dataset {
    async fn next(&mut self) -> Result<Option<LogEvent>, ReadError> {
        match self.read() {
            Ok(frame) => Ok(frame.map(|(position, calls)| LogEvent::Frame { position, calls })),
            Err(error) => Err(ReadError { reason: error.to_string() }),
        }
    }

    async fn commit(&mut self, _: &[Position]) -> Result<(), ReadError> {
        Ok(()) // A recording is never freed.
    }
}

/// Whether a file is Parquet, by its first four bytes.
pub fn is_parquet(path: &Path) -> bool {
    let mut magic = [0; 4];
    File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && &magic == b"PAR1"
}

/// All Parquet files below `path`, but for hidden ones, which are still being written.
fn find(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), DatasetError> {
    if !path.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    let listing = std::fs::read_dir(path).map_err(|e| wrong(path, &e.to_string()))?;
    for entry in listing {
        let entry = entry.map_err(|e| wrong(path, &e.to_string()))?.path();
        if entry.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) {
            continue;
        }
        if entry.is_dir() {
            find(&entry, files)?;
        } else if is_parquet(&entry) {
            files.push(entry);
        }
    }
    Ok(())
}

fn open(path: &Path) -> Result<(ArrowReaderMetadata, File), DatasetError> {
    let file = File::open(path).map_err(|e| wrong(path, &e.to_string()))?;
    let plain = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new())
        .map_err(|e| wrong(path, &e.to_string()))?;
    match version(plain.metadata()) {
        None => return Err(wrong(path, "was not written by lapwing's archive")),
        Some(found) if found != SCHEMA_VERSION => {
            let reason = format!("has schema version {found}, this lapwing reads version {SCHEMA_VERSION}");
            return Err(wrong(path, &reason));
        }
        Some(_) => {}
    }
    // The file has plain columns; read them as the dictionaries they were.
    let options = ArrowReaderOptions::new().with_schema(STORED.clone());
    let metadata = ArrowReaderMetadata::try_new(plain.metadata().clone(), options)
        .map_err(|e| wrong(path, &e.to_string()))?;
    Ok((metadata, file))
}

fn version(metadata: &ParquetMetaData) -> Option<u16> {
    let mut notes = metadata.file_metadata().key_value_metadata().into_iter().flatten();
    notes.find(|n| n.key == "lapwing.schema_version")?.value.as_ref()?.parse().ok()
}

fn first_arrival(group: &RowGroupMetaData) -> Option<i64> {
    match group.column(0).statistics()? {
        Statistics::Int64(values) => values.min_opt().copied(),
        _ => None,
    }
}

/// One row group, in order of arrival.
fn load(group: &Group) -> Result<RecordBatch, DatasetError> {
    let (metadata, file) = open(&group.path)?;
    let rows = metadata.metadata().row_group(group.group).num_rows() as usize;
    let read = (|| -> Result<RecordBatch, Box<dyn std::error::Error>> {
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata)
            .with_row_groups(vec![group.group])
            .with_batch_size(rows)
            .build()?;
        let batches = reader.collect::<Result<Vec<_>, _>>()?;
        in_order_of_arrival(&as_calls(&concat_batches(&STORED, &batches)?)?).map_err(Into::into)
    })();
    read.map_err(|e| wrong(&group.path, &e.to_string()))
}

fn in_order_of_arrival(batch: &RecordBatch) -> Result<RecordBatch, arrow::error::ArrowError> {
    let received = Columns::of(batch).received_at();
    let mut order: Vec<u32> = (0..batch.num_rows() as u32).collect();
    order.sort_by_key(|&row| received[row as usize]);
    take_record_batch(batch, &UInt32Array::from(order))
}

/// The schema of calls with the names that Parquet gives to the parts of a map.
static STORED: LazyLock<SchemaRef> = LazyLock::new(|| {
    let parts = ["key", "value"].map(|name| Field::new(name, word_type(), false));
    let entries = Field::new("key_value", DataType::Struct(Fields::from(parts.to_vec())), false);
    let map = DataType::Map(Arc::new(entries), false);
    let calls = schema();
    let fields = calls.fields().iter().map(|field| match field.data_type() {
        DataType::Map(..) => Arc::new(field.as_ref().clone().with_data_type(map.clone())),
        _ => field.clone(),
    });
    Arc::new(Schema::new(fields.collect::<Fields>()))
});

/// Gives the parts of the map the names that they have in memory.
fn as_calls(stored: &RecordBatch) -> Result<RecordBatch, arrow::error::ArrowError> {
    let mut columns = stored.columns().to_vec();
    for (column, field) in columns.iter_mut().zip(schema().fields()) {
        if let (Some(map), DataType::Map(entries, sorted)) = (column.as_map_opt(), field.data_type())
            && let DataType::Struct(parts) = entries.data_type()
        {
            let (_, offsets, stored, nulls, _) = map.clone().into_parts();
            let named = StructArray::try_new(parts.clone(), stored.columns().to_vec(), None)?;
            *column = Arc::new(MapArray::try_new(entries.clone(), offsets, named, nulls, *sorted)?);
        }
    }
    RecordBatch::try_new(schema(), columns)
}

fn partition_of_rows(batch: &RecordBatch, partitions: u16) -> Vec<Partition> {
    let columns = Columns::of(batch);
    let (cluster, source, destination) = (columns.cluster(), columns.source(), columns.destination());
    let mut known = HashMap::new();
    (0..batch.num_rows())
        .map(|row| {
            *known.entry((cluster.id(row), source.id(row), destination.id(row))).or_insert_with(|| {
                partition_of(
                    cluster.get(row).unwrap_or(""),
                    source.get(row),
                    destination.get(row),
                    partitions,
                )
            })
        })
        .collect()
}

fn wrong(path: &Path, reason: &str) -> DatasetError {
    DatasetError { path: path.to_owned(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::{Archive, ArchiveSettings};
    use crate::frame::tests::{calls, position};
    use arrow::array::Array;
    use lapwing_telemetry::EventTime;
    use proptest::prelude::*;

    fn settings(dir: &Path) -> ArchiveSettings {
        ArchiveSettings { dir: dir.to_owned(), buffer_bytes: 1 << 20, row_group_rows: 20, zstd_level: 1 }
    }

    /// Every value of every row.
    fn rows(calls: &Calls) -> Vec<String> {
        let c = calls.columns();
        let words = [
            c.signal(),
            c.cluster(),
            c.source(),
            c.destination(),
            c.source_identity(),
            c.destination_identity(),
            c.operation(),
            c.method(),
            c.path(),
            c.outcome(),
            c.authn(),
            c.authz(),
            c.tls(),
            c.flags(),
        ];
        let numbers = [c.duration_ns(), c.bytes_in(), c.bytes_out()];
        let ids = [c.trace_id(), c.span_id(), c.parent_span_id()];
        (0..calls.len())
            .map(|r| {
                let status = c.status().is_valid(r).then(|| c.status().value(r));
                format!(
                    "{} {} {:?} {:?} {status:?} {:?} {:?}",
                    c.received_at()[r],
                    c.started_at()[r],
                    words.map(|w| w.get(r)),
                    numbers.map(|n| n.is_valid(r).then(|| n.value(r))),
                    ids.map(|i| i.is_valid(r).then(|| i.value(r))),
                    c.attributes().row(r).collect::<Vec<_>>()
                )
            })
            .collect()
    }

    /// Calls in which every column is sometimes absent, from random numbers; `received_at` never decreases.
    fn any_calls(numbers: &[u64], received_at: &mut i64) -> Calls {
        let words = ["", "a", "b/c", "ü\u{1f426}", "a much longer value than the others have"];
        let mut builders = lapwing_telemetry::Builders::new(1);
        for number in numbers {
            let word = |n: u32| words.get((number >> (3 * n)) as usize % 7).copied();
            let count = |n: u32| Some((number >> n) as i64).filter(|n| n % 3 != 0);
            *received_at += (number % 5) as i64 * 400_000_000;
            let ids = [number.to_be_bytes(), number.to_le_bytes()];
            let long: [u8; 16] = ids.concat().try_into().unwrap();
            let signal = lapwing_telemetry::Signal::ALL[*number as usize % 4];
            let start = EventTime((number % 1_000) as i64);
            let call = lapwing_telemetry::Call {
                duration_ns: count(1),
                source: word(0),
                destination: word(1),
                source_identity: word(2),
                destination_identity: word(3),
                operation: word(4),
                method: word(5),
                path: word(6),
                status: count(2).map(|n| n as i16),
                bytes_in: count(3),
                bytes_out: count(4),
                authn: word(7),
                authz: word(8),
                tls: word(9),
                trace_id: (number % 3 == 0).then_some(&long),
                span_id: (number % 4 == 0).then_some(&ids[0]),
                parent_span_id: (number % 5 == 0).then_some(&ids[1]),
                flags: word(10),
                ..lapwing_telemetry::Call::new(
                    EventTime(*received_at),
                    start,
                    signal,
                    word(11).unwrap_or("x"),
                )
            };
            let attributes = (0..number % 4).map(|n| (words[n as usize], word(n as u32 + 12).unwrap_or("y")));
            builders.append(&call, attributes);
        }
        Calls::from_log(builders.finish().remove(0).1.into_batch()).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn any_calls_come_back_from_the_archive_with_every_value(
            frames in proptest::collection::vec(proptest::collection::vec(any::<u64>(), 1..30), 1..12),
            close_every in 1usize..6,
            partitions in 1u16..5,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let mut archive = Archive::open(settings(dir.path())).unwrap();
            let (mut wanted, mut received_at, mut closed) = (Vec::new(), 0, 0);
            for (i, numbers) in frames.iter().enumerate() {
                let calls = any_calls(numbers, &mut received_at);
                wanted.extend(rows(&calls));
                archive.append(position(i as u64), &calls).unwrap();
                if i % close_every == 0 {
                    closed += archive.close_files().unwrap().iter().map(|f| f.rows).sum::<u64>();
                }
            }
            closed += archive.close_files().unwrap().iter().map(|f| f.rows).sum::<u64>();
            prop_assert_eq!(closed, wanted.len() as u64);
            let mut dataset = Dataset::open(&[dir.path().to_owned()], partitions).unwrap();
            let (mut read, mut latest) = (Vec::new(), HashMap::new());
            while let Some((position, calls)) = dataset.read().unwrap() {
                for time in calls.columns().received_at() {
                    let latest = latest.entry(position.partition).or_insert(*time);
                    prop_assert!(*latest <= *time);
                    *latest = *time;
                }
                read.extend(rows(&calls));
            }
            read.sort();
            wanted.sort();
            prop_assert_eq!(read, wanted);
        }
    }

    #[test]
    fn what_was_archived_reads_back_in_order_of_arrival() {
        let dir = tempfile::tempdir().unwrap();
        let mut archive = Archive::open(settings(dir.path())).unwrap();
        let hour = 3_600_000_000;
        let mut wanted = Vec::new();
        for (offset, start) in [1, 40, 80, hour + 5, hour + 50, 2 * hour].into_iter().enumerate() {
            let calls = calls(start, 15);
            wanted.extend(rows(&calls));
            archive.append(position(offset as u64), &calls).unwrap();
        }
        let closed = archive.close_files().unwrap();
        assert_eq!(
            closed.iter().map(|f| (f.rows, f.first.0, f.last.0)).collect::<Vec<_>>(),
            [(45, 0, 2), (30, 3, 4), (15, 5, 5)]
        );
        for partitions in [1, 4] {
            let mut dataset = Dataset::open(&[dir.path().to_owned()], partitions).unwrap();
            assert_eq!(dataset.rows(), 90);
            let mut read = Vec::new();
            let mut last = HashMap::new();
            while let Some((position, calls)) = dataset.read().unwrap() {
                let times = calls.columns().received_at();
                assert!(
                    times.is_sorted()
                        && last
                            .insert(position.partition, times[times.len() - 1])
                            .is_none_or(|t| t <= times[0])
                );
                read.extend(rows(&calls));
            }
            read.sort();
            wanted.sort();
            assert_eq!(read, wanted, "{partitions} partitions");
        }
    }

    #[test]
    fn archives_that_overlap_in_time_are_merged_in_order_of_arrival() {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let mut wanted = Vec::new();
        for (i, dir) in dirs.iter().enumerate() {
            let mut archive = Archive::open(settings(dir.path())).unwrap();
            for offset in 0..7 {
                let calls = calls(1 + offset * 40 + i as i64 * 13, 30);
                wanted.extend(rows(&calls));
                archive.append(position(offset as u64), &calls).unwrap();
                if offset % 3 == 2 {
                    archive.close_files().unwrap();
                }
            }
            archive.close_files().unwrap();
        }
        let paths = dirs.each_ref().map(|dir| dir.path().to_owned());
        let mut dataset = Dataset::open(&paths, 1).unwrap();
        let (mut read, mut times) = (Vec::new(), Vec::new());
        while let Some((position, calls)) = dataset.read().unwrap() {
            assert_eq!(position.offset.0 + 1, dataset.next);
            assert!(dataset.loaded.len() <= 3, "only what overlaps is in memory");
            times.extend_from_slice(calls.columns().received_at());
            read.extend(rows(&calls));
        }
        assert!(times.is_sorted(), "{times:?}");
        read.sort();
        wanted.sort();
        assert_eq!(read, wanted);
    }

    #[test]
    fn a_file_of_another_version_is_refused_with_its_version() {
        let dir = tempfile::tempdir().unwrap();
        let mut archive = Archive::open(settings(dir.path())).unwrap();
        archive.append(position(1), &calls(1, 3)).unwrap();
        let path = archive.close_files().unwrap().remove(0).path;
        let mut bytes = std::fs::read(&path).unwrap();
        let key = b"lapwing.schema_version";
        let at = bytes.windows(key.len()).position(|w| w == key).unwrap() + key.len();
        let version = bytes[at..].iter().position(|b| *b == b'1').unwrap() + at;
        bytes[version] = b'9';
        std::fs::write(&path, bytes).unwrap();
        let error = Dataset::open(&[path], 1).map(|_| ()).unwrap_err();
        assert_eq!(error.reason, "has schema version 9, this lapwing reads version 1");
    }

    #[test]
    fn an_archive_goes_on_after_what_it_holds_and_forgets_what_a_crash_left() {
        let dir = tempfile::tempdir().unwrap();
        let mut archive = Archive::open(settings(dir.path())).unwrap();
        assert_eq!(archive.resume_after(), None);
        archive.append(position(7), &calls(1, 3)).unwrap();
        let closed = archive.close_files().unwrap();
        archive.append(position(8), &calls(9, 3)).unwrap();
        drop(archive); // A crash: frame 8 was never closed.
        let left = closed[0].path.with_file_name(".calls-8-8.parquet.tmp");
        std::fs::write(&left, b"half").unwrap();
        let archive = Archive::open(settings(dir.path())).unwrap();
        assert_eq!(archive.resume_after(), Some(Offset(7)));
        assert!(!left.exists());
    }

    #[test]
    fn a_file_that_cannot_be_closed_is_kept_and_closed_later() {
        let dir = tempfile::tempdir().unwrap();
        let mut archive = Archive::open(settings(dir.path())).unwrap();
        archive.append(position(1), &calls(1, 3)).unwrap();
        let hour = dir.path().join("received=1970-01-01T00");
        std::fs::write(&hour, b"in the way").unwrap();
        assert!(archive.close_files().is_err());
        std::fs::remove_file(&hour).unwrap();
        assert_eq!(archive.close_files().unwrap()[0].rows, 3);
    }

    #[test]
    fn strangers_files_are_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.parquet");
        std::fs::write(&path, b"PAR1 and then nothing of the kind PAR1").unwrap();
        assert!(is_parquet(&path));
        let error = Dataset::open(&[dir.path().to_owned()], 1).map(|_| ()).unwrap_err();
        assert_eq!(error.path, path);
    }
}
