//! Recordings: OTLP as somebody wrote it to files, read back in order of arrival.
//!
//! A recording is told from other files by its **content**, never by its name, and so are the forms it
//! may have: requests behind a four-byte length (as the OpenTelemetry Collector's file exporter writes
//! them, plain or each compressed by itself), the same as one zstd stream, and OTLP/JSON lines, plain or
//! as one zstd stream. One file may mix traces and logs, protobuf and JSON.
//!
//! The one design decision: a request **arrived** when the side file of arrival times says so, and
//! without one when the last call in it ended. Requests of one file that stand slightly out of that order
//! are put right within a bounded look-ahead ([`RecordingLimits::reorder_requests`]); what stands further
//! out arrives when the request before it did. What it costs: every request is walked twice, once here for
//! its times and once by decode.
//!
//! The invariant it keeps: arrivals never decrease, and the same files give the same requests in the same
//! order. Memory is bounded by the limits and by the zstd windows of the files that overlap in time
//! (at most 128 MiB each); files that do not overlap are open one after another.

mod arrivals;
mod error;
mod file;
mod find;
mod frames;
mod peek;
mod reorder;
mod source;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use lapwing_telemetry::EventTime;

pub use self::error::RecordingError;
use self::file::Recorded;
use self::frames::FrameReader;
use self::reorder::Reordered;
use crate::{Encoding, Payload};

/// One export request of a recording: what a client once sent in one piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// When it arrived. Never earlier than that of the request before it.
    pub arrival: EventTime,
    /// What it carries.
    pub payload: Payload,
    /// How `body` is written.
    pub encoding: Encoding,
    /// The request, uncompressed.
    pub body: Bytes,
}

/// How much reading a recording may take at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordingLimits {
    /// The longest request, uncompressed. Not more than 512 MiB: a longer length could not be told from the
    /// first bytes of other kinds of file.
    pub max_message_bytes: usize,
    /// Requests that one file is looked ahead for earlier ones.
    pub reorder_requests: usize,
    /// Bytes that one file is looked ahead for earlier ones; at least one request is.
    pub reorder_bytes: usize,
    /// Files that may overlap in time and so be open at once.
    pub max_open_files: usize,
    /// Files in all, those that are no recordings included.
    pub max_files: usize,
}

impl Default for RecordingLimits {
    /// 64 MiB a request (four times what the door takes by default), a look-ahead of 256 requests or 2 MiB
    /// (the longest disorder seen between proxies is a second, some 20 requests), 256 overlapping files
    /// (so 512 MiB of look-ahead at worst), 100 000 files.
    fn default() -> RecordingLimits {
        RecordingLimits {
            max_message_bytes: 64 << 20,
            reorder_requests: 256,
            reorder_bytes: 2 << 20,
            max_open_files: 256,
            max_files: 100_000,
        }
    }
}

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `[u32 big-endian length][request]`, repeated; each request plain or compressed by itself.
    Frames,
    /// The same, the whole file one zstd stream.
    FramesInZstd,
    /// One OTLP/JSON object a line.
    JsonLines,
    /// The same, the whole file one zstd stream.
    JsonLinesInZstd,
}

/// What was found and, once read, what was in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordingSummary {
    /// The recordings, in order of path.
    pub files: Vec<FileSummary>,
    /// The files left alone, each with the reason.
    pub skipped: Vec<(PathBuf, &'static str)>,
    /// Requests with spans read so far.
    pub traces: u64,
    /// Requests with log records read so far.
    pub logs: u64,
    /// Requests read so far that carry neither: metrics, empty ones, or what is not OTLP at all.
    pub other: u64,
    /// Requests read so far that stood too far out of order, and arrive when the one before them did.
    pub raised: u64,
}

/// One file of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSummary {
    /// The file.
    pub path: PathBuf,
    /// How it is written.
    pub form: Form,
    /// Its side file of arrival times, if it has one.
    pub arrivals: Option<PathBuf>,
    /// Its size as stored.
    pub stored_bytes: u64,
    /// The arrival of its first request.
    pub starts: EventTime,
}

/// How far reading has come, for a progress bar on another thread.
#[derive(Clone, Debug)]
pub struct Progress {
    total: u64,
    read: Arc<AtomicU64>,
}

impl Progress {
    /// The size of all files as stored.
    pub fn total_bytes(&self) -> u64 {
        self.total
    }

    /// Bytes of them read so far.
    pub fn read_bytes(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }
}

/// An open recording: an iterator over its requests in order of arrival.
///
/// After an error it ends: what follows a damaged place cannot be trusted. The requests before the
/// damaged place of that file have been given by then.
pub struct Recording {
    limits: RecordingLimits,
    files: Vec<Recorded>,
    /// The open files, by index into `files`.
    open: Vec<Option<Reordered>>,
    n_open: usize,
    /// The next arrival of each file that is not at its end.
    next: BinaryHeap<Reverse<(EventTime, usize)>>,
    last: EventTime,
    progress: Progress,
    summary: RecordingSummary,
    over: bool,
}

impl Recording {
    /// Opens files, and folders with all that is below them, with the default limits.
    pub fn open(paths: &[PathBuf]) -> Result<Recording, RecordingError> {
        Recording::open_with(paths, RecordingLimits::default())
    }

    /// Opens files, and folders with all that is below them.
    ///
    /// A file that was named itself must be a recording; below a folder, what is none is skipped and named
    /// in the summary. Every file is looked into once here, for its form and its first arrival.
    pub fn open_with(paths: &[PathBuf], limits: RecordingLimits) -> Result<Recording, RecordingError> {
        let limits = RecordingLimits { max_message_bytes: limits.max_message_bytes.min(512 << 20), ..limits };
        let found = find::recordings(paths, limits)?;
        let progress =
            Progress { total: found.files.iter().map(|file| file.stored_bytes).sum(), read: Arc::default() };
        let files: Vec<_> = found.files.iter().map(|file| Recorded::new(file, limits)).collect();
        Ok(Recording {
            limits,
            open: files.iter().map(|_| None).collect(),
            n_open: 0,
            next: found.files.iter().enumerate().map(|(idx, file)| Reverse((file.starts, idx))).collect(),
            files,
            last: EventTime::MIN,
            progress,
            summary: RecordingSummary {
                files: found.files,
                skipped: found.skipped,
                ..RecordingSummary::default()
            },
            over: false,
        })
    }

    /// What was found, and what has been read of it so far.
    pub fn summary(&self) -> &RecordingSummary {
        &self.summary
    }

    /// The size of all files as stored.
    pub fn total_bytes(&self) -> u64 {
        self.progress.total_bytes()
    }

    /// Bytes of them read so far.
    pub fn read_bytes(&self) -> u64 {
        self.progress.read_bytes()
    }

    /// The two numbers above, to be read while another thread reads the recording.
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    fn advance(&mut self) -> Result<Option<Message>, RecordingError> {
        while let Some(Reverse((_, idx))) = self.next.pop() {
            if self.open[idx].is_none() {
                if self.n_open == self.limits.max_open_files {
                    return Err(RecordingError::TooManyOpen { limit: self.limits.max_open_files });
                }
                self.open[idx] = Some(self.files[idx].open(&self.progress.read)?);
                self.n_open += 1;
                // The first arrival is known only now to be exact: queue again.
                self.queue(idx);
                continue;
            }
            let Some(file) = self.open[idx].as_mut() else { continue };
            let message = file.next();
            self.queue(idx);
            match message {
                None => {}
                Some(message) => return message.map(|message| Some(self.count(message))),
            }
        }
        Ok(None)
    }

    /// Puts an open file back in line, or closes it at its end.
    fn queue(&mut self, idx: usize) {
        let Some(file) = self.open[idx].as_ref() else { return };
        if let Some(arrival) = file.next_arrival() {
            self.next.push(Reverse((arrival.max(self.last), idx)));
        } else {
            self.summary.other += file.other();
            self.open[idx] = None;
            self.n_open -= 1;
        }
    }

    fn count(&mut self, mut message: Message) -> Message {
        match message.payload {
            Payload::Traces => self.summary.traces += 1,
            Payload::Logs => self.summary.logs += 1,
        }
        if message.arrival < self.last {
            self.summary.raised += 1;
            message.arrival = self.last;
        }
        self.last = message.arrival;
        message
    }
}

impl Iterator for Recording {
    type Item = Result<Message, RecordingError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let next = self.advance();
        self.over = !matches!(next, Ok(Some(_)));
        next.transpose()
    }
}

/// Splits the bytes of one file into its requests, uncompressed, in the order of the file.
///
/// This is what reading a file does, without the file: for tests and fuzzing, since recordings are sent
/// by strangers. Errors name the file `bytes`.
pub fn split_frames(bytes: &[u8]) -> Result<Vec<Bytes>, RecordingError> {
    let mut frames = FrameReader::start(Box::new(bytes), Path::new("bytes"), RecordingLimits::default())?;
    let mut bodies = Vec::new();
    while let Some(frame) = frames.next()? {
        bodies.push(frame.body);
    }
    Ok(bodies)
}

#[cfg(test)]
mod tests;
