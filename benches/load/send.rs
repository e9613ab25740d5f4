//! Sends requests, each sender as fast as it is answered, and notes what became of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use lapwing_benches::Workload;
use lapwing_telemetry::EventTime;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::Effort;
use crate::grpc::GrpcSender;
use crate::http::HttpSender;
use crate::process::Process;
use crate::report::{Counts, Report};

/// Where to send to.
pub(crate) enum Target {
    Grpc(String),
    Http(String),
}

/// What a server made of one request.
pub(crate) enum Answer {
    /// Acknowledged, but for `rejected` spans.
    Ok { rejected: u64 },
    /// To be sent again later.
    Refused { has_hint: bool },
    /// Anything else.
    Failed,
}

/// How long a sender rests after a refusal: shorter than any hint, so that overload stays overload, and long
/// enough that refusing is not all that the server does.
const REST: Duration = Duration::from_millis(10);
/// An answer that takes longer counts as failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// Builds the requests; takes a moment.
pub(crate) fn workload(spans: u32) -> Arc<Workload> {
    Arc::new(Workload::new(spans as usize))
}

/// Sends for the time that `effort` says. The server's CPU time is read when it has worked through what it got.
pub(crate) async fn measure(
    target: &Target,
    workload: &Arc<Workload>,
    effort: Effort,
    server: Option<Process>,
) -> anyhow::Result<Report> {
    let mut connections = Vec::new();
    for _ in 0..effort.connections {
        match target {
            Target::Grpc(address) => {
                let sender = GrpcSender::connect(address).await?;
                connections.extend((0..effort.in_flight).map(|_| Sender::Grpc(sender.clone())));
            }
            Target::Http(url) => {
                for _ in 0..effort.in_flight {
                    connections.push(Sender::Http(HttpSender::connect(url).await?));
                }
            }
        }
    }
    let cpu_before = server.map(Process::cpu_s).transpose()?;
    let (begin, numbers) = (Instant::now(), first_number());
    let until = begin + Duration::from_secs(effort.seconds.into());
    let mut senders = JoinSet::new();
    for sender in connections {
        senders.spawn(send(sender, workload.clone(), numbers.clone(), until));
    }
    let mut counts = Counts::default();
    while let Some(sent) = senders.join_next().await {
        counts.add(sent?);
    }
    let seconds = begin.elapsed().as_secs_f64();
    if let Some(server) = server {
        server.settled().await?;
    }
    let cpu_after = server.map(Process::cpu_s).transpose()?;
    let server_cpu_s = cpu_after.zip(cpu_before).map(|(after, before)| after - before);
    let peak_rss_mib = server.map(Process::peak_rss_mib).transpose()?;
    Ok(counts.report(workload.spans(), seconds, server_cpu_s, peak_rss_mib))
}

enum Sender {
    Grpc(GrpcSender),
    Http(HttpSender),
}

async fn send(
    mut sender: Sender,
    workload: Arc<Workload>,
    numbers: Arc<AtomicU64>,
    until: Instant,
) -> Counts {
    let mut counts = Counts::default();
    while Instant::now() < until {
        let request = workload.request(numbers.fetch_add(1, Ordering::Relaxed), now());
        let sent_at = Instant::now();
        let answer = tokio::time::timeout(PATIENCE, sender.send(request)).await.unwrap_or(Answer::Failed);
        let rest = !matches!(answer, Answer::Ok { .. });
        counts.note(&answer, workload.spans() as u64, sent_at.elapsed());
        if rest {
            tokio::time::sleep(REST).await;
        }
    }
    counts
}

impl Sender {
    async fn send(&mut self, request: Bytes) -> Answer {
        match self {
            Sender::Grpc(sender) => sender.send(request).await,
            Sender::Http(sender) => sender.send(request).await,
        }
    }
}

/// How many spans of an acknowledged request were not taken.
pub(crate) fn rejected(response: Bytes) -> Result<u64, prost::DecodeError> {
    let response = ExportTraceServiceResponse::decode(response)?;
    Ok(response.partial_success.map_or(0, |partial| partial.rejected_spans.max(0) as u64))
}

/// Numbers of requests: each run begins at another, so that no two runs send the same ids.
fn first_number() -> Arc<AtomicU64> {
    Arc::new(AtomicU64::new(now().0 as u64))
}

#[expect(clippy::disallowed_methods, reason = "a server takes only calls that ended just now")]
fn now() -> EventTime {
    let since = std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    EventTime(since.as_micros() as i64)
}
