//! The local journal: an ordered, durable log in files of one directory.
//!
//! One thread writes; readers tail the files, woken by a watch on what is durable. Frames of all partitions
//! lie in one sequence and are numbered over all of them, so a reader's place is one number.
//!
//! Segments are files named by the number of their first frame. A segment is deleted when every consumer
//! has committed past it, and never before: when readers are further behind than the disk budget allows,
//! appending answers *busy*.

mod reader;
mod recover;
mod writer;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lapwing_telemetry::{Clock, Offset};
use tokio::sync::watch;

pub use self::reader::JournalReader;
pub use self::writer::JournalWriter;
use crate::disk::write_atomically;

/// What the journal is told once.
#[derive(Clone, Debug)]
pub struct JournalSettings {
    /// Its directory; made if it is not there.
    pub dir: PathBuf,
    /// Most bytes its segments may hold together.
    pub disk_budget_bytes: u64,
    /// Size at which a new segment is begun.
    pub segment_bytes: u64,
    /// Names of the readers that must have committed past a segment before it is deleted.
    pub consumers: Vec<String>,
}

/// The journal cannot be opened. *Broken*: nothing is changed on disk; an operator must act.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file system refused.
    #[error("journal `{}`: {source}", path.display())]
    Disk {
        /// The file or directory.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// A frame is damaged and whole frames follow it, so it is no torn tail.
    #[error("journal segment `{}` is damaged at byte {at}: {damage}; move the file away to go on without its calls", path.display())]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// Where the damaged frame begins.
        at: u64,
        /// What is wrong with it.
        damage: crate::frame::Damage,
    },
    /// Another process has the journal open.
    #[error("journal `{}` is in use by another process; stop it, or choose another data_dir", path.display())]
    InUse {
        /// The journal's directory.
        path: PathBuf,
    },
    /// A reader asked for frames that have been deleted.
    #[error(
        "journal: frames after {after} were asked for, the oldest kept is {oldest}; restore newer state, or delete the state to learn anew"
    )]
    Gone {
        /// The last frame the reader has.
        after: u64,
        /// The oldest frame there is.
        oldest: u64,
    },
    /// The consumer is not one of those in the settings, so nothing would be kept for it.
    #[error("journal: `{name}` is not one of its consumers")]
    UnknownConsumer {
        /// The name asked for.
        name: String,
    },
}

/// A handle on an open journal: makes readers and tells how full it is.
#[derive(Clone)]
pub struct Journal {
    settings: Arc<JournalSettings>,
    tail: watch::Receiver<Tail>,
    commits: Arc<watch::Sender<BTreeMap<String, u64>>>,
}

/// What is durable.
#[derive(Clone, Debug, Default)]
struct Tail {
    segments: Vec<Segment>,
    /// Number of the next frame to be written.
    next: u64,
    /// No more will come.
    closed: bool,
}

#[derive(Clone, Debug)]
struct Segment {
    path: PathBuf,
    first: u64,
    bytes: u64,
}

/// How full the journal is and how far its consumers are.
#[derive(Clone, Debug, Default)]
pub struct JournalStats {
    /// Bytes of all segments.
    pub bytes: u64,
    /// Most bytes they may hold.
    pub disk_budget_bytes: u64,
    /// Number of segments.
    pub segments: usize,
    /// Number of the next frame to be written.
    pub next: u64,
    /// For each consumer, frames it has not committed.
    pub lag_frames: BTreeMap<String, u64>,
}

impl Journal {
    /// Opens the journal: checks the last segment, cuts a torn tail off it (a write that a crash
    /// interrupted, and so never acknowledged), and starts the thread that writes.
    ///
    /// # Errors
    /// [`JournalError`]; nothing has been changed then.
    pub fn open(settings: JournalSettings) -> Result<(JournalWriter, Journal), JournalError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| JournalError::Disk { path, source }
        };
        let consumers = settings.dir.join("consumers");
        fs::create_dir_all(&consumers).map_err(at(&consumers))?;
        let lock = recover::lock(&settings.dir)?;
        let recovered = recover::segments(&settings.dir)?;
        let mut commits = BTreeMap::new();
        for name in &settings.consumers {
            commits
                .insert(name.clone(), read_commit(&consumers.join(name)).map_err(at(&consumers.join(name)))?);
        }
        // Numbers are never used twice, even if every segment has been deleted.
        let next = commits.values().copied().max().map_or(0, |c| c).max(recovered.next);
        let tail = Tail { segments: recovered.segments, next, closed: false };
        let (tail_sender, tail) = watch::channel(tail);
        let settings = Arc::new(settings);
        let journal =
            Journal { settings: settings.clone(), tail, commits: Arc::new(watch::Sender::new(commits)) };
        let writer = JournalWriter::start(settings, tail_sender, journal.commits.clone(), lock)
            .map_err(at(&journal.settings.dir))?;
        Ok((writer, journal))
    }

    /// Makes the reader of `consumer`, placed after what it has committed. `quiet` is the clock and grace
    /// with which it says that nothing older will come; without it, it never does.
    ///
    /// # Errors
    /// [`JournalError::UnknownConsumer`].
    pub fn reader(
        &self,
        consumer: &str,
        quiet: Option<(Clock, Duration)>,
    ) -> Result<JournalReader, JournalError> {
        let Some(&committed) = self.commits.borrow().get(consumer) else {
            return Err(JournalError::UnknownConsumer { name: consumer.to_owned() });
        };
        Ok(JournalReader::new(self.clone(), consumer.to_owned(), committed, quiet))
    }

    /// How full the journal is and how far its consumers are.
    pub fn stats(&self) -> JournalStats {
        let tail = self.tail.borrow();
        let lag =
            self.commits.borrow().iter().map(|(n, c)| (n.clone(), tail.next.saturating_sub(*c))).collect();
        JournalStats {
            bytes: tail.segments.iter().map(|s| s.bytes).sum(),
            disk_budget_bytes: self.settings.disk_budget_bytes,
            segments: tail.segments.len(),
            next: tail.next,
            lag_frames: lag,
        }
    }
}

/// A commit is the number of the next frame that the consumer needs, in decimal.
fn read_commit(path: &Path) -> io::Result<u64> {
    match fs::read_to_string(path) {
        Ok(text) => text
            .trim()
            .parse()
            .map_err(|_detail| io::Error::new(io::ErrorKind::InvalidData, "not a frame number")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

fn write_commit(path: &Path, next: Offset) -> io::Result<()> {
    write_atomically(path, format!("{}\n", next.0).as_bytes())
}
