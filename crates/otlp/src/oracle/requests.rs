//! Requests made up for the reference to judge: every field, every kind of value, and damage.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span};
use proptest::prelude::*;

use super::NOW;
use crate::attributes::ATTRIBUTES;

/// Texts that mean something under some name.
pub(super) const TEXTS: [&str; 26] = [
    "sidecar~10.0.0.7~cart-1.shop~shop.svc.cluster.local",
    "spiffe://td/ns/a/sa/c",
    "-",
    "",
    "GET",
    "200",
    "503",
    "0",
    "outbound|80|v1|cart.shop.svc.cluster.local",
    "inbound|80||",
    "UF,URX",
    "via_upstream",
    "spiffe://td/ns/shop/sa/sa",
    "spiffe://other/ns/a/sa/b",
    "10.0.0.7:80",
    "/a/7/b?c=d",
    "http://cart.shop.svc/x",
    "cart.shop",
    "16",
    "rbac_access_denied_matched_policy[p]",
    "TLS_error:|1:CERTIFICATE_VERIFY_FAILED",
    "2026-11-22T01:23:27Z",
    "TLSv1.3",
    "denied",
    "00-5b8efff798038103d269b633813fc60c-eee19b7ec3c1b174-01",
    "Zoë \u{1f426}",
];

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => prop::sample::select(&TEXTS[..]).prop_map(str::to_owned),
        1 => "\\PC{0,12}",
        1 => prop::collection::vec(any::<char>(), 0..6).prop_map(String::from_iter),
        1 => "[a-z]{120,140}",
    ]
}

fn any_value() -> impl Strategy<Value = AnyValue> {
    let leaf = prop_oneof![
        6 => text().prop_map(|s| Some(Value::StringValue(s))),
        1 => any::<bool>().prop_map(|b| Some(Value::BoolValue(b))),
        1 => any::<i64>().prop_map(|i| Some(Value::IntValue(i))),
        1 => (0..1_000_i64).prop_map(|i| Some(Value::IntValue(i))),
        1 => any::<f64>().prop_map(|d| Some(Value::DoubleValue(d))),
        1 => prop::collection::vec(any::<u8>(), 0..9).prop_map(|b| Some(Value::BytesValue(b))),
        1 => Just(None),
    ];
    let leaf = leaf.prop_map(|value| AnyValue { value });
    leaf.prop_recursive(4, 12, 4, |inner| {
        let pair = ("\\PC{0,6}", prop::option::of(inner.clone()));
        let pair = pair.prop_map(|(key, value)| KeyValue { key, value, key_strindex: 0 });
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(|values| Value::ArrayValue(ArrayValue { values })),
            prop::collection::vec(pair, 0..4).prop_map(|values| Value::KvlistValue(KeyValueList { values })),
        ]
        .prop_map(|value| AnyValue { value: Some(value) })
    })
}

fn key_values(max: usize) -> impl Strategy<Value = Vec<KeyValue>> {
    let known: Vec<String> = ATTRIBUTES.iter().map(|(name, ..)| (*name).to_owned()).collect();
    let resource =
        ["service.name", "service.namespace", "k8s.cluster.name", "k8s.pod.ip"].map(str::to_owned).to_vec();
    let key =
        prop_oneof![8 => prop::sample::select(known), 2 => prop::sample::select(resource), 1 => "\\PC{0,8}"];
    let pair = (key, prop::option::weighted(0.95, any_value()), prop_oneof![9 => Just(0), 1 => any::<i32>()]);
    prop::collection::vec(
        pair.prop_map(|(key, value, key_strindex)| KeyValue { key, value, key_strindex }),
        0..max,
    )
}

fn id(len: usize) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => prop::collection::vec(0..3_u8, len),
        1 => Just(vec![0; len]),
        1 => Just(Vec::new()),
        1 => prop::collection::vec(any::<u8>(), 0..20),
    ]
}

fn nanos() -> impl Strategy<Value = u64> {
    let near = NOW.unix_nanos();
    prop_oneof![8 => near - 1_000_000_000..near, 1 => Just(0), 1 => any::<u64>()]
}

fn resource() -> impl Strategy<Value = Option<Resource>> {
    let entity = ("\\PC{0,4}", prop::collection::vec("\\PC{0,4}", 0..2))
        .prop_map(|(r#type, id_keys)| EntityRef { r#type, id_keys, ..EntityRef::default() });
    let resource = (key_values(5), prop::collection::vec(entity, 0..2), 0..2_u32).prop_map(
        |(attributes, entity_refs, dropped_attributes_count)| Resource {
            attributes,
            entity_refs,
            dropped_attributes_count,
        },
    );
    prop::option::of(resource)
}

fn scope() -> impl Strategy<Value = Option<InstrumentationScope>> {
    let scope = (text(), text(), key_values(3)).prop_map(|(name, version, attributes)| {
        InstrumentationScope { name, version, attributes, dropped_attributes_count: 1 }
    });
    prop::option::of(scope)
}

fn a_span() -> impl Strategy<Value = Span> {
    let event = (nanos(), text(), key_values(3)).prop_map(|(time_unix_nano, name, attributes)| span::Event {
        time_unix_nano,
        name,
        attributes,
        dropped_attributes_count: 0,
    });
    let link = (id(16), id(8), text(), key_values(3), any::<u32>()).prop_map(
        |(trace_id, span_id, trace_state, attributes, flags)| span::Link {
            trace_id,
            span_id,
            trace_state,
            attributes,
            flags,
            dropped_attributes_count: 3,
        },
    );
    let status = prop::option::of((text(), 0..4_i32).prop_map(|(message, code)| Status { message, code }));
    let ids = (id(16), id(8), id(8));
    let lists = (key_values(30), prop::collection::vec(event, 0..3), prop::collection::vec(link, 0..2));
    let rest = (text(), text(), -1..7_i32, nanos(), nanos(), any::<u32>(), status, 0..3_u32);
    (ids, lists, rest).prop_map(
        |(ids, lists, (trace_state, name, kind, start, end, flags, status, dropped))| Span {
            trace_id: ids.0,
            span_id: ids.1,
            parent_span_id: ids.2,
            attributes: lists.0,
            events: lists.1,
            links: lists.2,
            trace_state,
            name,
            kind,
            start_time_unix_nano: start,
            end_time_unix_nano: end,
            flags,
            status,
            dropped_attributes_count: dropped,
            dropped_events_count: dropped / 2,
            dropped_links_count: 0,
        },
    )
}

fn a_log() -> impl Strategy<Value = LogRecord> {
    // No body may be an access log: the reference does not read those.
    let body =
        any_value().prop_filter("not an access log", |v| !matches!(v.value, Some(Value::KvlistValue(_))));
    let rest = (text(), text(), 0..25_i32, any::<u32>(), 0..2_u32);
    (nanos(), nanos(), id(16), id(8), key_values(40), prop::option::of(body), rest).prop_map(
        |(
            time,
            observed,
            trace_id,
            span_id,
            attributes,
            body,
            (severity_text, event_name, severity_number, flags, dropped),
        )| LogRecord {
            time_unix_nano: time,
            observed_time_unix_nano: observed,
            trace_id,
            span_id,
            attributes,
            body,
            severity_text,
            event_name,
            severity_number,
            flags,
            dropped_attributes_count: dropped,
        },
    )
}

/// Attributes of records of one proxy: the same names in the same order, some values changed from one to the
/// next, now and then one more or less.
fn alike_attributes(max: usize) -> impl Strategy<Value = Vec<Vec<KeyValue>>> {
    let at = any::<prop::sample::Index>;
    let change = (at(), prop_oneof![9 => text().prop_map(Some), 1 => Just(None)]);
    let changes = prop::collection::vec(prop::collection::vec(change, 0..4), 1..6);
    (key_values(max), changes).prop_map(|(mut attributes, changes)| {
        let next = |changes: Vec<(prop::sample::Index, Option<String>)>| {
            for (at, text) in changes.into_iter().filter(|_| !attributes.is_empty()).collect::<Vec<_>>() {
                let at = at.index(attributes.len());
                match text {
                    Some(text) => {
                        attributes[at].value = Some(AnyValue { value: Some(Value::StringValue(text)) });
                    }
                    None if attributes.len() % 2 == 0 => drop(attributes.remove(at)),
                    None => attributes.insert(at, attributes[0].clone()),
                }
                if attributes.is_empty() {
                    break;
                }
            }
            attributes.clone()
        };
        changes.into_iter().map(next).collect()
    })
}

/// Spans of any kind, or of one proxy.
fn spans() -> impl Strategy<Value = Vec<Span>> {
    let alike = (alike_attributes(20), prop::collection::vec(a_span(), 6), any::<bool>());
    let alike = alike.prop_map(|(attributes, spans, plain)| {
        let kind = spans[0].kind;
        let span = |(attributes, span): (Vec<KeyValue>, Span)| {
            let span = Span { attributes, ..span };
            if !plain {
                return span;
            }
            Span { kind, events: Vec::new(), links: Vec::new(), status: None, ..span }
        };
        attributes.into_iter().zip(spans).map(span).collect()
    });
    prop_oneof![prop::collection::vec(a_span(), 0..4), alike]
}

/// Log records of any kind, or of one proxy.
fn log_records() -> impl Strategy<Value = Vec<LogRecord>> {
    let alike = (alike_attributes(40), prop::collection::vec(a_log(), 6), any::<bool>());
    let alike = alike.prop_map(|(attributes, logs, plain)| {
        let log = |(attributes, log): (Vec<KeyValue>, LogRecord)| {
            let log = LogRecord { attributes, ..log };
            if plain { LogRecord { body: None, severity_text: String::new(), ..log } } else { log }
        };
        attributes.into_iter().zip(logs).map(log).collect()
    });
    prop_oneof![prop::collection::vec(a_log(), 0..4), alike]
}

pub(super) fn traces() -> impl Strategy<Value = ExportTraceServiceRequest> {
    let scope_spans = (scope(), spans(), "\\PC{0,4}").prop_map(|(scope, spans, schema_url)| ScopeSpans {
        scope,
        spans,
        schema_url,
    });
    let resource_spans = (resource(), prop::collection::vec(scope_spans, 0..3), "\\PC{0,4}")
        .prop_map(|(resource, scope_spans, schema_url)| ResourceSpans { resource, scope_spans, schema_url });
    prop::collection::vec(resource_spans, 0..3)
        .prop_map(|resource_spans| ExportTraceServiceRequest { resource_spans })
}

pub(super) fn logs() -> impl Strategy<Value = ExportLogsServiceRequest> {
    let scope_logs = (scope(), log_records(), "\\PC{0,4}")
        .prop_map(|(scope, log_records, schema_url)| ScopeLogs { scope, log_records, schema_url });
    let resource_logs = (resource(), prop::collection::vec(scope_logs, 0..3), "\\PC{0,4}")
        .prop_map(|(resource, scope_logs, schema_url)| ResourceLogs { resource, scope_logs, schema_url });
    prop::collection::vec(resource_logs, 0..3)
        .prop_map(|resource_logs| ExportLogsServiceRequest { resource_logs })
}

/// Damage: bytes changed, cut out, repeated, put in; or fields of a message moved about.
#[derive(Clone, Debug)]
pub(super) enum Damage {
    Change(prop::sample::Index, u8),
    Cut(prop::sample::Index, usize),
    Repeat(prop::sample::Index, usize),
    Insert(prop::sample::Index, Vec<u8>),
    End(prop::sample::Index),
}

pub(super) fn damages() -> impl Strategy<Value = Vec<Damage>> {
    let at = any::<prop::sample::Index>;
    let damage = prop_oneof![
        (at(), any::<u8>()).prop_map(|(i, b)| Damage::Change(i, b)),
        (at(), 1..20_usize).prop_map(|(i, n)| Damage::Cut(i, n)),
        (at(), 1..40_usize).prop_map(|(i, n)| Damage::Repeat(i, n)),
        // Unknown fields, groups, over-long varints, and noise.
        (
            at(),
            prop_oneof![
                Just(vec![0xa8, 0x06, 0x01]),
                Just(vec![0xab, 0x06, 0x08, 0x01, 0xac, 0x06]),
                Just(vec![0xff; 10]),
                prop::collection::vec(any::<u8>(), 1..5),
            ]
        )
            .prop_map(|(i, b)| Damage::Insert(i, b)),
        at().prop_map(Damage::End),
    ];
    prop::collection::vec(damage, 1..4)
}

pub(super) fn damaged(mut body: Vec<u8>, damages: &[Damage]) -> Vec<u8> {
    for damage in damages {
        if body.is_empty() {
            return body;
        }
        let piece = |i: &prop::sample::Index, n: usize| {
            let at = i.index(body.len());
            at..(at + n).min(body.len())
        };
        match damage {
            Damage::Change(i, byte) => {
                let at = i.index(body.len());
                body[at] = *byte;
            }
            Damage::Cut(i, n) => {
                let range = piece(i, *n);
                body.drain(range);
            }
            Damage::Repeat(i, n) => {
                let range = piece(i, *n);
                let copy = body[range.clone()].to_vec();
                body.splice(range.end..range.end, copy);
            }
            Damage::Insert(i, bytes) => {
                let at = i.index(body.len());
                body.splice(at..at, bytes.iter().copied());
            }
            Damage::End(i) => {
                let at = i.index(body.len());
                body.truncate(at);
            }
        }
    }
    body
}
