//! Which of the given files are recordings.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lapwing_telemetry::EventTime;

use super::arrivals::{is_side_file, side_file};
use super::file::{Recorded, frames_of};
use super::{FileSummary, Form, RecordingError, RecordingLimits};

/// How many requests may be looked at for one with spans or log records: a Collector that exports all
/// three signals to one file may write a few batches of metrics first.
const PROBED_REQUESTS: usize = 64;

const CUT: &str = "ends within its first request, or is no recording";

pub(super) struct Found {
    pub(super) files: Vec<FileSummary>,
    pub(super) skipped: Vec<(PathBuf, &'static str)>,
}

/// Looks into every file, in order of path; each once, however often it was named.
pub(super) fn recordings(paths: &[PathBuf], limits: RecordingLimits) -> Result<Found, RecordingError> {
    let mut found = Found { files: Vec::new(), skipped: Vec::new() };
    let mut seen = BTreeSet::new();
    let mut n_files = 0;
    for path in paths {
        let named = path.is_file();
        for path in files_below(path, limits.max_files)? {
            let read = |source| RecordingError::Read { path: path.clone(), source };
            if !seen.insert(path.canonicalize().map_err(read)?) {
                continue;
            }
            n_files += 1;
            if n_files > limits.max_files {
                return Err(RecordingError::TooManyFiles { limit: limits.max_files });
            }
            match probe(&path, limits)? {
                Probed::Recording(form) => found.files.push(describe(path, form, limits)?),
                Probed::Unlike(reason) if named => {
                    return Err(RecordingError::NotARecording { path, reason });
                }
                Probed::Other(reason) | Probed::Unlike(reason) => found.skipped.push((path, reason)),
                Probed::Damaged(error) if named => return Err(error),
                Probed::Damaged(_) => found.skipped.push((path, CUT)),
            }
        }
    }
    found.files.sort_by(|a, b| a.path.cmp(&b.path));
    if found.files.is_empty() {
        return Err(RecordingError::Empty { files: n_files });
    }
    Ok(found)
}

enum Probed {
    Recording(Form),
    /// Not a recording and no mistake to name: a side file, or an empty file of an exporter without data.
    Other(&'static str),
    /// Something else.
    Unlike(&'static str),
    /// Perhaps a recording whose first request is cut.
    Damaged(RecordingError),
}

fn probe(path: &Path, limits: RecordingLimits) -> Result<Probed, RecordingError> {
    if is_side_file(path) {
        return Ok(Probed::Other("arrival times of a recording"));
    }
    let mut start = Vec::new();
    let read = |source| RecordingError::Read { path: path.to_owned(), source };
    File::open(path).map_err(read)?.take(4).read_to_end(&mut start).map_err(read)?;
    match *start.as_slice() {
        [] => return Ok(Probed::Other("empty")),
        [b'P', b'A', b'R', b'1'] => return Ok(Probed::Unlike("a Parquet file")),
        [0x1f, 0x8b, ..] => return Ok(Probed::Unlike("compressed with gzip; decompress it first")),
        _ => {}
    }
    let mut frames = frames_of(path, limits, &Arc::default())?;
    let mut n_frames = 0;
    for _ in 0..PROBED_REQUESTS {
        match frames.next() {
            Ok(Some(frame)) if frame.glance.payload.is_some() => return Ok(Probed::Recording(frames.form())),
            Ok(Some(_)) => n_frames += 1,
            Ok(None) => break,
            Err(error @ (RecordingError::Read { .. } | RecordingError::Inflate { .. })) => return Err(error),
            Err(error @ RecordingError::Truncated { .. }) if frames.form() != Form::JsonLines => {
                return Ok(Probed::Damaged(error));
            }
            Err(_) => return Ok(Probed::Unlike("no requests in a form that is known")),
        }
    }
    Ok(Probed::Unlike(if n_frames > 0 { "requests without spans or log records" } else { "no requests" }))
}

fn describe(path: PathBuf, form: Form, limits: RecordingLimits) -> Result<FileSummary, RecordingError> {
    let stored_bytes =
        fs::metadata(&path).map_err(|source| RecordingError::Read { path: path.clone(), source })?.len();
    let arrivals = side_file(&path);
    let mut file = FileSummary { path, form, arrivals, stored_bytes, starts: EventTime::MIN };
    let first = Recorded::new(&file, limits).open(&Arc::default())?;
    file.starts = first.next_arrival().unwrap_or_default();
    Ok(file)
}

/// The files at or below `path`, in order of path. Links to folders are not followed: they may lead back.
fn files_below(path: &Path, max_files: usize) -> Result<Vec<PathBuf>, RecordingError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        let read = |source| RecordingError::Read { path: folder.clone(), source };
        for entry in fs::read_dir(&folder).map_err(read)? {
            let entry = entry.map_err(read)?;
            let kind = entry.file_type().map_err(read)?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if entry.path().is_file() {
                files.push(entry.path());
            }
            if files.len() + folders.len() > max_files {
                return Err(RecordingError::TooManyFiles { limit: max_files });
            }
        }
    }
    files.sort();
    Ok(files)
}
