//! OCSF 1.8.0, class 2004 Detection Finding, profile `security_control`.
//!
//! Schema: <https://schema.ocsf.io/1.8.0/classes/detection_finding>. Times are milliseconds since the epoch.
//! `time` is the moment of the revision; the finding's creation is `finding_info.created_time`. What the
//! class has no place for (the numbers, as numbers) is under `unmapped`.

use lapwing_telemetry::{Exemplar, Finding, FindingState};
use serde_json::{Value, json};

use crate::kinds::{self, ATTACK_VERSION, Attack, facts, namespace};
use crate::{Context, number, scales, subject};

/// The version of the schema that [`ocsf()`] writes.
pub const SCHEMA_VERSION: &str = "1.8.0";

/// The address of the schema, for envelopes that name one.
pub const SCHEMA_URL: &str = "https://schema.ocsf.io/1.8.0/classes/detection_finding";

/// A finding's revision as an OCSF Detection Finding: create, update or close.
pub fn ocsf(finding: &Finding, context: &Context) -> Value {
    let techniques: Vec<Value> = kinds::attacks(finding).iter().map(attack).collect();
    let mut event = Value::Object(
        [classification(finding), judgement(finding), subject_matter(finding, context)]
            .into_iter()
            .filter_map(|part| if let Value::Object(map) = part { Some(map) } else { None })
            .flatten()
            .collect(),
    );
    event["metadata"] = metadata(finding, context);
    event["finding_info"] = finding_info(finding, &techniques);
    // The schema asks for the techniques in both places when the profile is used.
    event["attacks"] = techniques.into();
    prune(&mut event);
    event
}

/// Which class and activity, and when.
fn classification(finding: &Finding) -> Value {
    let activity = activity(finding.state);
    json!({
        "category_uid": 2,
        "category_name": "Findings",
        "class_uid": 2004,
        "class_name": "Detection Finding",
        "activity_id": activity.id,
        "activity_name": activity.name,
        "type_uid": 200_400 + u64::from(activity.id),
        "type_name": format!("Detection Finding: {}", activity.name),
        "status_id": activity.status.0,
        "status": activity.status.1,
        "is_alert": finding.state != FindingState::Close,
        "time": finding.revised_at().unix_millis(),
        "start_time": finding.window_start.unix_millis(),
        "end_time": finding.window_end.unix_millis(),
    })
}

/// How bad, how sure, and what was done about it: nothing, lapwing only watches.
fn judgement(finding: &Finding) -> Value {
    let scale = scales(finding.severity);
    let confidence = confidence(finding.confidence);
    json!({
        "severity_id": scale.ocsf.0,
        "severity": scale.ocsf.1,
        "confidence_id": confidence.0,
        "confidence": confidence.1,
        "confidence_score": percent(finding.confidence),
        "risk_level_id": scale.risk_level.0,
        "risk_level": scale.risk_level.1,
        "risk_score": scale.risk_score,
        "action_id": 3,
        "action": "Observed",
        "disposition_id": 15,
        "disposition": "Detected",
    })
}

/// What was seen, between whom, and what to do.
fn subject_matter(finding: &Finding, context: &Context) -> Value {
    json!({
        "message": finding.explanation,
        "anomaly_analyses": [anomaly_analysis(finding)],
        "evidences": evidences(finding),
        "resources": resources(finding),
        "observables": observables(finding),
        "remediation": {
            "desc": facts(finding.kind).first_steps,
            "references": context.runbook(finding).into_iter().collect::<Vec<_>>(),
        },
        "unmapped": {
            "kind": finding.kind.as_str(),
            "origins": finding.origins,
            "score": finding.score,
            "observed": finding.observed,
            "expected": finding.expected,
            "expected_low": finding.expected_low,
            "expected_high": finding.expected_high,
            "unit": finding.unit,
            "signal": finding.signal.map(lapwing_telemetry::Signal::as_str),
        },
    })
}

/// Leaves out what a reader can do without, one thing after another, until the event's JSON has at most
/// `max_bytes`; the text of what stays is never cut. Evidence goes first, the latest call before the
/// earliest. Returns false if the event is too long even so.
pub(crate) fn fit(event: &mut Value, max_bytes: usize) -> bool {
    let full_bytes = json_bytes(event);
    if full_bytes <= max_bytes {
        return true;
    }
    event["metadata"]["is_truncated"] = json!(true);
    // The schema counts kilobytes.
    event["metadata"]["untruncated_size"] = json!(full_bytes.div_ceil(1024));
    while let Some(evidences) = event.get_mut("evidences").and_then(Value::as_array_mut) {
        evidences.pop();
        if evidences.is_empty() {
            remove(event, &["evidences"]);
        }
        if json_bytes(event) <= max_bytes {
            return true;
        }
    }
    // `desc` repeats `message`; the last ones are in `unmapped` and `finding_info` in other words.
    for path in [
        &["finding_info", "related_events"][..],
        &["finding_info", "desc"],
        &["remediation"],
        &["observables"],
        &["anomaly_analyses"],
    ] {
        remove(event, path);
        if json_bytes(event) <= max_bytes {
            return true;
        }
    }
    false
}

struct Activity {
    id: u8,
    name: &'static str,
    status: (u8, &'static str),
}

fn activity(state: FindingState) -> Activity {
    match state {
        FindingState::Open => Activity { id: 1, name: "Create", status: (1, "New") },
        FindingState::Update => Activity { id: 2, name: "Update", status: (2, "In Progress") },
        FindingState::Close => Activity { id: 3, name: "Close", status: (4, "Resolved") },
    }
}

fn percent(share: f64) -> u8 {
    (share.clamp(0.0, 1.0) * 100.0).round() as u8
}

/// Thirds of the scale: the schema has three words and gives them no numbers.
fn confidence(share: f64) -> (u8, &'static str) {
    match percent(share) {
        0..=33 => (1, "Low"),
        34..=66 => (2, "Medium"),
        _ => (3, "High"),
    }
}

fn metadata(finding: &Finding, context: &Context) -> Value {
    json!({
        "version": SCHEMA_VERSION,
        "uid": finding.event_id(),
        "correlation_uid": finding.incident,
        "sequence": finding.revision,
        "product": {
            "uid": "lapwing",
            "name": "lapwing",
            "vendor_name": "lapwing",
            "version": context.product_version,
        },
        "profiles": ["security_control"],
        "log_name": "lapwing-findings",
        "log_provider": context.hostname,
        "labels": [format!("cluster={}", finding.cluster)],
    })
}

fn finding_info(finding: &Finding, techniques: &[Value]) -> Value {
    let kind = facts(finding.kind);
    let mut traces: Vec<&str> = finding.exemplars.iter().filter_map(|e| e.trace_id.as_deref()).collect();
    traces.sort_unstable();
    traces.dedup();
    let related: Vec<Value> = traces.iter().map(|id| json!({ "uid": id, "type": "trace" })).collect();
    json!({
        "uid": finding.id,
        "title": format!("{}: {}", kind.title, subject(finding)),
        "desc": finding.explanation,
        "types": [kind.title],
        "created_time": finding.opened_at.unix_millis(),
        "modified_time": finding.revised_at().unix_millis(),
        "last_seen_time": finding.window_end.unix_millis(),
        "analytic": {
            "uid": format!("lapwing.{}.{}", finding.detector, finding.kind),
            "name": kind.title,
            "type_id": kind.analytic.0,
            "type": kind.analytic.1,
            "version": finding.made_by,
        },
        "attacks": techniques,
        "data_sources": finding.signal.iter().map(|s| s.as_str()).collect::<Vec<_>>(),
        "related_events": related,
    })
}

fn attack(attack: &Attack) -> Value {
    json!({
        "version": ATTACK_VERSION,
        "tactic": { "uid": attack.tactic.0, "name": attack.tactic.1 },
        "technique": { "uid": attack.technique.0, "name": attack.technique.1 },
    })
}

fn anomaly_analysis(finding: &Finding) -> Value {
    let kind = facts(finding.kind);
    let targets: Vec<Value> = [&finding.source, &finding.destination]
        .into_iter()
        .flatten()
        .map(|name| json!({ "name": name, "type": "Application Component" }))
        .collect();
    let targets = if targets.is_empty() {
        vec![json!({ "name": finding.cluster, "type": "Kubernetes Cluster" })]
    } else {
        targets
    };
    let value = |v: f64| json!({ "value": format!("{} {}", number(v), finding.unit) });
    json!({
        "analysis_targets": targets,
        "anomalies": [{
            "observation_parameter": kind.parameter,
            "observation_type": kind.analysis,
            "observed_pattern": kind.pattern,
            "observations": [value(finding.observed)],
        }],
        "baselines": [{
            "observation_parameter": kind.parameter,
            "observation_type": kind.analysis,
            "observed_pattern": kind.usual,
            "observations": [value(finding.expected)],
        }],
    })
}

/// One evidence for each exemplar; where there is none, the two ends alone.
fn evidences(finding: &Finding) -> Vec<Value> {
    if finding.exemplars.is_empty() {
        return ends(finding).into_iter().collect();
    }
    finding.exemplars.iter().map(|exemplar| evidence(finding, exemplar)).collect()
}

fn ends(finding: &Finding) -> Option<Value> {
    let (source, destination) = (endpoint(finding.source.as_ref()), endpoint(finding.destination.as_ref()));
    (!source.is_null() || !destination.is_null())
        .then(|| json!({ "name": "pair", "src_endpoint": source, "dst_endpoint": destination }))
}

fn evidence(finding: &Finding, exemplar: &Exemplar) -> Value {
    let (method, path) = split_operation(exemplar.operation.as_deref());
    json!({
        "name": "call",
        "uid": exemplar.span_id,
        "src_endpoint": endpoint(finding.source.as_ref()),
        "dst_endpoint": endpoint(finding.destination.as_ref()),
        "api": exemplar.operation.as_ref().map(|operation| json!({ "operation": operation })),
        // The schema lists the methods it knows; others stand in `api.operation` alone.
        "http_request": method.filter(|m| HTTP_METHODS.contains(m)).map(|method| json!({
            "http_method": method,
            "url": path.map(|path| json!({ "path": path })),
        })),
        "http_response": exemplar.status.map(|code| json!({ "code": code, "latency": exemplar.duration_ms })),
        "data": {
            "started_at": exemplar.started_at.to_string(),
            "duration_ms": exemplar.duration_ms,
            "trace_id": exemplar.trace_id,
            "traceparent": exemplar.traceparent(),
        },
    })
}

/// `evidences[].http_request.http_method` in OCSF 1.8.0.
const HTTP_METHODS: [&str; 9] =
    ["OPTIONS", "GET", "HEAD", "POST", "PUT", "DELETE", "TRACE", "CONNECT", "PATCH"];

/// Method and path of an operation.
pub(crate) fn split_operation(operation: Option<&str>) -> (Option<&str>, Option<&str>) {
    match operation.and_then(|operation| operation.split_once(' ')) {
        Some((method, path)) => (Some(method), Some(path)),
        None => (None, None),
    }
}

fn endpoint(service: Option<&String>) -> Value {
    service.map_or(Value::Null, |name| {
        json!({ "svc_name": name, "domain": namespace(name), "type_id": 99, "type": "Kubernetes workload" })
    })
}

fn resources(finding: &Finding) -> Vec<Value> {
    let resource = |name: &String, role: (u8, &str)| {
        json!({
            "name": name,
            "namespace": namespace(name),
            "type": "Kubernetes Service",
            "role_id": role.0,
            "role": role.1,
        })
    };
    let target = finding.destination.iter().map(|name| resource(name, (1, "Target")));
    let actor = finding.source.iter().map(|name| resource(name, (2, "Actor")));
    target.chain(actor).collect()
}

fn observables(finding: &Finding) -> Vec<Value> {
    let names = [&finding.destination, &finding.source].into_iter().flatten();
    let observable = |name: &String| {
        json!({
            "name": "resources[].name",
            "type_id": 38,
            "type": "Resource Details Object: name",
            "value": name,
        })
    };
    names.map(observable).collect()
}

/// Takes out nulls and what is empty then: the schema knows neither.
pub(crate) fn prune(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.values_mut().for_each(prune);
            map.retain(|_, value| !is_empty(value));
        }
        Value::Array(list) => {
            list.iter_mut().for_each(prune);
            list.retain(|value| !is_empty(value));
        }
        _ => {}
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

fn remove(event: &mut Value, path: &[&str]) {
    let Some((last, parents)) = path.split_last() else { return };
    let mut at = event;
    for name in parents {
        match at.get_mut(name) {
            Some(next) => at = next,
            None => return,
        }
    }
    if let Some(map) = at.as_object_mut() {
        map.remove(*last);
    }
}

fn json_bytes(event: &Value) -> usize {
    event.to_string().len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{context, finding, findings};

    #[test]
    fn a_revision_says_where_in_its_life_it_stands() {
        let life: Vec<_> = findings().into_iter().take(3).map(|f| ocsf(&f, &context())).collect();
        let of = |key: &str| life.iter().map(|event| event[key].clone()).collect::<Vec<_>>();
        assert_eq!(of("activity_id"), [1, 2, 3]);
        assert_eq!(of("type_uid"), [200_401, 200_402, 200_403]);
        assert_eq!(of("status_id"), [1, 2, 4]);
        assert_eq!(of("is_alert"), [true, true, false]);
        assert_eq!(life[0]["finding_info"]["uid"], life[2]["finding_info"]["uid"]);
        assert_eq!(life[2]["finding_info"]["created_time"], life[0]["time"]);
        assert!(life[0]["time"].as_i64() < life[1]["time"].as_i64());
        assert!(life[1]["time"].as_i64() < life[2]["time"].as_i64());
    }

    #[test]
    fn a_cap_drops_evidence_first_and_cuts_no_text() {
        let full = ocsf(&finding(), &context());
        let mut event = full.clone();
        assert!(fit(&mut event, usize::MAX));
        assert_eq!(event, full);

        assert!(fit(&mut event, json_bytes(&full) - 1));
        assert_eq!(event["evidences"].as_array().unwrap()[..], full["evidences"].as_array().unwrap()[..2]);
        assert_eq!(event["metadata"]["is_truncated"], true);
        assert_eq!(event["anomaly_analyses"], full["anomaly_analyses"]);

        assert!(fit(&mut event, 2_600));
        assert_eq!(event.get("evidences"), None);
        assert_eq!(event["message"], full["message"]);
        assert!(!fit(&mut event, 100), "what the class requires stays");
        assert_eq!(event["message"], full["message"]);
    }
}
