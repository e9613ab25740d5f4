//! A reader that tails the journal's files.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use lapwing_telemetry::{Clock, LogEvent, LogReader, Offset, Position, ReadError};
use tokio::time::{Instant, sleep_until};

use super::{Journal, JournalError, write_commit};
use crate::frame::{self, HEADER_BYTES};

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
    file: File,
    first: u64,
    /// Bytes of the segment already taken into `buffer`.
    taken: u64,
    buffer: Vec<u8>,
    /// Bytes of `buffer` already decoded.
    used: usize,
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
    /// decides, because it is written first.
    ///
    /// # Errors
    /// [`JournalError::Gone`] if frames after it have been deleted.
    pub fn resume_after(&mut self, after: Option<Offset>) -> Result<(), JournalError> {
        let next = after.map_or(0, |offset| offset.0 + 1);
        let oldest = {
            let tail = self.journal.tail.borrow();
            tail.segments.first().map_or(tail.next, |s| s.first)
        };
        if next < oldest && (after.is_some() || oldest > 0) {
            return Err(JournalError::Gone { after: after.map_or(0, |o| o.0), oldest });
        }
        self.next = next;
        self.open = None;
        Ok(())
    }

    /// The next whole frame that is durable and not before the reader's place, if there is one.
    fn read(&mut self) -> Result<Option<LogEvent>, ReadError> {
        loop {
            if self.open.is_none() && !self.open_segment()? {
                return Ok(None);
            }
            let Some(open) = &mut self.open else { return Ok(None) };
            if let Some((header, bytes)) = open.buffered()? {
                if header.position.offset.0 < self.next {
                    open.used += bytes;
                    continue;
                }
                let frame = &open.buffer[open.used..open.used + bytes];
                let (_, calls) = frame::decode(frame).map_err(|damage| ReadError {
                    reason: format!(
                        "journal segment {:020} is damaged at byte {}: {damage}; move the file away to go on without its calls",
                        open.first,
                        open.taken - (open.buffer.len() - open.used) as u64
                    ),
                })?;
                open.used += bytes;
                self.next = header.position.offset.0 + 1;
                return Ok(Some(LogEvent::Frame { position: header.position, calls }));
            }
            let (durable, is_last) = self.durable_bytes();
            let Some(open) = &mut self.open else { return Ok(None) };
            if open.taken < durable {
                open.fill(durable).map_err(|error| ReadError {
                    reason: format!("journal segment {:020} cannot be read: {error}", open.first),
                })?;
            } else if is_last {
                return Ok(None);
            } else {
                self.open = None; // The segment is finished and read: the next one follows.
            }
        }
    }

    /// Opens the segment that holds the frame wanted; false if nothing is durable from there on.
    fn open_segment(&mut self) -> Result<bool, ReadError> {
        let tail = self.journal.tail.borrow();
        if self.next >= tail.next {
            return Ok(false);
        }
        let Some(segment) = tail.segments.iter().rev().find(|s| s.first <= self.next) else {
            return Err(ReadError {
                reason: format!("journal frame {} has been deleted before it was read", self.next),
            });
        };
        let file = File::open(&segment.path).map_err(|error| ReadError {
            reason: format!("journal `{}`: {error}", segment.path.display()),
        })?;
        self.open = Some(Open { file, first: segment.first, taken: 0, buffer: Vec::new(), used: 0 });
        Ok(true)
    }

    /// Durable bytes of the open segment, and whether it is the last one.
    fn durable_bytes(&self) -> (u64, bool) {
        let tail = self.journal.tail.borrow();
        let first = self.open.as_ref().map_or(0, |o| o.first);
        match tail.segments.iter().position(|s| s.first == first) {
            Some(i) => (tail.segments[i].bytes, i + 1 == tail.segments.len()),
            // Freed while it was open: everything of it had been read and committed.
            None => (0, false),
        }
    }
}

impl Open {
    /// The header and length of the frame at the front of the buffer, if it is there whole.
    fn buffered(&self) -> Result<Option<(frame::Header, usize)>, ReadError> {
        let bytes = &self.buffer[self.used..];
        match frame::header(bytes) {
            Ok(header) if bytes.len() >= HEADER_BYTES + header.payload_bytes => {
                Ok(Some((header, HEADER_BYTES + header.payload_bytes)))
            }
            Ok(_) | Err(frame::Damage::Short) => Ok(None),
            Err(damage) => Err(ReadError {
                reason: format!(
                    "journal segment {:020} is damaged at byte {}: {damage}; move the file away to go on without its calls",
                    self.first,
                    self.taken - bytes.len() as u64
                ),
            }),
        }
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
        let next = Offset(last.0 + 1);
        let path = self.journal.settings.dir.join("consumers").join(&self.consumer);
        write_commit(&path, next)
            .map_err(|error| ReadError { reason: format!("commit file `{}`: {error}", path.display()) })?;
        self.journal.commits.send_modify(|commits| {
            commits.insert(self.consumer.clone(), next.0);
        });
        Ok(())
    }
}
