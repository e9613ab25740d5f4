//! Opening, closing, and connections that are too many, too silent or too old.

use std::sync::atomic::Ordering;
use std::time::Duration;

use lapwing_otlp::door::{DoorError, DoorSettings, Refusal, open};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tonic::Code;

use super::{TRACES, accepted, call, eventually, exchange, framed, open_with, post, settings};

const PROTOBUF: &str = "content-type: application/x-protobuf\r\n";
const REQUEST: &[u8] = b"POST /v1/traces HTTP/1.1\r\nhost: l\r\ncontent-type: application/x-protobuf\r\n\
                         content-length: 3\r\n\r\nabc";

/// Reads to the end of a connection that the door has closed.
async fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A reset is as good an end as an orderly one.
    drop(stream.read_to_end(&mut bytes).await);
    bytes
}

#[test]
fn only_this_machine_reaches_a_door_unless_told_otherwise() {
    let defaults = DoorSettings::default();
    assert_eq!(defaults.grpc.unwrap().to_string(), "127.0.0.1:4317");
    assert_eq!(defaults.http.unwrap().to_string(), "127.0.0.1:4318");
}

#[tokio::test]
async fn a_port_in_use_is_named_with_a_hint() {
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = other.local_addr().unwrap();
    for door_settings in [
        DoorSettings { grpc: Some(address), ..settings() },
        DoorSettings { http: Some(address), ..settings() },
    ] {
        let error = open(door_settings).await.unwrap_err();
        assert!(matches!(error, DoorError::PortBusy { address: named } if named == address));
        let hint = "the port is in use; stop the other process or set another endpoint";
        assert_eq!(error.to_string(), format!("listen for OTLP on {address}: {hint}"));
    }
}

#[tokio::test]
async fn contradicting_settings_are_refused_by_name() {
    let check = async |door_settings: DoorSettings, name: &str| {
        let error = open(door_settings).await.unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    };
    check(DoorSettings { grpc: None, http: None, ..settings() }, "endpoint").await;
    check(DoorSettings { max_request_bytes: 0, ..settings() }, "max_request_bytes").await;
    check(DoorSettings { max_request_bytes: 65 << 20, ..settings() }, "max_in_flight_bytes").await;
    check(DoorSettings { max_in_flight_requests: 0, ..settings() }, "max_in_flight_requests").await;
    check(DoorSettings { max_queued_requests: 0, ..settings() }, "max_queued_requests").await;
    check(DoorSettings { idle_timeout: Duration::ZERO, ..settings() }, "1 ms").await;
    check(DoorSettings { max_connection_age: Duration::MAX, ..settings() }, "365 days").await;
}

#[tokio::test]
async fn one_protocol_alone_opens_one_port() {
    let door = open_with(DoorSettings { http: None, ..settings() }, accepted()).await;
    assert_eq!(door.http_address(), None);
    call(door.grpc_address(), TRACES, &[], framed(0, b"")).await;
}

#[tokio::test]
async fn closing_answers_what_was_admitted_and_then_frees_the_ports() {
    let (door, mut arrivals) = open(settings()).await.unwrap();
    let (grpc, http) = (door.grpc_address(), door.http_address());
    let called = tokio::spawn(async move { call(grpc, TRACES, &[], framed(0, b"abc")).await });
    let replied = tokio::spawn(async move { post(http, "/v1/logs", PROTOBUF, b"abc").await });
    let admitted = [arrivals.recv().await.unwrap(), arrivals.recv().await.unwrap()];
    // Resting connections of both kinds must not hold up the close.
    let _resting = [TcpStream::connect(grpc.unwrap()).await, TcpStream::connect(http.unwrap()).await];

    let closing = tokio::spawn(door.close(Duration::from_secs(10)));
    // The port refuses before the admitted requests are answered.
    while TcpStream::connect(grpc.unwrap()).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!closing.is_finished());
    for arrival in admitted {
        assert!(arrival.answer.is_awaited());
        arrival.answer.send(accepted());
    }
    assert_eq!(called.await.unwrap().status.code(), Code::Ok);
    assert_eq!(replied.await.unwrap().status, 200);
    assert_eq!(closing.await.unwrap(), 0);
    assert!(arrivals.recv().await.is_none(), "the log may end now");
    TcpListener::bind(grpc.unwrap()).await.unwrap();
    TcpListener::bind(http.unwrap()).await.unwrap();
}

#[tokio::test]
async fn closing_cuts_what_misses_the_deadline() {
    let (door, mut arrivals) = open(settings()).await.unwrap();
    let address = door.http_address();
    let mut stream = TcpStream::connect(address.unwrap()).await.unwrap();
    stream.write_all(REQUEST).await.unwrap();
    let _unanswered = arrivals.recv().await.unwrap();
    assert_eq!(door.close(Duration::from_millis(50)).await, 1);
    assert!(read_to_end(&mut stream).await.is_empty(), "no answer, and no success");
}

#[tokio::test]
async fn a_connection_too_many_is_closed_and_counted() {
    let door = open_with(DoorSettings { max_connections: 1, ..settings() }, accepted()).await;
    let mut first = TcpStream::connect(door.http_address().unwrap()).await.unwrap();
    assert_eq!(exchange(&mut first, REQUEST).await.status, 200);
    let mut second = TcpStream::connect(door.grpc_address().unwrap()).await.unwrap();
    assert!(read_to_end(&mut second).await.is_empty());
    assert_eq!(door.stats().connections_refused.load(Ordering::Relaxed), 1);
    assert_eq!(exchange(&mut first, REQUEST).await.status, 200);
    drop(first);
    eventually(|| door.stats().open_connections.load(Ordering::Relaxed) == 0).await;
    assert_eq!(post(door.http_address(), "/v1/traces", PROTOBUF, b"abc").await.status, 200);
}

#[tokio::test]
async fn a_connection_without_a_whole_header_is_closed() {
    let door_settings = DoorSettings { first_request_timeout: Duration::from_millis(50), ..settings() };
    let door = open_with(door_settings, accepted()).await;
    for bytes in [&b""[..], b"POST /v1/tr", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut stream = TcpStream::connect(door.grpc_address().unwrap()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        read_to_end(&mut stream).await;
    }
    assert_eq!(door.stats().connections_silent.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn a_resting_connection_is_closed_and_one_that_waits_for_its_answer_is_not() {
    let door_settings = DoorSettings {
        first_request_timeout: Duration::from_millis(20),
        idle_timeout: Duration::from_millis(20),
        ..settings()
    };
    let (door, mut arrivals) = open(door_settings).await.unwrap();
    let mut stream = TcpStream::connect(door.http_address().unwrap()).await.unwrap();
    stream.write_all(REQUEST).await.unwrap();
    let arrival = arrivals.recv().await.unwrap();
    // Several looks at the connection pass while the answer is owed.
    tokio::time::timeout(Duration::from_millis(150), stream.readable()).await.unwrap_err();
    arrival.answer.send(accepted());
    assert!(read_to_end(&mut stream).await.starts_with(b"HTTP/1.1 200 OK\r\n"));
    assert_eq!(door.stats().connections_silent.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn an_old_connection_is_asked_to_reconnect_and_loses_nothing() {
    use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
    let door_settings = DoorSettings { max_connection_age: Duration::from_millis(50), ..settings() };
    let door = open_with(door_settings, accepted()).await;
    let mut client = TraceServiceClient::new(super::grpc::channel(&door).await);
    let mut n_acknowledged = 0;
    while door.stats().connections.load(Ordering::Relaxed) < 4 {
        match client.export(super::grpc::spans(10)).await {
            Ok(_) => n_acknowledged += 1,
            // The client had chosen the connection just before it was told; OTLP senders retry both.
            Err(status) => {
                assert!([Code::Cancelled, Code::Unavailable].contains(&status.code()), "{status:?}");
            }
        }
    }
    assert_eq!(door.stats().accepted.load(Ordering::Relaxed), n_acknowledged);
}

#[tokio::test]
async fn a_sender_that_leaves_gives_back_nothing_until_its_answer_is_dropped() {
    let (door, mut arrivals) = open(settings()).await.unwrap();
    let mut stream = TcpStream::connect(door.http_address().unwrap()).await.unwrap();
    stream.write_all(REQUEST).await.unwrap();
    let arrival = arrivals.recv().await.unwrap();
    drop(stream);
    eventually(|| door.stats().open_connections.load(Ordering::Relaxed) == 0).await;
    assert!(!arrival.answer.is_awaited());
    assert_eq!(door.stats().in_flight_bytes.load(Ordering::Relaxed), 3);
    arrival.answer.send(accepted());
    assert_eq!(door.stats().in_flight_bytes.load(Ordering::Relaxed), 0);
    assert_eq!(door.stats().in_flight_requests.load(Ordering::Relaxed), 0);
    assert_eq!(door.stats().refused(Refusal::TimedOut), 0);
}
