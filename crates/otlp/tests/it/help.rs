//! Requests from few words, and rows read back.

use std::collections::BTreeMap;
use std::sync::Arc;

use lapwing_otlp::{DecodeSettings, Decoded, Decoder, Encoding, Inventory, Malformed, Payload};
use lapwing_telemetry::{Builders, EventTime, RawCalls};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;

/// The inventory of the recorded mesh.
pub(crate) fn inventory() -> Arc<Inventory> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../datasets/mesh/inventory.yaml");
    Arc::new(Inventory::parse(&std::fs::read_to_string(path).unwrap()).unwrap())
}

/// A row, every column as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) columns: BTreeMap<&'static str, String>,
    pub(crate) attributes: Vec<(String, String)>,
}

impl Row {
    pub(crate) fn get(&self, column: &str) -> &str {
        self.columns.get(column).map_or("", String::as_str)
    }

    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// `source -> destination`, `?` for what is not known.
    pub(crate) fn pair(&self) -> String {
        let name = |column| Some(self.get(column)).filter(|name| !name.is_empty()).unwrap_or("?");
        format!("{} -> {}", name("source"), name("destination"))
    }
}

/// Decodes one request and gives its rows.
pub(crate) fn decode(
    decoder: &mut Decoder,
    payload: Payload,
    encoding: Encoding,
    body: &[u8],
    received_at: EventTime,
) -> Result<(Decoded, Vec<Row>), Malformed> {
    let mut builders = Builders::new(1);
    let decoded = decoder.decode(payload, encoding, body, received_at, &mut builders)?;
    let rows = builders.finish().into_iter().flat_map(|(_, raw)| rows(&raw)).collect();
    Ok((decoded, rows))
}

pub(crate) fn decoder(inventory: Arc<Inventory>) -> Decoder {
    Decoder::new(DecodeSettings::default(), inventory)
}

pub(crate) fn rows(raw: &RawCalls) -> Vec<Row> {
    use arrow::array::Array;
    let columns = raw.columns();
    let mut rows = vec![Row::default(); raw.len()];
    let mut put = |row: usize, name: &'static str, value: Option<String>| {
        if let Some(value) = value {
            rows[row].columns.insert(name, value);
        }
    };
    let hex = |id: &[u8]| id.iter().map(|b| format!("{b:02x}")).collect::<String>();
    for row in 0..raw.len() {
        put(row, "started_at", Some(EventTime(columns.started_at()[row]).to_string()));
        put(row, "received_at", Some(columns.received_at()[row].to_string()));
        let words = [
            ("signal", columns.signal()),
            ("cluster", columns.cluster()),
            ("source", columns.source()),
            ("destination", columns.destination()),
            ("source_identity", columns.source_identity()),
            ("destination_identity", columns.destination_identity()),
            ("operation", columns.operation()),
            ("method", columns.method()),
            ("path", columns.path()),
            ("outcome", columns.outcome()),
            ("authn", columns.authn()),
            ("authz", columns.authz()),
            ("tls", columns.tls()),
            ("flags", columns.flags()),
        ];
        words.into_iter().for_each(|(name, words)| put(row, name, words.get(row).map(str::to_owned)));
        let numbers = [
            ("duration_ns", columns.duration_ns()),
            ("bytes_in", columns.bytes_in()),
            ("bytes_out", columns.bytes_out()),
        ];
        for (name, numbers) in numbers {
            put(row, name, numbers.is_valid(row).then(|| numbers.value(row).to_string()));
        }
        put(row, "status", columns.status().is_valid(row).then(|| columns.status().value(row).to_string()));
        let ids = [
            ("trace_id", columns.trace_id()),
            ("span_id", columns.span_id()),
            ("parent_span_id", columns.parent_span_id()),
        ];
        for (name, ids) in ids {
            put(row, name, ids.is_valid(row).then(|| hex(ids.value(row))));
        }
    }
    for (row, filled) in rows.iter_mut().enumerate() {
        filled.attributes =
            columns.attributes().row(row).map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    }
    rows
}

/// When the made-up requests arrive.
pub(crate) const NOW: EventTime = EventTime(1_795_310_700_000_000);

fn key_values(attributes: &[(&str, &str)]) -> Vec<KeyValue> {
    let value = |text: &str| Some(AnyValue { value: Some(Value::StringValue(text.to_owned())) });
    attributes
        .iter()
        .map(|(key, text)| KeyValue { key: (*key).to_owned(), value: value(text), key_strindex: 0 })
        .collect()
}

fn resource(attributes: &[(&str, &str)]) -> Option<Resource> {
    Some(Resource { attributes: key_values(attributes), ..Resource::default() })
}

/// Attributes with some of them changed; one that is not there is added.
pub(crate) fn with<'a>(
    base: &[(&'a str, &'a str)],
    changes: &[(&'a str, &'a str)],
) -> Vec<(&'a str, &'a str)> {
    let mut all = base.to_vec();
    for (key, value) in changes {
        match all.iter_mut().find(|(k, _)| k == key) {
            Some(entry) => entry.1 = value,
            None => all.push((key, value)),
        }
    }
    all
}

/// A log record that began a second ago.
pub(crate) fn log(attributes: &[(&str, &str)]) -> LogRecord {
    LogRecord {
        time_unix_nano: NOW.unix_nanos() - 1_000_000_000,
        attributes: key_values(attributes),
        ..LogRecord::default()
    }
}

/// A span of half a second that began a second ago.
pub(crate) fn span(kind: i32, attributes: &[(&str, &str)]) -> Span {
    let start_time_unix_nano = NOW.unix_nanos() - 1_000_000_000;
    let end_time_unix_nano = start_time_unix_nano + 500_000_000;
    Span {
        kind,
        start_time_unix_nano,
        end_time_unix_nano,
        attributes: key_values(attributes),
        ..Span::default()
    }
}

/// A logs request of one resource.
pub(crate) fn logs(of: &[(&str, &str)], log_records: Vec<LogRecord>) -> Vec<u8> {
    let scope_logs = vec![ScopeLogs { log_records, ..ScopeLogs::default() }];
    let resource_logs = vec![ResourceLogs { resource: resource(of), scope_logs, ..ResourceLogs::default() }];
    ExportLogsServiceRequest { resource_logs }.encode_to_vec()
}

/// A traces request of one resource.
pub(crate) fn traces(of: &[(&str, &str)], spans: Vec<Span>) -> Vec<u8> {
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let resource_spans =
        vec![ResourceSpans { resource: resource(of), scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

/// The row of one log record, as a decoder with the recorded mesh's inventory makes it.
pub(crate) fn row_of_log(of: &[(&str, &str)], record: LogRecord) -> Row {
    row(Payload::Logs, &logs(of, vec![record]))
}

/// The row of one span.
pub(crate) fn row_of_span(of: &[(&str, &str)], record: Span) -> Row {
    row(Payload::Traces, &traces(of, vec![record]))
}

fn row(payload: Payload, body: &[u8]) -> Row {
    let (decoded, mut rows) =
        decode(&mut decoder(inventory()), payload, Encoding::Protobuf, body, NOW).unwrap();
    assert_eq!((decoded.accepted, decoded.rejected), (1, 0), "{}", decoded.reason);
    rows.remove(0)
}
