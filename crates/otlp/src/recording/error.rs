//! What can be wrong with a recording.

use std::io;
use std::path::PathBuf;

/// What can be wrong with a recording. Every variant is `Rejected`: the files are as they are, and reading
/// them again gives the same. Offsets count bytes of the uncompressed content.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The machine could not read the file or folder; check that it exists and may be read.
    #[error("read {}: {source}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the machine said.
        source: io::Error,
    },
    /// The file was named itself and holds no OTLP traces or logs; name another.
    #[error("{} is not an OTLP recording: {reason}", path.display())]
    NotARecording {
        /// The file.
        path: PathBuf,
        /// What it seems to be.
        reason: &'static str,
    },
    /// There is no recording among the paths; name others.
    #[error("no OTLP recording among {files} files")]
    Empty {
        /// How many files were looked into.
        files: usize,
    },
    /// The file ends within a request: it was cut short, or is still being written. Cut it at `offset`, or
    /// copy it anew.
    #[error("{} ends within a request: the one at byte {offset} needs {needed} bytes and has {found}", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Where the request's length stands, or its line begins.
        offset: u64,
        /// How long the request says it is, its length included; 0 if even the length is cut.
        needed: u64,
        /// How much of it is there.
        found: u64,
    },
    /// A request is longer than the limit: raise the limit, or the file is damaged there.
    #[error("{}: the request at byte {offset} has {bytes} bytes or more, the limit is {limit}", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Where the request's length stands, or its line begins.
        offset: u64,
        /// How long it is, or how much of it was read.
        bytes: u64,
        /// The longest that is read.
        limit: u64,
    },
    /// Compressed content is damaged; copy the file anew.
    #[error("{}: decompress at byte {offset}: {source}", path.display())]
    Inflate {
        /// The file.
        path: PathBuf,
        /// The last place known to be good.
        offset: u64,
        /// What the decompressor said.
        source: io::Error,
    },
    /// A line is not a JSON object; the file is damaged there.
    #[error("{}: the line at byte {offset} is not a JSON object", path.display())]
    NotJson {
        /// The file.
        path: PathBuf,
        /// Where the line begins.
        offset: u64,
    },
    /// The side file of arrival times does not fit the recording; fetch both anew, or remove the side file
    /// to read by event time.
    #[error("{} line {line}: {problem}", path.display())]
    Arrivals {
        /// The side file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What does not fit.
        problem: &'static str,
    },
    /// More files overlap in time than may be open; replay fewer at a time.
    #[error("more than {limit} recordings overlap in time")]
    TooManyOpen {
        /// The limit.
        limit: usize,
    },
    /// There are more files below the paths than the limit; name the recordings themselves.
    #[error("more than {limit} files below the paths")]
    TooManyFiles {
        /// The limit.
        limit: usize,
    },
}
