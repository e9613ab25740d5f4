//! The whole pipeline in one process, fed a recording through its own door.
//!
//! Time is data: the door's clock is the recording's, so ten days pass in the time that the machine needs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use lapwing_otlp::Payload;
use lapwing_otlp::recording::{Message, Recording};
use lapwing_otlp::sender::{SendError, Sender};
use lapwing_telemetry::{Clock, EventTime};

use crate::run::Pipeline;
use crate::settings::Settings;

/// Recorded requests of this much time are sent as one, as a Collector in front would batch them. Ten days
/// are then 7 200 batches and not 120 000 requests that each wait for a disk.
const BATCH: Duration = Duration::from_secs(120);
/// Size at which a batch is sent whatever its time.
const BATCH_BYTES: usize = 4 << 20;

/// How late a call may be at the door of the demonstration: a batch, and how late it was when it was recorded.
pub const LATENESS: Duration = Duration::from_secs(180);

/// What a demonstration did.
#[derive(Clone, Debug, Default)]
pub struct DemoReport {
    /// Requests sent through the door and acknowledged.
    pub requests: u64,
    /// Rows decoded, by signal.
    pub calls_by_signal: Vec<(String, u64)>,
    /// Redactions by rule.
    pub redactions: Vec<(String, u64)>,
    /// Calls in the archive.
    pub archived_rows: u64,
    /// Bytes of the archive.
    pub archived_bytes: u64,
    /// First and last arrival in the recording.
    pub span: (EventTime, EventTime),
}

/// Starts the pipeline, sends every request of `recording` through its gRPC door, and drains it.
///
/// # Errors
/// Says in words what went wrong.
pub async fn demo(
    settings: Settings,
    recording: &[PathBuf],
    mut progress: impl FnMut(u64, u64),
) -> Result<DemoReport, String> {
    let now = Arc::new(AtomicI64::new(0));
    let clock: Clock = {
        let now = now.clone();
        Arc::new(move || EventTime(now.load(Ordering::Relaxed)))
    };
    let mut pipeline = Pipeline::start(settings, clock, false).await.map_err(|e| e.to_string())?;
    let address = pipeline.grpc_address().ok_or("the demo needs the gRPC door")?;
    let sender = Sender::connect(address).await.map_err(|e| e.to_string())?;
    let mut recording = Recording::open(recording).map_err(|e| e.to_string())?;
    let bytes = recording.progress();
    let mut report = DemoReport::default();
    let mut batch = Batch::default();
    for message in &mut recording {
        let message = message.map_err(|e| e.to_string())?;
        if report.requests == 0 {
            report.span.0 = message.arrival;
        }
        report.span.1 = message.arrival;
        report.requests += 1;
        if !batch.takes(&message) {
            deliver(&mut pipeline, &sender, std::mem::take(&mut batch), &now).await?;
            progress(bytes.read_bytes(), bytes.total_bytes());
        }
        batch.add(&message);
    }
    deliver(&mut pipeline, &sender, batch, &now).await?;
    progress(bytes.total_bytes(), bytes.total_bytes());
    let gauges = pipeline.gauges.clone();
    pipeline.drain().await.map_err(|e| e.to_string())?;
    let intake = gauges.intake.borrow();
    report.calls_by_signal = lapwing_telemetry::Signal::ALL
        .iter()
        .zip(intake.decode.rows_by_signal)
        .map(|(signal, n)| (signal.as_str().to_owned(), n))
        .collect();
    let mut by_rule = BTreeMap::new();
    intake.redactions.iter().for_each(|hit| *by_rule.entry(hit.rule.clone()).or_default() += hit.count);
    report.redactions = by_rule.into_iter().collect();
    if let Some(archive) = &gauges.archive {
        let archive = archive.borrow();
        (report.archived_rows, report.archived_bytes) = (archive.rows, archive.bytes);
    }
    Ok(report)
}

/// Recorded requests on their way as one request a signal: protobuf messages of one type merge when their
/// bytes are joined.
#[derive(Default)]
struct Batch {
    traces: Vec<u8>,
    logs: Vec<u8>,
    first: Option<EventTime>,
    last: EventTime,
}

impl Batch {
    fn takes(&self, message: &Message) -> bool {
        let young = self.first.is_none_or(|first| message.arrival < first.plus(BATCH));
        young && self.traces.len().max(self.logs.len()) + message.body.len() < BATCH_BYTES
    }

    fn add(&mut self, message: &Message) {
        self.first.get_or_insert(message.arrival);
        self.last = message.arrival;
        match message.payload {
            Payload::Traces => self.traces.extend_from_slice(&message.body),
            Payload::Logs => self.logs.extend_from_slice(&message.body),
        }
    }
}

/// Sends both halves of a batch at the time when its last request arrived, and waits until they are durable.
async fn deliver(
    pipeline: &mut Pipeline,
    sender: &Sender,
    batch: Batch,
    now: &AtomicI64,
) -> Result<(), String> {
    now.store(batch.last.0, Ordering::Relaxed);
    let (mut traces, mut logs) = (sender.clone(), sender.clone());
    let sending = async {
        tokio::try_join!(
            send(&mut traces, Payload::Traces, &batch.traces),
            send(&mut logs, Payload::Logs, &batch.logs)
        )
    };
    tokio::select! {
        sent = sending => sent.map(|_| ()).map_err(|e| e.to_string()),
        error = pipeline.watch() => Err(error.to_string()),
    }
}

async fn send(sender: &mut Sender, payload: Payload, body: &[u8]) -> Result<(), SendError> {
    if body.is_empty() { Ok(()) } else { sender.send(payload, body).await }
}
