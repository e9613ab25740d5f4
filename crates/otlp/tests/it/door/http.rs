//! HTTP, byte by byte: OTLP's paths, types, encodings and answers.

use std::io::Write;
use std::sync::atomic::Ordering;

use lapwing_otlp::door::{DoorSettings, Outcome, Refusal, open};
use lapwing_otlp::{Encoding, Payload};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tonic::Code;

use super::{
    TRACES, accepted, answer_all, call, exchange, framed, open_with, post, read_reply, send, settings,
};

const PROTOBUF: &str = "content-type: application/x-protobuf\r\n";
const JSON: &str = "content-type: application/json; charset=utf-8\r\n";

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    writer.write_all(data).unwrap();
    writer.finish().unwrap()
}

#[tokio::test]
async fn both_signals_encodings_and_every_compression_arrive_unpacked() {
    let body = b"any bytes ".repeat(20_000);
    let zstd = zstd::encode_all(&body[..], 3).unwrap();
    let (door, mut arrivals) = open(settings()).await.unwrap();
    let address = door.http_address();
    for (path, payload) in [("/v1/traces", Payload::Traces), ("/v1/logs", Payload::Logs)] {
        for (kind, encoding) in [(PROTOBUF, Encoding::Protobuf), (JSON, Encoding::Json)] {
            for (coding, bytes) in [
                ("", body.clone()),
                ("content-encoding: identity\r\n", body.clone()),
                ("content-encoding: gzip\r\n", gzip(&body)),
                ("Content-Encoding: ZSTD\r\n", zstd.clone()),
            ] {
                let headers = format!("{kind}{coding}");
                let replied = tokio::spawn(async move { post(address, path, &headers, &bytes).await });
                let arrival = arrivals.recv().await.unwrap();
                assert_eq!((arrival.payload, arrival.encoding), (payload, encoding));
                assert!(arrival.body == body);
                arrival.answer.send(accepted());
                let replied = replied.await.unwrap();
                assert_eq!(replied.status, 200);
                match encoding {
                    Encoding::Protobuf => assert!(replied.body.is_empty(), "an empty response message"),
                    Encoding::Json => assert_eq!(replied.text(), "{}"),
                }
            }
        }
    }
    assert_eq!(door.stats().in_flight_bytes.load(Ordering::Relaxed), 0);
    assert_eq!(door.stats().body_bytes.load(Ordering::Relaxed), 16 * body.len() as u64);
}

/// Surprise 7 of what meshes really send.
#[tokio::test]
async fn envoys_http_exporter_sends_chunked_bodies_without_content_length() {
    let (door, arrivals) = open(settings()).await.unwrap();
    let bodies = answer_all(arrivals, accepted());
    let head = format!("POST /v1/traces HTTP/1.1\r\nhost: l\r\n{PROTOBUF}transfer-encoding: chunked\r\n");
    let plain = [head.as_bytes(), b"\r\n4\r\nspan\r\n9\r\n and more\r\n0\r\n\r\n"].concat();
    assert_eq!(send(door.http_address(), &plain).await.status, 200);

    let packed = gzip(b"span and more");
    let (front, back) = packed.split_at(11);
    let mut bytes = format!("{head}content-encoding: gzip\r\n\r\n").into_bytes();
    for chunk in [front, back] {
        bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
        bytes.extend(chunk);
        bytes.extend(b"\r\n");
    }
    bytes.extend(b"0\r\n\r\n");
    assert_eq!(send(door.http_address(), &bytes).await.status, 200);
    drop(door);
    assert_eq!(bodies.await.unwrap(), ["span and more", "span and more"]);
}

#[tokio::test]
async fn partial_success_is_reported_in_the_senders_encoding() {
    let outcome = Outcome::Accepted { rejected: 2, reason: "id is not 8 bytes".to_owned() };
    let door = open_with(settings(), outcome).await;
    let replied = post(door.http_address(), "/v1/traces", PROTOBUF, b"").await;
    let partial = ExportTraceServiceResponse::decode(&replied.body[..]).unwrap().partial_success.unwrap();
    assert_eq!((partial.rejected_spans, partial.error_message.as_str()), (2, "id is not 8 bytes"));
    let replied = post(door.http_address(), "/v1/traces", JSON, b"").await;
    insta::assert_snapshot!(replied.text(), @r#"{"partialSuccess":{"errorMessage":"id is not 8 bytes","rejectedSpans":"2"}}"#);
    let replied = post(door.http_address(), "/v1/logs", JSON, b"").await;
    insta::assert_snapshot!(replied.text(), @r#"{"partialSuccess":{"errorMessage":"id is not 8 bytes","rejectedLogRecords":"2"}}"#);
}

#[tokio::test]
async fn permanent_refusals_have_a_4xx_a_status_body_and_no_retry_after() {
    let door = open_with(settings(), Outcome::Malformed { reason: "field 9 at byte 4".to_owned() }).await;
    let check = async |request: &str, status: u16, code: Code, words: &str| {
        let request = request.replace("\r\n\r\n", "\r\nhost: l\r\ncontent-length: 3\r\n\r\nabc");
        let replied = send(door.http_address(), request.as_bytes()).await;
        assert_eq!(replied.status, status, "{request}");
        assert_eq!(replied.header("retry-after"), "", "{request}");
        assert_eq!((replied.status().code(), replied.retry_delay()), (code, None), "{request}");
        assert!(replied.status().message().contains(words), "{request}: {:?}", replied.status());
        replied
    };
    let traces = format!("POST /v1/traces HTTP/1.1\r\n{PROTOBUF}");
    check(&format!("{traces}\r\n"), 400, Code::InvalidArgument, "field 9 at byte 4").await;
    check(&format!("{traces}content-encoding: gzip\r\n\r\n"), 400, Code::InvalidArgument, "damaged").await;
    for coding in ["snappy", "gzip, zstd", "gzip\r\ncontent-encoding: gzip"] {
        let request = format!("{traces}content-encoding: {coding}\r\n\r\n");
        let replied = check(&request, 415, Code::Unimplemented, "one of gzip, zstd").await;
        assert_eq!(replied.header("accept-encoding"), "gzip, zstd");
    }
    for path in ["/v1/metrics", "/v1development/profiles"] {
        let request = format!("POST {path} HTTP/1.1\r\n{PROTOBUF}\r\n");
        check(&request, 404, Code::Unimplemented, "lapwing takes traces and logs only").await;
    }
    let nowhere = format!("POST /v1/trace HTTP/1.1\r\n{PROTOBUF}\r\n");
    check(&nowhere, 404, Code::Unimplemented, "/v1/traces and /v1/logs").await;
    let get = format!("GET /v1/traces HTTP/1.1\r\n{PROTOBUF}\r\n");
    let replied = check(&get, 405, Code::InvalidArgument, "POST").await;
    assert_eq!(replied.header("allow"), "POST");
    for kind in ["", "content-type: text/plain\r\n", "content-type: application/grpc\r\n"] {
        let request = format!("POST /v1/logs HTTP/1.1\r\n{kind}\r\n");
        check(&request, 415, Code::InvalidArgument, "application/json").await;
    }
    assert_eq!(door.stats().refused(Refusal::Malformed), 2);
    assert_eq!(door.stats().refused(Refusal::WrongType), 3);
}

#[tokio::test]
async fn errors_come_in_json_to_those_who_send_json() {
    let door = open_with(settings(), accepted()).await;
    let replied = post(door.http_address(), "/v1/metrics", JSON, b"{}").await;
    assert_eq!((replied.status, replied.header("content-type")), (404, "application/json"));
    insta::assert_snapshot!(replied.text(), @r#"{"code":12,"message":"lapwing takes traces and logs only; send metrics and profiles elsewhere"}"#);
}

#[tokio::test]
async fn a_body_longer_than_the_limit_is_413_however_it_comes() {
    let door = open_with(DoorSettings { max_request_bytes: 100_000, ..settings() }, accepted()).await;
    let address = door.http_address();
    let long = vec![b'x'; 100_001];
    let chunked = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: l\r\n{PROTOBUF}transfer-encoding: chunked\r\n\r\n186a1\r\n"
    );
    let gzip_headers = format!("{PROTOBUF}content-encoding: gzip\r\n");
    for replied in [
        post(address, "/v1/traces", PROTOBUF, &long).await,
        post(address, "/v1/traces", &gzip_headers, &gzip(&long)).await,
        send(address, &[chunked.as_bytes(), &long, b"\r\n0\r\n\r\n"].concat()).await,
    ] {
        assert_eq!((replied.status, replied.retry_delay()), (413, None));
        assert_eq!(replied.status().code(), Code::InvalidArgument);
        assert!(replied.status().message().contains("100000 bytes"), "{:?}", replied.status());
    }
    assert_eq!(post(address, "/v1/traces", PROTOBUF, &long[1..]).await.status, 200);
    assert_eq!(post(address, "/v1/traces", &gzip_headers, &gzip(&long[1..])).await.status, 200);
}

#[tokio::test]
async fn a_connection_goes_on_after_a_refused_body() {
    let door = open_with(settings(), accepted()).await;
    let mut stream = TcpStream::connect(door.http_address().unwrap()).await.unwrap();
    let body = vec![b'x'; 1 << 20];
    for (path, status) in [("/v1/metrics", 404), ("/v1/traces", 200), ("/v1/metrics", 404), ("/v1/logs", 200)]
    {
        let head =
            format!("POST {path} HTTP/1.1\r\nhost: l\r\ncontent-length: {}\r\n{PROTOBUF}\r\n", body.len());
        let replied = exchange(&mut stream, &[head.as_bytes(), &body].concat()).await;
        assert_eq!(replied.status, status, "{path}");
    }
}

#[tokio::test]
async fn a_sender_that_waits_for_a_go_is_told_before_it_sends() {
    let door = open_with(DoorSettings { max_request_bytes: 1000, ..settings() }, accepted()).await;
    for (length, status) in [(1001, 413), (3, 100)] {
        let mut stream = TcpStream::connect(door.http_address().unwrap()).await.unwrap();
        let head = format!(
            "POST /v1/traces HTTP/1.1\r\nhost: l\r\n{PROTOBUF}expect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
        );
        let replied = exchange(&mut stream, head.as_bytes()).await;
        assert_eq!(replied.status, status);
        if status == 100 {
            assert_eq!(exchange(&mut stream, b"abc").await.status, 200);
        }
    }
}

#[tokio::test]
async fn a_body_cut_short_never_reaches_the_pipeline() {
    let (door, mut arrivals) = open(settings()).await.unwrap();
    let mut stream = TcpStream::connect(door.http_address().unwrap()).await.unwrap();
    let head = format!("POST /v1/traces HTTP/1.1\r\nhost: l\r\n{PROTOBUF}content-length: 9\r\n\r\nabc");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    super::eventually(|| door.stats().refused(Refusal::BodyStalled) == 1).await;
    super::eventually(|| door.stats().in_flight_requests.load(Ordering::Relaxed) == 0).await;
    assert!(arrivals.try_recv().is_err());
}

#[tokio::test]
async fn mixed_up_ports_work_all_the_same() {
    let door = open_with(settings(), accepted()).await;
    let called = call(door.http_address(), TRACES, &[], framed(0, b"abc")).await;
    assert_eq!(called.status.code(), Code::Ok);
    assert_eq!(post(door.grpc_address(), "/v1/logs", PROTOBUF, b"abc").await.status, 200);
    assert_eq!(door.stats().grpc_requests.load(Ordering::Relaxed), 1);
    assert_eq!(door.stats().http_requests.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn http_2_without_tls_is_spoken_too() {
    use http_body_util::{BodyExt, Full};
    use hyper_util::rt::{TokioExecutor, TokioIo};
    let door = open_with(settings(), accepted()).await;
    let stream = TcpStream::connect(door.http_address().unwrap()).await.unwrap();
    let io = TokioIo::new(stream);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    for (path, status) in [("/v1/traces", 200), ("/v1/metrics", 404)] {
        let request = ::http::Request::post(format!("http://lapwing{path}"))
            .header("content-type", "application/json")
            .body(Full::new(bytes::Bytes::from_static(b"{}")))
            .unwrap();
        let (head, body) = sender.send_request(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        assert_eq!((head.status.as_u16(), body.first()), (status, Some(&b'{')));
    }
}

#[tokio::test]
async fn an_early_reply_needs_no_whole_body() {
    let door = open_with(settings(), accepted()).await;
    door.refuse();
    let mut stream = TcpStream::connect(door.http_address().unwrap()).await.unwrap();
    let head = format!("POST /v1/traces HTTP/1.1\r\nhost: l\r\n{PROTOBUF}content-length: 900000000\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    // Far more than is discarded; the answer comes although the sender is not done.
    let (mut reading, mut writing) = stream.into_split();
    let sending = tokio::spawn(async move {
        let block = vec![0; 1 << 20];
        while writing.write_all(&block).await.is_ok() {}
    });
    assert_eq!(read_reply(&mut reading).await.status, 503);
    drop(reading);
    sending.await.unwrap();
}
