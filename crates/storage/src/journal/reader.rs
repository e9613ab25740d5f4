//! A reader that tails the journal's files.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

use lapwing_telemetry::{Calls, Clock, LogEvent, LogReader, Offset, Position, ReadError};
use tokio::time::{Instant, sleep_until};

use super::{Consumer, Journal, JournalError, write_commit};
use crate::disk::is_full;
use crate::frame::{self, Damage, HEADER_BYTES};

/// Bytes read at once.
const CHUNK_BYTES: usize = 1 << 20;
/// How often a waiting reader says that the log is quiet.
const QUIET_EVERY: Duration = Duration::from_secs(1);

/// Reads the journal from where its consumer committed, or from where it is told.
///
/// Reading a chunk blocks the calling thread for the time of one disk read: give each reader a thread of
/// its own, as the loops have.
pub struct JournalReader {
    journal: Journal,
    consumer: String,
    /// Number of the next frame wanted.
    next: u64,
    open: Option<Open>,
    quiet: Option<(Clock, Duration)>,
    quiet_at: Instant,
}

/// The segment being read.
struct Open {
    path: PathBuf,
    file: File,
    first: u64,
    /// Number of the frame at the front of `buffer`.
    next: u64,
    /// Bytes of the segment already taken into `buffer`.
    taken: u64,
    buffer: Vec<u8>,
    /// Bytes of `buffer` already decoded.
    used: usize,
}

/// Where the open segment ends.
enum Extent {
    /// It grows: so many bytes of it are durable.
    Growing(u64),
    /// It is finished, and the next one begins with this frame.
    Finished(u64, u64),
    /// It has been deleted: every consumer, this one too, is past it.
    Freed,
}

impl JournalReader {
    pub(super) fn new(
        journal: Journal,
        consumer: String,
        next: u64,
        quiet: Option<(Clock, Duration)>,
    ) -> JournalReader {
        JournalReader { journal, consumer, next, open: None, quiet, quiet_at: Instant::now() }
    }

    /// Places the reader after the last frame that its own saved state includes: the state, not the commit,
    /// decides, because it is written first. Numbering of new frames goes on after it, should the journal's
    /// files have been deleted.
    ///
    /// # Errors
    /// [`JournalError::Gone`] if the state is older than what was committed and frames between have been deleted.
    pub fn resume_after(&mut self, after: Option<Offset>) -> Result<(), JournalError> {
        let next = after.map_or(0, |offset| offset.0 + 1);
        let oldest = {
            let tail = self.journal.tail.borrow();
            tail.segments.first().map_or(tail.next, |s| s.first)
        };
        let committed = |c: &Consumer| c.has_committed && next < c.needs;
        if next < oldest && self.journal.shared.consumers.borrow().get(&self.consumer).is_some_and(committed)
        {
            return Err(JournalError::Gone { after: after.map_or(0, |o| o.0), oldest });
        }
        self.journal.shared.floor.send_modify(|floor| *floor = next.max(*floor));
        self.next = next;
        self.open = None;
        self.tell(|consumer| consumer.next = next);
        Ok(())
    }

    /// The next whole frame that is durable and not before the reader's place, if there is one.
    fn read(&mut self) -> Result<Option<LogEvent>, ReadError> {
        loop {
            if self.open.is_none() && !self.open_segment()? {
                return Ok(None);
            }
            let Some(open) = &mut self.open else { return Ok(None) };
            if let Some(frame) = open.front()? {
                let skip = open.next < self.next;
                let (header, calls) = open.take(frame, skip)?;
                let Some(calls) = calls else { continue };
                let at = (open.first, open.taken - (open.buffer.len() - open.used) as u64);
                self.next = open.next;
                let next = self.next;
                self.tell(|consumer| {
                    (consumer.next, consumer.at) = (next, at);
                    consumer.read_up_to = Some(header.received_at);
                });
                return Ok(Some(LogEvent::Frame { position: header.position, calls }));
            }
            let extent = self.journal.extent_of(open.first);
            let (Extent::Growing(durable) | Extent::Finished(durable, _)) = extent else {
                self.open = None;
                continue;
            };
            if open.taken < durable {
                open.fill(durable).map_err(|error| open.unreadable(&error))?;
            } else if open.used < open.buffer.len() {
                return Err(open.damaged(Damage::Short)); // Only whole frames are ever durable.
            } else if let Extent::Finished(_, following) = extent {
                self.open = None;
                self.go_on_at(following);
            } else {
                return Ok(None);
            }
        }
    }

    /// Opens the segment that holds the frame wanted; false if nothing is durable from there on.
    fn open_segment(&mut self) -> Result<bool, ReadError> {
        let segment = {
            let tail = self.journal.tail.borrow();
            let holds = tail.segments.iter().rev().find(|s| s.first <= self.next);
            match holds.or(tail.segments.first()).cloned() {
                Some(segment) if self.next < tail.next => segment,
                _ => return Ok(false),
            }
        };
        self.go_on_at(segment.first);
        let path = segment.path;
        let file = File::open(&path)
            .map_err(|error| ReadError { reason: format!("journal `{}`: {error}", path.display()) })?;
        let first = segment.first;
        self.open = Some(Open { path, file, first, next: first, taken: 0, buffer: Vec::new(), used: 0 });
        Ok(true)
    }

    /// Passes over frames whose segment is not there, which is told and counted.
    fn go_on_at(&mut self, first: u64) {
        if first <= self.next {
            return;
        }
        let missing = first - self.next;
        tracing::error!(
            consumer = self.consumer,
            frames = missing,
            from = self.next,
            until = first,
            "frames are not in the journal, as after a segment was moved away or while this consumer was switched off; going on after them"
        );
        self.next = first;
        self.tell(|consumer| {
            consumer.next = first;
            consumer.missing_frames += missing;
        });
    }

    fn tell(&self, what: impl FnOnce(&mut Consumer)) {
        self.journal.shared.consumers.send_if_modified(|consumers| {
            consumers.get_mut(&self.consumer).is_some_and(|consumer| {
                what(consumer);
                false // Nobody waits for it.
            })
        });
    }
}

impl Journal {
    fn extent_of(&self, first: u64) -> Extent {
        let tail = self.tail.borrow();
        match tail.segments.iter().position(|s| s.first == first) {
            Some(i) => match tail.segments.get(i + 1) {
                Some(following) => Extent::Finished(tail.segments[i].bytes, following.first),
                None => Extent::Growing(tail.segments[i].bytes),
            },
            None => Extent::Freed,
        }
    }
}

impl Open {
    /// The length of the frame at the front of the buffer, if it is there whole.
    fn front(&self) -> Result<Option<usize>, ReadError> {
        let bytes = &self.buffer[self.used..];
        match frame::header(bytes) {
            Ok(header) if bytes.len() >= HEADER_BYTES + header.payload_bytes => {
                Ok(Some(HEADER_BYTES + header.payload_bytes))
            }
            Ok(_) | Err(Damage::Short) => Ok(None),
            Err(damage) => Err(self.damaged(damage)),
        }
    }

    /// Takes the frame of `length` bytes off the buffer. What is skipped is checked too: damage in its number
    /// must not make a wanted frame look like one that was read before.
    fn take(&mut self, length: usize, skip: bool) -> Result<(frame::Header, Option<Calls>), ReadError> {
        let bytes = &self.buffer[self.used..self.used + length];
        let taken = if skip {
            frame::check(bytes).map(|header| (header, None))
        } else {
            frame::decode(bytes).map(|(header, calls)| (header, Some(calls)))
        };
        let (header, calls) = taken.map_err(|damage| self.damaged(damage))?;
        if header.position.offset.0 != self.next {
            return Err(self.damaged(Damage::OutOfOrder));
        }
        self.used += length;
        self.next += 1;
        Ok((header, calls))
    }

    /// Reads on, at least one more byte and at most up to `durable`.
    fn fill(&mut self, durable: u64) -> std::io::Result<()> {
        self.buffer.drain(..self.used);
        self.used = 0;
        let wanted = match frame::header(&self.buffer) {
            Ok(header) => {
                (HEADER_BYTES + header.payload_bytes).saturating_sub(self.buffer.len()).max(CHUNK_BYTES)
            }
            Err(_) => CHUNK_BYTES,
        };
        let wanted = wanted.min((durable - self.taken) as usize);
        let start = self.buffer.len();
        self.buffer.resize(start + wanted, 0);
        self.file.read_exact_at(&mut self.buffer[start..], self.taken)?;
        self.taken += wanted as u64;
        Ok(())
    }

    fn damaged(&self, damage: Damage) -> ReadError {
        let at = self.taken - (self.buffer.len() - self.used) as u64;
        let path = self.path.clone();
        ReadError { reason: JournalError::Damaged { path, at, damage }.to_string() }
    }

    fn unreadable(&self, error: &std::io::Error) -> ReadError {
        ReadError { reason: format!("journal `{}`: {error}", self.path.display()) }
    }
}

impl LogReader for JournalReader {
    async fn next(&mut self) -> Result<Option<LogEvent>, ReadError> {
        loop {
            if let Some(event) = self.read()? {
                return Ok(Some(event));
            }
            let mut tail = self.journal.tail.clone();
            let ended = |tail: &super::Tail, next: u64| tail.closed && next >= tail.next;
            if ended(&tail.borrow_and_update(), self.next) {
                return Ok(None);
            }
            if self.next < tail.borrow().next {
                continue; // Something became durable between the read and the look.
            }
            if tail.has_changed().is_err() {
                return Err(ReadError { reason: "the journal's thread has ended".into() });
            }
            let Some((clock, grace)) = &self.quiet else {
                drop(tail.changed().await); // An error says that the writer is gone; the next look sees `closed`.
                continue;
            };
            tokio::select! {
                changed = tail.changed() => drop(changed),
                () = sleep_until(self.quiet_at) => {
                    self.quiet_at = Instant::now() + QUIET_EVERY;
                    return Ok(Some(LogEvent::Quiet { up_to: clock().minus(*grace) }));
                }
            }
        }
    }

    async fn commit(&mut self, positions: &[Position]) -> Result<(), ReadError> {
        // Frames are read in file order, so the highest offset speaks for everything before it.
        let Some(last) = positions.iter().map(|p| p.offset).max() else { return Ok(()) };
        let needs = self.journal.shared.consumers.borrow().get(&self.consumer).map_or(0, |c| c.needs);
        let next = Offset(needs.max(last.0 + 1));
        let path = self.journal.shared.settings.dir.join("consumers").join(&self.consumer);
        match write_commit(&path, next) {
            // What was committed is in the consumer's own durable output, and to free segments is just what
            // a full disk needs. Should the process end before a later commit is written, the consumer begins
            // again at an older place, or at the oldest segment.
            Err(error) if is_full(&error) => {
                tracing::warn!(file = %path.display(), %error, "a commit could not be written; the next one may");
            }
            written => written.map_err(|error| ReadError {
                reason: format!("commit file `{}`: {error}", path.display()),
            })?,
        }
        self.tell(|consumer| {
            consumer.needs = next.0;
            consumer.has_committed = true;
        });
        Ok(())
    }
}
