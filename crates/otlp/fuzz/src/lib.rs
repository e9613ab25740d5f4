//! What the targets check: nothing panics, and the walker refuses exactly what prost refuses.

use std::sync::Arc;

use lapwing_otlp::{DecodeSettings, Decoder, Encoding, Payload, latest_event_time, sniff};
use lapwing_telemetry::{Builders, EventTime};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;

/// Decodes a protobuf request, and panics if it is read while prost refuses it or the other way round.
pub fn protobuf(payload: Payload, body: &[u8]) {
    let by_prost = match payload {
        Payload::Traces => ExportTraceServiceRequest::decode(body).is_ok(),
        Payload::Logs => ExportLogsServiceRequest::decode(body).is_ok(),
    };
    let refusal = decode(payload, Encoding::Protobuf, body);
    // A limit of ours is no disagreement.
    let is_limit = refusal.as_ref().is_some_and(|reason| reason.contains("than the limit"));
    assert!(is_limit || refusal.is_none() == by_prost, "prost reads it: {by_prost}, we: {refusal:?}");
    sniff(body);
    latest_event_time(payload, body);
}

/// Decodes an OTLP/JSON request as both payloads.
pub fn json(body: &[u8]) {
    decode(Payload::Traces, Encoding::Json, body);
    decode(Payload::Logs, Encoding::Json, body);
}

/// Why the request was refused, if it was.
fn decode(payload: Payload, encoding: Encoding, body: &[u8]) -> Option<String> {
    let settings = DecodeSettings { max_callers: 64, ..DecodeSettings::default() };
    let mut builders = Builders::new(2);
    let arrival = EventTime(1_795_310_700_000_000);
    let result = Decoder::new(settings, Arc::default()).decode(payload, encoding, body, arrival, &mut builders);
    builders.finish();
    result.err().map(|refused| refused.reason)
}
