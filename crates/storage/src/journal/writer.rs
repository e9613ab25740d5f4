//! The one thread that writes.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use lapwing_telemetry::{AppendError, Group, LogWriter, Offset, Position};
use tokio::sync::{oneshot, watch};

use super::{JournalSettings, Segment, Tail, recover};
use crate::disk::{is_full, sync_directory_of};
use crate::frame;

/// Groups that may wait for the thread; more are not accepted before one is done.
const WAITING_GROUPS: usize = 4;

/// Appends groups of frames. Dropping it ends the log: readers see the end after the last frame.
pub struct JournalWriter {
    groups: Option<SyncSender<Request>>,
    thread: Option<thread::JoinHandle<()>>,
}

struct Request {
    group: Group,
    done: oneshot::Sender<Result<(), AppendError>>,
}

impl JournalWriter {
    pub(super) fn start(
        settings: Arc<JournalSettings>,
        tail: watch::Sender<Tail>,
        commits: Arc<watch::Sender<BTreeMap<String, u64>>>,
        lock: File,
    ) -> io::Result<JournalWriter> {
        let (groups, requests) = sync_channel(WAITING_GROUPS);
        let mut disk = Disk { settings, tail, commits, file: None, buffer: Vec::new(), _lock: lock };
        let thread = thread::Builder::new().name("journal".into()).spawn(move || disk.run(&requests))?;
        Ok(JournalWriter { groups: Some(groups), thread: Some(thread) })
    }
}

impl LogWriter for JournalWriter {
    async fn append(&mut self, group: Group) -> Result<(), AppendError> {
        let gone = || AppendError::Broken { reason: "the journal's thread has ended".into() };
        let (done, result) = oneshot::channel();
        let groups = self.groups.as_ref().ok_or_else(gone)?;
        // One append is awaited before the next begins, so the channel always has room.
        groups.try_send(Request { group, done }).map_err(|_ended| gone())?;
        result.await.map_err(|_ended| gone())?
    }
}

impl Drop for JournalWriter {
    fn drop(&mut self) {
        drop(self.groups.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join()); // A panic there has already been reported as a broken append.
        }
    }
}

/// What the thread owns.
struct Disk {
    settings: Arc<JournalSettings>,
    tail: watch::Sender<Tail>,
    commits: Arc<watch::Sender<BTreeMap<String, u64>>>,
    file: Option<File>,
    buffer: Vec<u8>,
    /// Held as long as the thread runs: keeps other processes out.
    _lock: File,
}

impl Disk {
    fn run(&mut self, requests: &Receiver<Request>) {
        while let Ok(Request { group, done }) = requests.recv() {
            let result = self.append(&group);
            drop(done.send(result)); // A sender that has left hears nothing; the frames stand.
        }
        self.tail.send_modify(|tail| tail.closed = true);
    }

    /// Encodes, writes and syncs one group, then lets readers see it.
    fn append(&mut self, group: &Group) -> Result<(), AppendError> {
        let mut next = self.tail.borrow().next;
        self.buffer.clear();
        for (partition, calls) in group {
            frame::encode(Position { partition: *partition, offset: Offset(next) }, calls, &mut self.buffer);
            next += 1;
        }
        self.free();
        let held: u64 = self.tail.borrow().segments.iter().map(|s| s.bytes).sum();
        if held + self.buffer.len() as u64 > self.settings.disk_budget_bytes {
            return Err(AppendError::Busy {
                reason: format!(
                    "the journal holds {held} bytes of its budget of {}",
                    self.settings.disk_budget_bytes
                ),
            });
        }
        let segment = self.segment().map_err(|e| self.failed("open", &e))?;
        let Some(file) = &mut self.file else {
            return Err(AppendError::Broken { reason: "no segment is open".into() });
        };
        if let Err(error) = write(&self.settings.dir, file, &self.buffer) {
            // Leave no torn frame behind: the next group begins where this one did.
            let cut = file.set_len(segment.bytes);
            self.file = None; // The next append opens it anew, at its end.
            return Err(match cut {
                Ok(()) => self.failed("write", &error),
                Err(cut) => AppendError::Broken {
                    reason: format!("journal `{}`: {error}; then {cut}", segment.path.display()),
                },
            });
        }
        let written = self.buffer.len() as u64;
        self.tail.send_modify(|tail| {
            if let Some(last) = tail.segments.last_mut() {
                last.bytes += written;
            }
            tail.next = next;
        });
        Ok(())
    }

    /// The segment to append to; begins a new one when there is none or it is full.
    fn segment(&mut self) -> io::Result<Segment> {
        let (last, next) = {
            let tail = self.tail.borrow();
            (tail.segments.last().cloned(), tail.next)
        };
        if let Some(last) = last.filter(|s| s.bytes < self.settings.segment_bytes) {
            if self.file.is_none() {
                self.file = Some(OpenOptions::new().append(true).open(&last.path)?);
            }
            return Ok(last);
        }
        let path = recover::path_of(&self.settings.dir, next);
        self.file = Some(OpenOptions::new().append(true).create(true).open(&path)?);
        sync_directory_of(&path)?;
        let segment = Segment { path, first: next, bytes: 0 };
        self.tail.send_modify(|tail| tail.segments.push(segment.clone()));
        Ok(segment)
    }

    /// Deletes segments that every consumer has committed past; the last one is always kept.
    fn free(&self) {
        let needed = self.commits.borrow().values().copied().min().unwrap_or(u64::MAX);
        let freed: Vec<Segment> = {
            let tail = self.tail.borrow();
            tail.segments
                .windows(2)
                .take_while(|pair| pair[1].first <= needed)
                .map(|pair| pair[0].clone())
                .collect()
        };
        if freed.is_empty() {
            return;
        }
        // Readers are past these; they hear of it before the files go.
        self.tail.send_modify(|tail| drop(tail.segments.drain(..freed.len())));
        for segment in &freed {
            if let Err(error) = recover::delete(segment) {
                tracing::error!(segment = %segment.path.display(), %error, "a read segment could not be deleted; delete it by hand");
            }
        }
    }

    fn failed(&self, what: &str, error: &io::Error) -> AppendError {
        let reason = format!("journal `{}`: {what}: {error}", self.settings.dir.display());
        if is_full(error) { AppendError::Busy { reason } } else { AppendError::Broken { reason } }
    }
}

#[cfg_attr(not(test), expect(unused_variables, reason = "tests make a directory run out of space"))]
fn write(dir: &Path, file: &mut File, bytes: &[u8]) -> io::Result<()> {
    #[cfg(test)]
    super::tests::run_out_of_space(dir, file, bytes)?;
    file.write_all(bytes)?;
    file.sync_data()
}
