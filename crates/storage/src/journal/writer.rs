//! The one thread that writes.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;

use lapwing_telemetry::{AppendError, Group, LogWriter, Offset, Position};
use tokio::sync::{oneshot, watch};

use super::{Segment, Shared, Tail, recover};
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
        shared: Arc<Shared>,
        tail: watch::Sender<Tail>,
        lock: File,
    ) -> io::Result<JournalWriter> {
        let (groups, requests) = sync_channel(WAITING_GROUPS);
        let mut disk = Disk { shared, tail, file: None, buffer: Vec::new(), _lock: lock };
        let thread = thread::Builder::new().name("journal".into()).spawn(move || disk.run(&requests))?;
        Ok(JournalWriter { groups: Some(groups), thread: Some(thread) })
    }
}

impl LogWriter for JournalWriter {
    async fn append(&mut self, group: Group) -> Result<(), AppendError> {
        let gone = || AppendError::Broken { reason: "the journal's thread has ended".into() };
        let (done, result) = oneshot::channel();
        let groups = self.groups.as_ref().ok_or_else(gone)?;
        groups.try_send(Request { group, done }).map_err(|refused| match refused {
            // Only appends that their callers no longer await can have filled it.
            TrySendError::Full(_) => AppendError::Busy { reason: "the journal is behind".into() },
            TrySendError::Disconnected(_) => gone(),
        })?;
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
    shared: Arc<Shared>,
    tail: watch::Sender<Tail>,
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
        let first = self.tail.borrow().next.max(*self.shared.floor.borrow());
        let next = self.encode(group, first)?;
        self.make_room()?;
        let segment = self.segment(first).map_err(|e| self.failed("open", &e))?;
        let Some(file) = &mut self.file else {
            return Err(AppendError::Broken { reason: "no segment is open".into() });
        };
        if let Err(error) = write(&self.shared.settings.dir, file, &self.buffer) {
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
                last.next = next;
            }
            tail.next = next;
        });
        Ok(())
    }

    /// Encodes the group into the buffer; returns the number after its last frame.
    fn encode(&mut self, group: &Group, first: u64) -> Result<u64, AppendError> {
        self.buffer.clear();
        let mut next = first;
        for (place, (partition, calls)) in (0..).zip(group) {
            let start = self.buffer.len();
            let position = Position { partition: *partition, offset: Offset(next) };
            frame::encode_in_group(position, place, calls, &mut self.buffer);
            let bytes = self.buffer.len() - start;
            if bytes > frame::MAX_PAYLOAD_BYTES {
                // No reader would believe it. The door's limits keep groups a hundred times smaller.
                return Err(AppendError::Broken { reason: format!("a frame of {bytes} bytes is too large") });
            }
            next += 1;
        }
        Ok(next)
    }

    /// Sees that the buffer fits into the disk budget. A group that is larger than the whole budget is let
    /// in when nothing else is held: its senders would retry it for ever.
    fn make_room(&self) -> Result<(), AppendError> {
        let budget = self.shared.settings.disk_budget_bytes;
        let wanted = self.buffer.len() as u64;
        self.free(false);
        if self.tail.borrow().bytes() + wanted > budget {
            self.free(true);
        }
        match self.tail.borrow().bytes() {
            held if held == 0 || held + wanted <= budget => Ok(()),
            held => Err(AppendError::Busy {
                reason: format!("the journal holds {held} bytes of its budget of {budget}"),
            }),
        }
    }

    /// The segment to append frame `first` to; begins a new one when there is none, it is full, or numbers
    /// are left out, because within a segment they have no gaps.
    fn segment(&mut self, first: u64) -> io::Result<Segment> {
        let last = self.tail.borrow().segments.last().cloned();
        if let Some(last) = last
            && last.bytes < self.shared.settings.segment_bytes
            && last.next == first
        {
            if self.file.is_none() {
                self.file = Some(OpenOptions::new().append(true).open(&last.path)?);
            }
            return Ok(last);
        }
        let path = recover::path_of(&self.shared.settings.dir, first);
        self.file = None;
        let file = OpenOptions::new().append(true).create(true).open(&path)?;
        sync_directory_of(&path)?;
        self.file = Some(file);
        let segment = Segment { path, first, next: first, bytes: 0 };
        self.tail.send_modify(|tail| tail.segments.push(segment.clone()));
        Ok(segment)
    }

    /// Deletes segments that every consumer has committed past. The last one, which is being written, is
    /// only deleted if asked for.
    fn free(&self, also_last: bool) {
        let needed = self.shared.consumers.borrow().values().map(|c| c.needs).min().unwrap_or(u64::MAX);
        let freed: Vec<Segment> = {
            let tail = self.tail.borrow();
            let candidates = tail.segments.len().saturating_sub(usize::from(!also_last));
            tail.segments[..candidates].iter().take_while(|s| s.next <= needed).cloned().collect()
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
        let reason = format!("journal `{}`: {what}: {error}", self.shared.settings.dir.display());
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
