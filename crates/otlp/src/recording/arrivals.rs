//! The side file of arrival times: `logs.arrivals.tsv.zst` (or `.tsv`) beside `logs.otlp.pb.zst`.
//!
//! One line per request, in the order of the recording: arrival in Unix nanoseconds, the request's length,
//! and how it was sent, separated by tabs.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use lapwing_telemetry::EventTime;

use super::RecordingError;

/// Longer than two 20-digit numbers and a word.
const MAX_LINE_BYTES: u64 = 256;

pub(super) struct Arrivals {
    lines: Box<dyn BufRead + Send>,
    path: PathBuf,
    line: u64,
}

impl Arrivals {
    pub(super) fn open(path: &Path) -> Result<Arrivals, RecordingError> {
        let read = |source| RecordingError::Read { path: path.to_owned(), source };
        let mut stored = BufReader::new(File::open(path).map_err(read)?);
        let plain = stored.fill_buf().map_err(read)?.first().is_none_or(u8::is_ascii_digit);
        let lines: Box<dyn BufRead + Send> = if plain {
            Box::new(stored)
        } else {
            Box::new(BufReader::new(zstd::stream::read::Decoder::with_buffer(stored).map_err(read)?))
        };
        Ok(Arrivals { lines, path: path.to_owned(), line: 0 })
    }

    /// The arrival of the next request, which must have one of the two lengths: as stored, or decompressed.
    pub(super) fn next(&mut self, stored_len: usize, len: usize) -> Result<EventTime, RecordingError> {
        let Some(line) = self.read_line()? else {
            return Err(self.unfit("the recording has more requests than this file has lines"));
        };
        let mut columns = line.trim_ascii_end().split(|byte| *byte == b'\t');
        let mut number = || std::str::from_utf8(columns.next()?).ok()?.parse::<u64>().ok();
        let (Some(nanos), Some(written_len)) = (number(), number()) else {
            return Err(self.unfit("not an arrival time and a length, separated by a tab"));
        };
        if written_len != stored_len as u64 && written_len != len as u64 {
            return Err(self.unfit("the length differs from that of the request"));
        }
        Ok(EventTime::from_unix_nanos(nanos))
    }

    /// Checks that no line is left over.
    pub(super) fn finish(&mut self) -> Result<(), RecordingError> {
        match self.read_line()? {
            None => Ok(()),
            Some(_) => Err(self.unfit("the recording has fewer requests than this file has lines")),
        }
    }

    fn read_line(&mut self) -> Result<Option<Vec<u8>>, RecordingError> {
        self.line += 1;
        let mut line = Vec::new();
        let found = (&mut *self.lines).take(MAX_LINE_BYTES).read_until(b'\n', &mut line);
        match found {
            Ok(0) => Ok(None),
            Ok(_) => Ok(Some(line)),
            Err(source) => Err(RecordingError::Read { path: self.path.clone(), source }),
        }
    }

    fn unfit(&self, problem: &'static str) -> RecordingError {
        RecordingError::Arrivals { path: self.path.clone(), line: self.line, problem }
    }
}

/// The side file of a recording, if there is one: the recording's name up to its form, then
/// `.arrivals.tsv.zst` or `.arrivals.tsv`.
pub(super) fn side_file(recording: &Path) -> Option<PathBuf> {
    let mut stem = recording.file_name()?.to_str()?;
    for endings in [&[".zst"][..], &[".pb", ".proto", ".jsonl", ".json"], &[".otlp"]] {
        stem = endings.iter().find_map(|ending| stem.strip_suffix(ending)).unwrap_or(stem);
    }
    [".arrivals.tsv.zst", ".arrivals.tsv"]
        .into_iter()
        .map(|ending| recording.with_file_name(format!("{stem}{ending}")))
        .find(|path| path.is_file())
}

/// Whether a file is named like a side file.
pub(super) fn is_side_file(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
    name.ends_with(".arrivals.tsv.zst") || name.ends_with(".arrivals.tsv")
}
