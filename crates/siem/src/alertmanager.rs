//! Prometheus Alertmanager, API v2: `POST /api/v2/alerts`.
//!
//! An alert is its label set and a state, not an event: it is told again while it is open, and ends at
//! `endsAt`. So labels hold nothing that changes from revision to revision but the severity, and when that
//! changes, the alert under the old severity is ended.
//!
//! Alertmanager forgets its alerts when it restarts, so what is open is told again every
//! `resend_interval`. What is open is kept in memory: after a restart of lapwing, `hold` keeps an alert from
//! being resolved although its finding is still open, and the next revision takes it up again.

use std::collections::BTreeMap;
use std::time::Duration;

use lapwing_telemetry::{Clock, EventTime, Finding, FindingState};
use serde_json::{Value, json};

use crate::http::{Answer, Dialect, HttpSettings, HttpSink, Request, Step, Verdict};
use crate::kinds::{self, facts};
use crate::{Context, scales, subject};

/// What is particular to Alertmanager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertmanagerSettings {
    /// How far ahead of now an open alert's `endsAt` lies.
    pub hold: Duration,
    /// Time after which what is open is told again; longer pauses are possible while findings flow.
    pub resend_interval: Duration,
    /// Most findings that are told again; of more, the ones with the lowest ids are left out and end after
    /// `hold`.
    pub max_open: usize,
}

/// Makes a sink that raises an alert for each finding and ends it when the finding closes.
///
/// Durable means: Alertmanager has it in memory. The same alert told twice is one alert.
pub fn alertmanager_sink(
    http: HttpSettings,
    settings: AlertmanagerSettings,
    context: Context,
    clock: Clock,
) -> HttpSink {
    // It reads no compressed bodies.
    let http = HttpSettings { url: http.url.ending("/api/v2/alerts"), gzip: false, ..http };
    let dialect =
        Alertmanager { settings, context, clock, open: BTreeMap::new(), sent: Vec::new(), due: None };
    HttpSink::with(http, Box::new(dialect))
}

struct Alertmanager {
    settings: AlertmanagerSettings,
    context: Context,
    clock: Clock,
    /// The alerts that are open at Alertmanager, by finding.
    open: BTreeMap<String, Value>,
    /// What the request under way changes about them: `None` closes.
    sent: Vec<(String, Option<Value>)>,
    /// When what is open is told again.
    due: Option<EventTime>,
}

impl Alertmanager {
    fn alert(&self, finding: &Finding) -> Value {
        let name = alert_name(finding);
        let labels: BTreeMap<&str, &str> = [
            ("alertname", Some(name.as_str())),
            ("severity", Some(scales(finding.severity).alertmanager)),
            ("finding_id", Some(finding.id.as_str())),
            ("kind", Some(finding.kind.as_str())),
            ("cluster", Some(finding.cluster.as_str())),
            ("source_service", finding.source.as_deref()),
            ("destination_service", finding.destination.as_deref()),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)))
        .collect();
        let techniques: Vec<&str> = kinds::attacks(finding).iter().map(|a| a.technique.0).collect();
        let annotations: BTreeMap<&str, String> = [
            ("summary", Some(format!("{}: {}", facts(finding.kind).title, subject(finding)))),
            ("description", Some(finding.explanation.clone())),
            ("first_steps", Some(facts(finding.kind).first_steps.to_owned())),
            ("runbook_url", self.context.runbook(finding)),
            ("revision", Some(finding.revision.to_string())),
            ("lapwing_severity", Some(finding.severity.as_str().to_owned())),
            ("incident", Some(finding.incident.clone())),
            ("mitre_techniques", Some(techniques.join(",")).filter(|list| !list.is_empty())),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)))
        .collect();
        json!({
            "labels": labels,
            "annotations": annotations,
            "startsAt": finding.opened_at.to_string(),
        })
    }

    fn ending(&self, mut alert: Value, at: EventTime) -> Value {
        alert["endsAt"] = json!(at.to_string());
        alert
    }

    fn next_due(&self) -> EventTime {
        (self.clock)().plus(self.settings.resend_interval)
    }
}

impl Dialect for Alertmanager {
    fn part(&self, finding: &Finding) -> Result<Vec<u8>, String> {
        Ok(self.alert(finding).to_string().into_bytes())
    }

    fn request(&mut self, findings: &[Finding], _parts: &[Vec<u8>]) -> Request {
        let now = (self.clock)();
        // The latest revision of each finding alone: an alert is a state.
        let latest: BTreeMap<&str, &Finding> = findings.iter().map(|f| (f.id.as_str(), f)).collect();
        let mut alerts = Vec::new();
        self.sent.clear();
        for (id, finding) in latest {
            let alert = self.alert(finding);
            if let Some(before) = self.open.get(id)
                && before["labels"] != alert["labels"]
            {
                alerts.push(self.ending(before.clone(), now));
            }
            let closed = finding.state == FindingState::Close;
            let ends = if closed { now } else { now.plus(self.settings.hold) };
            alerts.push(self.ending(alert.clone(), ends));
            self.sent.push((id.to_owned(), (!closed).then_some(alert)));
        }
        Request::new("application/json", Value::from(alerts).to_string().into_bytes())
    }

    fn judge(&mut self, _answer: &Answer, _count: usize) -> Step {
        for (id, alert) in self.sent.drain(..) {
            match alert {
                Some(alert) => self.open.insert(id, alert),
                None => self.open.remove(&id),
            };
        }
        while self.open.len() > self.settings.max_open {
            self.open.pop_first();
        }
        if self.due.is_none() {
            self.due = Some(self.next_due());
        }
        Step::Known(Verdict::Taken)
    }

    fn overhead(&self) -> usize {
        // `endsAt`, and perhaps the end of the alert under another severity.
        1_100
    }

    fn next_reminder(&mut self) -> Option<(Duration, Request)> {
        if self.open.is_empty() {
            self.due = None;
            return None;
        }
        let now = (self.clock)();
        let after = self.due.unwrap_or(now).since(now);
        let ends = now.plus(after).plus(self.settings.hold);
        let alerts: Vec<Value> = self.open.values().map(|alert| self.ending(alert.clone(), ends)).collect();
        Some((after, Request::new("application/json", Value::from(alerts).to_string().into_bytes())))
    }

    fn reminded(&mut self) {
        self.due = Some(self.next_due());
    }
}

/// `Lapwing` and the kind in one word, for example `LapwingNewPair`.
fn alert_name(finding: &Finding) -> String {
    let words = finding.kind.as_str().split('_');
    let capitals = words.flat_map(|word| {
        let (first, rest) = word.split_at(1);
        [first.to_ascii_uppercase(), rest.to_owned()]
    });
    std::iter::once("Lapwing".to_owned()).chain(capitals).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use lapwing_telemetry::Severity;

    use super::*;
    use crate::fixture::{context, findings};

    fn dialect() -> Alertmanager {
        let now = EventTime::parse_rfc3339("2026-11-02T12:00:00Z").unwrap();
        Alertmanager {
            settings: AlertmanagerSettings {
                hold: Duration::from_secs(3_600),
                resend_interval: Duration::from_secs(60),
                max_open: 2,
            },
            context: context(),
            clock: Arc::new(move || now),
            open: BTreeMap::new(),
            sent: Vec::new(),
            due: None,
        }
    }

    fn alerts(dialect: &mut Alertmanager, findings: &[Finding]) -> Vec<Value> {
        let body = dialect.request(findings, &[]).body;
        dialect.judge(&Answer { status: 200, retry_after: None, body: bytes::Bytes::new() }, findings.len());
        serde_json::from_slice(&body).unwrap()
    }

    #[test]
    fn the_label_set_is_the_same_over_a_findings_life_and_its_end_is_told() {
        let mut dialect = dialect();
        let life: Vec<Value> =
            findings()[..3].iter().flat_map(|f| alerts(&mut dialect, std::slice::from_ref(f))).collect();
        let ends: Vec<&str> = life.iter().map(|alert| alert["endsAt"].as_str().unwrap()).collect();
        let hold = "2026-11-02T13:00:00.000000Z";
        assert_eq!(ends, [hold, hold, "2026-11-02T12:00:00.000000Z"]);
        assert!(life.iter().all(|alert| alert["labels"] == life[0]["labels"]));
        assert!(dialect.open.is_empty() && dialect.next_reminder().is_none());
        // In one request only the latest counts.
        assert_eq!(alerts(&mut dialect, &findings()[..3]).len(), 1);
    }

    #[test]
    fn a_new_severity_ends_the_alert_under_the_old_one() {
        let mut dialect = dialect();
        let mut finding = findings().swap_remove(0);
        alerts(&mut dialect, std::slice::from_ref(&finding));
        finding.severity = Severity::Critical;
        let got = alerts(&mut dialect, &[finding]);
        let said: Vec<_> = got
            .iter()
            .map(|a| (a["labels"]["severity"].as_str().unwrap(), &a["endsAt"].as_str().unwrap()[11..13]))
            .collect();
        assert_eq!(said, [("warning", "12"), ("critical", "13")]);
    }

    #[test]
    fn what_is_open_is_told_again_and_no_more_than_the_limit() {
        let mut dialect = dialect();
        alerts(&mut dialect, &findings()[3..9]);
        let (after, request) = dialect.next_reminder().unwrap();
        assert_eq!(after, Duration::from_secs(60));
        let told: Vec<Value> = serde_json::from_slice(&request.body).unwrap();
        assert_eq!(told.len(), 2);
        assert!(told.iter().all(|alert| alert["endsAt"] == "2026-11-02T13:01:00.000000Z"));
    }
}
