//! An archive read back as a log.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use lapwing_telemetry::calls::{MAX_ROWS, schema};
use lapwing_telemetry::{
    Calls, Columns, LogEvent, LogReader, Offset, Partition, Position, ReadError, partition_of,
};
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};

/// An archive cannot be read. *Rejected*: the files are wrong and always will be.
#[derive(Debug, thiserror::Error)]
#[error("archive file `{}`: {reason}", path.display())]
pub struct DatasetError {
    /// The file or directory.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// Parquet files of an archive, in order of arrival, as one log. The partition of each call is computed anew,
/// so an archive can be replayed with any number of partitions.
///
/// Reads one row group at a time (65 536 calls by default, some 100 MB decoded).
pub struct Dataset {
    groups: VecDeque<Group>,
    partitions: u16,
    rows: u64,
    read: u64,
    next: u64,
    ready: VecDeque<(Partition, Calls)>,
}

struct Group {
    path: PathBuf,
    group: usize,
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
            let mut notes = metadata.metadata().file_metadata().key_value_metadata().into_iter().flatten();
            let first = notes.find(|n| n.key == "lapwing.received_first").and_then(|n| n.value.clone());
            let Some(first) = first else {
                return Err(DatasetError { path, reason: "was not written by lapwing's archive".into() });
            };
            rows += metadata.metadata().file_metadata().num_rows() as u64;
            for group in 0..metadata.metadata().num_row_groups() {
                groups.push(((first.clone(), path.clone(), group), Group { path: path.clone(), group }));
            }
        }
        groups.sort_by(|a, b| a.0.cmp(&b.0));
        let groups = groups.into_iter().map(|(_, group)| group).collect();
        Ok(Dataset { groups, partitions: partitions.max(1), rows, read: 0, next: 0, ready: VecDeque::new() })
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
            let Some(group) = self.groups.pop_front() else { return Ok(None) };
            let batch = load(&group)?;
            for (partition, rows) in by_partition(&batch, self.partitions) {
                for rows in rows.chunks(MAX_ROWS) {
                    let taken = take_record_batch(&batch, &UInt32Array::from(rows.to_vec()));
                    let calls = taken.ok().and_then(|b| Calls::from_log(b).ok());
                    let calls = calls.ok_or_else(|| wrong(&group.path, "does not hold calls"))?;
                    self.ready.push_back((partition, calls));
                }
            }
        }
        let Some((partition, calls)) = self.ready.pop_front() else { return Ok(None) };
        let position = Position { partition, offset: Offset(self.next) };
        self.next += 1;
        self.read += calls.len() as u64;
        Ok(Some((position, calls)))
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

fn find(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), DatasetError> {
    if !path.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    let listing = std::fs::read_dir(path).map_err(|e| wrong(path, &e.to_string()))?;
    for entry in listing {
        let entry = entry.map_err(|e| wrong(path, &e.to_string()))?.path();
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
    // The file has plain columns; read them as the dictionaries they were.
    let options = ArrowReaderOptions::new().with_schema(schema());
    let metadata = ArrowReaderMetadata::load(&file, options).map_err(|e| wrong(path, &e.to_string()))?;
    Ok((metadata, file))
}

/// One row group, in order of arrival.
fn load(group: &Group) -> Result<RecordBatch, DatasetError> {
    let (metadata, file) = open(&group.path)?;
    let read = (|| -> Result<RecordBatch, Box<dyn std::error::Error>> {
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata)
            .with_row_groups(vec![group.group])
            .with_batch_size(MAX_ROWS)
            .build()?;
        let batches = reader.collect::<Result<Vec<_>, _>>()?;
        let whole = concat_batches(&schema(), &batches)?;
        let received = Columns::of(&whole).received_at().to_vec();
        let mut order: Vec<u32> = (0..whole.num_rows() as u32).collect();
        order.sort_by_key(|&row| received[row as usize]);
        Ok(take_record_batch(&whole, &UInt32Array::from(order))?)
    })();
    read.map_err(|e| wrong(&group.path, &e.to_string()))
}

/// Row numbers by partition, in order.
fn by_partition(batch: &RecordBatch, partitions: u16) -> Vec<(Partition, Vec<u32>)> {
    let columns = Columns::of(batch);
    let (cluster, source, destination) = (columns.cluster(), columns.source(), columns.destination());
    let mut known = HashMap::new();
    let mut rows: Vec<Vec<u32>> = vec![Vec::new(); usize::from(partitions)];
    for row in 0..batch.num_rows() {
        let names = (cluster.get(row).unwrap_or(""), source.get(row), destination.get(row));
        let partition =
            *known.entry(names).or_insert_with(|| partition_of(names.0, names.1, names.2, partitions));
        rows[usize::from(partition.0)].push(row as u32);
    }
    rows.into_iter()
        .enumerate()
        .filter(|(_, r)| !r.is_empty())
        .map(|(i, r)| (Partition(i as u16), r))
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

    fn settings(dir: &Path) -> ArchiveSettings {
        ArchiveSettings { dir: dir.to_owned(), buffer_bytes: 1 << 20, row_group_rows: 20, zstd_level: 1 }
    }

    fn rows(calls: &Calls) -> Vec<String> {
        let c = calls.columns();
        (0..calls.len())
            .map(|r| {
                let attributes: Vec<_> = c.attributes().row(r).collect();
                let trace =
                    arrow::array::Array::is_valid(c.trace_id(), r).then(|| c.trace_id().value(r).to_vec());
                format!(
                    "{} {} {:?} {:?} {:?} {:?} {:?} {trace:?} {attributes:?}",
                    c.received_at()[r],
                    c.started_at()[r],
                    c.cluster().get(r),
                    c.source().get(r),
                    c.destination().get(r),
                    c.status().value(r),
                    c.signal().get(r)
                )
            })
            .collect()
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
    fn an_archive_goes_on_after_what_it_holds_and_forgets_what_a_crash_left() {
        let dir = tempfile::tempdir().unwrap();
        let mut archive = Archive::open(settings(dir.path())).unwrap();
        assert_eq!(archive.resume_after(), None);
        archive.append(position(7), &calls(1, 3)).unwrap();
        let closed = archive.close_files().unwrap();
        archive.append(position(8), &calls(9, 3)).unwrap();
        drop(archive); // A crash: frame 8 was never closed.
        let left = closed[0].path.with_file_name("calls-8-8.parquet.tmp");
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
