//! Every road to "busy", over both protocols: always retryable, always with a delay.

use std::time::Duration;

use lapwing_otlp::door::{Answer, Door, DoorSettings, Refusal, open};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tonic::Code;

use super::{
    RETRY_AFTER, Stalled, TRACES, accepted, call, eventually, framed, hold_all, open_with, post, read_reply,
    send, settings,
};

const PROTOBUF: &str = "content-type: application/x-protobuf\r\n";

/// Sends the same over both protocols and asserts the same answer.
async fn check(door: &Door, body: &[u8], refusal: Refusal) {
    let called = call(door.grpc_address(), TRACES, &[], framed(0, body)).await;
    assert_eq!(called.status.code(), Code::Unavailable, "{refusal:?}: {:?}", called.status);
    assert_eq!(called.retry_delay(), Some(RETRY_AFTER), "{refusal:?}");
    assert!(!called.status.message().is_empty(), "{refusal:?}");
    assert_eq!(door.stats().refused(refusal), 1, "{refusal:?}");

    let replied = post(door.http_address(), "/v1/traces", PROTOBUF, body).await;
    assert_eq!(replied.status, 503, "{refusal:?}");
    assert_eq!(replied.header("retry-after"), "4", "{refusal:?}: 3.25 s in whole seconds");
    assert_eq!(replied.header("content-type"), "application/x-protobuf");
    assert_eq!(replied.status().code(), Code::Unavailable, "{refusal:?}");
    assert_eq!(replied.retry_delay(), Some(RETRY_AFTER), "{refusal:?}");
    assert_eq!(door.stats().refused(refusal), 2, "{refusal:?}");

    let json = "content-type: application/json\r\n";
    let replied = post(door.http_address(), "/v1/logs", json, body).await;
    assert_eq!((replied.status, replied.header("content-type")), (503, "application/json"), "{refusal:?}");
    let retry_info = r#"{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"3.250000000s"}"#;
    assert!(replied.text().contains(retry_info), "{}", replied.text());
}

/// A door whose pipeline holds one request and never answers it.
async fn open_holding(door_settings: DoorSettings, body: Vec<u8>) -> (Door, JoinHandle<Vec<Answer>>) {
    let (door, arrivals) = open(door_settings).await.unwrap();
    let holding = hold_all(arrivals);
    let address = door.grpc_address();
    let n_bytes = body.len() as u64;
    tokio::spawn(async move { call(address, TRACES, &[], framed(0, &body)).await });
    let stats = std::sync::Arc::clone(door.stats());
    let in_flight = || stats.in_flight_bytes.load(std::sync::atomic::Ordering::Relaxed);
    eventually(|| in_flight() == n_bytes).await;
    (door, holding)
}

#[tokio::test]
async fn draining() {
    let door = open_with(settings(), accepted()).await;
    door.refuse();
    check(&door, b"body", Refusal::Draining).await;
}

#[tokio::test]
async fn too_many_requests_in_flight() {
    let door_settings = DoorSettings { max_in_flight_requests: 1, ..settings() };
    let (door, _holding) = open_holding(door_settings, b"first".to_vec()).await;
    check(&door, b"second", Refusal::TooManyRequests).await;
}

#[tokio::test]
async fn too_many_bytes_in_flight() {
    let door_settings = DoorSettings { max_request_bytes: 100, max_in_flight_bytes: 100, ..settings() };
    let (door, _holding) = open_holding(door_settings, vec![0; 60]).await;
    check(&door, &[0; 41], Refusal::TooManyBytes).await;
}

#[tokio::test]
async fn too_many_bytes_in_flight_while_a_chunked_or_compressed_body_grows() {
    let door_settings =
        DoorSettings { max_request_bytes: 300_000, max_in_flight_bytes: 300_000, ..settings() };
    let (door, _holding) = open_holding(door_settings, vec![0; 250_000]).await;

    let chunked = "POST /v1/traces HTTP/1.1\r\nhost: l\r\ncontent-type: application/x-protobuf\r\n\
                   transfer-encoding: chunked\r\n\r\n";
    let chunk = [b"8000\r\n", &vec![0; 0x8000][..], b"\r\n"].concat();
    let bytes = [chunked.as_bytes(), &chunk.repeat(2), b"0\r\n\r\n"].concat();
    let replied = send(door.http_address(), &bytes).await;
    assert_eq!((replied.status, replied.retry_delay()), (503, Some(RETRY_AFTER)));

    let packed = zstd::encode_all(&vec![0; 100_000][..], 3).unwrap();
    let called = call(door.grpc_address(), TRACES, &[("grpc-encoding", "zstd")], framed(1, &packed)).await;
    assert_eq!((called.status.code(), called.retry_delay()), (Code::Unavailable, Some(RETRY_AFTER)));
    assert_eq!(door.stats().refused(Refusal::TooManyBytes), 2);
}

#[tokio::test]
async fn a_full_queue() {
    let door_settings = DoorSettings { max_queued_requests: 1, ..settings() };
    // Nobody receives, so the first arrival stays in the queue.
    let (door, arrivals) = open(door_settings).await.unwrap();
    let address = door.grpc_address();
    tokio::spawn(async move { call(address, TRACES, &[], framed(0, b"first")).await });
    eventually(|| arrivals.len() == 1).await;
    check(&door, b"second", Refusal::QueueFull).await;
}

#[tokio::test]
async fn a_pipeline_that_has_stopped() {
    let (door, arrivals) = open(settings()).await.unwrap();
    drop(arrivals);
    check(&door, b"body", Refusal::Unanswered).await;
}

#[tokio::test]
async fn an_answer_that_was_dropped() {
    let (door, mut arrivals) = open(settings()).await.unwrap();
    tokio::spawn(async move { while arrivals.recv().await.is_some() {} });
    check(&door, b"body", Refusal::Unanswered).await;
}

#[tokio::test]
async fn a_pipeline_that_is_too_slow() {
    let door_settings = DoorSettings { request_timeout: Duration::from_millis(50), ..settings() };
    let (door, arrivals) = open(door_settings).await.unwrap();
    let holding = hold_all(arrivals);
    check(&door, b"body", Refusal::TimedOut).await;
    drop(door);
    assert!(holding.await.unwrap().iter().all(|answer| !answer.is_awaited()));
}

#[tokio::test]
async fn a_body_that_stops_arriving() {
    let door_settings = DoorSettings { body_idle_timeout: Duration::from_millis(50), ..settings() };
    let door = open_with(door_settings, accepted()).await;

    for first in [&b""[..], b"\0\0\0", b"\0\0\0\0\x09abc"] {
        let first = Some(bytes::Bytes::from_static(first));
        let address = door.grpc_address();
        let called = calling_stalled(address, Stalled { first }).await;
        assert_eq!((called.0, called.1), (Code::Unavailable, Some(RETRY_AFTER)));
    }

    let mut stream = TcpStream::connect(door.http_address().unwrap()).await.unwrap();
    let head = format!("POST /v1/traces HTTP/1.1\r\nhost: l\r\ncontent-length: 9\r\n{PROTOBUF}\r\nabc");
    stream.write_all(head.as_bytes()).await.unwrap();
    let replied = read_reply(&mut stream).await;
    assert_eq!((replied.status, replied.retry_delay()), (503, Some(RETRY_AFTER)));
    assert_eq!(door.stats().refused(Refusal::BodyStalled), 4);
}

/// As `call`, for a request body that never ends and therefore keeps its connection open.
async fn calling_stalled(address: Option<std::net::SocketAddr>, body: Stalled) -> (Code, Option<Duration>) {
    use tonic_types::StatusExt;
    let stream = TcpStream::connect(address.unwrap()).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    tokio::spawn(connection);
    let request = ::http::Request::post(format!("http://lapwing{TRACES}"))
        .header("content-type", "application/grpc")
        .body(body)
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    let status = tonic::Status::from_header_map(response.headers()).unwrap();
    (status.code(), status.get_details_retry_info().and_then(|info| info.retry_delay))
}

#[tokio::test]
async fn a_connection_hears_thousands_of_refusals_and_lives_on() {
    use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
    let door = open_with(settings(), accepted()).await;
    let channel = super::grpc::channel(&door).await;
    let mut client = TraceServiceClient::new(channel);
    let request = super::grpc::spans(500);
    client.export(request.clone()).await.unwrap();
    door.refuse();
    // More than the resets that HTTP/2 servers forgive a connection (1024 in h2).
    for _ in 0..1_200 {
        let status = client.export(request.clone()).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::Unavailable, "lapwing is shutting down"));
    }
    assert_eq!(door.stats().connections.load(std::sync::atomic::Ordering::Relaxed), 1);
}
