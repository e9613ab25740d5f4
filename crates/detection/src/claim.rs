//! What a detector says of one window, before it becomes a finding.

use lapwing_telemetry::{FindingKind, Severity, Signal};

use crate::exemplars::Class;

/// A detector's verdict on a window that it found unusual.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) kind: FindingKind,
    pub(crate) detector: &'static str,
    pub(crate) severity: Severity,
    /// Probability of what was seen, under the baseline.
    pub(crate) p: f64,
    /// How much history the judgement rests on, 0 to 1.
    pub(crate) confidence: f64,
    pub(crate) signal: Option<Signal>,
    /// Start of the window, microseconds.
    pub(crate) start: i64,
    /// Its end.
    pub(crate) end: i64,
    pub(crate) observed: f64,
    pub(crate) expected: f64,
    pub(crate) low: Option<f64>,
    pub(crate) high: Option<f64>,
    pub(crate) unit: String,
    pub(crate) explanation: String,
    /// Which calls show it.
    pub(crate) class: Class,
    /// How much there is of it, in a measure of the detector's own; a doubling is worth an update.
    pub(crate) evidence: f64,
    /// How long after `end` the condition is over if nothing confirms it.
    pub(crate) quiet: i64,
}

/// A number in an explanation: whole from 10 on, one digit below.
pub(crate) fn number(value: f64) -> String {
    if value.abs() >= 10.0 || value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}
