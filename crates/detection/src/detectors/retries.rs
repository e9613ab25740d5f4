//! Calls that are tried again and again.

use lapwing_telemetry::FindingKind;

use super::Case;
use crate::claim::{Claim, number};
use crate::exemplars::Class;
use crate::lifecycle::by_count;
use crate::pair_state::PairState;

/// Attempts that the share of retries must rest on.
const MIN_HISTORY: f64 = 30.0;
/// Retries that must have been seen.
const MIN_RETRIES: u64 = 8;
/// And this many times the expected number.
const MIN_RATIO: f64 = 3.0;
/// And this share of all attempts: a retry budget allows a fifth (Envoy `retry_budget.budget_percent`, Linkerd
/// `retryRatio`), and beyond that retries feed on themselves.
const MIN_SHARE: f64 = 0.2;

/// Claims by the upper tail of a Gamma-Poisson: retries among so many attempts, given the posterior of the share
/// of attempts that are retries (prior of Jeffreys), in attempts divided by how much more the pair's retries cluster
/// than chance. Retries multiply the load of a service that fails already (Bronson et al., Metastable failures in
/// distributed systems, HotOS 2021), so their share is what matters and not their number. Proxies tell of them in
/// the caller's records; a pair without such has none.
pub(crate) fn judge(case: &Case<'_>) -> Option<Claim> {
    let state = case.state;
    let retries = case.counts.most(|c| c.retries);
    if retries < MIN_RETRIES || state.retries.calls() < MIN_HISTORY {
        return None;
    }
    let attempts = (case.counts.most(|c| c.calls) + retries) as f64;
    let expected = state.retries.share() * attempts;
    let share = retries as f64 / attempts;
    if (retries as f64) < MIN_RATIO * expected || share < MIN_SHARE {
        return None;
    }
    let p = state.retries.upper_tail(retries, attempts, case.level);
    let p = case.unusual(FindingKind::RetryStorm, p)?;
    let usual = 100.0 * state.retries.share();
    Some(Claim {
        kind: FindingKind::RetryStorm,
        detector: "retries",
        severity: by_count(retries),
        p,
        confidence: state.confidence(),
        signal: state.reporter,
        start: case.start(),
        end: case.end,
        observed: 100.0 * share,
        expected: usual,
        low: None,
        high: Some((100.0 * MIN_SHARE).max(MIN_RATIO * usual)),
        unit: "%".to_owned(),
        explanation: format!(
            "{retries} of {attempts:.0} attempts in {} were retries ({} %), usually {usual:.2} %, {}",
            crate::grid::span(case.length()),
            number(100.0 * share),
            state.history(),
        ),
        class: Class::Error,
        evidence: retries as f64,
        quiet: case.quiet(),
    })
}

/// Learns from a window how much retries cluster.
pub(crate) fn learn_spread(state: &mut PairState, level: usize, retries: u64, calls: u64) {
    // A pair that hardly ever retries says nothing of clusters.
    if state.is_learned() && state.retries.shape() >= 5.0 {
        state.retries.learn_spread(level, retries, calls + retries);
    }
}

#[cfg(test)]
mod tests {
    use crate::counts::Counts;
    use crate::detectors::tests::{judge, learned, window};
    use crate::grid::TENS;
    use lapwing_telemetry::Signal;

    fn retrying(calls: u64, retries: u64) -> Counts {
        let mut counts = window(calls, 20);
        counts.signal_mut(Signal::LogClient).calls = calls;
        counts.signal_mut(Signal::LogClient).retries = retries;
        counts
    }

    #[test]
    fn a_storm_is_claimed_by_its_share_and_more_of_it_is_less_probable() {
        let state = learned(60);
        let of = |calls, retries| judge(&state, &retrying(calls, retries), TENS, super::judge);
        let claim = of(12, 24).unwrap();
        assert_eq!((claim.detector, claim.unit.as_str()), ("retries", "%"));
        assert!((claim.observed - 66.7).abs() < 0.1);
        assert!(of(12, 36).unwrap().p < claim.p);
        assert!(of(12, 3).is_none(), "three retries are what retries are for");
        assert!(of(400, 30).is_none(), "within a budget of a fifth");
    }

    #[test]
    fn a_pair_that_always_retries_is_usual() {
        let mut state = learned(60);
        (0..300).for_each(|_| state.retries.learn(40, 100, crate::baseline::Learn::Usual));
        assert!(judge(&state, &retrying(12, 10), TENS, super::judge).is_none());
    }
}
