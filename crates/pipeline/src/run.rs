//! Start right to left, supervise, drain left to right.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lapwing_detection::Marks;
use lapwing_otlp::door::{self, Door};
use lapwing_redaction::Rules;
use lapwing_siem::spool;
use lapwing_storage::{Archive, Journal, state};
use lapwing_telemetry::Clock;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, interval_at, timeout};

use crate::StageError;
use crate::archive::{ArchivePlan, archive};
use crate::canary::Canaries;
use crate::detect::{CanaryWatch, Memory, detect};
use crate::engines::Engines;
use crate::feedback;
use crate::health::Beat;
use crate::intake::Intake;
use crate::metrics::{self, Gauges};
use crate::outbox::Outbox;
use crate::receive::{Changing, ReceiveSettings, receive};
use crate::rules::{Fingerprint, RulesStatus};
use crate::settings::Settings;
use crate::warm_start::{self, History};

/// Calls with `received_at` older than this are all in the log: the time between stamping a call and its
/// frame being durable, with much to spare.
const QUIET_GRACE: Duration = Duration::from_secs(5);

/// Why a pipeline did not start. *Broken*: an operator must act.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct StartError {
    /// What happened, with the place.
    pub reason: String,
    /// Whether it may pass by itself (a port in use, a broker away): exit code 75 and not 1.
    pub temporary: bool,
}

/// How often the file of feedback is looked at. Well below the time after which a mark counts.
const FEEDBACK_EVERY: Duration = Duration::from_secs(15);

/// A running pipeline.
pub struct Pipeline {
    door: Door,
    stages: Vec<Stage>,
    shutdown_timeout: Duration,
    inventory: watch::Sender<Arc<lapwing_otlp::Inventory>>,
    rules: watch::Sender<Arc<Rules>>,
    rules_status: watch::Sender<RulesStatus>,
    /// How the files of the rules looked when they were last read.
    rules_seen: Fingerprint,
    settings: Settings,
    marks: watch::Sender<Marks>,
    /// Says that the pipeline drains.
    stopping: watch::Sender<bool>,
    /// Everything there is to know about how it is doing.
    pub gauges: Gauges,
    server: metrics::Servers,
}

/// One loop on its own thread.
struct Stage {
    name: &'static str,
    ended: oneshot::Receiver<Result<(), StageError>>,
}

impl Pipeline {
    /// Starts sinks, log, archive, detect and, last, the door. `clock` is where the present comes from;
    /// `tells_quiet` is false only where the clock is a recording's and stands still between its calls.
    ///
    /// # Errors
    /// [`StartError`]; whatever had been started has ended again.
    pub async fn start(settings: Settings, clock: Clock, tells_quiet: bool) -> Result<Pipeline, StartError> {
        let outbox = sinks(&settings, &clock).await?;
        let (writer, journal) = Journal::open(settings.journal.clone()).map_err(broken)?;
        let quiet = tells_quiet.then(|| (clock.clone(), QUIET_GRACE));
        let mut stages = Vec::new();
        let mut gauges = Gauges {
            journal: journal.clone(),
            sinks: outbox.monitors(),
            ..Gauges::new(journal.clone(), clock.clone())
        };

        let (mut canaries, mut road, mut tap, mut alarms) = (None, None, None, None);
        if let Some(canary) = &settings.canary {
            let made_by = settings.detection.made_by();
            let archived = settings.archive.is_some();
            let parts = Canaries::new(canary, &settings.intake, made_by, archived, clock.clone());
            gauges.canary = Some(parts.4);
            (canaries, road, tap, alarms) = (Some(parts.0), Some(parts.1), Some(parts.2), Some(parts.3));
        }

        // Before archive and retention begin to change it.
        let history = settings.warm_start.then(|| History::find(&settings, &journal)).flatten();

        if let Some(archive_settings) = &settings.archive {
            let files = Archive::open(archive_settings.clone()).map_err(broken)?;
            // Archive, too, is woken while nothing comes: files are closed and hours deleted by the clock.
            let mut reader = journal.reader("archive", quiet.clone()).map_err(broken)?;
            if let Some(after) = files.resume_after() {
                reader.resume_after(Some(after)).map_err(broken)?;
            }
            let plan = ArchivePlan {
                directory: archive_settings.dir.clone(),
                roll: settings.roll_interval,
                calls: journal_calls(&settings, 4),
                retention: settings.retention,
                check: settings.retention_interval,
            };
            let (beat, seen) = Beat::new();
            gauges.archive = Some(seen);
            stages.push(stage("archive", archive(reader, files, plan, clock.clone(), beat, tap.clone()))?);
        }

        let mut reader = journal.reader("detect", quiet).map_err(broken)?;
        let restored = restored(&settings)?;
        match (&restored, &history) {
            (Some(engines), _) => {
                if let Some(after) = engines.offset() {
                    reader.resume_after(Some(after)).map_err(broken)?;
                }
            }
            (None, Some(history)) => history.place(&mut reader),
            (None, None) => {}
        }
        let marks = feedback::marks(&settings.feedback_file())
            .map_err(|reason| StartError { reason, temporary: false })?;
        let (marks, marks_seen) = watch::channel(marks);
        let memory = Memory {
            marks: marks_seen,
            file: settings.state_file(),
            every: settings.save_interval,
            calls: journal_calls(&settings, 8),
        };
        let (beat, seen) = Beat::new();
        gauges.detect = seen;
        let canary_watch = tap.zip(alarms).map(|(tap, alarms)| CanaryWatch { tap, alarms });
        let (stopping, stop) = watch::channel(false);
        let told = settings.clone();
        stages.push(stage("detect", async move {
            let engines = match (restored, history) {
                (Some(engines), _) => engines,
                // It takes as long as it takes: the door is open meanwhile, and the journal holds what comes.
                (None, Some(history)) => match warm_start::begin(&history, &told, &stop)? {
                    Some(engines) => engines,
                    None if *stop.borrow() => return Ok(()),
                    None => Engines::new(told.intake.partitions, &told.detection, told.model.as_ref()),
                },
                (None, None) => Engines::new(told.intake.partitions, &told.detection, told.model.as_ref()),
            };
            detect(reader, engines, outbox, memory, beat, canary_watch).await
        })?);

        let inventory =
            Arc::new(settings.read_inventory().map_err(|reason| StartError { reason, temporary: false })?);
        let intake = Intake::new(&settings.intake, inventory.clone());
        let (inventory, inventory_seen) = watch::channel(inventory);
        let (rules, rules_seen) = watch::channel(settings.intake.rules.clone());
        let (rules_status, status_seen) = watch::channel(RulesStatus::default());
        gauges.rules = status_seen;
        let server = metrics::Servers::bind(settings.metrics, settings.health)
            .await
            .map_err(|e| StartError { reason: e.to_string(), temporary: true })?;
        let (door, arrivals) = door::open(settings.door.clone()).await.map_err(|e| StartError {
            temporary: matches!(e, door::DoorError::PortBusy { .. }),
            reason: StageError::new("door", &e).reason,
        })?;
        gauges.door = Some(door.stats().clone());
        let receiving = ReceiveSettings {
            gather: settings.gather.0,
            gather_bytes: settings.gather.1,
            retry_after: settings.door.retry_after,
        };
        let changing = Changing { inventory: inventory_seen, rules: rules_seen, canaries: road };
        let (beat, seen) = Beat::new();
        gauges.intake = seen;
        stages.push(stage("receive", receive(arrivals, intake, changing, writer, receiving, clock, beat))?);
        if let Some(canaries) = canaries {
            tokio::spawn(canaries.run(gauges.clone()));
        }
        let server = server.serve(gauges.clone());
        Ok(Pipeline {
            door,
            stages,
            shutdown_timeout: settings.shutdown_timeout,
            inventory,
            rules,
            rules_status,
            rules_seen: settings.rules.0.fingerprint(),
            settings,
            marks,
            stopping,
            gauges,
            server,
        })
    }

    /// Where OTLP/gRPC is served.
    pub fn grpc_address(&self) -> Option<SocketAddr> {
        self.door.grpc_address()
    }

    /// Where OTLP/HTTP is served.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.door.http_address()
    }

    /// Resolves when a loop ends unasked: with what it said. Looks at the files of inventory, rules and keys
    /// meanwhile.
    pub async fn watch(&mut self) -> StageError {
        let mut inventory_seen = modified(self.settings.inventory.0.as_ref());
        let mut rules_changed = None;
        let (inventory_every, rules_every) = (self.settings.inventory.1, self.settings.rules.1);
        let mut inventory_due = interval_at(Instant::now() + inventory_every, inventory_every);
        let mut feedback_seen = modified(Some(&self.settings.feedback_file()));
        let mut feedback_due = interval_at(Instant::now() + FEEDBACK_EVERY, FEEDBACK_EVERY);
        let mut rules_due = interval_at(Instant::now() + rules_every, rules_every);
        loop {
            tokio::select! {
                ended = any_end(&mut self.stages) => return ended,
                _ = inventory_due.tick() => {
                    let now = modified(self.settings.inventory.0.as_ref());
                    if now != inventory_seen {
                        inventory_seen = now;
                        self.reload_inventory();
                    }
                }
                _ = feedback_due.tick() => {
                    let now = modified(Some(&self.settings.feedback_file()));
                    if now != feedback_seen {
                        feedback_seen = now;
                        self.reload_feedback();
                    }
                }
                _ = rules_due.tick() => {
                    let now = self.settings.rules.0.fingerprint();
                    // Only what looked the same twice is read: a file may be half written, and half of a rule
                    // file can be a rule file.
                    if now != self.rules_seen && rules_changed.as_ref() == Some(&now) {
                        self.reload_rules();
                    }
                    rules_changed = (now != self.rules_seen).then_some(now);
                }
            }
        }
    }

    /// Reads rules, keys and inventory anew. What is invalid changes nothing and is logged with the reason.
    pub fn reload(&mut self) {
        self.reload_rules();
        self.reload_inventory();
        self.reload_feedback();
    }

    fn reload_rules(&mut self) {
        self.rules_seen = self.settings.rules.0.fingerprint();
        match self.settings.rules.0.read() {
            Ok(rules) => {
                let n_rules = rules.names().count();
                self.rules.send_replace(rules);
                self.rules_status.send_modify(|status| {
                    status.applied += 1;
                    status.problems = 0;
                });
                tracing::info!(rules = n_rules, "redaction rules are reloaded");
            }
            Err(problems) => {
                self.rules_status.send_modify(|status| {
                    status.refused += 1;
                    status.problems = problems.len();
                });
                for problem in &problems {
                    tracing::error!(problem = %problem, "redaction rules stay as they were");
                }
            }
        }
    }

    fn reload_feedback(&self) {
        match feedback::marks(&self.settings.feedback_file()) {
            Ok(marks) => {
                tracing::info!(marked_false = marks.len(), "feedback is reloaded");
                self.marks.send_replace(marks);
            }
            Err(reason) => tracing::error!(reason, "feedback stays as it was"),
        }
    }

    fn reload_inventory(&self) {
        match self.settings.read_inventory() {
            Ok(inventory) => {
                tracing::info!(services = inventory.services(), "the inventory is reloaded");
                self.inventory.send_replace(Arc::new(inventory));
            }
            Err(reason) => tracing::error!(reason, "the inventory stays as it was"),
        }
    }

    /// Drains: the door refuses new work, what it let in is answered, the log ends, detect flushes and saves,
    /// archive closes its file. What misses the deadline is named; nothing is lost, it is in the log.
    ///
    /// # Errors
    /// The first loop that failed or missed the deadline.
    pub async fn drain(self) -> Result<(), StageError> {
        self.door.refuse();
        self.stopping.send_replace(true);
        let deadline = self.shutdown_timeout;
        let drained = timeout(deadline, async {
            let cut = self.door.close(deadline / 2).await;
            if cut > 0 {
                tracing::warn!(connections = cut, "cut connections that did not end in time");
            }
            let mut first = Ok(());
            for stage in self.stages {
                let result = stage.ended.await.unwrap_or_else(|_| Err(panicked(stage.name)));
                first = first.and(result);
            }
            first
        });
        let result = drained.await.unwrap_or_else(|_| {
            Err(StageError {
                stage: "drain",
                reason: format!(
                    "not finished within {} s; the rest follows after the next start",
                    deadline.as_secs()
                ),
            })
        });
        self.server.stop();
        result
    }
}

/// Resolves with the first stage that ends.
async fn any_end(stages: &mut [Stage]) -> StageError {
    std::future::poll_fn(|context| {
        for stage in &mut *stages {
            if let std::task::Poll::Ready(ended) = std::pin::Pin::new(&mut stage.ended).poll(context) {
                return std::task::Poll::Ready(match ended {
                    Ok(Err(error)) => error,
                    Ok(Ok(())) => StageError { stage: stage.name, reason: "ended unasked".into() },
                    Err(_) => panicked(stage.name),
                });
            }
        }
        std::task::Poll::Pending
    })
    .await
}

/// Runs a loop on a plain thread of its name, so that its CPU work starves no I/O.
fn stage(
    name: &'static str,
    work: impl Future<Output = Result<(), StageError>> + Send + 'static,
) -> Result<Stage, StartError> {
    let (done, ended) = oneshot::channel();
    let runtime = Handle::current();
    std::thread::Builder::new()
        .name(name.into())
        .spawn(move || drop(done.send(runtime.block_on(work))))
        .map_err(|e| StartError { reason: format!("thread {name}: {e}"), temporary: true })?;
    Ok(Stage { name, ended })
}

/// What was saved; `None` if nothing was.
fn restored(settings: &Settings) -> Result<Option<Engines>, StartError> {
    let file = settings.state_file();
    let partitions = settings.intake.partitions;
    let (detection, model) = (&settings.detection, settings.model.as_ref());
    match state::load(&file).map_err(broken)? {
        None => Ok(None),
        Some(saved) => Engines::restore(partitions, detection, model, &saved).map(Some).map_err(|reason| {
            StartError { reason: format!("state file `{}`: {reason}", file.display()), temporary: false }
        }),
    }
}

async fn sinks(settings: &Settings, clock: &Clock) -> Result<Outbox, StartError> {
    let mut outbox = Outbox::default();
    for target in &settings.targets {
        let sink = target.sink(clock).await.map_err(|reason| StartError { reason, temporary: false })?;
        let Some(spool) = &target.spool else {
            outbox.add(sink);
            continue;
        };
        let (spooled, reader) = spool::open(&target.name, spool, clock.clone()).map_err(broken)?;
        outbox.add_spooled(spooled, reader, sink, target.delivery);
    }
    Ok(outbox)
}

/// How many calls fill one of `parts` parts of the journal, at about 400 bytes a call.
fn journal_calls(settings: &Settings, parts: u64) -> usize {
    (settings.journal.disk_budget_bytes / parts / 400).max(10_000) as usize
}

fn modified(path: Option<&PathBuf>) -> Option<std::time::SystemTime> {
    fs::metadata(path?).and_then(|m| m.modified()).ok()
}

fn panicked(stage: &'static str) -> StageError {
    StageError { stage, reason: "its thread panicked".into() }
}

fn broken<E: std::error::Error>(error: E) -> StartError {
    StartError { reason: StageError::new("start", &error).reason, temporary: false }
}
