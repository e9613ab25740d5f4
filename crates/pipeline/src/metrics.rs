//! How the pipeline is doing, over HTTP: `/metrics` for Prometheus, `/livez` and `/readyz` for probes.
//!
//! Ready means that work is moving: all loops alive, the door open and the journal not nearly full. A dead
//! SIEM does not make the process unready; its backlog is a metric.

use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::routing::get;
use lapwing_otlp::door::{DoorStats, Refusal};
use lapwing_siem::{Monitor, SinkState};
use lapwing_storage::Journal;
use lapwing_telemetry::{Clock, EventTime, Signal};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::health::{ArchiveSnapshot, CanarySnapshot, DetectSnapshot, IntakeSnapshot};
use crate::rules::RulesStatus;

/// Share of the journal's budget beyond which the process is not ready.
const NEARLY_FULL: f64 = 0.9;

/// Everything there is to know about how a pipeline is doing. Cheap to clone; reading never waits.
#[derive(Clone)]
pub struct Gauges {
    /// The journal.
    pub journal: Journal,
    /// Spooled sinks.
    pub sinks: Vec<Monitor>,
    /// The door; `None` before it opens.
    pub door: Option<Arc<DoorStats>>,
    /// Receive.
    pub intake: watch::Receiver<IntakeSnapshot>,
    /// Rules and their reloading.
    pub rules: watch::Receiver<RulesStatus>,
    /// Detect.
    pub detect: watch::Receiver<DetectSnapshot>,
    /// Archive, if one is kept.
    pub archive: Option<watch::Receiver<ArchiveSnapshot>>,
    /// Canaries, if any are sent.
    pub canary: Option<watch::Receiver<CanarySnapshot>>,
    /// The present.
    pub clock: Clock,
}

impl Gauges {
    /// Gauges of a pipeline of which only the journal is open.
    pub fn new(journal: Journal, clock: Clock) -> Gauges {
        let (_, intake) = watch::channel(IntakeSnapshot::default());
        let (_, detect) = watch::channel(DetectSnapshot::default());
        let (_, rules) = watch::channel(RulesStatus::default());
        Gauges {
            journal,
            sinks: Vec::new(),
            door: None,
            intake,
            rules,
            detect,
            archive: None,
            canary: None,
            clock,
        }
    }

    /// Why the process is not ready; empty if it is.
    pub fn not_ready(&self) -> Vec<&'static str> {
        let journal = self.journal.stats();
        let full = journal.bytes as f64 > journal.disk_budget_bytes as f64 * NEARLY_FULL;
        // A loop drops its end of the watch when it ends.
        let checks = [
            (self.intake.has_changed().is_err(), "receive has ended"),
            (self.detect.has_changed().is_err(), "detect has ended"),
            (self.archive.as_ref().is_some_and(|a| a.has_changed().is_err()), "archive has ended"),
            (full, "the journal is nearly full: a reader is far behind"),
        ];
        checks.into_iter().filter(|(bad, _)| *bad).map(|(_, reason)| reason).collect()
    }

    /// What an operator should know although the process is ready; empty if nothing.
    pub fn details(&self) -> Vec<String> {
        let problems = self.rules.borrow().problems;
        let stale = || {
            format!("redaction rules: the files are refused ({problems} problems); those before them hold")
        };
        let mut details: Vec<String> = (problems > 0).then(stale).into_iter().collect();
        if let Some(canary) = &self.canary {
            let canary = canary.borrow();
            details.extend(canary.leaking.iter().map(|place| format!("redaction leaks into the {place}")));
            details.extend(canary.overdue.then(|| "a redaction canary did not come back in time".to_owned()));
        }
        for sink in self.sinks.iter().filter(|sink| sink.stats().state == SinkState::Refused) {
            details.push(format!("exporter {} is refused by its target", sink.name()));
        }
        details
    }

    /// The metrics in Prometheus' text format, lag first.
    pub fn text(&self) -> String {
        let mut page = Page(String::new());
        self.log(&mut page);
        self.door_metrics(&mut page);
        self.intake_metrics(&mut page);
        self.detect_metrics(&mut page);
        self.output_metrics(&mut page);
        self.canary_metrics(&mut page);
        page.0
    }

    fn log(&self, page: &mut Page) {
        let journal = self.journal.stats();
        page.gauge("journal_lag_frames", "Frames that a reader has not committed.");
        for (consumer, lag) in &journal.lag_frames {
            page.value("journal_lag_frames", &[("consumer", consumer)], *lag as f64);
        }
        page.gauge(
            "journal_unread_seconds",
            "At most how long ago the oldest call arrived that a reader has not been handed.",
        );
        page.gauge("journal_unread_bytes", "Bytes of frames that a reader has not been handed.");
        page.counter(
            "journal_missing_frames",
            "Frames that a reader should have been handed and that were not there.",
        );
        for (consumer, stats) in &journal.consumers {
            let label = [("consumer", consumer.as_str())];
            let age = stats.unread_since.map_or(0.0, |since| (self.clock)().since(since).as_secs_f64());
            page.value("journal_unread_seconds", &label, age);
            page.value("journal_unread_bytes", &label, stats.unread_bytes as f64);
            page.value("journal_missing_frames_total", &label, stats.missing_frames as f64);
        }
        let latest = self.detect.borrow().engines.latest.0;
        let behind = if latest == 0 { 0.0 } else { ((self.clock)().0 - latest).max(0) as f64 / 1e6 };
        page.one("detect_behind_seconds", "gauge", "Time since the arrival of the last call that detect has seen, or since the log was last said to be quiet.", behind);
        page.one("journal_bytes", "gauge", "Bytes of the journal.", journal.bytes as f64);
        page.one(
            "journal_budget_bytes",
            "gauge",
            "Most bytes the journal may hold.",
            journal.disk_budget_bytes as f64,
        );
        page.one("journal_segments", "gauge", "Files of the journal.", journal.segments as f64);
    }

    fn door_metrics(&self, page: &mut Page) {
        let Some(door) = &self.door else { return };
        let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed) as f64;
        page.counter("receiver_requests", "Requests, whatever became of them.");
        page.value("receiver_requests_total", &[("transport", "grpc")], load(&door.grpc_requests));
        page.value("receiver_requests_total", &[("transport", "http")], load(&door.http_requests));
        page.total("receiver_accepted_requests", "Requests answered with success.", load(&door.accepted));
        page.total(
            "receiver_rejected_items",
            "Spans and log records left out of accepted requests.",
            load(&door.rejected_items),
        );
        page.counter("receiver_refused_requests", "Requests refused, by reason.");
        for refusal in Refusal::ALL {
            page.value(
                "receiver_refused_requests_total",
                &[("reason", refusal.name())],
                door.refused(refusal) as f64,
            );
        }
        page.total("receiver_wire_bytes", "Body bytes as they came over the wire.", load(&door.wire_bytes));
        page.one(
            "receiver_in_flight_bytes",
            "gauge",
            "Bytes of requests in flight.",
            load(&door.in_flight_bytes),
        );
        page.one(
            "receiver_in_flight_requests",
            "gauge",
            "Requests in flight.",
            load(&door.in_flight_requests),
        );
        page.one("receiver_open_connections", "gauge", "Open connections.", load(&door.open_connections));
        page.total(
            "receiver_refused_connections",
            "Connections refused at the limit.",
            load(&door.connections_refused),
        );
        page.total("receiver_tls_failures", "Failed TLS handshakes.", load(&door.tls_failures));
    }

    fn intake_metrics(&self, page: &mut Page) {
        let intake = self.intake.borrow();
        let decode = &intake.decode;
        page.counter("receiver_accepted_calls", "Rows decoded, by signal.");
        for (signal, n) in Signal::ALL.iter().zip(decode.rows_by_signal) {
            page.value("receiver_accepted_calls_total", &[("signal", signal.as_str())], n as f64);
        }
        let counts = [
            ("decode_without_source", "Calls without a known source.", decode.without_source),
            ("decode_without_destination", "Calls without a known destination.", decode.without_destination),
            (
                "decode_server_spans_unjoined",
                "Server spans whose caller was not found.",
                decode.server_spans_unjoined,
            ),
            ("decode_values_cut", "Attribute values cut to the limit.", decode.values_cut),
            ("decode_attributes_dropped", "Attributes beyond the limit.", decode.attributes_dropped),
            ("decode_malformed_requests", "Requests that could not be read.", decode.requests_malformed),
        ];
        for (name, help, n) in counts {
            page.total(name, help, n as f64);
        }
        page.counter("redaction_hits", "Values redacted, by rule, action and kind of field.");
        for hit in &intake.redactions {
            let labels = [("rule", hit.rule.as_str()), ("action", hit.action), ("field", hit.field)];
            page.value("redaction_hits_total", &labels, hit.count as f64);
        }
        let rules = *self.rules.borrow();
        page.counter(
            "redaction_reloads",
            "Times that files of rules or keys were read again, by what came of it.",
        );
        page.value("redaction_reloads_total", &[("result", "applied")], rules.applied as f64);
        page.value("redaction_reloads_total", &[("result", "refused")], rules.refused as f64);
        page.one(
            "redaction_rules_stale",
            "gauge",
            "1 while the files of rules or keys are refused and the rules before them hold.",
            f64::from(u8::from(rules.problems > 0)),
        );
    }

    fn canary_metrics(&self, page: &mut Page) {
        let Some(canary) = &self.canary else { return };
        let canary = canary.borrow();
        page.total("canary_sent", "Redaction canaries sent.", canary.sent as f64);
        page.counter("canary_checked", "Redaction canaries that came back and were looked at, by place.");
        for (place, n) in &canary.checked {
            page.value("canary_checked_total", &[("place", place)], *n as f64);
        }
        page.counter("canary_leaked_values", "Values of canaries that could be read, by place and kind.");
        for ((place, kind), n) in &canary.leaked {
            page.value("canary_leaked_values_total", &[("place", place), ("kind", kind)], *n as f64);
        }
        page.total(
            "canary_missing",
            "Redaction canaries that did not come back in time.",
            canary.missing as f64,
        );
        let last = canary.last_success.map_or(0, EventTime::unix_seconds);
        page.one(
            "canary_last_success_seconds",
            "gauge",
            "When a canary last came through with nothing in it readable, seconds since the epoch; 0 if never.",
            last as f64,
        );
    }

    fn detect_metrics(&self, page: &mut Page) {
        let detect = self.detect.borrow();
        let stats = &detect.engines;
        page.one("baseline_pairs", "gauge", "Pairs with a baseline.", stats.pairs as f64);
        page.total("detect_calls", "Calls judged and learned.", stats.calls as f64);
        page.total(
            "detect_withheld_claims",
            "Claims that went no farther than findings that were marked false.",
            stats.withheld as f64,
        );
        page.total(
            "detect_late_calls",
            "Calls that came after their window had closed.",
            stats.late_calls as f64,
        );
        page.total(
            "detect_unattributed_calls",
            "Calls without source or destination, not judged.",
            stats.unattributed as f64,
        );
        page.total("detect_windows", "Windows closed.", stats.windows_closed as f64);
        page.total("detect_overflowed_calls", "Calls of pairs beyond the limit.", stats.overflowed as f64);
        page.counter("findings", "Findings opened, by kind.");
        for (kind, n) in &stats.findings {
            page.value("findings_total", &[("kind", kind.as_str())], *n as f64);
        }
        page.gauge("detector_tests_per_day", "Windows that a kind of finding is tested on in a day.");
        page.gauge("detector_tail_scores", "Scores below 0.001 in windows not reported, of the last weeks.");
        page.gauge("detector_tail_scores_expected", "How many of them the model of the detector expects.");
        page.gauge(
            "detector_tail_stretch",
            "How many times further than its model the tail reaches, at least 1.",
        );
        page.gauge(
            "detector_threshold",
            "Probability by the model below which a window of an hour is reported.",
        );
        for row in &detect.calibration {
            let kind = [("kind", row.kind.as_str())];
            page.value("detector_tests_per_day", &kind, row.tests_per_day);
            page.value("detector_tail_scores", &kind, row.seen);
            page.value("detector_tail_scores_expected", &kind, row.expected);
            page.value("detector_tail_stretch", &kind, row.stretch);
            page.value("detector_threshold", &kind, row.threshold);
        }
    }

    fn output_metrics(&self, page: &mut Page) {
        self.exporter_metrics(page);
        if let Some(archive) = &self.archive {
            let archive = archive.borrow();
            page.total("archive_rows", "Calls in closed archive files.", archive.rows as f64);
            page.total("archive_bytes", "Bytes of closed archive files.", archive.bytes as f64);
            page.total("archive_files", "Archive files closed.", archive.files as f64);
            page.total("archive_expired_hours", "Hours deleted by retention.", archive.expired_hours as f64);
            page.total(
                "archive_retries",
                "Attempts that failed for want of disk space.",
                archive.retries as f64,
            );
        }
    }
}

impl Gauges {
    fn exporter_metrics(&self, page: &mut Page) {
        page.gauge("exporter_spooled_findings", "Findings that wait for a target.");
        page.gauge("exporter_oldest_spooled_seconds", "How long the oldest of them has waited.");
        page.gauge("exporter_spool_bytes", "Bytes of an exporter's spool.");
        page.gauge("exporter_spool_budget_bytes", "Most bytes it may hold; beyond it detection waits.");
        page.counter(
            "exporter_produced_findings",
            "Findings handed to an exporter: delivered, spooled or dead-lettered.",
        );
        page.counter("exporter_delivered_findings", "Findings that a target has taken.");
        page.counter("exporter_dead_lettered_findings", "Findings that a target will never take.");
        page.counter("exporter_retries", "Failed attempts.");
        page.gauge(
            "exporter_state",
            "1 for what the delivery is doing: ready, retrying, refused or stopped.",
        );
        page.gauge("exporter_circuit_open", "1 while a target is asked with one finding at a time.");
        page.gauge("exporter_refused", "1 while a target refuses us and an operator must act.");
        for sink in &self.sinks {
            let (name, stats) = ([("exporter", sink.name())], sink.stats());
            let age = stats.oldest_spooled_at.map_or(0.0, |at| (self.clock)().since(at).as_secs_f64());
            page.value("exporter_spooled_findings", &name, stats.spooled as f64);
            page.value("exporter_oldest_spooled_seconds", &name, age);
            page.value("exporter_spool_bytes", &name, stats.spool_bytes as f64);
            page.value("exporter_spool_budget_bytes", &name, stats.budget_bytes as f64);
            page.value("exporter_produced_findings_total", &name, stats.produced as f64);
            page.value("exporter_delivered_findings_total", &name, stats.delivered as f64);
            page.value("exporter_dead_lettered_findings_total", &name, stats.dead_lettered as f64);
            page.value("exporter_retries_total", &name, stats.retries as f64);
            for state in SinkState::ALL {
                let labels = [("exporter", sink.name()), ("state", state.as_str())];
                page.value("exporter_state", &labels, f64::from(u8::from(stats.state == state)));
            }
            page.value("exporter_circuit_open", &name, f64::from(u8::from(stats.circuit_open)));
            let refused = stats.state == SinkState::Refused;
            page.value("exporter_refused", &name, f64::from(u8::from(refused)));
        }
    }
}

/// Prometheus' text format; every name begins with `lapwing_`.
struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string cannot fail.
        let _infallible = writeln!(self.0, "# HELP lapwing_{name} {help}\n# TYPE lapwing_{name} {kind}");
    }

    fn gauge(&mut self, name: &str, help: &str) {
        self.head(name, "gauge", help);
    }

    fn counter(&mut self, name: &str, help: &str) {
        self.head(&format!("{name}_total"), "counter", help);
    }

    fn value(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<String> = labels
            .iter()
            .map(|(k, v)| format!("{k}=\"{}\"", v.replace('\\', "\\\\").replace('"', "\\\"")))
            .collect();
        let _infallible = if labels.is_empty() {
            writeln!(self.0, "lapwing_{name} {value}")
        } else {
            writeln!(self.0, "lapwing_{name}{{{}}} {value}", labels.join(","))
        };
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: f64) {
        self.head(name, kind, help);
        self.value(name, &[], value);
    }

    fn total(&mut self, name: &str, help: &str, value: f64) {
        self.one(&format!("{name}_total"), "counter", help, value);
    }
}

/// Bound listeners that do not serve yet.
pub(crate) struct Bound {
    metrics: Option<TcpListener>,
    health: Option<TcpListener>,
}

/// The running endpoints.
pub(crate) struct Servers(Vec<JoinHandle<io::Result<()>>>);

impl Servers {
    pub(crate) async fn bind(metrics: Option<SocketAddr>, health: Option<SocketAddr>) -> io::Result<Bound> {
        Ok(Bound { metrics: bind("metrics", metrics).await?, health: bind("health", health).await? })
    }

    pub(crate) fn stop(self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

impl Bound {
    pub(crate) fn serve(self, gauges: Gauges) -> Servers {
        let metrics = Router::new().route("/metrics", get(metrics_page)).with_state(gauges.clone());
        let health = Router::new()
            .route("/livez", get(|| async { "alive\n" }))
            .route("/readyz", get(ready))
            .route("/", get(ready))
            .with_state(gauges);
        let routers = [(self.metrics, metrics), (self.health, health)];
        let servers = routers.into_iter().filter_map(|(listener, router)| {
            listener.map(|listener| tokio::spawn(async move { axum::serve(listener, router).await }))
        });
        Servers(servers.collect())
    }
}

async fn bind(what: &str, address: Option<SocketAddr>) -> io::Result<Option<TcpListener>> {
    let Some(address) = address else { return Ok(None) };
    TcpListener::bind(address)
        .await
        .map(Some)
        .map_err(|e| io::Error::new(e.kind(), format!("{what} on {address}: {e}")))
}

async fn metrics_page(State(gauges): State<Gauges>) -> ([(header::HeaderName, &'static str); 1], String) {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], gauges.text())
}

async fn ready(State(gauges): State<Gauges>) -> (StatusCode, String) {
    let reasons = gauges.not_ready();
    if reasons.is_empty() {
        let details = gauges.details().into_iter().map(|detail| format!("{detail}\n"));
        (StatusCode::OK, std::iter::once("ready\n".to_owned()).chain(details).collect())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {}\n", reasons.join("; ")))
    }
}
