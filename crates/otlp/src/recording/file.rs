//! One recorded file: its requests with their arrivals, in the order of the file.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::arrivals::Arrivals;
use super::frames::FrameReader;
use super::reorder::Reordered;
use super::source::Source;
use super::{FileSummary, RecordingError, RecordingLimits};

/// A file that is known to be a recording, not open yet.
pub(super) struct Recorded {
    path: PathBuf,
    arrivals: Option<PathBuf>,
    limits: RecordingLimits,
}

impl Recorded {
    pub(super) fn new(file: &FileSummary, limits: RecordingLimits) -> Recorded {
        Recorded { path: file.path.clone(), arrivals: file.arrivals.clone(), limits }
    }

    /// Opens the file and looks ahead; `read` counts the bytes taken from it.
    pub(super) fn open(&self, read: &Arc<AtomicU64>) -> Result<Reordered, RecordingError> {
        let frames = frames_of(&self.path, self.limits, read)?;
        let arrivals = self.arrivals.as_deref().map(Arrivals::open).transpose()?;
        Ok(Reordered::new(Source::new(frames, arrivals), self.limits))
    }
}

pub(super) fn frames_of(
    path: &Path,
    limits: RecordingLimits,
    read: &Arc<AtomicU64>,
) -> Result<FrameReader<'static>, RecordingError> {
    let file = File::open(path).map_err(|source| RecordingError::Read { path: path.to_owned(), source })?;
    let counted = Counted { file, read: Arc::clone(read) };
    FrameReader::start(Box::new(BufReader::with_capacity(1 << 17, counted)), path, limits)
}

/// A file that counts what is read from it.
struct Counted {
    file: File,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.file.read(buffer)?;
        self.read.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}
