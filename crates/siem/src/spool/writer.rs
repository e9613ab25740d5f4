//! The end of the spool that detection sees.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use lapwing_telemetry::{Clock, Finding, FindingSink, PublishError, Publishing};
use tokio::sync::Mutex;

use super::{End, Monitor, Shared, SpoolError, segment};
use crate::disk::{AppendFile, WriteError};

/// A sink whose findings are safe on disk when it answers, and reach the target later.
///
/// Durable means: appended to the spool and synced. Publishing again what was answered *busy* repeats
/// nothing; publishing again after a dropped future may.
pub struct SpooledSink {
    // Behind a lock so that an append goes on to its end when the caller's future is dropped.
    writer: Arc<Mutex<Writer>>,
    shared: Arc<Shared>,
    clock: Clock,
}

impl SpooledSink {
    pub(super) fn new(writer: Writer, shared: Arc<Shared>, clock: Clock) -> SpooledSink {
        SpooledSink { writer: Arc::new(Mutex::new(writer)), shared, clock }
    }

    /// Tells how the sink is doing.
    pub fn monitor(&self) -> Monitor {
        Monitor(Arc::clone(&self.shared))
    }

    /// Appends findings; all of them or none. Resolves when they are durable.
    ///
    /// # Errors
    /// [`SpoolError::Full`] is *busy*; nothing was appended.
    pub async fn append(&self, findings: &[Finding]) -> Result<(), SpoolError> {
        if findings.is_empty() {
            return Ok(());
        }
        let now = (self.clock)();
        let mut lines = Vec::with_capacity(findings.len() * 1024);
        for finding in findings {
            segment::push_line(&mut lines, finding, now);
        }
        let (writer, count) = (Arc::clone(&self.writer), findings.len() as u64);
        let append = tokio::task::spawn_blocking(move || writer.blocking_lock().append(&lines, count, now.0));
        append.await.unwrap_or_else(|_panicked_or_shut_down| {
            let source = std::io::Error::other("the thread that appends has ended");
            Err(SpoolError::Disk { folder: self.shared.settings.folder.clone(), action: "append", source })
        })
    }
}

impl FindingSink for SpooledSink {
    fn name(&self) -> &str {
        &self.shared.name
    }

    fn publish<'a>(&'a mut self, findings: &'a [Finding]) -> Publishing<'a> {
        Box::pin(async move {
            self.append(findings).await.map_err(|error| match error {
                SpoolError::Full { .. } => PublishError::Busy { reason: error.to_string(), delivered: 0 },
                _ => PublishError::Broken { reason: error.to_string() },
            })
        })
    }
}

/// Appends to the last segment.
pub(super) struct Writer {
    last: AppendFile,
    end: End,
    shared: Arc<Shared>,
    /// Set while a new segment is begun. Its file may be there after a failure, so nothing may go to the
    /// old one any more.
    rotating: bool,
    /// Set when the disk failed: what the last segment holds is not known any more.
    broken: bool,
}

impl Writer {
    pub(super) fn new(last: AppendFile, end: End, shared: Arc<Shared>) -> Writer {
        Writer { last, end, shared, rotating: false, broken: false }
    }

    fn append(&mut self, lines: &[u8], count: u64, now_micros: i64) -> Result<(), SpoolError> {
        if self.broken {
            let source = std::io::Error::other("an earlier append failed");
            return Err(self.disk("append", source));
        }
        self.check_budget(lines.len())?;
        let waiting = self.end.number - self.shared.cursor.borrow().number;
        let outgrown = self.end.offset + lines.len() as u64 > self.shared.settings.segment_limit();
        if self.rotating || (outgrown && self.end.offset > 0) {
            self.next_segment(lines.len())?;
        }
        match self.last.append(lines) {
            Ok(()) => {}
            Err(WriteError::Full(error)) => return Err(self.full(lines.len(), error.to_string())),
            Err(WriteError::Broken(error)) => {
                self.broken = true;
                return Err(self.disk("append", error));
            }
        }
        if waiting == 0 {
            self.shared.oldest_micros.store(now_micros, Ordering::Relaxed);
        }
        self.shared.disk_bytes.fetch_add(lines.len() as u64, Ordering::Relaxed);
        self.end.offset += lines.len() as u64;
        self.end.number += count;
        self.shared.end.send_replace(self.end);
        Ok(())
    }

    /// A spool with nothing waiting takes any append: else one larger than the budget would wait forever.
    fn check_budget(&self, bytes: usize) -> Result<(), SpoolError> {
        let (used, budget) =
            (self.shared.disk_bytes.load(Ordering::Relaxed), self.shared.settings.budget_bytes);
        let waiting = self.end.number - self.shared.cursor.borrow().number;
        if waiting > 0 && used + bytes as u64 > budget {
            return Err(
                self.full(bytes, format!("{used} of {budget} bytes used, {waiting} findings waiting"))
            );
        }
        Ok(())
    }

    fn next_segment(&mut self, bytes: usize) -> Result<(), SpoolError> {
        self.rotating = true;
        let folder = &self.shared.settings.folder;
        match segment::create(folder, self.end.number) {
            Ok(segment) => {
                self.last = segment;
                self.rotating = false;
                self.end = End { segment: self.end.number, offset: 0, number: self.end.number };
                Ok(())
            }
            Err(error) if crate::disk::is_full(&error) => Err(self.full(bytes, error.to_string())),
            Err(error) => Err(self.disk("create segment", error)),
        }
    }

    fn folder(&self) -> PathBuf {
        self.shared.settings.folder.clone()
    }

    fn full(&self, bytes: usize, what: String) -> SpoolError {
        SpoolError::Full { folder: self.folder(), bytes, what }
    }

    fn disk(&self, action: &'static str, source: std::io::Error) -> SpoolError {
        SpoolError::Disk { folder: self.folder(), action, source }
    }
}
