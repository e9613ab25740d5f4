//! The end of the spool that delivery sees.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use lapwing_telemetry::Finding;

use super::cursor::Cursor;
use super::{End, Monitor, Shared, SinkState, SpoolError, segment};
use crate::disk::{self, AppendFile, WriteError};

/// Reads findings in order and remembers how far delivery has come.
pub struct SpoolReader {
    shared: Arc<Shared>,
    /// The segment under the cursor, opened when first read.
    open: Option<(u64, Arc<File>)>,
}

/// What waits at the cursor.
#[derive(Debug)]
pub enum Waiting {
    /// Nothing.
    Nothing,
    /// Findings, oldest first.
    Findings(Batch),
    /// A line that is no finding (any more).
    Damaged(Damaged),
}

/// Findings that follow the cursor.
#[derive(Debug)]
pub struct Batch {
    /// The findings.
    pub findings: Vec<Finding>,
    /// Where each ends.
    ends: Vec<Place>,
}

/// A line that is no finding (any more).
#[derive(Debug)]
pub struct Damaged {
    /// The line.
    pub line: Vec<u8>,
    /// What is wrong with it.
    pub reason: &'static str,
    end: Place,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    segment: u64,
    offset: u64,
    number: u64,
}

impl SpoolReader {
    pub(super) fn new(shared: Arc<Shared>) -> SpoolReader {
        SpoolReader { shared, open: None }
    }

    /// Tells how the sink is doing.
    pub fn monitor(&self) -> Monitor {
        Monitor(Arc::clone(&self.shared))
    }

    /// The sink's name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Resolves when something waits at the cursor.
    pub async fn wait(&self) {
        let cursor = self.shared.cursor.borrow().number;
        let mut end = self.shared.end.subscribe();
        while end.borrow_and_update().number <= cursor {
            if end.changed().await.is_err() {
                return; // cannot be: the sender lives in `shared`
            }
        }
    }

    /// Reads what waits at the cursor, without moving it: at most `max_findings`, and not more once
    /// `max_bytes` of lines are reached.
    ///
    /// # Errors
    /// [`SpoolError::Disk`], [`SpoolError::Missing`].
    pub async fn peek(&mut self, max_findings: usize, max_bytes: usize) -> Result<Waiting, SpoolError> {
        let cursor = *self.shared.cursor.borrow();
        let end = *self.shared.end.borrow();
        if cursor.number >= end.number {
            return Ok(Waiting::Nothing);
        }
        let (shared, open) = (Arc::clone(&self.shared), self.open.clone());
        let read = tokio::task::spawn_blocking(move || {
            read_lines(&shared, open, cursor, end, max_findings, max_bytes)
        });
        let (waiting, open) = read.await.unwrap_or_else(|_ended| Err(self.thread_ended("read")))?;
        self.open = open;
        Ok(waiting)
    }

    /// Moves the cursor past the first `count` findings of `batch`, all of which are off our hands. Of those
    /// that it had not passed yet, `dead_lettered` lie in the dead-letter file.
    ///
    /// # Errors
    /// [`SpoolError::Disk`]; the findings are then delivered again after a restart.
    pub async fn passed(
        &mut self,
        batch: &Batch,
        count: usize,
        dead_lettered: u64,
    ) -> Result<(), SpoolError> {
        match count.checked_sub(1).and_then(|last| batch.ends.get(last)) {
            Some(place) => self.move_to(*place, dead_lettered).await,
            None => Ok(()),
        }
    }

    /// Moves the cursor past a damaged line, which lies in the dead-letter file.
    ///
    /// # Errors
    /// As [`SpoolReader::passed`].
    pub async fn set_aside(&mut self, damaged: &Damaged) -> Result<(), SpoolError> {
        self.move_to(damaged.end, 1).await
    }

    /// Appends lines to the dead-letter file, durably.
    ///
    /// # Errors
    /// [`SpoolError::Full`] is *busy*: the file has reached its limit and must be moved away.
    pub async fn bury(&self, lines: Vec<u8>) -> Result<(), SpoolError> {
        let shared = Arc::clone(&self.shared);
        let bury = tokio::task::spawn_blocking(move || bury(&shared, &lines));
        bury.await.unwrap_or_else(|_ended| Err(self.thread_ended("write dead letters")))
    }

    pub(crate) fn set_state(&self, state: SinkState) {
        self.shared.state.send_if_modified(|now| std::mem::replace(now, state) != state);
    }

    pub(crate) fn set_circuit(&self, open: bool) {
        self.shared.circuit_open.store(open, Ordering::Relaxed);
    }

    pub(crate) fn count_retry(&self) {
        self.shared.retries.fetch_add(1, Ordering::Relaxed);
    }

    async fn move_to(&mut self, place: Place, dead_lettered: u64) -> Result<(), SpoolError> {
        let before = *self.shared.cursor.borrow();
        debug_assert!(place.number > before.number, "the cursor only moves on");
        let after = Cursor {
            segment: place.segment,
            offset: place.offset,
            number: place.number,
            dead_lettered: before.dead_lettered + dead_lettered,
        };
        let shared = Arc::clone(&self.shared);
        let save = tokio::task::spawn_blocking(move || save(&shared, before, after));
        save.await.unwrap_or_else(|_ended| Err(self.thread_ended("save cursor")))
    }

    fn thread_ended(&self, action: &'static str) -> SpoolError {
        let source = std::io::Error::other("its thread has ended");
        SpoolError::Disk { folder: self.shared.settings.folder.clone(), action, source }
    }
}

impl Drop for SpoolReader {
    fn drop(&mut self) {
        self.set_state(SinkState::Stopped);
    }
}

type Opened = Option<(u64, Arc<File>)>;

fn read_lines(
    shared: &Shared,
    open: Opened,
    cursor: Cursor,
    end: End,
    max_findings: usize,
    max_bytes: usize,
) -> Result<(Waiting, Opened), SpoolError> {
    let disk = |action| SpoolError::disk(&shared.settings.folder, action);
    let mut at = Place { segment: cursor.segment, offset: cursor.offset, number: cursor.number };
    let mut open = open;
    let bytes = loop {
        let file = match &open {
            Some((segment, file)) if *segment == at.segment => Arc::clone(file),
            _ => {
                let file = File::open(segment::path(&shared.settings.folder, at.segment));
                let missing =
                    SpoolError::Missing { folder: shared.settings.folder.clone(), number: at.number };
                let file = Arc::new(file.map_err(|_gone| missing)?);
                open = Some((at.segment, Arc::clone(&file)));
                file
            }
        };
        let whole = if at.segment == end.segment {
            end.offset
        } else {
            file.metadata().map_err(disk("read segment"))?.len()
        };
        let bytes = read_some(&file, at.offset, whole, max_bytes).map_err(disk("read segment"))?;
        if !bytes.is_empty() || at.segment == end.segment {
            break bytes;
        }
        // The next segment is named after the number that follows.
        at = Place { segment: at.number, offset: 0, number: at.number };
    };
    Ok((parse(shared, &bytes, at, max_findings), open))
}

/// Whole lines from `from` on: about `max_bytes`, at least one.
fn read_some(file: &File, from: u64, whole: u64, max_bytes: usize) -> std::io::Result<Vec<u8>> {
    let mut want = max_bytes.max(1) as u64;
    loop {
        let available = whole.saturating_sub(from);
        let mut bytes = vec![0; usize::try_from(want.min(available)).unwrap_or(usize::MAX)];
        file.read_exact_at(&mut bytes, from)?;
        if let Some(last) = bytes.iter().rposition(|b| *b == b'\n') {
            bytes.truncate(last + 1);
            return Ok(bytes);
        }
        if want >= available {
            return Ok(bytes);
        }
        want = want.saturating_mul(2);
    }
}

fn parse(shared: &Shared, bytes: &[u8], from: Place, max_findings: usize) -> Waiting {
    let mut batch = Batch { findings: Vec::new(), ends: Vec::new() };
    let mut at = from;
    for line in bytes.split_inclusive(|b| *b == b'\n').take(max_findings.max(1)) {
        at.offset += line.len() as u64;
        at.number += 1;
        match segment::read_line(line.strip_suffix(b"\n").unwrap_or(line)) {
            Ok((spooled_at, finding)) => {
                if batch.findings.is_empty() {
                    shared.oldest_micros.store(spooled_at.0, Ordering::Relaxed);
                }
                batch.findings.push(finding);
                batch.ends.push(at);
            }
            Err(reason) if batch.findings.is_empty() => {
                return Waiting::Damaged(Damaged { line: line.to_vec(), reason, end: at });
            }
            Err(_next_time) => break,
        }
    }
    Waiting::Findings(batch)
}

fn save(shared: &Shared, before: Cursor, after: Cursor) -> Result<(), SpoolError> {
    let folder = &shared.settings.folder;
    let disk = |action| SpoolError::disk(folder, action);
    after.save(folder).map_err(disk("save cursor"))?;
    shared.cursor.send_replace(after);
    if after.segment == before.segment {
        return Ok(());
    }
    // The cursor must be durable before what it has left behind is gone.
    disk::sync_folder(folder).map_err(disk("sync folder"))?;
    for (first, bytes) in segment::list(folder).map_err(disk("list segments"))? {
        if first < after.segment {
            fs::remove_file(segment::path(folder, first)).map_err(disk("delete segment"))?;
            shared.disk_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
    Ok(())
}

fn bury(shared: &Shared, lines: &[u8]) -> Result<(), SpoolError> {
    let folder = &shared.settings.folder;
    let full = |what| SpoolError::Full { folder: folder.clone(), bytes: lines.len(), what };
    let path = folder.join("dead-letter.ndjson");
    let mut file = AppendFile::open(&path).map_err(SpoolError::disk(folder, "open dead letters"))?;
    let limit = shared.settings.dead_letter_bytes;
    if file.len > 0 && file.len + lines.len() as u64 > limit {
        return Err(full(format!("`dead-letter.ndjson` has reached {limit} bytes; move it away")));
    }
    match file.append(lines) {
        Ok(()) => Ok(()),
        Err(WriteError::Full(error)) => Err(full(error.to_string())),
        Err(WriteError::Broken(source)) => {
            Err(SpoolError::Disk { folder: folder.clone(), action: "write dead letters", source })
        }
    }
}
