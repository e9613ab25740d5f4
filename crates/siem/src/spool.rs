//! A bounded queue of findings on disk, for one target: one writer, one reader, one cursor.
//!
//! ```text
//!   <folder>/lock                         held while open
//!            00000000000000000000.spool   segments, named after the number of their first finding
//!            00000000000000012345.spool
//!            cursor.json                  how far delivery has come
//!            dead-letter.ndjson           what the target will never take, and why
//! ```
//!
//! A segment is text, one finding to a line, so that an operator can read it:
//! CRC-32C of what follows (8 hexadecimal digits), space, time of spooling (microseconds since the epoch),
//! space, the finding as JSON, line break.
//!
//! An append is durable or not there; a torn tail is cut off when the spool is opened. The cursor is saved
//! after the target has taken a batch, so a crash between the two repeats that batch: **at-least-once**,
//! and `id` with `revision` tells repeats apart. Findings are numbered from 0 for as long as the folder
//! lives, which is why `produced = delivered + spooled + dead_lettered` cannot drift.

mod cursor;
mod reader;
mod segment;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use lapwing_telemetry::{Clock, EventTime};
use tokio::sync::watch;

pub use reader::{Batch, Damaged, SpoolReader, Waiting};
pub use writer::SpooledSink;

/// Where a spool lies and how large it may become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolSettings {
    /// The spool's own folder; created if it is not there.
    pub folder: PathBuf,
    /// Most bytes of segments. When they are reached, appending is *busy* until the target has taken some.
    pub budget_bytes: u64,
    /// Size at which a segment is closed; delivered segments are deleted whole. At most a quarter of the
    /// budget counts.
    pub segment_bytes: u64,
    /// Most bytes of `dead-letter.ndjson`. When they are reached, delivery stands still until an operator
    /// moves the file away.
    pub dead_letter_bytes: u64,
}

impl SpoolSettings {
    /// The settings for `folder` with the defaults: 256 MiB (about a hundred thousand findings), segments
    /// of 8 MiB, 64 MiB of dead letters.
    pub fn new(folder: impl Into<PathBuf>) -> SpoolSettings {
        SpoolSettings {
            folder: folder.into(),
            budget_bytes: 256 << 20,
            segment_bytes: 8 << 20,
            dead_letter_bytes: 64 << 20,
        }
    }

    fn segment_limit(&self) -> u64 {
        self.segment_bytes.min(self.budget_bytes / 4).max(1)
    }
}

/// Why a spool cannot take or give findings.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// *Busy*: the budget is used up or the disk is full. Append the same findings again later.
    #[error("spool `{}` has no room for {bytes} bytes more: {what}", folder.display())]
    Full {
        /// The spool's folder.
        folder: PathBuf,
        /// What was to be appended.
        bytes: usize,
        /// Which limit was reached.
        what: String,
    },
    /// *Broken*: the disk failed. Stop; what was appended before is safe.
    #[error("spool `{}`: {action}: {source}", folder.display())]
    Disk {
        /// The spool's folder.
        folder: PathBuf,
        /// What was being done.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// *Broken*: another process has the spool open. Give each process a folder of its own.
    #[error("spool `{}` is in use by another process; give each process a folder of its own", .0.display())]
    InUse(PathBuf),
    /// *Broken*: findings that were not delivered are not there any more. Put the file back, or move the
    /// folder away to start anew.
    #[error(
        "spool `{}` lacks the segment that holds finding {number}; put it back, or move the folder away to start anew",
        folder.display()
    )]
    Missing {
        /// The spool's folder.
        folder: PathBuf,
        /// Number of the first finding that is missing.
        number: u64,
    },
}

impl SpoolError {
    fn disk(folder: &Path, action: &'static str) -> impl FnOnce(io::Error) -> SpoolError {
        move |source| SpoolError::Disk { folder: folder.to_owned(), action, source }
    }
}

/// Opens or creates a spool for the sink called `name`. Reads at most the last segment; blocks that long.
///
/// # Errors
/// *Broken* ones only: [`SpoolError::Disk`], [`SpoolError::InUse`], [`SpoolError::Missing`].
pub fn open(
    name: &str,
    settings: &SpoolSettings,
    clock: Clock,
) -> Result<(SpooledSink, SpoolReader), SpoolError> {
    let disk = |action| SpoolError::disk(&settings.folder, action);
    std::fs::create_dir_all(&settings.folder).map_err(disk("create folder"))?;
    let lock = std::fs::File::create(settings.folder.join("lock")).map_err(disk("create lock"))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(std::fs::TryLockError::WouldBlock) => return Err(SpoolError::InUse(settings.folder.clone())),
        Err(std::fs::TryLockError::Error(error)) => return Err(disk("take lock")(error)),
    }
    let opened = segment::recover(settings)?;
    let (end, _) = watch::channel(opened.end);
    let (cursor, _) = watch::channel(opened.cursor);
    let (state, _) = watch::channel(SinkState::Ready);
    let shared = Arc::new(Shared {
        name: name.to_owned(),
        settings: settings.clone(),
        _lock: lock,
        end,
        cursor,
        state,
        disk_bytes: AtomicU64::new(opened.disk_bytes),
        oldest_micros: AtomicI64::new(clock().0),
        retries: AtomicU64::new(0),
        circuit_open: AtomicBool::new(false),
    });
    let writer = writer::Writer::new(opened.last, opened.end, Arc::clone(&shared));
    Ok((SpooledSink::new(writer, Arc::clone(&shared), clock), SpoolReader::new(shared)))
}

/// The end of what is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct End {
    /// Number of the first finding in the last segment.
    segment: u64,
    /// Whole bytes in the last segment.
    offset: u64,
    /// Number of the next finding.
    number: u64,
}

/// What writer, reader and monitors share. Each part has one writer.
#[derive(Debug)]
struct Shared {
    name: String,
    settings: SpoolSettings,
    _lock: std::fs::File,
    end: watch::Sender<End>,
    cursor: watch::Sender<cursor::Cursor>,
    state: watch::Sender<SinkState>,
    disk_bytes: AtomicU64,
    oldest_micros: AtomicI64,
    retries: AtomicU64,
    circuit_open: AtomicBool,
}

/// Tells how a sink with a spool is doing; cheap to clone.
#[derive(Clone, Debug)]
pub struct Monitor(Arc<Shared>);

/// How a sink with a spool is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SinkStats {
    /// Findings ever appended to this spool's folder.
    pub produced: u64,
    /// Findings that the target has taken.
    pub delivered: u64,
    /// Findings that wait.
    pub spooled: u64,
    /// Findings that the target will never take; they lie in `dead-letter.ndjson`.
    pub dead_lettered: u64,
    /// Size of the segments on disk.
    pub spool_bytes: u64,
    /// When the oldest finding that waits was appended; `None` if none waits. After a restart, the time
    /// of the restart until that finding has been read.
    pub oldest_spooled_at: Option<EventTime>,
    /// Attempts that failed since the process started.
    pub retries: u64,
    /// What delivery is doing.
    pub state: SinkState,
    /// Whether so many attempts in a row have failed that the target is asked with one finding at a time.
    pub circuit_open: bool,
    /// Most bytes of segments.
    pub budget_bytes: u64,
}

/// What the delivery of a sink is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SinkState {
    /// Delivering, or waiting for findings.
    Ready,
    /// The target is away or full; the next attempt follows by itself.
    Retrying,
    /// The target refuses us, or the dead-letter file is full: an operator must act.
    Refused,
    /// Delivery has ended.
    Stopped,
}

impl SinkState {
    /// Every state.
    pub const ALL: [SinkState; 4] =
        [SinkState::Ready, SinkState::Retrying, SinkState::Refused, SinkState::Stopped];

    /// The state as one lower-case word, for a metric's label.
    pub const fn as_str(self) -> &'static str {
        match self {
            SinkState::Ready => "ready",
            SinkState::Retrying => "retrying",
            SinkState::Refused => "refused",
            SinkState::Stopped => "stopped",
        }
    }
}

impl Monitor {
    /// The sink's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The state of things now. `produced = delivered + spooled + dead_lettered` holds in each answer.
    pub fn stats(&self) -> SinkStats {
        // The cursor first: the end only moves on, so the difference cannot be negative.
        let cursor = *self.0.cursor.borrow();
        let produced = self.0.end.borrow().number;
        let spooled = produced.saturating_sub(cursor.number);
        let oldest = EventTime(self.0.oldest_micros.load(Ordering::Relaxed));
        SinkStats {
            produced,
            delivered: cursor.number - cursor.dead_lettered,
            spooled,
            dead_lettered: cursor.dead_lettered,
            spool_bytes: self.0.disk_bytes.load(Ordering::Relaxed),
            oldest_spooled_at: (spooled > 0).then_some(oldest),
            retries: self.0.retries.load(Ordering::Relaxed),
            state: *self.0.state.borrow(),
            circuit_open: self.0.circuit_open.load(Ordering::Relaxed),
            budget_bytes: self.0.settings.budget_bytes,
        }
    }
}
