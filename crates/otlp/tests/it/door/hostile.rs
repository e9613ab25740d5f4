//! Bodies made to hurt. What this does not prove: that decode survives them.

use std::io::{Read, Write};
use std::sync::atomic::Ordering;

use lapwing_otlp::door::{Refusal, open};
use tonic::Code;

use super::{TRACES, accepted, answer_all, call, framed, open_with, post, send, settings};

const PROTOBUF: &str = "content-type: application/x-protobuf\r\n";

/// 100 MB of zeros in about 100 kB.
fn gzip_bomb() -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    let zeros = vec![0; 1 << 20];
    for _ in 0..100 {
        writer.write_all(&zeros).unwrap();
    }
    writer.finish().unwrap()
}

/// 100 MB of zeros in about 10 kB.
fn zstd_bomb() -> Vec<u8> {
    zstd::encode_all(std::io::repeat(0).take(100 << 20), 3).unwrap()
}

/// The most memory this process has ever had resident, from proc(5).
fn peak_resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn bombs_are_refused_for_good_in_bounded_memory() {
    let door = open_with(settings(), accepted()).await;
    let before = peak_resident_bytes();
    let mut sending = tokio::task::JoinSet::new();
    for (coding, bomb) in [("gzip", gzip_bomb()), ("zstd", zstd_bomb())] {
        assert!(bomb.len() < 150_000, "{}", bomb.len());
        for _ in 0..8 {
            let (grpc, http, bomb) = (door.grpc_address(), door.http_address(), bomb.clone());
            sending.spawn(async move {
                let called = call(grpc, TRACES, &[("grpc-encoding", coding)], framed(1, &bomb)).await;
                let headers = format!("{PROTOBUF}content-encoding: {coding}\r\n");
                let replied = post(http, "/v1/traces", &headers, &bomb).await;
                (called.status.code(), replied.status)
            });
        }
    }
    // Sixteen at a time may also find the in-flight bytes used up.
    for (code, status) in sending.join_all().await {
        assert!([Code::InvalidArgument, Code::Unavailable].contains(&code), "{code:?}");
        assert!([413, 503].contains(&status), "{status}");
    }
    assert!(door.stats().refused(Refusal::TooLarge) > 0);
    assert_eq!(door.stats().body_bytes.load(Ordering::Relaxed), 0);
    assert_eq!(door.stats().in_flight_bytes.load(Ordering::Relaxed), 0);
    // 3.2 GB if they were inflated; the limit is 64 MiB and zstd keeps a window beside each body.
    let grown = peak_resident_bytes() - before;
    assert!(grown < 300 << 20, "{grown}");
}

#[tokio::test]
async fn a_single_bomb_is_too_large_and_not_busy() {
    let door = open_with(settings(), accepted()).await;
    for (coding, bomb) in [("gzip", gzip_bomb()), ("zstd", zstd_bomb())] {
        let called = call(door.grpc_address(), TRACES, &[("grpc-encoding", coding)], framed(1, &bomb)).await;
        assert_eq!((called.status.code(), called.retry_delay()), (Code::InvalidArgument, None), "{coding}");
        let headers = format!("{PROTOBUF}content-encoding: {coding}\r\n");
        let replied = post(door.http_address(), "/v1/traces", &headers, &bomb).await;
        assert_eq!((replied.status, replied.retry_delay()), (413, None), "{coding}");
    }
    assert_eq!(door.stats().refused(Refusal::TooLarge), 4);
}

#[tokio::test]
async fn a_declared_gigabyte_is_refused_before_it_is_read() {
    let door = open_with(settings(), accepted()).await;
    for flag in [0, 1] {
        let message = [&[flag][..], &(1u32 << 30).to_be_bytes(), b"a few bytes"].concat();
        let body = http_body_util::Full::new(bytes::Bytes::from(message));
        let called = call(door.grpc_address(), TRACES, &[("grpc-encoding", "gzip")], body).await;
        assert_eq!((called.status.code(), called.retry_delay()), (Code::InvalidArgument, None));
    }
    let request = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: l\r\n{PROTOBUF}expect: 100-continue\r\ncontent-length: 1073741824\r\n\r\n"
    );
    let replied = send(door.http_address(), request.as_bytes()).await;
    assert_eq!((replied.status, replied.retry_delay()), (413, None));
    assert_eq!(door.stats().refused(Refusal::TooLarge), 3);
}

#[tokio::test]
async fn compressed_bytes_that_inflate_to_nothing_are_bounded_too() {
    let door_settings = lapwing_otlp::door::DoorSettings { max_request_bytes: 100_000, ..settings() };
    let door = open_with(door_settings, accepted()).await;
    // A zstd frame to be skipped (RFC 8878, 3.1.2), a thousand times, in chunks.
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18][..], &1000u32.to_le_bytes(), &[0; 1000]].concat();
    let mut request = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: l\r\n{PROTOBUF}content-encoding: zstd\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    .into_bytes();
    for _ in 0..120 {
        request.extend(format!("{:x}\r\n", skippable.len()).bytes());
        request.extend(&skippable);
        request.extend(b"\r\n");
    }
    request.extend(b"0\r\n\r\n");
    assert_eq!(send(door.http_address(), &request).await.status, 413);
}

#[tokio::test]
async fn empty_requests_are_requests() {
    let (door, arrivals) = open(settings()).await.unwrap();
    let bodies = answer_all(arrivals, accepted());
    assert_eq!(call(door.grpc_address(), TRACES, &[], framed(0, b"")).await.status.code(), Code::Ok);
    assert_eq!(post(door.http_address(), "/v1/logs", PROTOBUF, b"").await.status, 200);
    drop(door);
    assert_eq!(bodies.await.unwrap(), ["", ""]);
}
