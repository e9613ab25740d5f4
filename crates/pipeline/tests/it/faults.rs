//! Dead receivers, absurd times, repeats, nothing at all, and what lapwing does not take.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tonic_types::StatusExt;

use crate::help::{
    BEGIN, Running, Shot, archived_ids, eventually, findings, post, request, send, settings, shot, steady,
};

const DAY: Duration = Duration::from_secs(86_400);

async fn channel(running: &Running) -> Channel {
    let address = running.pipeline.grpc_address().unwrap();
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn findings_for_a_dead_siem_wait_in_its_spool_and_arrive_once_it_is_up() {
    let dir = tempfile::tempdir().unwrap();
    let reserved = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = reserved.local_addr().unwrap();
    drop(reserved);
    let syslog = format!("exporters.syslog.endpoint={address}");
    let mut running = Running::start(&settings(dir.path(), &[&syslog]), false).await;
    let mut shots = steady(1, BEGIN, 6);
    let ended_at = BEGIN.plus(Duration::from_secs(200));
    shots.push(Shot { source: "web/cron", destination: "pay/ledger", ended_at, ..shot(9_999) });
    shots.sort_by_key(|shot| shot.ended_at);
    for shots in shots.chunks(10) {
        running.hands.set(shots.last().unwrap().ended_at);
        send(&mut running.sender, shots).await;
    }
    // The stranger's own partition may have no later call that moves its time on.
    running.hands.set(BEGIN.plus(Duration::from_secs(400)));
    let late = BEGIN.plus(Duration::from_secs(399));
    let calls = [Shot { source: "web/cron", destination: "pay/ledger", ended_at: late, ..shot(10_000) }];
    send(&mut running.sender, &calls).await;
    let file = dir.path().join("findings.ndjson");
    eventually("a finding is in the file", || !findings(&file).is_empty()).await;
    let monitor = running.pipeline.gauges.sinks[0].clone();
    eventually("a finding is in the spool", || monitor.stats().spooled > 0).await;
    eventually("delivery has failed", || monitor.stats().retries > 0).await;

    let receiver = TcpListener::bind(address).await.unwrap();
    let (mut stream, _) = timeout(Duration::from_secs(40), receiver.accept()).await.unwrap().unwrap();
    let mut received = String::new();
    let id = findings(&file)[0].id.clone();
    let mut buffer = vec![0; 1 << 16];
    while !received.contains(&id) {
        let n = timeout(Duration::from_secs(40), stream.read(&mut buffer)).await.unwrap().unwrap();
        assert!(n > 0, "the connection ended without the finding");
        received.push_str(&String::from_utf8_lossy(&buffer[..n]));
    }
    assert!(received.contains("class_uid"), "as OCSF");
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn absurd_times_are_rejected_one_by_one_with_count_and_reason() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path(), &[]);
    let running = Running::start(&settings, false).await;
    let at = |id, ended_at| Shot { ended_at, ..shot(id) };
    let mut wanted = request(&[
        at(1, BEGIN),
        at(2, BEGIN.plus(400 * DAY)),
        at(3, BEGIN.minus(400 * DAY)),
        at(4, BEGIN),
        at(5, BEGIN),
    ]);
    let span = &mut wanted.resource_spans[4].scope_spans[0].spans[0];
    (span.start_time_unix_nano, span.end_time_unix_nano) = (u64::MAX - 1, u64::MAX);
    let mut client = TraceServiceClient::new(channel(&running).await);
    let answer = client.export(wanted).await.unwrap().into_inner();
    let partial = answer.partial_success.unwrap();
    assert_eq!(partial.rejected_spans, 3);
    assert!(!partial.error_message.is_empty());
    drop(client);
    running.drain().await;
    let ids: Vec<_> = archived_ids(&settings.archive_dir()).into_iter().collect();
    assert_eq!(ids, [(1, 1), (4, 1)]);
}

/// At least once: a client that did not hear the answer sends again, and both are taken.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_sent_twice_is_accepted_twice() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path(), &[]);
    let mut running = Running::start(&settings, false).await;
    for _ in 0..2 {
        send(&mut running.sender, &[shot(1), shot(2)]).await;
    }
    running.drain().await;
    let ids: Vec<_> = archived_ids(&settings.archive_dir()).into_iter().collect();
    assert_eq!(ids, [(1, 2), (2, 2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_batch_is_a_success_and_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(&settings(dir.path(), &[]), false).await;
    let channel = channel(&running).await;
    let traces = TraceServiceClient::new(channel.clone()).export(request(&[])).await.unwrap();
    assert_eq!(traces.into_inner().partial_success, None);
    let logs = LogsServiceClient::new(channel).export(ExportLogsServiceRequest::default()).await.unwrap();
    assert_eq!(logs.into_inner().partial_success, None);
    for path in ["/v1/traces", "/v1/logs"] {
        let (status, answer) = post(running.pipeline.http_address(), path, b"").await;
        assert_eq!(status, 200, "{answer}");
    }
    assert_eq!(running.pipeline.gauges.journal.stats().next, 0);
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_refused_for_good_and_the_refusal_says_what_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(&settings(dir.path(), &[]), false).await;
    let mut client = MetricsServiceClient::new(channel(&running).await);
    let status = client.export(ExportMetricsServiceRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented, "{status}");
    assert!(status.get_details_retry_info().is_none(), "{status}");
    let (code, answer) = post(running.pipeline.http_address(), "/v1/metrics", b"").await;
    assert!((400..500).contains(&code) && code != 429, "{answer}");
    for answer in [status.message(), &answer] {
        assert!(answer.contains("traces and logs"), "{answer}");
    }
    drop(client);
    running.drain().await;
}
