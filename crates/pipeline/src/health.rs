//! Whether the work is moving: snapshots of every loop, lag first, as metrics and as readiness.

use std::collections::BTreeMap;

use lapwing_detection::{Calibration, EngineStats};
use lapwing_otlp::DecodeStats;
use lapwing_redaction::Count;
use lapwing_telemetry::EventTime;
use tokio::sync::watch;

use crate::engines::Engines;

/// A loop's way to say how far it is. Dropping it says that the loop has ended.
pub struct Beat<T>(watch::Sender<T>);

impl<T: Default> Beat<T> {
    /// Makes a beat and the place to read it.
    pub fn new() -> (Beat<T>, watch::Receiver<T>) {
        let (sender, receiver) = watch::channel(T::default());
        (Beat(sender), receiver)
    }

    /// Replaces the last snapshot.
    pub fn publish(&self, snapshot: T) {
        self.0.send_replace(snapshot);
    }
}

/// How far receive is.
#[derive(Clone, Debug, Default)]
pub struct IntakeSnapshot {
    /// What was decoded, and what was not.
    pub decode: DecodeStats,
    /// Redactions by rule, action and kind of field since start.
    pub redactions: Vec<Count>,
}

/// How far detect is.
#[derive(Clone, Debug, Default)]
pub struct DetectSnapshot {
    /// Counters of every engine, added up.
    pub engines: EngineStats,
    /// How each detector is calibrated by its own scores.
    pub calibration: Vec<Calibration>,
}

impl DetectSnapshot {
    /// Reads the counters of all engines.
    pub fn of(engines: &Engines) -> DetectSnapshot {
        DetectSnapshot { engines: engines.stats(), calibration: engines.calibration() }
    }
}

/// What came of the redaction canaries.
#[derive(Clone, Debug, Default)]
pub struct CanarySnapshot {
    /// Canaries sent since start.
    pub sent: u64,
    /// Canaries that came back, by place.
    pub checked: BTreeMap<&'static str, u64>,
    /// Values that could be read, by place and kind.
    pub leaked: BTreeMap<(&'static str, &'static str), u64>,
    /// Canaries that did not come back in time.
    pub missing: u64,
    /// When the last canary came back from where calls come to rest, and nothing in it could be read.
    pub last_success: Option<EventTime>,
    /// Places in which the last canary could be read.
    pub leaking: Vec<&'static str>,
    /// Whether the last canary that is due has not come back.
    pub overdue: bool,
}

/// How far archive is.
#[derive(Clone, Debug, Default)]
pub struct ArchiveSnapshot {
    /// Rows in closed files since start.
    pub rows: u64,
    /// Bytes of closed files since start.
    pub bytes: u64,
    /// Files closed since start.
    pub files: u64,
    /// Hours deleted by retention since start.
    pub expired_hours: u64,
    /// Attempts that failed for want of disk space since start.
    pub retries: u64,
}
