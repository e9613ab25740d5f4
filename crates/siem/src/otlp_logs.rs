//! Findings as OpenTelemetry log records: OTLP over HTTP, binary protobuf.
//!
//! <https://opentelemetry.io/docs/specs/otlp/#otlphttp>. One record for each revision, with
//! `event_name` `lapwing.finding`; attributes follow the semantic conventions where there is one.

use std::collections::BTreeMap;

use lapwing_telemetry::{Exemplar, Fate, Finding};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;

use crate::http::{Answer, Dialect, HttpSettings, HttpSink, Request, Step, Verdict};
use crate::kinds::{self, facts};
use crate::{Context, scales, subject};

/// Makes a sink that exports one log record for each revision.
///
/// Durable means what the receiver means by success. Records that it rejects in `partial_success` are looked
/// for by sending halves, and the one that is rejected alone is set aside.
pub fn otlp_sink(http: HttpSettings, context: Context) -> HttpSink {
    let http = HttpSettings { url: http.url.ending("/v1/logs"), ..http };
    HttpSink::with(http, Box::new(OtlpLogs { context }))
}

struct OtlpLogs {
    context: Context,
}

impl Dialect for OtlpLogs {
    fn part(&self, finding: &Finding) -> Result<Vec<u8>, String> {
        Ok(record(finding, &self.context).encode_to_vec())
    }

    fn request(&mut self, findings: &[Finding], _parts: &[Vec<u8>]) -> Request {
        Request::new("application/x-protobuf", logs_request(findings, &self.context).encode_to_vec())
    }

    fn judge(&mut self, answer: &Answer, count: usize) -> Step {
        let rejected = ExportLogsServiceResponse::decode(answer.body.clone())
            .ok()
            .and_then(|body| body.partial_success)
            .map_or(0, |partial| partial.rejected_log_records);
        Step::Known(match usize::try_from(rejected) {
            Ok(0) | Err(_) => Verdict::Taken,
            Ok(n) if n >= count => Verdict::Each(
                vec![Fate::Rejected("rejected in partial_success".to_owned()); count],
                String::new(),
            ),
            Ok(_) => Verdict::Split("rejected in partial_success".to_owned()),
        })
    }

    fn overhead(&self) -> usize {
        // Tag and length of a record, and its part of the resource's name.
        96
    }
}

/// Findings as one export request; one resource for each cluster.
pub fn logs_request(findings: &[Finding], context: &Context) -> ExportLogsServiceRequest {
    let mut clusters: BTreeMap<&str, Vec<LogRecord>> = BTreeMap::new();
    for finding in findings {
        clusters.entry(&finding.cluster).or_default().push(record(finding, context));
    }
    let resource_logs = clusters.into_iter().map(|(cluster, log_records)| ResourceLogs {
        resource: Some(Resource {
            attributes: vec![
                text("service.name", "lapwing"),
                text("service.version", &context.product_version),
                text("host.name", &context.hostname),
                text("k8s.cluster.name", cluster),
            ],
            ..Resource::default()
        }),
        scope_logs: vec![ScopeLogs {
            scope: Some(InstrumentationScope {
                name: "lapwing.findings".to_owned(),
                version: context.product_version.clone(),
                ..InstrumentationScope::default()
            }),
            log_records,
            schema_url: String::new(),
        }],
        schema_url: String::new(),
    });
    ExportLogsServiceRequest { resource_logs: resource_logs.collect() }
}

fn record(finding: &Finding, context: &Context) -> LogRecord {
    let severity = scales(finding.severity).otlp;
    let call = finding.exemplars.first();
    let id = |of: fn(&Exemplar) -> Option<&String>, bytes| {
        call.and_then(of).and_then(|hex| unhex(hex)).filter(|id| id.len() == bytes).unwrap_or_default()
    };
    let nanos = finding.revised_at().unix_nanos();
    LogRecord {
        time_unix_nano: nanos,
        observed_time_unix_nano: nanos,
        severity_number: severity,
        severity_text: finding.severity.as_str().to_uppercase(),
        body: Some(AnyValue { value: Some(Any::StringValue(finding.explanation.clone())) }),
        attributes: attributes(finding, context),
        trace_id: id(|call| call.trace_id.as_ref(), 16),
        span_id: id(|call| call.span_id.as_ref(), 8),
        event_name: "lapwing.finding".to_owned(),
        ..LogRecord::default()
    }
}

fn attributes(finding: &Finding, context: &Context) -> Vec<KeyValue> {
    let techniques: Vec<&str> = kinds::attacks(finding).iter().map(|a| a.technique.0).collect();
    let title = format!("{}: {}", facts(finding.kind).title, subject(finding));
    let event_id = finding.event_id();
    let texts = [
        ("log.record.uid", Some(event_id.as_str())),
        ("finding.id", Some(finding.id.as_str())),
        ("finding.state", Some(finding.state.as_str())),
        ("finding.kind", Some(finding.kind.as_str())),
        ("finding.detector", Some(finding.detector.as_str())),
        ("finding.severity", Some(finding.severity.as_str())),
        ("finding.title", Some(title.as_str())),
        ("finding.incident", Some(finding.incident.as_str())),
        ("finding.unit", Some(finding.unit.as_str())),
        ("finding.made_by", Some(finding.made_by.as_str())),
        ("source.service.name", finding.source.as_deref()),
        ("destination.service.name", finding.destination.as_deref()),
        ("threat.technique.id", Some(techniques.join(",")).as_deref().filter(|list| !list.is_empty())),
        ("finding.runbook", context.runbook(finding).as_deref()),
    ]
    .into_iter()
    .filter_map(|(key, value)| Some(text(key, value?)))
    .collect::<Vec<_>>();
    let numbers = [
        ("finding.score", finding.score),
        ("finding.confidence", finding.confidence),
        ("finding.observed", finding.observed),
        ("finding.expected", finding.expected),
    ];
    let numbers = numbers.into_iter().map(|(key, value)| attribute(key, Any::DoubleValue(value)));
    let revision = attribute("finding.revision", Any::IntValue(i64::from(finding.revision)));
    texts.into_iter().chain([revision]).chain(numbers).collect()
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Any::StringValue(value.to_owned()))
}

fn attribute(key: &str, value: Any) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).ok()).collect()
}
