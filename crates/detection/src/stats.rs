//! What an engine counts about its own work.

use std::collections::BTreeMap;

use lapwing_telemetry::{EventTime, FindingKind};

/// Counters since the engine was made or restored, but for `pairs` and `latest`, which are as of now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineStats {
    /// Pairs with a state.
    pub pairs: u64,
    /// Calls counted in a window.
    pub calls: u64,
    /// Calls that came after their window had closed; not counted in any.
    pub late_calls: u64,
    /// Calls without source or destination; not judged.
    pub unattributed: u64,
    /// Base windows of pairs that were closed.
    pub windows_closed: u64,
    /// Calls of pairs beyond `max_pairs`; not judged.
    pub overflowed: u64,
    /// Pairs forgotten after a long silence.
    pub evicted: u64,
    /// Claims that went no farther than findings that people marked false, and were not published.
    pub withheld: u64,
    /// Findings opened, by kind.
    pub findings: BTreeMap<FindingKind, u64>,
    /// Frames that the restored state included already, and which were skipped.
    pub late_frames: u64,
    /// Feature rows dropped because nobody took them.
    pub dropped_features: u64,
    /// The latest arrival seen, or moment advanced to.
    pub latest: EventTime,
}

impl EngineStats {
    /// Adds the counters of another engine; `latest` becomes the later one.
    pub fn add(&mut self, other: &EngineStats) {
        self.pairs += other.pairs;
        self.calls += other.calls;
        self.late_calls += other.late_calls;
        self.unattributed += other.unattributed;
        self.windows_closed += other.windows_closed;
        self.overflowed += other.overflowed;
        self.evicted += other.evicted;
        self.late_frames += other.late_frames;
        self.withheld += other.withheld;
        self.dropped_features += other.dropped_features;
        for (kind, n) in &other.findings {
            *self.findings.entry(*kind).or_default() += n;
        }
        self.latest = self.latest.max(other.latest);
    }
}
