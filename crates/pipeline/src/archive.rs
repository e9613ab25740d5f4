//! The third loop: calls out of the log into Parquet files, and the oldest of them deleted.

use std::path::PathBuf;
use std::time::Duration;

use lapwing_storage::retention::{self, RetentionPolicy};
use lapwing_storage::{Archive, ArchiveError};
use lapwing_telemetry::{Clock, LogEvent, LogReader, Position};
use tokio::time::{Instant, sleep};

use crate::StageError;
use crate::canary::Tap;
use crate::health::{ArchiveSnapshot, Beat};

/// When files are closed and when hours are deleted.
pub struct ArchivePlan {
    /// The archive's directory.
    pub directory: PathBuf,
    /// Time after which a file is closed whatever its size.
    pub roll: Duration,
    /// Calls after which a file is closed whatever its size: the journal cannot free what no closed file holds.
    pub calls: usize,
    /// What is kept.
    pub retention: RetentionPolicy,
    /// Time between two checks of what is kept.
    pub check: Duration,
}

/// Runs until the log ends. The calling thread must be archive's own.
///
/// A position is committed only after the file that holds it is closed, synced and renamed, so a crash
/// loses nothing: the log still has it. Footers record the offsets, so nothing is written twice either.
///
/// # Errors
/// [`StageError`] if the log cannot be read on or the archive's directory cannot be used at all.
pub async fn archive(
    mut log: impl LogReader,
    mut files: Archive,
    plan: ArchivePlan,
    clock: Clock,
    beat: Beat<ArchiveSnapshot>,
    canaries: Option<Tap>,
) -> Result<(), StageError> {
    let mut has_canaries = false;
    let resume_after = files.resume_after();
    let mut snapshot = ArchiveSnapshot::default();
    let mut unclosed: Option<Position> = None;
    let mut opened_at = Instant::now();
    let mut waiting = 0;
    let mut checked_at: Option<Instant> = None;
    loop {
        let event = log.next().await.map_err(|e| StageError::new("archive", &e))?;
        let ended = event.is_none();
        if let Some(LogEvent::Frame { position, calls }) = event
            && resume_after < Some(position.offset)
        {
            if unclosed.is_none() {
                opened_at = Instant::now();
            }
            has_canaries |= canaries.is_some() && calls.has_canaries();
            patiently(&mut files, &mut snapshot, &beat, |files| files.append(position, &calls)).await?;
            unclosed = Some(position);
            waiting += calls.len();
        }
        if let Some(position) = unclosed
            && (ended || files.is_due() || waiting >= plan.calls || opened_at.elapsed() >= plan.roll)
        {
            let closed = patiently(&mut files, &mut snapshot, &beat, Archive::close_files).await?;
            log.commit(&[position]).await.map_err(|e| StageError::new("archive", &e))?;
            unclosed = None;
            waiting = 0;
            if let Some(tap) = canaries.as_ref().filter(|_| std::mem::take(&mut has_canaries)) {
                tap.archived(closed.iter().map(|file| file.path.clone()).collect());
            }
            for file in &closed {
                snapshot.rows += file.rows;
                snapshot.bytes += file.bytes;
                snapshot.files += 1;
                tracing::info!(file = %file.path.display(), rows = file.rows, bytes = file.bytes, "closed archive file");
            }
        }
        if checked_at.is_none_or(|at| at.elapsed() >= plan.check) {
            checked_at = Some(Instant::now());
            expire(&plan, &clock, &mut snapshot);
        }
        beat.publish(snapshot.clone());
        if ended {
            return Ok(());
        }
    }
}

/// Tries until the disk has room. Meanwhile the log keeps what is not archived, and, once it is full too,
/// the door says "busy": nothing is lost.
async fn patiently<T>(
    files: &mut Archive,
    snapshot: &mut ArchiveSnapshot,
    beat: &Beat<ArchiveSnapshot>,
    mut attempt: impl FnMut(&mut Archive) -> Result<T, ArchiveError>,
) -> Result<T, StageError> {
    loop {
        match attempt(files) {
            Ok(done) => return Ok(done),
            Err(error) if error.is_busy() => {
                snapshot.retries += 1;
                beat.publish(snapshot.clone());
                tracing::error!(%error, "the archive has no room; trying again in 5 s");
                sleep(Duration::from_secs(5)).await;
            }
            Err(error) => return Err(StageError::new("archive", &error)),
        }
    }
}

fn expire(plan: &ArchivePlan, clock: &Clock, snapshot: &mut ArchiveSnapshot) {
    match retention::apply(&plan.directory, &plan.retention, clock()) {
        Ok(report) => {
            snapshot.expired_hours += report.deleted.len() as u64;
            for hour in &report.deleted {
                tracing::info!(hour = %hour.path.display(), bytes = hour.bytes, "deleted expired hour");
            }
        }
        Err(error) => {
            tracing::error!(%error, "retention could not be enforced; trying again at the next check");
        }
    }
}
