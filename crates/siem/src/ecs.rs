//! Elastic Common Schema 9.4: <https://www.elastic.co/docs/reference/ecs>. What it has no field for stands
//! under `lapwing.finding`.
//!
//! `event.kind` is `alert` for the revision that opens a finding and `event` for all that follow: Elastic's
//! rule for external alerts raises one alert for each document of kind `alert`, and one finding is one alert.

use lapwing_telemetry::{Finding, FindingState};
use serde_json::{Value, json};

use crate::kinds::{self, facts, namespace};
use crate::ocsf::{prune, split_operation};
use crate::{Context, scales, subject};

/// The version of ECS that [`ecs()`] writes.
pub const ECS_VERSION: &str = "9.4.0";

/// A finding's revision as an ECS document.
pub fn ecs(finding: &Finding, context: &Context) -> Value {
    let kind = facts(finding.kind);
    let risk = scales(finding.severity).risk_score;
    let runbook = context.runbook(finding);
    let call = finding.exemplars.first();
    let (method, path) = split_operation(call.and_then(|call| call.operation.as_deref()));
    let ends = [&finding.source, &finding.destination];
    let mut document = json!({
        "@timestamp": finding.revised_at().to_string(),
        "ecs": { "version": ECS_VERSION },
        "message": finding.explanation,
        "tags": ["service-mesh", finding.kind.as_str()],
        "labels": { "cluster": finding.cluster, "finding_id": finding.id },
        "event": {
            "kind": if finding.state == FindingState::Open { "alert" } else { "event" },
            "category": ["intrusion_detection", "network"],
            "type": ["info"],
            "action": finding.kind.as_str(),
            "module": "lapwing",
            "dataset": "lapwing.finding",
            "provider": "lapwing",
            "id": finding.event_id(),
            "sequence": finding.revision,
            "severity": risk,
            "risk_score": f64::from(risk),
            "start": finding.window_start.to_string(),
            "end": finding.window_end.to_string(),
            "reason": finding.explanation,
            "reference": runbook,
        },
        "rule": {
            "id": format!("lapwing.{}.{}", finding.detector, finding.kind),
            "name": kind.title,
            "category": kind.analytic.1,
            "description": kind.first_steps,
            "ruleset": finding.detector,
            "version": finding.made_by,
            "reference": runbook,
        },
        "threat": threat(finding),
        "source": { "address": finding.source, "domain": finding.source },
        "destination": { "address": finding.destination, "domain": finding.destination },
        "service": {
            "name": finding.destination.as_ref().or(finding.source.as_ref()),
            "type": "kubernetes",
            "origin": { "name": finding.source },
            "target": { "name": finding.destination },
        },
        "http": {
            "request": { "method": method },
            "response": { "status_code": call.and_then(|call| call.status) },
        },
        "url": { "path": path },
        "trace": { "id": call.and_then(|call| call.trace_id.as_deref()) },
        "span": { "id": call.and_then(|call| call.span_id.as_deref()) },
        "related": { "hosts": ends.into_iter().flatten().collect::<Vec<_>>() },
        "orchestrator": {
            "type": "kubernetes",
            "cluster": { "name": finding.cluster },
            "namespace": finding.destination.as_deref().or(finding.source.as_deref()).and_then(namespace),
        },
        "observer": {
            "vendor": "lapwing",
            "product": "lapwing",
            "version": context.product_version,
            "hostname": context.hostname,
            "type": "ids",
        },
        "lapwing": { "finding": own(finding) },
    });
    prune(&mut document);
    document
}

/// What ECS has no field for.
fn own(finding: &Finding) -> Value {
    json!({
        "id": finding.id,
        "revision": finding.revision,
        "state": finding.state.as_str(),
        "title": format!("{}: {}", facts(finding.kind).title, subject(finding)),
        "severity": finding.severity.as_str(),
        "score": finding.score,
        "confidence": finding.confidence,
        "opened_at": finding.opened_at.to_string(),
        "closed_at": finding.closed_at.map(|time| time.to_string()),
        "signal": finding.signal.map(lapwing_telemetry::Signal::as_str),
        "observed": finding.observed,
        "expected": finding.expected,
        "expected_low": finding.expected_low,
        "expected_high": finding.expected_high,
        "unit": finding.unit,
        "incident": finding.incident,
        "origins": finding.origins,
        "exemplars": finding.exemplars,
    })
}

fn threat(finding: &Finding) -> Value {
    let attacks = kinds::attacks(finding);
    if attacks.is_empty() {
        return Value::Null;
    }
    let list = |of: fn(&kinds::Attack) -> String| attacks.iter().map(of).collect::<Vec<_>>();
    json!({
        "framework": "MITRE ATT&CK",
        "tactic": {
            "id": list(|a| a.tactic.0.to_owned()),
            "name": list(|a| a.tactic.1.to_owned()),
            "reference": list(|a| format!("https://attack.mitre.org/tactics/{}/", a.tactic.0)),
        },
        "technique": {
            "id": list(|a| a.technique.0.to_owned()),
            "name": list(|a| a.technique.1.to_owned()),
            "reference": list(|a| format!("https://attack.mitre.org/techniques/{}/", a.technique.0)),
        },
    })
}
