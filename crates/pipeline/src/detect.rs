//! The second loop: calls out of the log, findings to where they go, what was learned to disk.

use std::path::PathBuf;
use std::time::Duration;

use lapwing_detection::Marks;
use lapwing_storage::state;
use lapwing_telemetry::{Finding, LogEvent, LogReader, Partition, Position};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::StageError;
use crate::canary::Tap;
use crate::engines::Engines;
use crate::health::{Beat, DetectSnapshot};
use crate::outbox::Outbox;

/// Where the learned state lies, and how often it is saved.
pub struct Memory {
    /// The state file.
    pub file: PathBuf,
    /// Time between two saves.
    pub every: Duration,
    /// What people said of findings, as it is read anew.
    pub marks: watch::Receiver<Marks>,
    /// Calls after which the state is saved whatever the time: the journal cannot free what is not committed.
    pub calls: usize,
}

/// Runs until the log ends. The calling thread must be detect's own.
///
/// The order of effects is: findings durable, state saved, position committed. A crash anywhere between
/// repeats work, and repeats it with the same result: the state says which frames it includes, and a
/// finding found again has the same id and revision.
///
/// # Errors
/// [`StageError`] if the log cannot be read on, the state cannot be saved or a sink is broken.
pub async fn detect(
    mut log: impl LogReader,
    mut engines: Engines,
    mut outbox: Outbox,
    mut memory: Memory,
    beat: Beat<DetectSnapshot>,
    mut canaries: Option<CanaryWatch>,
) -> Result<(), StageError> {
    engines.mark(&memory.marks.borrow_and_update());
    let mut findings = Vec::new();
    let mut saved_at = Instant::now();
    let mut unsaved = 0;
    loop {
        // Waiting for the log may be given up at any time: a reader moves on only when it hands something out.
        let event = tokio::select! {
            biased;
            Some(alarm) = alarms(&mut canaries) => {
                findings.extend(alarm);
                None
            }
            event = log.next() => match event.map_err(|e| StageError::new("detect", &e))? {
                None => break,
                event => event,
            },
        };
        if let (Some(watch), Some(LogEvent::Frame { calls, .. })) = (&canaries, &event) {
            watch.tap.journal(calls);
        }
        if memory.marks.has_changed().unwrap_or(false) {
            engines.mark(&memory.marks.borrow_and_update());
        }
        if let Some(event) = event {
            unsaved += apply(&mut engines, event, &mut findings);
        }
        if !findings.is_empty() {
            if let Some(watch) = &canaries {
                watch.tap.findings(&findings);
            }
            outbox.publish(&findings).await.map_err(|e| StageError::new("detect", &e))?;
            findings.clear();
        }
        beat.publish(DetectSnapshot::of(&engines));
        if unsaved >= memory.calls || (unsaved > 0 && saved_at.elapsed() >= memory.every) {
            if save(&mut log, &engines, &memory).await? {
                unsaved = 0;
            }
            saved_at = Instant::now();
        }
    }
    if unsaved > 0 {
        save(&mut log, &engines, &memory).await?;
    }
    outbox.finish().await;
    Ok(())
}

/// Detect's end of the canaries: where they are looked at, and findings about them to publish.
pub struct CanaryWatch {
    /// Looks at frames and findings.
    pub tap: Tap,
    /// Findings of the judge.
    pub alarms: mpsc::Receiver<Vec<Finding>>,
}

/// The judge's next findings; never, once there is no judge.
async fn alarms(canaries: &mut Option<CanaryWatch>) -> Option<Vec<Finding>> {
    match canaries {
        Some(watch) => watch.alarms.recv().await,
        None => None,
    }
}

/// All the logic of the loop. Returns how many calls more the state now includes.
fn apply(engines: &mut Engines, event: LogEvent, findings: &mut Vec<Finding>) -> usize {
    match event {
        LogEvent::Frame { position, calls } => {
            // Canaries are not judged; the state still includes their frame.
            engines.observe(position, &calls.without_canaries(), findings);
            calls.len()
        }
        LogEvent::Quiet { up_to } => {
            engines.advance(up_to, findings);
            0
        }
    }
}

/// Returns whether the state is saved; it is not while the disk is full.
async fn save(log: &mut impl LogReader, engines: &Engines, memory: &Memory) -> Result<bool, StageError> {
    match state::save(&memory.file, &engines.save()) {
        Ok(()) => {}
        Err(error) if error.is_busy() => {
            // The log keeps what the state does not include; the next interval tries again.
            tracing::error!(%error, "no room to save the state; trying again at the next interval");
            return Ok(false);
        }
        Err(error) => return Err(StageError::new("detect", &error)),
    }
    if let Some(offset) = engines.offset() {
        // The journal counts offsets over all partitions, so one position speaks for all.
        let position = Position { partition: Partition(0), offset };
        log.commit(&[position]).await.map_err(|e| StageError::new("detect", &e))?;
    }
    tracing::debug!(file = %memory.file.display(), "saved state");
    Ok(true)
}
