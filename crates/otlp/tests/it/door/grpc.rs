//! gRPC, as OpenTelemetry's exporters and collectors speak it.

use std::sync::atomic::Ordering;

use lapwing_otlp::door::{Outcome, Refusal, open};
use lapwing_otlp::{Encoding, Payload};
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use tonic::codec::CompressionEncoding;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::{LOGS, RETRY_AFTER, TRACES, accepted, answer_all, call, framed, open_with, settings};

pub(super) async fn channel(door: &lapwing_otlp::door::Door) -> Channel {
    let address = format!("http://{}", door.grpc_address().unwrap());
    Channel::from_shared(address).unwrap().connect().await.unwrap()
}

/// A request of about `n_spans` times 100 bytes.
pub(super) fn spans(n_spans: usize) -> ExportTraceServiceRequest {
    let span = |idx: usize| Span { name: format!("GET /items/{idx} {}", "x".repeat(70)), ..Span::default() };
    let scope_spans = ScopeSpans { spans: (0..n_spans).map(span).collect(), ..ScopeSpans::default() };
    let resource_spans = ResourceSpans { scope_spans: vec![scope_spans], ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![resource_spans] }
}

#[tokio::test]
async fn a_body_arrives_byte_for_byte_however_it_was_compressed() {
    for n_spans in [0, 1, 5_000] {
        let (door, mut arrivals) = open(settings()).await.unwrap();
        let client = TraceServiceClient::new(channel(&door).await);
        let clients = [
            client.clone(),
            client.clone().send_compressed(CompressionEncoding::Gzip),
            client.send_compressed(CompressionEncoding::Zstd),
        ];
        let request = spans(n_spans);
        for mut client in clients {
            let sent = request.clone();
            let answered = tokio::spawn(async move { client.export(sent).await });
            let arrival = arrivals.recv().await.unwrap();
            assert_eq!((arrival.payload, arrival.encoding), (Payload::Traces, Encoding::Protobuf));
            assert!(arrival.body == request.encode_to_vec());
            arrival.answer.send(accepted());
            let response = answered.await.unwrap().unwrap().into_inner();
            assert_eq!(response, ExportTraceServiceResponse { partial_success: None });
        }
        assert_eq!(door.stats().accepted.load(Ordering::Relaxed), 3);
        assert_eq!(door.stats().in_flight_bytes.load(Ordering::Relaxed), 0);
        assert_eq!(door.stats().in_flight_requests.load(Ordering::Relaxed), 0);
    }
}

#[tokio::test]
async fn logs_are_told_apart_from_traces() {
    let (door, mut arrivals) = open(settings()).await.unwrap();
    let mut client = LogsServiceClient::new(channel(&door).await);
    let record = LogRecord { observed_time_unix_nano: 7, ..LogRecord::default() };
    let scope_logs = vec![ScopeLogs { log_records: vec![record], ..ScopeLogs::default() }];
    let request = ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }],
    };
    let sent = request.clone();
    let answered = tokio::spawn(async move { client.export(sent).await });
    let arrival = arrivals.recv().await.unwrap();
    assert_eq!(arrival.payload, Payload::Logs);
    assert_eq!(ExportLogsServiceRequest::decode(arrival.body).unwrap(), request);
    arrival.answer.send(Outcome::Accepted { rejected: 1, reason: "no time".to_owned() });
    let ExportLogsServiceResponse { partial_success } = answered.await.unwrap().unwrap().into_inner();
    let partial = partial_success.unwrap();
    assert_eq!((partial.rejected_log_records, partial.error_message.as_str()), (1, "no time"));
}

#[tokio::test]
async fn spans_left_out_are_reported_with_their_number_and_reason() {
    let outcome = Outcome::Accepted { rejected: 3, reason: "trace id is not 16 bytes".to_owned() };
    let door = open_with(settings(), outcome).await;
    let response = TraceServiceClient::new(channel(&door).await).export(spans(9)).await.unwrap().into_inner();
    let partial =
        ExportTracePartialSuccess { rejected_spans: 3, error_message: "trace id is not 16 bytes".to_owned() };
    assert_eq!(response.partial_success, Some(partial));
    assert_eq!(door.stats().partly_accepted.load(Ordering::Relaxed), 1);
    assert_eq!(door.stats().rejected_items.load(Ordering::Relaxed), 3);
}

/// Asserts a refusal that no OTLP sender retries.
fn assert_for_good(status: &Status, code: Code, words: &str) {
    assert_eq!(status.code(), code, "{status:?}");
    assert!(status.message().contains(words), "{status:?}");
    assert!(status.get_details_retry_info().is_none(), "{status:?}");
}

#[tokio::test]
async fn what_the_pipeline_cannot_read_is_not_to_be_retried() {
    let door = open_with(settings(), Outcome::Malformed { reason: "field 3 at byte 17".to_owned() }).await;
    let status = TraceServiceClient::new(channel(&door).await).export(spans(1)).await.unwrap_err();
    assert_for_good(&status, Code::InvalidArgument, "field 3 at byte 17");
    assert_eq!(door.stats().refused(Refusal::Malformed), 1);
}

#[tokio::test]
async fn busy_is_told_with_the_pipelines_own_delay() {
    let outcome = Outcome::Busy { retry_after: RETRY_AFTER * 2, reason: "the disk is full".to_owned() };
    let door = open_with(settings(), outcome).await;
    let status = TraceServiceClient::new(channel(&door).await).export(spans(1)).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "the disk is full"));
    assert_eq!(status.get_details_retry_info().unwrap().retry_delay, Some(RETRY_AFTER * 2));
}

#[tokio::test]
async fn metrics_and_profiles_are_refused_for_good_with_a_word_on_what_is_taken() {
    let door = open_with(settings(), accepted()).await;
    let request = ExportMetricsServiceRequest::default();
    let status = MetricsServiceClient::new(channel(&door).await).export(request).await.unwrap_err();
    assert_for_good(&status, Code::Unimplemented, "lapwing takes traces and logs only");

    let profiles = "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export";
    let called = call(door.grpc_address(), profiles, &[], framed(0, b"")).await;
    assert_for_good(&called.status, Code::Unimplemented, "lapwing takes traces and logs only");
    assert_eq!(door.stats().refused(Refusal::WrongSignal), 2);

    let called = call(door.grpc_address(), "/some.Service/Method", &[], framed(0, b"")).await;
    assert_for_good(&called.status, Code::Unimplemented, "no such method");
}

#[tokio::test]
async fn a_message_longer_than_the_limit_is_refused_for_good() {
    let door_settings = lapwing_otlp::door::DoorSettings { max_request_bytes: 100_000, ..settings() };
    let door = open_with(door_settings, accepted()).await;
    let client = TraceServiceClient::new(channel(&door).await);
    let clients = [
        client.clone(),
        client.clone().send_compressed(CompressionEncoding::Gzip),
        client.send_compressed(CompressionEncoding::Zstd),
    ];
    for mut client in clients {
        let status = client.export(spans(2_000)).await.unwrap_err();
        assert_for_good(&status, Code::InvalidArgument, "100000 bytes (max_request_bytes)");
        client.export(spans(500)).await.unwrap();
    }
}

#[tokio::test]
async fn a_message_of_exactly_the_limit_is_taken() {
    let request = spans(3_000);
    let limit = request.encoded_len();
    let door_settings = lapwing_otlp::door::DoorSettings { max_request_bytes: limit, ..settings() };
    let (door, arrivals) = open(door_settings).await.unwrap();
    let bodies = answer_all(arrivals, accepted());
    let client = TraceServiceClient::new(channel(&door).await);
    client.clone().export(request.clone()).await.unwrap();
    client.clone().send_compressed(CompressionEncoding::Gzip).export(request.clone()).await.unwrap();
    client.send_compressed(CompressionEncoding::Zstd).export(request).await.unwrap();
    drop(door);
    assert_eq!(bodies.await.unwrap().iter().map(bytes::Bytes::len).collect::<Vec<_>>(), [limit; 3]);
}

#[tokio::test]
async fn broken_framing_is_malformed() {
    let door = open_with(settings(), accepted()).await;
    let check = async |body: &[u8], extra: &[(&str, &str)], words: &str| {
        let body = http_body_util::Full::new(bytes::Bytes::copy_from_slice(body));
        let called = call(door.grpc_address(), LOGS, extra, body).await;
        assert_for_good(&called.status, Code::InvalidArgument, words);
    };
    check(b"", &[], "before its message's length").await;
    check(b"\0\0\0", &[], "before its message's length").await;
    check(b"\0\0\0\0\x05abc", &[], "before its message").await;
    check(b"\0\0\0\0\x03abcdef", &[], "bytes after the message").await;
    check(b"\0\0\0\0\0\0\0\0\0\0", &[], "bytes after the message").await;
    check(b"\x07\0\0\0\0", &[], "unknown compression flag").await;
    check(b"\x01\0\0\0\x03abc", &[], "without grpc-encoding").await;
    check(b"\x01\0\0\0\x03abc", &[("grpc-encoding", "gzip")], "damaged").await;
    check(b"\x01\0\0\0\x03abc", &[("grpc-encoding", "zstd")], "damaged").await;
    check(b"\0\0\0\0\0", &[("content-type", "application/grpc+json")], "protobuf messages only").await;
    assert_eq!(door.stats().accepted.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn an_unknown_compression_is_answered_with_the_known_ones() {
    let door = open_with(settings(), accepted()).await;
    let called = call(door.grpc_address(), TRACES, &[("grpc-encoding", "snappy")], framed(1, b"abc")).await;
    assert_for_good(&called.status, Code::Unimplemented, "gzip, zstd and identity");
    assert_eq!(called.headers["grpc-accept-encoding"], "identity,gzip,zstd");
    assert!(called.message.is_empty());
}

#[tokio::test]
async fn an_uncompressed_message_may_follow_an_announced_compression() {
    let door = open_with(settings(), accepted()).await;
    let extra = [("grpc-encoding", "gzip"), ("content-type", "application/grpc+proto")];
    let called = call(door.grpc_address(), TRACES, &extra, framed(0, b"abc")).await;
    assert_eq!(called.status.code(), Code::Ok);
    assert_eq!(&called.message[..], [0; 5]);
}
