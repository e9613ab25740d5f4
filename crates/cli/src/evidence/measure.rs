//! Which number of a window a finding is about.

use lapwing_pipeline::replay::{Finding, Reading, Value};
use lapwing_telemetry::FindingKind;

/// A number of a window.
pub(super) struct Measure {
    pub(super) name: &'static str,
    /// Its unit, without the length of the window.
    pub(super) unit: &'static str,
    /// Whether it counts, so that its unit needs the length of the window.
    pub(super) counts: bool,
    of: fn(&Reading) -> Option<Value>,
}

impl Measure {
    pub(super) fn of(&self, reading: &Reading) -> Option<Value> {
        (self.of)(reading)
    }
}

/// The number that shows a finding of this kind; calls where the kind is about something that happens or not.
pub(super) fn measure(finding: &Finding) -> Measure {
    let counted = |name, unit, of| Measure { name, unit, counts: true, of };
    match finding.kind {
        FindingKind::LatencyShift | FindingKind::LatencyDrift => {
            Measure { name: "median duration", unit: "ms", counts: false, of: |r| Some(r.latency_ms) }
        }
        FindingKind::ErrorShift => {
            Measure { name: "failed calls", unit: "%", counts: false, of: |r| r.errors_percent }
        }
        FindingKind::Exfiltration if finding.explanation.contains("sent to") => {
            counted("requests", "KiB", |r| r.sent_kib)
        }
        FindingKind::Exfiltration => counted("responses", "KiB", |r| r.taken_kib),
        FindingKind::AuthFailures => {
            counted("calls refused for their token", "calls", |r| Some(r.auth_failures))
        }
        FindingKind::PolicyDenials => {
            counted("calls denied by a policy", "calls", |r| Some(r.policy_denials))
        }
        FindingKind::TlsFailures => counted("failed handshakes", "calls", |r| Some(r.tls_failures)),
        _ => counted("calls", "calls", |r| Some(r.calls)),
    }
}
