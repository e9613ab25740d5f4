//! The slow reference: prost decodes, and the same derivation reads its structs. Whatever a request holds and
//! however its bytes are damaged, the walker must give the same rows, or refuse where prost refuses.

mod requests;

use std::sync::{Arc, LazyLock};

use arrow::array::RecordBatch;
use lapwing_telemetry::{Builders, Columns, EventTime};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use proptest::prelude::*;
use prost::Message;

use self::requests::{damaged, damages, logs, traces};
use crate::attributes::{ATTRIBUTES, Role, role_of};
use crate::batch::Batch;
use crate::context::Scope;
use crate::decode::Decoder;
use crate::payload::{Encoding, Payload};
use crate::record::{Kind, Record};
use crate::value::Text;
use crate::{DecodeSettings, Inventory, json};

const NOW: EventTime = EventTime(1_795_310_700_000_000);

// ---- The reference ----

fn render(value: Option<&AnyValue>, inside: bool) -> String {
    let text = |text: &str| if inside { serde_json::to_string(text).unwrap() } else { text.to_owned() };
    match value.and_then(|v| v.value.as_ref()) {
        None | Some(Value::StringValueStrindex(_)) => if inside { "null" } else { "" }.to_owned(),
        Some(Value::StringValue(s)) => text(s),
        Some(Value::BoolValue(b)) => b.to_string(),
        Some(Value::IntValue(i)) => i.to_string(),
        Some(Value::DoubleValue(d)) if d.is_nan() => text("NaN"),
        Some(Value::DoubleValue(d)) if d.is_infinite() => {
            text(if *d > 0.0 { "Infinity" } else { "-Infinity" })
        }
        Some(Value::DoubleValue(d)) => format!("{d:?}"),
        Some(Value::BytesValue(b)) => {
            use base64::Engine;
            text(&base64::engine::general_purpose::STANDARD.encode(b))
        }
        Some(Value::ArrayValue(array)) => {
            let elements: Vec<String> = array.values.iter().map(|v| render(Some(v), true)).collect();
            format!("[{}]", elements.join(","))
        }
        Some(Value::KvlistValue(list)) => {
            let pair = |kv: &KeyValue| {
                format!("{}:{}", serde_json::to_string(&kv.key).unwrap(), render(kv.value.as_ref(), true))
            };
            format!("{{{}}}", list.values.iter().map(pair).collect::<Vec<_>>().join(","))
        }
    }
}

/// Texts that live as long as the test: the reference need not be frugal.
fn keep(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}

fn push(record: &mut Record<'static>, key: String, value: String, role: Role) {
    record.push(Text::Plain(keep(key)), Text::Plain(keep(value)), role);
}

fn push_all(record: &mut Record<'static>, attributes: &[KeyValue]) {
    for kv in attributes {
        push(record, kv.key.clone(), render(kv.value.as_ref(), false), role_of(&kv.key));
    }
}

fn say(record: &mut Record<'static>, name: &str, text: String) {
    if !text.is_empty() {
        push(record, name.to_owned(), text, Role::Other);
    }
}

fn say_count(record: &mut Record<'static>, name: &str, count: u32) {
    say(record, name, if count > 0 { count.to_string() } else { String::new() });
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|b| format!("{b:02x}")).collect()
}

fn span_record(span: &Span) -> Record<'static> {
    let mut record = Record::default();
    record.begin(Kind::Span(span.kind));
    let id = |id: &Vec<u8>| -> &'static [u8] { Box::leak(id.clone().into_boxed_slice()) };
    (record.start_ns, record.end_ns) = (span.start_time_unix_nano, span.end_time_unix_nano);
    (record.trace_id, record.span_id) = (id(&span.trace_id), id(&span.span_id));
    record.parent_span_id = id(&span.parent_span_id);
    push_all(&mut record, &span.attributes);
    for (n, event) in span.events.iter().enumerate() {
        let mut put =
            |name: &str, text: String| push(&mut record, format!("event.{n}.{name}"), text, Role::Other);
        // Protobuf does not send zeros and empty texts.
        if event.time_unix_nano != 0 {
            put("time_unix_nano", event.time_unix_nano.to_string());
        }
        if !event.name.is_empty() {
            put("name", event.name.clone());
        }
        event.attributes.iter().for_each(|kv| put(&kv.key, render(kv.value.as_ref(), false)));
    }
    for (n, link) in span.links.iter().enumerate() {
        let mut put =
            |name: &str, text: String| push(&mut record, format!("link.{n}.{name}"), text, Role::Other);
        let fields = [
            ("trace_id", hex(&link.trace_id)),
            ("span_id", hex(&link.span_id)),
            ("trace_state", link.trace_state.clone()),
        ];
        fields.into_iter().filter(|(_, text)| !text.is_empty()).for_each(|(name, text)| put(name, text));
        link.attributes.iter().for_each(|kv| put(&kv.key, render(kv.value.as_ref(), false)));
    }
    let status = span.status.clone().unwrap_or_default();
    record.status_code = status.code;
    say(&mut record, "name", span.name.clone());
    say(&mut record, "trace_state", span.trace_state.clone());
    say(&mut record, "status.message", status.message);
    let code = match status.code {
        0 => String::new(),
        1 => "ok".to_owned(),
        2 => "error".to_owned(),
        other => other.to_string(),
    };
    say(&mut record, "status.code", code);
    say_count(&mut record, "dropped_attributes_count", span.dropped_attributes_count);
    say_count(&mut record, "dropped_events_count", span.dropped_events_count);
    say_count(&mut record, "dropped_links_count", span.dropped_links_count);
    record
}

/// Bodies of the generated logs are no access logs, so they stay what they are.
fn log_record(log: &LogRecord) -> Record<'static> {
    let mut record = Record::default();
    record.begin(Kind::Log);
    let id = |id: &Vec<u8>| -> &'static [u8] { Box::leak(id.clone().into_boxed_slice()) };
    (record.start_ns, record.observed_ns) = (log.time_unix_nano, log.observed_time_unix_nano);
    (record.trace_id, record.span_id) = (id(&log.trace_id), id(&log.span_id));
    push_all(&mut record, &log.attributes);
    say(&mut record, "body", render(log.body.as_ref(), false));
    say(&mut record, "severity_text", log.severity_text.clone());
    say(
        &mut record,
        "severity_number",
        if log.severity_number != 0 { log.severity_number.to_string() } else { String::new() },
    );
    say(&mut record, "event_name", log.event_name.clone());
    say_count(&mut record, "dropped_attributes_count", log.dropped_attributes_count);
    record
}

fn contexts(
    batch: &mut Batch<'_>,
    resource: Option<&Resource>,
    scope: Option<&InstrumentationScope>,
) -> (Arc<crate::context::Resource>, Scope) {
    let mut record = Record::default();
    push_all(&mut record, resource.map_or(&[][..], |r| &r.attributes));
    let bytes = resource.map(Message::encode_to_vec).unwrap_or_default();
    let resource = batch.resource(&bytes, &record);
    let mut record = Record::default();
    push_all(&mut record, scope.map_or(&[][..], |s| &s.attributes));
    let (name, version) = scope.map_or(("", ""), |s| (&s.name, &s.version));
    (resource, Scope::new(name, version, &record))
}

fn reference_traces(decoder: &mut Decoder, request: &ExportTraceServiceRequest) -> Option<RecordBatch> {
    let mut builders = Builders::new(1);
    let mut batch = Batch::new(&mut decoder.learned, NOW, &mut builders);
    for group in &request.resource_spans {
        for scope_spans in &group.scope_spans {
            let (resource, scope) = contexts(&mut batch, group.resource.as_ref(), scope_spans.scope.as_ref());
            scope_spans.spans.iter().for_each(|span| batch.append(&span_record(span), &resource, &scope));
        }
    }
    builders.finish().pop().map(|(_, raw)| raw.into_batch())
}

fn reference_logs(decoder: &mut Decoder, request: &ExportLogsServiceRequest) -> Option<RecordBatch> {
    let mut builders = Builders::new(1);
    let mut batch = Batch::new(&mut decoder.learned, NOW, &mut builders);
    for group in &request.resource_logs {
        for scope_logs in &group.scope_logs {
            let (resource, scope) = contexts(&mut batch, group.resource.as_ref(), scope_logs.scope.as_ref());
            scope_logs.log_records.iter().for_each(|log| batch.append(&log_record(log), &resource, &scope));
        }
    }
    builders.finish().pop().map(|(_, raw)| raw.into_batch())
}

// ---- The walker ----

fn decoder() -> Decoder {
    static INVENTORY: LazyLock<Arc<Inventory>> = LazyLock::new(|| {
        let workload = "{namespace: shop, service: cart, service_account: sa, addresses: [10.0.0.7]}";
        Arc::new(Inventory::parse(&format!("trust_domain: td\nworkloads: [{workload}]")).unwrap())
    });
    let mut settings = DecodeSettings { max_callers: 256, ..DecodeSettings::default() };
    // The reference knows no limits.
    settings.limits.max_value_bytes = usize::MAX;
    settings.limits.max_attributes_per_record = 10_000;
    Decoder::new(settings, INVENTORY.clone())
}

/// The batch, or that there were no rows, or that the request was refused.
fn walk(
    decoder: &mut Decoder,
    payload: Payload,
    encoding: Encoding,
    body: &[u8],
) -> Result<Option<RecordBatch>, String> {
    let mut builders = Builders::new(1);
    decoder.decode(payload, encoding, body, NOW, &mut builders).map_err(|e| e.reason)?;
    Ok(builders.finish().pop().map(|(_, raw)| raw.into_batch()))
}

/// Everything in a batch, with each row's attributes in alphabetical order.
fn sorted(batch: Option<RecordBatch>) -> Vec<(RecordBatch, Vec<(String, String)>)> {
    let Some(batch) = batch else { return Vec::new() };
    let attributes = batch.num_columns() - 1;
    let calls = lapwing_telemetry::Calls::from_log(batch.clone()).unwrap();
    let columns: Columns<'_> = calls.columns();
    let row = |row| {
        let mut entries: Vec<_> =
            columns.attributes().row(row).map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        entries.sort();
        (batch.slice(row, 1).project(&(0..attributes).collect::<Vec<_>>()).unwrap(), entries)
    };
    (0..batch.num_rows()).map(row).collect()
}

/// What prost makes of the bytes, written again as prost writes; `None` if it refuses them.
fn rewritten(payload: Payload, body: &[u8]) -> Option<Vec<u8>> {
    match payload {
        Payload::Traces => ExportTraceServiceRequest::decode(body).ok().map(|r| r.encode_to_vec()),
        Payload::Logs => ExportLogsServiceRequest::decode(body).ok().map(|r| r.encode_to_vec()),
    }
}

fn check_damaged(payload: Payload, body: &[u8]) -> Result<(), TestCaseError> {
    let ours = walk(&mut decoder(), payload, Encoding::Protobuf, body);
    match rewritten(payload, body) {
        None => prop_assert!(ours.is_err(), "prost refuses what the walker reads"),
        Some(canonical) => {
            let expect = walk(&mut decoder(), payload, Encoding::Protobuf, &canonical);
            prop_assert_eq!(ours.clone().map(sorted), expect.map(sorted), "prost reads: {:?}", ours.err());
        }
    }
    Ok(())
}

/// `inner` as the content of fields of fields.
fn inside(path: &[u32], inner: Vec<u8>) -> Vec<u8> {
    path.iter().rev().fold(inner, |inner, field| {
        let mut outer = Vec::new();
        prost::encoding::bytes::encode(*field, &inner, &mut outer);
        outer
    })
}

#[test]
fn every_field_of_every_message_takes_the_wire_type_that_prost_takes_and_no_other() {
    let common: [&[u32]; 9] =
        [&[], &[1], &[1, 1], &[1, 1, 1], &[1, 1, 1, 2], &[1, 1, 3], &[1, 2], &[1, 2, 1], &[1, 2, 1, 3]];
    let of_traces: [&[u32]; 10] = [
        &[1, 2, 2],
        &[1, 2, 2, 9],
        &[1, 2, 2, 9, 2],
        &[1, 2, 2, 9, 2, 5],
        &[1, 2, 2, 9, 2, 6],
        &[1, 2, 2, 9, 2, 6, 1],
        &[1, 2, 2, 11],
        &[1, 2, 2, 11, 3],
        &[1, 2, 2, 13],
        &[1, 2, 2, 15],
    ];
    let of_logs: [&[u32]; 4] = [&[1, 2, 2], &[1, 2, 2, 5], &[1, 2, 2, 6], &[1, 2, 2, 6, 2]];
    let contents: [&[u8]; 9] = [
        &[],
        &[0],
        &[5],
        &[1, b'a'],
        &[1, 0xff],
        &[2, 0x08, 0x01],
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        &[0, 0, 0, 0, 0, 0, 0xf0, 0x3f],
        &[1, 2, 3, 4],
    ];
    let check = |payload, path: &[u32]| {
        for (number, wire_type) in (0..18_u64).flat_map(|n| (0..8_u64).map(move |w| (n, w))) {
            for content in contents {
                let mut field = Vec::new();
                prost::encoding::encode_varint(number << 3 | wire_type, &mut field);
                field.extend_from_slice(content);
                let twice = inside(path, [field.clone(), field.clone()].concat());
                let parts = [inside(path, field.clone()), inside(path, field)].concat();
                for body in [twice, parts] {
                    check_damaged(payload, &body).unwrap_or_else(|e| {
                        panic!("{payload:?} {path:?} {number} {wire_type} {content:?}: {e}")
                    });
                }
            }
        }
    };
    common.iter().chain(&of_traces).for_each(|path| check(Payload::Traces, path));
    common.iter().chain(&of_logs).for_each(|path| check(Payload::Logs, path));
}

/// Every change of one value, after a record with these attributes: what is known of the record before must
/// not show.
fn check_changes(kind: Option<i32>, attributes: &[(&str, &str)]) -> Result<(), TestCaseError> {
    let pair = |(key, text): &(&str, &str)| KeyValue {
        key: (*key).to_owned(),
        value: Some(AnyValue { value: Some(Value::StringValue((*text).to_owned())) }),
        key_strindex: 0,
    };
    let time = NOW.unix_nanos() - 1_000_000;
    let rows = |records: &[&[(&str, &str)]]| {
        let attributes = records.iter().map(|record| record.iter().map(pair).collect::<Vec<_>>());
        let (payload, body) = match kind {
            Some(kind) => {
                let span = |attributes| Span {
                    attributes,
                    kind,
                    start_time_unix_nano: time,
                    end_time_unix_nano: time + 1_000,
                    ..Span::default()
                };
                let scope = ScopeSpans { spans: attributes.map(span).collect(), ..ScopeSpans::default() };
                let group = ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() };
                (Payload::Traces, ExportTraceServiceRequest { resource_spans: vec![group] }.encode_to_vec())
            }
            None => {
                let log = |attributes| LogRecord { attributes, time_unix_nano: time, ..LogRecord::default() };
                let scope = ScopeLogs { log_records: attributes.map(log).collect(), ..ScopeLogs::default() };
                let group = ResourceLogs { scope_logs: vec![scope], ..ResourceLogs::default() };
                (Payload::Logs, ExportLogsServiceRequest { resource_logs: vec![group] }.encode_to_vec())
            }
        };
        sorted(walk(&mut decoder(), payload, Encoding::Protobuf, &body).unwrap())
    };
    for place in 0..attributes.len() {
        let mut records: Vec<Vec<(&str, &str)>> = vec![attributes.to_vec(); requests::TEXTS.len() + 1];
        records.iter_mut().zip(requests::TEXTS).for_each(|(record, text)| record[place].1 = text);
        let together = rows(&records.iter().map(Vec::as_slice).collect::<Vec<_>>());
        for (record, row) in records.iter().zip(together) {
            prop_assert_eq!(&[row][..], &rows(&[record])[..], "{:?}", record);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 64 } else { 1_024 }))]

    #[test]
    fn a_record_says_the_same_alone_and_after_one_that_is_almost_alike(
        kind in prop::sample::select(vec![None, Some(2), Some(3)]),
        attributes in prop::sample::subsequence(ATTRIBUTES, 1..16).prop_shuffle(),
        texts in prop::collection::vec(prop::sample::select(&requests::TEXTS[..]), 16),
    ) {
        let attributes: Vec<_> = attributes.iter().map(|(name, ..)| *name).zip(texts).collect();
        check_changes(kind, &attributes)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 192 } else { 4_096 }))]

    #[test]
    fn the_walker_makes_the_rows_that_the_reference_makes_of_traces(first in traces(), second in traces()) {
        let (mut ours, mut reference) = (decoder(), decoder());
        for request in [first, second] {
            let rows = walk(&mut ours, Payload::Traces, Encoding::Protobuf, &request.encode_to_vec());
            prop_assert_eq!(rows, Ok(reference_traces(&mut reference, &request)));
        }
        prop_assert_eq!(ours.stats(), reference.stats());
    }

    #[test]
    fn the_walker_makes_the_rows_that_the_reference_makes_of_logs(first in logs(), second in logs()) {
        let (mut ours, mut reference) = (decoder(), decoder());
        for request in [first, second] {
            let rows = walk(&mut ours, Payload::Logs, Encoding::Protobuf, &request.encode_to_vec());
            prop_assert_eq!(rows, Ok(reference_logs(&mut reference, &request)));
        }
        prop_assert_eq!(ours.stats(), reference.stats());
    }

    #[test]
    fn damaged_traces_are_refused_exactly_when_prost_refuses_them_and_read_as_it_reads_them(request in traces(), damage in damages()) {
        check_damaged(Payload::Traces, &damaged(request.encode_to_vec(), &damage))?;
    }

    #[test]
    fn damaged_logs_are_refused_exactly_when_prost_refuses_them_and_read_as_it_reads_them(request in logs(), damage in damages()) {
        check_damaged(Payload::Logs, &damaged(request.encode_to_vec(), &damage))?;
    }

    #[test]
    fn any_bytes_are_refused_exactly_when_prost_refuses_them(body in prop::collection::vec(any::<u8>(), 0..40)) {
        check_damaged(Payload::Traces, &body)?;
        check_damaged(Payload::Logs, &body)?;
    }

    #[test]
    fn a_refused_request_leaves_nothing_behind(good in traces(), bad in traces(), cut in any::<prop::sample::Index>()) {
        let bad = bad.encode_to_vec();
        let bad = &bad[..cut.index(bad.len() + 1)];
        let (mut decoder, mut builders) = (decoder(), Builders::new(4));
        let expect = decoder.decode(Payload::Traces, Encoding::Protobuf, &good.encode_to_vec(), NOW, &mut builders).unwrap();
        let before = decoder.stats();
        if decoder.decode(Payload::Traces, Encoding::Protobuf, bad, NOW, &mut builders).is_err() {
            prop_assert_eq!(builders.rows() as u64, expect.accepted);
            prop_assert_eq!(builders.finish().iter().map(|(_, raw)| raw.len() as u64).sum::<u64>(), expect.accepted);
            prop_assert_eq!(decoder.stats().rows_by_signal, before.rows_by_signal);
        }
    }

    #[test]
    fn json_reads_as_the_protobuf_it_was_written_from(traces in traces(), logs in logs()) {
        let mut out = Vec::new();
        json::translate(Payload::Traces, &serde_json::to_vec(&traces).unwrap(), &mut out).unwrap();
        prop_assert_eq!(ExportTraceServiceRequest::decode(out.as_slice()).unwrap(), finite_traces(traces));
        json::translate(Payload::Logs, &serde_json::to_vec(&logs).unwrap(), &mut out).unwrap();
        prop_assert_eq!(ExportLogsServiceRequest::decode(out.as_slice()).unwrap(), finite_logs(logs));
    }
}

/// The JSON writer of the tests writes null for NaN and infinity; so those are no value when read again.
fn finite(value: &mut AnyValue) {
    match &mut value.value {
        Some(Value::DoubleValue(d)) if !d.is_finite() => value.value = None,
        Some(Value::ArrayValue(array)) => array.values.iter_mut().for_each(finite),
        Some(Value::KvlistValue(list)) => finite_all(&mut list.values),
        _ => {}
    }
}

fn finite_all(attributes: &mut [KeyValue]) {
    attributes.iter_mut().filter_map(|kv| kv.value.as_mut()).for_each(finite);
}

fn finite_traces(mut request: ExportTraceServiceRequest) -> ExportTraceServiceRequest {
    for group in &mut request.resource_spans {
        group.resource.iter_mut().for_each(|r| finite_all(&mut r.attributes));
        for scope_spans in &mut group.scope_spans {
            scope_spans.scope.iter_mut().for_each(|s| finite_all(&mut s.attributes));
            for span in &mut scope_spans.spans {
                finite_all(&mut span.attributes);
                span.events.iter_mut().for_each(|e| finite_all(&mut e.attributes));
                span.links.iter_mut().for_each(|l| finite_all(&mut l.attributes));
            }
        }
    }
    request
}

fn finite_logs(mut request: ExportLogsServiceRequest) -> ExportLogsServiceRequest {
    for group in &mut request.resource_logs {
        group.resource.iter_mut().for_each(|r| finite_all(&mut r.attributes));
        for scope_logs in &mut group.scope_logs {
            scope_logs.scope.iter_mut().for_each(|s| finite_all(&mut s.attributes));
            for log in &mut scope_logs.log_records {
                finite_all(&mut log.attributes);
                log.body.iter_mut().for_each(finite);
            }
        }
    }
    request
}
