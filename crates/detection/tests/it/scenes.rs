//! Calls to feed engines with, and a way to feed them.

use std::sync::Arc;

use lapwing_detection::{Mesh as Judge, Settings};
use lapwing_telemetry::{
    Builders, Call, Calls, EventTime, Finding, Offset, Outcome, Partition, Position, Signal, partition_of,
};

pub(crate) const SECOND: i64 = 1_000_000;
pub(crate) const MINUTE: i64 = 60 * SECOND;
pub(crate) const HOUR: i64 = 60 * MINUTE;
pub(crate) const DAY: i64 = 24 * HOUR;
/// 2026-03-02T00:00:00Z, a Monday.
pub(crate) const MONDAY: i64 = 1_772_409_600 * SECOND;

/// A call, in the few words that the tests vary.
#[derive(Clone, Debug)]
pub(crate) struct Shot {
    pub(crate) received_at: i64,
    pub(crate) at: i64,
    pub(crate) ms: i64,
    pub(crate) signal: Signal,
    pub(crate) source: Option<String>,
    pub(crate) destination: Option<String>,
    pub(crate) outcome: Outcome,
    pub(crate) authn: Option<&'static str>,
    pub(crate) authz: Option<&'static str>,
    pub(crate) tls: Option<&'static str>,
    pub(crate) pod: &'static str,
    pub(crate) operation: &'static str,
    pub(crate) attempts: &'static str,
}

impl Shot {
    pub(crate) fn new(at: i64, source: &str, destination: &str) -> Shot {
        Shot {
            received_at: at + SECOND,
            at,
            ms: 20,
            signal: Signal::LogServer,
            source: Some(source.to_owned()),
            destination: Some(destination.to_owned()),
            outcome: Outcome::Ok,
            authn: None,
            authz: None,
            tls: Some("TLSv1.3"),
            pod: "cart-1",
            operation: "GET /things/{}",
            attempts: "1",
        }
    }
}

/// `per_hour` calls an hour, evenly, over `[from, to)`.
pub(crate) fn steady(from: i64, to: i64, per_hour: i64, source: &str, destination: &str) -> Vec<Shot> {
    let step = HOUR / per_hour;
    (0..(to - from) / step)
        .map(|i| Shot { ms: 18 + i % 5, ..Shot::new(from + i * step, source, destination) })
        .collect()
}

/// The batch of some calls.
pub(crate) fn batch(shots: &[Shot]) -> Calls {
    let mut builders = Builders::new(1);
    for shot in shots {
        let mut call =
            Call::new(EventTime(shot.received_at), EventTime(shot.at - shot.ms * 1_000), shot.signal, "prod");
        let trace = (shot.at as u128 * 0x9e37_79b9_7f4a_7c15).to_le_bytes();
        call.duration_ns = Some(shot.ms * 1_000_000);
        call.source = shot.source.as_deref();
        call.destination = shot.destination.as_deref();
        call.outcome = shot.outcome;
        call.authn = shot.authn;
        call.authz = shot.authz;
        call.tls = shot.tls;
        call.operation = Some(shot.operation);
        call.status = Some(200);
        call.trace_id = Some(&trace);
        let attributes =
            [("resource.k8s.pod.name", shot.pod), ("upstream_request_attempt_count", shot.attempts)];
        builders.append(&call, attributes.into_iter());
    }
    let mut parts = builders.finish();
    Calls::from_log(parts.remove(0).1.into_batch()).expect("builders make the schema of calls")
}

pub(crate) fn settings() -> Arc<Settings> {
    Arc::new(Settings::default())
}

/// A mesh of some partitions, fed as `detect` feeds it.
pub(crate) struct Mesh {
    pub(crate) judge: Judge,
    partitions: u16,
    offset: u64,
    pub(crate) findings: Vec<Finding>,
}

impl Mesh {
    pub(crate) fn new(settings: &Arc<Settings>, partitions: u16) -> Mesh {
        let judge = Judge::new(partitions, settings.clone(), None);
        Mesh { judge, partitions, offset: 0, findings: Vec::new() }
    }

    /// Feeds calls, in order of arrival, as batches of `size`.
    pub(crate) fn feed(&mut self, shots: &[Shot], size: usize) {
        for chunk in shots.chunks(size.max(1)) {
            for partition in 0..self.partitions {
                let of = |s: &&Shot| {
                    partition_of("prod", s.source.as_deref(), s.destination.as_deref(), self.partitions).0
                        == partition
                };
                let part: Vec<Shot> = chunk.iter().filter(of).cloned().collect();
                if !part.is_empty() {
                    let position = Position { partition: Partition(partition), offset: Offset(self.offset) };
                    self.offset += 1;
                    self.judge.observe(position, &batch(&part), &mut self.findings);
                }
            }
        }
    }

    pub(crate) fn quiet(&mut self, up_to: i64) {
        self.judge.advance(EventTime(up_to), &mut self.findings);
    }

    /// Saves and restores.
    pub(crate) fn restart(&mut self, settings: &Arc<Settings>) {
        self.judge = Judge::restore(self.partitions, settings.clone(), None, &self.judge.save())
            .expect("a mesh reads its own state");
    }

    /// Findings in one order, whatever order they came in.
    pub(crate) fn sorted(mut self, end: i64) -> Vec<Finding> {
        self.quiet(end);
        self.findings
            .sort_by(|a, b| (a.revised_at(), &a.id, a.revision).cmp(&(b.revised_at(), &b.id, b.revision)));
        self.findings
    }
}
