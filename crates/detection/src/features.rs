//! What a trained model sees of a window.
//!
//! Training taps the engine and the `profile` detector asks the model with the same numbers, so a model is
//! never scored on other features than it was fitted on. Every feature compares the window with the pair's own
//! baseline, so that one model serves all pairs.

use crate::counts::{Counts, SignalCounts};
use crate::pair_state::PairState;

/// Raised whenever a feature is added, removed or computed differently; a model names the version it was
/// fitted on and is refused by a program with another.
pub const FEATURE_VERSION: u32 = 1;

/// Number of features.
pub const N: usize = 13;

/// Names of the features, in order.
pub const FEATURES: [&str; N] = [
    "volume_surprise",
    "volume_log_ratio",
    "error_excess",
    "client_error_excess",
    "auth_failure_excess",
    "policy_denial_excess",
    "tls_failure_excess",
    "latency_log_ratio",
    "latency_tail_log_ratio",
    "slow_excess",
    "request_bytes_log_ratio",
    "response_bytes_log_ratio",
    "stranger_share",
];

/// Computes the features of a closed window of `hours`. All are finite, and bounded by ±20.
pub(crate) fn features(counts: &Counts, state: &PairState, hours: f64) -> [f32; N] {
    let nothing = SignalCounts::default();
    let seen = state.reported(counts).unwrap_or(&nothing);
    let calls = seen.calls as f64;
    let expected = state.volume.now.expected * hours;
    // The square root stabilises a share's variance (Anscombe, Biometrika 35, 1948): one failure in ten is as
    // far from none as five in ten from two.
    let share = |n: u64| libm::sqrt(n as f64 / calls.max(n as f64).max(1.0));
    let of_rate = |rate: f64| libm::sqrt((rate / state.volume.now.expected.max(0.1)).clamp(0.0, 1.0));
    let ratio =
        |quantile: f64| match (seen.latency.quantile_ms(quantile), state.latency.quantile_ms(quantile)) {
            (Some(now), Some(usual)) => libm::log((now + 1.0) / (usual + 1.0)),
            _ => 0.0,
        };
    let timed = seen.latency.total() as f64;
    let slow = state.latency.boundary(0.1);
    let slow_excess =
        if timed > 0.0 { seen.latency.from(slow.bucket) as f64 / timed - slow.share } else { 0.0 };
    let bytes = |bytes: u64, usual: Option<f64>| match usual {
        Some(usual) if seen.sized > 0 => libm::log1p(bytes as f64 / seen.sized as f64) - usual,
        _ => 0.0,
    };
    let strangers: u64 = counts
        .identities
        .iter()
        .filter(|(identity, _)| state.is_strange(*identity))
        .map(|(_, n)| u64::from(*n))
        .sum();
    let all = [
        2.0 * (libm::sqrt(calls + 0.375) - libm::sqrt(expected + 0.375)),
        libm::log((calls + 1.0) / (expected + 1.0)),
        share(seen.errors) - libm::sqrt(state.errors.share().min(1.0)),
        share(seen.client_errors),
        share(counts.most(|c| c.auth)) - of_rate(state.auth.rate()),
        share(counts.most(|c| c.policy)) - of_rate(state.policy.rate()),
        share(counts.most(|c| c.tls)) - of_rate(state.tls.rate()),
        ratio(0.5),
        ratio(0.9),
        slow_excess,
        bytes(seen.bytes_in, state.bytes[0].mean()),
        bytes(seen.bytes_out, state.bytes[1].mean()),
        share(strangers),
    ];
    all.map(|value| if value.is_finite() { value.clamp(-20.0, 20.0) as f32 } else { 0.0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::baseline::Learn;
    use crate::detectors::tests::{learned, window};
    use lapwing_telemetry::Signal;

    #[test]
    fn each_change_moves_its_own_feature() {
        let mut state = learned(60);
        state.bytes[1] = crate::pair_state::PairState::new(0).bytes[1];
        let usual = features(&window(10, 20), &state, 1.0 / 6.0);
        let moved = |change: &dyn Fn(&mut SignalCounts), feature: &str| {
            let mut counts = window(10, 20);
            change(counts.signal_mut(Signal::LogServer));
            let now = features(&counts, &state, 1.0 / 6.0);
            let at = FEATURES.iter().position(|f| *f == feature).unwrap();
            assert!(now[at] - usual[at] > 0.2, "{feature}: {} after {}", now[at], usual[at]);
        };
        moved(&|c| c.calls = 90, "volume_surprise");
        moved(&|c| c.errors = 5, "error_excess");
        moved(&|c| c.client_errors = 5, "client_error_excess");
        moved(&|c| c.auth = 5, "auth_failure_excess");
        moved(&|c| c.policy = 5, "policy_denial_excess");
        moved(&|c| c.tls = 5, "tls_failure_excess");
        moved(&|c| (0..90).for_each(|_| c.latency.record(900_000)), "latency_log_ratio");
        moved(&|c| (0..90).for_each(|_| c.latency.record(900_000)), "slow_excess");
    }

    #[test]
    fn features_of_a_pair_without_history_are_finite() {
        let state = PairState::new(0);
        assert!(features(&Counts::default(), &state, 0.0).iter().all(|v| v.is_finite()));
        let mut state = learned(60);
        state.latency.learn(&crate::counts::Histogram::default(), Learn::Usual);
        assert!(features(&window(0, 1), &state, 1.0).iter().all(|v| v.is_finite()));
    }
}
