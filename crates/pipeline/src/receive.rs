//! The first loop: arrivals in, redacted calls durable in the log, senders answered.

use std::sync::Arc;
use std::time::Duration;

use lapwing_otlp::Inventory;
use lapwing_otlp::door::{Answer, Arrival, Outcome};
use lapwing_redaction::Rules;
use lapwing_telemetry::{AppendError, Clock, EventTime, Group, LogWriter};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};

use crate::StageError;
use crate::canary::{CanaryRequests, CanaryRoad};
use crate::health::{Beat, IntakeSnapshot};
use crate::intake::Intake;

/// What receive is told once.
pub struct ReceiveSettings {
    /// Requests are gathered this long, so that one disk sync serves many.
    pub gather: Duration,
    /// Bytes of requests after which a group is appended without waiting longer.
    pub gather_bytes: usize,
    /// What senders of a group that could not be appended are told to wait.
    pub retry_after: Duration,
}

/// What may change while receive runs.
pub struct Changing {
    /// Names of addresses and service accounts.
    pub inventory: watch::Receiver<Arc<Inventory>>,
    /// Redaction rules.
    pub rules: watch::Receiver<Arc<Rules>>,
    /// Canaries, which take the same road beside the arrivals; `None` if none are sent.
    pub canaries: Option<CanaryRoad>,
}

/// Runs until the door has closed and every group it let in has been answered.
///
/// Decoding and redaction happen on the calling thread, which must be receive's own; appending happens
/// beside it, one group behind, so that the disk and the CPU work at the same time.
///
/// # Errors
/// [`StageError`] if the log cannot be written any more.
pub async fn receive(
    mut arrivals: mpsc::Receiver<Arrival>,
    mut intake: Intake,
    mut changing: Changing,
    log: impl LogWriter + 'static,
    settings: ReceiveSettings,
    clock: Clock,
    beat: Beat<IntakeSnapshot>,
) -> Result<(), StageError> {
    let (groups, to_append) = mpsc::channel(1);
    let appending = tokio::spawn(append(log, to_append, settings.retry_after));
    // Arrival times never decrease along the log, whichever road a call takes.
    let mut latest = EventTime::MIN;
    let mut now = move || {
        latest = latest.max(clock());
        latest
    };
    while let Some(work) = work(&mut arrivals, &mut changing.canaries, &settings).await {
        if changing.inventory.has_changed().unwrap_or(false) {
            intake.set_inventory(changing.inventory.borrow_and_update().clone());
        }
        if changing.rules.has_changed().unwrap_or(false) {
            let rules = changing.rules.borrow_and_update().clone();
            if let Some(canaries) = &mut changing.canaries {
                canaries.intake.set_rules(rules.clone());
            }
            intake.set_rules(rules);
        }
        let pending = match work {
            Work::Arrivals(gathered) => decode(&mut intake, gathered, &mut now),
            Work::Canary(requests) => {
                let Some(canaries) = &mut changing.canaries else { continue };
                Pending {
                    group: decode_canary(&mut canaries.intake, &requests, &mut now),
                    answers: Vec::new(),
                }
            }
        };
        beat.publish(IntakeSnapshot { decode: intake.decode_stats(), redactions: intake.redaction_hits() });
        if groups.send(pending).await.is_err() {
            break; // The append task has ended; its result says why.
        }
    }
    drop(groups);
    appending.await.map_err(|panic| StageError::new("receive", &panic))?
}

/// What there is to decode.
enum Work {
    Arrivals(Vec<Arrival>),
    Canary(CanaryRequests),
}

/// Waits for arrivals or a canary; `None` once the door has closed.
async fn work(
    arrivals: &mut mpsc::Receiver<Arrival>,
    canaries: &mut Option<CanaryRoad>,
    settings: &ReceiveSettings,
) -> Option<Work> {
    let canary = async {
        match canaries {
            Some(road) => match road.requests.recv().await {
                Some(requests) => requests,
                None => std::future::pending().await,
            },
            None => std::future::pending().await,
        }
    };
    let first = tokio::select! {
        first = arrivals.recv() => first?,
        requests = canary => return Some(Work::Canary(requests)),
    };
    Some(Work::Arrivals(gather(first, arrivals, settings).await))
}

/// Takes what else comes within the gather time.
async fn gather(
    first: Arrival,
    arrivals: &mut mpsc::Receiver<Arrival>,
    settings: &ReceiveSettings,
) -> Vec<Arrival> {
    let deadline = Instant::now() + settings.gather;
    let mut bytes = first.body.len();
    let mut gathered = vec![first];
    while bytes < settings.gather_bytes {
        let Ok(Some(arrival)) = timeout_at(deadline, arrivals.recv()).await else { break };
        bytes += arrival.body.len();
        gathered.push(arrival);
    }
    gathered
}

/// A group on its way to the log, and who waits for it.
struct Pending {
    group: Group,
    answers: Vec<(Answer, Outcome)>,
}

/// Malformed requests are answered here, alone; the others wait for the append.
fn decode(intake: &mut Intake, gathered: Vec<Arrival>, now: &mut impl FnMut() -> EventTime) -> Pending {
    let mut answers = Vec::with_capacity(gathered.len());
    for arrival in gathered {
        if !arrival.answer.is_awaited() {
            continue; // The sender has left and will retry: its calls would be counted twice.
        }
        match intake.take(arrival.payload, arrival.encoding, &arrival.body, now()) {
            Ok(decoded) => {
                let outcome = Outcome::Accepted { rejected: decoded.rejected, reason: decoded.reason };
                answers.push((arrival.answer, outcome));
            }
            Err(malformed) => arrival.answer.send(Outcome::Malformed { reason: malformed.to_string() }),
        }
    }
    Pending { group: intake.frames(), answers }
}

/// Frames of canaries alone: they are never in one with real calls.
fn decode_canary(
    intake: &mut Intake,
    requests: &CanaryRequests,
    now: &mut impl FnMut() -> EventTime,
) -> Group {
    for (payload, encoding, body) in requests {
        if let Err(malformed) = intake.take(*payload, *encoding, body, now()) {
            tracing::error!(%malformed, "a redaction canary could not be decoded");
        }
    }
    intake.frames()
}

/// Appends group after group and answers each sender once its calls are durable.
async fn append(
    mut log: impl LogWriter,
    mut groups: mpsc::Receiver<Pending>,
    retry_after: Duration,
) -> Result<(), StageError> {
    while let Some(Pending { group, answers }) = groups.recv().await {
        let appended = if group.is_empty() { Ok(()) } else { log.append(group).await };
        let busy = |reason: &str| Outcome::Busy { retry_after, reason: reason.to_owned() };
        match appended {
            Ok(()) => answers.into_iter().for_each(|(answer, outcome)| answer.send(outcome)),
            Err(AppendError::Busy { reason }) => {
                tracing::warn!(
                    reason,
                    requests = answers.len(),
                    "the log is full; senders are told to retry"
                );
                answers.into_iter().for_each(|(answer, _)| answer.send(busy(&reason)));
            }
            Err(error @ AppendError::Broken { .. }) => {
                answers.into_iter().for_each(|(answer, _)| answer.send(busy("the log cannot be written")));
                return Err(StageError::new("receive", &error));
            }
        }
    }
    Ok(())
}
