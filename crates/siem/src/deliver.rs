//! From a spool to its target: in order, again and again, until the target has it.
//!
//! What all targets share is here and nowhere else: the pause between attempts, the circuit breaker, dead
//! letters, the cursor and the states an operator sees. A sink only says what became of each finding.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::pin::{Pin, pin};
use std::time::Duration;

use lapwing_telemetry::{Fate, Fates, FindingSink, PublishError};
use serde_json::json;
use tokio::time::{sleep, timeout};
use tracing::{error, info, warn};

use crate::round::Round;
use crate::spool::{Damaged, SinkState, SpoolError, SpoolReader, Waiting};

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
    /// Longest pause, also where the target asks for a longer one.
    pub longest_pause: Duration,
    /// Pause after the target has refused us, or when the dead-letter file is full.
    pub refused_pause: Duration,
    /// Failed attempts in a row after which the circuit is open: a target that is down is then asked with
    /// one finding, not with a whole batch, until it takes it. At least one.
    pub circuit_failures: u32,
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
            circuit_failures: 5,
        }
    }
}

/// Why delivery ended before it was asked to. The findings stay in the spool.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// *Broken*: the spool cannot be read or its cursor not be saved.
    #[error(transparent)]
    Spool(#[from] SpoolError),
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
/// Findings go in order, in batches; of a batch that the target did not take whole, what it did not take is
/// published again before anything behind it. What the target will never take goes to the spool's
/// dead-letter file, with the reason.
///
/// # Errors
/// *Broken* ones only.
pub async fn deliver(
    reader: SpoolReader,
    sink: Box<dyn FindingSink>,
    settings: DeliverySettings,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), DeliveryError> {
    Delivery { reader, sink, settings, round: None, failures: 0, draining: false }.run(pin!(shutdown)).await
}

/// The delivery of one sink.
struct Delivery {
    reader: SpoolReader,
    sink: Box<dyn FindingSink>,
    settings: DeliverySettings,
    /// The batch under way.
    round: Option<Round>,
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
    /// Try again after a pause.
    Pause(Duration),
}

type Shutdown<'a, F> = Pin<&'a mut F>;

impl Delivery {
    async fn run(
        mut self,
        mut shutdown: Shutdown<'_, impl Future<Output = ()>>,
    ) -> Result<(), DeliveryError> {
        loop {
            let progress = match self.round.take() {
                Some(round) => self.attempt(round).await?,
                None => match self.next().await? {
                    Waiting::Nothing if self.draining => return Ok(()),
                    Waiting::Nothing => {
                        self.idle(&mut shutdown).await?;
                        continue;
                    }
                    Waiting::Findings(batch) => self.attempt(Round::new(batch)).await?,
                    Waiting::Damaged(damaged) => self.bury_damaged(&damaged).await?,
                },
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

    async fn next(&mut self) -> Result<Waiting, SpoolError> {
        let (findings, bytes) = (self.settings.batch_findings, self.settings.batch_bytes);
        self.reader.peek(findings, bytes).await
    }

    /// Waits for a finding or the end; lets the sink tend its target meanwhile.
    async fn idle(
        &mut self,
        shutdown: &mut Shutdown<'_, impl Future<Output = ()>>,
    ) -> Result<(), DeliveryError> {
        let failed = tokio::select! {
            () = self.reader.wait() => return Ok(()),
            () = &mut *shutdown => {
                self.draining = true;
                return Ok(());
            }
            failed = self.sink.tend() => failed,
        };
        let Some(fates) = self.fates_of(failed, 0)? else { return Ok(()) };
        let pause = self.failed(SinkState::Retrying, &fates.reason, fates.retry_after, false);
        tokio::select! {
            () = sleep(pause) => {}
            () = self.reader.wait() => {}
            () = &mut *shutdown => self.draining = true,
        }
        Ok(())
    }

    /// Publishes what is open of a round, as much as may go at once.
    async fn attempt(&mut self, mut round: Round) -> Result<Progress, DeliveryError> {
        let probing = self.failures >= self.settings.circuit_failures.max(1);
        let most = if probing { 1 } else { usize::MAX };
        let sent = round.open(most, self.sink.answers_one_by_one());
        let limit = self.settings.attempt_timeout;
        let published = timeout(limit, self.sink.publish(&sent.findings)).await.unwrap_or_else(|_elapsed| {
            let reason = format!("no answer in {} s", limit.as_secs_f32());
            Err(PublishError::Busy { reason, delivered: 0 })
        });
        let fates = match published {
            Ok(()) => Fates { each: vec![Fate::Taken; sent.at.len()], ..Fates::undecided(0) },
            Err(error) => {
                let count = sent.at.len();
                match self.fates_of(error, count)? {
                    Some(fates) => fates,
                    None => Fates::undecided(count),
                }
            }
        };
        let buried = round.settle(&sent.at, &fates.each);
        if !buried.lines.is_empty()
            && let Some(pause) = self.bury(buried.lines.into_bytes(), &buried.reason, buried.count).await?
        {
            round.reopen(&buried.at);
            self.pass(&mut round).await?;
            self.round = Some(round);
            return Ok(pause);
        }
        self.pass(&mut round).await?;
        if !round.is_over() {
            self.round = Some(round);
        }
        let state = if fates.each.contains(&Fate::Refused) {
            SinkState::Refused
        } else if fates.each.contains(&Fate::Busy) {
            SinkState::Retrying
        } else {
            self.recovered();
            return Ok(Progress::Moved);
        };
        let some_taken = fates.each.iter().any(|fate| matches!(fate, Fate::Taken | Fate::Rejected(_)));
        Ok(Progress::Pause(self.failed(state, &fates.reason, fates.retry_after, some_taken)))
    }

    /// Moves the cursor past what is off our hands at the start of a round.
    async fn pass(&mut self, round: &mut Round) -> Result<(), SpoolError> {
        if let Some((count, dead_lettered)) = round.pass() {
            self.reader.passed(&round.batch, count, dead_lettered).await?;
        }
        Ok(())
    }

    fn fates_of(&self, error: PublishError, count: usize) -> Result<Option<Fates>, DeliveryError> {
        if let PublishError::Broken { reason } = error {
            return Err(DeliveryError::Sink { name: self.sink.name().to_owned(), reason });
        }
        Ok(error.fates(count))
    }

    async fn bury_damaged(&mut self, damaged: &Damaged) -> Result<Progress, DeliveryError> {
        let line = String::from_utf8_lossy(&damaged.line);
        let letter = json!({ "reason": damaged.reason, "line": line.trim_end_matches('\n') });
        if let Some(pause) = self.bury(format!("{letter}\n").into_bytes(), damaged.reason, 1).await? {
            return Ok(pause);
        }
        self.reader.set_aside(damaged).await?;
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
                Ok(Some(Progress::Pause(self.failed(SinkState::Refused, &full.to_string(), None, false))))
            }
            Err(broken) => Err(DeliveryError::Spool(broken)),
        }
    }

    /// Counts a failure and says how long to wait. Logs once, when the state changes: an outage of a night
    /// is two lines.
    fn failed(
        &mut self,
        state: SinkState,
        reason: &str,
        retry_after: Option<Duration>,
        some_taken: bool,
    ) -> Duration {
        self.reader.count_retry();
        // A refusal says nothing about how much a target can take.
        if state == SinkState::Retrying {
            self.failures = if some_taken { 1 } else { self.failures.saturating_add(1) };
        }
        self.reader.set_circuit(self.failures >= self.settings.circuit_failures.max(1));
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
        if state == SinkState::Refused {
            return jittered(self.settings.refused_pause);
        }
        let asked = retry_after.unwrap_or_default().min(self.settings.longest_pause);
        jittered(self.pause()).max(asked)
    }

    fn recovered(&mut self) {
        let stats = self.reader.monitor().stats();
        if stats.state != SinkState::Ready {
            let (sink, spooled, attempts) = (self.reader.name(), stats.spooled, self.failures);
            info!(sink, spooled, attempts, "target takes findings again");
            self.reader.set_state(SinkState::Ready);
        }
        self.reader.set_circuit(false);
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
