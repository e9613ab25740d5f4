//! The local journal: an ordered, durable log in files of one directory.
//!
//! One thread writes; readers tail the files, woken by a watch on what is durable. Frames of all partitions
//! lie in one sequence and are numbered over all of them, so a reader's place is one number. No number is
//! given twice, not even when an operator has deleted the files: a consumer's saved state names the last
//! frame it includes, and numbering goes on after it.
//!
//! Segments are files named by the number of their first frame. A segment is deleted when every consumer
//! has committed past it, and never before: when readers are further behind than the disk budget allows,
//! appending answers *busy*. A consumer that is no longer in the settings keeps nothing, and begins at the
//! oldest segment if it returns.
//!
//! What an operator has moved away (see [`JournalError::Damaged`]) is passed over, logged as an error and
//! counted in [`ConsumerStats::missing_frames`].

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

use lapwing_telemetry::{Clock, EventTime, Offset};
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
    /// A consumer's saved state is older than what it committed, and the frames between have been deleted.
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
    shared: Arc<Shared>,
    tail: watch::Receiver<Tail>,
}

/// What the thread that writes and the readers tell each other.
struct Shared {
    settings: JournalSettings,
    consumers: watch::Sender<BTreeMap<String, Consumer>>,
    /// No frame gets a number below this.
    floor: watch::Sender<u64>,
}

/// What is durable.
#[derive(Clone, Debug, Default)]
struct Tail {
    segments: Vec<Segment>,
    /// Number after the last frame.
    next: u64,
    /// No more will come.
    closed: bool,
}

#[derive(Clone, Debug)]
struct Segment {
    path: PathBuf,
    first: u64,
    /// Number after its last frame.
    next: u64,
    bytes: u64,
}

/// How far one consumer is.
#[derive(Clone, Debug, Default)]
struct Consumer {
    /// Number of the first frame it still needs.
    needs: u64,
    /// Whether it said so itself, now or before a restart.
    has_committed: bool,
    /// Number of the next frame to be handed to it.
    next: u64,
    /// `received_at` of the last frame handed to it.
    read_up_to: Option<EventTime>,
    /// The segment it reads, by its first frame, and how many bytes of it have been handed out.
    at: (u64, u64),
    missing_frames: u64,
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
    /// For each consumer, how far it is.
    pub consumers: BTreeMap<String, ConsumerStats>,
}

/// How far a consumer is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsumerStats {
    /// Frames that have not been handed to it.
    pub unread_frames: u64,
    /// Bytes of frames that have not been handed to it.
    pub unread_bytes: u64,
    /// When something is unread: `received_at` of the last call it was handed, so that every unread call is
    /// at least as young; `None` if nothing is unread, or it was handed nothing since start.
    pub unread_since: Option<EventTime>,
    /// Frames that it should have been handed and that were not there, since start: their files were moved
    /// away or deleted by somebody else.
    pub missing_frames: u64,
}

impl Journal {
    /// Opens the journal: checks the last segment, cuts a torn tail off it (a write that a crash
    /// interrupted, and so never acknowledged), and starts the thread that writes.
    ///
    /// # Errors
    /// [`JournalError`]; nothing has been changed then.
    pub fn open(settings: JournalSettings) -> Result<(JournalWriter, Journal), JournalError> {
        let folder = settings.dir.join("consumers");
        fs::create_dir_all(&folder).map_err(at(&folder))?;
        let lock = recover::lock(&settings.dir)?;
        let recovered = recover::segments(&settings.dir)?;
        let mut commits = Vec::new();
        for name in &settings.consumers {
            let path = folder.join(name);
            commits.push((name.clone(), read_commit(&path).map_err(at(&path))?));
        }
        forget_others(&folder, &settings.consumers)?;
        let floor = commits.iter().filter_map(|(_, commit)| *commit).fold(recovered.next, u64::max);
        let oldest = recovered.segments.first().map_or(floor, |s| s.first);
        let consumers = commits.into_iter().map(|(name, commit)| {
            let needs = commit.unwrap_or(oldest);
            let has_committed = commit.is_some();
            (name, Consumer { needs, has_committed, next: needs, ..Consumer::default() })
        });
        let shared = Arc::new(Shared {
            consumers: watch::Sender::new(consumers.collect()),
            floor: watch::Sender::new(floor),
            settings,
        });
        let tail = Tail { segments: recovered.segments, next: recovered.next, closed: false };
        let (sender, tail) = watch::channel(tail);
        let writer = JournalWriter::start(shared.clone(), sender, lock).map_err(at(&shared.settings.dir))?;
        Ok((writer, Journal { shared, tail }))
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
        let Some(needs) = self.shared.consumers.borrow().get(consumer).map(|c| c.needs) else {
            return Err(JournalError::UnknownConsumer { name: consumer.to_owned() });
        };
        Ok(JournalReader::new(self.clone(), consumer.to_owned(), needs, quiet))
    }

    /// How full the journal is and how far its consumers are.
    pub fn stats(&self) -> JournalStats {
        let tail = self.tail.borrow();
        let consumers = self.shared.consumers.borrow();
        JournalStats {
            bytes: tail.bytes(),
            disk_budget_bytes: self.shared.settings.disk_budget_bytes,
            segments: tail.segments.len(),
            next: tail.next,
            lag_frames: consumers
                .iter()
                .map(|(n, c)| (n.clone(), tail.next.saturating_sub(c.needs)))
                .collect(),
            consumers: consumers.iter().map(|(name, c)| (name.clone(), c.stats(&tail))).collect(),
        }
    }
}

impl Tail {
    fn bytes(&self) -> u64 {
        self.segments.iter().map(|s| s.bytes).sum()
    }
}

impl Consumer {
    fn stats(&self, tail: &Tail) -> ConsumerStats {
        let unread_frames = tail.next.saturating_sub(self.next);
        let unread = |s: &Segment| match self.at {
            (segment, read) if segment == s.first => s.bytes.saturating_sub(read),
            _ if s.next <= self.next => 0,
            _ => s.bytes,
        };
        ConsumerStats {
            unread_frames,
            unread_bytes: tail.segments.iter().map(unread).sum(),
            unread_since: self.read_up_to.filter(|_| unread_frames > 0),
            missing_frames: self.missing_frames,
        }
    }
}

/// A commit is the number of the next frame that the consumer needs, in decimal; `None` if it never committed.
fn read_commit(path: &Path) -> io::Result<Option<u64>> {
    match fs::read_to_string(path) {
        Ok(text) => text
            .trim()
            .parse()
            .map(Some)
            .map_err(|_detail| io::Error::new(io::ErrorKind::InvalidData, "not a frame number")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn write_commit(path: &Path, next: Offset) -> io::Result<()> {
    write_atomically(path, format!("{}\n", next.0).as_bytes())
}

/// Forgets consumers that are no longer in the settings: what they had committed says nothing about what is
/// still here when they return.
fn forget_others(folder: &Path, consumers: &[String]) -> Result<(), JournalError> {
    for entry in fs::read_dir(folder).map_err(at(folder))? {
        let path = entry.map_err(at(folder))?.path();
        if !consumers.iter().any(|name| path.file_name().is_some_and(|n| n == name.as_str())) {
            fs::remove_file(&path).map_err(at(&path))?;
        }
    }
    Ok(())
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> JournalError + use<> {
    let path = path.to_owned();
    move |source| JournalError::Disk { path, source }
}
