//! Canaries: made-up personal data and secrets that go in like any telemetry, and an alarm if any comes out.
//!
//! Every interval one request of spans and one of access logs, with a new value of every kind in it, take the
//! road of received telemetry: decode, redaction, journal, detect, archive. Where calls come out of the
//! journal, where a file of the archive is closed, where findings leave and on the page of metrics, the values
//! are looked for in every usual spelling. One that is found is a finding of kind `redaction_leak`; a canary
//! that does not come back in time is a warning, because then nothing is proven.
//!
//! Canaries are in a cluster of their own ([`lapwing_telemetry::CANARY_CLUSTER`]), which decode gives to nobody
//! else. They have a decoder and counters of their own under the same rules, are neither judged nor learned,
//! and stay in the archive: there they show an auditor what redaction made of known values at that time.

mod judge;
mod tap;
mod values;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lapwing_otlp::{Encoding, Inventory, Payload};
use lapwing_storage::Dataset;
use lapwing_telemetry::{CANARY_CLUSTER, Clock, EventTime, Finding};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::interval;

use self::judge::Judge;
pub use self::tap::Tap;
use self::tap::{Known, Report};
pub use self::values::KINDS;
use self::values::{Planted, base64, percent, planted};
use crate::health::{Beat, CanarySnapshot};
use crate::intake::Intake;
use crate::metrics::Gauges;
use crate::settings::IntakeSettings;

/// What canaries are told.
#[derive(Clone, Debug)]
pub struct CanarySettings {
    /// Time between two canaries, by the pipeline's clock.
    pub interval: Duration,
    /// Time after which a canary must have come out of the journal.
    pub deadline: Duration,
    /// Kinds that an operator has decided to let pass, by the names of [`KINDS`].
    pub except: Vec<String>,
    /// Makes the values repeatable; drawn by the system if there is none.
    pub seed: Option<u64>,
}

/// Requests of one canary, on their way to receive.
pub(crate) type CanaryRequests = Vec<(Payload, Encoding, Vec<u8>)>;

/// Receive's end: the requests, and a decoder for them under the same rules.
pub struct CanaryRoad {
    pub(crate) requests: mpsc::Receiver<CanaryRequests>,
    pub(crate) intake: Intake,
}

/// Canaries before the loops run: what each of them is given.
pub struct Canaries {
    judge: Judge,
    requests: mpsc::Sender<CanaryRequests>,
    reports: mpsc::Receiver<Report>,
    findings: mpsc::Sender<Vec<Finding>>,
    beat: Beat<CanarySnapshot>,
    clock: Clock,
}

/// How often the clock is looked at.
const TICK: Duration = Duration::from_secs(1);
/// Reports and requests that may wait.
const WAITING: usize = 64;

impl Canaries {
    /// Makes the judge with receive's end, the taps, the findings that detect must publish, and what to show.
    pub fn new(
        settings: &CanarySettings,
        intake: &IntakeSettings,
        made_by: String,
        archived: bool,
        clock: Clock,
    ) -> (Canaries, CanaryRoad, Tap, mpsc::Receiver<Vec<Finding>>, watch::Receiver<CanarySnapshot>) {
        let mut intake = intake.clone();
        // No sender may name the cluster; it is the default of this decoder alone.
        CANARY_CLUSTER.clone_into(&mut intake.decode.default_cluster);
        let (known_sender, known) = watch::channel(Arc::new(Known::of(std::iter::empty())));
        let (requests_sender, requests) = mpsc::channel(1);
        let (reports_sender, reports) = mpsc::channel(WAITING);
        let (findings_sender, findings) = mpsc::channel(WAITING);
        let (beat, seen) = Beat::new();
        let seed = settings.seed.unwrap_or_else(|| RandomState::new().build_hasher().finish());
        let judge = Judge::new(settings.clone(), seed, made_by, archived, known_sender);
        let road = CanaryRoad { requests, intake: Intake::new(&intake, Arc::new(Inventory::default())) };
        let canaries =
            Canaries { judge, requests: requests_sender, reports, findings: findings_sender, beat, clock };
        (canaries, road, Tap { known, reports: reports_sender }, findings, seen)
    }

    /// Runs until the loops that hold taps have ended. `gauges` are what the page of metrics shows.
    pub async fn run(mut self, gauges: Gauges) {
        let mut ticks = interval(TICK);
        loop {
            let findings = tokio::select! {
                report = self.reports.recv() => match report {
                    Some(report) => self.judge(report).await,
                    None => return,
                },
                _ = ticks.tick() => self.tick(&gauges),
            };
            self.beat.publish(self.judge.snapshot.clone());
            // Detect may be waiting for a sink; then the alarm waits with it, in order.
            if !findings.is_empty() && self.findings.send(findings).await.is_err() {
                return;
            }
        }
    }

    fn tick(&mut self, gauges: &Gauges) -> Vec<Finding> {
        let now = (self.clock)();
        let findings = self.judge.page(&gauges.text(), now);
        self.judge.overdue(now);
        if self.judge.is_due(now)
            && let Ok(room) = self.requests.try_reserve()
        {
            room.send(self.judge.next(now));
        }
        findings
    }

    async fn judge(&mut self, report: Report) -> Vec<Finding> {
        let now = (self.clock)();
        match report {
            Report::Journal(traces, kinds) => self.judge.journal(&traces, &kinds, now),
            Report::Findings(kinds) => self.judge.findings(&kinds, now),
            Report::Archived(files) => {
                let known = self.judge.known();
                // Reading a file back is work for a thread that may wait.
                let read =
                    tokio::task::spawn_blocking(move || files.iter().map(|f| read_back(f, &known)).collect());
                let results: Vec<Result<_, String>> = read.await.unwrap_or_default();
                let mut findings = Vec::new();
                for result in results {
                    match result {
                        Ok((traces, kinds)) => findings.extend(self.judge.archive(&traces, &kinds, now)),
                        Err(error) => {
                            tracing::error!(error, "an archive file with canaries cannot be read back");
                        }
                    }
                }
                findings
            }
        }
    }
}

type Seen = (std::collections::BTreeSet<[u8; 16]>, std::collections::BTreeSet<&'static str>);

/// The canaries in a closed file, and the kinds of values that can be read in them.
fn read_back(file: &Path, known: &Known) -> Result<Seen, String> {
    let mut dataset = Dataset::open(&[file.to_owned()], 1).map_err(|e| e.to_string())?;
    let mut seen = Seen::default();
    while let Some((_, calls)) = dataset.read().map_err(|e| e.to_string())? {
        if calls.has_canaries() {
            seen.0.extend(tap::traces(&calls));
            calls.canaries().texts(|text| known.search(text.as_bytes(), false, &mut seen.1));
        }
    }
    Ok(seen)
}

/// The requests of one canary: a span and an access log with every value, under its name, in text, in a URL, in
/// JSON inside a string and in base64.
fn requests(planted: &[Planted], trace: [u8; 16], now: EventTime) -> CanaryRequests {
    let text = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let of = |kind: &str| planted.iter().find(|p| p.kind == kind).map_or("", |p| p.value.as_str());
    let mut attributes: Vec<Value> = planted.iter().map(|p| text(p.key, &p.value)).collect();
    let provable: Vec<&Planted> = planted.iter().filter(|p| p.proves_itself).collect();
    attributes
        .extend(provable.iter().map(|p| text(&format!("text.{}", p.kind), &format!("seen {} now", p.value))));
    let query: Vec<String> =
        ["email", "password", "card"].iter().map(|k| format!("{k}={}", percent(of(k)))).collect();
    let path = format!("/people/{}/orders?{}", percent(of("email")), query.join("&"));
    let nested = json!({"user": {"email": of("email"), "password": of("password")}}).to_string();
    let spelled = base64(format!("contact {} today", of("email")).as_bytes());
    let message = format!("no such person {} with card {}", of("email"), of("card"));
    attributes.extend([
        text("url.full", &format!("https://shop.canary{path}")),
        text("body.json", &nested),
        text("body.base64", &spelled),
        text("peer.service", "lapwing/canary"),
        text("http.request.method", "GET"),
    ]);
    let resource = json!({"attributes": [
        text("service.namespace", "lapwing"),
        text("service.name", "canary"),
        text("host.owner", of("email")),
    ]});
    let nanos = now.unix_nanos().to_string();
    let (trace_id, span_id) = (hex(&trace), hex(&trace[8..]));
    let spans = json!({"resourceSpans": [{"resource": &resource, "scopeSpans": [{
        "scope": {"name": "lapwing.canary"},
        "spans": [{
            "traceId": &trace_id, "spanId": &span_id, "kind": 3, "name": format!("GET /people/{}", of("email")),
            "startTimeUnixNano": &nanos, "endTimeUnixNano": &nanos, "attributes": &attributes,
            "events": [{"name": "refused", "timeUnixNano": &nanos, "attributes": [text("exception.message", &message)]}],
            "status": {"code": 2, "message": &message},
        }],
    }]}]});
    attributes.push(text("path", &path));
    attributes.push(text("upstream_cluster", "outbound|80||canary.lapwing.svc.cluster.local"));
    let logs = json!({"resourceLogs": [{"resource": &resource, "scopeLogs": [{
        "scope": {"name": "lapwing.canary"},
        "logRecords": [{
            "traceId": &trace_id, "spanId": &span_id, "timeUnixNano": &nanos, "attributes": &attributes,
            "body": {"stringValue": format!("GET {path} 404 {message}")},
        }],
    }]}]});
    let body = |request: &Value| request.to_string().into_bytes();
    vec![(Payload::Traces, Encoding::Json, body(&spans)), (Payload::Logs, Encoding::Json, body(&logs))]
}
