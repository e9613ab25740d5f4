//! From a spool to its target: in order, again and again, until the target has it.

use std::collections::hash_map::RandomState;
use std::fmt::Write as _;
use std::hash::BuildHasher;
use std::pin::{Pin, pin};
use std::time::Duration;

use lapwing_telemetry::{FindingSink, PublishError};
use serde_json::json;
use tokio::time::{sleep, timeout};
use tracing::{error, info, warn};

use crate::ndjson;
use crate::spool::{Batch, Damaged, SinkState, SpoolError, SpoolReader, Waiting};

/// How delivery goes about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliverySettings {
    /// Most findings in one publication.
    pub batch_findings: usize,
    /// Size of the spooled lines after which a publication takes no further one.
    pub batch_bytes: usize,
    /// Longest time for one publication; then it counts as failed.
    pub attempt_timeout: Duration,
    /// Pause after the first failed attempt; doubles with each further one. The true pause lies between
    /// half of it and the whole, at random, so that many senders do not come back together.
    pub first_pause: Duration,
    /// Longest pause.
    pub longest_pause: Duration,
    /// Pause after the target has refused us, or when the dead-letter file is full.
    pub refused_pause: Duration,
}

impl Default for DeliverySettings {
    fn default() -> DeliverySettings {
        DeliverySettings {
            batch_findings: 256,
            batch_bytes: 1 << 20,
            attempt_timeout: Duration::from_mins(1),
            first_pause: Duration::from_millis(200),
            longest_pause: Duration::from_secs(30),
            refused_pause: Duration::from_mins(1),
        }
    }
}

/// Why delivery ended before it was asked to. The findings stay in the spool.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// *Broken*: the spool cannot be read or its cursor not be saved.
    #[error(transparent)]
    Spool(SpoolError),
    /// *Broken*: the sink cannot work any more.
    #[error("sink `{name}`: {reason}")]
    Sink {
        /// The sink's name.
        name: String,
        /// What happened.
        reason: String,
    },
}

/// Delivers what is in the spool until `shutdown` resolves; then goes on until the spool is empty or an
/// attempt fails, and returns. What is left is delivered after the next start.
///
/// Findings go in order, in batches; a batch that the target did not take whole is published again from
/// the first finding it did not take. What the target will never take goes to the spool's dead-letter
/// file, with the reason.
///
/// # Errors
/// *Broken* ones only.
pub async fn deliver(
    reader: SpoolReader,
    sink: Box<dyn FindingSink>,
    settings: DeliverySettings,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), DeliveryError> {
    Delivery { reader, sink, settings, failures: 0, draining: false }.run(pin!(shutdown)).await
}

/// The delivery of one sink.
struct Delivery {
    reader: SpoolReader,
    sink: Box<dyn FindingSink>,
    settings: DeliverySettings,
    /// Attempts failed in a row.
    failures: u32,
    /// Whether the end has been asked for.
    draining: bool,
}

/// What an attempt led to.
#[derive(Debug, PartialEq, Eq)]
enum Progress {
    /// Something is off our hands; go on at once.
    Moved,
    /// Nothing is; try again after a pause.
    Pause(Duration),
}

type Shutdown<'a, F> = Pin<&'a mut F>;

impl Delivery {
    async fn run(
        mut self,
        mut shutdown: Shutdown<'_, impl Future<Output = ()>>,
    ) -> Result<(), DeliveryError> {
        loop {
            let (findings, bytes) = (self.settings.batch_findings, self.settings.batch_bytes);
            let progress = match self.reader.peek(findings, bytes).await.map_err(DeliveryError::Spool)? {
                Waiting::Nothing if self.draining => return Ok(()),
                Waiting::Nothing => {
                    tokio::select! {
                        () = self.reader.wait() => {}
                        () = &mut shutdown => self.draining = true,
                    }
                    continue;
                }
                Waiting::Findings(batch) => self.attempt(&batch).await?,
                Waiting::Damaged(damaged) => self.bury_damaged(&damaged).await?,
            };
            match progress {
                Progress::Moved => {}
                Progress::Pause(_) if self.draining => {
                    let spooled = self.reader.monitor().stats().spooled;
                    info!(sink = self.reader.name(), spooled, "left for the next start");
                    return Ok(());
                }
                Progress::Pause(pause) => {
                    tokio::select! {
                        () = sleep(pause) => {}
                        // One more attempt, then the end.
                        () = &mut shutdown => self.draining = true,
                    }
                }
            }
        }
    }

    async fn attempt(&mut self, batch: &Batch) -> Result<Progress, DeliveryError> {
        let limit = self.settings.attempt_timeout;
        let published = timeout(limit, self.sink.publish(&batch.findings)).await.unwrap_or_else(|_elapsed| {
            let reason = format!("no answer in {} s", limit.as_secs_f32());
            Err(PublishError::Busy { reason, delivered: 0 })
        });
        match published {
            Ok(()) => {
                self.reader.settled(batch, 0).await.map_err(DeliveryError::Spool)?;
                self.recovered();
                Ok(Progress::Moved)
            }
            Err(PublishError::Busy { reason, delivered }) => {
                self.reader.delivered(batch, delivered).await.map_err(DeliveryError::Spool)?;
                Ok(self.failed(SinkState::Retrying, &reason, delivered))
            }
            Err(PublishError::Refused { reason, delivered }) => {
                self.reader.delivered(batch, delivered).await.map_err(DeliveryError::Spool)?;
                Ok(self.failed(SinkState::Refused, &reason, delivered))
            }
            Err(PublishError::Rejected { reason, which }) => self.bury_rejected(batch, &reason, &which).await,
            Err(PublishError::Broken { reason }) => {
                Err(DeliveryError::Sink { name: self.sink.name().to_owned(), reason })
            }
        }
    }

    async fn bury_rejected(
        &mut self,
        batch: &Batch,
        reason: &str,
        which: &[usize],
    ) -> Result<Progress, DeliveryError> {
        let mut lines = String::new();
        let mut count = 0;
        for finding in which.iter().filter_map(|i| batch.findings.get(*i)) {
            count += 1;
            let reason = json!(reason);
            writeln!(lines, "{{\"reason\":{reason},\"finding\":{}}}", ndjson(finding))
                .expect("writing to a string cannot fail");
        }
        if count > 0
            && let Some(pause) = self.bury(lines.into_bytes(), reason, count).await?
        {
            return Ok(pause);
        }
        self.reader.settled(batch, count).await.map_err(DeliveryError::Spool)?;
        self.recovered();
        Ok(Progress::Moved)
    }

    async fn bury_damaged(&mut self, damaged: &Damaged) -> Result<Progress, DeliveryError> {
        let line = String::from_utf8_lossy(&damaged.line);
        let letter = json!({ "reason": damaged.reason, "line": line.trim_end_matches('\n') });
        if let Some(pause) = self.bury(format!("{letter}\n").into_bytes(), damaged.reason, 1).await? {
            return Ok(pause);
        }
        self.reader.set_aside(damaged).await.map_err(DeliveryError::Spool)?;
        Ok(Progress::Moved)
    }

    /// Writes dead letters; if there is no room for them, says how long to wait.
    async fn bury(
        &mut self,
        lines: Vec<u8>,
        reason: &str,
        count: u64,
    ) -> Result<Option<Progress>, DeliveryError> {
        match self.reader.bury(lines).await {
            Ok(()) => {
                error!(sink = self.reader.name(), reason, count, "moved findings to the dead-letter file");
                Ok(None)
            }
            Err(full @ SpoolError::Full { .. }) => {
                Ok(Some(self.failed(SinkState::Refused, &full.to_string(), 0)))
            }
            Err(broken) => Err(DeliveryError::Spool(broken)),
        }
    }

    /// Logs once, when the state changes: an outage of a night is two lines.
    fn failed(&mut self, state: SinkState, reason: &str, delivered: usize) -> Progress {
        self.reader.count_retry();
        self.failures = if delivered > 0 { 1 } else { self.failures.saturating_add(1) };
        let stats = self.reader.monitor().stats();
        if stats.state != state {
            let (sink, spooled) = (self.reader.name(), stats.spooled);
            if state == SinkState::Refused {
                error!(sink, reason, spooled, "target refuses findings; they are kept");
            } else {
                warn!(sink, reason, spooled, "target is away; findings are kept");
            }
            self.reader.set_state(state);
        }
        match state {
            SinkState::Refused => Progress::Pause(jittered(self.settings.refused_pause)),
            _ => Progress::Pause(jittered(self.pause())),
        }
    }

    fn recovered(&mut self) {
        let stats = self.reader.monitor().stats();
        if stats.state != SinkState::Ready {
            let (sink, spooled, attempts) = (self.reader.name(), stats.spooled, self.failures);
            info!(sink, spooled, attempts, "target takes findings again");
            self.reader.set_state(SinkState::Ready);
        }
        self.failures = 0;
    }

    fn pause(&self) -> Duration {
        let doublings = self.failures.saturating_sub(1).min(30);
        self.settings.first_pause.saturating_mul(1 << doublings).min(self.settings.longest_pause)
    }
}

/// Between half of `pause` and the whole. The standard library's hash keys are the nearest source of
/// chance; nothing depends on its quality.
fn jittered(pause: Duration) -> Duration {
    let share = RandomState::new().hash_one(0_u8) % 512;
    pause / 2 + (pause / 2).mul_f64(share as f64 / 511.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_between_half_and_whole() {
        let pause = Duration::from_secs(30);
        let seen: Vec<Duration> = (0..200).map(|_| jittered(pause)).collect();
        assert!(seen.iter().all(|p| (pause / 2..=pause).contains(p)));
        assert!(seen.iter().min() != seen.iter().max());
    }
}
