//! Microsoft Sentinel by the Logs Ingestion API of Azure Monitor.
//!
//! <https://learn.microsoft.com/azure/azure-monitor/logs/logs-ingestion-api-overview>. One row of a custom table
//! for each revision; a data collection rule maps the stream to the table. Rows have flat columns whose names
//! are those of Microsoft's advanced security information model where it has one.

use lapwing_telemetry::Finding;
use serde_json::{Value, json};

use crate::http::{Answer, Dialect, HttpSettings, HttpSink, Request, Step, Verdict};
use crate::kinds::{self, facts};
use crate::{Context, scales, subject};

/// What is particular to the ingestion API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentinelSettings {
    /// `immutableId` of the data collection rule, for example `dcr-000a00a000a00000a000000aa000a0aa`.
    pub rule_id: String,
    /// The rule's stream, for example `Custom-LapwingFindings`.
    pub stream: String,
}

/// The largest body that the API takes, before compression.
pub const MAX_SENTINEL_BYTES: usize = 1 << 20;

/// Makes a sink that adds one row for each revision.
///
/// Durable means: the API has accepted it (204). There is no key: a row that was sent twice is there twice,
/// with the same `FindingEventId`.
pub fn sentinel_sink(http: HttpSettings, settings: &SentinelSettings, context: Context) -> HttpSink {
    let path = format!("/dataCollectionRules/{}/streams/{}", settings.rule_id, settings.stream);
    let max_request_bytes = http.max_request_bytes.min(MAX_SENTINEL_BYTES);
    let http = HttpSettings { url: http.url.ending(&path), max_request_bytes, ..http };
    HttpSink::with(http, Box::new(Sentinel { context }))
}

struct Sentinel {
    context: Context,
}

impl Dialect for Sentinel {
    fn part(&self, finding: &Finding) -> Result<Vec<u8>, String> {
        Ok(sentinel_row(finding, &self.context).to_string().into_bytes())
    }

    fn request(&mut self, _findings: &[Finding], parts: &[Vec<u8>]) -> Request {
        let body = [b"[", &parts.join(&b',')[..], b"]"].concat();
        Request { query: "api-version=2023-01-01".to_owned(), ..Request::new("application/json", body) }
    }

    fn judge(&mut self, _answer: &Answer, _count: usize) -> Step {
        Step::Known(Verdict::Taken)
    }

    fn overhead(&self) -> usize {
        2
    }
}

/// A finding's revision as a row of the table.
pub fn sentinel_row(finding: &Finding, context: &Context) -> Value {
    let attacks = kinds::attacks(finding);
    let list = |of: fn(&kinds::Attack) -> String| attacks.iter().map(of).collect::<Vec<_>>().join(",");
    json!({
        "TimeGenerated": finding.revised_at().to_string(),
        "FindingId": finding.id,
        "FindingEventId": finding.event_id(),
        "Revision": finding.revision,
        "State": finding.state.as_str(),
        "Kind": finding.kind.as_str(),
        "Detector": finding.detector,
        "Title": format!("{}: {}", facts(finding.kind).title, subject(finding)),
        "Description": finding.explanation,
        "Severity": scales(finding.severity).sentinel,
        "RiskScore": scales(finding.severity).risk_score,
        "Score": finding.score,
        "Confidence": finding.confidence,
        "Cluster": finding.cluster,
        "SourceService": finding.source,
        "DestinationService": finding.destination,
        // As analytics rules read them from a column: without spaces.
        "Tactics": list(|attack| attack.tactic.1.replace(' ', "")),
        "Techniques": list(|attack| attack.technique.0.to_owned()),
        "Incident": finding.incident,
        "Origins": finding.origins,
        "StartTime": finding.window_start.to_string(),
        "EndTime": finding.window_end.to_string(),
        "OpenedTime": finding.opened_at.to_string(),
        "ClosedTime": finding.closed_at.map(|time| time.to_string()),
        "Observed": finding.observed,
        "Expected": finding.expected,
        "Unit": finding.unit,
        "FirstSteps": facts(finding.kind).first_steps,
        "Url": context.runbook(finding),
        "Evidence": finding.exemplars,
        "EventProduct": "lapwing",
        "EventProductVersion": context.product_version,
    })
}
